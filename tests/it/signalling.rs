//! The signalling server over real sockets: the reference protocol, and what a hostile or broken client can do.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use portald::server::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::site::{Client, Response, Server, ids, patient, wait};

#[tokio::test]
async fn a_ping_is_answered_with_its_number() {
    let server = Server::start().await;
    let mut client = server.connect("room=mesh").await;
    client.info().await;
    client.send(&json!({ "type": "ping", "ping": 7 })).await;
    assert_eq!(client.next().await, json!({ "type": "pong", "pong": 7 }));
}

#[tokio::test]
async fn everyone_in_a_mesh_is_told_who_comes_and_goes() {
    let server = Server::start().await;
    let mut one = server.connect("room=mesh").await;
    let own = one.info().await;
    assert_eq!(own["members"], json!([]));
    let mut two = server.connect("room=mesh").await;
    let info = two.info().await;
    let (one_id, two_id) = (own["id"].as_str().unwrap(), info["id"].as_str().unwrap());
    assert_eq!(ids(&info), [one_id]);
    assert_eq!(info["members"][0]["polite"], json!(two_id > one_id));
    let seen = one.info().await;
    assert_eq!(ids(&seen), [two_id]);
    assert_eq!(seen["members"][0]["polite"], json!(one_id > two_id));
    two.socket.close(None).await.unwrap();
    assert_eq!(one.info().await["members"], json!([]));
}

#[tokio::test]
async fn viewers_of_a_wall_see_cameras_and_do_not_disturb_each_other() {
    let server = Server::start().await;
    let _camera = server.camera("door", "home").await;
    let mut one = server.connect("room=home").await;
    let info = one.info().await;
    assert_eq!(ids(&info), ["!door"]);
    let entry = &info["members"][0];
    assert_eq!(
        (&entry["polite"], &entry["kind"], &entry["title"]),
        (&json!(true), &json!("camera"), &json!("DOOR"))
    );
    let mut two = server.connect("room=home").await;
    two.info().await;
    drop(two);
    one.nothing_came().await;
}

#[tokio::test]
async fn messages_of_any_type_reach_their_target_with_the_senders_id() {
    let server = Server::start().await;
    let (mut one, mut two) = pair(&server).await;
    one.client
        .send(&json!({ "type": "chat", "chat": { "a": [1.5] }, "target": two.id, "from": "forged" }))
        .await;
    assert_eq!(two.client.next().await, json!({ "type": "chat", "chat": { "a": [1.5] }, "from": one.id }));
    // Without a payload or a target, or to nobody: no error, no delivery.
    for lost in [json!({ "type": "chat" }), json!({ "type": "chat", "chat": 1, "target": "nobody" })] {
        one.client.send(&lost).await;
    }
    one.client.nothing_came().await;
    two.client.nothing_came().await;
}

