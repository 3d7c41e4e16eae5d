//! Passwords and tokens: who knows which, and the cookies that stand for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, pbkdf2};

use crate::config::settings::Secret;
use crate::proto::ids::Name;

/// Rounds of PBKDF2 between a secret and its cookie: whoever steals a cookie must not find the password by trying
/// words offline. 100 000 cost some 0.1 s of a PC and 0.5 s of a Pi, once for each secret when it is read.
const ROUNDS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
/// What a cookie says, before the scope. A new number would log everybody out.
const COOKIE: &str = "portald cookie 1 ";
/// Longest secret that is compared, in bytes; longer ones are not taken from files either.
const MAX_SECRET: usize = 1024;

/// What a secret opens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Scope {
    /// Every room, and changes.
    Admin,
    /// Every room without a token of its own.
    Viewer,
    /// One room.
    Room(Name),
    /// Adding another box's cameras.
    Uplink,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Viewer => f.write_str("viewer"),
            Self::Room(name) => write!(f, "room-{name}"),
            Self::Uplink => f.write_str("uplink"),
        }
    }
}

/// The secrets of this server, none of them in clear.
#[derive(Default)]
pub(in crate::server) struct Secrets {
    known: BTreeMap<Scope, Known>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.known.keys()).finish()
    }
}

/// What is kept of a secret.
#[derive(Clone)]
struct Known {
    /// Its HMAC under the process's key: comparing these tells nothing about how much of a guess is right, or how
    /// long the secret is.
    tag: hmac::Tag,
    /// What its cookie holds.
    cookie: String,
}

impl Secrets {
    /// Those of `secrets`; what has not changed is taken over from `before`, which saves its derivation.
    pub(in crate::server) fn new(
        secrets: impl IntoIterator<Item = (Scope, Secret)>,
        key: &hmac::Key,
        before: &Self,
    ) -> Self {
        let known = secrets.into_iter().map(|(scope, secret)| {
            let text = secret.reveal().as_bytes();
            let unchanged = before.known.get(&scope).filter(|known| known.is(key, text)).cloned();
            let fresh = || Known { tag: hmac::sign(key, text), cookie: cookie(&scope, text) };
            let known = unchanged.unwrap_or_else(fresh);
            (scope, known)
        });
        Self { known: known.collect() }
    }

    /// Whether there is none.
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether there is a secret of this scope.
    pub(in crate::server) fn has(&self, scope: &Scope) -> bool {
        self.known.contains_key(scope)
    }

    /// Whether anything is asked of viewers.
    pub(in crate::server) fn guard_rooms(&self) -> bool {
        self.known.keys().any(|scope| matches!(scope, Scope::Viewer | Scope::Room(_)))
    }

    /// What `guess` opens. Each secret is compared, whatever the others said.
    pub(in crate::server) fn opened_by(&self, guess: &str, key: &hmac::Key) -> BTreeSet<Scope> {
        let fits = guess.len() <= MAX_SECRET;
        let known = self.known.iter().filter(|(_, known)| fits && known.is(key, guess.as_bytes()));
        known.map(|(scope, _)| scope.clone()).collect()
    }

    /// What the cookies of a `Cookie` header open.
    pub(in crate::server) fn opened_by_cookies(&self, header: &str, key: &hmac::Key) -> BTreeSet<Scope> {
        let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        let opened = pairs.filter_map(|(name, value)| {
            let (scope, known) = self.known.iter().find(|(scope, _)| name == cookie_name(scope))?;
            // Under the process's key, so that the comparison takes the same time for every wrong value.
            let tag = hmac::sign(key, known.cookie.as_bytes());
            hmac::verify(key, value.as_bytes(), tag.as_ref()).ok().map(|()| scope.clone())
        });
        // An uplink is a program: it has no cookie.
        opened.filter(|scope| *scope != Scope::Uplink).collect()
    }

