//! The slate's side of a fan-out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gstreamer as gst;

use super::{Fanout, Feed, Frame};

impl Fanout {
    /// The slate's encoder starts, and takes over at its first key frame unless the camera is quicker.
    pub(crate) fn slate_started(&self, sink_pad: &gst::Pad) {
        self.lock().slate_due = true;
        self.started(Feed::Slate, sink_pad, false);
    }

    /// The slate's encoder stopped.
    pub(crate) fn slate_stopped(&self, sink_pad: &gst::Pad) {
        let mut inner = self.lock();
        inner.slate_due = false;
        // While somebody watches, only a key frame of the camera ends it.
        if inner.feed == Feed::Slate && !self.is_wanted() {
            inner.switch(Feed::Camera);
        }
        drop(inner);
        self.stopped(Feed::Slate, sink_pad);
    }

    /// Whether viewers see the slate now.
    #[must_use]
    pub fn shows_slate(&self) -> bool {
        self.lock().feed == Feed::Slate
    }

    /// Time since the camera's last frame, or since somebody wanted one while there was none.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.lock().alive.elapsed()
    }

    /// Hands one frame of the slate to everyone, if it is the slate's turn.
    pub(crate) fn push_slate(&self, frame: &Frame) {
        let mut inner = self.lock();
        if inner.feed == Feed::Camera {
            if !inner.slate_due || !frame.is_key() {
                return;
            }
            inner.switch(Feed::Slate);
        }
        self.counters.slates.fetch_add(1, Ordering::Relaxed);
        self.deliver(inner, frame);
    }
}
