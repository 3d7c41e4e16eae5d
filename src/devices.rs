//! `portald devices`: what this box has, in words or as JSON.

use std::fmt::Write;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::config::Wish;
use crate::config::settings::{Camera, Settings, Source};
use crate::daemon::{self, StartError};
use crate::found::{self, Find};
use crate::media::encode::Recipe;
use crate::media::encoders::Encoders;
use crate::media::forecast::{self, Forecast, Outlook, PoolUse};
use crate::media::plan::{self, CapturePlan};
use crate::media::probe::{self, Device};
use crate::media::proof::{self, Job, Verdict};
use crate::media::{Timeline, has_element, sensors};
use crate::modes::{self, Format, Mode};
use crate::proto::negotiation::Codec;
use crate::template::{Template, Values};

/// Everything found.
#[derive(Debug, Serialize)]
struct Found {
    cameras: Vec<CameraFound>,
    /// Cameras of libcamera.
    libcamera: Vec<SensorFound>,
    /// Why libcamera's cameras are not known, or what it complained of.
    #[serde(skip_serializing_if = "Option::is_none")]
    libcamera_fault: Option<String>,
    encoders: Vec<EncoderFound>,
    /// What the configured cameras would be, or those found, if all were watched at once.
    all_watched: Forecast,
}

#[derive(Debug, Serialize)]
struct CameraFound {
    #[serde(flatten)]
    device: Device,
    /// What would be chosen for 1280x720 at 30 fps, and why.
    choice: Option<String>,
}

