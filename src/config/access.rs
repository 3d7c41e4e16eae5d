//! Who may come in, from where, and with what: the settings of `[access]` and `[server.tls]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::{fs, io};

use ipnet::IpNet;

use super::settings::Secret;

/// Longest secret, in bytes. A random token has about 40.
const MAX_SECRET: usize = 1024;
/// Names that no public registry gives out, so no stranger's web page can have them: `.local` is multicast DNS
/// (RFC 6762), `home.arpa` is RFC 8375, `internal` is reserved by ICANN (2024), the others are routers' habits.
const PRIVATE_DOMAINS: [&str; 7] =
    ["localhost", "local", "home.arpa", "internal", "lan", "home", "localdomain"];

/// `[access]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Addresses that may connect.
    pub networks: Networks,
    /// Pages that may open a WebSocket.
    pub origins: Origins,
    /// Public names of this box, in lower case.
    pub hosts: Vec<String>,
    /// Pages of other origins whose scripts may read the API.
    pub cors: Vec<Origin>,
    /// Reverse proxies whose `X-Forwarded-…` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What viewers must know; none: nothing.
    pub viewer_password: Option<SecretFile>,
    /// What whoever changes something over HTTP must know; none: nobody can.
    pub admin_token: Option<SecretFile>,
    /// What other boxes must know to add their cameras; none: none may.
    pub uplink_token: Option<SecretFile>,
}

/// Addresses that may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    /// Everyone.
    pub any: bool,
    /// Loopback, private, link-local and unique local addresses.
    pub lan: bool,
    /// And these.
    pub listed: Vec<IpNet>,
}

impl Default for Networks {
    fn default() -> Self {
        Self { any: false, lan: true, listed: Vec::new() }
    }
}

impl Networks {
    /// Whether `address` is one of them. IPv4 addresses in IPv6 clothes count as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.any || (self.lan && is_lan(address)) || self.listed.iter().any(|net| net.contains(&address))
    }
}

/// Loopback, private (RFC 1918), link-local, and unique local (RFC 4193).
fn is_lan(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Pages that may open a WebSocket, by their origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// All.
    pub any: bool,
    /// Those of this box, of private addresses, of `localhost` and of `.local` names.
    pub lan: bool,
    /// And these.
    pub listed: Vec<Origin>,
}

impl Default for Origins {
    fn default() -> Self {
        Self { any: false, lan: true, listed: Vec::new() }
    }
}

impl Origins {
    /// Whether a page of `origin` may. Whether it is this box's own page is another question.
    #[must_use]
    pub fn contains(&self, origin: &Origin) -> bool {
        let lan = || origin.host.is_local();
        self.any || (self.lan && lan()) || self.listed.contains(origin)
    }
}

/// Scheme, host and port of a page: what a browser writes into `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// In lower case.
    pub host: Host,
    /// The scheme's own when none was written.
    pub port: u16,
}

impl Origin {
    /// Reads `scheme://host[:port]`; nothing may follow. `None` for `null`, other schemes, and what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let (host, port) = Host::parse_with_port(rest)?;
        Some(Self { scheme, host, port: port.unwrap_or_else(|| scheme.default_port()) })
    }
}

