//! Faults, one after the other, while somebody watches: the slate comes, the camera comes back, and the viewer's queue
//! and another camera notice nothing. The times that are printed are for reading; load on the machine may lengthen them.

use std::sync::Mutex as StdMutex;
use std::sync::atomic::AtomicU8;

use super::*;

/// What the made-up encoder does wrong.
pub(super) const GOOD: u8 = 0;
const HANGS: u8 = 1;
const SILENT: u8 = 2;
const BREAKS: u8 = 3;
/// It declares another profile than it was asked for.
const PROFILE: u8 = 4;
/// It makes no key frame when asked, and after its first none by itself.
const DEAF: u8 = 5;

pub(super) static ENCODER: AtomicU8 = AtomicU8::new(GOOD);

mod imp {
    use super::*;

    /// x264enc that fails on command.
    #[derive(Default)]
    pub(super) struct FakeEncoder;

    #[glib::object_subclass]
    impl ObjectSubclass for FakeEncoder {
        const NAME: &'static str = "PortaldFakeEncoder";
        type Type = super::FakeEncoder;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for FakeEncoder {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> = std::sync::LazyLock::new(|| {
                ["bitrate", "key-int-max"].map(|name| glib::ParamSpecUInt::builder(name).build()).into()
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, _value: &glib::Value, _spec: &glib::ParamSpec) {}

        fn constructed(&self) {
            self.parent_constructed();
            let keyframes = match ENCODER.load(Ordering::SeqCst) {
                DEAF => "key-int-max=100000 min-force-key-unit-interval=3600000000000",
                _ => "key-int-max=30",
            };
            let launch = format!(
                "x264enc tune=zerolatency speed-preset=ultrafast bitrate=300 {keyframes} threads=1 ! \
                 video/x-h264,profile=constrained-baseline,stream-format=byte-stream ! identity name=last"
            );
            let chain = gst::parse::bin_from_description(&launch, true).unwrap();
            let element = chain.by_name("last").unwrap();
            let pad = element.static_pad("src").unwrap();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| match ENCODER.load(Ordering::SeqCst) {
                PROFILE => {
                    let mut data = info.buffer_mut().unwrap().make_mut().map_writable().unwrap();
                    let sps = data.windows(4).position(|bytes| matches!(bytes, [0, 0, 1, 0x67 | 0x27]));
                    if let Some(sps) = sps {
                        data[sps + 4] = 77; // Main
                    }
                    gst::PadProbeReturn::Ok
                }
                HANGS => {
                    while ENCODER.load(Ordering::SeqCst) == HANGS {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    gst::PadProbeReturn::Drop
                }
                SILENT => gst::PadProbeReturn::Drop,
                BREAKS => {
                    gst::element_error!(
                        element,
                        gst::StreamError::Encode,
                        ("Failed to process frame."),
                        [""]
                    );
                    gst::PadProbeReturn::Drop
                }
                _ => gst::PadProbeReturn::Ok,
            });
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

/// A directory with the made-up encoder's template.
pub(super) fn templates() -> PathBuf {
    gst::init().unwrap();
    gst::Element::register(None, "portaldfakeenc", gst::Rank::NONE, FakeEncoder::static_type()).unwrap();
    let directory = std::env::temp_dir().join(format!("portald-fake-templates-{}", std::process::id()));
    fs::create_dir_all(directory.join("encoder")).unwrap();
    let text = "# about: fails on command\n# element: portaldfakeenc\n# codec: h264\n# rank: 900\n\
                portaldfakeenc bitrate={bitrate_kbit} key-int-max={keyframe_frames} ! h264parse config-interval=-1\n\
                ! video/x-h264,stream-format=byte-stream,alignment=au\n";
    fs::write(directory.join("encoder/fake.pipeline"), text).unwrap();
    directory
}

/// Notes the time stamps that come to a viewer, and that each is later than the one before.
pub(super) struct Watch {
    pub(super) sink: Sink,
    last: Arc<StdMutex<Option<gst::ClockTime>>>,
    backwards: Arc<AtomicU8>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let sink = Sink::new();
        let (last, backwards) = (Arc::new(StdMutex::new(None)), Arc::new(AtomicU8::new(0)));
        let seen = sink.pipeline.by_name("seen").unwrap().static_pad("src").unwrap();
        let (mine, count) = (Arc::clone(&last), Arc::clone(&backwards));
        seen.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let pts = info.buffer().and_then(|buffer| buffer.pts());
            let before = std::mem::replace(&mut *mine.lock().unwrap(), pts);
            if before.is_some() && pts <= before {
                count.fetch_add(1, Ordering::SeqCst);
            }
            gst::PadProbeReturn::Ok
        });
        Self { sink, last, backwards }
    }

    pub(super) fn assert_in_order(&self) {
        assert!(self.last.lock().unwrap().is_some());
        assert_eq!(self.backwards.load(Ordering::SeqCst), 0, "time stamps went backwards");
    }
}

const MAIN: (Rendition, Codec) = (Rendition::Main, Codec::H264);

fn slate(camera: &Camera) -> bool {
    camera.shows_slate(MAIN.0, MAIN.1)
}

/// The camera `name` as the API lists it.
pub(super) fn listed(rig: &Rig, name: &str) -> crate::status::CameraStatus {
    rig.cameras.list().into_iter().find(|camera| camera.name.as_str() == name).unwrap()
}

/// Begins a fault, waits for the slate with `word` in the reason, ends it, and waits for pictures.
async fn through(
    rig: &Rig,
    what: &str,
    word: &str,
    begin: impl FnOnce(),
    end: impl FnOnce(),
    sent: impl Fn() -> u64,
) {
    let begun = Instant::now();
    begin();
    rig.wait_for(&format!("{what}: the slate"), |rig| slate(&rig.camera)).await;
    let slate_after = begun.elapsed();
    let before = sent();
    let told = |rig: &Rig| rig.state() == State::Backoff && rig.reason().contains(word);
    rig.wait_for(&format!("{what}: `{word}`"), told).await;
    rig.wait_for(&format!("{what}: more of the slate"), |_| sent() > before + 3).await;
    let ended = Instant::now();
    end();
    rig.wait_for(&format!("{what}: pictures"), |rig| !slate(&rig.camera) && rig.state() == State::Live).await;
    println!("{what}: slate after {slate_after:.1?}, live {:.1?} after its end", ended.elapsed());
    let before = sent();
    rig.wait_for(&format!("{what}: more pictures"), |_| sent() > before + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_a_slate_through_every_fault_of_a_device_and_another_camera_none() {
    undisturbed(every_fault_of_a_device).await;
}

async fn every_fault_of_a_device() {
    let rig = Rig::new("faulty").await;
    let (first, second) = (Watch::new(), Watch::new());
    let other = rig.another("zz-other");
    let _attendances = [rig.camera.attend(), other.attend()];
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, first.sink.source.clone());
    let bystander = other.subscribe(MAIN.0, MAIN.1, second.sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10 && bystander.sent() > 10).await;
    for (fault, word) in [
        (Wrong::Error, "unplugged"),
        (Wrong::Stall, "no picture for"),
        (Wrong::End, "ended"),
        (Wrong::Busy, "in use by"),
        (Wrong::NoSpace, "no bandwidth left"),
    ] {
        let what = format!("{fault:?}");
        through(&rig, &what, word, || rig.go(fault), || rig.go(Wrong::Nothing), || viewer.sent()).await;
    }
    first.assert_in_order();
    second.assert_in_order();
    let (faulty, other) = (listed(&rig, "faulty"), listed(&rig, "zz-other"));
    for kind in [Kind::Unplugged, Kind::Stalled, Kind::Ended, Kind::Busy, Kind::NoSpace] {
        assert!(faulty.restarts.of(kind) > 0, "{kind:?}: {:?}", faulty.restarts);
    }
    assert_eq!(faulty.restarts.of(Kind::Other), 0, "{:?}", faulty.restarts);
    assert_eq!((other.restarts.total(), other.renditions[0].dropped), (0, 0), "{other:?}");
    // All that was encoded went to the bystander, from its first frame on.
    assert!(bystander.sent() + 1 >= other.renditions[0].frames, "{} of {other:?}", bystander.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_hangs_in_open_holds_up_nobody_and_is_asked_once() {
    undisturbed(hangs_in_open).await;
}

async fn hangs_in_open() {
    let rig = Rig::new("hanging").await;
    let (first, second) = (Watch::new(), Watch::new());
    let other = rig.another("zz-free");
    let _attendances = [rig.camera.attend(), other.attend()];
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, first.sink.source.clone());
    let bystander = other.subscribe(MAIN.0, MAIN.1, second.sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10 && bystander.sent() > 10).await;
    let before = bystander.sent();
    let begin = || rig.go(Wrong::HangsInOpen);
    through(&rig, "hangs in open", "did not return", begin, || rig.go(Wrong::Nothing), || viewer.sent())
        .await;
    assert!(bystander.sent() > before + 100, "the other camera went on");
    assert!(listed(&rig, "hanging").restarts.of(Kind::Hung) > 0);
    let free = listed(&rig, "zz-free");
    assert_eq!(free.restarts.total(), 0, "{free:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_in_mid_stream_is_survived() {
    let rig = Rig::new("resized").await;
    let watch = Watch::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, watch.sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10).await;
    rig.go(Wrong::Caps);
    rig.wait_for("the fault", |rig| listed(rig, "resized").restarts.total() > 0).await;
    rig.go(Wrong::Nothing);
    let before = viewer.sent();
    rig.wait_for("pictures", |rig| {
        !slate(&rig.camera) && rig.state() == State::Live && viewer.sent() > before + 10
    })
    .await;
    watch.assert_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_hangs_is_silent_breaks_or_changes_profile_is_replaced_by_a_slate_until_it_works() {
    let rig = Rig::with("coded", EncoderChoice::Named("fake".into()), &[templates()]).await;
    ENCODER.store(GOOD, Ordering::SeqCst);
    let watch = Watch::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, watch.sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10).await;
    for (fault, what, word) in [
        (HANGS, "encoder hangs", "the encoder gave nothing"),
        (SILENT, "encoder is silent", "the encoder gave nothing"),
        (BREAKS, "encoder breaks", "Failed to process frame"),
        (PROFILE, "encoder changes its profile", "its profile is 77"),
    ] {
        let begin = || ENCODER.store(fault, Ordering::SeqCst);
        let end = || ENCODER.store(GOOD, Ordering::SeqCst);
        through(&rig, what, word, begin, end, || viewer.sent()).await;
    }
    watch.assert_in_order();
    assert!(listed(&rig, "coded").restarts.of(Kind::Encoder) >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_live_when_who_watches_sees_it_and_not_before() {
    let rig = Rig::with("unseen", EncoderChoice::Named("fake".into()), &[templates()]).await;
    ENCODER.store(SILENT, Ordering::SeqCst);
    let watch = Watch::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, watch.sink.source.clone());
    rig.wait_for("the slate", |rig| slate(&rig.camera)).await;
    // The device gives pictures, and the encoder none of them.
    rig.wait_for("the encoder's failure", |rig| rig.state() == State::Backoff).await;
    let events = rig.cameras.events().list();
    assert!(events.iter().all(|event| event.state != State::Live), "{events:?}");
    ENCODER.store(GOOD, Ordering::SeqCst);
    rig.wait_for("pictures", |rig| rig.state() == State::Live && !slate(&rig.camera)).await;
    assert!(viewer.sent() > 0);

    // It falls silent: as long as all see the slate, they are told nothing else.
    ENCODER.store(SILENT, Ordering::SeqCst);
    rig.wait_for("the slate again", |rig| slate(&rig.camera)).await;
    rig.wait_for("the truth", |rig| rig.state() == State::Stalled || rig.state() == State::Backoff).await;
    ENCODER.store(GOOD, Ordering::SeqCst);
    rig.wait_for("pictures again", |rig| rig.state() == State::Live && !slate(&rig.camera)).await;

    // Nobody's camera is live when its device gives pictures.
    drop(viewer);
    ENCODER.store(SILENT, Ordering::SeqCst);
    let late = Watch::new();
    let viewer = rig.camera.subscribe(Rendition::Sub, MAIN.1, late.sink.source.clone());
    rig.wait_for("the other rendition's slate", |rig| rig.camera.shows_slate(Rendition::Sub, MAIN.1)).await;
    rig.wait_for("the truth", |rig| rig.state() != State::Live).await;
    drop(viewer);
    rig.wait_for("what the device says", |rig| rig.state() == State::Live).await;
    ENCODER.store(GOOD, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_breaks_gives_way_to_the_next_best() {
    let rig = Rig::with("next", EncoderChoice::Auto, &[templates()]).await;
    ENCODER.store(GOOD, Ordering::SeqCst);
    let watch = Watch::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, watch.sink.source.clone());
    let by = |rig: &Rig| listed(rig, "next").renditions.first().map(|main| main.encoder.clone());
    rig.wait_for("frames", |rig| viewer.sent() > 10 && by(rig).as_deref() == Some("fake")).await;
    ENCODER.store(BREAKS, Ordering::SeqCst);
    rig.wait_for("the next best", |rig| by(rig).as_deref() == Some("x264enc")).await;
    let before = viewer.sent();
    rig.wait_for("its frames", |rig| viewer.sent() > before + 10 && !slate(&rig.camera)).await;
    watch.assert_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_to_a_camera_that_is_not_there_gets_a_slate_in_either_codec_and_size() {
    let rig = Rig::new("absent").await;
    fs::remove_file(&rig.path).unwrap();
    let _attendance = rig.camera.attend();
    rig.wait_for("its absence", |rig| rig.state() == State::Absent).await;
    let kinds = [
        (Rendition::Main, Codec::H264),
        (Rendition::Sub, Codec::H264),
        (Rendition::Main, Codec::Vp8),
        (Rendition::Sub, Codec::Vp8),
    ];
    let begun = Instant::now();
    let watches = kinds.map(|_| Watch::new());
    let viewers: Vec<_> = (kinds.iter().zip(&watches))
        .map(|((rendition, codec), watch)| {
            rig.camera.subscribe(*rendition, *codec, watch.sink.source.clone())
        })
        .collect();
    rig.wait_for("slates", |_| viewers.iter().all(|viewer| viewer.sent() > 0)).await;
    println!("slates for who comes: after {:.1?}", begun.elapsed());
    rig.wait_for("more", |_| viewers.iter().all(|viewer| viewer.sent() > 8)).await;
    for ((rendition, codec), watch) in kinds.iter().zip(&watches) {
        let caps = watch.sink.source.caps().unwrap();
        let structure = caps.structure(0).unwrap();
        let width = if *rendition == Rendition::Main { 320 } else { 160 };
        let name = if *codec == Codec::H264 { "video/x-h264" } else { "video/x-vp8" };
        assert_eq!((structure.name().as_str(), structure.get::<i32>("width")), (name, Ok(width)), "{caps}");
        watch.assert_in_order();
    }
    fs::write(&rig.path, "").unwrap();
    let plugged = Instant::now();
    let live = |rig: &Rig| kinds.iter().all(|(rendition, codec)| !rig.camera.shows_slate(*rendition, *codec));
    rig.wait_for("pictures in all of them", |rig| rig.state() == State::Live && live(rig)).await;
    println!("live {:.1?} after the plugging in", plugged.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_slate_is_made_for_nobody() {
    let rig = Rig::new("lonely").await;
    fs::remove_file(&rig.path).unwrap();
    rig.wait_for("its absence", |rig| rig.state() == State::Absent).await;
    let watch = Watch::new();
    {
        let _attendance = rig.camera.attend();
        let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, watch.sink.source.clone());
        rig.wait_for("a slate", |_| viewer.sent() > 2).await;
    }
    // The pipeline's thread ends with it; GLib keeps idle ones, so the fan-out is asked.
    rig.wait_for("the slate's end", |rig| !slate(&rig.camera)).await;
}

/// A receiving webrtcbin, as the integration tests have it.
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used)]
#[path = "../../../tests/it/viewer.rs"]
pub(super) mod viewer;

mod watched;

/// Publishes the rig's camera and `others` in a room, and returns the port of its server.
pub(super) async fn serve(rig: &Rig, others: &[&Camera]) -> u16 {
    use crate::hub::Hub;
    use crate::proto::ids::RoomMode;
    use crate::proto::room::{Limits, Rooms};
    use crate::server::{self, Site};
    let home = Name::new("home").unwrap();
    let mut rooms = Rooms::new(Limits::default());
    rooms.add_room(home.clone(), RoomMode::Wall).unwrap();
    let (hub, _) = Hub::spawn(rooms);
    let places = crate::places::Places::default();
    for camera in others.iter().copied().chain([&rig.camera]) {
        let venue = crate::link::Venue::Room(hub.clone(), home.clone());
        let stop = rig.stop.subscribe();
        tokio::spawn(crate::publisher::run(camera.clone(), venue, places.clone(), stop));
    }
    let listeners = server::bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let port = listeners[0].local_addr().unwrap().port();
    tokio::spawn(server::serve(listeners, Site::new(hub, rig.cameras.clone()), rig.stop.subscribe()));
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_viewer_keeps_its_connection_and_decodes_slates_and_pictures_in_turn() {
    for no_h264 in [false, true] {
        let rig = Rig::new("watched").await;
        let port = serve(&rig, &[]).await;
        // A busy machine's link looks like a bad one, which would be given the small pictures.
        let quality = Some("main");
        let conduct = viewer::Conduct { decodes: true, no_h264, quality, ..viewer::Conduct::default() };
        let viewer = viewer::Viewer::join(port, "home", conduct).await;
        let (live, slates) = (|| viewer.seen("watched").len(), || viewer.seen("watched slate").len());
        rig.wait_for("pictures", |_| live() > 10).await;
        for fault in [Wrong::End, Wrong::Stall, Wrong::Busy] {
            let (what, before) = (format!("{fault:?}, VP8 {no_h264}"), slates());
            let begun = Instant::now();
            rig.go(fault);
            rig.wait_for(&format!("{what}: slates"), |_| slates() > before).await;
            let slate_after = begun.elapsed();
            rig.wait_for(&format!("{what}: more slates"), |_| slates() > before + 8).await;
            let (ended, before) = (Instant::now(), live());
            rig.go(Wrong::Nothing);
            rig.wait_for(&format!("{what}: pictures"), |_| live() > before).await;
            println!(
                "{what}: decoded: slate after {slate_after:.1?}, live {:.1?} after its end",
                ended.elapsed()
            );
            rig.wait_for(&format!("{what}: more pictures"), |_| live() > before + 20).await;
        }
        assert_eq!(viewer.offers(), 1, "one connection through all of it");
        let size = |seen: &[viewer::Seen]| seen.iter().all(|seen| (seen.width, seen.height) == (320, 240));
        assert!(size(&viewer.seen("watched")) && size(&viewer.seen("watched slate")));
        let told = viewer.conditions.lock().unwrap().clone();
        assert!(
            told.iter().any(|(_, state, why)| state == "backoff" && why.contains("in use by")),
            "{told:?}"
        );
        viewer.leave().await;
    }
}
