//! One room: who sees whom, the number of each pair, and who is told when that changes.
//!
//! A change marks the members whose roster is no longer what they were told; [`Room::settle`] then tells them.
//! A stock client rebuilds all its connections when told, so telling it changes the numbers of its pairs, which
//! changes the rosters of others: `settle` follows that to its end before it writes the first `info`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::time::Instant;

use serde_json::value::RawValue;

use super::super::ids::{ConnId, Kind, MemberId, RoomMode, Session};
use super::super::message::{Info, Member, Payload, RESERVED, ServerMessage};
use super::seat::{Holder, Seat};
use super::{DropReason, Join, Limits, Numbers, Output};

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    mode: RoomMode,
    // Apart, because that decides who sees whom: in a wall, each of 1000 viewers looks at the cameras only.
    cameras: BTreeMap<MemberId, Seat>,
    peers: BTreeMap<MemberId, Seat>,
    /// The number of each two that see each other, and of no others.
    pairs: Pairs,
    /// Whose roster is not what they were told. Empty between inputs.
    changed: BTreeSet<MemberId>,
    /// Seats there have been.
    serials: u64,
}

impl Room {
    /// A room without members.
    pub(super) fn new(mode: RoomMode) -> Self {
        Self {
            mode,
            cameras: BTreeMap::new(),
            peers: BTreeMap::new(),
            pairs: Pairs::default(),
            changed: BTreeSet::new(),
            serials: 0,
        }
    }

    /// Who sees whom.
    pub(super) fn mode(&self) -> RoomMode {
        self.mode
    }

    /// How many seats are taken, those kept for a holder that is away included.
    pub(super) fn len(&self) -> usize {
        self.cameras.len() + self.peers.len()
    }

