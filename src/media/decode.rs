//! Raw pictures of a camera that encodes itself, made only while somebody wants what is encoded from them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;

use super::capture::{Event, Origin, Outlets, Pulse, build, by_name, plain_words, play, stop};
use super::passthrough::Passage;
use super::{MediaError, Timeline, has_element, plan};
use crate::template::{Templates, Values};

/// A running decoder.
#[derive(Debug)]
pub(super) struct Decoder {
    pipeline: gst::Pipeline,
    passage: Arc<Passage>,
    /// Beats with every picture.
    pub(super) pulse: Arc<Pulse>,
    /// The template's name.
    pub(super) name: String,
}

impl Decoder {
    /// Starts decoding what comes through `passage` into `outlets`; pictures that a busy encoder cannot take are
    /// counted as `dropped`.
    ///
    /// # Errors
    /// [`MediaError`] when no decoder is installed, or it does not start.
    pub(super) fn start(
        timeline: &Timeline,
        templates: &Templates,
        passage: &Arc<Passage>,
        outlets: &Outlets,
        dropped: &Arc<AtomicU64>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, MediaError> {
        let (name, launch) = choose(templates)?;
        let pipeline = build("decoder", &format!("appsrc name=in ! {launch} ! appsink name=out"))?;
        timeline.adopt(&pipeline);
        let input = by_name::<gst_app::AppSrc>(&pipeline, "in")?;
        input.set_is_live(true);
        input.set_format(gst::Format::Time);
        // The passage looks at the level itself, and skips to a key frame.
        input.set_max_bytes(0);
        let sink = by_name::<gst_app::AppSink>(&pipeline, "out")?;
        for (property, value) in
            [("sync", false), ("async", false), ("enable-last-sample", false), ("qos", false)]
        {
            sink.set_property(property, value);
        }
        let pulse = Pulse::new();
        let live_from = Arc::new(AtomicU64::new(u64::MAX));
        let (beat, live, lost, to) =
            (Arc::clone(&pulse), Arc::clone(&live_from), Arc::clone(dropped), outlets.clone());
        let new_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            beat.beat();
            let pts = sample.buffer().and_then(gst::BufferRef::pts).map_or(0, gst::ClockTime::nseconds);
            if pts >= live.load(Ordering::Acquire) {
                lost.fetch_add(to.push(&sample), Ordering::Relaxed);
            }
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
        let decoder = Self { pipeline, passage: Arc::clone(passage), pulse, name };
        play(&decoder.pipeline, Origin::Decoder, events, Box::new(plain_words))?;
        let newest = passage.attach(input);
        live_from.store(newest.nseconds(), Ordering::Release);
        Ok(decoder)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.passage.detach();
        stop(&self.pipeline);
    }
}

/// The first decoder that is installed: its name and launch line.
fn choose(templates: &Templates) -> Result<(String, String), MediaError> {
    let ranked = || templates.decoders("h264").into_iter().filter(|decoder| decoder.rank > 0);
    let Some(decoder) = ranked().find(|decoder| has_element(&decoder.element)) else {
        let best = ranked().next().map_or("avdec_h264", |decoder| decoder.element.as_str());
        return Err(super::missing(best));
    };
    let values = Values::new().with("threads", plan::threads());
    let launch = decoder.render(&values).map_err(|e| MediaError::pipeline(decoder.name.clone(), e))?;
    Ok((decoder.name.clone(), launch))
}
