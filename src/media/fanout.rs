//! Encoded frames of one rendition, handed to its viewers.
//!
//! Each viewer has a queue that is looked at before every push: one that is behind skips to the next key frame and
//! costs nobody else anything. The current group of pictures is kept, so a joiner does not wait for the camera's
//! key-frame interval. A viewer changes rendition at a key frame of the new one, on the same track.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::Notify;

/// A queue longer than this makes a viewer skip to a key frame: more would be a lasting delay.
const MAX_QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(300);
/// A group of pictures younger than this is replayed to a joiner at once; for an older one a key frame is quicker
/// to decode than all that came since the last, if the encoder can make one.
const REPLAY_AT_ONCE: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// How long a joiner waits for a key frame that was asked for before it gets the replay after all.
const PATIENCE: Duration = Duration::from_millis(300);
/// Requests closer together than this are one: a crowd that joins, or loses packets, must not turn the stream into
/// key frames.
const REQUEST_INTERVAL: Duration = Duration::from_millis(500);
/// Bounds of the kept group: a burst larger than this overruns Wi-Fi queues and webrtcbin's 500 retransmittable
/// packets.
const MAX_GOP_BYTES: usize = 2 << 20;
/// See [`MAX_GOP_BYTES`].
const MAX_GOP_TIME: gst::ClockTime = gst::ClockTime::from_seconds(15);

/// One encoded access unit, shared by all who get it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The data; its PTS is running time on the shared timeline.
    pub(crate) buffer: gst::Buffer,
    /// Its format.
    pub(crate) caps: gst::Caps,
}

impl Frame {
    fn is_key(&self) -> bool {
        !self.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)
    }

    fn pts(&self) -> gst::ClockTime {
        self.buffer.pts().unwrap_or(gst::ClockTime::ZERO)
    }
}

/// The fan-out of one rendition in one codec. Lives as long as its camera, whether or not an encoder runs.
#[derive(Debug)]
pub struct Fanout {
    id: u64,
    inner: Mutex<Inner>,
    /// How many sessions want it encoded; the camera's supervisor starts and stops the encoder by this.
    interest: AtomicUsize,
    /// Told when `interest` leaves or reaches zero.
    wake: Arc<Notify>,
    /// Counters for the API.
    pub counters: Counters,
}

/// What a fan-out did, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that came from the encoder.
    pub frames: AtomicU64,
    /// Key frames among them.
    pub keyframes: AtomicU64,
    /// Key frames asked for, after requests were joined.
    pub requests: AtomicU64,
    /// Frames not given to viewers that were behind.
    pub dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    gop: Vec<Frame>,
    gop_bytes: usize,
    viewers: Vec<Arc<Viewer>>,
    /// Where key-frame requests go while an encoder runs.
    encoder: Option<gst::glib::WeakRef<gst::Pad>>,
    requested: Option<Instant>,
    /// Whether the running encoder was found not to make key frames on request.
    deaf: bool,
}

/// One viewer's place; it may be listed by two fan-outs while it changes from one to the other.
#[derive(Debug)]
struct Viewer {
    source: gst_app::AppSrc,
    state: Mutex<ViewerState>,
    /// Frames given to it.
    sent: AtomicU64,
    first: OnceLock<Instant>,
}

#[derive(Debug)]
struct ViewerState {
    /// The fan-out it should get frames from.
    wanted: u64,
    /// The one it gets them from, once a key frame came.
    current: Option<u64>,
    /// Whether it fell behind and waits for a key frame.
    skipping: bool,
    /// Since when it waits for its first picture.
    since: Instant,
    caps: Option<gst::Caps>,
    gone: bool,
}

/// A viewer's subscription; dropping it leaves.
#[derive(Debug)]
pub struct Subscription {
    viewer: Arc<Viewer>,
    fanout: Arc<Fanout>,
    _interest: Interest,
}

/// Someone wants this rendition encoded, from now until the guard is dropped.
#[derive(Debug)]
pub struct Interest(Arc<Fanout>);

impl Drop for Interest {
    fn drop(&mut self) {
        if self.0.interest.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wake.notify_one();
        }
    }
}

