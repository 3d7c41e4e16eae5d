//! Who holds which device and which socket, from `/proc`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::tree::Tree;

/// Most descriptors of a process that are looked at.
const MAX_DESCRIPTORS: usize = 65_536;
/// The state LISTEN in `/proc/net/tcp` (net/tcp_states.h).
const LISTENING: &str = "0A";

/// A process that has a camera or a socket open, or is portald.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
    /// Whether it is a portald that runs as the daemon.
    pub is_daemon: bool,
    /// Devices that it has open.
    pub devices: Vec<PathBuf>,
    sockets: Vec<u64>,
}

impl Process {
    /// `motion (process 1234)`
    #[must_use]
    pub(super) fn words(&self) -> String {
        format!("{} (process {})", self.name, self.pid)
    }

    /// The command that ends it.
    #[must_use]
    pub(super) fn ending(&self) -> String {
        match &self.unit {
            Some(unit) => format!("sudo systemctl disable --now {}", unit.trim_end_matches(".service")),
            None => format!("sudo kill {}", self.pid),
        }
    }
}

/// The processes that matter, and who listens where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Processes {
    /// Those with a camera, a socket, or the name portald.
    pub all: Vec<Process>,
    /// Whether there are some whose open files may not be seen.
    pub some_hidden: bool,
    /// Listening addresses, each with the number of its socket.
    listening: Vec<(SocketAddr, u64)>,
}

impl Processes {
    /// Those of this box.
    #[must_use]
    pub(super) fn gather(tree: &Tree) -> Self {
        let own = tree.link("/proc/self").and_then(|own| own.to_str()?.parse::<u32>().ok());
        let mut found = Self::default();
        let pids = tree.names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
        for pid in pids.filter(|pid| Some(*pid) != own) {
            let place = PathBuf::from(format!("/proc/{pid}"));
            let name = tree.text(place.join("comm")).unwrap_or_default();
            found.some_hidden |= tree.is_forbidden(place.join("fd"));
            let (devices, sockets) = open_files(tree, &place);
            let arguments = || tree.text(place.join("cmdline")).unwrap_or_default();
            let is_daemon = name == "portald" && arguments().split('\0').any(|argument| argument == "run");
            if is_daemon || !devices.is_empty() || !sockets.is_empty() {
                let unit = tree.text(place.join("cgroup")).and_then(|cgroup| service(&cgroup));
                found.all.push(Process { pid, name, unit, is_daemon, devices, sockets });
            }
        }
        found.listening = listening(tree, "/proc/net/tcp");
        found.listening.extend(listening(tree, "/proc/net/tcp6"));
        found
    }

    /// Those that have the device `node` open.
    pub(super) fn holding<'a>(&'a self, node: &'a Path) -> impl Iterator<Item = &'a Process> {
        self.all.iter().filter(move |process| process.devices.iter().any(|device| device == node))
    }

    /// Whether somebody listens where `address` would be taken by it, and who, if that can be seen.
    #[must_use]
    pub(super) fn listener(&self, address: SocketAddr) -> Option<Option<&Process>> {
        let (_, socket) = self.listening.iter().find(|(taken, _)| overlap(*taken, address))?;
        Some(self.all.iter().find(|process| process.sockets.contains(socket)))
    }

    /// The daemon, if it runs.
    #[must_use]
    pub(super) fn daemon(&self) -> Option<&Process> {
        self.all.iter().find(|process| process.is_daemon)
    }
}

/// Cameras, encoders and sockets that a process has open.
fn open_files(tree: &Tree, place: &Path) -> (Vec<PathBuf>, Vec<u64>) {
    let (mut devices, mut sockets) = (Vec::new(), Vec::new());
    for fd in tree.names(place.join("fd")).iter().take(MAX_DESCRIPTORS) {
        let Some(target) = tree.link(place.join("fd").join(fd)) else { continue };
        let text = target.to_string_lossy();
        if text.starts_with("/dev/video") && !devices.contains(&target) {
            devices.push(target);
        } else if let Some(number) = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            sockets.extend(number.parse::<u64>());
        }
    }
    (devices, sockets)
}

/// The service in a line such as `0::/system.slice/motion.service`.
fn service(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let unit = path.split('/').find(|part| part.ends_with(".service"))?;
    // A user's own services are not systemctl's without --user.
    (!path.starts_with("/user.slice")).then(|| unit.to_owned())
}

fn listening(tree: &Tree, file: &str) -> Vec<(SocketAddr, u64)> {
    let text = tree.text(file).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let inode = fields.nth(5)?.parse().ok()?;
        (state == LISTENING).then_some(())?;
        Some((address(local)?, inode))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// `0100007F:1F90`: the address in words of 32 bits in the machine's own order, the port as one reads it.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// Whether the kernel lets only one of the two listen. `[::]` takes IPv4 too, as we open it and most others do.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let takes =
        |any: SocketAddr, other: SocketAddr| any.ip().is_unspecified() && (any.is_ipv6() || other.is_ipv4());
    a.port() == b.port() && (a.ip() == b.ip() || takes(a, b) || takes(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let at = |text: &str| address(text).unwrap().to_string();
        if cfg!(target_endian = "little") {
            assert_eq!(at("0100007F:1F90"), "127.0.0.1:8080");
            assert_eq!(at("0000000000000000FFFF00000100007F:0050"), "127.0.0.1:80");
            assert_eq!(at("B80D0120000000000000000001000000:1F90"), "[2001:db8::1]:8080");
        }
        assert_eq!(at("00000000000000000000000000000000:1F90"), "[::]:8080");
        assert_eq!(address("01:1F90"), None);
        assert_eq!(service("0::/system.slice/motion.service").as_deref(), Some("motion.service"));
        assert_eq!(service("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope"), None);
    }

    #[test]
    fn a_wildcard_takes_the_port_of_all_addresses() {
        let overlap = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("[::]:80", "0.0.0.0:80") && overlap("127.0.0.1:80", "[::]:80"));
        assert!(overlap("0.0.0.0:80", "192.168.1.5:80"));
        assert!(!overlap("127.0.0.1:80", "192.168.1.5:80"));
        assert!(!overlap("[::]:80", "[::]:81"));
        assert!(!overlap("0.0.0.0:80", "[::1]:80"));
    }
}
