//! `[server]`, `[access]` and `[limits]`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::super::access::{Access, Host, Networks, Origin, Origins, Tls};
use super::super::file::{self, OneOrMany};
use super::super::limits::{Limits, range};
use super::super::rejected::{Rejected, quoted};
use super::super::settings::Server;
use super::{Result, list, list_or_nothing, number, secret_file};

/// Paths that the server answers itself, so the WebSocket cannot have them.
const TAKEN_PATHS: [&str; 7] = ["/", "/client.js", "/healthz", "/readyz", "/metrics", "/api", "/login"];

/// `[server]`
pub(super) fn server(table: file::Server) -> Result<Server> {
    let mut server = Server::default();
    if let Some(listen) = table.listen {
        let (texts, is_list) = match listen {
            OneOrMany::One(text) => (vec![text], false),
            OneOrMany::Many(texts) => (texts, true),
        };
        server.listen = list(&["server", "listen"], &texts, is_list, address)?;
    }
    if let Some(path) = table.path {
        let key = ["server", "path"];
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        if !path.starts_with('/') || !path.chars().all(plain) || path.len() > 100 {
            let hint = if path.starts_with('/') { "use a plain path" } else { "begin it with /" };
            return Err(Rejected::value(&key, quoted(&path)).hint(format!("{hint}, such as `/portal`")));
        }
        if TAKEN_PATHS.contains(&path.as_str()) || path.starts_with("/api/") {
            return Err(Rejected::value(&key, format!("{}, which portald answers itself", quoted(&path)))
                .hint("take another path, such as `/portal`"));
        }
        server.path = path;
    }
    server.mdns = table.mdns.unwrap_or(server.mdns);
    server.tls = tls(table.tls)?;
    Ok(server)
}

/// An address to listen at.
fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.trim_start_matches(':').parse::<u16>() {
        Ok(port) => {
            format!("write `[::]:{port}` for every address of this box, `127.0.0.1:{port}` for this box only")
        }
        Err(_) if text.starts_with("localhost:") => {
            format!("write `127.0.0.1:{}`", text.trim_start_matches("localhost:"))
        }
        Err(_) if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => {
            format!("add a port: `[{text}]:8080`")
        }
        Err(_) if text.parse::<IpAddr>().is_ok() => format!("add a port: `{text}:8080`"),
        Err(_) => "write numbers, not names: `[::]:8080` is every address of this box".into(),
    })
}

/// `[server.tls]`
fn tls(table: file::Tls) -> Result<Option<Tls>> {
    let certificate = secret_file(&["server", "tls", "certificate"], table.certificate)?;
    let key = secret_file(&["server", "tls", "key"], table.key)?;
    let self_signed = table.self_signed.unwrap_or(false);
    let missing = |there: &str, missing: &str| {
        Err(Rejected::key(&["server", "tls"], format!("a `{there}` and no `{missing}`"))
            .allowed("both, or `self_signed = true`, or nothing")
            .hint(format!("add a line such as `{missing} = \"/etc/portald/{missing}.pem\"`")))
    };
    match (certificate, key) {
        (Some(_), _) | (_, Some(_)) if self_signed => {
            Err(Rejected::value(&["server", "tls", "self_signed"], "`true`, and a certificate besides")
                .allowed("`certificate` and `key`, or `self_signed = true`")
                .hint("remove one of the two"))
        }
        (Some(certificate), Some(key)) => Ok(Some(Tls::Files { certificate, key })),
        (Some(_), None) => missing("certificate", "key"),
        (None, Some(_)) => missing("key", "certificate"),
        (None, None) => Ok(self_signed.then_some(Tls::SelfSigned)),
    }
}

/// `[access]`
pub(super) fn access(table: file::Access) -> Result<Access> {
    let secret = |key, text| secret_file(&["access", key], text);
    let hosts = list_or_nothing(&["access", "hosts"], &table.hosts.unwrap_or_default(), true, host)?;
    let cors = list_or_nothing(&["access", "cors"], &table.cors.unwrap_or_default(), true, origin)?;
    let proxies = &table.trusted_proxies.unwrap_or_default();
    Ok(Access {
        networks: networks(table.networks)?,
        origins: origins(table.origins)?,
        hosts,
        cors,
        trusted_proxies: list_or_nothing(&["access", "trusted_proxies"], proxies, true, net)?,
        viewer_password: secret("viewer_password_file", table.viewer_password_file)?,
        admin_token: secret("admin_token_file", table.admin_token_file)?,
        uplink_token: secret("uplink_token_file", table.uplink_token_file)?,
    })
}

