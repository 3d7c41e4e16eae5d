//! Pipeline templates: launch lines with `{placeholders}`, one file each under
//! `pipelines/{source,decoder,encoder,viewer}/`.
//!
//! A file is comment lines with `# key: value` headers, then a launch line that may span lines. The copies of this
//! repository are compiled in; a directory's file of the same name replaces one, any other name adds one.
//! Nothing here knows GStreamer: a template is checked as far as text can be, and rendered with [`Values`] whose
//! every character is checked, so that no value can change what the pipeline is made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::{Problem, TemplateError};
use files::{files_in, read};
pub use setting::{Deed, Setting};
use values::{BITRATES, Piece, pieces, placeholders, required};
pub use values::{PLACEHOLDERS, Placeholder, Shape, Values};

mod error;
mod files;
mod setting;
mod values;

/// What every template file's name ends in.
const ENDING: &str = ".pipeline";
/// Largest template file, in bytes: the largest of ours has 900.
const MAX_FILE: u64 = 64 * 1024;
/// The codecs a browser can be sent, as headers name them.
pub const CODECS: [&str; 2] = ["h264", "vp8"];
/// The headers a template may have.
const HEADERS: [&str; 8] =
    ["about", "element", "package", "codec", "rank", "budget", "set-bitrate", "force-keyframe"];

/// The files compiled in.
const BUILT_IN: [(Kind, &str, &str); 24] = [
    (Kind::Source, "test", include_str!("../pipelines/source/test.pipeline")),
    (Kind::Source, "v4l2-raw", include_str!("../pipelines/source/v4l2-raw.pipeline")),
    (Kind::Source, "v4l2-mjpeg", include_str!("../pipelines/source/v4l2-mjpeg.pipeline")),
    (Kind::Source, "v4l2-h264", include_str!("../pipelines/source/v4l2-h264.pipeline")),
    (Kind::Source, "rtsp-h264", include_str!("../pipelines/source/rtsp-h264.pipeline")),
    (Kind::Source, "rtsp-decoded", include_str!("../pipelines/source/rtsp-decoded.pipeline")),
    (Kind::Source, "libcamera", include_str!("../pipelines/source/libcamera.pipeline")),
    (Kind::Source, "libcamera-named", include_str!("../pipelines/source/libcamera-named.pipeline")),
    (Kind::Decoder, "avdec_h264", include_str!("../pipelines/decoder/avdec_h264.pipeline")),
    (Kind::Decoder, "openh264dec", include_str!("../pipelines/decoder/openh264dec.pipeline")),
    (Kind::Decoder, "v4l2h264dec", include_str!("../pipelines/decoder/v4l2h264dec.pipeline")),
    (Kind::Encoder, "x264enc", include_str!("../pipelines/encoder/x264enc.pipeline")),
    (Kind::Encoder, "openh264enc", include_str!("../pipelines/encoder/openh264enc.pipeline")),
    (Kind::Encoder, "vp8enc", include_str!("../pipelines/encoder/vp8enc.pipeline")),
    (Kind::Encoder, "v4l2h264enc", include_str!("../pipelines/encoder/v4l2h264enc.pipeline")),
    (Kind::Encoder, "vah264lpenc", include_str!("../pipelines/encoder/vah264lpenc.pipeline")),
    (Kind::Encoder, "vah264enc", include_str!("../pipelines/encoder/vah264enc.pipeline")),
    (Kind::Encoder, "vaapih264enc", include_str!("../pipelines/encoder/vaapih264enc.pipeline")),
    (Kind::Encoder, "nvh264enc", include_str!("../pipelines/encoder/nvh264enc.pipeline")),
    (Kind::Encoder, "qsvh264enc", include_str!("../pipelines/encoder/qsvh264enc.pipeline")),
    (Kind::Encoder, "mpph264enc", include_str!("../pipelines/encoder/mpph264enc.pipeline")),
    (Kind::Encoder, "nvv4l2h264enc", include_str!("../pipelines/encoder/nvv4l2h264enc.pipeline")),
    (Kind::Viewer, "h264", include_str!("../pipelines/viewer/h264.pipeline")),
    (Kind::Viewer, "vp8", include_str!("../pipelines/viewer/vp8.pipeline")),
];

