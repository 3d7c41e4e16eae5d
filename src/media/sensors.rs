//! libcamera's cameras: those on ribbon cables, whose raw data only libcamera makes pictures of.
//!
//! To list them libcamera opens every media device of the box and starts modules that know the sensors. That is done in
//! a child process, `portald list-sensors`, which writes a list of [`Sensor`]s to its standard output as JSON.

use std::env;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use serde::{Deserialize, Serialize};

use super::child::{self, Answer, Silence};
use super::probe;
use crate::config::settings::Wish;
use crate::modes::{self, Choice, Format, Mode};

/// How long the child may take. On a slow card GStreamer alone takes seconds to start.
const LIMIT: Duration = Duration::from_secs(20);
/// Most of its answer that is read, in bytes. What a sensor offers is some kilobytes.
const MAX_ANSWER: u64 = 1024 * 1024;

/// A camera of libcamera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// What libcamera calls it; `libcamera:` before it makes it a `source`.
    pub name: String,
    /// What it offers, as GStreamer writes caps.
    caps: String,
}

impl Sensor {
    /// What it offers, sizes that it has a range of at the one nearest to `wish`. The rates say nothing: libcamera does not
    /// tell them.
    #[must_use]
    pub fn modes(&self, wish: &Wish) -> Vec<Mode> {
        gst::Caps::from_str(&self.caps).map(|caps| modes(&caps, wish)).unwrap_or_default()
    }

    /// What people would call it: `imx708` for `/base/soc/i2c0mux/i2c@1/imx708@1a`.
    #[must_use]
    pub fn title(&self) -> &str {
        let last = self.name.rsplit(['/', '\\']).next().unwrap_or(&self.name);
        last.split_once('@').map_or(last, |(model, _)| model)
    }
}

/// Asks libcamera in this process. Blocks, for ever if a driver does: meant for the child. Without GStreamer's plug-in
/// there are none; USB cameras, which libcamera lists too, are left to V4L2.
#[must_use]
pub fn here() -> Vec<Sensor> {
    let Some(provider) = gst::DeviceProviderFactory::by_name("libcameraprovider") else { return Vec::new() };
    let sensor = |device: &gst::Device| {
        let caps = device.caps().map(|caps| caps.to_string()).unwrap_or_default();
        Sensor { name: device.display_name().to_string(), caps }
    };
    let devices = provider.devices();
    let found = devices.iter().filter(|device| device.has_classes("Source/Video")).map(sensor);
    found.filter(|sensor| !is_usb(&sensor.name)).collect()
}

/// Asks libcamera in a child process of this program: the cameras, and the last error that it told of. Blocks, at most for
/// 21 s.
///
/// # Errors
/// Why there is no list, in words.
pub fn in_child() -> Result<(Vec<Sensor>, Option<String>), String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    match child::ask(&program, "list-sensors", &[], LIMIT, MAX_ANSWER) {
        Ok(Answer { text, said, status }) => match serde_json::from_str(&text) {
            Ok(sensors) => Ok((sensors, error_in(&said))),
            Err(_) => Err(format!("libcamera took its process with it ({status})")),
        },
        Err(Silence::Late) => Err(format!("libcamera did not answer within {} s", LIMIT.as_secs())),
        Err(Silence::NotStarted(error)) => {
            Err(format!("the process that asks libcamera cannot be started: {error}"))
        }
    }
}

/// The last error in libcamera's log, without time and thread: `[0:00:14.5] [215] ERROR RPI raspberrypi.cpp:1371 …`.
fn error_in(log: &str) -> Option<String> {
    let mut errors = log.lines().rev().filter_map(|line| line.split_once(" ERROR "));
    errors.next().map(|(_, error)| error.trim().to_owned())
}

/// Opens or stops libcamera's element, if it is one. The last one that is stopped ends the camera manager, of which a
/// process may have one; one that is opened before that has ended makes another, and libcamera then ends the process. A
/// driver that hangs makes the others wait, as it does in libcamera.
pub(super) fn in_turn<T>(is_libcamera: bool, work: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = is_libcamera.then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    work()
}

