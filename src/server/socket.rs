//! One WebSocket: a client's transport to the hub.
//!
//! Two halves run side by side, so a client that does not read still is heard, and one that does not speak still is
//! told. The first half to end says why; then the socket is closed with a code and forgotten.
//!
//! | code | meaning | should the client come back? |
//! |---|---|---|
//! | 1001 | portald ends, or the room is gone | yes, after a pause |
//! | 1002, 1007 | not the WebSocket protocol, not UTF-8 | no |
//! | 1008 | refused (the error before says why), or far too many messages | no; after a refusal: not soon |
//! | 1009 | a message over 64 KiB | yes, without it |
//! | 1011 | the hub is gone | yes |
//! | 1013 | the client reads too slowly | yes, after a pause |
//! | 4001 | a newer socket of the same client took the seat | no |
//! | 4002 | nothing came for 15 s, not even pongs | yes |
//!
//! A client that closes with 1000 (it leaves) or 1001 (its page is gone) gives up its seat. Any other end, a close
//! with another code too, may be a bad link: the hub keeps the seat of those who can claim it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tungstenite::Message;
use tungstenite::error::{CapacityError, Error as WsError};
use warp::reply::Response;

use super::rate::{Bucket, Verdict};
use super::websocket::{Frame, WebSocket, Ws};
use super::{Context, Peer, told_to_end};
use crate::hub::{Delivery, JoinRequest, Receiver, Sender};
use crate::proto::ids::Kind;
use crate::proto::message::{ClientMessage, ErrorCode, MAX_MESSAGE, ServerMessage};
use crate::proto::room::CloseReason;

/// The largest frame we send is an `info`: up to 1000 members of some 300 bytes. tungstenite's default is
/// unbounded, and it must exceed its write buffer of 128 KiB.
const WRITE_BUFFER: usize = 1024 * 1024;

/// Answers to malformed frames that wait for a slow client.
const ANSWERS: usize = 16;

/// What the client asks for with the address it connects to.
#[derive(Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))] // The key is a secret: not for logs.
pub(super) struct Query {
    room: Option<String>,
    id: Option<String>,
    key: Option<String>,
    sessions: bool,
}

impl Query {
    /// Reads a query string as URLSearchParams does; of a name given twice the first counts, and an empty value is
    /// none. Never fails: what is unknown is somebody else's.
    pub(super) fn parse(query: &str) -> Self {
        let get = |name| {
            let first = form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name);
            first.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        Self {
            room: get("room"),
            id: get("id"),
            key: get("key"),
            sessions: get("sessions").is_some_and(|value| value == "1"),
        }
    }
}

/// Answers the handshake; the socket then runs in a task of its own.
pub(super) fn upgrade(ws: Ws, query: Query, peer: Peer, context: Arc<Context>) -> Response {
    ws.max_message_size(MAX_MESSAGE)
        .max_write_buffer_size(WRITE_BUFFER)
        .on_upgrade(move |socket| run(socket, query, peer, context))
}

/// Why a socket ended.
#[derive(Debug)]
pub(super) enum End {
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
    pub(super) const LABELS: [&str; 15] = [
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
        "bad_message",
        "replaced",
        "room_gone",
        "hub_gone",
        "shutdown",
    ];

    /// For counting.
    pub(super) fn label(&self) -> &'static str {
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