/// What a template makes; also the name of its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A camera's pictures, raw or, with a codec, as the camera encodes them: `SOURCE ! appsink`.
    Source,
    /// Raw pictures of what a camera encodes itself: `appsrc ! DECODER ! appsink`.
    Decoder,
    /// One rendition: `appsrc ! video/x-raw,format=I420 ! ENCODER ! appsink`.
    Encoder,
    /// One viewer's RTP: `appsrc ! VIEWER ! webrtcbin`.
    Viewer,
}

impl Kind {
    /// The directory under `pipelines/`.
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Decoder => "decoder",
            Self::Encoder => "encoder",
            Self::Viewer => "viewer",
        }
    }
}

/// All templates: the built-in ones, overridden and added to by directories.
#[derive(Debug, Clone)]
pub struct Templates {
    all: BTreeMap<(Kind, String), Template>,
}

impl Templates {
    /// The built-in templates, then those of `dirs` (each with `source/`, `decoder/`, `encoder/`, `viewer/`), later ones winning
    /// by file name. A directory that does not exist is no error.
    ///
    /// # Errors
    /// [`TemplateError`] for the first file that cannot be read or is not a template.
    pub fn load(dirs: &[PathBuf]) -> Result<Self, TemplateError> {
        let mut all = BTreeMap::new();
        for (kind, name, text) in BUILT_IN {
            let file = PathBuf::from(format!("pipelines/{}/{name}{ENDING}", kind.directory()));
            all.insert((kind, name.to_owned()), Template::parse(kind, name, &file, text)?);
        }
        for dir in dirs {
            for kind in [Kind::Source, Kind::Decoder, Kind::Encoder, Kind::Viewer] {
                for (name, file) in files_in(&dir.join(kind.directory()))? {
                    let template = Template::parse(kind, &name, &file, &read(&file)?)?;
                    all.insert((kind, name), template);
                }
            }
        }
        Ok(Self { all })
    }

    /// The source template `name`, such as `v4l2-mjpeg`.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Template> {
        self.all.get(&(Kind::Source, name.to_owned()))
    }

    /// The encoder template `name`, such as `x264enc`: what `encoder =` in a camera's table refers to.
    #[must_use]
    pub fn encoder(&self, name: &str) -> Option<&Encoder> {
        self.all.get(&(Kind::Encoder, name.to_owned()))
    }

    /// The names of all encoders, in the order of the alphabet.
    pub fn encoder_names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().filter(|(kind, _)| *kind == Kind::Encoder).map(|(_, name)| name.as_str())
    }

    /// The viewer template for `codec` (`h264`, `vp8`): its file has the codec's name.
    #[must_use]
    pub fn viewer(&self, codec: &str) -> Option<&Template> {
        self.all.get(&(Kind::Viewer, codec.to_owned()))
    }

    /// Every encoder for `codec`, the highest rank first: the order in which `encoder = "auto"` tries them, leaving
    /// out those of rank 0.
    #[must_use]
    pub fn encoders(&self, codec: &str) -> Vec<&Encoder> {
        self.ranked(Kind::Encoder, codec)
    }

    /// Every decoder for `codec`, the highest rank first.
    #[must_use]
    pub fn decoders(&self, codec: &str) -> Vec<&Template> {
        self.ranked(Kind::Decoder, codec)
    }

    fn ranked(&self, kind: Kind, codec: &str) -> Vec<&Template> {
        let mut found: Vec<_> =
            self.iter().filter(|t| t.kind == kind && t.codec.as_deref() == Some(codec)).collect();
        found.sort_by_key(|t| std::cmp::Reverse(t.rank));
        found
    }

    /// Every template, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.all.values()
    }
}

/// A [`Template`] of [`Kind::Encoder`]: it has a codec.
pub type Encoder = Template;

