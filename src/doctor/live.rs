//! What no file tells: the questions to the running box, which a test answers from a table.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Wish;

/// Whom and what to ask.
pub trait Live: Send + Sync {
    /// Owner, group and mode of what is at `path`; links are followed.
    fn node(&self, path: &Path) -> Option<Node>;
    /// Whether this process may not even see what is at `path`.
    fn is_hidden(&self, path: &Path) -> bool;
    /// Whether this very process may read and write what is at `path`.
    fn may_use(&self, path: &Path) -> bool;
    /// The file system that `path` is on.
    fn space(&self, path: &Path) -> Option<Space>;
    /// Seconds since 1970 (UTC).
    fn now(&self) -> u64;
    /// Whether the clock is kept by a time server; none: nobody can tell.
    fn is_synchronized(&self) -> Option<bool>;
    /// The addresses of interfaces that are up, with the interfaces' names.
    fn addresses(&self) -> Vec<(String, IpAddr)>;
    /// Tries to listen at `address` as the daemon would.
    ///
    /// # Errors
    /// What the system said.
    fn listen(&self, address: SocketAddr) -> io::Result<()>;
    /// Code and body of the answer to `GET path`, over plain HTTP.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn ask(&self, address: SocketAddr, path: &str) -> Result<(u16, String), String>;
    /// Has a child process look at what may hang.
    fn look(&self, look: &Look) -> Looked;
}

/// What is said of a file or device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Of its owner.
    pub uid: u32,
    /// Of its group.
    pub gid: u32,
    /// Kind and permission bits as in stat(2); without the kind where that is not known.
    pub mode: u32,
}

impl Node {
    pub(super) fn is_no_directory(self) -> bool {
        // S_IFMT and S_IFDIR
        !matches!(self.mode & 0o170_000, 0 | 0o040_000)
    }
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that a user may still write.
    pub free: u64,
    /// Whether it is mounted for reading only.
    pub read_only: bool,
}

/// What a child process is to look at: what goes through drivers, which may hang or crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// Start GStreamer, and list the elements that portald uses.
    Gstreamer,
    /// Open these device nodes one after the other, each with what is wished of it.
    Cameras(BTreeMap<PathBuf, (u32, u32, u32)>),
    /// Try out every encoder that is installed.
    Encoders,
}

impl Look {
    /// The look at cameras, with their wishes.
    #[must_use]
    pub fn at_cameras(nodes: impl IntoIterator<Item = (PathBuf, Wish)>) -> Self {
        let wish = |wish: Wish| (wish.width, wish.height, wish.framerate);
        Self::Cameras(nodes.into_iter().map(|(node, wished)| (node, wish(wished))).collect())
    }
}

/// One line of what a child process says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// GStreamer started.
    Gstreamer {
        /// Its version, such as `1.22.0`.
        version: String,
    },
    /// An element that portald uses.
    Element {
        /// Its name.
        name: String,
        /// The Debian package that brings it.
        package: String,
        /// Whether no camera can be published without it.
        required: bool,
        /// The version of the plug-in that it is in; none: it is not installed.
        version: Option<String>,
    },
    /// A device node is about to be opened.
    Opening(PathBuf),
    /// It opened.
    Opened {
        /// The node.
        node: PathBuf,
        /// How many modes it offers.
        modes: usize,
        /// The mode that would be taken, and why; none: none can be used.
        choice: Option<String>,
        /// What that mode puts on the bus, in Mbit/s, if its pictures are raw.
        megabits: Option<u32>,
    },
    /// It did not open.
    Refused {
        /// The node.
        node: PathBuf,
        /// What was said.
        words: String,
    },
    /// It belongs to a camera that only libcamera makes pictures of.
    Ribbon(PathBuf),
    /// An encoder is about to be tried.
    Trying(String),
    /// An encoder.
    Encoder(Encoder),
    /// Why it cannot go on.
    Fault {
        /// What is wrong.
        what: String,
        /// The next step.
        hint: String,
    },
}

/// An encoder and what came of trying it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    /// The template's name.
    pub name: String,
    /// `h264` or `vp8`.
    pub codec: String,
    /// The order in which `auto` tries them; 0: never.
    pub rank: u32,
    /// The Debian package of its element, where there is one.
    pub package: Option<String>,
    /// Whether its element is installed.
    pub present: bool,
    /// What the trial found, in words; none: it was not tried.
    pub trial: Option<String>,
    /// Whether it can be used.
    pub works: bool,
    /// Whether it makes key frames when asked.
    pub keyframe_on_request: bool,
    /// Pictures of 1280x720 that it encodes in a second.
    pub speed: f64,
}

/// What a child process said, and how it ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looked {
    /// Line by line.
    pub words: Vec<Word>,
    /// Its end.
    pub end: End,
}

/// How a child process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum End {
    /// In order.
    #[default]
    Done,
    /// It could not be started, or crashed.
    Failed(String),
    /// It did not end within so many seconds, and was given up.
    Late(u64),
}
