//! HTTP and WebSockets: the only warp code.
//!
//! `accept` owns the listening sockets and their limits, `routes` says what answers where, `socket` is one
//! WebSocket between a client and the hub, `page` the wall's files and `api` what programs read.

mod accept;
mod api;
mod linger;
mod metrics;
mod page;
mod rate;
mod routes;
mod slots;
mod socket;
mod websocket;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::settings as config;
use crate::hub::Hub;
use crate::proto::message::MAX_MESSAGE;
use crate::proto::room::RoomView;
use crate::status::Cameras;

/// Everything a request can ask about.
#[derive(Clone)]
pub struct Site {
    /// Where sockets join their rooms.
    pub hub: Hub,
    /// What `/api/cameras` lists.
    pub cameras: Cameras,
    /// Where clients open their WebSocket, such as `/portal`.
    pub path: String,
    /// The `RTCConfiguration` a page should use.
    pub rtc: serde_json::Value,
    /// Ours, for the metrics.
    pub version: &'static str,
}

impl Site {
    /// With the default path and without STUN and TURN: on a LAN host candidates do.
    #[must_use]
    pub fn new(hub: Hub, cameras: Cameras) -> Self {
        Self {
            hub,
            cameras,
            path: config::Server::default().path,
            rtc: serde_json::json!({ "iceServers": [] }),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl fmt::Debug for Site {
    /// Without `rtc`: a TURN server's password may be in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("path", &self.path)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What one client, one address and all of them together may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections in all.
    pub sockets: usize,
    /// TCP connections from one address.
    pub per_address: usize,
    /// How long a client may take for a request's headers, and how long an idle connection is kept.
    pub header: Duration,
    /// How long a connection may live that has not become a WebSocket.
    pub connection: Duration,
    /// How long a client may take to accept one message.
    pub write: Duration,
    /// Between the server's pings.
    pub ping: Duration,
    /// A WebSocket from which nothing came for so long is dead.
    pub silence: Duration,
    /// How long a client may take for the closing handshake.
    pub close: Duration,
    /// How long a client may take to end its side of the connection after ours.
    pub linger: Duration,
    /// Frames a second that one WebSocket may send.
    pub rate: u32,
    /// Frames it may send at once.
    pub burst: u32,
    /// Frames over the rate that are dropped, one by one, before the socket is closed.
    pub flood: u32,
    /// How long the hub may take to answer `/healthz`.
    pub health: Duration,
    /// How long [`serve`] waits for connections to end.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Each costs a file descriptor and up to about 400 kB of buffers. systemd's default limit is 1024
            // descriptors, and a viewer's webrtcbin takes nine of them too.
            sockets: 512,
            // A wall of many windows, or a household behind one proxy; an eighth of all, so one address cannot
            // shut out the others.
            per_address: 64,
            // A request fits one packet; ten seconds forgives a bad radio link.
            header: Duration::from_secs(10),
            // hyper has no limit on how slowly a response is read. The largest is some 100 kB.
            connection: Duration::from_secs(60),
            write: Duration::from_secs(5),
            // The stock client pings every 10 s; ours see a dead link sooner. Three missed are a dead client.
            ping: Duration::from_secs(5),
            silence: Duration::from_secs(15),
            // Together less than `shutdown`.
            close: Duration::from_secs(1),
            linger: Duration::from_millis(500),
            // A browser sends about 20 candidates and a description per camera at once, then next to nothing:
            // a wall of twenty fits the burst.
            rate: 100,
            burst: 400,
            // Ten seconds at twice the rate: no mistake any more.
            flood: 1000,
            health: Duration::from_secs(2),
            shutdown: Duration::from_secs(2),
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The config's list is empty.
    #[error("no address to listen on")]
    NoAddress,
    /// The system refuses an address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::Listen { address, source } = self else {
            return Some("give [server] listen at least one address, such as \"[::]:8080\"".to_owned());
        };
        let port = address.port();
        match source.kind() {
            io::ErrorKind::AddrInUse => Some(format!(
                "another program has port {port} (perhaps another portald); `ss -ltnp 'sport = :{port}'` shows which. \
                 Stop it, or give [server] listen another port"
            )),
            io::ErrorKind::PermissionDenied => Some(format!(
                "ports below 1024 need a privilege: give [server] listen a port such as 8080 instead of {port}, \
                 or add AmbientCapabilities=CAP_NET_BIND_SERVICE to the unit"
            )),
            io::ErrorKind::AddrNotAvailable => Some(format!(
                "no interface has the address {}; `ip -brief address` lists those of this machine. \
                 \"[::]:{port}\" listens on all of them",
                address.ip()
            )),
            _ => None,
        }
    }
}

/// Listens on every one of `addresses`. `[::]` takes IPv4 too, unless an IPv4 address with the same port is listed
/// besides; it falls back to `0.0.0.0` on a kernel without IPv6. Must be called in a tokio runtime.
///
/// # Errors
/// [`ServerError`] names the address that cannot be had.
#[expect(clippy::unused_async, reason = "it needs a runtime, which the signature then says")]
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ServerError> {
    if addresses.is_empty() {
        return Err(ServerError::NoAddress);
    }
    let mut listeners = Vec::new();
    for &address in addresses {
        let shares_port = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        let dual = is_any_v6(address) && (address.port() == 0 || !addresses.iter().any(shares_port));
        match listen_on(address, dual) {
            Ok(listener) => listeners.push(listener),
            Err(e) if is_any_v6(address) && is_unsupported(&e) => {
                if !dual {
                    log::warn!("no IPv6 on this machine; not listening on {address}");
                    continue;
                }
                let instead = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                log::warn!("no IPv6 on this machine; listening on {instead} instead of {address}");
                let listener = listen_on(instead, false);
                listeners.push(listener.map_err(|source| ServerError::Listen { address: instead, source })?);
            }
            Err(source) => return Err(ServerError::Listen { address, source }),
        }
    }
    Ok(listeners)
}

/// Serves `site` until `shutdown` is true (or its sender gone); then ends every connection, which takes
/// [`Limits::shutdown`] at most.
pub async fn serve(listeners: Vec<TcpListener>, site: Site, shutdown: watch::Receiver<bool>) {
    serve_within(listeners, site, Limits::default(), shutdown).await;
}

/// As [`serve`], within other limits.
pub async fn serve_within(
    listeners: Vec<TcpListener>,
    site: Site,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
) {
    let shutdown_limit = limits.shutdown;
    let slots = slots::Slots::new(limits.sockets, limits.per_address);
    let context = Arc::new(Context {
        site,
        limits,
        slots,
        counters: metrics::Counters::default(),
        questions: Semaphore::new(QUESTIONS),
        shutdown,
    });
    let routes = routes::routes(&context);
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(accept::run(listener, routes.clone(), context.clone()));
    }
    while loops.join_next().await.is_some() {}
    if tokio::time::timeout(shutdown_limit, context.slots.all_free()).await.is_err() {
        log::warn!(sockets = context.slots.taken(); "some connections did not end in time");
    }
}

