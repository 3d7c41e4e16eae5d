//! Keeps one camera going: opened when someone watches, restarted alone when it fails.
//!
//! `run()` retries with back-off; `run_once()` is one straight run from opening the device to nobody watching.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};

use super::MediaError;
use super::camera::Shared;
use super::capture::{Event, Origin};
use super::plan;
use super::running::Running;
use crate::hotplug::{LOOK, Watcher};
use crate::shutdown::ending;
use crate::status::State;

/// How long a device stays open, and a rendition encoded, after its last viewer left: a page that is reloaded should
/// not close a camera.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// First and longest wait before a failed camera is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest wait while somebody watches: the slate says that it is tried, and a fault that ends is over within 3 s.
const WATCHED: Duration = Duration::from_secs(2);
/// Pictures for this long make the next failure the first again.
const RECOVERED: Duration = Duration::from_secs(60);
/// How often a camera that failed, and that nobody watches, is asked whether it is well again: `/readyz` must not call
/// it watchable meanwhile.
const RECHECK: Duration = Duration::from_secs(30);
/// How often a running camera is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Why a run ended.
#[derive(Debug)]
enum End {
    /// Nobody watches any more.
    Unwatched,
    /// It was switched off.
    SwitchedOff,
    /// Its settings changed; it is opened again as they say.
    Changed,
    /// The daemon ends.
    Shutdown,
}

/// Why a failed camera is tried again.
enum Retry {
    Waited,
    PluggedIn,
    /// It is not.
    No(End),
}

/// Keeps one camera going.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    shutdown: watch::Receiver<bool>,
    /// Tells when the device comes, goes, or may be opened.
    hotplug: Option<Watcher>,
}

impl Supervisor {
    /// To be called within the runtime.
    pub(super) fn new(shared: Arc<Shared>, shutdown: watch::Receiver<bool>) -> Self {
        Self { shared, shutdown, hotplug: None }
    }

    /// Until the daemon ends.
    pub(super) async fn run(mut self) {
        while self.wait_until_enabled().await {
            self.hotplug = self.shared.device().map(|path| Watcher::new(vec![path]));
            if matches!(self.keep().await, End::Shutdown) {
                return;
            }
            self.hotplug = None;
        }
    }

    /// Returns when it is switched on (`true`) or the daemon ends.
    async fn wait_until_enabled(&mut self) -> bool {
        loop {
            if self.shared.is_enabled() {
                return true;
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = ending(&mut self.shutdown) => return false,
            }
        }
    }

    /// Until it is switched off or the daemon ends.
    async fn keep(&mut self) -> End {
        self.watch_device();
        let mut backoff = BACKOFF.0;
        let mut failure = self.check().await;
        loop {
            if let Err(end) = self.wait_until_wanted(failure.take()).await {
                return end;
            }
            let begun = Instant::now();
            self.shared.take_reopen();
            match self.run_once().await {
                Ok(End::Unwatched | End::Changed) => {
                    backoff = BACKOFF.0;
                    self.shared.encoders.admission().forgive(self.shared.name());
                }
                Ok(end) => return end,
                Err(error) => {
                    if begun.elapsed() > RECOVERED {
                        backoff = BACKOFF.0;
                    }
                    let reason = self.shared.explain(&error);
                    backoff = match self.wait_to_retry(&reason, backoff).await {
                        Retry::Waited => (backoff * 2).min(BACKOFF.1),
                        // Another plugging in, another start; the first try may come before udev has set the group.
                        Retry::PluggedIn => BACKOFF.0,
                        Retry::No(end) => return end,
                    };
                    failure = Some(reason);
                }
            }
        }
    }

    /// Asks the device what it offers, and closes it again; returns why it cannot be watched.
    async fn check(&self) -> Option<String> {
        if !self.shared.is_there() {
            return None; // absence is seen without asking
        }
        let shared = Arc::clone(&self.shared);
        let checked = self
            .shared
            .calls
            .run("the device", move || plan::capture(&shared.resolved(), &shared.encoders))
            .await;
        if let Ok(plan) = &checked {
            self.shared.set_passed_on(plan.encoded && plan.transcoded.is_none());
        }
        checked.err().map(|error| self.shared.fault(&error).in_words())
    }

