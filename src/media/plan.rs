//! From a camera's settings and what its device offers to the pipelines that will run.

use std::path::Path;

use super::admission::Admission;
use super::encode::Recipe;
use super::encoders::Encoders;
use super::rtsp::Network;
use super::{MediaError, has_element, probe};
use crate::budget::Picture;
use crate::config::settings::{self, EncoderChoice, Source};
use crate::modes::{self, Format};
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::template::Values;

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
    /// The launch line; out comes raw video, or H.264.
    pub launch: String,
    /// Whether the camera encodes itself: H.264 comes out.
    pub encoded: bool,
    /// Why the main rendition is encoded here nevertheless; none: it is what the camera sends.
    pub transcoded: Option<&'static str>,
    /// The camera in the network that is asked.
    pub network: Option<Network>,
    /// What the source chooses by itself, among what it finds that its camera offers.
    pub left_to_choose: Option<settings::Wish>,
    /// Picture size in pixels, as captured.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Pictures a second, as a fraction.
    pub framerate: (u32, u32),
    /// Why this mode, for the log.
    pub reason: String,
    /// Why the device is asked for less than it could send.
    pub limited: Option<String>,
}

impl CapturePlan {
    /// What the camera will be, if its device gives what the configuration asks for, and H.264 comes from the network.
    #[must_use]
    pub fn expected(camera: &settings::Camera) -> Self {
        let settings::Wish { width, height, framerate } = camera.wish;
        Self {
            launch: String::new(),
            encoded: matches!(camera.source, Source::Rtsp(_)) && camera.encoder == EncoderChoice::Auto,
            transcoded: None,
            network: None,
            left_to_choose: None,
            width,
            height,
            framerate: (framerate, 1),
            reason: String::new(),
            limited: None,
        }
    }
}

/// Asks the device what it offers and chooses. Blocks while the device is open.
///
/// # Errors
/// [`MediaError`] when the device is not there, not a camera, or offers nothing we can use.
pub fn capture(camera: &settings::Camera, encoders: &Encoders) -> Result<CapturePlan, MediaError> {
    let templates = encoders.templates();
    let wish = &camera.wish;
    let asked = (wish.width, wish.height, (wish.framerate, 1));
    let is_auto = camera.encoder == EncoderChoice::Auto;
    let (mut network, mut limited) = (None, None);
    let (template, values, (width, height, framerate), reason) = match &camera.source {
        Source::Test(pattern) => (
            "test",
            Values::new().with("pattern", pattern),
            asked,
            "test cameras make what is asked".to_owned(),
        ),
        Source::V4l2(path) => {
            let (chosen, why) = v4l2(&camera.name, path, wish, is_auto, encoders.admission())?;
            limited = why;
            chosen
        }
        Source::Libcamera(name) => {
            let (template, values) = match name {
                None => ("libcamera", Values::new()),
                Some(name) => ("libcamera-named", Values::new().with("camera", name)),
            };
            let settings::Wish { width, height, framerate } = wish;
            (template, values, asked, format!("libcamera's nearest to {width}x{height} at {framerate} fps"))
        }
        Source::Rtsp(url) => {
            let asked = network.insert(Network::describe(url, camera.rtsp_transport)?);
            // Size and rate are the camera's to choose; the wish stands in until its first picture tells.
            let picture = (wish.width, wish.height, asked.framerate.unwrap_or((wish.framerate, 1)));
            let template = if asked.is_h264() { "rtsp-h264" } else { "rtsp-decoded" };
            (template, Values::new(), picture, format!("the network camera sends {}", asked.encoding()))
        }
    };
    let template = templates.source(template).ok_or_else(|| {
        MediaError::pipeline("source", format!("no template pipelines/source/{template}.pipeline"))
    })?;
    if !has_element(&template.element) {
        return Err(super::missing(&template.element));
    }
    let values = values.picture(width, height, framerate);
    let launch = template.render(&values).map_err(|e| MediaError::pipeline("source", e))?;
    let encoded = template.codec.as_deref() == Some("h264");
    let left_to_choose = matches!(camera.source, Source::Libcamera(_)).then_some(*wish);
    let transcoded = (!is_auto).then_some("the configuration names an encoder");
    Ok(CapturePlan {
        launch,
        encoded,
        transcoded,
        network,
        left_to_choose,
        width,
        height,
        framerate,
        reason,
        limited,
    })
}

