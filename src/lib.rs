//! portald: a LAN camera wall. One daemon captures each camera once, encodes each rendition once, and publishes it to
//! any number of browsers as a member of a *portals* room; it also serves those rooms and the wall page.
//!
//! ```text
//!  portald.toml ─► config ─► Settings ─┐
//!  pipelines/*  ─► template::render ───┤
//!                                      ▼
//!  /dev/video0 ─► media::camera  source ─► encode        once per camera and rendition; restarts alone
//!                                      │ encoded frames
//!                                      ▼
//!                 media::fanout        bounded per viewer, drops to the next key frame, replays the current GOP
//!                      │               │               │
//!                 media::peer     media::peer     media::peer      one pipeline per viewer: appsrc ! pay ! webrtcbin
//!                      ▼ ICE, DTLS-SRTP over UDP
//!                   browser
//!
//!  browser ⇄ WebSocket ⇄ server::socket ⇄ hub(proto::Rooms) ⇄ publisher ⇄ session(proto::Negotiation) ⇄ media::peer
//! ```
//!
//! Signalling knows nothing of GStreamer: a camera is a room member over a channel, as a browser is over a socket.
//! Modules in reading order:

#[cfg(feature = "media")]
pub mod cli;
pub mod config;
#[cfg(feature = "media")]
pub mod daemon;
#[cfg(feature = "media")]
pub mod devices;
pub mod hub;
pub mod log;
#[cfg(feature = "media")]
pub mod media;
pub mod modes;
pub mod proto;
#[cfg(feature = "media")]
pub mod publisher;
pub mod server;
#[cfg(feature = "media")]
pub mod session;
pub mod status;
pub mod systemd;
pub mod template;
