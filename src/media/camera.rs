//! One camera under supervision: opened when someone watches, restarted alone when it fails.
//!
//! `run()` retries with back-off; `run_once()` is one straight run from opening the device to nobody watching.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gstreamer_app as gst_app;
use log::{info, warn};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{interval, sleep, timeout};

use super::capture::{Capture, Event, Outlets, words};
use super::encode::{Encoder, Recipe};
use super::fanout::{Fanout, Subscription};
use super::plan::{self, CapturePlan, Rendition};
use super::{MediaError, Timeline};
use crate::config::settings::{self, Source};
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::status::{CameraStatus, Cameras, RenditionStatus, State};
use crate::template::Templates;

/// How long a device stays open, and a rendition encoded, after its last viewer left: a page that is reloaded should
/// not close a camera.
const GRACE: Duration = Duration::from_secs(5);
/// First and longest wait before a failed camera is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Pictures for this long make the next failure the first again.
const RECOVERED: Duration = Duration::from_secs(60);
/// A device, or an encoder, that gives nothing for this long (or for ten pictures, if that is longer) is restarted.
const STALL: Duration = Duration::from_secs(3);
/// How long a device may take to open or close: a yanked one can block in the kernel.
const OPEN_LIMIT: Duration = Duration::from_secs(15);
/// How often a running camera is looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often the node of an absent camera is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Events of the pipelines that may wait; after the first error the others say nothing new.
const EVENTS: usize = 16;

/// The renditions a camera has, in the order of [`Shared::fanouts`].
const RENDITIONS: [(Rendition, Codec); 4] = [
    (Rendition::Main, Codec::H264),
    (Rendition::Sub, Codec::H264),
    (Rendition::Main, Codec::Vp8),
    (Rendition::Sub, Codec::Vp8),
];

/// What a viewer is told about a camera: the wire's `state` message.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Condition {
    /// Where it is in its life.
    pub state: State,
    /// Why, in words.
    pub reason: Option<String>,
}

/// A camera; clones are the same one. It ends with the `shutdown` it was started with.
#[derive(Debug, Clone)]
pub struct Camera {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: settings::Camera,
    templates: Arc<Templates>,
    timeline: Timeline,
    fanouts: [Arc<Fanout>; 4],
    wake: Arc<Notify>,
    /// Sessions, connected or not yet.
    attending: AtomicUsize,
    cameras: Cameras,
    condition: watch::Sender<Condition>,
}

impl Camera {
    /// Puts the camera into the table and under supervision.
    #[must_use]
    pub fn start(
        settings: settings::Camera,
        templates: Arc<Templates>,
        timeline: Timeline,
        cameras: Cameras,
        shutdown: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let wake = Arc::new(Notify::new());
        let (state, reason) = if settings.enabled {
            (State::Idle, None)
        } else {
            (State::Disabled, Some("switched off in the config (enabled = false)".to_owned()))
        };
        cameras.set(CameraStatus {
            name: settings.name.clone(),
            title: settings.title.clone(),
            rooms: settings.rooms.clone(),
            state,
            reason: reason.clone(),
            since: 0,
            source: settings.source.to_string(),
            renditions: Vec::new(),
            viewers: 0,
            dropped: 0,
        });
        let fanouts = std::array::from_fn(|_| Fanout::new(Arc::clone(&wake)));
        let condition = watch::Sender::new(Condition { state, reason });
        let shared = Arc::new(Shared {
            settings,
            templates,
            timeline,
            fanouts,
            wake,
            attending: AtomicUsize::new(0),
            cameras,
            condition,
        });
        let supervisor = Supervisor { shared: Arc::clone(&shared), shutdown };
        (Self { shared }, tokio::spawn(supervisor.run()))
    }

    /// The camera's settings.
    #[must_use]
    pub fn settings(&self) -> &settings::Camera {
        &self.shared.settings
    }

    /// Has the device open for a viewer who is about to connect: opening takes longer than encoding, and which
    /// rendition it will be is not known yet. Counts as a viewer until dropped.
    #[must_use]
    pub fn attend(&self) -> Attendance {
        self.shared.attending.fetch_add(1, Ordering::AcqRel);
        self.shared.wake.notify_one();
        self.shared.report_viewers();
        Attendance(Arc::clone(&self.shared))
    }

