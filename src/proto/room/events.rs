//! What goes into the rooms and what comes out.

use std::fmt;
use std::net::IpAddr;

use super::super::ids::{ConnId, Kind, MemberId};
use super::super::message::{ClientMessage, ErrorCode, ServerMessage};
#[cfg(doc)]
use super::{Limits, Rooms};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A new connection asks for a seat.
    Join(ConnId, Join),
    /// A connection said something.
    Message(ConnId, ClientMessage),
    /// A connection showed that it lives, without a message (a WebSocket pong).
    Heard(ConnId),
    /// The transport closed; the client may come back.
    Closed(ConnId),
    /// The member leaves for good: no seat is kept.
    Leave(ConnId),
    /// The time of [`Rooms::poll_timeout`] has come.
    Tick,
}

/// What a connection asks for.
#[derive(Clone)]
pub struct Join {
    /// The room's name as the client wrote it.
    pub room: Option<String>,
    /// The id it would like: the one it had before.
    pub id: Option<String>,
    /// The secret of its seat, from the first `info` there.
    pub key: Option<String>,
    /// Whether it keeps connections whose session number is unchanged.
    pub sessions: bool,
    /// What it is. [`Kind::Camera`] opens the ids that start with `!`: for cameras of this box, and for those of other
    /// boxes that whoever let them in has checked.
    pub kind: Kind,
    /// What to call it on a page; cut to 200 characters.
    pub title: Option<String>,
    /// Where it connects from; `None` for members within this process.
    pub address: Option<IpAddr>,
    /// A fresh random id, for when the one asked for is not granted.
    pub fresh_id: MemberId,
    /// A fresh random secret, for a new seat of a `sessions` client.
    pub fresh_key: String,
}

impl Join {
    /// Whether this is a camera of another box: one that comes from somewhere.
    pub(super) fn is_remote_camera(&self) -> bool {
        self.kind == Kind::Camera && self.address.is_some()
    }
}

impl fmt::Debug for Join {
    /// Without the two keys: they are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("room", &self.room)
            .field("id", &self.id)
            .field("sessions", &self.sessions)
            .field("kind", &self.kind)
            .field("title", &self.title)
            .field("address", &self.address)
            .field("fresh_id", &self.fresh_id)
            .finish_non_exhaustive()
    }
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send this.
    Send(ConnId, ServerMessage),
    /// Close this connection. The rooms have forgotten it already, so its [`Input::Closed`] changes nothing.
    Close(ConnId, CloseReason),
    /// Nothing to do; for the counters.
    Dropped(DropReason),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// It never got a seat.
    Refused(ErrorCode),
    /// A newer connection of the same client took the seat.
    Replaced,
    /// The room was taken away.
    RoomGone,
    /// It reads more slowly than its room speaks.
    TooSlow,
    /// The daemon stops.
    Shutdown,
}

/// Why an input had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The connection has no seat.
    NotAMember,
    /// The connection has a seat already.
    AlreadyAMember,
    /// The target is not there, or the sender does not see it.
    NoSuchTarget,
    /// A type that only the server speaks.
    ReservedType,
    /// A status that is too long, or of a member that is no camera of another box.
    BadStatus,
    /// A renewal of a number that is no longer the pair's.
    OutdatedRenewal,
    /// Renewals faster than one a second.
    TooManyRenewals,
    /// The target is away and its queue is full.
    SeatQueueFull,
    /// It waited for a member who was away, and the session it belonged to has been renewed since.
    OutdatedMessage,
}
