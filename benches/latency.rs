//! From a frame's capture to its display in Chromium: the browser's half is `latency.mjs`.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::statistics::percentile;
use crate::{CAMERA, ROOM, browser};

/// Frames that are looked at.
const FRAMES: usize = 400;

/// Shows the camera on the wall page and looks at its pictures.
pub(crate) fn measure(daemon: &Daemon) -> Value {
    let url = format!("http://127.0.0.1:{}/?room={ROOM}&camera={CAMERA}", daemon.port);
    let seen = browser::run("latency.mjs", &[&url, CAMERA, &FRAMES.to_string()], daemon);
    let values = |key: &str| -> Vec<f64> {
        seen[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let part = |key: &str| {
        let values = values(key);
        let [p50, p95, max] = [50.0, 95.0, 100.0].map(|percent| percentile(&values, percent));
        json!({"p50_ms": p50, "p95_ms": p95, "max_ms": max})
    };
    json!({
        "frames": values("display").len(),
        "width": seen["width"], "height": seen["height"],
        "unseen": seen["unseen"], "misread": seen["misread"],
        "stamp_to_display": part("display"),
        // The same in two halves: until the last packet of the frame was there, and after.
        "stamp_to_received": part("received"),
        "received_to_display": part("shown_after"),
        "each_ms": values("display"),
    })
}
