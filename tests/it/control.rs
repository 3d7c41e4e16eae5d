//! Cameras changed over HTTP while they run.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, Weak};

use portald::control::{Change, Refusal, Steered, Wishes};
use portald::proto::ids::Name;
use portald::status::{Cameras, State};
use serde_json::json;

use crate::access::{ADMIN, VIEWER, exchange, guarded, open_socket};
use crate::site::{Response, Server, patient, status};

const PEER: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A camera that does what it is told, and may pass its H.264 on.
#[derive(Debug)]
struct Door {
    cameras: Cameras,
    wishes: Mutex<Wishes>,
    passes: bool,
}

impl Steered for Door {
    fn change(&self, change: &Change) -> Result<(), Refusal> {
        let mut wishes = self.wishes.lock().unwrap();
        let changed = change.apply(*wishes)?;
        let name = Name::new("door").unwrap();
        if self.passes && change.bitrate.is_some() {
            return Err(Refusal::PassedOn(name));
        }
        *wishes = changed;
        self.cameras.update(&name, |status| {
            status.wishes = changed;
            status.state = if changed.enabled { State::Idle } else { State::Disabled };
        });
        Ok(())
    }
}

fn door(server: &Server, passes: bool) -> Arc<Door> {
    server.cameras.set(status("door", &["home"], State::Idle));
    let wishes = Mutex::new(Wishes { enabled: true, bitrate: 2000, ..Wishes::default() });
    let door = Arc::new(Door { cameras: server.cameras.clone(), wishes, passes });
    let weak: Weak<Door> = Arc::downgrade(&door);
    server.controls.put(Name::new("door").unwrap(), weak);
    door
}

