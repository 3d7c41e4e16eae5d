//! Rooms made and removed over HTTP.

use std::net::{IpAddr, Ipv6Addr};

use portald::proto::ids::Name;
use portald::proto::room;
use portald::server::RoomChange;
use portald::status::State;
use serde_json::{Value, json};

use crate::access::{ADMIN, VIEWER, exchange, guarded, guarded_with, open_socket};
use crate::site::{Response, Server, patient, status, wait};

const PEER: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn a_room_is_made_joined_listed_and_removed() {
    let mut server = guarded(patient()).await;
    let made = post(&server, &json!({ "name": "party", "mode": "mesh" })).await;
    assert_eq!((made.status, made.header("location")), (201, Some("/api/rooms/party")));
    assert_eq!(made.json(), json!({ "name": "party", "mode": "mesh", "members": [] }));
    let added = RoomChange::Added { name: name("party"), cameras: Some(Vec::new()) };
    assert_eq!(wait("the news", server.changes.recv()).await, Some(added));

    let mut guest = join(&server, "party").await;
    assert!(guest.info().await["id"].is_string());
    let listed = rooms(&server).await;
    assert!(listed.contains(&"party".to_owned()), "{listed:?}");
    let mut other = join(&server, "mesh").await;
    other.info().await;

    let removed = change(&server, "DELETE", "/api/rooms/party", "").await;
    assert_eq!((removed.status, removed.body.as_str()), (204, ""));
    assert_eq!(guest.closed().await.1, Some(1001), "as README says");
    let gone = RoomChange::Removed { name: name("party") };
    assert_eq!(wait("the news", server.changes.recv()).await, Some(gone));
    assert!(!rooms(&server).await.contains(&"party".to_owned()));
    let (messages, code) = join(&server, "party").await.closed().await;
    assert_eq!((messages[0]["error"]["code"].as_str(), code), (Some("room_not_found"), Some(1008)));
    assert_eq!(change(&server, "DELETE", "/api/rooms/party", "").await.status, 404);
    other.nothing_came().await;
}

#[tokio::test]
async fn a_kept_seat_goes_with_its_room() {
    let server = guarded(patient()).await;
    let query = format!("room=mesh&sessions=1&token={VIEWER}");
    let host = [("host", "portald".to_owned())];
    let mut client = open_socket(&server, PEER, &host, &query).await.unwrap();
    let info = client.info().await;
    drop(client);
    assert_eq!(change(&server, "DELETE", "/api/rooms/mesh", "").await.status, 204);
    assert_eq!(post(&server, &json!({ "name": "mesh", "mode": "mesh" })).await.status, 201);
    let (id, key) = (info["id"].as_str().unwrap(), info["key"].as_str().unwrap());
    let mut back = open_socket(&server, PEER, &host, &format!("{query}&id={id}&key={key}")).await.unwrap();
    let again = back.info().await;
    assert!(again["key"].is_string(), "a new seat, with a key of its own");
    assert_ne!(again["key"], info["key"]);
    // The old one's time runs out, and nobody is hurt by it.
    back.nothing_came().await;
}

