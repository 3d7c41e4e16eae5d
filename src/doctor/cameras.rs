//! V4L2 devices: are they there, who may open them, who has them open, do they open, what do they offer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::configuration::counted;
use super::live::{End, Live, Look, Looked, Node, Word};
use super::tree::Tree;
use super::{Finding, Group, rights};
use crate::config::Wish;
use crate::config::settings::{Settings, Source};
use crate::fault::{self, Kind};
use crate::identity::Places;
use crate::nodes::Use;

/// Devices that are looked at. A box has a few cameras; a Raspberry Pi has some thirty nodes that are none.
const MAX_DEVICES: usize = 256;

/// What there is, and what is wanted.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) devices: Vec<Device>,
    wanted: Vec<Wanted>,
    /// Whether a ribbon-cable camera is configured, or is there to be found.
    pub(super) wants_libcamera: bool,
    has_udev: bool,
    /// How the look at them ended.
    end: End,
    /// The node that was being opened when it did not end.
    hung: Option<PathBuf>,
    /// Where [`fault::Machine`] finds what it tells.
    machine: Option<fault::Machine>,
}

/// A device node that the kernel has.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) node: PathBuf,
    pub(super) label: String,
    pub(super) role: Use,
    /// None: the kernel knows the device, but there is no node for it.
    pub(super) stat: Option<Node>,
    caller_may: bool,
    stable: Option<PathBuf>,
    /// The device's directory in sysfs.
    pub(super) sysfs: PathBuf,
    opened: Option<Opened>,
}

/// What came of opening it.
#[derive(Debug)]
enum Opened {
    Offers { modes: usize, choice: Option<String>, megabits: Option<u32> },
    Refuses(String),
}

impl Device {
    /// What it puts on the bus, in Mbit/s, where that is known.
    pub(super) fn megabits(&self) -> Option<u32> {
        match &self.opened {
            Some(Opened::Offers { megabits, .. }) => *megabits,
            _ => None,
        }
    }
}

/// A V4L2 camera of the configuration.
#[derive(Debug)]
struct Wanted {
    name: String,
    path: PathBuf,
    /// The node that it leads to now.
    node: Option<PathBuf>,
    is_stable: bool,
}

impl Facts {
    pub(super) fn gather(tree: &Tree, live: &dyn Live, settings: &Settings) -> Self {
        let places =
            Places { dev: tree.place("/dev"), sys: tree.place("/sys"), udev: tree.place("/run/udev/data") };
        let wanted: Vec<Wanted> = settings
            .cameras
            .iter()
            .filter(|camera| camera.enabled)
            .filter_map(|camera| {
                let Source::V4l2(path) = &camera.source else { return None };
                let is_stable = places.is_stable(&tree.place(path));
                let node = tree.real(path);
                Some(Wanted { name: camera.name.to_string(), path: path.clone(), node, is_stable })
            })
            .collect();
        let mut devices: Vec<Device> = tree
            .names("/sys/class/video4linux")
            .iter()
            .filter(|name| name.strip_prefix("video").is_some_and(|number| number.parse::<u32>().is_ok()))
            .take(MAX_DEVICES)
            .map(|name| device(tree, live, &places, name))
            .collect();
        devices.sort_by_key(|device| (device.node.as_os_str().len(), device.node.clone()));
        let wish = |node: &Path| {
            let is_it = |camera: &&crate::config::Camera| matches!(&camera.source, Source::V4l2(path) if tree.real(path).as_deref() == Some(node));
            settings.cameras.iter().find(is_it).map_or_else(Wish::default, |camera| camera.wish)
        };
        let is_wanted = |node: &Path| wanted.iter().any(|wanted| wanted.node.as_deref() == Some(node));
        let to_open: BTreeMap<PathBuf, Wish> = devices
            .iter()
            .filter(|device| device.stat.is_some())
            .filter(|device| device.role == Use::Camera || is_wanted(&device.node))
            .map(|device| (device.node.clone(), wish(&device.node)))
            .collect();
        let looked =
            if to_open.is_empty() { Looked::default() } else { live.look(&Look::at_cameras(to_open)) };
        let hung = take_in(&mut devices, &looked.words);
        let devices_of_ribbon = devices.iter().any(|device| device.role == Use::Ribbon);
        Self {
            devices,
            wanted,
            wants_libcamera: match settings.cameras.as_slice() {
                [] => devices_of_ribbon,
                cameras => cameras.iter().any(|camera| matches!(camera.source, Source::Libcamera(_))),
            },
            has_udev: tree.has("/run/udev/data"),
            end: looked.end,
            hung,
            machine: Some(fault::Machine {
                proc: tree.place("/proc"),
                sys: places.sys,
                etc: tree.place("/etc"),
            }),
        }
    }
}

