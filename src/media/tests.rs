//! Cameras with a device that is made up: an element registered under the name `v4l2src` that sends JPEGs or
//! H.264, and fails on command. The real driver's turn comes in the virtual machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::{Mutex, MutexGuard, watch};

use self::undisturbed::undisturbed;
use super::Timeline;
use super::camera::Camera;
use super::encoders::{Encoders, Prover};
use super::plan::Rendition;
use crate::config::settings::{EncoderChoice, Source, Sub, Wish};
use crate::config::{Camera as CameraSettings, Settings};
use crate::fault::Kind;
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::status::{Cameras, State};
use crate::template::Templates;

#[cfg(test)]
mod changes;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod sensors;
#[cfg(test)]
mod slow;
#[cfg(test)]
#[path = "../../tests/it/undisturbed.rs"]
mod undisturbed;

/// Long enough for anything that ends well on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What a device does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wrong {
    #[default]
    Nothing,
    /// As when it is pulled out.
    Error,
    Stall,
    End,
    /// It ends, and another program has it.
    Busy,
    /// It ends, and its bus is full when it starts to stream.
    NoSpace,
    /// It ends, and does not return from being opened.
    HangsInOpen,
    /// Its pictures have another size from now on.
    Caps,
}

/// What each device does wrong, by its path.
static WRONG: std::sync::Mutex<BTreeMap<String, Wrong>> = std::sync::Mutex::new(BTreeMap::new());

pub(super) fn wrong(path: &str) -> Wrong {
    WRONG.lock().unwrap().get(path).copied().unwrap_or_default()
}

/// Whether it encodes H.264.
static ENCODES: AtomicBool = AtomicBool::new(false);
/// How often its control for key frames was set.
static ASKED: AtomicUsize = AtomicUsize::new(0);
/// One test at a time owns the device.
static DEVICE: Mutex<()> = Mutex::const_new(());

mod imp {
    use super::*;

    /// `videotestsrc ! jpegenc`, or an H.264 encoder that makes a key frame in 10 s, and properties that a V4L2 source has.
    #[derive(Default)]
    pub(super) struct FakeDevice {
        device: std::sync::Mutex<String>,
        /// Whether it has sent a picture.
        pub(super) sent: AtomicBool,
    }

    impl FakeDevice {
        fn wrong(&self) -> Wrong {
            wrong(&self.device.lock().unwrap())
        }
    }

