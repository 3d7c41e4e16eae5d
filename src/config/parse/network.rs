//! `[ice]` and `[uplink.NAME]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::access::Host;
use super::super::error::closest;
use super::super::file;
use super::super::network::{Ice, TurnLogin, Uplink};
use super::super::rejected::{Rejected, quoted, shown};
use super::super::settings::{Settings, TURN_LIFETIME};
use super::{Result, list, list_or_nothing, number, secret_file, table_name};
use crate::proto::ids::Name;

/// `[ice]`
pub(super) fn ice(table: file::Ice) -> Result<Ice> {
    let defaults = Ice::default();
    let servers = |key: &str, texts: Option<Vec<String>>, schemes: &[&str]| {
        list_or_nothing(&["ice", key], &texts.unwrap_or_default(), true, |text| server(text, schemes))
    };
    let patterns = |key: &str, texts: Option<Vec<String>>, default: Vec<String>| match texts {
        Some(texts) => list_or_nothing(&["ice", key], &texts, true, pattern),
        None => Ok(default),
    };
    let stun = servers("stun", table.stun, &["stun"])?;
    let turn = servers("turn", table.turn, &["turn", "turns"])?;
    let username = turn_username(table.turn_username)?;
    let password = secret_file(&["ice", "turn_password_file"], table.turn_password_file)?;
    let secret = secret_file(&["ice", "turn_secret_file"], table.turn_secret_file)?;
    let lifetime = number(&["ice", "turn_lifetime"], table.turn_lifetime, &TURN_LIFETIME)?.unwrap_or(86_400);
    let lifetime = Duration::from_secs(lifetime.into());
    let turn_login = match (username, password, secret) {
        (None, None, None) => None,
        (None, None, Some(secret)) => Some(TurnLogin::TimeLimited { secret, lifetime }),
        (Some(username), Some(password), None) => Some(TurnLogin::Static { username, password }),
        _ => {
            return Err(Rejected::key(&["ice"], "TURN credentials that do not go together")
                .allowed("`turn_username` with `turn_password_file`, or `turn_secret_file` alone")
                .hint("remove what the TURN server does not ask for"));
        }
    };
    if !turn.is_empty() && turn_login.is_none() {
        return Err(Rejected::value(&["ice", "turn"], "servers, and nothing to log in with")
            .allowed("`turn_username` with `turn_password_file`, or `turn_secret_file`, besides")
            .hint("a TURN server without a login relays for everyone; give it one"));
    }
    Ok(Ice {
        stun,
        turn,
        turn_login,
        ports: ports(table.ports)?,
        tcp: table.tcp.unwrap_or(defaults.tcp),
        interfaces: patterns("interfaces", table.interfaces, defaults.interfaces)?,
        skip_interfaces: patterns("skip_interfaces", table.skip_interfaces, defaults.skip_interfaces)?,
    })
}

/// `SCHEME:HOST[:PORT][?transport=…]` of RFC 7064 and 7065.
fn server(text: &str, schemes: &[&str]) -> std::result::Result<String, String> {
    let example = format!("write it such as `{}:192.168.1.2:3478`", schemes[0]);
    let (scheme, rest) = text.split_once(':').ok_or_else(|| example.clone())?;
    if !schemes.contains(&scheme) || rest.starts_with('/') {
        return Err(example);
    }
    if rest.contains('@') {
        return Err("leave out name and password; they have keys of their own".into());
    }
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let transport = match query {
        None => true,
        Some(query) => scheme != "stun" && matches!(query, "transport=udp" | "transport=tcp"),
    };
    if !transport {
        return Err("after `?` only `transport=udp` or `transport=tcp` may follow, with TURN only".into());
    }
    Host::parse_with_port(place).map(|_| text.to_owned()).ok_or(example)
}

fn turn_username(text: Option<String>) -> Result<Option<String>> {
    // `:` ends the name in the URL that GStreamer takes.
    let plain = |text: &str| {
        (1..=200).contains(&text.chars().count()) && !text.chars().any(|c| c == ':' || c.is_control())
    };
    match text {
        Some(text) if !plain(&text) => Err(Rejected::value(&["ice", "turn_username"], quoted(&text))
            .hint("take the name that the TURN server knows")),
        other => Ok(other),
    }
}

/// `any`, or `FIRST-LAST`.
fn ports(text: Option<String>) -> Result<Option<RangeInclusive<u16>>> {
    let key = ["ice", "ports"];
    let Some(text) = text.filter(|text| text != "any") else { return Ok(None) };
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= 1024);
    let range = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
    match range {
        Some((first, last)) if last >= first && last - first >= 15 => Ok(Some(first..=last)),
        Some((first, last)) if last >= first => {
            Err(Rejected::value(&key, format!("{} ports", last - first + 1))
                .hint("each viewer of each camera needs one: take at least 16, better some hundreds"))
        }
        _ => Err(Rejected::value(&key, quoted(&text)).hint("ports from 1024 to 65535, the smaller first")),
    }
}

