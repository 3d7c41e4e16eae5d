//! What clients and encoding may cost: the settings of `[limits]`.

use std::ops::RangeInclusive;
use std::time::Duration;

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. Each costs a descriptor and up to some 400 kB of buffers.
    pub sockets: usize,
    /// Connections of one address: an eighth, so that one cannot shut out the others.
    pub sockets_per_address: usize,
    /// Members of a room; cameras always get in.
    pub sockets_per_room: usize,
    /// Bytes of a message. A browser's SDP for a dozen tracks is about 12 kB.
    pub message_bytes: usize,
    /// Messages a second of one WebSocket; four times as many at once.
    pub messages_per_second: u32,
    /// Messages that wait for a slow WebSocket: a viewer of a large wall gets about a dozen for each camera.
    pub queue: usize,
    /// Rooms, configured and made at run time.
    pub rooms: usize,
    /// Viewers of one camera in one room. 64 were measured on two cores of a server.
    pub sessions_per_camera: usize,
    /// Viewers of all cameras. Each costs 7 threads, 9 descriptors and 1.2 MB.
    pub sessions: usize,
    /// For the TLS handshake, and for a request's headers. Both fit one packet or two; ten seconds forgive a bad radio.
    pub handshake: Duration,
    /// For a request's body, such as the login form.
    pub login: Duration,
    /// Wrong passwords of one address a minute; people mistype a few times, programs millions.
    pub logins_per_minute: u32,
    /// What encoding may take of all cores, in percent. The rest captures, decodes JPEGs and serves viewers.
    pub encoding_cpu: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets: 512,
            sockets_per_address: 64,
            sockets_per_room: 1000,
            message_bytes: 65_536,
            messages_per_second: 100,
            queue: 256,
            rooms: 64,
            sessions_per_camera: 100,
            sessions: 256,
            handshake: Duration::from_secs(10),
            login: Duration::from_secs(10),
            logins_per_minute: 10,
            encoding_cpu: 70,
        }
    }
}

/// What each key of `[limits]` may be, for the parser and for messages; the unit after it.
pub(super) const RANGES: [(&str, RangeInclusive<u32>, &str); 13] = [
    ("sockets", 8..=65_536, "connections"),
    ("sockets_per_address", 1..=65_536, "connections"),
    ("sockets_per_room", 2..=65_536, "members"),
    ("message_bytes", 16_384..=65_536, "bytes"),
    ("messages_per_second", 10..=100_000, "messages a second"),
    ("queue", 64..=65_536, "messages"),
    ("rooms", 1..=1000, "rooms"),
    ("sessions_per_camera", 1..=1000, "viewers"),
    ("sessions", 1..=4000, "viewers"),
    ("handshake", 1..=60, "seconds"),
    ("login", 1..=60, "seconds"),
    ("logins_per_minute", 1..=1000, "attempts"),
    ("encoding_cpu", 5..=100, "percent"),
];

/// The range of a key, and its unit.
pub(super) fn range(key: &str) -> Option<&'static (&'static str, RangeInclusive<u32>, &'static str)> {
    RANGES.iter().find(|(name, ..)| *name == key)
}
