//! What may block in the kernel, on threads of its own and with a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::warn;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::MediaError;
use super::capture::FIRST_PICTURE;
use super::rtsp::{DESCRIBE, REACH, TRY_A_PLAYER};
use crate::config::settings::Source;

/// How long a device may take to open or close: a yanked one can block in the kernel.
const OPEN_LIMIT: Duration = Duration::from_secs(15);

/// The same for a camera in the network, which is asked what it sends, and then has its first picture waited for; each
/// has a limit of its own, and says more when that is over.
const NETWORK_LIMIT: Duration = Duration::from_secs(30);
const _: () = assert!(
    DESCRIBE.as_secs() + FIRST_PICTURE.1.as_secs() + 2 * REACH.as_secs() < NETWORK_LIMIT.as_secs(),
    "what opening a camera in the network consists of must end before the whole does"
);

/// The calls into one device's driver: while one has not returned there is no other, so that a driver that hangs holds
/// one thread and not one for each try.
#[derive(Debug, Clone)]
pub(super) struct Calls(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    under_way: AtomicBool,
    returned: Notify,
    /// Whether it is a camera in the network, and no driver.
    is_far: bool,
}

/// The call under way; dropping it lets the next one in.
struct Turn(Arc<Line>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.under_way.store(false, Ordering::Release);
        self.0.returned.notify_one();
    }
}

impl Calls {
    /// Those of a camera from there.
    pub(super) fn to(source: &Source) -> Self {
        Self(Arc::new(Line { is_far: matches!(source, Source::Rtsp(_)), ..Line::default() }))
    }

    /// Runs `work`, unless an earlier call still has not returned.
    ///
    /// # Errors
    /// [`MediaError::Hung`] after 15 s, or at once while the driver hangs; [`MediaError::Network`] after 30 s of a camera
    /// in the network; else what `work` says.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        if self.0.under_way.swap(true, Ordering::AcqRel) {
            return Err(self.late(what));
        }
        let turn = Turn(Arc::clone(&self.0));
        let (sender, result) = oneshot::channel();
        drop(spawn_blocking(move || {
            let result = work();
            if sender.is_closed() {
                // What nobody waits for any more is dropped, that is closed, before the next call.
                drop(result);
                drop(turn);
            } else {
                drop(turn);
                let _ = sender.send(result);
            }
        }));
        let limit = if self.0.is_far { NETWORK_LIMIT } else { OPEN_LIMIT };
        match timeout(limit, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(MediaError::pipeline(what, "it panicked")),
            Err(_) => Err(self.late(what)),
        }
    }

    fn late(&self, what: &str) -> MediaError {
        if !self.0.is_far {
            return hung(what);
        }
        let why = format!("opening or closing the camera took longer than {} s", NETWORK_LIMIT.as_secs());
        MediaError::Network { why, hint: TRY_A_PLAYER }
    }

    /// Whether a call has not returned.
    pub(super) fn is_stuck(&self) -> bool {
        self.0.under_way.load(Ordering::Acquire)
    }

    /// Returns when one did.
    pub(super) async fn returned(&self) {
        self.0.returned.notified().await;
    }
}

/// Runs what may block in the kernel on a thread of its own, and does not wait for it for ever.
pub(super) async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
) -> Result<T, MediaError> {
    match timeout(OPEN_LIMIT, spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => Err(MediaError::pipeline(what, panicked)),
        Err(_) => Err(hung(what)),
    }
}

/// Drops `thing` (which stops its pipeline) on a blocking thread.
pub(super) async fn close<T: Send + 'static>(what: &'static str, thing: Option<T>) {
    let Some(thing) = thing else { return };
    let stopped = blocking(what, move || {
        drop(thing);
        Ok(())
    });
    if let Err(error) = stopped.await {
        warn!("{error}");
    }
}

fn hung(what: &str) -> MediaError {
    MediaError::Hung { what: what.to_owned(), seconds: OPEN_LIMIT.as_secs() }
}
