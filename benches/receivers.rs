//! Viewers in a process of their own, so that the daemon's figures are the daemon's. They do not decode: what is
//! counted is access units, each known by its digest, so a frame that one viewer missed is one that others got.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::statistics::percentile;
use crate::viewer::{Conduct, Seen, Viewer};

/// The hidden argument that makes this binary a process of receivers.
pub(crate) const ARGUMENT: &str = "--receivers";
/// Longest time for an answer; 32 joins at once take some seconds on two cores.
const LIMIT: Duration = Duration::from_secs(60);
/// Joins at the same time: a crowd, but not one that starves the pictures of those who are there.
const CROWD: usize = 8;
/// A frame may come so much later to one viewer than to the first and still count.
const LATE: Duration = Duration::from_secs(1);

/// The process, seen from the benchmark; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Receivers {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: mpsc::Receiver<Value>,
}

impl Receivers {
    /// Starts the process; its viewers will join `room` of the daemon at `port`.
    pub(crate) fn start(port: u16, room: &str) -> Self {
        let binary = std::env::current_exe().expect("our own path");
        let mut child = Command::new(binary)
            .args([ARGUMENT, &port.to_string(), room])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("our own binary starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || forward(stdout, &sender));
        Self { stdin: child.stdin.take(), child, answers }
    }

    /// Has `count` viewers in all, each with a picture.
    pub(crate) fn join(&mut self, count: usize) {
        self.ask(&format!("join {count}"));
    }

    /// Forgets what was seen so far.
    pub(crate) fn begin(&mut self) {
        self.ask("begin");
    }

    /// What was seen since.
    pub(crate) fn end(&mut self) -> Value {
        self.ask("end")
    }

    fn ask(&mut self, what: &str) -> Value {
        let stdin = self.stdin.as_mut().expect("until dropped");
        writeln!(stdin, "{what}").expect("the receivers run");
        self.answers.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("the receivers do not answer `{what}`"))
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        drop(self.stdin.take()); // tells them to leave
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(stdout: ChildStdout, answers: &mpsc::Sender<Value>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let answer = serde_json::from_str(&line).expect("the receivers write JSON");
        if answers.send(answer).is_err() {
            return;
        }
    }
}

/// The process itself: obeys its standard input until that ends.
pub(crate) fn run(port: u16, room: &str) {
    gstreamer::init().expect("GStreamer");
    let runtime = Runtime::new().expect("a runtime");
    let mut viewers: Vec<Viewer> = Vec::new();
    let mut begun = Instant::now();
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let answer = match line.split_once(' ') {
            Some(("join", count)) => {
                let count: usize = count.parse().expect("a number");
                while viewers.len() < count {
                    let crowd = CROWD.min(count - viewers.len());
                    viewers.extend(runtime.block_on(join(port, room, crowd)));
                }
                json!({"viewers": viewers.len()})
            }
            _ if line == "begin" => {
                begun = Instant::now();
                for viewer in &viewers {
                    viewer.pictures.lock().expect("not poisoned").clear();
                }
                json!({})
            }
            _ => report(&viewers, begun),
        };
        println!("{answer}");
    }
    runtime.block_on(async {
        for viewer in viewers {
            viewer.leave().await;
        }
    });
}

async fn join(port: u16, room: &str, count: usize) -> Vec<Viewer> {
    let mut joining = JoinSet::new();
    for _ in 0..count {
        let room = room.to_owned();
        joining.spawn(async move {
            let mut viewer = Viewer::join(port, &room, Conduct::default()).await;
            timeout(LIMIT / 2, viewer.pictures(1)).await.expect("a picture in time");
            viewer
        });
    }
    joining.join_all().await
}

/// What each viewer got of the frames that anyone got since `begun`.
fn report(viewers: &[Viewer], begun: Instant) -> Value {
    let ended = Instant::now();
    let seen: Vec<Vec<Seen>> = viewers
        .iter()
        .map(|viewer| viewer.pictures.lock().expect("not poisoned").values().flatten().copied().collect())
        .collect();
    let mut arrivals: HashMap<u64, Vec<Instant>> = HashMap::new();
    for picture in seen.iter().flatten() {
        arrivals.entry(picture.digest).or_default().push(picture.at);
    }
    // What only one of many got was damaged on its way, and is not another frame.
    let least = if viewers.len() > 2 { 2 } else { 1 };
    let frames: HashMap<u64, Instant> = arrivals
        .iter()
        .filter(|(_, at)| at.len() >= least)
        .filter_map(|(digest, at)| Some((*digest, *at.iter().min()?)))
        .filter(|(_, first)| *first >= begun + LATE / 2 && *first + LATE <= ended)
        .collect();
    let lost: Vec<usize> = seen
        .iter()
        .map(|pictures| {
            let got: HashSet<u64> = pictures.iter().map(|picture| picture.digest).collect();
            frames.keys().filter(|digest| !got.contains(digest)).count()
        })
        .collect();
    let delays: Vec<f64> = frames
        .iter()
        .filter_map(|(digest, first)| arrivals.get(digest).map(|at| (first, at)))
        .flat_map(|(first, at)| at.iter().map(|at| (*at - *first).as_secs_f64() * 1000.0))
        .collect();
    let seconds = (ended - begun).saturating_sub(LATE * 3 / 2).as_secs_f64();
    let bytes: usize = seen.iter().flatten().map(|picture| picture.bytes).sum();
    let kbits = bytes as f64 * 8.0 / 1000.0 / viewers.len().max(1) as f64 / (ended - begun).as_secs_f64();
    json!({
        "viewers": viewers.len(),
        "frames": frames.len(),
        "frames_per_second": frames.len() as f64 / seconds,
        "kbits_per_second": kbits,
        "lost": lost,
        "spread_ms": {
            "p50": percentile(&delays, 50.0), "p95": percentile(&delays, 95.0), "max": percentile(&delays, 100.0),
        },
    })
}
