//! What runs, in figures for `/metrics`.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{RENDITIONS, Running};
use crate::status::counts::{Capture, Meter};

/// What was counted, and told, since the device was opened.
pub(super) struct Measured {
    capture: Meter,
    captured: u64,
    busy: u64,
    undecoded: u64,
    /// Of those renditions that run.
    renditions: [Option<Meter>; RENDITIONS.len()],
}

impl Measured {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let capture = Meter::new(Instant::now(), 0, 0);
        Self { capture, captured: 0, busy: 0, undecoded: 0, renditions: Default::default() }
    }
}

impl Running {
    /// Tells the counts of the camera what came since the last time.
    pub(super) fn measure(&mut self) {
        let direct = self.is_direct();
        let (counts, told, now) = (&self.shared.counts, &mut self.measured, Instant::now());
        let Some(capture) = &self.capture else { return };
        let captured = capture.pulse.count();
        let busy = capture.dropped.load(Ordering::Relaxed);
        let undecoded = capture.passage.as_ref().map_or(0, |passage| passage.dropped.load(Ordering::Relaxed));
        for (total, now, before) in [
            (&counts.captured, captured, &mut told.captured),
            (&counts.busy, busy, &mut told.busy),
            (&counts.undecoded, undecoded, &mut told.undecoded),
        ] {
            total.fetch_add(now.saturating_sub(*before), Ordering::Relaxed);
            *before = now;
        }
        let rate = told.capture.update(now, captured, 0).map(|flow| flow.rate);
        counts.set_capture(Some(Capture { width: self.planned.width, height: self.planned.height, rate }));
        let slots = self.slots.iter().zip(&mut told.renditions).zip(&counts.renditions);
        for (index, ((slot, meter), rendition)) in slots.enumerate() {
            let counts = &rendition.counts;
            let frames = counts.frames.load(Ordering::Relaxed);
            let bytes = counts.bytes.load(Ordering::Relaxed);
            if slot.encoder.is_some() || (direct && index == 0) {
                let meter = meter.get_or_insert_with(|| Meter::new(now, frames, bytes));
                counts.set_flow(meter.update(now, frames, bytes));
            } else {
                *meter = None;
                counts.set_flow(None);
            }
        }
    }

    /// The same for the last time: nothing runs any more.
    pub(super) fn measure_last(&mut self) {
        self.measure();
        self.shared.counts.set_capture(None);
        for rendition in &self.shared.counts.renditions {
            rendition.counts.set_flow(None);
        }
    }
}
