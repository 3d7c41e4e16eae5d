//! One camera: the handle by which viewers take part, and what its supervisor and its slates share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use gstreamer_app as gst_app;
use log::{debug, info, warn};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::blocking::Calls;
use super::capture::Outlets;
use super::encoders::Encoders;
use super::fanout::{Fanout, Subscription};
use super::plan::Rendition;
use super::running::RENDITIONS;
use super::supervise::Supervisor;
use super::{MediaError, Timeline, slate};
use crate::config::settings::{self, Source};
use crate::control::Wishes;
use crate::events;
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::status::counts::{self, CameraCounts};
use crate::status::sessions::Sessions;
use crate::status::viewers::Viewers;
use crate::status::{CameraStatus, Cameras, State};
use crate::template::Templates;

mod changes;
mod look;
mod trouble;

pub(super) use self::look::Look;
pub(super) use self::trouble::Trouble;

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
    pub(super) shared: Arc<Shared>,
}

/// What a camera's handles and its supervisor share.
#[derive(Debug)]
pub(super) struct Shared {
    name: Name,
    /// Of now; source and `enabled` stay.
    settings: watch::Sender<Arc<settings::Camera>>,
    /// Whether the device is to be opened anew, because of other settings.
    reopen: AtomicBool,
    pub(super) encoders: Arc<Encoders>,
    pub(super) timeline: Timeline,
    fanouts: [Arc<Fanout>; 4],
    /// Where its raw pictures go.
    pub(super) outlets: Outlets,
    /// Wakes the supervisor.
    pub(super) wake: Arc<Notify>,
    /// Wakes the slates when a viewer comes.
    pub(super) watched: Notify,
    /// Sessions, connected or not yet.
    attending: AtomicUsize,
    /// Switched on, in the configuration or since.
    enabled: AtomicBool,
    /// Held during a change, so that one is whole before the next.
    changing: Mutex<()>,
    pub(super) cameras: Cameras,
    /// For the metrics.
    pub(super) counts: Arc<CameraCounts>,
    condition: watch::Sender<Condition>,
    /// What goes to its driver.
    pub(super) calls: Calls,
    inner: Mutex<Inner>,
}

