//! With real pictures: what refused requests cost a viewer (nothing), viewers for whom there is no place, and cameras
//! that follow rooms made over HTTP.

use std::net::SocketAddr;

use gstreamer as gst;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Error as WsError;

use crate::access::{Secret, exchange_with, upgrade};
use crate::daemon::{Daemon, LIMIT};
use crate::site::{Client, Response};
use crate::undisturbed::undisturbed;
use crate::viewer::{Conduct, Viewer};

const CAMERA: &str = r#"
[camera.one]
source = "test:ball"
width = 640
height = 360
framerate = 15
bitrate = 500
"#;

/// Rounds of everything that is refused; each takes some frames' time.
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_watching_viewer_loses_no_frame_by_what_is_refused() {
    undisturbed(nothing_refused_costs_a_frame).await;
}

async fn nothing_refused_costs_a_frame() {
    gst::init().unwrap();
    let attic = Secret::new("attic-token");
    let mut daemon = Daemon::start(&format!(
        "[access]\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nmessages_per_second = 10\nhandshake = 1\n\
         [room.home]\n[room.attic]\ntoken_file = \"{}\"\n{CAMERA}",
        attic.path()
    ))
    .await;
    let conduct = Conduct { decodes: true, ..Conduct::full() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(1)).await.expect("a picture");
    let before = daemon.camera("one").await;
    // What was on its way then has come.
    timeout(LIMIT, viewer.pictures(30)).await.expect("pictures");
    let begun = viewer.seen("one").len();
    for _ in 0..ROUNDS {
        refused_requests(&daemon).await;
        refused_deeds(&daemon).await;
    }
    timeout(LIMIT, viewer.pictures(30)).await.expect("it goes on");
    let counters: Vec<u8> = viewer.seen("one")[begun..].iter().map(|picture| picture.counter()).collect();
    let lost: u64 =
        counters.windows(2).map(|two| u64::from(two[1].wrapping_sub(two[0]).wrapping_sub(1))).sum();
    println!("{lost} of {} lost: {counters:?}", counters.len());
    daemon.wait_left_out("one", before["dropped"].as_u64().unwrap() + lost).await;
    let after = daemon.camera("one").await;
    assert_eq!(after["renditions"][0]["dropped"], before["renditions"][0]["dropped"], "{after}");
    assert_eq!(viewer.offers(), 1, "one connection all the time");
    viewer.leave().await;
}

/// Status and code that each of these is to get.
async fn refused_requests(daemon: &Daemon) {
    for (host, origin, from, method, path, expected) in [
        ("portald", "", "8.8.8.8", "GET", "/", "403 network_refused"),
        ("portald", "", "2001:db8::1", "GET", "/api/cameras", "403 network_refused"),
        ("portald", "", "nonsense", "GET", "/", "400 forwarded_invalid"),
        ("evil.com", "", "192.168.1.7", "GET", "/api/cameras", "403 host_refused"),
        ("portald", "https://evil.com", "192.168.1.7", "POST", "/login", "403 origin_refused"),
        ("portald", "null", "192.168.1.7", "POST", "/api/rooms", "403 origin_refused"),
        ("portald", "", "192.168.1.7", "POST", "/api/rooms", "405 method_not_allowed"),
        ("portald", "", "192.168.1.7", "GET", "/?room=attic", "401 "),
        ("portald", "", "192.168.1.7", "GET", "/../etc/passwd", "404 not_found"),
    ] {
        let mut lines = vec![("host", host.to_owned()), ("x-forwarded-for", from.to_owned())];
        lines.extend((!origin.is_empty()).then(|| ("origin", origin.to_owned())));
        let answer = exchange_with(address(daemon), method, path, &lines, "").await;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let code = body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!(format!("{} {code}", answer.status), expected, "{method} {path}");
    }
    for (lines, query, code) in [
        (vec![("origin", "https://evil.com".to_owned())], "room=home", None),
        (vec![], "room=attic", Some("unauthorized")),
        (vec![("x-forwarded-for", "192.168.9.9".to_owned())], "room=attic&token=wrong", Some("")),
        (vec![], "room=nowhere", Some("room_not_found")),
    ] {
        match (socket(daemon, lines, query).await, code) {
            (Ok(mut client), Some(code)) => {
                let (messages, closed) = client.closed().await;
                let said = messages[0]["error"]["code"].as_str().unwrap();
                // Wrong often enough, one is no longer looked at.
                assert!(said == code || code.is_empty(), "{query}: {said}");
                assert_eq!(closed, Some(1008));
            }
            (Err(WsError::Http(answer)), None) => assert_eq!(answer.status(), 403),
            (other, _) => panic!("{query}: {:?}", other.err()),
        }
    }
}

