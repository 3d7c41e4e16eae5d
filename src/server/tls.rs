//! TLS on the listening sockets: which certificate, how it is exchanged while the server runs, and the handshake.
//!
//! `self_signed` makes and keeps a certificate, `validity` reads its dates, `handshake` opens a connection.

mod handshake;
mod self_signed;
mod validity;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};
use tokio::time::sleep;

pub(super) use self::handshake::{Failure, Opened, open, redirect};
use self::self_signed::SelfSigned;
use self::validity::Validity;
use crate::config::settings::{SecretFile, Tls as Settings};
use crate::events;

/// Largest PEM file, in bytes. A chain of five has 10 kB.
const MAX_PEM: u64 = 1024 * 1024;
/// How often a certificate that we made ourselves is looked at: it may run out while portald runs, all at once if it was
/// made before a box without a clock of its own learnt the time.
const LOOK: Duration = Duration::from_secs(60);

/// The certificate in use, for all listening sockets. Connections keep the one they began with.
pub struct Tls {
    /// Where a certificate of our own is kept, best first, and the addresses that it names.
    own: Arc<SelfSigned>,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    source: Arc<Source>,
    identity: Arc<Identity>,
}

/// A certificate that was read and is not in use yet.
pub struct Prepared(Current);

enum Source {
    Files { certificate: SecretFile, key: SecretFile },
    SelfSigned(Arc<SelfSigned>),
}

/// A certificate with its key, ready for use.
struct Identity {
    config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, `AA:BB:…`.
    fingerprint: String,
    /// From when until when it is valid; `None` when it cannot be read.
    validity: Option<Validity>,
}

impl Tls {
    /// Reads the certificate, or makes one that also names `addresses`, and logs its fingerprint. Blocks on the disk.
    ///
    /// # Errors
    /// [`TlsError`] names key, file and cause. A self-signed certificate needs no disk: one that cannot be kept is
    /// made anew at each start.
    pub fn open(settings: &Settings, addresses: Vec<IpAddr>) -> Result<Self, TlsError> {
        Self::open_in(settings, addresses, self_signed::directories())
    }

    /// As [`Tls::open`], with the directories to keep a self-signed certificate in, best first.
    ///
    /// # Errors
    /// As [`Tls::open`].
    pub fn open_in(
        settings: &Settings,
        addresses: Vec<IpAddr>,
        directories: Vec<PathBuf>,
    ) -> Result<Self, TlsError> {
        let own = Arc::new(SelfSigned::new(directories, addresses));
        let current = Current::read(settings, &own)?;
        current.announce();
        Ok(Self { own, current: RwLock::new(current) })
    }

    /// Reads the files again; new connections see what is in them, running ones go on. Blocks on the disk.
    ///
    /// # Errors
    /// [`TlsError`]; then nothing has changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let source = self.in_use().source;
        let identity = Arc::new(source.load()?);
        self.change(Prepared(Current { source, identity }));
        Ok(())
    }

    /// Reads the certificate of other settings, to be exchanged for the one in use. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Tls::open`].
    pub fn prepare(&self, settings: &Settings) -> Result<Prepared, TlsError> {
        Current::read(settings, &self.own).map(Prepared)
    }

    /// Shows this certificate to new connections; running ones go on.
    pub fn change(&self, Prepared(current): Prepared) {
        current.announce();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Renews a self-signed certificate before it runs out, for as long as this future is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            sleep(LOOK).await;
            let current = self.in_use();
            if matches!(*current.source, Source::SelfSigned(_)) && current.identity.is_due() {
                let tls = Arc::clone(&self);
                if let Ok(Err(error)) = tokio::task::spawn_blocking(move || tls.reload()).await {
                    log::error!("{error}; {}", error.hint());
                }
            }
        }
    }

    /// SHA-256 of the certificate in use, `AA:BB:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.current().fingerprint.clone()
    }

    /// When the certificate in use stops being valid, in seconds since 1970.
    pub(super) fn valid_until(&self) -> Option<u64> {
        self.current().validity.map(|validity| validity.until)
    }

    /// What the next handshake uses.
    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    fn current(&self) -> Arc<Identity> {
        self.in_use().identity
    }

    fn in_use(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.0.identity.fingerprint).finish()
    }
}

impl Current {
    fn read(settings: &Settings, own: &Arc<SelfSigned>) -> Result<Self, TlsError> {
        let source = match settings.clone() {
            Settings::Files { certificate, key } => Source::Files { certificate, key },
            Settings::SelfSigned => Source::SelfSigned(Arc::clone(own)),
        };
        let identity = Arc::new(source.load()?);
        Ok(Self { source: Arc::new(source), identity })
    }

    fn announce(&self) {
        self.identity.announce(&self.source);
    }
}

impl Source {
    fn load(&self) -> Result<Identity, TlsError> {
        match self {
            Self::Files { certificate, key } => {
                let chain = read("certificate", certificate)?;
                let secret = read("key", key)?;
                let fault = |fault: Fault| match fault.is_of_key() {
                    true => TlsError::new("key", key, fault),
                    false => TlsError::new("certificate", certificate, fault),
                };
                Identity::read(&chain, &secret).map_err(fault)
            }
            Self::SelfSigned(own) => own.obtain().map_err(|fault| TlsError {
                key: "self_signed",
                file: "the certificate made for this box".to_owned(),
                fault,
            }),
        }
    }
}