/// The name of an interface, with `*` for any letters.
fn pattern(text: &str) -> std::result::Result<String, String> {
    // IFNAMSIZ is 16; what the kernel allows beyond these letters nobody uses.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@*".contains(c);
    if text.is_empty() || text.len() > 32 || !text.chars().all(plain) {
        return Err("`ip -brief link` lists the names".into());
    }
    Ok(text.to_owned())
}

/// `[uplink.NAME]`; `settings` has the cameras.
pub(super) fn uplink(name: &str, table: file::Uplink, settings: &Settings) -> Result<Uplink> {
    let key = |key| ["uplink", name, key];
    let missing = |what: &str, hint: &str| {
        Err(Rejected::key(&["uplink", name], format!("no `{what}`"))
            .allowed("`url` and `room`; the others have defaults")
            .hint(hint.to_owned()))
    };
    let valid_name = table_name("uplink", name)?;
    let Some(url) = table.url else {
        return missing("url", "add a line such as `url = \"ws://192.168.1.5:8080/portal\"`");
    };
    let Some(room) = table.room else { return missing("room", "add a line such as `room = \"home\"`") };
    if room.is_empty() || room.chars().count() > 100 || room.chars().any(char::is_control) {
        return Err(
            Rejected::value(&key("room"), quoted(&room)).hint("take a room that the other server has")
        );
    }
    let cameras = match table.cameras {
        Some(names) => Some(cameras(&key("cameras"), &names, settings)?),
        None => None,
    };
    let box_name = match table.box_name {
        Some(text) => Some(Name::new(text.clone()).map_err(|_| {
            Rejected::value(&key("box"), quoted(&text))
                .hint("it becomes part of a member's id; use a short plain word")
        })?),
        None => None,
    };
    Ok(Uplink {
        name: valid_name,
        url: self::url(&key("url"), &url)?,
        room,
        cameras,
        box_name,
        token: secret_file(&key("token_file"), table.token_file)?,
        fingerprint: fingerprint(&key("fingerprint"), table.fingerprint)?,
    })
}

fn cameras(key: &[&str], names: &[String], settings: &Settings) -> Result<Vec<Name>> {
    let known = || settings.cameras.iter().map(|camera| camera.name.as_str());
    if let Some((index, name)) =
        names.iter().enumerate().find(|(_, name)| !known().any(|camera| camera == *name))
    {
        let hint = match closest(name, known()) {
            Some(camera) => format!("did you mean `{camera}`?"),
            None => format!("add a table `[camera.{}]`, or name a camera there is", shown(name)),
        };
        return Err(Rejected::value(key, quoted(name)).index(index).hint(hint));
    }
    list(key, names, true, |name| Name::new(name).map_err(|error| error.to_string()))
}

/// `ws://HOST[:PORT]/PATH`. A user's other schemes are those of the page they look at.
fn url(key: &[&str], text: &str) -> Result<String> {
    let rejected = |hint: String| Err(Rejected::value(key, quoted(text)).hint(hint));
    let Some((scheme, rest)) = text.split_once("://") else {
        return rejected("begin it with `ws://` or `wss://`".into());
    };
    let (place, path) = rest.find('/').map_or((rest, "/portal"), |at| rest.split_at(at));
    match scheme {
        "ws" | "wss" => {}
        "http" => return rejected(format!("did you mean `ws://{place}/portal`?")),
        "https" => return rejected(format!("did you mean `wss://{place}/portal`?")),
        _ => return rejected("begin it with `ws://` or `wss://`".into()),
    }
    if place.contains('@') {
        return rejected("leave out name and password; a token has a key of its own, `token_file`".into());
    }
    if Host::parse_with_port(place).is_none() {
        return rejected(
            "after the scheme comes the host, a name or an address, and a port if it is not the scheme's own"
                .into(),
        );
    }
    let plain = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c);
    if path.len() > 200 || !path.chars().all(plain) {
        return rejected("leave out `?` and what follows; the room has a key of its own".into());
    }
    Ok(format!("{scheme}://{place}{path}"))
}

fn fingerprint(key: &[&str], text: Option<String>) -> Result<Option<[u8; 32]>> {
    let Some(text) = text else { return Ok(None) };
    let digits: Vec<u32> =
        text.chars().filter(|c| !matches!(c, ':' | ' ')).map_while(|c| c.to_digit(16)).collect();
    let bytes: Vec<u8> =
        digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect();
    let all = text.chars().filter(|c| !matches!(c, ':' | ' ')).count();
    match <[u8; 32]>::try_from(bytes) {
        Ok(bytes) if all == 64 => Ok(Some(bytes)),
        _ => Err(Rejected::value(key, quoted(&text))
            .hint("the other portald logs it at its start; `openssl x509 -noout -fingerprint -sha256 -in FILE` shows that of a file")),
    }
}
