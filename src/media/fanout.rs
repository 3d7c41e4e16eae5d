//! Encoded frames of one rendition, handed to its viewers.
//!
//! Each viewer has a queue that is looked at before every push: one that is behind skips to the next key frame and
//! costs nobody else anything. The current group of pictures is kept, so a joiner does not wait for the camera's
//! key-frame interval. A viewer changes rendition at a key frame of the new one, on the same track. While the camera
//! gives nothing, a slate takes its place in the same fan-out; each takes over at a key frame of its own, or a camera
//! that makes none on request with its kept group.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::Notify;

use self::inner::{Feed, Inner};
use self::viewer::Viewer;
use super::gop::Frame;
use crate::status::counts::RenditionCounts;

mod inner;
mod slate;
mod viewer;

/// A group of pictures younger than this is replayed to a joiner at once; for an older one a key frame is quicker
/// to decode than all that came since the last, if the encoder can make one.
const REPLAY_AT_ONCE: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// How long a joiner waits for a key frame that was asked for before it gets the replay after all.
const PATIENCE: Duration = Duration::from_millis(300);
/// Requests closer together than this are one: a crowd that joins, or loses packets, must not turn the stream into
/// key frames.
const REQUEST_INTERVAL: Duration = Duration::from_millis(500);
/// A viewer that changes rendition and gets nothing from the old one for this long sees the slate of the new one.
const UNFED: Duration = Duration::from_secs(1);
/// The fan-out of one rendition in one codec. Lives as long as its camera, whether or not an encoder runs.
#[derive(Debug)]
pub struct Fanout {
    id: u64,
    inner: Mutex<Inner>,
    /// How many sessions want it encoded; the camera's supervisor starts and stops the encoder by this.
    interest: AtomicUsize,
    /// Told when `interest` leaves or reaches zero.
    wake: Arc<Notify>,
    /// Counters for the API and the metrics.
    pub counters: Arc<RenditionCounts>,
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
            inner: Mutex::new(Inner::new()),
            interest: AtomicUsize::new(0),
            wake,
            counters: Arc::default(),
        })
    }

    /// Has the rendition encoded from now on, so that pictures are ready when the viewer is.
    #[must_use]
    pub fn interest(self: &Arc<Self>) -> Interest {
        if self.interest.fetch_add(1, Ordering::AcqRel) == 0 {
            self.lock().alive = Instant::now();
            self.wake.notify_one();
        }
        Interest(Arc::clone(self))
    }

    /// Whether anyone wants it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.interest.load(Ordering::Acquire) > 0
    }

    /// Whether viewers see the slate now, and whether the camera has given a picture since its encoder, or it itself, was
    /// started last; both of the same moment.
    pub(crate) fn shows(&self) -> (bool, bool) {
        let inner = self.lock();
        (inner.feed == Feed::Slate, inner.given)
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
        let viewer = Viewer::new(source, self.id);
        self.attach(&viewer);
        Subscription { viewer, fanout: Arc::clone(self), _interest: self.interest() }
    }

    fn attach(&self, viewer: &Arc<Viewer>) {
        let mut inner = self.lock();
        let young = inner.gop.span() <= REPLAY_AT_ONCE;
        {
            let mut state = lock(&viewer.state);
            if state.current.is_none() && (young || inner.deaf) {
                state.replay(&viewer.source, &inner.gop, self.id);
            }
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
        let inner = self.lock();
        let feed = inner.feed;
        self.request_of(inner, feed);
    }

    fn request_of(&self, mut inner: MutexGuard<'_, Inner>, feed: Feed) {
        if inner.requested.is_some_and(|at| at.elapsed() < REQUEST_INTERVAL) {
            return;
        }
        let Some(pad) = inner.encoder(feed) else { return };
        inner.requested = Some(Instant::now());
        drop(inner);
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        // Up from the sink's pad, not through the element: that would take the state lock of a pipeline that may be
        // changing state. The pad's peer is the encoder's chain; it only notes the wish.
        pad.push_event(event);
    }

    /// The camera's encoder starts: what is kept of it belongs to another stream.
    pub(crate) fn encoder_started(&self, sink_pad: &gst::Pad) {
        self.started(Feed::Camera, sink_pad, false);
    }

    /// Frames will come as the camera encodes them. It is asked for key frames, but not expected to make them.
    pub(crate) fn passthrough_started(&self, sink_pad: &gst::Pad) {
        self.started(Feed::Camera, sink_pad, true);
    }

    /// The camera's encoder with this sink stopped; another may have taken its place already.
    pub(crate) fn encoder_stopped(&self, sink_pad: &gst::Pad) {
        self.stopped(Feed::Camera, sink_pad);
    }

    fn started(&self, feed: Feed, sink_pad: &gst::Pad, passes: bool) {
        let mut inner = self.lock();
        *inner.encoder_mut(feed) = Some(sink_pad.downgrade());
        inner.renew(feed, passes);
    }

    fn stopped(&self, feed: Feed, sink_pad: &gst::Pad) {
        let mut inner = self.lock();
        if inner.encoder(feed).is_some_and(|pad| pad != *sink_pad) {
            return;
        }
        *inner.encoder_mut(feed) = None;
        inner.renew(feed, false);
        // Those who have changed to another rendition will not be met by a push here any more.
        inner.viewers.retain(|viewer| lock(&viewer.state).takes(self.id));
    }

    /// Hands one frame of the camera to everyone. Called on the encoder's thread; never waits for a viewer.
    pub(crate) fn push(&self, frame: &Frame) {
        let mut inner = self.lock();
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(frame.buffer.size()).unwrap_or(0);
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        if frame.is_key() {
            self.counters.keyframes.fetch_add(1, Ordering::Relaxed);
        }
        inner.alive = Instant::now();
        inner.given |= frame.is_key();
        if inner.feed == Feed::Slate {
            if !frame.is_key() && !inner.may_go_on(frame) {
                // It was silent and goes on: nobody has what this frame builds on.
                return self.request_of(inner, Feed::Camera);
            }
            inner.slate_due = false;
            inner.switch(Feed::Camera);
            if !frame.is_key() {
                inner.lose(self.id);
            }
        }
        self.deliver(inner, frame);
    }

    fn deliver(&self, mut inner: MutexGuard<'_, Inner>, frame: &Frame) {
        let frame = &inner.in_order(frame);
        inner.gop.keep(frame);
        let mut needs_key = false;
        if inner.requested.is_some_and(|at| at.elapsed() > PATIENCE) {
            inner.is_late(frame);
        }
        if frame.is_key() {
            inner.requested = None;
        }
        let Inner { viewers, gop, deaf, feed, .. } = &mut *inner;
        viewers.retain(|viewer| {
            let mut state = lock(&viewer.state);
            let mine = state.current == Some(self.id);
            if state.gone || (!mine && state.wanted != self.id) {
                return false;
            }
            if !mine && *feed == Feed::Slate && state.current.is_some() && state.fed.elapsed() < UNFED {
                return true; // it still sees the other rendition, which is better than a slate of this one
            }
            if frame.is_key() {
                state.lost = false;
            }
            let caught_up = viewer.source.current_level_buffers() == 0;
            let replay = !frame.is_key() && state.takes_replay(self.id, *deaf, caught_up);
            if replay && state.replay(&viewer.source, gop, self.id) {
                return true; // the kept group ends with this frame
            }
            if !mine && frame.is_key() {
                state.current = Some(self.id);
                state.skipping = false;
            } else if !mine {
                needs_key = true;
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

    /// Frames and bytes that the viewer was given, replays of what it had among them.
    #[must_use]
    pub fn given(&self) -> (u64, u64) {
        lock(&self.viewer.state).given
    }

    /// When the viewer was given its first frame.
    #[must_use]
    pub fn first(&self) -> Option<Instant> {
        self.viewer.first.get().copied()
    }

    /// Asks for a key frame on the viewer's behalf.
    pub fn request_keyframe(&self) {
        lock(&self.viewer.state).lost = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(millis: u64, key: bool) -> Frame {
        sized(millis, key, 10)
    }

    fn sized(millis: u64, key: bool, size: usize) -> Frame {
        let mut buffer = gst::Buffer::with_size(size).unwrap();
        let data = buffer.make_mut();
        data.set_pts(gst::ClockTime::from_mseconds(millis));
        if !key {
            data.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        Frame { buffer, caps: gst::Caps::new_empty_simple("video/x-h264") }
    }

    fn viewer() -> gst_app::AppSrc {
        gst::init().unwrap();
        gst_app::AppSrc::builder().format(gst::Format::Time).build()
    }

    fn pad() -> gst::Pad {
        gst::Pad::new(gst::PadDirection::Sink)
    }

    #[test]
    fn the_camera_comes_back_at_a_key_frame_with_later_time_stamps() {
        let (source, sink, slate) = (viewer(), pad(), pad());
        let fanout = Fanout::new(Arc::default());
        let subscription = fanout.subscribe(source);
        fanout.encoder_started(&sink);
        fanout.push(&frame(0, true));
        fanout.push(&frame(33, false));
        fanout.push_slate(&frame(50, true));
        assert!(!fanout.shows_slate(), "it was not asked for");
        fanout.slate_started(&slate);
        fanout.push_slate(&frame(60, false));
        assert!(!fanout.shows_slate(), "not in the middle of a group");
        fanout.push_slate(&frame(70, true));
        assert!(fanout.shows_slate());
        fanout.push(&frame(80, false));
        assert!(fanout.shows_slate(), "what that frame builds on is gone");
        fanout.push(&frame(66, true));
        fanout.push_slate(&frame(90, true));
        assert!(!fanout.shows_slate(), "the camera wins");
        assert_eq!(subscription.sent(), 4);
        assert_eq!(fanout.lock().latest, gst::ClockTime::from_mseconds(71), "66 is moved behind 70");
        // A late word of an encoder that was replaced is none.
        let next = pad();
        fanout.encoder_started(&next);
        fanout.encoder_stopped(&sink);
        assert!(fanout.lock().encoder(Feed::Camera).is_some());
    }

    #[test]
    fn who_changes_rendition_keeps_the_old_pictures_rather_than_a_slate_of_the_new_one() {
        let source = viewer();
        let (main, sub) = (Fanout::new(Arc::default()), Fanout::new(Arc::default()));
        let mut subscription = main.subscribe(source);
        let slate = pad();
        main.push(&frame(0, true));
        subscription.change_to(&sub);
        sub.slate_started(&slate);
        sub.push_slate(&frame(10, true));
        main.push(&frame(33, false));
        assert_eq!(
            (sub.counters.slates.load(Ordering::Relaxed), subscription.sent()),
            (1, 2),
            "from main both"
        );
        sub.push(&frame(66, true));
        main.push(&frame(66, false));
        assert_eq!(subscription.sent(), 3, "now from sub");
    }

    #[test]
    fn an_encoder_that_makes_no_key_frames_is_shown_again_after_a_slate() {
        let (source, sink, slate) = (viewer(), pad(), pad());
        let fanout = Fanout::new(Arc::default());
        let subscription = fanout.subscribe(source);
        fanout.encoder_started(&sink);
        (0..30).for_each(|number| fanout.push(&frame(number * 33, number == 0)));
        fanout.slate_started(&slate);
        let slates = |fanout: &Fanout| fanout.push_slate(&frame(3000, true));
        slates(&fanout);
        assert!(fanout.shows_slate());
        fanout.push(&frame(3000, false));
        assert!(fanout.shows_slate(), "a key frame may come");
        std::thread::sleep(PATIENCE + Duration::from_millis(10));
        let before = subscription.sent();
        fanout.push(&frame(3400, false));
        assert!(!fanout.shows_slate(), "it did not");
        let inner = fanout.lock();
        assert_eq!(inner.gop.frames().len(), 32, "nothing is missing");
        assert!(inner.deaf && lock(&inner.viewers[0].state).last == gst::ClockTime::from_mseconds(3400));
        drop(inner);
        fanout.push(&frame(3433, false));
        assert_eq!(subscription.sent(), before + 1, "and then each frame");
        // The next time it is not waited for.
        fanout.slate_started(&slate);
        fanout.push_slate(&frame(5000, true));
        assert!(fanout.shows_slate());
        fanout.push(&frame(5100, false));
        assert!(!fanout.shows_slate());
        // One that starts anew may obey.
        fanout.encoder_started(&sink);
        assert!(!fanout.lock().deaf);
    }

    /// A fan-out of what a camera encodes, and a viewer's queue that nobody empties.
    fn passing() -> (Arc<Fanout>, gst_app::AppSrc) {
        gst::init().unwrap();
        let fanout = Fanout::new(Arc::default());
        fanout.passthrough_started(&gst::Pad::new(gst::PadDirection::Sink));
        (fanout, gst_app::AppSrc::builder().format(gst::Format::Time).build())
    }

    #[test]
    fn whoever_lost_its_way_gets_the_kept_group_and_no_more_than_is_good() {
        let (fanout, queue) = passing();
        let viewer = fanout.subscribe(queue.clone());
        for number in 0..5 {
            fanout.push(&frame(number, number == 0));
        }
        assert_eq!(queue.current_level_buffers(), 5);
        viewer.request_keyframe();
        fanout.push(&frame(10, false));
        assert_eq!(queue.current_level_buffers(), 11, "the group of six again");
        viewer.request_keyframe();
        fanout.push(&frame(11, false));
        assert_eq!(queue.current_level_buffers(), 12, "not so soon");
    }

    #[test]
    fn frames_go_on_where_no_group_is_kept() {
        let (fanout, queue) = passing();
        let viewer = fanout.subscribe(queue.clone());
        fanout.push(&frame(0, true));
        fanout.push(&sized(1, false, 4 << 20));
        viewer.request_keyframe();
        fanout.push(&frame(2, false));
        assert_eq!(queue.current_level_buffers(), 3);
    }

    #[test]
    fn a_change_to_what_a_camera_encodes_waits_for_no_key_frame_and_never_goes_back_in_time() {
        let (fanout, queue) = passing();
        for number in 0..5 {
            fanout.push(&frame(number * 100, number == 0));
        }
        let sub = Fanout::new(Arc::default());
        let mut viewer = sub.subscribe(queue.clone());
        sub.push(&frame(450, true));
        viewer.change_to(&fanout);
        fanout.push(&frame(440, false));
        assert_eq!(queue.current_level_buffers(), 1, "older than what was shown");
        fanout.push(&frame(500, false));
        assert_eq!(queue.current_level_buffers(), 1 + 7, "the whole group");
        fanout.push(&frame(600, false));
        assert_eq!(queue.current_level_buffers(), 9);
        assert_eq!(lock(&viewer.viewer.state).last.mseconds(), 600);
    }

    #[test]
    fn a_camera_that_makes_no_key_frames_comes_back_at_once_with_what_was_kept() {
        let (fanout, queue) = passing();
        let (slate, _viewer) = (pad(), fanout.subscribe(queue.clone()));
        for number in 0..5 {
            fanout.push(&frame(number * 100, number == 0));
        }
        fanout.slate_started(&slate);
        fanout.push_slate(&frame(2000, true));
        assert!(fanout.shows_slate() && queue.current_level_buffers() == 6);
        fanout.push(&frame(1990, false));
        assert!(!fanout.shows_slate(), "its key frame is far away");
        assert_eq!(queue.current_level_buffers(), 6 + 6, "the whole group");
        fanout.push(&frame(2090, false));
        assert_eq!(queue.current_level_buffers(), 13);
        // Reconnected, it begins with a key frame; nothing of before is shown.
        fanout.slate_started(&slate);
        fanout.push_slate(&frame(3000, true));
        fanout.passthrough_started(&pad());
        fanout.push(&frame(3050, false));
        assert!(fanout.shows_slate(), "what that frame builds on never came");
        fanout.push(&frame(3100, true));
        assert!(!fanout.shows_slate());
        assert_eq!(queue.current_level_buffers(), 15);
    }
}
