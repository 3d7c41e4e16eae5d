//! Cameras of other boxes as members of our rooms: who may be one, what the API shows, what viewers see.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use portald::config::settings::{self, SecretFile};
use portald::server::access::Access;
use serde_json::{Value, json};

use crate::site::{Server, ids, patient, wait};

const TOKEN: &str = "barn-and-yard-may-come-in";

#[tokio::test]
async fn only_a_box_that_shows_the_token_adds_a_camera() {
    let server = server().await;
    let camera = "room=home&sessions=1&kind=camera&id=!barn.door";
    for refused in [camera.to_owned(), format!("{camera}&token=wrong"), format!("{camera}&token={TOKEN}x")] {
        refusal(&server, server.connect(&refused).await, "unauthorized", "uplink_token_file").await;
    }
    refusal(&server, server.connect_with(camera, "wrong").await, "unauthorized", "uplink_token_file").await;

    let both = format!("{camera}&token={TOKEN}");
    let mut by_address = server.connect(&both).await;
    assert_eq!(by_address.info().await["id"], "!barn.door");
    let mut by_header = server.connect_with("room=home&sessions=1&kind=camera&id=!barn.gate", TOKEN).await;
    assert_eq!(by_header.info().await["id"], "!barn.gate");

    // Without a token configured none is right.
    let closed = Server::start().await;
    refusal(&closed, closed.connect(&both).await, "unauthorized", "uplink_token_file").await;
    // A token does not make a camera of a viewer.
    let mut viewer = server.connect(&format!("room=home&id=!barn.roof&token={TOKEN}")).await;
    assert!(!viewer.info().await["id"].as_str().unwrap().starts_with('!'));
}

#[tokio::test]
async fn a_box_takes_neither_our_cameras_ids_nor_another_boxes() {
    let server = server().await;
    let mut front = server.camera("front", "home").await;
    front.recv().await.unwrap();
    let ask = |id: &str| format!("room=home&sessions=1&kind=camera&id={id}&token={TOKEN}");
    for id in ["!front", "!barn", "ann", "", "!Barn.door", "!a.b.c"] {
        refusal(&server, server.connect(&ask(id)).await, "unauthorized", "!BOX.CAMERA").await;
    }
    let mut door = server.connect(&ask("!barn.door")).await;
    let key = door.info().await["key"].as_str().unwrap().to_owned();
    refusal(&server, server.connect(&ask("!barn.door")).await, "id_taken", "same name").await;
    refusal(&server, server.connect(&(ask("!barn.door") + "&key=guess")).await, "id_taken", "same name")
        .await;
    door.nothing_came().await;
    // Lost without a goodbye: the seat is kept for its key.
    drop(door);
    refusal(&server, server.connect(&ask("!barn.door")).await, "id_taken", "same name").await;
    let mut back = server.connect(&(ask("!barn.door") + "&key=" + &key)).await;
    assert_eq!(back.info().await["id"], "!barn.door");
}

#[tokio::test]
async fn viewers_see_it_and_a_lost_socket_changes_nothing_for_them() {
    let server = server().await;
    let mut ann = server.connect("room=home&sessions=1&id=ann").await;
    ann.info().await;
    let ask = format!("room=home&sessions=1&kind=camera&id=!barn.door&title=Barn+door&token={TOKEN}");
    let mut door = server.connect(&ask).await;
    let own = door.info().await;
    assert_eq!((ids(&own), own["members"][0]["polite"].as_bool()), (vec!["ann"], Some(false)));
    let roster = ann.info().await;
    let entry = &roster["members"][0];
    assert_eq!(
        (entry["id"].as_str(), entry["kind"].as_str(), entry["title"].as_str(), entry["polite"].as_bool()),
        (Some("!barn.door"), Some("camera"), Some("Barn door"), Some(true))
    );
    // Two cameras have nothing to say to each other.
    let mut gate = server.connect(&ask.replace("door", "gate")).await;
    assert_eq!(ids(&gate.info().await), ["ann"]);
    assert_eq!(ids(&ann.info().await), ["!barn.door", "!barn.gate"]);
    door.nothing_came().await;

    drop(door);
    let lost = async { while camera(&server, "barn.door").await["state"] != "absent" {} };
    wait("the loss", lost).await;
    let shown = camera(&server, "barn.door").await;
    assert_eq!(shown["reason"], "the box does not answer");
    ann.send(&json!({ "type": "candidate", "candidate": null, "target": "!barn.door" })).await;
    ann.nothing_came().await;
    let key = own["key"].as_str().unwrap();
    let mut back = server.connect(&format!("{ask}&key={key}")).await;
    assert_eq!(back.info().await["members"], own["members"], "the connection's number is what it was");
    assert_eq!(back.next().await["type"], "candidate", "what was said meanwhile");
    ann.nothing_came().await;
}

