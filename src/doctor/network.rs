//! Ports, and the addresses that the wall is reachable at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::live::Live;
use super::processes::{Process, Processes};
use super::tree::Tree;
use super::{Finding, Group};
use crate::config::settings::Settings;
use crate::server::ServerError;

/// Addresses of this box that are shown; a server with containers has dozens.
const MAX_URLS: usize = 8;
/// Ports from this one on need no privilege, unless the kernel was told otherwise.
const UNPRIVILEGED: u64 = 1024;

/// Ports and addresses.
#[derive(Debug, Default)]
pub(super) struct Facts {
    listen: Vec<(SocketAddr, Taken)>,
    /// Addresses of interfaces that are up, with the interfaces' names.
    pub(super) addresses: Vec<(String, IpAddr)>,
    host: String,
    has_mdns: bool,
    is_container: bool,
    unprivileged: u64,
}

/// Whether an address to listen at can be had.
#[derive(Debug)]
enum Taken {
    ByDaemon,
    Free,
    No { error: io::Error, by: Option<Process> },
}

impl Facts {
    pub(super) fn gather(tree: &Tree, live: &dyn Live, settings: &Settings, processes: &Processes) -> Self {
        let taken = |address: SocketAddr| match processes.listener(address) {
            Some(Some(process)) if process.is_daemon => Taken::ByDaemon,
            // Port 0 is any that is free.
            _ if address.port() == 0 => Taken::Free,
            holder => match live.listen(address) {
                Ok(()) => Taken::Free,
                Err(error) => Taken::No { error, by: holder.flatten().cloned() },
            },
        };
        Self {
            listen: settings.server.listen.iter().map(|address| (*address, taken(*address))).collect(),
            addresses: live.addresses(),
            host: tree.text("/proc/sys/kernel/hostname").unwrap_or_default(),
            has_mdns: tree.has("/run/avahi-daemon/socket"),
            is_container: ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| tree.has(mark)),
            unprivileged: tree
                .number("/proc/sys/net/ipv4/ip_unprivileged_port_start")
                .unwrap_or(UNPRIVILEGED),
        }
    }
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let (me, group) = (&facts.network, Group::Network);
    let mut found: Vec<Finding> =
        me.listen.iter().map(|(address, taken)| port(facts, *address, taken)).collect();
    let settings = facts.configuration.settings();
    let networks = settings.map(|settings| settings.access.networks.clone()).unwrap_or_default();
    let ice = settings.map(|settings| settings.ice.clone()).unwrap_or_default();
    // Nobody can type a link-local address of IPv6 with its scope into a browser.
    let typed =
        |ip: &IpAddr| !ip.is_loopback() && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let outside: Vec<&(String, IpAddr)> =
        me.addresses.iter().filter(|(name, ip)| typed(ip) && ice.uses_interface(name)).collect();
    if me.listen.iter().all(|(address, _)| address.ip().is_loopback()) && !me.listen.is_empty() {
        found.push(Finding::fine(
            group,
            "urls",
            "only browsers on this box can reach the wall: `listen` says so",
        ));
        return found;
    }
    if outside.is_empty() {
        found.push(
            Finding::broken(group, "addresses", "no interface is up that another machine could reach")
                .because("only browsers on this box can watch")
                .mend("ip -brief address; then plug in the cable, or join the Wi-Fi: nmcli device wifi connect NAME --ask"),
        );
        return found;
    }
    let (urls, refused) = urls(me, settings, &outside, |ip| networks.contains(ip));
    if urls.is_empty() {
        let listed: Vec<String> = refused.iter().map(|ip| format!("\"{}\"", network_of(*ip))).collect();
        found.push(
            Finding::warning(
                group,
                "refused",
                format!("all addresses of this box are public: {}", words(&refused)),
            )
            .because("by `networks` in [access] only the LAN may come in, and its addresses are others")
            .mend(format!(
                "in [access], if these are your own machines: networks = [\"lan\", {}]",
                listed.join(", ")
            )),
        );
    } else {
        found.push(Finding::fine(group, "urls", format!("the wall is at {}", urls.join(" "))));
    }
    // Docker's networks are 172.17.0.0/12 by default; with --network host the box's own interfaces are seen.
    let bridged = |ip: &IpAddr| matches!(ip, IpAddr::V4(v4) if v4.is_private() && v4.octets()[0] == 172);
    if me.is_container && outside.iter().all(|(name, ip)| name.starts_with("eth") && bridged(ip)) {
        found.push(
            Finding::warning(group, "container", "this container has a network of its own")
                .because("pictures go over UDP to ports that no other machine can reach: tiles stay black")
                .mend("start the container with: --network host"),
        );
    }
    found
}

