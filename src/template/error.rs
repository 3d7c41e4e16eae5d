//! What can be wrong with a template.

use std::io;
use std::path::{Path, PathBuf};

use super::values::{PLACEHOLDERS, Shape};
use super::{CODECS, ENDING, HEADERS, Kind, MAX_FILE};

/// What is wrong with a template, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {problem}", file.display())]
pub struct TemplateError {
    /// The template's file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a template.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each variant's text says it.
pub enum Problem {
    #[error("cannot be read: {0}")]
    Read(io::Error),
    #[error("the file is larger than {MAX_FILE} bytes")]
    TooLarge,
    #[error("a template cannot be named `{found}`; allowed: a-z, A-Z, 0-9, - and _, at most 40 characters")]
    Name { found: String },
    #[error("found the header `{found}`; allowed: {}", HEADERS.join(", "))]
    UnknownHeader { found: String },
    #[error("found the header `{header}` a second time; allowed: once")]
    DoubledHeader { header: String },
    #[error("found no `# {header}: …` line; a template needs one before its launch line")]
    MissingHeader { header: &'static str },
    #[error("found the codec `{found}`; allowed: {}", CODECS.join(", "))]
    UnknownCodec { found: String },
    #[error("found the rank `{found}`; allowed: a whole number, 0 or more")]
    Rank { found: String },
    #[error("found the budget `{found}`; allowed: a whole number of luma samples a second, of an encoder")]
    Budget { found: String },
    #[error("found the codec `{codec}`; a viewer template has its codec's name")]
    ViewerName { codec: String },
    #[error("found the control character {found:?}; allowed: text, spaces, tabs and line ends")]
    ControlCharacter { found: char },
    #[error("found no launch line")]
    NoLaunchLine,
    #[error("found the caps `{found}` at the begin of the launch line; allowed: an element")]
    BeginsWithCaps { found: String },
    #[error("found the placeholder `{{{found}}}`; allowed: {}", placeholder_names(*kind))]
    UnknownPlaceholder { kind: Kind, found: String },
    #[error("found no {}; without it the template cannot work", braced(any_of))]
    MissingPlaceholder { any_of: &'static [&'static str] },
    #[error("found the header `{header}`; only encoders have it")]
    EncodersOnly { header: &'static str },
    #[error("found `{found}`; allowed: PROPERTY=VALUE, or SIGNAL() for an action signal")]
    Setting { found: String },
    #[error("found no value for the placeholder `{{{placeholder}}}`")]
    NoValue { placeholder: String },
    #[error("the value for `{{{placeholder}}}` could change the pipeline; allowed: {shape}")]
    UnsafeValue { placeholder: &'static str, shape: Shape },
}

impl TemplateError {
    pub(super) fn new(file: &Path, line: usize, problem: Problem) -> Self {
        Self { file: file.to_owned(), line, problem }
    }

    /// The next step for the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.problem {
            Problem::Read(_) => "portald's user must be able to read it: `chmod a+r` the file, `chmod a+rx` its directory".into(),
            Problem::TooLarge => "a template is a few lines of text; was this file meant to be here?".into(),
            Problem::Name { .. } => format!("rename the file; its name before `{ENDING}` is what `encoder =` refers to"),
            Problem::UnknownHeader { .. } => "write other comments without a colon after the first word".into(),
            Problem::DoubledHeader { .. } => "remove one of the two lines".into(),
            Problem::MissingHeader { header } => format!("add a line such as `# {header}: {}`", example(header)),
            Problem::UnknownCodec { .. } => "other codecs are not sent to browsers yet".into(),
            Problem::Rank { .. } => "x264enc has 200: more is tried before it, less after it, 0 only when named".into(),
            Problem::Budget { .. } => "1080p at 30 fps is 62914560; leave the line out where you do not know".into(),
            Problem::ViewerName { codec } => format!("rename the file to `{codec}{ENDING}`"),
            Problem::ControlCharacter { .. } => "save the file as plain text".into(),
            Problem::NoLaunchLine => "add the elements, separated by `!`, as for gst-launch-1.0; to leave an encoder out give it `# rank: 0`".into(),
            Problem::BeginsWithCaps { found } => {
                format!("caps may stand before this already, and two in a row are no pipeline: write `capsfilter caps={found}`")
            }
            Problem::UnknownPlaceholder { .. } => "pipelines/README.md says what each placeholder stands for".into(),
            Problem::MissingPlaceholder { any_of } => format!("write {} where the element's property takes it", braced(any_of)),
            Problem::EncodersOnly { .. } => "remove the line".into(),
            Problem::Setting { .. } => "write it as in a launch line, without quotes: `bitrate={bitrate_kbit}`".into(),
            Problem::NoValue { placeholder } => format!("this kind of camera has no {placeholder}; use another template or remove the placeholder"),
            Problem::UnsafeValue { .. } => "rename the device (a link in /dev made by a udev rule), and name the link in the configuration".into(),
        }
    }
}

/// What a header's line may look like.
fn example(header: &str) -> &'static str {
    match header {
        "about" => "H.264 on this board's chip",
        "element" => "v4l2h264enc",
        "codec" => "h264",
        _ => "300",
    }
}

/// The placeholders a template of this kind may use, for people.
fn placeholder_names(kind: Kind) -> String {
    let of_kind = PLACEHOLDERS.iter().filter(|p| p.kinds.contains(&kind));
    of_kind.map(|p| format!("{{{}}}", p.name)).collect::<Vec<_>>().join(", ")
}

/// `{a} or {b}`.
fn braced(names: &[&str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" or ")
}
