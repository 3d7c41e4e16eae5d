//! Announces the wall in the LAN by multicast DNS (RFC 6762) as a web service (RFC 6763, `_http._tcp`), so that it is
//! found without typing an address.
//!
//! The service has a host name of its own, `HOST-portald.local`, and `HOST.local` is never claimed: that is Avahi's or
//! systemd-resolved's, which would see a conflict as soon as the two disagree in one address of one interface, and
//! rename the box. So it makes no difference whether one of them runs, when it starts, and what it publishes. Several
//! responders share port 5353; what is multicast comes to all of them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log::{info, warn};
use mdns_sd::{DaemonEvent, IfKind, IfPredicate, Receiver, ServiceDaemon, ServiceInfo};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::settings::{Ice, mdns_label};

/// So long without a word on the wire, the log says so: names are probed for 0.75 s, and a box that has just started may
/// have to wait for its address. It goes on all the same.
const SILENT: Duration = Duration::from_secs(60);
/// For taking the announcement back: packets that are sent at once.
const GOODBYE: Duration = Duration::from_millis(500);
/// How often the library's memory is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Records of others, and times at which they end, that it may keep: some of what it hears it keeps for as long as the
/// sender says, so a stranger could fill it. A large LAN makes some thousands; beyond, it is started anew.
const MAX_KEPT: i64 = 50_000;
/// The longest label of a name (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// What is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    kind: &'static str,
    /// What people read in a list.
    title: String,
    /// The name that leads to our addresses.
    host: String,
    port: u16,
    /// Where it listens at this port.
    listens: Vec<IpAddr>,
}

/// The wall is announced; see [`Announcement::end`].
#[derive(Debug)]
pub(crate) struct Announcement {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Announces the wall that listens at `bound` on the interfaces that `ice` uses, unless nobody else could reach it.
/// To be called within the runtime. What goes wrong is logged once, and nothing else depends on it.
#[must_use]
pub(crate) fn announce(bound: &[SocketAddr], encrypted: bool, ice: &Ice) -> Option<Announcement> {
    let service = Service::of(bound, encrypted, &mdns_label())?;
    let (stop, stopping) = oneshot::channel();
    let task = tokio::spawn(keep(service, ice.clone(), stopping));
    Some(Announcement { stop, task })
}

impl Announcement {
    /// Takes it back, so that lists forget the wall at once.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Keeps the service announced until it is told to stop.
async fn keep(service: Service, ice: Ice, mut stopping: oneshot::Receiver<()>) {
    let mut told = Told::default();
    loop {
        let (daemon, name, events) = match start(&service, ice.clone()) {
            Ok(started) => started,
            Err(error) => {
                return warn!(
                    "mDNS: the wall is not announced: {error}; `mdns = false` in [server] does without"
                );
            }
        };
        let overfull = tokio::select! {
            () = follow(&service, &events, &mut told) => return, // it ended by itself
            () = fills(&daemon) => true,
            _ = &mut stopping => false,
        };
        if let Ok(ended) = daemon.unregister(&name) {
            let _ = timeout(GOODBYE, ended.recv_async()).await;
        }
        if let Ok(ended) = daemon.shutdown() {
            let _ = timeout(GOODBYE, ended.recv_async()).await;
        }
        if !overfull {
            return;
        }
        if !std::mem::replace(&mut told.overfull, true) {
            warn!("mDNS: somebody in the LAN sends records without end; they are forgotten each time");
        }
    }
}

/// Returns when the library keeps too much.
async fn fills(daemon: &ServiceDaemon) {
    loop {
        sleep(LOOK).await;
        let Ok(asked) = daemon.get_metrics() else { continue };
        let Ok(Ok(counts)) = timeout(LOOK, asked.recv_async()).await else { continue };
        let is_kept = |name: &str| name.starts_with("cached-") || name == "timer";
        let kept: i64 = counts.iter().filter(|(name, _)| is_kept(name)).map(|(_, count)| count).sum();
        if kept > MAX_KEPT {
            return;
        }
    }
}

impl Service {
    /// The service of the first port that others can reach; none when all listen for this box alone.
    fn of(bound: &[SocketAddr], encrypted: bool, label: &str) -> Option<Self> {
        let port = bound.iter().find(|address| !address.ip().is_loopback())?.port();
        let listens = bound.iter().filter(|address| address.port() == port).map(SocketAddr::ip).collect();
        let title = format!("Cameras of {}", label.strip_suffix("-portald").unwrap_or("this box"));
        Some(Self {
            kind: if encrypted { "_https._tcp.local." } else { "_http._tcp.local." },
            title: title.chars().take(MAX_LABEL).collect(),
            host: format!("{label}.local."),
            port,
            listens,
        })
    }