fn words(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The network that an address most probably belongs to: what an interface has mostly, and a provider gives out.
fn network_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// What a person types to see the wall, and the addresses whose neighbours would be refused.
fn urls(
    me: &Facts,
    settings: Option<&Settings>,
    outside: &[&(String, IpAddr)],
    may_come: impl Fn(IpAddr) -> bool,
) -> (Vec<String>, Vec<IpAddr>) {
    let scheme =
        if settings.is_some_and(|settings| settings.server.tls.is_some()) { "https" } else { "http" };
    let (mut urls, mut refused) = (Vec::new(), Vec::new());
    for (listen, _) in &me.listen {
        let port = listen.port();
        let any = listen.ip().is_unspecified();
        let is_plain = (scheme, port) == ("http", 80) || (scheme, port) == ("https", 443);
        let port = if is_plain { String::new() } else { format!(":{port}") };
        let url = |host: &str| format!("{scheme}://{host}{port}/");
        if any && me.has_mdns && !me.host.is_empty() {
            urls.push(url(&format!("{}.local", me.host)));
        }
        for (_, ip) in outside {
            if any && ip.is_ipv6() && listen.is_ipv4() || !any && *ip != listen.ip() {
                continue;
            }
            if may_come(*ip) {
                urls.push(url(&if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }));
            } else {
                refused.push(*ip);
            }
        }
    }
    urls.dedup();
    urls.truncate(MAX_URLS);
    (urls, refused)
}

fn port(facts: &super::Facts, address: SocketAddr, taken: &Taken) -> Finding {
    let (me, person, group) = (&facts.network, &facts.person, Group::Network);
    let number = address.port();
    let may_bind_low = person.uid == Some(0) || facts.unit.as_ref().is_some_and(|unit| unit.may_bind_low);
    match taken {
        Taken::ByDaemon => Finding::fine(group, "port", format!("portald listens at {address}")),
        // Root can try it out; the user that portald runs as cannot have it.
        Taken::Free if u64::from(number) < me.unprivileged && number != 0 && !may_bind_low => {
            let error = io::Error::from_raw_os_error(13); // EACCES
            let hint = ServerError::Listen { address, source: error }.hint().unwrap_or_default();
            let what = format!(
                "port {number} is below {}, and {} may not listen there",
                me.unprivileged, person.name
            );
            Finding::broken(group, "port", what).because("portald does not start").mend(hint)
        }
        Taken::Free => Finding::fine(group, "port", format!("{address} is free for portald to listen at")),
        Taken::No { error, by } => {
            let by = by.as_ref();
            let what = match by {
                Some(process) => format!("port {number} is taken by {}", process.words()),
                None => format!("cannot listen at {address}: {error}"),
            };
            let source = error
                .raw_os_error()
                .map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error);
            let hint = ServerError::Listen { address, source }.hint();
            let mend = match by {
                Some(process) => format!("{}; or give [server] listen another port", process.ending()),
                None => hint.unwrap_or_else(|| "ss -ltnp".to_owned()),
            };
            Finding::broken(group, "port", what).because("portald does not start").mend(mend)
        }
    }
}
