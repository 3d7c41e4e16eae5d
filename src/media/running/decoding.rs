//! The decoder of a camera that encodes itself: run while anything wants raw pictures, tried again when it fails.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::mpsc;

use super::{BACKOFF, Failure, blocking, close};
use crate::fault::Kind;
use crate::media::MediaError;
use crate::media::camera::Shared;
use crate::media::capture::{Event, Outlets};
use crate::media::decode::Decoder;
use crate::media::passthrough::Passage;

/// A decoder may wait for a key frame first; the longest group of pictures that is kept has 15 s.
const STALL: Duration = Duration::from_secs(16);

/// The place of the decoder.
#[derive(Default)]
pub(super) struct Decoding {
    decoder: Option<Decoder>,
    pub(super) failure: Option<Failure>,
    /// Held by a failed one until it has closed: one that hangs holds one thread, and not one for each try.
    closing: Arc<()>,
}

impl Decoding {
    /// Starts or stops it. Wanted it is while `outlets` has any: an encoder, or whoever else takes raw pictures.
    pub(super) async fn reconcile(
        &mut self,
        shared: &Arc<Shared>,
        passage: &Arc<Passage>,
        outlets: &Outlets,
        dropped: &Arc<AtomicU64>,
        events: &mpsc::Sender<Event>,
    ) {
        let due = self.failure.as_ref().is_none_or(|failure| Instant::now() >= failure.retry);
        let may_start = due && Arc::strong_count(&self.closing) == 1;
        match (self.decoder.is_some(), !outlets.is_empty()) {
            (false, true) if may_start => {
                let (known, passage, outlets) = (Arc::clone(shared), Arc::clone(passage), outlets.clone());
                let (dropped, events) = (Arc::clone(dropped), events.clone());
                let start = move || {
                    let templates = known.encoders.templates();
                    Decoder::start(&known.timeline, templates, &passage, &outlets, &dropped, &events)
                };
                match blocking("the decoder", start).await {
                    Ok(decoder) => {
                        let camera = shared.name().as_str();
                        info!(camera; "camera {camera}: its H.264 is decoded by {}", decoder.name);
                        self.decoder = Some(decoder);
                    }
                    Err(error) => self.fail(shared, &error).await,
                }
            }
            // No time of grace: the encoders had theirs.
            (true, false) => {
                self.failure = None;
                self.close().await;
            }
            (false, false) => self.failure = None,
            (true, true) | (false, true) => {}
        }
    }

    /// Stops it for now. What is passed on goes on.
    pub(super) async fn fail(&mut self, shared: &Shared, error: &MediaError) {
        let before = self.failure.as_ref().map(|failure| failure.backoff);
        let backoff = before.map_or(BACKOFF.0, |before| (before * 2).min(BACKOFF.1));
        let reason = format!("{error}; next: {}", error.hint());
        let (camera, seconds) = (shared.name().as_str(), backoff.as_secs());
        shared.count(Kind::Decoder);
        warn!(camera; "camera {camera}: decoder: {reason}; tried again in {seconds} s");
        self.failure = Some(Failure { reason, retry: Instant::now() + backoff, backoff });
        // Not waited for: what is passed on is looked after meanwhile.
        if let Some(decoder) = self.decoder.take() {
            tokio::spawn(close("the decoder", Some((decoder, Arc::clone(&self.closing)))));
        }
    }

    /// Stops it for now when it gives no picture.
    pub(super) async fn check_pulse(&mut self, shared: &Shared, limit: Duration) {
        let limit = limit.max(STALL);
        match &self.decoder {
            Some(decoder) if decoder.pulse.age() > limit => {
                let silence = format!("the decoder gave nothing for {} s", limit.as_secs());
                self.fail(shared, &MediaError::Stalled(silence)).await;
            }
            Some(decoder) if decoder.pulse.count() > 0 => self.failure = None,
            _ => {}
        }
    }

    /// Whether a picture came lately.
    pub(super) fn gives(&self, lately: Duration) -> bool {
        self.decoder.as_ref().is_some_and(|decoder| decoder.pulse.count() > 0 && decoder.pulse.age() < lately)
    }

    pub(super) async fn close(&mut self) {
        close("the decoder", self.decoder.take()).await;
    }
}
