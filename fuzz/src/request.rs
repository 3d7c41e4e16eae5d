//! What a request says of itself: parts of `[what][text]`. `q`: the WebSocket's query. `o`: `Origin`. `h`: `Host`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use portald::config::access::{Host, Networks, Origin, Origins, Scheme};
use portald::proto::ids::{ConnId, Kind, MemberId, Name, RoomMode};
use portald::proto::message::ServerMessage;
use portald::proto::room::{Input, Join, Limits, Output, Rooms};
use portald::server;

use super::{parts, tagged};

/// Reads each as the server does.
pub fn run(data: &[u8]) {
    for (tag, text) in parts(data).filter_map(tagged) {
        match tag {
            b'q' => query(text),
            b'o' => origin(text),
            b'h' => host(text),
            _ => {}
        }
    }
}

/// Whatever is asked for, nobody gets a camera's id or the seat of another.
fn query(text: &str) {
    let now = Instant::now();
    let mut rooms = Rooms::new(Limits::default());
    rooms.add_room(Name::new("home").unwrap(), RoomMode::Wall).unwrap();
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let join = |kind, room, id, key, sessions, n: u64| {
        let fresh_id = MemberId::new(format!("fresh-{n}")).unwrap();
        // Cameras of this box have no address.
        let (title, address) = (None, (n > 0).then_some(address));
        let join =
            Join { room, id, key, sessions, kind, title, address, fresh_id, fresh_key: format!("key-{n}") };
        Input::Join(ConnId(n), join)
    };
    let home = || Some("home".to_owned());
    let _ = rooms.handle(now, join(Kind::Camera, home(), Some("!front".to_owned()), None, true, 0));
    let _ = rooms.handle(now, join(Kind::Peer, home(), Some("ann".to_owned()), None, true, 1));
    let asked = server::join_request(text, address);
    assert_eq!(asked.address, Some(address));
    // A camera of another box, as far as it shows the token: that is asked before.
    let is_camera = asked.kind == Kind::Camera;
    assert!(!is_camera || text.contains("camera") || text.contains('%'));
    for part in [&asked.room, &asked.id, &asked.key].into_iter().flatten() {
        assert!(!part.is_empty() && part.len() <= 3 * text.len());
    }
    let right = asked.key.as_deref() == Some("key-1");
    for output in rooms.handle(now, join(asked.kind, asked.room, asked.id, asked.key, asked.sessions, 2)) {
        match output {
            Output::Send(ConnId(2), ServerMessage::Info(info)) => {
                assert_eq!(info.id.is_camera(), is_camera, "a stranger has a camera's id");
                assert!(
                    !is_camera || info.id.as_str().contains('.'),
                    "another box has the id of a camera of this one"
                );
                assert!(info.id.as_str() != "ann" || right, "a seat without its key");
            }
            Output::Send(_, message) => assert!(message.to_json().len() < 2048),
            Output::Close(ConnId(to), _) => assert!(to == 2 || (to == 1 && right)),
            Output::Dropped(_) => {}
        }
    }
}

fn origin(text: &str) {
    let Some(origin) = Origin::parse(text) else { return };
    let scheme = match origin.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let written = format!("{scheme}://{}:{}", origin.host, origin.port);
    assert_eq!(Origin::parse(&written).as_ref(), Some(&origin), "read back, it is another: {written}");
    assert_eq!(Origins::default().contains(&origin), is_near(&origin.host), "{written}");
    let listed = Origins { any: false, lan: false, listed: vec![origin.clone()] };
    assert!(listed.contains(&origin));
    let none = Origins { any: false, lan: false, listed: Vec::new() };
    assert!(!none.contains(&origin));
}

fn host(text: &str) {
    let Some((host, port)) = Host::parse_with_port(text) else { return };
    let written = port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
    assert_eq!(
        Host::parse_with_port(&written),
        Some((host.clone(), port)),
        "read back, it is another: {written}"
    );
    assert_eq!(host.is_local(), is_near(&host), "{written}");
    if let Host::Name(name) = &host {
        assert!(name.len() <= 253 && !name.is_empty() && *name == name.to_ascii_lowercase());
        assert!(!name.contains(|c: char| c.is_control() || c.is_whitespace() || "/@:?#[]%\\".contains(c)));
        let top = name.rsplit('.').next().unwrap();
        assert!(top.parse::<u64>().is_err(), "browsers read an address there: {name}");
        let public = ["com", "org", "net", "de", "io", "dev"].contains(&top);
        assert!(!(public && name.contains('.') && host.cannot_be_rebound()), "{name}");
    }
}

/// A host of this network, said once more.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Address(address) => Networks::default().contains(*address),
        Host::Name(name) => {
            name.split('.').next_back().is_some_and(|top| top == "localhost" || top == "local")
        }
    }
}