#[tokio::test]
async fn cameras_are_in_it_that_were_asked_for() {
    let mut server = guarded(patient()).await;
    for (camera, state) in [("door", State::Idle), ("attic", State::Absent), ("off", State::Disabled)] {
        server.cameras.set(status(camera, &["home"], state));
    }
    for (body, cameras) in [
        (json!({ "name": "all" }), None),
        (json!({ "name": "none", "cameras": [] }), Some(vec![])),
        (json!({ "name": "one", "mode": "mesh", "cameras": ["attic"] }), Some(vec![name("attic")])),
    ] {
        assert_eq!(post(&server, &body).await.status, 201, "{body}");
        let room = name(body["name"].as_str().unwrap());
        let expected = RoomChange::Added { name: room, cameras };
        assert_eq!(wait("the news", server.changes.recv()).await, Some(expected));
    }
    for camera in ["off", "nothing"] {
        let refused = post(&server, &json!({ "name": "more", "cameras": [camera] })).await;
        assert_eq!(refused.status, 400);
        let message = refused.json()["error"]["message"].to_string();
        assert!(message.contains(camera) && message.contains("attic, door"), "{message}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_wish_is_said() {
    let server = guarded_with(patient(), room::Limits { rooms: 4, ..room::Limits::default() }).await;
    for (body, status, code, word) in [
        ("", 400, "bad_request", "\"name\""),
        ("[]", 400, "bad_request", "\"name\""),
        ("{}", 400, "bad_request", "missing field `name`"),
        (r#"{"name":"a","color":"red"}"#, 400, "bad_request", "unknown field `color`"),
        (r#"{"name":"a","mode":"cinema"}"#, 400, "bad_request", "cinema"),
        (r#"{"name":"Living room"}"#, 400, "bad_request", "a-z, 0-9 and -"),
        (r#"{"name":""}"#, 400, "bad_request", "a-z, 0-9 and -"),
        (r#"{"name":"home"}"#, 409, "room_exists", "home"),
        (r#"{"name":"fourth"}"#, 201, "", ""),
        (r#"{"name":"fifth"}"#, 503, "rooms_full", "4 rooms"),
    ] {
        let answer = change(&server, "POST", "/api/rooms", body).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["code"].as_str().unwrap_or_default()), (status, code), "{body}");
        assert!(error["message"].as_str().unwrap_or_default().contains(word), "{body}: {error}");
    }
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(change(&server, "POST", "/api/rooms", &large).await.status, 413);
    assert_eq!(change(&server, "PUT", "/api/rooms", "{}").await.header("allow"), Some("GET, HEAD, POST"));
    assert_eq!(change(&server, "PUT", "/api/rooms/home", "{}").await.header("allow"), Some("DELETE"));
    for odd in ["/api/rooms/", "/api/rooms/..%2fhome", "/api/rooms/HOME"] {
        assert_eq!(change(&server, "DELETE", odd, "").await.status, 404, "{odd}");
    }
    assert_eq!(rooms(&server).await, ["attic", "fourth", "home", "mesh"]);
}

#[tokio::test]
async fn without_an_admin_token_nothing_can_be_changed() {
    let server = Server::start().await;
    for (method, path) in [("POST", "/api/rooms"), ("DELETE", "/api/rooms/home"), ("PUT", "/api/rooms/home")]
    {
        let answer = change(&server, method, path, "{}").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        let message = answer.json()["error"]["message"].to_string();
        assert!(message.contains("admin_token_file"), "{message}");
    }
    assert_eq!(server.hub.rooms().await.unwrap().len(), 2);
}

async fn post(server: &Server, body: &Value) -> Response {
    change(server, "POST", "/api/rooms", &body.to_string()).await
}

async fn change(server: &Server, method: &str, path: &str, body: &str) -> Response {
    let lines = [
        ("host", "portald".to_owned()),
        ("authorization", format!("Bearer {ADMIN}")),
        ("content-type", "application/json; charset=utf-8".to_owned()),
    ];
    let peer = if server.address.ip().is_unspecified() { PEER } else { server.address.ip() };
    exchange(server, peer, method, path, &lines, body).await
}

async fn rooms(server: &Server) -> Vec<String> {
    let lines = [("host", "portald".to_owned()), ("authorization", format!("Bearer {ADMIN}"))];
    let list = exchange(server, PEER, "GET", "/api/rooms", &lines, "").await.json();
    list.as_array().unwrap().iter().map(|room| room["name"].as_str().unwrap().to_owned()).collect()
}

async fn join(server: &Server, room: &str) -> crate::site::Client {
    let query = format!("room={room}&token={VIEWER}");
    open_socket(server, PEER, &[("host", "portald".to_owned())], &query).await.unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
