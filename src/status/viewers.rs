//! Those who watch now, for `/metrics`: what each was sent, what it lost, and how its page says the pictures ran.
//!
//! A viewer's series is named by the camera and a number, the lowest that is free with that camera. Ids of viewers and
//! sessions are new with each page that is opened: as labels they would leave a series behind each time, for as long as
//! Prometheus remembers. Numbers come again, so there are never more series than there were viewers at one time; the
//! counters of a number begin at 0 with each viewer, which `rate()` takes for what it is, a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::proto::ids::{Name, Session};

/// Viewers that are listed one by one: as many as `sessions` in `[limits]` lets in by default. Each has 10 series, so
/// all have fewer than one Prometheus exporter of a plain Linux box; with more viewers only their number is told.
pub const MAX_LISTED: usize = 256;

/// The viewers; a cheap handle, the same for every clone. Nothing is decided by them.
#[derive(Debug, Clone, Default)]
pub struct Viewers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    listed: BTreeMap<(Name, u32), Figures>,
    unlisted: u64,
}

/// What is known of one viewer, since it connected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// The rendition it is given, `main` or `sub`.
    pub rendition: &'static str,
    /// `H264` or `VP8`.
    pub codec: String,
    /// Frames given to it.
    pub frames: u64,
    /// Bytes of them, without what the network adds and what is sent again.
    pub bytes: u64,
    /// Packets that never arrived, as its receiver reports.
    pub lost: u64,
    /// Of the packets since the report before, 0 to 1; none before the second report.
    pub loss: Option<f64>,
    /// There and back, where it was measured.
    pub round_trip: Option<Duration>,
    /// What its page says, if it does.
    pub playback: Option<Playback>,
}

/// How the pictures ran in a page, since it connected: the payload of our addition to the wire `playback`, whose values
/// are those of `RTCInboundRtpStreamStats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Playback {
    /// The connection it is about, where the server numbers them.
    #[serde(default)]
    pub session: Option<Session>,
    /// Frames decoded (`framesDecoded`).
    #[serde(default)]
    pub decoded: u64,
    /// Frames received or decoded, and not shown (`framesDropped`).
    #[serde(default)]
    pub dropped: u64,
    /// Times the picture stood still (`freezeCount`).
    #[serde(default)]
    pub freezes: u64,
    /// Seconds for which it did (`totalFreezesDuration`).
    #[serde(default)]
    pub frozen: f64,
}

impl Playback {
    /// The later of two; a page can make no counter run backwards, nor show what is no number.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        let finite = |seconds: f64| if seconds.is_finite() { seconds } else { 0.0 };
        Self {
            session: self.session,
            decoded: self.decoded.max(before.decoded),
            dropped: self.dropped.max(before.dropped),
            freezes: self.freezes.max(before.freezes),
            frozen: finite(self.frozen).max(finite(before.frozen)),
        }
    }
}

impl Viewers {
    /// A viewer of `camera` gets its first pictures now; it is listed until what is returned is dropped.
    #[must_use]
    pub fn enter(&self, camera: &Name) -> Listed {
        let mut inner = self.lock();
        let number = (inner.listed.len() < MAX_LISTED).then(|| {
            let taken = |number: &u32| inner.listed.contains_key(&(camera.clone(), *number));
            (1..=u32::MAX).find(|number| !taken(number))
        });
        let key = number.flatten().map(|number| (camera.clone(), number));
        match &key {
            Some(key) => drop(inner.listed.insert(key.clone(), Figures::default())),
            None => inner.unlisted += 1,
        }
        drop(inner);
        Listed { viewers: self.clone(), key }
    }

    /// Those that are listed, by camera and number.
    #[must_use]
    pub fn list(&self) -> Vec<((Name, u32), Figures)> {
        self.lock().listed.iter().map(|(key, figures)| (key.clone(), figures.clone())).collect()
    }

    /// How many watch besides.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.lock().unlisted
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each entry stands for itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer's place in the list; dropping it is leaving.
#[derive(Debug)]
pub struct Listed {
    viewers: Viewers,
    /// None: it is only counted.
    key: Option<(Name, u32)>,
}

impl Listed {
    /// Its number, by which `/metrics` knows it.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.key.as_ref().map(|(_, number)| *number)
    }

    /// Changes what is known of it. `f` runs under a lock: it must not block.
    pub fn update(&self, f: impl FnOnce(&mut Figures)) {
        let Some(key) = &self.key else { return };
        if let Some(figures) = self.viewers.lock().listed.get_mut(key) {
            f(figures);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut inner = self.viewers.lock();
        match &self.key {
            Some(key) => drop(inner.listed.remove(key)),
            None => inner.unlisted -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn numbers_come_again_when_their_viewers_have_left() {
        let viewers = Viewers::default();
        let (first, second) = (viewers.enter(&name("door")), viewers.enter(&name("door")));
        let other = viewers.enter(&name("yard"));
        assert_eq!((first.number(), second.number(), other.number()), (Some(1), Some(2), Some(1)));
        first.update(|figures| figures.bytes = 7);
        drop(first);
        let next = viewers.enter(&name("door"));
        assert_eq!(next.number(), Some(1));
        assert_eq!(viewers.list()[0].1, Figures::default(), "nothing is left of who had the number before");
    }

    #[test]
    fn a_crowd_is_counted_and_no_more() {
        let viewers = Viewers::default();
        let crowd: Vec<_> = (0..MAX_LISTED + 2).map(|_| viewers.enter(&name("door"))).collect();
        assert_eq!((viewers.list().len(), viewers.unlisted()), (MAX_LISTED, 2));
        crowd[MAX_LISTED].update(|figures| figures.bytes = 7);
        assert_eq!(crowd[MAX_LISTED].number(), None);
        drop(crowd);
        assert_eq!((viewers.list().len(), viewers.unlisted()), (0, 0));
    }

    #[test]
    fn what_a_page_says_never_goes_back() {
        let read = |text: &str| serde_json::from_str::<Playback>(text);
        let first = read(r#"{"decoded":10,"dropped":1,"freezes":2,"frozen":1.5,"more":[]}"#).unwrap();
        let second = read(r#"{"decoded":20,"dropped":0,"freezes":1,"frozen":-3}"#).unwrap();
        let after = Playback { decoded: 20, dropped: 1, freezes: 2, frozen: 1.5, session: None };
        assert_eq!(second.after(first), after);
        let endless = Playback { frozen: f64::INFINITY, ..second };
        assert_eq!(endless.after(first), after);
        assert_eq!(read("{}").unwrap().after(Playback::default()), Playback::default());
        for bad in [r#"{"freezes":-1}"#, r#"{"freezes":"2"}"#, r#"{"frozen":1e999}"#, "7"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
