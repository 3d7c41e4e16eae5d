//! Where each value came from: a line and column of the file, or an environment variable.

use std::path::PathBuf;

use figment::value::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Place;

/// What every variable of ours starts with.
const PREFIX: &str = "PORTALD_";
/// Variables that start so and are no configuration: the log's level, and what only tests use.
const NOT_OURS: [&str; 2] = ["PORTALD_LOG", "PORTALD_TEST_"];
/// Keys that hold text, whatever it looks like: a title may be `12`, a password anything.
const TEXT: [&str; 13] = [
    "title",
    "source",
    "encoder",
    "mode",
    "path",
    "certificate",
    "key",
    "turn_username",
    "ports",
    "url",
    "room",
    "box",
    "fingerprint",
];
/// The end of the names of keys that hold the path of a secret.
const FILE: &str = "_file";

/// The file's text and the variables that were laid over it.
#[derive(Debug)]
pub(super) struct Origin {
    /// The file, for messages.
    pub(super) file: PathBuf,
    /// Its text; empty when there is no file.
    pub(super) text: String,
    /// The variables, each with the key it sets.
    pub(super) variables: Vec<Variable>,
}

/// An environment variable that sets a key.
#[derive(Debug)]
pub(super) struct Variable {
    /// Its name.
    pub(super) name: String,
    /// The key it sets: tables first.
    pub(super) key: Vec<String>,
    /// The value it gives.
    pub(super) value: Value,
}

/// Which end of `key = value` a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The key itself is wrong, or missing below it.
    Key,
    /// Its value is wrong.
    Value,
}

/// The variables of `environment` that are configuration. `PORTALD_CAMERA__FRONT_DOOR__WIDTH` sets
/// `camera.front-door.width`: names have no `_`, and most shells allow no `-`.
pub(super) fn variables(environment: impl IntoIterator<Item = (String, String)>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (name, text) in environment {
        let Some(key) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if NOT_OURS.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        let lower = key.to_ascii_lowercase();
        let mut key: Vec<String> = lower
            .split("__")
            .flat_map(|part| part.split('.'))
            .filter(|part| !part.is_empty())
            .map(Into::into)
            .collect();
        if matches!(key.first().map(String::as_str), Some("camera" | "room" | "uplink"))
            && let Some(name) = key.get_mut(1)
        {
            *name = name.replace('_', "-");
        }
        if key.is_empty() {
            continue;
        }
        let is_text = key.last().is_some_and(|last| TEXT.contains(&last.as_str()) || last.ends_with(FILE));
        let value = match text.parse::<Value>() {
            Ok(value) if !is_text => value,
            _ => Value::from(text),
        };
        variables.push(Variable { name, key, value });
    }
    // The environment has no order; errors should.
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    variables
}

impl Origin {
    /// Where `key` was set; of a list's value, where its element `index` is. A key that was set nowhere is placed at
    /// the table it would be in.
    pub(super) fn place(&self, key: &[String], index: Option<usize>, at: At) -> Place {
        let sets = |variable: &&Variable| key.starts_with(&variable.key);
        if let Some(variable) = self.variables.iter().find(sets) {
            return Place::Variable(variable.name.clone());
        }
        let (depth, offset) = self.find(key, index, at);
        let below = |variable: &&Variable| variable.key.starts_with(key);
        match self.variables.iter().find(below) {
            Some(variable) if depth < key.len() => Place::Variable(variable.name.clone()),
            _ => self.place_of_offset(offset),
        }
    }

    /// Line and column of a byte of the file.
    pub(super) fn place_of_offset(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Where the file first mentions `key`, for keeping the file's order; what it does not mention comes last.
    pub(super) fn order(&self, key: &[&str]) -> usize {
        let key: Vec<String> = key.iter().map(|&part| part.into()).collect();
        let (depth, offset) = self.find(&key, None, At::Key);
        if depth == key.len() { offset } else { usize::MAX }
    }

    /// How much of `key` the file has, and the byte where the last part of that is.
    fn find(&self, key: &[String], index: Option<usize>, at: At) -> (usize, usize) {
        let Ok(document) = DeTable::parse(&self.text) else {
            return (0, 0);
        };
        let mut table = document.get_ref();
        let mut offset = 0;
        for (depth, part) in key.iter().enumerate() {
            let Some((name, value)) = table.get_key_value(part.as_str()) else {
                return (depth, offset);
            };
            offset = if at == At::Value && depth + 1 == key.len() {
                element(value, index).span().start
            } else {
                name.span().start
            };
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => return (depth + 1, offset),
            }
        }
        (key.len(), offset)
    }
}

/// Element `index` of a list; else the value itself.
fn element<'v, 'i>(value: &'v Spanned<DeValue<'i>>, index: Option<usize>) -> &'v Spanned<DeValue<'i>> {
    index.and_then(|index| value.get_ref().as_array()?.get(index)).unwrap_or(value)
}
