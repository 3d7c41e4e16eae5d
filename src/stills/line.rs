//! One size of a camera's still pictures: which pictures are due, and who gets them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{Picture, Stills, lock};

/// A picture that was to be made for those who wait and never came is tried again after this.
const RETRY: Duration = Duration::from_millis(200);

/// Pictures of one camera in one size.
#[derive(Debug)]
pub struct Line {
    pub(super) width: Option<u32>,
    pub(super) demand: Mutex<Demand>,
    /// Told when nobody wants pictures any more.
    pub(super) idle: Notify,
    pub(super) latest: watch::Sender<Latest>,
}

/// Who wants them.
#[derive(Debug)]
pub(super) struct Demand {
    /// Who waits for one picture.
    pub(super) waiting: usize,
    /// The rates of the streams.
    pub(super) readers: Vec<u32>,
    /// Since when nobody wants any.
    pub(super) idle: Option<Instant>,
    /// When the last picture was let through for those who wait.
    let_through: Option<Instant>,
    schedule: Schedule,
}

/// The newest.
#[derive(Debug, Clone, Default)]
pub(super) struct Latest {
    pub(super) picture: Option<Picture>,
    /// Whether there will be no more.
    pub(super) over: bool,
}

impl Line {
    pub(super) fn new(width: Option<u32>) -> Arc<Self> {
        let demand = Demand {
            waiting: 0,
            readers: Vec::new(),
            idle: Some(Instant::now()),
            let_through: None,
            schedule: Schedule::default(),
        };
        Arc::new(Self {
            width,
            demand: Mutex::new(demand),
            idle: Notify::new(),
            latest: watch::Sender::default(),
        })
    }

    /// The largest width in pixels; none: as captured.
    #[must_use]
    pub fn width(&self) -> Option<u32> {
        self.width
    }

    /// Whether a picture that came now is to be encoded. Quick; for the way of every picture.
    #[must_use]
    pub fn due(&self, now: Instant) -> bool {
        let mut demand = lock(&self.demand);
        let waited = demand.let_through.is_none_or(|at| now.saturating_duration_since(at) >= RETRY);
        let for_one = demand.waiting > 0 && waited;
        let for_many = match demand.readers.iter().max() {
            Some(&fps) => demand.schedule.take(now, fps),
            None => false,
        };
        if for_one || for_many {
            demand.let_through = Some(now);
        }
        for_one || for_many
    }

    pub(super) fn publish(&self, jpeg: Arc<[u8]>, taken: Instant, stills: &Stills) {
        stills.counters().made.fetch_add(1, Ordering::Relaxed);
        self.latest.send_modify(|latest| {
            let number = latest.picture.as_ref().map_or(0, |picture| picture.number) + 1;
            latest.picture = Some(Picture { jpeg, taken, number });
        });
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    /// One picture, at once.
    One,
    /// Pictures, `fps` a second at most.
    Many {
        /// See there.
        fps: u32,
    },
}

/// Which pictures of a steady flow to take, so that there are `fps` a second on average, however the rates divide.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    next: Option<Instant>,
}

impl Schedule {
    /// Whether to take the one that comes `at`.
    pub(super) fn take(&mut self, at: Instant, fps: u32) -> bool {
        let interval = Duration::from_secs(1) / fps;
        // Somewhat early is on time: of a camera's pictures none comes to the moment.
        let Some(next) = self.next.filter(|next| *next <= at + 2 * interval) else {
            self.next = Some(at + interval);
            return true;
        };
        if at + interval / 4 < next {
            return false;
        }
        self.next = Some((next + interval).max(at + interval / 2));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_keeps_its_rate_whatever_the_cameras() {
        let start = Instant::now();
        for (camera, fps) in [(15.0, 5), (30.0, 5), (25.0, 15), (30.0, 7), (10.0, 15), (60.0, 1)] {
            let mut schedule = Schedule::default();
            let count = (0..(camera * 20.0) as u32)
                .filter(|n| {
                    let jitter = f64::from(n % 3) * 0.002;
                    schedule.take(start + Duration::from_secs_f64(f64::from(*n) / camera + jitter), fps)
                })
                .count();
            let expected = 20.0 * f64::from(fps).min(camera);
            assert!((count as f64 - expected).abs() <= 2.0, "{camera} {fps}: {count} in 20 s");
        }
    }
}