    /// All seats: cameras first, each kind by id.
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.cameras.values().chain(self.peers.values())
    }

    /// The seat with this id.
    pub(super) fn get(&self, id: &MemberId) -> Option<&Seat> {
        self.cameras.get(id).or_else(|| self.peers.get(id))
    }

    /// Adds a seat, whose id is free; each pair it makes is a new one.
    pub(super) fn insert(&mut self, mut seat: Seat, numbers: &mut Numbers) {
        let id = seat.id.clone();
        self.serials += 1;
        seat.serial = self.serials;
        let kind = match seat.kind {
            Kind::Camera => &mut self.cameras,
            Kind::Peer => &mut self.peers,
        };
        kind.insert(id.clone(), seat);
        self.renumber(&id, numbers);
    }

    /// Takes a seat away, and with it the numbers of its pairs.
    pub(super) fn remove(&mut self, id: &MemberId) -> Option<Seat> {
        let serial = self.get(id)?.serial;
        for (other, id) in self.seen_by(id) {
            self.pairs.0.remove(&pair(serial, other));
            self.changed.insert(id);
        }
        self.cameras.remove(id).or_else(|| self.peers.remove(id))
    }

    /// The holder of a seat goes and may come back until then. `false`: nobody can come back to it.
    pub(super) fn vacate(&mut self, id: &MemberId, now: Instant, until: Instant) -> bool {
        self.get_mut(id).is_some_and(|seat| seat.vacate(now, until))
    }

    /// The holder of a seat comes back through `conn`; returns who held it until now.
    pub(super) fn hand_over(
        &mut self,
        id: &MemberId,
        now: Instant,
        conn: ConnId,
        join: Join,
        numbers: &mut Numbers,
    ) -> Option<Holder> {
        let seat = self.get_mut(id)?;
        let title = seat.title.clone();
        let before = seat.hand_over(now, conn, join);
        let retitled = seat.title != title;
        if before.missed_some() {
            // A connection whose offers or candidates are lost cannot be trusted.
            self.renumber(id, numbers);
        } else if retitled {
            let audience = self.seen_by(id);
            self.changed.extend(audience.into_iter().map(|(_, id)| id));
        }
        self.changed.insert(id.clone());
        Some(before)
    }

    /// A member is called otherwise.
    pub(super) fn retitle(&mut self, id: &MemberId, title: String, numbers: &mut Numbers) -> Vec<Output> {
        let changed = self.get_mut(id).is_some_and(|seat| seat.retitle(title));
        if changed {
            let audience = self.seen_by(id);
            self.changed.extend(audience.into_iter().map(|(_, id)| id));
        }
        self.settle(numbers)
    }

    /// What a member that came back through `conn` missed, but for what belongs to a connection that is no more:
    /// an offer of the old session would be taken for one of the new.
    pub(super) fn replay(
        &self,
        id: &MemberId,
        conn: ConnId,
        missed: Vec<(Session, ServerMessage)>,
    ) -> impl Iterator<Item = Output> {
        missed.into_iter().map(move |(session, message)| match &message {
            ServerMessage::Relay { from, .. } if self.session(id, from) == Some(session) => {
                Output::Send(conn, message)
            }
            _ => Output::Dropped(DropReason::OutdatedMessage),
        })
    }

    /// A sign of life of a member.
    pub(super) fn heard(&mut self, id: &MemberId, now: Instant) {
        if let Some(seat) = self.get_mut(id) {
            seat.heard(now);
        }
    }

    /// `from` asks for a new number with `target`, in place of `session`.
    pub(super) fn renew(
        &mut self,
        from: &MemberId,
        target: &MemberId,
        session: Session,
        now: Instant,
        numbers: &mut Numbers,
    ) -> Vec<Output> {
        let dropped = |reason| vec![Output::Dropped(reason)];
        let Some((pair, current)) = self.pair(from, target) else {
            return dropped(DropReason::NoSuchTarget);
        };
        if session != current {
            return dropped(DropReason::OutdatedRenewal);
        }
        if !self.get_mut(from).is_some_and(|seat| seat.renewals.take(now)) {
            return dropped(DropReason::TooManyRenewals);
        }
        self.pairs.0.insert(pair, numbers.draw());
        self.changed.extend([from.clone(), target.clone()]);
        self.settle(numbers)
    }

    /// A camera of another box says how it is.
    pub(super) fn report(&mut self, id: &MemberId, status: Box<RawValue>) -> Option<Output> {
        let taken = self.get_mut(id).is_some_and(|seat| seat.report(status));
        (!taken).then_some(Output::Dropped(DropReason::BadStatus))
    }

    /// Passes a message of `from` on to `target`, if they see each other or are the same.
    pub(super) fn relay(
        &mut self,
        from: &MemberId,
        target: Option<&MemberId>,
        kind: String,
        payload: Payload,
        limits: &Limits,
    ) -> Option<Output> {
        // Parsed messages have no such type; those made in this process could.
        if RESERVED.contains(&kind.as_str()) {
            return Some(Output::Dropped(DropReason::ReservedType));
        }
        // Who writes to itself is a member of the room like any other. It is here, or it could not have written.
        if target == Some(from) {
            let conn = self.get(from)?.conn()?;
            return Some(Output::Send(conn, ServerMessage::Relay { kind, payload, from: from.clone() }));
        }
        let pair = target.and_then(|target| Some((target, self.session(from, target)?)));
        let Some((target, session)) = pair else {
            return Some(Output::Dropped(DropReason::NoSuchTarget));
        };
        let message = ServerMessage::Relay { kind, payload, from: from.clone() };
        self.get_mut(target)?.deliver(message, session, limits)
    }

    /// Tells everyone whose roster has changed, once each, in the order of ids.
    pub(super) fn settle(&mut self, numbers: &mut Numbers) -> Vec<Output> {
        let told = self.audience();
        self.renumber_rebuilders(&told, numbers);
        told.iter().filter_map(|id| self.info(id)).collect()
    }

    /// Who is to be told: those whose roster has changed, and whoever sees one that rebuilds when told.
    fn audience(&mut self) -> BTreeSet<MemberId> {
        let mut told = BTreeSet::new();
        let mut known = HashSet::new();
        let mut waiting: Vec<MemberId> = mem::take(&mut self.changed).into_iter().collect();
        known.extend(waiting.iter().filter_map(|id| self.get(id)).map(|seat| seat.serial));
        while let Some(id) = waiting.pop() {
            // One that is away is told when it is back.
            let Some(seat) = self.get(&id).filter(|seat| seat.conn().is_some()) else {
                continue;
            };
            if !seat.keeps_connections() {
                let unknown = self.visible_to(seat).filter(|other| known.insert(other.serial));
                waiting.extend(unknown.map(|other| other.id.clone()));
            }
            told.insert(id);
        }
        told
    }

    /// Gives new numbers to all pairs of those that rebuild when told, once to each pair.
    fn renumber_rebuilders(&mut self, told: &BTreeSet<MemberId>, numbers: &mut Numbers) {
        let mut pairs = mem::take(&mut self.pairs);
        let mut done = HashSet::new();
        let rebuilders = told.iter().filter_map(|id| self.get(id)).filter(|seat| !seat.keeps_connections());
        for seat in rebuilders {
            for other in self.visible_to(seat).filter(|other| !done.contains(&other.serial)) {
                pairs.0.insert(pair(seat.serial, other.serial), numbers.draw());
            }
            done.insert(seat.serial);
        }
        self.pairs = pairs;
    }

    /// Gives all pairs of a member new numbers.
    fn renumber(&mut self, id: &MemberId, numbers: &mut Numbers) {
        let Some(serial) = self.get(id).map(|seat| seat.serial) else {
            return;
        };
        for (other, id) in self.seen_by(id) {
            self.pairs.0.insert(pair(serial, other), numbers.draw());
            self.changed.insert(id);
        }
        self.changed.insert(id.clone());
    }

    /// The number of two members, if they see each other.
    fn session(&self, a: &MemberId, b: &MemberId) -> Option<Session> {
        self.pair(a, b).map(|(_, session)| session)
    }

    fn pair(&self, a: &MemberId, b: &MemberId) -> Option<(Pair, Session)> {
        let pair = pair(self.get(a)?.serial, self.get(b)?.serial);
        Some((pair, *self.pairs.0.get(&pair)?))
    }

    /// The `info` for a member, if it is there to get one.
    fn info(&mut self, id: &MemberId) -> Option<Output> {
        let key = self.get_mut(id)?.key_to_tell();
        let seat = self.get(id)?;
        let entry = |other: &Seat| Member {
            id: other.id.clone(),
            polite: seat.is_polite_to(other),
            kind: Some(other.kind),
            title: other.title.clone(),
            session: self.pairs.0.get(&pair(seat.serial, other.serial)).copied(),
        };
        let members = self.visible_to(seat).map(entry).collect();
        Some(Output::Send(seat.conn()?, ServerMessage::Info(Info { id: id.clone(), members, key })))
    }

    /// Those a member sees, who are those that see it.
    fn seen_by(&self, id: &MemberId) -> Vec<(u64, MemberId)> {
        let ids = |seat| self.visible_to(seat).map(|other| (other.serial, other.id.clone())).collect();
        self.get(id).map(ids).unwrap_or_default()
    }

    /// Those a member sees: on a wall cameras see peers and peers see cameras; in a mesh peers see peers, too. A
    /// camera has no use for another.
    fn visible_to<'a>(&'a self, seat: &'a Seat) -> impl Iterator<Item = &'a Seat> {
        let cameras = (seat.kind == Kind::Peer).then_some(&self.cameras);
        let peers = (seat.kind == Kind::Camera || self.mode == RoomMode::Mesh).then_some(&self.peers);
        let others = [cameras, peers].into_iter().flatten().flat_map(BTreeMap::values);
        others.filter(|other| other.id != seat.id)
    }

    fn get_mut(&mut self, id: &MemberId) -> Option<&mut Seat> {
        self.cameras.get_mut(id).or_else(|| self.peers.get_mut(id))
    }

    #[cfg(test)]
    pub(super) fn pairs(&self) -> usize {
        self.pairs.0.len()
    }
}

/// The numbers of pairs. By serials, not ids: a room of 100 stock clients renumbers 4950 pairs whenever one comes.
#[derive(Debug, Default)]
struct Pairs(HashMap<Pair, Session>);

/// The serials of two seats, the lesser first.
type Pair = (u64, u64);

fn pair(a: u64, b: u64) -> Pair {
    (a.min(b), a.max(b))
}
