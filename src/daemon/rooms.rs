//! Cameras follow rooms that are made and removed while the daemon runs.

use std::sync::PoisonError;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::cameras::Enabled;
use crate::hub::Hub;
use crate::link::Venue;
use crate::media::camera::Camera;
use crate::places::Places;
use crate::publisher;
use crate::server::RoomChange;
use crate::shutdown::ending;
use crate::status::Cameras;

/// What it takes to publish a camera.
#[derive(Clone)]
pub(super) struct Publishing {
    pub(super) hub: Hub,
    pub(super) places: Places,
    pub(super) cameras: Cameras,
    pub(super) stopping: watch::Receiver<bool>,
}

/// Publishes `enabled` cameras in new rooms until the end. What is published in a room that is gone ends by itself.
pub(super) async fn follow(
    mut changes: mpsc::Receiver<RoomChange>,
    enabled: Enabled,
    publishing: Publishing,
) {
    let mut stopping = publishing.stopping.clone();
    let mut tasks = JoinSet::new();
    loop {
        let change = tokio::select! {
            Some(change) = changes.recv() => change,
            Some(_) = tasks.join_next() => continue,
            () = ending(&mut stopping) => break,
        };
        match change {
            RoomChange::Added { name, cameras } => {
                let wanted = |camera: &&Camera| {
                    cameras.as_ref().is_none_or(|wanted| wanted.contains(&camera.settings().name))
                };
                let enabled = enabled.lock().unwrap_or_else(PoisonError::into_inner).clone();
                for camera in enabled.iter().filter(wanted) {
                    publishing
                        .cameras
                        .update(&camera.settings().name, |status| status.rooms.push(name.clone()));
                    let Publishing { hub, places, stopping, .. } = publishing.clone();
                    let venue = Venue::Room(hub, name.clone());
                    tasks.spawn(publisher::run(camera.clone(), venue, places, stopping));
                }
            }
            RoomChange::Removed { name } => {
                for camera in publishing.cameras.list() {
                    publishing
                        .cameras
                        .update(&camera.name, |status| status.rooms.retain(|room| *room != name));
                }
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}
