//! Encoder templates for hardware that is not here: their properties are held to descriptions of the elements.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use portald::template::{Deed, Template, Templates, Values};
use serde::Deserialize;

/// Run for real by every test that encodes.
const RUN: [&str; 3] = ["x264enc", "openh264enc", "vp8enc"];
/// Elements without a property of their own in our templates, or that are installed wherever portald is.
const PLAIN: [&str; 4] = ["videoconvert", "h264parse", "capsfilter", "nvvidconv"];

/// An element's properties, as `gst-inspect-1.0` or the element's source shows them.
#[derive(Deserialize)]
struct Element {
    element: String,
    /// Which version, and where that was read.
    source: String,
    properties: BTreeMap<String, Property>,
    /// Action signals.
    #[serde(default)]
    signals: Vec<String>,
}

#[derive(Deserialize)]
struct Property {
    r#type: String,
    /// Of an enumeration.
    #[serde(default)]
    values: Vec<String>,
}

#[test]
fn properties_are_those_of_the_elements() {
    let templates = Templates::load(&[]).unwrap();
    let encoders: Vec<&Template> =
        ["h264", "vp8"].iter().flat_map(|codec| templates.encoders(codec)).collect();
    let mut checked = 0;
    for encoder in encoders.iter().filter(|encoder| !RUN.contains(&encoder.element.as_str())) {
        let known = description(&encoder.element);
        let launch = render(encoder);
        for part in split(&launch) {
            let (name, properties) = part.split_first().unwrap();
            if name.contains('/') || PLAIN.contains(&name.as_str()) {
                continue;
            }
            assert_eq!(*name, known.element, "{}: {launch}", encoder.name);
            for property in properties {
                let (key, value) = property.split_once('=').unwrap();
                let place = format!("{}: {property} (described by {})", encoder.name, known.source);
                let Some(property) = known.properties.get(key) else { panic!("{place}: no such property") };
                let fits = match property.r#type.as_str() {
                    _ if !property.values.is_empty() => property.values.iter().any(|known| known == value),
                    "gboolean" => ["true", "false"].contains(&value),
                    "gint" | "guint" | "guint64" => value.parse::<u64>().is_ok(),
                    _ => !value.is_empty(),
                };
                assert!(fits, "{place}: not a {} of {:?}", property.r#type, property.values);
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} properties were looked at");
}

#[test]
fn what_is_set_while_they_run_is_the_elements_and_the_rate_that_of_the_launch_line() {
    let templates = Templates::load(&[]).unwrap();
    let encoders = templates.encoders("h264").into_iter();
    let mut checked = 0;
    for encoder in encoders.filter(|encoder| !RUN.contains(&encoder.element.as_str())) {
        let known = description(&encoder.element);
        for setting in encoder.set_bitrate.iter().chain(&encoder.force_keyframe) {
            let is_known = match setting.deed() {
                Deed::Property(name, _) => known.properties.contains_key(name),
                Deed::Signal(name) => known.signals.iter().any(|signal| signal == name),
            };
            assert!(is_known, "{}: {setting} (described by {})", encoder.name, known.source);
            checked += 1;
        }
        let set_bitrate = encoder.set_bitrate.as_ref().unwrap_or_else(|| panic!("{}", encoder.name));
        // The same words, or the control among others.
        let last = set_bitrate.to_string().rsplit(',').next().unwrap_or_default().to_owned();
        assert!(encoder.launch.contains(&last), "{}: {last} is not in {}", encoder.name, encoder.launch);
    }
    assert!(checked >= 10, "only {checked} were looked at");
}

#[test]
fn hardware_is_tried_before_the_cpu_and_nothing_makes_b_frames() {
    let templates = Templates::load(&[]).unwrap();
    let h264 = templates.encoders("h264");
    let rank = |name: &str| h264.iter().find(|encoder| encoder.name == name).unwrap().rank;
    for encoder in &h264 {
        let launch = render(encoder);
        let is_software = RUN.contains(&encoder.name.as_str());
        assert_eq!(encoder.rank > rank("x264enc"), !is_software, "{}", encoder.name);
        for number in ["b-frames", "bframes", "max-bframes", "num-B-Frames"] {
            let more = launch.split_whitespace().any(|word| {
                word.strip_prefix(number).and_then(|rest| rest.strip_prefix('=')).is_some_and(|n| n != "0")
            });
            assert!(!more, "{}: {launch}", encoder.name);
        }
    }
}

fn description(element: &str) -> Element {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/elements/{element}.json"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap()
}

fn render(encoder: &Template) -> String {
    let rate = (30, 1);
    let values = Values::new().picture(1280, 720, rate).encoding(2000, Duration::from_secs(2), rate);
    encoder.render(&values.with("threads", 2)).unwrap()
}

/// The words of each element of a launch line; none of ours has a space or a `!` within quotes.
fn split(launch: &str) -> Vec<Vec<String>> {
    launch.split(" ! ").map(|part| part.split_whitespace().map(str::to_owned).collect()).collect()
}
