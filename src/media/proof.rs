//! An encoder is trusted when it has encoded: the trial that runs in a child process, and what it finds.
//!
//! A driver that lacks its firmware, has no memory left or was built for another chip is installed like a good one, and
//! fails, hangs, or takes the process with it when it is used. So real pictures of the real size go through the very
//! launch line that would run, and what comes out is looked at. The child is `portald prove-encoder`, given a [`Job`]
//! on its standard input; it writes a [`Verdict`] to its standard output, both as JSON.

mod picture;
mod profile;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::SignalKind;

use self::picture::{Brightness, Picture};
use self::profile::h264_profile;
pub(super) use self::profile::wrong_profile;
use super::capture::{build, by_name, stop, words};
use super::child::{self, Answer, Silence};
use super::encode::Recipe;
use super::knobs::Knobs;
use super::{MediaError, has_element};
use crate::template::Setting;

/// Pictures that go through: enough to see a key frame that was asked for in their midst, and a rate.
const PICTURES: u64 = 30;
/// The picture before which a key frame is asked for.
const ASK_AT: u64 = 15;
/// The picture before which the bit rate is set anew: a driver that does not survive that shall not take the daemon with it.
const SET_AT: u64 = 22;
/// How many pictures later it must be there.
const KEYFRAME_WITHIN: u64 = 2;
/// Pictures that an encoder may hold back. A hardware encoder's pipeline holds one to three.
const HELD_BACK: u64 = 4;
/// How long one picture may take to come out.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(3);
/// How long the child may take for all.
const LIMIT: Duration = Duration::from_secs(15);
/// Most of a child's answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// Mean difference of brightness, of 255, between what went in and what comes out of the decoder. Good encoders are
/// under 5; an all-green picture, or one of another frame's size, is over 40.
const MAX_DIFFERENCE: f64 = 25.0;

/// What to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// `h264` or `vp8`.
    pub codec: String,
    /// The whole launch line, from `appsrc name=in` to `appsink name=out`.
    pub pipeline: String,
    /// Of the pictures that go in, in pixels.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Pictures a second, as a fraction.
    pub framerate: (u32, u32),
    /// What sets its bit rate while it runs.
    #[serde(default)]
    pub set_bitrate: Option<String>,
    /// What asks it for a key frame, if not GStreamer's own request.
    #[serde(default)]
    pub force_keyframe: Option<String>,
}

impl Job {
    /// The trial of `recipe`, fed with pictures of its own size and rate.
    #[must_use]
    pub fn of(recipe: &Recipe, codec: &str, framerate: (u32, u32)) -> Self {
        let (width, height) = (recipe.width, recipe.height);
        let [set_bitrate, force_keyframe] = [&recipe.set_bitrate, &recipe.force_keyframe]
            .map(|setting| setting.as_ref().map(ToString::to_string));
        let (codec, pipeline) = (codec.to_owned(), recipe.pipeline());
        Self { codec, pipeline, width, height, framerate, set_bitrate, force_keyframe }
    }
}

/// What a trial found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Why it cannot be used; none: it can.
    pub fault: Option<String>,
    /// What was seen, in words, such as `constrained baseline`.
    #[serde(default)]
    pub seen: Vec<String>,
    /// Whether a key frame that is asked for comes at once. If not, joiners get what was kept since the last.
    #[serde(default)]
    pub keyframe_on_request: bool,
    /// Pictures a second that it encoded when nothing else held it up.
    #[serde(default)]
    pub speed: f64,
    /// Time of a CPU for each luma sample, in nanoseconds; 0: not measured.
    #[serde(default)]
    pub cpu: f64,
    /// It was given up: the driver hangs, or the machine was busy.
    #[serde(default)]
    pub late: bool,
    /// Somebody ended the trial, as a service manager does that stops the daemon: nothing was found out.
    #[serde(skip)]
    pub interrupted: bool,
}

impl Verdict {
    /// It cannot be used.
    #[must_use]
    pub fn fault(why: impl Into<String>) -> Self {
        Self { fault: Some(why.into()), ..Self::default() }
    }

    /// Whether it can be used.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.fault.is_none()
    }

    /// In one line.
    #[must_use]
    pub fn in_words(&self) -> String {
        match &self.fault {
            Some(fault) => format!("does not work: {fault}"),
            None => {
                let (seen, speed) = (self.seen.join(", "), self.speed);
                let cpu = (self.cpu > 0.0).then(|| format!(", {:.1} ns of CPU time a pixel", self.cpu));
                format!("works: {seen}, {speed:.0} pictures a second{}", cpu.unwrap_or_default())
            }
        }
    }
}

/// Runs the trial in a child process of `program`, and ends the child when it takes too long. Blocks.
#[must_use]
pub fn in_child(program: &Path, job: &Job) -> Verdict {
    in_child_within(program, job, LIMIT)
}

