//! Three cameras on a chip that can encode one and a half: a made-up encoder under the name of the Raspberry Pi's.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_app as gst_app;
use portald::budget::Picture;
use portald::config::settings::{Camera as CameraSettings, Settings};
use portald::config::{self, Source, Wish};
use portald::media::Timeline;
use portald::media::camera::Camera;
use portald::media::encoders::{Encoders, Prover};
use portald::media::plan::Rendition;
use portald::proto::ids::Name;
use portald::proto::negotiation::Codec;
use portald::status::{Cameras, RenditionStatus};
use portald::template::Templates;
use tokio::sync::watch;

use super::undisturbed::undisturbed;

/// Long enough for anything that ends well on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const WISH: Picture = Picture { width: 640, height: 360, framerate: (30, 1) };

mod imp {
    use super::*;

    /// x264enc with the properties that a template gives v4l2h264enc.
    #[derive(Default)]
    pub(super) struct FakeEncoder;

    #[glib::object_subclass]
    impl ObjectSubclass for FakeEncoder {
        const NAME: &'static str = "PortaldFakeV4l2H264Enc";
        type Type = super::FakeEncoder;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for FakeEncoder {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> = std::sync::LazyLock::new(|| {
                vec![glib::ParamSpecBoxed::builder::<gst::Structure>("extra-controls").build()]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, _value: &glib::Value, _spec: &glib::ParamSpec) {}

        fn constructed(&self) {
            self.parent_constructed();
            let launch = "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=30 ! \
                          video/x-h264,profile=constrained-baseline ! identity";
            let chain = gst::parse::bin_from_description(launch, true).unwrap();
            let bin = self.obj();
            bin.add(&chain).unwrap();
            for name in ["sink", "src"] {
                let ghost = gst::GhostPad::with_target(&chain.static_pad(name).unwrap()).unwrap();
                bin.add_pad(&ghost).unwrap();
            }
        }
    }

    impl GstObjectImpl for FakeEncoder {}
    impl ElementImpl for FakeEncoder {}
    impl BinImpl for FakeEncoder {}
}

glib::wrapper! {
    struct FakeEncoder(ObjectSubclass<imp::FakeEncoder>) @extends gst::Bin, gst::Element, gst::Object;
}

/// A directory with a template that says what the made-up chip can do.
fn templates(test: &str, budget: f64) -> PathBuf {
    gst::Element::register(None, "v4l2h264enc", gst::Rank::NONE, FakeEncoder::static_type()).unwrap();
    let directory = std::env::temp_dir().join(format!("portald-admission-{test}-{}", std::process::id()));
    fs::create_dir_all(directory.join("encoder")).unwrap();
    let text = format!(
        "# about: a small chip\n# element: v4l2h264enc\n# codec: h264\n# rank: 400\n# budget: {budget:.0}\n\
         v4l2h264enc extra-controls=\"controls,video_bitrate={{bitrate_bit}},h264_i_frame_period={{keyframe_frames}}\"\n\
         ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au\n"
    );
    fs::write(directory.join("encoder/v4l2h264enc.pipeline"), text).unwrap();
    directory
}

/// Who watches: time stamps and sizes of what comes, decoded.
struct Watcher {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    seen: Arc<StdMutex<Vec<(gst::ClockTime, i32, i32)>>>,
}

impl Watcher {
    fn new() -> Self {
        let decoder =
            ["avdec_h264", "openh264dec"].into_iter().find(|name| gst::ElementFactory::find(name).is_some());
        let launch = format!(
            "appsrc name=in is-live=true format=time ! h264parse ! {} ! appsink name=out sync=false async=false",
            decoder.expect("a decoder for H.264 is installed")
        );
        let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        let (source, sink) = (pipeline.by_name("in").unwrap(), pipeline.by_name("out").unwrap());
        let seen: Arc<StdMutex<Vec<_>>> = Arc::default();
        let notes = Arc::clone(&seen);
        let new_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let caps = sample.caps().unwrap().structure(0).unwrap();
            let side = |name| caps.get::<i32>(name).unwrap();
            let pts = sample.buffer().unwrap().pts().unwrap();
            notes.lock().unwrap().push((pts, side("width"), side("height")));
            Ok(gst::FlowSuccess::Ok)
        };
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build();
        sink.downcast::<gst_app::AppSink>().unwrap().set_callbacks(callbacks);
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, source: source.downcast().unwrap(), seen }
    }

    /// Sizes of the last 20 pictures, and the shortest time between two: load may lose pictures, and adds none.
    fn last(&self) -> Option<(i32, i32, f64)> {
        let seen = self.seen.lock().unwrap();
        let last = seen.get(seen.len().checked_sub(20)?..)?;
        let (_, width, height) = last[0];
        let is_one = last.iter().all(|(_, w, h)| (*w, *h) == (width, height));
        let shortest = last.windows(2).map(|two| two[1].0.saturating_sub(two[0].0)).min()?;
        is_one.then(|| (width, height, shortest.mseconds() as f64))
    }

