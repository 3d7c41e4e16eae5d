//! How long a connection may live that has not become a WebSocket: hyper does not limit how slowly a response is read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The end of one connection; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Life {
    end: Arc<Mutex<Instant>>,
    span: Duration,
}

impl Life {
    /// Of `span`, from now on.
    pub(super) fn new(span: Duration) -> Self {
        Self { end: Arc::new(Mutex::new(Instant::now() + span)), span }
    }

    /// The client takes what it asked for: it has its whole time again.
    pub(super) fn renew(&self) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.span;
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        loop {
            let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_life_ends_when_it_is_not_renewed() {
        let life = Life::new(Duration::from_secs(60));
        let begun = Instant::now();
        let renewing = life.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(50)).await;
            renewing.renew();
        });
        life.over().await;
        assert_eq!(begun.elapsed().as_secs(), 110);
    }
}
