//! Configuration: as written ([`mod@file`]) → as used ([`settings`]).
//!
//! Layers, later ones winning: built-in defaults, the file, `PORTALD_…` variables (`__` separates levels).
//! figment merges them and says which key is wrong; `origin` says where that key was written, which figment cannot.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use figment::Figment;
use figment::providers::Serialized;

pub use error::{ConfigError, KeyError, Place};
use file::File;
use origin::{At, Origin};
use rejected::Rejected;
pub use settings::{
    BITRATE, Camera, DEFAULT_TEST_PATTERN, EncoderChoice, FRAMERATE, HEIGHT, KEYFRAME_INTERVAL, Room,
    RtspTransport, Secret, Server, Settings, Source, Sub, TEST_PATTERNS, WIDTH, Wish, redacted,
};

pub mod access;
mod error;
pub mod file;
pub mod limits;
pub mod network;
mod origin;
mod parse;
mod rejected;
pub mod settings;
mod source;

/// The file that is read when none is named; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/portald/portald.toml";

/// Reads the configuration: defaults < `path`, or else [`DEFAULT_FILE`] < this process's environment.
///
/// # Errors
/// The first thing that is wrong, with its place, what was found, what is allowed, and a hint.
pub fn load(path: Option<&Path>) -> Result<Settings, ConfigError> {
    load_with(path, environment())
}

/// This process's; a value that is not Unicode is kept readable enough to be refused where it matters.
fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// [`load`] with another environment.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let file = path.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_owned);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(ConfigError::Read { file, error }),
    };
    from_bytes(file, bytes, environment)
}

/// [`load_with`] when the file has been read: `bytes` is what is in `file`, which appears in messages only.
///
/// # Errors
/// As [`load`], but for a file that cannot be read.
pub fn from_bytes(
    file: PathBuf,
    bytes: Vec<u8>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let (text, bad_byte) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(offset))
        }
    };
    let origin = Origin { file, text, variables: origin::variables(environment) };
    if let Some(offset) = bad_byte {
        let problem = "a byte that is not UTF-8".to_owned();
        return Err(ConfigError::Syntax { place: origin.place_of_offset(offset), problem });
    }
    from_layers(&origin)
}

/// What is wrong with the first camera of `settings` whose encoder is none of `known`, the names of the templates; `path` as
/// for [`load`]. Apart from it because templates are files, too: a camera without its encoder is no reason not to start.
#[must_use]
pub fn unknown_encoder<'a>(
    path: Option<&Path>,
    settings: &Settings,
    known: impl Iterator<Item = &'a str>,
) -> Option<ConfigError> {
    let known: Vec<_> = known.collect();
    let (camera, name) = settings.cameras.iter().find_map(|camera| match &camera.encoder {
        EncoderChoice::Named(name) if !known.contains(&name.as_str()) => Some((camera, name)),
        _ => None,
    })?;
    let hint = match error::closest(name, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("there are: auto, {}", known.join(", ")),
    };
    let file = path.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_owned);
    // Read once more for the place alone.
    let text = fs::read_to_string(&file).unwrap_or_default();
    let origin = Origin { file, text, variables: origin::variables(environment()) };
    let key = ["camera", camera.name.as_str(), "encoder"];
    Some(at_place(&origin, Rejected::value(&key, rejected::quoted(name)).hint(hint)))
}

/// Merges the layers and parses the outcome.
fn from_layers(origin: &Origin) -> Result<Settings, ConfigError> {
    let written: toml::Table = toml::from_str(&origin.text).map_err(|error| ConfigError::Syntax {
        place: origin.place_of_offset(error.span().map_or(0, |span| span.start)),
        problem: redacted(&error.message().replace('\n', ", ")),
    })?;
    let mut layers = Figment::from(Serialized::globals(written));
    for variable in &origin.variables {
        layers = layers.merge(Serialized::global(&variable.key.join("."), &variable.value));
    }
    let file: File =
        layers.extract().map_err(|error| at_place(origin, Rejected::from_figment(error, &layers)))?;
    parse::settings(file, |key| origin.order(key)).map_err(|rejected| at_place(origin, rejected))
}

/// The error for a rejected value, with its place.
fn at_place(origin: &Origin, rejected: Rejected) -> ConfigError {
    let place = origin.place(&rejected.key, rejected.index, rejected.at);
    let hint = match &place {
        // Typing the name with one underscore is the mistake to expect.
        Place::Variable(name)
            if rejected.at == At::Key && !name.trim_start_matches("PORTALD_").contains("__") =>
        {
            "two underscores separate levels: PORTALD_SERVER__PATH sets `path` in [server]".into()
        }
        _ => rejected.hint,
    };
    let key = rejected.key.iter().map(|part| rejected::shown(part)).collect::<Vec<_>>().join(".");
    ConfigError::Key(Box::new(KeyError {
        place,
        key,
        found: rejected.found,
        allowed: rejected.allowed,
        hint,
    }))
}
