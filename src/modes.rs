//! Which of a camera's capture modes to use: the nearest to the wish, and why, in words for the log.
//!
//! A mode's size and rate decide first. A rate that falls short costs as much as a size that is off by the same
//! factor, so raw video at 10 frames a second loses to MJPEG at 30 (USB 2 carries raw video only up to about
//! 640x480 at 30). Only between modes that come equally near does the format decide: the less work to encode it,
//! the better.

use std::fmt;

use serde::Serialize;

use crate::config::Wish;

/// One size that a device offers in one format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mode {
    /// How pictures come.
    pub format: Format,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub framerates: Rates,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} {} at ", self.width, self.height, self.format)?;
        match &self.framerates {
            Rates::Range(low, high) => write!(f, "{} to {} fps", fps(*low), fps(*high)),
            Rates::List(rates) => {
                let rates: Vec<_> = rates.iter().map(|rate| fps(*rate).to_string()).collect();
                write!(f, "{} fps", rates.join(", "))
            }
        }
    }
}

/// How a device sends its pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Uncompressed; the name is GStreamer's: `NV12`, `YUY2`.
    Raw(String),
    /// Each picture a JPEG.
    Mjpeg,
    /// H.264 made by the camera, which is passed on as it is.
    H264,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw(name) => name,
            Self::Mjpeg => "MJPEG",
            Self::H264 => "H264",
        })
    }
}

/// The rates that a device offers at one size, as fractions of frames per second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rates {
    /// Just these.
    List(Vec<(u32, u32)>),
    /// Everything from the first to the second.
    Range((u32, u32), (u32, u32)),
}

/// What to set a device to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// How pictures come.
    pub format: Format,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second, as a fraction.
    pub framerate: (u32, u32),
    /// The choice and why, such as "1280x720 at 30/1 as MJPEG: raw YUY2 reaches only 10 fps at this size".
    pub reason: String,
}

impl Choice {
    /// The mode without the reason.
    #[must_use]
    pub fn mode(&self) -> (&Format, u32, u32, (u32, u32)) {
        (&self.format, self.width, self.height, self.framerate)
    }

    /// The mode, as people write it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let framerates = Rates::List(vec![self.framerate]);
        Mode { format: self.format.clone(), width: self.width, height: self.height, framerates }.to_string()
    }
}

/// Sizes that a device offers in steps rather than one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest width and height, in pixels.
    pub min: (u32, u32),
    /// Largest width and height, in pixels.
    pub max: (u32, u32),
    /// Steps between, in pixels.
    pub step: (u32, u32),
}

impl SizeRange {
    /// The size of the range that is nearest to the wish: the one to make a [`Mode`] of.
    #[must_use]
    pub fn nearest(&self, wish: &Wish) -> (u32, u32) {
        let nearest = |wish: u32, min: u32, max: u32, step: u32| {
            let (max, step) = (max.max(min), step.max(1));
            let steps = (wish.clamp(min, max) - min + step / 2) / step;
            min + steps.min((max - min) / step) * step
        };
        (
            nearest(wish.width, self.min.0, self.max.0, self.step.0),
            nearest(wish.height, self.min.1, self.max.1, self.step.1),
        )
    }
}

/// The best of `offers`, or `None` when there is none. H.264 is taken if `takes_h264` and it is just what is wished for,
/// since nobody can scale it without encoding it again; else only where nothing else is offered.
#[must_use]
pub fn choose(offers: &[Mode], wish: &Wish, takes_h264: bool) -> Option<Choice> {
    let candidates = || {
        let modes = offers.iter().filter(|mode| mode.width > 0 && mode.height > 0);
        modes.filter_map(|mode| Some(Candidate { mode, rate: best_rate(&mode.framerates, wish)? }))
    };
    let fits = |candidate: &Candidate<'_>| {
        let Mode { format, width, height, .. } = candidate.mode;
        let as_wished = (*width, *height) == (wish.width, wish.height) && reaches(candidate.rate, wish);
        *format != Format::H264 || (takes_h264 && as_wished)
    };
    let best_of = |a: &Candidate<'_>, b: &Candidate<'_>| a.cost(wish).cmp(&b.cost(wish));
    let best = candidates().filter(fits).min_by(best_of).or_else(|| candidates().min_by(best_of))?;
    let Mode { format, width, height, .. } = best.mode;
    Some(Choice {
        format: format.clone(),
        width: *width,
        height: *height,
        framerate: best.rate,
        reason: reason(&best, offers, wish),
    })
}

/// A mode with the rate that would be used.
#[derive(Debug)]
struct Candidate<'a> {
    mode: &'a Mode,
    rate: (u32, u32),
}

