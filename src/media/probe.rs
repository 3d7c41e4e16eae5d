//! What cameras there are and what they offer, asked of GStreamer's V4L2 plug-in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gstreamer as gst;
use gstreamer::prelude::*;
use serde::Serialize;

use super::capture::{build, by_name, stop, words};
use super::{MediaError, has_element, missing};
use crate::config::settings::Wish;
use crate::identity::Places;
use crate::modes::{Format, Mode, Rates, SizeRange};
use crate::nodes::Use;

/// A camera of this box.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// A name made from its stable identity, as used when no camera is configured.
    pub name: String,
    /// What its driver calls it.
    pub title: String,
    /// The path to put into the config: `/dev/v4l/by-id/…` where there is one.
    pub path: PathBuf,
    /// The device node it is now.
    pub node: PathBuf,
    /// What it offers.
    pub modes: Vec<Mode>,
}

/// What the nodes of V4L2 are.
#[derive(Debug, Default)]
pub struct Look {
    /// The cameras, in the order of their nodes.
    pub cameras: Vec<Device>,
    /// Nodes of those that libcamera may know: on a ribbon cable, or part of the board.
    pub ribbon: BTreeSet<PathBuf>,
}

/// Looks at the V4L2 devices that are plugged in. Blocks while each is opened.
#[must_use]
pub fn look() -> Look {
    let Some(provider) = gst::DeviceProviderFactory::by_name("v4l2deviceprovider") else {
        return Look::default();
    };
    let places = Places::default();
    let mut ribbon = BTreeSet::new();
    let mut cameras: Vec<Device> = provider
        .devices()
        .iter()
        .filter(|device| device.has_classes("Video/Source"))
        .filter_map(|device| {
            let properties = device.properties()?;
            let node = PathBuf::from(properties.get::<String>("device.path").ok()?);
            let modes = device.caps().map(|caps| modes_of(&caps, &Wish::default())).unwrap_or_default();
            let driver = properties.get::<String>("v4l2.device.driver").unwrap_or_default();
            let capabilities = properties.get::<u32>("v4l2.device.device_caps").unwrap_or(0);
            match Use::of_capture(&driver, capabilities, !modes.is_empty()) {
                Use::Camera => {}
                Use::Ribbon => {
                    ribbon.insert(node);
                    return None;
                }
                Use::Codec | Use::Metadata => return None,
            }
            let path = places.stable(&node).unwrap_or_else(|| node.clone());
            let title = device.display_name().to_string();
            Some(Device { name: name_of(&path, &title), title, path, node, modes })
        })
        .collect();
    cameras.sort_by_key(|device| (device.node.as_os_str().len(), device.node.clone()));
    tell_apart(&mut cameras);
    Look { cameras, ribbon }
}

/// What the device at `path` offers, sizes that it has a range of at the one nearest to `wish`. Blocks while it is open.
///
/// # Errors
/// [`MediaError`] in the driver's words when it is not there, is no camera, or may not be opened.
pub fn modes(path: &Path, wish: &Wish) -> Result<Vec<Mode>, MediaError> {
    let fault = |why: &str| MediaError::pipeline(path.display().to_string(), why);
    match fs::metadata(path) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(MediaError::Absent(path.to_owned()));
        }
        Err(e) => return Err(fault(&e.to_string())),
    }
    if !has_element("v4l2src") {
        return Err(missing("v4l2src"));
    }
    let pipeline = build("probe", "v4l2src name=source ! fakesink")?;
    let source = by_name::<gst::Element>(&pipeline, "source")?;
    source.set_property("device", path.to_str().ok_or_else(|| fault("the path is not UTF-8"))?);
    let ready = pipeline.set_state(gst::State::Ready);
    let caps = source.static_pad("src").map(|pad| pad.query_caps(None));
    let said = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    stop(&pipeline);
    if ready.is_err() {
        let why = match said.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(e)) => words(&e.error(), &e.debug().unwrap_or_default()),
            _ => "the device does not open".to_owned(),
        };
        return Err(fault(&why));
    }
    Ok(caps.map(|caps| modes_of(&caps, wish)).unwrap_or_default())
}

/// The modes in a pad's caps; a range of sizes is offered at the one nearest to `wish`.
pub(super) fn modes_of(caps: &gst::Caps, wish: &Wish) -> Vec<Mode> {
    let mut modes = Vec::new();
    for (structure, features) in caps.iter_with_features() {
        // What is not whole pictures in system memory (DMABuf on 1.26, interlaced fields) is not what we capture.
        if !features.is_equal(gst::CAPS_FEATURES_MEMORY_SYSTEM_MEMORY.as_ref()) {
            continue;
        }
        let formats: Vec<Format> = match structure.name().as_str() {
            "video/x-raw" => strings(structure, "format").into_iter().map(Format::Raw).collect(),
            "image/jpeg" => vec![Format::Mjpeg],
            "video/x-h264" => vec![Format::H264],
            _ => continue,
        };
        let Some(framerates) = rates(structure) else { continue };
        for (width, height) in sizes(structure, wish) {
            modes.extend(formats.iter().map(|format| Mode {
                format: format.clone(),
                width,
                height,
                framerates: framerates.clone(),
            }));
        }
    }
    modes
}

