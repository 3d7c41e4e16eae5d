//! The line that `systemctl status` shows: how many cameras are in which state, and how many watch.

use std::fmt::Write;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::shutdown::ending;
use crate::status::{CameraStatus, Cameras, State};
use crate::systemd;

/// Between two lines: every viewer who comes or goes is a change.
const EVERY: Duration = Duration::from_secs(1);

/// Tells systemd whenever the line changes, until `shutdown`; `refused` is why the last reload was refused, if it was.
pub async fn keep(
    cameras: Cameras,
    mut refused: watch::Receiver<Option<String>>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut changes = cameras.subscribe();
    let mut told = String::new();
    loop {
        changes.mark_unchanged();
        let now = line(&cameras.list(), refused.borrow_and_update().as_deref());
        if now != told {
            systemd::status(&now);
            told = now;
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = ending(&mut shutdown) => return,
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            Ok(()) = refused.changed() => {}
            () = ending(&mut shutdown) => return,
        }
    }
}

fn line(cameras: &[CameraStatus], refused: Option<&str>) -> String {
    let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut line = of(cameras.len(), "camera");
    let count = |state| cameras.iter().filter(|camera| camera.state == state).count();
    let states = State::ALL.map(|state| (count(state), state.as_str()));
    for (n, (count, state)) in states.into_iter().filter(|(count, _)| *count > 0).enumerate() {
        let _ = write!(line, "{}{count} {state}", if n == 0 { ": " } else { ", " });
    }
    let _ = write!(line, "; {}", of(cameras.iter().map(|camera| camera.viewers).sum(), "viewer"));
    if let Some(reason) = refused {
        let _ = write!(line, "; the last reload changed nothing: {reason}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ids::Name;
    use crate::status::Restarts;

    fn camera(name: &str, state: State, viewers: usize) -> CameraStatus {
        CameraStatus {
            name: Name::new(name).unwrap(),
            title: name.into(),
            rooms: Vec::new(),
            state,
            reason: None,
            since: 0,
            seen: None,
            source: "test".into(),
            wishes: Default::default(),
            renditions: Vec::new(),
            viewers,
            dropped: 0,
            restarts: Restarts::default(),
        }
    }

    #[test]
    fn cameras_are_counted_by_state_and_viewers_in_all() {
        assert_eq!(line(&[], None), "0 cameras; 0 viewers");
        assert_eq!(line(&[camera("a", State::Live, 1)], None), "1 camera: 1 live; 1 viewer");
        let three =
            [camera("a", State::Live, 2), camera("b", State::Backoff, 1), camera("c", State::Live, 1)];
        assert_eq!(line(&three, None), "3 cameras: 2 live, 1 backoff; 4 viewers");
        assert!(line(&three, Some("x:1:2: no")).ends_with("; the last reload changed nothing: x:1:2: no"));
    }
}
