//! The pictures of a trial, and how well they come out again.

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::Job;

/// Mean brightness of the left and the right half.
type Halves = (f64, f64);

/// One picture's brightness.
pub(super) struct Brightness(Halves);

impl Brightness {
    /// Of a decoded picture in I420.
    pub(super) fn of(sample: &gst::Sample) -> Option<Self> {
        let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
        let (width, height) = (usize::try_from(info.width()).ok()?, usize::try_from(info.height()).ok()?);
        let stride = usize::try_from(*info.stride().first()?).ok()?;
        let luma = frame.plane_data(0).ok()?;
        let mean = |from: usize, to: usize| {
            let rows = (0..height).filter_map(|row| luma.get(row * stride + from..row * stride + to));
            let sum: u64 = rows.flatten().map(|byte| u64::from(*byte)).sum();
            // Sums of bytes of one picture: exact in a double.
            sum as f64 / (height * (to - from)).max(1) as f64
        };
        Some(Self((mean(0, width / 2), mean(width / 2, width))))
    }
}

/// The pictures that go in: bright on one side and dark on the other, with a bar that moves, so that nothing can be
/// left out.
pub(super) struct Picture {
    /// Their format.
    pub(super) caps: gst::Caps,
    width: usize,
    height: usize,
    size: usize,
    stride: usize,
    duration: gst::ClockTime,
}

/// Brightness of the two halves.
const SIDES: (u8, u8) = (200, 60);
/// Brightness of the bar.
const BAR: u8 = 128;

impl Picture {
    /// Of the size and rate that `job` asks for; `None` when there is no such picture.
    pub(super) fn new(job: &Job) -> Option<Self> {
        let (n, d) = (job.framerate.0.max(1), job.framerate.1.max(1));
        let rate = gst::Fraction::new(i32::try_from(n).ok()?, i32::try_from(d).ok()?);
        let info =
            gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, job.width, job.height).fps(rate);
        let info = info.build().ok()?;
        Some(Self {
            caps: info.to_caps().ok()?,
            width: usize::try_from(job.width).ok()?,
            height: usize::try_from(job.height).ok()?,
            size: info.size(),
            stride: usize::try_from(*info.stride().first()?).ok()?,
            duration: gst::ClockTime::SECOND.mul_div_floor(u64::from(d), u64::from(n))?,
        })
    }

    /// Picture `number`, from 0.
    pub(super) fn buffer(&self, number: u64) -> gst::Buffer {
        let mut data = vec![128; self.size];
        let bar = usize::try_from(number * 8).unwrap_or(0) % self.height.max(1);
        for row in 0..self.height {
            let start = row * self.stride;
            let Some(line) = data.get_mut(start..start + self.width) else { break };
            let (left, right) = line.split_at_mut(self.width / 2);
            let in_bar = (bar..bar + 8).contains(&row);
            left.fill(if in_bar { BAR } else { SIDES.0 });
            right.fill(if in_bar { BAR } else { SIDES.1 });
        }
        let mut buffer = gst::Buffer::from_mut_slice(data);
        // Not shared yet.
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(self.duration * number);
            buffer.set_duration(self.duration);
        }
        buffer
    }

    /// How far the worst of `pictures` is from what went in.
    pub(super) fn difference(&self, pictures: &[Brightness]) -> f64 {
        let far = |Brightness((left, right)): &Brightness| {
            (left - f64::from(SIDES.0)).abs().max((right - f64::from(SIDES.1)).abs())
        };
        pictures.iter().map(far).fold(0.0, f64::max)
    }
}
