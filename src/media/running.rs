//! What runs while a camera is watched: its capture, and an encoder for each rendition that someone wants.
//!
//! An encoder that fails is retried with its own back-off; the device and the other renditions go on. The main rendition
//! of a camera that encodes itself has no encoder of ours, and the others get their pictures from a decoder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::mpsc;

use super::blocking::{blocking, close};
use super::camera::{Look, Shared};
use super::capture::{Capture, Event, Origin, Outlets};
use super::encode::{Encoder, Recipe};
use super::passthrough::{Passage, Rate};
use super::plan::{CapturePlan, Rendition};
use super::supervise::GRACE;
use super::{MediaError, slate};
use crate::config::settings::{self, EncoderChoice};
use crate::events;
use crate::fault::Kind;
use crate::proto::negotiation::Codec;
use crate::status::{RenditionStatus, State};
use decoding::Decoding;
use fitting::Fit;
use measure::Measured;
use opening::open;

mod decoding;
mod fitting;
mod following;
mod measure;
mod opening;
mod rates;
mod sight;

/// A device, or an encoder, that gives nothing for this long (or for ten pictures, if that is longer) is restarted.
const STALL: Duration = Duration::from_secs(3);
/// First and longest wait before a failed encoder is started again. Somebody watches, or it would not be wanted.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// Encoders that failed and do not close, beyond which none is started: each holds a thread.
const MAX_HUNG: usize = 4;
/// Events of the pipelines that may wait; after the first error the others say nothing new.
const EVENTS: usize = 16;

/// The renditions a camera has.
pub(super) const RENDITIONS: [(Rendition, Codec); 4] = [
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
    decoding: Decoding,
    rate: Rate,
    measured: Measured,
    /// Failed encoders that have not closed yet.
    closing: Arc<AtomicUsize>,
}