fn device(tree: &Tree, live: &dyn Live, places: &Places, name: &str) -> Device {
    let class = Path::new("/sys/class/video4linux").join(name);
    let node = Path::new("/dev").join(name);
    let label = tree.text(class.join("name")).unwrap_or_default();
    // A metadata node is the second of its interface; several sensors of one receiver count on, too.
    let index = tree.number(class.join("index")).unwrap_or(0);
    let role = Use::of(&label).unwrap_or(if index == 0 { Use::Camera } else { Use::Metadata });
    let stable = places.stable(&tree.place(&node));
    let stable = stable.and_then(|path| Some(Path::new("/").join(path.strip_prefix(tree.place("/")).ok()?)));
    let sysfs = tree.real(class.join("device")).unwrap_or_default();
    let (stat, caller_may) = (live.node(&node), live.may_use(&node));
    Device { node, label, role, stat, caller_may, stable, sysfs, opened: None }
}

/// Adds what a child found to the devices; the node that it was opening at its end, if it did not come to an answer.
fn take_in(devices: &mut [Device], words: &[Word]) -> Option<PathBuf> {
    let mut opening = None;
    for word in words {
        let (node, opened) = match word.clone() {
            Word::Opening(node) => {
                opening = Some(node);
                continue;
            }
            Word::Opened { node, modes, choice, megabits } => {
                (node, Opened::Offers { modes, choice, megabits })
            }
            Word::Refused { node, words } => (node, Opened::Refuses(words)),
            Word::Ribbon(node) => {
                if let Some(device) = devices.iter_mut().find(|device| device.node == node) {
                    device.role = Use::Ribbon;
                }
                continue;
            }
            _ => continue,
        };
        opening = None;
        if let Some(device) = devices.iter_mut().find(|device| device.node == node) {
            device.opened = Some(opened);
        }
    }
    opening
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let me = &facts.cameras;
    let mut found: Vec<Finding> =
        me.wanted.iter().filter_map(|wanted| absent_or_unstable(me, wanted)).collect();
    let is_wanted =
        |device: &Device| me.wanted.iter().any(|wanted| wanted.node.as_deref() == Some(&*device.node));
    for device in me.devices.iter().filter(|device| device.role == Use::Camera || is_wanted(device)) {
        // One that hangs is told of below.
        found.extend((me.hung.as_ref() != Some(&device.node)).then(|| one(facts, device)));
        found.extend(held(facts, device));
    }
    if facts.processes.some_hidden && found.iter().all(|finding| finding.check != "held") {
        let what = "whether another program has a camera open is seen by root only: sudo portald doctor";
        found.push(Finding::fine(Group::Cameras, "held", what));
    }
    let count = |role| me.devices.iter().filter(|device| device.role == role).count();
    let finds = facts.configuration.settings().is_none_or(|settings| settings.cameras.is_empty());
    if count(Use::Ribbon) > 0 && (finds || !me.wants_libcamera) {
        let what = format!("{} of a ribbon-cable camera", counted(count(Use::Ribbon), "device node"));
        let how = if finds { "libcamera is asked for it" } else { "source = \"libcamera\" uses it" };
        found.push(Finding::fine(Group::Cameras, "ribbon", format!("{what}: {how}")));
    }
    if count(Use::Camera) + count(Use::Ribbon) == 0 && me.wanted.is_empty() && finds {
        found.push(
            Finding::warning(Group::Cameras, "none", "no V4L2 camera is plugged in, and none is configured")
                .because("the wall is empty")
                .mend("plug one in, or add a table to the configuration: [camera.test] source = \"test\""),
        );
    }
    match &me.end {
        End::Done => {}
        End::Failed(why) => found.push(
            Finding::broken(
                Group::Cameras,
                "looking",
                format!("the process that opens the cameras ended early: {why}"),
            )
            .because("a driver or plug-in that does this to the doctor does it to portald")
            .mend("sudo dmesg --level=err,warn | tail -30"),
        ),
        End::Late(seconds) => {
            let which =
                me.hung.as_ref().map_or_else(|| "a camera".to_owned(), |node| node.display().to_string());
            found.push(
                Finding::broken(Group::Cameras, "hung", format!("{which} did not open within {seconds} s"))
                    .because("its driver hangs; whoever opens it waits")
                    .mend("unplug it and plug it in again; if that does not help: sudo reboot"),
            );
        }
    }
    found
}

