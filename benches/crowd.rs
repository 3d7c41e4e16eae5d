//! Many clients of one server, each a task with a WebSocket of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Interval, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::{MEMBERS, RATE, ROOMS};

/// Longest time for anything to happen.
const LIMIT: Duration = Duration::from_secs(20);

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They listen.
    Idle,
    /// The first of each pair writes, and whoever gets a message answers at once.
    Saturated,
    /// Each writes at fixed times.
    Paced,
    /// They close their sockets.
    Gone,
}

/// The clients.
pub(crate) struct Crowd {
    server: SocketAddr,
    mode: watch::Sender<Mode>,
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

/// What they have seen together.
struct Seen {
    begun: Instant,
    relayed: AtomicU64,
    infos: AtomicU64,
    info_bytes: AtomicU64,
    info: Notify,
    latencies_ms: Mutex<Vec<f64>>,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new(server: SocketAddr) -> Self {
        let seen = Seen {
            begun: Instant::now(),
            relayed: AtomicU64::new(0),
            infos: AtomicU64::new(0),
            info_bytes: AtomicU64::new(0),
            info: Notify::new(),
            latencies_ms: Mutex::default(),
        };
        Self { server, mode: watch::channel(Mode::Idle).0, seen: Arc::new(seen), tasks: Vec::new() }
    }

    /// One more client, which writes to `partner`. Returns the milliseconds from the begin of the connection until it
    /// has its roster, and until `told` members have theirs.
    pub(crate) async fn join(&mut self, query: &str, partner: &str, begins: bool, told: usize) -> (f64, f64) {
        let before = self.seen.infos.load(Relaxed);
        let begun = Instant::now();
        let join = async {
            let stream = TcpStream::connect(self.server).await.expect("a connection");
            stream.set_nodelay(true).expect("a TCP socket");
            let url = format!("ws://{}/portal?{query}", self.server);
            let small = WebSocketConfig::default().read_buffer_size(4096);
            let shaken = tokio_tungstenite::client_async_with_config(url, stream, Some(small)).await;
            let (mut socket, _) = shaken.expect("a handshake");
            match socket.next().await {
                Some(Ok(Message::Text(text))) if is_info(&text) => self.seen.info(&text),
                other => panic!("instead of an info: {other:?}"),
            }
            socket
        };
        let socket = timeout(LIMIT, join).await.expect("joined in time");
        let own = begun.elapsed();
        let all = async {
            while self.seen.infos.load(Relaxed) < before + told as u64 {
                self.seen.info.notified().await;
            }
        };
        timeout(LIMIT, all).await.expect("everyone is told in time");
        let all = begun.elapsed();
        // Spread over the period, as people are.
        let phase = (self.tasks.len() * 7919 % (ROOMS * MEMBERS)) as f64 / RATE;
        let client = Client {
            socket,
            seen: self.seen.clone(),
            partner: partner.to_owned(),
            begins,
            phase: Duration::from_secs_f64(phase),
        };
        self.tasks.push(tokio::spawn(client.live(self.mode.subscribe())));
        (own.as_secs_f64() * 1000.0, all.as_secs_f64() * 1000.0)
    }

    /// Has all do this.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Messages of members that have arrived.
    pub(crate) fn relayed(&self) -> u64 {
        self.seen.relayed.load(Relaxed)
    }

    /// Bytes of rosters that have arrived.
    pub(crate) fn info_bytes(&self) -> u64 {
        self.seen.info_bytes.load(Relaxed)
    }

    /// The latencies since the last time, in milliseconds, from the time a message was due to be written.
    pub(crate) fn take_latencies(&self) -> Vec<f64> {
        std::mem::take(&mut *self.seen.latencies_ms.lock().expect("not poisoned"))
    }

    /// All go.
    pub(crate) async fn leave(self) {
        self.set(Mode::Gone);
        for task in self.tasks {
            timeout(LIMIT, task).await.expect("gone in time").expect("no panic");
        }
    }
}

impl Seen {
    fn info(&self, text: &str) {
        self.info_bytes.fetch_add(text.len() as u64, Relaxed);
        self.infos.fetch_add(1, Relaxed);
        self.info.notify_one();
    }
}

struct Client {
    socket: WebSocketStream<TcpStream>,
    seen: Arc<Seen>,
    partner: String,
    begins: bool,
    phase: Duration,
}

impl Client {
    async fn live(mut self, mut mode: watch::Receiver<Mode>) {
        let mut ticks = None;
        let mut now = Mode::Idle;
        loop {
            tokio::select! {
                frame = self.socket.next() => match frame {
                    Some(Ok(Message::Text(text))) if is_info(&text) => self.seen.info(&text),
                    Some(Ok(Message::Text(text))) => {
                        self.seen.relayed.fetch_add(1, Relaxed);
                        match now {
                            Mode::Saturated => self.write(Instant::now()).await,
                            Mode::Paced => self.note(&text),
                            Mode::Idle | Mode::Gone => {}
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("a socket ended: {other:?}"),
                },
                due = next(&mut ticks) => self.write(due).await,
                _ = mode.changed() => {
                    now = *mode.borrow_and_update();
                    ticks = (now == Mode::Paced).then(|| self.ticks());
                    match now {
                        Mode::Saturated if self.begins => self.write(Instant::now()).await,
                        Mode::Gone => break drop(self.socket.close(None).await),
                        _ => {}
                    }
                }
            }
        }
    }

    /// A candidate as browsers send them, with the time when it was due.
    async fn write(&mut self, due: Instant) {
        let due = (due - self.seen.begun).as_micros();
        let text = format!(
            "{{\"type\":\"candidate\",\"candidate\":{{\"candidate\":\"candidate:842163049 1 udp 1677729535 192.0.2.17 46154 typ \
             host generation 0 ufrag EEtu network-cost 999\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0,\"due\":{due}}},\"target\":\"{}\"}}",
            self.partner
        );
        self.socket.send(Message::text(text)).await.expect("the server reads");
    }

    fn note(&self, text: &str) {
        let due =
            text.split_once("\"due\":").and_then(|(_, rest)| rest.split_once('}')?.0.parse::<f64>().ok());
        let ms = self.seen.begun.elapsed().as_secs_f64() * 1000.0 - due.expect("a time") / 1000.0;
        self.seen.latencies_ms.lock().expect("not poisoned").push(ms);
    }

    fn ticks(&self) -> Interval {
        let period = Duration::from_secs_f64((ROOMS * MEMBERS) as f64 / RATE);
        interval_at(tokio::time::Instant::now() + self.phase, period)
    }
}

/// The time of the next tick; never, without ticks.
async fn next(ticks: &mut Option<Interval>) -> Instant {
    match ticks {
        Some(ticks) => ticks.tick().await.into_std(),
        None => std::future::pending().await,
    }
}

fn is_info(text: &str) -> bool {
    text.starts_with("{\"type\":\"info\"")
}
