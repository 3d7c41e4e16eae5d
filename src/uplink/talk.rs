//! One connection to another server: what is heard, and what is said.
//!
//! Both halves run side by side, so that neither a busy camera nor a busy socket holds up the other.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::dial::Socket;
use super::end::End;
use super::{Outgoing, Torn, Way, target};
use crate::proto::heard::Heard;
use crate::proto::ids::{MemberId, Session};
use crate::proto::message::{ClientMessage, Info};
use crate::status::CameraStatus;

/// How long the server may take to say who is in the room.
const SEATING: Duration = Duration::from_secs(10);
/// How long nothing may be heard: a portald pings every 5 s, every server answers our pings.
const SILENCE: Duration = Duration::from_secs(15);
/// How often and how long: as the portals client does.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
/// How long the server may take to accept a message.
const WRITE: Duration = Duration::from_secs(5);
/// Changes of a camera closer together are told as one.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// What we say to ourselves over a server without session numbers. The reference server deletes a member from the room
/// when an older socket of its closes, and still answers its pings; but then this does not come back.
const PROBE: &str = "uplink-probe";

/// What both halves know.
pub(super) struct Talk<'a> {
    way: &'a Way,
    torn: &'a Torn,
    key: Mutex<Option<String>>,
    /// Those in our roster, with the numbers of our connections to them.
    numbers: Mutex<BTreeMap<MemberId, Option<Session>>>,
    /// Tells the speaking half that we have our seat, and the hearing half that what had waited is said.
    seated: Notify,
    caught_up: Notify,
    /// The pings that were sent, and the last that was answered.
    pinged: AtomicU64,
    ponged: AtomicU64,
    /// The last probe that came back.
    probed: AtomicU64,
}

impl<'a> Talk<'a> {
    pub(super) fn new(way: &'a Way, torn: &'a Torn, key: Option<String>) -> Self {
        Self {
            way,
            torn,
            key: Mutex::new(key),
            numbers: Mutex::default(),
            seated: Notify::new(),
            caught_up: Notify::new(),
            pinged: AtomicU64::new(0),
            ponged: AtomicU64::new(0),
            probed: AtomicU64::new(0),
        }
    }

