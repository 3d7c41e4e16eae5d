//! What clients may cost.

use std::time::Duration;

use crate::config::settings as config;
use crate::proto::message::MAX_MESSAGE;

/// What one client, one address and all of them together may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections in all.
    pub sockets: usize,
    /// TCP connections from one address.
    pub per_address: usize,
    /// How long a client may take for a request's headers, and how long an idle connection is kept.
    pub header: Duration,
    /// How long a connection may live that has not become a WebSocket; a stream of pictures, without taking any.
    pub connection: Duration,
    /// How long a client may take to accept one message.
    pub write: Duration,
    /// Between the server's pings.
    pub ping: Duration,
    /// A WebSocket from which nothing came for so long is dead.
    pub silence: Duration,
    /// How long a client may take for the closing handshake.
    pub close: Duration,
    /// How long a client may take to end its side of the connection after ours.
    pub linger: Duration,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Frames a second that one WebSocket may send.
    pub rate: u32,
    /// Frames it may send at once.
    pub burst: u32,
    /// Frames over the rate that are dropped, one by one, before the socket is closed.
    pub flood: u32,
    /// How long a client may take for a request's body.
    pub login: Duration,
    /// Wrong passwords of one address a minute.
    pub logins_per_minute: u32,
    /// How long the hub may take to answer `/healthz`.
    pub health: Duration,
    /// How long who asks for a picture waits for a camera that is not live.
    pub picture: Duration,
    /// How long [`serve`](super::serve) waits for connections to end.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Each costs a file descriptor and up to about 400 kB of buffers. systemd's default limit is 1024
            // descriptors, and a viewer's webrtcbin takes nine of them too.
            sockets: 512,
            // A wall of many windows, or a household behind one proxy; an eighth of all, so one address cannot
            // shut out the others.
            per_address: 64,
            // A request fits one packet; ten seconds forgives a bad radio link.
            header: Duration::from_secs(10),
            // hyper has no limit on how slowly a response is read. The largest is some 100 kB.
            connection: Duration::from_secs(60),
            write: Duration::from_secs(5),
            // The stock client pings every 10 s; ours see a dead link sooner. Three missed are a dead client.
            ping: Duration::from_secs(5),
            silence: Duration::from_secs(15),
            // Together less than `shutdown`.
            close: Duration::from_secs(1),
            linger: Duration::from_millis(500),
            message_bytes: MAX_MESSAGE,
            // A browser sends about 20 candidates and a description per camera at once, then next to nothing:
            // a wall of twenty fits the burst.
            rate: 100,
            burst: 400,
            // Ten seconds at twice the rate: no mistake any more.
            flood: 1000,
            login: Duration::from_secs(10),
            // People mistype a few times, programs try millions.
            logins_per_minute: 10,
            health: Duration::from_secs(2),
            // A USB camera opens in one to three seconds; programs wait ten.
            picture: Duration::from_secs(8),
            shutdown: Duration::from_secs(2),
        }
    }
}

/// Frames that may come at once, for each that may come in a second.
const BURST: u32 = 4;

impl From<&config::Limits> for Limits {
    /// Those that are configured, and the others at their defaults.
    fn from(configured: &config::Limits) -> Self {
        Self {
            sockets: configured.sockets,
            per_address: configured.sockets_per_address,
            header: configured.handshake,
            message_bytes: configured.message_bytes,
            rate: configured.messages_per_second,
            burst: configured.messages_per_second.saturating_mul(BURST),
            login: configured.login,
            logins_per_minute: configured.logins_per_minute,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_configuration() {
        assert_eq!(Limits::from(&config::Limits::default()), Limits::default());
    }
}
