//! What a camera speaks through in a room: the hub of this process, or a server elsewhere.
//!
//! Media goes from peer to peer, so sessions outlive a lost link: the next `info` says which of them still count.

use crate::config::settings;
use crate::hub::{self, Delivery, Hub, JoinRequest};
use crate::proto::heard::Heard;
use crate::proto::ids::{Kind, MemberId, Name, Session};
use crate::proto::message::ClientMessage;
use crate::proto::room::CloseReason;
use crate::uplink::{self, Uplink};

/// Where a camera is published.
#[derive(Debug, Clone)]
pub enum Venue {
    /// In a room of this box.
    Room(Hub, Name),
    /// In a room of another server.
    Uplink(Uplink),
}

impl Venue {
    /// The room, for logs.
    #[must_use]
    pub fn room(&self) -> &str {
        match self {
            Self::Room(_, room) => room.as_str(),
            Self::Uplink(uplink) => uplink.room(),
        }
    }

    /// Joins. `None`: the hub is gone.
    pub async fn join(&self, camera: &settings::Camera) -> Option<(Sender, Receiver)> {
        match self {
            Self::Room(hub, room) => {
                let request = JoinRequest {
                    room: Some(room.to_string()),
                    id: Some(MemberId::camera(&camera.name).to_string()),
                    key: None,
                    sessions: true,
                    kind: Kind::Camera,
                    title: Some(camera.title.clone()),
                    address: None,
                };
                let (sender, receiver) = hub.join(request).await?.split();
                Some((Sender::Hub(sender), Receiver::Hub(receiver)))
            }
            Self::Uplink(uplink) => {
                let (sender, receiver) = uplink.open();
                Some((Sender::Uplink(sender), Receiver::Uplink(receiver)))
            }
        }
    }
}

/// The speaking half; clones are the same half.
#[derive(Debug, Clone)]
pub enum Sender {
    /// To the hub of this process.
    Hub(hub::Sender),
    /// To a server elsewhere.
    Uplink(uplink::Sender),
}

impl Sender {
    /// Says something that belongs to the connection numbered `session`. `false`: it is lost, and that connection with
    /// it: the hub is gone, or the server has been away for longer than messages can wait.
    pub async fn send(&self, message: ClientMessage, session: Option<Session>) -> bool {
        match self {
            // The hub hears everything at once, so what it hears is never of a connection that is no more.
            Self::Hub(hub) => hub.send(message).await,
            Self::Uplink(uplink) => uplink.send(message, session).await,
        }
    }

    /// The camera is called otherwise from now on.
    pub async fn retitle(&self, title: String) {
        match self {
            Self::Hub(hub) => hub.retitle(title).await,
            Self::Uplink(uplink) => uplink.retitle(title),
        }
    }

    /// A connection without a number cannot be saved: has all of the camera's connections made anew, as soon as that
    /// may be asked of the others.
    pub fn rebuild(&self) {
        match self {
            // It numbers all.
            Self::Hub(_) => {}
            Self::Uplink(uplink) => uplink.rebuild(),
        }
    }
}

/// What comes.
#[derive(Debug)]
pub enum Incoming {
    /// A message.
    Heard(Heard),
    /// The last thing that comes: the hub's reason. An uplink never ends by itself.
    Close(CloseReason),
}

/// The hearing half.
#[derive(Debug)]
pub enum Receiver {
    /// From the hub of this process.
    Hub(hub::Receiver),
    /// From a server elsewhere.
    Uplink(uplink::Receiver),
}

impl Receiver {
    /// What comes next. `None`: nothing any more; the room is to be joined again.
    pub async fn recv(&mut self) -> Option<Incoming> {
        match self {
            Self::Hub(hub) => Some(match hub.recv().await? {
                Delivery::Message(message) => Incoming::Heard(message.into()),
                Delivery::Close(reason) => Incoming::Close(reason),
            }),
            Self::Uplink(uplink) => uplink.recv().await.map(Incoming::Heard),
        }
    }

    /// Leaves for good, and waits until that is said.
    pub async fn leave(self) {
        match self {
            Self::Hub(_) => {}
            Self::Uplink(uplink) => uplink.leave().await,
        }
    }
}
