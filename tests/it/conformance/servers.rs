//! Whom the files are played against.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use portald::hub::Membership;
use portald::proto::ids::Name;
use portald::proto::room::{self, Rooms};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::script::Setting;
use crate::site::{PATIENCE, Server, Setup, wait};

/// A server under test.
pub(super) enum Host<'a> {
    Portald(&'a Server),
    Reference(&'a Relay),
}

impl Host<'_> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Portald(_) => "portald",
            Self::Reference(_) => "the reference server",
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Portald(server) => server.address,
            Self::Reference(relay) => relay.address,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}/portal", self.address())
    }

    /// A camera of the server itself, with its name in capitals for a title.
    pub(super) async fn camera(&self, name: &str, room: &str) -> Result<Membership, String> {
        match self {
            Self::Portald(server) => Ok(server.camera(name, room).await),
            Self::Reference(_) => Err("a reference server has no cameras".to_owned()),
        }
    }

    /// Waits until the server has no more than so many sockets open, if it tells how many.
    pub(super) async fn wait_for_sockets(&self, sockets: u64) {
        let Self::Portald(server) = self else { return };
        let gone = async {
            // One more, which asks.
            while server.metric("portald_connections").await > sockets + 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        wait("the server sees that the socket is gone", gone).await;
    }
}

impl Server {
    /// As `setting` wants it.
    pub(super) async fn for_case(setting: &Setting) -> Self {
        let limits = &setting.limits;
        let long = PATIENCE * 2;
        let usual = room::Limits::default();
        let time = |limit: Option<u64>| limit.map_or(long, Duration::from_millis);
        let mut rooms = Rooms::new(room::Limits {
            members_per_room: limits.members_per_room.unwrap_or(usual.members_per_room),
            seat_kept: time(limits.seat_kept_ms),
            seat_queue: limits.seat_queue.unwrap_or(usual.seat_queue),
            silent_after: time(limits.silent_after_ms),
            ..usual
        });
        for (name, mode) in &setting.rooms {
            rooms.add_room(Name::new(name.as_str()).unwrap(), *mode).unwrap();
        }
        Self::with_rooms(rooms, Setup::default()).await
    }

    pub(super) async fn stop(self) {
        self.hub.shutdown().await;
        let _ = self.shutdown.send(true);
    }
}

/// The stand-in for the reference server, in a process of its own.
pub(super) struct Relay {
    address: SocketAddr,
    _process: Child,
}

impl Relay {
    pub(super) async fn start(setting: &Setting) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/relay");
        assert!(
            directory.join("node_modules").is_dir(),
            "the relay's one npm package is missing; `npm ci --prefix tests/relay` installs it, and so does `make test`"
        );
        let rooms: Vec<&str> = setting.rooms.keys().map(String::as_str).collect();
        let mut process = Command::new("node")
            .arg(directory.join("relay.mjs"))
            .args(["--port", "0", "--rooms", &rooms.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Node.js runs (`packaging/install-packages test` installs it)");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = wait("the relay's first line", lines.next_line()).await.unwrap().unwrap_or_default();
        let port = line.strip_prefix("listening on ").and_then(|port| port.trim().parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("the relay says {line:?}"));
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), _process: process }
    }
}