/// The sizes a structure stands for: every pair of those listed (1.26 folds sizes into lists), and of ranges the one
/// nearest to the wish.
fn sizes(structure: &gst::StructureRef, wish: &Wish) -> Vec<(u32, u32)> {
    let (widths, heights) = (sides(structure, "width"), sides(structure, "height"));
    let pairs = widths.iter().flat_map(|width| heights.iter().map(move |height| (*width, *height)));
    let size = |(width, height): (Side, Side)| {
        let range = SizeRange {
            min: (width.min, height.min),
            max: (width.max, height.max),
            step: (width.step, height.step),
        };
        range.nearest(wish)
    };
    pairs.map(size).collect()
}

/// One value of `width` or `height`, or a range of them.
#[derive(Clone, Copy)]
struct Side {
    min: u32,
    max: u32,
    step: u32,
}

fn sides(structure: &gst::StructureRef, field: &str) -> Vec<Side> {
    let number = |n: i32| u32::try_from(n).ok();
    let one = |n: i32| number(n).map(|n| Side { min: n, max: n, step: 1 });
    if let Ok(value) = structure.get::<i32>(field) {
        return one(value).into_iter().collect();
    }
    if let Ok(list) = structure.get::<gst::List>(field) {
        return list.iter().filter_map(|value| one(value.get().ok()?)).collect();
    }
    let Ok(range) = structure.get::<gst::IntRange<i32>>(field) else { return Vec::new() };
    let side =
        || Some(Side { min: number(range.min())?, max: number(range.max())?, step: number(range.step())? });
    side().into_iter().collect()
}

fn rates(structure: &gst::StructureRef) -> Option<Rates> {
    let fraction = |f: gst::Fraction| Some((u32::try_from(f.numer()).ok()?, u32::try_from(f.denom()).ok()?));
    if let Ok(one) = structure.get::<gst::Fraction>("framerate") {
        return Some(Rates::List(vec![fraction(one)?]));
    }
    if let Ok(range) = structure.get::<gst::FractionRange>("framerate") {
        return Some(Rates::Range(fraction(range.min())?, fraction(range.max())?));
    }
    let list = structure.get::<gst::List>("framerate").ok()?;
    let rates = list.iter().filter_map(|value| fraction(value.get().ok()?)).collect();
    Some(Rates::List(rates))
}

fn strings(structure: &gst::StructureRef, field: &str) -> Vec<String> {
    if let Ok(one) = structure.get::<String>(field) {
        return vec![one];
    }
    let list = structure.get::<gst::List>(field);
    list.map(|list| list.iter().filter_map(|value| value.get().ok()).collect()).unwrap_or_default()
}

/// Gives each camera a name of its own: long names that were cut may have become the same.
fn tell_apart(found: &mut [Device]) {
    for index in 1..found.len() {
        let (before, rest) = found.split_at_mut(index);
        let Some(device) = rest.first_mut() else { return };
        let taken = |name: &str| before.iter().any(|other| other.name == name);
        let mut number = 2;
        while device.name.is_empty() || taken(&device.name) {
            let ending = format!("-{number}");
            device.name.truncate(crate::proto::ids::MAX_NAME - ending.len());
            device.name =
                format!("{}{ending}", device.name.trim_end_matches('-')).trim_matches('-').to_owned();
            number += 1;
        }
    }
}

/// A camera's name made of its stable path: `usb-046d_C920-video-index0` becomes `usb-046d-c920`.
fn name_of(path: &Path, title: &str) -> String {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or(title);
    name_from(file.strip_suffix("-video-index0").unwrap_or(file))
}

/// A camera's name made of what its maker or driver calls it: `HD Pro C920` becomes `hd-pro-c920`.
pub(crate) fn name_from(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    name.truncate(crate::proto::ids::MAX_NAME);
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_stable_paths() {
        let name = |path: &str| name_of(Path::new(path), "x");
        assert_eq!(
            name("/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_A1B2-video-index0"),
            "usb-046d-hd-pro-webcam-c920-a1b2"
        );
        assert_eq!(name("/dev/v4l/by-path/platform-vivid.0-video-index0"), "platform-vivid-0");
        assert_eq!(name("/dev/video0"), "video0");
    }

    #[test]
    fn cameras_whose_names_are_cut_alike_are_told_apart() {
        let device = |name: &str| Device {
            name: name.into(),
            title: String::new(),
            path: PathBuf::new(),
            node: PathBuf::new(),
            modes: Vec::new(),
        };
        let long = "x".repeat(40);
        let mut found = [device(&long), device(&long), device(&long), device("b")];
        tell_apart(&mut found);
        let names: BTreeSet<_> = found.iter().map(|device| device.name.clone()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.iter().all(|name| crate::proto::ids::Name::new(name.clone()).is_ok()), "{names:?}");
    }

    #[test]
    fn caps_become_modes() {
        gst::init().unwrap();
        let caps: gst::Caps = "video/x-raw,format={YUY2,NV12},width=640,height=480,framerate={30/1,15/1};\
            image/jpeg,width=1280,height=720,framerate=30/1;\
            video/x-raw,format=NV12,width=[64,1920],height=[64,1080],framerate=[1/1,60/1];\
            video/mpegts"
            .parse()
            .unwrap();
        let modes = modes_of(&caps, &Wish { width: 1280, height: 720, framerate: 30 });
        assert_eq!(modes[0].format, Format::Raw("YUY2".into()));
        assert_eq!(modes[0].framerates, Rates::List(vec![(30, 1), (15, 1)]));
        assert_eq!(modes[2].format, Format::Mjpeg);
        assert!(
            modes.iter().any(|mode| (mode.width, mode.height) == (1280, 720) && mode.format != Format::Mjpeg)
        );
    }
}