    /// The name and value of the cookie for a scope that has a secret.
    pub(in crate::server) fn cookie(&self, scope: &Scope) -> Option<(String, &str)> {
        self.known.get(scope).map(|known| (cookie_name(scope), known.cookie.as_str()))
    }
}

impl Known {
    fn is(&self, key: &hmac::Key, guess: &[u8]) -> bool {
        hmac::verify(key, guess, self.tag.as_ref()).is_ok()
    }
}

/// The cookie's name.
pub(in crate::server) fn cookie_name(scope: &Scope) -> String {
    format!("portald-{scope}")
}

/// The cookie of a secret. It is the same after a restart, so that a screen on the wall stays logged in, and another
/// one when the secret is another.
fn cookie(scope: &Scope, secret: &[u8]) -> String {
    let mut derived = [0; 32];
    // The scope is in the salt too: two rooms with one token need two searches.
    let salt = format!("{COOKIE}{scope}");
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt.as_bytes(), secret, &mut derived);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &derived);
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, salt.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> hmac::Key {
        hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new()).unwrap()
    }

    fn room(name: &str) -> Scope {
        Scope::Room(Name::new(name).unwrap())
    }

    #[test]
    fn each_secret_opens_its_own_scope_and_no_other() {
        let key = key();
        let list = [(Scope::Viewer, "sesame"), (Scope::Admin, "root"), (room("attic"), "sesame")];
        let secrets =
            Secrets::new(list.map(|(scope, text)| (scope, Secret::new(text))), &key, &Secrets::default());
        let opened = |guess: &str| Vec::from_iter(secrets.opened_by(guess, &key));
        assert_eq!(
            opened("sesame"),
            [Scope::Viewer, room("attic")],
            "one password for two things is allowed"
        );
        assert_eq!(opened("root"), [Scope::Admin]);
        for wrong in ["", "sesam", "sesame ", "Sesame", &"x".repeat(5000)] {
            assert_eq!(opened(wrong), [], "{wrong:?}");
        }
        assert!(secrets.guard_rooms() && secrets.has(&Scope::Viewer) && !secrets.has(&Scope::Uplink));
        assert!(!format!("{secrets:?}").contains("sesame"));
    }

    #[test]
    fn a_cookie_outlives_the_process_and_dies_with_its_secret() {
        let read = |key: &hmac::Key, text: &str, before: &Secrets| {
            Secrets::new(
                [(Scope::Viewer, Secret::new(text)), (Scope::Uplink, Secret::new("box"))],
                key,
                before,
            )
        };
        let (one, two) = (key(), key());
        let first = read(&one, "sesame", &Secrets::default());
        let (name, value) =
            first.cookie(&Scope::Viewer).map(|(name, value)| (name, value.to_owned())).unwrap();
        assert_eq!(name, "portald-viewer");
        assert!(value.len() == 43 && !value.contains("sesame"));
        let header = format!("other=1; {name}={value}; portald-uplink={value}");
        let again = read(&two, "sesame", &Secrets::default());
        assert_eq!(Vec::from_iter(again.opened_by_cookies(&header, &two)), [Scope::Viewer]);
        let unchanged = read(&two, "sesame", &again);
        assert_eq!(unchanged.opened_by_cookies(&header, &two).len(), 1);
        let changed = read(&two, "open", &unchanged);
        assert!(changed.opened_by_cookies(&header, &two).is_empty());
        let (uplink, value) = changed.cookie(&Scope::Uplink).unwrap();
        assert!(
            changed.opened_by_cookies(&format!("{uplink}={value}"), &two).is_empty(),
            "no uplink by cookie"
        );
        assert!(changed.opened_by_cookies("portald-viewer=; portald-viewer; =;;", &two).is_empty());
        // Nobody opens one thing with the cookie of another.
        assert!(
            first
                .opened_by_cookies(
                    &format!("portald-admin={}", first.cookie(&Scope::Viewer).unwrap().1),
                    &one
                )
                .is_empty()
        );
    }
}
