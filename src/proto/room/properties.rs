//! What holds after any sequence of inputs, checked against a model that keeps a plain list of seats.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;

use super::super::message::{Info, Member, RESERVED};
use super::*;

const SEATS: usize = 6;
/// Cameras of other boxes: fewer than there are ids for them.
const REMOTE: usize = 1;
const QUEUE: usize = 2;
/// Two short messages fit, a long one does not.
const BYTES: usize = 40;
/// See `RENEWALS` in `seat.rs`.
const RENEWALS: u64 = 40;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everyone_knows_the_truth(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.take(&step);
        }
        world.end();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join {
        room: usize,
        asks: Option<usize>,
        key: KeyShown,
        kind: Kind,
        sessions: bool,
        address: u8,
        title: bool,
    },
    Close(usize),
    Leave(usize),
    Heard(usize),
    Report {
        from: usize,
        long: bool,
    },
    Relay {
        from: usize,
        to: usize,
        kind: &'static str,
        long: bool,
    },
    Renew {
        from: usize,
        to: usize,
        outdated: bool,
    },
    Wait {
        millis: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum KeyShown {
    None,
    Right,
    Wrong,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..64usize;
    let key = prop_oneof![2 => Just(KeyShown::None), 3 => Just(KeyShown::Right), 1 => Just(KeyShown::Wrong)];
    let kind = prop_oneof![1 => Just(Kind::Camera), 3 => Just(Kind::Peer)];
    let reserved = prop::sample::select(RESERVED.to_vec());
    let said = prop_oneof![8 => Just("chat"), 1 => Just("description"), 1 => reserved];
    let asks = prop::option::weighted(0.9, 0..IDS.len());
    prop_oneof![
        6 => (0..2usize, asks, key, kind, any::<bool>(), 0..3u8, any::<bool>()).prop_map(
            |(room, asks, key, kind, sessions, address, title)| {
                Step::Join { room, asks, key, kind, sessions, address, title }
            }),
        4 => n.clone().prop_map(Step::Close),
        1 => n.clone().prop_map(Step::Leave),
        1 => n.clone().prop_map(Step::Heard),
        1 => (n.clone(), prop::bool::weighted(0.2)).prop_map(|(from, long)| Step::Report { from, long }),
        6 => (n.clone(), 0..IDS.len(), said, prop::bool::weighted(0.2))
            .prop_map(|(from, to, kind, long)| Step::Relay { from, to, kind, long }),
        2 => (n, 0..IDS.len(), prop::bool::weighted(0.2))
            .prop_map(|(from, to, outdated)| Step::Renew { from, to, outdated }),
        1 => (0..8000u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// The last is none.
const IDS: [&str; 9] = ["ann", "bob", "cid", "!front", "!back", "!barn.door", "!yard.gate", "\"odd\"", ""];
const ROOMS: [(&str, RoomMode); 2] = [("wall", RoomMode::Wall), ("mesh", RoomMode::Mesh)];

/// The rooms and what should be in them.
struct World {
    rooms: Rooms,
    now: Instant,
    /// By number of the connection: where it sits, and its last `info`.
    conns: Vec<Option<(usize, Info)>>,
    seats: BTreeMap<(usize, MemberId), ModelSeat>,
    /// To which pair each number ever seen belongs.
    numbers: BTreeMap<Session, (usize, BTreeSet<MemberId>)>,
    said: u64,
}

#[derive(Debug)]
struct ModelSeat {
    conn: Option<usize>,
    kind: Kind,
    title: Option<String>,
    key: Option<String>,
    address: Option<IpAddr>,
    heard: Instant,
    until: Instant,
    /// Whether it has said, as a camera of another box, how it is.
    reported: bool,
    /// What was said while it was away, and how many bytes that were.
    missed: Vec<(Session, MemberId, u64)>,
    missed_bytes: usize,
    /// Since when it is there, and the renewals it has had.
    since: Instant,
    renewals: u64,
}

impl ModelSeat {
    fn overflowed(&self) -> bool {
        self.missed.len() > QUEUE || self.missed_bytes > BYTES
    }
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            members_per_room: SEATS,
            remote_cameras: REMOTE,
            seat_queue: QUEUE,
            seat_bytes: BYTES,
            ..Limits::default()
        };
        let mut rooms = Rooms::new(limits);
        for (name, mode) in ROOMS {
            rooms.add_room(Name::new(name).unwrap(), mode).unwrap();
        }
        let (conns, seats, numbers) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { rooms, now: Instant::now(), conns, seats, numbers, said: 0 }
    }

    fn take(&mut self, step: &Step) {
        // Time passes with everything, so that silence and expiry meet every other step.
        self.now += Duration::from_millis(1);
        match step {
            Step::Join { room, asks, key, kind, sessions, address, title } => {
                let asks = asks.map(|n| IDS[n]);
                let seat = asks.and_then(MemberId::new).and_then(|id| self.seats.get(&(*room, id)));
                let key = match key {
                    KeyShown::None => None,
                    KeyShown::Right => seat.and_then(|seat| seat.key.clone()),
                    KeyShown::Wrong => Some("wrong".to_owned()),
                };
                let conn = self.conns.len();
                self.join(
                    Join {
                        room: Some(ROOMS[*room].0.to_owned()),
                        id: asks.map(str::to_owned),
                        key,
                        sessions: *sessions || (*kind == Kind::Camera && *address == 0),
                        kind: *kind,
                        title: title.then(|| "title".to_owned()),
                        address: (*address > 0).then(|| IpAddr::from([10, 0, 0, *address])),
                        fresh_id: MemberId::new(format!("fresh-{conn}")).unwrap(),
                        fresh_key: format!("key-{conn}"),
                    },
                    *room,
                );
            }
            Step::Close(n) => self.close(self.pick(*n), Input::Closed, true),
            Step::Leave(n) => self.close(self.pick(*n), Input::Leave, false),
            Step::Heard(n) => {
                let conn = self.pick(*n);
                self.heard(conn);
                assert!(self.rooms.handle(self.now, Input::Heard(ConnId(conn as u64))).is_empty());
            }
            Step::Report { from, long } => self.report(*from, *long),
            Step::Relay { from, to, kind, long } => self.relay(*from, IDS[*to], kind, *long),
            Step::Renew { from, to, outdated } => self.renew(*from, IDS[*to], *outdated),
            Step::Wait { millis } => {
                let until = self.now + Duration::from_millis(*millis);
                while let Some(due) = self.rooms.poll_timeout().filter(|due| *due <= until) {
                    self.now = self.now.max(due);
                    self.tick();
                }
                self.now = until;
                self.tick();
            }
        }
        self.check();
    }

    fn join(&mut self, join: Join, room: usize) {
        let conn = self.conns.len();
        self.conns.push(None);
        let asked = join.id.as_deref().and_then(MemberId::new);
        let holder = asked.as_ref().and_then(|id| self.seats.get(&(room, id.clone())));
        let remote = join.kind == Kind::Camera && join.address.is_some();
        let may_have = |id: &MemberId| match join.kind {
            Kind::Peer => !id.is_camera(),
            Kind::Camera => !remote || id.is_remote_camera(),
        };
        let free = asked.as_ref().is_some_and(may_have) && holder.is_none();
        let opened =
            holder.is_some_and(|seat| seat.key.is_some() && seat.key == join.key && seat.kind == join.kind);
        let is_remote = |seat: &ModelSeat| seat.kind == Kind::Camera && seat.address.is_some();
        let others = |(place, seat): (&(usize, MemberId), &ModelSeat)| {
            place.0 == room && is_remote(seat) && Some(&place.1) != asked.as_ref()
        };
        let welcome = (free || (opened && asked.as_ref().is_some_and(may_have)))
            && self.seats.iter().filter(|entry| others(*entry)).count() < REMOTE;
        let same_camera = holder.is_none_or(|seat| !is_remote(seat));
        let crowded = self.seats.keys().filter(|(in_room, _)| *in_room == room).count() >= SEATS;

        // The newcomer is told who it is by the first `info`; before that it is nobody in the model.
        let outputs = self.rooms.handle(self.now, Input::Join(ConnId(conn as u64), join.clone()));
        let told = outputs.iter().find_map(|output| match output {
            Output::Send(ConnId(to), ServerMessage::Info(info)) if *to == conn as u64 => Some(info.clone()),
            _ => None,
        });
        let Some(info) = told else {
            let due = if remote { !welcome } else { crowded && join.kind == Kind::Peer };
            assert!(due, "refused without need: {join:?}");
            assert!(matches!(outputs[..], [Output::Send(..), Output::Close(_, CloseReason::Refused(_))]));
            return;
        };
        assert!(Some(&info.id) == asked.as_ref() || info.id == join.fresh_id);
        assert!(join.kind == Kind::Camera || !info.id.is_camera(), "a peer with a camera's id");
        assert!(!remote || welcome, "a camera of another box is where it may not be");
        let takes_over = self.seats.contains_key(&(room, info.id.clone()));
        assert!(!crowded || takes_over || join.kind == Kind::Camera, "one too many");
        let own_camera = join.kind == Kind::Camera
            && !remote
            && same_camera
            && asked.as_ref().is_some_and(MemberId::is_camera);
        let granted = Some(&info.id) == asked.as_ref();
        assert!(granted || !(free || own_camera), "an id was not granted");

        let place = (room, info.id.clone());
        let before = self.seats.remove(&place);
        let own = opened && before.is_some();
        let reported = own && before.as_ref().is_some_and(|seat| seat.reported);
        let mut replayed = Vec::new();
        let (mut since, mut renewals) = (self.now, 0);
        if let Some(seat) = before {
            if own {
                (since, renewals) = (seat.since, seat.renewals);
            }
            let silent = self.now - seat.heard >= Duration::from_secs(6);
            let yields = seat.kind == Kind::Peer
                && seat.conn.is_some()
                && silent
                && seat.address.is_some()
                && seat.address == join.address;
            assert!(own || yields || own_camera, "an id was stolen");
            if let Some(old) = seat.conn {
                let replaced = Output::Close(ConnId(old as u64), CloseReason::Replaced);
                assert_eq!(format!("{:?}", outputs[0]), format!("{replaced:?}"));
                self.conns[old] = None;
            } else if own && !seat.overflowed() {
                replayed = seat.missed;
            } else if own {
                let lost: Vec<_> = seat.missed.iter().map(|(session, ..)| Some(*session)).collect();
                assert!(
                    info.members.iter().all(|entry| !lost.contains(&entry.session)),
                    "a gap was passed over"
                );
            }
        }
        let key = join.sessions.then(|| join.key.filter(|_| own).unwrap_or(join.fresh_key));
        assert_eq!(info.key, key.clone().filter(|_| !own), "the key is told with the seat, and then no more");
        self.seats.insert(
            place,
            ModelSeat {
                conn: Some(conn),
                kind: join.kind,
                title: join.title,
                key,
                address: join.address,
                heard: self.now,
                until: self.now,
                reported,
                missed: Vec::new(),
                missed_bytes: 0,
                since,
                renewals,
            },
        );
        // Taken as told already, lest the `info` be found needless.
        self.conns[conn] = Some((room, Info { members: Vec::new(), ..info.clone() }));
        let current = |from: &MemberId| info.members.iter().find(|entry| entry.id == *from)?.session;
        replayed.retain(|(session, from, _)| current(from) == Some(*session));
        let expected: Vec<_> = replayed.into_iter().map(|(_, from, said)| (conn, from, said)).collect();
        assert_eq!(self.read(&outputs, Some(conn), &[]), expected);
    }

    fn close(&mut self, conn: usize, input: fn(ConnId) -> Input, may_return: bool) {
        let place = self.conns.get_mut(conn).and_then(Option::take).map(|(room, info)| (room, info.id));
        let held = place.is_some();
        if let Some(place) = place {
            let seat = self.seats.get_mut(&place).unwrap();
            seat.conn = None;
            seat.until = self.now + Duration::from_secs(10);
            if seat.key.is_none() || !may_return {
                self.seats.remove(&place);
            }
        }
        let outputs = self.rooms.handle(self.now, input(ConnId(conn as u64)));
        assert!(held || outputs.is_empty(), "the end of a connection that held no seat changed something");
        assert!(self.read(&outputs, None, &[]).is_empty());
    }

    fn relay(&mut self, n: usize, to: &str, kind: &str, long: bool) {
        let from = self.pick(n);
        let target = MemberId::new(to);
        self.said += 1;
        let text = format!("{} {}", self.said, if long { "x".repeat(BYTES) } else { String::new() });
        let payload = serde_json::value::to_raw_value(&text).unwrap();
        let size = kind.len() + payload.get().len();
        let message =
            ClientMessage::Relay { kind: kind.to_owned(), payload: payload.into(), target: target.clone() };
        let mut expected = Vec::new();
        let said = self.said;
        let reserved = RESERVED.contains(&kind);
        if let Some((room, info)) = self.heard(from) {
            if target.as_ref() == Some(&info.id) {
                expected.push((from, info.id.clone(), said));
            }
            let entry = info.members.into_iter().find(|entry| Some(&entry.id) == target.as_ref());
            if let Some(Member { id, session: Some(session), .. }) = entry {
                let seat = self.seats.get_mut(&(room, id)).unwrap();
                match seat.conn {
                    Some(to) => expected.push((to, info.id, said)),
                    None if !reserved => {
                        seat.missed.push((session, info.id, said));
                        seat.missed_bytes += size;
                    }
                    None => {}
                }
            }
        }
        if reserved {
            expected.clear();
        }
        let outputs = self.rooms.handle(self.now, Input::Message(ConnId(from as u64), message));
        assert_eq!(self.read(&outputs, None, &[]), expected);
    }

    fn report(&mut self, n: usize, long: bool) {
        let from = self.pick(n);
        let text = if long { "x".repeat(5000) } else { "live".to_owned() };
        let status = serde_json::value::to_raw_value(&text).unwrap();
        if let Some((room, info)) = self.heard(from) {
            let seat = self.seats.get_mut(&(room, info.id)).unwrap();
            seat.reported |= !long && seat.kind == Kind::Camera && seat.address.is_some();
        }
        let outputs =
            self.rooms.handle(self.now, Input::Message(ConnId(from as u64), ClientMessage::Status(status)));
        assert!(self.read(&outputs, None, &[]).is_empty());
    }

    fn renew(&mut self, n: usize, to: &str, outdated: bool) {
        let from = self.pick(n);
        let Some(target) = MemberId::new(to) else { return };
        let mut pair = Vec::new();
        let mut session = Session(0);
        if let Some((_, info)) = self.heard(from).filter(|_| !outdated)
            && let Some(entry) = info.members.iter().find(|entry| entry.id == target)
        {
            session = entry.session.unwrap();
            pair = vec![info.id, target.clone()];
        }
        let message = ClientMessage::Renew { target, session };
        let outputs = self.rooms.handle(self.now, Input::Message(ConnId(from as u64), message));
        let limited =
            outputs.iter().any(|output| matches!(output, Output::Dropped(DropReason::TooManyRenewals)));
        let relayed = self.read(&outputs, None, &pair);
        assert!(relayed.is_empty());
        if let [id, _] = &pair[..] {
            let (room, _) = self.conns[from].as_ref().unwrap();
            let seat = self.seats.get_mut(&(*room, id.clone())).unwrap();
            seat.renewals += u64::from(!limited);
            let seconds = (self.now - seat.since).as_secs();
            assert!(!limited || seat.renewals >= RENEWALS, "limited too early");
            assert!(seat.renewals <= RENEWALS + seconds, "renewed without limit");
        }
        if let [_, target] = &pair[..]
            && !limited
        {
            let (_, info) = self.conns[from].as_ref().unwrap();
            let entry = info.members.iter().find(|entry| entry.id == *target).unwrap();
            assert_ne!(entry.session, Some(session), "renewed in vain");
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        self.seats.retain(|_, seat| seat.conn.is_some() || seat.until > now);
        let outputs = self.rooms.handle(now, Input::Tick);
        assert!(self.read(&outputs, None, &[]).is_empty());
        assert!(self.rooms.poll_timeout().is_none_or(|due| due > now));
    }

    /// Takes in what was sent, as the members do; returns what was relayed. `renewed` are the two whose number
    /// may change although both keep connections.
    fn read(
        &mut self,
        outputs: &[Output],
        joined: Option<usize>,
        renewed: &[MemberId],
    ) -> Vec<(usize, MemberId, u64)> {
        let mut told = BTreeSet::new();
        let mut relayed = Vec::new();
        for output in outputs {
            if let Output::Send(ConnId(conn), message) = output {
                let may_be_told = joined == Some(*conn as usize);
                assert!(
                    may_be_told || !message.to_json().contains("key-"),
                    "a key told to another, or twice"
                );
            }
            match output {
                Output::Send(ConnId(conn), ServerMessage::Info(info)) => {
                    let conn = *conn as usize;
                    assert!(told.insert(conn), "two infos by one input");
                    self.info(conn, info, joined, renewed);
                }
                Output::Send(ConnId(conn), ServerMessage::Relay { payload, from, .. }) => {
                    assert!(self.conns[*conn as usize].is_some(), "sent to one that is gone");
                    relayed.push((*conn as usize, from.clone(), said(payload)));
                }
                Output::Close(ConnId(conn), _) => assert!(self.conns[*conn as usize].is_none()),
                Output::Dropped(_) => {}
                Output::Send(..) => panic!("unasked: {output:?}"),
            }
        }
        relayed
    }

    fn info(&mut self, conn: usize, info: &Info, joined: Option<usize>, renewed: &[MemberId]) {
        let (room, before) = self.conns[conn].clone().expect("an info for one that is gone");
        assert_eq!(before.id, info.id);
        let keeps =
            |id: &MemberId| self.seats.get(&(room, id.clone())).is_some_and(|seat| seat.key.is_some());
        assert!(joined == Some(conn) || before.members != info.members, "told nothing new");
        for entry in &info.members {
            let known = before.members.iter().find(|known| known.id == entry.id);
            let Some(known) = known else { continue };
            let changed = known.session != entry.session;
            assert!(changed || keeps(&info.id), "a stock client rebuilds, so its number must change");
            let just_joined = joined.is_some() && self.seats[&(room, entry.id.clone())].conn == joined;
            let asked = renewed.contains(&entry.id) && renewed.contains(&info.id);
            if keeps(&info.id) && keeps(&entry.id) && !just_joined && !asked {
                assert!(!changed, "a connection was torn down without need");
            }
        }
        self.conns[conn] = Some((room, info.clone()));
    }

    /// Everyone's last `info` is the truth, and everyone's truth is the same.
    fn check(&mut self) {
        for ((room, id), seat) in &self.seats {
            let Some(conn) = seat.conn else { continue };
            let (_, info) = self.conns[conn].as_ref().unwrap();
            let sees = |other: &ModelSeat| match (seat.kind, other.kind) {
                (Kind::Camera, Kind::Camera) => false,
                (Kind::Peer, Kind::Peer) => ROOMS[*room].1 == RoomMode::Mesh,
                _ => true,
            };
            let others =
                self.seats.iter().filter(|((place, other), seat)| place == room && other != id && sees(seat));
            let truth: BTreeMap<_, _> =
                others.map(|((_, id), seat)| (id, (Some(seat.kind), &seat.title))).collect();
            let told: BTreeMap<_, _> =
                info.members.iter().map(|entry| (&entry.id, (entry.kind, &entry.title))).collect();
            assert_eq!(truth, told, "roster of {id}");
            assert_eq!(told.len(), info.members.len(), "listed twice");
            for entry in &info.members {
                let session = entry.session.expect("no number");
                let pair = (*room, BTreeSet::from([id.clone(), entry.id.clone()]));
                let owner = self.numbers.entry(session).or_insert_with(|| pair.clone());
                assert_eq!(*owner, pair, "a number came back for others");
                let other = self.seats[&(*room, entry.id.clone())].conn;
                let back = other.and_then(|conn| self.conns[conn].as_ref());
                let back = back.map(|(_, info)| info.members.iter().find(|entry| entry.id == *id).unwrap());
                if let Some(back) = back {
                    assert_eq!(back.session, entry.session, "two numbers for one pair");
                    assert_ne!(back.polite, entry.polite, "exactly one is polite");
                }
                let polite = match (seat.kind, entry.kind) {
                    (Kind::Peer, Some(Kind::Camera)) => true,
                    (Kind::Camera, _) => false,
                    _ => id.as_str() > entry.id.as_str(),
                };
                assert_eq!(entry.polite, polite, "{id} to {}", entry.id);
            }
        }
        assert_eq!(self.rooms.len(), self.seats.len());
        self.check_view();
    }

    /// What the API shows is the truth too, and no status is longer than it may be.
    fn check_view(&self) {
        for (number, (name, _)) in ROOMS.iter().enumerate() {
            let view = self.rooms.view().into_iter().find(|room| room.name.as_str() == *name).unwrap();
            for member in view.members {
                let seat = &self.seats[&(number, member.name.clone())];
                assert_eq!(member.away, seat.conn.is_none());
                assert_eq!(member.remote, seat.kind == Kind::Camera && seat.address.is_some());
                assert!(!member.remote || member.name.is_remote_camera());
                assert_eq!(member.status.is_some(), seat.reported, "{}", member.name);
            }
        }
    }

    /// When all are gone nothing is left.
    fn end(&mut self) {
        for conn in 0..self.conns.len() {
            self.close(conn, Input::Closed, true);
        }
        self.now += Duration::from_secs(10);
        self.tick();
        self.check();
        assert!(self.rooms.is_empty() && self.rooms.places.is_empty());
        assert!(self.rooms.rooms.values().all(|room| room.pairs() == 0));
    }

    /// A living connection, or else any, or one that never was.
    fn pick(&self, n: usize) -> usize {
        let alive: Vec<usize> = (0..self.conns.len()).filter(|conn| self.conns[*conn].is_some()).collect();
        let picked = if n.is_multiple_of(8) { None } else { alive.get(n % alive.len().max(1)) };
        picked.copied().unwrap_or(n % (self.conns.len() + 1))
    }

    /// Notes a sign of life; returns where the connection sits and what it knows.
    fn heard(&mut self, conn: usize) -> Option<(usize, Info)> {
        let (room, info) = self.conns.get(conn)?.clone()?;
        self.seats.get_mut(&(room, info.id.clone()))?.heard = self.now;
        Some((room, info))
    }
}

/// The number of a message.
fn said(payload: &serde_json::value::RawValue) -> u64 {
    let text: String = serde_json::from_str(payload.get()).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