/// One template file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What it makes.
    pub kind: Kind,
    /// The file's name without its ending.
    pub name: String,
    /// What it is, in one line for people.
    pub about: String,
    /// The GStreamer element it cannot do without.
    pub element: String,
    /// The Debian package that brings the element, if the file says.
    pub package: Option<String>,
    /// One of [`CODECS`]; always there but for a source, whose absence means raw pictures.
    pub codec: Option<String>,
    /// The greatest is tried first; 0 means only when named in the configuration.
    pub rank: u32,
    /// Luma samples a second that an encoder of this kind encodes in all, whoever uses it; none: nobody said.
    pub budget: Option<u64>,
    /// The launch line on one line, its placeholders not yet filled in.
    pub launch: String,
    /// How a running encoder is given another bit rate, its placeholders not yet filled in; none: it is started again.
    pub set_bitrate: Option<Setting>,
    /// How it is asked for a key frame, where GStreamer's own request is not heard.
    pub force_keyframe: Option<Setting>,
    /// Where it was read from; `pipelines/…` for a built-in one.
    pub file: PathBuf,
    /// The line on which the launch line begins, for errors.
    line: usize,
}

impl Template {
    /// Reads the text of a template file.
    ///
    /// # Errors
    /// [`TemplateError`] for an unknown, doubled or missing header, an unknown placeholder, or one that this kind of
    /// template cannot do without and does not have.
    pub fn parse(kind: Kind, name: &str, file: &Path, text: &str) -> Result<Self, TemplateError> {
        let fail = |line, problem| TemplateError::new(file, line, problem);
        if !is_name(name) {
            return Err(fail(1, Problem::Name { found: name.to_owned() }));
        }
        let (mut headers, launch, line) = split(kind, text).map_err(|(line, problem)| fail(line, problem))?;
        let missing = |header| fail(1, Problem::MissingHeader { header });
        let (_, about) = headers.remove("about").ok_or_else(|| missing("about"))?;
        let (_, element) = headers.remove("element").ok_or_else(|| missing("element"))?;
        let codec = match headers.remove("codec") {
            Some((_, codec)) if CODECS.contains(&codec.as_str()) => Some(codec),
            Some((line, found)) => return Err(fail(line, Problem::UnknownCodec { found })),
            None if kind == Kind::Source => None,
            None => return Err(missing("codec")),
        };
        if kind == Kind::Viewer && codec.as_deref() != Some(name) {
            return Err(fail(1, Problem::ViewerName { codec: codec.unwrap_or_default() }));
        }
        let rank = match headers.remove("rank") {
            Some((line, found)) => found.parse().map_err(|_| fail(line, Problem::Rank { found }))?,
            None if matches!(kind, Kind::Encoder | Kind::Decoder) => return Err(missing("rank")),
            None => 0,
        };
        let budget = match headers.remove("budget") {
            Some((line, found)) => match found.parse() {
                Ok(budget) if kind == Kind::Encoder && budget > 0 => Some(budget),
                _ => return Err(fail(line, Problem::Budget { found })),
            },
            None => None,
        };
        let package = headers.remove("package").map(|(_, package)| package);
        let mut setting = |header, any_of| match headers.remove(header) {
            Some((line, _)) if kind != Kind::Encoder => Err(fail(line, Problem::EncodersOnly { header })),
            Some((line, text)) => {
                Setting::parse(&text, any_of).map(Some).map_err(|problem| fail(line, problem))
            }
            None => Ok(None),
        };
        let set_bitrate = setting("set-bitrate", BITRATES)?;
        let force_keyframe = setting("force-keyframe", &[])?;
        Ok(Self {
            kind,
            name: name.to_owned(),
            about,
            element,
            package,
            codec,
            rank,
            budget,
            launch,
            set_bitrate,
            force_keyframe,
            file: file.into(),
            line,
        })
    }

