//! What runs while a camera is watched: its capture, and an encoder for each rendition that someone wants.
//!
//! An encoder that fails is retried with its own back-off; the device and the other renditions go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::MediaError;
use super::camera::{GRACE, Shared};
use super::capture::{Capture, Event, Origin, Outlets};
use super::encode::{Encoder, Recipe};
use super::plan::{self, CapturePlan, Rendition};
use crate::config::settings::{EncoderChoice, Source};
use crate::proto::negotiation::Codec;
use crate::status::{RenditionStatus, State};

/// A device, or an encoder, that gives nothing for this long (or for ten pictures, if that is longer) is restarted.
const STALL: Duration = Duration::from_secs(3);
/// How long a device may take to open or close: a yanked one can block in the kernel.
const OPEN_LIMIT: Duration = Duration::from_secs(15);
/// First and longest wait before a failed encoder is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Events of the pipelines that may wait; after the first error the others say nothing new.
const EVENTS: usize = 16;

/// The renditions a camera has.
const RENDITIONS: [(Rendition, Codec); 4] = [
    (Rendition::Main, Codec::H264),
    (Rendition::Sub, Codec::H264),
    (Rendition::Main, Codec::Vp8),
    (Rendition::Sub, Codec::Vp8),
];

/// Capture and encoders of one camera.
pub(super) struct Running {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    outlets: Outlets,
    planned: CapturePlan,
    /// `None` once closed.
    capture: Option<Capture>,
    slots: [Slot; 4],
}

/// The place of one rendition's encoder.
#[derive(Default)]
struct Slot {
    encoder: Option<Encoder>,
    /// How it is, or was last, encoded.
    recipe: Option<Recipe>,
    /// When its last viewer left.
    unwatched: Option<Instant>,
    failure: Option<Failure>,
}

struct Failure {
    reason: String,
    retry: Instant,
    backoff: Duration,
}

impl Running {
    /// Opens the device. What breaks later comes out of the receiver.
    pub(super) async fn open(shared: Arc<Shared>) -> Result<(Self, mpsc::Receiver<Event>), MediaError> {
        let (events, happened) = mpsc::channel(EVENTS);
        let outlets = Outlets::default();
        let (planned, capture) = {
            let (shared, outlets, events) = (Arc::clone(&shared), outlets.clone(), events.clone());
            blocking("the device", move || open(&shared, &outlets, &events)).await?
        };
        let camera = shared.name().as_str();
        let CapturePlan { width, height, framerate: (n, d), reason, .. } = &planned;
        info!(camera; "camera {camera}: capturing {width}x{height} at {n}/{d}: {reason}");
        let slots = Default::default();
        Ok((Self { shared, events, outlets, planned, capture: Some(capture), slots }, happened))
    }

    /// Starts the encoders that are wanted, stops those that have not been for a while.
    pub(super) async fn reconcile(&mut self) {
        for (index, (rendition, codec)) in RENDITIONS.into_iter().enumerate() {
            let kept = self.shared.settings.always_on && index == 0;
            let wanted = kept || self.shared.fanout(rendition, codec).is_wanted();
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let may_start = slot.failure.as_ref().is_none_or(|failure| Instant::now() >= failure.retry);
            match (slot.encoder.is_some(), wanted) {
                (false, true) if may_start => {
                    if let Err(error) = self.start_encoder(index).await {
                        self.fail_encoder(index, &error).await;
                    }
                }
                (false, true) => {}
                (true, true) => slot.unwatched = None,
                (true, false) => {
                    let since = *slot.unwatched.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GRACE {
                        close("the encoder", std::mem::take(slot).encoder).await;
                    }
                }
                (false, false) => *slot = Slot::default(),
            }
        }
    }

    async fn start_encoder(&mut self, index: usize) -> Result<(), MediaError> {
        let Some((rendition, codec)) = RENDITIONS.get(index).copied() else { return Ok(()) };
        let shared = &self.shared;
        let (known, planned) = (Arc::clone(shared), self.planned.clone());
        let choose = move || plan::encoding(&known.settings, &planned, rendition, codec, &known.encoders);
        let recipe = blocking("the choice of an encoder", choose).await?;
        let (timeline, fanout) = (shared.timeline.clone(), Arc::clone(shared.fanout(rendition, codec)));
        let (outlets, events, made) = (self.outlets.clone(), self.events.clone(), recipe.clone());
        let start =
            move || Encoder::start(&timeline, &made, &outlets, &fanout, Origin::Encoder(index), &events);
        let encoder = blocking("the encoder", start).await?;
        let camera = shared.name().as_str();
        let Recipe { width, height, encoder: by, bitrate, .. } = &recipe;
        let name = rendition.as_str();
        info!(camera; "camera {camera}: {name} encoded as {width}x{height} by {by} at {bitrate} kbit/s");
        if let Some(slot) = self.slots.get_mut(index) {
            let failure = slot.failure.take(); // forgotten with the first frame
            *slot = Slot { encoder: Some(encoder), recipe: Some(recipe), unwatched: None, failure };
        }
        Ok(())
    }

