//! Versions and boards that are known to be bad. Each has its source, so that it can be taken out again.

use super::tree::Tree;
use super::{Finding, Group};

/// What the box runs.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) kernel: String,
    pub(super) board: String,
}

impl Facts {
    pub(super) fn gather(tree: &Tree) -> Self {
        Self {
            kernel: tree.text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            board: tree.text("/proc/device-tree/model").unwrap_or_default(),
        }
    }
}

/// The numbers at the beginning of a version; what Debian puts before a colon, and behind a dash, is not part of it.
fn numbers(version: &str) -> Vec<u32> {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    let version = version.split(['-', '+', '~']).next().unwrap_or_default();
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let me = &facts.known;
    let found: Vec<Finding> =
        [old_gstreamer(facts), ribbon_kernel(me), slow_board(facts)].into_iter().flatten().collect();
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
        assert_eq!(numbers("1:1.22.0-6+rpt1"), [1, 22, 0]);
        assert!(numbers("1.4.0") < vec![1, 22] && numbers("1.22.0") >= vec![1, 22]);
    }
}
