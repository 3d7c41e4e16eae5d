//! Who portald runs as, and whether that user is in the groups that cameras and encoders belong to.

use std::path::{Path, PathBuf};

use super::cameras::Device;
use super::live::{Live, Node};
use super::people::Person;
use super::tree::Tree;
use super::{Finding, Group};

/// What belongs to a group, besides cameras.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Nodes of graphics chips, and whether who asks may use them.
    dri: Vec<(PathBuf, Node, bool)>,
}

impl Facts {
    pub(super) fn gather(tree: &Tree, live: &dyn Live) -> Self {
        let names = tree.names("/dev/dri").into_iter().filter(|name| name.starts_with("renderD"));
        let paths = names.map(|name| Path::new("/dev/dri").join(name));
        let dri = paths.filter_map(|path| Some((path.clone(), live.node(&path)?, live.may_use(&path))));
        Self { dri: dri.collect() }
    }
}

/// Whether the user that portald runs as exists, and is in the groups that devices belong to.
pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let person = &facts.person;
    let (name, group) = (&person.name, Group::Cameras);
    if person.is_service && person.uid.is_none() {
        return vec![
            Finding::broken(group, "user", format!("the unit runs as the user {name}, who does not exist"))
                .because("the service cannot start")
                .mend("sudo systemd-sysusers && sudo systemctl restart portald"),
        ];
    }
    let mut found: Vec<Finding> = groups(facts).into_iter().collect();
    if !person.not_yet.is_empty() {
        let groups = person.not_yet.join(" and ");
        found.push(
            Finding::warning(
                group,
                "login",
                format!("{name} was put into {groups}, but not in this login yet"),
            )
            .because("groups are taken at login")
            .mend("log out and in again, or: newgrp video"),
        );
    }
    // That of a Raspberry Pi only draws; its encoder is a V4L2 device.
    let dri = facts.rights.dri.iter().filter(|_| !facts.known.board.starts_with("Raspberry Pi"));
    for (path, node, caller_may) in dri {
        // A board's owner may give it to another group; video has it on old systems.
        if node.mode & 0o60 == 0o60 && !(person.may(*node, 0o6) || person.is_caller && *caller_may) {
            let owner = facts.groups.name(node.gid);
            let found_ = format!("{} belongs to the group {owner}, which {name} is not in", path.display());
            found.push(
                Finding::warning(group, "render", found_)
                    .because("the graphics chip cannot encode; the processor has to")
                    .mend(join(person, &owner)),
            );
        }
    }
    found
}

/// The groups that cameras and encoders belong to on Debian (udev's 50-udev-default.rules).
fn groups(facts: &super::Facts) -> Option<Finding> {
    let (person, group) = (&facts.person, Group::Cameras);
    let known = |name: &&str| facts.groups.number(name).is_some();
    let (has, lacks): (Vec<&str>, Vec<&str>) = ["video", "render"]
        .into_iter()
        .filter(known)
        .partition(|name| facts.groups.number(name).is_some_and(|gid| person.is_in(gid)));
    let who = if person.is_service { "the service runs as" } else { "portald would run as" };
    let name = &person.name;
    if person.uid == Some(0) {
        return Some(Finding::fine(group, "groups", format!("{who} root, who may open everything")));
    }
    if !lacks.contains(&"video") {
        let what = format!("{who} {name}, in the groups {}", has.join(" and "));
        return Some(Finding::fine(group, "groups", what));
    }
    // Said already of the device, or of the login.
    let is_told = |device: &Device| device.stat.is_some_and(|stat| !person.may(stat, 0o6));
    if facts.cameras.devices.iter().any(is_told) || !person.not_yet.is_empty() {
        return None;
    }
    Some(
        Finding::warning(group, "groups", format!("{who} {name}, who is not in the group video"))
            .because("udev gives cameras to that group")
            .mend(join(person, "video")),
    )
}

/// The command that puts the user into a group.
pub(super) fn join(person: &Person, group: &str) -> String {
    if person.not_yet.iter().any(|given| given == group) {
        return "log out and in again".to_owned();
    }
    let after = if person.is_service { "sudo systemctl restart portald" } else { "log out and in again" };
    let with = if person.is_service { " && " } else { "; then " };
    format!("sudo usermod -aG {group} {}{with}{after}", person.name)
}
