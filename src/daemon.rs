//! `portald run`: starts everything in order, and ends it in order.

mod cameras;
mod fleet;
mod reload;

use std::future::pending;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use self::cameras::Stage;
use self::fleet::Fleet;
use self::reload::Reloader;
use crate::config::settings::{self as config, Camera, Settings};
use crate::control::Controls;
use crate::found::{Find, Finder};
use crate::hub::Hub;
use crate::ice::{IceError, IceServers};
use crate::media::encoders::{self, Encoders, Prover};
use crate::media::forecast;
use crate::media::ice::Ice;
use crate::media::plan::CapturePlan;
use crate::media::{MediaError, Timeline, peer};
use crate::places::Places;
use crate::proto::room::{Limits, Rooms};
use crate::server::tls::{Tls, TlsError};
use crate::server::{self, Access, AccessError, ServerError, Site};
use crate::status::trials::Trials;
use crate::status::{Cameras, Uplinks};
use crate::stills::Stills;
use crate::template::{TemplateError, Templates};
use crate::{events, mdns, report, systemd, watchdog};

/// Where templates are looked for beside the built-in ones; later ones win.
const TEMPLATE_DIRS: [&str; 2] = ["/usr/share/portald/pipelines", "/etc/portald/pipelines"];
/// How long the first looks for cameras are waited for, so that the log tells how many there are.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Cameras that were switched on and wait to be published; each waits once at most.
const SWITCHED_ON: usize = 16;
/// How long sessions, cameras and sockets may take to end in order.
const END_LIMIT: Duration = Duration::from_secs(4);

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// GStreamer.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A listening socket.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A password or token.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A secret of a TURN server.
    #[error(transparent)]
    Ice(#[from] IceError),
    /// The runtime or the signal handlers.
    #[error("the operating system refuses")]
    Os(#[from] std::io::Error),
}

impl StartError {
    /// Whether the configuration is at fault, or a file that it names or that lies beside it: then the next start fails as
    /// well, until somebody mends it.
    #[must_use]
    pub fn is_of_configuration(&self) -> bool {
        matches!(self, Self::Access(_) | Self::Ice(_) | Self::Tls(_) | Self::Template(_))
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Media(error) => error.hint(),
            Self::Template(error) => error.hint(),
            Self::Access(error) => error.hint(),
            Self::Server(error) => error.hint().unwrap_or_else(|| "`ss -ltn` shows who listens where".into()),
            Self::Tls(error) => error.hint(),
            Self::Ice(error) => error.hint(),
            Self::Os(_) => {
                "look at the limits of the process: `ulimit -a`, or LimitNOFILE= and TasksMax= of the unit"
                    .into()
            }
        }
    }
}

/// The built-in templates and those of this box.
///
/// # Errors
/// [`TemplateError`] names the file and line.
pub fn templates() -> Result<Templates, TemplateError> {
    Templates::load(&TEMPLATE_DIRS.map(PathBuf::from))
}

/// The encoders, to be tried out in child processes of this program.
pub(crate) fn encoders(templates: Arc<Templates>) -> Encoders {
    let prover = std::env::current_exe().map_or(Prover::Nobody, Prover::Child);
    Encoders::new(templates, prover, encoders::kept_file())
}

/// Tries the encoders out that the cameras will want, so that the first viewer does not wait for it. A device may give
/// another size than was asked for; then it is tried when it is known.
fn foresee<'a>(cameras: impl Iterator<Item = &'a Camera>, encoders: &Arc<Encoders>) {
    let enabled = cameras.filter(|camera| camera.enabled);
    let cameras: Vec<_> = enabled.map(|camera| (camera.clone(), CapturePlan::expected(camera))).collect();
    let encoders = Arc::clone(encoders);
    // What cannot be encoded is said when somebody watches.
    drop(spawn_blocking(move || drop(forecast::all_watched(&cameras, &encoders))));
}