fn in_child_within(program: &Path, job: &Job, limit: Duration) -> Verdict {
    let Ok(text) = serde_json::to_vec(job) else { return Verdict::fault("the trial cannot be described") };
    let Answer { text, status, .. } = match child::ask(program, "prove-encoder", &text, limit, MAX_ANSWER) {
        Ok(answer) => answer,
        Err(Silence::NotStarted(error)) => {
            return Verdict::fault(format!("the trial cannot be started: {error}"));
        }
        Err(Silence::Late) => {
            let fault = format!("it did not end within {} s", limit.as_secs());
            return Verdict { late: true, ..Verdict::fault(fault) };
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|_| ended(status))
}

/// The verdict on an encoder whose trial ended without one.
fn ended(status: ExitStatus) -> Verdict {
    // What asks a process to end; a driver's crash, and the kernel that runs out of memory, have other signals.
    let asked = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    if status.signal().is_some_and(|signal| asked.contains(&SignalKind::from_raw(signal))) {
        let fault = format!("its trial was interrupted ({status})");
        return Verdict { interrupted: true, ..Verdict::fault(fault) };
    }
    Verdict::fault(format!("it took its process with it ({status})"))
}

/// Runs the trial in this process. Blocks, for ever if the driver does: meant for the child.
#[must_use]
pub fn here(job: &Job) -> Verdict {
    match trial(job) {
        Ok(verdict) => verdict,
        Err(Fault { why, late }) => Verdict { late, ..Verdict::fault(why) },
    }
}

/// Why an encoder cannot be used, in words, and whether it was given up.
struct Fault {
    why: String,
    late: bool,
}

impl From<MediaError> for Fault {
    fn from(error: MediaError) -> Self {
        Self { why: error.to_string(), late: false }
    }
}

fn fault<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { why: why.into(), late: false })
}

fn trial(job: &Job) -> Result<Verdict, Fault> {
    let pipeline = build("encoder", &job.pipeline)?;
    let result = run(job, &pipeline);
    // The bus has the driver's own words.
    let said = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    stop(&pipeline);
    match (result, said.as_ref().map(|message| message.view())) {
        (Err(_), Some(gst::MessageView::Error(e))) => {
            fault(words(&e.error(), &e.debug().unwrap_or_default()))
        }
        (result, _) => result,
    }
}

fn run(job: &Job, pipeline: &gst::Pipeline) -> Result<Verdict, Fault> {
    let input = by_name::<gst_app::AppSrc>(pipeline, "in")?;
    let output = by_name::<gst_app::AppSink>(pipeline, "out")?;
    let Some(picture) = Picture::new(job) else { return fault("no such picture") };
    input.set_caps(Some(&picture.caps));
    input.set_format(gst::Format::Time);
    output.set_property("sync", false);
    output.set_property("async", false);
    let setting = |text: &Option<String>| match text.as_deref().map(|text| Setting::parse(text, &[])) {
        Some(Err(problem)) => fault(problem.to_string()),
        Some(Ok(setting)) => Ok(Some(setting)),
        None => Ok(None),
    };
    let set_bitrate = setting(&job.set_bitrate)?;
    let knobs = Knobs::attach(pipeline, set_bitrate.as_ref(), setting(&job.force_keyframe)?.as_ref())?;
    if pipeline.set_state(gst::State::Playing).is_err() {
        return fault("it does not start");
    }
    let pad = output.static_pad("sink");
    let mut frames: Vec<gst::Sample> = Vec::new();
    let mut asked_before = None;
    let begun = Instant::now();
    let mut worked = cpu_time();
    for number in 0..PICTURES {
        if number == HELD_BACK {
            worked = cpu_time(); // what it took to start is past
        }
        if number == ASK_AT {
            asked_before = Some(frames.len() as u64);
            let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            let _ = pad.as_ref().map(|pad| pad.push_event(event));
        }
        if let (SET_AT, Some(setting)) = (number, &set_bitrate) {
            knobs.set_bitrate(pipeline, setting.clone())?;
        }
        if input.push_buffer(picture.buffer(number)).is_err() {
            return fault("it takes no pictures");
        }
        // So many in at once as it may hold back; then one out for each in.
        if number >= HELD_BACK {
            match output.try_pull_sample(PATIENCE) {
                Some(sample) => frames.push(sample),
                None if output.is_eos() => return fault("the stream ended"),
                None => {
                    let why = format!("no frame came for {} s after {number} pictures", PATIENCE.seconds());
                    return Err(Fault { why, late: true });
                }
            }
        }
    }
    let _ = input.end_of_stream();
    while frames.len() < usize::try_from(PICTURES).unwrap_or(usize::MAX) {
        let Some(sample) = output.try_pull_sample(PATIENCE) else { break };
        frames.push(sample);
    }
    if (frames.len() as u64) + 1 < PICTURES && !output.is_eos() {
        let why = format!("of {PICTURES} pictures {} came out within {} s", frames.len(), PATIENCE.seconds());
        return Err(Fault { why, late: true });
    }
    let seconds = begun.elapsed().as_secs_f64().max(1e-6);
    // What was held back at the mark was not yet encoded; that makes the cost look a little higher than it is.
    let samples = (PICTURES - HELD_BACK) as f64 * f64::from(job.width) * f64::from(job.height);
    let cpu = cpu_time().saturating_sub(worked).as_nanos() as f64 / samples.max(1.0);
    let speed = PICTURES as f64 / seconds;
    let verdict = judge(job, &picture, &frames, asked_before.unwrap_or(0))?;
    Ok(Verdict { speed, cpu, ..verdict })
}

