//! How many viewers may be served at one time: places for sessions, of all cameras together and of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Viewers of one camera in one room, unless set otherwise. 64 were measured on two cores of a server.
const PER_CAMERA: usize = 100;
/// Viewers of all cameras, unless set otherwise. Each costs 7 threads, 9 descriptors and 1.2 MB.
const TOTAL: usize = 256;

/// The places; a cheap handle, the same for every clone.
#[derive(Debug, Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    total: usize,
    per_camera: usize,
    refused: Arc<Refused>,
}

/// A place that is taken, until the last clone of it is dropped.
#[derive(Debug, Clone)]
pub struct Place(
    #[expect(dead_code, reason = "it gives the place back when it is dropped")] Arc<OwnedSemaphorePermit>,
);

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
        Self { all: Arc::new(Semaphore::new(total)), total, per_camera, refused: Arc::default() }
    }

    /// A place now, for one more viewer of a camera that has `viewers`; a refusal is counted.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn take(&self, viewers: usize) -> Result<Place, Full> {
        if !self.has_room_for(viewers) {
            self.refused.camera.fetch_add(1, Relaxed);
            return Err(Full::Camera(self.per_camera));
        }
        match Arc::clone(&self.all).try_acquire_owned() {
            Ok(permit) => Ok(Place(Arc::new(permit))),
            Err(_) => {
                self.refused.total.fetch_add(1, Relaxed);
                Err(Full::Total(self.total))
            }
        }
    }

    /// Whether a camera that has `viewers` may have one more, if there is a place at all.
    #[must_use]
    pub fn has_room_for(&self, viewers: usize) -> bool {
        viewers < self.per_camera
    }

    /// Waits for a place.
    pub async fn free(&self) -> Place {
        match Arc::clone(&self.all).acquire_owned().await {
            Ok(permit) => Place(Arc::new(permit)),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
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
}
