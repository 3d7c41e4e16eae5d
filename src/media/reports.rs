//! What comes back from a viewer: that it is there, and what its receiver reports say of the link.
//!
//! Reports are read as they arrive, because webrtcbin's statistics cost milliseconds for each viewer and keep only the
//! last fraction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::capture::Pulse;
use crate::quality::Report;

/// RTCP packet types that carry report blocks (RFC 3550, 6.4).
const SENDER_REPORT: u8 = 200;
/// See [`SENDER_REPORT`].
const RECEIVER_REPORT: u8 = 201;
/// Bytes of a report block.
const BLOCK: usize = 24;
/// Seconds from 1900, where NTP's time begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;
/// A round trip longer than this is a wrong number, and no measurement.
const LONGEST_TRIP: Duration = Duration::from_secs(30);

/// What one viewer reported last.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// Of our pictures, once they flow; above all 32 bits when known.
    ssrc: AtomicU64,
    state: Mutex<State>,
}

/// Marks an SSRC as known.
const KNOWN: u64 = 1 << 32;

#[derive(Debug, Default)]
struct State {
    latest: Option<Block>,
    /// The one that the last difference was made to.
    taken: Option<Block>,
}

/// A report block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    /// Packets lost so far; duplicates count against it.
    lost: i32,
    /// Highest sequence number received, with its cycles.
    highest: u32,
    round_trip: Option<Duration>,
}

impl Reports {
    /// What the link did since this was last asked; `None` when nothing new was reported.
    pub(crate) fn take(&self) -> Option<Report> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = state.latest.take()?;
        let before = state.taken.replace(latest)?;
        let sent = latest.highest.wrapping_sub(before.highest);
        // Nothing was sent, or the viewer counts anew.
        if sent == 0 || sent > u32::from(u16::MAX) {
            return None;
        }
        let lost = f64::from(latest.lost.saturating_sub(before.lost).max(0)) / f64::from(sent);
        Some(Report { lost: lost.min(1.0), round_trip: latest.round_trip })
    }

    /// Packets lost in all, as last reported.
    pub(crate) fn lost(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let block = state.latest.or(state.taken);
        block.map_or(0, |block| u64::try_from(block.lost).unwrap_or(0)) // duplicates make it negative
    }

    /// Learns the SSRC of what flows out of `pad`.
    pub(crate) fn learn(self: &Arc<Self>, pad: &gst::Pad) {
        let reports = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
            let ssrc =
                buffers(info).next().and_then(|packet| word(packet.map_readable().ok()?.as_slice(), 8));
            let Some(ssrc) = ssrc else { return gst::PadProbeReturn::Ok };
            reports.ssrc.store(KNOWN | u64::from(ssrc), Ordering::Relaxed);
            gst::PadProbeReturn::Remove
        });
    }

    fn read(&self, compound: &[u8], ntp: u32) {
        let ssrc = self.ssrc.load(Ordering::Relaxed);
        let Ok(ssrc) = u32::try_from(ssrc ^ KNOWN) else { return };
        if let Some(block) = block(compound, ssrc, ntp) {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).latest = Some(block);
        }
    }
}

/// Has `heard` beat with every packet from the viewer, because 1.22 does not tell that they stopped, and gives its
/// reports to `reports`.
pub(crate) fn listen(pipeline: &gst::Pipeline, heard: &Arc<Pulse>, reports: &Arc<Reports>) {
    let (heard, reports) = (Arc::clone(heard), Arc::clone(reports));
    let all = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pipeline.connect_deep_element_added(move |_, _, element| {
        let Some(factory) = element.factory() else { return };
        match factory.name().as_str() {
            "nicesrc" => {
                let Some(pad) = element.static_pad("src") else { return };
                let heard = Arc::clone(&heard);
                pad.add_probe(all, move |_, _| {
                    heard.beat();
                    gst::PadProbeReturn::Ok
                });
            }
            "rtpsession" => {
                let reports = Arc::clone(&reports);
                element.connect_pad_added(move |_, pad| {
                    if pad.name() != "recv_rtcp_sink" {
                        return;
                    }
                    let reports = Arc::clone(&reports);
                    pad.add_probe(all, move |_, info| {
                        for packet in buffers(info) {
                            if let Ok(map) = packet.map_readable() {
                                reports.read(map.as_slice(), ntp_now());
                            }
                        }
                        gst::PadProbeReturn::Ok
                    });
                });
            }
            _ => {}
        }
    });
}

/// The buffers that a probe sees.
fn buffers<'a>(info: &'a gst::PadProbeInfo<'_>) -> impl Iterator<Item = &'a gst::BufferRef> {
    let list = info.buffer_list().into_iter().flat_map(|list| list.iter());
    info.buffer().map(|buffer| buffer.as_ref()).into_iter().chain(list)
}