impl Candidate<'_> {
    /// What is compared: distance from the wish, then the format, then what there is too much of.
    fn cost(&self, wish: &Wish) -> (u64, u32, u64, u64) {
        let Mode { width, height, format, .. } = self.mode;
        let wished_rate = f64::from(wish.framerate.max(1));
        let off = |found: u32, wished: u32| (f64::from(found) / f64::from(wished.max(1))).ln();
        let (wide, high) = (off(*width, wish.width), off(*height, wish.height));
        // Twice the width of a wish is as far as half; another shape is worse than another size of the same shape.
        let size = (wide + high).abs() + 2.0 * (wide - high).abs();
        let short = (wished_rate / fps(self.rate)).ln().max(0.0);
        // NTSC's 29.97 is 30 to everyone but a computer.
        let short = if reaches(self.rate, wish) { 0.0 } else { short };
        let excess = (fps(self.rate) / wished_rate).ln().max(0.0);
        (
            thousandths(size + short),
            preference(format),
            thousandths(excess),
            u64::from(*width) * u64::from(*height),
        )
    }
}

/// `cost` as a whole number, so that equally good is equal. Costs are not negative and at most a few dozen.
fn thousandths(cost: f64) -> u64 {
    (cost * 1000.0).round() as u64
}

/// The less, the less work: H.264 is passed on; NV12 and I420 are what encoders take; other raw formats are converted; a
/// JPEG is decoded.
fn preference(format: &Format) -> u32 {
    match format {
        Format::H264 => 0,
        Format::Raw(name) if name == "NV12" || name == "I420" => 1,
        Format::Raw(_) if !is_gray(format) => 2,
        Format::Mjpeg => 3,
        Format::Raw(_) => 4,
    }
}

/// An infrared sensor, or a colour camera's mode without colours.
fn is_gray(format: &Format) -> bool {
    matches!(format, Format::Raw(name) if name.starts_with("GRAY"))
}

/// The slowest rate that reaches the wish, else the fastest.
fn best_rate(rates: &Rates, wish: &Wish) -> Option<(u32, u32)> {
    let slowest_first = |a: &(u32, u32), b: &(u32, u32)| fps(*a).total_cmp(&fps(*b));
    match rates {
        Rates::List(list) => {
            let valid = || list.iter().copied().filter(|&(n, d)| n > 0 && d > 0);
            valid()
                .filter(|&rate| reaches(rate, wish))
                .min_by(slowest_first)
                .or_else(|| valid().max_by(slowest_first))
        }
        Rates::Range(min, max) => {
            let valid = max.0 > 0 && max.1 > 0 && min.1 > 0;
            let wished = (wish.framerate, 1);
            let rate = if fps(wished) > fps(*max) {
                *max
            } else if fps(wished) < fps(*min) {
                *min
            } else {
                wished
            };
            valid.then_some(rate)
        }
    }
}

/// Whether a rate is the wished one or more, 1 % short being none.
fn reaches(rate: (u32, u32), wish: &Wish) -> bool {
    fps(rate) >= f64::from(wish.framerate) * 0.99
}

fn fps((n, d): (u32, u32)) -> f64 {
    f64::from(n) / f64::from(d.max(1))
}

/// The choice in words, and what kept it from being the wish, or raw.
fn reason(best: &Candidate<'_>, offers: &[Mode], wish: &Wish) -> String {
    let Mode { format, width, height, .. } = best.mode;
    let (n, d) = best.rate;
    let mut why = Vec::new();
    if (*width, *height) != (wish.width, wish.height) {
        let exact = offers
            .iter()
            .find(|m| (m.width, m.height) == (wish.width, wish.height) && m.format != Format::H264);
        why.push(match exact.and_then(|mode| best_rate(&mode.framerates, wish)) {
            Some(rate) => format!("{}x{} reaches only {} fps", wish.width, wish.height, shown(rate)),
            None => format!("the nearest offered to {}x{}", wish.width, wish.height),
        });
    }
    if !reaches(best.rate, wish) {
        why.push(format!(
            "no more than {} fps are offered at this size, {} were wished for",
            shown(best.rate),
            wish.framerate
        ));
    } else if fps(best.rate) > f64::from(wish.framerate) * 1.01 {
        why.push(format!("no rate nearer to {} fps is offered", wish.framerate));
    }
    if *format == Format::Mjpeg {
        let raw = offers.iter().filter(|m| (m.width, m.height) == (*width, *height));
        let raw = raw.filter_map(|mode| match &mode.format {
            Format::Raw(name) => Some((name, best_rate(&mode.framerates, wish)?)),
            _ => None,
        });
        why.push(match raw.max_by(|a, b| fps(a.1).total_cmp(&fps(b.1))) {
            Some((name, rate)) if fps(rate) >= fps(best.rate) => format!("raw {name} has no colours"),
            Some((name, rate)) => format!("raw {name} reaches only {} fps at this size", shown(rate)),
            None => "no raw format is offered at this size".into(),
        });
    }
    if why.is_empty() {
        why.push("as wished for".into());
    }
    if *format == Format::H264 {
        let others = offers.iter().any(|mode| mode.format != Format::H264);
        why.push(if others { "the camera encodes it itself" } else { "it offers nothing else" }.into());
    }
    format!("{width}x{height} at {n}/{d} as {}: {}", format_name(format), why.join("; "))
}

