//! A camera that is changed while somebody watches: other rates, off and on again.

use super::faults::{ENCODER, GOOD, Watch, listed, serve, templates, viewer};
use super::*;
use crate::control::{Change, Refusal, SubChange};

const MAIN: (Rendition, Codec) = (Rendition::Main, Codec::H264);
const SUB: (Rendition, Codec) = (Rendition::Sub, Codec::H264);

fn switch(camera: &Camera, enabled: bool) {
    change(camera, Change { enabled: Some(enabled), ..Change::default() }).unwrap();
}

fn rates(main: Option<i64>, sub: Option<i64>) -> Change {
    Change { enabled: None, bitrate: main, sub: SubChange { bitrate: sub } }
}

fn change(camera: &Camera, change: Change) -> Result<(), Refusal> {
    camera.steered().upgrade().expect("it runs").change(&change)
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_reach_running_encoders_and_those_that_start_later() {
    undisturbed(rates_reach_encoders).await;
}

async fn rates_reach_encoders() {
    let rig = Rig::new("rated").await;
    let watches = [Watch::new(), Watch::new()];
    let _attendance = rig.camera.attend();
    let main = rig.camera.subscribe(MAIN.0, MAIN.1, watches[0].sink.source.clone());
    rig.wait_for("frames", |_| main.sent() > 10).await;
    assert_eq!(listed(&rig, "rated").renditions[0].bitrate, 2000);
    change(&rig.camera, rates(Some(700), Some(150))).unwrap();
    assert_eq!(listed(&rig, "rated").wishes.bitrate, 700, "the table has it at once");
    rig.wait_for("the rate", |rig| listed(rig, "rated").renditions[0].bitrate == 700).await;
    let sub = rig.camera.subscribe(SUB.0, SUB.1, watches[1].sink.source.clone());
    rig.wait_for("frames of sub", |_| sub.sent() > 10).await;
    let status = listed(&rig, "rated");
    assert_eq!(status.renditions.iter().map(|one| one.bitrate).collect::<Vec<_>>(), [700, 150]);
    assert_eq!((status.restarts.total(), status.renditions[0].dropped), (0, 0), "{status:?}");
    // All that was encoded went to the viewer, from its first frame on: nothing was left out for the new rate.
    assert!(main.sent() + 1 >= status.renditions[0].frames, "{} of {status:?}", main.sent());
    // A refused change changes nothing.
    let refusal = change(&rig.camera, Change { enabled: Some(false), ..rates(Some(700), Some(7)) });
    assert_eq!(refusal, Err(Refusal::OutOfRange { key: "sub.bitrate", found: 7 }));
    assert_eq!(listed(&rig, "rated").wishes, status.wishes);
    for watch in &watches {
        watch.assert_in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_whose_template_knows_no_other_rate_is_started_again_behind_the_same_viewer() {
    undisturbed(started_again).await;
}

async fn started_again() {
    let rig = Rig::with("stubborn", EncoderChoice::Named("fake".into()), &[templates()]).await;
    ENCODER.store(GOOD, Ordering::SeqCst);
    let watch = Watch::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, watch.sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10).await;
    let keyframes = listed(&rig, "stubborn").renditions[0].keyframes;
    change(&rig.camera, rates(Some(900), None)).unwrap();
    rig.wait_for("the rate", |rig| {
        listed(rig, "stubborn").renditions.first().is_some_and(|main| main.bitrate == 900 && main.running)
    })
    .await;
    rig.wait_for("a new beginning", |rig| listed(rig, "stubborn").renditions[0].keyframes > keyframes).await;
    let before = viewer.sent();
    rig.wait_for("frames", |_| viewer.sent() > before + 10).await;
    assert_eq!(listed(&rig, "stubborn").restarts.total(), 0, "it is no fault");
    watch.assert_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_what_is_passed_on_is_the_camera_s_and_that_of_sub_ours() {
    let rig = Rig::new("h264-rated").await;
    rig.wait_for("what the device sends to be known", |rig| {
        change(&rig.camera, rates(Some(2000), None)).is_err() && rig.state() == State::Idle
    })
    .await;
    let watches = [Watch::new(), Watch::new()];
    let _attendance = rig.camera.attend();
    let main = rig.camera.subscribe(MAIN.0, MAIN.1, watches[0].sink.source.clone());
    let sub = rig.camera.subscribe(SUB.0, SUB.1, watches[1].sink.source.clone());
    rig.wait_for("frames", |_| main.sent() > 10 && sub.sent() > 10).await;
    let wishes = listed(&rig, "h264-rated").wishes;
    let refusal = change(&rig.camera, rates(Some(1000), Some(200))).unwrap_err();
    assert!(refusal.to_string().contains("[camera.h264-rated]"), "{refusal}");
    assert_eq!(listed(&rig, "h264-rated").wishes, wishes, "all or nothing");
    change(&rig.camera, rates(None, Some(200))).unwrap();
    rig.wait_for("the rate", |rig| listed(rig, "h264-rated").renditions[1].bitrate == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_viewer_sees_the_slate_of_a_camera_switched_off_and_pictures_when_it_is_on_again() {
    undisturbed(off_and_on_again).await;
}

async fn off_and_on_again() {
    let rig = Rig::new("switched").await;
    let port = serve(&rig, &[]).await;
    let conduct = viewer::Conduct { decodes: true, ..viewer::Conduct::full() };
    let viewer = viewer::Viewer::join(port, "home", conduct).await;
    let (live, slates) = (|| viewer.seen("switched").len(), || viewer.seen("switched slate").len());
    rig.wait_for("pictures", |_| live() > 10).await;
    for round in 0..2 {
        switch(&rig.camera, false);
        assert_eq!(rig.state(), State::Disabled, "at once");
        assert!(rig.reason().contains("administrator"), "{}", rig.reason());
        let before = slates();
        rig.wait_for("slates", |_| slates() > before + 8).await;
        rig.wait_for("the device to be closed", |rig| rig.cameras.list()[0].renditions.is_empty()).await;
        assert_eq!(rig.state(), State::Disabled, "nothing that closes says otherwise");
        if round == 1 {
            // A device that fails meanwhile is no news, nor its end.
            rig.go(Wrong::Busy);
            fs::remove_file(&rig.path).unwrap();
            fs::write(&rig.path, "").unwrap();
            let before = slates();
            rig.wait_for("more slates", |_| slates() > before + 8).await;
            assert_eq!(rig.state(), State::Disabled);
            rig.go(Wrong::Nothing);
        }
        let before = live();
        switch(&rig.camera, true);
        rig.wait_for("pictures again", |rig| live() > before + 20 && rig.state() == State::Live).await;
    }
    assert_eq!(viewer.offers(), 1, "one connection through all of it");
    assert_eq!(rig.cameras.list()[0].restarts.total(), 0);
    let told = viewer.conditions.lock().unwrap().clone();
    assert!(told.iter().any(|(_, state, why)| state == "disabled" && why.contains("PATCH")), "{told:?}");
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_camera_can_be_switched_off_and_is_not_tried_until_it_is_on() {
    let rig = Rig::new("failing").await;
    let sink = Sink::new();
    let _attendance = rig.camera.attend();
    let viewer = rig.camera.subscribe(MAIN.0, MAIN.1, sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10).await;
    rig.go(Wrong::Busy);
    rig.wait_for("a failure", |rig| rig.state() == State::Backoff).await;
    switch(&rig.camera, false);
    switch(&rig.camera, false);
    let restarts = listed(&rig, "failing").restarts.total();
    let before = viewer.sent();
    rig.wait_for("its slate", |_| viewer.sent() > before + 12).await; // 3 s: it would have been tried again
    assert!(listed(&rig, "failing").restarts.total() <= restarts + 1, "one try may have been under way");
    assert_eq!(rig.state(), State::Disabled);
    rig.go(Wrong::Nothing);
    switch(&rig.camera, true);
    let before = viewer.sent();
    rig.wait_for("frames again", |rig| rig.state() == State::Live && viewer.sent() > before + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_the_configuration_leaves_out_can_be_switched_on() {
    let rig = Rig::new("zz-first").await;
    let settings = CameraSettings {
        wish: Wish { width: 320, height: 240, framerate: 30 },
        enabled: false,
        ..plain().found_camera(Name::new("left-out").unwrap(), Source::Test("ball".into()))
    };
    let (camera, task) = Camera::start(
        settings,
        Arc::clone(&rig.encoders),
        rig.timeline.clone(),
        rig.cameras.clone(),
        rig.stop.subscribe(),
    );
    let off = listed(&rig, "left-out");
    assert_eq!((off.state, off.wishes.enabled), (State::Disabled, false));
    let waiting = tokio::spawn({
        let (camera, stop) = (camera.clone(), rig.stop.subscribe());
        async move { camera.switched_on(stop).await }
    });
    switch(&camera, true);
    assert!(waiting.await.unwrap());
    let sink = Sink::new();
    let _attendance = camera.attend();
    let viewer = camera.subscribe(MAIN.0, MAIN.1, sink.source.clone());
    rig.wait_for("frames", |_| viewer.sent() > 10).await;
    // Off at the end, it ends all the same.
    switch(&camera, false);
    rig.stop.send(true).unwrap();
    tokio::time::timeout(LIMIT, task).await.expect("it ends").unwrap();
    assert!(!camera.switched_on(rig.stop.subscribe()).await);
}
