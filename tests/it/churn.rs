//! Joining and leaving, in order and not: nothing leaks, and who only watches misses nothing.

use std::time::Duration;

use gstreamer as gst;
use tokio::time::{sleep, timeout};

use super::daemon::{Daemon, LIMIT};
use super::viewer::{Conduct, Viewer};

/// Rounds between two looks at the process. As many peers wait for their time limits at once in each batch, so memory
/// that the allocator keeps for them is the same after each; the first batch sets the base.
const BATCH: usize = 100;

/// A quarter each: sees a picture and leaves, sees one and vanishes, never answers, answers and never connects.
async fn round(port: u16, n: usize) {
    let mut conduct = Conduct { sessions: n.is_multiple_of(3), ..Conduct::default() };
    conduct.answers = n % 4 != 2;
    conduct.deaf = n % 4 == 3;
    let mut viewer = Viewer::join(port, "home", conduct).await;
    if n % 4 < 2 {
        timeout(LIMIT, viewer.pictures(1)).await.expect("a picture");
    } else {
        let _ = timeout(LIMIT, viewer.infos.changed()).await.expect("an info");
    }
    if n % 4 == 1 { viewer.vanish().await } else { viewer.leave().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds() {
    gst::init().unwrap();
    let rounds = std::env::var("PORTALD_TEST_ROUNDS").map_or(500, |n| n.parse().expect("a number"));
    let mut daemon = Daemon::start(
        "[camera.one]\nsource = \"test:ball\"\nwidth = 640\nheight = 360\nframerate = 10\nbitrate = 300\n",
    )
    .await;
    let mut bystander = Viewer::join(daemon.port, "home", Conduct { decodes: true, ..Conduct::full() }).await;
    timeout(LIMIT, bystander.pictures(10)).await.expect("pictures");
    let alone = daemon.usage();
    println!("with the bystander alone: {alone:?}");
    let mut batches = Vec::new();
    for n in 0..BATCH + rounds {
        round(daemon.port, n).await;
        if (n + 1).is_multiple_of(BATCH) {
            settle(&mut daemon, alone.threads, alone.descriptors).await;
            batches.push(daemon.usage());
            println!("after {} rounds: {:?}", n + 1, daemon.usage());
        }
    }
    let (base, last) = (batches.first().expect("a first batch"), batches.last().expect("a last batch"));
    assert!(last.memory < base.memory + 10 * 1024, "memory grew: {base:?} -> {last:?}");
    let seen = bystander.seen("one");
    let missed: u64 = seen
        .windows(2)
        .map(|two| u64::from(two[1].counter().wrapping_sub(two[0].counter()).wrapping_sub(1)))
        .sum();
    println!("bystander: {} pictures, {missed} missed", seen.len());
    // What the machine had no time to encode is the camera's loss and counted by it; the fan-out loses nothing.
    daemon.wait_left_out("one", missed).await;
    bystander.leave().await;
}

/// Waits until threads and descriptors are back to what they were with the bystander alone. Threads that tokio keeps
/// for blocking work go after 10 idle seconds, kept seats after 10.
async fn settle(daemon: &mut Daemon, threads: usize, descriptors: usize) {
    daemon
        .wait_for("threads and descriptors to come back", async |daemon: &Daemon| {
            let usage = daemon.usage();
            usage.threads <= threads + 2 && usage.descriptors <= descriptors
        })
        .await;
    sleep(Duration::from_millis(100)).await;
}
