//! A camera that encodes itself: its H.264 goes to the viewers as it is, and to a decoder for whatever else is wanted.
//!
//! Such a stream makes no key frame on request, so the group of pictures is kept for joiners and for the decoder. One
//! with B-frames cannot be passed on: browsers do not put frames in order. That is seen in its time stamps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer_app as gst_app;

use super::Timeline;
use super::encode::on_timeline;
use super::fanout::Fanout;
use super::gop::{Frame, Gop};

/// Frames that may wait for the decoder, half a second at 30 fps; then it goes on at the next key frame.
const MAX_WAITING: u64 = 15;
/// The same while it comes through the group of pictures it was started with: 15 s of those, and what comes meanwhile.
const MAX_CATCHING_UP: u64 = 600;
/// Frames after which it is known whether the stream has B-frames: with up to three in a row, and wherever it is joined,
/// it stepped back twice by then. A wait of 0.3 s at 25 fps, and none for baseline, which has no B-frames.
const ORDER_KNOWN: u64 = 8;
/// B-frames come in every group; a single step back in time is a camera that set its clock.
const STEPS_BACK: u32 = 2;
/// After so many frames in order, steps back are counted anew.
const WINDOW: u64 = 16;

/// Where the frames of one camera go.
#[derive(Debug)]
pub(super) struct Passage {
    timeline: Timeline,
    main: Arc<Fanout>,
    inner: Mutex<Inner>,
    /// Where its frames come from, and requests for key frames go.
    sink_pad: OnceLock<gst::Pad>,
    /// Whether the main rendition is the camera's own stream.
    direct: AtomicBool,
    /// Bytes that came.
    pub(super) bytes: AtomicU64,
    /// Frames that the decoder could not take.
    pub(super) dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    gop: Gop,
    decoder: Option<Input>,
    /// What the stream's time stamps are off the timeline, once known, in nanoseconds.
    shift: Option<i64>,
    last: gst::ClockTime,
    /// Between the last two frames in order.
    step: gst::ClockTime,
    frames: u64,
    steps_back: u32,
    stepped_at: u64,
    profile: Option<String>,
}

/// The decoder's queue.
#[derive(Debug)]
struct Input {
    source: gst_app::AppSrc,
    caps: Option<gst::Caps>,
    /// It lags behind and waits for a key frame.
    skipping: bool,
    /// It has not yet come through the group of pictures it was started with.
    catching_up: bool,
}

