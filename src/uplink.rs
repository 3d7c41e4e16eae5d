//! A camera of this box as a member of a room on another server, over a WebSocket that comes back.
//!
//! One task for each camera and uplink keeps the socket: it asks for the same id, and with the key for the same seat.
//! What sessions say while the socket is away waits, and is sent if the next `info` still has the connection that it
//! belongs to.

mod backoff;
mod dial;
mod end;
mod talk;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use form_urlencoded::Serializer;
use futures_util::{SinkExt, StreamExt};
use log::{info, warn};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use self::backoff::{Backoff, Rebuild};
use self::dial::Dialer;
use self::end::End;
use self::talk::Talk;
use crate::config::settings::{self, Uplink as Settings};
use crate::events;
use crate::proto::heard::Heard;
use crate::proto::ids::{MAX_NAME, MemberId, Name, Session};
use crate::proto::message::ClientMessage;
use crate::status::{Cameras, UplinkStatus, Uplinks};

/// Messages of a camera's sessions that may wait for the socket: an offer and its candidates are about a dozen.
const OUTBOX: usize = 256;
/// Messages of the server that may wait for the camera; then the socket waits, and in the end the server.
const INBOX: usize = 256;
/// How long a session waits for a busy socket; one that is away makes nobody wait.
const BUSY: Duration = Duration::from_secs(5);
/// Connections that lost messages and are to be renewed: more than a camera has sessions.
const TORN: usize = 1024;
/// How long the other server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Another server, and how to get there; for all cameras of an uplink.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    box_name: Name,
    dialer: Dialer,
}

impl Server {
    /// Reads this box's certificate authorities, if they are needed: that takes some milliseconds.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            box_name: settings.box_name.clone().unwrap_or_else(|| as_name(&settings::host_name())),
            dialer: Dialer::new(settings.url.clone(), settings.token.clone(), settings.fingerprint),
        }
    }

    /// Whether the camera `name` is one of those that the uplink takes along.
    #[must_use]
    pub fn takes(&self, name: &Name) -> bool {
        self.settings.cameras.as_ref().is_none_or(|names| names.contains(name))
    }

    /// The way of one camera. What it tells the other server of the camera is read from `cameras`.
    #[must_use]
    pub fn uplink(&self, camera: &settings::Camera, cameras: &Cameras, uplinks: &Uplinks) -> Uplink {
        let way = Way {
            name: self.settings.name.clone(),
            url: self.settings.url.clone(),
            room: self.settings.room.clone(),
            id: MemberId::remote_camera(&self.box_name, &camera.name),
            title: Arc::new(Title { text: Mutex::new(camera.title.clone()), changed: Notify::new() }),
            camera: camera.name.clone(),
            dialer: self.dialer.clone(),
            cameras: cameras.clone(),
            status: uplinks.add(self.settings.name.clone(), camera.name.clone()),
        };
        Uplink(Arc::new(way))
    }
}

/// The way of one camera to a room of another server; clones are the same way.
#[derive(Debug, Clone)]
pub struct Uplink(Arc<Way>);

/// What is known of it.
#[derive(Debug)]
struct Way {
    /// The uplink's.
    name: Name,
    url: String,
    room: String,
    /// The camera's there.
    id: MemberId,
    title: Arc<Title>,
    /// The camera's name here.
    camera: Name,
    dialer: Dialer,
    cameras: Cameras,
    status: Arc<UplinkStatus>,
}

/// What the camera is called there.
#[derive(Debug)]
struct Title {
    text: Mutex<String>,
    /// Tells that it is another.
    changed: Notify,
}

