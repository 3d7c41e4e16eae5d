//! Cameras of this box on other servers: the socket with everything that befalls it, and the pictures.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gstreamer as gst;
use portald::config::settings::{self, EncoderChoice, SecretFile, Source};
use portald::proto::heard::Heard;
use portald::proto::ids::{MemberId, Name, Session};
use portald::proto::message::ClientMessage;
use portald::status::{CameraStatus, Cameras, State, Uplinks};
use portald::uplink::{self, Receiver, Sender};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::daemon::{Daemon, LIMIT, Reserved};
use crate::site::{status, wait};
use crate::viewer::{Conduct, Viewer};

// The socket: the uplink itself against a server that does as the test says.

#[tokio::test]
async fn it_asks_for_its_id_and_comes_back_with_the_key_of_its_seat() {
    let far = Far::start().await;
    let token = std::env::temp_dir().join(format!("portald-it-uplink-token-{}", std::process::id()));
    fs::write(&token, "s3cret\n").unwrap();
    let near = Near::open(uplink(&far, |uplink| uplink.token = Some(SecretFile::Path(token.clone()))));
    let mut first = far.accept().await;
    for (name, value) in [
        ("room", "a room"),
        ("id", "!barn.door"),
        ("sessions", "1"),
        ("kind", "camera"),
        ("title", "The door"),
    ] {
        assert_eq!(first.query[name], value);
    }
    assert_eq!(first.authorization.as_deref(), Some("Bearer s3cret"));
    assert!(!first.uri.contains("s3cret") && !first.query.contains_key("key"));
    first.info(&[("ann", 1)], Some("the-key")).await;
    assert_eq!(first.until("camera-status").await["camera-status"]["state"], "idle");
    near.until(|near| near.connected()).await;
    drop(first);

    let mut second = far.accept().await;
    assert_eq!((second.query["id"].as_str(), second.query["key"].as_str()), ("!barn.door", "the-key"));
    // No new key: the seat is the old one. A change of the camera is told.
    second.info(&[("ann", 1)], None).await;
    second.until("camera-status").await;
    near.cameras.update(&name("door"), |camera| camera.state = State::Live);
    assert_eq!(second.until("camera-status").await["camera-status"]["state"], "live");
    assert_eq!(near.ended("broken"), 1);

    // Leaving is said, so that no seat is kept.
    tokio::spawn(near.receiver.leave());
    assert_eq!(second.closed().await, Some(1001));
    fs::remove_file(&token).unwrap();
}

#[tokio::test]
async fn what_is_said_while_the_socket_is_away_waits_for_the_connections_that_still_stand() {
    let far = Far::start().await;
    let mut near = Near::open(uplink(&far, |_| {}));
    let mut first = far.accept().await;
    first.info(&[("ann", 1), ("bob", 2)], Some("the-key")).await;
    near.info().await;
    near.say("ann", Some(1), 0).await;
    assert_eq!(first.until("chat").await["target"], "ann");
    drop(first);
    near.until(|near| !near.connected()).await;
    for (peer, session) in [("bob", 2), ("ann", 1), ("cid", 3)] {
        near.say(peer, Some(session), 1).await;
    }
    let mut second = far.accept().await;
    // Bob's connection is another one now, and Cid is gone.
    second.info(&[("ann", 1), ("bob", 4)], None).await;
    assert_eq!(second.until("chat").await["target"], "ann");
    near.info().await;
    near.say("bob", Some(4), 2).await;
    let next = second.until("chat").await;
    assert_eq!((&next["target"], &next["chat"]), (&json!("bob"), &json!(2)), "the old one's is not said");
    assert_eq!(near.uplinks.list()[0].dropped.load(Relaxed), 2);
}

