//! A camera's pictures: one pipeline `source ! appsink`, and the encoders that are fed from it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::mpsc;

use super::passthrough::Passage;
use super::plan::CapturePlan;
use super::rtsp::TRY_A_PLAYER;
use super::{MediaError, Timeline, ask, driver, has_element, sensors, stamp};

/// How long the first pictures of a camera that encodes may take: one whose key frames are 10 s apart, and which does not
/// tell its parameters before, comes within. In the network it has to be logged in at first, in four answers or more.
pub(super) const FIRST_PICTURE: (Duration, Duration) = (Duration::from_secs(11), Duration::from_secs(16));

/// Which of a camera's pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The device's.
    Capture,
    /// The decoder's of a camera that encodes itself.
    Decoder,
    /// The encoder's of the rendition with this index.
    Encoder(usize),
    /// The encoder's of still pictures.
    Stills,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capture => "capture",
            Self::Decoder => "decoder",
            Self::Encoder(_) => "encoder",
            Self::Stills => "JPEG encoder",
        })
    }
}

/// A running pipeline broke, or ended, which none should.
#[derive(Debug)]
pub(crate) struct Event {
    /// Which.
    pub(crate) origin: Origin,
    /// Why.
    why: Words,
}

impl Event {
    /// A pipeline that is to be stopped because of what came out of it.
    pub(crate) fn new(origin: Origin, why: String) -> Self {
        Self { origin, why: Words { why, hint: None } }
    }
}

/// Why a pipeline broke, and the next step if that is known.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    pub(crate) why: String,
    pub(crate) hint: Option<&'static str>,
}

impl Words {
    fn into_error(self, origin: Origin) -> MediaError {
        match self {
            Self { why, hint: Some(hint) } => MediaError::Network { why, hint },
            Self { why, hint: None } => MediaError::pipeline(origin.to_string(), why),
        }
    }
}

impl From<Event> for MediaError {
    fn from(event: Event) -> Self {
        event.why.into_error(event.origin)
    }
}

/// Puts an error of GStreamer, with its debugging text, into words. No secret may be in them.
pub(crate) type InWords = dyn Fn(&gst::glib::Error, &str) -> Words + Send + Sync;

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

/// Where raw pictures go: the inputs of the encoders that run. It outlives the capture: while the device is away its
/// inputs wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlets(Arc<Mutex<Vec<gst_app::AppSrc>>>);

impl Outlets {
    pub(crate) fn add(&self, input: gst_app::AppSrc) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(input);
    }

    pub(crate) fn remove(&self, input: &gst_app::AppSrc) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other != input);
    }

    /// Whether nobody wants pictures.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Gives the picture to every encoder that has room for it; returns how many had none.
    pub(crate) fn push(&self, sample: &gst::Sample) -> u64 {
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
    is_libcamera: bool,
    /// Where the frames of a camera that encodes itself go.
    pub(crate) passage: Option<Arc<Passage>>,
    /// Beats with every picture.
    pub(crate) pulse: Arc<Pulse>,
    /// Pictures that a busy encoder could not take.
    pub(crate) dropped: Arc<AtomicU64>,
    failed: Failed,
}

/// The first error of a pipeline.
type Failed = Arc<Mutex<Option<Words>>>;

