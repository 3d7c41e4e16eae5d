//! What trials of encoders found, for who looks after the box.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// An encoder was tried out at one size, on this box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// The template's name.
    pub encoder: String,
    /// Such as `h264`.
    pub codec: String,
    /// Of the picture, in pixels.
    pub width: u32,
    /// The same.
    pub height: u32,
    /// Unix time in milliseconds.
    pub at: u64,
    /// Whether cameras may use it at this size.
    pub works: bool,
    /// What was seen, or why not, in words.
    pub told: String,
}

/// What is known of the encoders; a cheap handle, the same for every clone.
#[derive(Debug, Clone, Default)]
pub struct Trials(Arc<Mutex<Vec<Trial>>>);

impl Trials {
    /// By encoder and size; as many as are kept, 256 at most.
    #[must_use]
    pub fn list(&self) -> Vec<Trial> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known from now on; of the same encoder and size only the latest.
    pub fn set(&self, mut trials: Vec<Trial>) {
        trials.sort_by(|a, b| {
            (&a.encoder, b.width, b.height, b.at).cmp(&(&b.encoder, a.width, a.height, a.at))
        });
        // One that was found with a template as it was before counts no more.
        trials.dedup_by(|next, one| {
            (&next.encoder, next.width, next.height) == (&one.encoder, one.width, one.height)
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trials;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoders_largest_picture_comes_first_and_of_each_size_the_latest_trial() {
        let trial = |encoder: &str, width, at| Trial {
            encoder: encoder.into(),
            codec: "h264".into(),
            width,
            height: width / 2,
            at,
            works: true,
            told: String::new(),
        };
        let trials = Trials::default();
        let known = [trial("b", 640, 1), trial("a", 320, 2), trial("b", 1280, 3), trial("b", 640, 4)];
        trials.clone().set(known.into());
        let listed: Vec<_> = trials.list().into_iter().map(|one| (one.encoder, one.width, one.at)).collect();
        assert_eq!(listed, [("a".into(), 320, 2), ("b".into(), 1280, 3), ("b".into(), 640, 4)]);
    }
}