    /// Whether pictures of this size come at this rate, and not faster.
    fn sees(&self, width: i32, height: i32, fps: f64) -> bool {
        let between = 1000.0 / fps;
        self.last().is_some_and(|(w, h, shortest)| {
            (w, h) == (width, height) && (shortest - between).abs() < between * 0.2
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

struct Rig {
    cameras: Cameras,
    all: Vec<Camera>,
    _stop: watch::Sender<bool>,
}

impl Rig {
    fn start(names: [&str; 3], budget: f64) -> Self {
        gst::init().unwrap();
        let templates = Arc::new(Templates::load(&[templates(names[0], budget)]).unwrap());
        let encoders = Arc::new(Encoders::new(templates, Prover::Nobody, None));
        encoders.admission().order(names.map(|name| Name::new(name).unwrap()));
        let (timeline, cameras) = (Timeline::start().unwrap(), Cameras::new());
        let (stop, stopping) = watch::channel(false);
        let settings: Settings = config::from_bytes(PathBuf::new(), Vec::new(), []).unwrap();
        let start = |name| {
            let source = Source::Test("smpte".into());
            let wish = Wish { width: WISH.width, height: WISH.height, framerate: WISH.framerate.0 };
            let camera = CameraSettings { wish, ..settings.found_camera(Name::new(name).unwrap(), source) };
            Camera::start(camera, Arc::clone(&encoders), timeline.clone(), cameras.clone(), stopping.clone())
                .0
        };
        let all = names.map(start).into();
        Self { all, cameras, _stop: stop }
    }

    /// The main rendition of a camera, as the API shows it.
    fn main(&self, index: usize) -> Option<RenditionStatus> {
        let status = self.cameras.get(&self.all[index].settings().name)?;
        status.renditions.into_iter().find(|rendition| rendition.name == "main")
    }

    async fn wait_for(&self, what: &str, met: impl Fn(&Self) -> bool) {
        let until = Instant::now() + LIMIT;
        while !met(self) {
            assert!(Instant::now() < until, "waited in vain for {what}: {:#?}", self.cameras.list());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Another camera's viewer costs the third its rate and then its size; when it leaves, all is as before.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_in_the_configuration_loses_rate_then_size_and_gets_both_back() {
    undisturbed(rate_then_size_and_back).await;
}

async fn rate_then_size_and_back() {
    let full = WISH.samples();
    let rig = Rig::start(["first", "second", "third"], 2.0 * full + 0.2 * full);
    let watchers = [Watcher::new(), Watcher::new(), Watcher::new()];
    let watch = |index: usize| {
        let camera = &rig.all[index];
        (camera.attend(), camera.subscribe(Rendition::Main, Codec::H264, watchers[index].source.clone()))
    };
    let made =
        |rig: &Rig, index: usize| rig.main(index).map(|main| (main.width, main.height, main.framerate));

    // Whoever comes first: alone the last gets all it wishes.
    let _third = watch(2);
    rig.wait_for("all of the third", |_| watchers[2].sees(640, 360, 30.0)).await;
    let main = rig.main(2).unwrap();
    assert_eq!((main.encoder.as_str(), main.degraded), ("v4l2h264enc", None));
    let _second = watch(1);
    rig.wait_for("all of the second", |_| watchers[1].sees(640, 360, 30.0)).await;
    assert_eq!(made(&rig, 2), Some((640, 360, 30.0)), "there is room for two");

    // A fifth of the pixels is left: a third of the rate, and then less than the size.
    let first = watch(0);
    rig.wait_for("all of the first", |_| watchers[0].sees(640, 360, 30.0)).await;
    rig.wait_for("less of the third", |_| watchers[2].sees(480, 270, 10.0)).await;
    assert_eq!((made(&rig, 1), made(&rig, 2)), (Some((640, 360, 30.0)), Some((480, 270, 10.0))));
    let why = rig.main(2).unwrap().degraded.unwrap();
    assert!(
        why.starts_with("480x270 at 10 fps instead of 640x360 at 30 fps: no more is left of the"),
        "{why}"
    );
    assert!(why.contains("a second of v4l2h264enc") && rig.main(0).unwrap().degraded.is_none(), "{why}");

    drop(first);
    rig.wait_for("all of the third", |_| watchers[2].sees(640, 360, 30.0)).await;
    rig.wait_for("no word of it", |rig| rig.main(2).is_some_and(|main| main.degraded.is_none())).await;
    assert!(rig.cameras.list().iter().all(|camera| camera.restarts.total() == 0), "{:?}", rig.cameras.list());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_little_room_only_the_rate_is_lowered() {
    let rig = Rig::start(["one", "two", "three"], 2.55 * WISH.samples());
    let watchers = [Watcher::new(), Watcher::new(), Watcher::new()];
    let _all: Vec<_> = (rig.all.iter().zip(&watchers))
        .map(|(camera, watcher)| {
            (camera.attend(), camera.subscribe(Rendition::Main, Codec::H264, watcher.source.clone()))
        })
        .collect();
    rig.wait_for("half the rate", |_| watchers[2].sees(640, 360, 15.0)).await;
    rig.wait_for("all of the others", |_| watchers[..2].iter().all(|w| w.sees(640, 360, 30.0))).await;
    assert_eq!(rig.main(2).map(|main| main.framerate), Some(15.0));
}