fn absent_or_unstable(me: &Facts, wanted: &Wanted) -> Option<Finding> {
    let Wanted { name, path, node, is_stable } = wanted;
    let shown = path.display();
    let Some(node) = node else {
        let others: Vec<String> = me
            .devices
            .iter()
            .filter(|device| device.role == Use::Camera)
            .filter(|device| me.wanted.iter().all(|wanted| wanted.node.as_ref() != Some(&device.node)))
            .map(|device| device.stable.as_ref().unwrap_or(&device.node).display().to_string())
            .collect();
        let mend = match others.first() {
            None => "plug it in; it comes up by itself".to_owned(),
            Some(other) => format!("plug it in, or write in [camera.{name}]: source = \"{other}\""),
        };
        return Some(
            Finding::broken(Group::Cameras, "absent", format!("camera {name}: there is no {shown}"))
                .because("viewers see a slate")
                .mend(mend),
        );
    };
    if *is_stable {
        return None;
    }
    let stable = me.devices.iter().find(|device| device.node == *node)?.stable.as_ref()?;
    Some(
        Finding::warning(
            Group::Cameras,
            "number",
            format!("camera {name}: {shown} is whatever was plugged in first"),
        )
        .because("after a reboot it may be another camera")
        .mend(format!("write in [camera.{name}]: source = \"{}\"", stable.display())),
    )
}

/// The one line of a camera.
fn one(facts: &super::Facts, device: &Device) -> Finding {
    let (me, person, group) = (&facts.cameras, &facts.person, Group::Cameras);
    let shown = device.node.display();
    let Some(stat) = device.stat else {
        let mend = if me.has_udev {
            "sudo udevadm trigger --subsystem-match=video4linux".to_owned()
        } else {
            format!("give it to the container: --device {shown}")
        };
        return Finding::broken(
            group,
            "node",
            format!("the kernel has {} but there is no {shown}", device.label),
        )
        .because("portald cannot open it")
        .mend(mend);
    };
    // Bits do not tell of an access list; the caller's own attempt does.
    if !(person.may(stat, 0o6) || person.is_caller && device.caller_may) {
        let (owner, name) = (facts.groups.name(stat.gid), &person.name);
        let finding = |what: String| {
            Finding::broken(group, "permission", what)
                .because(format!("portald cannot open {}", device.label))
        };
        if stat.gid == 0 || stat.mode & 0o60 != 0o60 {
            let bits = stat.mode & 0o777;
            return finding(format!("{shown} is closed to the user {name} (group {owner}, mode {bits:o})")).mend(format!(
                "sudo chgrp video {shown} && sudo chmod 660 {shown}; to last, in a udev rule: SUBSYSTEM==\"video4linux\", GROUP=\"video\", MODE=\"0660\""
            ));
        }
        return finding(format!("{shown} belongs to the group {owner}, which {name} is not in"))
            .mend(rights::join(person, &owner));
    }
    let name = device.stable.as_ref().unwrap_or(&device.node).display();
    match &device.opened {
        Some(Opened::Offers { choice: Some(choice), modes, .. }) => {
            let what = format!("{}: {name}, {}, takes {choice}", device.label, counted(*modes, "mode"));
            Finding::fine(group, "opens", what)
        }
        Some(Opened::Offers { choice: None, modes, .. }) => {
            let what = format!("{}: {name} opens, but none of its {modes} modes can be used", device.label);
            Finding::broken(group, "modes", what)
                .because("portald takes raw pictures, MJPEG and H.264")
                .mend(format!("v4l2-ctl --device {shown} --list-formats-ext"))
        }
        Some(Opened::Refuses(words)) => refused(me, device, words),
        None => Finding::fine(group, "opens", format!("{}: {name}, not opened", device.label)),
    }
}

fn refused(me: &Facts, device: &Device, words: &str) -> Finding {
    let shown = device.node.display();
    // By the bits portald may open it: it is the one who looks who may not.
    if Kind::of_device(words) == Kind::Permission {
        let what =
            format!("{}: {shown} may be opened by portald, but not by who runs the doctor", device.label);
        return Finding::fine(Group::Cameras, "opens", what);
    }
    let fault = me.machine.clone().unwrap_or_default().explain(&device.node, words);
    Finding::broken(
        Group::Cameras,
        "opens",
        format!("{}: {shown} does not open: {}", device.label, fault.text),
    )
    .because("viewers see a slate")
    .mend(fault.next)
}

/// Other programs that have the camera open.
fn held(facts: &super::Facts, device: &Device) -> Vec<Finding> {
    let others = facts.processes.holding(&device.node).filter(|process| !process.is_daemon);
    others
        .map(|process| {
            let what = format!("{} has {} open", process.words(), device.node.display());
            Finding::warning(Group::Cameras, "held", what)
                .because("while it takes pictures nobody else can")
                .mend(process.ending())
        })
        .collect()
}