    /// Returns when someone watches; the error is why nobody will. `failure` is why the last run ended, if it failed.
    async fn wait_until_wanted(&mut self, mut failure: Option<String>) -> Result<(), End> {
        let mut checked = Instant::now();
        loop {
            if !self.shared.is_enabled() {
                return Err(End::SwitchedOff);
            }
            if self.shared.is_wanted() {
                return Ok(());
            }
            let changed = self.shared.take_reopen();
            if failure.is_some() && !self.shared.calls.is_stuck() && (changed || checked.elapsed() > RECHECK)
            {
                failure = self.check().await;
                checked = Instant::now();
            }
            match (&failure, self.shared.is_there()) {
                (_, false) => self.set_absent(),
                (Some(reason), true) => self.shared.set(State::Backoff, Some(reason.clone())),
                (None, true) => self.shared.set(State::Idle, None),
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                told = plugged(&mut self.hotplug) => {
                    self.watch_device();
                    if told && self.shared.is_there() && !self.shared.calls.is_stuck() {
                        failure = self.check().await;
                        checked = Instant::now();
                    }
                }
                () = sleep(LOOK) => {}
                () = ending(&mut self.shutdown) => return Err(End::Shutdown),
            }
        }
    }

    /// A camera that was given by a number may have a better name now.
    fn watch_device(&mut self) {
        self.shared.identify();
        if let (Some(hotplug), Some(path)) = (&mut self.hotplug, self.shared.device()) {
            hotplug.set(vec![path]);
        }
    }

    fn set_absent(&self) {
        let path = self.shared.device().map(|path| path.display().to_string()).unwrap_or_default();
        self.shared
            .set(State::Absent, Some(format!("no device at {path}; it comes up when it is plugged in")));
    }

    /// Says what failed and waits: for the device if it is gone, else for the back-off.
    async fn wait_to_retry(&mut self, reason: &str, backoff: Duration) -> Retry {
        let begun = Instant::now();
        loop {
            if !self.shared.is_enabled() {
                return Retry::No(End::SwitchedOff);
            }
            let there = self.shared.is_there();
            let until = begun + if self.shared.is_attended() { backoff.min(WATCHED) } else { backoff };
            if there && Instant::now() >= until && !self.shared.calls.is_stuck() {
                return Retry::Waited;
            }
            if there && !self.shared.calls.is_stuck() && self.shared.take_reopen() {
                return Retry::PluggedIn; // what failed with the old settings may work with the new
            }
            if there {
                self.shared.set(State::Backoff, Some(reason.to_owned()));
            } else {
                self.set_absent();
            }
            let left = until.saturating_duration_since(Instant::now());
            let changed = tokio::select! {
                changed = plugged(&mut self.hotplug) => changed,
                () = sleep(left), if there && !left.is_zero() => false,
                () = self.shared.calls.returned() => false,
                () = self.shared.wake.notified() => false,
                () = ending(&mut self.shutdown) => return Retry::No(End::Shutdown),
            };
            // It came, or udev gave it to our group: both end the waiting.
            if (changed || !there) && self.shared.is_there() && !self.shared.calls.is_stuck() {
                return Retry::PluggedIn;
            }
        }
    }

    async fn run_once(&mut self) -> Result<End, MediaError> {
        let shared = Arc::clone(&self.shared);
        // One that failed is tried again without a word: its viewers know, and it fails again more often than not.
        if shared.state() != State::Backoff {
            shared.set(State::Opening, None);
        }
        let (mut running, mut happened) = Running::open(shared).await?;
        let result = self.watch(&mut running, &mut happened).await;
        running.close().await;
        result
    }

    /// Keeps what runs equal to what is wanted, until it fails or nobody watches.
    async fn watch(
        &mut self,
        running: &mut Running,
        happened: &mut mpsc::Receiver<Event>,
    ) -> Result<End, MediaError> {
        let mut tick = interval(TICK);
        let mut unwatched: Option<Instant> = None;
        loop {
            if !self.shared.is_enabled() {
                return Ok(End::SwitchedOff);
            }
            self.shared.cameras.turn(self.shared.name());
            running.reconcile().await;
            running.check_pulse().await?;
            running.report();
            if self.shared.is_to_reopen() {
                return Ok(End::Changed);
            }
            unwatched =
                if self.shared.is_wanted() { None } else { unwatched.or_else(|| Some(Instant::now())) };
            if unwatched.is_some_and(|since| since.elapsed() >= GRACE) {
                return Ok(End::Unwatched);
            }
            tokio::select! {
                Some(event) = happened.recv() => match event.origin {
                    Origin::Capture => return Err(event.into()),
                    Origin::Decoder => running.fail_decoder(&event.into()).await,
                    Origin::Encoder(index) => running.fail_encoder(index, &event.into()).await,
                    Origin::Stills => {} // told to whoever makes them
                },
                () = self.shared.wake.notified() => {}
                _ = tick.tick() => {}
                () = ending(&mut self.shutdown) => return Ok(End::Shutdown),
            }
        }
    }
}

/// Waits for news of the device (`true`), or until it is time to look (`false`); for ever where there is no node.
async fn plugged(hotplug: &mut Option<Watcher>) -> bool {
    match hotplug {
        Some(hotplug) => hotplug.changed().await,
        None => std::future::pending().await,
    }
}