/// What a page was fetched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Not encrypted.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Where such a server listens unless said otherwise.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host as a `Host` or `Origin` header has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, in lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads `host[:port]`; `None` when it is neither an address nor a name.
    #[must_use]
    pub fn parse_with_port(text: &str) -> Option<(Self, Option<u16>)> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = match rest {
                "" => None,
                _ => Some(port(rest.strip_prefix(':')?)?),
            };
            return Some((Self::Address(IpAddr::V6(address).to_canonical()), port));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, digits)) => (host, Some(port(digits)?)),
            None => (text, None),
        };
        Some((Self::parse(host)?, port))
    }

    /// Reads a name or an IPv4 address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A name whose last part is a number would be read as an address by browsers.
        let last_is_number =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        (name.len() <= 253 && name.split('.').all(label) && !last_is_number).then_some(Self::Name(name))
    }

    /// A private address, `localhost`, or a `.local` name.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => is_lan(*address),
            Self::Name(name) => {
                let top = name.rsplit('.').next();
                matches!(top, Some("localhost" | "local"))
            }
        }
    }

    /// Whether no stranger's web page can have this host. DNS rebinding makes a public name point to a private
    /// address; an address, a name without a dot and a name under a domain that is not given out cannot be used so.
    #[must_use]
    pub fn cannot_be_rebound(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Name(name) => {
                let under = |domain: &str| {
                    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                !name.contains('.') || PRIVATE_DOMAINS.into_iter().any(under)
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn port(digits: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// What this machine calls itself, as gethostname(2) says, for which std has no call; empty when it cannot be read.
#[must_use]
pub fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The first label of the name that this box's wall has in multicast DNS, under `.local`; it is nobody else's, the host
/// name being other responders'.
#[must_use]
pub fn mdns_label() -> String {
    label_of(&host_name())
}

fn label_of(host: &str) -> String {
    const SUFFIX: &str = "portald";
    // A label has 63 characters at most (RFC 1035, 2.3.4).
    const MAX: usize = 63 - SUFFIX.len() - 1;
    let first = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let plain: String = first.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(MAX).collect();
    match plain.trim_matches('-') {
        "" => SUFFIX.to_owned(),
        host => format!("{host}-{SUFFIX}"),
    }
}

/// `[server.tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// A certificate of the user's.
    Files {
        /// PEM: the chain, ours first.
        certificate: SecretFile,
        /// PEM: its private key.
        key: SecretFile,
    },
    /// One that is made at the first start and kept.
    SelfSigned,
}

/// Where a secret is: never in the configuration itself, which is shown, copied and sent to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFile {
    /// A file.
    Path(PathBuf),
    /// A credential that systemd gives the unit, by its name: `LoadCredential=` in systemd.exec(5).
    Credential(String),
}

impl SecretFile {
    /// The file to read. A credential outside a unit that has it is `NotFound`.
    ///
    /// # Errors
    /// `CREDENTIALS_DIRECTORY` is not set.
    pub fn path(&self) -> io::Result<PathBuf> {
        match self {
            Self::Path(path) => Ok(path.clone()),
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => Ok(Path::new(&directory).join(name)),
                None => Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "systemd gave no credentials; add LoadCredential= to the unit",
                )),
            },
        }
    }

    /// Reads the secret: the text without the white space around it.
    ///
    /// # Errors
    /// What the system said; `InvalidData` when it is empty, longer than 1024 bytes, or no text.
    pub fn read(&self) -> io::Result<Secret> {
        let text = fs::read_to_string(self.path()?)?;
        let text = text.trim();
        let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        match text.len() {
            0 => wrong("it is empty"),
            length if length > MAX_SECRET => wrong("it has more than 1024 bytes"),
            _ => Ok(Secret::new(text)),
        }
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_made_of_any_host_name() {
        for (host, label) in [
            ("Pi", "pi-portald"),
            ("cams.example.org", "cams-portald"),
            ("my box_ü", "mybox-portald"),
            ("", "portald"),
            ("---", "portald"),
        ] {
            assert_eq!(label_of(host), label);
        }
        assert_eq!(label_of(&"x".repeat(200)).len(), 63);
    }

    #[test]
    fn lan_is_what_no_router_passes_on() {
        let lan = Networks::default();
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.5",
            "169.254.7.7",
            "::1",
            "fe80::1",
            "fd00::5",
            "::ffff:192.168.1.5",
        ] {
            assert!(lan.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8", "0.0.0.0", "::"]
        {
            assert!(!lan.contains(outside.parse().unwrap()), "{outside}");
        }
        let listed = Networks { listed: vec!["100.64.0.0/10".parse().unwrap()], ..Networks::default() };
        assert!(listed.contains("::ffff:100.64.0.1".parse().unwrap()));
    }

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let origin = Origin::parse("https://Cam.Example.org").unwrap();
        assert_eq!((origin.host.to_string().as_str(), origin.port), ("cam.example.org", 443));
        assert_eq!(Origin::parse("http://[FD00::1]:8080").unwrap().host.to_string(), "[fd00::1]");
        for bad in [
            "null",
            "",
            "http://",
            "file://",
            "http://a/",
            "http://a/b",
            "http://a b",
            "http://a:",
            "http://a:+1",
            "http://u@a",
            "ws://a",
            "http://a:99999",
            "http://1.2.3",
            "http://[::1",
            "http://a..b",
            "https://a#b",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lan_origins_are_local_hosts_only() {
        let lan = Origins::default();
        let allowed = |text| Origin::parse(text).is_some_and(|origin| lan.contains(&origin));
        for page in
            ["http://192.168.1.9:8000", "http://localhost:8000", "https://nas.local", "http://[fe80::1]"]
        {
            assert!(allowed(page), "{page}");
        }
        for page in
            ["https://evil.com", "http://8.8.8.8", "https://local.evil.com", "http://evillocal", "null"]
        {
            assert!(!allowed(page), "{page}");
        }
    }

    #[test]
    fn hosts_that_a_stranger_can_own_are_told_from_the_others() {
        for own in ["192.168.1.5", "pi", "pi.local", "pi.home.arpa", "localhost", "a.b.lan", "PI.LOCAL."] {
            assert!(Host::parse(own).unwrap().cannot_be_rebound(), "{own}");
        }
        for strange in ["evil.com", "192.168.1.5.nip.io", "xlocal.com", "pi.notlocal", "home.arpa.com"] {
            assert!(!Host::parse(strange).unwrap().cannot_be_rebound(), "{strange}");
        }
    }
}
