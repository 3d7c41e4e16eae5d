//! The configuration as the rest of portald uses it: parsed, defaults filled in, every value in its range.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use super::access::{
    Access, Host, Networks, Origin, Origins, Scheme, SecretFile, Tls, host_name, mdns_label,
};
pub use super::limits::Limits;
pub use super::network::{Ice, TurnLogin, Uplink};
use crate::proto::ids::{Name, RoomMode};

/// Width of a picture, in pixels. 16 is one macroblock; 7680 is 8K.
pub const WIDTH: RangeInclusive<u32> = 16..=7680;
/// Height of a picture, in pixels.
pub const HEIGHT: RangeInclusive<u32> = 16..=4320;
/// Frames per second.
pub const FRAMERATE: RangeInclusive<u32> = 1..=240;
/// Bit rate of a rendition, in kbit/s.
pub const BITRATE: RangeInclusive<u32> = 50..=100_000;
/// Seconds between key frames.
pub const KEYFRAME_INTERVAL: RangeInclusive<f64> = 0.1..=60.0;
/// Seconds for which a time-limited TURN password is valid.
pub const TURN_LIFETIME: RangeInclusive<u32> = 600..=604_800;
/// Most uplinks: each camera has a socket of its own to each.
pub const MAX_UPLINKS: usize = 8;
/// Most cameras. A box encodes a handful; more is a mistake in what wrote the file.
pub const MAX_CAMERAS: usize = 64;
/// Longest title, in characters: it is shown over a tile.
pub const MAX_TITLE: usize = 80;

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The web server.
    pub server: Server,
    /// Who may come in.
    pub access: Access,
    /// What clients may cost.
    pub limits: Limits,
    /// How pictures find their way.
    pub ice: Ice,
    /// Other servers that show this box's cameras, in the file's order.
    pub uplinks: Vec<Uplink>,
    /// The rooms, in the file's order; at least one.
    pub rooms: Vec<Room>,
    /// The cameras, in the file's order. None means: publish every camera found (see [`Settings::found_camera`]).
    pub cameras: Vec<Camera>,
}

impl Settings {
    /// The rooms in which browsers see cameras and not each other.
    pub fn wall_rooms(&self) -> impl Iterator<Item = &Name> {
        self.rooms.iter().filter(|room| room.mode == RoomMode::Wall).map(|room| &room.name)
    }

    /// A camera that no table describes: defaults, in every wall room.
    #[must_use]
    pub fn found_camera(&self, name: Name, source: Source) -> Camera {
        Camera {
            title: name.to_string(),
            name,
            rooms: self.wall_rooms().cloned().collect(),
            source,
            rtsp_transport: RtspTransport::default(),
            wish: Wish::default(),
            encoder: EncoderChoice::Auto,
            bitrate: 2000,
            keyframe_interval: Duration::from_secs(2),
            always_on: false,
            enabled: true,
            sub: Sub::default(),
        }
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where to listen; at least one address.
    pub listen: Vec<SocketAddr>,
    /// The WebSocket's path; begins with `/`.
    pub path: String,
    /// Whether it is announced by multicast DNS.
    pub mdns: bool,
    /// Whether and how connections are encrypted.
    pub tls: Option<Tls>,
}

impl Default for Server {
    fn default() -> Self {
        // Dual stack: one socket for IPv6 and IPv4.
        let listen = vec![SocketAddr::from(([0u16; 8], 8080))];
        Self { listen, path: "/portal".into(), mdns: true, tls: None }
    }
}

/// `[room.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The table's name.
    pub name: Name,
    /// Who sees whom.
    pub mode: RoomMode,
    /// What its viewers must know; none: what all viewers must.
    pub token: Option<SecretFile>,
}

