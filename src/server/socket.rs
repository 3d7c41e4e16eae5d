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
//! | 1009 | a message over the limit, 64 KiB | yes, without it |
//! | 1011 | the hub is gone | yes |
//! | 1013 | the client reads too slowly | yes, after a pause |
//! | 4001 | a newer socket of the same client took the seat | no |
//! | 4002 | nothing came for 15 s, not even pongs | yes |
//!
//! A client that closes with 1000 (it leaves) or 1001 (its page is gone) gives up its seat. Any other end, a close
//! with another code too, may be a bad link: the hub keeps the seat of those who can claim it.

mod end;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tungstenite::Message;
use tungstenite::error::{CapacityError, Error as WsError};
use warp::http::StatusCode;
use warp::reply::Response;

pub(super) use self::end::End;
use super::access::{Caller, Shown, Visit};
use super::answers::{text, unauthorized_in_words};
use super::rate::{Bucket, Verdict};
use super::slots::Slot;
use super::websocket::{Frame, WebSocket, Ws};
use super::{Context, told_to_end};
use crate::hub::{Delivery, JoinRequest, Receiver, Sender};
use crate::proto::ids::Kind;
use crate::proto::message::{ClientMessage, ErrorCode, ServerMessage};
use crate::proto::room::CloseReason;

/// The largest frame we send is an `info`: up to 1000 members of some 300 bytes. tungstenite's default is
/// unbounded, and it must exceed its write buffer of 128 KiB.
const WRITE_BUFFER: usize = 1024 * 1024;

/// Answers to malformed frames that wait for a slow client.
const ANSWERS: usize = 16;

/// How many times the messages of a viewer a camera of another box may send: it makes offers and candidates for each of
/// its viewers, and after a restart they all come at once.
const CAMERA_RATE: u32 = 16;

/// What a client asks for whose frames are to come back as they are: for the WebSocket conformance suite. No room can
/// have this name.
#[cfg(feature = "echo")]
const ECHO_ROOM: &str = "!echo";

/// What the client asks for with the address it connects to.
#[derive(Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))] // Key and token are secrets: not for logs.
pub(super) struct Query {
    room: Option<String>,
    id: Option<String>,
    key: Option<String>,
    sessions: bool,
    kind: Option<String>,
    title: Option<String>,
    token: Option<String>,
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
            kind: get("kind"),
            title: get("title"),
            token: get("token"),
        }
    }

    /// The room that is asked for.
    pub(super) fn room(&self) -> Option<&str> {
        self.room.as_deref()
    }

    /// The password or token that is shown.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether a camera of another box asks.
    fn is_camera(&self) -> bool {
        self.kind.as_deref() == Some("camera")
    }

    /// What that means to the hub.
    pub(super) fn join_request(self, address: IpAddr) -> JoinRequest {
        let is_camera = self.is_camera();
        JoinRequest {
            room: self.room,
            id: self.id,
            key: self.key,
            sessions: self.sessions,
            kind: if is_camera { Kind::Camera } else { Kind::Peer },
            // What members call themselves goes to everyone; only boxes that we know may say it at once.
            title: self.title.filter(|_| is_camera),
            address: Some(address),
        }
    }
}

/// Answers the handshake; the socket then runs in a task of its own. Who may not be in the room is told so there: a
/// page cannot see why a handshake failed.
pub(super) fn upgrade(ws: Ws, query: Query, visit: Visit, caller: Caller, context: Arc<Context>) -> Response {
    let address = visit.client.address;
    // A proxy's connection counts for nobody; what comes through it counts for whom it speaks.
    let slot = match visit
        .client
        .proxied
        .then(|| context.slots.take_forwarded(address, &context.limits()))
        .transpose()
    {
        Ok(slot) => slot,
        Err(full) => {
            context.refusals.note(full.reason(), address, full);
            return text(StatusCode::SERVICE_UNAVAILABLE, format!("{full}\n"));
        }
    };
    let denied = denied(&query, &caller);
    if denied.is_some() {
        context.note_unauthorized(&caller, &visit, "a room");
    }
    let client = Client { address, denied, _slot: slot };
    ws.max_message_size(context.limits().message_bytes)
        .max_write_buffer_size(WRITE_BUFFER)
        .on_upgrade(move |socket| run(socket, query, client, context))
}

