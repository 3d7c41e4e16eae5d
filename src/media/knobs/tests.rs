//! The template of a Pi's encoder, for a made-up one that has its properties and, like it before GStreamer 1.22.4, is
//! deaf to requests for key frames.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer_app as gst_app;

use super::super::proof::{self, Job};
use super::super::{Timeline, encode::Recipe};
use super::*;
use crate::template::{Kind, Template, Values};

/// In place of `v4l2h264enc`, which would be taken by every test that lets an encoder be chosen.
const ELEMENT_NAME: &str = "portaldv4l2h264enc";

mod imp {
    use gstreamer::subclass::prelude::*;

    use super::*;

    /// x264enc behind `extra-controls`.
    #[derive(Default)]
    pub(super) struct FakeV4l2 {
        inner: Mutex<Option<gst::Element>>,
        pub(super) controls: Mutex<Vec<String>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for FakeV4l2 {
        const NAME: &'static str = "PortaldFakeV4l2Enc";
        type Type = super::FakeV4l2;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for FakeV4l2 {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> = std::sync::LazyLock::new(|| {
                vec![
                    glib::ParamSpecBoxed::builder::<gst::Structure>("extra-controls").build(),
                    glib::ParamSpecUInt64::builder("min-force-key-unit-interval").build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
            if spec.name() != "extra-controls" {
                return;
            }
            let controls = value.get::<gst::Structure>().unwrap();
            self.controls.lock().unwrap().push(controls.to_string());
            // As the real one: integers only, each control by itself.
            let inner = self.inner.lock().unwrap().clone().unwrap();
            if let Ok(bits) = controls.get::<i32>("video_bitrate") {
                inner.set_property("bitrate", u32::try_from(bits / 1000).unwrap());
            }
            if let Ok(frames) = controls.get::<i32>("h264_i_frame_period") {
                inner.set_property("key-int-max", u32::try_from(frames).unwrap());
            }
            if controls.get::<i32>("force_key_frame") == Ok(1) {
                let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
                inner.static_pad("src").unwrap().send_event(event);
            }
        }

        fn constructed(&self) {
            self.parent_constructed();
            let inner = gst::ElementFactory::make("x264enc")
                .property_from_str("tune", "zerolatency")
                .property_from_str("speed-preset", "ultrafast")
                .property("vbv-buf-capacity", 300u32)
                .property("threads", 1u32)
                .build()
                .unwrap();
            let bin = self.obj();
            let last = gst::ElementFactory::make("identity").build().unwrap();
            bin.add_many([&inner, &last]).unwrap();
            inner.link(&last).unwrap();
            for pad in [inner.static_pad("sink").unwrap(), last.static_pad("src").unwrap()] {
                bin.add_pad(&gst::GhostPad::with_target(&pad).unwrap()).unwrap();
            }
            // Deaf: no event from outside reaches the encoder.
            let deaf = |_: &gst::Pad, info: &mut gst::PadProbeInfo<'_>| match info.event() {
                Some(event) if gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok() => {
                    drop(info.data.take());
                    gst::PadProbeReturn::Handled
                }
                _ => gst::PadProbeReturn::Ok,
            };
            last.static_pad("src").unwrap().add_probe(gst::PadProbeType::EVENT_UPSTREAM, deaf);
            *self.inner.lock().unwrap() = Some(inner);
        }
    }

    impl GstObjectImpl for FakeV4l2 {}
    impl ElementImpl for FakeV4l2 {}
    impl BinImpl for FakeV4l2 {}
}

glib::wrapper! {
    struct FakeV4l2(ObjectSubclass<imp::FakeV4l2>) @extends gst::Bin, gst::Element, gst::Object;
}

/// The real template, but for the element's name and what `change` makes of its text.
fn template(change: impl Fn(String) -> String) -> Template {
    gst::init().unwrap();
    gst::Element::register(None, ELEMENT_NAME, gst::Rank::NONE, FakeV4l2::static_type()).unwrap();
    let text = include_str!("../../../pipelines/encoder/v4l2h264enc.pipeline");
    // x264enc says another level than the driver that was told one.
    let text = text.replace("v4l2h264enc", ELEMENT_NAME).replace(",level=(string)4", "");
    Template::parse(Kind::Encoder, "fake", Path::new("fake.pipeline"), &change(text)).unwrap()
}

fn values(bitrate: u32) -> Values {
    Values::new().picture(320, 240, (30, 1)).encoding(bitrate, Duration::from_secs(10), (30, 1))
}

fn recipe(template: &Template) -> Recipe {
    Recipe::of(template, &values(400), (320, 240), None, 400).unwrap()
}

fn verdict(template: &Template) -> proof::Verdict {
    proof::here(&Job::of(&recipe(template), "h264", (30, 1)))
}

#[test]
fn the_trial_counts_a_key_frame_that_is_asked_for_through_a_control() {
    let with = verdict(&template(|text| text));
    assert!(with.is_good() && with.keyframe_on_request, "{with:?}");
    let without = verdict(&template(|text| text.replace("# force-keyframe: ", "# ")));
    assert!(without.is_good() && !without.keyframe_on_request, "{without:?}");
}

#[test]
fn a_template_that_sets_what_its_element_lacks_is_found_out_in_the_trial() {
    for (from, to, why) in [
        ("extra-controls=controls,video_bitrate", "bitrate=x,y", "no such property"),
        ("extra-controls=controls,force_key_frame=1", "force-IDR()", "no such action signal"),
        ("extra-controls=controls,force_key_frame=1", "min-force-key-unit-interval=often", "does not take"),
    ] {
        let changed = verdict(&template(|text| {
            let (headers, launch) = text.split_once("\nport").unwrap();
            format!("{}\nport{launch}", headers.replace(from, to))
        }));
        let fault = changed.fault.as_deref().unwrap_or("none");
        assert!(fault.contains(why), "{from} → {to}: {fault}");
    }
}

#[test]
fn values_out_of_a_property_s_range_are_refused_and_not_set() {
    gst::init().unwrap();
    let x264 = gst::ElementFactory::make("x264enc").build().unwrap();
    for (setting, fits) in [
        ("bitrate=2048000", true),
        ("bitrate=2048001", false),
        ("bitrate=0", false),
        ("tune=zerolatency", true),
        ("tune=nonsense", false),
        ("byte-stream=true", true),
        ("parent=NULL", false),
        ("pad-added()", false),
    ] {
        let setting = Setting::parse(setting, &[]).unwrap();
        assert_eq!(Checked::new(&x264, &setting).is_ok(), fits, "{setting}");
    }
}

/// Encodes pictures of noise, and counts what comes out.
struct Line {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    output: gst_app::AppSink,
    knobs: Arc<Knobs>,
    next: u64,
}

impl Line {
    fn new(recipe: &Recipe) -> Self {
        let _ = Timeline::start().unwrap();
        let pipeline = gst::parse::launch(&recipe.pipeline()).unwrap().downcast::<gst::Pipeline>().unwrap();
        let knobs =
            Knobs::attach(&pipeline, recipe.set_bitrate.as_ref(), recipe.force_keyframe.as_ref()).unwrap();
        let input: gst_app::AppSrc = by_name(&pipeline, "in").unwrap();
        input.set_format(gst::Format::Time);
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, recipe.width, recipe.height);
        let info = info.fps(gst::Fraction::new(30, 1)).build().unwrap();
        input.set_caps(Some(&info.to_caps().unwrap()));
        let output: gst_app::AppSink = by_name(&pipeline, "out").unwrap();
        output.set_property("sync", false);
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, input, output, knobs, next: 0 }
    }

