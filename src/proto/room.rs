//! Rooms: who is in which, who sees whom, and what each is told.
//!
//! [`Rooms`] takes one [`Input`] at a time and answers with what is to be sent. A member holds a *seat*, found by
//! its id, through a connection. When a connection drops, the seat of a client that opened with `sessions=1` is
//! kept for a while; everyone else's is given up at once. `members.rs` has the rules within one room.

mod events;
mod members;
mod places;
mod refusal;
mod seat;
mod upkeep;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use self::events::{CloseReason, DropReason, Input, Join, Output};
use self::members::Room;
use self::places::{Place, Places};
use self::refusal::{
    Refusal, bad_camera_id, id_taken, room_full, room_not_found, room_not_set, too_many_cameras,
};
use self::seat::Seat;
pub use self::seat::Status;
use super::ids::{ConnId, Kind, MemberId, Name, RoomMode, Session};
use super::message::{ClientMessage, ServerMessage};

/// What the rooms may hold, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Members of one room, kept seats included. Cameras always get in: others bound them, and a crowd must not lock
    /// them out.
    pub members_per_room: usize,
    /// Cameras of other boxes in one room, kept seats included; the settings bound this box's own.
    pub remote_cameras: usize,
    /// Rooms.
    pub rooms: usize,
    /// How long the seat of a client that opened with `sessions=1` outlives its connection.
    pub seat_kept: Duration,
    /// Messages kept for an empty seat.
    pub seat_queue: usize,
    /// Bytes of payload kept for an empty seat.
    pub seat_bytes: usize,
    /// How long the holder of an id must have said nothing before its address may take the id without the key.
    pub silent_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members_per_room: 1000,
            // Two boxes with as many cameras as a box may have; no screen shows more.
            remote_cameras: 128,
            rooms: 64,
            seat_kept: Duration::from_secs(10),
            // A camera's offer and its candidates are about a dozen messages and 10 kB.
            seat_queue: 64,
            seat_bytes: 256 * 1024,
            // A stock client whose ping of 10 s is not answered within 5 s opens a second socket 2 s later, and
            // leaves the first one open: its old self has then been silent for 7 s.
            silent_after: Duration::from_secs(6),
        }
    }
}

/// Why a room cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The name is taken.
    #[error("there is a room `{0}` already; give one of the two another name")]
    Exists(Name),
    /// As many as [`Limits::rooms`] exist.
    #[error("there are {0} rooms already, which is all this server keeps; remove one first")]
    TooMany(usize),
}

/// A room as `/api/rooms` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomView {
    /// The room.
    pub name: Name,
    /// Who sees whom in it.
    pub mode: RoomMode,
    /// Cameras first, each kind sorted by id.
    pub members: Vec<MemberView>,
}

/// A member as `/api/rooms` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// The member's id; `id` in JSON.
    #[serde(rename = "id")]
    pub name: MemberId,
    /// Camera or peer.
    pub kind: Kind,
    /// What to call it on a page.
    pub title: Option<String>,
    /// Whether it is a camera of another box.
    pub remote: bool,
    /// Whether its connection is lost, and its seat kept.
    pub away: bool,
    /// Since when it is there, or away.
    #[serde(skip)]
    pub since: Instant,
    /// What a camera of another box says of itself; see [`ClientMessage::Status`].
    #[serde(skip)]
    pub status: Option<Status>,
}

/// All rooms of this server.
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    rooms: BTreeMap<Name, Room>,
    places: Places,
    numbers: Numbers,
}

