//! What a request has shown, and what that opens.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;
use warp::http::{HeaderMap, header};

use super::attempts::Attempts;
use super::{Access, Client, Scope, Secrets};
use crate::proto::ids::Name;

/// The secrets that came with a request.
#[derive(Default)]
pub(in crate::server) struct Credentials {
    cookies: Vec<String>,
    /// `?token=` or a password typed in.
    typed: Option<String>,
    /// `Authorization`.
    header: Option<String>,
}

impl Credentials {
    /// Those in `headers`, and `token` from the address.
    pub(in crate::server) fn of(headers: &HeaderMap, token: Option<&str>) -> Self {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let header = headers.get(header::AUTHORIZATION).and_then(|line| authorization(line.to_str().ok()?));
        Self { cookies: cookies.map(str::to_owned).collect(), typed: token.map(str::to_owned), header }
    }

    /// A password alone.
    pub(in crate::server) fn password(text: &str) -> Self {
        Self { typed: Some(text.to_owned()), ..Self::default() }
    }

    /// Without what came in the address: an address can be clicked on.
    pub(in crate::server) fn without_token(self) -> Self {
        Self { typed: None, ..self }
    }

    fn guesses(&self) -> impl Iterator<Item = &str> {
        let guesses = self.typed.iter().chain(&self.header).map(String::as_str);
        guesses.filter(|guess| !guess.is_empty())
    }
}

/// The token of `Bearer TOKEN` (RFC 6750), or the password of `Basic` (RFC 7617), whatever the user's name.
fn authorization(line: &str) -> Option<String> {
    let (scheme, rest) = line.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// What somebody knows.
#[derive(Debug)]
pub(in crate::server) struct Caller {
    secrets: Arc<Secrets>,
    /// What was opened by secrets that somebody wrote.
    shown_scopes: BTreeSet<Scope>,
    /// What was opened by cookies, which a browser sends along whatever page asks.
    cookie_scopes: BTreeSet<Scope>,
    /// How good what was shown is.
    pub(in crate::server) shown: Shown,
}

/// How good the secrets are that came with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Shown {
    /// None came, but perhaps cookies.
    Nothing,
    /// Each that came opens something.
    Right,
    /// One opens nothing.
    Wrong,
    /// They were not looked at: too many wrong ones came from this address. The next is in so long.
    TooMany(Duration),
}

impl Access {
    /// What `credentials` open for `client`. A wrong cookie counts for nothing, since it cannot be guessed; another
    /// wrong secret is an attempt, of which `attempts` allows some.
    pub(in crate::server) fn caller(
        &self,
        client: &Client,
        credentials: &Credentials,
        attempts: &Mutex<Attempts>,
    ) -> Caller {
        let secrets = self.secrets();
        let cookies = credentials.cookies.iter();
        let cookie_scopes = cookies.flat_map(|line| secrets.opened_by_cookies(line, &self.key)).collect();
        let mut shown_scopes = BTreeSet::new();
        let mut shown = Shown::Nothing;
        // Without secrets there is nothing to guess.
        for guess in credentials.guesses().filter(|_| !secrets.is_empty()) {
            let now = Instant::now();
            // Held over the comparison, or two at once could try more than one may.
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(wait) = attempts.wait(client.address, now) {
                shown = Shown::TooMany(wait);
                break;
            }
            let scopes = secrets.opened_by(guess, &self.key);
            if scopes.is_empty() {
                attempts.note(client.address, now);
                shown = Shown::Wrong;
            } else if shown == Shown::Nothing {
                shown = Shown::Right;
            }
            shown_scopes.extend(scopes);
        }
        Caller { secrets, shown_scopes, cookie_scopes, shown }
    }
}

impl Caller {
    /// Whether the caller may be in `room`: with the room's own token if it has one, else with the password of all
    /// viewers if there is one.
    pub(in crate::server) fn opens(&self, room: &Name) -> bool {
        let own = Scope::Room(room.clone());
        if self.secrets.has(&own) {
            return self.is_admin() || self.knows(&own);
        }
        self.opens_others()
    }

    /// The same of a room as somebody wrote it; what is no name is no room, and only who may be in some is told so.
    pub(in crate::server) fn opens_asked(&self, room: &str) -> bool {
        Name::new(room).map_or_else(|_| self.opens_others(), |room| self.opens(&room))
    }

    /// Whether the caller may be in rooms without a token of their own.
    pub(in crate::server) fn opens_others(&self) -> bool {
        !self.secrets.has(&Scope::Viewer) || self.is_admin() || self.knows(&Scope::Viewer)
    }

    /// Whether the caller may be in every room there is.
    pub(in crate::server) fn opens_all(&self) -> bool {
        self.is_admin() || !self.secrets.guard_rooms()
    }

    /// Whether the caller may see figures of the whole box.
    pub(in crate::server) fn sees_figures(&self) -> bool {
        let asked = self.secrets.has(&Scope::Viewer) || self.secrets.has(&Scope::Admin);
        !asked || self.is_admin() || self.knows(&Scope::Viewer)
    }

    /// Whether the caller may change things.
    pub(in crate::server) fn is_admin(&self) -> bool {
        self.knows(&Scope::Admin)
    }

    /// Whether that is so only because of a cookie.
    pub(in crate::server) fn is_admin_by_cookie(&self) -> bool {
        self.is_admin() && !self.shown_scopes.contains(&Scope::Admin)
    }

    /// Whether the caller is a box that adds its cameras.
    pub(in crate::server) fn is_uplink(&self) -> bool {
        self.knows(&Scope::Uplink)
    }

    /// Name and value of the cookies for what was opened.
    pub(in crate::server) fn cookies(&self) -> impl Iterator<Item = (String, &str)> {
        let people = self.shown_scopes.iter().filter(|scope| **scope != Scope::Uplink);
        people.filter_map(|scope| self.secrets.cookie(scope))
    }

    /// Whether a secret came that somebody wrote.
    pub(in crate::server) fn shown_something(&self) -> bool {
        self.shown != Shown::Nothing
    }

    /// Whether the caller is logged in.
    pub(in crate::server) fn has_cookies(&self) -> bool {
        !self.cookie_scopes.is_empty()
    }

    fn knows(&self, scope: &Scope) -> bool {
        self.shown_scopes.contains(scope) || self.cookie_scopes.contains(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_show_a_token_in_either_way() {
        let guesses = |line: &str, token: Option<&str>| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, line.parse().unwrap())]);
            Credentials::of(&headers, token).guesses().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(guesses("Bearer abc", None), ["abc"]);
        assert_eq!(guesses("bearer  abc ", Some("x")), ["x", "abc"]);
        // any:se:same
        assert_eq!(guesses("Basic YW55OnNlOnNhbWU=", None), ["se:same"]);
        for none in ["Bearer", "Basic !!!", "Basic YW55", "Digest x", ""] {
            assert!(guesses(none, Some("")).is_empty(), "{none}");
        }
    }
}
