//! Names of V4L2 devices that stay: `/dev/videoN` is whatever was plugged in first.
//!
//! udev links each camera under `/dev/v4l/by-id` (vendor, model and serial number: it stays whatever the port) and
//! `/dev/v4l/by-path` (the port). Two cameras of one model without serial numbers claim the same link by id; the one
//! that was plugged in last has it, so those go by path. The cameras of a driver that makes several on one port (capture cards,
//! vivid) claim one link by path, too: those have no name that stays but their number.

use std::fs;
use std::path::{Path, PathBuf};

/// Where to look; other places than the box's own in tests.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/dev`
    pub dev: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
    /// `/run/udev/data`, udev's own record of every device: which links each claims.
    pub udev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { dev: "/dev".into(), sys: "/sys".into(), udev: "/run/udev/data".into() }
    }
}

impl Places {
    /// Whether `path` is a name that stays: one of udev's, or a link that somebody made on purpose.
    #[must_use]
    pub fn is_stable(&self, path: &Path) -> bool {
        let linked = self.dev.join("v4l");
        path.starts_with(linked.join("by-id"))
            || path.starts_with(linked.join("by-path"))
            || fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_symlink())
    }

    /// The name that stays of the device at `node`, if it has one now.
    #[must_use]
    pub fn stable(&self, node: &Path) -> Option<PathBuf> {
        let node = fs::canonicalize(node).ok()?;
        self.link_to(&node, "by-id").or_else(|| self.link_to(&node, "by-path"))
    }

    /// The link of a kind that leads to `node`, and that no other device claims.
    fn link_to(&self, node: &Path, kind: &str) -> Option<PathBuf> {
        let directory = fs::read_dir(self.dev.join("v4l").join(kind)).ok()?;
        let mut links: Vec<PathBuf> = directory.flatten().map(|entry| entry.path()).collect();
        links.sort(); // a newer udev makes two by path, with `usb` and `usbv2`; the first is on every box
        let leads_there = |link: &PathBuf| fs::canonicalize(link).is_ok_and(|target| target == node);
        links.into_iter().filter(leads_there).find(|link| !self.is_claimed_by_another(link, node))
    }

    fn is_claimed_by_another(&self, link: &Path, node: &Path) -> bool {
        let Ok(name) = link.strip_prefix(&self.dev) else { return false };
        let claim = format!("S:{}", name.display());
        let devices = fs::read_dir(self.sys.join("class/video4linux")).into_iter().flatten().flatten();
        let others = devices.filter(|device| Some(device.file_name().as_os_str()) != node.file_name());
        others.into_iter().any(|device| {
            let number = fs::read_to_string(device.path().join("dev")).unwrap_or_default();
            let record = fs::read_to_string(self.udev.join(format!("c{}", number.trim())));
            record.is_ok_and(|record| record.lines().any(|line| line == claim))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Made(Places, PathBuf);

    impl Made {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("portald-identity-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            for directory in ["dev/v4l/by-id", "dev/v4l/by-path", "sys/class/video4linux", "udev"] {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            Self(Places { dev: root.join("dev"), sys: root.join("sys"), udev: root.join("udev") }, root)
        }

        /// A camera as udev presents it: the latest has the link by id.
        fn plug(&self, number: u32, id: Option<&str>, port: &str) -> PathBuf {
            let Self(places, root) = self;
            let node = places.dev.join(format!("video{number}"));
            fs::write(&node, "").unwrap();
            let device = root.join(format!("sys/class/video4linux/video{number}"));
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("dev"), format!("81:{number}\n")).unwrap();
            let mut record = format!("I:1\nS:v4l/by-path/{port}\n");
            let by_path = places.dev.join("v4l/by-path").join(port);
            let _ = fs::remove_file(&by_path);
            symlink(&node, by_path).unwrap();
            if let Some(id) = id {
                record += &format!("S:v4l/by-id/{id}\n");
                let link = places.dev.join("v4l/by-id").join(id);
                let _ = fs::remove_file(&link);
                symlink(&node, link).unwrap();
            }
            fs::write(places.udev.join(format!("c81:{number}")), record).unwrap();
            node
        }

        fn stable(&self, node: &Path) -> String {
            let stable = self.0.stable(node).unwrap();
            stable.strip_prefix(&self.0.dev).unwrap().display().to_string()
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.1);
        }
    }

    #[test]
    fn a_camera_goes_by_its_id_and_twins_by_their_ports() {
        let made = Made::new("twins");
        let single = made.plug(0, Some("usb-A_Cam_123-video-index0"), "usb-0:1");
        assert_eq!(made.stable(&single), "v4l/by-id/usb-A_Cam_123-video-index0");
        let first = made.plug(2, Some("usb-B_Twin-video-index0"), "usb-0:2");
        let second = made.plug(4, Some("usb-B_Twin-video-index0"), "usb-0:3");
        assert_eq!(
            (made.stable(&first), made.stable(&second)),
            ("v4l/by-path/usb-0:2".into(), "v4l/by-path/usb-0:3".into())
        );
        let built_in = made.plug(6, None, "platform-x");
        assert_eq!(made.stable(&built_in), "v4l/by-path/platform-x");
        assert_eq!(made.0.stable(&made.0.dev.join("video9")), None);
    }

    #[test]
    fn cameras_on_one_port_have_no_name_that_stays() {
        let made = Made::new("card");
        let first = made.plug(0, None, "pci-0000:03:00.0-video-index0");
        assert_eq!(made.stable(&first), "v4l/by-path/pci-0000:03:00.0-video-index0");
        let second = made.plug(1, None, "pci-0000:03:00.0-video-index0");
        assert_eq!(
            (made.0.stable(&first), made.0.stable(&second)),
            (None, None),
            "as vivid's, with n_devs=2"
        );
    }

    #[test]
    fn only_bare_nodes_need_another_name() {
        let made = Made::new("bare");
        let node = made.plug(0, Some("usb-A-video-index0"), "usb-0:1");
        let own = made.0.dev.join("front-door");
        symlink(&node, &own).unwrap();
        assert!(!made.0.is_stable(&node));
        assert!(made.0.is_stable(&own), "a udev rule of the user's");
        assert!(made.0.is_stable(&made.0.dev.join("v4l/by-id/not-there-now")));
    }
}
