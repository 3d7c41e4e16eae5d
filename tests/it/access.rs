//! Who may come in, and what it costs those who are in when somebody may not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use portald::config::settings::{self as config, Networks, Origin, Origins, SecretFile};
use portald::hub::{Delivery, Membership};
use portald::proto::ids::{MemberId, Name, RoomMode};
use portald::proto::message::{ClientMessage, ServerMessage};
use portald::proto::room;
use portald::server::{Access, Limits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, client_async};

use crate::site::{Client, Response, Server, Setup, ids, patient, wait};

pub(crate) const VIEWER: &str = "sesame";
pub(crate) const ADMIN: &str = "root-token";
const UPLINK: &str = "box-token";
pub(crate) const ATTIC: &str = "attic-token";

/// One row: address · `Host` · `Origin` · one more header · what is asked · what comes of it.
///
/// The address is that of the connection when it is one of this machine; any other is played by a trusted proxy on
/// 127.0.0.1. `Host` is `portald` where none is given. `{viewer}` and the like are the cookies of who logged in.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

/// Requests that are answered at once. The outcome is the status, then the error's code, or `login` for the login page;
/// of a WebSocket, `in` when it got a seat, or the error's code and the code that it was closed with.
#[rustfmt::skip]
const ROWS: [Row; 99] = [
    // Addresses: the LAN, what is listed besides, and nobody else. A proxy speaks for others, nobody else does.
    ("127.0.0.1", "", "", "", "GET /healthz", "200"),
    ("::1", "", "", "", "GET /healthz", "200"),
    ("192.168.1.7", "", "", "", "GET /healthz", "200"),
    ("10.9.8.7", "", "", "", "GET /healthz", "200"),
    ("169.254.1.1", "", "", "", "GET /healthz", "200"),
    ("fd00::7", "", "", "", "GET /healthz", "200"),
    ("fe80::7", "", "", "", "GET /healthz", "200"),
    ("::ffff:192.168.1.7", "", "", "", "GET /healthz", "200"),
    ("100.64.0.7", "", "", "", "GET /healthz", "200"),
    ("8.8.8.8", "", "", "", "GET /healthz", "403 network_refused"),
    ("2001:db8::7", "", "", "", "GET /healthz", "403 network_refused"),
    ("::ffff:8.8.8.8", "", "", "", "GET /wall.css", "403 network_refused"),
    ("172.32.0.1", "", "", "", "GET /", "403 network_refused"),
    ("8.8.8.8", "", "", "", "WS room=home&token=sesame", "403 network_refused"),
    ("8.8.8.8", "", "", "", "POST /login password=sesame", "403 network_refused"),
    ("192.168.1.1, 8.8.8.8", "", "", "", "GET /healthz", "403 network_refused"),
    ("8.8.8.8, 192.168.1.7", "", "", "", "GET /healthz", "200"),
    ("nonsense", "", "", "", "GET /healthz", "400 forwarded_invalid"),
    ("192.168.1.7", "", "", "x-forwarded-proto: gopher", "GET /healthz", "400 forwarded_invalid"),
    ("::1", "", "", "x-forwarded-for: 8.8.8.8", "GET /healthz", "200"),
    ("::1", "", "", "x-forwarded-for: nonsense", "GET /healthz", "200"),
    // Names: those that no stranger can have, and those that are listed.
    ("192.168.1.7", "192.168.1.5:8080", "", "", "GET /healthz", "200"),
    ("192.168.1.7", "[fd00::5]:8080", "", "", "GET /healthz", "200"),
    ("192.168.1.7", "pi.local", "", "", "GET /healthz", "200"),
    ("192.168.1.7", "cams.example.org", "", "", "GET /healthz", "200"),
    ("192.168.1.7", "evil.com", "", "", "GET /healthz", "403 host_refused"),
    ("192.168.1.7", "evil.com:8080", "http://evil.com:8080", "cookie: {viewer}", "GET /api/cameras", "403 host_refused"),
    ("192.168.1.7", "evil.com", "http://evil.com", "", "WS room=home&token=sesame", "403 host_refused"),
    ("192.168.1.7", "192.168.1.5.nip.io", "", "", "GET /", "403 host_refused"),
    ("192.168.1.7", "cams.example.org.evil.com", "", "", "GET /", "403 host_refused"),
    ("192.168.1.7", "xcams.example.org", "", "", "GET /", "403 host_refused"),
    ("192.168.1.7", "a b", "", "", "GET /", "403 host_refused"),
    ("192.168.1.7", "", "", "x-forwarded-host: evil.com", "GET /", "403 host_refused"),
    ("::1", "evil.com", "", "x-forwarded-host: cams.example.org", "GET /", "403 host_refused"),
    // Pages: ours, those of the LAN, those that are listed. The password does not help a stranger's page.
    ("192.168.1.7", "", "", "", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "", "http://portald", "", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "cams.example.org", "https://cams.example.org", "x-forwarded-proto: https", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "cams.example.org", "http://cams.example.org", "x-forwarded-proto: https", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "http://192.168.1.9:8000", "", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "", "http://localhost:3000", "", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "", "https://nas.local", "", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "", "https://dashboard.example.org", "", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "", "http://dashboard.example.org", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "https://dashboard.example.org:8443", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "https://dashboard.example.org.evil.com", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "https://evil.com", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "https://evil.com", "cookie: {viewer}", "WS room=home", "403 origin_refused"),
    ("::1", "", "https://evil.com", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "http://portald.evil.com", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "null", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "file://", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "http://portald", "origin: https://evil.com", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "http://192.168.1.9:3000", "", "WS room=home&token=sesame", "in"),
    ("192.168.1.7", "", "https://reader.example.org", "", "WS room=home&token=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "https://evil.com", "", "POST /login password=sesame", "403 origin_refused"),
    ("192.168.1.7", "", "https://evil.com", "authorization: Bearer root-token", "POST /api/rooms", "403 origin_refused"),
    ("192.168.1.7", "", "https://evil.com", "authorization: Bearer root-token", "DELETE /api/rooms/home", "403 origin_refused"),
    // Secrets: each opens what it is for, in whatever way it comes. Styles are everybody's.
    ("192.168.1.7", "", "", "", "GET /wall.css", "200"),
    ("192.168.1.7", "", "", "", "GET /login", "200 login"),
    ("192.168.1.7", "", "", "", "GET /", "401 login"),
    ("192.168.1.7", "", "", "", "GET /?room=attic", "401 login"),
    ("192.168.1.7", "", "", "cookie: {viewer}", "GET /?room=home", "200"),
    ("192.168.1.7", "", "", "cookie: {viewer}", "GET /?room=attic", "401 login"),
    ("192.168.1.7", "", "", "", "GET /?room=attic&token=attic-token", "200"),
    ("192.168.1.7", "", "", "", "GET /api/cameras", "401 unauthorized"),
    ("192.168.1.7", "", "", "", "GET /api/rooms", "401 unauthorized"),
    ("192.168.1.7", "", "", "", "GET /api/rtc", "401 unauthorized"),
    ("192.168.1.7", "", "", "", "GET /api/rtc?token=attic-token", "200"),
    ("192.168.1.7", "", "", "", "GET /metrics", "401 unauthorized"),
    ("192.168.1.7", "", "", "", "GET /metrics?token=attic-token", "401 unauthorized"),
    ("192.168.1.7", "", "", "authorization: Bearer sesame", "GET /metrics", "200"),
    ("192.168.1.7", "", "", "", "GET /api/uplinks", "401 unauthorized"),
    ("192.168.1.7", "", "", "", "GET /api/encoders?token=attic-token", "401 unauthorized"),
    ("192.168.1.7", "", "", "authorization: Bearer sesame", "GET /api/encoders", "200"),
    ("192.168.1.7", "", "", "", "GET /readyz", "200"),
    ("192.168.1.7", "", "", "", "WS room=home", "unauthorized 1008"),
    ("192.168.1.7", "", "", "", "WS room=nowhere", "unauthorized 1008"),
    ("192.168.1.7", "", "", "", "WS room=nowhere&token=sesame", "room_not_found 1008"),
    ("192.168.1.7", "", "", "", "WS token=sesame", "room_not_set 1008"),
    ("192.168.1.7", "", "", "authorization: Bearer sesame", "WS room=home", "in"),
    // kiosk:sesame
    ("192.168.1.7", "", "", "authorization: Basic a2lvc2s6c2VzYW1l", "WS room=home", "in"),
    ("192.168.1.7", "", "http://portald", "cookie: {viewer}", "WS room=home", "in"),
    ("192.168.1.7", "", "", "cookie: {viewer}", "WS room=attic", "unauthorized 1008"),
    ("192.168.1.7", "", "", "cookie: {attic}", "WS room=attic", "in"),
    ("192.168.1.7", "", "", "cookie: {attic}", "WS room=home", "unauthorized 1008"),
    ("192.168.1.7", "", "", "cookie: {admin}", "WS room=attic", "in"),
    ("192.168.1.7", "", "", "cookie: portald-viewer=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "WS room=home", "unauthorized 1008"),
    ("192.168.1.7", "", "", "cookie: portald-admin={viewer-value}", "WS room=attic", "unauthorized 1008"),
    ("192.168.2.1", "", "", "", "WS room=home&token=Sesame", "unauthorized 1008"),
    ("192.168.2.2", "", "", "", "WS room=attic&token=sesame", "unauthorized 1008"),
    ("192.168.2.3", "", "", "", "WS room=home&token=box-token", "unauthorized 1008"),
    ("192.168.2.4", "", "http://portald", "", "POST /login password=wrong", "401 login"),
    ("192.168.2.5", "", "http://portald", "", "POST /login password=sesame", "303"),
    // Changes: with the admin token, and what a browser sends by itself only from our own page.
    ("192.168.1.7", "", "", "cookie: {viewer}", "POST /api/rooms", "401 unauthorized"),
    ("192.168.1.7", "", "", "", "POST /api/rooms?token=root-token", "401 unauthorized"),
    ("192.168.1.7", "", "", "cookie: {admin}", "POST /api/rooms", "401 unauthorized"),
    ("192.168.1.7", "", "http://192.168.1.9:8000", "cookie: {admin}", "DELETE /api/rooms/attic", "401 unauthorized"),
    ("192.168.1.7", "", "http://portald", "cookie: {admin}", "POST /api/rooms", "415 not_json"),
    ("192.168.1.7", "", "", "authorization: Bearer root-token", "DELETE /api/rooms/nowhere", "404 room_not_found"),
];

/// What cannot be told by one request and one answer.
#[derive(Debug, Clone, Copy)]
enum Deed {
    ATakenCameraId,
    AStolenId,
    AForgedInfo,
    AMessageToTheOtherRoom,
    AnOversizeMessage,
    AFlood,
    ASlowReader,
    ASlowHandshake,
    ASlowForm,
    AnOversizeForm,
    Guessing,
    ManySocketsThroughAProxy,
    ARequestWithoutHost,
}

const DEEDS: [Deed; 13] = [
    Deed::ATakenCameraId,
    Deed::AStolenId,
    Deed::AForgedInfo,
    Deed::AMessageToTheOtherRoom,
    Deed::AnOversizeMessage,
    Deed::AFlood,
    Deed::ASlowReader,
    Deed::ASlowHandshake,
    Deed::ASlowForm,
    Deed::AnOversizeForm,
    Deed::Guessing,
    Deed::ManySocketsThroughAProxy,
    Deed::ARequestWithoutHost,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_matrix_holds_and_costs_nobody_else_a_message() {
    let server = guarded(matrix()).await;
    let mut bystander = Bystander::new(&server).await;
    let cookies = Cookies::of(&server).await;
    for row in ROWS {
        let outcome = wait(&format!("{row:?}"), play(&server, &cookies, row)).await;
        assert_eq!(outcome, row.5, "{row:?}");
        bystander.goes_on(&format!("{row:?}")).await;
    }
    for deed in DEEDS {
        wait(&format!("{deed:?}"), commit(&server, &cookies, deed)).await;
        bystander.goes_on(&format!("{deed:?}")).await;
    }
    assert!(bystander.end().await > ROWS.len() as u64);
    for (reason, least) in [
        ("network", 7),
        ("host", 9),
        ("origin", 12),
        ("proxy", 2),
        ("unauthorized", 20),
        ("logins_per_minute", 2),
        ("message_bytes", 1),
        ("messages_per_second", 1),
        ("handshake", 1),
        ("login", 1),
        ("body", 1),
        ("sockets_per_address", 1),
    ] {
        let count = metric(&server, &format!("portald_refused_total{{reason=\"{reason}\"}}")).await;
        assert!(count >= least, "{reason}: {count}");
    }
}

/// Too short for what is slow on purpose; for the others it may be slow by chance.
const SHORT: Duration = Duration::from_millis(200);
/// Wrong passwords of one address a minute: so few that none comes back while they are counted.
const GUESSES: u32 = 2;

/// The limits of the matrix, but for those that a deed shortens for itself.
fn matrix() -> Limits {
    Limits {
        write: Duration::from_secs(2),
        flood: 200,
        per_address: 30,
        logins_per_minute: GUESSES,
        ..patient()
    }
}

/// One request, and what came of it.
async fn play(server: &Server, cookies: &Cookies, (from, host, origin, header, request, _): Row) -> String {
    let (peer, forwarded) = route(from);
    let host = if host.is_empty() { "portald" } else { host };
    let mut lines = vec![("host", host.to_owned())];
    lines.extend(forwarded.map(|from| ("x-forwarded-for", from)));
    lines.extend((!origin.is_empty()).then(|| ("origin", origin.to_owned())));
    lines.extend(header.split_once(": ").map(|(name, value)| (name, cookies.fill(value))));
    let (method, rest) = request.split_once(' ').unwrap();
    if method == "WS" {
        return play_socket(server, peer, &lines, rest).await;
    }
    let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let answer = exchange(server, peer, method, path, &lines, body).await;
    let code = match serde_json::from_str::<Value>(&answer.body) {
        Ok(body) => body["error"]["code"].as_str().map(str::to_owned),
        Err(_) => answer.body.contains("<form method=\"post\" action=\"login\">").then(|| "login".to_owned()),
    };
    [Some(answer.status.to_string()), code].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

async fn play_socket(server: &Server, peer: IpAddr, lines: &[(&'static str, String)], query: &str) -> String {
    match open_socket(server, peer, lines, query).await {
        Ok(mut client) => {
            let first = client.next().await;
            if first["type"] == "info" {
                return "in".to_owned();
            }
            let code = first["error"]["code"].as_str().unwrap().to_owned();
            assert!(first["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{first}");
            format!("{code} {}", client.closed().await.1.unwrap())
        }
        Err(WsError::Http(answer)) => {
            let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
            format!("{} {}", answer.status().as_u16(), body["error"]["code"].as_str().unwrap())
        }
        Err(fault) => panic!("{fault}"),
    }
}

async fn commit(server: &Server, cookies: &Cookies, deed: Deed) {
    let from = |n: u8| vec![("host", "portald".to_owned()), ("x-forwarded-for", format!("192.168.3.{n}"))];
    let mesh = |n: u8| async move {
        let query = format!("room=mesh&sessions=1&token={VIEWER}");
        open_socket(server, Ipv4Addr::LOCALHOST.into(), &from(n), &query).await.unwrap()
    };
    match deed {
        Deed::ATakenCameraId => {
            for id in ["!door", "!new", "!box.door", "!"] {
                let query = format!("room=home&id={id}&token={VIEWER}");
                let mut thief =
                    open_socket(server, Ipv4Addr::LOCALHOST.into(), &from(1), &query).await.unwrap();
                let given = thief.info().await["id"].as_str().unwrap().to_owned();
                assert!(!given.starts_with('!'), "{id} became {given}");
            }
        }
        Deed::AStolenId => {
            let mut owner = mesh(2).await;
            let info = owner.info().await;
            let (id, key) = (info["id"].as_str().unwrap(), info["key"].as_str().unwrap());
            for wrong in ["", "&key=", "&key=wrong", &format!("&key={}x", key)] {
                // From the owner's own address, too.
                let query = format!("room=mesh&id={id}{wrong}&token={VIEWER}");
                let mut thief =
                    open_socket(server, Ipv4Addr::LOCALHOST.into(), &from(2), &query).await.unwrap();
                assert_ne!(thief.info().await["id"], id, "{wrong}");
                assert_eq!(ids(&owner.info().await).len(), 1);
                thief.socket.close(None).await.unwrap();
                assert!(ids(&owner.info().await).is_empty());
            }
        }
        Deed::AForgedInfo => {
            let (mut forger, mut victim) = (mesh(3).await, mesh(4).await);
            forger.info().await;
            let id = victim.info().await["id"].clone();
            forger.info().await;
            for kind in ["info", "error", "pong", "type", "from", "target"] {
                forger.send(&json!({ "type": kind, kind: { "id": "x", "members": [] }, "target": id })).await;
                assert_eq!(forger.next().await["error"]["code"], "bad_message", "{kind}");
            }
            victim.nothing_came().await;
        }
        Deed::AMessageToTheOtherRoom => {
            let mut stranger = mesh(5).await;
            stranger.info().await;
            stranger.send(&json!({ "type": "chat", "chat": 0, "target": "!door" })).await;
            stranger.nothing_came().await;
        }
        Deed::AnOversizeMessage => {
            let mut client = mesh(6).await;
            client.info().await;
            client.send_text("x".repeat(70_000)).await;
            assert_eq!(client.closed().await.1, Some(1009));
        }
        Deed::AFlood => {
            let mut client = mesh(7).await;
            client.info().await;
            let (mut sink, mut stream) = client.socket.split();
            let flooding = tokio::spawn(async move {
                use futures_util::SinkExt;
                while sink.send(r#"{"type":"x"}"#.into()).await.is_ok() {}
            });
            let mut code = None;
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Close(frame) = message {
                    code = frame.map(|frame| u16::from(frame.code));
                }
            }
            assert_eq!(code, Some(1008));
            drop(stream);
            flooding.await.unwrap();
        }
        Deed::ASlowReader => {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let stream = socket.connect(loopback(server, Ipv4Addr::LOCALHOST.into())).await.unwrap();
            let query = format!("room=mesh&token={VIEWER}");
            let mut slow = upgrade(MaybeTlsStream::Plain(stream), &from(8), &query).await.unwrap();
            let id = slow.info().await["id"].clone();
            let mut talker = mesh(9).await;
            talker.info().await;
            let large = json!({ "type": "chat", "chat": "x".repeat(60_000), "target": id }).to_string();
            let mut sent = 0;
            // Until it is gone.
            loop {
                talker.send_text(&large[..]).await;
                sent += 1;
                talker.send(&json!({ "type": "ping", "ping": sent })).await;
                let answer = talker.next().await;
                if answer["type"] == "info" {
                    assert!(!ids(&answer["info"]).contains(&id.as_str().unwrap()));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert!(sent < 2_000);
            }
        }
        Deed::ASlowHandshake => {
            server.limit(Limits { header: SHORT, ..matrix() });
            for start in ["", "GET /portal?room=home HTTP/1.1\r\nhost: portald\r\nx-slow: "] {
                let mut stream =
                    TcpStream::connect(loopback(server, Ipv4Addr::LOCALHOST.into())).await.unwrap();
                stream.write_all(start.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                assert!(!rest.starts_with(b"HTTP/1.1 200"));
            }
            server.limit(matrix());
        }
        Deed::ASlowForm => {
            server.limit(Limits { login: SHORT, ..matrix() });
            let mut lines = from(10);
            lines.push(("content-length", "500".to_owned()));
            let answer =
                exchange(server, Ipv4Addr::LOCALHOST.into(), "POST", "/login", &lines, "password=").await;
            assert_eq!(answer.status, 408, "{answer:?}");
            server.limit(matrix());
        }
        Deed::AnOversizeForm => {
            let body = "x".repeat(100_000);
            let answer =
                exchange(server, Ipv4Addr::LOCALHOST.into(), "POST", "/login", &from(11), &body).await;
            assert_eq!(answer.status, 413, "{answer:?}");
        }
        Deed::Guessing => guess(server, cookies).await,
        Deed::ManySocketsThroughAProxy => {
            let mut held = Vec::new();
            let refused = loop {
                let query = format!("room=mesh&token={VIEWER}");
                match open_socket(server, Ipv4Addr::LOCALHOST.into(), &from(13), &query).await {
                    Ok(client) => held.push(client),
                    Err(WsError::Http(answer)) => break answer.status().as_u16(),
                    Err(fault) => panic!("{fault}"),
                }
            };
            assert_eq!((refused, held.len()), (503, 30));
            // Others come through the same proxy.
            mesh(14).await.info().await;
        }
        Deed::ARequestWithoutHost => {
            let answer = exchange(server, Ipv4Addr::LOCALHOST.into(), "GET", "/healthz", &[], "").await;
            // HTTP/1.1 wants one, though any may be missing in 1.0.
            assert!([200, 400].contains(&answer.status), "{answer:?}");
        }
    }
}

/// Wrong passwords of one address: some are looked at, then none, not even the right one; cookies still count.
async fn guess(server: &Server, cookies: &Cookies) {
    let lines = vec![("host", "portald".to_owned()), ("x-forwarded-for", "192.168.3.12".to_owned())];
    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    for n in 0..GUESSES {
        let path = format!("/api/cameras?token=wrong-{n}");
        assert_eq!(exchange(server, peer, "GET", &path, &lines, "").await.status, 401, "{n}");
    }
    for path in ["/api/cameras?token=wrong", "/api/cameras?token=sesame", "/?token=sesame"] {
        let answer = exchange(server, peer, "GET", path, &lines, "").await;
        assert_eq!(answer.status, 429, "{path}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    let answer = exchange(server, peer, "POST", "/login", &lines, "password=sesame").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (429, None));
    assert_eq!(play_socket(server, peer, &lines, "room=home&token=sesame").await, "too_many_attempts 1008");
    let with_cookie = [&lines[..], &[("cookie", cookies.fill("{viewer}"))]].concat();
    assert_eq!(exchange(server, peer, "GET", "/api/cameras?token=wrong", &with_cookie, "").await.status, 200);
    assert_eq!(play_socket(server, peer, &with_cookie, "room=home").await, "in");
}

/// A camera and a viewer of the room `home`, who count together as fast as a slow camera sends pictures.
struct Bystander {
    /// What the viewer has sent back.
    counted: watch::Receiver<u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Bystander {
    async fn new(server: &Server) -> Self {
        let camera = server.camera("door", "home").await;
        let query = format!("room=home&sessions=1&token={VIEWER}");
        let lines = [("host", "portald".to_owned())];
        let mut viewer = open_socket(server, Ipv6Addr::LOCALHOST.into(), &lines, &query).await.unwrap();
        let id = MemberId::new(viewer.info().await["id"].as_str().unwrap()).unwrap();
        let (tell, counted) = watch::channel(0);
        let echo = tokio::spawn(async move {
            for expected in 1.. {
                let message = viewer.next().await;
                assert_eq!((&message["type"], &message["count"]), (&json!("count"), &json!(expected)));
                viewer.send(&json!({ "type": "count", "count": expected, "target": "!door" })).await;
            }
        });
        let count = tokio::spawn(Self::count(camera, id, tell));
        Self { counted, tasks: vec![echo, count] }
    }

    async fn count(mut camera: Membership, viewer: MemberId, tell: watch::Sender<u64>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for sent in 1.. {
            ticks.tick().await;
            assert!(camera.send(ClientMessage::relay("count", &sent, &viewer)).await);
            loop {
                match camera.recv().await {
                    Some(Delivery::Message(ServerMessage::Relay { kind, payload, from })) => {
                        assert_eq!((&*kind, payload.get(), &from), ("count", &*sent.to_string(), &viewer));
                        tell.send_replace(sent);
                        break;
                    }
                    // Others join and leave.
                    Some(Delivery::Message(ServerMessage::Info(_))) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Waits for the next number that was on its way for the whole round after now.
    async fn goes_on(&mut self, after: &str) {
        let now = *self.counted.borrow();
        let next = wait(after, self.counted.wait_for(|count| *count > now + 1)).await;
        assert!(next.is_ok(), "the bystander stopped at {now} by {after}");
    }

    async fn end(self) -> u64 {
        for task in &self.tasks {
            assert!(!task.is_finished());
            task.abort();
        }
        *self.counted.borrow()
    }
}

/// The cookies of who logged in.
struct Cookies(Vec<(&'static str, String)>);

impl Cookies {
    async fn of(server: &Server) -> Self {
        let mut cookies = Vec::new();
        for (name, password) in [("viewer", VIEWER), ("admin", ADMIN), ("attic", ATTIC)] {
            let lines = [("host", "portald".to_owned()), ("origin", "http://portald".to_owned())];
            let body = format!("password={password}");
            let answer = exchange(server, Ipv6Addr::LOCALHOST.into(), "POST", "/login", &lines, &body).await;
            assert_eq!((answer.status, answer.header("location")), (303, Some("./")), "{name}");
            let cookie = answer.header("set-cookie").unwrap();
            for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=31536000"] {
                assert!(cookie.split("; ").any(|p| p == part), "{part} in {cookie}");
            }
            assert!(!cookie.contains("Secure") && !cookie.contains(password), "{cookie}");
            cookies.push((name, cookie.split(';').next().unwrap().to_owned()));
        }
        Self(cookies)
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, cookie)| {
            let value = cookie.split_once('=').unwrap().1;
            text.replace(&format!("{{{name}}}"), cookie).replace(&format!("{{{name}-value}}"), value)
        })
    }
}

/// The connection's address for a row, and whom it speaks for.
fn route(from: &str) -> (IpAddr, Option<String>) {
    match from.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => (address, None),
        _ => (Ipv4Addr::LOCALHOST.into(), Some(from.to_owned())),
    }
}

fn loopback(server: &Server, peer: IpAddr) -> SocketAddr {
    SocketAddr::new(peer, server.address.port())
}

/// One request on a connection of its own.
pub(crate) async fn exchange(
    server: &Server,
    peer: IpAddr,
    method: &str,
    path: &str,
    lines: &[(&'static str, String)],
    body: &str,
) -> Response {
    exchange_with(loopback(server, peer), method, path, lines, body).await
}

/// The same with whoever listens at `address`.
pub(crate) async fn exchange_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    lines: &[(&'static str, String)],
    body: &str,
) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in lines {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if method != "GET" && !head.contains("content-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    // Who refuses a body may stop reading it.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut text = String::new();
    wait(path, stream.read_to_string(&mut text)).await.unwrap();
    Response::parse(&text)
}

pub(crate) async fn open_socket(
    server: &Server,
    peer: IpAddr,
    lines: &[(&'static str, String)],
    query: &str,
) -> Result<Client, WsError> {
    let stream = TcpStream::connect(loopback(server, peer)).await.unwrap();
    upgrade(MaybeTlsStream::Plain(stream), lines, query).await
}

pub(crate) async fn upgrade(
    stream: MaybeTlsStream<TcpStream>,
    lines: &[(&'static str, String)],
    query: &str,
) -> Result<Client, WsError> {
    let mut request = format!("ws://portald/portal?{query}").into_client_request()?;
    request.headers_mut().remove("host");
    for (name, value) in lines {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let (socket, _) = client_async(request, stream).await?;
    Ok(Client { socket })
}

async fn metric(server: &Server, line: &str) -> u64 {
    let lines = [("host", "portald".to_owned())];
    let path = format!("/metrics?token={VIEWER}");
    let page = exchange(server, Ipv6Addr::LOCALHOST.into(), "GET", &path, &lines, "").await.body;
    let value = page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {line} in {page}")).parse().unwrap()
}

/// A file with a secret, gone with this.
pub(crate) struct Secret(PathBuf);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        let name = format!("portald-secret-{}-{}", std::process::id(), uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        Self(path)
    }

    /// As the configuration has it.
    #[cfg(feature = "media")]
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn file(&self) -> Option<SecretFile> {
        Some(SecretFile::Path(self.0.clone()))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap()
}

/// A server with every kind of secret; the room `attic` has a token of its own.
pub(crate) async fn guarded(limits: Limits) -> Server {
    guarded_with(limits, Setup::default().rooms).await
}

/// The same with other limits of its rooms.
pub(crate) async fn guarded_with(limits: Limits, rooms: room::Limits) -> Server {
    let [viewer, admin, uplink, attic] = [VIEWER, ADMIN, UPLINK, ATTIC].map(Secret::new);
    let settings = config::Access {
        networks: Networks { listed: vec!["100.64.0.0/10".parse().unwrap()], ..Networks::default() },
        origins: Origins { listed: vec![origin("https://dashboard.example.org")], ..Origins::default() },
        hosts: vec!["cams.example.org".into()],
        cors: vec![origin("http://192.168.1.9:3000"), origin("https://reader.example.org")],
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        viewer_password: viewer.file(),
        admin_token: admin.file(),
        uplink_token: uplink.file(),
    };
    let attic_room = Name::new("attic").unwrap();
    let room = config::Room { name: attic_room.clone(), mode: RoomMode::Wall, token: attic.file() };
    let access = Access::open(&settings, &[room]).unwrap();
    let server = Server::with(Setup { limits, access, rooms, listen: "[::]:0" }).await;
    server.hub.add_room(attic_room, RoomMode::Wall).await.unwrap().unwrap();
    server
}
