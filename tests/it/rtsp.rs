//! Cameras in the network: GStreamer's own RTSP server on loopback, and the real daemon.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::daemon::{Daemon, LIMIT, Reserved};
use super::undisturbed::undisturbed;
use super::viewer::{Conduct, Viewer};

/// No text that anyone can read may hold it. The `@` and the `%` must be escaped in the URL.
const PASSWORD: &str = "C4nary@%2FPw";
/// The same in a URL.
const ESCAPED: &str = "C4nary%40%252FPw";

/// An encoder's launch line, 640x360 at 15/s, with a key frame each `gop` pictures.
/// Bright: a viewer that decodes takes a dark picture for a slate.
fn h264(profile: &str, gop: u32, more: &str) -> String {
    format!(
        "videotestsrc is-live=true pattern=ball background-color=0xffd0d0d0 foreground-color=0xff202020 ! \
         video/x-raw,format=I420,width=640,height=360,framerate=15/1 ! \
         x264enc key-int-max={gop} bitrate=400 {more} ! video/x-h264,profile={profile} ! \
         rtph264pay name=pay0 pt=96"
    )
}

/// Beside a video, what nobody asked for.
const SOUND: &str = " audiotestsrc is-live=true wave=silence ! alawenc ! rtppcmapay name=pay1 pt=8";

/// Small latency and no B-frames. A faster preset would make baseline of every profile.
const LIVE: &str = "tune=zerolatency speed-preset=superfast";

/// tests/it/rtsp-server.py with its streams; ended when dropped.
struct RtspServer {
    child: Child,
    port: u16,
    _reserved: Reserved,
    streams: Vec<String>,
    password: Option<&'static str>,
}

impl RtspServer {
    fn start(streams: &[(&str, String)], password: Option<&'static str>) -> Self {
        let streams = streams.iter().map(|(name, launch)| format!("{name}={launch}")).collect();
        // Its own again when it is started again.
        let reserved = Reserved::new();
        let (child, port) = Self::spawn(reserved.port, &streams, password);
        Self { child, port, _reserved: reserved, streams, password }
    }

