//! The only GStreamer code: cameras, encoders, the fan-out and the viewers' peers.

use std::path::PathBuf;
use std::sync::Arc;

pub mod admission;
mod ask;
mod blocking;
pub mod camera;
mod capture;
mod capture_time;
mod child;
mod decode;
mod driver;
pub mod encode;
pub mod encoders;
pub mod fanout;
pub mod forecast;
mod gop;
pub mod ice;
mod knobs;
mod offer;
mod passthrough;
pub mod peer;
pub mod plan;
mod playout_delay;
pub mod proof;
pub mod probe;
mod reports;
pub mod rtsp;
mod running;
pub mod sensors;
mod slate;
mod stamp;
pub mod stills;
mod supervise;

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::fault::Kind;

/// GStreamer's refusal of something we cannot do without.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// `gst_init` failed.
    #[error("GStreamer does not start: {0}")]
    Init(gst::glib::Error),
    /// An element is not installed.
    #[error("GStreamer element `{element}` is missing ({version} is installed)")]
    MissingElement {
        /// The element's name.
        element: String,
        /// The Debian package that brings it.
        package: &'static str,
        /// The version that was found.
        version: String,
    },
    /// A pipeline could not be built or started.
    #[error("{what}: {why}")]
    Pipeline {
        /// What was attempted.
        what: String,
        /// GStreamer's words.
        why: String,
    },
    /// The device is not there.
    #[error("no device at {0}")]
    Absent(PathBuf),
    /// A template is missing or does not render.
    #[error("pipeline template: {0}")]
    Template(String),
    /// Nothing comes any more, without an error.
    #[error("{0}")]
    Stalled(String),
    /// A network camera refuses, or cannot be reached.
    #[error("{why}")]
    Network {
        /// What it said, in words; without password.
        why: String,
        /// The next step.
        hint: &'static str,
    },
    /// An encoder that the config names failed its trial.
    #[error("encoder `{encoder}` does not work on this box: {fault}")]
    Encoder {
        /// The template.
        encoder: String,
        /// What the trial found.
        fault: String,
    },
    /// An operation did not come back in time.
    #[error("{what} did not return within {seconds} s")]
    Hung {
        /// What was attempted.
        what: String,
        /// The limit.
        seconds: u64,
    },
}

impl MediaError {
    /// The next step for a person who meets this error.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Init(_) => {
                "reinstall the GStreamer packages: apt install --reinstall libgstreamer1.0-0".into()
            }
            Self::MissingElement { package, .. } => format!("apt install {package}"),
            Self::Pipeline { .. } => "`portald devices` shows what this box offers".into(),
            Self::Absent(_) => "plug it in; `portald devices` lists the cameras that are there".into(),
            Self::Network { hint, .. } => (*hint).into(),
            Self::Template(_) => {
                "look into /etc/portald/pipelines, which overrides the built-in templates".into()
            }
            Self::Stalled(_) => "it is restarted; if this returns, try another cable, port or mode".into(),
            Self::Encoder { .. } => {
                "write `encoder = \"auto\"`, which takes the best that works; `portald devices` shows each"
                    .into()
            }
            Self::Hung { .. } => "unplug the device, or restart the box if its driver hangs".into(),
        }
    }

    /// What kind of fault it is, where no device's words tell more.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Absent(_) => Kind::Unplugged,
            Self::Stalled(_) => Kind::Stalled,
            Self::Hung { .. } => Kind::Hung,
            Self::Encoder { .. } => Kind::Encoder,
            Self::Network { .. } => Kind::Network,
            Self::MissingElement { .. } | Self::Template(_) => Kind::Unsupported,
            Self::Init(_) | Self::Pipeline { .. } => Kind::Other,
        }
    }

    pub(crate) fn pipeline(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Pipeline { what: what.into(), why: why.to_string() }
    }
}

