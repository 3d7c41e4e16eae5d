//! `portald run`: starts everything in order, and ends it in order.

mod cameras;
mod rooms;

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use self::cameras::Stage;
use self::rooms::Publishing;
use crate::config::settings::{self as config, Settings, Source};
use crate::control::Controls;
use crate::hub::Hub;
use crate::ice::{IceError, IceServers};
use crate::media::encoders::{self, Encoders, Prover};
use crate::media::ice::Ice;
use crate::media::plan::{self, CapturePlan, Rendition};
use crate::media::{MediaError, Timeline, peer, probe};
use crate::places::Places;
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::proto::room::{Limits, Rooms};
use crate::server::tls::{Tls, TlsError};
use crate::server::{self, Access, AccessError, ServerError, Site};
use crate::status::{Cameras, Uplinks};
use crate::stills::Stills;
use crate::template::{TemplateError, Templates};
use crate::uplink::Server;
use crate::{found, systemd};

/// Where templates are looked for beside the built-in ones; later ones win.
const TEMPLATE_DIRS: [&str; 2] = ["/usr/share/portald/pipelines", "/etc/portald/pipelines"];
/// How long reading files again may take; they may be on a network drive, and signals wait meanwhile.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);
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
fn foresee(settings: &Settings, encoders: &Arc<Encoders>) {
    let cameras: Vec<_> = settings.cameras.iter().filter(|camera| camera.enabled).cloned().collect();
    let encoders = Arc::clone(encoders);
    drop(spawn_blocking(move || {
        for camera in cameras {
            for rendition in [Rendition::Main, Rendition::Sub] {
                if rendition == Rendition::Main && matches!(camera.source, Source::Rtsp(_)) {
                    continue; // most are passed on as they are
                }
                // What cannot be encoded is said when somebody watches.
                let _ =
                    plan::encoding(&camera, &CapturePlan::wished(&camera), rendition, Codec::H264, &encoders);
            }
        }
    }));
}

/// Runs until SIGTERM or SIGINT. A second one ends the process at once. SIGHUP reads certificate and secrets again.
///
/// # Errors
/// [`StartError`] before anything is served.
pub fn run(settings: Settings, demo: bool) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Before all that takes long: without a handler SIGHUP ends the process.
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let timeline = Timeline::start()?;
    let templates = Arc::new(templates()?);
    let result = runtime.block_on(serve(settings, demo, timeline, templates, hangup));
    // What still blocks in a driver is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn serve(
    mut settings: Settings,
    demo: bool,
    timeline: Timeline,
    templates: Arc<Templates>,
    mut hangup: Signal,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let tls = match &settings.server.tls {
        Some(tls) => Some(Arc::new(Tls::open(tls, addresses())?)),
        None => None,
    };
    let ice = Arc::new(IceServers::open(&settings.ice)?);
    let timeline = timeline.with_ice(Ice::new(settings.ice.clone(), Arc::clone(&ice)));
    let listeners = server::bind(&settings.server.listen).await?;
    let warm = {
        let timeline = timeline.clone();
        spawn_blocking(move || peer::warm_up(&timeline))
    };
    let finds = settings.cameras.is_empty();
    if finds {
        find_cameras(&mut settings, demo).await;
    }

    let access = Arc::new(Access::open(&settings.access, &settings.rooms)?);
    let mut rooms = Rooms::new(room_limits(&settings.limits));
    for room in &settings.rooms {
        if let Err(error) = rooms.add_room(room.name.clone(), room.mode) {
            warn!("room {}: {error}", room.name);
        }
    }
    let (hub, _) = Hub::spawn_queueing(rooms, settings.limits.queue);
    let cameras = Cameras::new();
    let places = Places::new(settings.limits.sessions, settings.limits.sessions_per_camera);
    let (stop, stopping) = watch::channel(false);
    let publishing = Publishing {
        hub: hub.clone(),
        places: places.clone(),
        cameras: cameras.clone(),
        stopping: stopping.clone(),
    };
    let encoders = Arc::new(encoders(templates));
    foresee(&settings, &encoders);
    let uplinks = Uplinks::default();
    let stills = Stills::default();
    let controls = Controls::default();
    let stage = Stage {
        encoders,
        timeline,
        stills: stills.clone(),
        controls: controls.clone(),
        servers: settings.uplinks.iter().map(Server::new).collect(),
        uplinks: uplinks.clone(),
        publishing: publishing.clone(),
        enabled: Arc::default(),
    };
    let mut tasks: Vec<_> = settings.cameras.iter().flat_map(|camera| stage.start(camera)).collect();
    let (tell_changes, changes) = server::room_changes();
    tasks.push(tokio::spawn(rooms::follow(changes, Arc::clone(&stage.enabled), publishing)));
    if finds {
        tasks.push(tokio::spawn(found::follow(settings.clone(), stopping.clone(), move |camera| {
            stage.start(camera)
        })));
    }
    let site = Site {
        path: settings.server.path.clone(),
        rtc: Arc::clone(&ice),
        tls: tls.clone(),
        access: Arc::clone(&access),
        places,
        uplinks,
        stills,
        controls,
        room_changes: Some(tell_changes),
        ..Site::new(hub, cameras)
    };
    let serving = tokio::spawn(server::serve_within(listeners, site, (&settings.limits).into(), stopping));
    if let Ok(Err(error)) = warm.await {
        warn!("no viewer can be served: {error}; {}", error.hint());
    }
    announce(&settings);
    systemd::ready();

    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.keep_fresh());
    }
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(tls.clone(), Arc::clone(&access), Arc::clone(&ice)).await,
            _ = terminate.recv() => break info!("SIGTERM: ending; a second one ends at once"),
            _ = interrupt.recv() => break info!("interrupted: ending; a second time ends at once"),
        }
    }
    systemd::stopping();
    let _ = stop.send(true);
    tokio::select! {
        () = end(tasks, serving) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("ended");
    Ok(())
}

