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

pub mod proto;
pub mod config;
pub mod changes;
pub mod modes;
pub mod budget;
pub mod usb;
pub mod nodes;
pub mod template;
pub mod hub;
pub mod fault;
pub mod identity;
pub mod hotplug;
pub mod places;
pub mod quality;
pub mod control;
pub mod status;
pub mod stills;
pub mod ice;
pub mod server;
pub mod shutdown;
#[cfg(feature = "media")]
pub mod media;
#[cfg(feature = "media")]
pub mod uplink;
#[cfg(feature = "media")]
pub mod link;
#[cfg(feature = "media")]
pub mod session;
#[cfg(feature = "media")]
pub mod publisher;
pub mod log;
pub mod events;
pub mod systemd;
pub mod report;
pub mod watchdog;
#[cfg(feature = "media")]
mod mdns;
#[cfg(feature = "media")]
pub mod devices;
#[cfg(feature = "media")]
mod found;
#[cfg(feature = "media")]
pub mod daemon;
pub mod doctor;
#[cfg(feature = "media")]
pub mod cli;
