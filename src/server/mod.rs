//! HTTP and WebSockets: the only warp code.
//!
//! `accept` owns the listening sockets and their limits, `tls` what encrypts them, `access` says who may come in,
//! `routes` what answers where, `socket` is one WebSocket between a client and the hub, `page` the wall's files, `login`
//! the way to see them, `api` what programs read, `rooms` and `cameras` what they can change.

mod accept;
pub mod access;
mod admin;
mod answers;
mod api;
mod body;
mod cameras;
mod headers;
mod kept;
mod life;
mod limits;
mod listen;
mod linger;
mod login;
mod metrics;
mod others;
mod overview;
mod page;
mod rate;
mod refusals;
mod rooms;
mod routes;
mod rtc;
mod slots;
mod socket;
mod stills;
pub mod tls;
mod websocket;

use std::fmt;
use std::io;
use std::net::{self, IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use self::access::attempts::Attempts;
pub use self::access::{Access, AccessError};
use self::access::{Caller, Client, Credentials, Shown, Visit};
use self::body::{Body, BodyError};
use self::kept::Kept;
pub use self::limits::Limits;
use self::listen::{is_any_v6, is_unsupported, listen_on};
use self::refusals::{Reason, Refusals};
pub use self::rooms::{RoomChange, room_changes};
use self::tls::Tls;
use crate::config::settings as config;
use crate::control::Controls;
use crate::hub::{Hub, JoinRequest};
use crate::ice::IceServers;
use crate::places::Places;
use crate::proto::room::RoomView;
use crate::status::trials::Trials;
use crate::status::{Cameras, Uplinks};
use crate::stills::Stills;

/// Everything a request can ask about.
#[derive(Clone)]
pub struct Site {
    /// Where sockets join their rooms.
    pub hub: Hub,
    /// What `/api/cameras` lists.
    pub cameras: Cameras,
    /// Who changes them over HTTP.
    pub controls: Controls,
    /// The ways of this box's cameras to other servers, for the metrics.
    pub uplinks: Uplinks,
    /// What is known of the encoders.
    pub trials: Trials,
    /// Who makes still pictures of them.
    pub stills: Stills,
    /// Where clients open their WebSocket, such as `/portal`.
    pub path: String,
    /// The STUN and TURN servers that pages should use.
    pub rtc: Arc<IceServers>,
    /// What encrypts connections; none: nothing.
    pub tls: Option<Arc<Tls>>,
    /// Ours, for the metrics.
    pub version: &'static str,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Told of rooms that are made and removed over HTTP; see [`room_changes`].
    pub room_changes: Option<mpsc::Sender<RoomChange>>,
    /// Where viewers have their places, for the metrics.
    pub places: Places,
}

impl Site {
    /// With the default path, for the LAN without passwords, and without STUN and TURN: there host candidates do.
    #[must_use]
    pub fn new(hub: Hub, cameras: Cameras) -> Self {
        Self {
            hub,
            cameras,
            controls: Controls::default(),
            uplinks: Uplinks::default(),
            trials: Trials::default(),
            stills: Stills::default(),
            path: config::Server::default().path,
            rtc: Arc::default(),
            tls: None,
            version: env!("CARGO_PKG_VERSION"),
            access: Arc::default(),
            room_changes: None,
            places: Places::default(),
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("path", &self.path)
            .field("rtc", &self.rtc)
            .field("tls", &self.tls)
            .field("version", &self.version)
            .field("access", &self.access)
            .finish_non_exhaustive()
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
#[allow(clippy::unused_async, reason = "it needs a runtime, which the signature then says")]
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ServerError> {
    bind_keeping(addresses, Vec::new())
}

/// As [`bind`], but what listens at one of the addresses already goes on listening: `kept` are sockets of the last run. Those
/// that nobody wants any more are shut. Must be called in a tokio runtime.
///
/// # Errors
/// As [`bind`].
pub fn bind_keeping(
    addresses: &[SocketAddr],
    kept: Vec<net::TcpListener>,
) -> Result<Vec<TcpListener>, ServerError> {
    if addresses.is_empty() {
        return Err(ServerError::NoAddress);
    }
    let is_dual = |address: SocketAddr| {
        let shares_port = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        is_any_v6(address) && (address.port() == 0 || !addresses.iter().any(shares_port))
    };
    let wanted: Vec<_> = addresses.iter().map(|&address| (address, is_dual(address))).collect();
    let mut kept = Kept::new(kept, &wanted);
    let mut listeners = Vec::new();
    for (address, dual) in wanted {
        match kept.take(address, dual).unwrap_or_else(|| listen_on(address, dual)) {
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
    // What a receiver has seen stays when its sender is gone.
    serve_changing(listeners, site, watch::channel(Arc::new(limits)).1, shutdown).await;
}

/// As [`serve`], within limits that may change: each connection, message and attempt keeps to those of its time.
pub async fn serve_changing(
    listeners: Vec<TcpListener>,
    site: Site,
    limits: watch::Receiver<Arc<Limits>>,
    shutdown: watch::Receiver<bool>,
) {
    let shutdown_limit = limits.borrow().shutdown;
    let attempts = Mutex::new(Attempts::new(limits.borrow().logins_per_minute));
    let slots = slots::Slots::default();
    let context = Arc::new(Context {
        site,
        limits,
        slots,
        counters: metrics::Counters::default(),
        refusals: Refusals::default(),
        attempts,
        room_changes: tokio::sync::Mutex::default(),
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

/// What a WebSocket opened with `?query` asks the hub for. For those who test how addresses are read.
#[must_use]
#[doc(hidden)]
pub fn join_request(query: &str, address: IpAddr) -> JoinRequest {
    socket::Query::parse(query).join_request(address)
}

/// What all connections share.
#[derive(Debug)]
struct Context {
    site: Site,
    limits: watch::Receiver<Arc<Limits>>,
    slots: slots::Slots,
    counters: metrics::Counters,
    refusals: Refusals,
    attempts: Mutex<Attempts>,
    /// Held by whoever makes or removes a room.
    room_changes: tokio::sync::Mutex<()>,
    /// Permits to ask the hub for its rooms.
    questions: Semaphore,
    shutdown: watch::Receiver<bool>,
}

/// Requests that may ask the hub for its rooms at one time; others wait. However fast someone asks, members'
/// messages wait for no more than these.
const QUESTIONS: usize = 4;

impl Context {
    /// Those of now.
    fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.borrow())
    }

    /// `None` when the hub does not answer in time: the process lives, but nobody can join.
    async fn rooms(&self) -> Option<Vec<RoomView>> {
        let ask = async {
            let _permit = self.questions.acquire().await.ok()?;
            self.site.hub.rooms().await
        };
        tokio::time::timeout(self.limits().health, ask).await.ok().flatten()
    }

    /// What `credentials` open for `client`.
    fn caller(&self, client: &Client, credentials: &Credentials) -> Caller {
        self.attempts().keep_to(self.limits().logins_per_minute);
        self.site.access.caller(client, credentials, &self.attempts)
    }

    /// Counts that somebody was not let in.
    fn note_unauthorized(&self, caller: &Caller, visit: &Visit, what: &str) {
        let (reason, why) = match caller.shown {
            Shown::TooMany(_) => (Reason::Attempts, "too many wrong passwords"),
            Shown::Wrong => (Reason::Unauthorized, "a wrong password or token"),
            Shown::Right => (Reason::Unauthorized, "a password or token for something else"),
            Shown::Nothing => (Reason::Unauthorized, "no password or token"),
        };
        self.refusals.note(reason, visit.client.address, format_args!("{what}: {why}"));
    }

    /// The body of a request, within the limits.
    async fn read(&self, body: Body, max: usize, visit: &Visit) -> Result<Vec<u8>, BodyError> {
        let result = body.read(max, self.limits().login).await;
        if let Err(fault) = result {
            let reason = if fault == BodyError::TooSlow { Reason::Login } else { Reason::Body };
            self.refusals.note(
                reason,
                visit.client.address,
                "a request's body that is too large, too slow or broke off",
            );
        }
        result
    }

    /// Tells whoever publishes cameras.
    async fn tell(&self, change: RoomChange) {
        if let Some(changes) = &self.site.room_changes {
            // Nobody listens any more when the daemon ends.
            let _ = changes.send(change).await;
        }
    }

    fn addresses_forgotten(&self) -> u64 {
        self.attempts().forgotten()
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other end of a request's connection, which may be a proxy's.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// IPv4 addresses as such, even on a dual-stack socket.
    address: IpAddr,
    /// Whether the connection is encrypted.
    secure: bool,
}

/// Waits until the daemon ends.
async fn told_to_end(mut shutdown: watch::Receiver<bool>) {
    // An error means the sender is gone, and with it whoever could have told us.
    let _ = shutdown.wait_for(|end| *end).await;
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
