//! What a page or a program gets over HTTP.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portald::config::settings::{Ice, SecretFile, TurnLogin};
use portald::ice::IceServers;
use portald::proto::ids::Name;
use portald::server::Site;
use portald::status::{CameraStatus, State};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::site::{Server, patient, wait};

fn camera(name: &str, state: State, reason: Option<&str>) -> CameraStatus {
    CameraStatus {
        name: Name::new(name).unwrap(),
        title: name.to_uppercase(),
        rooms: vec![Name::new("home").unwrap()],
        state,
        reason: reason.map(str::to_owned),
        since: 0,
        seen: None,
        source: "test".to_owned(),
        wishes: Default::default(),
        renditions: Vec::new(),
        viewers: 2,
        dropped: 0,
        restarts: Default::default(),
    }
}

#[tokio::test]
async fn pages_come_with_their_type_and_strict_headers() {
    let server = Server::start().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/?room=home", "text/html; charset=utf-8"),
        ("/wall.js", "text/javascript; charset=utf-8"),
        ("/wall.css", "text/css; charset=utf-8"),
        ("/client.js", "text/javascript; charset=utf-8"),
        ("/signaling.js", "text/javascript; charset=utf-8"),
    ] {
        let page = server.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (200, Some(kind)), "{path}");
        let policy = page.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "form-action 'none'"] {
            assert!(policy.split("; ").any(|p| p == part), "{part} in {policy}");
        }
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert!(page.header("permissions-policy").unwrap().starts_with("camera=(self), "));
        assert_eq!(page.header("cross-origin-resource-policy"), Some("same-origin"));
        // Pages that may connect may import the client, which imports more; nothing else is for other origins.
        let shared = ["/client.js", "/signaling.js"].contains(&path);
        for (origin, connects) in
            [("http://192.168.1.7:3000", true), ("https://evil.com", false), ("null", false)]
        {
            let answer = server.request("GET", path, &format!("origin: {origin}\r\n")).await;
            let allowed = (shared && connects).then_some(origin);
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{path} for {origin}");
            assert_eq!(answer.head.to_lowercase().contains("\r\nvary: origin\r\n"), shared, "{path}");
            assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path}");
        }
        let tag = page.header("etag").unwrap();
        let again = server.request("GET", path, &format!("if-none-match: {tag}\r\n")).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let server = Server::start().await;
    for path in ["/", "/client.js", "/api/cameras", "/healthz"] {
        let get = server.get(path).await;
        let head = server.request("HEAD", path, "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        for name in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_in_words() {
    let server = Server::start().await;
    for path in ["/", "/api/cameras", "/api/rooms", "/portal"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = server.request(method, path, "content-length: 0\r\n").await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    for path in ["/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd", "/api", "/portal/", "//"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        let paths = answer.json()["error"]["paths"].clone();
        assert!(paths.as_array().unwrap().contains(&json!("/portal")), "{paths}");
    }
}

#[tokio::test]
async fn a_plain_request_where_websockets_connect_is_explained() {
    let server = Server::start().await;
    let answer = server.get("/portal?room=home").await;
    assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")));
    assert!(answer.body.contains("ws://") && answer.body.contains("/portal?room=NAME"), "{}", answer.body);
}

#[tokio::test]
async fn a_request_that_goes_on_and_on_is_refused() {
    let server = Server::start().await;
    let answer = server.request("GET", "/", &format!("x-long: {}\r\n", "x".repeat(64 * 1024))).await;
    assert_eq!(answer.status, 431);
    let answer = server.get(&format!("/?room={}", "x".repeat(64 * 1024))).await;
    assert!([414, 431].contains(&answer.status), "{answer:?}");
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn cameras_rooms_and_rtc_are_json() {
    let server = Server::start().await;
    server.cameras.set(camera("front-door", State::Live, None));
    server.cameras.set(camera("attic", State::Backoff, Some("unplugged")));
    let _member = server.camera("front-door", "home").await;

    let answer = server.get("/api/cameras").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let cameras = answer.json();
    let attic = &cameras[0];
    assert_eq!(
        (&attic["name"], &attic["title"], &attic["rooms"]),
        (&json!("attic"), &json!("ATTIC"), &json!(["home"]))
    );
    assert_eq!((&attic["state"], &attic["reason"]), (&json!("backoff"), &json!("unplugged")));
    assert_eq!((&attic["renditions"], &attic["viewers"]), (&json!([]), &json!(2)));
    assert_eq!((&cameras[1]["name"], &cameras[1]["reason"]), (&json!("front-door"), &json!(null)));

    let answer = server.get("/api/rooms").await;
    assert!(answer.body.starts_with(r#"[{"name":"home","#), "{}", answer.body);
    let rooms = answer.json();
    assert_eq!(
        (&rooms[0]["mode"], &rooms[1]["name"], &rooms[1]["mode"]),
        (&json!("wall"), &json!("mesh"), &json!("mesh"))
    );
    assert!(rooms[0]["members"].to_string().contains("!front-door"), "{rooms}");

    assert_eq!(server.get("/api/rtc").await.json(), json!({ "iceServers": [] }));
}

#[tokio::test]
async fn pages_are_given_servers_with_credentials_of_their_own() {
    let secret = std::env::temp_dir().join(format!("portald-turn-{}", std::process::id()));
    std::fs::write(&secret, "north-pole").unwrap();
    let file = SecretFile::Path(secret.clone());
    let settings = Ice {
        stun: vec!["stun:192.168.1.2".into()],
        turn: vec!["turn:192.168.1.2?transport=udp".into(), "turns:192.168.1.2".into()],
        turn_login: Some(TurnLogin::TimeLimited { secret: file, lifetime: Duration::from_secs(600) }),
        ..Ice::default()
    };
    let rtc = Arc::new(IceServers::open(&settings).unwrap());
    std::fs::remove_file(secret).unwrap();
    let server = Server::with_site(patient(), |site| Site { rtc, ..site }).await;
    let answer = server.get("/api/rtc").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!answer.body.contains("north-pole"));
    let servers = answer.json()["iceServers"].clone();
    assert_eq!(servers[0], json!({ "urls": ["stun:192.168.1.2"] }));
    assert_eq!(servers[1]["urls"], json!(["turn:192.168.1.2?transport=udp", "turns:192.168.1.2"]));
    let (expiry, user) = servers[1]["username"].as_str().unwrap().split_once(':').unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(
        (now + 300..=now + 600).contains(&expiry.parse::<u64>().unwrap()) && user == "portald",
        "{servers}"
    );
    assert_eq!(servers[1]["credential"].as_str().unwrap().len(), 28, "SHA-1 in base64");
}

#[tokio::test]
async fn ready_is_when_every_camera_that_is_on_can_be_watched() {
    let server = Server::start().await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.cameras.set(camera("a", State::Live, None));
    server.cameras.set(camera("b", State::Idle, None));
    server.cameras.set(camera("c", State::Disabled, None));
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!([])));
    for state in [State::Absent, State::Opening, State::Stalled, State::Backoff] {
        server.cameras.set(camera("b", state, Some("why")));
        let ready = server.get("/readyz").await;
        let expected = json!([{ "name": "b", "state": state, "reason": "why" }]);
        assert_eq!((ready.status, ready.json()), (503, expected));
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn metrics_count_members_and_show_cameras() {
    let server = Server::start().await;
    server.cameras.set(camera("door", State::Live, None));
    let _door = server.camera("door", "home").await;
    let mut viewer = server.connect("room=home").await;
    viewer.info().await;
    viewer.nothing_came().await;
    for (line, value) in [
        ("portald_build_info{version=\"1.2.3\"}", 1),
        // The viewer's and the one that asks.
        ("portald_connections", 2),
        ("portald_sockets_opened_total", 1),
        ("portald_frames_total", 1),
        ("portald_members{room=\"home\",kind=\"camera\"}", 1),
        ("portald_members{room=\"home\",kind=\"peer\"}", 1),
        ("portald_members{room=\"mesh\",kind=\"peer\"}", 0),
        ("portald_camera_state{camera=\"door\",state=\"live\"}", 1),
        ("portald_camera_state{camera=\"door\",state=\"idle\"}", 0),
        ("portald_camera_viewers{camera=\"door\"}", 2),
        ("portald_sessions{state=\"awaiting_answer\"}", 0),
        ("portald_first_frame_seconds_bucket{le=\"0.05\"}", 0),
        ("portald_first_frame_seconds_bucket{le=\"+Inf\"}", 0),
    ] {
        assert_eq!(server.metric(line).await, value, "{line}");
    }
    let page = server.get("/metrics").await;
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in page.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
        let name = name.split('{').next().unwrap();
        // A histogram's lines are named after it (text format 0.0.4).
        let parts = ["", "_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        let typed =
            |name: &str| page.body.lines().filter(|l| l.starts_with(&format!("# TYPE {name} "))).count();
        assert_eq!(parts.map(typed).sum::<usize>(), 1, "{name}");
    }
}

/// In an upgrade nobody who was let in is sent away without an answer.
#[tokio::test]
async fn who_came_in_at_the_last_moment_is_answered() {
    let server = Server::start().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        streams.push(stream);
    }
    // Connections are accepted in their order, so the others are, too.
    server.get("/healthz").await;
    // Without a pause in between: the end and the requests are there at once.
    server.shutdown.send(true).unwrap();
    for stream in &streams {
        stream.try_write(b"host: portald\r\nconnection: close\r\n\r\n").unwrap();
    }
    for mut stream in streams {
        let mut answer = String::new();
        wait("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
}