impl Title {
    fn lock(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uplink {
    /// The room's name there.
    #[must_use]
    pub fn room(&self) -> &str {
        &self.0.room
    }

    /// Begins to connect, and keeps at it until [`Receiver::leave`]. Must be called in a tokio runtime.
    #[must_use]
    pub fn open(&self) -> (Sender, Receiver) {
        let (queue, outgoing) = mpsc::channel(OUTBOX);
        let (incoming, inbox) = mpsc::channel(INBOX);
        let torn = Arc::new(Torn::default());
        let task = Task {
            way: Arc::clone(&self.0),
            torn: Arc::clone(&torn),
            outgoing,
            incoming,
            key: None,
            backoff: Backoff::default(),
            rebuild: Rebuild::default(),
            told: String::new(),
        };
        let (status, title) = (Arc::clone(&self.0.status), Arc::clone(&self.0.title));
        let sender = Sender { queue, torn, status, title };
        (sender, Receiver { inbox, task: tokio::spawn(task.run()) })
    }
}

/// The speaking half; clones are the same half.
#[derive(Debug, Clone)]
pub struct Sender {
    queue: mpsc::Sender<Outgoing>,
    torn: Arc<Torn>,
    status: Arc<UplinkStatus>,
    title: Arc<Title>,
}

/// A message, and the number of the connection that it belongs to.
#[derive(Debug)]
struct Outgoing {
    message: ClientMessage,
    session: Option<Session>,
}

impl Sender {
    /// Says something that belongs to the connection numbered `session`. `false`: too much waits already; it is lost, and
    /// the connection will be renewed.
    pub async fn send(&self, message: ClientMessage, session: Option<Session>) -> bool {
        let refused = match self.queue.try_send(Outgoing { message, session }) {
            Ok(()) => return true,
            Err(full) if self.status.connected.load(Relaxed) => {
                match self.queue.send_timeout(full.into_inner(), BUSY).await {
                    Ok(()) => return true,
                    Err(busy) => busy.into_inner(),
                }
            }
            Err(full) => full.into_inner(),
        };
        self.status.dropped.fetch_add(1, Relaxed);
        if let (Some(target), Some(session)) = (target(&refused.message), refused.session) {
            self.torn.add(target, session);
        }
        false
    }
}

impl Sender {
    /// Joins again, as soon as that may be asked of the others: where connections have no numbers, everybody then builds
    /// all of them anew, and nothing else makes them do so.
    pub fn rebuild(&self) {
        self.torn.all.store(true, Relaxed);
        self.torn.wake.notify_one();
    }

    /// Is called otherwise from now on. A portald hears it at once, when the camera comes back to its seat; others never.
    pub fn retitle(&self, title: String) {
        let before = std::mem::replace(&mut *self.title.lock(), title.clone());
        if before != title {
            self.title.changed.notify_one();
        }
    }
}

/// The hearing half. Dropping it leaves, too.
#[derive(Debug)]
pub struct Receiver {
    inbox: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// What comes next; for as long as it takes while the server is away. `None`: never again.
    pub async fn recv(&mut self) -> Option<Heard> {
        self.inbox.recv().await
    }

    /// Leaves the room, and waits until the server knows, for a second at most.
    pub async fn leave(self) {
        drop(self.inbox);
        // A panic of the task has been reported already.
        let _ = self.task.await;
    }
}

/// Connections that cannot be saved.
#[derive(Debug, Default)]
struct Torn {
    /// Those of which a message was lost: each is to have a new number.
    numbered: Mutex<BTreeMap<MemberId, Session>>,
    /// Whether there is one without a number.
    all: AtomicBool,
    /// Tells of that.
    wake: Notify,
}

impl Torn {
    fn add(&self, peer: &MemberId, session: Session) {
        let mut torn = self.lock();
        if torn.len() < TORN {
            torn.insert(peer.clone(), session);
        }
    }

    fn take(&self) -> BTreeMap<MemberId, Session> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberId, Session>> {
        self.numbered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a message is for.
fn target(message: &ClientMessage) -> Option<&MemberId> {
    match message {
        ClientMessage::Relay { target, .. } => target.as_ref(),
        ClientMessage::Renew { target, .. } => Some(target),
        ClientMessage::Ping(_) | ClientMessage::Status(_) => None,
    }
}

/// Keeps the socket.
struct Task {
    way: Arc<Way>,
    torn: Arc<Torn>,
    outgoing: mpsc::Receiver<Outgoing>,
    incoming: mpsc::Sender<Heard>,
    /// Of our seat, once a portald gave us one.
    key: Option<String>,
    backoff: Backoff,
    rebuild: Rebuild,
    /// What was last said of the connection, so that it is not said again and again.
    told: String,
}

impl Task {
    async fn run(mut self) {
        loop {
            let begun = Instant::now();
            let end = self.connection().await;
            if matches!(end, End::Left) {
                return;
            }
            self.way.status.ended(end.label());
            if !matches!(end, End::Retitled) {
                self.report(&end);
            }
            if end.loses_seat() {
                self.key = None;
            }
            let wait = self.backoff.wait(end.hope(), begun.elapsed());
            tokio::select! {
                () = sleep(wait) => {}
                () = self.incoming.closed() => return,
            }
        }
    }

    /// One connection, from its opening to its end.
    async fn connection(&mut self) -> End {
        let query = self.query();
        let dialed = tokio::select! {
            dialed = self.way.dialer.dial(&query) => dialed,
            () = self.incoming.closed() => return End::Left,
        };
        let (mut sink, mut stream) = match dialed {
            Ok(socket) => socket.split(),
            Err(error) => return End::NotOpened(error),
        };
        let talk = Talk::new(&self.way, &self.torn, self.key.take());
        let leaving = self.incoming.clone();
        let end = tokio::select! {
            end = talk.listen(&mut stream, &self.incoming) => end,
            end = talk.speak(&mut sink, &mut self.outgoing, self.rebuild.due()) => end,
            () = leaving.closed() => End::Left,
        };
        self.way.status.connected.store(false, Relaxed);
        if matches!(end, End::Rebuild) {
            self.rebuild.done();
        }
        if talk.was_seated() {
            self.told.clear();
        }
        self.key = talk.into_key();
        // The old socket goes before a new one comes: the reference server deletes the member that has the id when the
        // older socket closes.
        let goodbye = async {
            let code = if matches!(end, End::Left) { end::LEAVING } else { end::COMING_BACK };
            let _ =
                sink.send(Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }))).await;
            while let Some(Ok(_)) = stream.next().await {}
        };
        let _ = timeout(GOODBYE, goodbye).await;
        end
    }

    /// What the address asks for; the token goes in a header.
    fn query(&self) -> String {
        let way = &self.way;
        let mut query = Serializer::new(String::new());
        query.append_pair("room", &way.room).append_pair("id", way.id.as_str());
        query
            .append_pair("sessions", "1")
            .append_pair("kind", "camera")
            .append_pair("title", &way.title.lock());
        if let Some(key) = &self.key {
            query.append_pair("key", key);
        }
        query.finish()
    }

    /// Says why the camera is not there, once for each reason.
    fn report(&mut self, end: &End) {
        let said = end.to_string();
        if said == self.told {
            return;
        }
        let Way { name, camera, url, room, .. } = &*self.way;
        let (uplink, camera, room) = (name.as_str(), camera.as_str(), room.as_str());
        warn!(camera, room, uplink, reason = said.as_str(), message_id = events::UPLINK_AWAY; "uplink {uplink}: camera {camera} is not at {url}: {said}; trying again");
        self.told = said;
    }
}

impl Way {
    /// Says that the camera is there.
    fn announce(&self) {
        let (uplink, camera, room) = (self.name.as_str(), self.camera.as_str(), self.room.as_str());
        let (id, url) = (&self.id, &self.url);
        info!(camera, room, uplink; "uplink {uplink}: camera {camera} is {id} in room {room} at {url}");
    }
}

/// The first part of a host name, in lower case, other characters as `-`; `portald` when nothing is left.
fn as_name(host: &str) -> Name {
    let first = host.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = first.chars().map(plain).take(MAX_NAME).collect();
    let name = name.trim_matches('-');
    Name::new(name).unwrap_or_else(|_| Name::new("portald").unwrap_or_else(|_| unreachable!("a valid name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_names() {
        for (host, name) in [
            ("barn\n", "barn"),
            ("Barn.local", "barn"),
            ("raspi_4 (yard)", "raspi-4--yard"),
            ("-x-", "x"),
            ("", "portald"),
            ("ä", "portald"),
        ] {
            assert_eq!(as_name(host).as_str(), name, "{host}");
        }
        assert_eq!(as_name(&"x".repeat(64)).as_str().len(), MAX_NAME);
    }

    #[tokio::test]
    async fn what_waits_too_long_for_a_server_is_counted_and_its_connection_renewed() {
        let status = Uplinks::default().add(as_name("hub"), as_name("door"));
        let (queue, _outgoing) = mpsc::channel(2);
        let title = Arc::new(Title { text: Mutex::default(), changed: Notify::new() });
        let sender = Sender { queue, torn: Arc::default(), status: Arc::clone(&status), title };
        let ann = MemberId::new("ann").unwrap();
        let message = || ClientMessage::relay("candidate", &(), &ann);
        assert!(
            sender.send(message(), Some(Session(7))).await && sender.send(message(), Some(Session(7))).await
        );
        assert!(!sender.send(message(), Some(Session(7))).await);
        assert_eq!(status.dropped.load(Relaxed), 1);
        assert_eq!(sender.torn.take(), BTreeMap::from([(ann, Session(7))]));
        assert!(sender.torn.take().is_empty());
    }
}
