//! From a camera's settings and what its device offers to the pipelines that will run.

use std::path::Path;

use super::encode::Recipe;
use super::{MediaError, has_element, probe};
use crate::config::settings::{self, EncoderChoice, Source};
use crate::modes::{self, Format};
use crate::proto::negotiation::Codec;
use crate::template::{Encoder, Templates, Values};

/// Which of a camera's pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rendition {
    /// The full one.
    Main,
    /// The small one.
    Sub,
}

impl Rendition {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
        }
    }
}

/// How a camera will be captured.
#[derive(Debug, Clone, PartialEq)]
pub struct CapturePlan {
    /// The launch line, raw video out.
    pub launch: String,
    /// Picture size in pixels, as captured.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Pictures a second, as a fraction.
    pub framerate: (u32, u32),
    /// Why this mode, for the log.
    pub reason: String,
}

/// Asks the device what it offers and chooses. Blocks while the device is open.
///
/// # Errors
/// [`MediaError`] when the device is not there, not a camera, or offers nothing we can use.
pub fn capture(camera: &settings::Camera, templates: &Templates) -> Result<CapturePlan, MediaError> {
    let wish = &camera.wish;
    let asked = (wish.width, wish.height, (wish.framerate, 1));
    let (template, values, (width, height, framerate), reason) = match &camera.source {
        Source::Test(pattern) => (
            "test",
            Values::new().with("pattern", pattern),
            asked,
            "test cameras make what is asked".to_owned(),
        ),
        Source::V4l2(path) => v4l2(path, wish)?,
        Source::Libcamera(None) => {
            ("libcamera", Values::new(), asked, "libcamera scales to what is asked".to_owned())
        }
        Source::Libcamera(Some(name)) => {
            let values = Values::new().with("camera", name);
            ("libcamera-named", values, asked, "libcamera scales to what is asked".to_owned())
        }
        Source::Rtsp(_) => return Err(MediaError::Unsupported("RTSP cameras")),
    };
    let template = templates.source(template).ok_or_else(|| {
        MediaError::pipeline("source", format!("no template pipelines/source/{template}.pipeline"))
    })?;
    if !has_element(&template.element) {
        return Err(super::missing(&template.element));
    }
    let values = values.picture(width, height, framerate);
    let launch = template.render(&values).map_err(|e| MediaError::pipeline("source", e))?;
    Ok(CapturePlan { launch, width, height, framerate, reason })
}

type Chosen = (&'static str, Values, (u32, u32, (u32, u32)), String);

fn v4l2(path: &Path, wish: &settings::Wish) -> Result<Chosen, MediaError> {
    let offers = probe::modes(path, wish)?;
    let choice = modes::choose(&offers, wish).ok_or_else(|| {
        MediaError::pipeline(path.display().to_string(), "the device offers no format we can use")
    })?;
    let values = Values::new().with("device", path.display());
    let picture = (choice.width, choice.height, choice.framerate);
    Ok(match &choice.format {
        Format::Raw(format) => ("v4l2-raw", values.with("format", format), picture, choice.reason.clone()),
        _ => ("v4l2-mjpeg", values, picture, choice.reason.clone()),
    })
}

/// How one rendition will be encoded.
///
/// # Errors
/// [`MediaError`] when no encoder for `codec` is installed, or the one named is not.
pub fn encoding(
    camera: &settings::Camera,
    captured: &CapturePlan,
    rendition: Rendition,
    codec: Codec,
    templates: &Templates,
) -> Result<Recipe, MediaError> {
    let encoder = choose_encoder(&camera.encoder, codec, templates)?;
    let (width, height, framerate, bitrate) = match rendition {
        Rendition::Main => (even(captured.width), even(captured.height), captured.framerate, camera.bitrate),
        Rendition::Sub => {
            let (width, height, framerate) =
                camera.sub.picture(captured.width, captured.height, captured.framerate);
            (even(width), even(height), framerate, camera.sub.bitrate)
        }
    };
    let reduced = (framerate != captured.framerate).then_some(framerate);
    let values = Values::new()
        .picture(width, height, framerate)
        .encoding(bitrate, camera.keyframe_interval, framerate)
        .with("threads", threads());
    let launch = encoder.render(&values).map_err(|e| MediaError::pipeline(encoder.name.clone(), e))?;
    Ok(Recipe { encoder: encoder.name.clone(), launch, width, height, framerate: reduced, bitrate })
}

fn choose_encoder<'a>(
    choice: &EncoderChoice,
    codec: Codec,
    templates: &'a Templates,
) -> Result<&'a Encoder, MediaError> {
    if let EncoderChoice::Named(name) = choice {
        let named = templates.encoder(name).ok_or_else(|| {
            let known: Vec<_> = templates.encoders("h264").iter().map(|e| e.name.clone()).collect();
            MediaError::pipeline(
                format!("encoder `{name}`"),
                format!("no such template; there are {}", known.join(", ")),
            )
        })?;
        if named.codec.as_deref() == Some(codec.as_str()) {
            return if has_element(&named.element) { Ok(named) } else { Err(super::missing(&named.element)) };
        }
    }
    let candidates = templates.encoders(codec.as_str());
    let ranked = || candidates.iter().filter(|encoder| encoder.rank > 0);
    ranked().find(|encoder| has_element(&encoder.element)).copied().ok_or_else(|| match ranked().next() {
        Some(best) => super::missing(&best.element),
        None => MediaError::pipeline("encoder", format!("no template for {}", codec.as_str())),
    })
}

/// 4:2:0 pictures have even sides.
fn even(side: u32) -> u32 {
    (side & !1).max(16)
}

/// Threads for one software encoder: more than four only add delay at these sizes.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
}
