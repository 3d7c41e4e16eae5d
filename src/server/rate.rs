//! How fast one socket may talk: a token bucket that also tells a hiccup from a flood.

use std::time::Duration;

use tokio::time::Instant;

/// What to do with one more frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the rate.
    Take,
    /// Over the rate: drop this one.
    Drop,
    /// So far over the rate that the socket should go.
    Flood,
}

/// A bucket of `burst` tokens, refilled at `rate` a second; each frame takes one.
#[derive(Debug)]
pub(super) struct Bucket {
    burst: u32,
    flood: u32,
    /// The time one token takes to come back.
    per_token: Duration,
    /// When the bucket will be (or was) full: tokens missing, expressed as time.
    full_at: Instant,
    dropped: u32,
}

impl Bucket {
    /// A full one. `rate` and `burst` of 0 are taken as 1; `flood` frames are dropped without a pause long enough
    /// to fill the bucket again before the verdict is [`Verdict::Flood`].
    pub(super) fn new(rate: u32, burst: u32, flood: u32, now: Instant) -> Self {
        let per_token = Duration::from_secs(1) / rate.max(1);
        Self { burst: burst.max(1), flood, per_token, full_at: now, dropped: 0 }
    }

    /// One frame came at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Verdict {
        if self.full_at <= now {
            self.full_at = now;
            self.dropped = 0;
        }
        if self.full_at + self.per_token <= now + self.per_token * self.burst {
            self.full_at += self.per_token;
            return Verdict::Take;
        }
        self.dropped += 1;
        if self.dropped > self.flood { Verdict::Flood } else { Verdict::Drop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_then_the_flood_is_called() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 400, 3, start);
        assert!((0..400).all(|_| bucket.take(start) == Verdict::Take));
        assert_eq!(bucket.take(start), Verdict::Drop);
        let later = start + Duration::from_millis(10);
        assert_eq!([bucket.take(later), bucket.take(later)], [Verdict::Take, Verdict::Drop]);
        assert_eq!([bucket.take(later), bucket.take(later)], [Verdict::Drop, Verdict::Flood]);
    }

    #[test]
    fn a_pause_is_forgiven() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 1, 1, start);
        assert_eq!([bucket.take(start), bucket.take(start)], [Verdict::Take, Verdict::Drop]);
        let later = start + Duration::from_secs(1);
        assert_eq!([bucket.take(later), bucket.take(later)], [Verdict::Take, Verdict::Drop]);
    }
}