/// The middle 32 bits of NTP's time, in 1/65536 s: what reports count in. GStreamer stamps its own reports with the
/// wall clock.
fn ntp_now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = u64::from(now.subsec_nanos()) * 65_536 / 1_000_000_000;
    let middle = ((now.as_secs() + NTP_EPOCH) << 16 | fraction) & 0xffff_ffff;
    u32::try_from(middle).unwrap_or_default()
}

/// The report block about `ssrc` in a compound packet that came at `ntp`; all that does not hold together is none.
fn block(mut compound: &[u8], ssrc: u32, ntp: u32) -> Option<Block> {
    loop {
        let head = word(compound, 0)?.to_be_bytes();
        let length = (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1) * 4;
        let packet = compound.get(..length)?;
        let blocks = match head[1] {
            SENDER_REPORT => 28,
            RECEIVER_REPORT => 8,
            _ => length,
        };
        let mut blocks = packet.get(blocks..)?.chunks_exact(BLOCK).take(usize::from(head[0] & 0x1f));
        if let Some(block) = blocks.find(|block| word(block, 0) == Some(ssrc)) {
            return read_block(block, ntp);
        }
        compound = compound.get(length..)?;
    }
}

fn read_block(block: &[u8], ntp: u32) -> Option<Block> {
    // 24 bits with a sign, below the fraction.
    let lost = (word(block, 4)? << 8).cast_signed() >> 8;
    let (last, delay) = (word(block, 16)?, word(block, 20)?);
    let trip = ntp.wrapping_sub(last).wrapping_sub(delay);
    let trip = Duration::from_secs_f64(f64::from(trip) / 65_536.0);
    // Without a report of ours there is nothing to measure by.
    let round_trip = (last != 0 && trip < LONGEST_TRIP).then_some(trip);
    Some(Block { lost, highest: word(block, 8)?, round_trip })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A receiver report as RFC 3550 draws it, of two sources.
    fn receiver_report(ssrc: u32, lost: i32, highest: u32, last: u32, delay: u32) -> Vec<u8> {
        let lost = lost as u32 & 0x00ff_ffff | 0x8000_0000;
        let mut words = vec![0x82c9_000d, 1];
        words.extend([0xdead, 0, 7, 0, 0, 0]);
        words.extend([ssrc, lost, highest, 0, last, delay]);
        words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
    }

    fn reports() -> Reports {
        Reports { ssrc: AtomicU64::new(KNOWN | 42), ..Reports::default() }
    }

    #[test]
    fn losses_and_round_trips_are_the_difference_of_two_reports() {
        let reports = reports();
        reports.read(&receiver_report(42, 10, 1000, 0, 0), 5);
        assert_eq!(reports.take(), None, "there is no difference yet");
        // Sent at 1.0 s, held for 0.25 s, back at 1.5 s.
        reports.read(&receiver_report(42, 35, 1100, 65_536, 16_384), 98_304);
        let report = reports.take().unwrap();
        assert!((report.lost - 0.25).abs() < 1e-9, "{report:?}");
        assert_eq!(report.round_trip, Some(Duration::from_millis(250)));
        assert_eq!(reports.lost(), 35);
        assert_eq!(reports.take(), None, "nothing new");
        reports.read(&receiver_report(42, 33, 1200, 0, 0), 98_304);
        assert_eq!(reports.take(), Some(Report { lost: 0.0, round_trip: None }), "what came late after all");
        reports.read(&receiver_report(43, 99, 1300, 0, 0), 98_304);
        assert_eq!(reports.take(), None, "another source");
    }

    #[test]
    fn losses_below_zero_and_counters_that_wrap_are_read() {
        let block = block(&receiver_report(42, -3, 9, 0, 0), 42, 0).unwrap();
        assert_eq!((block.lost, block.highest), (-3, 9));
        let reports = reports();
        reports.read(&receiver_report(42, 0, u32::MAX - 9, 0, 0), 0);
        let _ = reports.take();
        reports.read(&receiver_report(42, 5, 40, 0, 0), 0);
        assert!((reports.take().unwrap().lost - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_report_behind_other_packets_is_found() {
        let feedback = [0x81ce_0002u32, 1, 42].iter().flat_map(|word| word.to_be_bytes());
        let compound: Vec<u8> = feedback.chain(receiver_report(42, 1, 2, 0, 0)).collect();
        assert_eq!(block(&compound, 42, 0).unwrap().lost, 1);
    }

    proptest! {
        #[test]
        fn nothing_from_the_network_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..56) {
            let reports = reports();
            reports.read(&bytes, 7);
            reports.read(&receiver_report(42, 1, 2, 3, 4)[..cut], 7);
            let _ = reports.take();
        }
    }
}
