//! Frames from members of a room: parts of `[who][frame]`, said one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portald::proto::ids::{ConnId, Kind, MemberId, Name, RoomMode};
use portald::proto::message::{
    Candidate, ClientMessage, Description, ErrorCode, MAX_MESSAGE, MAX_TYPE, Quality, RESERVED, ServerMessage,
};
use portald::proto::room::{Input, Join, Limits, Output, Rooms};
use serde_json::value::RawValue;

use super::{parts, tagged};

/// Who is there: a camera, a client of ours, a stock client.
const MEMBERS: [&str; 3] = ["!front", "ann", "bob"];
/// What the server may add to a frame that it passes on: its own names and the sender's id.
const ADDED: usize = 200;
/// The longest `error` or `info` in a room of three.
const OWN: usize = 1024;

/// Reads the frames as the server does, and everything that comes of them as a client does.
pub fn run(data: &[u8]) {
    let mut now = Instant::now();
    let is_mesh = data.first().is_some_and(|byte| byte & 0x40 == 0);
    let mut rooms = Rooms::new(Limits::default());
    let mode = if is_mesh { RoomMode::Mesh } else { RoomMode::Wall };
    rooms.add_room(Name::new("home").unwrap(), mode).unwrap();
    for n in 0..MEMBERS.len() {
        let outputs = rooms.handle(now, Input::Join(ConnId(n as u64), join(n)));
        for output in outputs {
            sent(&output);
        }
    }
    for part in parts(data) {
        let Some((who, frame)) = tagged(part) else { continue };
        let who = usize::from(who) % MEMBERS.len();
        now += Duration::from_millis(100);
        match ClientMessage::parse(frame) {
            Ok(message) => said(&mut rooms, now, who, frame, message, is_mesh),
            Err(fault) => {
                let answer = ServerMessage::Error(ErrorCode::BadMessage, Some(fault.to_string()));
                let json = answer.to_json();
                assert!(json.len() < OWN, "a long answer to a bad frame: {} bytes", json.len());
                assert_eq!(fields(&json)["type"].get(), "\"error\"");
            }
        }
    }
}

/// One message that the server takes.
fn said(rooms: &mut Rooms, now: Instant, who: usize, frame: &str, message: ClientMessage, is_mesh: bool) {
    assert!(frame.len() <= MAX_MESSAGE);
    let again = message.to_json();
    assert!(again.len() <= frame.len() + 12 * MAX_TYPE + ADDED);
    if again.len() <= MAX_MESSAGE {
        let read = ClientMessage::parse(&again).expect("what we write we can read");
        assert_eq!(read.to_json(), again);
    }
    let outputs = rooms.handle(now, Input::Message(ConnId(who as u64), message.clone()));
    // A renewal with a stock client renews all of its connections.
    assert!(outputs.len() <= MEMBERS.len(), "one message, and {} outputs", outputs.len());
    for output in &outputs {
        let Some((to, json)) = sent(output) else { continue };
        let Output::Send(_, told) = output else { continue };
        match (told, &message) {
            (ServerMessage::Relay { .. }, ClientMessage::Relay { kind, payload, target }) => {
                let read = fields(&json);
                assert_eq!(text(&read["from"]), MEMBERS[who], "a forged sender");
                assert_eq!(target.as_ref().map(MemberId::as_str), Some(MEMBERS[to]));
                assert_eq!(text(&read["type"]), *kind);
                let passed_on = read.get(kind).map_or("null", |payload| payload.get());
                assert_eq!(passed_on, payload.get(), "a payload was rewritten");
                assert_eq!(read.len(), 2 + usize::from(read.contains_key(kind)));
                assert!(!RESERVED.contains(&kind.as_str()), "a reserved type was relayed: {kind}");
                assert!(kind.len() <= MAX_TYPE && json.len() <= frame.len() + 12 * MAX_TYPE + ADDED);
                assert!(is_mesh || who == 0 || to == 0 || who == to, "on a wall viewers do not meet");
                as_a_camera_reads_it(kind, payload);
            }
            (ServerMessage::Pong(answer), ClientMessage::Ping(number)) => {
                assert_eq!((to, answer.get()), (who, number.get()));
            }
            (ServerMessage::Info(info), ClientMessage::Renew { .. }) => {
                assert!(json.len() < OWN && info.id.as_str() == MEMBERS[to]);
            }
            other => panic!("not an answer: {other:?}"),
        }
    }
}

/// The receiver and the frame of what is sent, which must be JSON with the one type it says.
fn sent(output: &Output) -> Option<(usize, String)> {
    let Output::Send(ConnId(to), message) = output else {
        assert!(matches!(output, Output::Dropped(_)), "nobody is to be closed here: {output:?}");
        return None;
    };
    let json = message.to_json();
    let read = fields(&json);
    // Only what a member sent without a payload goes on without one.
    let relayed = matches!(message, ServerMessage::Relay { .. });
    assert!(relayed || read.contains_key(&text(&read["type"])), "no payload: {json}");
    Some((usize::try_from(*to).unwrap(), json))
}

/// A camera parses further. It may refuse, and must survive.
fn as_a_camera_reads_it(kind: &str, payload: &RawValue) {
    let _ = match kind {
        "description" => serde_json::from_str::<Description>(payload.get()).is_ok(),
        "candidate" => serde_json::from_str::<Option<Candidate>>(payload.get()).is_ok(),
        "quality" => serde_json::from_str::<Quality>(payload.get()).is_ok(),
        _ => false,
    };
}

fn fields(json: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("not JSON: {error}: {json}"))
}

fn text(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).expect("a text")
}

fn join(n: usize) -> Join {
    let kind = if n == 0 { Kind::Camera } else { Kind::Peer };
    Join {
        room: Some("home".to_owned()),
        id: Some(MEMBERS[n].to_owned()),
        key: None,
        sessions: n < 2,
        kind,
        title: Some("T".to_owned()),
        address: None,
        fresh_id: MemberId::new(format!("fresh-{n}")).unwrap(),
        fresh_key: format!("key-{n}"),
    }
}