/// A word that stands alone, or a list of which `lan` may be a part.
fn words<T: PartialEq>(
    key: &str,
    value: OneOrMany,
    parse: impl Fn(&str) -> std::result::Result<T, String>,
) -> Result<(bool, bool, Vec<T>)> {
    let (texts, is_list) = match value {
        OneOrMany::One(text) => (vec![text], false),
        OneOrMany::Many(texts) => (texts, true),
    };
    let item = |text: &str| match text {
        "lan" => Ok(None),
        "any" if is_list => Err("write it alone, without the list".to_owned()),
        other => parse(other).map(Some),
    };
    if !is_list && texts.iter().any(|text| text == "any") {
        return Ok((true, false, Vec::new()));
    }
    let items = list(&["access", key], &texts, is_list, item)?;
    Ok((false, items.contains(&None), items.into_iter().flatten().collect()))
}

fn networks(value: Option<OneOrMany>) -> Result<Networks> {
    let Some(value) = value else { return Ok(Networks::default()) };
    let (any, lan, listed) = words("networks", value, net)?;
    Ok(Networks { any, lan, listed })
}

fn origins(value: Option<OneOrMany>) -> Result<Origins> {
    let Some(value) = value else { return Ok(Origins::default()) };
    let (any, lan, listed) = words("origins", value, origin)?;
    Ok(Origins { any, lan, listed })
}

/// A network, or one address.
fn net(text: &str) -> std::result::Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| "write it such as `192.168.7.0/24`, `fd00::/8` or `192.168.1.5`".to_owned())?;
    if net.addr() != net.network() {
        return Err(format!("the bits after the prefix are not 0: did you mean `{}`?", net.trunc()));
    }
    Ok(net)
}

/// Another page's origin.
fn origin(text: &str) -> std::result::Result<Origin, String> {
    Origin::parse(text).ok_or_else(|| match text.split_once("://") {
        None => format!("begin with the scheme: `https://{}`", text.trim_end_matches('/')),
        Some((_, rest)) if rest.contains('/') => "leave out what comes after host and port".into(),
        Some(_) => {
            "write it as the browser does: scheme, host, and port if it is not the scheme's own".into()
        }
    })
}

/// A name of this box.
fn host(text: &str) -> std::result::Result<String, String> {
    match Host::parse(text) {
        Some(Host::Name(name)) => Ok(name),
        Some(Host::Address(_)) => Err("addresses are always accepted; remove it".into()),
        None => Err("write the name alone, without scheme, port and path".into()),
    }
}

/// `[limits]`
pub(super) fn limits(table: file::Limits) -> Result<Limits> {
    let defaults = Limits::default();
    let of = |key: &str, value: Option<i64>| match range(key) {
        Some((_, range, _)) => number(&["limits", key], value, range),
        None => Ok(None),
    };
    let size = |key: &str, value, default: usize| {
        of(key, value).map(|found| found.and_then(|n| usize::try_from(n).ok()).unwrap_or(default))
    };
    let time = |key: &str, value, default| {
        of(key, value).map(|found| found.map_or(default, |n| Duration::from_secs(n.into())))
    };
    Ok(Limits {
        sockets: size("sockets", table.sockets, defaults.sockets)?,
        sockets_per_address: size(
            "sockets_per_address",
            table.sockets_per_address,
            defaults.sockets_per_address,
        )?,
        sockets_per_room: size("sockets_per_room", table.sockets_per_room, defaults.sockets_per_room)?,
        message_bytes: size("message_bytes", table.message_bytes, defaults.message_bytes)?,
        messages_per_second: of("messages_per_second", table.messages_per_second)?
            .unwrap_or(defaults.messages_per_second),
        queue: size("queue", table.queue, defaults.queue)?,
        rooms: size("rooms", table.rooms, defaults.rooms)?,
        sessions_per_camera: size(
            "sessions_per_camera",
            table.sessions_per_camera,
            defaults.sessions_per_camera,
        )?,
        sessions: size("sessions", table.sessions, defaults.sessions)?,
        handshake: time("handshake", table.handshake, defaults.handshake)?,
        login: time("login", table.login, defaults.login)?,
        logins_per_minute: of("logins_per_minute", table.logins_per_minute)?
            .unwrap_or(defaults.logins_per_minute),
        encoding_cpu: of("encoding_cpu", table.encoding_cpu)?.unwrap_or(defaults.encoding_cpu),
    })
}
