//! Cameras with a device that is made up: an element registered under the name `v4l2src` that sends JPEGs, and fails
//! on command. The real driver's turn comes in the virtual machine.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::{Mutex, MutexGuard, watch};

use super::Timeline;
use super::camera::Camera;
use super::encoders::{Encoders, Prover};
use super::plan::Rendition;
use crate::config::settings::{EncoderChoice, Source, Sub, Wish};
use crate::config::{Camera as CameraSettings, Settings};
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::status::{Cameras, State};
use crate::template::Templates;

/// Long enough for anything that ends well on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What the device does wrong.
const SOUND: u8 = 0;
const ERROR: u8 = 1;
const STALL: u8 = 2;
const END: u8 = 3;

static FAULT: AtomicU8 = AtomicU8::new(SOUND);
/// One test at a time owns the device.
static DEVICE: Mutex<()> = Mutex::const_new(());

mod imp {
    use super::*;

    /// `videotestsrc ! jpegenc`, and the property that a V4L2 source has.
    #[derive(Default)]
    pub(super) struct FakeDevice {
        device: std::sync::Mutex<String>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for FakeDevice {
        const NAME: &'static str = "PortaldFakeV4l2Src";
        type Type = super::FakeDevice;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for FakeDevice {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> =
                std::sync::LazyLock::new(|| vec![glib::ParamSpecString::builder("device").build()]);
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, _spec: &glib::ParamSpec) {
            *self.device.lock().unwrap() = value.get().unwrap();
        }

        fn property(&self, _id: usize, _spec: &glib::ParamSpec) -> glib::Value {
            self.device.lock().unwrap().to_value()
        }

        fn constructed(&self) {
            self.parent_constructed();
            let launch = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 ! \
                          jpegenc ! image/jpeg,width=320,height=240,framerate=30/1 ! identity name=last";
            let chain = gst::parse::bin_from_description(launch, true).unwrap();
            let last = chain.by_name("last").unwrap().static_pad("src").unwrap();
            let element = last.parent_element().unwrap();
            last.add_probe(gst::PadProbeType::BUFFER, move |pad, _| match FAULT.load(Ordering::SeqCst) {
                ERROR => {
                    gst::element_error!(
                        element,
                        gst::ResourceError::Read,
                        ("Could not read"),
                        ["No such device"]
                    );
                    gst::PadProbeReturn::Drop
                }
                STALL => gst::PadProbeReturn::Drop,
                END => {
                    pad.push_event(gst::event::Eos::new());
                    gst::PadProbeReturn::Drop
                }
                _ => gst::PadProbeReturn::Ok,
            });
            let bin = self.obj();
            bin.add(&chain).unwrap();
            let ghost = gst::GhostPad::with_target(&chain.static_pad("src").unwrap()).unwrap();
            bin.add_pad(&ghost).unwrap();
        }
    }

