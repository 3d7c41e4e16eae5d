//! Why a camera gives no pictures, in words: from what GStreamer and the driver said, and what the box can tell.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Processes that are named as users of a device; more would fill the tile.
const MAX_USERS: usize = 3;

/// What kind of fault it is; the `reason` of `portald_camera_restarts_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Another program has the device.
    Busy,
    /// We may not open it.
    Permission,
    /// Its USB bus has no bandwidth left.
    NoSpace,
    /// It is gone.
    Unplugged,
    /// An encoder broke, or gives nothing.
    Encoder,
    /// The decoder of a camera that encodes itself broke, or gives nothing.
    Decoder,
    /// A camera in the network refuses, cannot be reached, or broke off.
    Network,
    /// It sends no pictures, and says nothing.
    Stalled,
    /// It ended its stream.
    Ended,
    /// Its driver does not return.
    Hung,
    /// It offers nothing that can be used.
    Unsupported,
    /// Anything else; the words tell.
    Other,
}

impl Kind {
    /// Every kind, in the order above.
    pub const ALL: [Self; 12] = [
        Self::Busy,
        Self::Permission,
        Self::NoSpace,
        Self::Unplugged,
        Self::Encoder,
        Self::Decoder,
        Self::Network,
        Self::Stalled,
        Self::Ended,
        Self::Hung,
        Self::Unsupported,
        Self::Other,
    ];

    /// Its name in `/metrics`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Permission => "permission",
            Self::NoSpace => "no_space",
            Self::Unplugged => "unplugged",
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
            Self::Network => "network",
            Self::Stalled => "stalled",
            Self::Ended => "ended",
            Self::Hung => "hung",
            Self::Unsupported => "unsupported",
            Self::Other => "other",
        }
    }

    /// The kind that the words of a device's pipeline tell of: GStreamer's message, its debug text and what the driver
    /// said. The texts are those of v4l2src 1.22 and 1.26, and strerror(3) in the C locale.
    #[must_use]
    pub fn of_device(words: &str) -> Self {
        const WORDS: [(&str, Kind); 16] = [
            ("Permission denied", Kind::Permission),        // EACCES
            ("Operation not permitted", Kind::Permission),  // EPERM: systemd's DeviceAllow=
            ("No space left on device", Kind::NoSpace), // ENOSPC of STREAMON: usb_submit_urb found no bandwidth
            ("Device or resource busy", Kind::Busy),    // EBUSY
            ("is busy", Kind::Busy),                    // RESOURCE_BUSY of S_FMT
            ("No such device", Kind::Unplugged),        // ENODEV
            ("No such file or directory", Kind::Unplugged), // ENOENT between a look and the opening
            ("poll error", Kind::Unplugged),            // the pool's, after POLLERR
            ("Cannot identify device", Kind::Unplugged), // stat(2) failed
            ("stream ended", Kind::Ended),
            ("no format we can use", Kind::Unsupported),
            ("isn't a v4l2 driver", Kind::Unsupported),
            ("is not a capture device", Kind::Unsupported),
            ("cannot capture", Kind::Unsupported),
            ("not-negotiated", Kind::Unsupported),
            ("Inappropriate ioctl for device", Kind::Unsupported), // ENOTTY: no V4L2 device
        ];
        WORDS.iter().find(|(text, _)| words.contains(text)).map_or(Self::Other, |(_, kind)| *kind)
    }
}

/// A fault with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: Kind,
    /// What is wrong.
    pub text: String,
    /// The next step; may be empty.
    pub next: String,
}

impl Fault {
    /// Both in one line, as viewers, the API and the log have it.
    #[must_use]
    pub fn in_words(&self) -> String {
        if self.next.is_empty() { self.text.clone() } else { format!("{}; next: {}", self.text, self.next) }
    }
}

/// Where to look; other places than the box's own in tests.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
    /// `/etc`
    pub etc: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), etc: "/etc".into() }
    }
}

