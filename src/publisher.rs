//! One camera as a member of one room: keeps a session with every viewer that the roster names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use log::{debug, warn};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::hub::{self, Delivery, Hub, JoinRequest};
use crate::media::camera::{Camera, Condition};
use crate::proto::ids::{Kind, MemberId, Name};
use crate::proto::message::{ClientMessage, ServerMessage};
use crate::proto::roster::{Change, Roster};
use crate::session::{Inbound, Session, Viewer};
use crate::shutdown::ending;
use crate::status::State;

/// Sessions one camera may have in one room. 64 were measured on two cores of a server; a Pi 4 core carries 10–15 at 2 Mbit/s.
pub const MAX_SESSIONS: usize = 100;
/// Wait before a room that closed on us is joined again.
const REJOIN: Duration = Duration::from_secs(1);

/// Keeps `camera` in the room `room` until `shutdown`.
pub async fn run(camera: Camera, room: Name, hub: Hub, mut shutdown: watch::Receiver<bool>) {
    loop {
        let request = JoinRequest {
            room: Some(room.to_string()),
            id: Some(MemberId::camera(&camera.settings().name).to_string()),
            key: None,
            sessions: true,
            kind: Kind::Camera,
            title: Some(camera.settings().title.clone()),
            address: None,
        };
        let Some(membership) = hub.join(request).await else { return };
        let (sender, receiver) = membership.split();
        let publisher = Publisher {
            condition: camera.condition(),
            camera: camera.clone(),
            room: room.clone(),
            hub: sender,
            roster: Roster::new(),
            sessions: HashMap::new(),
            tasks: JoinSet::new(),
        };
        if publisher.run(receiver, &mut shutdown).await == Ended::Shutdown {
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
    Shutdown,
    Closed,
}

struct Publisher {
    camera: Camera,
    room: Name,
    condition: watch::Receiver<Condition>,
    hub: hub::Sender,
    roster: Roster,
    /// With the tag of each, so that a session that ends late does not remove its successor.
    sessions: HashMap<MemberId, (u64, Session)>,
    /// Ends with the viewer and tag of a session.
    tasks: JoinSet<(MemberId, u64)>,
}

impl Publisher {
    async fn run(mut self, mut receiver: hub::Receiver, shutdown: &mut watch::Receiver<bool>) -> Ended {
        let ended = loop {
            tokio::select! {
                delivery = receiver.recv() => match delivery {
                    Some(Delivery::Message(message)) => self.on_message(message).await,
                    Some(Delivery::Close(_)) | None => break Ended::Closed,
                },
                Ok(()) = self.condition.changed() => self.tell_all().await,
                Some(Ok((viewer, tag))) = self.tasks.join_next() => self.forget(&viewer, tag),
                () = ending(shutdown) => break Ended::Shutdown,
            }
        };
        // Sessions end in order when their handles go; each stops its own pipeline.
        self.sessions.clear();
        while self.tasks.join_next().await.is_some() {}
        ended
    }

    async fn on_message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Info(info) => {
                for change in self.roster.update(&info) {
                    self.apply(change).await;
                }
            }
            ServerMessage::Relay { kind, payload, from } => self.route(&kind, &payload, &from),
            ServerMessage::Error(code, text) => {
                let (camera, room) = (self.camera.settings().name.as_str(), self.room.as_str());
                warn!(camera, room; "camera {camera}: room {room} refused it: {code} {}", text.unwrap_or_default());
            }
            ServerMessage::Pong(_) => {}
        }
    }

    async fn apply(&mut self, change: Change) {
        match change {
            Change::End { peer } => {
                self.sessions.remove(&peer);
            }
            Change::Start { peer, session, .. } => {
                if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&peer) {
                    let reason = format!("this camera has {MAX_SESSIONS} viewers already");
                    return self.tell(&peer, &Condition { state: State::Live, reason: Some(reason) }).await;
                }
                let present = self.condition.borrow().clone();
                self.tell(&peer, &present).await;
                self.start(peer, session);
            }
        }
    }

    fn start(&mut self, peer: MemberId, number: Option<crate::proto::ids::Session>) {
        static TAGS: AtomicU64 = AtomicU64::new(1);
        let tag = TAGS.fetch_add(1, Ordering::Relaxed);
        let viewer = Viewer { id: peer.clone(), number, tag };
        let (session, task) = Session::new(self.camera.clone(), viewer, self.hub.clone());
        self.sessions.insert(peer.clone(), (tag, session));
        self.tasks.spawn(async move {
            task.await;
            (peer, tag)
        });
    }

    fn forget(&mut self, viewer: &MemberId, tag: u64) {
        if self.sessions.get(viewer).is_some_and(|(current, _)| *current == tag) {
            self.sessions.remove(viewer);
        }
    }

    /// Gives a viewer's message to its session; what no session understands is an application's own.
    fn route(&mut self, kind: &str, payload: &RawValue, from: &MemberId) {
        let message = match kind {
            "description" => read(payload).map(Inbound::Description),
            "candidate" => read(payload).map(Inbound::Candidate),
            "quality" => read(payload).map(Inbound::Quality),
            _ => return,
        };
        let (camera, room) = (self.camera.settings().name.as_str(), self.room.as_str());
        let Some(message) = message else {
            debug!(camera, room, peer = from.as_str(); "camera {camera}: a `{kind}` of {from} is not one; ignored");
            return;
        };
        let Some((_, session)) = self.sessions.get(from) else { return };
        if !session.send(message) {
            debug!(camera, room, peer = from.as_str(); "camera {camera}: {from} floods its session, or it has ended");
            self.sessions.remove(from);
        }
    }

    async fn tell_all(&mut self) {
        let condition = self.condition.borrow_and_update().clone();
        for viewer in self.sessions.keys() {
            self.tell(viewer, &condition).await;
        }
    }

    async fn tell(&self, viewer: &MemberId, condition: &Condition) {
        self.hub.send(ClientMessage::relay("state", condition, viewer)).await;
    }
}

fn read<T: DeserializeOwned>(payload: &RawValue) -> Option<T> {
    serde_json::from_str(payload.get()).ok()
}
