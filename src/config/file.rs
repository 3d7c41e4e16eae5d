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
    /// `[access]`
    pub access: Access,
    /// `[limits]`
    pub limits: Limits,
    /// `[ice]`
    pub ice: Ice,
    /// `[uplink.NAME]`
    pub uplink: BTreeMap<String, Uplink>,
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
    /// Announce the wall in the LAN by multicast DNS; default true.
    pub mdns: Option<bool>,
    /// `[server.tls]`
    pub tls: Tls,
}

/// `[server.tls]`; without it, HTTP is not encrypted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file, or systemd credential, with the chain, ours first.
    pub certificate: Option<String>,
    /// PEM file, or systemd credential, with the private key.
    pub key: Option<String>,
    /// Make a certificate once and keep it in the state directory; default false.
    pub self_signed: Option<bool>,
}

/// `[access]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// `lan`, `any`, or a list of `lan` and networks such as `100.64.0.0/10`; default `lan`.
    pub networks: Option<OneOrMany>,
    /// `lan`, `any`, or a list of `lan` and origins such as `https://example.org`; default `lan`.
    pub origins: Option<OneOrMany>,
    /// Public names of this box; default none.
    pub hosts: Option<Vec<String>>,
    /// Origins whose scripts may read the API; default none.
    pub cors: Option<Vec<String>>,
    /// Addresses or networks of reverse proxies that are believed; default none.
    pub trusted_proxies: Option<Vec<String>>,
    /// File or systemd credential with the viewers' password; default: none is asked.
    pub viewer_password_file: Option<String>,
    /// File or systemd credential with the administrator's token; default: nothing can be changed over HTTP.
    pub admin_token_file: Option<String>,
    /// File or systemd credential with the token of other boxes; default: none may add cameras.
    pub uplink_token_file: Option<String>,
}

/// `[limits]`; defaults and ranges are in `super::limits`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections in all.
    pub sockets: Option<i64>,
    /// Connections of one address.
    pub sockets_per_address: Option<i64>,
    /// Members of a room; cameras always get in.
    pub sockets_per_room: Option<i64>,
    /// Bytes of a message.
    pub message_bytes: Option<i64>,
    /// Messages a second of one WebSocket.
    pub messages_per_second: Option<i64>,
    /// Messages that wait for a slow WebSocket.
    pub queue: Option<i64>,
    /// Rooms, configured and made at run time.
    pub rooms: Option<i64>,
    /// Viewers of one camera in one room.
    pub sessions_per_camera: Option<i64>,
    /// Viewers of all cameras.
    pub sessions: Option<i64>,
    /// Seconds for the TLS handshake, and for a request's headers.
    pub handshake: Option<i64>,
    /// Seconds for sending the login form, or another request's body.
    pub login: Option<i64>,
    /// Wrong passwords of one address a minute.
    pub logins_per_minute: Option<i64>,
    /// What encoding may take of all cores, in percent.
    pub encoding_cpu: Option<i64>,
}

/// `[ice]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ice {
    /// `stun:HOST:PORT`; default none.
    pub stun: Option<Vec<String>>,
    /// `turn:HOST:PORT` or `turns:`, with `?transport=udp` or `tcp`; default none.
    pub turn: Option<Vec<String>>,
    /// Name at the TURN servers.
    pub turn_username: Option<String>,
    /// File or systemd credential with the password that goes with the name.
    pub turn_password_file: Option<String>,
    /// File or systemd credential with the secret shared with the TURN servers, for time-limited passwords.
    pub turn_secret_file: Option<String>,
    /// Seconds for which such a password is valid; default 86400.
    pub turn_lifetime: Option<i64>,
    /// `any`, or `FIRST-LAST`; default `any`.
    pub ports: Option<String>,
    /// Also offer TCP candidates; default false.
    pub tcp: Option<bool>,
    /// Interfaces to use, `*` standing for any letters; default: all.
    pub interfaces: Option<Vec<String>>,
    /// Interfaces not to use; default: those of containers and virtual machines.
    pub skip_interfaces: Option<Vec<String>>,
}

/// `[uplink.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uplink {
    /// `ws://` or `wss://`; no default.
    pub url: Option<String>,
    /// The room there; no default.
    pub room: Option<String>,
    /// Names of cameras; default all.
    pub cameras: Option<Vec<String>>,
    /// What the cameras' ids there begin with; default: this box's host name.
    #[serde(rename = "box")]
    pub box_name: Option<String>,
    /// File or systemd credential with the token that the other server wants.
    pub token_file: Option<String>,
    /// SHA-256 of the other server's certificate, in hexadecimal; default: any that this box's authorities signed.
    pub fingerprint: Option<String>,
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
    /// File or systemd credential with the room's own token; default: what is asked of all viewers.
    pub token_file: Option<String>,
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
    /// `tcp` or `udp`, for `rtsp://` sources; default `tcp`.
    pub rtsp_transport: Option<String>,
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
