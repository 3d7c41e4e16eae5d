//! `portald run`: starts everything in order, and ends it in order.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::config::settings::{Settings, Source};
use crate::hub::Hub;
use crate::media::camera::Camera;
use crate::media::{MediaError, Timeline, peer, probe};
use crate::proto::ids::Name;
use crate::proto::room::{Limits, Rooms};
use crate::server::{self, ServerError, Site};
use crate::status::Cameras;
use crate::template::{TemplateError, Templates};
use crate::{publisher, systemd};

/// Where templates are looked for beside the built-in ones; later ones win.
const TEMPLATE_DIRS: [&str; 2] = ["/usr/share/portald/pipelines", "/etc/portald/pipelines"];
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
            Self::Server(error) => error.hint().unwrap_or_else(|| "`ss -ltn` shows who listens where".into()),
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

/// Runs until SIGTERM or SIGINT. A second one ends the process at once.
///
/// # Errors
/// [`StartError`] before anything is served.
pub fn run(settings: Settings, demo: bool) -> Result<(), StartError> {
    let timeline = Timeline::start()?;
    let templates = Arc::new(templates()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(settings, demo, timeline, templates));
    // What still blocks in a driver is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn serve(
    mut settings: Settings,
    demo: bool,
    timeline: Timeline,
    templates: Arc<Templates>,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listeners = server::bind(&settings.server.listen).await?;
    let warm = {
        let timeline = timeline.clone();
        spawn_blocking(move || peer::warm_up(&timeline))
    };
    if settings.cameras.is_empty() {
        find_cameras(&mut settings, demo).await;
    }

    let mut rooms = Rooms::new(Limits::default());
    for room in &settings.rooms {
        if let Err(error) = rooms.add_room(room.name.clone(), room.mode) {
            warn!("room {}: {error}", room.name);
        }
    }
    let (hub, _) = Hub::spawn(rooms);
    let cameras = Cameras::new();
    let (stop, stopping) = watch::channel(false);
    let tasks = start_cameras(&settings, &templates, &timeline, &cameras, &hub, &stopping);
    let site = Site { path: settings.server.path.clone(), ..Site::new(hub, cameras) };
    let serving = tokio::spawn(server::serve(listeners, site, stopping));
    if let Ok(Err(error)) = warm.await {
        warn!("no viewer can be served: {error}; {}", error.hint());
    }
    announce(&settings);
    systemd::ready();

    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: ending; a second one ends at once"),
        _ = interrupt.recv() => info!("interrupted: ending; a second time ends at once"),
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

/// Without configured cameras: those that are plugged in, and for a demo two that are made up.
async fn find_cameras(settings: &mut Settings, demo: bool) {
    let devices = spawn_blocking(probe::devices).await.unwrap_or_default();
    for device in devices {
        let Ok(name) = Name::new(device.name.clone()) else { continue };
        let camera = name.as_str();
        info!(camera; "camera {camera}: found {} at {}", device.title, device.path.display());
        let mut found = settings.found_camera(name, Source::V4l2(device.path));
        found.title = device.title;
        settings.cameras.push(found);
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
            "no camera is configured and none was found: add a [camera.NAME] table to the configuration, or plug one in and start portald again"
        );
    }
}

/// Supervisors and publishers; they end with `stopping`.
fn start_cameras(
    settings: &Settings,
    templates: &Arc<Templates>,
    timeline: &Timeline,
    cameras: &Cameras,
    hub: &Hub,
    stopping: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for configured in &settings.cameras {
        let (camera, task) = Camera::start(
            configured.clone(),
            Arc::clone(templates),
            timeline.clone(),
            cameras.clone(),
            stopping.clone(),
        );
        tasks.push(task);
        if !configured.enabled {
            continue;
        }
        for room in &configured.rooms {
            tasks.push(tokio::spawn(publisher::run(
                camera.clone(),
                room.clone(),
                hub.clone(),
                stopping.clone(),
            )));
        }
    }
    tasks
}

/// Says where the wall is.
fn announce(settings: &Settings) {
    let cameras = settings.cameras.len();
    for address in &settings.server.listen {
        for url in urls(*address) {
            info!("the wall of {cameras} cameras is at {url}");
        }
    }
    systemd::status(&format!("{cameras} cameras"));
}

/// Addresses a person can type for a listening address.
fn urls(listen: SocketAddr) -> Vec<String> {
    let port = listen.port();
    if !listen.ip().is_unspecified() {
        return vec![format!("http://{listen}/")];
    }
    let mut urls = vec![format!("http://localhost:{port}/")];
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
        urls.push(format!("http://{address}:{port}/"));
    }
    urls
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
