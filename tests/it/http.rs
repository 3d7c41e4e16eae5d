//! What a page or a program gets over HTTP.

use portald::proto::ids::Name;
use portald::status::{CameraStatus, State};
use serde_json::json;

use crate::site::Server;

fn camera(name: &str, state: State, reason: Option<&str>) -> CameraStatus {
    CameraStatus {
        name: Name::new(name).unwrap(),
        title: name.to_uppercase(),
        rooms: vec![Name::new("home").unwrap()],
        state,
        reason: reason.map(str::to_owned),
        since: 0,
        source: "test".to_owned(),
        renditions: Vec::new(),
        viewers: 2,
        dropped: 0,
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
        // Any page may import the client, which imports more; nothing else is for other origins.
        let shared = ["/client.js", "/signaling.js"].contains(&path).then_some("*");
        assert_eq!(page.header("access-control-allow-origin"), shared, "{path}");
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
    for path in ["/", "/api/cameras", "/portal"] {
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
    ] {
        assert_eq!(server.metric(line).await, value, "{line}");
    }
    let page = server.get("/metrics").await;
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in page.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        value.parse::<u64>().unwrap();
        let name = name.split('{').next().unwrap();
        assert!(page.body.contains(&format!("# TYPE {name} ")), "{name}");
    }
}
