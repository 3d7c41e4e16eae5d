//! What can be wrong with a configuration, said so that the user can mend it.

use std::path::PathBuf;
use std::{fmt, io};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: found what is not TOML: {problem}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser said; never the line itself, which may hold a password.
        problem: String,
    },
    /// A key that does not exist, or whose value cannot be.
    #[error("{}: key `{}`: found {}; allowed: {}", .0.place, .0.key, .0.found, .0.allowed)]
    Key(Box<KeyError>),
}

/// A key that does not exist, or whose value cannot be.
#[derive(Debug)]
pub struct KeyError {
    /// Where.
    pub place: Place,
    /// The key with the tables it is in, such as `camera.front.width`.
    pub key: String,
    /// What was found, in words.
    pub found: String,
    /// What could be there, in words.
    pub allowed: String,
    /// The next step.
    pub hint: String,
}

impl ConfigError {
    /// The next step for the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                "give --config the path of a file that exists, or leave it out to use /etc/portald/portald.toml".into()
            }
            Self::Read { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "portald's user must be able to read it: `chgrp portald` the file and `chmod 640` it".into()
            }
            Self::Read { .. } => "check that it is a file and that its disk works".into(),
            Self::Syntax { problem, .. } if problem.starts_with("duplicate key") => {
                "it is there already, further up: remove one of the two".into()
            }
            Self::Syntax { problem, .. } if problem.contains("UTF-8") => "save the file as UTF-8".into(),
            Self::Syntax { .. } => {
                "tables are `[camera.front]`, keys are `width = 1280`; text goes in \"quotes\", numbers do not".into()
            }
            Self::Key(error) => error.hint.clone(),
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file; line and column count from 1, columns in characters.
    File {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The environment variable of this name.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            // A name may have anything in it, even line ends.
            Self::Variable(name) => {
                let short: String = name.chars().take(100).flat_map(char::escape_debug).collect();
                write!(f, "environment variable {short}")
            }
        }
    }
}

/// What other programs call our keys.
const SYNONYMS: [(&str, &str); 8] = [
    ("fps", "framerate"),
    ("rate", "framerate"),
    ("gop", "keyframe_interval"),
    ("codec", "encoder"),
    ("device", "source"),
    ("url", "source"),
    ("name", "title"),
    ("room", "rooms"),
];

/// The word of `known` that `found` is probably meant to be: another program's word for it, or at most a third of
/// its letters differ.
pub(super) fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase();
    let known: Vec<&str> = known.into_iter().collect();
    if let Some((_, ours)) = SYNONYMS.iter().find(|(theirs, _)| *theirs == found)
        && let Some(word) = known.iter().find(|word| *word == ours)
    {
        return Some(word);
    }
    let (distance, word) =
        known.into_iter().map(|word| (distance(&found, word), word)).min_by_key(|(distance, _)| *distance)?;
    (distance <= word.chars().count().max(3) / 3).then_some(word)
}

/// How many letters must be added, removed, changed, or swapped with the next, to make `b` from `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(60).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_does_not() {
        let known = ["width", "height", "framerate", "keyframe_interval"];
        for (typo, word) in
            [("widht", "width"), ("heigth", "height"), ("Width", "width"), ("frame_rate", "framerate")]
        {
            assert_eq!(closest(typo, known), Some(word));
        }
        assert_eq!(closest("fps", known), Some("framerate"));
        assert_eq!(closest("fps", ["mode"]), None);
        assert_eq!(closest("password", known), None);
        assert_eq!(closest("x", []), None);
    }
}