#[tokio::test]
async fn what_only_the_server_says_cannot_be_forged() {
    let server = Server::start().await;
    let (mut one, mut two) = pair(&server).await;
    for kind in ["info", "error", "pong", "type", "from", "target"] {
        one.client
            .send_text(format!(r#"{{"type":"{kind}","{kind}":{{"id":"x"}},"target":"{}"}}"#, two.id))
            .await;
        assert_eq!(one.client.next().await["error"]["code"], "bad_message", "{kind}");
    }
    two.client.nothing_came().await;
}

#[tokio::test]
async fn a_refused_client_is_told_why_and_let_go() {
    let server = Server::start().await;
    for (query, code) in [
        ("", "room_not_set"),
        ("room=", "room_not_set"),
        ("room=cellar", "room_not_found"),
        ("room=ho%20me", "room_not_found"),
    ] {
        let (messages, close) = server.connect(query).await.closed().await;
        assert_eq!(messages.len(), 1, "{query}");
        assert_eq!(
            (&messages[0]["type"], &messages[0]["error"]["code"]),
            (&json!("error"), &json!(code)),
            "{query}"
        );
        assert_eq!(close, Some(1008), "{query}");
    }
    until("their sockets are gone", async || server.metric("portald_connections").await == 1).await;
    for code in ["room_not_set", "room_not_found"] {
        let line = format!("portald_sockets_ended_total{{reason=\"{code}\"}}");
        assert_eq!(server.metric(&line).await, 2, "{code}");
    }
}

#[tokio::test]
async fn a_seat_is_kept_and_taken_again_without_anyone_noticing() {
    let server = Server::start().await;
    let mut other = server.connect("room=mesh&sessions=1").await;
    let other_id = other.info().await["id"].as_str().unwrap().to_owned();
    let mut client = server.connect("room=mesh&sessions=1").await;
    let first = client.info().await;
    other.info().await;
    let (id, key) = (first["id"].as_str().unwrap(), first["key"].as_str().unwrap());
    drop(client);
    until("its socket is gone", async || {
        server.metric("portald_sockets_ended_total{reason=\"client\"}").await == 1
    })
    .await;
    // What is sent meanwhile waits for it.
    other.send(&json!({ "type": "chat", "chat": "wait", "target": id })).await;
    other.nothing_came().await;
    let mut back = server.connect(&format!("room=mesh&sessions=1&id={id}&key={key}")).await;
    let again = back.info().await;
    assert_eq!((&again["id"], &again["members"]), (&first["id"], &first["members"]));
    assert_eq!(back.next().await, json!({ "type": "chat", "chat": "wait", "from": other_id }));
    other.nothing_came().await;
}

#[tokio::test]
async fn who_says_that_it_leaves_keeps_no_seat() {
    let server = Server::start().await;
    let mut other = server.connect("room=mesh&sessions=1").await;
    other.info().await;
    for (code, leaves) in [(1000, true), (1001, true), (4000, false)] {
        let mut client = Known::of(server.connect("room=mesh&sessions=1").await).await;
        other.info().await;
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        client.client.socket.close(Some(frame)).await.unwrap();
        client.client.closed().await;
        if leaves {
            assert_eq!(other.info().await["members"], json!([]), "{code}");
        } else {
            let ended = "portald_sockets_ended_total{reason=\"client\"}";
            until("it is gone", async || server.metric(ended).await == 1).await;
            other.nothing_came().await;
        }
    }
}

#[tokio::test]
async fn an_id_in_use_is_not_given_to_a_stranger() {
    let server = Server::start().await;
    let mut other = server.connect("room=mesh").await;
    let other_id = other.info().await["id"].as_str().unwrap().to_owned();
    let thief = server.connect(&format!("room=mesh&id={other_id}")).await;
    let mut thief = Known::of(thief).await;
    assert_ne!(thief.id, other_id);
    assert_eq!(ids(&other.info().await), [thief.id.as_str()]);
    let mut fake = Known::of(server.connect("room=mesh&id=!door").await).await;
    assert!(!fake.id.starts_with('!'));
    thief.client.info().await;
    fake.client.nothing_came().await;
}

#[tokio::test]
async fn the_close_of_a_replaced_socket_does_not_remove_its_successor() {
    let server = Server::start().await;
    let mut old = server.connect("room=mesh&sessions=1").await;
    let info = old.info().await;
    let (id, key) = (info["id"].as_str().unwrap(), info["key"].as_str().unwrap());
    let mut new = server.connect(&format!("room=mesh&sessions=1&id={id}&key={key}")).await;
    assert_eq!(new.info().await["id"], id);
    assert_eq!(old.closed().await.1, Some(4001));
    drop(old);
    until("it is gone", async || {
        server.metric("portald_sockets_ended_total{reason=\"replaced\"}").await == 1
    })
    .await;
    let mut other = server.connect("room=mesh").await;
    assert_eq!(ids(&other.info().await), [id]);
    other.send(&json!({ "type": "chat", "chat": 1, "target": id })).await;
    new.info().await;
    assert_eq!(new.next().await["chat"], 1);
}

#[tokio::test]
async fn garbage_is_answered_and_disturbs_nobody() {
    let server = Server::start().await;
    let (mut one, mut two) = pair(&server).await;
    for garbage in ["", "{", "[]", "null", "{}", r#"{"type":7}"#, r#"{"type":"ping","ping":"x"}"#, "\u{0}"] {
        one.client.send_text(garbage).await;
        let answer = one.client.next().await;
        assert_eq!(
            (&answer["type"], &answer["error"]["code"]),
            (&json!("error"), &json!("bad_message")),
            "{garbage}"
        );
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    one.client.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(one.client.next().await["error"]["code"], "bad_message");
    one.client.nothing_came().await;
    two.client.nothing_came().await;
}

#[tokio::test]
async fn a_message_over_the_limit_closes_its_sender_only() {
    let server = Server::start().await;
    let (mut one, mut two) = pair(&server).await;
    let fits = json!({ "type": "chat", "chat": "x".repeat(60 * 1024), "target": two.id });
    one.client.send(&fits).await;
    assert_eq!(two.client.next().await["chat"], fits["chat"]);
    // The second is more than the server reads of it: the reason must arrive all the same.
    for size in [64 * 1024, 512 * 1024] {
        let mut over = Known::of(server.connect("room=mesh").await).await;
        two.client.info().await;
        over.client.send(&json!({ "type": "chat", "chat": "x".repeat(size), "target": two.id })).await;
        assert_eq!(over.client.closed().await.1, Some(1009), "{size}");
        assert_eq!(ids(&two.client.info().await), [one.id.as_str()]);
    }
    two.client.nothing_came().await;
}

#[tokio::test]
async fn what_is_no_websocket_closes_its_sender_only() {
    let server = Server::start().await;
    let (mut one, mut two) = pair(&server).await;
    let tokio_tungstenite::MaybeTlsStream::Plain(stream) = one.client.socket.get_mut() else { panic!() };
    // A reserved opcode.
    stream.write_all(&[0x83, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(one.client.closed().await.1, Some(1002));
    assert_eq!(two.client.info().await["members"], json!([]));
}

#[tokio::test]
async fn a_flood_is_thinned_out_then_cut_off() {
    let server = Server::within(Limits { rate: 1, burst: 5, flood: 200, ..patient() }).await;
    let mut other = server.connect("room=mesh").await;
    other.info().await;
    let mut client = server.connect("room=mesh").await;
    client.info().await;
    other.info().await;
    for _ in 0..5 {
        client.nothing_came().await;
    }
    let (mut sink, mut stream) = client.socket.split();
    let flooding = tokio::spawn(async move {
        let mut sent = 0;
        while sink.send(Message::text(r#"{"type":"ping","ping":1}"#)).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let (mut pongs, mut code) = (0, None);
    while let Some(Ok(message)) = wait("the end", stream.next()).await {
        match message {
            Message::Text(text) if text.contains("pong") => pongs += 1,
            Message::Close(frame) => code = frame.map(|frame| u16::from(frame.code)),
            _ => {}
        }
    }
    assert_eq!(code, Some(1008));
    drop(stream);
    let sent: u64 = wait("the flood ends", flooding).await.unwrap();
    assert!(pongs + 200 <= sent, "{pongs} of {sent} answered");
    assert!(server.metric("portald_frames_dropped_total{reason=\"rate\"}").await >= 200);
    assert_eq!(other.info().await["members"], json!([]));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_while_others_go_on() {
    let server = Server::within(Limits {
        write: Duration::from_millis(500),
        rate: 1_000_000,
        burst: 1_000_000,
        ..patient()
    })
    .await;
    let (mut one, two) = pair(&server).await;
    let mut slow = Known::of(slow_reader(&server).await).await;
    assert_eq!(ids(&one.client.info().await).len(), 2);
    // The one who goes on: gets a message for each that the slow one gets.
    let mut going_on = two.client;
    let reading = tokio::spawn(async move {
        going_on.info().await;
        let mut got = 0;
        loop {
            match going_on.next().await {
                message if message["type"] == "chat" => got += 1,
                message if message["type"] == "done" => return (got, message["done"].as_u64().unwrap()),
                message => assert_eq!(message["type"], "info"),
            }
        }
    });
    let large = json!({ "type": "chat", "chat": "x".repeat(60 * 1024), "target": slow.id }).to_string();
    let mut sent = 0;
    let mut told = one.client;
    loop {
        told.send_text(&large).await;
        told.send(&json!({ "type": "chat", "chat": sent, "target": two.id })).await;
        sent += 1;
        // Nothing is faster than our own reading: the answer paces us.
        told.send(&json!({ "type": "ping", "ping": sent })).await;
        let message = told.next().await;
        if message["type"] == "info" {
            assert_eq!(ids(&message["info"]), [two.id.as_str()], "the slow one is gone");
            break;
        }
        assert_eq!(message["pong"], sent);
        assert!(sent < 5_000, "300 MB for one who does not read");
    }
    told.send(&json!({ "type": "done", "done": sent, "target": two.id })).await;
    let (got, all) = wait("the other's messages", reading).await.unwrap();
    assert_eq!(got, all);
    until("it is counted", async || {
        server.metric("portald_sockets_ended_total{reason=\"too_slow\"}").await == 1
    })
    .await;
    // It finds its socket closed when it looks.
    slow.client.closed().await;
}

#[tokio::test]
async fn a_message_that_is_not_taken_in_time_ends_the_socket() {
    let limits = Limits { write: Duration::from_millis(200), close: Duration::from_millis(50), ..patient() };
    let server = Server::within(limits).await;
    let mut one = Known::of(server.connect("room=mesh").await).await;
    let slow = Known::of(slow_reader(&server).await).await;
    one.client.info().await;
    // More than the kernels hold, less than the hub keeps for one member.
    let large = json!({ "type": "chat", "chat": "x".repeat(60 * 1024), "target": slow.id }).to_string();
    for _ in 0..17 {
        one.client.send_text(&large).await;
    }
    assert_eq!(one.client.info().await["members"], json!([]));
    until("it is counted", async || {
        server.metric("portald_sockets_ended_total{reason=\"too_slow\"}").await == 1
    })
    .await;
    assert_eq!(server.metric("portald_hub_slow_closed_total").await, 0, "the hub had room");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_dead() {
    let limits = Limits { ping: Duration::from_millis(50), silence: Duration::from_millis(200), ..patient() };
    let server = Server::within(limits).await;
    // tungstenite answers pings only while it is read: this client does not look.
    let mut client = server.connect("room=mesh").await;
    until("it is given up", async || {
        server.metric("portald_sockets_ended_total{reason=\"silent\"}").await == 1
    })
    .await;
    assert_eq!(client.closed().await.1, Some(4002));
}

#[tokio::test]
async fn a_client_that_answers_pings_lives_on() {
    let limits = Limits { ping: Duration::from_millis(20), ..patient() };
    let server = Server::within(limits).await;
    let mut client = server.connect("room=mesh").await;
    client.info().await;
    for _ in 0..10 {
        let frame = wait("a ping", client.socket.next()).await.unwrap().unwrap();
        assert!(frame.is_ping(), "{frame:?}");
    }
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let server = Server::within(Limits { header: Duration::from_millis(200), ..patient() }).await;
    for start in ["", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // An end or a reset: either way it is over.
        let _ = wait("the cut", stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_response_that_is_not_read_is_given_up() {
    let server = Server::within(Limits {
        connection: Duration::from_millis(200),
        close: Duration::from_millis(100),
        linger: Duration::from_millis(100),
        ..patient()
    })
    .await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // Many answers on one connection, none of them read: at last our own writes end.
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let mut written = 0;
    while wait("the cut", stream.write_all(request.as_bytes())).await.is_ok() {
        written += 1;
        assert!(written < 100_000, "the server reads on for ever");
    }
}

#[tokio::test]
async fn an_address_with_too_many_connections_is_refused_in_words() {
    let server = Server::within(Limits { per_address: 2, ..patient() }).await;
    let mut one = server.connect("room=mesh").await;
    one.info().await;
    let two = server.connect("room=mesh").await;
    let refused = server.get("/healthz").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("2 connections from one address"), "{}", refused.body);
    let Err(tungstenite::Error::Http(answer)) = server.try_connect("room=mesh").await else { panic!() };
    assert_eq!(answer.status(), 503);
    drop(two);
    until("the place is free again", async || server.get("/healthz").await.status == 200).await;
    assert_eq!(server.metric("portald_refused_total{reason=\"sockets\"}").await, 0);
    assert!(server.metric("portald_refused_total{reason=\"sockets_per_address\"}").await >= 2);
    one.info().await;
}

#[tokio::test]
async fn the_last_place_is_refused_in_words() {
    let server = Server::within(Limits { sockets: 1, ..patient() }).await;
    let mut one = server.connect("room=mesh").await;
    one.info().await;
    let refused = server.get("/").await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("all of its 1 connections"), "{}", refused.body);
    one.nothing_came().await;
}

#[tokio::test]
async fn at_the_end_everyone_is_told() {
    let server = Server::start().await;
    let (mut one, mut two) = pair(&server).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    wait("an answer", idle.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.shutdown.send(true).unwrap();
    for client in [&mut one.client, &mut two.client] {
        assert_eq!(client.closed().await.1, Some(1001));
    }
    wait("the idle connection's end", idle.read_to_end(&mut Vec::new())).await.unwrap();
    drop((one, two, idle));
    wait("the server's end", server.serving).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_end_waits_for_nobody_in_particular() {
    let server = Server::within(Limits { shutdown: Duration::from_millis(100), ..patient() }).await;
    // Neither reads, so neither takes part in the goodbye.
    let _socket = server.connect("room=mesh").await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    server.shutdown.send(true).unwrap();
    wait("the server's end", server.serving).await.unwrap();
}

#[tokio::test]
async fn without_a_hub_nobody_is_left_hanging() {
    let server = Server::start().await;
    let mut before = server.connect("room=mesh").await;
    before.info().await;
    server.hub_task.abort();
    assert_eq!(before.closed().await.1, Some(1011));
    assert_eq!(server.connect("room=mesh").await.closed().await.1, Some(1011));
    assert_eq!(server.get("/healthz").await.status, 503);
}

#[tokio::test]
async fn pipelined_frames_after_the_handshake_are_read() {
    // A client may send its first message before it has our 101.
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let handshake = "GET /portal?room=mesh HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let ping = br#"{"type":"ping","ping":1}"#;
    let mut bytes = handshake.as_bytes().to_vec();
    bytes.extend([0x81, 0x80 | u8::try_from(ping.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend(ping);
    stream.write_all(&bytes).await.unwrap();
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&got).contains("pong") {
        let n = wait("a pong", stream.read(&mut buffer)).await.unwrap();
        assert!(n > 0, "closed after {}", String::from_utf8_lossy(&got));
        got.extend(&buffer[..n]);
    }
    assert_eq!(Response::parse(&String::from_utf8_lossy(&got)).status, 101);
}

/// A client and the id it was given.
struct Known {
    client: Client,
    id: String,
}

impl Known {
    async fn of(mut client: Client) -> Self {
        let info = client.info().await;
        Self { client, id: info["id"].as_str().unwrap().to_owned() }
    }
}

/// Two in the mesh who know of each other.
async fn pair(server: &Server) -> (Known, Known) {
    let mut one = Known::of(server.connect("room=mesh").await).await;
    let two = Known::of(server.connect("room=mesh").await).await;
    assert_eq!(ids(&one.client.info().await), [two.id.as_str()]);
    (one, two)
}

/// A client whose kernel takes little on its behalf.
async fn slow_reader(server: &Server) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let url = format!("ws://{}/portal?room=mesh", server.address);
    let stream = tokio_tungstenite::MaybeTlsStream::Plain(stream);
    let (socket, _) = wait("handshake", tokio_tungstenite::client_async(url, stream)).await.unwrap();
    Client { socket }
}

/// Asks again until it is so.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    wait(what, async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
