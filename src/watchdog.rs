//! Tells systemd that all is well, while it is: a process that merely runs is not enough.
//!
//! What is asked is what people would miss: that members are heard (the hub answers through its queue), that the runtime
//! begins new tasks, and that no camera is said to be live which nobody looks after. A camera that fails is looked after,
//! and no reason to restart everything.

use std::time::Duration;

use log::{error, info};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::hub::Hub;
use crate::shutdown::ending;
use crate::status::Cameras;
use crate::{events, systemd};

/// How long a live camera may be left alone: whoever looks after it may have to choose an encoder and to start it, each of
/// which is given up after 15 s.
const OVERLOOKED: Duration = Duration::from_secs(60);

/// Feeds the watchdog twice in each `every`, until `shutdown`; systemd acts when that stops.
pub async fn feed(hub: Hub, cameras: Cameras, every: Duration, mut shutdown: watch::Receiver<bool>) {
    let half = (every / 2).max(Duration::from_millis(1));
    let mut tick = interval(half);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut withheld: Option<String> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = ending(&mut shutdown) => return,
        }
        match check(&hub, &cameras, half / 2, OVERLOOKED).await {
            None => {
                systemd::alive();
                if withheld.take().is_some() {
                    info!("watchdog: all is well again");
                }
            }
            Some(reason) if withheld.as_ref() == Some(&reason) => {}
            Some(reason) => {
                let seconds = every.as_secs();
                error!(
                    message_id = events::WATCHDOG, reason = reason.as_str();
                    "watchdog: {reason}; unless that ends, systemd restarts portald within {seconds} s"
                );
                withheld = Some(reason);
            }
        }
    }
}

/// Why systemd is not to be told that all is well. Each answer may take `patience`; a live camera may be left alone for
/// `overlooked`.
async fn check(hub: &Hub, cameras: &Cameras, patience: Duration, overlooked: Duration) -> Option<String> {
    if !matches!(timeout(patience, hub.rooms()).await, Ok(Some(_))) {
        return Some("the rooms do not answer".to_owned());
    }
    if !matches!(timeout(patience, tokio::spawn(async {})).await, Ok(Ok(()))) {
        return Some("no new task begins".to_owned());
    }
    let (camera, age) = cameras.overlooked(overlooked).into_iter().next()?;
    // Without the age, so that it is said once.
    log::debug!(camera = camera.as_str(); "nobody has looked after it for {} s", age.as_secs());
    Some(format!("camera {camera} is said to be live, and nobody looks after it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ids::Name;
    use crate::proto::room::{Limits, Rooms};
    use crate::status::{CameraStatus, Restarts, State};

    const LONG: Duration = Duration::from_secs(60);

    fn live(name: &str) -> CameraStatus {
        CameraStatus {
            name: Name::new(name).unwrap(),
            title: name.into(),
            rooms: Vec::new(),
            state: State::Live,
            reason: None,
            since: 0,
            seen: None,
            source: "test".into(),
            wishes: Default::default(),
            renditions: Vec::new(),
            viewers: 0,
            dropped: 0,
            restarts: Restarts::default(),
        }
    }

    #[tokio::test]
    async fn all_is_well_while_the_rooms_answer_and_cameras_are_looked_after() {
        let (hub, task) = Hub::spawn(Rooms::new(Limits::default()));
        let (cameras, door) = (Cameras::new(), Name::new("door").unwrap());
        cameras.set(live("door"));
        cameras.turn(&door);
        assert_eq!(check(&hub, &cameras, LONG, LONG).await, None);
        std::thread::sleep(Duration::from_millis(2));
        let overlooked = check(&hub, &cameras, LONG, Duration::from_millis(1)).await.unwrap();
        assert!(overlooked.starts_with("camera door is said to be live"), "{overlooked}");
        cameras.update(&door, |camera| camera.state = State::Backoff);
        assert_eq!(check(&hub, &cameras, LONG, Duration::from_millis(1)).await, None);
        hub.shutdown().await;
        task.await.unwrap();
        assert_eq!(check(&hub, &cameras, LONG, LONG).await.as_deref(), Some("the rooms do not answer"));
    }
}