/// Runs until SIGTERM or SIGINT. A second one ends the process at once. SIGHUP reads the configuration again, which is in
/// `file`, or else in the default one.
///
/// # Errors
/// [`StartError`] before anything is served.
pub fn run(settings: Settings, file: Option<PathBuf>, demo: bool) -> Result<(), StartError> {
    let kept = systemd::kept();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Before all that takes long: without a handler SIGHUP ends the process.
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let timeline = Timeline::start()?;
    let templates = Arc::new(templates()?);
    // The wall is there for the other cameras, and this one says why it is dark.
    if let Some(error) = crate::config::unknown_encoder(file.as_deref(), &settings, templates.encoder_names())
    {
        warn!("{error}; {}", error.hint());
    }
    let result = runtime.block_on(serve(settings, file, demo, timeline, templates, hangup, kept));
    // What still blocks in a driver is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn serve(
    settings: Settings,
    file: Option<PathBuf>,
    demo: bool,
    timeline: Timeline,
    templates: Arc<Templates>,
    mut hangup: Signal,
    kept: Vec<TcpListener>,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let tls = match &settings.server.tls {
        Some(tls) => Some(Arc::new(Tls::open(tls, addresses())?)),
        None => None,
    };
    let servers = Arc::new(IceServers::open(&settings.ice)?);
    let ice = Arc::new(Ice::new(settings.ice.clone(), Arc::clone(&servers)));
    let timeline = timeline.with_ice(Arc::clone(&ice));
    let listeners = server::bind_keeping(&settings.server.listen, kept)?;
    systemd::keep(&listeners);
    let bound: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let access = Arc::new(Access::open(&settings.access, &settings.rooms)?);
    // After all that may fail: a process that ends while GStreamer makes its first webrtcbin crashes.
    let warm = {
        let timeline = timeline.clone();
        spawn_blocking(move || peer::warm_up(&timeline))
    };
    let mut rooms = Rooms::new(room_limits(&settings.limits));
    for room in &settings.rooms {
        if let Err(error) = rooms.add_room(room.name.clone(), room.mode) {
            warn!(room = room.name.as_str(); "room {}: {error}", room.name);
        }
    }
    let (hub, _) = Hub::spawn_queueing(rooms, settings.limits.queue);
    let cameras = Cameras::new();
    let places = Places::new(settings.limits.sessions, settings.limits.sessions_per_camera);
    let (stop, stopping) = watch::channel(false);
    let trials = Trials::default();
    let encoders =
        Arc::new(encoders(templates).sharing(settings.limits.encoding_cpu).telling(trials.clone()));
    foresee(settings.cameras.iter(), &encoders);
    let (uplinks, stills, controls) = (Uplinks::default(), Stills::default(), Controls::default());
    let (tell_switched_on, mut switched_on) = mpsc::channel(SWITCHED_ON);
    let stage = Stage {
        encoders,
        timeline,
        stills: stills.clone(),
        controls: controls.clone(),
        switched_on: tell_switched_on,
        uplinks: uplinks.clone(),
        hub: hub.clone(),
        places: places.clone(),
        cameras: cameras.clone(),
    };
    let (limits, limited) = watch::channel(Arc::new((&settings.limits).into()));
    let mut fleet = Fleet::start(stage, settings.clone(), demo).await;
    let (tell_changes, mut changes) = server::room_changes();
    let site = Site {
        path: settings.server.path.clone(),
        rtc: Arc::clone(&servers),
        tls: tls.clone(),
        access: Arc::clone(&access),
        places,
        uplinks,
        trials,
        stills,
        controls,
        room_changes: Some(tell_changes),
        ..Site::new(hub.clone(), cameras.clone())
    };
    let serving = tokio::spawn(server::serve_changing(listeners, site, limited, stopping.clone()));
    if let Ok(Err(error)) = warm.await {
        warn!("no viewer can be served: {error}; {}", error.hint());
    }
    let mut finder = fleet.finds().then(Finder::new);
    let first_look = Instant::now() + FIRST_LOOK;
    while finder.as_ref().is_some_and(Finder::is_looking)
        && let Ok(found) = timeout_at(first_look, look(&mut finder)).await
    {
        fleet.found(found).await;
    }
    announce(fleet.settings());
    let announced =
        settings.server.mdns.then(|| mdns::announce(&bound, tls.is_some(), &settings.ice)).flatten();
    let (refused, refusal) = watch::channel(None);
    let reporting = tokio::spawn(report::keep(cameras.clone(), refusal, stopping.clone()));
    systemd::ready();
    if let Some(every) = systemd::watchdog() {
        tokio::spawn(watchdog::feed(hub, cameras, every, stopping));
    }
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.keep_fresh());
    }
    let reloader = Reloader { file, tls, access, servers, ice, limits, refused };
    let why = loop {
        tokio::select! {
            _ = hangup.recv() => tokio::select! {
                () = reloader.reload(&mut fleet) => {
                    finder = finder.filter(|_| fleet.finds()).or_else(|| fleet.finds().then(Finder::new));
                }
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "interrupted",
            },
            Some(name) = switched_on.recv() => fleet.switched_on(&name).await,
            Some(change) = changes.recv() => fleet.room_changed(change).await,
            devices = look(&mut finder) => fleet.found(devices).await,
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "interrupted",
        }
    };
    info!("{why}: ending; a second time ends at once");
    systemd::stopping();
    let _ = stop.send(true);
    if let Some(announced) = announced {
        announced.end().await;
    }
    tokio::select! {
        () = end(fleet, serving) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    reporting.abort();
    info!("ended");
    Ok(())
}