/// The Debian package that brings each element we use (checked on Debian 12 and 13).
const PACKAGES: &[(&str, &str)] = &[
    ("webrtcbin", "gstreamer1.0-plugins-bad"),
    ("dtlsenc", "gstreamer1.0-plugins-bad"),
    ("srtpenc", "gstreamer1.0-plugins-bad"),
    ("nicesrc", "gstreamer1.0-nice"),
    ("nicesink", "gstreamer1.0-nice"),
    ("rtpbin", "gstreamer1.0-plugins-good"),
    ("rtph264pay", "gstreamer1.0-plugins-good"),
    ("rtpvp8pay", "gstreamer1.0-plugins-good"),
    ("v4l2src", "gstreamer1.0-plugins-good"),
    ("jpegdec", "gstreamer1.0-plugins-good"),
    ("vp8enc", "gstreamer1.0-plugins-good"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("openh264enc", "gstreamer1.0-plugins-bad"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("rtph264depay", "gstreamer1.0-plugins-good"),
    ("openh264dec", "gstreamer1.0-plugins-bad"),
    ("avdec_h264", "gstreamer1.0-libav"),
    ("libcamerasrc", "gstreamer1.0-libcamera"),
];

/// What no camera can be published without.
const REQUIRED: &[&str] = &[
    "appsrc",
    "appsink",
    "videoconvert",
    "videoscale",
    "videorate",
    "webrtcbin",
    "dtlsenc",
    "srtpenc",
    "nicesrc",
    "rtpbin",
    "rtph264pay",
    "rtpvp8pay",
    "h264parse",
];

/// Whether the element `name` is installed.
#[must_use]
pub fn has_element(name: &str) -> bool {
    gst::ElementFactory::find(name).is_some()
}

/// An element that we use.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) name: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    /// Whether no camera can be published without it.
    pub(crate) required: bool,
    /// The version of its plug-in; none: it is not installed.
    pub(crate) version: Option<String>,
}

/// Starts GStreamer, and lists its version and the elements that we use.
pub(crate) fn inventory() -> Result<(String, Vec<Element>), MediaError> {
    gst::init().map_err(MediaError::Init)?;
    let mut names: Vec<&'static str> = REQUIRED.to_vec();
    names.extend(PACKAGES.iter().map(|(name, _)| *name).filter(|name| !REQUIRED.contains(name)));
    let element = |name: &'static str| {
        let plugin = gst::ElementFactory::find(name).and_then(|factory| factory.plugin());
        let version = plugin.map(|plugin| plugin.version().to_string());
        Element { name, package: package(name), required: REQUIRED.contains(&name), version }
    };
    let (major, minor, micro, _) = gst::version();
    Ok((format!("{major}.{minor}.{micro}"), names.into_iter().map(element).collect()))
}

fn package(element: &str) -> &'static str {
    PACKAGES
        .iter()
        .find(|(name, _)| *name == element)
        .map_or("gstreamer1.0-plugins-base", |(_, package)| package)
}

/// The error for an element that is not installed.
#[must_use]
pub fn missing(element: &str) -> MediaError {
    let version = gst::version_string().into();
    MediaError::MissingElement { element: element.into(), package: package(element), version }
}

/// The clock and base time that every pipeline shares, so that a frame keeps its time stamp from capture to viewer
/// and a restarted camera goes on in the viewers' running time; and what else all viewers' pipelines share.
#[derive(Debug, Clone)]
pub struct Timeline {
    clock: gst::Clock,
    base: gst::ClockTime,
    ice: Arc<ice::Ice>,
}

impl Timeline {
    /// Starts GStreamer, checks that what we need is installed, and begins the timeline now.
    ///
    /// # Errors
    /// [`MediaError`] with the Debian package to install.
    pub fn start() -> Result<Self, MediaError> {
        gst::init().map_err(MediaError::Init)?;
        driver::listen();
        if let Some(name) = REQUIRED.iter().find(|name| !has_element(name)) {
            return Err(missing(name));
        }
        let clock = gst::SystemClock::obtain();
        let base = clock.time();
        Ok(Self { clock, base, ice: Arc::default() })
    }

    /// With other ways for viewers' pipelines than any that the box has.
    #[must_use]
    pub fn with_ice(self, ice: Arc<ice::Ice>) -> Self {
        Self { ice, ..self }
    }

    /// Puts `pipeline` on the timeline; to be called before it starts.
    pub(crate) fn adopt(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base);
    }

    /// Running time now.
    #[must_use]
    pub fn now(&self) -> gst::ClockTime {
        self.clock.time().saturating_sub(self.base)
    }
}

#[cfg(test)]
mod tests;
