//! How pictures find their way, and to which other servers: the settings of `[ice]` and `[uplink.NAME]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::access::SecretFile;
use crate::proto::ids::Name;

/// Interfaces that are left out by default: bridges and pairs of containers and virtual machines, which no viewer can
/// reach, and each of which makes every connection check more addresses.
pub const SKIPPED_INTERFACES: [&str; 8] =
    ["docker*", "br-*", "veth*", "virbr*", "vnet*", "lxc*", "cni*", "podman*"];

/// `[ice]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ice {
    /// `stun:HOST[:PORT]` (RFC 7064).
    pub stun: Vec<String>,
    /// `turn:HOST[:PORT][?transport=udp|tcp]` or `turns:…` (RFC 7065).
    pub turn: Vec<String>,
    /// How to speak to the TURN servers; there is one when there are servers.
    pub turn_login: Option<TurnLogin>,
    /// UDP ports to use; none: any.
    pub ports: Option<RangeInclusive<u16>>,
    /// Whether TCP candidates are offered too.
    pub tcp: bool,
    /// Patterns of interfaces to use; none: all.
    pub interfaces: Vec<String>,
    /// Patterns of interfaces not to use.
    pub skip_interfaces: Vec<String>,
}

impl Default for Ice {
    fn default() -> Self {
        Self {
            stun: Vec::new(),
            turn: Vec::new(),
            turn_login: None,
            ports: None,
            tcp: false,
            interfaces: Vec::new(),
            skip_interfaces: SKIPPED_INTERFACES.map(Into::into).into(),
        }
    }
}

impl Ice {
    /// Whether candidates of the interface of this name are to be used.
    #[must_use]
    pub fn uses_interface(&self, name: &str) -> bool {
        let is_in = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.interfaces.is_empty() || is_in(&self.interfaces)) && !is_in(&self.skip_interfaces)
    }
}

/// Whether `name` is what `pattern` says, `*` standing for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
        }),
    }
}

/// How to speak to the TURN servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnLogin {
    /// A name and a password that stay.
    Static {
        /// The name.
        username: String,
        /// Where the password is.
        password: SecretFile,
    },
    /// Names and passwords made for each page and valid for a while, from a secret shared with the servers
    /// (draft-uberti-behave-turn-rest-00; coturn's `use-auth-secret`).
    TimeLimited {
        /// Where the secret is.
        secret: SecretFile,
        /// How long each is valid.
        lifetime: Duration,
    },
}

/// `[uplink.NAME]`: cameras of this box in a room of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The table's name.
    pub name: Name,
    /// `ws://…` or `wss://…`, without a query.
    pub url: String,
    /// The room there; a reference server's may have any name.
    pub room: String,
    /// Which cameras; none: all.
    pub cameras: Option<Vec<Name>>,
    /// What their ids there begin with; none: this box's host name.
    pub box_name: Option<Name>,
    /// What the other server wants to be shown.
    pub token: Option<SecretFile>,
    /// SHA-256 of its certificate; none: one that an authority known to this box signed.
    pub fingerprint: Option<[u8; 32]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_letters() {
        for (pattern, name, fits) in [
            ("docker*", "docker0", true),
            ("docker*", "docker", true),
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("*0", "wlan0", true),
            ("w*n*", "wlan0", true),
            ("w*x", "wlan0", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        assert!(!Ice::default().uses_interface("br-0123456789ab"));
        assert!(Ice::default().uses_interface("br0"));
        let only = Ice { interfaces: vec!["eth*".into(), "docker0".into()], ..Ice::default() };
        assert!(
            only.uses_interface("eth1") && !only.uses_interface("wlan0") && !only.uses_interface("docker0")
        );
    }
}