/// `[camera.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// The table's name.
    pub name: Name,
    /// What the wall shows.
    pub title: String,
    /// Where it is published; at least one room.
    pub rooms: Vec<Name>,
    /// Where its pictures come from.
    pub source: Source,
    /// How an RTSP camera sends them.
    pub rtsp_transport: RtspTransport,
    /// What to ask the device for.
    pub wish: Wish,
    /// What encodes it.
    pub encoder: EncoderChoice,
    /// Bit rate of the main rendition, in kbit/s.
    pub bitrate: u32,
    /// Time between key frames.
    pub keyframe_interval: Duration,
    /// Capture and encode also while nobody watches.
    pub always_on: bool,
    /// Whether it is to be published at all.
    pub enabled: bool,
    /// The smaller rendition.
    pub sub: Sub,
}

impl Camera {
    /// Whether encoders of the one would do for the other, if the device gives the same pictures; bit rates are changed
    /// while they run.
    #[must_use]
    pub fn is_encoded_like(&self, other: &Self) -> bool {
        let of = |camera: &Self| (camera.keyframe_interval, Sub { bitrate: 0, ..camera.sub.clone() });
        of(self) == of(other)
    }
}

/// The picture wished for; the nearest mode the device offers is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub framerate: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self { width: 1280, height: 720, framerate: 30 }
    }
}

/// `[camera.NAME.sub]`: a smaller rendition for tiles and weak links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sub {
    /// Pixels.
    pub width: u32,
    /// Pixels; none: the main picture's shape.
    pub height: Option<u32>,
    /// Frames per second; none: half the main rate.
    pub framerate: Option<u32>,
    /// kbit/s
    pub bitrate: u32,
}

impl Default for Sub {
    fn default() -> Self {
        Self { width: 640, height: None, framerate: None, bitrate: 400 }
    }
}

impl Sub {
    /// Its size in pixels and rate in frames per second (a fraction), of a main picture of `width`×`height` at
    /// `framerate`. Never larger or faster than the main picture; sizes are even, as 4:2:0 needs them.
    #[must_use]
    pub fn picture(&self, width: u32, height: u32, framerate: (u32, u32)) -> (u32, u32, (u32, u32)) {
        let sub_width = self.width.min(width);
        let in_shape = || u64::from(sub_width) * u64::from(height) / u64::from(width.max(1));
        let sub_height = self.height.map_or_else(in_shape, u64::from).min(u64::from(height));
        let even = |pixels: u32| (pixels & !1).max(2);
        let (n, d) = framerate;
        let sub_rate = match self.framerate {
            None => (n, d.saturating_mul(2)),
            Some(rate) if u64::from(rate) * u64::from(d) >= u64::from(n) => framerate,
            Some(rate) => (rate, 1),
        };
        // It fits: it is at most `height`.
        (even(sub_width), even(u32::try_from(sub_height).unwrap_or(height)), sub_rate)
    }
}

/// Which encoder template to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncoderChoice {
    /// The best that works on this box.
    Auto,
    /// The file of this name in `pipelines/encoder/`, without its ending.
    Named(String),
}

/// How an RTSP camera sends its pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RtspTransport {
    /// Over the connection itself: nothing is lost, and it passes firewalls.
    #[default]
    Tcp,
    /// As UDP packets: a weak radio link loses some rather than holding up all.
    Udp,
}

/// Where a camera's pictures come from. `Display` shows it as it is written, without passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Path of a V4L2 device.
    V4l2(PathBuf),
    /// libcamera's camera of that name, or its first.
    Libcamera(Option<String>),
    /// A network camera's URL.
    Rtsp(Secret),
    /// One of [`TEST_PATTERNS`].
    Test(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4l2(path) => write!(f, "{}", path.display()),
            Self::Libcamera(None) => f.write_str("libcamera"),
            Self::Libcamera(Some(name)) => write!(f, "libcamera:{name}"),
            Self::Rtsp(url) => f.write_str(&redacted(url.reveal())),
            Self::Test(pattern) => write!(f, "test:{pattern}"),
        }
    }
}

/// What `test` alone means: bars, the cheapest to draw and to encode of the patterns that scroll.
pub const DEFAULT_TEST_PATTERN: &str = "smpte75";