impl Machine {
    /// What is wrong with the device at `path`, of which `words` were said.
    #[must_use]
    pub fn explain(&self, path: &Path, words: &str) -> Fault {
        let mut kind = Kind::of_device(words);
        // An unplugged device takes its node along, and what is said first may be of a picture cut short. The errno in the
        // words of a poll is whatever failed last (gstv4l2bufferpool.c).
        match (kind, path.exists()) {
            (Kind::Other, false) => kind = Kind::Unplugged,
            (Kind::Unplugged, true) if words.contains("poll error") => kind = Kind::Ended,
            _ => {}
        }
        let node = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let shown = node.display();
        let (text, next) = match kind {
            Kind::Busy => (
                format!("{shown} is in use by {}", self.users(&node)),
                format!("end that program (`fuser -v {shown}` names it), or give it another camera"),
            ),
            Kind::Permission => self.permission(&node),
            Kind::NoSpace => (
                format!("{} has no bandwidth left for this camera", self.bus(&node)),
                "plug it into a port of another USB controller, or ask for a smaller width, height or framerate"
                    .to_owned(),
            ),
            Kind::Unplugged => {
                ("the camera was unplugged".to_owned(), "plug it in again; it comes up by itself".to_owned())
            }
            Kind::Ended => {
                ("the stream ended".to_owned(), "it is opened again; `dmesg` may say why if this returns".to_owned())
            }
            // Says nothing of memory, though GStreamer calls it that: the driver refused to start.
            Kind::Other if words.contains("Buffer pool activation failed") => {
                let said = words.split_once("activation failed; ").and_then(|(_, said)| said.strip_suffix(')'));
                let said = said.map(|said| format!(": {said}")).unwrap_or_default();
                (
                    format!("the driver does not start the stream{said}"),
                    "it is tried again; if this returns, plug it in anew, and see what `dmesg` says".to_owned(),
                )
            }
            Kind::Unsupported => (
                words.to_owned(),
                "`portald devices` shows what this box's cameras offer; another node may be the picture".to_owned(),
            ),
            _ => (words.to_owned(), "`portald devices` shows what this box offers".to_owned()),
        };
        // The driver's own words are in the log: in a tile they would take the place of the next step.
        Fault { kind, text, next }
    }

