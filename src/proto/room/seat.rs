//! One member's seat: what it is, who holds it, and what waits there while the holder is away.

use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::super::ids::{ConnId, Kind, MemberId, Session};
use super::super::message::ServerMessage;
use super::{DropReason, Join, Limits, MemberView, Output};

/// Longest title, in characters. Each member's title goes to everyone who sees it.
const MAX_TITLE: usize = 200;
/// Longest status of a camera of another box, in bytes. Four renditions of two codecs have about 1 kB.
const MAX_STATUS: usize = 4096;
/// Renewals a member may make at once. A viewer of a wall renews each of its cameras after a change of network.
const RENEWALS: u64 = 40;
/// How long until it may make one more.
const RENEWAL_EVERY: Duration = Duration::from_secs(1);

/// A member's seat.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) id: MemberId,
    /// Its number in the room, which no other seat ever has; given when it is added.
    pub(super) serial: u64,
    pub(super) kind: Kind,
    pub(super) title: Option<String>,
    pub(super) renewals: Allowance,
    address: Option<IpAddr>,
    /// A `sessions` client has one, a stock client none.
    key: Option<Key>,
    heard: Instant,
    holder: Holder,
    /// Since when it has this holder.
    since: Instant,
    status: Option<Status>,
}

impl Seat {
    /// A seat for a newcomer.
    pub(super) fn new(now: Instant, conn: ConnId, id: MemberId, join: Join) -> Self {
        Self {
            id,
            serial: 0,
            kind: join.kind,
            title: join.title.map(cut),
            renewals: Allowance { left: RENEWALS, counted: now },
            address: join.address,
            key: join.sessions.then_some(Key { secret: join.fresh_key, told: false }),
            heard: now,
            holder: Holder::Here(conn),
            since: now,
            status: None,
        }
    }

    /// Whether it is a camera of another box.
    pub(super) fn is_remote_camera(&self) -> bool {
        self.kind == Kind::Camera && self.address.is_some()
    }

    /// What a camera of another box says of itself. `false`: this is none, or it says too much.
    pub(super) fn report(&mut self, status: Box<RawValue>) -> bool {
        let taken = self.is_remote_camera() && status.get().len() <= MAX_STATUS;
        if taken {
            self.status = Some(Status(status));
        }
        taken
    }

    /// Its holder is called otherwise; whether that is another title than before.
    pub(super) fn retitle(&mut self, title: String) -> bool {
        let title = Some(cut(title));
        let changed = self.title != title;
        self.title = title;
        changed
    }

