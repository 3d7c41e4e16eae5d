//! The daemon under measurement: the release binary as its user starts it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Reading;

/// Longest time for the daemon to serve or to end.
const LIMIT: Duration = Duration::from_secs(15);

/// A running daemon; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
    directory: PathBuf,
}

impl Daemon {
    /// Starts it on loopback with `tables` as its config, and waits until it serves.
    pub(crate) fn start(tables: &str) -> Self {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("portald-bench-{}-{port}", std::process::id()));
        fs::create_dir(&directory).expect("a directory of our own under the temporary one");
        let config = directory.join("portald.toml");
        fs::write(&config, format!("[server]\nlisten = \"127.0.0.1:{port}\"\n{tables}")).expect("written");
        let log = fs::File::create(directory.join("log")).expect("created");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portald"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTALD_")) {
            command.env_remove(name);
        }
        let child = command
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("cloned"))
            .stderr(log)
            .spawn()
            .expect("the release binary starts");
        let mut daemon = Self { child, port, directory };
        let end = Instant::now() + LIMIT;
        while daemon.get("/healthz").is_none() {
            let ended = daemon.child.try_wait().expect("our child").is_some();
            assert!(!ended && Instant::now() < end, "portald does not serve:\n{}", daemon.log());
            sleep(Duration::from_millis(50));
        }
        daemon
    }

    /// The body of a successful answer to `GET path`.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }

    /// What `/api/cameras` says of one camera.
    pub(crate) fn camera(&self, name: &str) -> Value {
        let cameras = self.get("/api/cameras").and_then(|body| serde_json::from_str(&body).ok());
        let cameras: Vec<Value> = cameras.unwrap_or_default();
        cameras.into_iter().find(|camera| camera["name"] == name).unwrap_or_default()
    }

    /// Waits until nobody watches the camera and its device is closed.
    pub(crate) fn wait_until_idle(&self, camera: &str) {
        let end = Instant::now() + LIMIT;
        while self.camera(camera)["state"] != "idle" {
            assert!(Instant::now() < end, "{camera} does not become idle:\n{}", self.log());
            sleep(Duration::from_millis(100));
        }
    }

    /// Of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the kernel says of it now.
    pub(crate) fn read(&self) -> Reading {
        Reading::of(self.child.id())
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // In order first: std can only kill.
        let id = self.child.id().to_string();
        let _ = Command::new("/bin/sh").args(["-c", "kill -TERM \"$1\"", "sh", &id]).status();
        let end = Instant::now() + LIMIT;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    listener.local_addr().expect("bound").port()
}