async fn send(
    server: &Server,
    method: &str,
    path: &str,
    more: &[(&'static str, &str)],
    body: &str,
) -> Response {
    let mut lines = vec![("host", "portald".to_owned())];
    lines.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let peer = if server.address.ip().is_unspecified() { PEER } else { server.address.ip() };
    exchange(server, peer, method, path, &lines, body).await
}

async fn patch(server: &Server, name: &str, body: &str) -> Response {
    let token = format!("Bearer {ADMIN}");
    let more = [("authorization", token.as_str()), ("content-type", "application/json")];
    send(server, "PATCH", &format!("/api/cameras/{name}"), &more, body).await
}

fn told(answer: &Response) -> (u16, String, String) {
    let error = answer.json()["error"].clone();
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("message"))
}

#[tokio::test]
async fn a_change_is_answered_with_the_camera_as_the_list_has_it() {
    let server = guarded(patient()).await;
    let _door = door(&server, false);
    let answer = patch(&server, "door", r#"{"bitrate":900,"sub":{"bitrate":99},"enabled":false}"#).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let camera = answer.json();
    for (key, value) in [
        ("name", json!("door")),
        ("state", json!("disabled")),
        ("enabled", json!(false)),
        ("bitrate", json!(900)),
        ("sub", json!({ "bitrate": 99 })),
    ] {
        assert_eq!(camera[key], value, "{key}");
    }
    let token = format!("Bearer {ADMIN}");
    let list = send(&server, "GET", "/api/cameras", &[("authorization", &token)], "").await.json();
    assert_eq!(list[0], camera);
    assert_eq!(send(&server, "GET", "/readyz", &[("authorization", &token)], "").await.status, 200);
    // What is left out stays, and nothing at all is no mistake.
    let again = patch(&server, "door", r#"{"enabled":true}"#).await.json();
    assert_eq!((&again["state"], &again["bitrate"]), (&json!("idle"), &json!(900)));
    assert_eq!(patch(&server, "door", "{}").await.json(), again);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_changed() {
    let server = guarded(patient()).await;
    let door = door(&server, true);
    let before = *door.wishes.lock().unwrap();
    for (name, body, status, code, word) in [
        ("door", "", 400, "bad_request", "\"bitrate\""),
        ("door", "[1]", 400, "bad_request", "kbit/s"),
        ("door", "nonsense", 400, "bad_request", "expected"),
        ("door", r#"{"bitrat":900}"#, 400, "bad_request", "unknown field `bitrat`"),
        ("door", r#"{"sub":{"width":900}}"#, 400, "bad_request", "unknown field `width`"),
        ("door", r#"{"enabled":null}"#, 400, "bad_request", "null"),
        ("door", r#"{"sub":{"bitrate":49}}"#, 422, "out_of_range", "50 to 100000 kbit/s"),
        ("door", r#"{"enabled":false,"bitrate":100001}"#, 422, "out_of_range", "found 100001"),
        ("door", r#"{"bitrate":900,"enabled":false}"#, 409, "passed_on", "sub.bitrate can be changed"),
        ("gate", r#"{"enabled":true}"#, 404, "camera_not_found", "`gate`"),
        ("", "{}", 404, "camera_not_found", "GET /api/cameras"),
        ("DOOR", "{}", 404, "camera_not_found", "`DOOR`"),
        ("door/", "{}", 404, "camera_not_found", "door/"),
        ("..%2fdoor", "{}", 404, "camera_not_found", "door"),
        ("barn.door", "{}", 404, "camera_not_found", "barn.door"),
    ] {
        let (found, found_code, message) = told(&patch(&server, name, body).await);
        assert_eq!((found, found_code.as_str()), (status, code), "{name}: {body}: {message}");
        assert!(message.contains(word), "{name}: {body}: {message}");
    }
    let large = format!(r#"{{"bitrate":{}1}}"#, " ".repeat(20_000));
    assert_eq!(patch(&server, "door", &large).await.status, 413);
    assert_eq!(*door.wishes.lock().unwrap(), before);
    // One that has ended is none.
    drop(door);
    assert_eq!(told(&patch(&server, "door", "{}").await).1, "camera_not_found");
}

#[tokio::test]
async fn only_who_has_the_admin_token_may_and_no_page_of_others_for_him() {
    let server = guarded(patient()).await;
    let door = door(&server, false);
    let before = *door.wishes.lock().unwrap();
    let (admin, viewer) = (format!("Bearer {ADMIN}"), format!("Bearer {VIEWER}"));
    let json = ("content-type", "application/json");
    let off = r#"{"enabled":false}"#;
    let path = "/api/cameras/door";
    for (method, path, more, status, code) in [
        ("PATCH", path, vec![json], 401, "unauthorized"),
        ("PATCH", path, vec![json, ("authorization", viewer.as_str())], 401, "unauthorized"),
        ("PATCH", path, vec![json, ("authorization", "Bearer wrong")], 401, "unauthorized"),
        ("PATCH", &format!("{path}?token={ADMIN}"), vec![json], 401, "unauthorized"),
        ("PATCH", "/api/cameras/gate", vec![json], 401, "unauthorized"),
        (
            "PATCH",
            path,
            vec![json, ("authorization", &admin), ("origin", "https://evil.com")],
            403,
            "origin_refused",
        ),
        ("PATCH", path, vec![("authorization", &admin), ("content-type", "text/plain")], 415, "not_json"),
        ("PATCH", path, vec![("authorization", &admin)], 415, "not_json"),
        ("PUT", path, vec![json, ("authorization", &admin)], 405, "method_not_allowed"),
        ("DELETE", path, vec![json, ("authorization", &admin)], 405, "method_not_allowed"),
        ("GET", path, vec![("authorization", &admin)], 405, "method_not_allowed"),
        ("PATCH", "/api/cameras", vec![json, ("authorization", &admin)], 405, "method_not_allowed"),
    ] {
        let answer = send(&server, method, path, &more, off).await;
        let (found, found_code, message) = told(&answer);
        assert_eq!((found, found_code.as_str()), (status, code), "{method} {path} {more:?}: {message}");
        if found == 405 && path.ends_with("door") {
            assert_eq!(answer.header("allow"), Some("PATCH"));
        }
    }
    assert_eq!(*door.wishes.lock().unwrap(), before);
}

#[tokio::test]
async fn without_an_admin_token_no_camera_can_be_changed() {
    let server = Server::start().await;
    let door = door(&server, false);
    let (status, code, message) = told(&patch(&server, "door", r#"{"enabled":false}"#).await);
    assert_eq!((status, code.as_str()), (405, "method_not_allowed"));
    assert!(message.contains("admin_token_file"), "{message}");
    assert!(door.wishes.lock().unwrap().enabled);
}

#[tokio::test]
async fn a_camera_of_another_box_is_changed_there() {
    let server = guarded(patient()).await;
    let lines = [("host", "portald".to_owned()), ("authorization", "Bearer box-token".to_owned())];
    let query = "room=home&sessions=1&kind=camera&id=!barn.door";
    let mut barn = open_socket(&server, PEER, &lines, query).await.unwrap();
    barn.info().await;
    let (status, code, message) = told(&patch(&server, "barn.door", r#"{"enabled":false}"#).await);
    assert_eq!((status, code.as_str()), (409, "other_box"));
    assert!(message.contains("box barn"), "{message}");
    barn.nothing_came().await;
}

#[cfg(feature = "media")]
mod daemon {
    use gstreamer as gst;
    use serde_json::Value;
    use tokio::time::timeout;

    use super::*;
    use crate::access::{Secret, exchange_with};
    use crate::daemon::{Daemon, LIMIT};
    use crate::undisturbed::undisturbed;
    use crate::viewer::{Conduct, Viewer};

    /// Snow takes all the bits that it is given.
    const CAMERAS: &str = r#"
[camera.one]
source = "test:snow"
width = 320
height = 240
framerate = 15
bitrate = 2000
encoder = "x264enc"
[camera.two]
source = "test:ball"
width = 320
height = 240
framerate = 15
enabled = false
"#;

    async fn patch(daemon: &Daemon, name: &str, change: Value) -> Value {
        let lines = [
            ("host", "localhost".to_owned()),
            ("authorization", format!("Bearer {ADMIN}")),
            ("content-type", "application/json".to_owned()),
        ];
        let address = ([127, 0, 0, 1], daemon.port).into();
        let path = format!("/api/cameras/{name}");
        let answer = exchange_with(address, "PATCH", &path, &lines, &change.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Mean size in bytes of the last of so many more pictures, when the encoder has settled.
    async fn size(viewer: &mut Viewer) -> usize {
        timeout(LIMIT, viewer.pictures(60)).await.expect("pictures");
        let seen = viewer.seen("one");
        let last = &seen[seen.len() - 30..];
        last.iter().map(|picture| picture.bytes).sum::<usize>() / last.len()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_running_camera_changes_its_rate_goes_off_and_comes_back_on_one_connection() {
        undisturbed(rates_and_off_and_on).await;
    }

    async fn rates_and_off_and_on() {
        gst::init().unwrap();
        let token = Secret::new(ADMIN);
        let access = format!("[access]\nadmin_token_file = {:?}\n", token.path());
        let mut daemon = Daemon::start(&(access + CAMERAS)).await;
        let conduct = Conduct { camera: Some("one".into()), quality: Some("main"), ..Conduct::default() };
        let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
        let high = size(&mut viewer).await;
        let camera = patch(&daemon, "one", json!({ "bitrate": 200 })).await;
        assert_eq!((&camera["name"], &camera["bitrate"]), (&json!("one"), &json!(200)));
        let low = size(&mut viewer).await;
        patch(&daemon, "one", json!({ "bitrate": 2000 })).await;
        let again = size(&mut viewer).await;
        println!("mean picture at 2000 kbit/s {high} bytes, at 200 {low}, at 2000 {again}");
        assert!(high > low * 4 && again > low * 4, "{high}, {low}, {again}");
        assert_eq!(daemon.camera("one").await["restarts"], 0);

        let off = patch(&daemon, "one", json!({ "enabled": false })).await;
        assert_eq!((&off["state"], &off["enabled"]), (&json!("disabled"), &json!(false)));
        daemon
            .wait_for("the device to be closed", async |daemon: &Daemon| {
                daemon.threads_named("source:src") == 0
                    && daemon.camera("one").await["renditions"] == json!([])
            })
            .await;
        // The slate comes over the same track, four times a second.
        timeout(LIMIT, viewer.pictures(8)).await.expect("slates");
        let (status, why) = daemon.get("/cameras/one/snapshot.jpg").await.unwrap();
        assert!(status == 503 && why.contains("switched off"), "{status} {why}");
        assert_eq!(daemon.get("/readyz").await.unwrap().0, 200, "what is switched off is not missed");
        patch(&daemon, "one", json!({ "enabled": true })).await;
        daemon.wait_state("one", "live").await;
        let back = size(&mut viewer).await;
        assert!(back > low * 4, "{back}: the rate stays what it was");
        assert_eq!(viewer.offers(), 1, "one connection through all of it");

        // One that the file leaves out joins its rooms when it is switched on.
        assert_eq!(daemon.camera("two").await["state"], "disabled");
        patch(&daemon, "two", json!({ "enabled": true })).await;
        let conduct = Conduct { camera: Some("two".into()), ..Conduct::default() };
        let mut other = Viewer::join(daemon.port, "home", conduct).await;
        timeout(LIMIT, other.pictures(10)).await.expect("pictures of two");
        let lines = [("host", "localhost".to_owned())];
        let address = ([127, 0, 0, 1], daemon.port).into();
        let still = exchange_with(address, "HEAD", "/cameras/two/snapshot.jpg", &lines, "").await;
        assert_eq!((still.status, still.header("content-type")), (200, Some("image/jpeg")));
        viewer.leave().await;
        other.leave().await;
        let (ended, log) = daemon.terminate().await;
        assert!(ended.success(), "{log}");
        assert!(log.contains("bitrate is 200 kbit/s from now on") && !log.contains(ADMIN), "{log}");
    }
}
