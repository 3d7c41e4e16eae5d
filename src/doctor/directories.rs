//! Where portald keeps things: can it write there, and is there room.

use std::path::{Path, PathBuf};

use super::live::{Live, Node, Space};
use super::people::Person;
use super::{Finding, Group, Options};

const MIB: u64 = 1024 * 1024;
/// GStreamer's list of plug-ins has 2 MB, and is written beside before the old one goes.
const FULL: u64 = 16 * MIB;

/// The state and the cache directory.
#[derive(Debug, Default)]
pub(super) struct Facts {
    all: Vec<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    what_for: &'static str,
    /// The directory, or the nearest above it that is there.
    nearest: PathBuf,
    node: Option<Node>,
    caller_may: bool,
    space: Option<Space>,
}

impl Facts {
    pub(super) fn gather(live: &dyn Live, person: &Person, options: &Options) -> Self {
        let variable = |name: &str| {
            let found = options.environment.iter().find(|(key, value)| key == name && !value.is_empty());
            found.map(|(_, value)| PathBuf::from(value))
        };
        let user = |variable: Option<PathBuf>, home: &str| {
            variable.unwrap_or_else(|| Path::new(&person.home).join(home)).join("portald")
        };
        let (state, cache) = if person.is_service {
            (PathBuf::from("/var/lib/portald"), PathBuf::from("/var/cache/portald"))
        } else {
            (user(variable("XDG_STATE_HOME"), ".local/state"), user(variable("XDG_CACHE_HOME"), ".cache"))
        };
        let directory = |path: PathBuf, what_for| {
            let nearest =
                path.ancestors().find(|above| live.node(above).is_some()).unwrap_or(&path).to_owned();
            let (node, caller_may, space) =
                (live.node(&nearest), live.may_use(&nearest), live.space(&nearest));
            Directory { path, what_for, nearest, node, caller_may, space }
        };
        let all = vec![
            directory(state, "a self-signed certificate is made anew at each start, and browsers ask again"),
            directory(
                cache,
                "plug-ins are listed and encoders tried anew at each start, which takes up to a minute",
            ),
        ];
        Self { all }
    }
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    facts.directories.all.iter().map(|directory| one(&facts.person, directory)).collect()
}

fn one(person: &Person, directory: &Directory) -> Finding {
    let Directory { path, what_for, nearest, .. } = directory;
    let (shown, group) = (path.display(), Group::Disk);
    let warning = |check, what: String| Finding::warning(group, check, what).because(*what_for);
    if let Some(space) = directory.space {
        if space.read_only {
            let what = format!("{shown} is on a file system that is mounted for reading only");
            return warning("read-only", what)
                .mend("sudo dmesg --level=err | tail -20; a worn SD card does this. If it is sound: sudo mount -o remount,rw /");
        }
        if space.free < FULL {
            let what = format!("{shown} has {} MiB left", space.free / MIB);
            return warning("full", what).mend("sudo apt clean; sudo journalctl --vacuum-size=50M; df -h");
        }
    }
    let is_there = nearest == path;
    if directory.node.is_some_and(Node::is_no_directory) {
        let what = format!("{} is no directory", nearest.display());
        return warning("directory", what).mend(format!(
            "mv {} {}.old",
            nearest.display(),
            nearest.display()
        ));
    }
    let may = match directory.node {
        // systemd makes it when the unit starts.
        _ if !is_there && person.is_service => true,
        Some(node) => person.may(node, 0o3) || person.is_caller && directory.caller_may,
        None => false,
    };
    if !may {
        let what = format!("{} cannot be written by the user {}", nearest.display(), person.name);
        return warning("writable", what).mend(format!(
            "sudo chown -R {}: {}",
            person.name,
            nearest.display()
        ));
    }
    let free = directory.space.map_or_else(String::new, |space| format!(", {} MiB free", space.free / MIB));
    let made = if is_there { "" } else { ", made when it is needed" };
    Finding::fine(group, "writable", format!("{shown}{made}{free}"))
}
