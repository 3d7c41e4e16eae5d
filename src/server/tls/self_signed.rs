//! A certificate of this box's own: made once, kept, and renewed before it runs out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::{Fault, Identity, now, read_file};
use crate::config::settings::{host_name, mdns_label};

/// In the state directory: the key and the certificate in one file, so that one renaming exchanges both.
const FILE: &str = "tls.pem";
const DAY: u64 = 24 * 60 * 60;
/// Days for which it is valid. Apple's devices refuse any server certificate that is valid for more than 825
/// (support.apple.com/103769, also those that people told them to trust); no other limit holds for certificates that
/// are not of a public authority, and each renewal makes people and uplinks trust a new one.
const VALID_DAYS: u64 = 820;
/// It is made to be valid from so much earlier on: clocks differ, and boxes without one start in the past.
const BACKDATED: u64 = DAY;
/// Seconds before its end from which on it is renewed.
pub(super) const RENEW_BEFORE: u64 = 30 * DAY;
/// Addresses that it names.
const MAX_ADDRESSES: usize = 16;

/// How it is made and where it is kept.
pub(super) struct SelfSigned {
    directories: Vec<PathBuf>,
    addresses: Vec<IpAddr>,
    /// What could be kept nowhere.
    memory: Mutex<Option<String>>,
}

impl SelfSigned {
    /// To be kept in the first of `directories` that can be written; it names `addresses` besides the box's names.
    pub(super) fn new(directories: Vec<PathBuf>, addresses: Vec<IpAddr>) -> Self {
        Self { directories, addresses, memory: Mutex::default() }
    }

    /// The one that is kept, or a new one.
    pub(super) fn obtain(&self) -> Result<Identity, Fault> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let from_memory = memory.as_ref().and_then(|pem| Identity::read(pem.as_bytes(), pem.as_bytes()).ok());
        if let Some(kept) = self.kept().or_else(|| from_memory.filter(|identity| !identity.is_due())) {
            return Ok(kept);
        }
        let pem = make(&names(), &self.addresses).map_err(Fault::NotMade)?;
        *memory = if self.keep(&pem) { None } else { Some(pem.clone()) };
        Identity::read(pem.as_bytes(), pem.as_bytes())
    }

    /// The one on disk, if it can still be used.
    fn kept(&self) -> Option<Identity> {
        for path in self.directories.iter().map(|directory| directory.join(FILE)) {
            let identity = read_file(&path).and_then(|pem| Identity::read(&pem, &pem));
            match identity {
                Ok(identity) if !identity.is_due() => return Some(identity),
                Ok(_) => log::info!("TLS: the certificate in {} runs out; it is renewed", path.display()),
                // Not there, or another user's.
                Err(Fault::Unreadable(e)) => log::debug!("{}: {e}", path.display()),
                Err(fault) => {
                    log::warn!("TLS: {} cannot be used: {fault}; another is made", path.display());
                }
            }
        }
        None
    }

    /// Whether it could be kept.
    fn keep(&self, pem: &str) -> bool {
        let mut reasons = Vec::new();
        for directory in &self.directories {
            match write(directory, pem) {
                Ok(path) => {
                    log::info!("TLS: a certificate was made, {}", path.display());
                    return true;
                }
                Err(e) => reasons.push(format!("{}: {e}", directory.display())),
            }
        }
        log::warn!(
            "TLS: the certificate made now is lost at the next start, and browsers will ask again, because it cannot \
             be kept ({})",
            if reasons.is_empty() { "no directory is known".to_owned() } else { reasons.join("; ") }
        );
        false
    }
}

/// Where to keep it, best first: systemd's StateDirectory=, else the system's place, else the user's
/// (XDG Base Directory Specification).
pub(super) fn directories() -> Vec<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // systemd.exec(5): several are separated by colons.
    if let Some(first) = set("STATE_DIRECTORY").and_then(|list| std::env::split_paths(&list).next()) {
        return vec![first];
    }
    let user = set("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".local/state")));
    [Some("/var/lib".into()), user].into_iter().flatten().map(|directory| directory.join("portald")).collect()
}

/// Complete or not at all: a crash leaves the old file, or a `.new` that the next attempt removes.
fn write(directory: &Path, pem: &str) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let (path, new) = (directory.join(FILE), directory.join(format!("{FILE}.new")));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(path)
}

/// The names of this box, best first. `.local` is what multicast DNS adds (RFC 6762).
fn names() -> Vec<String> {
    let host = host_name().to_ascii_lowercase();
    let is_name = |name: &str| {
        let label =
            |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        name.len() <= 253 && name.split('.').all(label)
    };
    let mut names = Vec::new();
    if is_name(&host) {
        let first = host.split('.').next().unwrap_or_default();
        names.extend([host.clone(), format!("{first}.local")]);
    }
    names.push(format!("{}.local", mdns_label()));
    names.push("localhost".to_owned());
    names.dedup();
    names
}

/// Key and certificate as PEM.
fn make(names: &[String], addresses: &[IpAddr]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut named: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in addresses.iter().take(MAX_ADDRESSES) {
        if !named.contains(address) {
            named.push(*address);
        }
    }
    params.subject_alt_names.extend(named.into_iter().map(SanType::IpAddress));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("portald", String::as_str));
    params.distinguished_name.push(DnType::OrganizationName, "portald, made by this box");
    // Whoever tells a device to trust it must not thereby trust what else this key could sign.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let from = now().saturating_sub(BACKDATED);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(from + VALID_DAYS * DAY);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}