/// Has libcamera's element `source` choose of what its camera offers as is done for other cameras. The element by itself
/// takes whatever format comes first; and what it is held to by caps behind it, it may find out later that it cannot give:
/// then it ends. So it is told one thing when it asks, and what it sends in the end is taken, as [`own`] pictures. What
/// caps behind it leave out, it is not told.
pub(super) fn choose_for(source: &gst::Element, wish: Wish) {
    let Some(pad) = source.static_pad("src") else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
        let (Some(lent), Some(caps)) = (info.buffer_mut(), pad.current_caps()) else {
            return gst::PadProbeReturn::Ok;
        };
        // There is none only when there is no memory.
        let Some(own) = own(lent, &caps) else { return gst::PadProbeReturn::Drop };
        *lent = own;
        gst::PadProbeReturn::Ok
    });
    // Called when the answer is there.
    let answered = gst::PadProbeType::QUERY_DOWNSTREAM | gst::PadProbeType::PULL;
    pad.add_probe(answered, move |_, info| {
        if let Some(gst::QueryViewMut::Caps(query)) = info.query_mut().map(gst::QueryRef::view_mut) {
            let chosen = query.result().and_then(|offered| chosen(offered, &wish));
            if let Some(caps) = chosen {
                query.set_result(&caps);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// The best of what is offered; none: nothing is known that we can use.
fn chosen(offered: &gst::CapsRef, wish: &Wish) -> Option<gst::Caps> {
    let Choice { format: Format::Raw(format), width, height, framerate: (n, d), .. } =
        modes::choose(&modes(offered, wish), wish, false)?
    else {
        return None;
    };
    let number = |n: u32| i32::try_from(n).ok();
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", &format)
        .field("width", number(width)?)
        .field("height", number(height)?)
        .field("framerate", gst::Fraction::new(number(n)?, number(d)?));
    // Left open, libcamera's element negotiates it wrongly; RGB has no such thing.
    Some(
        if format.contains("RGB") || format.contains("BGR") {
            caps
        } else {
            caps.field("colorimetry", "bt709")
        }
        .build(),
    )
}

/// The picture in memory of its own. libcamera's buffers must be back when its element is stopped: to one that is let go
/// later, as appsink's last one is, belongs a camera whose manager is gone, and the process crashes. They are few besides.
///
/// Before version 0.5.1 the element does not tell how long a row of pixels is, and each is then shown a bit further to the
/// side; the size of the whole tells it here.
fn own(lent: &gst::BufferRef, caps: &gst::CapsRef) -> Option<gst::Buffer> {
    let mut own = lent.copy_deep().ok()?;
    if lent.meta::<gst_video::VideoMeta>().is_none()
        && let Ok(info) = gst_video::VideoInfo::from_caps(caps)
        && let Some((offsets, strides)) = layout(&info, lent.size())
    {
        let (format, width, height) = (info.format(), info.width(), info.height());
        let (own, flags) = (own.get_mut()?, gst_video::VideoFrameFlags::empty());
        gst_video::VideoMeta::add_full(own, flags, format, width, height, &offsets, &strides).ok()?;
    }
    Some(own)
}

/// Where each plane begins and how long its rows are, in bytes, if the picture of `size` bytes is not as GStreamer lays
/// it out; none: it is, or nobody knows.
fn layout(info: &gst_video::VideoInfo, size: usize) -> Option<(Vec<usize>, Vec<i32>)> {
    let format = info.format_info();
    let planes = (0..format.n_planes()).map(|plane| {
        let component = format.plane().iter().position(|of| *of == plane)?;
        // Twice the bytes for a pixel in a row, and the rows.
        let twice = 2 * usize::try_from(*format.pixel_stride().get(component)?).ok()?;
        let pixel = twice >> format.w_sub().get(component)?;
        let rows = usize::try_from(info.height().div_ceil(1 << format.h_sub().get(component)?)).ok()?;
        Some((pixel, rows))
    });
    let planes: Vec<_> = planes.collect::<Option<_>>()?;
    let (first, _) = *planes.first()?;
    // All planes' rows are as much longer than their pixels as those of the first.
    let total: usize = planes.iter().map(|(pixel, rows)| pixel * rows).sum();
    let row = (size * first).checked_div(total).filter(|row| row * total == size * first)?;
    if size == info.size() || 2 * row < first * usize::try_from(info.width()).ok()? {
        return None;
    }
    let (mut offsets, mut strides, mut offset) = (Vec::new(), Vec::new(), 0);
    for (pixel, rows) in planes {
        let stride = row * pixel / first;
        offsets.push(offset);
        strides.push(i32::try_from(stride).ok()?);
        offset += stride * rows;
    }
    Some((offsets, strides))
}

/// The raw modes in caps of libcamera, which tells no rates: any that is wished for is taken, and it gives the nearest.
fn modes(offered: &gst::CapsRef, wish: &Wish) -> Vec<Mode> {
    let mut caps = offered.to_owned();
    let (slowest, wished) = (gst::Fraction::new(1, 1), i32::try_from(wish.framerate).unwrap_or(1).max(2));
    for structure in caps.make_mut().iter_mut() {
        if !structure.has_field("framerate") {
            structure.set("framerate", gst::FractionRange::new(slowest, gst::Fraction::new(wished, 1)));
        }
    }
    let mut modes = probe::modes_of(&caps, wish);
    modes.retain(|mode| matches!(mode.format, Format::Raw(_)));
    // Of those that are equally good the first is taken: what most encoders like best.
    modes.sort_by_key(|mode| mode.format != Format::Raw("NV12".into()));
    modes
}

/// libcamera names a USB camera after its place, and then `-VENDOR:PRODUCT`.
fn is_usb(name: &str) -> bool {
    let Some((_, numbers)) = name.rsplit_once('-') else { return false };
    let is_number = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    numbers.split_once(':').is_some_and(|(vendor, product)| is_number(vendor) && is_number(product))
}

#[cfg(test)]
mod tests {
    use super::super::capture::{build, by_name};
    use super::*;

    #[test]
    fn usb_cameras_are_told_from_those_on_a_ribbon() {
        assert!(is_usb("\\_SB_.PC00.RP01.PXSX-2:1.0-046d:082d"));
        assert!(!is_usb("/base/soc/i2c0mux/i2c@1/imx219@10"));
        assert!(!is_usb("/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"));
    }

    #[test]
    fn the_last_error_is_told_without_its_time() {
        let log = "[0:00:14.5] [215]  INFO Camera camera_manager.cpp:299 libcamera v0.0.3\n\
                   [0:00:14.6] [219] ERROR RPI raspberrypi.cpp:1371 Unable to open any dma-heap device\n";
        let error = "RPI raspberrypi.cpp:1371 Unable to open any dma-heap device";
        assert_eq!(error_in(log).as_deref(), Some(error));
        assert_eq!(error_in("libcamera v0.0.3"), None);
    }

    #[test]
    fn titles_are_models() {
        let title = |name: &str| Sensor { name: name.into(), caps: String::new() }.title().to_owned();
        assert_eq!(title("/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"), "imx708");
        assert_eq!(title("platform/vimc.0 Sensor B"), "vimc.0 Sensor B");
        assert_eq!(title("\\_SB_.PC00.LNK1"), "_SB_.PC00.LNK1");
    }

    #[test]
    fn rows_are_as_long_as_the_whole_picture_tells() {
        gst::init().unwrap();
        let layout = |format, width, height, size| {
            layout(&gst_video::VideoInfo::builder(format, width, height).build().unwrap(), size)
        };
        use gst_video::VideoFormat::{Bgr, I420, Nv12, Yuy2};
        // vimc pads nothing, GStreamer rows of RGB to four bytes.
        assert_eq!(layout(Bgr, 318, 180, 954 * 180), Some((vec![0], vec![954])));
        assert_eq!(layout(Bgr, 320, 180, 960 * 180), None, "as GStreamer has it");
        // A Raspberry Pi pads rows to 64 bytes.
        assert_eq!(layout(Nv12, 800, 600, 832 * 900), Some((vec![0, 832 * 600], vec![832, 832])));
        let planes = vec![0, 832 * 600, 832 * 600 + 416 * 300];
        assert_eq!(layout(I420, 800, 600, 832 * 900), Some((planes, vec![832, 416, 416])));
        // libcamera halves rows and height, GStreamer rounds both up.
        let planes = vec![0, 852 * 480, 852 * 480 + 426 * 240];
        assert_eq!(layout(I420, 852, 480, 852 * 720), Some((planes, vec![852, 426, 426])));
        assert_eq!(layout(Nv12, 640, 361, 640 * (361 + 181)), Some((vec![0, 640 * 361], vec![640, 640])));
        assert_eq!(layout(Yuy2, 810, 600, 1664 * 600), Some((vec![0], vec![1664])));
        assert_eq!(layout(Nv12, 1280, 720, 1280 * 1080), None);
        assert_eq!(layout(Nv12, 800, 600, 832 * 900 + 8), None, "rows of no whole number of bytes");
        assert_eq!(layout(Nv12, 800, 600, 400 * 900), None, "too little");
    }

    #[test]
    fn what_it_asks_is_answered_with_one_thing_that_the_camera_offers() {
        gst::init().unwrap();
        // As libcamera 0.0.3 writes it: sizes one by one and as a range, no rates.
        let sizes = "width=640,height=480; width=1920,height=1080; width=[32,3280,2],height=[32,2464,2]";
        let of_format = |format: &str| {
            let structures = sizes.split("; ").map(|size| format!("video/x-raw,format={format},{size}"));
            structures.collect::<Vec<_>>().join("; ")
        };
        let raspberry = ["BGRx", "YUY2", "I420", "NV12", "RGB"].map(of_format).join("; ");
        let raspberry = format!("{raspberry}; image/jpeg,width=640,height=480");
        let plain = "video/x-raw,format={RGB,BGR},width=[48,4096],height=[48,2160]";
        let wish = Wish { width: 1280, height: 720, framerate: 25 };
        for (offered, behind, answer) in [
            (
                raspberry.as_str(),
                "",
                "video/x-raw,format=NV12,width=1280,height=720,framerate=25/1,colorimetry=bt709",
            ),
            (
                raspberry.as_str(),
                "capsfilter caps=\"video/x-raw,format=YUY2,width=640,height=480\" !",
                "video/x-raw,format=YUY2,width=640,height=480,framerate=25/1,colorimetry=bt709",
            ),
            (plain, "", "video/x-raw,format=RGB,width=1280,height=720,framerate=25/1"),
            ("image/jpeg,width=640,height=480", "", "image/jpeg,width=640,height=480"),
        ] {
            let pipeline = build("test", &format!("identity name=source ! {behind} fakesink")).unwrap();
            let source: gst::Element = by_name(&pipeline, "source").unwrap();
            choose_for(&source, wish);
            let offered = gst::Caps::from_str(offered).unwrap();
            let told = source.static_pad("src").unwrap().peer_query_caps(Some(&offered));
            assert_eq!(told, gst::Caps::from_str(answer).unwrap(), "{behind}");
        }
    }
}
