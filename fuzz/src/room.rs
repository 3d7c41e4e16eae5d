//! Any order of joins, messages, closes and pauses, seen from outside: what clients are told must fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portald::proto::ids::{ConnId, Kind, MemberId, Name, RoomMode, Session};
use portald::proto::message::{ClientMessage, Info, ServerMessage};
use portald::proto::room::{CloseReason, Input, Join, Limits, Output, Rooms};
use serde_json::value::RawValue;

use super::Feed;

const ROOMS: [(&str, RoomMode); 2] = [("wall", RoomMode::Wall), ("mesh", RoomMode::Mesh)];
const IDS: [Option<&str>; 8] = [
    None,
    Some("ann"),
    Some("bob"),
    Some("cid"),
    Some("!front"),
    Some("!box.front"),
    Some(""),
    Some("\"<odd>\\"),
];
const TYPES: [&str; 6] = ["chat", "description", "info", "error", "pong", "from"];
/// Members of a room.
const SEATS: usize = 5;
/// The work for one input is bounded, not so the input.
const STEPS: usize = 100;

/// Does what `data` says, step by step.
pub fn run(data: &[u8]) {
    let mut feed = Feed(data);
    let mut world = World::new();
    for _ in 0..STEPS {
        if feed.is_empty() {
            break;
        }
        world.step(&mut feed);
        world.check();
    }
}

struct World {
    rooms: Rooms,
    now: Instant,
    /// By number of the connection; `None` once it is gone.
    clients: Vec<Option<Client>>,
    /// The key that was told last, by room and id.
    keys: BTreeMap<(usize, MemberId), String>,
    /// To which pair each number ever seen belongs.
    numbers: BTreeMap<Session, (usize, BTreeSet<MemberId>)>,
}

struct Client {
    room: usize,
    kind: Kind,
    sessions: bool,
    address: Option<IpAddr>,
    heard: Instant,
    info: Info,
}