    /// Who has the seat.
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The connection to send to; none while the holder is away.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.holder {
            Holder::Here(conn) => Some(conn),
            Holder::Away(_) => None,
        }
    }

    /// Whether the member keeps connections whose number is unchanged. A stock client rebuilds all on every `info`.
    pub(super) fn keeps_connections(&self) -> bool {
        self.key.is_some()
    }

    /// The key, the first time only: whoever reads it later must not learn it.
    pub(super) fn key_to_tell(&mut self) -> Option<String> {
        let key = self.key.as_mut().filter(|key| !key.told)?;
        key.told = true;
        Some(key.secret.clone())
    }

    /// A sign of life.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether `join` has the key of this seat.
    pub(super) fn is_unlocked_by(&self, join: &Join) -> bool {
        let key = self.key.as_ref().map(|key| &key.secret);
        key.is_some() && key == join.key.as_ref() && self.kind == join.kind
    }

    /// Whether `join` may have this seat's id without its key. Only a connection can go silent: the holder of a
    /// kept seat has a key to come back with.
    pub(super) fn yields_to(&self, join: &Join, now: Instant, silent_after: Duration) -> bool {
        if self.id.is_camera() {
            // Only this process can ask for the id of a camera of its own, and then it is the same camera. One of
            // another box shows the key, or waits until nobody can come back to the seat.
            return join.kind == Kind::Camera && !self.is_remote_camera() && !join.is_remote_camera();
        }
        let same_address = self.address.is_some() && self.address == join.address;
        let silent = self.conn().is_some() && now.saturating_duration_since(self.heard) >= silent_after;
        same_address && silent
    }

    /// Its holder goes and may come back until then. `false`: it has no key to come back with.
    pub(super) fn vacate(&mut self, now: Instant, until: Instant) -> bool {
        let kept = self.key.is_some();
        if kept {
            self.since = now;
            self.holder = Holder::Away(Away { until, queue: Vec::new(), bytes: 0, overflowed: false });
        }
        kept
    }

    /// Its holder comes back through `conn`; returns who held it until now.
    pub(super) fn hand_over(&mut self, now: Instant, conn: ConnId, join: Join) -> Holder {
        self.title = join.title.map(cut);
        self.key = self.key.take().filter(|_| join.sessions);
        self.address = join.address;
        self.heard = now;
        self.since = now;
        mem::replace(&mut self.holder, Holder::Here(conn))
    }

    /// Sends `message`, or keeps it for when the holder is back; `session` is the number it belongs to.
    pub(super) fn deliver(
        &mut self,
        message: ServerMessage,
        session: Session,
        limits: &Limits,
    ) -> Option<Output> {
        match &mut self.holder {
            Holder::Here(conn) => Some(Output::Send(*conn, message)),
            Holder::Away(away) => {
                (!away.push(message, session, limits)).then_some(Output::Dropped(DropReason::SeatQueueFull))
            }
        }
    }

    /// Whether this member is to be polite to `other`: a camera's pipeline cannot roll back an offer, so it never
    /// is. Among equals the greater id is, as everywhere in portals.
    pub(super) fn is_polite_to(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Peer, Kind::Camera) => true,
            (Kind::Camera, Kind::Peer) => false,
            _ => self.id.polite_to(&other.id),
        }
    }

    /// The member as the API shows it.
    pub(super) fn view(&self) -> MemberView {
        MemberView {
            name: self.id.clone(),
            kind: self.kind,
            title: self.title.clone(),
            remote: self.is_remote_camera(),
            away: self.conn().is_none(),
            since: self.since,
            status: self.status.clone(),
        }
    }
}

/// What a camera of another box last said of itself: at most 4 KiB of JSON, its form unchecked.
#[derive(Debug, Clone)]
pub struct Status(Box<RawValue>);

impl Status {
    /// The JSON.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Status {}

/// Who has a seat.
#[derive(Debug)]
pub(super) enum Holder {
    /// A member on this connection.
    Here(ConnId),
    /// One that lost its connection.
    Away(Away),
}

impl Holder {
    /// What was kept for it, each with its session.
    pub(super) fn kept(self) -> Vec<(Session, ServerMessage)> {
        match self {
            Self::Here(_) => Vec::new(),
            Self::Away(away) => away.queue,
        }
    }

    /// Whether there was more for it than could be kept.
    pub(super) fn missed_some(&self) -> bool {
        matches!(self, Self::Away(away) if away.overflowed)
    }
}

/// What a seat keeps for a holder that is away.
#[derive(Debug)]
pub(super) struct Away {
    pub(super) until: Instant,
    queue: Vec<(Session, ServerMessage)>,
    bytes: usize,
    overflowed: bool,
}

impl Away {
    /// Keeps `message`. `false`: one too many; with a gap the rest is of no use either, so all of it goes.
    fn push(&mut self, message: ServerMessage, session: Session, limits: &Limits) -> bool {
        self.bytes = self.bytes.saturating_add(size(&message));
        if self.overflowed || self.queue.len() >= limits.seat_queue || self.bytes > limits.seat_bytes {
            self.overflowed = true;
            self.queue = Vec::new();
            return false;
        }
        self.queue.push((session, message));
        true
    }
}

/// A token bucket.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u64,
    counted: Instant,
}

impl Allowance {
    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.left < RENEWALS && now.saturating_duration_since(self.counted) >= RENEWAL_EVERY {
            self.left += 1;
            self.counted += RENEWAL_EVERY;
        }
        if self.left == RENEWALS {
            self.counted = now;
        }
        let granted = self.left > 0;
        self.left -= u64::from(granted);
        granted
    }
}

/// The secret that opens a seat.
struct Key {
    secret: String,
    told: bool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn cut(title: String) -> String {
    title.chars().take(MAX_TITLE).collect()
}

/// Roughly what a message takes in memory: only payloads can be long.
fn size(message: &ServerMessage) -> usize {
    match message {
        ServerMessage::Relay { kind, payload, .. } => kind.len() + payload.get().len(),
        _ => 0,
    }
}
