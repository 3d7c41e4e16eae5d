//! Who may come in: from which address, under which name of this box, from which page, and with what secret.
//!
//! Every request is screened in that order before anything else looks at it (`Access::screen`); what it may see is
//! then a question of its `Caller`.

pub(super) mod attempts;
mod caller;
mod forwarded;
mod screen;
mod secrets;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ring::hmac;
use uuid::Uuid;

pub(super) use self::caller::{Caller, Credentials, Shown};
pub(super) use self::forwarded::Client;
pub(super) use self::screen::{Refusal, Standing, Visit, network_refused};
pub(super) use self::secrets::{Scope, cookie_name};

use self::secrets::Secrets;
use crate::config::settings::{self as config, Host, SecretFile};

/// The settings of `[access]`, and the secrets they name.
pub struct Access {
    /// This machine's own name.
    own_name: Option<Host>,
    /// Random for each process; see [`Secrets`].
    key: hmac::Key,
    rules: RwLock<Rules>,
}

/// What a reload exchanges, whole.
#[derive(Clone, Default)]
struct Rules {
    policy: Arc<config::Access>,
    files: Arc<[Entry]>,
    secrets: Arc<Secrets>,
}

/// Settings whose secrets could be read; nothing has changed yet.
pub struct Prepared(Rules);

impl Access {
    /// Reads the secrets that `settings` and `rooms` name. Takes some 0.1 s for each: see `ROUNDS`.
    ///
    /// # Errors
    /// [`AccessError`] names the key and the file that cannot be read.
    pub fn open(settings: &config::Access, rooms: &[config::Room]) -> Result<Self, AccessError> {
        let access = Self::default();
        let prepared = access.prepare(settings, rooms)?;
        access.change(prepared);
        Ok(access)
    }

    /// Reads the secrets again, as [`change`](Self::change) does with the same settings.
    ///
    /// # Errors
    /// As [`open`](Self::open); the old secrets then stay.
    pub fn reload(&self) -> Result<(), AccessError> {
        let Rules { policy, files, .. } = self.rules();
        self.change(self.read(policy, files)?);
        Ok(())
    }

    /// Reads the secrets of other settings, to be exchanged for those in use.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn prepare(
        &self,
        settings: &config::Access,
        rooms: &[config::Room],
    ) -> Result<Prepared, AccessError> {
        self.read(Arc::new(settings.clone()), entries(settings, rooms).into())
    }

    /// Lets in whom other settings let in, from now on. Who is in stays in; cookies of a changed secret are worth
    /// nothing from here on.
    pub fn change(&self, Prepared(rules): Prepared) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    fn read(&self, policy: Arc<config::Access>, files: Arc<[Entry]>) -> Result<Prepared, AccessError> {
        let mut read = Vec::new();
        for Entry { scope, key, file } in files.iter() {
            let secret =
                file.read().map_err(|source| AccessError { key: key.clone(), file: file.clone(), source })?;
            read.push((scope.clone(), secret));
        }
        let secrets = Arc::new(Secrets::new(read, &self.key, &self.secrets()));
        Ok(Prepared(Rules { policy, files, secrets }))
    }

    /// Whether a connection from `peer` is worth a look: it may connect itself, or speaks for others.
    pub(super) fn admits(&self, peer: IpAddr) -> bool {
        self.policy().networks.contains(peer) || self.is_proxy(peer)
    }

    /// Whether `peer` is a reverse proxy that is believed.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        forwarded::is_one_of(&self.policy().trusted_proxies, peer)
    }

    /// Whether anything can be changed over HTTP.
    pub(super) fn has_admin(&self) -> bool {
        self.secrets().has(&Scope::Admin)
    }

    fn policy(&self) -> Arc<config::Access> {
        self.rules().policy
    }

    fn secrets(&self) -> Arc<Secrets> {
        self.rules().secrets
    }

    fn rules(&self) -> Rules {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for Access {
    /// The LAN, without any secret.
    fn default() -> Self {
        // Two of the system's random numbers, 244 bits; ring's own source can fail, which nobody could handle.
        let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random);
        Self { own_name: own_name(), key, rules: RwLock::default() }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { policy, secrets, .. } = self.rules();
        f.debug_struct("Access").field("policy", &policy).field("secrets", &secrets).finish_non_exhaustive()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.0.secrets).finish()
    }
}

