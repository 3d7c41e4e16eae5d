//! The two servers, each in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portald::hub::{Hub, JoinRequest};
use portald::proto::ids::{Kind, Name, RoomMode};
use portald::proto::room::{self, Rooms};
use portald::server::{self, Limits, Site};
use portald::status::Cameras;
use tokio::sync::watch;

use crate::ROOMS;
use crate::process::Reading;

/// The first argument of a process that is a server.
pub(crate) const ARGUMENT: &str = "--serve";
/// Names in the figures.
pub(crate) const PORTALD: &str = "portald";
pub(crate) const RELAY: &str = "relay";
/// Cameras on the wall, when the server is ours to put them there.
const CAMERAS: usize = 4;
/// Descriptors for 2000 clients, or for a server of 1000, with some to spare.
const DESCRIPTORS: u32 = 4096;
/// Longest time for a server to serve.
const LIMIT: Duration = Duration::from_secs(15);

/// A running server; dropping it ends it.
pub(crate) struct Contender {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    cameras: usize,
    directory: Option<PathBuf>,
}

impl Contender {
    /// Our server: the program that `PORTALD_BIN` names, or this one's server part.
    pub(crate) fn portald() -> Self {
        if let Some(program) = std::env::var_os("PORTALD_BIN") {
            return Self::daemon(Path::new(&program));
        }
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg(ARGUMENT);
        Self::announced(PORTALD, command, CAMERAS)
    }

    /// The plain relay.
    pub(crate) fn relay() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/relay/relay.mjs");
        let rooms: Vec<String> = (0..ROOMS).map(|room| format!("load-{room}")).collect();
        let mut command = Command::new("node");
        command.arg(script).args(["--port", "0", "--rooms", &rooms.join(",")]);
        Self::announced(RELAY, command, 0)
    }

    /// A server whose first line says where it listens.
    fn announced(name: &'static str, mut command: Command, cameras: usize) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let port = line.trim().strip_prefix("listening on ").and_then(|port| port.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("{name} says {line:?}; are its packages installed?"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { name, child, address, cameras, directory: None }
    }

    /// The daemon as its user starts it, with its limits raised and a camera that nobody in these rooms sees.
    fn daemon(program: &Path) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|l| l.local_addr())
            .expect("loopback")
            .port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let directory = std::env::temp_dir().join(format!("portald-load-{}", std::process::id()));
        fs::create_dir(&directory).expect("a directory of our own under the temporary one");
        let rooms: String = (0..ROOMS).map(|room| format!("[room.load-{room}]\nmode = \"mesh\"\n")).collect();
        let config = format!(
            "[server]\nlisten = \"{address}\"\n[limits]\nsockets = 4096\nsockets_per_address = 4096\n\
             messages_per_second = 100000\n{rooms}[room.wall]\n[room.unseen]\n[camera.unseen]\nsource = \"test\"\nrooms = [\"unseen\"]\n"
        );
        fs::write(directory.join("portald.toml"), config).expect("written");
        let mut command = Command::new(program);
        // Not a key of the configuration, as the daemon would take it.
        command.env_remove("PORTALD_BIN");
        command.args(["run", "--config"]).arg(directory.join("portald.toml"));
        let log = fs::File::create(directory.join("log")).expect("created");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        let end = Instant::now() + LIMIT;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "{} does not serve", program.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { name: PORTALD, child, address, cameras: 0, directory: Some(directory) }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many cameras are on its wall.
    pub(crate) fn cameras(&self) -> usize {
        self.cameras
    }

    /// What the kernel says of it now.
    pub(crate) fn read(&self) -> Reading {
        Reading::of(self.child.id())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Serves until killed: what the daemon does, without media, its limits raised.
pub(crate) async fn serve() {
    let mut rooms = Rooms::new(room::Limits { members_per_room: 4096, ..room::Limits::default() });
    for room in 0..ROOMS {
        rooms.add_room(Name::new(format!("load-{room}")).expect("a name"), RoomMode::Mesh).expect("one more");
    }
    rooms.add_room(Name::new("wall").expect("a name"), RoomMode::Wall).expect("one more");
    let (hub, _task) = Hub::spawn(rooms);
    for camera in 0..CAMERAS {
        let request = JoinRequest {
            room: Some("wall".to_owned()),
            id: Some(format!("!camera-{camera}")),
            key: None,
            sessions: true,
            kind: Kind::Camera,
            title: Some(format!("Camera {camera}")),
            address: None,
        };
        let mut membership = hub.join(request).await.expect("the hub runs");
        tokio::spawn(async move { while membership.recv().await.is_some() {} });
    }
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = server::bind(&[any]).await.expect("loopback");
    println!("listening on {}", listeners[0].local_addr().expect("bound").port());
    let limits =
        Limits { sockets: 4096, per_address: 4096, rate: 100_000, burst: 400_000, ..Limits::default() };
    let (_running, told) = watch::channel(false);
    server::serve_within(listeners, Site::new(hub, Cameras::new()), limits, told).await;
}

/// Starts this program anew with more descriptors, if it has too few, and `true` when that run is over.
pub(crate) fn raise_descriptors() -> bool {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let soft = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(u32::MAX);
    if soft >= DESCRIPTORS {
        return false;
    }
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    let program = std::env::current_exe().expect("this program");
    let error =
        Command::new("/bin/sh").args(["-c", &script]).arg(program).args(std::env::args().skip(1)).exec();
    eprintln!("cannot start again with {DESCRIPTORS} descriptors: {error}");
    true
}
