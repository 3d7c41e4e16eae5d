//! What each further viewer of a camera costs the daemon, and whether it costs anybody a frame.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::machine;
use crate::process::Reading;
use crate::receivers::Receivers;
use crate::statistics::line;
use crate::{CAMERA, ROOM};

/// The last is as many as the server takes from one address.
const VIEWERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// After the last one joined, or the daemon began to serve: bursts of replayed pictures and what is made beforehand are
/// over.
const SETTLE: Duration = Duration::from_secs(3);
/// Of each measurement.
const WINDOW: Duration = Duration::from_secs(10);

/// CPU of the daemon with nobody watching, in percent of one core.
pub(crate) fn idle(daemon: &Daemon) -> Value {
    sleep(SETTLE);
    let before = daemon.read();
    sleep(WINDOW);
    let after = daemon.read();
    json!({
        "cpu_percent": after.cpu_percent_since(&before), "seconds": WINDOW.as_secs(), "rss_mb": after.rss,
        "threads": after.threads, "descriptors": after.descriptors,
    })
}

/// The daemon's figures with 1 to 64 viewers, and their slopes.
pub(crate) fn measure(daemon: &Daemon) -> Value {
    let mut receivers = Receivers::start(daemon.port, ROOM);
    let steps: Vec<Value> = VIEWERS.iter().map(|viewers| step(daemon, &mut receivers, *viewers)).collect();
    drop(receivers);
    daemon.wait_until_idle(CAMERA);
    let slopes = ["cpu_percent", "rss_mb", "threads", "descriptors"].map(|key| {
        let points: Vec<(f64, f64)> =
            steps.iter().filter_map(|step| Some((step["viewers"].as_f64()?, step[key].as_f64()?))).collect();
        let (slope, intercept) = line(&points);
        (key.to_owned(), json!({"per_viewer": slope, "base": intercept}))
    });
    json!({"steps": steps, "slopes": serde_json::Map::from_iter(slopes)})
}

fn step(daemon: &Daemon, receivers: &mut Receivers, viewers: usize) -> Value {
    receivers.join(viewers);
    sleep(SETTLE);
    receivers.begin();
    let (all, idle) = machine::processor_time();
    let (overrun, before) = (machine::datagrams_overrun(), daemon.read());
    sleep(WINDOW);
    let (after, later) = (daemon.read(), machine::processor_time());
    let seen = receivers.end();
    let busy = 100.0 * (1.0 - (later.1 - idle) / (later.0 - all));
    let lost: Vec<u64> = seen["lost"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    report(&before, &after, viewers, busy);
    json!({
        "viewers": viewers,
        "cpu_percent": after.cpu_percent_since(&before),
        "rss_mb": after.rss,
        "threads": after.threads,
        "descriptors": after.descriptors,
        "frames_lost": lost.iter().sum::<u64>(),
        "machine_busy_percent": busy,
        "datagrams_overrun": machine::datagrams_overrun() - overrun,
        "received": seen,
    })
}

fn report(before: &Reading, after: &Reading, viewers: usize, busy: f64) {
    eprintln!(
        "  {viewers} viewers: {:.1} % of a core, {:.1} MB, {} threads, {} descriptors; machine {busy:.0} % busy",
        after.cpu_percent_since(before),
        after.rss,
        after.threads,
        after.descriptors,
    );
}