    /// The code and text of the close frame; `None` when the client is gone.
    fn close_frame(&self) -> Option<Message> {
        let (code, text) = match self {
            Self::Left | Self::Client => return None,
            Self::Protocol(code) => (*code, "not what WebSocket allows"),
            Self::TooLarge => (1009, "message over 65536 bytes"),
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

async fn run(socket: WebSocket, query: Query, peer: Peer, context: Arc<Context>) {
    context.counters.opened.fetch_add(1, Relaxed);
    let (mut sink, mut stream) = socket.split();
    let end = talk(&mut sink, &mut stream, query, peer, &context).await;
    // Only what a client has to work for is worth a warning: the rest could be a flood of log lines. All is counted.
    let level = if matches!(end, End::Flood | End::TooSlow) { log::Level::Warn } else { log::Level::Debug };
    log::log!(level, address:% = peer.0, reason = end.label(); "socket from {} ended: {}", peer.0, end.label());
    context.counters.ended(&end);
    // The hub knows already: a client that drags out its goodbye holds a descriptor, not a seat.
    let goodbye = async {
        if let Some(frame) = end.close_frame() {
            sink.send(frame).await?;
        }
        // Completes the handshake: tungstenite answers the client's close frame while reading.
        while let Some(Ok(_)) = stream.next().await {}
        Ok::<(), WsError>(())
    };
    let _ = timeout(context.limits.close, goodbye).await;
}

/// Joins, then runs both halves until one ends. Returning ends the membership.
async fn talk(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    query: Query,
    peer: Peer,
    context: &Context,
) -> End {
    let request = JoinRequest {
        room: query.room,
        id: query.id,
        key: query.key,
        sessions: query.sessions,
        kind: Kind::Peer,
        title: None,
        address: Some(peer.0),
    };
    let Some(membership) = context.site.hub.join(request).await else {
        return End::HubGone;
    };
    let (to_hub, from_hub) = membership.split();
    let (to_client, answers) = mpsc::channel(ANSWERS);
    let end = tokio::select! {
        end = listen(stream, &to_hub, &to_client, context) => end,
        end = tell(sink, from_hub, answers, context) => end,
        () = told_to_end(context.shutdown.clone()) => End::Shutdown,
    };
    if matches!(end, End::Left) {
        to_hub.leave();
    }
    end
}

/// From the client to the hub.
async fn listen(
    stream: &mut SplitStream<WebSocket>,
    hub: &Sender,
    client: &mpsc::Sender<ServerMessage>,
    context: &Context,
) -> End {
    let limits = &context.limits;
    let counters = &context.counters;
    let mut bucket = Bucket::new(limits.rate, limits.burst, limits.flood, Instant::now());
    loop {
        let frame = match timeout(limits.silence, stream.next()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(e))) => return fault(&e),
            Ok(None) => return End::Client,
            Err(_) => return End::Silent,
        };
        if frame.is_close() {
            let code = frame.close_frame().map(|(code, _)| code);
            return if matches!(code, Some(1000 | 1001)) { End::Left } else { End::Client };
        }
        counters.frames.fetch_add(1, Relaxed);
        match bucket.take(Instant::now()) {
            Verdict::Take => {}
            Verdict::Drop => {
                counters.over_rate.fetch_add(1, Relaxed);
                continue;
            }
            Verdict::Flood => return End::Flood,
        }
        if frame.is_ping() || frame.is_pong() {
            hub.heard().await;
            continue;
        }
        let text = frame.to_str().map_err(|()| "a binary frame; messages are JSON in text frames".to_owned());
        match text.and_then(|text| ClientMessage::parse(text).map_err(|e| e.to_string())) {
            Ok(message) => {
                if !hub.send(message).await {
                    return End::HubGone;
                }
            }
            Err(fault) => {
                hub.heard().await;
                counters.malformed.fetch_add(1, Relaxed);
                if client.try_send(ServerMessage::Error(ErrorCode::BadMessage, Some(fault))).is_err() {
                    counters.unanswered.fetch_add(1, Relaxed);
                }
            }
        }
    }
}

/// From the hub to the client.
async fn tell(
    sink: &mut SplitSink<WebSocket, Message>,
    mut hub: Receiver,
    mut answers: mpsc::Receiver<ServerMessage>,
    context: &Context,
) -> End {
    let limits = &context.limits;
    // An interval of nothing would panic.
    let every = limits.ping.max(Duration::from_millis(1));
    let mut pings = interval_at(Instant::now() + every, every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            delivery = hub.recv() => match delivery {
                Some(Delivery::Message(message)) => Message::text(message.to_json()),
                Some(Delivery::Close(reason)) => return End::Hub(reason),
                None => return End::HubGone,
            },
            Some(answer) = answers.recv() => Message::text(answer.to_json()),
            _ = pings.tick() => Message::ping(),
        };
        match timeout(limits.write, sink.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return fault(&e),
            Err(_) => return End::TooSlow,
        }
    }
}

/// What an error of the socket says about the client.
fn fault(error: &WsError) -> End {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => End::TooLarge,
        // Gone without a goodbye: closed pages and pulled cables do that every day.
        WsError::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => End::Client,
        WsError::Protocol(_) => End::Protocol(1002),
        WsError::Utf8(_) => End::Protocol(1007),
        _ => End::Client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_browsers_write_them() {
        let query = Query::parse("room=h%C3%B6me+x&room=other&id=&sessions=1&key=a%2Bb&unknown&%zz=%");
        let expected =
            Query { room: Some("höme x".into()), id: None, key: Some("a+b".into()), sessions: true };
        assert_eq!(query, expected);
        assert_eq!(Query::parse(""), Query::default());
        assert!(!Query::parse("sessions=0&sessions=1").sessions);
        assert_eq!(Query::parse("room=&room=x").room, None);
    }

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
