//! What viewers are offered: codecs and RTP header extensions, and which of those a viewer took.

use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::Timeline;
use super::capture_time::{self, CaptureTime};
use super::playout_delay::{self, PlayoutDelay};

/// Payload types of our offers; webrtcbin picks those of the retransmissions itself.
const H264_PT: i32 = 96;
const VP8_PT: i32 = 98;
/// Id of the playout-delay extension in our offers: the one that Chromium gives it itself. Under any other it refuses
/// its own later offers, once a webcam is bundled with our media ("codec collision for header extension id").
const PLAYOUT_DELAY_ID: u32 = 5;
/// Id of the abs-capture-time extension: Chromium's own too (156). It must be none that Chromium gives to another one
/// when a page adds a webcam (1–12), and none above 14, for which packets would need the longer form of headers.
const CAPTURE_TIME_ID: u32 = 13;

/// The extensions that a viewer took.
#[derive(Debug, Default)]
pub(super) struct Taken {
    playout_delay: AtomicBool,
    capture_time: AtomicBool,
}

impl Taken {
    /// Reads the viewer's answer.
    pub(super) fn read(&self, answer: &str) {
        self.playout_delay.store(answer.contains(playout_delay::URI), Ordering::Relaxed);
        self.capture_time.store(answer.contains(capture_time::URI), Ordering::Relaxed);
    }

    /// Has the payloader `pay` write them into its packets.
    pub(super) fn add_to(&self, pay: &gst::Element, timeline: &Timeline) {
        if self.playout_delay.load(Ordering::Relaxed) {
            pay.emit_by_name::<()>("add-extension", &[&PlayoutDelay::with_id(PLAYOUT_DELAY_ID)]);
        }
        if self.capture_time.load(Ordering::Relaxed) {
            pay.emit_by_name::<()>("add-extension", &[&CaptureTime::with_id(CAPTURE_TIME_ID, timeline)]);
        }
    }
}

/// What we offer. 42e01f with mode 1 is what every browser with H.264 takes; VP8 is for those without.
pub(super) fn offered_caps() -> gst::Caps {
    let (delay, taken) = (format!("extmap-{PLAYOUT_DELAY_ID}"), format!("extmap-{CAPTURE_TIME_ID}"));
    let h264 = gst::Structure::builder("application/x-rtp")
        .field("media", "video")
        .field("encoding-name", "H264")
        .field("payload", H264_PT)
        .field("clock-rate", 90_000)
        .field("packetization-mode", "1")
        .field("profile-level-id", "42e01f")
        .field("level-asymmetry-allowed", "1")
        .field(delay.as_str(), playout_delay::URI)
        .field(taken.as_str(), capture_time::URI)
        .build();
    let vp8 = gst::Structure::builder("application/x-rtp")
        .field("media", "video")
        .field("encoding-name", "VP8")
        .field("payload", VP8_PT)
        .field("clock-rate", 90_000)
        .field(delay.as_str(), playout_delay::URI)
        .field(taken.as_str(), capture_time::URI)
        .build();
    [h264, vp8].into_iter().collect()
}
