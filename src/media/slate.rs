//! What viewers see while their camera gives nothing: its title and the reason, on the same track.
//!
//! A slate is a still picture through an encoder of its own into the rendition's fan-out. It runs only while somebody
//! watches and the camera is dark, apart from the supervisor, which may wait for a driver.

mod draw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use log::{debug, info, warn};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use self::draw::{Picture, Text};
use super::blocking::{blocking, close};
use super::camera::{Shared, Trouble};
use super::capture::{Event, Origin, build, by_name, plain_words, play, stop};
use super::encode::{Recipe, on_timeline};
use super::fanout::Fanout;
use super::running::RENDITIONS;
use super::{MediaError, has_element};
use crate::proto::negotiation::Codec;
use crate::shutdown::ending;
use crate::status::State;
use crate::template::{Templates, Values};

/// Pictures a second: a joiner waits for the next one, and each costs little, being like the one before.
const RATE: (u32, u32) = (4, 1);
/// The time between two.
const TICK: Duration = Duration::from_millis(250);
/// A key frame at least this often, for viewers whose request is lost.
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(1);
/// A camera that is known to have failed is dark when nothing came for this long; what its encoder still held is out.
const FAILED: Duration = Duration::from_millis(250);
/// One that is silent without a word is dark after this long (or five pictures, if that is longer): with the time to
/// begin, the slate is there within 2 s.
pub(super) const SILENT: Duration = Duration::from_millis(1200);
/// One that opens may take this long: a slate that flashes up before every first picture would only disturb.
const OPENING: Duration = Duration::from_millis(1500);
/// A slate's encoder that gave nothing for this long is given up for the next.
const HUNG: Duration = Duration::from_millis(1500);
/// Slates are stamped this far in the past, so that a camera's first picture, which has its own delay, is later than the
/// last slate.
const LAG: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Least bit rate in kbit/s: letters need it.
const MIN_BITRATE: u32 = 300;
/// Encoders on the CPU that may make slates. They are not tried out first, there is no time; the one that few cameras
/// use comes first, so that what broke a camera's encoder does not break its slate.
const ENCODERS: [(Codec, &[&str]); 2] =
    [(Codec::H264, &["openh264enc", "x264enc"]), (Codec::Vp8, &["vp8enc"])];

/// How long a rendition with this rate of pictures may be silent before it is dark.
pub(super) fn patience((n, d): (u32, u32)) -> Duration {
    SILENT.max(Duration::from_secs(5) * d / n.max(1))
}

/// Shows slates of the camera until `shutdown`.
pub(super) async fn keep(shared: Arc<Shared>, mut shutdown: watch::Receiver<bool>) {
    let mut places: [Place; 4] = Default::default();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for (index, place) in places.iter_mut().enumerate() {
            place.look(&shared, index).await;
        }
        let dozes = !shared.is_attended() && places.iter().all(|place| place.slate.is_none());
        tokio::select! {
            () = shared.watched.notified(), if dozes => {}
            _ = tick.tick(), if !dozes => {}
            () = ending(&mut shutdown) => break,
        }
    }
    for place in &mut places {
        close("a slate", place.slate.take()).await;
    }
}

/// The place of one rendition's slate.
#[derive(Default)]
struct Place {
    slate: Option<Slate>,
    /// Encoders that gave nothing, since it last worked.
    given_up: usize,
}

impl Place {
    /// Starts, feeds or stops the slate, as the rendition is dark or not.
    async fn look(&mut self, shared: &Arc<Shared>, index: usize) {
        let Some((rendition, codec)) = RENDITIONS.get(index).copied() else { return };
        let fanout = shared.fanout(rendition, codec);
        let dark = fanout.is_wanted() && (fanout.shows_slate() || is_dark(shared, fanout, index));
        if !dark {
            close("a slate", self.slate.take()).await;
            self.given_up = 0;
            return;
        }
        let trouble = shared.trouble();
        if let Some(slate) = &mut self.slate {
            slate.show(&trouble, &shared.settings().title);
            slate.send(shared.timeline.now());
            if slate.is_hung() {
                let camera = shared.name().as_str();
                warn!(camera; "camera {camera}: the slate's encoder {} gives nothing", slate.encoder);
                self.given_up += 1;
                close("a slate", self.slate.take()).await;
            }
            return;
        }
        let (of, given_up) = (Arc::clone(shared), self.given_up);
        let started = blocking("a slate", move || Slate::start(&of, index, given_up)).await;
        let camera = shared.name().as_str();
        match started {
            Ok(mut slate) => {
                slate.show(&trouble, &shared.settings().title);
                slate.send(shared.timeline.now());
                let (name, codec) = (rendition.as_str(), codec.as_str());
                info!(camera; "camera {camera}: a slate for {name} in {codec}: {}", trouble.reason);
                self.slate = Some(slate);
            }
            // Tried again at the next tick; the log has it once.
            Err(error) if given_up == 0 => {
                debug!(camera; "camera {camera}: no slate: {error}");
                self.given_up += 1;
            }
            Err(_) => self.given_up += 1,
        }
    }
}

