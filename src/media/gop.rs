//! The current group of pictures of a stream: what a joiner needs to show a picture at once.

use std::sync::LazyLock;

use gstreamer as gst;

/// Bounds of the kept group: a burst larger than this overruns Wi-Fi queues and webrtcbin's 500 retransmittable
/// packets.
const MAX_GOP_BYTES: usize = 2 << 20;
/// See [`MAX_GOP_BYTES`].
const MAX_GOP_TIME: gst::ClockTime = gst::ClockTime::from_seconds(15);
/// What lies between two pictures of a replay, at most. They were made over seconds and are sent at once; with the time
/// stamps of then, a receiver would think that the network holds pictures up, and keep a reserve.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// One encoded access unit, shared by all who get it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The data; its PTS is running time on the shared timeline.
    pub(crate) buffer: gst::Buffer,
    /// Its format.
    pub(crate) caps: gst::Caps,
}

impl Frame {
    pub(super) fn is_key(&self) -> bool {
        !self.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)
    }

    pub(super) fn pts(&self) -> gst::ClockTime {
        self.buffer.pts().unwrap_or(gst::ClockTime::ZERO)
    }

    /// The same, to be shown at another time; when it was taken is still known.
    pub(super) fn moved_to(&self, pts: gst::ClockTime) -> Self {
        let mut buffer = self.buffer.copy();
        let data = buffer.make_mut();
        if taken(data).is_none() {
            gst::ReferenceTimestampMeta::add(data, &TAKEN, self.pts(), gst::ClockTime::NONE);
        }
        data.set_pts(pts);
        data.set_duration(gst::ClockTime::NONE);
        Self { buffer, caps: self.caps.clone() }
    }
}

/// Names the note of [`Frame::moved_to`].
static TAKEN: LazyLock<gst::Caps> =
    LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-portald-taken"));

/// When a frame that was moved was taken, in running time.
pub(super) fn taken(buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let is_ours = |meta: &gst::MetaRef<'_, gst::ReferenceTimestampMeta>| *meta.reference() == **TAKEN;
    buffer.iter_meta::<gst::ReferenceTimestampMeta>().find(is_ours).map(|meta| meta.timestamp())
}

/// Frames from the last key frame on.
#[derive(Debug, Default)]
pub(super) struct Gop {
    frames: Vec<Frame>,
    bytes: usize,
}

impl Gop {
    /// Keeps `frame`, within the bounds; past them nothing until the next key frame.
    pub(super) fn keep(&mut self, frame: &Frame) {
        if frame.is_key() {
            self.clear();
        } else if self.frames.is_empty() {
            return;
        }
        self.bytes += frame.buffer.size();
        self.frames.push(frame.clone());
        if self.bytes > MAX_GOP_BYTES || self.span() > MAX_GOP_TIME {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Time from the first to the last.
    pub(super) fn span(&self) -> gst::ClockTime {
        match (self.frames.first(), self.frames.last()) {
            (Some(first), Some(last)) => last.pts().saturating_sub(first.pts()),
            _ => gst::ClockTime::ZERO,
        }
    }

    /// The frames as if they had been made just before the last of them, and all after `after`.
    pub(super) fn squeezed(&self, after: gst::ClockTime) -> Vec<Frame> {
        let count = self.frames.len() as u64;
        let Some(last) = self.frames.last().map(Frame::pts) else { return Vec::new() };
        let step = (last.saturating_sub(after) / count.max(1)).min(STEP);
        let again = self
            .frames
            .iter()
            .zip((0..count).rev())
            .map(|(frame, before_last)| frame.moved_to(last.saturating_sub(step * before_last)));
        again.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ms: u64, key: bool, size: usize) -> Frame {
        let mut buffer = gst::Buffer::with_size(size).unwrap();
        let data = buffer.make_mut();
        data.set_pts(gst::ClockTime::from_mseconds(ms));
        if !key {
            data.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        Frame { buffer, caps: gst::Caps::new_empty_simple("video/x-h264") }
    }

    #[test]
    fn a_group_begins_with_a_key_frame_and_is_bounded() {
        gst::init().unwrap();
        let mut gop = Gop::default();
        gop.keep(&frame(0, false, 10));
        assert!(gop.frames().is_empty(), "nothing to decode yet");
        for ms in [100, 200, 300] {
            gop.keep(&frame(ms, ms == 100, 10));
        }
        assert_eq!((gop.frames().len(), gop.span().mseconds()), (3, 200));
        gop.keep(&frame(400, true, 10));
        assert_eq!(gop.frames().len(), 1);
        gop.keep(&frame(500, false, MAX_GOP_BYTES));
        assert!(gop.frames().is_empty(), "too large");
        gop.keep(&frame(600, true, 10));
        gop.keep(&frame(600 + MAX_GOP_TIME.mseconds() + 1, false, 10));
        assert!(gop.frames().is_empty(), "too old");
    }

    #[test]
    fn a_replay_ends_with_the_present_and_begins_after_what_was_shown() {
        gst::init().unwrap();
        let mut gop = Gop::default();
        for number in 0..100 {
            gop.keep(&frame(1000 + number * 40, number == 0, 10));
        }
        let times = |after: u64| -> Vec<u64> {
            let again = gop.squeezed(gst::ClockTime::from_mseconds(after));
            again.iter().map(|frame| frame.pts().useconds()).collect()
        };
        for after in [0, 4900, 4950] {
            let times = times(after);
            assert_eq!((times.len(), *times.last().unwrap()), (100, 4_960_000));
            assert!(times.windows(2).all(|two| two[0] < two[1]) && times[0] > after * 1000, "{times:?}");
        }
        assert_eq!(times(0)[0], 4_960_000 - 99_000);
    }
}