/// What all connections share.
#[derive(Debug)]
struct Context {
    site: Site,
    limits: Limits,
    slots: slots::Slots,
    counters: metrics::Counters,
    /// Permits to ask the hub for its rooms.
    questions: Semaphore,
    shutdown: watch::Receiver<bool>,
}

/// Requests that may ask the hub for its rooms at one time; others wait. However fast someone asks, members'
/// messages wait for no more than these.
const QUESTIONS: usize = 4;

impl Context {
    /// `None` when the hub does not answer in time: the process lives, but nobody can join.
    async fn rooms(&self) -> Option<Vec<RoomView>> {
        let ask = async {
            let _permit = self.questions.acquire().await.ok()?;
            self.site.hub.rooms().await
        };
        tokio::time::timeout(self.limits.health, ask).await.ok().flatten()
    }
}

/// Where a request came from; IPv4 addresses as such, even on a dual-stack socket.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// Waits until the daemon ends.
async fn told_to_end(mut shutdown: watch::Receiver<bool>) {
    // An error means the sender is gone, and with it whoever could have told us.
    let _ = shutdown.wait_for(|end| *end).await;
}

/// Kernel memory for what a client has not taken yet. Without it Linux lets the buffer grow to 4 MB before a
/// slow reader is noticed. It must hold a few of the largest messages.
const SEND_BUFFER: usize = 4 * MAX_MESSAGE;

/// Connections the kernel holds until we accept them: a wall of browsers that all come back after a restart.
const BACKLOG: i32 = 1024;

fn listen_on(address: SocketAddr, dual: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    // Connections of the last run that linger in TIME_WAIT must not keep the next one from starting.
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// What a kernel without IPv6 says: one started with `ipv6.disable=1`, or with all its interfaces' IPv6 off.
fn is_unsupported(error: &io::Error) -> bool {
    // EAFNOSUPPORT on every Linux we build for; std has no name for it.
    error.raw_os_error() == Some(97) || error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_and_the_hint_says_how_to_find_the_culprit() {
        let first = bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let address = first[0].local_addr().unwrap();
        let error = bind(&[address]).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {address}"));
        assert!(error.hint().unwrap().contains(&format!("ss -ltnp 'sport = :{}'", address.port())));
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_explained() {
        // TEST-NET-1: nobody's.
        let error = bind(&["192.0.2.1:0".parse().unwrap()]).await.unwrap_err();
        assert!(error.hint().unwrap().contains("ip -brief address"), "{error}");
        assert!(bind(&[]).await.unwrap_err().hint().unwrap().contains("listen"));
    }

    #[tokio::test]
    async fn any_address_is_dual_stack_and_both_families_can_be_listed() {
        let any = bind(&["[::]:0".parse().unwrap()]).await.unwrap();
        let port = any[0].local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        drop(any);
        let both: Vec<SocketAddr> =
            [format!("[::]:{port}"), format!("0.0.0.0:{port}")].iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(bind(&both).await.unwrap().len(), 2);
    }
}
