//! What the daemon tells systemd, on a socket that stands in for systemd's.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use gstreamer as gst;
use tokio::time::timeout;

use crate::daemon::{Daemon, LIMIT};
use crate::viewer::{Conduct, Viewer};

/// `NOTIFY_SOCKET`: every message is some lines of `NAME=VALUE`.
struct Systemd {
    socket: tokio::net::UnixDatagram,
    path: PathBuf,
}

impl Systemd {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portald-notify-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket: tokio::net::UnixDatagram::from_std(socket).unwrap(), path }
    }

    fn environment(&self, watchdog: Option<Duration>) -> Vec<(&'static str, String)> {
        let mut variables = vec![("NOTIFY_SOCKET", self.path.display().to_string())];
        variables.extend(watchdog.map(|every| ("WATCHDOG_USEC", every.as_micros().to_string())));
        variables
    }

    /// The next message.
    async fn next(&self) -> String {
        let mut buffer = vec![0; 4096];
        let length = timeout(LIMIT, self.socket.recv(&mut buffer)).await.expect("a message").unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The messages until one that begins so, and that one last.
    async fn until(&self, begin: &str) -> Vec<String> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.next().await);
            if messages.last().is_some_and(|message| message.starts_with(begin)) {
                return messages;
            }
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

const CAMERA: &str = "[camera.one]\nsource = \"test\"\nwidth = 640\nheight = 360\nframerate = 15\n";

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_readiness_cameras_viewers_reloads_and_the_end() {
    gst::init().unwrap();
    let systemd = Systemd::new("states");
    let mut daemon = Daemon::start_in(CAMERA, &systemd.environment(None)).await;
    let begin = systemd.until("READY=1").await;
    assert!(begin.iter().all(|message| !message.starts_with("WATCHDOG")), "{begin:?}");
    if !begin.iter().any(|message| message.starts_with("STATUS=1 camera: 1 idle; 0 viewers")) {
        systemd.until("STATUS=1 camera: 1 idle; 0 viewers").await;
    }
    let conduct = Conduct { camera: Some("one".into()), ..Conduct::default() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(3)).await.expect("pictures");
    systemd.until("STATUS=1 camera: 1 live; 1 viewer\n").await;

    daemon.reload("[camera.one]\nsauce = \"test\"\n").await;
    let reloading = systemd.until("RELOADING=1\nMONOTONIC_USEC=").await.pop().unwrap();
    let at: u64 = reloading.trim().rsplit('=').next().unwrap().parse().unwrap();
    assert!(at > 0);
    // The status comes within a second of the change, before or after the end of the reload.
    let mut rest = systemd.until("READY=1").await;
    let refused = "STATUS=1 camera: 1 live; 1 viewer; the last reload changed nothing: ";
    if !rest.iter().any(|message| message.starts_with(refused)) {
        rest = systemd.until(refused).await;
    }
    let status = rest.iter().find(|message| message.starts_with(refused)).unwrap();
    assert!(status.contains("portald.toml:4:1: key `camera.one.sauce`"), "{status}");

    daemon.reload(&format!("{CAMERA}[camera.two]\nsource = \"test\"\n")).await;
    let reload = systemd.until("RELOADING=1").await;
    assert!(reload.iter().all(|message| !message.starts_with("READY")), "{reload:?}");
    let rest = systemd.until("READY=1").await;
    let two = "STATUS=2 cameras: 1 idle, 1 live; 1 viewer\n";
    if !rest.iter().any(|message| message == two) {
        systemd.until(two).await;
    }
    viewer.leave().await;
    daemon.signal("TERM");
    systemd.until("STOPPING=1").await;
    let (status, log) = daemon.terminate().await;
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_while_all_is_well() {
    let systemd = Systemd::new("watchdog");
    // The hub may take a quarter of it to answer.
    let every = Duration::from_secs(20);
    let daemon = Daemon::start_in(CAMERA, &systemd.environment(Some(every))).await;
    systemd.until("READY=1").await;
    for _ in 0..3 {
        systemd.until("WATCHDOG=1").await;
    }
    assert!(!daemon.log().contains("watchdog:"), "{}", daemon.log());
}