/// A secret that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot read {file}")]
pub struct AccessError {
    /// The key of the configuration, such as `viewer_password_file in [access]`.
    pub key: String,
    /// What it names.
    pub file: SecretFile,
    /// What is wrong with it.
    pub source: io::Error,
}

impl AccessError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match (&self.file, self.source.kind()) {
            (SecretFile::Credential(name), _) => {
                format!(
                    "give the unit LoadCredential={name}:/path/of/the/secret, or write a path that begins with /"
                )
            }
            (SecretFile::Path(path), io::ErrorKind::NotFound) => format!(
                "make it, with a secret of your own or a random one: \
                 (umask 027; head -c 24 /dev/urandom | base64 > {path}) && chgrp portald {path}",
                path = path.display()
            ),
            (SecretFile::Path(path), io::ErrorKind::PermissionDenied) => format!(
                "let portald's user read it and nobody else: chgrp portald {path} && chmod 640 {path}",
                path = path.display()
            ),
            _ => "it must be a text of 1 to 1024 bytes".to_owned(),
        }
    }
}

/// A secret that is configured.
#[derive(Clone)]
struct Entry {
    scope: Scope,
    key: String,
    file: SecretFile,
}

fn entries(settings: &config::Access, rooms: &[config::Room]) -> Vec<Entry> {
    let box_wide = [
        (Scope::Viewer, "viewer_password_file", &settings.viewer_password),
        (Scope::Admin, "admin_token_file", &settings.admin_token),
        (Scope::Uplink, "uplink_token_file", &settings.uplink_token),
    ];
    let box_wide = box_wide.into_iter().map(|(scope, key, file)| (scope, format!("{key} in [access]"), file));
    let of_rooms = rooms.iter().map(|room| {
        (Scope::Room(room.name.clone()), format!("token_file in [room.{}]", room.name), &room.token)
    });
    let configured = box_wide.chain(of_rooms);
    configured.filter_map(|(scope, key, file)| Some(Entry { scope, key, file: file.clone()? })).collect()
}

/// What this machine calls itself: whoever gave it a public name wants it reached by that.
fn own_name() -> Option<Host> {
    Host::parse(&config::host_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Room;
    use crate::proto::ids::{Name, RoomMode};

    #[test]
    fn a_secret_that_is_missing_names_its_key_and_what_to_do() {
        let file = SecretFile::Path("/nonexistent/secret".into());
        let room =
            Room { name: Name::new("attic").unwrap(), mode: RoomMode::Wall, token: Some(file.clone()) };
        let error = Access::open(&config::Access::default(), &[room]).unwrap_err();
        assert_eq!(error.to_string(), "token_file in [room.attic]: cannot read /nonexistent/secret");
        assert!(error.hint().contains("> /nonexistent/secret"), "{}", error.hint());
        let settings = config::Access {
            viewer_password: Some(SecretFile::Credential("pw".into())),
            ..config::Access::default()
        };
        let error = Access::open(&settings, &[]).unwrap_err();
        assert!(error.to_string().contains("viewer_password_file in [access]"), "{error}");
        assert!(error.hint().contains("LoadCredential=pw:"), "{}", error.hint());
    }

    fn is_uplink(access: &Access, token: &str) -> bool {
        access.secrets().opened_by(token, &access.key).contains(&Scope::Uplink)
    }

    #[test]
    fn a_reload_that_fails_keeps_what_there_was() {
        let path = std::env::temp_dir().join(format!("portald-uplink-{}", std::process::id()));
        std::fs::write(&path, "box\n").unwrap();
        let uplink_token = Some(SecretFile::Path(path.clone()));
        let access =
            Access::open(&config::Access { uplink_token, ..config::Access::default() }, &[]).unwrap();
        assert!(is_uplink(&access, "box") && !is_uplink(&access, "Box") && !is_uplink(&access, ""));
        std::fs::write(&path, "other").unwrap();
        access.reload().unwrap();
        assert!(is_uplink(&access, "other") && !is_uplink(&access, "box"));
        std::fs::write(&path, " \n").unwrap();
        assert!(access.reload().is_err());
        assert!(is_uplink(&access, "other"));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_uplink(&Access::default(), ""));
    }
}
