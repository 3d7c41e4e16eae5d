//! One camera as a member of one room: keeps a session with every viewer that the roster names.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use log::{debug, warn};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::config::settings::Camera as Settings;
use crate::events;
use crate::link::{Incoming, Receiver, Sender, Venue};
use crate::media::camera::{Camera, Condition};
use crate::places::{Full, Place, Places};
use crate::proto::heard::Heard;
use crate::proto::ids::{MemberId, Session as Number};
use crate::proto::message::{ClientMessage, ErrorCode};
use crate::proto::room::CloseReason;
use crate::proto::roster::{Change, Roster};
use crate::session::{Inbound, Memory, Session, Viewer};
use crate::shutdown::ending;

/// Wait before a room that closed on us is joined again.
const REJOIN: Duration = Duration::from_secs(1);
/// Between two log lines about viewers who must wait: a crowd must not flood the log.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Keeps `camera` in a room, here or elsewhere, until `shutdown`, or until a room here is gone; viewers take `places`.
pub async fn run(camera: Camera, venue: Venue, places: Places, mut shutdown: watch::Receiver<bool>) {
    loop {
        let Some((sender, receiver)) = venue.join(&camera.settings()).await else { return };
        let publisher = Publisher {
            condition: camera.condition(),
            settings: camera.follow_settings(),
            camera: camera.clone(),
            room: venue.room().to_owned(),
            link: sender,
            roster: Roster::new(),
            sessions: HashMap::new(),
            offers: HashMap::new(),
            waiting: VecDeque::new(),
            places: places.clone(),
            warned: None,
            tasks: JoinSet::new(),
        };
        if publisher.run(receiver, &mut shutdown).await == Ended::ForGood {
            return;
        }
        tokio::select! {
            () = sleep(REJOIN) => {}
            () = ending(&mut shutdown) => return,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The daemon ends, the room is gone, or another publisher of this camera has taken its seat there.
    ForGood,
    /// The room is joined again.
    ForNow,
}

impl Ended {
    fn by(reason: CloseReason) -> Self {
        match reason {
            CloseReason::RoomGone
            | CloseReason::Replaced
            | CloseReason::Shutdown
            | CloseReason::Refused(ErrorCode::RoomNotFound) => Self::ForGood,
            CloseReason::TooSlow | CloseReason::Refused(_) => Self::ForNow,
        }
    }
}

struct Publisher {
    camera: Camera,
    room: String,
    condition: watch::Receiver<Condition>,
    settings: watch::Receiver<Arc<Settings>>,
    link: Sender,
    roster: Roster,
    sessions: HashMap<MemberId, Entry>,
    /// Which of those who are served offer by themselves, over all their sessions while they are in the room.
    offers: HashMap<MemberId, Memory>,
    /// Those for whom there was no place, first come, first served; at most as many as the room has members.
    waiting: VecDeque<(MemberId, Option<Number>)>,
    places: Places,
    /// When the log last said that somebody waits.
    warned: Option<Instant>,
    /// Ends with the viewer and tag of a session.
    tasks: JoinSet<(MemberId, u64)>,
}

/// A session of ours.
struct Entry {
    /// So that a session that ends late does not remove its successor.
    tag: u64,
    number: Option<Number>,
    session: Session,
    place: Place,
}

impl Publisher {
    async fn run(mut self, mut receiver: Receiver, shutdown: &mut watch::Receiver<bool>) -> Ended {
        let ended = loop {
            tokio::select! {
                incoming = receiver.recv() => match incoming {
                    Some(Incoming::Heard(message)) => self.on_message(message).await,
                    Some(Incoming::Close(reason)) => break Ended::by(reason),
                    None => break Ended::ForNow,
                },
                place = self.places.free(), if self.may_admit() => self.admit(place).await,
                Ok(()) = self.condition.changed() => self.tell_all().await,
                Ok(()) = self.settings.changed() => {
                    let title = self.settings.borrow_and_update().title.clone();
                    self.link.retitle(title).await;
                }
                Some(Ok((viewer, tag))) = self.tasks.join_next() => self.forget(&viewer, tag),
                () = ending(shutdown) => break Ended::ForGood,
            }
        };
        // Sessions end in order when their handles go; each stops its own pipeline.
        self.sessions.clear();
        while self.tasks.join_next().await.is_some() {}
        receiver.leave().await;
        ended
    }

    async fn on_message(&mut self, message: Heard) {
        match message {
            Heard::Info(info) => {
                for change in self.roster.update(&info) {
                    self.apply(change).await;
                }
                self.offers.retain(|peer, _| self.sessions.contains_key(peer));
            }
            Heard::Relay { kind, payload, from } => self.route(&kind, &payload, &from),
            Heard::Error(code, text) => {
                let (camera, room) = (self.camera.name().as_str(), self.room.as_str());
                warn!(camera, room, reason = code.as_str(); "camera {camera}: room {room} refused it: {code} {}", text.unwrap_or_default());
            }
            Heard::Pong(_) => {}
        }
    }

    async fn apply(&mut self, change: Change) {
        match change {
            Change::End { peer } => {
                self.sessions.remove(&peer);
                self.waiting.retain(|(waiting, _)| *waiting != peer);
            }
            Change::Start { peer, session, .. } => {
                let present = self.condition.borrow().clone();
                // Who is served keeps the place, and who waits the rank.
                if let Some((_, waited)) = self.waiting.iter_mut().find(|(waiting, _)| *waiting == peer) {
                    *waited = session;
                    return;
                }
                let own = self.sessions.get(&peer).map(|entry| entry.place.clone());
                match own.map_or_else(|| self.places.take(self.sessions.len()), Ok) {
                    Ok(place) => {
                        self.tell(&peer, session, &present).await;
                        self.start(peer, session, place);
                    }
                    Err(full) => {
                        self.refuse(&peer, session, full, present).await;
                        self.waiting.push_back((peer, session));
                    }
                }
            }
        }
    }

    /// Tells a viewer that it must wait, and for what.
    async fn refuse(&mut self, peer: &MemberId, number: Option<Number>, full: Full, present: Condition) {
        let limit = match full {
            Full::Camera(places) => {
                format!("{places} watch this camera already (sessions_per_camera in [limits])")
            }
            Full::Total(places) => format!("{places} watch this box already (sessions in [limits])"),
        };
        let reason = format!("{limit}; the picture comes when somebody leaves");
        let (camera, room) = (self.camera.name().as_str(), self.room.as_str());
        if self.warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            warn!(camera, room, peer = peer.as_str(), reason = limit.as_str(), message_id = events::VIEWER_WAITS; "camera {camera}: {peer} must wait: {limit}");
        }
        self.tell(peer, number, &Condition { reason: Some(reason.clone()), ..present }).await;
        let trouble = serde_json::json!({ "message": reason });
        self.link.send(ClientMessage::relay("trouble", &trouble, peer), number).await;
    }

    /// Whether somebody waits whom a free place would help.
    fn may_admit(&self) -> bool {
        !self.waiting.is_empty() && self.places.has_room_for(self.sessions.len())
    }

    /// Gives the first who waits a place.
    async fn admit(&mut self, place: Place) {
        let Some((peer, session)) = self.waiting.pop_front() else { return };
        let present = self.condition.borrow().clone();
        self.tell(&peer, session, &present).await;
        self.start(peer, session, place);
    }

    fn start(&mut self, peer: MemberId, number: Option<Number>, place: Place) {
        static TAGS: AtomicU64 = AtomicU64::new(1);
        let tag = TAGS.fetch_add(1, Ordering::Relaxed);
        let offers = self.offers.entry(peer.clone()).or_default().clone();
        let viewer = Viewer { id: peer.clone(), room: self.room.clone(), number, tag, offers };
        let (session, task) = Session::new(self.camera.clone(), viewer, self.link.clone());
        self.sessions.insert(peer.clone(), Entry { tag, number, session, place: place.clone() });
        self.tasks.spawn(async move {
            task.await;
            // Only now its threads and descriptors are free.
            drop(place);
            (peer, tag)
        });
    }

    fn forget(&mut self, viewer: &MemberId, tag: u64) {
        if self.sessions.get(viewer).is_some_and(|entry| entry.tag == tag) {
            self.sessions.remove(viewer);
        }
    }

    /// Gives a viewer's message to its session; what no session understands is an application's own.
    fn route(&mut self, kind: &str, payload: &RawValue, from: &MemberId) {
        let message = match kind {
            "description" => read(payload).map(Inbound::Description),
            "candidate" => read(payload).map(Inbound::Candidate),
            "quality" => read(payload).map(Inbound::Quality),
            "view" => read(payload).map(Inbound::View),
            "playback" => read(payload).map(Inbound::Playback),
            _ => return,
        };
        let (camera, room) = (self.camera.name().as_str(), self.room.as_str());
        let Some(message) = message else {
            debug!(camera, room, peer = from.as_str(); "camera {camera}: a `{kind}` of {from} is not one; ignored");
            return;
        };
        let Some(entry) = self.sessions.get(from) else { return };
        if !entry.session.send(message) {
            debug!(camera, room, peer = from.as_str(); "camera {camera}: {from} floods its session, or it has ended");
            self.sessions.remove(from);
        }
    }

    async fn tell_all(&mut self) {
        let condition = self.condition.borrow_and_update().clone();
        for (viewer, entry) in &self.sessions {
            self.tell(viewer, entry.number, &condition).await;
        }
    }

    async fn tell(&self, viewer: &MemberId, number: Option<Number>, condition: &Condition) {
        // One that is not told in time asks the API.
        self.link.send(ClientMessage::relay("state", condition, viewer), number).await;
    }
}

fn read<T: DeserializeOwned>(payload: &RawValue) -> Option<T> {
    serde_json::from_str(payload.get()).ok()
}