    /// Bytes of the next `count` frames, and which of them are key frames.
    fn run(&mut self, count: u64) -> (usize, Vec<u64>) {
        let (mut bytes, mut keys) = (0, Vec::new());
        for number in 0..count {
            self.input.push_buffer(noise(self.next)).unwrap();
            self.next += 1;
            let sample = self.output.try_pull_sample(gst::ClockTime::from_seconds(60)).expect("a frame");
            let buffer = sample.buffer().unwrap();
            bytes += buffer.size();
            if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
                keys.push(number);
            }
        }
        (bytes, keys)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Noise costs all the bits that there are; it is faint, or openh264enc would take more.
fn noise(number: u64) -> gst::Buffer {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let data: Vec<u8> = (0..320 * 240 * 3 / 2)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as u8 / 12 + 96
        })
        .collect();
    let mut buffer = gst::Buffer::from_mut_slice(data);
    let at = gst::ClockTime::from_mseconds(number * 1000 / 30);
    buffer.get_mut().unwrap().set_pts(at);
    buffer
}

#[test]
fn the_rate_of_a_running_encoder_follows_without_a_frame_missing() {
    let built_in = |name: &str| {
        let file =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("pipelines/encoder/{name}.pipeline"));
        Template::parse(Kind::Encoder, name, &file, &std::fs::read_to_string(&file).unwrap()).unwrap()
    };
    for template in [built_in("x264enc"), built_in("vp8enc"), built_in("openh264enc"), template(|text| text)]
    {
        let of = |bitrate| {
            let values = values(bitrate).with("threads", 1);
            Recipe::of(&template, &values, (320, 240), None, bitrate).unwrap()
        };
        let mut line = Line::new(&of(300));
        line.run(60);
        let (low, _) = line.run(90);
        line.knobs.set_bitrate(&line.pipeline, of(3000).set_bitrate.unwrap()).unwrap();
        line.run(60);
        let (high, keys) = line.run(90);
        println!("{}: {low} bytes in 3 s at 300 kbit/s, {high} at 3000", template.name);
        assert!(high > low * 3, "{}: {low} bytes, then {high}", template.name);
        assert!(keys.len() < 5, "{}: {keys:?}", template.name);
        line.knobs.set_bitrate(&line.pipeline, of(300).set_bitrate.unwrap()).unwrap();
        line.run(60);
        let (again, _) = line.run(90);
        assert!(high > again * 3, "{}: {high} bytes, then {again}", template.name);
    }
}

#[test]
fn a_request_for_a_key_frame_becomes_the_control_and_comes_with_the_next_picture() {
    let template = template(|text| text);
    let mut line = Line::new(&recipe(&template));
    assert_eq!(line.run(30).1, [0]);
    let pad = line.output.static_pad("sink").unwrap();
    pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
    assert_eq!(line.run(30).1, [0]);
    line.knobs
        .set_bitrate(&line.pipeline, Setting::parse("extra-controls=c,video_bitrate=250000", &[]).unwrap())
        .unwrap();
    assert!(line.run(10).1.is_empty());
    let fake: FakeV4l2 = line.pipeline.by_name(ELEMENT).unwrap().downcast().unwrap();
    let controls = gst::subclass::prelude::ObjectSubclassIsExt::imp(&fake).controls.lock().unwrap().clone();
    assert_eq!(controls.len(), 3, "{controls:?}");
    assert!(controls[0].contains("video_bitrate=(int)400000"), "{controls:?}");
    assert_eq!(controls[1], "controls, force_key_frame=(int)1;");
    assert!(controls[2].contains("video_bitrate=(int)250000"), "{controls:?}");
}