/// The place of one rendition's encoder.
#[derive(Default)]
struct Slot {
    encoder: Option<Encoder>,
    /// How it is, or was last, encoded.
    recipe: Option<Recipe>,
    /// The settings that it follows.
    settings: Option<Arc<settings::Camera>>,
    /// When its last viewer left.
    unwatched: Option<Instant>,
    failure: Option<Failure>,
    fit: Fit,
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
        let outlets = shared.outlets.clone();
        let (planned, capture) = {
            let (of, outlets, events) = (Arc::clone(&shared), outlets.clone(), events.clone());
            shared.calls.run("the device", move || open(&of, &outlets, &events)).await?
        };
        let name = shared.name().clone();
        let camera = name.as_str();
        let CapturePlan { width, height, framerate: (n, d), reason, .. } = &planned;
        shared.encoders.admission().opened(shared.name(), true);
        info!(camera; "camera {camera}: capturing {width}x{height} at {n}/{d}: {reason}");
        let (slots, decoding, closing) = Default::default();
        let (rate, measured, capture) = (Rate::new(), Measured::new(), Some(capture));
        let mut running =
            Self { shared, events, outlets, planned, capture, slots, decoding, rate, measured, closing };
        running.say_what_is_passed_on();
        running.note_looks();
        if let Some(why) = &running.planned.limited {
            warn!(camera; "camera {camera}: captured at {why}");
        }
        Ok((running, happened))
    }

    fn passage(&self) -> Option<&Arc<Passage>> {
        self.capture.as_ref()?.passage.as_ref()
    }

    /// Whether the main rendition is what the camera sends.
    fn is_direct(&self) -> bool {
        self.passage().is_some_and(|passage| passage.is_direct())
    }

    /// Starts the encoders that are wanted, stops those that have not been for a while.
    pub(super) async fn reconcile(&mut self) {
        self.follow();
        let direct = self.is_direct();
        if self.planned.encoded && !direct && self.planned.transcoded.is_none() {
            self.say_what_is_passed_on();
        }
        self.shared.set_passed_on(direct);
        self.follow_rates().await;
        for (index, (rendition, codec)) in RENDITIONS.into_iter().enumerate() {
            if direct && index == 0 {
                continue;
            }
            // Each encoder may take its time to be chosen and to start; pictures come meanwhile.
            self.shared.cameras.turn(self.shared.name());
            let settings = self.shared.settings();
            let kept = settings.always_on && index == 0;
            let wanted = kept || self.shared.fanout(rendition, codec).is_wanted();
            let gives_way = self.must_shrink(index);
            let Some(slot) = self.slots.get_mut(index) else { continue };
            if slot.settings.as_ref().is_some_and(|before| !before.is_encoded_like(&settings)) {
                // Its viewers see its last picture until the other encoder's first, which is a key frame.
                close("the encoder", std::mem::take(slot).encoder).await;
            }
            let due = slot.failure.as_ref().is_none_or(|failure| Instant::now() >= failure.retry);
            let may_start = due && self.closing.load(Ordering::Acquire) < MAX_HUNG;
            match (slot.encoder.is_some(), wanted) {
                (false, true) if may_start => {
                    slot.settings = Some(settings);
                    if let Err(error) = self.start_encoder(index).await {
                        self.fail_encoder(index, &error).await;
                    }
                }
                (false, true) => {}
                (true, true) => {
                    slot.unwatched = None;
                    self.refit(index).await;
                }
                (true, false) => {
                    let since = *slot.unwatched.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GRACE || gives_way {
                        close("the encoder", std::mem::take(slot).encoder).await;
                    }
                }
                (false, false) => *slot = Slot::default(),
            }
        }
        self.reconcile_decoder().await;
    }

    async fn reconcile_decoder(&mut self) {
        let Some(capture) = &self.capture else { return };
        let Some(passage) = &capture.passage else { return };
        let (shared, dropped) = (&self.shared, &capture.dropped);
        self.decoding.reconcile(shared, passage, &self.outlets, dropped, &self.events).await;
    }

    /// Stops the decoder for now. What is passed on goes on.
    pub(super) async fn fail_decoder(&mut self, error: &MediaError) {
        self.decoding.fail(&self.shared, error).await;
    }

    async fn start_encoder(&mut self, index: usize) -> Result<(), MediaError> {
        let Some(recipe) = self.fitted(index).await? else { return Ok(()) };
        self.begin(index, recipe).await
    }

    async fn begin(&mut self, index: usize, recipe: Recipe) -> Result<(), MediaError> {
        let Some((rendition, codec)) = RENDITIONS.get(index).copied() else { return Ok(()) };
        let shared = &self.shared;
        let (timeline, fanout) = (shared.timeline.clone(), Arc::clone(shared.fanout(rendition, codec)));
        let (outlets, events, made) = (self.outlets.clone(), self.events.clone(), recipe.clone());
        let start =
            move || Encoder::start(&timeline, &made, &outlets, &fanout, Origin::Encoder(index), &events);
        let encoder = blocking("the encoder", start).await?;
        let camera = shared.name().as_str();
        let Recipe { width, height, encoder: by, bitrate, .. } = &recipe;
        let name = rendition.as_str();
        info!(camera; "camera {camera}: {name} encoded as {width}x{height} by {by} at {bitrate} kbit/s");
        let framerate = recipe.framerate.unwrap_or(self.planned.framerate);
        let look = Look { width: recipe.width, height: recipe.height, framerate, bitrate: recipe.bitrate };
        shared.set_look(index, look);
        if let Some(slot) = self.slots.get_mut(index) {
            let failure = slot.failure.take(); // forgotten with the first frame
            let fit = std::mem::take(&mut slot.fit);
            let (encoder, recipe, settings) = (Some(encoder), Some(recipe), slot.settings.take());
            *slot = Slot { encoder, recipe, settings, unwatched: None, failure, fit };
        }
        self.say_what_was_granted(index);
        Ok(())
    }

    /// Stops one encoder for now. The device and the other renditions go on.
    pub(super) async fn fail_encoder(&mut self, index: usize, error: &MediaError) {
        let (Some(slot), Some((rendition, codec))) = (self.slots.get_mut(index), RENDITIONS.get(index))
        else {
            return;
        };
        let before = slot.failure.as_ref().map(|failure| failure.backoff);
        let is_auto = self.shared.settings().encoder == EncoderChoice::Auto;
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
        self.shared.count(Kind::Encoder);
        warn!(
            camera, rendition = name, codec, reason = reason.as_str(), message_id = events::ENCODER_FAILED;
            "camera {camera}: {name} in {codec}: {reason}; tried again in {seconds} s"
        );
        slot.failure = Some(Failure { reason, retry: Instant::now() + backoff, backoff });
        slot.fit.stopped();
        // Not waited for: one that hangs must not keep the others from being looked after.
        if let Some(encoder) = slot.encoder.take() {
            let closing = Arc::clone(&self.closing);
            closing.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(async move {
                let gone = move || {
                    drop(encoder);
                    closing.fetch_sub(1, Ordering::AcqRel);
                    Ok(())
                };
                if let Err(error) = blocking("the encoder", gone).await {
                    warn!("{error}");
                }
            });
        }
    }

    /// Fails when the device gives nothing any more; stops an encoder that gets pictures and gives none.
    pub(super) async fn check_pulse(&mut self) -> Result<(), MediaError> {
        let Some(capture) = &self.capture else { return Ok(()) };
        let (n, d) = self.planned.framerate;
        let limit = STALL.max(Duration::from_secs(10) * d / n.max(1));
        let silent = |least: Duration| format!("no picture for {} s", least.as_secs());
        if capture.pulse.age() > limit {
            let reason = silent(capture.pulse.age());
            self.shared.set(State::Stalled, Some(reason.clone()));
            return Err(MediaError::Stalled(reason));
        }
        let patience = slate::patience(self.planned.framerate);
        match (capture.pulse.count(), capture.pulse.age() > patience) {
            (0, _) => {}
            (_, true) => self.shared.set(State::Stalled, Some(silent(patience))),
            _ if self.shows_nothing() => self.shared.set(State::Backoff, self.failure()),
            _ => self.say_what_is_seen(),
        }
        self.decoding.check_pulse(&self.shared, limit).await;
        let starved = self.planned.encoded && !self.decoding.gives(limit / 2);
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            match &slot.encoder {
                // One that gets no pictures is not at fault for giving none.
                Some(_) if starved => {}
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

    /// Whether nobody who watches sees the camera, because encoders fail.
    fn shows_nothing(&self) -> bool {
        let mut wanted = self.slots.iter().zip(RENDITIONS).filter_map(|(slot, (rendition, codec))| {
            let fanout = self.shared.fanout(rendition, codec);
            fanout.is_wanted().then(|| slot.failure.is_some() && fanout.shows_slate())
        });
        wanted.next().is_some_and(|first| first && wanted.all(|fails| fails))
    }

    /// What is wrong with a rendition that someone wants, while the camera itself is live.
    fn failure(&self) -> Option<String> {
        if let Some(failure) = &self.decoding.failure {
            return Some(format!("only main in H264 is there: {}", failure.reason));
        }
        self.slots.iter().zip(RENDITIONS).find_map(|(slot, (rendition, codec))| {
            let failure = slot.failure.as_ref()?;
            let (name, codec) = (rendition.as_str(), codec.as_str().to_uppercase());
            Some(format!("{name} in {codec} is not encoded: {}", failure.reason))
        })
    }

    /// Shows the renditions in the table.
    pub(super) fn report(&mut self) {
        self.measure();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        if let Some(bytes) = self.passage().map(|passage| count(&passage.bytes)) {
            self.rate.update(bytes);
        }
        let passed_on = self.is_direct().then(|| Recipe {
            encoder: "passthrough".into(),
            launch: String::new(),
            width: self.planned.width,
            height: self.planned.height,
            framerate: None,
            bitrate: self.rate.kbit(),
            set_bitrate: None,
            force_keyframe: None,
        });
        let each = RENDITIONS.iter().zip(&self.slots).enumerate();
        let renditions = each.filter_map(|(index, ((rendition, codec), slot))| {
            let is_main = (*rendition, *codec) == (Rendition::Main, Codec::H264);
            let passed_on = passed_on.as_ref().filter(|_| is_main);
            let recipe = passed_on.or(slot.recipe.as_ref())?;
            let reason = self.planned.transcoded.filter(|_| is_main && self.planned.encoded);
            let (n, d) = recipe.framerate.unwrap_or(self.planned.framerate);
            let fanout = self.shared.fanout(*rendition, *codec);
            Some(RenditionStatus {
                name: rendition.as_str(),
                codec: codec.as_str().to_uppercase(),
                encoder: recipe.encoder.clone(),
                reason: reason.map(|why| format!("the camera's H.264 is encoded anew: {why}")),
                degraded: self.degraded(index),
                width: recipe.width,
                height: recipe.height,
                framerate: f64::from(n) / f64::from(d.max(1)),
                bitrate: recipe.bitrate,
                running: slot.encoder.is_some() || passed_on.is_some(),
                viewers: fanout.viewers(),
                frames: count(&fanout.counters.frames),
                keyframes: count(&fanout.counters.keyframes),
                keyframe_requests: count(&fanout.counters.requests),
                dropped: count(&fanout.counters.dropped),
            })
        });
        let renditions: Vec<_> = renditions.collect();
        let dropped = self.capture.as_ref().map_or(0, |capture| {
            let before_decoding = capture.passage.as_ref().map_or(0, |passage| count(&passage.dropped));
            count(&capture.dropped) + before_decoding
        });
        self.shared.cameras.update(self.shared.name(), |status| {
            status.renditions = renditions;
            status.dropped = dropped;
        });
    }

    /// Stops everything, each within its limit.
    pub(super) async fn close(mut self) {
        self.measure_last();
        for slot in &mut self.slots {
            self.shared.cameras.turn(self.shared.name());
            close("the encoder", slot.encoder.take()).await;
        }
        self.decoding.close().await;
        if let Some(capture) = self.capture.take() {
            let closed = move || {
                drop(capture);
                Ok(())
            };
            if let Err(error) = self.shared.calls.run("the device", closed).await {
                warn!("{error}");
            }
        }
        self.shared.encoders.admission().opened(self.shared.name(), false);
        self.shared.cameras.update(self.shared.name(), |status| status.renditions.clear());
    }
}
