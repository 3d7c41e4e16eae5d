//! The configuration as a user writes it: one field per key, nothing filled in, nothing judged but its type.
//!
//! Units, ranges and defaults are said here once for programmers and in `packaging/portald.toml` once for users;
//! a test compares the two.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::settings::Secret;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// `[server]`
    pub server: Server,
    /// `[room.NAME]`; none at all means one wall room `home`.
    pub room: BTreeMap<String, Room>,
    /// `[camera.NAME]`; none at all means every camera found.
    pub camera: BTreeMap<String, Camera>,
}

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port, or a list of them; default `[::]:8080`, which takes IPv4 too.
    pub listen: Option<OneOrMany>,
    /// Path of the WebSocket, from `/`; default `/portal`.
    pub path: Option<String>,
}

/// One text or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// `"a"`
    One(String),
    /// `["a", "b"]`
    Many(Vec<String>),
}

/// `[room.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Room {
    /// `wall` or `mesh`; default `wall`.
    pub mode: Option<String>,
}

/// `[camera.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Camera {
    /// Shown on the wall, at most 80 characters; default: the table's name.
    pub title: Option<String>,
    /// Names of rooms; default: every wall room.
    pub rooms: Option<Vec<String>>,
    /// Where the pictures come from; no default. May hold a password, hence the type.
    pub source: Option<Secret>,
    /// Pixels, 16 to 7680; default 1280.
    pub width: Option<i64>,
    /// Pixels, 16 to 4320; default 720.
    pub height: Option<i64>,
    /// Frames per second, 1 to 240; default 30.
    pub framerate: Option<i64>,
    /// `auto` or an encoder template's name; default `auto`.
    pub encoder: Option<String>,
    /// kbit/s, 50 to 100000; default 2000.
    pub bitrate: Option<i64>,
    /// Seconds, 0.1 to 60; default 2.
    pub keyframe_interval: Option<f64>,
    /// Capture while nobody watches; default false.
    pub always_on: Option<bool>,
    /// Publish it at all; default true.
    pub enabled: Option<bool>,
    /// `[camera.NAME.sub]`
    pub sub: Sub,
}

/// `[camera.NAME.sub]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sub {
    /// Pixels, 16 to 7680; default 640.
    pub width: Option<i64>,
    /// Pixels, 16 to 4320; default: the shape of the main picture.
    pub height: Option<i64>,
    /// Frames per second, 1 to 240; default: half the main rate.
    pub framerate: Option<i64>,
    /// kbit/s, 50 to 100000; default 400.
    pub bitrate: Option<i64>,
}
