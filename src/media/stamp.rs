//! The strip that a test camera paints into its pictures, so that a machine can tell which camera it sees, whether
//! pictures move, and how old they are.
//!
//! 32 blocks of 16×16 luma pixels along the top left, most significant bit first, white is 1: bits 0–7 the CRC-8
//! (polynomial 0x07) of the camera's name, 8–15 a counter of pictures, 16–31 Unix milliseconds modulo 65 536.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

/// Edge of a block in pixels: survives halving and 400 kbit/s.
const BLOCK: usize = 16;
/// Bits in the strip.
const BITS: usize = 32;
/// Luma of a one and a zero, inside the limited range so that no conversion clips them.
const WHITE: u8 = 235;
/// See [`WHITE`].
const BLACK: u8 = 16;

/// Paints the strip of the test camera `name` into every picture that reaches `sink`.
pub(crate) fn install(sink: &gst_app::AppSink, name: &str) {
    let identity = u32::from(crc8(name.as_bytes()));
    let counter = AtomicU32::new(0);
    let Some(pad) = sink.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let picture = counter.fetch_add(1, Ordering::Relaxed) & 0xff;
        let word = identity << 24 | picture << 16 | unix_millis() & 0xffff;
        let format = pad.current_caps().and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok());
        if let (Some(format), Some(buffer)) = (format, info.buffer_mut()) {
            paint_buffer(buffer.make_mut(), &format, word);
        }
        gst::PadProbeReturn::Ok
    });
}

fn paint_buffer(buffer: &mut gst::BufferRef, format: &gst_video::VideoInfo, word: u32) {
    if let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, format) {
        let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
        if let Ok(luma) = frame.plane_data_mut(0) {
            paint(luma, stride, word);
        }
    }
}

/// Writes `word` into the luma plane; what does not fit is left out.
fn paint(luma: &mut [u8], stride: usize, word: u32) {
    if stride == 0 {
        return;
    }
    for row in luma.chunks_mut(stride).take(BLOCK) {
        for (bit, block) in row.chunks_mut(BLOCK).take(BITS).enumerate() {
            block.fill(if word & 1 << (BITS - 1 - bit) == 0 { BLACK } else { WHITE });
        }
    }
}

fn unix_millis() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_millis() & 0xffff_ffff).unwrap_or(0)
}

/// CRC-8 with polynomial 0x07, no reflection, start 0.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_usual_one() {
        assert_eq!(crc8(b"123456789"), 0xf4); // the check value that CRC catalogues give for CRC-8
    }

    #[test]
    fn bits_run_from_the_left_most_significant_first() {
        let mut luma = vec![100u8; 640 * 20];
        paint(&mut luma, 640, 0x8000_0001);
        let at = |bit: usize, y: usize| luma[y * 640 + bit * BLOCK + 8];
        assert_eq!((at(0, 0), at(1, 0), at(30, 15), at(31, 15)), (WHITE, BLACK, BLACK, WHITE));
        assert_eq!((luma[512], luma[640 * 16]), (100, 100), "nothing outside the strip is touched");
    }
}