impl Identity {
    /// From PEM: the chain, ours first, and the key.
    fn read(chain: &[u8], key: &[u8]) -> Result<Self, Fault> {
        let chain = certificates(chain)?;
        let first = chain.first().ok_or(Fault::NoCertificate)?;
        let key = private_key(key)?;
        let fingerprint = fingerprint(first);
        let validity = Validity::of(first);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Fault::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Fault::Mismatch,
                rustls::Error::InvalidCertificate(_) => Fault::BadCertificate(error),
                error => Fault::Unusable(error),
            })?;
        // We speak nothing else; a client that insists on HTTP/2 is told so in the handshake.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), fingerprint, validity })
    }

    /// Whether it is time to make another. One whose time has not come is kept: more often than not the clock is wrong.
    fn is_due(&self) -> bool {
        self.validity.is_none_or(|validity| validity.until < now() + self_signed::RENEW_BEFORE)
    }

    /// Tells the log which certificate is in use, and what is wrong with its dates.
    fn announce(&self, source: &Source) {
        let fingerprint = &self.fingerprint;
        match source {
            Source::Files { .. } => {
                log::info!("TLS: the SHA-256 fingerprint of the certificate is {fingerprint}");
            }
            Source::SelfSigned(_) => log::info!(
                "TLS: the SHA-256 fingerprint of this box's own certificate is {fingerprint}. Browsers warn once: \
                 compare it with what they show under the padlock or \"Not secure\", Certificate, before you go on. \
                 Uplinks of other boxes take it as `fingerprint`"
            ),
        }
        match self.validity {
            None => {
                log::warn!(message_id = events::CERTIFICATE_DATES; "TLS: the dates of the certificate cannot be read")
            }
            Some(Validity { from, .. }) if from > now() => log::warn!(
                message_id = events::CERTIFICATE_DATES;
                "TLS: the certificate is not valid before {}; is the clock of this box right?",
                validity::date(from)
            ),
            Some(Validity { until, .. }) if until < now() => {
                log::warn!(
                    message_id = events::CERTIFICATE_DATES;
                    "TLS: the certificate expired on {}; browsers refuse it", validity::date(until)
                );
            }
            Some(_) => {}
        }
    }
}

/// Why TLS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("[server.tls] {key}: {file}: {fault}")]
pub struct TlsError {
    key: &'static str,
    file: String,
    fault: Fault,
}

impl TlsError {
    fn new(key: &'static str, file: &SecretFile, fault: Fault) -> Self {
        Self { key, file: file.to_string(), fault }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let file = &self.file;
        match &self.fault {
            Fault::Unreadable(e) if e.kind() == io::ErrorKind::PermissionDenied => format!(
                "let portald's user read it: chgrp portald {file} && chmod 640 {file}; or give it to the unit with \
                 LoadCredential="
            ),
            Fault::Unreadable(_) => "check the path, or the name of the credential".to_owned(),
            Fault::TooLarge | Fault::NoCertificate => format!(
                "PEM is wanted, which begins with -----BEGIN CERTIFICATE-----; DER becomes PEM with: openssl x509 \
                 -inform der -in {file} -out certificate.pem"
            ),
            Fault::NoKey => {
                "PEM is wanted, which begins with -----BEGIN PRIVATE KEY-----, or with EC or RSA in \
                             between; are `certificate` and `key` exchanged?"
                    .to_owned()
            }
            Fault::BadPem(_) | Fault::BadCertificate(_) => {
                format!("`openssl x509 -noout -text -in {file}` must be able to read it; copy it again")
            }
            Fault::Encrypted => format!(
                "nobody can type its passphrase at a start: openssl pkey -in {file} -out plain-key.pem, and let only \
                 portald read that"
            ),
            Fault::Mismatch => {
                "`openssl x509 -noout -pubkey -in CERTIFICATE` and `openssl pkey -pubout -in KEY` must \
                                print the same; the certificate of this box must be the first in its file"
                    .to_owned()
            }
            Fault::Unusable(_) => {
                "keys that can be used are ECDSA P-256 and P-384, Ed25519, and RSA of 2048 bits and more"
                    .to_owned()
            }
            Fault::NotMade(_) => "give `certificate` and `key` instead".to_owned(),
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Unreadable(io::Error),
    #[error("it has more than 1 MiB")]
    TooLarge,
    #[error("{0}")]
    BadPem(rustls::pki_types::pem::Error),
    #[error("there is no PEM certificate in it")]
    NoCertificate,
    #[error("there is no PEM private key in it")]
    NoKey,
    #[error("the private key is encrypted with a passphrase")]
    Encrypted,
    #[error("{0}")]
    BadCertificate(rustls::Error),
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error("the key cannot be used: {0}")]
    Unusable(rustls::Error),
    #[error("it cannot be made: {0}")]
    NotMade(rcgen::Error),
}

impl Fault {
    fn is_of_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::Encrypted | Self::Mismatch | Self::Unusable(_))
    }
}

fn read(key: &'static str, file: &SecretFile) -> Result<Vec<u8>, TlsError> {
    let text = file.path().map_err(Fault::Unreadable).and_then(|path| read_file(&path));
    text.map_err(|fault| TlsError::new(key, file, fault))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(Fault::Unreadable)?;
    file.take(MAX_PEM + 1).read_to_end(&mut text).map_err(Fault::Unreadable)?;
    if text.len() as u64 > MAX_PEM { Err(Fault::TooLarge) } else { Ok(text) }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(Fault::BadPem)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    let has = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    // PKCS #8's own kind of encryption, and OpenSSL's old one (RFC 1421).
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(Fault::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| Fault::NoKey)
}

/// SHA-256, as browsers and `openssl x509 -fingerprint -sha256` show it.
fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
