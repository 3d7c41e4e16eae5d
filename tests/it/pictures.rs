//! Still pictures of the real daemon's cameras: what is in them, how old they are, and that viewers do not notice.

use std::time::{SystemTime, UNIX_EPOCH};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::daemon::{Daemon, LIMIT};
use super::media::identity;
use super::undisturbed::undisturbed;
use super::viewer::{Conduct, Viewer};

const CAMERAS: &str = r#"
[camera.one]
source = "test:ball"
width = 640
height = 360
framerate = 15
bitrate = 500
[camera.gone]
source = "/dev/portald-no-such-camera"
"#;

/// What a JPEG shows.
#[derive(Debug)]
struct Shown {
    width: usize,
    height: usize,
    /// The 32 blocks of the strip, 0–255.
    luma: Vec<u8>,
}

impl Shown {
    fn word(&self) -> u32 {
        self.luma.iter().fold(0, |word, luma| word << 1 | u32::from(*luma >= 128))
    }

    fn identity(&self) -> u8 {
        (self.word() >> 24) as u8
    }

    /// Milliseconds from capture to now.
    fn age(&self) -> u32 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u32;
        now.wrapping_sub(self.word()) & 0xffff
    }
}

async fn get(daemon: &Daemon, path: &str) -> (String, Vec<u8>) {
    let exchange = async {
        let mut socket = TcpStream::connect(("127.0.0.1", daemon.port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(LIMIT, exchange).await.expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

async fn snapshot(daemon: &Daemon, query: &str) -> Shown {
    let (head, body) = get(daemon, &format!("/cameras/one/snapshot.jpg{query}")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{}", String::from_utf8_lossy(&body));
    tokio::task::spawn_blocking(move || look(body)).await.unwrap()
}

fn look(jpeg: Vec<u8>) -> Shown {
    let launch = "appsrc name=in ! jpegdec ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    source.set_caps(Some(&gst::Caps::new_empty_simple("image/jpeg")));
    pipeline.set_state(gst::State::Playing).unwrap();
    source.push_buffer(gst::Buffer::from_slice(jpeg)).unwrap();
    source.end_of_stream().unwrap();
    let sample = sink.pull_sample().unwrap();
    let _ = pipeline.set_state(gst::State::Null);
    let caps = sample.caps().unwrap().structure(0).unwrap();
    let side = |name| caps.get::<i32>(name).unwrap() as usize;
    let (width, height) = (side("width"), side("height"));
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let (block, stride) = (16 * width / 640, width.next_multiple_of(4));
    let luma = (0..32).map(|bit| map[(block / 2) * stride + bit * block + block / 2]).collect();
    Shown { width, height, luma }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_wakes_the_camera_and_is_fresh_and_as_large_as_was_asked() {
    gst::init().unwrap();
    let mut daemon = Daemon::start(CAMERAS).await;
    daemon.wait_state("one", "idle").await;
    let woken = snapshot(&daemon, "").await;
    assert_eq!((woken.width, woken.height, woken.identity()), (640, 360, identity("one")), "{woken:?}");
    assert!(woken.luma.iter().all(|luma| !(12..=243).contains(luma)), "not the full range: {woken:?}");
    let camera = daemon.camera("one").await;
    assert_eq!(
        camera["renditions"],
        serde_json::json!([]),
        "nothing is encoded for viewers that are not there"
    );
    for (query, size) in [("?width=320", (320, 180)), ("?width=4000", (640, 360)), ("", (640, 360))] {
        let shown = snapshot(&daemon, query).await;
        assert_eq!(
            (shown.width, shown.height, shown.identity()),
            (size.0, size.1, identity("one")),
            "{query}"
        );
    }
    let mut ages = Vec::new();
    for _ in 0..20 {
        ages.push(snapshot(&daemon, "").await.age());
    }
    ages.sort_unstable();
    println!("ages of pictures in ms: {ages:?}");
    // The machine may have been away for a moment between capture and here; not half of the time.
    assert!(ages[10] < 1000, "{ages:?}");
    daemon.wait_state("one", "idle").await;
    let (head, body) = get(&daemon, "/cameras/gone/snapshot.jpg").await;
    let body = String::from_utf8(body).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503") && body.contains("/dev/portald-no-such-camera"),
        "{head} {body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_loses_no_picture_to_those_who_take_stills() {
    undisturbed(no_still_costs_a_picture).await;
}

async fn no_still_costs_a_picture() {
    gst::init().unwrap();
    let daemon = Daemon::start(CAMERAS).await;
    let conduct = Conduct { decodes: true, camera: Some("one".into()), ..Conduct::full() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(30)).await.expect("pictures");
    let lost = |from: usize, viewer: &Viewer| {
        let seen = viewer.seen("one");
        let steps = seen[from..].windows(2).map(|two| two[1].counter().wrapping_sub(two[0].counter()));
        (seen.len(), steps.map(|step| u32::from(step) - 1).sum::<u32>())
    };
    let (before, _) = lost(0, &viewer);
    timeout(LIMIT, viewer.pictures(60)).await.expect("pictures");
    let (middle, quiet) = lost(before, &viewer);
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.port)).await.unwrap();
    stream
        .write_all(b"GET /cameras/one/stream.mjpeg?fps=15 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let (mut sink, mut read) = (vec![0; 1 << 16], 0);
    while viewer.seen("one").len() < middle + 60 {
        read += timeout(LIMIT, stream.read(&mut sink)).await.expect("the stream goes on").unwrap();
        snapshot(&daemon, "?width=160").await;
    }
    let (_, busy) = lost(middle, &viewer);
    println!("lost of 60: {quiet} before, {busy} with stills; {read} bytes of the stream");
    assert!(read > 50_000, "{read} bytes");
    assert!(busy <= quiet + 3, "{busy} of 60 lost, {quiet} before");
    assert_eq!(viewer.offers(), 1);
    assert_eq!(daemon.camera("one").await["renditions"][0]["dropped"], 0);
    viewer.leave().await;
}
