//! What the renditions of a camera look like, for slates and for whoever chooses one.

use super::Shared;
use crate::config::settings;
use crate::media::plan::{Rendition, even};

/// What a rendition looks like.
#[derive(Debug, Clone, Copy)]
pub(in crate::media) struct Look {
    /// In pixels.
    pub(in crate::media) width: u32,
    /// In pixels.
    pub(in crate::media) height: u32,
    /// Pictures a second, as a fraction.
    pub(in crate::media) framerate: (u32, u32),
    /// In kbit/s.
    pub(in crate::media) bitrate: u32,
}

impl Look {
    pub(in crate::media) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// What the configuration asks for.
    pub(super) fn wished(settings: &settings::Camera, rendition: Rendition) -> Self {
        let settings::Wish { width, height, framerate } = settings.wish;
        let (width, height, framerate, bitrate) = match rendition {
            Rendition::Main => (width, height, (framerate, 1), settings.bitrate),
            Rendition::Sub => {
                let (width, height, framerate) = settings.sub.picture(width, height, (framerate, 1));
                (width, height, framerate, settings.sub.bitrate)
            }
        };
        Self { width: even(width), height: even(height), framerate, bitrate }
    }
}

impl Shared {
    /// What rendition `index` looks like, or looked like last.
    pub(in crate::media) fn look(&self, index: usize) -> Look {
        let inner = self.lock();
        inner.looks.get(index).copied().unwrap_or(inner.looks[0])
    }

    /// Notes what rendition `index` looks like from now on.
    pub(in crate::media) fn set_look(&self, index: usize, look: Look) {
        if let Some(place) = self.lock().looks.get_mut(index) {
            *place = look;
        }
    }

    /// Notes what follows from what is captured.
    pub(in crate::media) fn set_sizes(&self, sizes: [(u32, u32); 2]) {
        self.lock().sizes = sizes;
    }
}
