//! portald: a LAN camera wall.

pub mod proto;
