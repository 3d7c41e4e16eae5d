//! First pictures of cameras whose key frames are 10 s apart: one that portald encodes, and one in the network whose H.264
//! is passed on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::daemon::Daemon;
use crate::joins::{first_picture, summary};
use crate::network::NetworkCamera;
use crate::receivers::Receivers;

/// Joins to a camera that is watched; with their pauses more than a group of pictures long.
const WARM: usize = 24;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(470);
/// Joins to a camera that is closed; each closes 5 s after its viewer left.
const COLD: usize = 6;
/// The cameras, and their rooms.
const OWN: &str = "own";
/// See [`OWN`].
const NETWORK: &str = "network";

/// Each kind of join, by the name of its row.
pub(crate) fn measure(runtime: &Runtime) -> Value {
    let network = NetworkCamera::start();
    let mut tables = format!("[room.{OWN}]\n[room.{NETWORK}]\n[room.kept]\n");
    tables += &format!(
        "[camera.{OWN}]\nrooms = [\"{OWN}\"]\nsource = \"test:snow\"\nwidth = 1280\nheight = 720\nframerate = 30\n\
         bitrate = 2000\nkeyframe_interval = 10.0\n"
    );
    if let Some(network) = &network {
        let url = network.url();
        tables += &format!("[camera.{NETWORK}]\nrooms = [\"{NETWORK}\"]\nsource = \"{url}\"\n");
        // Somebody else watches it all the time, so that who opens it comes into the midst of a group.
        // Under another name, since one address can be but one camera's.
        let url = url.replace("127.0.0.1", "localhost");
        tables += &format!("[camera.kept]\nrooms = [\"kept\"]\nsource = \"{url}\"\nalways_on = true\n");
    }
    let daemon = Daemon::start(&tables);
    let cameras: Vec<&str> = [OWN].into_iter().chain(network.as_ref().map(|_| NETWORK)).collect();
    // The first receiver of this process makes its RSA key.
    runtime.block_on(first_picture(&daemon, OWN));
    let mut figures = json!({});
    for camera in &cameras {
        let mut others = Receivers::start(daemon.port, camera);
        others.join(1);
        let join = |_| {
            std::thread::sleep(PAUSE);
            runtime.block_on(first_picture(&daemon, camera))
        };
        figures[*camera]["warm"] = summary(&(0..WARM).map(join).collect::<Vec<_>>());
    }
    let mut times = vec![Vec::new(); cameras.len()];
    for _ in 0..COLD {
        for (camera, times) in cameras.iter().zip(&mut times) {
            daemon.wait_until_idle(camera);
            times.push(runtime.block_on(first_picture(&daemon, camera)));
        }
    }
    for (camera, times) in cameras.iter().zip(&times) {
        figures[*camera]["cold"] = summary(times);
    }
    figures
}
