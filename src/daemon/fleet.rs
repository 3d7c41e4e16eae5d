//! All cameras that run, and where each is published. One task owns them; whatever changes them goes through it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use log::{info, warn};

use super::cameras::{Place, Published, Stage};
use crate::changes::{Action, Depth};
use crate::config::settings::{self, Settings, Source};
use crate::found::{self, Find};
use crate::media::encoders::Encoders;
use crate::proto::ids::{Name, RoomMode};
use crate::proto::room::{Limits, RoomError};
use crate::server::RoomChange;
use crate::uplink::Server;

/// The cameras of this box.
pub(super) struct Fleet {
    stage: Stage,
    /// In use, with the cameras that were found.
    settings: Settings,
    /// Whether cameras are found, since none is configured.
    finds: bool,
    /// Whether test cameras are made up then.
    demo: bool,
    cameras: BTreeMap<Name, Published>,
    /// The uplinks.
    servers: BTreeMap<Name, Server>,
    /// Rooms made over HTTP, with the cameras that are to be there; none: all.
    made: BTreeMap<Name, Option<Vec<Name>>>,
    /// Configured rooms that were removed over HTTP.
    gone: BTreeSet<Name>,
}

impl Fleet {
    /// Starts what `written` says, and publishes it in the rooms that the hub has already.
    pub(super) async fn start(stage: Stage, written: Settings, demo: bool) -> Self {
        let servers = written.uplinks.iter().map(|uplink| (uplink.name.clone(), Server::new(uplink)));
        let servers = servers.collect();
        let (made, gone) = Default::default();
        let finds = written.cameras.is_empty();
        let mut fleet = Self {
            stage,
            settings: Settings { cameras: Vec::new(), ..written.clone() },
            finds,
            demo,
            cameras: BTreeMap::new(),
            servers,
            made,
            gone,
        };
        for camera in fleet.with_found(written).cameras {
            fleet.add(camera);
        }
        fleet.settle().await;
        fleet
    }

    /// What is in use.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether cameras that are plugged in are to be published.
    pub(super) fn finds(&self) -> bool {
        self.finds
    }

    /// Publishes what was found, unless it is already.
    pub(super) async fn found(&mut self, found: Vec<Find>) {
        for find in found {
            if let Some(camera) = found::camera(&self.settings, find) {
                self.add(camera);
            }
        }
        self.settle().await;
    }

    /// Publishes a camera that the configuration leaves out, and that was switched on over HTTP.
    pub(super) async fn switched_on(&mut self, name: &Name) {
        if let Some(camera) = self.cameras.get_mut(name) {
            camera.enable(&self.stage);
            self.settle().await;
        }
    }

    /// Cameras follow rooms that are made and removed over HTTP.
    pub(super) async fn room_changed(&mut self, change: RoomChange) {
        match change {
            RoomChange::Added { name, cameras } => drop(self.made.insert(name, cameras)),
            RoomChange::Removed { name } => {
                if self.made.remove(&name).is_none() {
                    self.gone.insert(name.clone());
                }
                self.forget(&Place::Room(name));
            }
        }
        self.settle().await;
    }

    /// The settings that a file asks for, with the cameras that are found when it has none. Those that were found before
    /// stay, in the rooms that are wanted now.
    pub(super) fn with_found(&self, written: Settings) -> Settings {
        if !written.cameras.is_empty() {
            return written;
        }
        let again = |before: &settings::Camera| settings::Camera {
            title: before.title.clone(),
            ..written.found_camera(before.name.clone(), before.source.clone())
        };
        let cameras: Vec<_> = match self.finds && !self.settings.cameras.is_empty() {
            true => self.settings.cameras.iter().map(again).collect(),
            false if self.demo => demo(&written),
            false => Vec::new(),
        };
        Settings { cameras, ..written }
    }

    /// Does what leads to `next`, in this order. What is not named goes on.
    pub(super) async fn apply(&mut self, next: Settings, finds: bool, actions: &[Action]) {
        let leaves = |action: &Action| match action {
            Action::RemoveCamera(name) => self.cameras.remove(name),
            _ => None,
        };
        let leaving: Vec<_> = actions.iter().filter_map(leaves).collect();
        // All are told before one is waited for.
        leaving.iter().for_each(Published::stop);
        join_all(leaving.into_iter().map(|camera| camera.removed(&self.stage))).await;
        self.settings = Settings { cameras: Vec::new(), ..next.clone() };
        self.finds = finds;
        for action in actions {
            match action {
                Action::RemoveUplink(name) => {
                    self.servers.remove(name);
                    let place = Place::Uplink(name.clone());
                    let leaving =
                        self.cameras.values_mut().map(|camera| camera.leave(&place, &self.stage.hub));
                    join_all(leaving).await;
                }
                Action::RemoveRoom(name) => self.remove_room(name).await,
                Action::AddRoom(name, mode) => self.add_room(name, *mode).await,
                Action::AddUplink(name) => {
                    let uplink = next.uplinks.iter().find(|uplink| uplink.name == *name);
                    self.servers.extend(uplink.map(|uplink| (name.clone(), Server::new(uplink))));
                }
                Action::ChangeCamera(name, depth) => {
                    let changed = next.cameras.iter().find(|camera| camera.name == *name);
                    if let (Some(running), Some(changed)) = (self.cameras.get(name), changed) {
                        running.camera().apply(changed.clone(), *depth == Depth::Reopen);
                    }
                }
                Action::AddCamera(name) => {
                    let added = next.cameras.iter().find(|camera| camera.name == *name);
                    self.cameras.extend(added.map(|added| (name.clone(), self.stage.start(added))));
                }
                Action::RemoveCamera(_) | Action::Access | Action::Tls | Action::Limits | Action::Ice => {}
            }
        }
        self.settings = next;
        self.rank();
        self.settle().await;
    }