    /// Gives a connected viewer its frames.
    #[must_use]
    pub fn subscribe(&self, rendition: Rendition, codec: Codec, source: gst_app::AppSrc) -> Subscription {
        self.fanout(rendition, codec).subscribe(source)
    }

    /// Gives a viewer the other rendition, at its next key frame.
    pub fn change(&self, subscription: &mut Subscription, rendition: Rendition, codec: Codec) {
        subscription.change_to(self.fanout(rendition, codec));
    }

    /// The present condition, and every change of it.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.shared.condition.subscribe()
    }

    /// The templates in use.
    #[must_use]
    pub fn templates(&self) -> &Templates {
        &self.shared.templates
    }

    /// The timeline its frames are on.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.shared.timeline
    }

    fn fanout(&self, rendition: Rendition, codec: Codec) -> &Arc<Fanout> {
        self.shared.fanout(rendition, codec)
    }
}

/// Someone watches, or is about to; dropping it is leaving.
#[derive(Debug)]
pub struct Attendance(Arc<Shared>);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.attending.fetch_sub(1, Ordering::AcqRel);
        self.0.wake.notify_one();
        self.0.report_viewers();
    }
}

impl Shared {
    fn report_viewers(&self) {
        self.cameras.update(self.name(), |status| status.viewers = self.attending.load(Ordering::Acquire));
    }

    fn fanout(&self, rendition: Rendition, codec: Codec) -> &Arc<Fanout> {
        let [main, sub, main_vp8, sub_vp8] = &self.fanouts;
        match (rendition, codec) {
            (Rendition::Main, Codec::H264) => main,
            (Rendition::Sub, Codec::H264) => sub,
            (Rendition::Main, Codec::Vp8) => main_vp8,
            (Rendition::Sub, Codec::Vp8) => sub_vp8,
        }
    }

    fn name(&self) -> &Name {
        &self.settings.name
    }

    fn is_wanted(&self) -> bool {
        self.settings.always_on || self.attending.load(Ordering::Acquire) > 0
    }

    /// The device node to look for, where there is one.
    fn node(&self) -> Option<&PathBuf> {
        match &self.settings.source {
            Source::V4l2(path) => Some(path),
            _ => None,
        }
    }

    fn is_there(&self) -> bool {
        self.node().is_none_or(|node| node.exists())
    }

    /// Tells the table, the viewers and, once, the log.
    fn set(&self, state: State, reason: Option<String>) {
        let condition = Condition { state, reason };
        let changed = self.condition.send_if_modified(|old| {
            let changed = *old != condition;
            *old = condition.clone();
            changed
        });
        if !changed {
            return;
        }
        let (camera, text) = (self.name().as_str(), condition.reason.as_deref().unwrap_or(""));
        match state {
            State::Absent | State::Backoff | State::Stalled => {
                warn!(camera; "camera {camera}: {}: {text}", state.as_str())
            }
            _ if text.is_empty() => info!(camera; "camera {camera}: {}", state.as_str()),
            _ => info!(camera; "camera {camera}: {}: {text}", state.as_str()),
        }
        self.cameras.update(self.name(), |status| {
            status.state = state;
            status.reason = condition.reason;
        });
    }
}

/// Why a run ended.
#[derive(Debug)]
enum End {
    /// Nobody watches any more.
    Unwatched,
    /// The daemon ends.
    Shutdown,
}

struct Supervisor {
    shared: Arc<Shared>,
    shutdown: watch::Receiver<bool>,
}

