//! What is wrong with a camera, in words, and which device it is.

use std::path::Path;
use std::time::SystemTime;

use log::{debug, info};

use super::{Condition, MediaError, Shared};
use crate::fault::{Fault, Kind, Machine};
use crate::identity::Places;
use crate::status::State;

/// Why a camera is not live.
#[derive(Debug, Clone)]
pub(in crate::media) struct Trouble {
    /// The state that tells most of it.
    pub(in crate::media) state: State,
    /// In words; may be empty.
    pub(in crate::media) reason: String,
    /// When it was last well, or switched off.
    pub(in crate::media) since: SystemTime,
}

impl Shared {
    /// Binds a camera that was given by a bare number to the device that has it now.
    pub(in crate::media) fn identify(&self) {
        let (places, Some(path)) = (Places::default(), self.device()) else { return };
        if places.is_stable(&path) || !path.exists() {
            return;
        }
        let Some(stable) = places.stable(&path) else { return };
        let (camera, now, stays) = (self.name().as_str(), path.display(), stable.display());
        info!(camera;
            "camera {camera}: {now} is {stays}, and is followed by that name; write `source = \"{stays}\"` into [camera.{camera}]");
        self.lock().device = Some(stable.clone());
        self.cameras.update(self.name(), |status| status.source = stable.display().to_string());
    }

    /// Why it is not live.
    pub(in crate::media) fn trouble(&self) -> Trouble {
        self.lock().trouble.clone()
    }

    /// What went wrong, in words with the next step; counted as a restart.
    pub(in crate::media) fn explain(&self, error: &MediaError) -> String {
        let fault = self.fault(error);
        if fault.kind == Kind::NoSpace {
            self.encoders.admission().refused(self.name()); // the next mode is tried
        }
        self.count(fault.kind);
        fault.in_words()
    }

    /// Counts a restart of the camera or of an encoder.
    pub(in crate::media) fn count(&self, kind: Kind) {
        self.cameras.update(self.name(), |status| status.restarts.count(kind));
    }

    /// What went wrong.
    pub(in crate::media) fn fault(&self, error: &MediaError) -> Fault {
        let device = self.device();
        let words = match error {
            MediaError::Pipeline { what, why } if what == "capture" => why.clone(),
            MediaError::Pipeline { what, why } if device.as_deref() == Some(Path::new(what)) => why.clone(),
            error => error.to_string(),
        };
        match (error, device) {
            (MediaError::Pipeline { .. }, Some(device)) => {
                let camera = self.name().as_str();
                debug!(camera; "camera {camera}: {words}");
                Machine::default().explain(&device, &words)
            }
            _ => Fault { kind: error.kind(), text: words, next: error.hint() },
        }
    }

    /// Keeps what slates say: the last failure, while the camera is opened again. `false`: it is tried and fails as
    /// before, which the log need not have every 2 s.
    pub(in crate::media) fn note(&self, Condition { state, reason }: &Condition) -> bool {
        let mut inner = self.lock();
        let trouble = &mut inner.trouble;
        let well = |state| matches!(state, State::Live | State::Idle | State::Disabled);
        if *state == State::Opening && !well(trouble.state) {
            return trouble.state == State::Opening;
        }
        let is_news = trouble.state != *state || Some(&trouble.reason) != reason.as_ref();
        if well(trouble.state) || well(*state) {
            trouble.since = SystemTime::now();
        }
        trouble.state = *state;
        trouble.reason = reason.clone().unwrap_or_default();
        is_news || well(*state)
    }
}
