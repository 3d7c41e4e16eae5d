//! What the fuzz targets do with their input, as plain functions: libFuzzer calls them with what it makes up, and
//! `tests/it/regressions.rs` with the files of `corpus/` and `regressions/`. Each panics when a promise is broken.

// Included by a test as a module too, where nothing is reachable from outside and helpers may unwrap.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod candidate;
pub mod config;
pub mod description;
pub mod message;
pub mod request;
pub mod room;
pub mod template;

/// The name of a target's directories, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 7] = [
    ("candidate", candidate::run),
    ("config", config::run),
    ("description", description::run),
    ("message", message::run),
    ("request", request::run),
    ("room", room::run),
    ("template", template::run),
];

/// Separates the parts of an input that has several; in no text that is worth trying.
const SEPARATOR: u8 = 0x1e;

/// The parts of an input.
fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == SEPARATOR)
}

/// The first byte, which says what to do with the rest, and the rest as text. `None`: empty, or no text.
fn tagged(part: &[u8]) -> Option<(u8, &str)> {
    let (tag, rest) = part.split_first()?;
    Some((*tag, std::str::from_utf8(rest).ok()?))
}

/// An input read as a list of choices; at its end every choice is the first one.
struct Feed<'a>(&'a [u8]);

impl Feed<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }
}