/// What changes while a camera lives.
#[derive(Debug)]
struct Inner {
    /// The V4L2 device by the name it is known to keep, as far as one is known.
    device: Option<PathBuf>,
    /// Of the full and the small pictures, as they follow from what is captured.
    sizes: [(u32, u32); 2],
    /// What its renditions look like, or looked like last.
    looks: [Look; 4],
    /// What can be changed meanwhile, as it is now.
    wishes: Wishes,
    /// Whether the main rendition is what the camera sends, as far as that is known.
    passed_on: bool,
    /// Why it is not live, and since when; kept while it is tried again.
    trouble: Trouble,
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
        let Condition { state, reason } = changes::beginning(&settings);
        let wishes = Wishes::from(&settings);
        cameras.set(CameraStatus {
            name: settings.name.clone(),
            title: settings.title.clone(),
            rooms: settings.rooms.clone(),
            state,
            reason: reason.clone(),
            since: 0,
            seen: None,
            source: settings.source.to_string(),
            wishes,
            renditions: Vec::new(),
            viewers: 0,
            dropped: 0,
            restarts: Default::default(),
        });
        let fanouts = std::array::from_fn(|_| Fanout::new(Arc::clone(&wake)));
        let rendition =
            |((rendition, codec), fanout): ((Rendition, Codec), &Arc<Fanout>)| counts::Rendition {
                name: rendition.as_str(),
                codec: codec.as_str().to_uppercase(),
                counts: Arc::clone(&fanout.counters),
            };
        let counts = CameraCounts::new(RENDITIONS.into_iter().zip(&fanouts).map(rendition).collect());
        cameras.count(settings.name.clone(), Arc::clone(&counts));
        let inner = Mutex::new(Inner {
            device: match &settings.source {
                Source::V4l2(path) => Some(path.clone()),
                _ => None,
            },
            sizes: [Rendition::Main, Rendition::Sub]
                .map(|rendition| Look::wished(&settings, rendition).size()),
            looks: RENDITIONS.map(|(rendition, _)| Look::wished(&settings, rendition)),
            wishes,
            passed_on: false,
            trouble: Trouble { state, reason: reason.clone().unwrap_or_default(), since: SystemTime::now() },
        });
        let condition = watch::Sender::new(Condition { state, reason });
        let calls = Calls::to(&settings.source);
        let shared = Arc::new(Shared {
            name: settings.name.clone(),
            settings: watch::Sender::new(Arc::new(settings)),
            reopen: AtomicBool::new(false),
            encoders,
            timeline,
            fanouts,
            outlets: Outlets::default(),
            wake,
            watched: Notify::new(),
            attending: AtomicUsize::new(0),
            enabled: AtomicBool::new(wishes.enabled),
            changing: Mutex::default(),
            cameras,
            counts,
            condition,
            calls,
            inner,
        });
        let supervisor = Supervisor::new(Arc::clone(&shared), shutdown.clone());
        let slates = slate::keep(Arc::clone(&shared), shutdown);
        let ended = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            tokio::join!(supervisor.run(), slates);
            ended.encoders.admission().forget(ended.name());
        });
        (Self { shared }, task)
    }

    /// Its name, which never changes.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.shared.name()
    }

    /// Has the device open for a viewer who is about to connect: opening takes longer than encoding, and which
    /// rendition it will be is not known yet. Counts as a viewer until dropped.
    #[must_use]
    pub fn attend(&self) -> Attendance {
        self.shared.attending.fetch_add(1, Ordering::AcqRel);
        self.shared.wake.notify_one();
        self.shared.watched.notify_one();
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

    /// Width and height of the full and of the small pictures, in pixels, as they follow from what the device sends, or
    /// sent last. Not what is left of them when the box has too much to do: viewers that changed over to the full ones
    /// for that reason would make it more.
    #[must_use]
    pub fn sizes(&self) -> [(u32, u32); 2] {
        self.shared.lock().sizes
    }

    /// Whether viewers of this rendition see a slate.
    #[must_use]
    pub fn shows_slate(&self, rendition: Rendition, codec: Codec) -> bool {
        self.fanout(rendition, codec).shows_slate()
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

    /// Where its viewers are listed.
    #[must_use]
    pub fn viewers(&self) -> &Viewers {
        self.shared.cameras.viewers()
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
        &self.name
    }

    /// Of now.
    pub(super) fn settings(&self) -> Arc<settings::Camera> {
        Arc::clone(&self.settings.borrow())
    }

    /// Whether the device is to be open.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_enabled() && (self.settings.borrow().always_on || self.is_attended())
    }

    /// Whether somebody watches.
    pub(super) fn is_attended(&self) -> bool {
        self.attending.load(Ordering::Acquire) > 0
    }

    /// Where it is in its life.
    pub(super) fn state(&self) -> State {
        self.condition.borrow().state
    }

    /// The path of the V4L2 device, where it is one.
    pub(super) fn device(&self) -> Option<PathBuf> {
        self.lock().device.clone()
    }

    /// Whether the device is there, as far as its path tells.
    pub(super) fn is_there(&self) -> bool {
        self.device().is_none_or(|path| path.exists())
    }

    /// The settings with the device's name that stays in place of the one in the configuration, and the bit rates of now.
    pub(super) fn resolved(&self) -> settings::Camera {
        let mut settings = settings::Camera::clone(&self.settings.borrow());
        settings.bitrate = self.bitrate(Rendition::Main);
        settings.sub.bitrate = self.bitrate(Rendition::Sub);
        if let Some(path) = self.device() {
            settings.source = Source::V4l2(path);
        }
        settings
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is in there is whole between statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the table, the viewers and, once, the log.
    pub(super) fn set(&self, state: State, reason: Option<String>) {
        let condition = Condition { state, reason };
        let changed = self.condition.send_if_modified(|old| {
            // Whoever is still closing the device of one that was switched off has no news.
            let changed = *old != condition && (self.is_enabled() || state == State::Disabled);
            if changed {
                *old = condition.clone();
            }
            changed
        });
        if !changed {
            return;
        }
        let is_news = self.note(&condition);
        let (camera, reason) = (self.name().as_str(), condition.reason.as_deref().unwrap_or(""));
        let event = match state {
            State::Absent => Some(events::CAMERA_ABSENT),
            State::Backoff => Some(events::CAMERA_FAILED),
            State::Stalled => Some(events::CAMERA_STALLED),
            _ => None,
        };
        let state_name = state.as_str();
        match event {
            _ if !is_news => {
                debug!(camera, state = state_name, reason; "camera {camera}: {state_name}: {reason}")
            }
            Some(message_id) => {
                warn!(camera, state = state_name, reason, message_id; "camera {camera}: {state_name}: {reason}")
            }
            None if reason.is_empty() => info!(camera, state = state_name; "camera {camera}: {state_name}"),
            None => info!(camera, state = state_name, reason; "camera {camera}: {state_name}: {reason}"),
        }
        self.cameras.update(self.name(), |status| {
            status.state = state;
            status.reason = condition.reason;
        });
    }
}