    /// Keeps to other limits.
    pub(super) async fn limit(&self, limits: &settings::Limits, rooms: Limits) {
        self.stage.hub.set_limits(rooms, limits.queue).await;
        self.stage.places.resize(limits.sessions, limits.sessions_per_camera);
    }

    /// What encodes them.
    pub(super) fn encoders(&self) -> &Arc<Encoders> {
        &self.stage.encoders
    }

    /// Tells all to end, and waits for it.
    pub(super) async fn end(self) {
        self.cameras.values().for_each(Published::stop);
        join_all(self.cameras.into_values().map(Published::ended)).await;
    }

    fn add(&mut self, camera: settings::Camera) {
        self.cameras.insert(camera.name.clone(), self.stage.start(&camera));
        self.settings.cameras.push(camera);
        self.rank();
    }

    /// Who stands first keeps most of what the box can encode.
    fn rank(&self) {
        let names = self.settings.cameras.iter().map(|camera| camera.name.clone());
        self.stage.encoders.admission().order(names);
    }

    async fn remove_room(&mut self, name: &Name) {
        self.made.remove(name);
        self.gone.remove(name);
        self.stage.hub.remove_room(name.clone()).await;
        self.forget(&Place::Room(name.clone()));
    }

    async fn add_room(&mut self, name: &Name, mode: RoomMode) {
        self.gone.remove(name);
        let room = name.as_str();
        match self.stage.hub.add_room(name.clone(), mode).await {
            Some(Err(RoomError::Exists(_))) => {
                // It was made over HTTP, and is the configuration's from now on.
                let rooms = self.stage.hub.rooms().await.unwrap_or_default();
                if rooms.iter().any(|room| room.name == *name && room.mode == mode) {
                    self.made.remove(name);
                    return;
                }
                info!(room; "room {room}: made anew, because its mode is another now");
                self.remove_room(name).await;
                let _ = self.stage.hub.add_room(name.clone(), mode).await;
            }
            Some(Err(error)) => warn!(room; "room {room}: {error}"),
            Some(Ok(())) | None => {}
        }
    }

    /// Nothing is at that place any more.
    fn forget(&mut self, place: &Place) {
        self.cameras.values_mut().for_each(|camera| camera.forget(place));
    }

    /// Publishes each camera where it is to be, and nowhere else.
    async fn settle(&mut self) {
        let stage = &self.stage;
        let settled =
            self.cameras.iter_mut().filter(|(_, camera)| camera.is_enabled()).map(|(name, camera)| {
                let wanted = camera.camera().settings();
                let mut rooms: Vec<Name> =
                    wanted.rooms.iter().filter(|room| !self.gone.contains(room)).cloned().collect();
                let takes =
                    |cameras: &Option<Vec<Name>>| cameras.as_ref().is_none_or(|list| list.contains(name));
                let made =
                    self.made.iter().filter(|(room, cameras)| takes(cameras) && !wanted.rooms.contains(room));
                rooms.extend(made.map(|(room, _)| room.clone()));
                let servers: Vec<_> = self.servers.iter().filter(|(_, server)| server.takes(name)).collect();
                async move {
                    let to_be: BTreeSet<Place> = rooms
                        .iter()
                        .cloned()
                        .map(Place::Room)
                        .chain(servers.iter().map(|(uplink, _)| Place::Uplink((*uplink).clone())))
                        .collect();
                    let is: BTreeSet<Place> = camera.places().cloned().collect();
                    for place in is.difference(&to_be) {
                        camera.leave(place, &stage.hub).await;
                    }
                    stage.cameras.update(name, |status| status.rooms.clone_from(&rooms));
                    for room in rooms.into_iter().filter(|room| !is.contains(&Place::Room(room.clone()))) {
                        camera.join_room(room, stage);
                    }
                    for (uplink, server) in servers {
                        if !is.contains(&Place::Uplink(uplink.clone())) {
                            camera.join_uplink(uplink.clone(), server, stage);
                        }
                    }
                }
            });
        join_all(settled).await;
    }
}

/// The test cameras of a demo.
fn demo(settings: &Settings) -> Vec<settings::Camera> {
    let cameras = [("demo-1", "Demo 1: bars", "smpte"), ("demo-2", "Demo 2: ball", "ball")];
    let camera = |(name, title, pattern): (&str, &str, &str)| {
        let camera = settings.found_camera(Name::new(name).ok()?, Source::Test(pattern.into()));
        Some(settings::Camera { title: title.into(), ..camera })
    };
    cameras.into_iter().filter_map(camera).collect()
}
