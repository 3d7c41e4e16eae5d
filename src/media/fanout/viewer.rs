//! One viewer's place in a fan-out, and what it was given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::gop::{Frame, Gop};
use super::{PATIENCE, REPLAY_AT_ONCE};

/// A queue longer than this makes a viewer skip to a key frame: more would be a lasting delay.
const MAX_QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(300);
/// How often a viewer that lost its way may have the replay, where no key frame can be asked for: it may be 2 MiB.
const REPLAY_EVERY: Duration = Duration::from_secs(2);
/// How long a replay may take to leave a viewer's queue before the viewer counts as behind.
const BURST: Duration = Duration::from_secs(2);

/// One viewer's place; it may be listed by two fan-outs while it changes from one to the other.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) source: gst_app::AppSrc,
    pub(super) state: Mutex<ViewerState>,
    /// Frames given to it.
    pub(super) sent: AtomicU64,
    /// When it was given the first.
    pub(super) first: OnceLock<Instant>,
}

#[derive(Debug)]
pub(super) struct ViewerState {
    /// The fan-out it should get frames from.
    pub(super) wanted: u64,
    /// The one it gets them from, once a key frame came.
    pub(super) current: Option<u64>,
    /// When it was last given a frame.
    pub(super) fed: Instant,
    /// Whether it fell behind and waits for a key frame.
    pub(super) skipping: bool,
    /// Since when it waits for its first picture.
    since: Instant,
    caps: Option<gst::Caps>,
    /// When it last got the kept group.
    replayed: Option<Instant>,
    /// Whether it asked for a key frame of a source that makes none.
    pub(super) lost: bool,
    /// Time stamp of the last frame it got.
    pub(super) last: gst::ClockTime,
    /// Frames it got, and their bytes; those it got again count again.
    pub(super) given: (u64, u64),
    pub(super) gone: bool,
}

impl ViewerState {
    pub(super) fn takes(&self, id: u64) -> bool {
        self.wanted == id && !self.gone
    }

    /// Whether the kept group is better than to wait for a key frame.
    pub(super) fn takes_replay(&self, id: u64, deaf: bool, caught_up: bool) -> bool {
        match self.current {
            None => deaf || self.since.elapsed() > PATIENCE,
            // It changes to this rendition, and would wait for as long as the camera likes.
            Some(current) if current != id => deaf,
            Some(_) => {
                let again = self.replayed.is_none_or(|at| at.elapsed() > REPLAY_EVERY);
                deaf && again && (self.lost || (self.skipping && caught_up))
            }
        }
    }

    /// The kept group is its to have again, even if it just had one: a slate came between.
    pub(super) fn lose(&mut self) {
        (self.lost, self.replayed) = (true, None);
    }

    /// Gives the kept group, unless it is empty or the viewer has seen as much.
    pub(super) fn replay(&mut self, source: &gst_app::AppSrc, gop: &Gop, id: u64) -> bool {
        let Some(newest) = gop.frames().last().map(Frame::pts).filter(|newest| *newest > self.last) else {
            return false;
        };
        let old = gop.span() > REPLAY_AT_ONCE || self.last + gop.span() >= newest;
        let squeezed = old.then(|| gop.squeezed(self.last));
        for frame in squeezed.as_deref().unwrap_or_else(|| gop.frames()) {
            self.push(source, frame);
        }
        self.current = Some(id);
        (self.skipping, self.lost) = (false, false);
        self.replayed = Some(Instant::now());
        true
    }

    fn push(&mut self, source: &gst_app::AppSrc, frame: &Frame) {
        self.fed = Instant::now();
        if self.caps.as_ref() != Some(&frame.caps) {
            source.set_caps(Some(&frame.caps));
            self.caps = Some(frame.caps.clone());
        }
        self.last = frame.pts();
        self.given.0 += 1;
        self.given.1 += u64::try_from(frame.buffer.size()).unwrap_or(0);
        // Refused only while the viewer's pipeline is being taken down.
        let _ = source.push_buffer(frame.buffer.clone());
    }
}

impl Viewer {
    /// A viewer whose queue is `source`, to be fed by the fan-out with this id.
    pub(super) fn new(source: gst_app::AppSrc, wanted: u64) -> Arc<Self> {
        let state = ViewerState {
            wanted,
            current: None,
            fed: Instant::now(),
            skipping: false,
            since: Instant::now(),
            caps: None,
            replayed: None,
            lost: false,
            last: gst::ClockTime::ZERO,
            given: (0, 0),
            gone: false,
        };
        Arc::new(Self { source, state: Mutex::new(state), sent: AtomicU64::new(0), first: OnceLock::new() })
    }

    /// Whether the viewer took the frame; one that is behind takes none until a key frame.
    pub(super) fn push(&self, state: &mut ViewerState, frame: &Frame) -> bool {
        let bursting = state.replayed.is_some_and(|at| at.elapsed() < BURST);
        let behind = self.source.current_level_time() > MAX_QUEUE && !bursting;
        state.skipping = behind || (state.skipping && !frame.is_key());
        if !state.skipping {
            state.push(&self.source, frame);
            self.sent.fetch_add(1, Ordering::Relaxed);
            self.first.get_or_init(Instant::now);
        }
        !state.skipping
    }
}
