//! Cameras through the real daemon and a receiving webrtcbin: the pictures, one encoder for all, every rendition.

use gstreamer as gst;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::daemon::{Daemon, LIMIT};
use super::undisturbed::undisturbed;
use super::viewer::{Conduct, Seen, Viewer};

/// Two small cameras: encoding them leaves the machine time for the viewers.
const TWO: &str = r#"
[camera.one]
title = "One"
source = "test:ball"
width = 640
height = 360
framerate = 15
bitrate = 500
[camera.one.sub]
width = 320
bitrate = 150
[camera.two]
source = "test:smpte"
width = 640
height = 360
framerate = 15
bitrate = 500
"#;

/// CRC-8 (polynomial 0x07) of a camera's name, by the long way round.
pub(crate) fn identity(name: &str) -> u8 {
    let mut crc = 0u8;
    for byte in name.bytes() {
        crc ^= byte;
        for _ in 0..8 {
            crc = if crc & 0x80 != 0 { (crc << 1) ^ 0x07 } else { crc << 1 };
        }
    }
    crc
}

fn sizes(seen: &[Seen]) -> Vec<(u32, u32)> {
    let mut sizes: Vec<_> = seen.iter().map(|picture| (picture.width, picture.height)).collect();
    sizes.dedup();
    sizes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_moving_pictures_of_the_right_camera_at_the_right_size() {
    gst::init().unwrap();
    let daemon = Daemon::start(TWO).await;
    let mut viewer = Viewer::join(daemon.port, "home", Conduct { decodes: true, ..Conduct::full() }).await;
    timeout(LIMIT, async {
        while viewer.seen("one").len() < 30 || viewer.seen("two").len() < 30 {
            viewer.pictures(1).await;
        }
    })
    .await
    .expect("pictures of both cameras");
    for camera in ["one", "two"] {
        let seen = viewer.seen(camera);
        assert_eq!(sizes(&seen), [(640, 360)], "{camera}");
        assert!(
            seen.iter().all(|picture| picture.identity() == identity(camera)),
            "{camera} shows another camera"
        );
        let moves = seen.windows(2).filter(|two| two[0].counter() != two[1].counter()).count();
        assert_eq!(moves, seen.len() - 1, "{camera}: every picture is a new one");
    }
    let told = viewer.conditions.lock().unwrap().clone();
    assert!(told.iter().any(|(from, state, _)| from == "!one" && state == "live"), "{told:?}");
    viewer.leave().await;
}

/// The value of a line of `/metrics`; none when there is no such line.
async fn metric(daemon: &Daemon, line: &str) -> Option<f64> {
    let (_, page) = daemon.get("/metrics").await.expect("the API answers");
    page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_counted_from_its_begin_to_its_first_frame_and_its_end() {
    gst::init().unwrap();
    let mut daemon = Daemon::start(TWO).await;
    assert_eq!(metric(&daemon, "portald_first_frame_seconds_count").await, Some(0.0));
    let conduct = Conduct { camera: Some("one".into()), ..Conduct::default() };
    let begun = Instant::now();
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(1)).await.expect("pictures");
    let counted =
        async |daemon: &Daemon| metric(daemon, "portald_first_frame_seconds_count").await == Some(1.0);
    daemon.wait_for("the first frame to be counted", counted).await;
    let took = begun.elapsed().as_secs_f64();
    let sum = metric(&daemon, "portald_first_frame_seconds_sum").await.unwrap();
    assert!(sum > 0.01 && sum < took, "{sum} of {took}");
    assert_eq!(metric(&daemon, "portald_first_frame_seconds_bucket{le=\"+Inf\"}").await, Some(1.0));
    assert_eq!(metric(&daemon, "portald_sessions{state=\"live\"}").await, Some(1.0));
    assert_eq!(metric(&daemon, "portald_session_events_lost_total").await, Some(0.0));
    let frames = "portald_rendition_frames_total{camera=\"one\",rendition=\"main\",codec=\"H264\"}";
    daemon
        .wait_for("frames", async |daemon: &Daemon| metric(daemon, frames).await.is_some_and(|n| n > 0.0))
        .await;
    viewer.leave().await;
    let left = async |daemon: &Daemon| {
        metric(daemon, "portald_sessions_ended_total{reason=\"left\"}").await.is_some_and(|n| n >= 1.0)
            && metric(daemon, "portald_sessions{state=\"live\"}").await == Some(0.0)
    };
    daemon.wait_for("its end", left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_without_h264_gets_vp8_from_an_encoder_that_runs_only_for_it() {
    gst::init().unwrap();
    let mut daemon = Daemon::start(TWO).await;
    let conduct = Conduct { decodes: true, no_h264: true, camera: Some("one".into()), ..Conduct::full() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(20)).await.expect("pictures");
    assert!(viewer.seen("one").iter().all(|picture| picture.identity() == identity("one")));
    let renditions = daemon.camera("one").await["renditions"].clone();
    let running: Vec<_> =
        renditions.as_array().unwrap().iter().map(|r| r["codec"].as_str().unwrap()).collect();
    assert_eq!(running, ["VP8"], "{renditions}");
    viewer.leave().await;
    daemon.wait_state("one", "idle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quality_changes_the_rendition_on_the_same_connection() {
    gst::init().unwrap();
    let daemon = Daemon::start(TWO).await;
    let conduct = Conduct { decodes: true, camera: Some("one".into()), ..Conduct::full() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(10)).await.expect("pictures");
    for (quality, width) in [("sub", 320), ("main", 640)] {
        viewer.send(&serde_json::json!({"type": "quality", "quality": quality, "target": "!one"}));
        timeout(LIMIT, async {
            while viewer.seen("one").last().is_none_or(|picture| picture.width != width) {
                viewer.pictures(1).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{quality} is {width} wide: {:?}", sizes(&viewer.seen("one"))));
    }
    assert_eq!(sizes(&viewer.seen("one")), [(640, 360), (320, 180), (640, 360)]);
    assert_eq!(viewer.offers(), 1, "no renegotiation");
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_viewers_share_one_encoder_and_none_leave_it_idle() {
    gst::init().unwrap();
    let mut daemon = Daemon::start(TWO).await;
    let conduct = Conduct { camera: Some("one".into()), ..Conduct::full() };
    let (mut viewers, mut encoding) = (Vec::new(), None);
    for wanted in [1, 8, 32] {
        while viewers.len() < wanted {
            viewers.push(Viewer::join(daemon.port, "home", conduct.clone()).await);
        }
        for viewer in &mut viewers {
            timeout(LIMIT, viewer.pictures(5)).await.expect("every viewer gets pictures");
        }
        // Camera `two` has viewers too (they are in its room and never answer), so its device is open; nothing of it
        // is encoded. `in:src` is the input thread of an encoder's pipeline; x264's own threads inherit the name.
        let threads = daemon.threads_named("in:src");
        assert_eq!(
            threads,
            *encoding.get_or_insert(threads),
            "{wanted} viewers need no more encoders than one"
        );
        // What it lists is a little behind.
        daemon
            .wait_for("all of them at one rendition", async |daemon: &Daemon| {
                let renditions = daemon.camera("one").await["renditions"].clone();
                renditions.as_array().unwrap().len() == 1 && renditions[0]["viewers"] == wanted
            })
            .await;
    }
    for viewer in viewers {
        viewer.leave().await;
    }
    daemon.wait_state("one", "idle").await;
    daemon.wait_state("two", "idle").await;
    // GLib keeps a few idle threads, with the name of their last work, for 15 s.
    let open =
        async |daemon: &Daemon| daemon.threads_named("in:src") + daemon.threads_named("source:src") > 0;
    daemon.wait_for("encoders and devices to close", async |daemon: &Daemon| !open(daemon).await).await;
    // The cost of doing nothing, over a while: other load on the machine adds nothing to this process's CPU time.
    let (before, begun) = (daemon.usage(), Instant::now());
    sleep(Duration::from_secs(5)).await;
    let used = (daemon.usage().ticks - before.ticks) as f64 / 100.0 / begun.elapsed().as_secs_f64();
    assert!(used < 0.01, "idle, it uses {:.1} % of a CPU", used * 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_none_says_so_and_disturbs_no_other() {
    gst::init().unwrap();
    let tables = format!(
        "{TWO}\n[camera.gone]\nsource = \"/dev/portald-no-such-camera\"\n[camera.file]\nsource = \"/dev/null\"\n\
         [camera.off]\nsource = \"test\"\nenabled = false\n"
    );
    let mut daemon = Daemon::start(&tables).await;
    let mut viewer = Viewer::join(daemon.port, "home", Conduct::default()).await;
    timeout(LIMIT, viewer.pictures(30)).await.expect("the good cameras' pictures");
    daemon.wait_state("gone", "absent").await;
    daemon.wait_state("file", "backoff").await;
    daemon.wait_state("off", "disabled").await;
    let reason = daemon.camera("gone").await["reason"].to_string();
    assert!(reason.contains("/dev/portald-no-such-camera") && reason.contains("plug"), "{reason}");
    let reason = daemon.camera("file").await["reason"].to_string();
    assert!(reason.contains("/dev/null"), "{reason}");
    daemon
        .wait_for("the viewer to be told", async |_: &Daemon| {
            let told = viewer.conditions.lock().unwrap();
            told.iter().any(|(from, state, why)| from == "!gone" && state == "absent" && why.contains("plug"))
        })
        .await;
    // A busy machine has a good one stall for a moment, too.
    daemon
        .wait_for("the bad ones alone to be missed", async |daemon: &Daemon| {
            let (code, body) = daemon.get("/readyz").await.unwrap();
            assert!(code == 503 && body.contains("gone") && body.contains("file"), "{code} {body}");
            assert!(!body.contains("\"off\""), "{body}");
            !body.contains("\"one\"")
        })
        .await;
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_is_none_is_complained_of_to_its_author_and_disturbs_nobody() {
    gst::init().unwrap();
    let mut daemon = Daemon::start(TWO).await;
    let mut bystander = Viewer::join(daemon.port, "home", Conduct::default()).await;
    timeout(LIMIT, bystander.pictures(10)).await.expect("pictures");
    let author = Viewer::join(daemon.port, "home", Conduct { answers: false, ..Conduct::default() }).await;
    let complaint = |viewer: &Viewer| {
        let told = viewer.conditions.lock().unwrap();
        told.iter()
            .any(|(from, what, why)| from == "!one" && what == "trouble" && why.contains("it is not SDP"))
    };
    daemon
        .wait_for("a complaint", async |_: &Daemon| {
            // Sent again and again: before the camera's offer is out no answer is expected.
            author.send(&serde_json::json!({"type": "description", "target": "!one",
                "description": {"type": "answer", "sdp": "nonsense"}}));
            complaint(&author)
        })
        .await;
    timeout(LIMIT, bystander.pictures(10)).await.expect("more pictures");
    assert!(!complaint(&bystander) && bystander.offers() == 2, "one offer of each camera, and no complaint");
    author.leave().await;
    bystander.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_sessions_and_cameras_in_order() {
    undisturbed(all_ends_in_order).await;
}

async fn all_ends_in_order() {
    gst::init().unwrap();
    let daemon = Daemon::start(TWO).await;
    let mut viewer = Viewer::join(daemon.port, "home", Conduct::default()).await;
    timeout(LIMIT, viewer.pictures(10)).await.expect("pictures");
    let (status, log) = daemon.terminate().await;
    assert!(status.success(), "{log}");
    assert!(log.contains("ended") && !log.contains("not everything ended"), "{log}");
    viewer.leave().await;
}
