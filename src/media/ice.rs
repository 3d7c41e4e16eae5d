//! Which ways a viewer's pipeline tries: servers, ports, and the addresses of this box.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use log::warn;

use crate::config::settings;
use crate::ice::IceServers;

/// Interfaces that libnice leaves out by itself: its build option `ignored-network-interface-prefix`, which Debian
/// leaves at its default.
const SKIPPED_BY_LIBNICE: [&str; 4] = ["docker", "veth", "virbr", "vnet"];
/// Pause between two connectivity checks, in ms. RFC 8445 wants 50 on the internet and allows less on a LAN; each join
/// waits for about five of them: 67 ms at libnice's own 20, 29 ms at 5.
const PACING: u32 = 5;
/// The port of STUN and TURN, and of TURN over TLS (RFC 8489, RFC 8656).
const PORTS: (u16, u16) = (3478, 5349);

/// The settings of `[ice]` as every viewer's pipeline uses them.
#[derive(Debug, Default)]
pub struct Ice {
    settings: RwLock<Arc<settings::Ice>>,
    servers: Arc<IceServers>,
    /// Whether it was said that the choice of interfaces leaves nothing.
    told: AtomicBool,
}

/// An address of this box.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    interface: String,
    address: IpAddr,
}

impl Local {
    /// As libnice reads it: a link-local address of IPv6 is worth something with its interface only (RFC 4007).
    fn text(&self) -> String {
        match self.address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("{v6}%{}", self.interface),
            address => address.to_string(),
        }
    }
}

impl Ice {
    /// With servers that were opened from the same settings.
    #[must_use]
    pub fn new(settings: settings::Ice, servers: Arc<IceServers>) -> Self {
        Self { settings: RwLock::new(Arc::new(settings)), servers, told: AtomicBool::new(false) }
    }

    /// Tells viewers' pipelines made from now on of other settings, to which the servers have been changed.
    pub fn change(&self, settings: settings::Ice) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.told.store(false, Ordering::Relaxed);
    }

    fn settings(&self) -> Arc<settings::Ice> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells a webrtcbin that has not started yet. May block for as long as a server's name takes to be found.
    pub(super) fn apply(&self, webrtc: &gst::Element) {
        let (settings, ice) = (self.settings(), webrtc.property::<glib::Object>("ice-agent"));
        if ice.find_property("agent").is_some() {
            let agent = ice.property::<glib::Object>("agent");
            // UPnP: one thread, eleven descriptors and multicast on the user's network, for each viewer.
            agent.set_property("upnp", false);
            // 1.22 never notices a dead viewer; this backstop does after 48 s.
            agent.set_property("keepalive-conncheck", true);
            agent.set_property("stun-pacing-timer", PACING);
            // Three descriptors a viewer.
            agent.set_property("ice-tcp", settings.tcp);
        }
        if let Some(ports) = &settings.ports {
            // In this order: each is checked against the other.
            ice.set_property("max-rtp-port", u32::from(*ports.end()));
            ice.set_property("min-rtp-port", u32::from(*ports.start()));
        }
        for server in self.servers.servers(SystemTime::now()) {
            let login = server.login.as_ref().map(|(name, password)| (name.as_str(), password.reveal()));
            let mut urls = server.urls.iter().filter_map(|url| for_webrtcbin(url, login));
            if server.login.is_none() {
                // It takes one: another would tell the same.
                webrtc.set_property("stun-server", urls.next());
                continue;
            }
            for url in urls {
                if !webrtc.emit_by_name::<bool>("add-turn-server", &[&url]) {
                    self.tell_once(&format!(
                        "webrtcbin takes none of the TURN servers {}",
                        server.urls.join(" ")
                    ));
                }
            }
        }
        for address in self.addresses() {
            ice.emit_by_name::<bool>("add-local-ip-address", &[&address]);
        }
    }

    /// The addresses to use; none: libnice chooses.
    fn addresses(&self) -> Vec<String> {
        let found = match if_addrs::get_if_addrs() {
            Ok(found) => found,
            Err(error) => {
                self.tell_once(&format!("the network interfaces cannot be listed: {error}; all are used"));
                return Vec::new();
            }
        };
        let found: Vec<Local> = found
            .into_iter()
            .filter(if_addrs::Interface::is_oper_up)
            .map(|found| Local { address: found.ip(), interface: found.name })
            .collect();
        let chosen = choose(&self.settings(), &found);
        if chosen.none_left {
            self.tell_once(
                "[ice] interfaces and skip_interfaces leave no interface of this box; all are used",
            );
        }
        chosen.named
    }

    fn tell_once(&self, what: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            warn!("{what}");
        }
    }
}