impl Capture {
    /// Starts the planned pipeline; blocks until the device is open, or until the first pictures of a camera that is not
    /// known before came. Raw pictures go to `outlets`, encoded ones through `passage`. `stamp` names the test camera
    /// whose pictures are stamped.
    ///
    /// # Errors
    /// [`MediaError`] in GStreamer's words.
    pub(crate) fn start(
        timeline: &Timeline,
        planned: &CapturePlan,
        outlets: &Outlets,
        passage: Option<Arc<Passage>>,
        stamp: Option<&str>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, MediaError> {
        let pipeline = build("capture", &format!("{} ! appsink name=out", planned.launch))?;
        timeline.adopt(&pipeline);
        let sink = by_name::<gst_app::AppSink>(&pipeline, "out")?;
        sink.set_property("sync", false);
        sink.set_property("max-buffers", 2u32);
        sink.set_property("enable-last-sample", false);
        if let Some(name) = stamp {
            stamp::install(&sink, name);
        }
        if let Some(wish) = planned.left_to_choose {
            sensors::choose_for(&by_name(&pipeline, "source")?, wish);
        }
        let begun = Arc::new(AtomicBool::new(false));
        let mut in_words: Box<InWords> = Box::new(plain_words);
        if let Some(network) = &planned.network {
            let source = by_name(&pipeline, "source")?;
            network.configure(&source)?;
            ask::for_key_frames(&pipeline, &source, &begun);
            let network = network.clone();
            in_words = Box::new(move |error, debug| network.words(error, debug));
        }
        if let (Some(passage), Some(pad)) = (&passage, sink.static_pad("sink")) {
            pass_requests_on(&by_name(&pipeline, "source")?);
            passage.started(&pad);
        }
        let (pulse, dropped) = (Pulse::new(), Arc::new(AtomicU64::new(0)));
        let (beat, lost, outlets, passes) =
            (Arc::clone(&pulse), Arc::clone(&dropped), outlets.clone(), passage.clone());
        let new_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            beat.beat();
            if !begun.load(Ordering::Relaxed) {
                let decodable =
                    sample.buffer().is_some_and(|b| !b.flags().contains(gst::BufferFlags::DELTA_UNIT));
                begun.store(decodable, Ordering::Release);
            }
            match &passes {
                Some(passage) => passage.push(&sample),
                None => drop(lost.fetch_add(outlets.push(&sample), Ordering::Relaxed)),
            }
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
        let begun = Instant::now();
        let is_libcamera = planned.left_to_choose.is_some();
        let begin = || play(&pipeline, Origin::Capture, events, in_words).inspect_err(|_| stop(&pipeline));
        let failed = sensors::in_turn(is_libcamera, begin)?;
        let capture = Self { pipeline, is_libcamera, passage, pulse, dropped, failed };
        if planned.network.is_some() || is_libcamera || capture.passage.is_some() {
            capture.wait_for_pictures(begun, planned.network.is_some())?;
        }
        Ok(capture)
    }

    /// Waits until it is known what comes.
    fn wait_for_pictures(&self, begun: Instant, is_far: bool) -> Result<(), MediaError> {
        let limit = if is_far { FIRST_PICTURE.1 } else { FIRST_PICTURE.0 };
        loop {
            if let Some(words) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Err(words.into_error(Origin::Capture));
            }
            let known = self.passage.as_ref().is_none_or(|passage| passage.is_known());
            if known && self.pulse.count() > 0 && self.size().is_some() {
                return Ok(());
            }
            if begun.elapsed() > limit {
                let why = format!("no picture came within {} s", limit.as_secs());
                return Err(match is_far {
                    true => MediaError::Network { why, hint: TRY_A_PLAYER },
                    false => MediaError::Stalled(why),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Width and height of what comes out, once it does.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        let caps = self.caps()?;
        let side = |name| u32::try_from(caps.structure(0)?.get::<i32>(name).ok()?).ok();
        Some((side("width")?, side("height")?))
    }

    /// Pictures a second, where the stream tells.
    pub(crate) fn framerate(&self) -> Option<(u32, u32)> {
        let rate = self.caps()?.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
        let (n, d) = (u32::try_from(rate.numer()).ok()?, u32::try_from(rate.denom()).ok()?);
        (n > 0 && d > 0).then_some((n, d))
    }

    fn caps(&self) -> Option<gst::Caps> {
        self.pipeline.by_name("out")?.static_pad("sink")?.current_caps()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        sensors::in_turn(self.is_libcamera, || stop(&self.pipeline));
        if let Some(passage) = &self.passage {
            passage.stop();
        }
    }
}

/// Has a V4L2 camera that encodes asked for key frames by the control for it, which its element knows nothing of; one
/// without the control, as USB cameras are, makes none. Set while the device is open, controls take effect at once.
fn pass_requests_on(source: &gst::Element) {
    let (Some(pad), true) = (source.static_pad("src"), source.find_property("extra-controls").is_some())
    else {
        return;
    };
    let weak = source.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let asks = |event: &gst::Event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok();
        if let (Some(source), Some(true)) = (weak.upgrade(), info.event().map(asks)) {
            let controls = gst::Structure::builder("controls").field("force_key_frame", 1).build();
            source.set_property("extra-controls", controls);
        }
        gst::PadProbeReturn::Ok
    });
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

/// Starts a pipeline whose end goes to `events`, and waits until it runs. Returns where its first error will be.
pub(crate) fn play(
    pipeline: &gst::Pipeline,
    origin: Origin,
    events: &mpsc::Sender<Event>,
    in_words: Box<InWords>,
) -> Result<Failed, MediaError> {
    let bus = pipeline.bus().ok_or_else(|| MediaError::pipeline(origin.to_string(), "has no bus"))?;
    let (sender, failed) = (events.clone(), Failed::default());
    let heard = Arc::clone(&failed);
    // Messages are turned into events at once and dropped: a bus that keeps them keeps the pipeline.
    bus.set_sync_handler(move |_, message| {
        let why = match message.view() {
            gst::MessageView::Error(e) => in_words(&e.error(), &e.debug().unwrap_or_default()),
            gst::MessageView::Eos(_) => {
                in_words(&gst::glib::Error::new(gst::StreamError::Failed, "the stream ended"), "")
            }
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
    match started {
        Ok(_) => Ok(failed),
        Err(error) => {
            let said = heard_soon(&failed);
            let said = said.unwrap_or_else(|| Words { why: error.to_string(), hint: None });
            Err(said.into_error(origin))
        }
    }
}

/// What was said of a failure: GStreamer ends the change of state before it posts why.
fn heard_soon(first: &Mutex<Option<Words>>) -> Option<Words> {
    let until = Instant::now() + Duration::from_millis(200);
    loop {
        let said = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if said.is_some() || Instant::now() > until {
            return said;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stops a pipeline for good. Blocks.
pub(crate) fn stop(pipeline: &gst::Pipeline) {
    let _ = pipeline.set_state(gst::State::Null);
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
        bus.set_flushing(true);
    }
}

/// The words of an error that can hold no secret.
pub(crate) fn plain_words(error: &gst::glib::Error, debug: &str) -> Words {
    Words { why: words(error, debug), hint: None }
}

/// GStreamer's error in words a person can act on: its message, and what the driver said.
pub(crate) fn words(error: &gst::glib::Error, debug: &str) -> String {
    let driver = debug.lines().last().unwrap_or_default().trim();
    let text = error.message().trim_end_matches('.');
    let logged = driver::said().map(|said| format!("; {said}")).unwrap_or_default();
    let driver = &format!("{driver}{logged}");
    if driver.is_empty() || text.contains(driver) { text.to_owned() } else { format!("{text} ({driver})") }
}
