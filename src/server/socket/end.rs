//! Why a socket ended, and what its client is told.

use tungstenite::Message;

use crate::proto::message::ErrorCode;
use crate::proto::room::CloseReason;
use crate::server::refusals::Reason;
use crate::server::websocket::Frame;

/// Why a socket ended.
#[derive(Debug)]
pub(in crate::server) enum End {
    /// The client closed it for good.
    Left,
    /// The client closed it, or its connection broke; it may come back.
    Client,
    /// The client does not speak WebSocket, or not UTF-8.
    Protocol(u16),
    /// A message over the limit.
    TooLarge,
    /// Too many messages for too long.
    Flood,
    /// Nothing heard.
    Silent,
    /// A message was not taken in time.
    TooSlow,
    /// The hub said so.
    Hub(CloseReason),
    /// The hub is gone.
    HubGone,
    /// portald ends.
    Shutdown,
}

impl End {
    /// All of [`Self::label`].
    pub(in crate::server) const LABELS: [&str; 18] = [
        "left",
        "client",
        "protocol",
        "too_large",
        "flood",
        "silent",
        "too_slow",
        "room_not_set",
        "room_not_found",
        "room_full",
        "unauthorized",
        "id_taken",
        "too_many_attempts",
        "bad_message",
        "replaced",
        "room_gone",
        "hub_gone",
        "shutdown",
    ];

    /// For counting.
    pub(in crate::server) fn label(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Client => "client",
            Self::Protocol(_) => "protocol",
            Self::TooLarge => "too_large",
            Self::Flood => "flood",
            Self::Silent => "silent",
            Self::TooSlow | Self::Hub(CloseReason::TooSlow) => "too_slow",
            Self::Hub(CloseReason::Refused(code)) => code.as_str(),
            Self::Hub(CloseReason::Replaced) => "replaced",
            Self::Hub(CloseReason::RoomGone) => "room_gone",
            Self::HubGone => "hub_gone",
            Self::Shutdown | Self::Hub(CloseReason::Shutdown) => "shutdown",
        }
    }

    /// The limit that it was over, and in words.
    pub(super) fn refusal(&self) -> Option<(Reason, &'static str)> {
        Some(match self {
            Self::TooLarge => (Reason::MessageBytes, "a message over message_bytes of [limits]"),
            Self::Flood => (Reason::MessagesPerSecond, "more than messages_per_second of [limits], for long"),
            Self::TooSlow | Self::Hub(CloseReason::TooSlow) => (Reason::Queue, "it reads too slowly"),
            Self::Hub(CloseReason::Refused(ErrorCode::RoomFull)) => {
                (Reason::SocketsPerRoom, "the room has sockets_per_room of [limits]")
            }
            _ => return None,
        })
    }

    /// The code and text of the close frame; `None` when the client is gone.
    pub(super) fn close_frame(&self) -> Option<Message> {
        let (code, text) = match self {
            Self::Left | Self::Client => return None,
            Self::Protocol(code) => (*code, "not what WebSocket allows"),
            Self::TooLarge => (1009, "message too large"),
            Self::Flood => (1008, "too many messages"),
            Self::Silent => (4002, "nothing heard"),
            Self::TooSlow | Self::Hub(CloseReason::TooSlow) => (1013, "reading too slowly"),
            Self::Hub(CloseReason::Refused(code)) => (1008, code.as_str()),
            Self::Hub(CloseReason::Replaced) => (4001, "replaced by a newer socket"),
            Self::Hub(CloseReason::RoomGone) => (1001, "the room is gone"),
            Self::HubGone => (1011, "the hub is gone"),
            Self::Shutdown | Self::Hub(CloseReason::Shutdown) => (1001, "portald ends"),
        };
        Some(Message::close_with(code, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_to_close_has_a_code_that_may_be_sent() {
        let refused = ErrorCode::RoomNotFound;
        for (end, code) in [
            (End::Hub(CloseReason::Refused(refused)), 1008),
            (End::Hub(CloseReason::Replaced), 4001),
            (End::Hub(CloseReason::TooSlow), 1013),
            (End::Hub(CloseReason::Shutdown), 1001),
            (End::TooLarge, 1009),
            (End::Silent, 4002),
        ] {
            assert!(End::LABELS.contains(&end.label()));
            assert_eq!(end.close_frame().unwrap().close_frame().unwrap().0, code, "{end:?}");
        }
        assert!(End::Client.close_frame().is_none());
    }
}
