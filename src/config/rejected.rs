//! A value that cannot be, in words, before its place is known.

use std::fmt::Display;
use std::ops::RangeInclusive;

use figment::error::{Actual, Kind};
use figment::value::Value;
use figment::{Error, Figment};

use super::error::closest;
use super::origin::At;
use super::settings::{BITRATE, FRAMERATE, HEIGHT, KEYFRAME_INTERVAL, MAX_TITLE, WIDTH, redacted};
use super::{limits, settings};
use crate::proto::ids::MAX_NAME;

/// Where a user finds what every key does.
const EXAMPLE: &str = "the comments of the portald.toml that comes with portald explain every key";

/// A rejected key or value.
#[derive(Debug)]
pub(super) struct Rejected {
    /// The key, tables first.
    pub(super) key: Vec<String>,
    /// Which element of a list it is about.
    pub(super) index: Option<usize>,
    /// Whether the key or its value is wrong.
    pub(super) at: At,
    /// What was found, in words.
    pub(super) found: String,
    /// What could be there, in words.
    pub(super) allowed: String,
    /// The next step.
    pub(super) hint: String,
}

impl Rejected {
    /// `key` is wrong, or something below it is missing.
    pub(super) fn key(key: &[&str], found: impl Into<String>) -> Self {
        Self::new(key.iter().map(|&part| part.into()).collect(), At::Key, found.into())
    }

    /// `key`'s value is wrong.
    pub(super) fn value(key: &[&str], found: impl Display) -> Self {
        Self::new(key.iter().map(|&part| part.into()).collect(), At::Value, found.to_string())
    }

    fn new(key: Vec<String>, at: At, found: String) -> Self {
        let allowed = allowed(&key);
        Self { key, index: None, at, found, allowed, hint: EXAMPLE.into() }
    }

    /// It is about element `index` of the list.
    pub(super) fn index(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    /// Replaces what [`allowed`] says.
    pub(super) fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: allowed.into(), ..self }
    }

    /// The next step.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// An error of figment: a key that does not exist, or a value of the wrong type.
    pub(super) fn from_figment(error: Error, layers: &Figment) -> Self {
        let mut key = error.path;
        match error.kind {
            Kind::UnknownField(found, known) => {
                if key.last() != Some(&found) {
                    key.push(found.clone());
                }
                let hint = closest(&found, known.iter().copied()).map_or_else(
                    || format!("remove it; {EXAMPLE}"),
                    |word| format!("did you mean `{word}`?"),
                );
                let found = "a key that does not exist".to_owned();
                let allowed = known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                Self::new(key, At::Key, found).allowed(allowed).hint(hint)
            }
            Kind::InvalidType(actual, wanted) | Kind::InvalidValue(actual, wanted) => {
                let index = list_index(&mut key);
                let hint = type_hint(&actual, &wanted);
                let rejected = Self::new(key, At::Value, in_words(&actual)).hint(hint);
                Self { index, ..rejected }
            }
            // A choice of types (`listen`): serde has forgotten what it saw.
            _ => {
                let index = list_index(&mut key);
                let found = layers
                    .find_value(&key.join("."))
                    .map_or_else(|_| "something else".into(), value_in_words);
                Self { index, ..Self::new(key, At::Value, found) }
            }
        }
    }
}