impl Supervisor {
    async fn run(mut self) {
        if !self.shared.settings.enabled {
            return;
        }
        let mut backoff = BACKOFF.0;
        while self.wait_until_wanted().await {
            let begun = Instant::now();
            match self.run_once().await {
                Ok(End::Unwatched) => backoff = BACKOFF.0,
                Ok(End::Shutdown) => return,
                Err(error) => {
                    if begun.elapsed() > RECOVERED {
                        backoff = BACKOFF.0;
                    }
                    if !self.wait_to_retry(&error, backoff).await {
                        return;
                    }
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Returns when someone watches (`true`) or the daemon ends.
    async fn wait_until_wanted(&mut self) -> bool {
        loop {
            if self.shared.is_wanted() {
                return true;
            }
            if self.shared.is_there() {
                self.shared.set(State::Idle, None);
            } else {
                self.set_absent();
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep(LOOK) => {}
                _ = self.shutdown.wait_for(|ending| *ending) => return false,
            }
        }
    }

    fn set_absent(&self) {
        let node = self.shared.node().map(|node| node.display().to_string()).unwrap_or_default();
        self.shared
            .set(State::Absent, Some(format!("no device at {node}; it comes up when it is plugged in")));
    }

    /// Says what failed and waits: for the device if it is gone, else for the back-off.
    async fn wait_to_retry(&mut self, error: &MediaError, backoff: Duration) -> bool {
        let until = Instant::now() + backoff;
        loop {
            if self.shared.is_there() {
                if Instant::now() >= until {
                    return true;
                }
                self.shared.set(State::Backoff, Some(format!("{error}; next: {}", error.hint())));
            } else {
                self.set_absent();
            }
            let was_there = self.shared.is_there();
            let wait =
                if was_there { until.saturating_duration_since(Instant::now()).min(LOOK) } else { LOOK };
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.shutdown.wait_for(|ending| *ending) => return false,
            }
            if !was_there && self.shared.is_there() {
                return true; // plugged in: no reason to wait longer
            }
        }
    }

    async fn run_once(&mut self) -> Result<End, MediaError> {
        let shared = Arc::clone(&self.shared);
        shared.set(State::Opening, None);
        let (events, mut happened) = mpsc::channel(EVENTS);
        let outlets = Outlets::default();
        let (planned, capture) = {
            let (shared, outlets, events) = (Arc::clone(&shared), outlets.clone(), events.clone());
            blocking("the device", move || open(&shared, &outlets, &events)).await?
        };
        let camera = shared.name().as_str();
        info!(camera; "camera {camera}: capturing {}x{} at {}/{}: {}", planned.width, planned.height,
            planned.framerate.0, planned.framerate.1, planned.reason);
        let mut running = Running {
            shared,
            events,
            outlets,
            planned,
            capture: Some(capture),
            encoders: [const { None }; 4],
        };
        let result = self.watch(&mut running, &mut happened).await;
        running.close().await;
        result
    }

    /// Keeps what runs equal to what is wanted, until it fails or nobody watches.
    async fn watch(
        &mut self,
        running: &mut Running,
        happened: &mut mpsc::Receiver<Event>,
    ) -> Result<End, MediaError> {
        let mut tick = interval(TICK);
        let mut unwatched: Option<Instant> = None;
        loop {
            running.reconcile().await?;
            running.check_pulse()?;
            running.report();
            unwatched =
                if self.shared.is_wanted() { None } else { unwatched.or_else(|| Some(Instant::now())) };
            if unwatched.is_some_and(|since| since.elapsed() >= GRACE) {
                return Ok(End::Unwatched);
            }
            tokio::select! {
                Some(event) = happened.recv() => return Err(failure(&event)),
                () = self.shared.wake.notified() => {}
                _ = tick.tick() => {}
                _ = self.shutdown.wait_for(|ending| *ending) => return Ok(End::Shutdown),
            }
        }
    }
}

/// What runs while a camera is watched.
struct Running {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    outlets: Outlets,
    planned: CapturePlan,
    /// `None` once closed.
    capture: Option<Capture>,
    encoders: [Option<RunningEncoder>; 4],
}

struct RunningEncoder {
    encoder: Encoder,
    recipe: Recipe,
    /// When its last viewer left.
    unwatched: Option<Instant>,
}

impl Running {
    /// Starts the encoders that are wanted, stops those that have not been for a while.
    async fn reconcile(&mut self) -> Result<(), MediaError> {
        for (index, (rendition, codec)) in RENDITIONS.into_iter().enumerate() {
            let fanout = self.shared.fanout(rendition, codec);
            let kept = self.shared.settings.always_on && index == 0;
            let wanted = kept || fanout.is_wanted();
            let Some(slot) = self.encoders.get_mut(index) else { continue };
            match slot {
                None if wanted => {
                    let recipe = plan::encoding(
                        &self.shared.settings,
                        &self.planned,
                        rendition,
                        codec,
                        &self.shared.templates,
                    )?;
                    let (timeline, fanout) = (self.shared.timeline.clone(), Arc::clone(fanout));
                    let (outlets, events, made) = (self.outlets.clone(), self.events.clone(), recipe.clone());
                    let encoder = blocking("the encoder", move || {
                        Encoder::start(&timeline, &made, &outlets, &fanout, &events)
                    })
                    .await?;
                    let camera = self.shared.name().as_str();
                    info!(camera; "camera {camera}: {} encoded as {}x{} by {} at {} kbit/s", rendition.as_str(),
                        recipe.width, recipe.height, recipe.encoder, recipe.bitrate);
                    *slot = Some(RunningEncoder { encoder, recipe, unwatched: None });
                }
                Some(running) if wanted => running.unwatched = None,
                Some(running) => {
                    let since = *running.unwatched.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GRACE {
                        close("the encoder", slot.take()).await;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Fails when the device, or an encoder that gets pictures, gives nothing any more.
    fn check_pulse(&self) -> Result<(), MediaError> {
        let Some(capture) = &self.capture else { return Ok(()) };
        let (n, d) = self.planned.framerate;
        let limit = STALL.max(Duration::from_secs(10) * d / n.max(1));
        if capture.pulse.age() > limit {
            let reason = format!("no picture for {} s", capture.pulse.age().as_secs());
            self.shared.set(State::Stalled, Some(reason.clone()));
            return Err(MediaError::Stalled(reason));
        }
        for running in self.encoders.iter().flatten() {
            if running.encoder.pulse.age() > limit {
                let reason =
                    format!("encoder {} gave nothing for {} s", running.recipe.encoder, limit.as_secs());
                self.shared.set(State::Stalled, Some(reason.clone()));
                return Err(MediaError::Stalled(reason));
            }
        }
        if capture.pulse.count() > 0 {
            self.shared.set(State::Live, None);
        }
        Ok(())
    }

    /// Shows the renditions in the table.
    fn report(&self) {
        let renditions = RENDITIONS.iter().zip(&self.encoders).filter_map(|((rendition, codec), running)| {
            let running = running.as_ref()?;
            let recipe = &running.recipe;
            let (n, d) = recipe.framerate.unwrap_or(self.planned.framerate);
            Some(RenditionStatus {
                name: rendition.as_str(),
                codec: codec.as_str().to_uppercase(),
                encoder: recipe.encoder.clone(),
                width: recipe.width,
                height: recipe.height,
                framerate: f64::from(n) / f64::from(d.max(1)),
                bitrate: recipe.bitrate,
                running: true,
                viewers: self.shared.fanout(*rendition, *codec).viewers(),
            })
        });
        let renditions: Vec<_> = renditions.collect();
        let dropped = self.capture.as_ref().map_or(0, |capture| capture.dropped.load(Ordering::Relaxed));
        self.shared.cameras.update(self.shared.name(), |status| {
            status.renditions = renditions;
            status.dropped = dropped;
        });
    }

    /// Stops everything, each within its limit.
    async fn close(mut self) {
        for encoder in &mut self.encoders {
            close("the encoder", encoder.take()).await;
        }
        close("the device", self.capture.take()).await;
        self.shared.cameras.update(self.shared.name(), |status| status.renditions.clear());
    }
}

fn open(
    shared: &Shared,
    outlets: &Outlets,
    events: &mpsc::Sender<Event>,
) -> Result<(CapturePlan, Capture), MediaError> {
    let mut planned = plan::capture(&shared.settings, &shared.templates)?;
    let stamp = matches!(shared.settings.source, Source::Test(_)).then(|| shared.name().as_str());
    let capture = Capture::start(&shared.timeline, &planned.launch, outlets, stamp, events)?;
    if let Some((width, height)) = capture.size() {
        (planned.width, planned.height) = (width, height);
    }
    Ok((planned, capture))
}

fn failure(event: &Event) -> MediaError {
    match event {
        Event::Error { origin, error, debug } => MediaError::pipeline(*origin, words(error, debug)),
        Event::Ended(origin) => MediaError::pipeline(*origin, "the stream ended"),
    }
}

/// Runs what may block in the kernel on a thread of its own, and does not wait for it for ever.
async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
) -> Result<T, MediaError> {
    match timeout(OPEN_LIMIT, spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => Err(MediaError::pipeline(what, panicked)),
        Err(_) => Err(MediaError::Hung { what: what.to_owned(), seconds: OPEN_LIMIT.as_secs() }),
    }
}

/// Drops `thing` (which stops its pipeline) on a blocking thread.
async fn close<T: Send + 'static>(what: &'static str, thing: Option<T>) {
    if let Some(thing) = thing {
        let dropped = blocking(what, move || {
            drop(thing);
            Ok(())
        });
        if let Err(error) = dropped.await {
            warn!("{error}");
        }
    }
}