/// A format for people.
fn format_name(format: &Format) -> &str {
    match format {
        Format::Raw(name) => name,
        Format::Mjpeg => "MJPEG",
        Format::H264 => "H.264",
    }
}

/// A rate for people: 30, 7.5.
fn shown(rate: (u32, u32)) -> String {
    let text = format!("{:.2}", fps(rate));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(format: &str, width: u32, height: u32, rates: &[u32]) -> Mode {
        let format = match format {
            "MJPG" => Format::Mjpeg,
            "H264" => Format::H264,
            raw => Format::Raw(raw.into()),
        };
        Mode { format, width, height, framerates: Rates::List(rates.iter().map(|&rate| (rate, 1)).collect()) }
    }

    fn wish(width: u32, height: u32, framerate: u32) -> Wish {
        Wish { width, height, framerate }
    }

    /// A Logitech C920, as `v4l2-ctl --list-formats-ext` shows it (sizes that matter here).
    fn c920() -> Vec<Mode> {
        let all = &[30, 24, 20, 15, 10, 5];
        let mut modes = vec![
            mode("YUY2", 640, 480, all),
            mode("YUY2", 320, 240, all),
            mode("YUY2", 640, 360, all),
            mode("YUY2", 800, 600, &[24, 20, 15, 10, 5]),
            mode("YUY2", 1280, 720, &[10, 5]),
            mode("YUY2", 1920, 1080, &[5]),
            Mode { framerates: Rates::List(vec![(2, 1)]), ..mode("YUY2", 2304, 1536, &[]) },
        ];
        for (width, height) in [(640, 480), (320, 240), (640, 360), (800, 600), (1280, 720), (1920, 1080)] {
            modes.push(mode("MJPG", width, height, all));
            modes.push(mode("H264", width, height, all));
        }
        modes
    }

    /// The kernel's vivid test driver as a webcam: raw formats only, large sizes slower.
    fn vivid() -> Vec<Mode> {
        let mut modes = Vec::new();
        for format in ["YUY2", "NV12", "RGB"] {
            for (width, height, rates) in [
                (320, 180, &[1, 2, 4, 5, 10, 15, 25, 30, 50, 60][..]),
                (640, 360, &[1, 2, 4, 5, 10, 15, 25, 30, 50]),
                (1280, 720, &[1, 2, 4, 5, 10, 15, 25]),
                (1920, 1080, &[1, 2, 4, 5, 10, 15]),
                (3840, 2160, &[1, 2, 4, 5]),
            ] {
                modes.push(mode(format, width, height, rates));
            }
        }
        modes
    }

    /// A Raspberry Pi's bcm2835-v4l2 driver: any size in steps, any rate from 1 to 90.
    fn pi(wish: &Wish) -> Vec<Mode> {
        let sizes = SizeRange { min: (32, 32), max: (2592, 1944), step: (2, 2) };
        let (width, height) = sizes.nearest(wish);
        let modes = ["I420", "YUY2", "MJPG", "H264", "NV12"].map(|format| Mode {
            framerates: Rates::Range((1, 1), (90, 1)),
            ..mode(format, width, height, &[])
        });
        modes.to_vec()
    }

    #[track_caller]
    fn check(offers: &[Mode], wish: Wish, reason: &str) {
        let choice = choose(offers, &wish, false).unwrap();
        assert_eq!(choice.reason, reason);
        let begin =
            format!("{}x{} at {}/{}", choice.width, choice.height, choice.framerate.0, choice.framerate.1);
        assert!(reason.starts_with(&begin));
    }

    #[test]
    fn a_usb_camera_sends_jpegs_where_raw_is_too_slow() {
        check(
            &c920(),
            wish(1280, 720, 30),
            "1280x720 at 30/1 as MJPEG: raw YUY2 reaches only 10 fps at this size",
        );
        check(&c920(), wish(640, 480, 30), "640x480 at 30/1 as YUY2: as wished for");
        check(&c920(), wish(1280, 720, 10), "1280x720 at 10/1 as YUY2: as wished for");
        check(
            &c920(),
            wish(800, 600, 25),
            "800x600 at 30/1 as MJPEG: no rate nearer to 25 fps is offered; raw YUY2 reaches only 24 fps at this size",
        );
    }

    #[test]
    fn the_nearest_size_is_taken_and_said() {
        check(
            &c920(),
            wish(1366, 768, 30),
            "1280x720 at 30/1 as MJPEG: the nearest offered to 1366x768; raw YUY2 reaches only 10 fps at this size",
        );
        check(
            &c920(),
            wish(3840, 2160, 30),
            "1920x1080 at 30/1 as MJPEG: the nearest offered to 3840x2160; raw YUY2 reaches only 5 fps at this size",
        );
        check(&c920(), wish(16, 16, 30), "320x240 at 30/1 as YUY2: the nearest offered to 16x16");
    }

    #[test]
    fn formats_that_encoders_take_are_preferred() {
        check(&vivid(), wish(640, 360, 30), "640x360 at 30/1 as NV12: as wished for");
        check(&pi(&wish(1280, 720, 30)), wish(1280, 720, 30), "1280x720 at 30/1 as I420: as wished for");
        check(
            &[mode("RGB", 640, 480, &[30]), mode("MJPG", 640, 480, &[30])],
            wish(640, 480, 30),
            "640x480 at 30/1 as RGB: as wished for",
        );
    }

    #[test]
    fn a_little_slower_at_the_right_size_beats_another_size() {
        check(
            &vivid(),
            wish(1280, 720, 30),
            "1280x720 at 25/1 as NV12: no more than 25 fps are offered at this size, 30 were wished for",
        );
    }

    #[test]
    fn far_too_slow_is_worse_than_a_smaller_size() {
        let offers = [mode("YUY2", 1920, 1080, &[2]), mode("YUY2", 1280, 720, &[30])];
        check(&offers, wish(1920, 1080, 30), "1280x720 at 30/1 as YUY2: 1920x1080 reaches only 2 fps");
    }

    #[test]
    fn ranges_are_clamped() {
        check(
            &pi(&wish(1280, 720, 120)),
            wish(1280, 720, 120),
            "1280x720 at 90/1 as I420: no more than 90 fps are offered at this size, 120 were wished for",
        );
        let sizes = SizeRange { min: (32, 32), max: (2592, 1944), step: (16, 2) };
        assert_eq!(sizes.nearest(&wish(1366, 767, 1)), (1360, 768));
        assert_eq!(sizes.nearest(&wish(7680, 4320, 1)), (2592, 1944));
        assert_eq!(sizes.nearest(&wish(16, 16, 1)), (32, 32));
        let odd = SizeRange { min: (0, 0), max: (101, 101), step: (0, 10) };
        assert_eq!(odd.nearest(&wish(500, 99, 1)), (101, 100));
    }

    #[test]
    fn ntsc_rates_reach_their_round_number() {
        let ntsc = Mode {
            framerates: Rates::List(vec![(30000, 1001), (60000, 1001)]),
            ..mode("NV12", 1280, 720, &[])
        };
        let offers = [ntsc, mode("MJPG", 1280, 720, &[30])];
        check(&offers, wish(1280, 720, 30), "1280x720 at 30000/1001 as NV12: as wished for");
    }

    #[test]
    fn h264_is_taken_where_it_is_just_what_is_wished_for_or_all_there_is() {
        let reason = |offers: &[Mode], wish: Wish| choose(offers, &wish, true).unwrap().reason;
        let as_wished = "as wished for; the camera encodes it itself";
        assert_eq!(reason(&c920(), wish(1280, 720, 30)), format!("1280x720 at 30/1 as H.264: {as_wished}"));
        assert_eq!(reason(&c920(), wish(640, 480, 30)), format!("640x480 at 30/1 as H.264: {as_wished}"));
        let other = wish(1366, 768, 30);
        assert!(reason(&c920(), other).starts_with("1280x720 at 30/1 as MJPEG: the nearest"));
        assert!(
            reason(&c920(), wish(1280, 720, 60))
                .starts_with("1280x720 at 30/1 as MJPEG: no more than 30 fps")
        );
        let only = [mode("H264", 1280, 720, &[30])];
        for (offers, wished, takes) in [(&only, other, true), (&only, wish(1280, 720, 30), false)] {
            let choice = choose(offers, &wished, takes).unwrap();
            assert!(choice.reason.ends_with("it offers nothing else"), "{}", choice.reason);
        }
    }

    #[test]
    fn nonsense_is_survived() {
        assert_eq!(choose(&[], &wish(1280, 720, 30), true), None);
        let nonsense = [
            mode("YUY2", 0, 0, &[30]),
            mode("YUY2", 640, 480, &[]),
            mode("YUY2", 640, 480, &[0]),
            Mode { framerates: Rates::Range((0, 0), (0, 0)), ..mode("YUY2", 640, 480, &[]) },
        ];
        assert_eq!(choose(&nonsense, &wish(1280, 720, 30), true), None);
        assert!(choose(&c920(), &wish(0, 0, 0), true).is_some());
    }
}