    /// Stops one encoder for now. The device and the other renditions go on.
    pub(super) async fn fail_encoder(&mut self, index: usize, error: &MediaError) {
        let (Some(slot), Some((rendition, codec))) = (self.slots.get_mut(index), RENDITIONS.get(index))
        else {
            return;
        };
        let before = slot.failure.as_ref().map(|failure| failure.backoff);
        let is_auto = self.shared.settings.encoder == EncoderChoice::Auto;
        let failed = |recipe| self.shared.encoders.failed(recipe, *codec);
        // Another encoder is tried at once; the one that failed has its turn again when all others did.
        let another = is_auto && slot.encoder.is_some() && slot.recipe.as_ref().is_some_and(failed);
        let backoff = match before {
            None if another => Duration::ZERO,
            before => (before.unwrap_or_default() * 2).clamp(BACKOFF.0, BACKOFF.1),
        };
        let reason = format!("{error}; next: {}", error.hint());
        let (camera, name) = (self.shared.name().as_str(), rendition.as_str());
        let (codec, seconds) = (codec.as_str(), backoff.as_secs());
        warn!(camera; "camera {camera}: {name} in {codec}: {reason}; tried again in {seconds} s");
        slot.failure = Some(Failure { reason, retry: Instant::now() + backoff, backoff });
        close("the encoder", slot.encoder.take()).await;
    }

    /// Fails when the device gives nothing any more; stops an encoder that gets pictures and gives none.
    pub(super) async fn check_pulse(&mut self) -> Result<(), MediaError> {
        let Some(capture) = &self.capture else { return Ok(()) };
        let (n, d) = self.planned.framerate;
        let limit = STALL.max(Duration::from_secs(10) * d / n.max(1));
        if capture.pulse.age() > limit {
            let reason = format!("no picture for {} s", capture.pulse.age().as_secs());
            self.shared.set(State::Stalled, Some(reason.clone()));
            return Err(MediaError::Stalled(reason));
        }
        if capture.pulse.count() > 0 {
            self.shared.set(State::Live, self.failure());
        }
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            match &slot.encoder {
                Some(encoder) if encoder.pulse.age() > limit => {
                    let silence = format!("the encoder gave nothing for {} s", limit.as_secs());
                    self.fail_encoder(index, &MediaError::Stalled(silence)).await;
                }
                Some(encoder) if encoder.pulse.count() > 0 => slot.failure = None,
                _ => {}
            }
        }
        Ok(())
    }

    /// What is wrong with a rendition that someone wants, while the camera itself is live.
    fn failure(&self) -> Option<String> {
        self.slots.iter().zip(RENDITIONS).find_map(|(slot, (rendition, codec))| {
            let failure = slot.failure.as_ref()?;
            let (name, codec) = (rendition.as_str(), codec.as_str().to_uppercase());
            Some(format!("{name} in {codec} is not encoded: {}", failure.reason))
        })
    }

    /// Shows the renditions in the table.
    pub(super) fn report(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let renditions = RENDITIONS.iter().zip(&self.slots).filter_map(|((rendition, codec), slot)| {
            let recipe = slot.recipe.as_ref()?;
            let (n, d) = recipe.framerate.unwrap_or(self.planned.framerate);
            let fanout = self.shared.fanout(*rendition, *codec);
            Some(RenditionStatus {
                name: rendition.as_str(),
                codec: codec.as_str().to_uppercase(),
                encoder: recipe.encoder.clone(),
                width: recipe.width,
                height: recipe.height,
                framerate: f64::from(n) / f64::from(d.max(1)),
                bitrate: recipe.bitrate,
                running: slot.encoder.is_some(),
                viewers: fanout.viewers(),
                frames: count(&fanout.counters.frames),
                keyframes: count(&fanout.counters.keyframes),
                keyframe_requests: count(&fanout.counters.requests),
                dropped: count(&fanout.counters.dropped),
            })
        });
        let renditions: Vec<_> = renditions.collect();
        let dropped = self.capture.as_ref().map_or(0, |capture| count(&capture.dropped));
        self.shared.cameras.update(self.shared.name(), |status| {
            status.renditions = renditions;
            status.dropped = dropped;
        });
    }

    /// Stops everything, each within its limit.
    pub(super) async fn close(mut self) {
        for slot in &mut self.slots {
            close("the encoder", slot.encoder.take()).await;
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
    let mut planned = plan::capture(&shared.settings, shared.encoders.templates())?;
    let stamp = matches!(shared.settings.source, Source::Test(_)).then(|| shared.name().as_str());
    let capture = Capture::start(&shared.timeline, &planned.launch, outlets, stamp, events)?;
    if let Some((width, height)) = capture.size() {
        (planned.width, planned.height) = (width, height);
    }
    Ok((planned, capture))
}

/// Runs what may block in the kernel on a thread of its own, and does not wait for it for ever.
pub(super) async fn blocking<T: Send + 'static>(
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
    let Some(thing) = thing else { return };
    let stopped = blocking(what, move || {
        drop(thing);
        Ok(())
    });
    if let Err(error) = stopped.await {
        warn!("{error}");
    }
}