type Chosen = (&'static str, Values, (u32, u32, (u32, u32)), String);

/// The mode, and why it is not the best that the device offers, if its USB bus is why.
fn v4l2(
    camera: &Name,
    path: &Path,
    wish: &settings::Wish,
    takes_h264: bool,
    admission: &Admission,
) -> Result<(Chosen, Option<String>), MediaError> {
    let offers = probe::modes(path, wish)?;
    let best = modes::choose(&offers, wish, takes_h264);
    let (fitting, bus) = admission.on_bus(camera, path, offers);
    let choice = modes::choose(&fitting, wish, takes_h264).ok_or_else(|| {
        MediaError::pipeline(path.display().to_string(), "the device offers no format we can use")
    })?;
    let limited = match (&bus, best) {
        (Some(bus), Some(best)) if best.mode() != choice.mode() => {
            Some(format!("{} instead of {}: {}", choice.in_words(), best.in_words(), bus.in_words()))
        }
        _ => None,
    };
    if let Some(bus) = &bus {
        admission.takes(camera, bus, &choice);
    }
    let values = Values::new().with("device", path.display());
    let picture = (choice.width, choice.height, choice.framerate);
    let chosen = match &choice.format {
        Format::Raw(format) => ("v4l2-raw", values.with("format", format), picture, choice.reason.clone()),
        Format::H264 => ("v4l2-h264", values, picture, choice.reason.clone()),
        Format::Mjpeg => ("v4l2-mjpeg", values, picture, choice.reason.clone()),
    };
    Ok((chosen, limited))
}

/// What a rendition of `captured` is wished to be, and its bit rate in kbit/s.
#[must_use]
pub fn wished(camera: &settings::Camera, captured: &CapturePlan, rendition: Rendition) -> (Picture, u32) {
    let (width, height, framerate, bitrate) = match rendition {
        Rendition::Main => (captured.width, captured.height, captured.framerate, camera.bitrate),
        Rendition::Sub => {
            let (width, height, framerate) =
                camera.sub.picture(captured.width, captured.height, captured.framerate);
            (width, height, framerate, camera.sub.bitrate)
        }
    };
    (Picture { width: even(width), height: even(height), framerate }, bitrate)
}

/// How one rendition will be encoded: as `picture`, or as it is wished for. Blocks while an encoder is tried out.
///
/// # Errors
/// [`MediaError`] when no encoder for `codec` works, or the one named does not.
pub fn encoding(
    camera: &settings::Camera,
    captured: &CapturePlan,
    rendition: Rendition,
    codec: Codec,
    encoders: &Encoders,
    picture: Option<Picture>,
) -> Result<Recipe, MediaError> {
    let (wish, bitrate) = wished(camera, captured, rendition);
    let Picture { width, height, framerate } = picture.unwrap_or(wish);
    let reduced = (framerate != captured.framerate).then_some(framerate);
    let values = Values::new()
        .picture(width, height, framerate)
        .encoding(bitrate, camera.keyframe_interval, framerate)
        .with("threads", threads());
    encoders.choose(&camera.encoder, codec, framerate, |encoder| {
        Recipe::of(encoder, &values, (width, height), reduced, bitrate)
            .map_err(|e| MediaError::pipeline(encoder.name.clone(), e))
    })
}

/// 4:2:0 pictures have even sides.
pub(super) fn even(side: u32) -> u32 {
    (side & !1).max(16)
}

/// Threads for one software encoder: more than four only add delay at these sizes.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
}
