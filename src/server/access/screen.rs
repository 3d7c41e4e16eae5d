//! Whether a request may come in at all: its address, the name it was sent to, and the page that sent it.

use std::net::{IpAddr, Ipv6Addr};

use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Access, Client};
use crate::config::settings::{Host, Origin, Scheme};
use crate::server::Peer;
use crate::server::refusals::Reason;

/// Longest piece of a request that is repeated to whoever sent it, in characters.
const SHOWN: usize = 100;

/// A request that may come in.
#[derive(Debug)]
pub(in crate::server) struct Visit {
    /// Where it comes from.
    pub(in crate::server) client: Client,
    /// What the page that made it may do; none: a program, or a page's own plain request.
    pub(in crate::server) origin: Option<(HeaderValue, Standing)>,
}

/// What a page may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Standing {
    /// It is ours.
    Own,
    /// It may connect; if it is listed in `cors`, it may read the API too.
    Welcome {
        /// Whether it is.
        reads: bool,
    },
    /// It may read the API, and not connect.
    Reader,
    /// Nothing.
    Foreign,
}

/// Why a request may not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Refusal {
    pub(in crate::server) reason: Reason,
    pub(in crate::server) status: StatusCode,
    /// For programs.
    pub(in crate::server) code: &'static str,
    /// For whoever set up the page, the proxy or the box: what came, and which key to change to what.
    pub(in crate::server) message: String,
}

impl Access {
    /// Lets a request in, or not. `connects`: it opens a WebSocket or changes something, which pages of strangers
    /// may not; that they read nothing of what they are answered is the browser's part.
    pub(in crate::server) fn screen(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        connects: bool,
    ) -> Result<Visit, Refusal> {
        let policy = self.policy();
        let client =
            Client::of(peer.address, peer.secure, headers, &policy.trusted_proxies).map_err(bad_proxy)?;
        if !policy.networks.contains(client.address) {
            return Err(network_refused(client.address));
        }
        let host = self.host(&client, headers)?;
        let origin = match only(headers, header::ORIGIN) {
            Ok(None) => None,
            Ok(Some(value)) => Some((value.clone(), self.standing(value, host.as_ref(), &client))),
            Err(value) => Some((value.clone(), Standing::Foreign)),
        };
        match &origin {
            Some((value, Standing::Foreign | Standing::Reader)) if connects => {
                Err(origin_refused(value, &client))
            }
            _ => Ok(Visit { client, origin }),
        }
    }

    /// The host that was asked for, if the request says so. A stranger's page can only send one that is the
    /// stranger's: that of a name which was made to point here.
    fn host(&self, client: &Client, headers: &HeaderMap) -> Result<Option<(Host, Option<u16>)>, Refusal> {
        let value = only(headers, header::HOST).map_err(|value| host_refused(value, None))?;
        let Some(value) = value else { return Ok(client.host.clone()) };
        let parsed = value.to_str().ok().and_then(Host::parse_with_port);
        let Some(asked) = parsed else { return Err(host_refused(value, None)) };
        // Both are checked: a proxy that passes on what it is sent must not be a way around.
        for (host, _) in std::iter::once(&asked).chain(&client.host) {
            if !self.is_ours(host) {
                return Err(host_refused(value, Some(host)));
            }
        }
        Ok(Some(client.host.clone().unwrap_or(asked)))
    }

    fn is_ours(&self, host: &Host) -> bool {
        let listed = |name: &String| matches!(host, Host::Name(asked) if asked == name);
        host.cannot_be_rebound()
            || self.policy().hosts.iter().any(listed)
            || self.own_name.as_ref() == Some(host)
    }

    fn standing(&self, value: &HeaderValue, host: Option<&(Host, Option<u16>)>, client: &Client) -> Standing {
        let (policy, parsed) = (self.policy(), value.to_str().ok().and_then(Origin::parse));
        if parsed.as_ref().is_some_and(|origin| is_same(origin, host, client)) {
            return Standing::Own;
        }
        let reads = parsed.as_ref().is_some_and(|origin| policy.cors.contains(origin));
        // `null`, the origin of files and sandboxed frames, is everybody's: only who lets in all lets it in.
        match parsed.as_ref().map_or(policy.origins.any, |origin| policy.origins.contains(origin)) {
            true => Standing::Welcome { reads },
            false if reads => Standing::Reader,
            false => Standing::Foreign,
        }
    }
}

/// Whether the page came from where it now asks. Without TLS here its scheme is not looked at: an encrypted page of
/// this host and port came through a proxy that decrypts, and perhaps does not say so.
fn is_same(origin: &Origin, host: Option<&(Host, Option<u16>)>, client: &Client) -> bool {
    host.is_some_and(|(host, port)| {
        let scheme_fits = !client.secure || origin.scheme == Scheme::Https;
        scheme_fits
            && *host == origin.host
            && port.unwrap_or_else(|| origin.scheme.default_port()) == origin.port
    })
}

/// The value of a header that may be there once; `Err` with the last when there are several.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&HeaderValue>, &HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next_back()) {
        (_, Some(another)) => Err(another),
        (value, None) => Ok(value),
    }
}

fn bad_proxy(name: &'static str) -> Refusal {
    Refusal {
        reason: Reason::Proxy,
        status: StatusCode::BAD_REQUEST,
        code: "forwarded_invalid",
        message: format!(
            "the proxy in front of portald wrote a {name} that is none; mend its configuration, or take it out of \
             trusted_proxies in [access]"
        ),
    }
}

