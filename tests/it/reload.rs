//! SIGHUP through the real daemon: what changed is applied, and nobody else notices.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use gstreamer as gst;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::access::{Secret, exchange_with};
use crate::daemon::{Daemon, LIMIT};
use crate::undisturbed::undisturbed;
use crate::viewer::{Conduct, Viewer};

const STAY: &str = "[camera.stay]\nsource = \"test:ball\"\nwidth = 640\nheight = 360\nframerate = 15\n\
                    bitrate = 500\nrooms = [\"home\"]\n";
const GO: &str = "[camera.go]\nsource = \"test\"\nrooms = [\"home\"]\n";
const HOME: &str = "[room.home]\n";

/// What a member is told of the others: title and session number by id.
type Members = BTreeMap<String, (String, u64)>;

/// Follows the roster of a room.
struct Roster {
    now: watch::Receiver<Members>,
    task: tokio::task::JoinHandle<()>,
}

impl Roster {
    async fn follow(daemon: &Daemon, room: &str) -> Self {
        let url = format!("ws://127.0.0.1:{}/portal?room={room}&sessions=1", daemon.port);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("the daemon accepts");
        let (tell, now) = watch::channel(Members::new());
        let task = tokio::spawn(async move {
            // Reading answers the server's pings.
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["type"] != "info" {
                    continue;
                }
                let members = message["info"]["members"].as_array().expect("a list").iter().map(|member| {
                    let text = |key: &str| member[key].as_str().unwrap_or_default().to_owned();
                    (text("id"), (text("title"), member["session"].as_u64().expect("a number")))
                });
                tell.send_replace(members.collect());
            }
            let _ = socket.close(None).await;
        });
        Self { now, task }
    }

    /// Waits until the roster is as wanted; returns it.
    async fn until(&mut self, what: &str, wanted: impl FnMut(&Members) -> bool) -> Members {
        let met = timeout(LIMIT, self.now.wait_for(wanted)).await;
        let members = met.unwrap_or_else(|_| panic!("never came: {what}")).expect("it follows");
        members.clone()
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn names(daemon: &Daemon, path: &str) -> Vec<String> {
    let (_, body) = daemon.get(path).await.expect("the API answers");
    let list: Vec<Value> = serde_json::from_str(&body).expect("JSON");
    list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// Pictures that a viewer did not get, of those between the first and the last.
fn lost(viewer: &Viewer, from: usize) -> u64 {
    let seen = viewer.seen("stay");
    let steps = seen[from..].windows(2).map(|two| two[1].counter().wrapping_sub(two[0].counter()));
    steps.map(|step| u64::from(step.wrapping_sub(1))).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_and_rooms_come_and_go_and_a_viewer_of_another_camera_loses_no_frame() {
    undisturbed(coming_and_going_costs_no_frame).await;
}

async fn coming_and_going_costs_no_frame() {
    gst::init().unwrap();
    let mut daemon = Daemon::start(&format!("{HOME}{STAY}{GO}")).await;
    let mut roster = Roster::follow(&daemon, "home").await;
    let both = roster.until("both cameras", |members| members.len() == 2).await;
    let conduct = Conduct { decodes: true, camera: Some("stay".into()), ..Conduct::full() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(1)).await.expect("a picture");
    let before = daemon.camera("stay").await;
    // What was on its way then has come.
    timeout(LIMIT, viewer.pictures(30)).await.expect("pictures");
    let begun = viewer.seen("stay").len();

    let said = daemon.reload(&format!("{HOME}{STAY}{GO}width = \"wide\"\n")).await;
    assert!(said.starts_with("ERROR"), "{said}");
    assert!(said.contains("portald.toml:14:9: key `camera.go.width`"), "line and column: {said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(names(&daemon, "/api/cameras").await, ["go", "stay"]);

    let come = "[room.attic]\n[camera.come]\nsource = \"test:snow\"\nrooms = [\"home\", \"attic\"]\n";
    let said = daemon.reload(&format!("{HOME}{STAY}{come}[limits]\nsessions = 9\n")).await;
    assert!(said.contains("camera go left") && said.contains("camera come came"), "{said}");
    assert!(said.contains("room attic opened as a wall") && said.contains("the limits"), "{said}");
    assert!(!said.contains("stay"), "{said}");
    assert_eq!(names(&daemon, "/api/cameras").await, ["come", "stay"]);
    assert_eq!(names(&daemon, "/api/rooms").await, ["attic", "home"]);
    let other =
        roster.until("the other", |members| members.contains_key("!come") && members.len() == 2).await;
    assert_eq!(other["!stay"], both["!stay"], "the same title and session number");
    let mut attic = Roster::follow(&daemon, "attic").await;
    attic.until("it in the new room", |members| members.len() == 1 && members.contains_key("!come")).await;

    let said = daemon.reload(&format!("{HOME}{STAY}{come}[limits]\nsessions = 9\n")).await;
    assert!(said.contains("the configuration is as it was"), "{said}");
    let said = daemon.reload(&format!("{HOME}{STAY}[limits]\nsessions = 9\n")).await;
    assert!(said.contains("camera come left") && said.contains("room attic closed"), "{said}");
    roster.until("that it left", |members| members.len() == 1).await;
    assert_eq!(names(&daemon, "/api/rooms").await, ["home"]);

    timeout(LIMIT, viewer.pictures(30)).await.expect("it goes on");
    assert_eq!(viewer.offers(), 1, "one connection all the time");
    daemon.wait_left_out("stay", before["dropped"].as_u64().unwrap() + lost(&viewer, begun)).await;
    let after = daemon.camera("stay").await;
    assert_eq!(after["renditions"][0]["dropped"], before["renditions"][0]["dropped"], "{after}");
    viewer.leave().await;
    let (status, log) = daemon.terminate().await;
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_changes_keeps_its_viewers_connections() {
    undisturbed(changes_keep_connections).await;
}

async fn changes_keep_connections() {
    gst::init().unwrap();
    let mut daemon = Daemon::start(&format!("{HOME}{STAY}")).await;
    let mut roster = Roster::follow(&daemon, "home").await;
    let first = roster.until("the camera", |members| members.len() == 1).await;
    let conduct = Conduct { decodes: true, camera: Some("stay".into()), ..Conduct::full() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(5)).await.expect("pictures");

    let titled = format!("{HOME}{STAY}title = \"The stairs\"\n");
    let said = daemon.reload(&titled).await;
    assert!(said.contains("camera stay goes on"), "{said}");
    let now = roster.until("its title", |members| members["!stay"].0 == "The stairs").await;
    assert_eq!(now["!stay"].1, first["!stay"].1);
    assert_eq!(daemon.camera("stay").await["title"], "The stairs");

    let said = daemon.reload(&titled.replace("bitrate = 500", "bitrate = 300")).await;
    assert!(said.contains("camera stay goes on"), "{said}");
    daemon
        .wait_for("the other bit rate", async |daemon: &Daemon| {
            daemon.camera("stay").await["renditions"][0]["bitrate"] == 300
        })
        .await;
    timeout(LIMIT, viewer.pictures(10)).await.expect("it goes on");

    let said =
        daemon.reload(&titled.replace("bitrate = 500", "bitrate = 500\nkeyframe_interval = 1.0")).await;
    assert!(said.contains("camera stay is encoded anew"), "{said}");
    timeout(LIMIT, viewer.pictures(10)).await.expect("it goes on");
    assert_eq!(daemon.log().matches("camera stay: capturing").count(), 1, "the device stayed open");

    let said = daemon.reload(&titled.replace("height = 360", "height = 480")).await;
    assert!(said.contains("camera stay is opened anew"), "{said}");
    let tall = || viewer.seen("stay").iter().any(|picture| picture.height == 480);
    daemon.wait_for("the other size", async |_: &Daemon| tall()).await;
    assert_eq!(daemon.camera("stay").await["restarts"], 0, "nothing failed");

    assert_eq!(viewer.offers(), 1, "one connection all the time");
    let last = roster.until("the camera", |members| members.len() == 1).await;
    assert_eq!(last["!stay"].1, first["!stay"].1, "and one number");

    // Another source is another camera.
    let said = daemon.reload(&titled.replace("test:ball", "test:bar")).await;
    assert!(said.contains("camera stay left, camera stay came"), "{said}");
    roster
        .until("another number", |members| members.get("!stay").is_some_and(|s| s.1 != first["!stay"].1))
        .await;
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_whole_box_keeps_to_changes_too() {
    gst::init().unwrap();
    let password = Secret::new("a-password");
    let camera =
        "[camera.one]\nsource = \"test\"\nwidth = 640\nheight = 360\nframerate = 15\nrooms = [\"home\"]\n";
    let mut daemon = Daemon::start(&format!("{HOME}{camera}[limits]\nsessions = 1\n")).await;
    let mut first = Viewer::join(daemon.port, "home", Conduct::default()).await;
    timeout(LIMIT, first.pictures(3)).await.expect("pictures");
    let mut second = Viewer::join(daemon.port, "home", Conduct::default()).await;
    let waits = |viewer: &Viewer| viewer.conditions.lock().unwrap().iter().any(|told| told.1 == "trouble");
    daemon.wait_for("it to wait", async |_: &Daemon| waits(&second)).await;
    daemon.reload(&format!("{HOME}{camera}[limits]\nsessions = 2\n")).await;
    timeout(LIMIT, second.pictures(3)).await.expect("there is a place now");
    first.leave().await;
    second.leave().await;

    // Who may come in, at once and back.
    let guarded = format!("{HOME}{camera}[access]\nviewer_password_file = \"{}\"\n", password.path());
    assert_eq!(daemon.get("/api/cameras").await.unwrap().0, 200);
    let said = daemon.reload(&guarded).await;
    assert!(said.contains("who may come in"), "{said}");
    assert_eq!(daemon.get("/api/cameras").await.unwrap().0, 401);
    assert_eq!(daemon.get("/api/cameras?token=a-password").await.unwrap().0, 200);
    let said =
        daemon.reload(&guarded.replace("home", "den").replace(password.path(), "/nonexistent/pw")).await;
    assert!(said.contains("viewer_password_file in [access]: cannot read /nonexistent/pw"), "{said}");
    assert_eq!(daemon.get("/api/cameras?token=a-password").await.unwrap().0, 200, "nothing was changed");
    let (_, rooms) = daemon.get("/api/rooms?token=a-password").await.unwrap();
    assert!(rooms.contains("home") && !rooms.contains("den"), "{rooms}");

    // What needs a restart is said, each time, and the rest is done.
    let moved = format!("path = \"/elsewhere\"\n{HOME}{camera}title = \"Moved\"\n");
    for _ in 0..2 {
        let before = daemon.log().len();
        daemon.reload(&moved).await;
        daemon
            .wait_for("the advice", async |daemon: &Daemon| {
                daemon.log()[before..].contains("path in [server] needs a restart")
            })
            .await;
    }
    assert_eq!(daemon.camera("one").await["title"], "Moved");
    let mut roster = Roster::follow(&daemon, "home").await;
    roster.until("the camera at the old path", |members| members.len() == 1).await;

    // A room of another mode is another room.
    let said = daemon.reload(&format!("[room.home]\nmode = \"mesh\"\n{camera}")).await;
    assert!(said.contains("room home closed, room home opened as a mesh"), "{said}");
    daemon
        .wait_for("the camera in it", async |daemon: &Daemon| {
            let (_, rooms) = daemon.get("/api/rooms").await.unwrap();
            assert!(rooms.contains(r#""mode":"mesh""#), "{rooms}");
            rooms.contains("!one")
        })
        .await;

    // No camera is configured any more: those that are found take their place, and back.
    let said = daemon.reload(HOME).await;
    assert!(said.contains("camera one left"), "{said}");
    assert!(!names(&daemon, "/api/cameras").await.contains(&"one".to_owned()));
    let said = daemon.reload(&format!("{HOME}{camera}")).await;
    assert!(said.contains("camera one came"), "{said}");
    assert_eq!(names(&daemon, "/api/cameras").await, ["one"]);
    let mut last = Viewer::join(daemon.port, "home", Conduct::default()).await;
    timeout(LIMIT, last.pictures(3)).await.expect("pictures");
    last.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_made_over_http_outlive_a_reload_and_cameras_stay_in_them() {
    let admin = Secret::new("root-token");
    let access = format!("[access]\nadmin_token_file = \"{}\"\n", admin.path());
    let one = "[camera.one]\nsource = \"test\"\n";
    let mut daemon = Daemon::start(&format!("{access}[room.home]\n[room.attic]\n{one}")).await;
    let ask = async |daemon: &Daemon, method: &str, path: &str, body: &str| -> u16 {
        let lines = [
            ("host", "portald".to_owned()),
            ("authorization", "Bearer root-token".to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        let address = ([127, 0, 0, 1], daemon.port).into();
        exchange_with(address, method, path, &lines, body).await.status
    };
    assert_eq!(ask(&daemon, "POST", "/api/rooms", r#"{"name":"party"}"#).await, 201);
    assert_eq!(ask(&daemon, "POST", "/api/rooms", r#"{"name":"solo","cameras":["one"]}"#).await, 201);
    assert_eq!(ask(&daemon, "DELETE", "/api/rooms/attic", "").await, 204);
    daemon
        .wait_for("it to follow", async |daemon: &Daemon| {
            daemon.camera("one").await["rooms"] == json!(["home", "party", "solo"])
        })
        .await;

    // Another camera of that name, and one more.
    let two = "[camera.two]\nsource = \"test\"\n";
    let one = one.replace("test", "test:ball");
    daemon.reload(&format!("{access}[room.home]\n[room.attic]\n{one}{two}")).await;
    assert_eq!(daemon.camera("one").await["rooms"], json!(["home", "party", "solo"]));
    assert_eq!(daemon.camera("two").await["rooms"], json!(["home", "party"]));
    let mut party = Roster::follow(&daemon, "party").await;
    party.until("both", |members| members.len() == 2).await;
    assert!(!names(&daemon, "/api/rooms").await.contains(&"attic".to_owned()), "it was removed");

    // What was made becomes what is configured, and is not interrupted.
    let before = party.now.borrow().clone();
    daemon.reload(&format!("{access}[room.home]\n[room.party]\n{one}{two}")).await;
    assert_eq!(names(&daemon, "/api/rooms").await, ["home", "party", "solo"]);
    assert_eq!(daemon.camera("two").await["rooms"], json!(["home", "party"]));
    assert_eq!(*party.now.borrow(), before);
    daemon.reload(&format!("{access}[room.home]\n{one}{two}")).await;
    assert_eq!(names(&daemon, "/api/rooms").await, ["home", "solo"]);
    assert_eq!(daemon.camera("two").await["rooms"], json!(["home"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_that_nobody_configured_follow_the_rooms() {
    let mut daemon = Daemon::start_saying("[room.home]\n", &["--demo"]).await;
    let rooms = async |daemon: &Daemon| daemon.camera("demo-1").await["rooms"].clone();
    assert_eq!(rooms(&daemon).await, json!(["home"]));
    let said = daemon.reload("[room.home]\n[room.den]\n").await;
    assert!(said.contains("camera demo-1 goes on") && said.contains("camera demo-2 goes on"), "{said}");
    assert_eq!(rooms(&daemon).await, json!(["home", "den"]));
    let said = daemon.reload("[camera.own]\nsource = \"test\"\n").await;
    assert!(said.contains("camera demo-1 left") && said.contains("camera own came"), "{said}");
    assert_eq!(names(&daemon, "/api/cameras").await, ["own"]);
    let said = daemon.reload("[room.home]\n").await;
    assert!(said.contains("camera demo-1 came") && said.contains("camera own left"), "{said}");
    assert_eq!(rooms(&daemon).await, json!(["home"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_on_another_boxs_wall_changes_there_too() {
    gst::init().unwrap();
    let token = Secret::new("barn may come in");
    let file = token.path();
    let mut hub = Daemon::start(&format!(
        "[camera.own]\nsource = \"test\"\n[access]\nuplink_token_file = \"{file}\"\n"
    ))
    .await;
    let uplink = format!(
        "[uplink.hub]\nurl = \"ws://127.0.0.1:{}/portal\"\nroom = \"home\"\nbox = \"barn\"\ntoken_file = \"{file}\"\n",
        hub.port
    );
    let camera = "[camera.door]\nsource = \"test:ball\"\nwidth = 640\nheight = 360\nframerate = 15\n";
    let mut barn = Daemon::start(&format!("{camera}{uplink}")).await;
    let mut roster = Roster::follow(&hub, "home").await;
    let first = roster.until("it", |members| members.contains_key("!barn.door")).await;
    let conduct = Conduct { camera: Some("barn.door".into()), ..Conduct::default() };
    let mut viewer = Viewer::join(hub.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(5)).await.expect("pictures");

    barn.reload(&format!("{camera}title = \"Barn door\"\n{uplink}")).await;
    let titled = roster.until("its title", |members| members["!barn.door"].0 == "Barn door").await;
    assert_eq!(titled["!barn.door"].1, first["!barn.door"].1, "the same connection");
    timeout(LIMIT, viewer.pictures(5)).await.expect("it goes on");
    assert_eq!(viewer.offers(), 1);

    let said = barn.reload(&format!("{camera}title = \"Barn door\"\n")).await;
    assert!(said.contains("uplink hub left"), "{said}");
    roster.until("that it left", |members| members.len() == 1).await;
    let said = barn.reload(&format!("{camera}{uplink}")).await;
    assert!(said.contains("uplink hub came"), "{said}");
    roster.until("that it is back", |members| members.contains_key("!barn.door")).await;
    viewer.leave().await;
    hub.wait_state("own", "idle").await;
}
