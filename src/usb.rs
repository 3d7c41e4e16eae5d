//! The USB bus that a camera hangs on, and what of it a stream of pictures takes.
//!
//! A camera reserves its part of a bus before it streams, and the kernel refuses what is over the limit ("No space left
//! on device"). Two raw streams of 640x480 at 30 do not fit on one USB 2 bus.

use std::fs;
use std::path::Path;

use crate::modes::{Format, Mode, Rates};

/// What periodic transfers may take of a bus: USB 2.0, 5.6.4 and 5.7.4, and USB 3.2, 8.12.5; the kernel's
/// `uframe_periodic_max` is the same.
pub const PERIODIC: f64 = 0.8;
/// Microframes a second.
const MICROFRAMES: f64 = 8000.0;
/// Nanoseconds for a byte of an isochronous transfer at 480 Mbit/s, with the worst case of bit stuffing, 7/6: USB 2.0,
/// 5.11.3.
const BYTE: f64 = 2.083 * 8.0 * 7.0 / 6.0;
/// Nanoseconds for a packet, and the most bytes that it has: the same place.
const PACKET: (f64, f64) = (638.0, 1024.0);
/// Cameras offer a handful of packet sizes, and need the next that is large enough.
const STEP: f64 = 1.15;
/// Bits of a pixel in a JPEG. Measured on webcams from 1 to 3; what a camera reserves for them may be far more, which
/// only the kernel's refusal tells.
const JPEG_BITS: f64 = 2.0;
/// Bits a second of H.264 as cameras make it.
const H264_BITS: f64 = 10e6;

/// Where a camera is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The kernel's number of the bus. USB 2 and USB 3 of one socket have two.
    pub bus: u32,
    /// The device's speed in Mbit/s: 12, 480, 5000, …
    pub speed: u32,
}

impl Port {
    /// That of the V4L2 device at `path`, if it hangs on USB; `sys` is `/sys`.
    #[must_use]
    pub fn of(sys: &Path, path: &Path) -> Option<Self> {
        let node = fs::canonicalize(path).ok()?;
        let mut place =
            fs::canonicalize(sys.join("class/video4linux").join(node.file_name()?).join("device")).ok()?;
        let read = |place: &Path, file: &str| fs::read_to_string(place.join(file)).ok()?.trim().parse().ok();
        loop {
            if let Some(bus) = read(&place, "busnum") {
                return Some(Self { bus, speed: read(&place, "speed")? });
            }
            if !place.pop() {
                return None;
            }
        }
    }

    /// The part of the bus, of 1, that pictures of this kind take.
    #[must_use]
    pub fn part(&self, format: &Format, width: u32, height: u32, framerate: (u32, u32)) -> f64 {
        let pixels =
            f64::from(width) * f64::from(height) * f64::from(framerate.0) / f64::from(framerate.1.max(1));
        let bytes = match format {
            Format::Raw(name) => pixels * bits(name) / 8.0,
            Format::Mjpeg => pixels * JPEG_BITS / 8.0,
            Format::H264 => H264_BITS / 8.0,
        };
        if self.speed == 480 {
            let bytes = bytes / MICROFRAMES * STEP;
            return (bytes * BYTE + (bytes / PACKET.1).ceil() * PACKET.0) * MICROFRAMES / 1e9;
        }
        // 8b/10b at 5 Gbit/s, and as much for the protocol of the others.
        bytes * 8.0 / (f64::from(self.speed.max(1)) * 1e6 * 0.8)
    }

    /// Of what a camera offers, what fits into `left`, of 1; if nothing does, its least: the kernel has the last word.
    #[must_use]
    pub fn fitting(&self, offers: &[Mode], left: f64) -> Vec<Mode> {
        let part = |mode: &Mode, rate| self.part(&mode.format, mode.width, mode.height, rate);
        let fitting: Vec<Mode> = offers
            .iter()
            .filter_map(|mode| {
                let fits = |rate: &(u32, u32)| part(mode, *rate) <= left;
                let framerates = match &mode.framerates {
                    Rates::List(rates) => {
                        let rates: Vec<_> = rates.iter().copied().filter(fits).collect();
                        (!rates.is_empty()).then_some(Rates::List(rates))
                    }
                    Rates::Range(_, high) if fits(high) => Some(mode.framerates.clone()),
                    Rates::Range(low, high) => {
                        let fps = (1..high.0.div_ceil(high.1.max(1))).rev().map(|fps| (fps, 1));
                        let above = |rate: &(u32, u32)| {
                            u64::from(rate.0) * u64::from(low.1) >= u64::from(low.0) * u64::from(rate.1)
                        };
                        fps.take_while(above).find(fits).map(|best| Rates::Range(*low, best))
                    }
                }?;
                Some(Mode { framerates, ..mode.clone() })
            })
            .collect();
        if !fitting.is_empty() {
            return fitting;
        }
        let slowest = |mode: &Mode| match &mode.framerates {
            Rates::Range(low, _) => Some(*low),
            Rates::List(rates) => {
                rates.iter().copied().min_by(|a, b| part(mode, *a).total_cmp(&part(mode, *b)))
            }
        };
        let slow = offers.iter().filter_map(|mode| Some((mode, slowest(mode).filter(|rate| rate.0 > 0)?)));
        let least = slow.min_by(|(a, a_rate), (b, b_rate)| part(a, *a_rate).total_cmp(&part(b, *b_rate)));
        let mode = least.map(|(mode, rate)| Mode { framerates: Rates::List(vec![rate]), ..mode.clone() });
        mode.into_iter().collect()
    }
}

