//! Each camera with all that makes it a member of rooms, here and elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::rooms::Publishing;
use crate::config::settings;
use crate::control::Controls;
use crate::link::Venue;
use crate::media::camera::Camera;
use crate::media::encoders::Encoders;
use crate::media::{Timeline, stills};
use crate::publisher;
use crate::status::Uplinks;
use crate::stills::Stills;
use crate::uplink::Server;

/// The cameras that run; what is plugged in later joins them.
pub(super) type Enabled = Arc<Mutex<Vec<Camera>>>;

/// What a camera needs to be published.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) encoders: Arc<Encoders>,
    pub(super) timeline: Timeline,
    pub(super) stills: Stills,
    pub(super) controls: Controls,
    pub(super) servers: Arc<[Server]>,
    pub(super) uplinks: Uplinks,
    pub(super) publishing: Publishing,
    pub(super) enabled: Enabled,
}

impl Stage {
    /// Starts a camera's supervisor, its publishers and its still pictures; they end with `publishing.stopping`. One that
    /// the configuration leaves out is published when somebody switches it on.
    pub(super) fn start(&self, configured: &settings::Camera) -> Vec<JoinHandle<()>> {
        let Publishing { cameras, stopping, .. } = &self.publishing;
        let (camera, task) = Camera::start(
            configured.clone(),
            Arc::clone(&self.encoders),
            self.timeline.clone(),
            cameras.clone(),
            stopping.clone(),
        );
        self.controls.put(configured.name.clone(), camera.steered());
        if configured.enabled {
            let mut tasks = self.publish(&camera);
            tasks.push(task);
            return tasks;
        }
        let (stage, stopping) = (self.clone(), stopping.clone());
        let later = tokio::spawn(async move {
            if camera.switched_on(stopping).await {
                for task in stage.publish(&camera) {
                    let _ = task.await;
                }
            }
        });
        vec![task, later]
    }

    /// Starts what makes a camera a member of its rooms. It stays one when it is switched off.
    fn publish(&self, camera: &Camera) -> Vec<JoinHandle<()>> {
        let Publishing { hub, places, cameras, stopping } = &self.publishing;
        let configured = camera.settings();
        let orders = self.stills.open(&configured.name);
        let mut tasks = vec![tokio::spawn(stills::run(camera.clone(), orders, stopping.clone()))];
        let here = configured.rooms.iter().map(|room| Venue::Room(hub.clone(), room.clone()));
        let elsewhere = self.servers.iter().filter(|server| server.takes(&configured.name));
        let elsewhere =
            elsewhere.map(|server| Venue::Uplink(server.uplink(configured, cameras, &self.uplinks)));
        for venue in here.chain(elsewhere) {
            let (places, stopping) = (places.clone(), stopping.clone());
            tasks.push(tokio::spawn(publisher::run(camera.clone(), venue, places, stopping)));
        }
        self.enabled.lock().unwrap_or_else(PoisonError::into_inner).push(camera.clone());
        tasks
    }
}