/// What was found, where cameras are looked for; else this never returns.
async fn look(finder: &mut Option<Finder>) -> Vec<Find> {
    match finder {
        Some(finder) => finder.next().await,
        None => pending().await,
    }
}

/// What the rooms may hold, of what is configured.
fn room_limits(limits: &config::Limits) -> Limits {
    Limits { members_per_room: limits.sockets_per_room, rooms: limits.rooms, ..Limits::default() }
}

/// Says where the wall is.
fn announce(settings: &Settings) {
    let cameras = settings.cameras.len();
    if cameras == 0 {
        warn!(
            message_id = events::NO_CAMERA;
            "no camera is configured and none was found: plug one in, or add a [camera.NAME] table to the configuration"
        );
    }
    for address in &settings.server.listen {
        for url in urls(*address, settings.server.tls.is_some()) {
            info!("the wall of {cameras} cameras is at {url}");
        }
    }
}

/// Addresses a person can type for a listening address.
fn urls(listen: SocketAddr, encrypted: bool) -> Vec<String> {
    let (scheme, port) = (if encrypted { "https" } else { "http" }, listen.port());
    if !listen.ip().is_unspecified() {
        return vec![format!("{scheme}://{listen}/")];
    }
    let mut urls = vec![format!("{scheme}://localhost:{port}/")];
    // Connecting a UDP socket sends nothing; it makes the kernel choose the address it would send from. The target is
    // of a block that is reserved for documentation (RFC 5737).
    let chosen = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Ok(IpAddr::V4(address)) = chosen.map(|address| address.ip())
        && !address.is_loopback()
        && !address.is_unspecified()
    {
        urls.push(format!("{scheme}://{address}:{port}/"));
    }
    urls
}

/// The addresses of this box by which others can reach it.
fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.iter().filter(|found| !found.is_loopback()).map(|found| found.ip());
    // Nobody can type a link-local address of IPv6: browsers take no scope.
    addresses.filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())).collect()
}

/// All were told at once; a camera's publishers end its sessions while its supervisor closes the device.
async fn end(fleet: Fleet, serving: JoinHandle<()>) {
    let ended = timeout(END_LIMIT, async { tokio::join!(fleet.end(), serving) });
    if ended.await.is_err() {
        warn!("not everything ended within {} s; leaving it to the kernel", END_LIMIT.as_secs());
    }
}