#[tokio::test]
async fn the_api_lists_it_with_what_it_says_of_itself() {
    let server = server().await;
    let ask = format!("room=home&sessions=1&kind=camera&id=!barn.door&title=Door&token={TOKEN}");
    let mut door = server.connect(&ask).await;
    door.info().await;
    let shown = camera(&server, "barn.door").await;
    assert_eq!((shown["state"].as_str(), shown["viewers"].as_u64()), (Some("opening"), Some(0)));
    let status = json!({ "state": "live", "reason": null, "since": 5, "seen": 4, "viewers": 2,
        "renditions": [{ "name": "main", "width": 640, "height": 360 }] });
    door.send(&json!({ "type": "camera-status", "camera-status": status })).await;
    door.nothing_came().await;
    let shown = camera(&server, "barn.door").await;
    assert_eq!(
        shown,
        json!({ "name": "barn.door", "title": "Door", "rooms": ["home"], "state": "live", "reason": null, "since": 5, "seen": 4,
            "source": "box barn", "renditions": status["renditions"], "viewers": 2, "dropped": 0 })
    );
    // Nonsense and too much of it are as good as nothing.
    for bad in [json!({ "state": "<b>" }), json!(3), json!({ "state": "live", "reason": "x".repeat(5000) })] {
        door.send(&json!({ "type": "camera-status", "camera-status": bad })).await;
        door.nothing_came().await;
    }
    assert_eq!(camera(&server, "barn.door").await["state"], "opening");
    assert!(server.metric("portald_hub_dropped_total{reason=\"invalid\"}").await >= 1);
    // A viewer cannot.
    let mut ann = server.connect("room=home").await;
    ann.info().await;
    ann.send(&json!({ "type": "camera-status", "camera-status": { "state": "live" } })).await;
    ann.nothing_came().await;
    let cameras = server.get("/api/cameras").await.json();
    assert_eq!(cameras.as_array().unwrap().len(), 1, "{cameras}");
    let rooms = server.get("/api/rooms").await.json();
    assert_eq!(rooms[0]["members"][0]["remote"], true, "{rooms}");
}

/// A portald with an uplink token.
async fn server() -> Server {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file: PathBuf =
        std::env::temp_dir().join(format!("portald-it-token-{}-{number}", std::process::id()));
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let token = Some(SecretFile::Path(file.clone()));
    let settings = settings::Access { uplink_token: token, ..settings::Access::default() };
    let access = Access::open(&settings, &[]).unwrap();
    std::fs::remove_file(&file).unwrap();
    Server::guarded(patient(), access).await
}

async fn camera(server: &Server, name: &str) -> Value {
    let cameras = server.get("/api/cameras").await.json();
    let found = cameras.as_array().unwrap().iter().find(|camera| camera["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {cameras}")).clone()
}

/// The client is told what is wrong, closed, and has no seat.
async fn refusal(server: &Server, mut client: crate::site::Client, code: &str, why: &str) {
    let before = server.hub.rooms().await.unwrap()[0].members.len();
    let (messages, closed) = client.closed().await;
    let [error] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((&error["type"], &error["error"]["code"]), (&json!("error"), &json!(code)), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains(why), "{error}");
    assert_eq!(closed, Some(1008));
    assert_eq!(server.hub.rooms().await.unwrap()[0].members.len(), before);
}