impl World {
    fn new() -> Self {
        let limits = Limits { members_per_room: SEATS, seat_queue: 2, seat_bytes: 64, ..Limits::default() };
        // So that numbers come round.
        let mut rooms = Rooms::new(limits).numbered_from(Session(u64::MAX - 10));
        for (name, mode) in ROOMS {
            rooms.add_room(Name::new(name).unwrap(), mode).unwrap();
        }
        Self {
            rooms,
            now: Instant::now(),
            clients: Vec::new(),
            keys: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    fn step(&mut self, feed: &mut Feed<'_>) {
        self.now += Duration::from_millis(1);
        match feed.below(8) {
            0 | 1 => self.join(feed),
            2 => {
                let conn = self.conn(feed);
                self.gone(conn);
                let outputs = self.rooms.handle(self.now, Input::Closed(ConnId(conn as u64)));
                self.read(outputs);
            }
            3 => {
                let conn = self.conn(feed);
                if let Some(client) = self.gone(conn) {
                    self.keys.remove(&(client.room, client.info.id));
                }
                let outputs = self.rooms.handle(self.now, Input::Leave(ConnId(conn as u64)));
                self.read(outputs);
            }
            4 => self.relay(feed),
            5 => self.renew(feed),
            6 => {
                let conn = self.conn(feed);
                self.heard(conn);
                let outputs = self.rooms.handle(self.now, Input::Heard(ConnId(conn as u64)));
                assert!(outputs.is_empty());
            }
            _ => {
                self.now += Duration::from_millis(100) * u32::from(feed.byte());
                let outputs = self.rooms.handle(self.now, Input::Tick);
                self.read(outputs);
                assert!(self.rooms.poll_timeout().is_none_or(|due| due > self.now), "a deadline was missed");
            }
        }
    }

    fn join(&mut self, feed: &mut Feed<'_>) {
        let conn = self.clients.len();
        let (room, id) = (feed.below(2), feed.pick(&IDS));
        let kind = if feed.below(4) == 0 { Kind::Camera } else { Kind::Peer };
        let place = id.and_then(MemberId::new).map(|id| (room, id));
        let key = match feed.below(3) {
            0 => None,
            1 => place.as_ref().and_then(|place| self.keys.get(place)).cloned(),
            _ => Some("wrong".to_owned()),
        };
        let sessions = feed.flag();
        let address = feed.pick(&[None, Some(1), Some(2)]).map(|last| IpAddr::from([10, 0, 0, last]));
        let address = address.filter(|_| kind == Kind::Peer);
        let join = Join {
            room: Some(ROOMS[room].0.to_owned()),
            id: id.map(str::to_owned),
            key: key.clone(),
            sessions,
            kind,
            title: feed.flag().then(|| "t".repeat(300)),
            address,
            fresh_id: MemberId::new(format!("fresh-{conn}")).unwrap(),
            fresh_key: format!("key-{conn}"),
        };
        let is_taken = place.as_ref().is_some_and(|place| self.is_taken(place));
        let outputs = self.rooms.handle(self.now, Input::Join(ConnId(conn as u64), join));
        let told = outputs.iter().find_map(|output| match output {
            Output::Send(ConnId(to), ServerMessage::Info(info)) if *to == conn as u64 => Some(info.clone()),
            _ => None,
        });
        let Some(info) = told else {
            assert!(matches!(outputs[..], [Output::Send(..), Output::Close(_, CloseReason::Refused(_))]));
            assert!(kind == Kind::Peer, "a camera of this box was refused");
            self.clients.push(None);
            return;
        };
        assert!(kind == Kind::Camera || !info.id.is_camera(), "a stranger has a camera's id");
        let granted = place.as_ref().is_some_and(|(_, id)| *id == info.id);
        assert!(granted || info.id.as_str() == format!("fresh-{conn}"));
        if granted && is_taken {
            let right =
                self.keys.get(&(room, info.id.clone())).is_some_and(|told| Some(told) == key.as_ref());
            // Who is away has a key to come back with.
            let yields = self.holder(&(room, info.id.clone())).is_some_and(|old| {
                let silent = self.now - old.heard >= Limits::default().silent_after;
                silent && old.address.is_some() && old.address == address
            });
            let own_camera = kind == Kind::Camera && info.id.is_camera();
            assert!(right || yields || own_camera, "an id was stolen");
        }
        let place = (room, info.id.clone());
        match (&info.key, sessions) {
            (Some(told), true) => drop(self.keys.insert(place, told.clone())),
            (None, true) => assert_eq!(self.keys.get(&place), key.as_ref(), "it came back without its key"),
            (None, false) => drop(self.keys.remove(&place)),
            (Some(_), false) => panic!("a stock client was told a key"),
        }
        let client = Client { room, kind, sessions, address, heard: self.now, info };
        self.clients.push(Some(client));
        self.read(outputs);
    }

    fn relay(&mut self, feed: &mut Feed<'_>) {
        let conn = self.conn(feed);
        let kind = feed.pick(&TYPES);
        let target = self.target(feed);
        self.heard(conn);
        let payload = RawValue::from_string(format!("\"{}\"", "x".repeat(feed.below(64)))).unwrap();
        let message =
            ClientMessage::Relay { kind: kind.to_owned(), payload: payload.into(), target: target.clone() };
        let outputs = self.rooms.handle(self.now, Input::Message(ConnId(conn as u64), message));
        assert!(outputs.len() <= 1);
        let [Output::Send(ConnId(to), message)] = &outputs[..] else { return };
        let ServerMessage::Relay { from, .. } = message else { panic!("{message:?}") };
        let sender = self.clients[conn].as_ref().expect("nobody's words were passed on");
        let receiver = self.clients[usize::try_from(*to).unwrap()].as_ref().expect("words to nobody");
        assert!(!["info", "error", "pong", "from"].contains(&kind), "a reserved type was relayed");
        assert!(*from == sender.info.id && Some(&receiver.info.id) == target.as_ref());
        let sees = |id: &MemberId| *id == sender.info.id || sender.info.members.iter().any(|m| m.id == *id);
        assert!(sender.room == receiver.room && sees(&receiver.info.id));
    }

    fn renew(&mut self, feed: &mut Feed<'_>) {
        let conn = self.conn(feed);
        let Some(target) = self.target(feed) else { return };
        self.heard(conn);
        let session = self
            .clients
            .get(conn)
            .and_then(Option::as_ref)
            .and_then(|client| client.info.members.iter().find(|member| member.id == target)?.session);
        let session = session.filter(|_| feed.below(4) > 0).unwrap_or(Session(7));
        let message = ClientMessage::Renew { target, session };
        let outputs = self.rooms.handle(self.now, Input::Message(ConnId(conn as u64), message));
        self.read(outputs);
    }

    /// Takes in what clients are told.
    fn read(&mut self, outputs: Vec<Output>) {
        let mut told = BTreeSet::new();
        for output in outputs {
            match output {
                Output::Send(ConnId(to), ServerMessage::Info(info)) => {
                    assert!(told.insert(to), "two infos at once");
                    let client =
                        self.clients[usize::try_from(to).unwrap()].as_mut().expect("told who is gone");
                    assert_eq!(client.info.id, info.id, "an id changed");
                    for entry in &info.members {
                        let number = entry.session.expect("a number for each pair");
                        let pair = (client.room, BTreeSet::from([entry.id.clone(), info.id.clone()]));
                        let known = self.numbers.entry(number).or_insert_with(|| pair.clone());
                        assert_eq!(*known, pair, "a number of two pairs");
                    }
                    client.info = info;
                }
                Output::Close(ConnId(conn), CloseReason::Replaced) => {
                    assert!(self.gone(usize::try_from(conn).unwrap()).is_some(), "closed who is gone");
                }
                // What waited for one that came back.
                Output::Send(ConnId(to), ServerMessage::Relay { from, .. }) => {
                    let client = self.clients[usize::try_from(to).unwrap()].as_ref().unwrap();
                    assert!(client.sessions && client.info.members.iter().any(|member| member.id == from));
                }
                Output::Dropped(_) => {}
                other => panic!("out of turn: {other:?}"),
            }
        }
    }

    /// What all clients know fits together and to what the API shows.
    fn check(&self) {
        let here: Vec<&Client> = self.clients.iter().flatten().collect();
        let view = self.rooms.view();
        assert!(self.rooms.len() >= here.len());
        for client in &here {
            let (name, mode) = ROOMS[client.room];
            let room = view.iter().find(|room| room.name.as_str() == name).unwrap();
            assert!(room.members.iter().any(|member| member.name == client.info.id));
            let peers = room.members.iter().filter(|member| member.kind == Kind::Peer).count();
            assert!(peers <= SEATS, "a crowd");
            let mut seen = BTreeSet::new();
            for entry in &client.info.members {
                assert!(entry.id != client.info.id && seen.insert(&entry.id), "itself, or one twice");
                assert!(entry.title.as_ref().is_none_or(|title| title.chars().count() <= 200));
                let both_peers = entry.kind == Some(Kind::Peer) && client.kind == Kind::Peer;
                assert!(mode == RoomMode::Mesh || !both_peers, "on a wall viewers do not meet");
            }
        }
        for a in &here {
            for b in here.iter().filter(|b| b.room == a.room) {
                let entry = |of: &Client, id| of.info.members.iter().find(|member| member.id == id).cloned();
                match (entry(a, b.info.id.clone()), entry(b, a.info.id.clone())) {
                    (None, None) => {}
                    (Some(b_of_a), Some(a_of_b)) => {
                        assert_eq!(b_of_a.session, a_of_b.session, "two numbers for one pair");
                        assert!(b_of_a.polite != a_of_b.polite, "both polite, or neither");
                        assert!(a.kind == Kind::Peer || !b_of_a.polite, "a polite camera");
                    }
                    _ => panic!("one sees the other only"),
                }
            }
        }
    }

    fn conn(&self, feed: &mut Feed<'_>) -> usize {
        // One more than there are: somebody who never joined.
        feed.below(self.clients.len() + 1)
    }

    fn target(&self, feed: &mut Feed<'_>) -> Option<MemberId> {
        let id = feed.below(IDS.len() + self.clients.len());
        let fresh = || MemberId::new(format!("fresh-{}", id - IDS.len()));
        IDS.get(id).map_or_else(fresh, |id| id.and_then(MemberId::new))
    }

    fn holder(&self, place: &(usize, MemberId)) -> Option<&Client> {
        self.clients.iter().flatten().find(|client| client.room == place.0 && client.info.id == place.1)
    }

    /// Whether the seat is somebody's, who may be away.
    fn is_taken(&self, place: &(usize, MemberId)) -> bool {
        let view = self.rooms.view();
        let room = view.iter().find(|room| room.name.as_str() == ROOMS[place.0].0).unwrap();
        room.members.iter().any(|member| member.name == place.1)
    }

    fn heard(&mut self, conn: usize) {
        if let Some(Some(client)) = self.clients.get_mut(conn) {
            client.heard = self.now;
        }
    }

    fn gone(&mut self, conn: usize) -> Option<Client> {
        self.clients.get_mut(conn)?.take()
    }
}
