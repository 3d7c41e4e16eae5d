//! From a viewer's wish to watch to its first decoded picture.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::daemon::Daemon;
use crate::receivers::Receivers;
use crate::statistics::percentile;
use crate::viewer::{Conduct, Viewer};
use crate::{CAMERA, COLD, ROOM, browser};

/// Joins of each kind.
const JOINS: usize = 50;
/// Longest time for a picture; a join that takes longer fails the benchmark.
const LIMIT: Duration = Duration::from_secs(20);
/// Pause between warm joins. Odd against the key-frame interval of 2 s, so that joins meet groups of pictures of any
/// age.
const PAUSE: Duration = Duration::from_millis(370);

/// Joins to a camera that another viewer watches all the time.
pub(crate) fn warm(runtime: &Runtime, daemon: &Daemon) -> Value {
    let mut others = Receivers::start(daemon.port, ROOM);
    others.join(1);
    // The first receiver of this process makes its RSA key.
    runtime.block_on(first_picture(daemon, ROOM));
    let times: Vec<f64> = (0..JOINS)
        .map(|_| {
            std::thread::sleep(PAUSE);
            runtime.block_on(first_picture(daemon, ROOM))
        })
        .collect();
    drop(others);
    daemon.wait_until_idle(CAMERA);
    summary(&times)
}

/// The same in Chromium, from making the client to the first picture displayed.
pub(crate) fn warm_in_chromium(daemon: &Daemon) -> Value {
    let mut others = Receivers::start(daemon.port, ROOM);
    others.join(1);
    let url = format!("http://127.0.0.1:{}/", daemon.port);
    let pause = PAUSE.as_millis().to_string();
    let seen = browser::run("join.mjs", &[&url, ROOM, &JOINS.to_string(), &pause], daemon);
    drop(others);
    daemon.wait_until_idle(CAMERA);
    let times = |step: &str| -> Vec<f64> {
        seen.as_array().into_iter().flatten().filter_map(|join| join[step].as_f64()).collect()
    };
    let mut figures = summary(&times("picture"));
    figures["steps_p50_ms"] =
        ["member", "offer", "connected"].iter().map(|step| percentile(&times(step), 50.0)).collect();
    figures
}

/// Joins to a camera whose device is closed. Two of them in turn, since each stays open for five seconds after its
/// viewer left.
pub(crate) fn cold(runtime: &Runtime, daemon: &Daemon) -> Value {
    runtime.block_on(first_picture(daemon, ROOM));
    daemon.wait_until_idle(CAMERA);
    let before = daemon.read().rss;
    let times: Vec<f64> = (0..JOINS)
        .map(|join| {
            let camera = COLD[join % COLD.len()];
            daemon.wait_until_idle(camera);
            // The camera's room has its name.
            runtime.block_on(first_picture(daemon, camera))
        })
        .collect();
    COLD.iter().for_each(|camera| daemon.wait_until_idle(camera));
    let mut figures = summary(&times);
    // What a camera's pipelines took they should give back.
    figures["rss_growth_mb"] = (daemon.read().rss - before).into();
    figures
}

/// Milliseconds from opening the socket to the first decoded picture. Leaves again.
pub(crate) async fn first_picture(daemon: &Daemon, room: &str) -> f64 {
    let begun = Instant::now();
    let mut viewer = Viewer::join(daemon.port, room, Conduct { decodes: true, ..Conduct::default() }).await;
    if timeout(LIMIT, viewer.pictures(1)).await.is_err() {
        panic!("no picture in {LIMIT:?}:\n{}", daemon.log());
    }
    let at = viewer.pictures.lock().expect("not poisoned").values().flatten().map(|seen| seen.at).min();
    viewer.leave().await;
    at.map_or(f64::NAN, |at| (at - begun).as_secs_f64() * 1000.0)
}

/// Percentiles of joins.
pub(crate) fn summary(times: &[f64]) -> Value {
    let [p50, p95, max] = [50.0, 95.0, 100.0].map(|percent| percentile(times, percent));
    json!({"joins": times.len(), "p50_ms": p50, "p95_ms": p95, "max_ms": max, "each_ms": times})
}