/// CPU time of this process, of all its threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn judge(job: &Job, picture: &Picture, frames: &[gst::Sample], asked_before: u64) -> Result<Verdict, Fault> {
    let count = frames.len() as u64;
    if count + 1 < PICTURES {
        return fault(format!("of {PICTURES} pictures {count} came out"));
    }
    let is_key = |sample: &gst::Sample| {
        sample.buffer().is_some_and(|buffer| !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT))
    };
    if !frames.first().is_some_and(is_key) {
        return fault("its first frame is no key frame");
    }
    let times: Vec<_> =
        frames.iter().filter_map(|sample| sample.buffer().and_then(gst::BufferRef::pts)).collect();
    if times.windows(2).any(|pair| pair[1] < pair[0]) {
        return fault("it makes B-frames (they come in another order than they are shown), which add delay");
    }
    let mut seen = Vec::new();
    if job.codec == "h264" {
        let first = frames.first().and_then(|sample| sample.buffer()).and_then(|b| b.map_readable().ok());
        let profile = h264_profile(first.as_deref().unwrap_or_default())?;
        seen.push(profile.to_owned());
    }
    // A frame asked for while picture 15 goes in is picture 15 to 17; what was held back then came before.
    let asked = usize::try_from(ASK_AT.max(asked_before)).unwrap_or(usize::MAX);
    let within = frames.iter().enumerate().skip(usize::try_from(asked_before).unwrap_or(0));
    let came = within.filter(|(_, sample)| is_key(sample)).map(|(index, _)| index).find(|index| *index > 0);
    let keyframe_on_request =
        came.is_some_and(|index| index <= asked + usize::try_from(KEYFRAME_WITHIN).unwrap_or(0));
    seen.push(
        if keyframe_on_request { "key frames on request" } else { "no key frames on request" }.to_owned(),
    );
    match decoded(job, frames)? {
        Some(pictures) => {
            let difference = picture.difference(&pictures);
            if difference > MAX_DIFFERENCE {
                return fault(format!(
                    "its pictures are not what went in (they differ by {difference:.0} of 255)"
                ));
            }
            seen.push("decodes".to_owned());
        }
        None => seen.push("not decoded, no decoder is installed".to_owned()),
    }
    Ok(Verdict { seen, keyframe_on_request, ..Verdict::default() })
}

/// What a decoder makes of the frames: brightness, picture by picture. `None` when no decoder is installed.
fn decoded(job: &Job, frames: &[gst::Sample]) -> Result<Option<Vec<Brightness>>, Fault> {
    let decoders: &[&str] = match job.codec.as_str() {
        "h264" => &["avdec_h264", "openh264dec"],
        _ => &["vp8dec", "avdec_vp8"],
    };
    let Some(decoder) = decoders.iter().find(|name| has_element(name)) else { return Ok(None) };
    let parse = if job.codec == "h264" { "h264parse ! " } else { "" };
    let launch = format!(
        "appsrc name=in format=time ! {parse}{decoder} ! videoconvert ! video/x-raw,format=I420 ! appsink name=out sync=false"
    );
    let pipeline = build("decoder", &launch)?;
    let result = (|| {
        let input = by_name::<gst_app::AppSrc>(&pipeline, "in")?;
        let output = by_name::<gst_app::AppSink>(&pipeline, "out")?;
        if pipeline.set_state(gst::State::Playing).is_err() {
            return Ok(None);
        }
        for sample in frames {
            if input.push_sample(sample).is_err() {
                return fault("its frames cannot be decoded");
            }
        }
        let _ = input.end_of_stream();
        let mut pictures = Vec::new();
        while let Some(sample) = output.try_pull_sample(PATIENCE) {
            pictures.extend(Brightness::of(&sample));
        }
        if pictures.len() + 2 < frames.len() {
            let why = format!("of its {} frames {} can be decoded", frames.len(), pictures.len());
            return Err(Fault { why, late: !output.is_eos() });
        }
        Ok(Some(pictures))
    })();
    stop(&pipeline);
    result
}

#[cfg(test)]
mod tests;
