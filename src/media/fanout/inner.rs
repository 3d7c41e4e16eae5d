//! What a fan-out holds under its lock: its viewers, the kept group of pictures, and whose frames they are.

use std::sync::Arc;
use std::time::Instant;

use gstreamer as gst;

use super::super::gop::{Frame, Gop};
use super::viewer::Viewer;
use super::{PATIENCE, lock};

/// Who fills a fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Feed {
    #[default]
    Camera,
    Slate,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// The present group of pictures of the feed.
    pub(super) gop: Gop,
    /// The camera's, while the slate is shown: it may make no key frames on request.
    kept: Gop,
    /// Since when, while the slate is shown, the camera that gives frames again has owed a key frame.
    owed: Option<Instant>,
    pub(super) viewers: Vec<Arc<Viewer>>,
    /// Whose frames the viewers get.
    pub(super) feed: Feed,
    /// Whether the camera's present stream has had a key frame: before it nobody can show any of it.
    pub(super) given: bool,
    /// Whether the slate may take over at its next key frame.
    pub(super) slate_due: bool,
    /// Where key-frame requests go while an encoder runs: the camera's and the slate's.
    pub(super) encoders: [Option<gst::glib::WeakRef<gst::Pad>>; 2],
    /// When the camera's encoder last gave a frame, or somebody first wanted one.
    pub(super) alive: Instant,
    /// The latest time stamp handed out.
    pub(super) latest: gst::ClockTime,
    /// Where the other feed ended: what begins earlier is moved behind it.
    pub(super) floor: Option<gst::ClockTime>,
    pub(super) requested: Option<Instant>,
    /// Whether the feed was found not to make key frames on request, or is a camera's own stream.
    pub(super) deaf: bool,
    /// Whether the camera's frames are as it encoded them.
    pub(super) passes: bool,
    /// Whether the camera's encoder was found not to make key frames on request.
    ignores: bool,
}

impl Inner {
    /// Nobody's, and empty.
    pub(super) fn new() -> Self {
        Self {
            gop: Gop::default(),
            kept: Gop::default(),
            owed: None,
            viewers: Vec::new(),
            feed: Feed::Camera,
            given: false,
            slate_due: false,
            encoders: [None, None],
            alive: Instant::now(),
            latest: gst::ClockTime::ZERO,
            floor: None,
            requested: None,
            deaf: false,
            passes: false,
            ignores: false,
        }
    }

    /// Where key-frame requests of `feed` go.
    pub(super) fn encoder(&self, feed: Feed) -> Option<gst::Pad> {
        let [camera, slate] = &self.encoders;
        let pad = if feed == Feed::Camera { camera } else { slate };
        pad.as_ref().and_then(gst::glib::WeakRef::upgrade)
    }

    /// The same, to be set.
    pub(super) fn encoder_mut(&mut self, feed: Feed) -> &mut Option<gst::glib::WeakRef<gst::Pad>> {
        let [camera, slate] = &mut self.encoders;
        if feed == Feed::Camera { camera } else { slate }
    }

    /// What comes next from `feed` is another stream; `passes`: the camera's own.
    pub(super) fn renew(&mut self, feed: Feed, passes: bool) {
        if feed == Feed::Camera {
            self.kept.clear();
            self.owed = None;
            self.given = false;
            (self.passes, self.ignores) = (passes, false);
        }
        if self.feed == feed {
            self.gop.clear();
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.requested = None;
        self.deaf = (self.passes || self.ignores) && self.feed == Feed::Camera;
    }

    /// The other feed takes over.
    pub(super) fn switch(&mut self, feed: Feed) {
        let before = std::mem::replace(&mut self.gop, std::mem::take(&mut self.kept));
        if feed == Feed::Slate {
            self.kept = before;
        }
        self.owed = None;
        self.feed = feed;
        self.floor = Some(self.latest);
        self.begin();
    }

    /// Whether the camera, which was silent, can go on with this frame in the middle of a group of pictures: all of it is
    /// kept, and no key frame comes.
    pub(super) fn may_go_on(&mut self, frame: &Frame) -> bool {
        if self.kept.frames().is_empty() {
            return false;
        }
        let owed = self.owed.get_or_insert_with(Instant::now).elapsed();
        self.ignores |= !self.passes && owed > PATIENCE;
        if self.passes || self.ignores {
            return true;
        }
        self.kept.keep(frame);
        false
    }

    /// A key frame that was asked for is not there yet; `frame` came instead.
    pub(super) fn is_late(&mut self, frame: &Frame) {
        let ignores = !frame.is_key() && self.gop.frames().len() > 1;
        if self.feed == Feed::Camera {
            self.ignores = ignores;
        }
        self.deaf = ignores || (self.passes && self.feed == Feed::Camera);
        self.requested = None;
    }

    /// The viewers of the fan-out with this `id` lack what the next frame builds on.
    pub(super) fn lose(&self, id: u64) {
        for viewer in &self.viewers {
            let mut state = lock(&viewer.state);
            if state.current == Some(id) {
                state.lose();
            }
        }
    }

    /// The frame with a time stamp later than those of the other feed: a camera's is when the picture was taken, which
    /// may lie before the slate's last.
    pub(super) fn in_order(&mut self, frame: &Frame) -> Frame {
        let mut frame = frame.clone();
        match self.floor {
            Some(floor) if frame.pts() <= floor => {
                let pts = floor + gst::ClockTime::MSECOND;
                frame = frame.moved_to(pts);
                self.floor = Some(pts);
            }
            _ => self.floor = None,
        }
        self.latest = self.latest.max(frame.pts());
        frame
    }
}
