//! What is refused: counted by reason, and logged without becoming a flood itself.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::events;

/// Between two log lines for one reason: often enough to see that it goes on, and 1440 lines a day at most.
const INTERVAL: Duration = Duration::from_secs(60);

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The address is in no network that may connect.
    Network,
    /// The request was sent to a name that is not this box's.
    Host,
    /// The page may not connect.
    Origin,
    /// A trusted proxy wrote nonsense.
    Proxy,
    /// A password or token is missing or wrong.
    Unauthorized,
    /// Too many wrong ones.
    Attempts,
    /// All connections are in use.
    Sockets,
    /// All connections of one address are.
    SocketsPerAddress,
    /// A room has as many members as it may.
    SocketsPerRoom,
    /// There are as many rooms as there may be.
    Rooms,
    /// A message was too large.
    MessageBytes,
    /// Messages came too fast.
    MessagesPerSecond,
    /// Messages were not read.
    Queue,
    /// A request's head did not come in time.
    Handshake,
    /// A request's body did not come in time.
    Login,
    /// A request's body was too large.
    Body,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub(super) const ALL: [Self; 16] = [
        Self::Network,
        Self::Host,
        Self::Origin,
        Self::Proxy,
        Self::Unauthorized,
        Self::Attempts,
        Self::Sockets,
        Self::SocketsPerAddress,
        Self::SocketsPerRoom,
        Self::Rooms,
        Self::MessageBytes,
        Self::MessagesPerSecond,
        Self::Queue,
        Self::Handshake,
        Self::Login,
        Self::Body,
    ];

    /// As `/metrics` writes it; of a limit, its key in `[limits]`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Proxy => "proxy",
            Self::Unauthorized => "unauthorized",
            Self::Attempts => "logins_per_minute",
            Self::Sockets => "sockets",
            Self::SocketsPerAddress => "sockets_per_address",
            Self::SocketsPerRoom => "sockets_per_room",
            Self::Rooms => "rooms",
            Self::MessageBytes => "message_bytes",
            Self::MessagesPerSecond => "messages_per_second",
            Self::Queue => "queue",
            Self::Handshake => "handshake",
            Self::Login => "login",
            Self::Body => "body",
        }
    }
}

/// Counts and reports.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    entries: [Entry; Reason::ALL.len()],
}

#[derive(Debug, Default)]
struct Entry {
    count: AtomicU64,
    report: Mutex<Report>,
}

#[derive(Debug, Default)]
struct Report {
    last: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// One more, and a log line when it is time for one: the first at once, then one a minute.
    pub(super) fn note(&self, reason: Reason, address: IpAddr, what: impl Display) {
        self.count(reason);
        let Some(unsaid) = self.entry(reason).report(Instant::now()) else { return };
        let more = if unsaid > 0 {
            format!(" ({unsaid} more since the last line like this)")
        } else {
            String::new()
        };
        log::warn!(address:%, reason = reason.label(), message_id = events::REFUSED; "refused {address}: {what}{more}");
    }

    /// One more, of a kind that happens every day.
    pub(super) fn count(&self, reason: Reason) {
        self.entry(reason).count.fetch_add(1, Relaxed);
    }

    /// How many so far.
    pub(super) fn total(&self, reason: Reason) -> u64 {
        self.entry(reason).count.load(Relaxed)
    }

    fn entry(&self, reason: Reason) -> &Entry {
        // `ALL` has them in the order of their declaration; a test holds it to that.
        &self.entries[reason as usize]
    }
}

impl Entry {
    /// How many went unsaid since the last line, when it is time for another.
    fn report(&self, now: Instant) -> Option<u64> {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if report.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            report.unsaid += 1;
            return None;
        }
        report.last = Some(now);
        Some(std::mem::take(&mut report.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_and_a_label_of_its_own() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
        let labels: std::collections::BTreeSet<_> = Reason::ALL.map(Reason::label).into();
        assert_eq!(labels.len(), Reason::ALL.len());
    }

    #[test]
    fn the_first_is_said_at_once_then_one_a_minute_with_the_rest() {
        let start = Instant::now();
        let entry = Entry::default();
        assert_eq!(entry.report(start), Some(0));
        for second in 1..60 {
            assert_eq!(entry.report(start + Duration::from_secs(second)), None);
        }
        assert_eq!(entry.report(start + INTERVAL), Some(59));
        assert_eq!(entry.report(start + INTERVAL), None);
    }
}