    /// The launch line with every placeholder filled in. Values that it does not mention are left out.
    ///
    /// # Errors
    /// [`TemplateError`] when a value is missing, or has characters that could end the value and begin something else.
    pub fn render(&self, values: &Values) -> Result<String, TemplateError> {
        self.fill(&self.launch, values)
    }

    /// A setting of this template with its placeholders filled in.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_setting(&self, setting: &Setting, values: &Values) -> Result<Setting, TemplateError> {
        let rendered = self.fill(&setting.to_string(), values)?;
        Setting::parse(&rendered, &[]).map_err(|problem| TemplateError::new(&self.file, 1, problem))
    }

    fn fill(&self, text: &str, values: &Values) -> Result<String, TemplateError> {
        let fail = |problem| Err(TemplateError::new(&self.file, self.line, problem));
        let mut rendered = String::with_capacity(text.len() + 64);
        for piece in pieces(text) {
            let name = match piece {
                Piece::Text(text) => {
                    rendered.push_str(text);
                    continue;
                }
                Piece::Placeholder(name) => name,
            };
            let (Some(placeholder), Some(value)) =
                (PLACEHOLDERS.iter().find(|p| p.name == name), values.0.get(name))
            else {
                return fail(Problem::NoValue { placeholder: name.to_owned() });
            };
            if !placeholder.shape.fits(value) {
                return fail(Problem::UnsafeValue {
                    placeholder: placeholder.name,
                    shape: placeholder.shape,
                });
            }
            match placeholder.shape {
                // Quoted, though none of the characters let through needs it.
                Shape::Path => rendered.extend(["\"", value, "\""]),
                Shape::Camera => rendered.extend(["\"", &value.replace('\\', "\\\\"), "\""]),
                _ => rendered.push_str(value),
            }
        }
        Ok(rendered)
    }
}

/// The headers of a template by name, each with the line it is on and its value.
type Headers = BTreeMap<String, (usize, String)>;

/// Splits a template's text into its headers, its launch line on one line, and the line where that begins.
fn split(kind: Kind, text: &str) -> Result<(Headers, String, usize), (usize, Problem)> {
    let (mut headers, mut launch, mut begin) = (Headers::new(), String::new(), 1);
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        // At a NUL a C library would end the line.
        if let Some(found) = text.chars().find(|c| c.is_control() && *c != '\t') {
            return Err((line, Problem::ControlCharacter { found }));
        }
        if let Some(comment) = text.strip_prefix('#') {
            let Some((key, value)) = header(comment) else {
                continue;
            };
            if !HEADERS.contains(&key) {
                return Err((line, Problem::UnknownHeader { found: key.into() }));
            }
            if headers.insert(key.into(), (line, value.into())).is_some() {
                return Err((line, Problem::DoubledHeader { header: key.into() }));
            }
            continue;
        }
        // A backslash at the end lets the lines be pasted into a shell.
        let part = text.strip_suffix('\\').unwrap_or(text).trim_end();
        if part.is_empty() {
            continue;
        }
        let known = |name: &&str| PLACEHOLDERS.iter().any(|p| p.name == *name && p.kinds.contains(&kind));
        if let Some(found) = placeholders(part).find(|name| !known(name)) {
            return Err((line, Problem::UnknownPlaceholder { kind, found: found.into() }));
        }
        if launch.is_empty() {
            begin = line;
        } else {
            launch.push(' ');
        }
        launch.push_str(part);
    }
    if launch.is_empty() {
        return Err((text.lines().count().max(1), Problem::NoLaunchLine));
    }
    // `video/x-raw` and the like: no element's name has a slash.
    if let Some(found) = launch.split_whitespace().next().filter(|word| word.contains('/')) {
        return Err((begin, Problem::BeginsWithCaps { found: found.into() }));
    }
    for any_of in required(kind) {
        if !placeholders(&launch).any(|name| any_of.contains(&name)) {
            return Err((begin, Problem::MissingPlaceholder { any_of }));
        }
    }
    Ok((headers, launch, begin))
}