    fn caps(kind: &str, width: i32, height: i32) -> gst::Caps {
        let caps = gst::Caps::builder(kind)
            .field("width", width)
            .field("height", height)
            .field("framerate", gst::Fraction::new(30, 1));
        match kind {
            "video/x-h264" => caps.field("stream-format", "byte-stream").field("alignment", "au").build(),
            _ => caps.build(),
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for FakeDevice {
        const NAME: &'static str = "PortaldFakeV4l2Src";
        type Type = super::FakeDevice;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for FakeDevice {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> = std::sync::LazyLock::new(|| {
                vec![
                    glib::ParamSpecString::builder("device").build(),
                    glib::ParamSpecBoxed::builder::<gst::Structure>("extra-controls").build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
            if spec.name() == "device" {
                *self.device.lock().unwrap() = value.get().unwrap();
            } else if value.get::<gst::Structure>().unwrap().get::<i32>("force_key_frame") == Ok(1) {
                ASKED.fetch_add(1, Ordering::SeqCst);
            }
        }

        fn property(&self, _id: usize, _spec: &glib::ParamSpec) -> glib::Value {
            self.device.lock().unwrap().to_value()
        }

        fn constructed(&self) {
            self.parent_constructed();
            let (encoder, form) = if ENCODES.load(Ordering::SeqCst) {
                ("x264enc tune=zerolatency speed-preset=ultrafast key-int-max=300", "video/x-h264")
            } else {
                ("jpegenc", "image/jpeg")
            };
            let launch = format!(
                "videotestsrc is-live=true pattern=white ! video/x-raw,format=I420,framerate=30/1 ! capsfilter name=size ! \
                 {encoder} ! capsfilter name=form ! identity name=last"
            );
            let chain = gst::parse::bin_from_description(&launch, true).unwrap();
            for (filter, kind) in [("size", "video/x-raw"), ("form", form)] {
                chain.by_name(filter).unwrap().set_property("caps", caps(kind, 320, 240));
            }
            let last = chain.by_name("last").unwrap().static_pad("src").unwrap();
            let element = last.parent_element().unwrap();
            let bin = self.obj().downgrade();
            let filters = ["size", "form"].map(|name| chain.by_name(name).unwrap().downgrade());
            last.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
                match bin.upgrade().map(|bin| bin.imp().wrong()).unwrap_or_default() {
                    Wrong::NoSpace
                        if bin.upgrade().is_some_and(|bin| !bin.imp().sent.load(Ordering::SeqCst)) =>
                    {
                        let category = gst::DebugCategory::get("v4l2bufferpool").unwrap_or_else(|| {
                            gst::DebugCategory::new("v4l2bufferpool", gst::DebugColorFlags::empty(), None)
                        });
                        gst::error!(category, "error with STREAMON 28 (No space left on device)");
                        gst::element_error!(
                            element,
                            gst::ResourceError::Settings,
                            ("Failed to allocate required memory."),
                            ["Buffer pool activation failed"]
                        );
                        gst::PadProbeReturn::Drop
                    }
                    Wrong::Caps => {
                        for (filter, kind) in filters.iter().zip(["video/x-raw", form]) {
                            if let Some(filter) = filter.upgrade() {
                                filter.set_property("caps", caps(kind, 160, 120));
                            }
                        }
                        gst::PadProbeReturn::Ok
                    }
                    Wrong::Error => {
                        gst::element_error!(
                            element,
                            gst::ResourceError::Read,
                            ("Could not read"),
                            ["No such device"]
                        );
                        gst::PadProbeReturn::Drop
                    }
                    Wrong::Stall => gst::PadProbeReturn::Drop,
                    Wrong::End | Wrong::Busy | Wrong::NoSpace | Wrong::HangsInOpen => {
                        pad.push_event(gst::event::Eos::new());
                        gst::PadProbeReturn::Drop
                    }
                    Wrong::Nothing => {
                        if let Some(bin) = bin.upgrade() {
                            bin.imp().sent.store(true, Ordering::SeqCst);
                        }
                        gst::PadProbeReturn::Ok
                    }
                }
            });
            let bin = self.obj();
            bin.add(&chain).unwrap();
            let ghost = gst::GhostPad::with_target(&chain.static_pad("src").unwrap()).unwrap();
            bin.add_pad(&ghost).unwrap();
        }
    }

    impl GstObjectImpl for FakeDevice {}
    impl ElementImpl for FakeDevice {
        fn change_state(
            &self,
            change: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            if change == gst::StateChange::NullToReady {
                let device = self.device.lock().unwrap().clone();
                while wrong(&device) == Wrong::HangsInOpen {
                    std::thread::sleep(Duration::from_millis(10));
                }
                if wrong(&device) == Wrong::Busy {
                    gst::element_imp_error!(
                        self,
                        gst::ResourceError::OpenReadWrite,
                        ("Could not open device '{device}' for reading and writing."),
                        ["system error: Device or resource busy"]
                    );
                    return Err(gst::StateChangeError);
                }
            }
            self.parent_change_state(change)
        }
    }
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
    encoders: Arc<Encoders>,
    timeline: Timeline,
    stop: watch::Sender<bool>,
    _device: MutexGuard<'static, ()>,
}

impl Rig {
    async fn new(name: &str) -> Self {
        Self::with(name, EncoderChoice::Auto, &[]).await
    }

    /// With encoder templates of its own.
    async fn with(name: &str, encoder: EncoderChoice, templates: &[PathBuf]) -> Self {
        let device = DEVICE.lock().await;
        ENCODES.store(name.starts_with("h264"), Ordering::SeqCst);
        let timeline = Timeline::start().unwrap();
        gst::Element::register(None, "v4l2src", gst::Rank::PRIMARY, FakeDevice::static_type()).unwrap();
        let (stop, _) = watch::channel(false);
        let cameras = Cameras::new();
        let templates = Arc::new(Templates::load(templates).unwrap());
        let encoders = Arc::new(Encoders::new(templates, Prover::Nobody, None));
        let (camera, path) = start(name, encoder, &encoders, &timeline, &cameras, &stop);
        Self { camera, cameras, path, encoders, timeline, stop, _device: device }
    }

    /// Another camera with a device of its own.
    fn another(&self, name: &str) -> Camera {
        start(name, EncoderChoice::Auto, &self.encoders, &self.timeline, &self.cameras, &self.stop).0
    }

    fn go(&self, wrong: Wrong) {
        WRONG.lock().unwrap().insert(self.path.display().to_string(), wrong);
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

fn start(
    name: &str,
    encoder: EncoderChoice,
    encoders: &Arc<Encoders>,
    timeline: &Timeline,
    cameras: &Cameras,
    stop: &watch::Sender<bool>,
) -> (Camera, PathBuf) {
    let path = std::env::temp_dir().join(format!("portald-fake-{name}-{}", std::process::id()));
    fs::write(&path, "").unwrap();
    WRONG.lock().unwrap().remove(&path.display().to_string());
    let settings = CameraSettings {
        wish: Wish { width: 320, height: 240, framerate: 30 },
        encoder,
        sub: Sub { width: 160, ..Sub::default() },
        ..plain().found_camera(Name::new(name).unwrap(), Source::V4l2(path.clone()))
    };
    let (camera, _) =
        Camera::start(settings, Arc::clone(encoders), timeline.clone(), cameras.clone(), stop.subscribe());
    (camera, path)
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

/// Makes `file` a program that does what the script says. Another process writes it: what this one has open for writing, a
/// child that another test starts just then has open too, and no such program can be run.
pub(super) fn executable(file: &Path, script: &str) {
    let write = "printf '%s\\n' '#!/bin/sh' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    assert!(Command::new("sh").args(["-c", write]).arg(file).arg(script).status().unwrap().success());
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
    rig.wait_for("frames", |rig| viewer.sent() > 10 && rig.state() == State::Live).await;
    let status = &rig.cameras.list()[0];
    let main = &status.renditions[0];
    assert_eq!((main.width, main.height, main.codec.as_str()), (320, 240, "H264"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_is_opened_again_and_its_viewer_stays() {
    for (fault, word) in
        [(Wrong::Error, "unplugged"), (Wrong::Stall, "no picture for"), (Wrong::End, "ended")]
    {
        let rig = Rig::new("fails").await;
        let sink = Sink::new();
        let _attendance = rig.camera.attend();
        let viewer = rig.camera.subscribe(Rendition::Main, Codec::H264, sink.source.clone());
        rig.wait_for("frames", |_| viewer.sent() > 10).await;
        rig.go(fault);
        rig.wait_for("the reason", |rig| rig.state() == State::Backoff && rig.reason().contains(word)).await;
        rig.go(Wrong::Nothing);
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
    rig.go(Wrong::Error);
    rig.wait_for("its absence", |rig| rig.state() == State::Absent && rig.reason().contains("plugged in"))
        .await;
    rig.go(Wrong::Nothing);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_encodes_is_passed_on_and_decoded_only_for_the_rest() {
    undisturbed(passed_on_and_decoded).await;
}

async fn passed_on_and_decoded() {
    let rig = Rig::new("h264").await;
    let sinks = [Sink::new(), Sink::new(), Sink::new()];
    let _attendance = rig.camera.attend();
    let [first, late, small] = sinks.each_ref().map(|sink| sink.source.clone());
    let viewer = rig.camera.subscribe(Rendition::Main, Codec::H264, first);
    rig.wait_for("frames", |_| viewer.sent() > 60).await;
    let rendition = |rig: &Rig, index: usize| rig.cameras.list()[0].renditions.get(index).cloned();
    let main = rendition(&rig, 0).unwrap();
    assert_eq!((main.encoder.as_str(), main.width, main.running), ("passthrough", 320, true));
    assert_eq!(main.keyframes, 1, "its next key frame is far away");

    // A joiner has all since the key frame at once, and then each frame.
    let joined = Instant::now();
    let joiner = rig.camera.subscribe(Rendition::Main, Codec::H264, late);
    rig.wait_for("frames for the joiner", |_| joiner.sent() > 5).await;
    assert!(joined.elapsed() < Duration::from_secs(5), "{:?}", joined.elapsed());
    assert_eq!(rig.cameras.list()[0].renditions[0].dropped, 0);

    // One that lost its way is helped without the camera, which is asked all the same.
    let asked = ASKED.load(Ordering::SeqCst);
    joiner.request_keyframe();
    rig.wait_for("the control", |_| ASKED.load(Ordering::SeqCst) > asked).await;

    let sub = rig.camera.subscribe(Rendition::Sub, Codec::H264, small);
    rig.wait_for("frames of sub", |_| sub.sent() > 10).await;
    let status = rendition(&rig, 1).unwrap();
    assert_eq!((status.name, status.width, status.encoder.as_str()), ("sub", 160, "x264enc"));
    drop(sub);
    rig.wait_for("sub to end", |rig| rendition(rig, 1).is_none()).await;
    assert_eq!(rig.state(), State::Live);
    let fanout_shows_slate = || rig.camera.shows_slate(Rendition::Main, Codec::H264);
    rig.go(Wrong::Error);
    rig.wait_for("the reason", |rig| rig.state() == State::Backoff).await;
    rig.wait_for("the slate", |_| fanout_shows_slate()).await;
    let before = viewer.sent();
    rig.go(Wrong::Nothing);
    rig.wait_for("frames again", |rig| {
        rig.state() == State::Live && !fanout_shows_slate() && viewer.sent() > before + 10
    })
    .await;
    assert_eq!(rendition(&rig, 0).unwrap().encoder, "passthrough");

    // Silent and back without a reconnection, it is shown again at once, though its next key frame is far away.
    rig.wait_for("some group", |_| viewer.sent() > before + 40).await;
    rig.go(Wrong::Stall);
    rig.wait_for("the slate", |_| fanout_shows_slate()).await;
    rig.go(Wrong::Nothing);
    let since = Instant::now();
    rig.wait_for("the camera", |_| !fanout_shows_slate()).await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}
