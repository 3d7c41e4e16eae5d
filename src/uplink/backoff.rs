//! How long to wait before the next connection.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// First and longest wait: most losses are a restart or a hiccup, and a server that is away for long is not to be
/// burdened.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A connection that stood for so long was a good one: the next loss is a first again.
const GOOD: Duration = Duration::from_secs(60);
/// Waits after the id was taken: as long as a hub keeps a seat, because a box that was just started again meets the seat
/// it had before; then another box has our name, and only people can help.
const TAKEN: Duration = Duration::from_secs(11);

/// How sure it is that trying again soon is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hope {
    /// We did it ourselves.
    Sure,
    /// A loss: it may work again any time.
    Good,
    /// Somebody has our seat, perhaps our old self.
    Taken,
    /// Refused: somebody has to change something.
    Little,
}

/// Waits that grow, and that differ between boxes: cameras of a whole house must not knock at a restarted server in
/// one instant.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    taken: u32,
}

impl Backoff {
    /// How long to wait after a connection that stood for `stood`.
    pub(super) fn wait(&mut self, hope: Hope, stood: Duration) -> Duration {
        if stood >= GOOD {
            *self = Self::default();
        }
        let grown = WAITS.0.saturating_mul(1 << self.failures.min(5)).min(WAITS.1);
        self.failures = self.failures.saturating_add(u32::from(hope != Hope::Sure));
        self.taken = if hope == Hope::Taken { self.taken.saturating_add(1) } else { 0 };
        match hope {
            // Half of it surely, half of it by chance.
            Hope::Sure => Duration::ZERO,
            Hope::Good => grown / 2 + (grown / 2).mul_f64(chance()),
            Hope::Taken if self.taken <= 2 => TAKEN + WAITS.0.mul_f64(chance()),
            Hope::Taken | Hope::Little => WAITS.1 + (WAITS.1 / 3).mul_f64(chance()),
        }
    }
}

/// First and longest time between two joins for the sake of one connection: they interrupt all others, so one viewer
/// that can never be reached must not have them at will.
const REBUILDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// When the room may be joined again for the sake of one connection.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    last: Option<(Instant, Duration)>,
}

impl Rebuild {
    /// From when on; none: at once.
    pub(super) fn due(&self) -> Option<Instant> {
        self.last.map(|(at, wait)| at + wait)
    }

    /// It was done now. The waits double, and begin anew when none was needed for twice the longest.
    pub(super) fn done(&mut self) {
        let now = Instant::now();
        let lately = self.last.filter(|(at, _)| now.duration_since(*at) < 2 * REBUILDS.1);
        let wait = lately.map_or(REBUILDS.0, |(_, wait)| (wait * 2).min(REBUILDS.1));
        self.last = Some((now, wait));
    }
}

/// Between 0 and 1. A UUID's random bits are what we have, and more than enough.
fn chance() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_bound_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::default();
        for limit in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
            let wait = backoff.wait(Hope::Good, Duration::from_secs(1)).as_secs_f64();
            assert!((limit / 2.0..=limit).contains(&wait), "{wait} of {limit}");
        }
        assert!(backoff.wait(Hope::Good, GOOD) <= WAITS.0);
        for _ in 0..100 {
            backoff.wait(Hope::Good, Duration::ZERO);
        }
        assert!(backoff.wait(Hope::Good, Duration::ZERO) <= WAITS.1);
    }

    #[test]
    fn no_two_boxes_wait_alike() {
        let waits: std::collections::BTreeSet<_> =
            (0..50).map(|_| Backoff::default().wait(Hope::Good, Duration::ZERO)).collect();
        assert!(waits.len() > 40, "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_viewer_cannot_interrupt_the_others_at_will() {
        let (mut rebuild, begun, mut count) = (Rebuild::default(), Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(24 * 3600) {
            tokio::time::sleep_until(rebuild.due().unwrap_or(begun)).await;
            rebuild.done();
            count += 1;
        }
        assert!((20..40).contains(&count), "{count} a day");
    }

    #[test]
    fn a_refusal_waits_long_and_a_taken_id_as_long_as_a_seat_is_kept() {
        let mut backoff = Backoff::default();
        assert!(backoff.wait(Hope::Little, Duration::ZERO) >= WAITS.1);
        for _ in 0..2 {
            assert!((10..15).contains(&backoff.wait(Hope::Taken, Duration::ZERO).as_secs()));
        }
        assert!(backoff.wait(Hope::Taken, Duration::ZERO) >= WAITS.1);
    }
}