#[derive(Debug, Serialize)]
struct SensorFound {
    /// What libcamera calls it; `libcamera:` before it makes it a `source`.
    name: String,
    title: String,
    /// What it offers. libcamera does not tell at which rates.
    modes: Vec<Size>,
    /// What it would be asked for when 1280x720 at 30 fps is wished for.
    choice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Size {
    format: Format,
    width: u32,
    height: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct EncoderFound {
    name: String,
    codec: String,
    rank: u32,
    about: String,
    present: bool,
    /// What came of trying it out, at the size and rate of `pipeline`; absent where the element is.
    pub(crate) trial: Option<Verdict>,
    /// The package to install where it is not present.
    package: Option<String>,
    /// What would run for 1280x720 at 30 fps and 2000 kbit/s.
    pipeline: String,
}

/// The listing as text, with what the cameras of `settings` would be. Opens each camera for a moment.
///
/// # Errors
/// [`StartError`] when GStreamer or a template is at fault.
pub fn list(json: bool, settings: &Settings) -> Result<String, StartError> {
    Timeline::start()?;
    let known = daemon::encoders(Arc::new(daemon::templates()?)).sharing(settings.limits.encoding_cpu);
    let codecs = [Codec::H264, Codec::Vp8].into_iter();
    let all = codecs
        .flat_map(|codec| known.templates().encoders(codec.as_str()).into_iter().map(move |e| (codec, e)));
    let encoders = all.map(|(codec, template)| encoder(codec, template, &known)).collect();
    let wish = Wish::default();
    let choice = |modes: &[Mode]| Some(modes::choose(modes, &wish, true)?.reason);
    let cameras = probe::look().cameras;
    let (sensors, libcamera_fault) = sensors::in_child().unwrap_or_else(|why| (Vec::new(), Some(why)));
    let finds = cameras.iter().cloned().map(Find::from).chain(sensors.iter().map(Find::from));
    let all_watched = outlook(settings, finds, &known);
    let cameras = cameras.into_iter().map(|device| CameraFound { choice: choice(&device.modes), device });
    let sensors = sensors.into_iter().map(|sensor| {
        let (modes, title) = (sensor.modes(&wish), sensor.title().to_owned());
        let choice = modes::choose(&modes, &wish, false).map(|choice| choice.in_words());
        let size = |Mode { format, width, height, .. }: Mode| Size { format, width, height };
        SensorFound { title, choice, modes: modes.into_iter().map(size).collect(), name: sensor.name }
    });
    let (cameras, libcamera) = (cameras.collect(), sensors.collect());
    let found = Found { cameras, libcamera, libcamera_fault, encoders, all_watched };
    if json {
        return Ok(serde_json::to_string_pretty(&found).unwrap_or_default() + "\n");
    }
    Ok(in_words(&found))
}

/// What the configured cameras would be, or else those that were found.
fn outlook(settings: &Settings, found: impl Iterator<Item = Find>, known: &Encoders) -> Forecast {
    let mut all = settings.clone();
    if settings.cameras.is_empty() {
        for find in found {
            all.cameras.extend(found::camera(&all, find));
        }
    }
    let cameras: Vec<_> = all.cameras.into_iter().filter(|camera| camera.enabled).collect();
    known.admission().order(cameras.iter().map(|camera| camera.name.clone()));
    // A device that is in use, or away, is taken for what is asked of it; cameras in the network are not asked.
    let captured = |camera: Camera| {
        let asked = matches!(camera.source, Source::V4l2(_)).then(|| plan::capture(&camera, known).ok());
        let captured = asked.flatten().unwrap_or_else(|| CapturePlan::expected(&camera));
        (camera, captured)
    };
    forecast::all_watched(&cameras.into_iter().map(captured).collect::<Vec<_>>(), known)
}

/// The cameras of libcamera, asked for in this process, as JSON.
///
/// # Errors
/// [`StartError`] when GStreamer does not start.
pub fn sensors() -> Result<String, StartError> {
    Timeline::start()?;
    Ok(serde_json::to_string(&sensors::here()).unwrap_or_default())
}

/// Tries the encoder out that `input` describes, in this process; returns the verdict as JSON.
///
/// # Errors
/// When `input` is no [`Job`], or GStreamer does not start.
pub fn prove(input: impl Read) -> anyhow::Result<String> {
    let job: Job = serde_json::from_reader(input)?;
    Timeline::start()?;
    Ok(serde_json::to_string(&proof::here(&job))?)
}

/// One encoder, tried out now unless that is known.
pub(crate) fn encoder(codec: Codec, template: &Template, known: &Encoders) -> EncoderFound {
    let (size, rate) = ((1280, 720), (30, 1));
    let values = Values::new()
        .picture(size.0, size.1, rate)
        .encoding(2000, Duration::from_secs(2), rate)
        .with("threads", plan::threads());
    let present = has_element(&template.element);
    let (pipeline, trial) = match Recipe::of(template, &values, size, None, 2000) {
        Ok(recipe) => {
            let trial = present.then(|| known.verdict(&recipe, codec, rate));
            (recipe.pipeline(), trial)
        }
        Err(error) => (error.to_string(), None),
    };
    EncoderFound {
        name: template.name.clone(),
        codec: template.codec.clone().unwrap_or_default(),
        rank: template.rank,
        about: template.about.clone(),
        present,
        trial,
        package: template.package.clone(),
        pipeline,
    }
}

fn in_words(found: &Found) -> String {
    let mut text = String::new();
    if found.cameras.is_empty() && found.libcamera.is_empty() {
        text.push_str("no camera found (a test camera is always there: source = \"test\")\n");
    }
    for CameraFound { device, choice } in &found.cameras {
        let Device { name, title, path, node, modes } = device;
        let _ = writeln!(text, "camera {name}: {title}\n  source = \"{}\"", path.display());
        let _ = writeln!(text, "  now {}", node.display());
        if let Some(choice) = choice {
            let _ = writeln!(text, "  takes {choice}");
        }
        for mode in modes {
            let _ = writeln!(text, "  {mode}");
        }
    }
    for SensorFound { name, title, modes, choice } in &found.libcamera {
        // As TOML has it: between the others a backslash would be a sign of its own.
        let quote = if name.contains('\\') { '\'' } else { '"' };
        let _ = writeln!(text, "camera of libcamera: {title}\n  source = {quote}libcamera:{name}{quote}");
        if let Some(choice) = choice {
            let _ = writeln!(text, "  is asked for {choice}");
        }
        for Size { format, width, height } in modes {
            let _ = writeln!(text, "  {width}x{height} {format}");
        }
    }
    if let Some(fault) = &found.libcamera_fault {
        let _ = writeln!(text, "libcamera: {fault}");
    }
    for encoder in &found.encoders {
        let state = match (&encoder.trial, &encoder.package) {
            (Some(verdict), _) => verdict.in_words(),
            (None, _) if encoder.present => "present".to_owned(),
            (None, Some(package)) => format!("missing; apt install {package}"),
            (None, None) => "missing".to_owned(),
        };
        let EncoderFound { name, codec, rank, about, pipeline, .. } = encoder;
        let _ = writeln!(text, "encoder {name} ({codec}, rank {rank}): {state}\n  {about}\n  {pipeline}");
    }
    text.push_str(&forecast_in_words(&found.all_watched));
    text
}

fn forecast_in_words(forecast: &Forecast) -> String {
    let mut text = String::new();
    if !forecast.renditions.is_empty() {
        text.push_str("if all cameras were watched at once, full and small:\n");
    }
    for PoolUse { pool, wished, used } in &forecast.pools {
        // A chip's figure is in luma samples a second, the CPU's in cores.
        let scale = if pool.holds > 1e6 { 1e6 } else { 1.0 };
        let (wished, used) = (wished / scale, used / scale);
        let _ = writeln!(text, "  of {}: {wished:.1} wished for, {used:.1} used", pool.about);
    }
    for Outlook { camera, rendition, encoder, picture, degraded } in &forecast.renditions {
        let by = encoder.as_deref().map(|encoder| format!(" by {encoder}")).unwrap_or_default();
        let degraded = degraded.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let _ = writeln!(text, "  {camera} {rendition}: {}{by}{degraded}", picture.in_words());
    }
    text
}