async fn refused_deeds(daemon: &Daemon) {
    // Heads that never end: each is given up in its time, all of them at once.
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address(daemon)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: portald\r\nx-").await.unwrap();
        idle.push(stream);
    }
    let mut client = socket(daemon, vec![], "room=home&id=!one").await.unwrap();
    assert!(!client.info().await["id"].as_str().unwrap().starts_with('!'), "not the camera's id");
    // What no camera can use, to the camera: a description that is none, and one with another's certificate.
    for sdp in
        ["nonsense", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 00:11\r\n"]
    {
        let description = json!({ "type": "answer", "sdp": sdp });
        client.send(&json!({ "type": "description", "description": description, "target": "!one" })).await;
    }
    client.send(&json!({ "type": "info", "info": { "id": "x", "members": [] }, "target": "!one" })).await;
    client.send_text("x".repeat(70_000)).await;
    assert_eq!(client.closed().await.1, Some(1009));
    // A flood, until it is cut off.
    let mut flood = socket(daemon, vec![], "room=home").await.unwrap();
    let ended = timeout(LIMIT, async {
        use futures_util::SinkExt;
        while flood.socket.send(r#"{"type":"x","target":"!one"}"#.into()).await.is_ok() {}
    });
    ended.await.expect("the flood ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_told_and_served_when_one_is_free() {
    gst::init().unwrap();
    for limit in ["sessions_per_camera", "sessions"] {
        let mut daemon = Daemon::start(&format!("[limits]\n{limit} = 1\n{CAMERA}")).await;
        let mut first = Viewer::join(daemon.port, "home", Conduct::default()).await;
        timeout(LIMIT, first.pictures(5)).await.expect("pictures for the first");
        let mut second = Viewer::join(daemon.port, "home", Conduct::default()).await;
        daemon
            .wait_for("the second to be told", async |_: &Daemon| {
                let told = second.conditions.lock().unwrap().clone();
                told.iter()
                    .any(|(from, state, why)| from == "!one" && state == "trouble" && why.contains(limit))
            })
            .await;
        let metrics = daemon.get("/metrics").await.unwrap().1;
        assert!(
            metrics.contains(&format!("portald_sessions_waited_total{{limit=\"{limit}\"}} 1\n")),
            "{metrics}"
        );
        assert_eq!(second.offers(), 0);
        timeout(LIMIT, first.pictures(5)).await.expect("the first goes on");
        first.leave().await;
        timeout(LIMIT, second.pictures(5)).await.expect("pictures for the second");
        second.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_follow_rooms_that_come_and_go() {
    gst::init().unwrap();
    let admin = Secret::new("root-token");
    let mut daemon =
        Daemon::start(&format!("[access]\nadmin_token_file = \"{}\"\n{CAMERA}", admin.path())).await;
    let ask = async |daemon: &Daemon, method: &str, path: &str, body: &str| -> Response {
        let lines = [
            ("host", "portald".to_owned()),
            ("authorization", "Bearer root-token".to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        exchange_with(address(daemon), method, path, &lines, body).await
    };
    // Twice: the second room of the name is as good as the first.
    for _ in 0..2 {
        assert_eq!(ask(&daemon, "POST", "/api/rooms", r#"{"name":"party"}"#).await.status, 201);
        let mut guest = Viewer::join(daemon.port, "party", Conduct::default()).await;
        timeout(LIMIT, guest.pictures(5)).await.expect("pictures in the new room");
        assert_eq!(daemon.camera("one").await["rooms"], json!(["home", "party"]));
        assert_eq!(ask(&daemon, "DELETE", "/api/rooms/party", "").await.status, 204);
        daemon.wait_state("one", "idle").await;
        assert_eq!(daemon.camera("one").await["rooms"], json!(["home"]));
        guest.leave().await;
    }
    assert_eq!(ask(&daemon, "POST", "/api/rooms", r#"{"name":"talk","mode":"mesh"}"#).await.status, 201);
    assert_eq!(daemon.camera("one").await["rooms"], json!(["home"]), "a mesh room is for people");
    let (status, log) = daemon.terminate().await;
    assert!(status.success(), "{log}");
    assert!(!log.contains("root-token"), "{log}");
}

async fn socket(
    daemon: &Daemon,
    mut lines: Vec<(&'static str, String)>,
    query: &str,
) -> Result<Client, WsError> {
    lines.push(("host", "portald".to_owned()));
    let stream = TcpStream::connect(address(daemon)).await.unwrap();
    upgrade(MaybeTlsStream::Plain(stream), &lines, query).await
}

fn address(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port))
}
