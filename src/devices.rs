//! `portald devices`: what this box has, in words or as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::daemon::{self, StartError};
use crate::media::encode::Recipe;
use crate::media::probe::{self, Device};
use crate::media::{Timeline, has_element};
use crate::template::{Template, Values};

/// Everything found.
#[derive(Debug, Serialize)]
struct Found {
    cameras: Vec<Device>,
    encoders: Vec<EncoderFound>,
}

#[derive(Debug, Serialize)]
struct EncoderFound {
    name: String,
    codec: String,
    rank: u32,
    about: String,
    present: bool,
    /// The package to install where it is not present.
    package: Option<String>,
    /// What would run for 1280x720 at 30 fps and 2000 kbit/s.
    pipeline: String,
}

/// The listing as text. Opens each camera for a moment.
///
/// # Errors
/// [`StartError`] when GStreamer or a template is at fault.
pub fn list(json: bool) -> Result<String, StartError> {
    Timeline::start()?;
    let templates = daemon::templates()?;
    let encoders = ["h264", "vp8"].iter().flat_map(|codec| templates.encoders(codec)).map(encoder).collect();
    let cameras = probe::devices();
    let found = Found { cameras, encoders };
    if json {
        return Ok(serde_json::to_string_pretty(&found).unwrap_or_default() + "\n");
    }
    Ok(in_words(&found))
}

fn encoder(template: &Template) -> EncoderFound {
    let (size, rate) = ((1280, 720), (30, 1));
    let values = Values::new()
        .picture(size.0, size.1, rate)
        .encoding(2000, Duration::from_secs(2), rate)
        .with("threads", crate::media::plan::threads());
    let pipeline = match template.render(&values) {
        Ok(launch) => {
            let (width, height) = size;
            Recipe { encoder: template.name.clone(), launch, width, height, framerate: None, bitrate: 2000 }
                .pipeline()
        }
        Err(error) => error.to_string(),
    };
    EncoderFound {
        name: template.name.clone(),
        codec: template.codec.clone().unwrap_or_default(),
        rank: template.rank,
        about: template.about.clone(),
        present: has_element(&template.element),
        package: template.package.clone(),
        pipeline,
    }
}

fn in_words(found: &Found) -> String {
    let mut text = String::new();
    if found.cameras.is_empty() {
        text.push_str("no V4L2 camera found (a test camera is always there: source = \"test\")\n");
    }
    for camera in &found.cameras {
        let Device { name, title, path, node, modes } = camera;
        let _ = writeln!(text, "camera {name}: {title}\n  source = \"{}\"", path.display());
        let _ = writeln!(text, "  now {}", node.display());
        for mode in modes {
            let _ = writeln!(text, "  {mode}");
        }
    }
    for encoder in &found.encoders {
        let state = match (&encoder.present, &encoder.package) {
            (true, _) => "present".to_owned(),
            (false, Some(package)) => format!("missing; apt install {package}"),
            (false, None) => "missing".to_owned(),
        };
        let EncoderFound { name, codec, rank, about, pipeline, .. } = encoder;
        let _ = writeln!(text, "encoder {name} ({codec}, rank {rank}): {state}\n  {about}\n  {pipeline}");
    }
    text
}