impl Fanout {
    pub(crate) fn new(wake: Arc<Notify>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            inner: Mutex::default(),
            interest: AtomicUsize::new(0),
            wake,
            counters: Counters::default(),
        })
    }

    /// Has the rendition encoded from now on, so that pictures are ready when the viewer is.
    #[must_use]
    pub fn interest(self: &Arc<Self>) -> Interest {
        if self.interest.fetch_add(1, Ordering::AcqRel) == 0 {
            self.wake.notify_one();
        }
        Interest(Arc::clone(self))
    }

    /// Whether anyone wants it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.interest.load(Ordering::Acquire) > 0
    }

    /// Viewers that get frames, or wait for the first.
    #[must_use]
    pub fn viewers(&self) -> usize {
        let counts = |viewer: &&Arc<Viewer>| lock(&viewer.state).takes(self.id);
        self.lock().viewers.iter().filter(counts).count()
    }

    /// Gives frames to `source` from a decodable point on.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, source: gst_app::AppSrc) -> Subscription {
        let state = ViewerState {
            wanted: self.id,
            current: None,
            skipping: false,
            since: Instant::now(),
            caps: None,
            gone: false,
        };
        let viewer = Arc::new(Viewer {
            source,
            state: Mutex::new(state),
            sent: AtomicU64::new(0),
            first: OnceLock::new(),
        });
        self.attach(&viewer);
        Subscription { viewer, fanout: Arc::clone(self), _interest: self.interest() }
    }

    fn attach(&self, viewer: &Arc<Viewer>) {
        let mut inner = self.lock();
        let young = match (inner.gop.first(), inner.gop.last()) {
            (Some(first), Some(last)) => last.pts().saturating_sub(first.pts()) <= REPLAY_AT_ONCE,
            _ => false,
        };
        let fresh = lock(&viewer.state).current.is_none();
        if fresh && (young || inner.deaf) {
            inner.replay(viewer, self.id);
        }
        inner.viewers.push(Arc::clone(viewer));
        let started = lock(&viewer.state).current == Some(self.id);
        drop(inner);
        if !started {
            self.request_keyframe();
        }
    }

    /// Asks the encoder for a key frame, unless one was asked for just now.
    pub fn request_keyframe(&self) {
        let mut inner = self.lock();
        if inner.requested.is_some_and(|at| at.elapsed() < REQUEST_INTERVAL) {
            return;
        }
        let Some(pad) = inner.encoder.as_ref().and_then(gst::glib::WeakRef::upgrade) else { return };
        inner.requested = Some(Instant::now());
        drop(inner);
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        // Up from the sink's pad, not through the element: that would take the state lock of a pipeline that may be
        // changing state. The pad's peer is the encoder's chain; it only notes the wish.
        pad.push_event(event);
    }

    /// An encoder starts: what is kept belongs to another stream.
    pub(crate) fn encoder_started(&self, sink_pad: &gst::Pad) {
        let mut inner = self.lock();
        inner.gop.clear();
        inner.gop_bytes = 0;
        inner.encoder = Some(sink_pad.downgrade());
        inner.requested = None;
        inner.deaf = false;
    }

    /// The encoder stopped.
    pub(crate) fn encoder_stopped(&self) {
        let mut inner = self.lock();
        inner.gop.clear();
        inner.gop_bytes = 0;
        inner.encoder = None;
        // Those who have changed to another rendition will not be met by a push here any more.
        inner.viewers.retain(|viewer| lock(&viewer.state).takes(self.id));
    }

    /// Hands one frame to everyone. Called on the encoder's thread; never waits for a viewer.
    pub(crate) fn push(&self, frame: &Frame) {
        let mut inner = self.lock();
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        if frame.is_key() {
            self.counters.keyframes.fetch_add(1, Ordering::Relaxed);
        }
        inner.keep(frame);
        let mut needs_key = false;
        let Inner { viewers, gop, requested, deaf, .. } = &mut *inner;
        if requested.is_some_and(|at| at.elapsed() > PATIENCE) {
            *deaf = !frame.is_key() && gop.len() > 1;
            *requested = None;
        }
        if frame.is_key() {
            *requested = None;
        }
        viewers.retain(|viewer| {
            let mut state = lock(&viewer.state);
            let mine = state.current == Some(self.id);
            if state.gone || (!mine && state.wanted != self.id) {
                return false;
            }
            if !mine && frame.is_key() {
                state.current = Some(self.id);
                state.skipping = false;
            } else if !mine {
                if state.current.is_none() && state.since.elapsed() > PATIENCE && !gop.is_empty() {
                    state.replay(&viewer.source, gop, self.id);
                } else {
                    needs_key = true;
                }
                return true;
            }
            if !viewer.push(&mut state, frame) {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                needs_key = true;
            }
            true
        });
        drop(inner);
        if needs_key {
            self.request_keyframe();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    /// Keeps the current group of pictures, within the bounds; past them nothing until the next key frame.
    fn keep(&mut self, frame: &Frame) {
        if frame.is_key() {
            self.gop.clear();
            self.gop_bytes = 0;
        } else if self.gop.is_empty() {
            return;
        }
        self.gop_bytes += frame.buffer.size();
        self.gop.push(frame.clone());
        let age =
            self.gop.first().map_or(gst::ClockTime::ZERO, |first| frame.pts().saturating_sub(first.pts()));
        if self.gop_bytes > MAX_GOP_BYTES || age > MAX_GOP_TIME {
            self.gop.clear();
            self.gop_bytes = 0;
        }
    }

    fn replay(&self, viewer: &Viewer, id: u64) {
        lock(&viewer.state).replay(&viewer.source, &self.gop, id);
    }
}

impl ViewerState {
    fn takes(&self, id: u64) -> bool {
        self.wanted == id && !self.gone
    }

    fn replay(&mut self, source: &gst_app::AppSrc, gop: &[Frame], id: u64) {
        for frame in gop {
            self.current = Some(id);
            self.push(source, frame);
        }
    }

    fn push(&mut self, source: &gst_app::AppSrc, frame: &Frame) {
        if self.caps.as_ref() != Some(&frame.caps) {
            source.set_caps(Some(&frame.caps));
            self.caps = Some(frame.caps.clone());
        }
        // Refused only while the viewer's pipeline is being taken down.
        let _ = source.push_buffer(frame.buffer.clone());
    }
}

impl Viewer {
    /// Whether the viewer took the frame; one that is behind takes none until a key frame.
    fn push(&self, state: &mut ViewerState, frame: &Frame) -> bool {
        let behind = self.source.current_level_time() > MAX_QUEUE;
        state.skipping = behind || (state.skipping && !frame.is_key());
        if !state.skipping {
            state.push(&self.source, frame);
            self.sent.fetch_add(1, Ordering::Relaxed);
            self.first.get_or_init(Instant::now);
        }
        !state.skipping
    }
}

impl Subscription {
    /// Takes frames from `fanout` from its next key frame on, and from the present one until then.
    pub fn change_to(&mut self, fanout: &Arc<Fanout>) {
        if Arc::ptr_eq(fanout, &self.fanout) {
            return;
        }
        {
            let mut state = lock(&self.viewer.state);
            state.wanted = fanout.id;
        }
        self._interest = fanout.interest();
        self.fanout = Arc::clone(fanout);
        let already = fanout.lock().viewers.iter().any(|viewer| Arc::ptr_eq(viewer, &self.viewer));
        if !already {
            fanout.attach(&self.viewer);
        }
    }

    /// Frames the viewer was given.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.viewer.sent.load(Ordering::Relaxed)
    }

    /// When the viewer was given its first frame.
    #[must_use]
    pub fn first(&self) -> Option<Instant> {
        self.viewer.first.get().copied()
    }

    /// Asks for a key frame on the viewer's behalf.
    pub fn request_keyframe(&self) {
        self.fanout.request_keyframe();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.viewer.state).gone = true;
        self.fanout.lock().viewers.retain(|viewer| !Arc::ptr_eq(viewer, &self.viewer));
    }
}

/// A poisoned lock means a panic, and a panic ends the daemon; in tests the data is still whole between statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
