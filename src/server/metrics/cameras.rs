//! What each camera does.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::page::Page;
use crate::fault;
use crate::proto::ids::Name;
use crate::status::counts::{CameraCounts, Capture, Flow, Rendition, RenditionCounts};
use crate::status::{CameraStatus, RenditionStatus, State};

type Counts = BTreeMap<Name, Arc<CameraCounts>>;

/// Writes all of it. There are as many series as the configuration has cameras, and devices are plugged in, times what
/// one has: labels are words of ours.
pub(super) fn write(page: &mut Page, cameras: &[CameraStatus], counts: &Counts) {
    page.head("portald_camera_state", "gauge", "1 for the state a camera is in, 0 for the others.");
    for camera in cameras {
        for state in State::ALL {
            let labels: [(&str, &dyn Display); 2] = [("camera", &camera.name), ("state", &state.as_str())];
            page.line("portald_camera_state", &labels, u8::from(camera.state == state));
        }
    }
    page.head("portald_camera_viewers", "gauge", "Viewers of each camera.");
    for camera in cameras {
        page.line("portald_camera_viewers", &[("camera", &camera.name)], camera.viewers);
    }
    let help = "Times a camera, or one of its encoders, failed, by reason.";
    page.head("portald_camera_restarts_total", "counter", help);
    for camera in cameras {
        for kind in fault::Kind::ALL {
            let labels: [(&str, &dyn Display); 2] = [("camera", &camera.name), ("reason", &kind.as_str())];
            page.line("portald_camera_restarts_total", &labels, camera.restarts.of(kind));
        }
    }
    captured(page, counts);
    encoded(page, counts);
    encoding(page, cameras);
}

/// What comes from the devices.
fn captured(page: &mut Page, counts: &Counts) {
    let name = "portald_camera_frames_captured_total";
    page.head(name, "counter", "Pictures from the device, or frames from a camera that encodes itself.");
    for (camera, counts) in counts {
        page.line(name, &[("camera", camera)], counts.captured.load(Relaxed));
    }
    let name = "portald_camera_frames_dropped_total";
    let help = "Frames that were dropped, by place: captured ones that a busy encoder or decoder could not take (one \
                counts for each encoder), encoded ones that a viewer was too far behind for.";
    page.head(name, "counter", help);
    for (camera, counts) in counts {
        let viewers = counts.renditions.iter().map(|rendition| rendition.counts.dropped.load(Relaxed)).sum();
        for (place, count) in [
            ("encoder", counts.busy.load(Relaxed)),
            ("decoder", counts.undecoded.load(Relaxed)),
            ("viewer", viewers),
        ] {
            let count: u64 = count;
            page.line(name, &[("camera", camera), ("place", &place)], count);
        }
    }
    let open = || counts.iter().filter_map(|(camera, counts)| Some((camera, counts.capture()?)));
    for (name, help, value) in [
        (
            "portald_camera_width_pixels",
            "Width of what is captured now.",
            (|c| Some(c.width.into())) as fn(Capture) -> Option<f64>,
        ),
        ("portald_camera_height_pixels", "Height of what is captured now.", |c| Some(c.height.into())),
        (
            "portald_camera_frames_per_second",
            "Pictures captured a second, measured over the last two seconds or more.",
            |c| c.rate,
        ),
    ] {
        page.head(name, "gauge", help);
        for (camera, capture) in open() {
            if let Some(value) = value(capture) {
                page.line(name, &[("camera", camera)], value);
            }
        }
    }
}

/// What encoders made.
fn encoded(page: &mut Page, counts: &Counts) {
    type Counter = fn(&RenditionCounts) -> &AtomicU64;
    let renditions = || counts.iter().flat_map(|(camera, c)| c.renditions.iter().map(move |r| (camera, r)));
    for (name, help, count) in [
        ("portald_rendition_frames_total", "Frames encoded.", (|c| &c.frames) as Counter),
        ("portald_rendition_bytes_total", "Bytes of them.", |c| &c.bytes),
        ("portald_rendition_keyframes_total", "Key frames among them.", |c| &c.keyframes),
        (
            "portald_rendition_keyframe_requests_total",
            "Key frames asked for, requests close together counted once.",
            |c| &c.requests,
        ),
        ("portald_rendition_dropped_total", "Frames not given to viewers that were behind.", |c| &c.dropped),
        (
            "portald_rendition_slate_frames_total",
            "Frames of the slate, while the camera gives nothing.",
            |c| &c.slates,
        ),
    ] {
        page.head(name, "counter", help);
        for (camera, Rendition { name: rendition, codec, counts }) in renditions() {
            let labels: [(&str, &dyn Display); 3] =
                [("camera", camera), ("rendition", rendition), ("codec", codec)];
            page.line(name, &labels, count(counts).load(Relaxed));
        }
    }
    for (name, help, value) in [
        (
            "portald_rendition_frames_per_second",
            "Frames encoded a second, measured over the last two seconds or more.",
            (|flow| flow.rate) as fn(Flow) -> f64,
        ),
        (
            "portald_rendition_bytes_per_second",
            "Bytes encoded a second, measured over the last two seconds or more.",
            |flow| flow.bytes,
        ),
    ] {
        page.head(name, "gauge", help);
        for (camera, Rendition { name: rendition, codec, counts }) in renditions() {
            let labels: [(&str, &dyn Display); 3] =
                [("camera", camera), ("rendition", rendition), ("codec", codec)];
            if let Some(flow) = counts.flow() {
                page.line(name, &labels, value(flow));
            }
        }
    }
}

/// What is being encoded, as it was asked for.
fn encoding(page: &mut Page, cameras: &[CameraStatus]) {
    for (name, help, value) in [
        (
            "portald_rendition_width_pixels",
            "Width of what is encoded now.",
            (|r| r.width.into()) as fn(&RenditionStatus) -> f64,
        ),
        ("portald_rendition_height_pixels", "Height of what is encoded now.", |r| r.height.into()),
        ("portald_rendition_target_frames_per_second", "Frames a second there should be.", |r| r.framerate),
        (
            "portald_rendition_target_bytes_per_second",
            "Asked of the encoder; measured where the camera encodes.",
            |r| f64::from(r.bitrate) * 1000.0 / 8.0,
        ),
        ("portald_rendition_viewers", "Viewers of each rendition.", |r| r.viewers as f64),
    ] {
        page.head(name, "gauge", help);
        for camera in cameras {
            for rendition in camera.renditions.iter().filter(|rendition| rendition.running) {
                let labels: [(&str, &dyn Display); 3] =
                    [("camera", &camera.name), ("rendition", &rendition.name), ("codec", &rendition.codec)];
                page.line(name, &labels, value(rendition));
            }
        }
    }
}