/// The patterns of GStreamer's videotestsrc, which test cameras are made of.
#[rustfmt::skip]
pub const TEST_PATTERNS: [&str; 26] = [
    "smpte", "snow", "black", "white", "red", "green", "blue", "checkers-1", "checkers-2", "checkers-4", "checkers-8",
    "circular", "blink", "smpte75", "zone-plate", "gamut", "chroma-zone-plate", "solid-color", "ball", "smpte100", "bar",
    "pinwheel", "spokes", "gradient", "colors", "smpte-rp-219",
];

/// A text that no log, API answer or error may show: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `text` with what may be a URL's user and password replaced by `***`.
///
/// Rather too much than too little: everything up to the *last* `@` goes (passwords hold `@` and `/`), whatever the
/// scheme (it may be the mistake); and all after the host where a password is a parameter, as in `/user=a_password=b`.
/// Only a path is left whole: a device may be called `Passport`.
#[must_use]
pub fn redacted(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let (hidden, rest) = rest.rsplit_once('@').map_or(("", rest), |(hidden, rest)| (hidden, rest));
    let names_a_password = |text: &str| {
        let lower = text.to_ascii_lowercase();
        ["pass", "pwd", "user", "token", "auth", "key="].iter().any(|word| lower.contains(word))
    };
    // An `@` within a parameter: what follows it is the rest of the password.
    let in_parameter = hidden.contains(['/', '?']) && names_a_password(hidden);
    let is_path = scheme.is_empty() && rest.starts_with('/') && !rest.contains('?');
    let rest = match rest.find(['/', '?']) {
        _ if in_parameter => "***".to_owned(),
        Some(at) if names_a_password(rest) && !is_path => format!("{}***", &rest[..=at]),
        _ => rest.to_owned(),
    };
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let hidden = if hidden.is_empty() || in_parameter { "" } else { "***@" };
    format!("{scheme}{hidden}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credentials_are_ever_shown() {
        for (url, shown) in [
            ("rtsp://admin:s3cret@10.0.0.5:554/live", "rtsp://***@10.0.0.5:554/live"),
            ("rtsp://admin:s3@cr/et@cam/live", "rtsp://***@cam/live"),
            ("rstp://admin:s3cret@cam/live", "rstp://***@cam/live"),
            ("rtsp:/admin:s3cret@cam/live", "***@cam/live"),
            ("rtsp://cam/user=admin_password=s3cret_channel=1", "rtsp://cam/***"),
            ("rtsp://cam/live?user=admin&pwd=s3cret", "rtsp://cam/***"),
            ("rtsp://cam/live", "rtsp://cam/live"),
            ("rtsp://cam/live?user=admin&pwd=x@s3cret", "rtsp://***"),
            ("rtsp:#//cam/live?user=admin&pwd=s3cret", "rtsp:#/***"),
            ("/cam/live?user=admin&pwd=s3cret", "/***"),
            ("/dev/video0", "/dev/video0"),
            ("/dev/v4l/by-id/usb-Passport", "/dev/v4l/by-id/usb-Passport"),
        ] {
            assert_eq!(redacted(url), shown);
            let source = Source::Rtsp(Secret::new(url));
            assert!(!format!("{source} {source:?}").contains("s3"), "{source} {source:?}");
        }
    }

    #[test]
    fn the_sub_rendition_follows_the_picture_that_the_device_gave() {
        let sub = Sub::default();
        assert_eq!(sub.picture(1280, 720, (30, 1)), (640, 360, (30, 2)));
        assert_eq!(sub.picture(1600, 1200, (30000, 1001)), (640, 480, (30000, 2002)));
        assert_eq!(sub.picture(320, 240, (15, 1)), (320, 240, (15, 2)), "never larger");
        assert_eq!(sub.picture(1366, 768, (30, 1)), (640, 358, (30, 2)), "even");
        let sub = Sub { height: Some(200), framerate: Some(10), ..sub };
        assert_eq!(sub.picture(1280, 720, (30, 1)), (640, 200, (10, 1)));
        assert_eq!(sub.picture(1280, 720, (5, 1)), (640, 200, (5, 1)), "never faster");
    }
}
