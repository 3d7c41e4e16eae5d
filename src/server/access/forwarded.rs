//! Who a request really comes from, when reverse proxies stand in between.

use std::net::IpAddr;

use ipnet::IpNet;
use warp::http::HeaderMap;

use crate::config::settings::Host;

/// Entries of `X-Forwarded-For` that are read, from the right: more proxies in a row than anybody has.
const MAX_HOPS: usize = 16;

/// Where a request comes from, and how it was sent, as far as it can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Client {
    /// The address; IPv4 ones as such.
    pub(in crate::server) address: IpAddr,
    /// Whether a proxy that is believed stands in between.
    pub(in crate::server) proxied: bool,
    /// Whether it came encrypted, to us or to the proxy.
    pub(in crate::server) secure: bool,
    /// The host that the proxy was asked for, if it says so; `Host` is then what it asked us for.
    pub(in crate::server) host: Option<(Host, Option<u16>)>,
}

impl Client {
    /// Of a request from `peer`, whose connection is encrypted or not. Only what `trusted` proxies write in
    /// `X-Forwarded-…` is believed; of several addresses the last counts that is none of them, because everything
    /// before it is what a client may have invented.
    ///
    /// # Errors
    /// The header that a trusted proxy wrote and that cannot be read.
    pub(in crate::server) fn of(
        peer: IpAddr,
        encrypted: bool,
        headers: &HeaderMap,
        trusted: &[IpNet],
    ) -> Result<Self, &'static str> {
        let peer = peer.to_canonical();
        let direct = Self { address: peer, proxied: false, secure: encrypted, host: None };
        if !is_one_of(trusted, peer) {
            return Ok(direct);
        }
        let address = origin_of(peer, headers, trusted)?;
        let secure = match last(headers, "x-forwarded-proto")? {
            None => encrypted,
            // Some proxies name the scheme of the WebSocket.
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            Some(_) => return Err("X-Forwarded-Proto"),
        };
        let host = match last(headers, "x-forwarded-host")? {
            None => None,
            Some(text) => Some(Host::parse_with_port(text).ok_or("X-Forwarded-Host")?),
        };
        Ok(Self { address, proxied: true, secure, host })
    }
}

/// Whether `address` is in one of `networks`.
pub(in crate::server) fn is_one_of(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

fn origin_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Result<IpAddr, &'static str> {
    const NAME: &str = "X-Forwarded-For";
    let mut lines = Vec::new();
    for line in headers.get_all(NAME) {
        lines.push(line.to_str().map_err(|_| NAME)?);
    }
    // Each proxy adds who asked it: the last one is what ours saw.
    let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(',')).map(str::trim);
    let mut address = peer;
    for hop in hops.by_ref().take(MAX_HOPS) {
        address = parse_hop(hop).ok_or(NAME)?;
        if !is_one_of(trusted, address) {
            return Ok(address);
        }
    }
    if hops.next().is_some() { Err(NAME) } else { Ok(address) }
}

/// An address, perhaps with a port as some proxies write it.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = || text.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare().or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

/// The last value of a header that may be a list: the one that the proxy next to us wrote.
fn last<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, &'static str> {
    let Some(line) = headers.get_all(name).iter().next_back() else { return Ok(None) };
    let line = line.to_str().map_err(|_| name)?;
    Ok(line.rsplit(',').next().map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> Result<Client, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = ["127.0.0.1/32".parse().unwrap(), "10.0.0.0/24".parse().unwrap()];
        Client::of(peer.parse().unwrap(), false, &headers, &trusted)
    }

    fn address(peer: &str, lines: &[&str]) -> Result<String, &'static str> {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        client(peer, &lines).map(|client| client.address.to_string())
    }

    #[test]
    fn only_what_trusted_proxies_add_is_believed() {
        let seen = |text: &str| Ok(text.to_owned());
        assert_eq!(address("192.168.1.9", &["1.2.3.4"]), seen("192.168.1.9"), "no proxy of ours");
        assert_eq!(address("127.0.0.1", &[]), seen("127.0.0.1"));
        assert_eq!(address("::ffff:127.0.0.1", &["1.2.3.4"]), seen("1.2.3.4"));
        assert_eq!(address("127.0.0.1", &["192.168.1.1, 1.2.3.4"]), seen("1.2.3.4"), "the first is invented");
        assert_eq!(address("127.0.0.1", &["192.168.1.1", "1.2.3.4"]), seen("1.2.3.4"), "in two lines");
        assert_eq!(address("127.0.0.1", &["1.2.3.4, 10.0.0.7"]), seen("1.2.3.4"), "two proxies in a row");
        assert_eq!(address("127.0.0.1", &["10.0.0.8,10.0.0.7"]), seen("10.0.0.8"), "proxies alone");
        assert_eq!(address("127.0.0.1", &["[2001:db8::1]:9"]), seen("2001:db8::1"));
        assert_eq!(address("127.0.0.1", &["[2001:db8::1]"]), seen("2001:db8::1"));
        assert_eq!(address("127.0.0.1", &["::ffff:1.2.3.4"]), seen("1.2.3.4"));
        assert_eq!(address("127.0.0.1", &["1.2.3.4:5678"]), seen("1.2.3.4"));
    }

    #[test]
    fn what_a_proxy_writes_wrongly_is_no_address() {
        for bad in ["", "unknown", "1.2.3", "1.2.3.4,", "a, 10.0.0.7", "_hidden", "1.2.3.4 5.6.7.8"] {
            assert_eq!(address("127.0.0.1", &[bad]), Err("X-Forwarded-For"), "{bad:?}");
        }
        assert_eq!(address("127.0.0.1", &[&["10.0.0.7"; 17].join(",")]), Err("X-Forwarded-For"));
        // What stands before the address that counts is the client's own business.
        assert_eq!(address("127.0.0.1", &["nonsense, 1.2.3.4"]), Ok("1.2.3.4".to_owned()));
        assert_eq!(client("127.0.0.1", &[("x-forwarded-proto", "gopher")]), Err("X-Forwarded-Proto"));
        assert_eq!(client("127.0.0.1", &[("x-forwarded-host", "a b")]), Err("X-Forwarded-Host"));
        assert!(client("192.168.1.9", &[("x-forwarded-host", "a b")]).is_ok(), "not looked at");
    }

    #[test]
    fn scheme_and_host_are_those_that_the_proxy_was_asked_for() {
        let lines =
            [("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil.com, cams.example.org:8443")];
        let client = client("10.0.0.1", &lines).unwrap();
        assert!(client.secure && client.proxied);
        assert_eq!(client.host, Host::parse_with_port("cams.example.org:8443"));
    }
}