#[tokio::test]
async fn on_a_server_without_numbers_nothing_of_before_is_said_and_a_lost_place_is_noticed() {
    let far = Far::start().await;
    let mut near = Near::open(uplink(&far, |_| {}));
    let mut first = far.accept().await;
    first.bare_info(&["ann"]).await;
    near.info().await;
    near.say("ann", None, 0).await;
    assert_eq!(first.until("chat").await["target"], "ann");
    drop(first);
    near.until(|near| !near.connected()).await;
    near.say("ann", None, 1).await;
    let mut second = far.accept().await;
    second.bare_info(&["ann"]).await;
    near.info().await;
    near.say("ann", None, 2).await;

    // It answers pings, relays to members, and then has deleted us, as the reference server may.
    let (mut chats, mut probes) = (Vec::new(), 0);
    let ended = async {
        while let Some(message) = second.next().await {
            match message["type"].as_str() {
                Some("ping") => second.send(json!({ "type": "pong", "pong": message["ping"] })).await,
                Some("uplink-probe") => {
                    assert_eq!(message["target"], "!barn.door");
                    probes += 1;
                    let echo = json!({ "type": "uplink-probe", "uplink-probe": 1, "from": "!barn.door" });
                    if probes == 1 {
                        second.send(echo).await;
                    }
                }
                Some("chat") => chats.push(message["chat"].clone()),
                _ => {}
            }
        }
    };
    wait("its leaving a room in which it is not", ended).await;
    assert_eq!((chats, probes), (vec![json!(2)], 2));
    near.until(|near| near.ended("forgotten") == 1).await;
    far.accept().await;
}

/// The reference server's worst fault, as the relay has it: an older socket of ours, which a network had swallowed, closes
/// at last and takes the newer one's place in the room with it.
#[tokio::test]
async fn a_reference_server_that_throws_it_out_of_the_room_has_it_back() {
    let relay = Relay::start(0).await;
    let url = format!("ws://127.0.0.1:{}/portal", relay.port);
    let join = |id: &str| tokio_tungstenite::connect_async(format!("{url}?room=b&id={id}"));
    let (mut older, _) = join("!barn.door").await.unwrap();
    wait("the older one's info", older.next()).await;
    let mut near = Near::open(settings_of(url.clone(), |uplink| uplink.room = "b".into()));
    near.info().await;
    near.until(Near::connected).await;
    let (mut viewer, _) = join("ann").await.unwrap();
    let mut seen = async || loop {
        let Some(Ok(Message::Text(text))) = wait("an info", viewer.next()).await else { continue };
        return text.contains("!barn.door");
    };
    assert!(seen().await);
    older.close(None).await.unwrap();
    assert!(!seen().await, "it is out of the room");
    assert!(near.connected(), "and cannot know");
    // The socket that it leaves closes too, and the server tells of that.
    while !seen().await {}
    assert_eq!(near.ended("forgotten"), 1);
}

#[tokio::test]
async fn a_connection_without_a_number_that_cannot_be_saved_has_it_join_again_and_not_at_will() {
    let far = Far::start().await;
    let mut near = Near::open(uplink(&far, |_| {}));
    let mut first = far.accept().await;
    first.bare_info(&["ann"]).await;
    near.info().await;
    near.sender.rebuild();
    assert_eq!(first.closed().await, Some(4000));
    drop(first);
    let mut second = far.accept().await;
    second.bare_info(&["ann"]).await;
    near.info().await;
    // Answered: it must not leave for its silence meanwhile.
    let ping = second.until("ping").await["ping"].clone();
    second.send(json!({ "type": "pong", "pong": ping })).await;
    near.sender.rebuild();
    assert!(timeout(Duration::from_secs(3), far.listener.accept()).await.is_err(), "all others pay for it");
    assert!(near.connected() && near.ended("rebuild") == 1);
}

