//! What to do about a viewer whose first offer crosses ours: it must roll back, and Chromium 156 bears that badly.
//!
//! When the rollback comes while Chromium still gathers for its own offer, the connection often gathers no candidate any
//! more and stays `new` for good (measured: 12 of 20 joins of a stock page with a webcam and three cameras had such a
//! connection; none of 40 when our offer came 0.25 s or more after theirs). So who was once seen to offer by itself is
//! let go first the next time, and a connection that shows the fault is renewed as soon as it can be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// From the viewer's own offer to ours: its gathering is through, and a rollback does no harm.
const SETTLE: Duration = Duration::from_millis(400);
/// How long its own offer is waited for, in case this time it has nothing to show.
const AFTER_YOU: Duration = Duration::from_millis(1_500);
/// From its answer to its first candidate; a browser that gathers needs some milliseconds.
const FIRST_CANDIDATE: Duration = Duration::from_secs(2);
/// How long a connection may take that shows no fault but does not come up either. Just under the session's own limit,
/// because a stock page builds all its connections anew for one that is renewed: what is only slow must not be renewed.
const LIMIT: Duration = Duration::from_secs(9);

/// Whether a viewer was seen to offer by itself; outlives its sessions.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<AtomicBool>);

/// One session's view of it.
#[derive(Debug)]
pub(super) struct Glare {
    memory: Memory,
    /// It was known for it when the session began, and so was let go first.
    waited: bool,
    begun: Instant,
    offered: Option<Instant>,
    answered: Option<Instant>,
    met: bool,
}

impl Glare {
    pub(super) fn new(now: Instant, memory: Memory) -> Self {
        let waited = memory.0.load(Ordering::Relaxed);
        Self { memory, waited, begun: now, offered: None, answered: None, met: false }
    }

    /// When to begin with our offer.
    pub(super) fn start(&self) -> Instant {
        if !self.waited {
            return self.begun;
        }
        let latest = self.begun + AFTER_YOU;
        self.offered.map_or(latest, |offered| latest.min(offered + SETTLE))
    }

    /// An offer of the viewer came while ours was under way, or about to be.
    pub(super) fn crossed(&mut self, now: Instant) {
        self.memory.0.store(true, Ordering::Relaxed);
        self.met = true;
        self.offered.get_or_insert(now);
    }

    /// The viewer's answer came.
    pub(super) fn answered(&mut self, now: Instant) {
        self.answered.get_or_insert(now);
    }

    /// Whether a connection that is not up is not worth waiting for; `candidates` is how many the viewer has sent.
    pub(super) fn is_stuck(&self, now: Instant, candidates: usize) -> bool {
        let deaf = self.answered.is_some_and(|answered| now.duration_since(answered) > FIRST_CANDIDATE)
            && candidates == 0;
        // Who was let go first has not met the fault: it is slow.
        self.met && (deaf && !self.waited || now.duration_since(self.begun) > LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn whoever_never_offered_is_not_waited_for() {
        let now = Instant::now();
        let glare = Glare::new(now, Memory::default());
        assert_eq!(glare.start(), now);
        assert!(!glare.is_stuck(now + LIMIT * 2, 0), "without glare the negotiation's own limit stands");
    }

    #[test]
    fn a_connection_that_gathers_nothing_after_a_rollback_is_renewed_once_and_then_theirs_goes_first() {
        let (now, memory) = (Instant::now(), Memory::default());
        let mut first = Glare::new(now, memory.clone());
        first.crossed(now + 50 * MS);
        first.answered(now + 100 * MS);
        assert!(!first.is_stuck(now + 100 * MS + FIRST_CANDIDATE, 0));
        assert!(first.is_stuck(now + 101 * MS + FIRST_CANDIDATE, 0));
        assert!(!first.is_stuck(now + 101 * MS + FIRST_CANDIDATE, 1), "it gathers");
        assert!(first.is_stuck(now + LIMIT + MS, 1), "but to no end");

        let mut second = Glare::new(now, memory);
        assert_eq!(second.start(), now + AFTER_YOU, "it may have nothing to show this time");
        second.crossed(now + 30 * MS);
        assert_eq!(second.start(), now + 30 * MS + SETTLE);
        second.crossed(now + 200 * MS);
        assert_eq!(second.start(), now + 30 * MS + SETTLE, "more offers put off nothing");
        second.answered(now + 500 * MS);
        assert!(
            !second.is_stuck(now + 8 * FIRST_CANDIDATE.min(LIMIT / 9), 0),
            "slow, not stuck: renewed again it would never come up"
        );
        assert!(second.is_stuck(now + LIMIT + MS, 0));
    }

    #[test]
    fn an_offer_that_comes_late_does_not_put_off_ours() {
        let (now, memory) = (Instant::now(), Memory::default());
        Glare::new(now, memory.clone()).crossed(now);
        let mut glare = Glare::new(now, memory);
        glare.crossed(now + AFTER_YOU - MS);
        assert_eq!(glare.start(), now + AFTER_YOU);
    }
}
