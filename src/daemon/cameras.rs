//! One camera with all that makes it a member of rooms, here and elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::settings;
use crate::control::Controls;
use crate::hub::Hub;
use crate::link::Venue;
use crate::media::camera::Camera;
use crate::media::encoders::Encoders;
use crate::media::{Timeline, stills};
use crate::places::Places;
use crate::proto::ids::{MemberId, Name};
use crate::publisher;
use crate::status::{Cameras, Uplinks};
use crate::stills::Stills;
use crate::uplink::Server;

/// How long what belongs to a camera may take to end: longer than opening or closing a device may.
const END_LIMIT: Duration = Duration::from_secs(20);

/// What a camera needs to be published.
pub(super) struct Stage {
    pub(super) encoders: Arc<Encoders>,
    pub(super) timeline: Timeline,
    pub(super) stills: Stills,
    pub(super) controls: Controls,
    /// Told of a camera that the configuration leaves out, when it is switched on.
    pub(super) switched_on: mpsc::Sender<Name>,
    pub(super) uplinks: Uplinks,
    pub(super) hub: Hub,
    pub(super) places: Places,
    pub(super) cameras: Cameras,
}

/// Where a camera is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In a room of this box.
    Room(Name),
    /// Over the uplink of this name.
    Uplink(Name),
}

/// A task, and the means to end it.
struct Ending {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A camera that runs.
pub(super) struct Published {
    camera: Camera,
    enabled: bool,
    /// Ends its supervisor and its still pictures.
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Its publishers.
    places: BTreeMap<Place, Ending>,
}

impl Stage {
    /// Starts a camera's supervisor and its still pictures; it is published nowhere yet.
    pub(super) fn start(&self, configured: &settings::Camera) -> Published {
        let (stop, stopping) = watch::channel(false);
        let (camera, task) = Camera::start(
            configured.clone(),
            Arc::clone(&self.encoders),
            self.timeline.clone(),
            self.cameras.clone(),
            stopping.clone(),
        );
        self.controls.put(configured.name.clone(), camera.steered());
        let (tasks, places) = (vec![task], BTreeMap::new());
        let mut published = Published { camera, enabled: false, stop, tasks, places };
        if configured.enabled {
            published.enable(self);
        } else {
            let (camera, told) = (published.camera.clone(), self.switched_on.clone());
            published.tasks.push(tokio::spawn(async move {
                if camera.switched_on(stopping).await {
                    let _ = told.send(camera.name().clone()).await;
                }
            }));
        }
        published
    }
}

impl Published {
    /// The camera itself.
    pub(super) fn camera(&self) -> &Camera {
        &self.camera
    }

    /// Starts its still pictures, and lets it be published: it stays a member of its rooms also when it is switched off.
    pub(super) fn enable(&mut self, stage: &Stage) {
        if std::mem::replace(&mut self.enabled, true) {
            return;
        }
        let orders = stage.stills.open(self.camera.name());
        self.tasks.push(tokio::spawn(stills::run(self.camera.clone(), orders, self.stop.subscribe())));
    }

    /// Whether it may be published at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Where it is published.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.keys()
    }

    /// Publishes it in a room of this box.
    pub(super) fn join_room(&mut self, room: Name, stage: &Stage) {
        let venue = Venue::Room(stage.hub.clone(), room.clone());
        self.join(Place::Room(room), venue, stage);
    }

    /// Publishes it over an uplink.
    pub(super) fn join_uplink(&mut self, name: Name, server: &Server, stage: &Stage) {
        let uplink = server.uplink(&self.camera.settings(), &stage.cameras, &stage.uplinks);
        self.join(Place::Uplink(name), Venue::Uplink(uplink), stage);
    }

    fn join(&mut self, place: Place, venue: Venue, stage: &Stage) {
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(publisher::run(self.camera.clone(), venue, stage.places.clone(), stopping));
        self.places.insert(place, Ending { stop, task });
    }

    /// Ends what is published at a place, and leaves it for good; its viewers there are told.
    pub(super) async fn leave(&mut self, place: &Place, hub: &Hub) {
        if let Some(ending) = self.places.remove(place) {
            let _ = ending.stop.send(true);
            ending.end(self.camera.name(), place, hub).await;
        }
    }

    /// A place is no more: what is published there ends by itself.
    pub(super) fn forget(&mut self, place: &Place) {
        self.places.remove(place);
    }

    /// Tells everything to end, at once.
    pub(super) fn stop(&self) {
        for ending in self.places.values() {
            let _ = ending.stop.send(true);
        }
        let _ = self.stop.send(true);
    }

    /// Waits until everything has ended that was told to, for as long as it takes.
    pub(super) async fn ended(self) {
        for task in self.places.into_values().map(|ending| ending.task).chain(self.tasks) {
            let _ = task.await;
        }
    }

    /// As [`Self::ended`], for a limited time; then it is in no room any more.
    pub(super) async fn removed(mut self, stage: &Stage) {
        let camera = self.camera.name().clone();
        for (place, ending) in std::mem::take(&mut self.places) {
            ending.end(&camera, &place, &stage.hub).await;
        }
        stage.cameras.remove(&camera);
        if timeout(END_LIMIT, self.ended()).await.is_err() {
            let (name, seconds) = (camera.as_str(), END_LIMIT.as_secs());
            warn!(camera = name; "camera {name}: it did not end within {seconds} s; its driver may hang");
        }
        // Its supervisor may have had a last word.
        stage.cameras.remove(&camera);
        stage.stills.close(&camera);
    }
}

impl Ending {
    async fn end(self, camera: &Name, place: &Place, hub: &Hub) {
        let name = camera.as_str();
        if timeout(END_LIMIT, self.task).await.is_err() {
            warn!(camera = name; "camera {name}: its sessions do not end");
        }
        // Else its seat would be kept, as for one that comes back.
        if let Place::Room(room) = place {
            hub.remove_member(room.clone(), MemberId::camera(camera)).await;
        }
    }
}