/// Bits of a pixel of a raw format, as GStreamer names it.
fn bits(format: &str) -> f64 {
    match format {
        "I420" | "YV12" | "NV12" | "NV21" => 12.0,
        "GRAY8" => 8.0,
        "RGB" | "BGR" => 24.0,
        "RGBx" | "BGRx" | "xRGB" | "xBGR" | "RGBA" | "BGRA" | "ARGB" | "ABGR" => 32.0,
        _ => 16.0, // YUY2, UYVY and the like
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const USB2: Port = Port { bus: 1, speed: 480 };

    fn raw() -> Format {
        Format::Raw("YUY2".into())
    }

    #[test]
    fn two_raw_cameras_do_not_fit_on_one_usb_2_bus() {
        let one = USB2.part(&raw(), 640, 480, (30, 1));
        assert!(one < PERIODIC && 2.0 * one > PERIODIC, "{one}");
        // A whole bus for one endpoint is 3 packets of 1024 bytes in each microframe.
        assert!(USB2.part(&raw(), 1280, 720, (30, 1)) > 1.0);
        assert!(USB2.part(&raw(), 1280, 720, (10, 1)) < PERIODIC);
        assert!(4.0 * USB2.part(&Format::Mjpeg, 1280, 720, (30, 1)) < PERIODIC);
        let usb3 = Port { bus: 2, speed: 5000 };
        assert!(4.0 * usb3.part(&raw(), 1280, 720, (30, 1)) < PERIODIC);
    }

    #[test]
    fn of_what_is_offered_only_what_fits_is_left() {
        let mode = |format, rates| Mode { format, width: 640, height: 480, framerates: rates };
        let listed = Rates::List(vec![(30, 1), (15, 1), (5, 1)]);
        let offers = [mode(raw(), listed.clone()), mode(Format::Mjpeg, listed.clone())];
        assert_eq!(USB2.fitting(&offers, PERIODIC), offers);
        let half = USB2.part(&raw(), 640, 480, (15, 1));
        let slower = Rates::List(vec![(15, 1), (5, 1)]);
        assert_eq!(USB2.fitting(&offers, half), [mode(raw(), slower), mode(Format::Mjpeg, listed)]);
        let least = mode(Format::Mjpeg, Rates::List(vec![(5, 1)]));
        assert_eq!(USB2.fitting(&offers, -1.0), [least]);
        let any = [mode(raw(), Rates::Range((1, 1), (60, 1)))];
        assert_eq!(USB2.fitting(&any, half), [mode(raw(), Rates::Range((1, 1), (15, 1)))]);
        assert_eq!(USB2.fitting(&any, 0.0), [mode(raw(), Rates::List(vec![(1, 1)]))]);
        assert!(USB2.fitting(&[], 1.0).is_empty());
    }

    #[test]
    fn the_port_is_read_from_sysfs() {
        let root = std::env::temp_dir().join(format!("portald-usb-{}", std::process::id()));
        let device = root.join("devices/usb1/1-2/1-2:1.0");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(root.join("class/video4linux/video0")).unwrap();
        symlink(&device, root.join("class/video4linux/video0/device")).unwrap();
        for (file, text) in [("usb1/1-2/busnum", "1\n"), ("usb1/1-2/speed", "480\n")] {
            fs::write(root.join("devices").join(file), text).unwrap();
        }
        let node = root.join("video0");
        fs::write(&node, "").unwrap();
        assert_eq!(Port::of(&root, &node), Some(USB2));
        assert_eq!(Port::of(&root, &root.join("video1")), None);
        fs::write(root.join("video2"), "").unwrap();
        assert_eq!(Port::of(&root, &root.join("video2")), None, "no USB camera");
        fs::remove_dir_all(root).unwrap();
    }
}
