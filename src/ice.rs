//! STUN and TURN servers, with the credentials that go with them now: for pages and for the cameras' own connections.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::config::settings::{Ice, Secret, SecretFile, TurnLogin};

/// What stands behind the time in the names of time-limited credentials; TURN servers show it in their logs.
const USER: &str = "portald";

/// The servers of `[ice]`, and what it takes to log in at them.
pub struct IceServers {
    current: RwLock<Arc<Known>>,
}

/// Settings with the secret that they name.
struct Known {
    settings: Ice,
    login: Option<Login>,
}

/// Settings whose secret could be read; nothing has changed yet.
pub struct Prepared(Arc<Known>);

enum Login {
    Static { username: String, password: Secret },
    TimeLimited { secret: Secret, seconds: u64 },
}

/// Servers with one set of credentials. Whoever shows it to someone shows the credential too; `Debug` does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:…`, `turn:…` or `turns:…`, as configured (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// The name and the password; STUN servers want none.
    pub login: Option<(String, Secret)>,
}

impl IceServers {
    /// Reads the secret, if there is one.
    ///
    /// # Errors
    /// [`IceError`] names key and file.
    pub fn open(settings: &Ice) -> Result<Self, IceError> {
        Self::prepare(settings).map(|Prepared(known)| Self { current: RwLock::new(known) })
    }

    /// Reads the secret again.
    ///
    /// # Errors
    /// [`IceError`]; then the old one stays in use.
    pub fn reload(&self) -> Result<(), IceError> {
        self.change(Self::prepare(&self.known().settings)?);
        Ok(())
    }

    /// Reads the secret of other settings.
    ///
    /// # Errors
    /// [`IceError`] names key and file.
    pub fn prepare(settings: &Ice) -> Result<Prepared, IceError> {
        let login = read(settings)?;
        Ok(Prepared(Arc::new(Known { settings: settings.clone(), login })))
    }

    /// Names these servers to whoever asks from now on.
    pub fn change(&self, Prepared(known): Prepared) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The servers, with credentials that are valid from `now` on.
    #[must_use]
    pub fn servers(&self, now: SystemTime) -> Vec<IceServer> {
        let Known { settings, login } = &*self.known();
        let stun = IceServer { urls: settings.stun.clone(), login: None };
        let turn = IceServer {
            urls: settings.turn.clone(),
            login: login.as_ref().map(|login| login.credentials(now)),
        };
        [stun, turn].into_iter().filter(|server| !server.urls.is_empty()).collect()
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for IceServers {
    /// None: on a LAN host candidates do.
    fn default() -> Self {
        let known = Known { settings: Ice::default(), login: None };
        Self { current: RwLock::new(Arc::new(known)) }
    }
}

impl fmt::Debug for IceServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        let Ice { stun, turn, .. } = &known.settings;
        f.debug_struct("IceServers").field("stun", stun).field("turn", turn).finish_non_exhaustive()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.0.settings.turn).finish()
    }
}

impl Login {
    fn credentials(&self, now: SystemTime) -> (String, Secret) {
        match self {
            Self::Static { username, password } => (username.clone(), password.clone()),
            Self::TimeLimited { secret, seconds } => {
                let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let username = format!("{}:{USER}", now.saturating_add(*seconds));
                // draft-uberti-behave-turn-rest-00, 2.2; nobody but TURN servers still uses SHA-1 for this.
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.reveal().as_bytes());
                let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
                (username, Secret::new(password))
            }
        }
    }
}

fn read(settings: &Ice) -> Result<Option<Login>, IceError> {
    let secret =
        |key, file: &SecretFile| file.read().map_err(|cause| IceError { key, file: file.to_string(), cause });
    Ok(match &settings.turn_login {
        None => None,
        Some(TurnLogin::Static { username, password }) => Some(Login::Static {
            username: username.clone(),
            password: secret("turn_password_file", password)?,
        }),
        Some(TurnLogin::TimeLimited { secret: file, lifetime }) => Some(Login::TimeLimited {
            secret: secret("turn_secret_file", file)?,
            seconds: lifetime.as_secs(),
        }),
    })
}

/// A secret that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("[ice] {key}: cannot read {file}: {cause}")]
pub struct IceError {
    key: &'static str,
    file: String,
    cause: io::Error,
}

impl IceError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let file = &self.file;
        match self.cause.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("let portald's user read it: chgrp portald {file} && chmod 640 {file}")
            }
            io::ErrorKind::InvalidData => "write the secret into it, as one line of text".to_owned(),
            _ => "check the path, or the name of the credential".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(name: &str, text: &str) -> SecretFile {
        let path = std::env::temp_dir().join(format!("portald-ice-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        SecretFile::Path(path)
    }

    fn remove(file: &SecretFile) {
        std::fs::remove_file(file.path().unwrap()).unwrap();
    }

    #[test]
    fn time_limited_credentials_are_what_coturn_computes() {
        let secret = file("secret", "north-pole\n");
        let login = TurnLogin::TimeLimited { secret: secret.clone(), lifetime: Duration::from_secs(86_400) };
        let turn = vec!["turn:192.168.1.2:3478".to_owned()];
        let stun = vec!["stun:192.168.1.2:3478".to_owned()];
        let settings =
            Ice { stun: stun.clone(), turn: turn.clone(), turn_login: Some(login), ..Ice::default() };
        let servers = IceServers::open(&settings).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        // printf 1700086400:portald | openssl dgst -sha1 -hmac north-pole -binary | base64
        let password = Secret::new("ZAtYi6fVEl7gHbNRS/BhZo8a7Lk=");
        let login = Some(("1700086400:portald".to_owned(), password));
        let expected = vec![IceServer { urls: stun, login: None }, IceServer { urls: turn, login }];
        assert_eq!(servers.servers(now), expected);
        assert!(!format!("{servers:?} {expected:?}").contains("north-pole"));

        std::fs::write(secret.path().unwrap(), "").unwrap();
        let error = servers.reload().unwrap_err();
        assert!(error.to_string().starts_with("[ice] turn_secret_file: cannot read"), "{error}");
        assert!(error.hint().contains("one line"));
        assert_eq!(servers.servers(now), expected, "the old one stays");
        std::fs::write(secret.path().unwrap(), "south-pole").unwrap();
        servers.reload().unwrap();
        assert_ne!(servers.servers(now), expected);
        remove(&secret);
    }

    #[test]
    fn a_password_that_stays_is_given_out_as_it_is() {
        let password = file("password", " s3cret \n");
        let login = TurnLogin::Static { username: "box".into(), password: password.clone() };
        let settings = Ice { turn: vec!["turns:t".into()], turn_login: Some(login), ..Ice::default() };
        let servers = IceServers::open(&settings).unwrap();
        remove(&password);
        let given = servers.servers(UNIX_EPOCH);
        assert_eq!(given[0].login, Some(("box".into(), Secret::new("s3cret"))));
        assert!(!format!("{servers:?} {given:?}").contains("s3cret"));
        assert!(IceServers::open(&settings).unwrap_err().hint().contains("path"));
        assert_eq!(IceServers::default().servers(UNIX_EPOCH), []);
    }
}
