//! Asks a camera in the network for key frames: by RTCP, with a picture loss indication (RFC 4585, 6.3.1).
//!
//! Such a camera may be joined in the midst of a group of pictures, and the next key frame may be 10 s away. GStreamer
//! sends an indication only where the camera's description says that it takes them, which few say; one that knows nothing
//! of them passes over a packet of a kind that it does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

/// Least time between reports to the camera, which indications go with; by default it is 5 s.
const REPORTS: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// How often it is asked before its first key frame.
const EVERY: Duration = Duration::from_millis(500);
/// How often at most: one that did not answer so often never will, and its own comes within the time of ten.
const TIMES: u32 = 10;

/// Has `source`, an rtspsrc in `pipeline`, turn requests for key frames into indications; and asks for the first key frame
/// from the first packet on, until `begun`.
pub(super) fn for_key_frames(pipeline: &gst::Pipeline, source: &gst::Element, begun: &Arc<AtomicBool>) {
    pipeline.connect_deep_element_added(|_, _, element| {
        if element.factory().is_some_and(|factory| factory.name() == "rtpsession") {
            let session = element.property::<gst::glib::Object>("internal-session");
            session.set_property("rtcp-min-interval", REPORTS);
            element.connect_pad_added(|_, pad| {
                if pad.name() == "recv_rtp_sink" {
                    allow(pad);
                }
            });
        }
    });
    let begun = Arc::clone(begun);
    source.connect_pad_added(move |_, pad| ask_until(pad, Arc::clone(&begun)));
}

/// The session learns from these caps what the camera takes.
fn allow(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        if let Some(event) = info.event()
            && let gst::EventView::Caps(told) = event.view()
        {
            let mut caps = told.caps_owned();
            caps.make_mut().set("rtcp-fb-nack-pli", true);
            info.data = Some(gst::PadProbeData::Event(gst::event::Caps::new(&caps)));
        }
        gst::PadProbeReturn::Ok
    });
}

fn ask_until(pad: &gst::Pad, begun: Arc<AtomicBool>) {
    let (mut last, mut times) = (None::<Instant>, 0);
    let asked = std::sync::Mutex::new(move || {
        let due = times < TIMES && last.is_none_or(|last| last.elapsed() >= EVERY);
        if due {
            (last, times) = (Some(Instant::now()), times + 1);
        }
        due
    });
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |pad, _| {
        if begun.load(Ordering::Acquire) {
            return gst::PadProbeReturn::Remove;
        }
        let mut due = asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if due() {
            // Into the source; what comes out of it goes on while the session sends.
            pad.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        gst::PadProbeReturn::Ok
    });
}