/// The addresses to name to libnice.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    /// None when it would choose the same by itself.
    named: Vec<String>,
    /// The settings left none of those that the box has.
    none_left: bool,
}

/// Chooses among the addresses of interfaces that are up.
fn choose(settings: &settings::Ice, found: &[Local]) -> Chosen {
    let by_itself = |local: &&Local| {
        !local.address.is_loopback()
            && !SKIPPED_BY_LIBNICE.iter().any(|prefix| local.interface.starts_with(prefix))
    };
    // No other machine can reach loopback: it is for who asks for it by name, and for a box that has nothing else, where
    // libnice (0.1.21) would offer no candidate at all.
    let asked = |local: &&Local| settings.interfaces.contains(&local.interface);
    let wanted = |local: &&Local| {
        settings.uses_interface(&local.interface) && (!local.address.is_loopback() || asked(local))
    };
    let mut chosen: Vec<&Local> = found.iter().filter(wanted).collect();
    let reachable = || found.iter().filter(|local| !local.address.is_loopback());
    let none_left = chosen.is_empty() && reachable().next().is_some();
    if none_left {
        chosen = reachable().collect();
    } else if chosen.is_empty() {
        chosen = found.iter().collect();
    }
    let same = chosen == found.iter().filter(by_itself).collect::<Vec<_>>();
    Chosen { named: if same { Vec::new() } else { chosen.into_iter().map(Local::text).collect() }, none_left }
}

/// `stun:HOST[:PORT]` as webrtcbin wants it, `stun://HOST:PORT`; and `turn:HOST[:PORT][?transport=T]` with the login,
/// `turn://NAME:PASSWORD@HOST:PORT?transport=T`. `None` for what is neither.
fn for_webrtcbin(url: &str, login: Option<(&str, &str)>) -> Option<String> {
    let (scheme, rest) = url.split_once(':')?;
    let (server, query) = rest.split_once('?').map_or((rest, None), |(server, query)| (server, Some(query)));
    let port = if scheme == "turns" { PORTS.1 } else { PORTS.0 };
    // The colons in an IPv6 address are between brackets.
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let server = if has_port { server.to_owned() } else { format!("{server}:{port}") };
    match (scheme, login) {
        ("stun", _) => Some(format!("stun://{server}")),
        ("turn" | "turns", Some((name, password))) => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            Some(format!("{scheme}://{}:{}@{server}{query}", escaped(name), escaped(password)))
        }
        _ => None,
    }
}