    impl GstObjectImpl for FakeDevice {}
    impl ElementImpl for FakeDevice {}
    impl BinImpl for FakeDevice {}
}

glib::wrapper! {
    struct FakeDevice(ObjectSubclass<imp::FakeDevice>) @extends gst::Bin, gst::Element, gst::Object;
}

/// A camera on the made-up device, and a viewer's queue that nobody empties but the test.
struct Rig {
    camera: Camera,
    cameras: Cameras,
    path: PathBuf,
    _stop: watch::Sender<bool>,
    _device: MutexGuard<'static, ()>,
}

impl Rig {
    async fn new(name: &str) -> Self {
        let device = DEVICE.lock().await;
        FAULT.store(SOUND, Ordering::SeqCst);
        let timeline = Timeline::start().unwrap();
        gst::Element::register(None, "v4l2src", gst::Rank::PRIMARY, FakeDevice::static_type()).unwrap();
        let path = std::env::temp_dir().join(format!("portald-fake-{name}-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let settings = CameraSettings {
            wish: Wish { width: 320, height: 240, framerate: 30 },
            encoder: EncoderChoice::Auto,
            sub: Sub { width: 160, ..Sub::default() },
            ..plain().found_camera(Name::new(name).unwrap(), Source::V4l2(path.clone()))
        };
        let (stop, stopping) = watch::channel(false);
        let cameras = Cameras::new();
        let templates = Arc::new(Templates::load(&[]).unwrap());
        let encoders = Arc::new(Encoders::new(templates, Prover::Nobody, None));
        let (camera, _) = Camera::start(settings, encoders, timeline, cameras.clone(), stopping);
        Self { camera, cameras, path, _stop: stop, _device: device }
    }

    async fn wait_for(&self, what: &str, met: impl Fn(&Self) -> bool) {
        let until = Instant::now() + LIMIT;
        while !met(self) {
            assert!(Instant::now() < until, "waited in vain for {what}: {:?}", self.cameras.list());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn state(&self) -> State {
        self.cameras.list()[0].state
    }

    fn reason(&self) -> String {
        self.cameras.list()[0].reason.clone().unwrap_or_default()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn plain() -> Settings {
    Settings {
        server: Default::default(),
        access: Default::default(),
        limits: Default::default(),
        ice: Default::default(),
        uplinks: Vec::new(),
        rooms: Vec::new(),
        cameras: Vec::new(),
    }
}

/// A viewer's queue, in a pipeline that takes everything.
struct Sink {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
}

impl Sink {
    fn new() -> Self {
        let launch =
            "appsrc name=in is-live=true format=time ! identity name=seen ! fakesink sync=false async=false";
        let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("in").unwrap().downcast().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, source }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_sends_jpegs_is_decoded_and_encoded() {
    let rig = Rig::new("jpegs").await;
    let sink = Sink::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(Rendition::Main, Codec::H264, sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10).await;
    let status = &rig.cameras.list()[0];
    assert_eq!(status.state, State::Live);
    let main = &status.renditions[0];
    assert_eq!((main.width, main.height, main.codec.as_str()), (320, 240, "H264"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_is_opened_again_and_its_viewer_stays() {
    for (fault, word) in [(ERROR, "No such device"), (STALL, "no picture for"), (END, "ended")] {
        let rig = Rig::new("fails").await;
        let sink = Sink::new();
        let _attendance = rig.camera.attend();
        let viewer = rig.camera.subscribe(Rendition::Main, Codec::H264, sink.source.clone());
        rig.wait_for("frames", |_| viewer.sent() > 10).await;
        FAULT.store(fault, Ordering::SeqCst);
        rig.wait_for("the reason", |rig| rig.state() == State::Backoff && rig.reason().contains(word)).await;
        FAULT.store(SOUND, Ordering::SeqCst);
        let before = viewer.sent();
        rig.wait_for("frames again", |rig| rig.state() == State::Live && viewer.sent() > before + 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_gone_is_waited_for() {
    let rig = Rig::new("gone").await;
    let sink = Sink::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(Rendition::Main, Codec::H264, sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10).await;
    fs::remove_file(&rig.path).unwrap();
    FAULT.store(ERROR, Ordering::SeqCst);
    rig.wait_for("its absence", |rig| rig.state() == State::Absent && rig.reason().contains("plugged in"))
        .await;
    FAULT.store(SOUND, Ordering::SeqCst);
    fs::write(&rig.path, "").unwrap();
    let before = viewer.sent();
    rig.wait_for("frames again", |rig| rig.state() == State::Live && viewer.sent() > before + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_takes_nothing_costs_no_other_a_frame_and_resumes_at_a_key_frame() {
    let rig = Rig::new("slow").await;
    let (good, slow) = (Sink::new(), Sink::new());
    // Paused, its queue fills and nothing drains it.
    slow.pipeline.set_state(gst::State::Paused).unwrap();
    let _attendance = rig.camera.attend();
    let quick = rig.camera.subscribe(Rendition::Main, Codec::H264, good.source.clone());
    let blocked = rig.camera.subscribe(Rendition::Main, Codec::H264, slow.source.clone());
    let bounded = |sink: &Sink| sink.source.current_level_time() < gst::ClockTime::from_seconds(2);
    rig.wait_for("a hundred frames", |_| quick.sent() > 100).await;
    assert!(blocked.sent() < 60, "a queue of 300 ms took {} frames", blocked.sent());
    assert!(bounded(&slow) && bounded(&good));
    let before = blocked.sent();
    slow.pipeline.set_state(gst::State::Playing).unwrap();
    rig.wait_for("the slow one to go on", |_| blocked.sent() > before + 10).await;
}
