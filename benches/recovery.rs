//! How long a viewer is without pictures when a camera fails, and what a slate costs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::daemon::Daemon;
use crate::network::NetworkCamera;
use crate::receivers::Receivers;
use crate::scale;
use crate::viewer::{Conduct, Seen, Viewer};

/// Each fault so often.
const ROUNDS: usize = 2;
/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(30);
/// Pictures between two faults.
const BETWEEN: usize = 60;
/// A camera, and its room.
const CAMERA: &str = "network";

/// Milliseconds from each fault to the slate, and from its end to pictures; as a viewer decodes them.
pub(crate) fn measure(runtime: &Runtime) -> Value {
    let Some(mut network) = NetworkCamera::start() else { return Value::Null };
    let daemon = Daemon::start(&format!("[room.home]\n[camera.{CAMERA}]\nsource = \"{}\"\n", network.url()));
    let conduct = Conduct { decodes: true, ..Conduct::default() };
    let viewer = runtime.block_on(Viewer::join(daemon.port, "home", conduct));
    let mut figures = json!({"killed": [], "silent": []});
    for round in 0..ROUNDS {
        for fault in ["killed", "silent"] {
            wait_for(&daemon, &viewer, CAMERA, |seen| seen.len() > BETWEEN);
            let begun = Instant::now();
            if fault == "killed" {
                network.kill()
            } else {
                network.set_silent(true)
            }
            let slate = wait_for(&daemon, &viewer, &format!("{CAMERA} slate"), |seen| seen.len() > 3);
            if fault == "killed" {
                network.restart()
            } else {
                network.set_silent(false)
            }
            let ended = Instant::now();
            let live =
                wait_for(&daemon, &viewer, CAMERA, |seen| seen.last().is_some_and(|last| last.at > ended));
            let millis = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1000.0;
            let (slate, live) = (millis(begun, slate), millis(ended, live));
            eprintln!(
                "  {fault}, {} of {ROUNDS}: slate after {slate:.0} ms, live after {live:.0} ms",
                round + 1
            );
            let entries = figures[fault].as_array_mut().expect("made above");
            entries.push(json!({"slate_ms": slate, "live_ms": live}));
        }
    }
    figures["offers"] = viewer.offers().into();
    runtime.block_on(viewer.leave());
    figures
}

/// Waits until what was seen since is as `met` says; returns when the first of it came. Forgets what was seen.
fn wait_for(daemon: &Daemon, viewer: &Viewer, of: &str, met: impl Fn(&[Seen]) -> bool) -> Instant {
    viewer.pictures.lock().expect("not poisoned").clear();
    let end = Instant::now() + LIMIT;
    loop {
        let seen = viewer.seen(of);
        if let Some(first) = seen.first().filter(|_| met(&seen)) {
            return first.at;
        }
        assert!(Instant::now() < end, "nothing of {of}:\n{}", daemon.log());
        sleep(Duration::from_millis(2));
    }
}

/// CPU of the daemon while a camera that is not there has one viewer.
pub(crate) fn slate() -> Value {
    let camera = "source = \"/dev/portald-no-such-camera\"\nwidth = 1280\nheight = 720\nframerate = 30\n";
    let daemon = Daemon::start(&format!("[room.home]\n[camera.gone]\n{camera}"));
    let mut receivers = Receivers::start(daemon.port, "home");
    receivers.join(1);
    scale::idle(&daemon)
}