/// What an address outside is told, before or after its request is read.
pub(in crate::server) fn network_refused(address: IpAddr) -> Refusal {
    let network = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    };
    forbidden(
        Reason::Network,
        "network_refused",
        format!(
            "{address} is not in a network that may connect. To let it in, add it to networks in [access] of \
             portald.toml: networks = [\"lan\", \"{network}\"]"
        ),
    )
}

fn host_refused(value: &HeaderValue, host: Option<&Host>) -> Refusal {
    let message = match host {
        Some(host) => format!(
            "{host} is not known as a name of this box. If it is one, add it to hosts in [access] of portald.toml: \
             hosts = [\"{host}\"]"
        ),
        None => format!("`{}` is no host; ask for this box by its name or address", shown(value)),
    };
    forbidden(Reason::Host, "host_refused", message)
}

fn origin_refused(value: &HeaderValue, client: &Client) -> Refusal {
    let origin = shown(value);
    let message = if value.to_str().ok().and_then(Origin::parse).is_none() {
        format!(
            "a page without an origin (it sent `{origin}`), such as a file or a sandboxed frame, may not connect. Serve \
             it over HTTP, or let in all pages there are: origins = \"any\" in [access] of portald.toml"
        )
    } else {
        let proxy = if client.proxied {
            " If it is portald's own page, the proxy must pass on Host, or send X-Forwarded-Host and X-Forwarded-Proto."
        } else {
            ""
        };
        format!(
            "pages of {origin} may not connect. To let them in, add them to origins in [access] of portald.toml: \
             origins = [\"lan\", \"{origin}\"].{proxy}"
        )
    };
    forbidden(Reason::Origin, "origin_refused", message)
}

fn forbidden(reason: Reason, code: &'static str, message: String) -> Refusal {
    Refusal { reason, status: StatusCode::FORBIDDEN, code, message }
}

/// What somebody sent, for a message and a log line: short, and visible ASCII only.
fn shown(value: &HeaderValue) -> String {
    let visible = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
    value.as_bytes().iter().take(SHOWN).map(|byte| visible(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings as config;

    fn screened(
        access: &Access,
        secure: bool,
        lines: &[(&'static str, &str)],
    ) -> Result<Option<Standing>, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let peer = Peer { address: "192.168.1.9".parse().unwrap(), secure };
        let visit = access.screen(peer, &headers, true).map_err(|refusal| refusal.code)?;
        Ok(visit.origin.map(|(_, standing)| standing))
    }

    #[test]
    fn a_page_is_ours_when_host_and_port_are() {
        let access = Access::default();
        let plain =
            |host: &str, origin: &str| screened(&access, false, &[("host", host), ("origin", origin)]);
        let own = Ok(Some(Standing::Own));
        assert_eq!(plain("8.8.8.8:8080", "http://8.8.8.8:8080"), own);
        assert_eq!(plain("pi", "http://pi"), own);
        assert_eq!(plain("pi:80", "http://PI"), own);
        assert_eq!(plain("pi", "https://pi"), own, "through a proxy that decrypts");
        assert_eq!(plain("pi:8080", "http://pi"), Err("origin_refused"));
        assert_eq!(plain("pi", "http://pi.evil.com"), Err("origin_refused"));
        assert_eq!(plain("[fd00::1]:80", "http://[fd00::1]"), own);
        let tls = |host: &str, origin: &str| screened(&access, true, &[("host", host), ("origin", origin)]);
        assert_eq!(tls("pi", "https://pi"), own);
        assert_eq!(tls("pi:443", "http://pi:443"), Err("origin_refused"));
    }

    #[test]
    fn a_header_that_comes_twice_is_no_way_in() {
        let access = Access::default();
        let twice = [("origin", "http://192.168.1.5"), ("origin", "https://evil.com")];
        assert_eq!(screened(&access, false, &twice), Err("origin_refused"));
        assert_eq!(screened(&access, false, &[("host", "pi"), ("host", "evil.com")]), Err("host_refused"));
        assert_eq!(screened(&access, false, &[("host", "")]), Err("host_refused"));
        assert_eq!(screened(&access, false, &[]), Ok(None), "a program");
    }

    #[test]
    fn a_proxy_that_passes_on_headers_is_no_way_around() {
        let policy = config::Access {
            trusted_proxies: vec!["192.168.1.0/24".parse().unwrap()],
            hosts: vec!["cams.example.org".into()],
            ..config::Access::default()
        };
        let access = Access::open(&policy, &[]).unwrap();
        let own = [
            ("host", "127.0.0.1:8080"),
            ("x-forwarded-host", "cams.example.org"),
            ("x-forwarded-proto", "https"),
        ];
        let with = |more: &[(&'static str, &str)]| screened(&access, false, &[&own[..], more].concat());
        assert_eq!(with(&[("origin", "https://cams.example.org")]), Ok(Some(Standing::Own)));
        assert_eq!(with(&[("origin", "http://cams.example.org")]), Err("origin_refused"), "not encrypted");
        let rebound = [("host", "evil.com"), ("x-forwarded-host", "cams.example.org")];
        assert_eq!(screened(&access, false, &rebound), Err("host_refused"));
        let rebound = [("host", "127.0.0.1"), ("x-forwarded-host", "evil.com")];
        assert_eq!(screened(&access, false, &rebound), Err("host_refused"));
    }

    #[test]
    fn what_is_shown_of_a_request_is_short_and_harmless() {
        let value = HeaderValue::from_bytes(&[&b"a\xff\t<"[..], &[b'x'; 500]].concat()).unwrap();
        assert_eq!(shown(&value).chars().count(), SHOWN);
        assert!(shown(&value).starts_with("a??<x"));
    }
}
