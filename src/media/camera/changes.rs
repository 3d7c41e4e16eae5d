//! Changes to a camera while it runs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use log::info;
use tokio::sync::watch;

use super::{Camera, Condition, Shared};
use crate::config::settings;
use crate::control::{Change, Refusal, Steered, Wishes};
use crate::media::plan::Rendition;
use crate::shutdown::ending;
use crate::status::State;

/// What the API says of a camera that the configuration leaves out.
const OFF_IN_CONFIG: &str = "switched off in the config (enabled = false)";

impl Camera {
    /// The camera's settings of now.
    #[must_use]
    pub fn settings(&self) -> Arc<settings::Camera> {
        self.shared.settings()
    }

    /// Whoever follows its settings is told of each change.
    #[must_use]
    pub fn follow_settings(&self) -> watch::Receiver<Arc<settings::Camera>> {
        self.shared.settings.subscribe()
    }

    /// Goes on with other settings, of the same source: viewers keep their connections. Encoders whose settings changed
    /// start again; the device too if `reopen`.
    pub fn apply(&self, settings: settings::Camera, reopen: bool) {
        let title = settings.title.clone();
        self.shared.forget_changes(&settings);
        self.shared.settings.send_replace(Arc::new(settings));
        if reopen {
            self.shared.reopen.store(true, Ordering::Release);
        }
        self.shared.cameras.update(self.name(), |status| status.title = title);
        self.shared.wake.notify_one();
    }

    /// Returns when it is switched on (`true`), or never will be.
    pub async fn switched_on(&self, mut shutdown: watch::Receiver<bool>) -> bool {
        let mut condition = self.condition();
        tokio::select! {
            changed = condition.wait_for(|now| now.state != State::Disabled) => changed.is_ok(),
            () = ending(&mut shutdown) => false,
        }
    }

    /// By which it is changed.
    #[must_use]
    pub fn steered(&self) -> Weak<dyn Steered> {
        Arc::<Shared>::downgrade(&self.shared)
    }
}

/// How a camera begins.
pub(super) fn beginning(settings: &settings::Camera) -> Condition {
    if settings.enabled {
        Condition { state: State::Opening, reason: None }
    } else {
        Condition { state: State::Disabled, reason: Some(OFF_IN_CONFIG.to_owned()) }
    }
}

impl Steered for Shared {
    fn change(&self, change: &Change) -> Result<(), Refusal> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, now) = {
            let mut inner = self.lock();
            let (before, now) = (inner.wishes, change.apply(inner.wishes)?);
            if change.bitrate.is_some() && inner.passed_on {
                return Err(Refusal::PassedOn(self.name().clone()));
            }
            inner.wishes = now;
            (before, now)
        };
        let camera = self.name().as_str();
        for (key, before, now) in
            [("bitrate", before.bitrate, now.bitrate), ("sub.bitrate", before.sub.bitrate, now.sub.bitrate)]
        {
            if before != now {
                info!(camera; "camera {camera}: {key} is {now} kbit/s from now on, and was {before}");
            }
        }
        self.cameras.update(self.name(), |status| status.wishes = now);
        match (before.enabled, now.enabled) {
            (true, false) => {
                self.enabled.store(false, Ordering::Release);
                let or_else = if self.settings().enabled { ", or a restart of portald," } else { "" };
                let reason = format!(
                    "switched off by the administrator; next: PATCH /api/cameras/{camera} with {{\"enabled\":true}}{or_else} \
                     switches it on"
                );
                self.set(State::Disabled, Some(reason));
            }
            (false, true) => {
                self.enabled.store(true, Ordering::Release);
                self.set(State::Opening, None);
            }
            _ => {}
        }
        self.wake.notify_one();
        self.watched.notify_one();
        Ok(())
    }
}

impl Shared {
    /// Whether the device is to be opened anew; asked once for each change.
    pub(in crate::media) fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::AcqRel)
    }

    /// Whether it will be.
    pub(in crate::media) fn is_to_reopen(&self) -> bool {
        self.reopen.load(Ordering::Acquire)
    }

    /// Whether it is switched on.
    pub(in crate::media) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Goes on with the bit rates of a configuration that was read anew.
    pub(super) fn forget_changes(&self, settings: &settings::Camera) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let wishes = {
            let mut inner = self.lock();
            inner.wishes = Wishes { enabled: inner.wishes.enabled, ..Wishes::from(settings) };
            inner.wishes
        };
        self.cameras.update(self.name(), |status| status.wishes = wishes);
    }

    /// The bit rate that is wished for now, in kbit/s.
    pub(in crate::media) fn bitrate(&self, rendition: Rendition) -> u32 {
        let Wishes { bitrate, sub, .. } = self.lock().wishes;
        match rendition {
            Rendition::Main => bitrate,
            Rendition::Sub => sub.bitrate,
        }
    }

    /// Notes whether the main rendition is what the camera sends; kept while it is closed.
    pub(in crate::media) fn set_passed_on(&self, passed_on: bool) {
        self.lock().passed_on = passed_on;
    }
}
