//! A configuration: parts of `[what][text]`. `f`: a file, after which come variables, `NAME=VALUE`. `s`: where a typo is
//! made in a file with a password in it, and the typo.

use std::collections::BTreeSet;
use std::path::PathBuf;

use portald::config::{ConfigError, Place, Settings, from_bytes};

use super::{Feed, parts};

const FILE: &str = "portald.toml";
/// What no message may show.
const PASSWORD: &str = "hunter2";
/// A file with a password where passwords are. What is typed into it is no second password.
const SECRET: &str = "[server]\npath = '/x'\n[camera.a]\nwidth = 640\nsource = \"rtsp://admin:hunter2@cam/x\"\ntitle = 'T'\n\
                      [camera.b]\nsource = 'rtsp://cam/live?user=admin&pwd=hunter2'\n";
/// The longest message: it may list all of 64 rooms or cameras.
const MESSAGE: usize = 8 * 1024;

/// Loads a configuration, and looks at what comes of it as a user does.
pub fn run(data: &[u8]) {
    let mut parts = parts(data);
    match parts.next().and_then(|part| part.split_first()) {
        Some((b'f', file)) => {
            let variables: Vec<(String, String)> = parts
                .filter_map(|part| std::str::from_utf8(part).ok()?.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            check(file, &variables);
        }
        Some((b's', typo)) => {
            let mut feed = Feed(typo);
            let at = (feed.below(256) * 256 + feed.below(256)) % SECRET.len();
            let typo = feed.0;
            if typo.len() > 16
                || typo.windows(3).any(|three| PASSWORD.as_bytes().windows(3).any(|p| p == three))
            {
                return;
            }
            let (before, after) = SECRET.as_bytes().split_at(at);
            let told = check(&[before, typo, after].concat(), &[]);
            assert!(!told.contains("hunter") && !told.contains("unter2"), "a password is shown: {told}");
        }
        _ => {}
    }
}

/// Loads it; gives all that anybody is shown of it.
fn check(file: &[u8], variables: &[(String, String)]) -> String {
    match from_bytes(PathBuf::from(FILE), file.to_vec(), variables.to_vec()) {
        Ok(settings) => {
            settled(&settings);
            format!("{settings:?}")
        }
        Err(error) => {
            let (message, hint) = (error.to_string(), error.hint());
            assert!(!hint.is_empty() && message.len() < MESSAGE && hint.len() < MESSAGE, "{message}\n{hint}");
            assert!(!message.contains('\n'), "more than a line: {message:?}");
            let place = match &error {
                ConfigError::Syntax { place, .. } => place,
                ConfigError::Key(key) => &key.place,
                ConfigError::Read { .. } => panic!("nothing was to be read: {message}"),
            };
            is_there(place, &String::from_utf8_lossy(file), variables);
            format!("{message}\n{hint}\n{error:?}")
        }
    }
}

/// Whether a place is one in the file, or one of the variables.
fn is_there(place: &Place, text: &str, variables: &[(String, String)]) {
    match place {
        Place::Variable(name) => {
            assert!(variables.iter().any(|(known, _)| known == name), "{place} is not set")
        }
        Place::File { file, line, column } => {
            assert_eq!(file.to_str(), Some(FILE));
            let found = text.split('\n').nth(line - 1);
            // One more than there are characters: the end of the line.
            let columns = found.map(|line| line.chars().count() + 1);
            assert!(
                columns.is_some_and(|columns| (1..=columns).contains(column)),
                "{place} is not in the file"
            );
        }
    }
}

/// What the rest of portald relies on.
fn settled(settings: &Settings) {
    let rooms: BTreeSet<_> = settings.rooms.iter().map(|room| &room.name).collect();
    assert!(rooms.len() == settings.rooms.len() && (1..=1000).contains(&rooms.len()));
    let cameras: BTreeSet<_> = settings.cameras.iter().map(|camera| &camera.name).collect();
    assert!(cameras.len() == settings.cameras.len() && cameras.len() <= 64);
    for camera in &settings.cameras {
        assert!(!camera.rooms.is_empty() && camera.rooms.iter().all(|room| rooms.contains(room)));
        assert!((1..=80).contains(&camera.title.chars().count()) && !camera.title.contains(char::is_control));
        assert!((16..=7680).contains(&camera.wish.width) && (1..=240).contains(&camera.wish.framerate));
        let seconds = camera.keyframe_interval.as_secs_f64();
        assert!((0.1..=60.0).contains(&seconds));
    }
    assert!(!settings.server.listen.is_empty() && settings.server.path.starts_with('/'));
    for uplink in &settings.uplinks {
        assert!(uplink.cameras.iter().flatten().all(|camera| cameras.contains(camera)));
    }
}