#[tokio::test]
async fn refusals_are_counted_and_not_asked_again_at_once() {
    let other = json!({ "type": "info", "info": { "id": "1234", "members": [] } });
    let refused = json!({ "type": "error", "error": { "code": "unauthorized", "message": "no" } });
    let taken = json!({ "type": "error", "error": { "code": "id_taken" } });
    for (answer, reason) in [(other, "taken"), (refused, "refused"), (taken, "taken")] {
        let far = Far::start().await;
        let near = Near::open(uplink(&far, |_| {}));
        let mut first = far.accept().await;
        first.send(answer.clone()).await;
        assert_eq!(first.closed().await, Some(4000), "{answer}");
        drop(first);
        near.until(|near| near.ended(reason) == 1).await;
        assert!(!near.connected());
        let again = timeout(Duration::from_secs(3), far.listener.accept()).await;
        assert!(again.is_err(), "{answer}: it must not knock again at once");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_pings_is_left() {
    let far = Far::start().await;
    let near = Near::open(uplink(&far, |_| {}));
    let mut first = far.accept().await;
    first.info(&[], Some("the-key")).await;
    wait("its end", async { while first.next().await.is_some() {} }).await;
    drop(first);
    assert_eq!(far.accept().await.query["key"], "the-key");
    assert_eq!(near.ended("silent"), 1);
}

#[tokio::test]
async fn over_tls_only_the_certificate_with_the_fingerprint_is_spoken_to() {
    let made = rcgen::generate_simple_self_signed(vec!["hub.example".to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let right: [u8; 32] = ring::digest::digest(&ring::digest::SHA256, &der).as_ref().try_into().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    let right_key = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    // One who has the certificate, which is public, and not its key.
    let stolen = rcgen::generate_simple_self_signed(vec!["hub.example".to_owned()]).unwrap();
    let stolen = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(stolen.signing_key.serialize_der()));
    let stolen = rustls::crypto::ring::sign::any_supported_type(&stolen).unwrap();
    let stolen = rustls::sign::CertifiedKey::new(vec![der], stolen);
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    let wrong_key = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    // The right one; another; none, so that an authority would have to have signed it.
    for (fingerprint, acceptor, is_right) in [
        (Some(right), &right_key, true),
        (Some([7; 32]), &right_key, false),
        (None, &right_key, false),
        (Some(right), &wrong_key, false),
    ] {
        // For each its own: one that is turned away soon knocks again.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://{}/portal", listener.local_addr().unwrap());
        let mut near = Near::open(settings_of(url, |uplink| uplink.fingerprint = fingerprint));
        let (tcp, _) = wait("a connection", listener.accept()).await.unwrap();
        let Ok(tls) = acceptor.accept(tcp).await else {
            assert!(!is_right);
            near.until(|near| near.ended("handshake") == 1).await;
            assert!(!near.connected());
            near.receiver.leave().await;
            continue;
        };
        assert!(is_right, "spoke to {fingerprint:?}");
        let mut socket = tokio_tungstenite::accept_async(tls).await.unwrap();
        let info = json!({ "type": "info", "info": { "id": "!barn.door", "members": [], "key": "k" } });
        socket.send(Message::text(info.to_string())).await.unwrap();
        near.info().await;
    }
}

// The pictures: a real daemon with a test camera, other servers, and a viewer there that decodes.

const CAMERA: &str = r#"
[room.home]
[camera.one]
title = "Camera one"
source = "test"
width = 640
height = 360
framerate = 15
bitrate = 600
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_server_shows_its_pictures_whoever_comes_and_when_it_is_started_again() {
    gst::init().unwrap();
    // Its own again when it is started again.
    let reserved = Reserved::new();
    let relay = Relay::start(reserved.port).await;
    let url = format!("ws://127.0.0.1:{}/portal", relay.port);
    let link = format!("[uplink.far]\nurl = \"{url}\"\nroom = \"b\"\nbox = \"barn\"\n");
    let mut daemon = Daemon::start(&format!("{CAMERA}{link}")).await;
    connected(&mut daemon, true).await;
    let conduct = Conduct { sessions: false, decodes: true, ..Conduct::full() };
    let mut viewer = Viewer::join(relay.port, "b", conduct.clone()).await;
    timeout(LIMIT, viewer.pictures(15)).await.expect("pictures over the relay");
    let strange =
        viewer.seen("barn.one").into_iter().find(|seen| (seen.width, seen.identity()) != (640, crc8("one")));
    assert!(strange.is_none(), "{strange:?}");

    // Someone else comes: the server tells everyone, and everything is built anew.
    let before = viewer.offers();
    let mut second = Viewer::join(relay.port, "b", conduct.clone()).await;
    timeout(LIMIT, second.pictures(15)).await.expect("the second one's pictures");
    daemon.wait_for("a new offer", async |_: &Daemon| viewer.offers() > before).await;
    timeout(LIMIT, viewer.pictures(15)).await.expect("pictures over the new connection");
    second.leave().await;

    let port = relay.kill().await;
    connected(&mut daemon, false).await;
    let relay = Relay::start(port).await;
    connected(&mut daemon, true).await;
    let mut third = Viewer::join(relay.port, "b", conduct).await;
    timeout(LIMIT, third.pictures(15)).await.expect("pictures over the relay that was started again");
    third.leave().await;
    viewer.leave().await;
    let (status, log) = daemon.terminate().await;
    assert!(status.success() && !log.contains("not everything ended"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_portald_a_lost_socket_costs_no_picture_and_no_renegotiation() {
    gst::init().unwrap();
    let token = std::env::temp_dir().join(format!("portald-it-hub-token-{}", std::process::id()));
    fs::write(&token, "barn may come in").unwrap();
    let file = token.display();
    let mut hub = Daemon::start(&format!("{CAMERA}[access]\nuplink_token_file = \"{file}\"\n")).await;
    let wire = Wire::to(hub.port).await;
    let url = format!("ws://{}/portal", wire.address);
    let link =
        format!("[uplink.hub]\nurl = \"{url}\"\nroom = \"home\"\nbox = \"barn\"\ntoken_file = \"{file}\"\n");
    let mut barn = Daemon::start(&format!("{CAMERA}{link}")).await;
    connected(&mut barn, true).await;
    remote_state(&mut hub, "idle").await;
    let conduct = Conduct { decodes: true, camera: Some("barn.one".into()), ..Conduct::full() };
    let mut viewer = Viewer::join(hub.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(15)).await.expect("pictures from the barn");
    remote_state(&mut hub, "live").await;
    assert_eq!(hub.camera("barn.one").await["viewers"], 1);

    wire.cut();
    // It may be back before anyone looks.
    let broken = "portald_uplink_ended_total{uplink=\"hub\",camera=\"one\",reason=\"broken\"} 0";
    barn.wait_for("the loss to be counted", async |barn: &Daemon| {
        barn.get("/metrics").await.is_some_and(|(_, page)| !page.lines().any(|line| line == broken))
    })
    .await;
    timeout(LIMIT, viewer.pictures(15)).await.expect("pictures while the socket is away");
    connected(&mut barn, true).await;
    timeout(LIMIT, viewer.pictures(15)).await.expect("pictures afterwards");
    assert_eq!(viewer.offers(), 1, "nothing was negotiated anew");
    remote_state(&mut hub, "live").await;

    viewer.leave().await;
    let (status, log) = barn.terminate().await;
    assert!(status.success() && !log.contains("barn may come in"), "{log}");
    // It said goodbye: nothing is kept of it.
    hub.wait_for("its leaving", async |hub: &Daemon| {
        hub.get("/api/cameras").await.is_some_and(|(_, body)| !body.contains("barn.one"))
    })
    .await;
    fs::remove_file(&token).unwrap();
}

/// Waits until the hub lists the barn's camera as being in `state`.
async fn remote_state(hub: &mut Daemon, state: &str) {
    hub.wait_for(&format!("barn.one to be {state}"), async |hub: &Daemon| {
        let Some((_, body)) = hub.get("/api/cameras").await else { return false };
        let cameras: Vec<Value> = serde_json::from_str(&body).unwrap();
        cameras.iter().any(|camera| camera["name"] == "barn.one" && camera["state"] == state)
    })
    .await;
}

/// Waits until the camera `one` of the daemon has, or has not, its seat at the other server.
async fn connected(daemon: &mut Daemon, wanted: bool) {
    let end = format!("camera=\"one\"}} {}", u8::from(wanted));
    daemon
        .wait_for(&format!("the uplink to be connected: {wanted}"), async |daemon: &Daemon| {
            let Some((_, page)) = daemon.get("/metrics").await else { return false };
            page.lines().any(|line| line.starts_with("portald_uplink_connected{") && line.ends_with(&end))
        })
        .await;
}

/// What the strip of a test camera says of its name; see `src/media/stamp.rs`.
fn crc8(name: &str) -> u8 {
    name.bytes().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// The relay of tests/relay, a process.
struct Relay {
    child: Child,
    port: u16,
}

impl Relay {
    async fn start(port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/relay.mjs");
        let mut child = Command::new("node")
            .args([script, "--port", &port.to_string(), "--rooms", "a,b"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs; `make test` installs it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = wait("the relay", lines.next_line()).await.unwrap();
        let line = line.expect("the relay runs; `npm ci` in tests/relay installs what it needs");
        let port = line.strip_prefix("listening on ").expect("its port").parse().unwrap();
        Self { child, port }
    }

    /// Returns its port.
    async fn kill(mut self) -> u16 {
        self.child.kill().await.unwrap();
        self.port
    }
}

/// A way to a port that can be cut; what comes later gets through.
struct Wire {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Wire {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<JoinSet<()>>>::default();
        let list = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                list.lock().unwrap().spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, connections }
    }

    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

/// The uplink under test, and what it shows of itself.
struct Near {
    sender: Sender,
    receiver: Receiver,
    cameras: Cameras,
    uplinks: Uplinks,
}

impl Near {
    fn open(settings: settings::Uplink) -> Self {
        let (cameras, uplinks) = (Cameras::new(), Uplinks::default());
        cameras.set(CameraStatus { title: "The door".into(), ..status("door", &[], State::Idle) });
        let camera = settings::Camera {
            name: name("door"),
            title: "The door".into(),
            rooms: Vec::new(),
            source: Source::Test("ball".into()),
            wish: settings::Wish::default(),
            encoder: EncoderChoice::Auto,
            bitrate: 2000,
            keyframe_interval: Duration::from_secs(2),
            always_on: false,
            enabled: true,
            rtsp_transport: Default::default(),
            sub: settings::Sub::default(),
        };
        let (sender, receiver) = uplink::Server::new(&settings).uplink(&camera, &cameras, &uplinks).open();
        Self { sender, receiver, cameras, uplinks }
    }

    async fn info(&mut self) {
        match wait("an info", self.receiver.recv()).await {
            Some(Heard::Info(_)) => {}
            other => panic!("instead of an info: {other:?}"),
        }
    }

    /// Says something over the connection of that number.
    async fn say(&self, peer: &str, session: Option<u64>, payload: u64) {
        let message = ClientMessage::relay("chat", &payload, &MemberId::new(peer).unwrap());
        assert!(self.sender.send(message, session.map(Session)).await);
    }

    /// Waits until something holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let held = async {
            while !holds(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        wait("a change of the uplink", held).await;
    }

    fn connected(&self) -> bool {
        self.uplinks.list()[0].connected.load(Relaxed)
    }

    fn ended(&self, reason: &str) -> u64 {
        self.uplinks.list()[0].ends().find(|(label, _)| *label == reason).unwrap().1
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn uplink(far: &Far, change: impl FnOnce(&mut settings::Uplink)) -> settings::Uplink {
    settings_of(format!("ws://{}/portal", far.listener.local_addr().unwrap()), change)
}

fn settings_of(url: String, change: impl FnOnce(&mut settings::Uplink)) -> settings::Uplink {
    let mut uplink = settings::Uplink {
        name: name("hub"),
        url,
        room: "a room".into(),
        cameras: None,
        box_name: Some(name("barn")),
        token: None,
        fingerprint: None,
    };
    change(&mut uplink);
    uplink
}

/// A server that does as the test says.
struct Far {
    listener: TcpListener,
}

impl Far {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    async fn accept(&self) -> FarSocket {
        let (tcp, _) = wait("a connection", self.listener.accept()).await.unwrap();
        let mut asked = None;
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let look = |request: &Request, response: Response| {
            let authorization = request.headers().get("authorization");
            let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
            asked = Some((request.uri().to_string(), authorization));
            Ok(response)
        };
        let socket = wait("the handshake", tokio_tungstenite::accept_hdr_async(tcp, look)).await.unwrap();
        let (uri, authorization) = asked.unwrap();
        let query = uri.split_once('?').unwrap().1;
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        FarSocket { socket, uri, query, authorization }
    }
}

struct FarSocket {
    socket: WebSocketStream<TcpStream>,
    uri: String,
    query: HashMap<String, String>,
    authorization: Option<String>,
}

impl FarSocket {
    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// As a portald sends it.
    async fn info(&mut self, members: &[(&str, u64)], key: Option<&str>) {
        let members: Vec<_> = members
            .iter()
            .map(|(id, session)| json!({ "id": id, "polite": false, "kind": "peer", "session": session }))
            .collect();
        let mut info = json!({ "id": "!barn.door", "members": members });
        if let Some(key) = key {
            info["key"] = json!(key);
        }
        self.send(json!({ "type": "info", "info": info })).await;
    }

    /// As the reference server sends it.
    async fn bare_info(&mut self, members: &[&str]) {
        let members: Vec<_> = members.iter().map(|id| json!({ "id": id, "polite": false })).collect();
        self.send(json!({ "type": "info", "info": { "id": "!barn.door", "members": members } })).await;
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next message of this type; others are passed over.
    async fn until(&mut self, kind: &str) -> Value {
        let found = async {
            loop {
                let message = self.next().await.expect("the socket stays");
                if message["type"] == kind {
                    return message;
                }
            }
        };
        wait(kind, found).await
    }

    /// The code it is closed with.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            match wait("a close", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
