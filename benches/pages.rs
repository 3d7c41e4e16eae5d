//! What is measured on pages in Chromium with cameras of its own: clicks on a wall, delays that must not last, and how it
//! heals.

use serde_json::{Value, json};

use crate::browser;
use crate::daemon::Daemon;
use crate::network::NetworkCamera;
use crate::statistics::percentile;

/// Clicks on tiles.
const CLICKS: usize = 10;
/// How often daemon, box and tab fail.
const FAILURES: usize = 5;

/// Milliseconds from a click on a small tile to the first full picture in it.
pub(crate) fn switch() -> Value {
    let camera = |name: &str| {
        format!(
            "[camera.{name}]\nsource = \"test:ball\"\nwidth = 1280\nheight = 720\nframerate = 30\nbitrate = 2000\n\
             [camera.{name}.sub]\nwidth = 640\nbitrate = 400\n"
        )
    };
    let daemon = Daemon::start(&["a", "b", "c", "d"].map(camera).concat());
    let url = format!("http://127.0.0.1:{}/", daemon.port);
    let seen = browser::run("switch.mjs", &[&url, &CLICKS.to_string()], &daemon);
    let times: Vec<f64> = seen.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let [p50, p95] = [50.0, 95.0].map(|percent| percentile(&times, percent));
    json!({"clicks": times.len(), "p50_ms": p50, "p95_ms": p95, "each_ms": times})
}

/// Milliseconds from capture to display before and after what could leave a delay behind.
pub(crate) fn delay() -> Value {
    let network = NetworkCamera::start();
    let mut tables =
        "[room.own]\n[room.network]\n[camera.own]\nrooms = [\"own\"]\nsource = \"test:ball\"\nwidth = 1280\n\
                      height = 720\nframerate = 30\nbitrate = 2000\n"
            .to_owned();
    if let Some(network) = &network {
        tables += &format!("[camera.network]\nrooms = [\"network\"]\nsource = \"{}\"\n", network.url());
    }
    let daemon = Daemon::start(&tables);
    let url = format!("http://127.0.0.1:{}/", daemon.port);
    let joined = if network.is_some() { "network" } else { "" };
    browser::run("delay.mjs", &[&url, joined, &daemon.id().to_string()], &daemon)
}

/// Milliseconds until a wall says that its pictures are not live, and until they are again; and what its page weighs.
pub(crate) fn heal() -> Value {
    browser::run_alone("heal.mjs", &[&FAILURES.to_string()])
}
