//! The placeholders of templates, and the values that may take their place.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Kind;

/// What the placeholders of a launch line are filled with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(pub(super) BTreeMap<&'static str, String>);

impl Values {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These values, and `value` for the placeholder `name`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.insert(name, value.to_string());
        self
    }

    /// These values, and a picture's size in pixels and its rate as a fraction of frames per second.
    #[must_use]
    pub fn picture(self, width: u32, height: u32, framerate: (u32, u32)) -> Self {
        let (n, d) = framerate;
        self.with("width", width).with("height", height).with("framerate", format_args!("{n}/{d}"))
    }

    /// These values, and what an encoder is told, in every unit that encoders count in. Call it after
    /// [`Values::picture`]'s rate is known: `framerate` turns the interval into frames, at least one.
    #[must_use]
    pub fn encoding(self, bitrate_kbit: u32, keyframe_interval: Duration, framerate: (u32, u32)) -> Self {
        let (n, d) = (u128::from(framerate.0), u128::from(framerate.1.max(1)));
        let ms = keyframe_interval.as_millis().max(1);
        let frames = ((ms * n + 500 * d) / (1000 * d)).max(1);
        self.with("bitrate_kbit", bitrate_kbit)
            .with("bitrate_bit", u64::from(bitrate_kbit) * 1000)
            .with("keyframe_ms", ms)
            .with("keyframe_frames", frames)
    }
}

/// A placeholder that templates may use.
#[derive(Debug)]
pub struct Placeholder {
    /// Its name, without braces; it ends in the unit where there could be two.
    pub name: &'static str,
    /// Which templates may use it.
    pub kinds: &'static [Kind],
    /// What its values look like.
    pub shape: Shape,
    /// What it stands for, for people.
    pub about: &'static str,
}

/// What the values of a placeholder look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Digits.
    Number,
    /// Digits, a slash, digits.
    Fraction,
    /// Letters, digits, `-` and `_`.
    Word,
    /// Letters, digits and `/ . _ : + = , @ -`: a device. Written in double quotes.
    Path,
    /// What a path may hold, spaces and backslashes: libcamera's name of a camera. Written in double quotes, backslashes
    /// twice.
    Camera,
}

impl Shape {
    /// Whether `value` has this shape. Only what has may come into a launch line: no quote, no control character, no `!`.
    #[must_use]
    pub fn fits(self, value: &str) -> bool {
        let number = |s: &str| !s.is_empty() && s.len() <= 20 && s.bytes().all(|b| b.is_ascii_digit());
        let made_of = |others: &str| {
            (1..=255).contains(&value.len())
                && value.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
        };
        match self {
            Self::Number => number(value),
            Self::Fraction => value.split_once('/').is_some_and(|(n, d)| number(n) && number(d)),
            Self::Word => made_of("-_"),
            Self::Path => made_of("/._:+=,@-"),
            Self::Camera => made_of("/._:+=,@- \\"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a whole number",
            Self::Fraction => "a fraction such as 30/1",
            Self::Word => "letters, digits, - and _",
            Self::Path => "letters, digits and / . _ : + = , @ -",
            Self::Camera => "letters, digits, spaces and / . _ : + = , @ - \\",
        })
    }
}

/// Every placeholder there is; `pipelines/README.md` has the same table.
pub const PLACEHOLDERS: &[Placeholder] = {
    use Kind::{Decoder, Encoder, Source, Viewer};
    const fn p(name: &'static str, kinds: &'static [Kind], shape: Shape, about: &'static str) -> Placeholder {
        Placeholder { name, kinds, shape, about }
    }
    &[
        p("device", &[Source], Shape::Path, "path of the V4L2 device"),
        p("camera", &[Source], Shape::Camera, "libcamera's name of the camera"),
        p("pattern", &[Source], Shape::Word, "test pattern, as videotestsrc names them"),
        p("format", &[Source], Shape::Word, "raw format the camera sends, as GStreamer names it: YUY2, NV12"),
        p("width", &[Source, Encoder], Shape::Number, "width of the picture in pixels"),
        p("height", &[Source, Encoder], Shape::Number, "height of the picture in pixels"),
        p("framerate", &[Source, Encoder], Shape::Fraction, "frames per second as a fraction N/D"),
        p("bitrate_kbit", &[Encoder], Shape::Number, "bit rate in kbit/s"),
        p("bitrate_bit", &[Encoder], Shape::Number, "bit rate in bit/s"),
        p("keyframe_frames", &[Encoder], Shape::Number, "key-frame interval in frames"),
        p("keyframe_ms", &[Encoder], Shape::Number, "key-frame interval in milliseconds"),
        p("threads", &[Decoder, Encoder], Shape::Number, "threads it may use"),
        p("payload_type", &[Viewer], Shape::Number, "RTP payload type the browser agreed to"),
    ]
};

/// The bit rate, in either unit.
pub(super) const BITRATES: &[&str] = &["bitrate_kbit", "bitrate_bit"];

/// Those that a template of this kind cannot do without: one of each list.
pub(super) fn required(kind: Kind) -> &'static [&'static [&'static str]] {
    match kind {
        Kind::Source | Kind::Decoder => &[],
        Kind::Encoder => &[BITRATES, &["keyframe_frames", "keyframe_ms"]],
        Kind::Viewer => &[&["payload_type"]],
    }
}

/// A part of a launch line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Passed on as it is.
    Text(&'a str),
    /// The name between the braces.
    Placeholder(&'a str),
}

/// Splits a launch line at its placeholders. Braces around a space or a comma are GStreamer's own: a list in caps.
pub(super) fn pieces(launch: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut text, mut rest) = (0, 0);
    while let Some(close) = launch[rest..].find('}').map(|at| rest + at) {
        // The last brace before it: a list may hold a placeholder, and a forgotten `}` must not hide one.
        let name = launch[rest..close].rfind('{').map(|at| &launch[rest + at + 1..close]);
        if let Some(name) = name.filter(|name| !name.contains([' ', ','])) {
            pieces.extend([Piece::Text(&launch[text..close - name.len() - 1]), Piece::Placeholder(name)]);
            text = close + 1;
        }
        rest = close + 1;
    }
    pieces.push(Piece::Text(&launch[text..]));
    pieces
}

/// The names of a launch line's placeholders.
pub(super) fn placeholders(launch: &str) -> impl Iterator<Item = &str> {
    pieces(launch).into_iter().filter_map(|piece| match piece {
        Piece::Placeholder(name) => Some(name),
        Piece::Text(_) => None,
    })
}
