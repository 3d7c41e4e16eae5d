//! The abs-capture-time RTP header extension: tells the receiver when each picture was taken.
//!
//! 64 bits of NTP time (seconds since 1900 as 32.32 fixed point) in the first packet of each picture; a receiver works
//! out the others from their RTP time stamps. The shorter form, without an offset of clocks: the clock that took the
//! picture is the one that our RTCP sender reports are of. Source: the "abs-capture-time" page of the WebRTC project's
//! `rtp-hdrext` documents.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gstreamer as gst;
use gstreamer_rtp as gst_rtp;
use gstreamer_rtp::prelude::*;
use gstreamer_rtp::subclass::prelude::*;

use super::{Timeline, gop};

/// The extension's name in SDP.
pub(crate) const URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
/// Bytes of the shorter form.
const SIZE: usize = 8;
/// Seconds from 1900, when NTP begins, to 1970 (RFC 868).
const NTP_TO_UNIX: u64 = 2_208_988_800;

gstreamer::glib::wrapper! {
    /// Writes the time at which the picture was taken.
    pub struct CaptureTime(ObjectSubclass<imp::CaptureTime>)
        @extends gst_rtp::RTPHeaderExtension, gstreamer::Element, gstreamer::Object;
}

impl CaptureTime {
    /// The extension under the id that the session description gives it, for pictures stamped on `timeline`.
    #[must_use]
    pub(super) fn with_id(id: u32, timeline: &Timeline) -> gst_rtp::RTPHeaderExtension {
        let extension = gstreamer::glib::Object::new::<Self>();
        extension.imp().timeline.get_or_init(|| timeline.clone());
        let extension: gst_rtp::RTPHeaderExtension = extension.upcast();
        extension.set_id(id);
        extension
    }
}

/// The clock on the wall when the timeline's clock showed `pts`. Asked anew for each picture, it follows a clock on the
/// wall that is set.
fn wall_clock(timeline: &Timeline, pts: gst::ClockTime) -> SystemTime {
    let (now, wall) = (timeline.now(), SystemTime::now());
    let between =
        |early: gst::ClockTime, late: gst::ClockTime| Duration::from_nanos((late - early).nseconds());
    if pts > now { wall + between(now, pts) } else { wall - between(pts, now) }
}

/// Seconds since 1900 as unsigned 32.32 fixed point; the era that began in 1900 ends in 2036, and then it wraps.
fn ntp(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    ((since.as_secs() + NTP_TO_UNIX) & 0xffff_ffff) << 32 | fraction
}

mod imp {
    use super::*;
    use gstreamer::glib; // the macro names it

    #[derive(Debug, Default)]
    pub struct CaptureTime {
        pub(super) timeline: OnceLock<Timeline>,
        /// Time stamp of the picture that it was last written for, and one, in nanoseconds.
        last: AtomicU64,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for CaptureTime {
        const NAME: &'static str = "PortaldCaptureTime";
        type Type = super::CaptureTime;
        type ParentType = gst_rtp::RTPHeaderExtension;
    }

    impl ObjectImpl for CaptureTime {}
    impl GstObjectImpl for CaptureTime {}
    impl ElementImpl for CaptureTime {}

    impl RTPHeaderExtensionImpl for CaptureTime {
        const URI: &'static str = URI;

        fn supported_flags(&self) -> gst_rtp::RTPHeaderExtensionFlags {
            gst_rtp::RTPHeaderExtensionFlags::ONE_BYTE | gst_rtp::RTPHeaderExtensionFlags::TWO_BYTE
        }

        fn max_size(&self, _input: &gst::BufferRef) -> usize {
            SIZE
        }

        fn write(
            &self,
            input: &gst::BufferRef,
            _flags: gst_rtp::RTPHeaderExtensionFlags,
            _output: &gst::BufferRef,
            output_data: &mut [u8],
        ) -> Result<usize, gst::LoggableError> {
            let (Some(timeline), Some(pts)) = (self.timeline.get(), input.pts()) else { return Ok(0) };
            let Some(time) = output_data.get_mut(..SIZE) else { return Ok(0) };
            if self.last.swap(pts.nseconds() + 1, Ordering::Relaxed) == pts.nseconds() + 1 {
                return Ok(0); // another packet of the same picture
            }
            let taken = gop::taken(input).unwrap_or(pts);
            time.copy_from_slice(&ntp(wall_clock(timeline, taken)).to_be_bytes());
            Ok(SIZE)
        }

        fn set_attributes(
            &self,
            _direction: gst_rtp::RTPHeaderExtensionDirection,
            _attributes: &str,
        ) -> Result<(), gst::LoggableError> {
            Ok(())
        }

        fn set_caps_from_attributes(&self, caps: &mut gst::CapsRef) -> Result<(), gst::LoggableError> {
            caps.set(format!("extmap-{}", self.obj().id()), URI);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_counts_from_1900_in_fractions_of_a_second() {
        // RFC 5905, figure 4: the first day of UNIX.
        assert_eq!(ntp(UNIX_EPOCH), 2_208_988_800 << 32);
        assert_eq!(ntp(UNIX_EPOCH + Duration::from_millis(1500)) & 0x1_ffff_ffff, 0x1_8000_0000);
    }

    #[test]
    fn the_first_packet_of_each_picture_says_when_it_was_taken() {
        let timeline = Timeline::start().unwrap();
        let launch = "appsrc name=in format=time is-live=true \
                      caps=video/x-h264,stream-format=byte-stream,alignment=au ! rtph264pay name=pay mtu=200 ! \
                      appsink name=out sync=false";
        let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        timeline.adopt(&pipeline);
        let pay = pipeline.by_name("pay").unwrap();
        pay.emit_by_name::<()>("add-extension", &[&CaptureTime::with_id(13, &timeline)]);
        let source = pipeline.by_name("in").unwrap().downcast::<gstreamer_app::AppSrc>().unwrap();
        let sink = pipeline.by_name("out").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let age = gst::ClockTime::from_mseconds(700);
        std::thread::sleep(Duration::from_nanos(age.nseconds()));
        let wall = SystemTime::now();
        let now = timeline.now();
        let picture = |pts| {
            let mut buffer = gst::Buffer::from_slice([&[0, 0, 0, 1, 0x65][..], &[7; 900]].concat());
            buffer.make_mut().set_pts(pts);
            gop::Frame { buffer, caps: gst::Caps::new_any() }
        };
        // One as it was taken, and one that is shown 0.6 s later than it was.
        let moved = picture(now - age).moved_to(now - gst::ClockTime::from_mseconds(100));
        for frame in [picture(now - age), moved] {
            source.push_buffer(frame.buffer).unwrap();
        }
        source.end_of_stream().unwrap();
        let mut told = Vec::new();
        let mut packets = 0;
        while let Ok(sample) = sink.pull_sample() {
            let buffer = sample.buffer_owned().unwrap();
            let packet = gst_rtp::RTPBuffer::from_buffer_readable(&buffer).unwrap();
            packets += 1;
            if let Some(extension) = packet.extension_onebyte_header(13, 0) {
                told.push(u64::from_be_bytes(extension.try_into().unwrap()));
            }
        }
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(packets >= 10, "{packets} packets");
        assert_eq!(told.len(), 2, "one in each picture");
        let wanted = ntp(wall - Duration::from_nanos(age.nseconds()));
        for time in told {
            let off = (time.abs_diff(wanted) as f64) / f64::from(1u32 << 31) / 2.0;
            assert!(off < 0.05, "off by {off} s");
        }
    }
}
