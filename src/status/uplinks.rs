//! What is counted of the ways of cameras to other servers.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::proto::ids::Name;

/// The ways of cameras to other servers, for the metrics; a cheap handle, the same for every clone.
#[derive(Debug, Clone, Default)]
pub struct Uplinks {
    list: Arc<Mutex<Vec<Weak<UplinkStatus>>>>,
}

impl Uplinks {
    /// Adds the way of `camera` over `uplink`; it is listed for as long as somebody holds what is returned.
    #[must_use]
    pub fn add(&self, uplink: Name, camera: Name) -> Arc<UplinkStatus> {
        let status = Arc::new(UplinkStatus {
            uplink,
            camera,
            connected: AtomicBool::new(false),
            ended: <[AtomicU64; UplinkStatus::ENDS.len()]>::default(),
            dropped: AtomicU64::new(0),
        });
        let mut list = self.lock();
        list.retain(|other| other.strong_count() > 0);
        list.push(Arc::downgrade(&status));
        status
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<UplinkStatus>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<UplinkStatus>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way of one camera to another server.
#[derive(Debug)]
pub struct UplinkStatus {
    /// The uplink's name in the config.
    pub uplink: Name,
    /// The camera's name there.
    pub camera: Name,
    /// Whether it has a seat in the room now.
    pub connected: AtomicBool,
    ended: [AtomicU64; Self::ENDS.len()],
    /// Messages of sessions that were too many while the socket was away, or whose session was over.
    pub dropped: AtomicU64,
}

impl UplinkStatus {
    /// Why connections end, or do not come about.
    pub const ENDS: [&str; 9] = [
        "unreachable",
        "handshake",
        "refused",
        "taken",
        "closed",
        "broken",
        "silent",
        "forgotten",
        "rebuild",
    ];

    /// A connection ended, or did not come about, for one of [`Self::ENDS`].
    pub fn ended(&self, reason: &str) {
        for (_, count) in Self::ENDS.iter().zip(&self.ended).filter(|(end, _)| **end == reason) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How often, by reason.
    pub fn ends(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::ENDS.into_iter().zip(&self.ended).map(|(reason, count)| (reason, count.load(Relaxed)))
    }
}