    fn spawn(port: u16, streams: &Vec<String>, password: Option<&str>) -> (Child, u16) {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/rtsp-server.py"));
        command.arg(port.to_string()).args(streams).stdout(Stdio::piped());
        if let Some(password) = password {
            command.env("RTSP_PASSWORD", password);
        }
        let mut child = command.spawn().expect("python3 runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| {
            panic!("the RTSP server did not start: apt install python3-gi gir1.2-gst-rtsp-server-1.0")
        });
        (child, port)
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        (self.child, _) = Self::spawn(self.port, &self.streams, self.password);
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// `[camera.NAME]` for one of its streams.
    fn camera(&self, name: &str, path: &str, login: &str) -> String {
        let port = self.port;
        format!("[camera.{name}]\nsource = \"rtsp://{login}127.0.0.1:{port}/{path}\"\n")
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watching(camera: &str) -> Conduct {
    Conduct { decodes: true, camera: Some(camera.into()), ..Conduct::full() }
}

async fn rendition(daemon: &Daemon, camera: &str, name: &str, codec: &str) -> Option<Value> {
    let renditions = daemon.camera(camera).await["renditions"].clone();
    let fits = |r: &&Value| r["name"] == name && r["codec"] == codec;
    renditions.as_array().unwrap().iter().find(fits).cloned()
}

/// Waits until the viewer saw a picture of `width`.
async fn see(viewer: &mut Viewer, camera: &str, width: u32) {
    timeout(LIMIT, async {
        while viewer.seen(camera).last().is_none_or(|picture| picture.width != width) {
            viewer.pictures(1).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no picture of {camera} that is {width} wide"));
}

/// The access units that the server sends, as the daemon hands them on: what makes each one known again.
fn straight_from(server: &RtspServer, path: &str) -> (gst::Pipeline, gst_app::AppSink) {
    let launch = format!(
        "rtspsrc location=rtsp://127.0.0.1:{}/{path} protocols=tcp latency=0 ! rtph264depay ! \
         h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! \
         appsink name=out sync=false",
        server.port
    );
    let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    (pipeline, sink)
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_is_passed_on_as_it_is_and_the_rest_is_made_while_somebody_wants_it() {
    undisturbed(passed_on_as_it_is).await;
}

async fn passed_on_as_it_is() {
    gst::init().unwrap();
    let server = RtspServer::start(&[("live", h264("main", 30, LIVE))], None);
    let mut daemon = Daemon::start(&server.camera("net", "live", "")).await;
    let counting = Conduct { decodes: false, ..watching("net") };
    let begun = Instant::now();
    let mut viewer = Viewer::join(daemon.port, "home", counting).await;
    timeout(LIMIT, viewer.pictures(1)).await.expect("a picture");
    println!("first picture of a closed camera after {:?}", begun.elapsed());
    timeout(LIMIT, viewer.pictures(15)).await.expect("pictures");
    let main = rendition(&daemon, "net", "main", "H264").await.unwrap();
    assert_eq!(
        (main["encoder"].as_str(), main["width"].as_u64()),
        (Some("passthrough"), Some(640)),
        "{main}"
    );
    assert_eq!(daemon.threads_named("in:src"), 0, "nothing is decoded or encoded");
    assert!(daemon.log().contains("its profile is main, which Safari"), "{}", daemon.log());

    // The bytes of the pictures are those that the server sends to anyone.
    let (pipeline, sink) = straight_from(&server, "live");
    let mut sent = Vec::new();
    for _ in 0..45 {
        let sample = tokio::task::block_in_place(|| sink.try_pull_sample(gst::ClockTime::from_seconds(30)));
        sent.push(super::viewer::digest(&sample.expect("the server sends")));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    timeout(LIMIT, viewer.pictures(30)).await.expect("pictures");
    let seen: Vec<u64> = viewer.seen("net").iter().map(|picture| picture.digest).collect();
    let same = sent.iter().filter(|digest| seen.contains(digest)).count();
    assert!(same >= 30, "{same} of {} access units are the camera's own", sent.len());
    viewer.leave().await;

    let mut viewer = Viewer::join(daemon.port, "home", watching("net")).await;
    see(&mut viewer, "net", 640).await;
    viewer.send(&json!({"type": "quality", "quality": "sub", "target": "!net"}));
    daemon
        .wait_for("sub to be encoded", async |daemon: &Daemon| {
            rendition(daemon, "net", "sub", "H264").await.is_some_and(|sub| sub["frames"].as_u64() > Some(5))
        })
        .await;
    assert!(daemon.log().contains("its H.264 is decoded by"), "{}", daemon.log());
    let mut vp8 = Viewer::join(daemon.port, "home", Conduct { no_h264: true, ..watching("net") }).await;
    see(&mut vp8, "net", 640).await;
    assert!(rendition(&daemon, "net", "main", "VP8").await.is_some());
    vp8.leave().await;
    viewer.leave().await;
    daemon.wait_state("net", "idle").await;
    daemon.wait_for("all to end", async |daemon: &Daemon| daemon.threads_named("in:src") == 0).await;
    assert!(!daemon.log().contains("WARN  camera net: decoder"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_of_long_groups_gets_a_picture_at_once_and_no_lasting_delay() {
    undisturbed(no_lasting_delay).await;
}

async fn no_lasting_delay() {
    gst::init().unwrap();
    // Nearly as long as is kept: a busy machine takes its time to connect, and the next must not begin meanwhile.
    let server = RtspServer::start(&[("live", h264("constrained-baseline", 220, LIVE))], None);
    let tables = server.camera("net", "live", "") + "always_on = true\n[camera.net.sub]\nwidth = 320\n";
    let mut daemon = Daemon::start(&tables).await;
    daemon
        .wait_for("most of a group", async |daemon: &Daemon| {
            rendition(daemon, "net", "main", "H264")
                .await
                .is_some_and(|main| main["frames"].as_u64() > Some(110))
        })
        .await;
    let frames =
        async |daemon: &Daemon| rendition(daemon, "net", "main", "H264").await.unwrap()["frames"].clone();
    let (begun, before) = (Instant::now(), frames(&daemon).await.as_u64().unwrap());
    let mut viewer = Viewer::join(daemon.port, "home", watching("net")).await;
    timeout(LIMIT, viewer.pictures(1)).await.expect("a picture");
    let first = begun.elapsed();
    // All of the group, up to now: what is shown is not behind.
    let came = async |daemon: &Daemon| frames(daemon).await.as_u64().unwrap() - before;
    daemon
        .wait_for("it to have caught up", async |daemon: &Daemon| {
            came(daemon).await + 60 <= viewer.seen("net").len() as u64
        })
        .await;
    let (all, came) = (begun.elapsed(), came(&daemon).await);
    println!("15 s group: first picture after {first:?}, the present after {all:?}, while {came} came");
    // The same on a change of rendition: it is not put off to the next key frame.
    for (quality, width) in [("sub", 320), ("main", 640)] {
        let begun = Instant::now();
        viewer.send(&json!({"type": "quality", "quality": quality, "target": "!net"}));
        see(&mut viewer, "net", width).await;
        println!("to {quality} in {:?}", begun.elapsed());
    }
    let main = rendition(&daemon, "net", "main", "H264").await.unwrap();
    assert_eq!(main["dropped"], 0, "{main}");
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joined_with_a_replay_is_not_behind_who_came_before() {
    gst::init().unwrap();
    let server = RtspServer::start(&[("live", h264("constrained-baseline", 150, LIVE))], None);
    let daemon = Daemon::start(&server.camera("net", "live", "")).await;
    let counting = || Conduct { decodes: false, ..watching("net") };
    let mut early = Viewer::join(daemon.port, "home", counting()).await;
    // Into the midst of a group: eight seconds of it are replayed.
    timeout(LIMIT, early.pictures(120)).await.expect("pictures");
    let mut late = Viewer::join(daemon.port, "home", counting()).await;
    timeout(LIMIT, late.pictures(1)).await.expect("a picture");
    let before = early.seen("net").len();
    timeout(LIMIT, early.pictures(60)).await.expect("pictures");
    timeout(LIMIT, late.pictures(30)).await.expect("pictures");
    // Each picture by what it is: how much later the one got it than the other.
    let arrivals: std::collections::HashMap<u64, _> =
        late.seen("net").iter().map(|picture| (picture.digest, picture.at)).collect();
    let mut behind: Vec<f64> = (early.seen("net").iter().skip(before + 15))
        .filter_map(|picture| {
            let at = arrivals.get(&picture.digest)?;
            Some(at.saturating_duration_since(picture.at).as_secs_f64())
        })
        .collect();
    behind.sort_by(f64::total_cmp);
    let median = behind.get(behind.len() / 2).copied();
    println!("who joined late gets pictures {median:?} s later, the median of {}", behind.len());
    assert!(behind.len() >= 10, "{} pictures came to both", behind.len());
    // Both on the same machine, however busy; what was replayed is many times as long.
    assert!(median < Some(1.0), "{behind:?}");
    early.leave().await;
    late.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_passed_on_is_encoded_and_the_reason_is_said() {
    gst::init().unwrap();
    let hevc = "videotestsrc is-live=true ! video/x-raw,format=I420,width=640,height=360,framerate=15/1 ! x265enc \
                tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=400 ! rtph265pay name=pay0 pt=96";
    let mjpeg = "videotestsrc is-live=true ! video/x-raw,format=I420,width=640,height=360,framerate=15/1 ! jpegenc ! \
                 rtpjpegpay name=pay0 pt=26";
    let b_frames =
        h264("main", 30, "speed-preset=superfast bframes=2 b-adapt=false rc-lookahead=0 sync-lookahead=0");
    let streams = [
        ("bframes", b_frames),
        ("mjpeg", mjpeg.to_owned()),
        ("h265", hevc.to_owned()),
        ("live", h264("main", 30, LIVE)),
    ];
    let server = RtspServer::start(&streams, None);
    let tables = server.camera("b", "bframes", "")
        + &server.camera("hevc", "h265", "")
        + &server.camera("jpegs", "mjpeg", "")
        + &server.camera("named", "live", "")
        + "encoder = \"x264enc\"\n";
    let mut daemon = Daemon::start(&tables).await;
    for (camera, why) in [("b", "B-frames"), ("hevc", ""), ("jpegs", ""), ("named", "names an encoder")] {
        let mut viewer = Viewer::join(daemon.port, "home", watching(camera)).await;
        see(&mut viewer, camera, 640).await;
        timeout(LIMIT, viewer.pictures(20)).await.expect("pictures");
        let main = rendition(&daemon, camera, "main", "H264").await.unwrap();
        assert_eq!(main["encoder"], "x264enc", "{main}");
        assert!(main["reason"].as_str().unwrap_or_default().contains(why), "{main}");
        viewer.leave().await;
    }
    daemon.wait_state("hevc", "idle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_or_stalls_is_come_back_to_and_the_viewer_stays() {
    gst::init().unwrap();
    let mut server = RtspServer::start(&[("live", h264("constrained-baseline", 30, LIVE))], Some(PASSWORD));
    let mut daemon = Daemon::start(&server.camera("net", "live", &format!("admin:{ESCAPED}@"))).await;
    let mut viewer = Viewer::join(daemon.port, "home", watching("net")).await;
    timeout(LIMIT, viewer.pictures(10)).await.expect("pictures");
    let failed = async |daemon: &Daemon| daemon.camera("net").await["state"] == "backoff";

    let begun = Instant::now();
    server.kill();
    daemon.wait_for("the failure to be seen", failed).await;
    println!("its end was seen after {:?}", begun.elapsed());
    server.restart();
    let back = Instant::now();
    timeout(LIMIT, viewer.pictures(10)).await.expect("pictures again");
    println!("back {:?} after the server", back.elapsed());

    let begun = Instant::now();
    server.signal("-STOP");
    daemon.wait_for("the stall to be seen", failed).await;
    println!("its stall was seen after {:?}", begun.elapsed());
    let reason = daemon.camera("net").await["reason"].to_string();
    assert!(reason.contains("no picture") || reason.contains("not answer"), "{reason}");
    server.signal("-CONT");
    timeout(LIMIT, viewer.pictures(10)).await.expect("pictures again");
    assert_eq!(viewer.offers(), 1, "the viewer's connection is the same");
    viewer.leave().await;
    assert!(!daemon.log().contains("C4nary"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_in_words_and_no_password_is_ever_shown() {
    gst::init().unwrap();
    let silence = "audiotestsrc is-live=true wave=silence ! alawenc ! rtppcmapay name=pay0 pt=8";
    let streams = [("live", h264("main", 30, LIVE) + SOUND), ("sound", silence.to_owned())];
    let server = RtspServer::start(&streams, Some(PASSWORD));
    let login = format!("admin:{ESCAPED}@");
    let mut tables = server.camera("good", "live", &login)
        + &server.camera("stranger", "live", "")
        + &server.camera("mistyped", "live", "admin:C4nary-not@")
        + &server.camera("lost", "nothing/user=admin_password=C4nary", &login)
        + &server.camera("radio", "sound", &login);
    tables += &format!("[camera.shut]\nsource = \"rtsp://{login}127.0.0.1:1/C4nary?pwd=C4nary\"\n");
    tables += &format!("[camera.nowhere]\nsource = \"rtsp://{login}portald-test.invalid/live\"\n");
    let mut daemon = Daemon::start_saying(&tables, &["-v"]).await;
    let mut viewer = Viewer::join(daemon.port, "home", Conduct::default()).await;
    timeout(LIMIT, viewer.pictures(5)).await.expect("pictures of the good one");
    for (camera, words) in [
        ("stranger", "asks for a user name and a password"),
        ("mistyped", "refuses the user name or password"),
        ("lost", "nothing at this path"),
        ("radio", "sends no video"),
        ("shut", "cannot be reached: Connection refused"),
        ("nowhere", "cannot be reached"),
    ] {
        daemon
            .wait_for(words, async |daemon: &Daemon| {
                let camera = daemon.camera(camera).await;
                let reason = camera["reason"].as_str().unwrap_or_default();
                camera["state"] == "backoff" && reason.contains(words) && reason.contains("next: ")
            })
            .await;
    }
    let mut texts = format!("{}{:?}", daemon.log(), viewer.conditions.lock().unwrap());
    for path in ["/api/cameras", "/readyz", "/metrics", "/api/rooms"] {
        texts += &daemon.get(path).await.unwrap().1;
    }
    let arguments = format!("/proc/{}/cmdline", daemon.id());
    texts += &String::from_utf8_lossy(&std::fs::read(arguments).unwrap());
    for secret in ["C4nary", "not@", "%40"] {
        let shown = texts.lines().find(|line| line.contains(secret));
        assert!(shown.is_none(), "{secret}: {shown:?}");
    }
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_joined_between_key_frames_is_asked_for_one() {
    gst::init().unwrap();
    // It makes its first, and then none in an hour unless it is asked.
    let server = RtspServer::start(&[("live", h264("constrained-baseline", 100_000, LIVE))], None);
    let (pipeline, sink) = straight_from(&server, "live");
    let pull = || {
        let sample = tokio::task::block_in_place(|| sink.try_pull_sample(gst::ClockTime::from_seconds(30)));
        let sample = sample.expect("the server sends");
        !sample.buffer().unwrap().flags().contains(gst::BufferFlags::DELTA_UNIT)
    };
    let keys = (0..30).filter(|_| pull()).count();
    assert_eq!(keys, 1, "only its first picture is a key frame");
    for transport in ["tcp", "udp"] {
        let tables = server.camera("net", "live", "") + &format!("rtsp_transport = \"{transport}\"\n");
        let mut daemon = Daemon::start(&tables).await;
        let begun = Instant::now();
        let mut viewer = Viewer::join(daemon.port, "home", watching("net")).await;
        timeout(LIMIT, viewer.pictures(10)).await.expect("pictures");
        println!("{transport}: ten pictures of a camera without key frames after {:?}", begun.elapsed());
        let keyframes = async |daemon: &Daemon| {
            rendition(daemon, "net", "main", "H264").await.unwrap()["keyframes"].clone()
        };
        daemon
            .wait_for("a key frame", async |daemon: &Daemon| keyframes(daemon).await.as_u64() > Some(0))
            .await;
        viewer.leave().await;
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_is_used_where_the_configuration_says_so() {
    gst::init().unwrap();
    let server = RtspServer::start(&[("live", h264("constrained-baseline", 15, LIVE))], None);
    let daemon = Daemon::start(&(server.camera("net", "live", "") + "rtsp_transport = \"udp\"\n")).await;
    let mut viewer = Viewer::join(daemon.port, "home", watching("net")).await;
    timeout(LIMIT, viewer.pictures(20)).await.expect("pictures");
    // Only a UDP source has threads of that name; their numbers count sources.
    let threads: usize = (0..8).map(|n| daemon.threads_named(&format!("udpsrc{n}:src"))).sum();
    assert_eq!(threads, 2, "RTP and RTCP come by UDP");
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_changes_in_mid_stream_is_told_and_followed() {
    undisturbed(another_size_is_followed).await;
}

async fn another_size_is_followed() {
    gst::init().unwrap();
    let launch = "videotestsrc is-live=true pattern=ball background-color=0xffd0d0d0 foreground-color=0xff202020 ! \
                  capsfilter name=size caps=video/x-raw,format=I420,width=640,height=360,framerate=15/1 ! \
                  x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 bitrate=400 ! \
                  rtph264pay name=pay0 pt=96";
    let server = RtspServer::start(&[("live", launch.to_owned())], None);
    let mut daemon = Daemon::start(&server.camera("net", "live", "")).await;
    let mut large = Viewer::join(daemon.port, "home", watching("net")).await;
    let small = Conduct { quality: Some("sub"), ..watching("net") };
    let mut small = Viewer::join(daemon.port, "home", small).await;
    for (width, height) in [(640, 360), (320, 180)] {
        see(&mut large, "net", width).await;
        see(&mut small, "net", width).await;
        for name in ["main", "sub"] {
            let what = format!("{name} to be {width} wide in the API");
            let told = async |daemon: &Daemon| {
                let told = rendition(daemon, "net", name, "H264").await;
                told.is_some_and(|told| told["width"] == width && told["height"] == height)
            };
            daemon.wait_for(&what, told).await;
        }
        if width == 640 {
            server.signal("-USR1");
        }
    }
    assert!(daemon.log().contains("sends 320x180 at 15/1 from now on"), "{}", daemon.log());
    assert_eq!(daemon.camera("net").await["restarts"], 0);
}