/// What `key` may hold, in words; the same whether its type or its range is wrong.
fn allowed(key: &[String]) -> String {
    let parts: Vec<&str> = key.iter().map(String::as_str).collect();
    let range = |range: &RangeInclusive<u32>, unit| format!("a whole number, {}", allowed_range(range, unit));
    match parts.as_slice() {
        ["server", "listen"] => "an address and port such as `[::]:8080` or `192.168.1.5:8080`, or a list of them".into(),
        ["server", "path"] => "a path from / of letters, digits and / - . _ ~, at most 100 characters, not one that portald answers itself".into(),
        ["room", _, "mode"] => "`wall`, `mesh`".into(),
        ["access", "networks"] => "`lan`, `any`, or a list of `lan` and networks such as `100.64.0.0/10`".into(),
        ["access", "origins"] => "`lan`, `any`, or a list of `lan` and origins such as `https://example.org`".into(),
        ["access", "cors"] => "a list of origins such as `https://example.org`".into(),
        ["access", "hosts"] => "a list of names such as `cams.example.org`, without port".into(),
        ["access", "trusted_proxies"] => "a list of addresses and networks such as `127.0.0.1` or `10.0.0.0/8`".into(),
        ["server", "tls", "self_signed"] | ["ice", "tcp"] => "`true`, `false`".into(),
        ["limits", key] if limits::range(key).is_some() => limits::range(key).map_or_else(String::new, |(_, r, unit)| range(r, unit)),
        ["ice", "stun"] => "a list such as `[\"stun:192.168.1.2:3478\"]`".into(),
        ["ice", "turn"] => "a list such as `[\"turn:192.168.1.2:3478?transport=udp\"]`".into(),
        ["ice", "turn_username"] => "a text of 1 to 200 characters without `:`".into(),
        ["ice", "turn_lifetime"] => range(&settings::TURN_LIFETIME, "seconds"),
        ["ice", "ports"] => "`any`, or the first and the last port, such as `50000-50200`".into(),
        ["ice", "interfaces" | "skip_interfaces"] => "a list of interface names such as `[\"eth0\", \"wlan*\"]`".into(),
        ["uplink", _, "url"] => "`ws://HOST:PORT/PATH` or `wss://HOST:PORT/PATH`, without a query".into(),
        ["uplink", _, "room"] => "a text of 1 to 100 characters".into(),
        ["uplink", _, "cameras"] => "a list of different cameras that exist".into(),
        ["uplink", _, "box"] => format!("1 to {MAX_NAME} characters of a-z, 0-9 and -"),
        ["uplink", _, "fingerprint"] => "SHA-256 of a certificate: 64 hexadecimal digits, with or without `:`".into(),
        ["server", "tls", "certificate" | "key"] => FILES.into(),
        [.., key] if key.ends_with("_file") => FILES.into(),
        ["camera", _, "title"] => format!("a text of 1 to {MAX_TITLE} characters on one line"),
        ["camera", _, "rooms"] => "a list of different rooms that exist, such as `[\"home\"]`".into(),
        ["camera", _, "source"] => super::source::SOURCES.into(),
        ["camera", _, "rtsp_transport"] => "`tcp`, `udp`".into(),
        ["camera", _, "encoder"] => "`auto`, or the name of a file in pipelines/encoder/ without its ending".into(),
        ["camera", _, "always_on" | "enabled"] => "`true`, `false`".into(),
        ["camera", _, "keyframe_interval"] => format!("a number, {}", allowed_range(&KEYFRAME_INTERVAL, "seconds")),
        ["camera", .., "width"] => range(&WIDTH, "pixels"),
        ["camera", .., "height"] => range(&HEIGHT, "pixels"),
        ["camera", .., "framerate"] => range(&FRAMERATE, "frames per second"),
        ["camera", .., "bitrate"] => range(&BITRATE, "kbit/s"),
        ["room" | "camera" | "uplink"] => format!("tables with a name, such as `[{}.front]`", parts.join(".")),
        _ => format!("a table, `[{}]`", key.iter().map(|part| shown(part)).collect::<Vec<_>>().join(".")),
    }
}

/// Where a secret may be.
const FILES: &str = "the path of a file, from /, or the name of a systemd credential";

/// `LOW to HIGH UNIT`.
pub(super) fn allowed_range<T: Display>(range: &RangeInclusive<T>, unit: &str) -> String {
    format!("{} to {} {unit}", range.start(), range.end())
}

/// A part of a key as one would write it: bare if it can be.
pub(super) fn shown(part: &str) -> String {
    let bare = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { part.into() } else { format!("\"{}\"", shortened(part)) }
}

/// `text` in backquotes, without credentials, shortened.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// At most 60 characters of `text`, on one line, without credentials.
fn shortened(text: &str) -> String {
    let text = redacted(text);
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    // escape_debug is for programmers' quotes; here they are not special.
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().count() > 60 {
        short.push('…');
    }
    short
}

/// Keys whose value is, or may be, a list.
const LISTS: [&str; 12] = [
    "rooms",
    "listen",
    "networks",
    "origins",
    "hosts",
    "cors",
    "trusted_proxies",
    "stun",
    "turn",
    "interfaces",
    "skip_interfaces",
    "cameras",
];

/// Takes the index of a list's element off a key.
fn list_index(key: &mut Vec<String>) -> Option<usize> {
    let [.., list, index] = key.as_slice() else {
        return None;
    };
    let index = index.parse().ok().filter(|_| LISTS.contains(&list.as_str()))?;
    key.pop();
    Some(index)
}

/// What a type error is mended with.
fn type_hint(actual: &Actual, wanted: &str) -> String {
    match (actual, wanted) {
        (Actual::Str(text), "i64" | "f64") if text.trim().parse::<f64>().is_ok() => {
            format!("write it without quotes: {}", text.trim())
        }
        (Actual::Str(text), "a boolean") if matches!(text.as_str(), "true" | "false") => {
            format!("write it without quotes: {text}")
        }
        (Actual::Float(number), "i64") => format!("write it without a fraction: {number:.0}"),
        (Actual::Str(text), "a sequence") => format!("put it in brackets: [\"{}\"]", shortened(text)),
        (Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_), "a string") => {
            "put it in quotes".into()
        }
        _ => EXAMPLE.into(),
    }
}

/// A value in words, by serde's account of it.
fn in_words(actual: &Actual) -> String {
    match actual {
        Actual::Bool(value) => format!("`{value}`"),
        Actual::Unsigned(value) => format!("the number {value}"),
        Actual::Signed(value) => format!("the number {value}"),
        Actual::Float(value) => format!("the number {value:?}"),
        Actual::Str(text) => format!("the text {}", quoted(text)),
        Actual::Seq => "a list".into(),
        Actual::Map => "a table".into(),
        other => format!("{other}"),
    }
}

/// A value in words.
fn value_in_words(value: Value) -> String {
    match value {
        Value::Array(_, items) if items.is_empty() => "an empty list".into(),
        Value::Array(..) => "a list with other things than texts".into(),
        other => in_words(&other.to_actual()),
    }
}
