//! How many viewers may be served at one time: places for sessions, of all cameras together and of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Viewers of one camera in one room, unless set otherwise. 64 were measured on two cores of a server.
const PER_CAMERA: usize = 100;
/// Viewers of all cameras, unless set otherwise. Each costs 7 threads, 9 descriptors and 1.2 MB.
const TOTAL: usize = 256;

/// The places; a cheap handle, the same for every clone.
#[derive(Debug, Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    sizes: Arc<Sizes>,
    refused: Arc<Refused>,
}

/// How many there are, which a reload changes.
#[derive(Debug)]
struct Sizes {
    total: AtomicUsize,
    per_camera: AtomicUsize,
    /// Places that are taken and will not be given back, because there are fewer now.
    surplus: AtomicUsize,
}

/// A place that is taken, until the last clone of it is dropped.
#[derive(Debug, Clone)]
pub struct Place(#[expect(dead_code, reason = "it gives the place back when it is dropped")] Arc<Held>);

#[derive(Debug)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    sizes: Arc<Sizes>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let one_less = |surplus: usize| surplus.checked_sub(1);
        let is_surplus = self.sizes.surplus.fetch_update(Relaxed, Relaxed, one_less).is_ok();
        match self.permit.take() {
            Some(permit) if is_surplus => permit.forget(),
            permit => drop(permit),
        }
    }
}

/// Why a viewer must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The camera has so many viewers in this room, as many as it may.
    Camera(usize),
    /// All cameras together have.
    Total(usize),
}

/// How many had to wait, since the start.
#[derive(Debug, Default)]
struct Refused {
    camera: AtomicU64,
    total: AtomicU64,
}

impl Places {
    /// With `total` places, `per_camera` of them for one camera in one room.
    #[must_use]
    pub fn new(total: usize, per_camera: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        let (surplus, all) = (AtomicUsize::new(0), Arc::new(Semaphore::new(total)));
        let sizes = Sizes { total: total.into(), per_camera: per_camera.into(), surplus };
        Self { all, sizes: Arc::new(sizes), refused: Arc::default() }
    }

    /// Has other numbers of places from now on. Nobody loses a place that is taken: when there are too many, the next
    /// that are given back are not given out again. Called by one task only.
    pub fn resize(&self, total: usize, per_camera: usize) {
        let total = total.min(Semaphore::MAX_PERMITS);
        self.sizes.per_camera.store(per_camera, Relaxed);
        let before = self.sizes.total.swap(total, Relaxed);
        if total > before {
            let mut more = total - before;
            let all_of = |surplus: usize| Some(surplus.saturating_sub(more));
            // Who has a place that was to go keeps it after all.
            let surplus = self.sizes.surplus.fetch_update(Relaxed, Relaxed, all_of).unwrap_or(0);
            more -= surplus.min(more);
            self.all.add_permits(more);
        } else {
            let fewer = before - total;
            let free = self.all.forget_permits(fewer);
            self.sizes.surplus.fetch_add(fewer - free, Relaxed);
        }
    }

    /// A place now, for one more viewer of a camera that has `viewers`; a refusal is counted.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn take(&self, viewers: usize) -> Result<Place, Full> {
        if !self.has_room_for(viewers) {
            self.refused.camera.fetch_add(1, Relaxed);
            return Err(Full::Camera(self.sizes.per_camera.load(Relaxed)));
        }
        match Arc::clone(&self.all).try_acquire_owned() {
            Ok(permit) => Ok(self.place(permit)),
            Err(_) => {
                self.refused.total.fetch_add(1, Relaxed);
                Err(Full::Total(self.sizes.total.load(Relaxed)))
            }
        }
    }

    /// Whether a camera that has `viewers` may have one more, if there is a place at all.
    #[must_use]
    pub fn has_room_for(&self, viewers: usize) -> bool {
        viewers < self.sizes.per_camera.load(Relaxed)
    }

    /// Waits for a place.
    pub async fn free(&self) -> Place {
        match Arc::clone(&self.all).acquire_owned().await {
            Ok(permit) => self.place(permit),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place(Arc::new(Held { permit: Some(permit), sizes: Arc::clone(&self.sizes) }))
    }

    /// Viewers that had to wait since the start: for a place at their camera, and for one at all.
    #[must_use]
    pub fn refused(&self) -> (u64, u64) {
        (self.refused.camera.load(Relaxed), self.refused.total.load(Relaxed))
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::new(TOTAL, PER_CAMERA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_run_out_and_come_back_to_who_waits() {
        let places = Places::new(2, 1);
        let one = places.take(0).unwrap();
        assert_eq!(places.take(1).unwrap_err(), Full::Camera(1));
        let two = places.take(0).unwrap();
        assert_eq!(places.take(0).unwrap_err(), Full::Total(2));
        assert_eq!(places.refused(), (1, 1));
        let again = two.clone();
        drop(two);
        assert!(places.take(0).is_err(), "a clone still has it");
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.free().await }
        });
        drop(again);
        let _third = waiting.await.unwrap();
        assert!(places.take(0).is_err());
        drop(one);
        assert!(places.take(0).is_ok());
    }

    #[tokio::test]
    async fn fewer_places_take_none_away_and_more_are_there_at_once() {
        let places = Places::new(3, 9);
        let held: Vec<_> = (0..3).map(|_| places.take(0).unwrap()).collect();
        places.resize(1, 1);
        assert_eq!(places.take(1).unwrap_err(), Full::Camera(1));
        assert_eq!(places.take(0).unwrap_err(), Full::Total(1));
        let mut held = held.into_iter();
        drop(held.next());
        assert!(places.take(0).is_err(), "two are taken, one is allowed");
        places.resize(2, 9);
        assert!(places.take(0).is_err(), "two are taken, two are allowed");
        drop(held.next());
        let again = places.take(0).unwrap();
        places.resize(4, 9);
        let more = [places.take(0).unwrap(), places.take(0).unwrap()];
        assert!(places.take(0).is_err());
        drop((held, again, more));
        assert_eq!((0..9).map_while(|_| places.take(0).ok()).collect::<Vec<_>>().len(), 4);
    }
}