    /// The key of our seat, as known now.
    pub(super) fn into_key(self) -> Option<String> {
        self.key.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the camera was in the room.
    pub(super) fn was_seated(&self) -> bool {
        self.pinged.load(Relaxed) > 0
    }

    /// From the server to the camera.
    pub(super) async fn listen(&self, stream: &mut SplitStream<Socket>, camera: &mpsc::Sender<Heard>) -> End {
        let (mut is_seated, by) = (false, Instant::now() + SEATING);
        loop {
            let limit = if is_seated { Instant::now() + SILENCE } else { by };
            let text = match timeout_at(limit, stream.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => text,
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let said = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    // 1005: no code (RFC 6455, 7.1.5).
                    let (code, why) = said.unwrap_or((1005, String::new()));
                    return End::Closed(code, why);
                }
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(error))) => return broken(&error),
                Ok(None) => return End::Broken("it ended without a close".to_owned()),
                Err(_) => return End::Silent,
            };
            match Heard::parse(&text) {
                Some(Heard::Info(info)) if info.id != self.way.id => return End::OtherId(info.id),
                Some(Heard::Info(info)) => {
                    self.take(&info);
                    if !is_seated {
                        is_seated = true;
                        self.seated.notify_one();
                        // What the camera says when it knows must not be taken for what it said before.
                        self.caught_up.notified().await;
                    }
                    let _ = camera.send(Heard::Info(info)).await;
                }
                Some(Heard::Pong(number)) => note(&self.ponged, &number),
                // What was wrong with one message costs no connection.
                Some(Heard::Error(code, why)) if code == "bad_message" => {
                    log::debug!("uplink {}: {code} {}", self.way.name, why.unwrap_or_default());
                }
                Some(Heard::Error(code, why)) => return End::Refused(code, why),
                Some(Heard::Relay { kind, payload, from }) if kind == PROBE && from == self.way.id => {
                    note(&self.probed, &payload);
                }
                Some(relay) => drop(camera.send(relay).await),
                None => log::debug!(
                    "uplink {}: something that is no message, {} bytes",
                    self.way.name,
                    text.len()
                ),
            }
        }
    }

    /// From the camera to the server.
    pub(super) async fn speak(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        queue: &mut mpsc::Receiver<Outgoing>,
        rebuild_due: Option<Instant>,
    ) -> End {
        self.seated.notified().await;
        self.way.announce();
        match self.converse(sink, queue, rebuild_due).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn converse(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        queue: &mut mpsc::Receiver<Outgoing>,
        rebuild_due: Option<Instant>,
    ) -> Result<std::convert::Infallible, End> {
        self.catch_up(sink, queue).await?;
        self.way.status.connected.store(true, Relaxed);
        let is_portald = lock(&self.key).is_some();
        let mut changes = self.way.cameras.subscribe();
        changes.mark_changed();
        let (mut status, mut status_due) = (String::new(), None);
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pong_due = None;
        loop {
            tokio::select! {
                Some(outgoing) = queue.recv() => self.pass_on(sink, outgoing, false).await?,
                _ = pings.tick() => {
                    let number = self.pinged.fetch_add(1, Relaxed) + 1;
                    let raw = to_raw_value(&number).unwrap_or_else(|_| RawValue::NULL.to_owned());
                    say(sink, &ClientMessage::Ping(raw)).await?;
                    if !is_portald {
                        say(sink, &ClientMessage::relay(PROBE, &number, &self.way.id)).await?;
                    }
                    pong_due = Some(Instant::now() + PONG);
                    self.renew(sink).await?;
                }
                () = sleep_until(pong_due.unwrap_or_else(Instant::now)), if pong_due.is_some() => {
                    pong_due = None;
                    self.check()?;
                }
                () = self.torn.wake.notified(), if !is_portald => {}
                () = self.way.title.changed.notified(), if is_portald => return Err(End::Retitled),
                () = sleep_until(rebuild_due.unwrap_or_else(Instant::now)), if !is_portald && self.torn.all.load(Relaxed) => {
                    return Err(End::Rebuild);
                }
                Ok(()) = changes.changed(), if is_portald && status_due.is_none() => {
                    status_due = Some(Instant::now() + if status.is_empty() { Duration::ZERO } else { STATUS_EVERY });
                }
                () = sleep_until(status_due.unwrap_or_else(Instant::now)), if status_due.is_some() => {
                    status_due = None;
                    changes.mark_unchanged();
                    let present = self.way.cameras.get(&self.way.camera).map(|camera| report(&camera));
                    if let Some(present) = present.filter(|present| present.get() != status) {
                        status = present.get().to_owned();
                        say(sink, &ClientMessage::Status(present)).await?;
                    }
                }
            }
        }
    }

    /// Takes in who is there.
    fn take(&self, info: &Info) {
        if let Some(key) = &info.key {
            *lock(&self.key) = Some(key.clone());
        }
        // Where connections have no numbers, everybody builds all of them anew now.
        self.torn.all.store(false, Relaxed);
        *lock(&self.numbers) =
            info.members.iter().map(|member| (member.id.clone(), member.session)).collect();
    }

    /// What was said while the socket was away.
    async fn catch_up(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        queue: &mut mpsc::Receiver<Outgoing>,
    ) -> Result<(), End> {
        for _ in 0..queue.len() {
            if let Ok(outgoing) = queue.try_recv() {
                self.pass_on(sink, outgoing, true).await?;
            }
        }
        self.caught_up.notify_one();
        Ok(())
    }

    /// Sends a message, if the connection that it belongs to is still the one that the two should have: an offer of an
    /// old one would be taken for one of the new. Where connections have no numbers, those of before the socket was
    /// lost are no more.
    async fn pass_on(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        outgoing: Outgoing,
        is_old: bool,
    ) -> Result<(), End> {
        let Outgoing { message, session } = outgoing;
        let current = target(&message).and_then(|target| lock(&self.numbers).get(target).copied());
        if current == Some(session) && !(is_old && session.is_none()) {
            return say(sink, &message).await;
        }
        self.way.status.dropped.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Asks for new connections in place of those that lost messages.
    async fn renew(&self, sink: &mut SplitSink<Socket, Message>) -> Result<(), End> {
        for (target, session) in self.torn.take() {
            let message = ClientMessage::Renew { target, session };
            self.pass_on(sink, Outgoing { message, session: Some(session) }, false).await?;
        }
        Ok(())
    }

    /// Whether the last ping was answered and the last probe came back.
    fn check(&self) -> Result<(), End> {
        let last = self.pinged.load(Relaxed);
        let probed = self.probed.load(Relaxed);
        if self.ponged.load(Relaxed) < last {
            return Err(End::Silent);
        }
        // Where none ever came back, none is expected.
        if probed > 0 && probed < last { Err(End::Forgotten) } else { Ok(()) }
    }
}

async fn say(sink: &mut SplitSink<Socket, Message>, message: &ClientMessage) -> Result<(), End> {
    match timeout(WRITE, sink.send(Message::text(message.to_json()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(End::Silent),
    }
}

fn broken(error: &WsError) -> End {
    End::Broken(error.to_string())
}

/// Remembers the number of an answer.
fn note(last: &AtomicU64, number: &RawValue) {
    if let Ok(number) = serde_json::from_str(number.get()) {
        last.fetch_max(number, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the other server's API shows of the camera. Without the counters, which change with every picture.
fn report(camera: &CameraStatus) -> Box<RawValue> {
    let rendition = |r: &crate::status::RenditionStatus| {
        json!({
            "name": r.name, "codec": r.codec, "encoder": r.encoder, "width": r.width, "height": r.height,
            "framerate": r.framerate, "bitrate": r.bitrate, "running": r.running, "viewers": r.viewers,
            "degraded": r.degraded,
        })
    };
    let renditions: Vec<_> = camera.renditions.iter().map(rendition).collect();
    let report = json!({
        "state": camera.state, "reason": camera.reason, "since": camera.since, "seen": camera.seen,
        "viewers": camera.viewers, "renditions": renditions,
    });
    to_raw_value(&report).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
