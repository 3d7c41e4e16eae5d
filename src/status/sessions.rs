//! What sessions between cameras and viewers come to: counted by them, shown in `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The states of a session that has not ended, as `Negotiation::state` names them.
pub const STATES: [&str; 6] = ["new", "offering", "awaiting-answer", "applying", "stable", "live"];

/// Upper bounds of the histogram, in seconds. On a LAN the first frame comes 0.1–0.7 s after a viewer; a camera that must
/// be opened first takes a second or two; after 10 s a session that is not connected has ended.
pub const BUCKETS: [f64; 12] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0];

/// The counts; a cheap handle, the same for every clone. Nothing is decided by them.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    now: [AtomicU64; STATES.len()],
    ended: Reasons,
    ignored: Reasons,
    lost_events: AtomicU64,
    first_frame: Histogram,
}

/// Counts by reason. Reasons are words of the code, so there are few.
type Reasons = Mutex<BTreeMap<&'static str, u64>>;

impl Sessions {
    /// A session begins now, as `new`.
    #[must_use]
    pub fn begin(&self) -> Tracked {
        let counts = Arc::clone(&self.counts);
        let mut tracked =
            Tracked { counts, begun: Instant::now(), state: None, ended: false, seen: false, lost: 0 };
        tracked.moved(STATES[0]);
        tracked
    }

    /// How many sessions are in each of [`STATES`].
    #[must_use]
    pub fn now(&self) -> [u64; STATES.len()] {
        self.counts.now.each_ref().map(|count| count.load(Relaxed))
    }

    /// Sessions that ended, by reason.
    #[must_use]
    pub fn ended(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counts.ended).clone()
    }

    /// What viewers sent that was not used, by reason.
    #[must_use]
    pub fn ignored(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counts.ignored).clone()
    }

    /// Events of viewers' pipelines that found no place in their session's queue.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        self.counts.lost_events.load(Relaxed)
    }

    /// From a session's begin to the first frame that its connected viewer was given.
    #[must_use]
    pub fn first_frame(&self) -> &Histogram {
        &self.counts.first_frame
    }
}

/// One running session; dropping it takes it out of the gauge.
#[derive(Debug)]
pub struct Tracked {
    counts: Arc<Counts>,
    begun: Instant,
    /// Its place in [`STATES`].
    state: Option<usize>,
    ended: bool,
    seen: bool,
    lost: u64,
}

impl Tracked {
    /// It is in this state now.
    pub fn moved(&mut self, state: &str) {
        let state = STATES.iter().position(|name| *name == state);
        if state == self.state {
            return;
        }
        if let Some(left) = self.state.and_then(|state| self.counts.now.get(state)) {
            left.fetch_sub(1, Relaxed);
        }
        if let Some(entered) = state.and_then(|state| self.counts.now.get(state)) {
            entered.fetch_add(1, Relaxed);
        }
        self.state = state;
    }

    /// It ends for this reason; the first that is given counts.
    pub fn ended(&mut self, reason: &'static str) {
        if !std::mem::replace(&mut self.ended, true) {
            *lock(&self.counts.ended).entry(reason).or_default() += 1;
        }
    }

    /// Something the viewer sent was not used.
    pub fn ignored(&self, reason: &'static str) {
        *lock(&self.counts.ignored).entry(reason).or_default() += 1;
    }

    /// Its viewer got its first frame at that time; later calls change nothing.
    pub fn first_frame(&mut self, at: Instant) {
        if !std::mem::replace(&mut self.seen, true) {
            self.counts.first_frame.observe(at.saturating_duration_since(self.begun));
        }
    }

    /// So many events of its pipeline were lost since it began.
    pub fn lost_events(&mut self, lost: u64) {
        self.counts.lost_events.fetch_add(lost.saturating_sub(self.lost), Relaxed);
        self.lost = lost;
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.moved("closed");
    }
}

/// Durations, counted by [`BUCKETS`].
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last is for what is over all bounds.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How many took at most each of [`BUCKETS`]; the last is all of them.
    #[must_use]
    pub fn at_most(&self) -> [u64; BUCKETS.len() + 1] {
        let mut sum = 0;
        self.buckets.each_ref().map(|bucket| {
            sum += bucket.load(Relaxed);
            sum
        })
    }

    /// All together, in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64()
    }
}

fn lock(reasons: &Reasons) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
    // A count is whole at any time.
    reasons.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_in_one_state_until_it_ends_once() {
        let sessions = Sessions::default();
        let (mut first, second) = (sessions.begin(), sessions.clone().begin());
        assert_eq!(sessions.now(), [2, 0, 0, 0, 0, 0]);
        first.moved("awaiting-answer");
        first.moved("live");
        assert_eq!(sessions.now(), [1, 0, 0, 0, 0, 1]);
        first.ended("left");
        first.ended("silent");
        first.moved("closed");
        assert_eq!(sessions.now(), [1, 0, 0, 0, 0, 0]);
        drop((first, second));
        assert_eq!(sessions.now(), [0; 6]);
        assert_eq!(sessions.ended(), BTreeMap::from([("left", 1)]));
    }

    #[test]
    fn a_first_frame_is_counted_once_in_every_bucket_from_its_own_on() {
        let sessions = Sessions::default();
        let mut quick = sessions.begin();
        quick.first_frame(quick.begun + Duration::from_millis(120));
        quick.first_frame(quick.begun + Duration::from_secs(3));
        let mut slow = sessions.begin();
        slow.first_frame(slow.begun + Duration::from_secs(60));
        let histogram = sessions.first_frame();
        assert_eq!(histogram.at_most(), [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert!((histogram.sum() - 60.12).abs() < 1e-6, "{}", histogram.sum());
    }

    #[test]
    fn lost_events_are_told_as_totals() {
        let sessions = Sessions::default();
        let mut tracked = sessions.begin();
        for total in [2, 2, 5] {
            tracked.lost_events(total);
        }
        tracked.ignored("mdns");
        assert_eq!((sessions.lost_events(), sessions.ignored()), (5, BTreeMap::from([("mdns", 1)])));
    }
}
