//! Every fault while viewers are connected who decode what comes: of the camera that fails one keeps its connection and
//! sees the slate and then pictures, of another camera one loses no picture.

use super::super::undisturbed::undisturbed;
use super::viewer::{Conduct, Viewer};
use super::*;

const FAULTY: &str = "faulty-watched";
const OTHER: &str = "zz-steady";

/// A test camera, which stamps its pictures.
fn steady(rig: &Rig) -> Camera {
    let settings = CameraSettings {
        wish: Wish { width: 640, height: 360, framerate: 15 },
        // Not the made-up one, which would be the best.
        encoder: EncoderChoice::Named("x264enc".into()),
        ..plain().found_camera(Name::new(OTHER).unwrap(), Source::Test("ball".into()))
    };
    let (encoders, cameras) = (Arc::clone(&rig.encoders), rig.cameras.clone());
    Camera::start(settings, encoders, rig.timeline.clone(), cameras, rig.stop.subscribe()).0
}

/// A connected viewer of one camera, who decodes.
async fn join(port: u16, camera: &str) -> Viewer {
    let conduct = Conduct { decodes: true, camera: Some(camera.into()), ..Conduct::full() };
    Viewer::join(port, "home", conduct).await
}

/// What goes wrong, and what is right again afterwards.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Device(Wrong),
    Encoder(u8, &'static str),
}

impl Fault {
    fn name(self) -> String {
        match self {
            Self::Device(wrong) => format!("device: {wrong:?}"),
            Self::Encoder(_, does) => format!("encoder {does}"),
        }
    }

    fn begin(self, rig: &Rig) {
        match self {
            Self::Device(wrong) => rig.go(wrong),
            Self::Encoder(wrong, _) => ENCODER.store(wrong, Ordering::SeqCst),
        }
    }

