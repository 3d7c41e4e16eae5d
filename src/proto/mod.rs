//! The rules of the wire, PURE: messages and time in, actions out. No sockets, clock, threads, log or panics.

pub mod ids;
pub mod message;
pub mod negotiation;
pub mod room;
pub mod roster;
pub mod sdp;