impl Rooms {
    /// No rooms yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, rooms: BTreeMap::new(), places: Places::default(), numbers: Numbers { next: 1 } }
    }

    /// Draws session numbers from `first` on. A random start keeps a client that outlives this process from
    /// taking a number of the next one for its own.
    #[must_use]
    pub fn numbered_from(mut self, first: Session) -> Self {
        self.numbers.next = first.0;
        self
    }

    /// Takes one input and says what is to be done, in order. Each member gets at most one `info` by it.
    #[must_use]
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Output> {
        match input {
            Input::Join(conn, join) => self.join(now, conn, join),
            Input::Message(conn, message) => self.message(now, conn, message),
            Input::Heard(conn) => self.heard(now, conn),
            Input::Closed(conn) => self.closed(now, conn),
            Input::Leave(conn) => self.leave(conn),
            Input::Tick => self.tick(now),
        }
    }

    /// When [`Input::Tick`] is due, if ever. Nothing expires without one.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.places.first_to_expire()
    }

    /// The rooms by name, with their members.
    #[must_use]
    pub fn view(&self) -> Vec<RoomView> {
        let view = |(name, room): (&Name, &Room)| RoomView {
            name: name.clone(),
            mode: room.mode(),
            members: room.seats().map(Seat::view).collect(),
        };
        self.rooms.iter().map(view).collect()
    }

    /// Members of all rooms, kept seats included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rooms.values().map(Room::len).sum()
    }

    /// Whether nobody is in any room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn join(&mut self, now: Instant, conn: ConnId, join: Join) -> Vec<Output> {
        if self.places.of(conn).is_some() {
            return vec![Output::Dropped(DropReason::AlreadyAMember)];
        }
        match self.admit(now, &join) {
            Ok((place, Claim::New)) => self.sit_down(now, conn, place, join),
            Ok((place, Claim::Own)) => self.come_back(now, conn, place, join),
            Err((code, why)) => vec![
                Output::Send(conn, ServerMessage::Error(code, Some(why))),
                Output::Close(conn, CloseReason::Refused(code)),
            ],
        }
    }

    /// Decides which seat `join` gets; changes nothing.
    fn admit(&self, now: Instant, join: &Join) -> Result<(Place, Claim), Refusal> {
        let asked = join.room.as_deref().filter(|name| !name.is_empty()).ok_or_else(room_not_set)?;
        let name = Name::new(asked).map_err(|_| room_not_found(asked))?;
        let room = self.rooms.get(&name).ok_or_else(|| room_not_found(asked))?;
        let (id, claim) = self.grant(now, room, join);
        let holder = room.get(&id);
        if join.is_remote_camera() {
            self.admit_remote(room, join, &id)?;
        }
        // Only an id that its holder yields may be taken. A fresh one that somebody has is not fresh.
        let taken = id == join.fresh_id && holder.is_some();
        let crowded =
            holder.is_none() && room.len() >= self.limits.members_per_room && join.kind == Kind::Peer;
        if taken || crowded {
            return Err(room_full(&name, room.len()));
        }
        Ok((Place { room: name, id }, claim))
    }

    /// Whether a camera of another box may sit down as `id`, which is what it was granted. Under another id than the one
    /// it asks for nobody would know it, and every viewer would be told of it and then of its leaving.
    fn admit_remote(&self, room: &Room, join: &Join, id: &MemberId) -> Result<(), Refusal> {
        let asked = join.id.as_deref().unwrap_or_default();
        if !MemberId::new(asked).is_some_and(|asked| asked.is_remote_camera()) {
            return Err(bad_camera_id());
        }
        if id.as_str() != asked {
            return Err(id_taken(asked));
        }
        let others = room.seats().filter(|seat| seat.is_remote_camera() && seat.id != *id).count();
        if others >= self.limits.remote_cameras {
            return Err(too_many_cameras(others));
        }
        Ok(())
    }

    /// The id asked for if `join` may have it, else the fresh one.
    fn grant(&self, now: Instant, room: &Room, join: &Join) -> (MemberId, Claim) {
        let may_have = |id: &MemberId| match join.kind {
            Kind::Peer => !id.is_camera(),
            Kind::Camera => join.address.is_none() || id.is_remote_camera(),
        };
        let asked = join.id.as_deref().and_then(MemberId::new).filter(may_have);
        match asked.map(|id| (room.get(&id), id)) {
            Some((None, id)) => (id, Claim::New),
            Some((Some(holder), id)) if holder.is_unlocked_by(join) => (id, Claim::Own),
            Some((Some(holder), id)) if holder.yields_to(join, now, self.limits.silent_after) => {
                (id, Claim::New)
            }
            _ => (join.fresh_id.clone(), Claim::New),
        }
    }

    /// Gives `join` a new seat, in place of the one that had its id, if any.
    fn sit_down(&mut self, now: Instant, conn: ConnId, place: Place, join: Join) -> Vec<Output> {
        let Self { rooms, places, numbers, .. } = self;
        let Some(room) = rooms.get_mut(&place.room) else {
            return Vec::new();
        };
        let mut outputs = Vec::new();
        if let Some(replaced) = room.remove(&place.id) {
            outputs.extend(places.release(replaced.holder(), &place, CloseReason::Replaced));
        }
        room.insert(Seat::new(now, conn, place.id.clone(), join), numbers);
        outputs.extend(room.settle(numbers));
        places.occupy(conn, place);
        outputs
    }

    /// Gives `join` the seat it had, and what was said to it meanwhile.
    fn come_back(&mut self, now: Instant, conn: ConnId, place: Place, join: Join) -> Vec<Output> {
        let Self { rooms, places, numbers, .. } = self;
        let Some(room) = rooms.get_mut(&place.room) else {
            return Vec::new();
        };
        let Some(before) = room.hand_over(&place.id, now, conn, join, numbers) else {
            return Vec::new();
        };
        let replaced = places.release(&before, &place, CloseReason::Replaced);
        let mut outputs: Vec<Output> = replaced.into_iter().collect();
        outputs.extend(room.settle(numbers));
        outputs.extend(room.replay(&place.id, conn, before.kept()));
        places.occupy(conn, place);
        outputs
    }

    fn message(&mut self, now: Instant, conn: ConnId, message: ClientMessage) -> Vec<Output> {
        let Some((room, id)) = seat_of(&mut self.rooms, &self.places, conn) else {
            return vec![Output::Dropped(DropReason::NotAMember)];
        };
        room.heard(id, now);
        match message {
            ClientMessage::Ping(number) => vec![Output::Send(conn, ServerMessage::Pong(number))],
            ClientMessage::Renew { target, session } => {
                room.renew(id, &target, session, now, &mut self.numbers)
            }
            ClientMessage::Status(status) => room.report(id, status).into_iter().collect(),
            ClientMessage::Relay { kind, payload, target } => {
                room.relay(id, target.as_ref(), kind, payload, &self.limits).into_iter().collect()
            }
        }
    }

    fn heard(&mut self, now: Instant, conn: ConnId) -> Vec<Output> {
        if let Some((room, id)) = seat_of(&mut self.rooms, &self.places, conn) {
            room.heard(id, now);
        }
        Vec::new()
    }

    fn closed(&mut self, now: Instant, conn: ConnId) -> Vec<Output> {
        let until = now + self.limits.seat_kept;
        let seat = seat_of(&mut self.rooms, &self.places, conn);
        if seat.is_some_and(|(room, id)| room.vacate(id, now, until)) {
            self.places.keep(conn, until);
            return Vec::new();
        }
        self.leave(conn)
    }

    fn leave(&mut self, conn: ConnId) -> Vec<Output> {
        let Some(place) = self.places.empty(conn) else {
            return Vec::new();
        };
        let Some(room) = self.rooms.get_mut(&place.room) else {
            return Vec::new();
        };
        room.remove(&place.id);
        room.settle(&mut self.numbers)
    }

    fn tick(&mut self, now: Instant) -> Vec<Output> {
        while let Some(place) = self.places.pop_expired(now) {
            if let Some(room) = self.rooms.get_mut(&place.room) {
                room.remove(&place.id);
            }
        }
        // Once for all that expired together, so that nobody is told twice.
        self.rooms.values_mut().flat_map(|room| room.settle(&mut self.numbers)).collect()
    }
}

/// The room and the id under which `conn` sits there.
fn seat_of<'a>(
    rooms: &'a mut BTreeMap<Name, Room>,
    places: &'a Places,
    conn: ConnId,
) -> Option<(&'a mut Room, &'a MemberId)> {
    let place = places.of(conn)?;
    Some((rooms.get_mut(&place.room)?, &place.id))
}

/// Which seat a connection gets.
#[derive(Debug, Clone, Copy)]
enum Claim {
    /// One under a free id, or one whose holder yields it.
    New,
    /// The one it had, opened with its key.
    Own,
}

/// Numbers for pairs of members, each given out once.
#[derive(Debug)]
struct Numbers {
    next: u64,
}

impl Numbers {
    fn draw(&mut self) -> Session {
        let number = Session(self.next);
        self.next = self.next.wrapping_add(1);
        number
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