/// `key: value` of a comment whose first word ends in a colon; other comments are for people.
fn header(comment: &str) -> Option<(&str, &str)> {
    let (key, value) = comment.split_once(':')?;
    let (key, value) = (key.trim(), value.trim());
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    (is_key && !value.is_empty()).then_some((key, value))
}

/// Whether a file may have this name: it is what `encoder =` refers to.
fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len()) && Shape::Word.fits(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::fs;

    use super::*;

    const ENCODER: &str = "# about: A test\n# element: fakeenc\n# codec: h264\n# rank: 5\n";

    fn parse(kind: Kind, text: &str) -> Result<Template, TemplateError> {
        Template::parse(kind, "mine", Path::new("mine.pipeline"), text)
    }

    #[test]
    fn the_built_in_templates_are_templates_and_render() {
        let templates = Templates::load(&[]).unwrap();
        assert_eq!(templates.iter().count(), BUILT_IN.len());
        let values = Values::new()
            .with(
                "device",
                "/dev/v4l/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.4:1.0-video-index0",
            )
            .with("camera", r"\_SB_.PCI0.I2C2.CAM0 a@1a")
            .with("pattern", "smpte75")
            .with("format", "YUY2")
            .with("threads", 2)
            .with("payload_type", 96)
            .picture(1280, 720, (30, 1))
            .encoding(2000, Duration::from_secs(2), (30, 1));
        for template in templates.iter() {
            let line = template.render(&values).unwrap();
            assert!(!line.contains(['{', '}', '#', '\n']), "{line}");
        }
        let x264 = templates.encoder("x264enc").unwrap().render(&values).unwrap();
        assert!(x264.contains(" bitrate=2000 ") && x264.contains(" key-int-max=60 "), "{x264}");
        let openh264 = templates.encoder("openh264enc").unwrap().render(&values).unwrap();
        assert!(openh264.contains(" bitrate=2000000 "), "{openh264}");
        let mjpeg = templates.source("v4l2-mjpeg").unwrap().render(&values).unwrap();
        assert!(
            mjpeg.starts_with("v4l2src name=source device=\"/dev/v4l/by-path/")
                && mjpeg.contains("framerate=30/1")
        );
        let named = templates.source("libcamera-named").unwrap().render(&values).unwrap();
        assert!(named.contains(r#" camera-name="\\_SB_.PCI0.I2C2.CAM0 a@1a""#), "{named}");
        assert!(templates.viewer("h264").unwrap().render(&values).unwrap().ends_with("pt=96"));
        let names: Vec<_> = templates.encoders("h264").iter().map(|encoder| encoder.name.as_str()).collect();
        assert_eq!(names.last_chunk(), Some(&["x264enc", "openh264enc"]), "the best first");
        let names: Vec<_> = templates.decoders("h264").iter().map(|decoder| decoder.name.as_str()).collect();
        assert_eq!(names, ["avdec_h264", "openh264dec", "v4l2h264dec"]);
        for template in templates.iter().filter(|template| template.kind != Kind::Viewer) {
            assert!(template.launch.contains(" name="), "the media code finds {} by that", template.name);
        }
    }

    #[test]
    fn every_file_of_the_directory_is_compiled_in() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        for kind in [Kind::Source, Kind::Decoder, Kind::Encoder, Kind::Viewer] {
            for name in files_in(&dir.join(kind.directory())).unwrap().keys() {
                assert!(BUILT_IN.iter().any(|(k, n, _)| (*k, *n) == (kind, name)), "{name}");
            }
        }
        // As a directory they are the same.
        let again = Templates::load(&[dir]).unwrap();
        assert_eq!(again.iter().count(), BUILT_IN.len());
    }

    #[test]
    fn the_readme_explains_every_placeholder() {
        let readme = include_str!("../pipelines/README.md");
        for placeholder in PLACEHOLDERS {
            let row = format!("| `{{{}}}` |", placeholder.name);
            let row =
                readme.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
            assert!(row.contains(placeholder.about), "{row} does not say: {}", placeholder.about);
        }
    }

    #[test]
    fn a_launch_line_may_span_lines_and_have_lists_in_its_caps() {
        let text = format!(
            "{ENCODER}# Free text, rank is 5\n\ncapsfilter caps=video/x-raw,format={{ NV12, I420 }} \\\n  ! fakeenc bitrate={{bitrate_bit}} \\\n# more\n  gop={{keyframe_ms}}\n"
        );
        let template = parse(Kind::Encoder, &text).unwrap();
        assert_eq!(
            template.launch,
            "capsfilter caps=video/x-raw,format={ NV12, I420 } ! fakeenc bitrate={bitrate_bit} gop={keyframe_ms}"
        );
        let values = Values::new().encoding(300, Duration::from_millis(1500), (30000, 1001));
        assert_eq!(
            template.render(&values).unwrap(),
            "capsfilter caps=video/x-raw,format={ NV12, I420 } ! fakeenc bitrate=300000 gop=1500"
        );
        assert_eq!((template.rank, template.package), (5, None));
    }

    #[test]
    fn key_frame_intervals_are_whole_frames() {
        for (ms, rate, frames) in
            [(2000, (30, 1), "60"), (1500, (30000, 1001), "45"), (100, (1, 1), "1"), (0, (30, 0), "1")]
        {
            let values = Values::new().encoding(300, Duration::from_millis(ms), rate);
            assert_eq!(values.0["keyframe_frames"], frames);
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_a_hint() {
        let good = "enc b={bitrate_bit} k={keyframe_ms}";
        for (text, told) in [
            (
                format!("{ENCODER}enc b={{bitrate}} k={{keyframe_ms}}"),
                "mine.pipeline:5: found the placeholder `{bitrate}`; allowed: {width}, {height}, {framerate}, {bitrate_kbit}, {bitrate_bit}, {keyframe_frames}, {keyframe_ms}, {threads}",
            ),
            (
                format!("{ENCODER}enc\n! x d={{device}}"),
                "mine.pipeline:6: found the placeholder `{device}`; allowed: {width}",
            ),
            (
                format!("{ENCODER}\nenc b={{bitrate_bit}}"),
                "mine.pipeline:6: found no {keyframe_frames} or {keyframe_ms}",
            ),
            (
                format!("{ENCODER}enc k={{keyframe_ms}}"),
                "mine.pipeline:5: found no {bitrate_kbit} or {bitrate_bit}",
            ),
            (format!("{ENCODER}# \n"), "mine.pipeline:5: found no launch line"),
            (String::new(), "mine.pipeline:1: found no launch line"),
            (format!("{ENCODER}# rank: 7\n{good}"), "mine.pipeline:5: found the header `rank` a second time"),
            (
                format!("{ENCODER}# elment: x\n{good}"),
                "mine.pipeline:5: found the header `elment`; allowed: about, element",
            ),
            (
                format!("# about: x\n# codec: h264\n# rank: 1\n{good}"),
                "mine.pipeline:1: found no `# element: …` line",
            ),
            (
                format!("# about: x\n# element: x\n# rank: 1\n{good}"),
                "mine.pipeline:1: found no `# codec: …` line",
            ),
            (
                format!("# about: x\n# element: x\n# codec: h264\n{good}"),
                "mine.pipeline:1: found no `# rank: …` line",
            ),
            (
                ENCODER.replace("h264", "h265") + good,
                "mine.pipeline:3: found the codec `h265`; allowed: h264, vp8",
            ),
            (
                ENCODER.replace(": 5", ": -5") + good,
                "mine.pipeline:4: found the rank `-5`; allowed: a whole number",
            ),
            (
                format!("{ENCODER}video/x-raw,format=NV12 ! {good}"),
                "mine.pipeline:5: found the caps `video/x-raw,format=NV12` at the begin",
            ),
        ] {
            let error = parse(Kind::Encoder, &text).unwrap_err();
            assert!(error.to_string().starts_with(told), "{error}\nexpected {told}");
            assert!(!error.hint().is_empty());
        }
        let error = parse(Kind::Viewer, "# about: x\n# element: x\n# codec: h264\npay pt={payload_type}")
            .unwrap_err();
        assert!(error.hint().contains("h264.pipeline"), "{error}");
        let error = Template::parse(Kind::Source, "a b", Path::new("a b.pipeline"), "x").unwrap_err();
        assert!(error.to_string().contains("cannot be named `a b`"), "{error}");
    }

    #[test]
    fn no_value_can_change_the_pipeline() {
        let text = "# about: x\n# element: x\nsrc d={device} f={format} w={width} r={framerate}";
        let template = parse(Kind::Source, text).unwrap();
        let good =
            || Values::new().with("device", "/dev/video0").with("format", "NV12").picture(640, 480, (30, 1));
        assert_eq!(template.render(&good()).unwrap(), "src d=\"/dev/video0\" f=NV12 w=640 r=30/1");
        for hostile in [
            "a ! b",
            "a\"b",
            "a\\b",
            "a'b",
            "a b",
            "a\tb",
            "a\nb",
            "",
            "a;b",
            "a{b}",
            "a(b",
            "a#b",
            "ä",
            &"x".repeat(256),
        ] {
            for name in ["device", "format", "width", "framerate"] {
                let error = template.render(&good().with(name, hostile)).unwrap_err();
                assert!(matches!(error.problem, Problem::UnsafeValue { .. }), "{name}={hostile}: {error}");
                assert!(!error.to_string().contains(hostile) || hostile.is_empty(), "{error}");
            }
        }
        assert!(template.render(&good().with("format", "NV12,width=1")).is_err());
        assert!(template.render(&good().with("width", "-1")).is_err());
        assert!(template.render(&good().with("framerate", "30")).is_err());
        // What looks like a placeholder in a value is not one.
        assert!(template.render(&good().with("device", "{width}")).is_err());
        let error = template.render(&Values::new()).unwrap_err();
        assert_eq!(error.to_string(), "mine.pipeline:3: found no value for the placeholder `{device}`");
    }

    #[test]
    fn directories_override_and_add_by_file_name() {
        let dir = std::env::temp_dir().join(format!("portald-templates-{}", std::process::id()));
        let (usr, etc) = (dir.join("usr"), dir.join("etc"));
        for dir in [&usr, &etc] {
            fs::create_dir_all(dir.join("encoder")).unwrap();
        }
        let launch = "fakeenc b={bitrate_bit} k={keyframe_ms}";
        fs::write(usr.join("encoder/board.pipeline"), format!("{ENCODER}{launch}")).unwrap();
        fs::write(usr.join("encoder/x264enc.pipeline"), format!("{ENCODER}{launch} usr")).unwrap();
        fs::write(etc.join("encoder/x264enc.pipeline"), format!("{ENCODER}{launch} etc")).unwrap();
        fs::write(etc.join("encoder/x264enc.pipeline~"), "an editor's copy").unwrap();
        fs::write(etc.join("encoder/.swap.pipeline"), "an editor's copy").unwrap();
        let templates = Templates::load(&[usr, etc.clone(), dir.join("none")]).unwrap();
        assert!(templates.encoder("x264enc").unwrap().launch.ends_with(" etc"));
        assert_eq!(templates.encoder("board").unwrap().launch, launch);
        let names: Vec<_> = templates.encoders("h264").iter().map(|encoder| encoder.name.as_str()).collect();
        assert_eq!(names.last_chunk(), Some(&["openh264enc", "board", "x264enc"]));

        fs::write(etc.join("encoder/bad.pipeline"), "x").unwrap();
        let error = Templates::load(std::slice::from_ref(&etc)).unwrap_err();
        assert!(error.to_string().contains("etc/encoder/bad.pipeline:1: found no"), "{error}");
        fs::write(etc.join("encoder/bad.pipeline"), vec![b'#'; 70_000]).unwrap();
        let error = Templates::load(&[etc]).unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
        fs::remove_dir_all(dir).unwrap();
    }
}
