//! What those who watch see of a camera that gives pictures: they are told `live` when one of them can see it.

use super::{RENDITIONS, Running};
use crate::status::State;

/// What those who watch see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// One sees the camera; or nobody watches, or looks at still pictures only.
    Camera,
    /// Nobody sees anything new yet, nor a slate.
    Awaited,
    /// All see a slate; `again`: they have seen the camera before.
    Slate { again: bool },
}

impl Running {
    /// Tells the state of a camera whose device gives pictures and whose encoders have not failed. An encoder may take its
    /// time to start, and to be noticed when it hangs.
    pub(super) fn say_what_is_seen(&self) {
        match self.sight() {
            Sight::Camera => self.shared.set(State::Live, self.failure()),
            // What was live stays so: one rendition ends and another begins.
            Sight::Awaited if self.shared.state() == State::Live => {
                self.shared.set(State::Live, self.failure());
            }
            Sight::Awaited => {}
            Sight::Slate { again: true } => {
                self.shared.set(State::Stalled, Some(self.failure().unwrap_or_else(|| HANGS.into())));
            }
            Sight::Slate { again: false } => {
                self.shared.set(State::Opening, Some(self.failure().unwrap_or_else(|| STARTS.into())));
            }
        }
    }

    fn sight(&self) -> Sight {
        let all = RENDITIONS.iter().map(|(rendition, codec)| self.shared.fanout(*rendition, *codec));
        let wanted: Vec<_> = all.filter(|fanout| fanout.is_wanted()).map(|fanout| fanout.shows()).collect();
        if wanted.is_empty() || wanted.contains(&(false, true)) {
            Sight::Camera
        } else if wanted.iter().all(|(slate, _)| *slate) {
            Sight::Slate { again: wanted.iter().any(|(_, given)| *given) }
        } else {
            Sight::Awaited
        }
    }
}

/// Why nobody sees the camera, in words.
const HANGS: &str = "the camera gives pictures, but its encoder does not";
/// See [`HANGS`].
const STARTS: &str = "the first encoded picture has not come yet";
