//! What a child process looks at for the doctor: all that goes through drivers. It says each thing as soon as it knows
//! it, a line of JSON each, so that nothing is lost when it hangs.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::{Encoder, Look, Word};
use crate::config::Wish;
use crate::daemon::{self, StartError};
use crate::devices;
use crate::media::{self, Timeline, probe};
use crate::modes::{self, Choice, Format};
use crate::proto::negotiation::Codec;

/// After this no further encoder is tried: with the 15 s that each has it ends before the doctor gives it up.
const ENOUGH: Duration = Duration::from_secs(45);

/// Does what `input`, a [`Look`] as JSON, asks for, and writes it to `output`.
///
/// # Errors
/// When `input` is no [`Look`], or `output` is closed.
pub(crate) fn run(input: impl Read, output: &mut dyn Write) -> anyhow::Result<()> {
    let look: Look = serde_json::from_reader(input)?;
    let mut say = |word: Word| -> io::Result<()> {
        let line = serde_json::to_string(&word).map_err(io::Error::other)?;
        writeln!(output, "{line}")?;
        output.flush()
    };
    let fault = |error: &StartError| Word::Fault { what: error.to_string(), hint: error.hint() };
    match look {
        Look::Gstreamer => match media::inventory() {
            Ok((version, elements)) => {
                say(Word::Gstreamer { version })?;
                for media::Element { name, package, required, version } in elements {
                    let (name, package) = (name.to_owned(), package.to_owned());
                    say(Word::Element { name, package, required, version })?;
                }
            }
            Err(error) => say(fault(&error.into()))?,
        },
        Look::Cameras(nodes) => {
            if media::inventory().is_err() {
                return Ok(());
            }
            for (node, (width, height, framerate)) in &nodes {
                say(Word::Opening(node.clone()))?;
                say(open(node, &Wish { width: *width, height: *height, framerate: *framerate }))?;
            }
            // Opens all once more: what hangs has been told.
            for node in probe::look().ribbon {
                if nodes.contains_key(&node) {
                    say(Word::Ribbon(node))?;
                }
            }
        }
        Look::Encoders => {
            if let Err(error) = encoders(&mut say)? {
                say(fault(&error))?;
            }
        }
    }
    Ok(())
}

fn open(node: &Path, wish: &Wish) -> Word {
    let node_ = node.to_owned();
    match probe::modes(node, wish) {
        Ok(modes) => {
            let choice = modes::choose(&modes, wish, true);
            let megabits = choice.as_ref().and_then(megabits);
            Word::Opened {
                node: node_,
                modes: modes.len(),
                choice: choice.map(|choice| choice.reason),
                megabits,
            }
        }
        Err(error) => Word::Refused { node: node_, words: error.to_string() },
    }
}

/// What raw pictures put on the bus, in Mbit/s; none where it depends on what is in them.
fn megabits(choice: &Choice) -> Option<u32> {
    let Format::Raw(format) = &choice.format else { return None };
    let bits: u64 = match format.as_str() {
        "GRAY8" => 8,
        "NV12" | "NV21" | "I420" | "YV12" => 12,
        "RGB" | "BGR" => 24,
        "BGRx" | "RGBx" | "xRGB" | "xBGR" => 32,
        // YUY2, UYVY and their like
        _ => 16,
    };
    let (n, d) = choice.framerate;
    let second =
        u64::from(choice.width) * u64::from(choice.height) * bits * u64::from(n) / u64::from(d.max(1));
    u32::try_from(second / 1_000_000).ok()
}

fn encoders(say: &mut dyn FnMut(Word) -> io::Result<()>) -> io::Result<Result<(), StartError>> {
    let begun = Instant::now();
    let known = match Timeline::start().map_err(StartError::from).and_then(|_| Ok(daemon::templates()?)) {
        Ok(templates) => daemon::encoders(Arc::new(templates)),
        Err(error) => return Ok(Err(error)),
    };
    for codec in [Codec::H264, Codec::Vp8] {
        for template in known.templates().encoders(codec.as_str()) {
            say(Word::Trying(template.name.clone()))?;
            let tried = begun.elapsed() < ENOUGH || !media::has_element(&template.element);
            let verdict = if tried { devices::encoder(codec, template, &known).trial } else { None };
            say(Word::Encoder(Encoder {
                name: template.name.clone(),
                codec: codec.as_str().to_owned(),
                rank: template.rank,
                package: template.package.clone(),
                present: media::has_element(&template.element),
                trial: verdict.as_ref().map(media::proof::Verdict::in_words),
                works: verdict.as_ref().is_some_and(media::proof::Verdict::is_good),
                keyframe_on_request: verdict.as_ref().is_some_and(|verdict| verdict.keyframe_on_request),
                speed: verdict.as_ref().map_or(0.0, |verdict| verdict.speed),
            }))?;
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_pictures_have_a_rate_on_the_bus() {
        let choice = |format, width, height, framerate| Choice {
            format,
            width,
            height,
            framerate,
            reason: String::new(),
        };
        assert_eq!(megabits(&choice(Format::Raw("YUY2".into()), 1280, 720, (30, 1))), Some(442));
        assert_eq!(megabits(&choice(Format::Raw("NV12".into()), 640, 480, (30, 1))), Some(110));
        assert_eq!(megabits(&choice(Format::Mjpeg, 1280, 720, (30, 1))), None);
    }

    #[test]
    fn it_says_what_it_found_line_by_line() {
        let look = Look::at_cameras([("/nonexistent/video0".into(), Wish::default())]);
        let mut said = Vec::new();
        run(serde_json::to_vec(&look).unwrap().as_slice(), &mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        let words: Vec<Word> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(words[0], Word::Opening("/nonexistent/video0".into()));
        assert!(
            matches!(&words[1], Word::Refused { words, .. } if words.contains("no device at")),
            "{words:?}"
        );
        assert!(run(&b"nonsense"[..], &mut Vec::new()).is_err());
    }
}