/// What another box's camera lacks.
const UPLINK_TOKEN: &str = "the uplink token of this box: the secret in the file of its uplink_token_file ([access]), \
     which the other box names in its token_file ([uplink.NAME])";

/// Why `caller` may not have what it asks for, if so. Whoever names no room is told by the hub; another box's camera needs
/// the uplink token and nothing else.
fn denied(query: &Query, caller: &Caller) -> Option<(ErrorCode, String)> {
    let (allowed, needed) = if query.is_camera() {
        (caller.is_uplink(), UPLINK_TOKEN)
    } else {
        (query.room().is_none_or(|room| caller.opens_asked(room)), "the room's password or token")
    };
    if allowed {
        return None;
    }
    let code = match caller.shown {
        Shown::TooMany(_) => ErrorCode::TooManyAttempts,
        Shown::Nothing | Shown::Right | Shown::Wrong => ErrorCode::Unauthorized,
    };
    Some((code, unauthorized_in_words(caller, needed).1))
}

/// Who is at the other end.
struct Client {
    address: IpAddr,
    /// Why it may not come in.
    denied: Option<(ErrorCode, String)>,
    /// Its place among those of its address, when it comes through a proxy.
    _slot: Option<Slot>,
}

async fn run(socket: WebSocket, query: Query, client: Client, context: Arc<Context>) {
    context.counters.opened.fetch_add(1, Relaxed);
    let address = client.address;
    let (mut sink, mut stream) = socket.split();
    let end = talk(&mut sink, &mut stream, query, &client, &context).await;
    log::debug!(address:%, reason = end.label(); "socket from {address} ended: {}", end.label());
    if let Some((reason, what)) = end.refusal() {
        context.refusals.note(reason, address, what);
    }
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
    let _ = timeout(context.limits().close, goodbye).await;
}

/// Joins, then runs both halves until one ends. Returning ends the membership.
async fn talk(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    query: Query,
    client: &Client,
    context: &Context,
) -> End {
    if let Some((code, message)) = &client.denied {
        let error = ServerMessage::Error(*code, Some(message.clone())).to_json();
        let _ = timeout(context.limits().write, sink.send(Message::text(error))).await;
        return End::Hub(CloseReason::Refused(*code));
    }
    let is_camera = query.is_camera();
    #[cfg(feature = "echo")]
    if query.room.as_deref() == Some(ECHO_ROOM) {
        return echo(sink, stream, context).await;
    }
    let Some(membership) = context.site.hub.join(query.join_request(client.address)).await else {
        return End::HubGone;
    };
    let (to_hub, from_hub) = membership.split();
    let (to_client, answers) = mpsc::channel(ANSWERS);
    let end = tokio::select! {
        end = listen(stream, &to_hub, &to_client, is_camera, context) => end,
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
    is_camera: bool,
    context: &Context,
) -> End {
    let limits = context.limits();
    let counters = &context.counters;
    let times = if is_camera { CAMERA_RATE } else { 1 };
    let (rate, burst) = (limits.rate.saturating_mul(times), limits.burst.saturating_mul(times));
    let mut bucket = Bucket::new(rate, burst, limits.flood, Instant::now());
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
    let limits = context.limits();
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

/// Sends every text and binary frame back. Pings and closes are answered by tungstenite, here as everywhere.
#[cfg(feature = "echo")]
async fn echo(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    context: &Context,
) -> End {
    loop {
        match timeout(context.limits().silence, stream.next()).await {
            Ok(Some(Ok(frame))) if frame.is_close() => return End::Client,
            Ok(Some(Ok(frame))) if frame.is_text() || frame.is_binary() => match sink.send(frame).await {
                Ok(()) => {}
                Err(e) => return fault(&e),
            },
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(e))) => return fault(&e),
            Ok(None) => return End::Client,
            Err(_) => return End::Silent,
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
        let expected = Query {
            room: Some("höme x".into()),
            key: Some("a+b".into()),
            sessions: true,
            ..Query::default()
        };
        assert_eq!(query, expected);
        let camera = Query::parse("kind=camera&title=Front+door&token=x");
        assert!(camera.is_camera() && camera.title.as_deref() == Some("Front door"));
        assert_eq!(Query::parse(""), Query::default());
        assert!(!Query::parse("sessions=0&sessions=1").sessions);
        assert_eq!(Query::parse("room=&room=x").room, None);
        assert_eq!(Query::parse("token=a%20b&token=c").token(), Some("a b"));
    }
}