/// All but RFC 3986's unreserved characters as `%XX`.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            // Writing to a String cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::media::Timeline;
    use crate::media::peer::{Peer, PeerEvent};
    use crate::proto::message::{Description, SdpKind};
    use crate::proto::negotiation::{Generation, Input};

    /// The candidates of a real webrtcbin with these settings, until `enough` says that those waited for are there.
    fn candidates(settings: settings::Ice, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let servers = Arc::new(IceServers::open(&settings).unwrap());
        let timeline = Timeline::start().unwrap().with_ice(Arc::new(Ice::new(settings, servers)));
        let (peer, mut events) = Peer::new(&timeline, "candidates").unwrap();
        peer.create_offer(Generation(1));
        let mut found = Vec::new();
        let limit = Instant::now() + Duration::from_secs(60);
        while !enough(&found) {
            assert!(Instant::now() < limit, "only {found:?}");
            match events.try_recv() {
                Ok(PeerEvent::Negotiation(Input::OfferCreated { sdp, .. })) => {
                    peer.set_local(Generation(2), &Description { kind: SdpKind::Offer, sdp });
                }
                Ok(PeerEvent::Negotiation(Input::LocalCandidate { candidate, .. })) => found.push(candidate),
                Ok(other) => panic!("{other:?}"),
                Err(_) => sleep(Duration::from_millis(5)),
            }
        }
        peer.stop();
        found
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_range_of_ports_and_an_interface_show_in_the_candidates() {
        let lo = settings::Ice {
            interfaces: list(&["lo"]),
            ports: Some(50_300..=50_320),
            ..settings::Ice::default()
        };
        let offered = candidates(lo.clone(), |found| found.iter().any(|c| c.contains(" 127.0.0.1 ")));
        for candidate in &offered {
            let fields: Vec<&str> = candidate.split(' ').collect();
            assert!(["127.0.0.1", "::1"].contains(&fields[4]), "{candidate}");
            assert_eq!((fields[2], fields[7]), ("UDP", "host"), "{candidate}");
            assert!((50_300..=50_320).contains(&fields[5].parse().unwrap()), "{candidate}");
        }
        // Port 9 is that of active candidates, which are never connected to (RFC 6544).
        let passive = |candidate: &String| candidate.ends_with("tcptype passive");
        let both = candidates(settings::Ice { tcp: true, ..lo }, |found| found.iter().any(passive));
        let candidate = both.iter().find(|candidate| passive(candidate)).unwrap();
        let fields: Vec<&str> = candidate.split(' ').collect();
        assert!((50_300..=50_320).contains(&fields[5].parse().unwrap()), "{candidate}");
    }

    #[test]
    fn containers_are_left_out_and_libnice_is_told_only_what_it_would_not_choose() {
        let local = |interface: &str, address: &str| Local {
            interface: interface.into(),
            address: address.parse().unwrap(),
        };
        let lo = [local("lo", "127.0.0.1"), local("lo", "::1")];
        let eth = [local("eth0", "192.168.1.5"), local("eth0", "fe80::5"), local("eth0", "fd00::5")];
        let docker = [local("docker0", "172.17.0.1"), local("veth12", "fe80::7")];
        let bridge = [local("br-0123", "172.18.0.1")];
        let default = settings::Ice::default();
        let only = |names: &[&str]| settings::Ice { interfaces: list(names), ..settings::Ice::default() };
        let skip =
            |names: &[&str]| settings::Ice { skip_interfaces: list(names), ..settings::Ice::default() };
        let eth_named = ["192.168.1.5", "fe80::5%eth0", "fd00::5"];
        for (settings, found, named, none_left) in [
            (&default, [&lo[..], &eth, &docker].concat(), &[][..], false),
            (&default, [&lo[..], &eth, &docker, &bridge].concat(), &eth_named, false),
            (&default, lo.to_vec(), &["127.0.0.1", "::1"], false),
            (&default, Vec::new(), &[], false),
            (&only(&["eth*"]), [&lo[..], &eth].concat(), &[], false),
            (&only(&["lo"]), [&lo[..], &eth].concat(), &["127.0.0.1", "::1"], false),
            (&only(&["*"]), [&lo[..], &eth].concat(), &[], false),
            (&only(&["wlan0"]), [&lo[..], &eth].concat(), &[], true),
            (&only(&["wlan0"]), [&eth[..], &bridge].concat(), &[], true),
            (&only(&["wlan0"]), [&lo[..], &docker].concat(), &["172.17.0.1", "fe80::7%veth12"], true),
            (&skip(&["eth0"]), [&lo[..], &eth, &docker].concat(), &["172.17.0.1", "fe80::7%veth12"], false),
        ] {
            let expected = Chosen { named: list(named), none_left };
            assert_eq!(choose(settings, &found), expected, "{settings:?} {found:?}");
        }
    }

    #[test]
    fn servers_are_written_as_webrtcbin_reads_them() {
        let login = Some(("1700086400:portald", "a+/b=@:"));
        for (url, expected) in [
            ("stun:192.168.1.2", Some("stun://192.168.1.2:3478")),
            ("stun:stun.lan:19302", Some("stun://stun.lan:19302")),
            ("stun:[fd00::1]", Some("stun://[fd00::1]:3478")),
            ("turn:t.lan", Some("turn://1700086400%3Aportald:a%2B%2Fb%3D%40%3A@t.lan:3478")),
            (
                "turn:[fd00::1]:443?transport=tcp",
                Some("turn://1700086400%3Aportald:a%2B%2Fb%3D%40%3A@[fd00::1]:443?transport=tcp"),
            ),
            ("turns:t.lan", Some("turns://1700086400%3Aportald:a%2B%2Fb%3D%40%3A@t.lan:5349")),
            ("http://t.lan", None),
        ] {
            assert_eq!(for_webrtcbin(url, login).as_deref(), expected, "{url}");
        }
        assert_eq!(for_webrtcbin("turn:t.lan", None), None);
    }
}
