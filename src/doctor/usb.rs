//! Which camera is on which USB bus, how fast, and whether the bus carries them all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::{Finding, Group};

/// USB devices that are looked at.
const MAX_DEVICES: usize = 512;
/// The class of video interfaces (usb.org, defined class codes).
const VIDEO: &str = "0e";
/// What USB 2 gives to transfers that keep time, in Mbit/s: 80 % of 480 (USB 2.0, 5.6.4 and 5.7.4).
const HIGH_SPEED_SHARE: u32 = 384;
/// The speed below which no usable picture fits, in Mbit/s: that of USB 1.1.
const FULL_SPEED: u32 = 12;
/// Cameras on one USB 2 bus that cannot all be served: an MJPEG camera mostly reserves the largest packet there is, three
/// times 1024 bytes in each of 8000 microframes, 196 Mbit/s, whatever it sends.
const TOO_MANY: usize = 3;

/// Cameras on USB.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) cameras: Vec<Camera>,
}

/// A device with a video interface.
#[derive(Debug)]
pub(super) struct Camera {
    label: String,
    /// `1-1.3`: bus 1, port 1, its port 3.
    place: String,
    sysfs: PathBuf,
    bus: u32,
    /// Mbit/s
    speed: u32,
    has_driver: bool,
    /// What its owner may not want to publish.
    pub(super) serial: Option<String>,
}

impl Facts {
    pub(super) fn gather(tree: &Tree) -> Self {
        let all = Path::new("/sys/bus/usb/devices");
        let names = tree.names(all);
        let cameras = names.iter().filter(|name| !name.contains(':')).take(MAX_DEVICES).filter_map(|name| {
            let place = all.join(name);
            let start = format!("{name}:");
            let mut interfaces = names.iter().filter(|other| other.starts_with(&start)).filter(|other| {
                tree.text(all.join(other).join("bInterfaceClass")).is_some_and(|class| class == VIDEO)
            });
            let interface = interfaces.next()?;
            let text = |file: &str| tree.text(place.join(file)).filter(|text| !text.is_empty());
            let number =
                format!("{}:{}", text("idVendor").unwrap_or_default(), text("idProduct").unwrap_or_default());
            Some(Camera {
                label: text("product").or_else(|| text("manufacturer")).unwrap_or(number),
                place: name.clone(),
                sysfs: tree.real(&place)?,
                bus: text("busnum")?.parse().ok()?,
                // 1.5 is a keyboard's.
                speed: text("speed")?.parse::<f64>().ok()?.round() as u32,
                has_driver: tree.has(all.join(interface).join("driver")),
                serial: text("serial"),
            })
        });
        Self { cameras: cameras.collect() }
    }
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let group = Group::Usb;
    let mut found = Vec::new();
    let mut buses: BTreeMap<u32, Vec<&Camera>> = BTreeMap::new();
    for camera in &facts.usb.cameras {
        let Camera { label, place, bus, speed, .. } = camera;
        if !camera.has_driver {
            found.push(
                Finding::broken(group, "driver", format!("{label} is plugged in, but no driver took it"))
                    .because("there is no /dev/video for it")
                    .mend("sudo modprobe uvcvideo; if that fails: sudo apt install --reinstall linux-image-$(uname -r)"),
            );
        } else if *speed <= FULL_SPEED {
            found.push(
                Finding::broken(
                    group,
                    "speed",
                    format!("{label} runs at {speed} Mbit/s, the speed of USB 1.1"),
                )
                .because("no picture worth the name fits; the cable or hub is bad, or very old")
                .mend("use another cable, and a port of the box itself"),
            );
        } else {
            let port = place.split_once('-').map_or("", |(_, port)| port);
            let what = format!("{label}: bus {bus}, {speed} Mbit/s, port {port}");
            found.push(Finding::fine(group, "speed", what));
        }
        buses.entry(*bus).or_default().push(camera);
    }
    for (bus, cameras) in buses {
        if cameras.iter().any(|camera| camera.speed > 480) {
            continue;
        }
        let of = |camera: &&&Camera| {
            let mut devices = facts.cameras.devices.iter();
            devices
                .find(|device| device.sysfs.starts_with(&camera.sysfs))
                .and_then(|device| device.megabits())
        };
        let raw: u32 = cameras.iter().filter_map(|camera| of(&camera)).sum();
        let labels: Vec<_> = cameras.iter().map(|camera| camera.label.as_str()).collect();
        let labels = labels.join(", ");
        if raw > HIGH_SPEED_SHARE {
            let what = format!(
                "bus {bus} would have to carry {raw} Mbit/s of raw pictures ({labels}), and can carry {HIGH_SPEED_SHARE}"
            );
            found.push(
                Finding::broken(group, "bandwidth", what)
                    .because("the camera that starts last gets \"No space left on device\"")
                    .mend("use a port of another controller, or in the camera's table: width = 640, height = 480, framerate = 15"),
            );
        } else if cameras.len() >= TOO_MANY {
            found.push(
                Finding::warning(
                    group,
                    "crowd",
                    format!("{} cameras share bus {bus} of 480 Mbit/s: {labels}", cameras.len()),
                )
                .because("most reserve 196 Mbit/s while they run, so that no more than two run at a time")
                .mend("use ports of another controller; `lsusb -t` shows which port is on which"),
            );
        }
    }
    found
}
