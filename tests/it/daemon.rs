//! The real daemon as a child process, and what the kernel says of it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Long enough for anything that ends well on a busy machine; a test that waits for it has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A running `portald run --config …`; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    /// Where it serves.
    pub(crate) port: u16,
    _reserved: Reserved,
    directory: PathBuf,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Resident memory in kB.
    pub(crate) memory: u64,
    /// CPU time used, in clock ticks (1/100 s).
    pub(crate) ticks: u64,
}

impl Daemon {
    /// Starts it with these tables, and waits until it serves.
    pub(crate) async fn start(tables: &str) -> Self {
        Self::start_as(tables, &[], 200).await
    }

    /// The same, with more arguments.
    pub(crate) async fn start_saying(tables: &str, arguments: &[&str]) -> Self {
        Self::start_as(tables, arguments, 200).await
    }

    /// As [`Daemon::start`], until `/healthz` over plain HTTP is answered so.
    pub(crate) async fn start_with(tables: &str, answer: u16) -> Self {
        Self::start_as(tables, &[], answer).await
    }

    /// The same, with more variables in its environment.
    pub(crate) async fn start_in(tables: &str, environment: &[(&str, String)]) -> Self {
        Self::start_by(tables, &[], 200, &[], environment).await
    }

    async fn start_as(tables: &str, arguments: &[&str], answer: u16) -> Self {
        Self::start_by(tables, arguments, answer, &[], &[]).await
    }

    /// Through another program, if `through` names one with its arguments.
    pub(crate) async fn start_by(
        tables: &str,
        arguments: &[&str],
        answer: u16,
        through: &[&str],
        environment: &[(&str, String)],
    ) -> Self {
        let reserved = Reserved::new();
        let port = reserved.port;
        let directory = std::env::temp_dir().join(format!("portald-it-{}-{port}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let config = directory.join("portald.toml");
        fs::write(&config, configuration(port, tables)).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let program = [through, &[env!("CARGO_BIN_EXE_portald")]].concat();
        let child = Command::new(program[0])
            .args(&program[1..])
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .args(["run", "--config"])
            .arg(&config)
            .args(arguments)
            .env("STATE_DIRECTORY", directory.join("state"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self { child, port, _reserved: reserved, directory };
        daemon
            .wait_for("it to serve", async |daemon: &Self| {
                daemon.get("/healthz").await.is_some_and(|(code, _)| code == answer)
            })
            .await;
        daemon
    }

    /// Waits until `met` holds; panics with the log after [`LIMIT`].
    pub(crate) async fn wait_for(&mut self, what: &str, met: impl AsyncFn(&Self) -> bool) {
        let until = tokio::time::Instant::now() + LIMIT;
        while !met(self).await {
            assert!(
                tokio::time::Instant::now() < until,
                "waited in vain for {what}; {:?} {:?}\n{}",
                self.usage(),
                self.open_files(),
                self.log()
            );
            assert!(self.child.try_wait().unwrap().is_none(), "the daemon ended:\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Status and body of a GET; `None` when it does not answer.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// `/api/cameras`' entry of one camera.
    pub(crate) async fn camera(&self, name: &str) -> Value {
        let (_, body) = self.get("/api/cameras").await.expect("the API answers");
        let cameras: Vec<Value> = serde_json::from_str(&body).expect("JSON");
        cameras.into_iter().find(|camera| camera["name"] == name).expect("the camera is listed")
    }

    /// Waits until a camera is in `state`.
    pub(crate) async fn wait_state(&mut self, camera: &str, state: &str) {
        self.wait_for(&format!("{camera} to be {state}"), async |daemon: &Self| {
            daemon.camera(camera).await["state"] == state
        })
        .await;
    }

    /// Waits until a camera has told of so many pictures that were not encoded: what it lists is a little behind. What a busy
    /// machine does not encode is lost to everyone.
    pub(crate) async fn wait_left_out(&mut self, camera: &str, pictures: u64) {
        self.wait_for(&format!("{pictures} pictures of {camera} to be left out"), async |daemon: &Self| {
            daemon.camera(camera).await["dropped"].as_u64() >= Some(pictures)
        })
        .await;
    }

    /// What it holds now.
    pub(crate) fn usage(&self) -> Usage {
        let process = format!("/proc/{}", self.child.id());
        let count = |what: &str| fs::read_dir(format!("{process}/{what}")).map_or(0, Iterator::count);
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
            .unwrap_or(0);
        let stat = fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        // After the name in parentheses, which may hold anything: utime and stime are the 12th and 13th (proc(5)).
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let ticks = fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0);
        Usage { threads: count("task"), descriptors: count("fd"), memory, ticks }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Threads of that name: GStreamer calls a source's streaming thread `ELEMENT:src`.
    pub(crate) fn threads_named(&self, name: &str) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .flatten()
            .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name))
            .count()
    }

    /// What its descriptors are, for a message.
    fn open_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let mut files: Vec<_> =
            files.into_iter().flatten().flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        files.sort();
        files
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Gives it other tables, and SIGHUP; returns what it says of them.
    pub(crate) async fn reload(&mut self, tables: &str) -> String {
        fs::write(self.directory.join("portald.toml"), configuration(self.port, tables)).unwrap();
        let before = self.log().len();
        let said = |daemon: &Self| {
            let lines = daemon.log().split_off(before);
            lines.lines().find(|line| line.contains(" SIGHUP: ")).map(str::to_owned)
        };
        self.signal("HUP");
        self.wait_for("a word about the reload", async |daemon: &Self| said(daemon).is_some()).await;
        said(self).unwrap()
    }

    /// Sends it a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(killed.success());
    }

    /// Sends SIGTERM and returns how it ended.
    pub(crate) async fn terminate(mut self) -> (std::process::ExitStatus, String) {
        self.signal("TERM");
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(tokio::time::Instant::now() < until, "it does not end:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn configuration(port: u16, tables: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:{port}\"\n{tables}")
}

/// A port on loopback that nobody else is given while this is held: the kernel gives out none that a socket is bound to. A
/// server that sets SO_REUSEADDR may have it all the same, because nothing listens here.
#[derive(Debug)]
pub(crate) struct Reserved {
    _socket: Socket,
    pub(crate) port: u16,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        Self { _socket: socket, port }
    }
}