    fn end(rig: &Rig) {
        rig.go(Wrong::Nothing);
        ENCODER.store(GOOD, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_every_fault_a_viewer_keeps_its_connection_and_another_cameras_loses_no_picture() {
    undisturbed(every_fault_in_turn).await;
}

async fn every_fault_in_turn() {
    let rig = Rig::with(FAULTY, EncoderChoice::Named("fake".into()), &[templates()]).await;
    ENCODER.store(GOOD, Ordering::SeqCst);
    let other = steady(&rig);
    let port = serve(&rig, &[&other]).await;
    let (viewer, bystander) = (join(port, FAULTY).await, join(port, OTHER).await);
    let (live, slates) = (|| viewer.seen(FAULTY).len(), || viewer.seen(&format!("{FAULTY} slate")).len());
    rig.wait_for("pictures", |_| live() > 10 && bystander.seen(OTHER).len() > 10).await;
    for fault in [
        Fault::Device(Wrong::End),
        Fault::Device(Wrong::Error),
        Fault::Device(Wrong::Stall),
        Fault::Device(Wrong::Caps),
        Fault::Device(Wrong::Busy),
        Fault::Device(Wrong::NoSpace),
        Fault::Device(Wrong::HangsInOpen),
        Fault::Encoder(HANGS, "hangs"),
        Fault::Encoder(SILENT, "emits nothing"),
        Fault::Encoder(BREAKS, "breaks"),
        Fault::Encoder(PROFILE, "makes a wrong profile"),
    ] {
        let what = fault.name();
        let (begun, before, restarts) = (Instant::now(), slates(), listed(&rig, FAULTY).restarts.total());
        fault.begin(&rig);
        if let Fault::Device(Wrong::Caps) = fault {
            // It is opened anew within a second, in its new size; often before a slate is due.
            rig.wait_for("another size", |rig| listed(rig, FAULTY).restarts.total() > restarts).await;
        } else {
            rig.wait_for(&format!("{what}: slates"), |_| slates() > before).await;
        }
        let slate_after = begun.elapsed();
        if slates() > before {
            rig.wait_for(&format!("{what}: more slates"), |_| slates() > before + 4).await;
        }
        let (ended, before) = (Instant::now(), live());
        Fault::end(&rig);
        rig.wait_for(&format!("{what}: pictures"), |_| live() > before).await;
        println!(
            "{what}: decoded: slate after {slate_after:.1?}, live {:.1?} after its end",
            ended.elapsed()
        );
        rig.wait_for(&format!("{what}: more pictures"), |_| live() > before + 20).await;
    }
    assert_eq!((viewer.offers(), bystander.offers()), (1, 1), "one connection through all of it");
    assert_no_picture_lost(&rig, &bystander).await;
    viewer.leave().await;
    bystander.leave().await;
}

/// The camera counts its pictures, modulo 256: a number that is left out is one that its encoder had no room for.
async fn assert_no_picture_lost(rig: &Rig, bystander: &Viewer) {
    let counters: Vec<u8> = bystander.seen(OTHER).iter().map(|seen| seen.counter()).collect();
    let steps = counters.windows(2).map(|pair| u64::from(pair[1].wrapping_sub(pair[0])));
    let left_out: u64 = steps.map(|step| step.wrapping_sub(1) & 0xff).sum();
    // What is listed is a little behind.
    let explained = |rig: &Rig| listed(rig, OTHER).dropped >= left_out;
    rig.wait_for(&format!("{left_out} of {} pictures to be left out", counters.len()), explained).await;
    let other = listed(rig, OTHER);
    println!("{} pictures of the other camera, {left_out} left out: {}", counters.len(), other.dropped);
    assert_eq!((other.restarts.total(), other.renditions[0].dropped), (0, 0), "{other:?}");
    assert_eq!(bystander.seen(&format!("{OTHER} slate")).len(), 0, "it never saw a slate");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_makes_no_key_frames_keeps_nobody_waiting() {
    undisturbed(no_key_frames).await;
}

async fn no_key_frames() {
    let rig = Rig::with("deaf-watched", EncoderChoice::Named("fake".into()), &[templates()]).await;
    ENCODER.store(DEAF, Ordering::SeqCst);
    let other = steady(&rig);
    let port = serve(&rig, &[&other]).await;
    let (first, bystander) = (join(port, "deaf-watched").await, join(port, OTHER).await);
    let seen = |viewer: &Viewer| viewer.seen("deaf-watched").len();
    rig.wait_for("pictures", |_| seen(&first) > 30 && bystander.seen(OTHER).len() > 10).await;
    let keyframes = |rig: &Rig| listed(rig, "deaf-watched").renditions[0].keyframes;
    let joined = Instant::now();
    let late = join(port, "deaf-watched").await;
    rig.wait_for("pictures for who comes late", |_| seen(&late) > 10).await;
    println!("who came late saw it after {:.1?}", joined.elapsed());
    assert_eq!(keyframes(&rig), 1, "the only one there is");
    // A silence short enough that nothing is restarted. On a busy machine it may last longer: then it is tried again.
    let slates = |viewer: &Viewer| viewer.seen("deaf-watched slate").len();
    let mut went_on = false;
    for _ in 0..5 {
        let (restarts, before) = (listed(&rig, "deaf-watched").restarts.total(), slates(&first));
        rig.go(Wrong::Stall);
        rig.wait_for("slates", |_| slates(&first) > before).await;
        rig.go(Wrong::Nothing);
        let (ended, before) = (Instant::now(), (seen(&first), seen(&late)));
        rig.wait_for("both to go on", |_| seen(&first) > before.0 + 10 && seen(&late) > before.1 + 10).await;
        println!("live {:.1?} after a silence", ended.elapsed());
        went_on = listed(&rig, "deaf-watched").restarts.total() == restarts;
        if went_on {
            break;
        }
    }
    assert!(went_on, "it was restarted each time: {:?}", listed(&rig, "deaf-watched"));
    assert_eq!((first.offers(), late.offers(), bystander.offers()), (1, 1, 1), "one connection for each");
    assert_no_picture_lost(&rig, &bystander).await;
    ENCODER.store(GOOD, Ordering::SeqCst);
    for viewer in [first, late, bystander] {
        viewer.leave().await;
    }
}