/// SIGHUP: reads certificate and secrets again. What cannot be read leaves in use what there was.
async fn reload(tls: Option<Arc<Tls>>, access: Arc<Access>, ice: Arc<IceServers>) {
    let read = spawn_blocking(move || {
        let kept = |what: &dyn Display, hint: String| {
            error!("SIGHUP: {what}; {hint}; what was in use before stays");
        };
        if let Some(Err(error)) = tls.map(|tls| tls.reload()) {
            kept(&error, error.hint());
        }
        if let Err(error) = access.reload() {
            kept(&error, error.hint());
        }
        if let Err(error) = ice.reload() {
            kept(&error, error.hint());
        }
    });
    match timeout(RELOAD_LIMIT, read).await {
        Ok(_) => info!("SIGHUP: certificate and secrets were read; for portald.toml restart portald"),
        Err(_) => error!("SIGHUP: reading the files takes longer than {} s", RELOAD_LIMIT.as_secs()),
    }
}

/// Without configured cameras: those that are plugged in, and for a demo two that are made up.
async fn find_cameras(settings: &mut Settings, demo: bool) {
    let devices = spawn_blocking(probe::devices).await.unwrap_or_default();
    for device in devices {
        settings.cameras.extend(found::camera(settings, device));
    }
    if demo {
        for (name, title, pattern) in
            [("demo-1", "Demo 1: bars", "smpte"), ("demo-2", "Demo 2: ball", "ball")]
        {
            if let Ok(name) = Name::new(name) {
                let mut camera = settings.found_camera(name, Source::Test(pattern.into()));
                camera.title = title.into();
                settings.cameras.push(camera);
            }
        }
    }
    if settings.cameras.is_empty() {
        warn!(
            "no camera is configured and none was found: plug one in, or add a [camera.NAME] table to the configuration"
        );
    }
}

/// What the rooms may hold, of what is configured.
fn room_limits(limits: &config::Limits) -> Limits {
    Limits { members_per_room: limits.sockets_per_room, rooms: limits.rooms, ..Limits::default() }
}

/// Says where the wall is.
fn announce(settings: &Settings) {
    let cameras = settings.cameras.len();
    for address in &settings.server.listen {
        for url in urls(*address, settings.server.tls.is_some()) {
            info!("the wall of {cameras} cameras is at {url}");
        }
    }
    systemd::status(&format!("{cameras} cameras"));
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
async fn end(tasks: Vec<JoinHandle<()>>, serving: JoinHandle<()>) {
    let ended = timeout(END_LIMIT, async {
        for task in tasks {
            let _ = task.await;
        }
        let _ = serving.await;
    });
    if ended.await.is_err() {
        warn!("not everything ended within {} s; leaving it to the kernel", END_LIMIT.as_secs());
    }
}