/// Whether the camera gives this rendition nothing, for longer than it may.
fn is_dark(shared: &Shared, fanout: &Fanout, index: usize) -> bool {
    let limit = match shared.state() {
        State::Absent | State::Backoff | State::Stalled | State::Disabled => FAILED,
        State::Opening | State::Idle => OPENING,
        State::Live => patience(shared.look(index).framerate),
    };
    // One who comes to a camera that has failed already need not wait at all.
    fanout.silence() > limit
}

/// A running slate.
struct Slate {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    sink_pad: Option<gst::Pad>,
    fanout: Arc<Fanout>,
    encoder: String,
    format: gst_video::VideoInfo,
    /// What it shows, and the picture of it.
    shown: Option<(Text, gst::Buffer)>,
    begun: Instant,
    /// Encoded pictures.
    came: Arc<AtomicU64>,
}

impl Slate {
    /// Starts the encoder of the slate of one rendition, passing over the first `given_up` there are.
    fn start(shared: &Shared, index: usize, given_up: usize) -> Result<Self, MediaError> {
        let Some((rendition, codec)) = RENDITIONS.get(index).copied() else {
            return Err(MediaError::pipeline("slate", "no such rendition"));
        };
        let recipe = recipe(shared, index, codec, given_up)?;
        let (width, height) = (recipe.width, recipe.height);
        let format = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, width, height)
            .fps(gst::Fraction::new(4, 1))
            .build()
            .map_err(|error| MediaError::pipeline("slate", error))?;
        let pipeline = build("slate", &recipe.pipeline())?;
        shared.timeline.adopt(&pipeline);
        let input = by_name::<gst_app::AppSrc>(&pipeline, "in")?;
        input.set_is_live(true);
        input.set_format(gst::Format::Time);
        input.set_caps(format.to_caps().ok().as_ref());
        let sink = by_name::<gst_app::AppSink>(&pipeline, "out")?;
        sink.set_property("sync", false);
        sink.set_property("async", false);
        sink.set_property("enable-last-sample", false);
        let fanout = Arc::clone(shared.fanout(rendition, codec));
        let came = Arc::new(AtomicU64::new(0));
        let (out, count) = (Arc::clone(&fanout), Arc::clone(&came));
        let new_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(frame) = on_timeline(&sample) {
                out.push_slate(&frame);
            }
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
        let sink_pad = sink.static_pad("sink");
        if let Some(pad) = &sink_pad {
            fanout.slate_started(pad);
        }
        let encoder = recipe.encoder;
        let slate = Self {
            pipeline,
            input,
            sink_pad,
            fanout,
            encoder,
            format,
            shown: None,
            begun: Instant::now(),
            came,
        };
        // A slate that breaks gives nothing, which is seen.
        let (events, _) = mpsc::channel::<Event>(1);
        play(&slate.pipeline, Origin::Capture, &events, Box::new(plain_words))?;
        Ok(slate)
    }

    /// Draws what is wrong, if that is not what it shows already.
    fn show(&mut self, trouble: &Trouble, title: &str) {
        let text = words(trouble, title);
        if self.shown.as_ref().is_none_or(|(shown, _)| *shown != text) {
            let buffer = painted(&self.format, &text);
            self.shown = Some((text, buffer));
        }
    }

    /// One picture.
    fn send(&self, now: gst::ClockTime) {
        let Some((_, picture)) = &self.shown else { return };
        if self.input.current_level_buffers() >= 2 {
            return;
        }
        let mut picture = picture.copy();
        let buffer = picture.make_mut();
        buffer.set_pts(now.saturating_sub(LAG));
        buffer.set_duration(gst::ClockTime::from_mseconds(250));
        // Refused only when the encoder broke, which is seen.
        let _ = self.input.push_buffer(picture);
    }

    fn is_hung(&self) -> bool {
        self.begun.elapsed() > HUNG && self.came.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Slate {
    fn drop(&mut self) {
        if let Some(pad) = &self.sink_pad {
            self.fanout.slate_stopped(pad);
        }
        stop(&self.pipeline);
    }
}

/// The size that the rendition had, or will have; an encoder on the CPU.
fn recipe(shared: &Shared, index: usize, codec: Codec, given_up: usize) -> Result<Recipe, MediaError> {
    let look = shared.look(index);
    let templates: &Templates = shared.encoders.templates();
    let names = ENCODERS.iter().find(|(of, _)| *of == codec).map_or(&[][..], |(_, names)| *names);
    let usable: Vec<_> = names
        .iter()
        .filter_map(|name| templates.encoder(name))
        .filter(|encoder| has_element(&encoder.element))
        .collect();
    let Some(encoder) = usable.get(given_up % usable.len().max(1)) else {
        return Err(super::missing(names.first().unwrap_or(&"openh264enc")));
    };
    let bitrate = look.bitrate.max(MIN_BITRATE);
    let values = Values::new()
        .picture(look.width, look.height, RATE)
        .encoding(bitrate, KEYFRAME_INTERVAL, RATE)
        .with("threads", 1);
    Recipe::of(encoder, &values, (look.width, look.height), None, bitrate)
        .map_err(|error| MediaError::pipeline(encoder.name.clone(), error))
}

/// What a slate says of a camera.
fn words(trouble: &Trouble, title: &str) -> Text {
    let headline = match trouble.state {
        State::Absent => "Camera not connected",
        State::Opening | State::Idle => "Opening the camera…",
        State::Live | State::Stalled => "No picture from the camera",
        State::Backoff => "Camera failed, trying again",
        State::Disabled => "Switched off",
    };
    let (reason, next) = trouble.reason.split_once("; next: ").unwrap_or((&trouble.reason, ""));
    let seconds = trouble.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let local = i64::try_from(seconds).ok().and_then(|s| gst::glib::DateTime::from_unix_local(s).ok());
    let clock = local.and_then(|time| time.format("%H:%M").ok()).unwrap_or_default();
    Text {
        title: title.to_owned(),
        headline: headline.to_owned(),
        reason: reason.to_owned(),
        next: next.to_owned(),
        since: format!("since {clock}"),
    }
}

fn painted(format: &gst_video::VideoInfo, text: &Text) -> gst::Buffer {
    let bytes = |n: i32| usize::try_from(n).unwrap_or(0);
    let (width, height) = (format.width() as usize, format.height() as usize);
    let mut data = vec![0u8; format.size()];
    let [_, u, v] = [0, 1, 2].map(|plane| format.offset().get(plane).copied().unwrap_or(0));
    let strides = [0, 1, 2].map(|plane| format.stride().get(plane).copied().map_or(0, bytes));
    let (luma, chroma) = data.split_at_mut(u);
    let (blue, red) = chroma.split_at_mut(v.saturating_sub(u));
    let planes = [(luma, strides[0]), (blue, strides[1]), (red, strides[2])];
    Picture { width, height, planes }.draw(text);
    gst::Buffer::from_mut_slice(data)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn it_says_what_is_wrong_and_what_to_do() {
        let reason = "the cable is loose; next: plug it in".to_owned();
        let since = SystemTime::now();
        let text = words(&Trouble { state: State::Backoff, reason, since }, "Door");
        assert_eq!((text.title.as_str(), text.reason.as_str()), ("Door", "the cable is loose"));
        assert_eq!(text.next, "plug it in");
        assert!(text.since.len() == "since 00:00".len(), "{}", text.since);
    }

    #[test]
    fn slow_cameras_are_given_more_time() {
        assert_eq!(patience((30, 1)), SILENT);
        assert_eq!(patience((1, 1)), Duration::from_secs(5));
    }
}
