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
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep};

use super::capture::{Event, Origin};
use super::encoders::Encoders;
use super::fanout::{Fanout, Subscription};
use super::plan::{self, Rendition};
use super::running::{Running, blocking};
use super::{MediaError, Timeline};
use crate::config::settings::{self, Source};
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::shutdown::ending;
use crate::status::sessions::Sessions;
use crate::status::{CameraStatus, Cameras, State};
use crate::template::Templates;

/// How long a device stays open, and a rendition encoded, after its last viewer left: a page that is reloaded should
/// not close a camera.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// First and longest wait before a failed camera is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Pictures for this long make the next failure the first again.
const RECOVERED: Duration = Duration::from_secs(60);
/// How often a camera that failed, and that nobody watches, is asked whether it is well again: `/readyz` must not call
/// it watchable meanwhile.
const RECHECK: Duration = Duration::from_secs(30);
/// How often a running camera is looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often the node of an absent camera is looked for.
const LOOK: Duration = Duration::from_secs(1);

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

/// What a camera's handles and its supervisor share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: settings::Camera,
    pub(super) encoders: Arc<Encoders>,
    pub(super) timeline: Timeline,
    fanouts: [Arc<Fanout>; 4],
    wake: Arc<Notify>,
    /// Sessions, connected or not yet.
    attending: AtomicUsize,
    pub(super) cameras: Cameras,
    condition: watch::Sender<Condition>,
}

impl Camera {
    /// Puts the camera into the table and under supervision.
    #[must_use]
    pub fn start(
        settings: settings::Camera,
        encoders: Arc<Encoders>,
        timeline: Timeline,
        cameras: Cameras,
        shutdown: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let wake = Arc::new(Notify::new());
        let (state, reason) = if settings.enabled {
            (State::Opening, None)
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
            encoders,
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

    /// Where its sessions are counted.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        self.shared.cameras.sessions()
    }

    /// The templates in use.
    #[must_use]
    pub fn templates(&self) -> &Templates {
        self.shared.encoders.templates()
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

    pub(super) fn fanout(&self, rendition: Rendition, codec: Codec) -> &Arc<Fanout> {
        let [main, sub, main_vp8, sub_vp8] = &self.fanouts;
        match (rendition, codec) {
            (Rendition::Main, Codec::H264) => main,
            (Rendition::Sub, Codec::H264) => sub,
            (Rendition::Main, Codec::Vp8) => main_vp8,
            (Rendition::Sub, Codec::Vp8) => sub_vp8,
        }
    }

    pub(super) fn name(&self) -> &Name {
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
    pub(super) fn set(&self, state: State, reason: Option<String>) {
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

/// Why a failed camera is tried again.
enum Retry {
    Waited,
    PluggedIn,
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
        let mut failure = self.check().await;
        while self.wait_until_wanted(failure.take()).await {
            let begun = Instant::now();
            match self.run_once().await {
                Ok(End::Unwatched) => backoff = BACKOFF.0,
                Ok(End::Shutdown) => return,
                Err(error) => {
                    if begun.elapsed() > RECOVERED {
                        backoff = BACKOFF.0;
                    }
                    let reason = format!("{error}; next: {}", error.hint());
                    backoff = match self.wait_to_retry(&reason, backoff).await {
                        Retry::Waited => (backoff * 2).min(BACKOFF.1),
                        // Another plugging in, another start; the first try may come before udev has set the group.
                        Retry::PluggedIn => BACKOFF.0,
                        Retry::Shutdown => return,
                    };
                    failure = Some(reason);
                }
            }
        }
    }

    /// Asks the device what it offers, and closes it again; returns why it cannot be watched.
    async fn check(&self) -> Option<String> {
        if !self.shared.is_there() {
            return None; // absence is seen without asking
        }
        let shared = Arc::clone(&self.shared);
        let checked =
            blocking("the device", move || plan::capture(&shared.settings, shared.encoders.templates()))
                .await;
        checked.err().map(|error| format!("{error}; next: {}", error.hint()))
    }

    /// Returns when someone watches (`true`) or the daemon ends. `failure` is why the last run ended, if it failed.
    async fn wait_until_wanted(&mut self, mut failure: Option<String>) -> bool {
        let mut checked = Instant::now();
        loop {
            if self.shared.is_wanted() {
                return true;
            }
            if failure.is_some() && checked.elapsed() > RECHECK {
                failure = self.check().await;
                checked = Instant::now();
            }
            match (&failure, self.shared.is_there()) {
                (_, false) => self.set_absent(),
                (Some(reason), true) => self.shared.set(State::Backoff, Some(reason.clone())),
                (None, true) => self.shared.set(State::Idle, None),
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep(LOOK) => {}
                () = ending(&mut self.shutdown) => return false,
            }
        }
    }

    fn set_absent(&self) {
        let node = self.shared.node().map(|node| node.display().to_string()).unwrap_or_default();
        self.shared
            .set(State::Absent, Some(format!("no device at {node}; it comes up when it is plugged in")));
    }

    /// Says what failed and waits: for the device if it is gone, else for the back-off.
    async fn wait_to_retry(&mut self, reason: &str, backoff: Duration) -> Retry {
        let until = Instant::now() + backoff;
        loop {
            let there = self.shared.is_there();
            if there && Instant::now() >= until {
                return Retry::Waited;
            }
            if there {
                self.shared.set(State::Backoff, Some(reason.to_owned()));
            } else {
                self.set_absent();
            }
            let wait = if there { until.saturating_duration_since(Instant::now()).min(LOOK) } else { LOOK };
            tokio::select! {
                () = sleep(wait) => {}
                () = ending(&mut self.shutdown) => return Retry::Shutdown,
            }
            if !there && self.shared.is_there() {
                return Retry::PluggedIn;
            }
        }
    }

    async fn run_once(&mut self) -> Result<End, MediaError> {
        let shared = Arc::clone(&self.shared);
        shared.set(State::Opening, None);
        let (mut running, mut happened) = Running::open(shared).await?;
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
            running.reconcile().await;
            running.check_pulse().await?;
            running.report();
            unwatched =
                if self.shared.is_wanted() { None } else { unwatched.or_else(|| Some(Instant::now())) };
            if unwatched.is_some_and(|since| since.elapsed() >= GRACE) {
                return Ok(End::Unwatched);
            }
            tokio::select! {
                Some(event) = happened.recv() => match event.origin {
                    Origin::Capture => return Err(event.into()),
                    Origin::Encoder(index) => running.fail_encoder(index, &event.into()).await,
                },
                () = self.shared.wake.notified() => {}
                _ = tick.tick() => {}
                () = ending(&mut self.shutdown) => return Ok(End::Shutdown),
            }
        }
    }
}
