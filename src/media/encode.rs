//! One rendition's encoder: `appsrc ! scale, rate, convert ! encoder ! appsink`, run only while someone watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;

use super::capture::{Event, Origin, Outlets, Pulse, build, by_name, plain_words, play, stop};
use super::fanout::Fanout;
use super::gop::Frame;
use super::knobs::Knobs;
use super::{MediaError, Timeline, proof};
use crate::budget::Picture;
use crate::template::{Setting, Template, TemplateError, Values};

/// What to encode to.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The template's name.
    pub encoder: String,
    /// The rendered encoder part of the launch line.
    pub launch: String,
    /// Picture size in pixels.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Pictures a second, when fewer than the source's.
    pub framerate: Option<(u32, u32)>,
    /// Asked of the encoder, in kbit/s.
    pub bitrate: u32,
    /// What gives it that rate while it runs, if it can be given one.
    pub set_bitrate: Option<Setting>,
    /// What asks it for a key frame, if not GStreamer's own request.
    pub force_keyframe: Option<Setting>,
}

impl Recipe {
    /// Of a template, for pictures of `size`; `framerate` where they are fewer than the source's, `bitrate` as in `values`.
    ///
    /// # Errors
    /// [`TemplateError`] when a value is missing or unsafe.
    pub fn of(
        template: &Template,
        values: &Values,
        (width, height): (u32, u32),
        framerate: Option<(u32, u32)>,
        bitrate: u32,
    ) -> Result<Self, TemplateError> {
        let render = |setting: &Setting| template.render_setting(setting, values);
        let launch = template.render(values)?;
        let set_bitrate = template.set_bitrate.as_ref().map(render).transpose()?;
        let force_keyframe = template.force_keyframe.as_ref().map(render).transpose()?;
        let encoder = template.name.clone();
        Ok(Self { encoder, launch, width, height, framerate, bitrate, set_bitrate, force_keyframe })
    }

    /// What comes out, of pictures that come at `captured` a second.
    #[must_use]
    pub fn picture(&self, captured: (u32, u32)) -> Picture {
        let framerate = self.framerate.unwrap_or(captured);
        Picture { width: self.width, height: self.height, framerate }
    }

    /// The whole launch line, as `portald devices` shows it.
    #[must_use]
    pub fn pipeline(&self) -> String {
        let Self { launch, width, height, framerate, .. } = self;
        let rate = match framerate {
            // Drops only: made-up pictures cost as much as real ones.
            Some((n, d)) => format!("videorate drop-only=true ! video/x-raw,framerate={n}/{d} ! "),
            None => String::new(),
        };
        format!(
            "appsrc name=in ! {rate}videoscale ! videoconvert ! \
             video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1 ! {launch} ! appsink name=out"
        )
    }
}

/// A running encoder.
#[derive(Debug)]
pub(crate) struct Encoder {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    outlets: Outlets,
    sink: gst_app::AppSink,
    fanout: Arc<Fanout>,
    knobs: Arc<Knobs>,
    /// Set at its end, or its fault: what it gives afterwards belongs to nobody.
    gone: Arc<AtomicBool>,
    /// Beats with every encoded frame.
    pub(crate) pulse: Arc<Pulse>,
}

impl Encoder {
    /// Starts encoding what comes from `outlets` into `fanout`.
    ///
    /// # Errors
    /// [`MediaError`] when an element is missing or does not start.
    pub(crate) fn start(
        timeline: &Timeline,
        recipe: &Recipe,
        outlets: &Outlets,
        fanout: &Arc<Fanout>,
        origin: Origin,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, MediaError> {
        let pipeline = build("encoder", &recipe.pipeline())?;
        let knobs = Knobs::attach(&pipeline, recipe.set_bitrate.as_ref(), recipe.force_keyframe.as_ref())?;
        timeline.adopt(&pipeline);
        let input = by_name::<gst_app::AppSrc>(&pipeline, "in")?;
        input.set_is_live(true);
        input.set_format(gst::Format::Time);
        let sink = by_name::<gst_app::AppSink>(&pipeline, "out")?;
        sink.set_property("sync", false);
        sink.set_property("enable-last-sample", false);
        let pulse = Pulse::new();
        let gone = Arc::new(AtomicBool::new(false));
        let (beat, out, ended) = (Arc::clone(&pulse), Arc::clone(fanout), Arc::clone(&gone));
        let faults = events.clone();
        let new_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if ended.load(Ordering::Acquire) {
                return Ok(gst::FlowSuccess::Ok);
            }
            let Some(frame) = on_timeline(&sample) else { return Ok(gst::FlowSuccess::Ok) };
            if let Some(fault) = proof::wrong_profile(&frame) {
                // Said once; it is stopped, and nothing more of it shown.
                let _ = faults.try_send(Event::new(origin, fault));
                ended.store(true, Ordering::Release);
                return Ok(gst::FlowSuccess::Ok);
            }
            beat.beat();
            out.push(&frame);
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
        if let Some(pad) = sink.static_pad("sink") {
            fanout.encoder_started(&pad);
        }
        let encoder = Self {
            pipeline,
            input: input.clone(),
            outlets: outlets.clone(),
            sink: sink.clone(),
            knobs,
            gone,
            fanout: Arc::clone(fanout),
            pulse,
        };
        // An encoder prerolls only with its first picture, so it is not waited for.
        sink.set_property("async", false);
        play(&encoder.pipeline, origin, events, Box::new(plain_words))?;
        outlets.add(input);
        Ok(encoder)
    }

    /// Another bit rate from the next picture on, with `set_bitrate` rendered for it.
    ///
    /// # Errors
    /// [`MediaError`] when the element does not take it.
    pub(crate) fn set_bitrate(&self, set_bitrate: Setting) -> Result<(), MediaError> {
        self.knobs.set_bitrate(&self.pipeline, set_bitrate)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Release);
        self.outlets.remove(&self.input);
        if let Some(pad) = self.sink.static_pad("sink") {
            self.fanout.encoder_stopped(&pad);
        }
        stop(&self.pipeline);
    }
}

/// The encoded frame with its PTS in running time: x264enc shifts PTS by 1000 hours and lets the segment say so.
pub(super) fn on_timeline(sample: &gst::Sample) -> Option<Frame> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let mut buffer = sample.buffer()?.copy();
    let pts = segment.to_running_time(buffer.pts());
    let data = buffer.make_mut();
    data.set_pts(pts);
    data.set_dts(gst::ClockTime::NONE);
    Some(Frame { buffer, caps: sample.caps()?.to_owned() })
}
