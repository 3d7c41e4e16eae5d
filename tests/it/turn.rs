//! Pictures through a real TURN server, coturn, with passwords that portald makes. Ignored by a plain `cargo test`,
//! because Debian's package starts a relay for the whole network when it is installed; `make test-turn` runs it.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gstreamer as gst;
use serde_json::Value;
use tokio::time::timeout;

use super::daemon::{Daemon, LIMIT};
use super::viewer::{Conduct, Viewer};

/// A running turnserver on loopback; killed when dropped.
struct TurnServer {
    child: Child,
    port: u16,
    directory: PathBuf,
}

impl TurnServer {
    fn start(secret: &str) -> Self {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = std::env::temp_dir().join(format!("portald-coturn-{}-{port}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (low, high) = (port.clamp(20_000, 60_000), port.clamp(20_000, 60_000) + 200);
        let child = Command::new("turnserver")
            .args([
                "-n",
                "--log-file=stdout",
                "--simple-log",
                "--no-tls",
                "--no-dtls",
                "--no-cli",
                "--realm=portald",
            ])
            // The other end of the relay is on this machine too.
            .args(["--allow-loopback-peers", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .args(["--use-auth-secret", "--pidfile=/dev/null", "--verbose"])
            .arg(format!("--log-file={}", directory.join("log").display()))
            .arg(format!("--userdb={}", directory.join("users").display()))
            .arg(format!("--static-auth-secret={secret}"))
            .arg(format!("--listening-port={port}"))
            .args([format!("--min-port={low}"), format!("--max-port={high}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("turnserver: {e}; apt install coturn"));
        let until = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the turnserver does not start");
            sleep(Duration::from_millis(20));
        }
        Self { child, port, directory }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A daemon whose secret is `ours`, beside a turnserver whose secret is `theirs`.
async fn pair(ours: &str, theirs: &str) -> (Daemon, TurnServer) {
    gst::init().unwrap();
    let turn = TurnServer::start(theirs);
    let file = std::env::temp_dir().join(format!("portald-turn-{}-{}", std::process::id(), turn.port));
    fs::write(&file, ours).unwrap();
    let tables = format!(
        "[ice]\ninterfaces = [\"lo\"]\nturn = [\"turn:127.0.0.1:{}?transport=udp\"]\nturn_secret_file = \"{}\"\n\
         [camera.one]\nsource = \"test:ball\"\nwidth = 320\nheight = 240\nframerate = 15\nbitrate = 300\n",
        turn.port,
        file.display()
    );
    let daemon = Daemon::start(&tables).await;
    fs::remove_file(file).unwrap();
    (daemon, turn)
}

/// The TURN server with name and password, as `/api/rtc` gives them and webrtcbin wants them.
async fn relay(daemon: &Daemon) -> String {
    let (_, body) = daemon.get("/api/rtc").await.unwrap();
    let servers: Value = serde_json::from_str(&body).unwrap();
    let server = &servers["iceServers"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let escaped = |text: String| {
        ["%", ":", "/", "+", "="]
            .iter()
            .fold(text, |text, c| text.replace(c, &format!("%{:02X}", c.as_bytes()[0])))
    };
    let (name, password) = (escaped(text(&server["username"])), escaped(text(&server["credential"])));
    text(&server["urls"][0]).replacen("turn:", &format!("turn://{name}:{password}@"), 1)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs coturn: make test-turn"]
async fn a_viewer_that_may_only_use_the_relay_gets_pictures_through_it() {
    let (daemon, turn) = pair("north-pole", "north-pole").await;
    let conduct = Conduct { relay: Some(relay(&daemon).await), decodes: true, ..Conduct::default() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    let pictures = timeout(LIMIT, viewer.pictures(10)).await;
    let offered = viewer.candidates.lock().unwrap().clone();
    assert!(pictures.is_ok(), "no pictures with {offered:?}; {}\n{}", daemon.log(), turn.log());
    assert!(offered.iter().any(|candidate| candidate.contains("typ relay")), "the camera's own: {offered:?}");
    viewer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs coturn: make test-turn"]
async fn viewers_of_the_relay_leave_nothing_behind() {
    let (mut daemon, _turn) = pair("north-pole", "north-pole").await;
    let mut usages = Vec::new();
    for _ in 0..6 {
        let conduct = Conduct { relay: Some(relay(&daemon).await), ..Conduct::default() };
        let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
        timeout(LIMIT, viewer.pictures(5)).await.expect("pictures through the relay");
        viewer.leave().await;
        daemon.wait_state("one", "idle").await;
        usages.push(daemon.usage());
    }
    println!("{usages:?}");
    // After the first rounds, which load what is loaded once. What still closes takes its time on a busy machine.
    let early = usages[1];
    daemon
        .wait_for("threads and descriptors to come back", async |daemon: &Daemon| {
            let late = daemon.usage();
            late.threads <= early.threads + 2 && late.descriptors <= early.descriptors + 1
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs coturn: make test-turn"]
async fn a_relay_that_knows_another_secret_relays_nothing() {
    let (mut daemon, _turn) = pair("south-pole", "north-pole").await;
    let conduct = Conduct { relay: Some(relay(&daemon).await), ..Conduct::default() };
    let viewer = Viewer::join(daemon.port, "home", conduct).await;
    let failed = "portald_sessions_ended_total{reason=\"not_connected\"}";
    daemon
        .wait_for("the session to fail", async |daemon: &Daemon| {
            daemon.get("/metrics").await.is_some_and(|(_, page)| page.contains(failed))
        })
        .await;
    assert!(viewer.seen("one").is_empty());
    let offered = viewer.candidates.lock().unwrap().clone();
    assert!(!offered.iter().any(|candidate| candidate.contains("typ relay")), "{offered:?}");
    viewer.leave().await;
}