    /// Whether it can be reached at this address of this box.
    fn is_at(&self, address: IpAddr) -> bool {
        !address.is_loopback()
            && self.listens.iter().any(|listens| match listens {
                IpAddr::V4(listens) if listens.is_unspecified() => address.is_ipv4(),
                IpAddr::V6(listens) if listens.is_unspecified() => true, // our socket takes IPv4 too
                listens => *listens == address,
            })
    }
}

fn start(service: &Service, ice: Ice) -> mdns_sd::Result<(ServiceDaemon, String, Receiver<DaemonEvent>)> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.monitor()?;
    let reachable = service.clone();
    let fits =
        move |found: &if_addrs::Interface| ice.uses_interface(&found.name) && reachable.is_at(found.ip());
    // Asked of each interface that is there or comes later.
    let others = fits.clone();
    daemon.disable_interface(IfKind::Predicate(IfPredicate::new(move |found| !others(found))))?;
    let Service { kind, title, host, port, .. } = service;
    let mut info = ServiceInfo::new(kind, title, host, (), *port, &[("path", "/")][..])?.enable_addr_auto();
    info.set_interfaces(vec![IfKind::Predicate(IfPredicate::new(fits))]);
    let name = info.get_fullname().to_owned();
    daemon.register(info)?;
    Ok((daemon, name, events))
}

/// What the log was told already.
#[derive(Debug, Default)]
struct Told {
    announced: bool,
    failed: bool,
    overfull: bool,
    renamed: bool,
}

/// Logs what comes of it, until its end.
async fn follow(service: &Service, events: &Receiver<DaemonEvent>, told: &mut Told) {
    let Service { title, host, port, kind, .. } = service;
    let mut host = host.clone();
    let silence = sleep(SILENT);
    tokio::pin!(silence);
    loop {
        tokio::select! {
            event = events.recv_async() => match event {
                Ok(DaemonEvent::Announce(..)) if !told.announced => {
                    told.announced = true;
                    let scheme = if kind.starts_with("_https") { "https" } else { "http" };
                    let host = host.trim_end_matches('.');
                    info!("mDNS: announced as \"{title}\", {scheme}://{host}:{port}/");
                }
                Ok(DaemonEvent::NameChange(change)) if change.original.eq_ignore_ascii_case(&host) => {
                    if !std::mem::replace(&mut told.renamed, true) {
                        info!("mDNS: {host} is another's already; {} is used", change.new_name);
                    }
                    host = change.new_name;
                }
                Ok(DaemonEvent::Error(error)) if !told.failed => {
                    told.failed = true;
                    warn!("mDNS: {error}; the wall may not be found by its name");
                }
                Ok(_) => {}
                Err(_) => return,
            },
            () = &mut silence, if !told.announced && !told.failed => {
                told.failed = true;
                warn!(
                    "mDNS: the wall is not announced yet: no interface has an address that it listens at, or multicast \
                     is not possible; `mdns = false` in [server] does without"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(bound: &[&str]) -> Option<Service> {
        let bound: Vec<SocketAddr> = bound.iter().map(|text| text.parse().unwrap()).collect();
        Service::of(&bound, false, "pi-portald")
    }

    #[test]
    fn what_only_this_box_can_reach_is_not_announced() {
        assert_eq!(service(&["127.0.0.1:8080", "[::1]:8080"]), None);
        let mixed =
            service(&["127.0.0.1:80", "192.168.1.5:8080", "[fd00::5]:8080", "10.0.0.1:9000"]).unwrap();
        assert_eq!((mixed.port, mixed.listens.len()), (8080, 2));
        for (address, fits) in
            [("192.168.1.5", true), ("fd00::5", true), ("10.0.0.1", false), ("127.0.0.1", false)]
        {
            assert_eq!(mixed.is_at(address.parse().unwrap()), fits, "{address}");
        }
    }

    #[test]
    fn an_unspecified_address_is_every_one_of_its_family() {
        let both = service(&["[::]:8080"]).unwrap();
        let v4 = service(&["0.0.0.0:8080"]).unwrap();
        for (address, of_both, of_v4) in
            [("192.0.2.1", true, true), ("fe80::1", true, false), ("::1", false, false)]
        {
            let address = address.parse().unwrap();
            assert_eq!((both.is_at(address), v4.is_at(address)), (of_both, of_v4), "{address}");
        }
    }

    #[test]
    fn names_say_whose_cameras_they_are() {
        let plain = service(&["[::]:80"]).unwrap();
        assert_eq!(
            (plain.kind, plain.title.as_str(), plain.host.as_str()),
            ("_http._tcp.local.", "Cameras of pi", "pi-portald.local.")
        );
        let tls = Service::of(&["[::]:443".parse().unwrap()], true, "portald").unwrap();
        assert_eq!((tls.kind, tls.title.as_str()), ("_https._tcp.local.", "Cameras of this box"));
    }
}
