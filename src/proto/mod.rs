//! The rules of the wire, PURE: messages and time in, actions out. No sockets, clock, threads, log or panics.
//!
//! # Behind another transport
//!
//! [`room::Rooms`] is a portals server without a transport. To put it behind one:
//!
//! 1. Give each connection a [`ids::ConnId`] that is never used again, and read what it asks for: [`room::Join`].
//!    Where that is is yours to say (portald: the query of the WebSocket). `fresh_id` and `fresh_key` are random.
//! 2. Turn each text that comes into a [`message::ClientMessage`] (or write your own), and the end of a connection
//!    into [`room::Input::Closed`], or [`room::Input::Leave`] when it will not come back.
//! 3. Give each [`room::Input`] to [`room::Rooms::handle`], with the time, from one place: order is all it asks for.
//! 4. Do each [`room::Output`] in order: send what [`message::ServerMessage::to_json`] writes, close what is to be closed.
//! 5. Send [`room::Input::Tick`] when [`room::Rooms::poll_timeout`] says so.
//!
//! `examples/tcp_lines.rs` does this over plain TCP, `hub` and `server` over WebSockets with all that strangers make
//! necessary. By hand:
//!
//! ```
//! use std::time::Instant;
//! use portald::proto::ids::{ConnId, Kind, MemberId, Name, RoomMode};
//! use portald::proto::message::ClientMessage;
//! use portald::proto::room::{Input, Join, Limits, Output, Rooms};
//!
//! let mut rooms = Rooms::new(Limits::default());
//! rooms.add_room(Name::new("talk")?, RoomMode::Mesh)?;
//! let join = |id: &str| Join {
//!     room: Some("talk".into()), id: Some(id.into()), key: None, sessions: false, kind: Kind::Peer, title: None,
//!     address: None, fresh_id: MemberId::new(format!("not-{id}")).unwrap(), fresh_key: "random".into(),
//! };
//! let mut sent = |input| -> Vec<(u64, String)> {
//!     let outputs = rooms.handle(Instant::now(), input).into_iter();
//!     outputs.filter_map(|output| match output {
//!         Output::Send(ConnId(to), message) => Some((to, message.to_json())),
//!         Output::Close(..) | Output::Dropped(_) => None,
//!     }).collect()
//! };
//!
//! assert_eq!(sent(Input::Join(ConnId(1), join("ann"))), [(1, r#"{"type":"info","info":{"id":"ann","members":[]}}"#.into())]);
//! assert_eq!(sent(Input::Join(ConnId(2), join("bob"))).len(), 2, "both are told");
//! let hello = ClientMessage::parse(r#"{"type":"chat","chat":"hello","target":"ann"}"#)?;
//! assert_eq!(sent(Input::Message(ConnId(2), hello)), [(1, r#"{"type":"chat","chat":"hello","from":"bob"}"#.into())]);
//! assert_eq!(sent(Input::Closed(ConnId(2))).len(), 1, "ann is told that bob has left");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`negotiation::Negotiation`] is the camera's side of one viewer's offer and answer in the same manner, and
//! [`roster::Roster`] says which connections a member should have.

pub mod ids;
pub mod message;
pub mod heard;
pub mod negotiation;
pub mod room;
pub mod roster;
pub mod sdp;