impl Passage {
    /// `direct`: the main rendition is to be the camera's own stream, if it can be.
    pub(super) fn new(timeline: &Timeline, main: &Arc<Fanout>, direct: bool) -> Arc<Self> {
        Arc::new(Self {
            timeline: timeline.clone(),
            main: Arc::clone(main),
            inner: Mutex::default(),
            sink_pad: OnceLock::new(),
            direct: AtomicBool::new(direct),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// Frames will come; requests for key frames go to `sink_pad`.
    pub(super) fn started(&self, sink_pad: &gst::Pad) {
        if self.is_direct() {
            let _ = self.sink_pad.set(sink_pad.clone());
            self.main.passthrough_started(sink_pad);
        }
    }

    /// Whether the main rendition is the camera's own stream.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Acquire)
    }

    /// The profile of what came, as GStreamer names it.
    pub(super) fn profile(&self) -> Option<String> {
        self.lock().profile.clone()
    }

    /// Whether enough came to know if the stream can be passed on.
    pub(super) fn is_known(&self) -> bool {
        let inner = self.lock();
        let baseline = inner.profile.as_deref().is_some_and(|profile| profile.contains("baseline"));
        inner.frames >= if baseline { 1 } else { ORDER_KNOWN }
    }

    /// Takes one frame on. Called on the camera's thread; never waits for a viewer or the decoder.
    pub(super) fn push(&self, sample: &gst::Sample) {
        let Some(mut frame) = on_timeline(sample) else { return };
        self.bytes.fetch_add(frame.buffer.size() as u64, Ordering::Relaxed);
        let mut inner = self.lock();
        inner.align(&mut frame, self.timeline.now());
        if inner.has_b_frames(&frame) {
            self.leave();
        }
        inner.gop.keep(&frame);
        if inner.decoder.as_mut().is_some_and(|decoder| !decoder.push(&frame)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Under the lock, so that the flag and the fan-out go together.
        if self.is_direct() {
            self.main.push(&frame);
        }
    }

    /// Gives `source` the current group of pictures and all that follows. Returns the time of the newest picture in it:
    /// what the decoder makes of the others is past.
    pub(super) fn attach(&self, source: gst_app::AppSrc) -> gst::ClockTime {
        let mut inner = self.lock();
        let mut input = Input { source, caps: None, skipping: true, catching_up: true };
        for frame in inner.gop.frames() {
            input.push(frame);
        }
        inner.decoder = Some(input);
        inner.gop.frames().last().map_or(gst::ClockTime::ZERO, Frame::pts)
    }

    /// The decoder gets nothing any more.
    pub(super) fn detach(&self) {
        self.lock().decoder = None;
    }

    /// The camera stopped.
    pub(super) fn stop(&self) {
        self.detach();
        self.leave();
    }

    /// The main rendition is not the camera's own stream any more.
    fn leave(&self) {
        if let (true, Some(pad)) = (self.direct.swap(false, Ordering::AcqRel), self.sink_pad.get()) {
            self.main.encoder_stopped(pad);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bit rate of what a camera sends.
#[derive(Debug)]
pub(super) struct Rate {
    since: Instant,
    bytes: u64,
    kbit: u32,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), bytes: 0, kbit: 0 }
    }

    /// Told how many bytes came in all, takes the mean of two seconds or a little more.
    pub(super) fn update(&mut self, bytes: u64) {
        let elapsed = self.since.elapsed();
        if elapsed >= Duration::from_secs(2) {
            let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            let kbit = bytes.saturating_sub(self.bytes) * 8 / millis.max(1);
            *self = Self { since: Instant::now(), bytes, kbit: u32::try_from(kbit).unwrap_or(u32::MAX) };
        }
    }

    /// In kbit/s; 0 in the first seconds.
    pub(super) fn kbit(&self) -> u32 {
        self.kbit
    }
}

impl Inner {
    /// Puts a stream that counts from elsewhere on the timeline, by its first frame, and notes the profile.
    fn align(&mut self, frame: &mut Frame, now: gst::ClockTime) {
        const NEAR: i64 = 2_000_000_000;
        let nanos = |time: gst::ClockTime| i64::try_from(time.nseconds()).unwrap_or(i64::MAX);
        let Some(pts) = frame.buffer.pts().or_else(|| self.shift.is_none().then_some(now)) else {
            // Key frames whose parameters come in packets of their own have no time. It must not look like a step back
            // when the next one has: half a step is surely before that.
            return frame.buffer.make_mut().set_pts(self.last + self.step / 2);
        };
        let shift = *self.shift.get_or_insert_with(|| {
            let off = nanos(now) - nanos(pts);
            if off.abs() > NEAR { off } else { 0 }
        });
        let shifted = u64::try_from(nanos(pts).saturating_add(shift)).unwrap_or(0);
        frame.buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(shifted));
        if self.profile.is_none() {
            let field = |s: &gst::StructureRef| s.get::<String>("profile").ok();
            self.profile = frame.caps.structure(0).and_then(field);
        }
    }

    /// Whether the frames come in another order than they are shown, as far as is known by now.
    fn has_b_frames(&mut self, frame: &Frame) -> bool {
        self.frames += 1;
        if frame.pts() >= self.last {
            // Of the first it is not known.
            self.step = if self.frames > 1 { frame.pts() - self.last } else { gst::ClockTime::ZERO };
        } else {
            self.steps_back = if self.frames - self.stepped_at > WINDOW { 1 } else { self.steps_back + 1 };
            self.stepped_at = self.frames;
        }
        self.last = frame.pts();
        self.steps_back >= STEPS_BACK
    }
}

impl Input {
    /// Whether the decoder took the frame; one that lags takes none until a key frame.
    fn push(&mut self, frame: &Frame) -> bool {
        let waiting = self.source.current_level_buffers();
        self.catching_up &= waiting > 0 || self.skipping;
        let lags = waiting > if self.catching_up { MAX_CATCHING_UP } else { MAX_WAITING };
        self.skipping = lags || (self.skipping && !frame.is_key());
        if self.skipping {
            return false;
        }
        if self.caps.as_ref() != Some(&frame.caps) {
            self.source.set_caps(Some(&frame.caps));
            self.caps = Some(frame.caps.clone());
        }
        // Refused only while the decoder is being stopped.
        self.source.push_buffer(frame.buffer.clone()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: i64 = 33;

    fn passage() -> (Arc<Passage>, Timeline) {
        let timeline = Timeline::start().unwrap();
        let fanout = Fanout::new(Arc::default());
        (Passage::new(&timeline, &fanout, true), timeline)
    }

    fn sample(ms: i64, key: bool) -> gst::Sample {
        let mut buffer = gst::Buffer::with_size(100).unwrap();
        let data = buffer.make_mut();
        data.set_pts(gst::ClockTime::from_mseconds(ms.try_into().unwrap()));
        if !key {
            data.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        let caps = gst::Caps::builder("video/x-h264").field("profile", "main").build();
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        gst::Sample::builder().buffer(&buffer).caps(&caps).segment(&segment).build()
    }

    #[test]
    fn b_frames_are_seen_and_a_clock_that_is_set_is_not_one() {
        for (order, is_direct) in [
            (vec![0, 1, 2, 3, 4, 5, 6, 7], true),
            (vec![0, 2, 1, 4, 3, 6, 5, 8], false),
            (vec![0, 3, 1, 2, 6, 4, 5, 9], false),
            (vec![1, 2, 6, 4, 5, 9, 7, 8], false),
            (vec![0, 4, 2, 1, 3, 8, 6, 5, 7], false),
            (vec![1, 2, 3, 8, 5, 6, 7, 12, 9], false),
            ((0..30).chain(20..60).collect(), true),
        ] {
            let (passage, _timeline) = passage();
            for (index, place) in order.iter().enumerate() {
                passage.push(&sample(place * PICTURE, index == 0));
                if index + 1 == ORDER_KNOWN as usize && order[0] == 0 {
                    assert!(passage.is_known() && passage.is_direct() == is_direct, "{order:?}");
                }
            }
            assert_eq!(passage.is_direct(), is_direct, "{order:?}");
        }
    }

    #[test]
    fn key_frames_without_a_time_stand_between_their_neighbours() {
        let (passage, timeline) = passage();
        let now = i64::try_from(timeline.now().mseconds()).unwrap();
        let mut without = sample(0, true);
        let mut buffer = without.buffer_owned().unwrap();
        buffer.make_mut().set_pts(gst::ClockTime::NONE);
        without.make_mut().set_buffer(Some(&buffer));
        for place in 0..60 {
            match place % 5 {
                4 => passage.push(&without),
                _ => passage.push(&sample(now + place * PICTURE, place == 0)),
            }
        }
        assert!(passage.is_direct(), "no B-frames");
        let inner = passage.lock();
        let times: Vec<_> = inner.gop.frames().iter().map(Frame::pts).collect();
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn a_stream_that_counts_from_elsewhere_is_put_on_the_timeline() {
        let (passage, timeline) = passage();
        passage.push(&sample(5_000_000, true));
        passage.push(&sample(5_000_000 + PICTURE, false));
        let inner = passage.lock();
        let times: Vec<_> = inner.gop.frames().iter().map(|frame| frame.pts().mseconds()).collect();
        assert!(timeline.now().mseconds() - times[0] < 2000, "{times:?}");
        assert_eq!(times[1] - times[0], PICTURE as u64);
    }

    #[test]
    fn a_decoder_that_lags_goes_on_at_a_key_frame() {
        let (passage, _timeline) = passage();
        for place in 0..40 {
            passage.push(&sample(place * PICTURE, place == 0));
        }
        // Nothing takes what is pushed: the queue of a pipeline that does not run.
        let queue = gst_app::AppSrc::builder().format(gst::Format::Time).build();
        let newest = passage.attach(queue.clone());
        assert_eq!(newest.mseconds(), 39 * PICTURE as u64);
        assert_eq!(queue.current_level_buffers(), 40, "the group that is kept");
        for place in 40..700 {
            passage.push(&sample(place * PICTURE, false));
        }
        let full = queue.current_level_buffers();
        assert!(full <= MAX_CATCHING_UP + 1, "{full} wait");
        assert_eq!(passage.dropped.load(Ordering::Relaxed), 700 - full);
        passage.push(&sample(700 * PICTURE, true));
        assert_eq!(queue.current_level_buffers(), full, "a key frame does not help one that is still full");
    }
}
