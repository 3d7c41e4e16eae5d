//! A camera's raw pictures: one pipeline `source ! appsink`, and the encoders that are fed from it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;

use super::{MediaError, Timeline, has_element, stamp};

/// Which of a camera's pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The device's.
    Capture,
    /// The encoder's of the rendition with this index.
    Encoder(usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capture => "capture",
            Self::Encoder(_) => "encoder",
        })
    }
}

/// A running pipeline broke, or ended, which none should.
#[derive(Debug)]
pub(crate) struct Event {
    /// Which.
    pub(crate) origin: Origin,
    /// Why, in GStreamer's words.
    why: String,
}

impl From<Event> for MediaError {
    fn from(event: Event) -> Self {
        Self::pipeline(event.origin.to_string(), event.why)
    }
}

/// When something last came by, readable from any thread.
#[derive(Debug)]
pub(crate) struct Pulse {
    start: Instant,
    millis: AtomicU64,
    /// How often.
    count: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), millis: AtomicU64::new(0), count: AtomicU64::new(0) })
    }

    pub(crate) fn beat(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Time since the last beat, or since the start when there was none.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.millis.load(Ordering::Relaxed)))
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Where raw pictures go: the inputs of the encoders that run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlets(Arc<Mutex<Vec<gst_app::AppSrc>>>);

impl Outlets {
    pub(crate) fn add(&self, input: gst_app::AppSrc) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(input);
    }

    pub(crate) fn remove(&self, input: &gst_app::AppSrc) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other != input);
    }

    /// Gives the picture to every encoder that has room for it; returns how many had none.
    fn push(&self, sample: &gst::Sample) -> u64 {
        let inputs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = 0;
        for input in inputs.iter() {
            // An encoder that lags by two pictures would only add delay, and hold buffers the driver needs back.
            if input.current_level_buffers() >= 2 {
                dropped += 1;
            } else {
                let _ = input.push_sample(sample);
            }
        }
        dropped
    }
}

/// A running capture pipeline.
#[derive(Debug)]
pub(crate) struct Capture {
    pipeline: gst::Pipeline,
    /// Beats with every picture.
    pub(crate) pulse: Arc<Pulse>,
    /// Pictures that a busy encoder could not take.
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Capture {
    /// Starts `launch` (raw video out); blocks until the device is open. `stamp` names the test camera whose pictures
    /// are stamped.
    ///
    /// # Errors
    /// [`MediaError`] in GStreamer's words.
    pub(crate) fn start(
        timeline: &Timeline,
        launch: &str,
        outlets: &Outlets,
        stamp: Option<&str>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, MediaError> {
        let pipeline = build("capture", &format!("{launch} ! appsink name=out"))?;
        timeline.adopt(&pipeline);
        let sink = by_name::<gst_app::AppSink>(&pipeline, "out")?;
        sink.set_property("sync", false);
        sink.set_property("max-buffers", 2u32);
        sink.set_property("enable-last-sample", false);
        if let Some(name) = stamp {
            stamp::install(&sink, name);
        }
        let (pulse, dropped) = (Pulse::new(), Arc::new(AtomicU64::new(0)));
        let (beat, lost, outlets) = (Arc::clone(&pulse), Arc::clone(&dropped), outlets.clone());
        let new_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            beat.beat();
            lost.fetch_add(outlets.push(&sample), Ordering::Relaxed);
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
        let capture = Self { pipeline, pulse, dropped };
        play(&capture.pipeline, Origin::Capture, events)?;
        Ok(capture)
    }

    /// Width and height of what comes out, once it does.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        let caps = self.pipeline.by_name("out")?.static_pad("sink")?.current_caps()?;
        let side = |name| u32::try_from(caps.structure(0)?.get::<i32>(name).ok()?).ok();
        Some((side("width")?, side("height")?))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        stop(&self.pipeline);
    }
}

/// Parses a launch line of ours.
pub(crate) fn build(what: &str, launch: &str) -> Result<gst::Pipeline, MediaError> {
    let mut context = gst::ParseContext::new();
    let parsed = gst::parse::launch_full(launch, Some(&mut context), gst::ParseFlags::FATAL_ERRORS);
    // A property that an element lacks makes GStreamer list the element as missing, too.
    let element =
        parsed.map_err(|error| match context.missing_elements().iter().find(|name| !has_element(name)) {
            Some(name) => super::missing(name),
            None => MediaError::pipeline(format!("{what} pipeline `{launch}`"), error),
        })?;
    element.downcast().map_err(|_| MediaError::pipeline(format!("{what} pipeline"), "is not a pipeline"))
}

/// The element `name` that our own launch line has.
pub(crate) fn by_name<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T, MediaError> {
    pipeline
        .by_name(name)
        .and_then(|element| element.downcast().ok())
        .ok_or_else(|| MediaError::pipeline("pipeline", format!("has no element `{name}` of the right kind")))
}

/// Starts a pipeline whose end goes to `events`, and waits until it runs.
pub(crate) fn play(
    pipeline: &gst::Pipeline,
    origin: Origin,
    events: &mpsc::Sender<Event>,
) -> Result<(), MediaError> {
    let bus = pipeline.bus().ok_or_else(|| MediaError::pipeline(origin.to_string(), "has no bus"))?;
    let (sender, first) = (events.clone(), Arc::new(Mutex::new(None::<String>)));
    let heard = Arc::clone(&first);
    // Messages are turned into events at once and dropped: a bus that keeps them keeps the pipeline.
    bus.set_sync_handler(move |_, message| {
        let why = match message.view() {
            gst::MessageView::Error(e) => words(&e.error(), &e.debug().unwrap_or_default()),
            gst::MessageView::Eos(_) => "the stream ended".to_owned(),
            _ => return gst::BusSyncReply::Drop,
        };
        heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.clone());
        let _ = sender.try_send(Event { origin, why });
        gst::BusSyncReply::Drop
    });
    let started = pipeline.set_state(gst::State::Playing).and_then(|_| {
        // Live sources do not preroll, so this returns at once or when the device is open.
        pipeline.state(gst::ClockTime::from_seconds(8)).0
    });
    started.map(|_| ()).map_err(|error| {
        let said = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        MediaError::pipeline(origin.to_string(), said.unwrap_or_else(|| error.to_string()))
    })
}

/// Stops a pipeline for good. Blocks.
pub(crate) fn stop(pipeline: &gst::Pipeline) {
    let _ = pipeline.set_state(gst::State::Null);
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
        bus.set_flushing(true);
    }
}

/// GStreamer's error in words a person can act on: its message, and what the driver said.
pub(crate) fn words(error: &gst::glib::Error, debug: &str) -> String {
    let driver = debug.lines().last().unwrap_or_default().trim();
    let text = error.message().trim_end_matches('.');
    if driver.is_empty() || text.contains(driver) { text.to_owned() } else { format!("{text} ({driver})") }
}