    /// Who has `node` open, as far as we may see: with systemd's `ProtectProc=invisible` only our own.
    fn users(&self, node: &Path) -> String {
        let own = std::process::id().to_string();
        let mut users = Vec::new();
        for process in fs::read_dir(&self.proc).into_iter().flatten().flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
                continue;
            };
            let open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
            let has_it =
                open.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == node));
            if has_it && pid != own {
                let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                users.push(format!("{} (process {pid})", command.trim()));
            } else if has_it {
                users.push("another camera of portald".to_owned());
            }
        }
        users.sort();
        users.dedup();
        let more = users.len().saturating_sub(MAX_USERS);
        users.truncate(MAX_USERS);
        let mut text = users.join(" and ");
        if more > 0 {
            let _ = write!(text, " and {more} more");
        }
        if text.is_empty() { "another program".to_owned() } else { text }
    }

    fn permission(&self, node: &Path) -> (String, String) {
        let shown = node.display();
        let group = fs::metadata(node).ok().and_then(|data| self.named("group", data.gid()));
        let uid = fs::metadata(self.proc.join("self")).ok().map(|data| data.uid());
        let user = uid.and_then(|uid| self.named("passwd", uid)).unwrap_or_else(|| "of portald".to_owned());
        // In the sandbox of the unit every other group reads as nogroup.
        match group.filter(|group| !["root", "nogroup"].contains(&group.as_str())) {
            Some(group) => (
                format!("portald may not open {shown}, which belongs to the group {group}"),
                format!("put the user {user} into it, `usermod -aG {group} {user}`, and restart portald"),
            ),
            None => (
                format!("portald may not open {shown}"),
                format!(
                    "let the user {user} read and write it; udev normally gives cameras to the group video"
                ),
            ),
        }
    }

    /// The name of a number in `/etc/group` or `/etc/passwd`.
    fn named(&self, file: &str, number: u32) -> Option<String> {
        let text = fs::read_to_string(self.etc.join(file)).ok()?;
        let line = text.lines().find(|line| line.split(':').nth(2) == Some(&number.to_string()))?;
        line.split(':').next().map(str::to_owned)
    }

    /// The USB bus that `node` is on, with its speed.
    fn bus(&self, node: &Path) -> String {
        let name = node.file_name().unwrap_or_default();
        let device = fs::canonicalize(self.sys.join("class/video4linux").join(name).join("device"));
        let mut place = device.unwrap_or_default();
        let read = |place: &Path, file: &str| {
            fs::read_to_string(place.join(file)).ok().map(|text| text.trim().to_owned())
        };
        loop {
            if let Some(bus) = read(&place, "busnum") {
                let speed = read(&place, "speed").map(|speed| format!(" ({speed} Mbit/s)"));
                return format!("USB bus {bus}{}", speed.unwrap_or_default());
            }
            if !place.pop() {
                return "the USB bus".to_owned();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As GStreamer posts them: message, then the last line of the debug text or the driver's words in parentheses.
    const SAID: [(&str, Kind); 12] = [
        // 1.22 gstv4l2object.c gst_v4l2_open()
        (
            "Could not open device '/dev/video0' for reading and writing (system error: Permission denied)",
            Kind::Permission,
        ),
        (
            "Could not open device '/dev/video0' for reading and writing (system error: Device or resource busy)",
            Kind::Busy,
        ),
        // 1.26 v4l2_calls.c
        (
            "Could not open device '/dev/video0' for reading and writing. (system error: No such device)",
            Kind::Unplugged,
        ),
        ("Cannot identify device '/dev/video9' (system error: No such file or directory)", Kind::Unplugged),
        ("This isn't a device '/tmp/x' (system error: Success)", Kind::Other),
        // gst_v4l2_object_set_format_full(): RESOURCE_BUSY
        (
            "Device '/dev/video0' is busy (Call to S_FMT failed for YUYV @ 1280x720: Device or resource busy)",
            Kind::Busy,
        ),
        // decide_allocation(), and what the buffer pool wrote to the debug log on the same thread
        (
            "Failed to allocate required memory (Buffer pool activation failed; error with STREAMON 28 (No space left on device))",
            Kind::NoSpace,
        ),
        // gst_v4l2_buffer_pool_poll() after an unplug
        ("poll error 1: No such device (19)", Kind::Unplugged),
        ("Could not read from resource (poll error 1: No such device (19))", Kind::Unplugged),
        // capability checks of gst_v4l2_open()
        ("Device '/dev/video1' is not a capture device (Capabilities: 0x4a00000)", Kind::Unsupported),
        (
            "Error getting capabilities for device '/dev/null': It isn't a v4l2 driver. Check if it is a v4l1 driver",
            Kind::Unsupported,
        ),
        ("Internal data stream error (streaming stopped, reason not-negotiated (-4))", Kind::Unsupported),
    ];

    #[test]
    fn what_is_said_tells_the_kind() {
        for (words, kind) in SAID {
            assert_eq!(Kind::of_device(words), kind, "{words}");
        }
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    /// A box with one camera on a USB bus, held open by one process.
    fn made_up(name: &str) -> (Machine, PathBuf) {
        use std::os::unix::fs::symlink;
        let root = std::env::temp_dir().join(format!("portald-fault-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let make = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let node = root.join("dev/video0");
        make("dev/video0", "");
        make("proc/1234/comm", "motion\n");
        fs::create_dir_all(root.join("proc/1234/fd")).unwrap();
        symlink(&node, root.join("proc/1234/fd/7")).unwrap();
        make("proc/99/comm", "other\n");
        make("proc/self", "");
        make("sys/devices/usb1/busnum", "1\n");
        make("sys/devices/usb1/1-2/busnum", "1\n");
        make("sys/devices/usb1/1-2/speed", "480\n");
        fs::create_dir_all(root.join("sys/devices/usb1/1-2/1-2:1.0")).unwrap();
        fs::create_dir_all(root.join("sys/class/video4linux/video0")).unwrap();
        symlink(root.join("sys/devices/usb1/1-2/1-2:1.0"), root.join("sys/class/video4linux/video0/device"))
            .unwrap();
        let gid = fs::metadata(&node).unwrap().gid();
        let uid = fs::metadata(&node).unwrap().uid();
        make("etc/group", &format!("video:x:{gid}:\n"));
        make("etc/passwd", &format!("portald:x:{uid}:1::/:/bin/false\n"));
        (Machine { proc: root.join("proc"), sys: root.join("sys"), etc: root.join("etc") }, node)
    }

    #[test]
    fn what_the_box_can_tell_is_told_with_the_next_step() {
        let (made, node) = made_up("tells");
        let told = |words: &str| made.explain(&node, words);
        let busy = told("system error: Device or resource busy");
        assert!(busy.text.contains("video0 is in use by motion (process 1234)"), "{busy:?}");
        let denied = told("system error: Permission denied");
        assert!(denied.text.contains("group video"), "{denied:?}");
        assert!(denied.next.contains("usermod -aG video portald"), "{denied:?}");
        let full = told("error with STREAMON 28 (No space left on device)");
        assert!(full.text.starts_with("USB bus 1 (480 Mbit/s) has no bandwidth left"), "{full:?}");
        let refused = told(
            "Failed to allocate required memory (Buffer pool activation failed; error with STREAMON 22 (Invalid argument))",
        );
        assert_eq!(
            refused.text,
            "the driver does not start the stream: error with STREAMON 22 (Invalid argument)"
        );
        let broken = told("poll error 1: No such device (19)");
        assert_eq!(
            (broken.kind, broken.text.as_str()),
            (Kind::Ended, "the stream ended"),
            "its node is there"
        );
        let other = told("something new");
        assert!(other.text == "something new" && !other.next.is_empty(), "{other:?}");
        assert_eq!(told("the stream ended").kind, Kind::Ended);
        fs::remove_file(&node).unwrap();
        assert_eq!(
            told("Failed to decode JPEG image").kind,
            Kind::Unplugged,
            "cut short as it was pulled out"
        );
        let gone = told("poll error 1: No such device (19)");
        assert!(
            gone.in_words().contains("unplugged") && gone.in_words().contains("; next: plug it in"),
            "{gone:?}"
        );
        fs::remove_dir_all(made.proc.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_box_that_tells_nothing_is_no_obstacle() {
        let nowhere = PathBuf::from("/nonexistent");
        let blind = Machine { proc: nowhere.clone(), sys: nowhere.clone(), etc: nowhere };
        let path = Path::new("/nonexistent/video0");
        assert!(blind.explain(path, "Device or resource busy").text.contains("in use by another program"));
        assert!(blind.explain(path, "No space left on device").text.starts_with("the USB bus has no"));
        assert!(blind.explain(path, "Permission denied").text.contains("may not open /nonexistent/video0"));
    }
}
