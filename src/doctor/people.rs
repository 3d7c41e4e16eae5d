//! Who portald would run as, and what that user may open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::live::Node;
use super::tree::Tree;

/// Where the unit may be; the first is the administrator's.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/portald.service",
    "/usr/lib/systemd/system/portald.service",
    "/lib/systemd/system/portald.service",
];
/// A drop-in wins over the unit.
const DROP_INS: &str = "/etc/systemd/system/portald.service.d";
/// Where `systemctl enable` leaves its link.
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/portald.service";

/// The unit as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Whether it starts at boot.
    pub is_enabled: bool,
    /// Whether it may listen at ports below 1024.
    pub may_bind_low: bool,
    user: Option<String>,
    groups: Vec<String>,
}

impl Unit {
    /// The unit of this box, if it is installed.
    #[must_use]
    pub(super) fn gather(tree: &Tree) -> Option<Self> {
        let mut text = UNITS.iter().find_map(|unit| tree.text(unit))?;
        for name in tree.names(DROP_INS).iter().filter(|name| name.ends_with(".conf")) {
            text += "\n";
            text += &tree.text(Path::new(DROP_INS).join(name)).unwrap_or_default();
        }
        let mut unit = Self { is_enabled: tree.has(ENABLED), ..Self::default() };
        for line in text.lines() {
            match line.trim().split_once('=') {
                Some(("User", user)) => unit.user = Some(user.trim().to_owned()),
                Some(("SupplementaryGroups", "")) => unit.groups.clear(),
                Some(("SupplementaryGroups", groups)) => {
                    unit.groups.extend(groups.split_whitespace().map(str::to_owned));
                }
                Some(("AmbientCapabilities", which)) if which.contains("CAP_NET_BIND_SERVICE") => {
                    unit.may_bind_low = true;
                }
                _ => {}
            }
        }
        Some(unit)
    }
}

/// The user that portald runs as, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    /// The name; the number where there is none.
    pub name: String,
    /// The number; none: the unit's user does not exist.
    pub uid: Option<u32>,
    /// Where it lives.
    pub home: String,
    /// Whether it is the unit's user, and not who runs the doctor.
    pub is_service: bool,
    /// Whether it is also who runs the doctor.
    pub is_caller: bool,
    /// Its groups, by number.
    pub(super) gids: BTreeSet<u32>,
    /// Groups that `/etc/group` gives it, and that this login does not have yet.
    pub not_yet: Vec<String>,
}

impl Person {
    /// The unit's user where there is a unit, else who runs this.
    #[must_use]
    pub(super) fn gather(tree: &Tree, unit: Option<&Unit>) -> Self {
        let groups = Groups::gather(tree);
        let passwd = tree.text("/etc/passwd").unwrap_or_default();
        let status = tree.text("/proc/self/status").unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        // Real, effective, saved, file system.
        let caller = field("Uid:").split_whitespace().nth(1).and_then(|uid| uid.parse::<u32>().ok());
        let account = |is_it: &dyn Fn(&[&str]) -> bool| {
            let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
            fields.into_iter().find(|fields| fields.len() > 5 && is_it(fields))
        };
        let make = |fields: Option<Vec<&str>>| {
            let at = |number: usize| fields.as_ref().and_then(|fields| fields.get(number)).copied();
            let name = at(0).unwrap_or_default().to_owned();
            let mut gids = groups.of(&name);
            gids.extend(at(3).and_then(|gid| gid.parse::<u32>().ok()));
            let uid = at(2).and_then(|uid| uid.parse().ok());
            Self { name, uid, home: at(5).unwrap_or_default().to_owned(), gids, ..Self::default() }
        };
        if let Some(unit) = unit {
            // A unit without one runs as root.
            let name = unit.user.clone().unwrap_or_else(|| "root".into());
            let mut person = make(account(&|fields| fields.first() == Some(&name.as_str())));
            person.gids.extend(unit.groups.iter().filter_map(|group| groups.number(group)));
            person.is_caller = person.uid.is_some() && person.uid == caller;
            return Self { name, is_service: true, ..person };
        }
        let number = caller.map(|uid| uid.to_string()).unwrap_or_default();
        let person = make(account(&|fields| fields.get(2) == Some(&number.as_str())));
        let active: BTreeSet<u32> =
            field("Groups:").split_whitespace().filter_map(|gid| gid.parse().ok()).collect();
        let own = field("Gid:").split_whitespace().nth(1).and_then(|gid| gid.parse().ok());
        let listed = groups.of(&person.name);
        let not_yet = listed.difference(&active).filter(|gid| Some(**gid) != own);
        let not_yet = not_yet.map(|gid| groups.name(*gid)).collect();
        let gids = active.into_iter().chain(own).collect();
        let name = if person.name.is_empty() { number } else { person.name };
        Self { name, uid: caller, home: person.home, gids, not_yet, is_caller: true, is_service: false }
    }

    /// Whether it may do all of `wanted` (`0o4` read, `0o2` write, `0o1` enter) with `node`, as far as the bits tell.
    #[must_use]
    pub(super) fn may(&self, node: Node, wanted: u32) -> bool {
        let bits = match self.uid {
            Some(0) => return true,
            Some(uid) if uid == node.uid => node.mode >> 6,
            _ if self.gids.contains(&node.gid) => node.mode >> 3,
            _ => node.mode,
        };
        bits & wanted == wanted
    }

    /// Whether it is in the group of this number.
    #[must_use]
    pub(super) fn is_in(&self, gid: u32) -> bool {
        self.uid == Some(0) || self.gids.contains(&gid)
    }
}

/// `/etc/group`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Groups {
    by_name: BTreeMap<String, (u32, Vec<String>)>,
}

impl Groups {
    /// The groups of this box.
    #[must_use]
    pub(super) fn gather(tree: &Tree) -> Self {
        let text = tree.text("/etc/group").unwrap_or_default();
        let group = |line: &str| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?);
            let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
            Some((name, (gid, members)))
        };
        Self { by_name: text.lines().filter_map(group).collect() }
    }

    /// The number of the group of this name.
    #[must_use]
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).map(|(gid, _)| *gid)
    }

    /// The name of a number; the number itself where it has none.
    #[must_use]
    pub(super) fn name(&self, gid: u32) -> String {
        let found = self.by_name.iter().find(|(_, (number, _))| *number == gid);
        found.map_or_else(|| gid.to_string(), |(name, _)| name.clone())
    }

    fn of(&self, user: &str) -> BTreeSet<u32> {
        let has = |members: &Vec<String>| members.iter().any(|member| member == user);
        self.by_name.values().filter(|(_, members)| has(members)).map(|(gid, _)| *gid).collect()
    }
}
