//! What one camera has captured and encoded since the start, for `/metrics`: counted where the pictures pass.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A rate is the mean over this time or a little more: half of what Prometheus asks at most often, so that each answer
/// is a fresh one, and long enough for a camera of one picture a second.
const WINDOW: Duration = Duration::from_secs(2);

/// Counts of one camera. They outlive its device and its encoders, which come and go with the viewers.
#[derive(Debug)]
pub struct CameraCounts {
    /// Pictures that came from the device, or frames from a camera that encodes itself.
    pub captured: AtomicU64,
    /// Of those, not taken by an encoder that was busy; one picture counts once for each such encoder.
    pub busy: AtomicU64,
    /// Of those, not taken by a decoder that was busy.
    pub undecoded: AtomicU64,
    /// What comes from the device now; `None` while it is closed.
    capture: Mutex<Option<Capture>>,
    /// Each of its renditions.
    pub renditions: Vec<Rendition>,
}

/// One rendition, in one codec.
#[derive(Debug)]
pub struct Rendition {
    /// `main` or `sub`.
    pub name: &'static str,
    /// `H264` or `VP8`.
    pub codec: String,
    /// What was done.
    pub counts: Arc<RenditionCounts>,
}

/// Counts of one rendition in one codec.
#[derive(Debug, Default)]
pub struct RenditionCounts {
    /// Frames that came from the encoder.
    pub frames: AtomicU64,
    /// Bytes of them.
    pub bytes: AtomicU64,
    /// Key frames among them.
    pub keyframes: AtomicU64,
    /// Key frames asked for, after requests were joined.
    pub requests: AtomicU64,
    /// Frames not given to viewers that were behind.
    pub dropped: AtomicU64,
    /// Frames of the slate, none of which is counted above.
    pub slates: AtomicU64,
    flow: Mutex<Option<Flow>>,
}

/// What a device gives now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Pictures a second, measured; none in the first seconds.
    pub rate: Option<f64>,
}

/// What an encoder gives now, measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// Frames a second.
    pub rate: f64,
    /// Bytes a second.
    pub bytes: f64,
}

impl CameraCounts {
    /// Nothing yet, of a camera with these renditions.
    #[must_use]
    pub fn new(renditions: Vec<Rendition>) -> Arc<Self> {
        let (captured, busy, undecoded, capture) = Default::default();
        Arc::new(Self { captured, busy, undecoded, capture, renditions })
    }

    /// What comes from the device now; `None` while it is closed.
    #[must_use]
    pub fn capture(&self) -> Option<Capture> {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes it.
    pub fn set_capture(&self, capture: Option<Capture>) {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = capture;
    }
}

impl RenditionCounts {
    /// What its encoder gives now; `None` while none runs, and in its first seconds.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        *self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes it.
    pub fn set_flow(&self, flow: Option<Flow>) {
        *self.flow.lock().unwrap_or_else(PoisonError::into_inner) = flow;
    }
}

/// Makes rates of counts.
#[derive(Debug)]
pub struct Meter {
    since: Instant,
    frames: u64,
    bytes: u64,
    flow: Option<Flow>,
}

impl Meter {
    /// From now on, when so much had been counted.
    #[must_use]
    pub fn new(now: Instant, frames: u64, bytes: u64) -> Self {
        Self { since: now, frames, bytes, flow: None }
    }

    /// Told what is counted `now`, says what flowed over the last two seconds or a little more; `None` before.
    pub fn update(&mut self, now: Instant, frames: u64, bytes: u64) -> Option<Flow> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            // Counts stay far below 2^52 in the life of a box.
            let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / elapsed.as_secs_f64();
            let flow = Flow { rate: per_second(frames, self.frames), bytes: per_second(bytes, self.bytes) };
            *self = Self { since: now, frames, bytes, flow: Some(flow) };
        }
        self.flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_of_a_window_and_stay_until_the_next() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut meter = Meter::new(start, 100, 1000);
        assert_eq!(meter.update(at(500), 115, 2000), None);
        assert_eq!(meter.update(at(2000), 160, 251_000), Some(Flow { rate: 30.0, bytes: 125_000.0 }));
        assert_eq!(meter.update(at(3000), 160, 251_000), Some(Flow { rate: 30.0, bytes: 125_000.0 }));
        assert_eq!(
            meter.update(at(4000), 160, 251_000),
            Some(Flow { rate: 0.0, bytes: 0.0 }),
            "nothing came"
        );
    }
}
