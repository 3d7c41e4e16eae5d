//! Versions and boards that are known to be bad. Each has its source, so that it can be taken out again.

use super::tree::Tree;
use super::{Finding, Group};
use crate::config::settings::Source;

/// What the box runs.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) kernel: String,
    pub(super) board: String,
    /// Debian's version of libcamera's GStreamer plug-in, or of libcamera.
    libcamera: Option<String>,
}

impl Facts {
    pub(super) fn gather(tree: &Tree) -> Self {
        Self {
            kernel: tree.text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            board: tree.text("/proc/device-tree/model").unwrap_or_default(),
            libcamera: version_of(
                &tree.text("/var/lib/dpkg/status").unwrap_or_default(),
                "gstreamer1.0-libcamera",
            ),
        }
    }
}

/// The version that dpkg has installed of a package.
fn version_of(status: &str, package: &str) -> Option<String> {
    let is_it = |entry: &&str| entry.lines().any(|line| line.strip_prefix("Package: ") == Some(package));
    let entry = status.split("\n\n").find(is_it)?;
    entry.lines().any(|line| line == "Status: install ok installed").then_some(())?;
    entry.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
}

/// The numbers at the beginning of a version; what Debian puts before a colon, and behind a dash, is not part of it.
fn numbers(version: &str) -> Vec<u32> {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    let version = version.split(['-', '+', '~']).next().unwrap_or_default();
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let me = &facts.known;
    let found: Vec<Finding> = [old_gstreamer(facts), slanted(facts), ribbon_kernel(me), slow_board(facts)]
        .into_iter()
        .flatten()
        .collect();
    if found.is_empty() && facts.gstreamer.version.is_some() {
        return vec![Finding::fine(Group::Versions, "known", "none that is known to be bad")];
    }
    found
}

/// The bindings are those of 1.22, Debian 12's; an older library lacks what they call.
fn old_gstreamer(facts: &super::Facts) -> Option<Finding> {
    let version = facts.gstreamer.version.as_ref().filter(|version| numbers(version) < vec![1, 22])?;
    Some(
        Finding::broken(Group::Versions, "gstreamer", format!("GStreamer {version} is older than 1.22"))
            .because("portald is made for 1.22 and later")
            .mend("upgrade to Debian 12 or later"),
    )
}

/// libcamerasrc told nobody of its rows' padding until May 2025 (libcamera commit "gstreamer: Add GstVideoMeta support",
/// in 0.5.1): widths that its hardware pads come out slanted. Debian 12 has 0.0.3, Debian 13 has 0.4.0.
fn slanted(facts: &super::Facts) -> Option<Finding> {
    let version = facts.known.libcamera.as_ref().filter(|version| numbers(version) < vec![0, 5, 1])?;
    let cameras =
        facts.configuration.settings().map(|settings| settings.cameras.as_slice()).unwrap_or_default();
    let is_padded = |camera: &&crate::config::Camera| {
        matches!(camera.source, Source::Libcamera(_)) && !camera.wish.width.is_multiple_of(64)
    };
    let camera = cameras.iter().find(is_padded)?;
    let what = format!("libcamera {version} gives slanted pictures at a width of {}", camera.wish.width);
    Some(
        Finding::warning(Group::Versions, "libcamera", what)
            .because("before 0.5.1 it hides how its rows are padded; widths that 64 divides are right")
            .mend(format!("in [camera.{}]: width = 640, 1280 or 1920", camera.name)),
    )
}

/// github.com/raspberrypi/linux/issues/6753: with 6.12.20 the driver bcm2835-v4l2 does not load, on all boards up to the
/// Pi 4. Closed; later kernels of the same series are good.
fn ribbon_kernel(me: &Facts) -> Option<Finding> {
    let is_it = me.board.starts_with("Raspberry Pi") && numbers(&me.kernel).starts_with(&[6, 12, 20]);
    is_it.then(|| {
        Finding::warning(Group::Versions, "kernel", format!("Linux {} does not load bcm2835-v4l2", me.kernel))
            .because("ribbon-cable cameras with the old camera stack have no /dev/video")
            .mend("sudo apt update && sudo apt full-upgrade && sudo reboot")
    })
}

/// The Pi 5 has no H.264 encoder in hardware, only a decoder for H.265 (raspberrypi.com, BCM2712).
fn slow_board(facts: &super::Facts) -> Option<Finding> {
    let is_it =
        facts.known.board.starts_with("Raspberry Pi 5") || facts.known.board.starts_with("Raspberry Pi 500");
    is_it.then(|| {
        Finding::fine(
            Group::Versions,
            "board",
            "this board has no encoder in hardware: the processor makes the pictures",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(numbers("1.22.0"), [1, 22, 0]);
        assert_eq!(numbers("6.12.20+rpt-rpi-v8"), [6, 12, 20]);
        assert_eq!(numbers("1:0.0.3-6+rpt1"), [0, 0, 3]);
        assert!(numbers("1.4.0") < vec![1, 22] && numbers("1.22.0") >= vec![1, 22]);
        assert!(numbers("0.4.0-7") < vec![0, 5, 1] && numbers("0.5.1") >= vec![0, 5, 1]);
    }

    #[test]
    fn only_installed_packages_have_a_version() {
        let status = "Package: a\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: ab\nStatus: install ok installed\nVersion: 2-1\n";
        assert_eq!(version_of(status, "a"), None);
        assert_eq!(version_of(status, "ab").as_deref(), Some("2-1"));
        assert_eq!(version_of(status, "b"), None);
    }
}
