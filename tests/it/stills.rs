//! Still pictures and streams of them over HTTP, from a made-up camera; the real one's are in `media`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portald::proto::ids::Name;
use portald::server::Limits;
use portald::status::{CameraStatus, State};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::site::{Server, patient, wait};

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn set(server: &Server, camera: &str, state: State, reason: Option<&str>) {
    server.cameras.set(CameraStatus {
        name: name(camera),
        title: camera.to_owned(),
        rooms: vec![name("home")],
        state,
        reason: reason.map(str::to_owned),
        since: 0,
        seen: None,
        source: "test".to_owned(),
        wishes: Default::default(),
        renditions: Vec::new(),
        viewers: 0,
        dropped: 0,
        restarts: Default::default(),
    });
}

/// Makes a picture of the camera `door` every 10 ms where one is due: its number and width in words. Counts them, and
/// tells how many encoders it would run.
struct Kitchen {
    made: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Kitchen {
    fn open(server: &Server) -> Self {
        let mut orders = server.stills.open(&name("door"));
        let (made, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, running) = (Arc::clone(&made), Arc::clone(&open));
        let task = tokio::spawn(async move {
            while let Some(order) = orders.next().await {
                let (count, running) = (Arc::clone(&count), Arc::clone(&running));
                running.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let cook = async {
                        loop {
                            if order.line().due(Instant::now()) {
                                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                                let width = order.line().width().unwrap_or(0);
                                order.publish(
                                    format!("[{number} {width}]").into_bytes().into(),
                                    Instant::now(),
                                );
                            }
                            sleep(Duration::from_millis(10)).await;
                        }
                    };
                    tokio::select! { () = cook => {}, () = order.unwanted() => {} }
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { made, open, task }
    }
}

/// A stream of pictures as a program reads it.
struct Stream {
    reader: BufReader<TcpStream>,
    status: u16,
    head: String,
}

impl Stream {
    async fn open(server: &Server, query: &str) -> Self {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET /cameras/door/stream.mjpeg{query} HTTP/1.1\r\nhost: portald\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(wait("the head", reader.read_line(&mut head)).await.unwrap() > 0, "{head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { reader, status, head: head.to_lowercase() }
    }

    /// The next line of the body, whose chunks are lines of ours; `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = wait("a line", self.reader.read_line(&mut line)).await.ok()?;
        let line = line.trim();
        // A chunk of nothing is the last.
        (read > 0 && line != "0").then(|| line.to_owned())
    }

    async fn picture(&mut self) -> Option<String> {
        loop {
            let line = self.line().await?;
            if line.starts_with('[') {
                return Some(line);
            }
        }
    }
}

#[tokio::test]
async fn a_picture_is_made_once_for_all_who_ask_at_the_moment() {
    let server = Server::start().await;
    set(&server, "door", State::Idle, None);
    let kitchen = Kitchen::open(&server);
    let asked = (0..8).map(|_| server.get("/cameras/door/snapshot.jpg"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/jpeg")), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.body.ends_with(" 0]"), "{answer:?}");
    }
    let made = kitchen.made.load(Ordering::SeqCst);
    assert!(made <= 4, "{made} pictures for eight who asked together");
    let small = server.get("/cameras/door/snapshot.jpg?width=320").await;
    assert!(small.body.ends_with(" 320]"), "{small:?}");
    assert_eq!(server.metric("portald_snapshots_total").await, 9);
    wait("the encoders to end", async {
        while kitchen.open.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let head = server.request("HEAD", "/cameras/door/snapshot.jpg", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
}

#[tokio::test]
async fn who_asks_for_what_is_not_there_is_told_so() {
    let limits = Limits { picture: Duration::from_millis(100), ..patient() };
    let server = Server::within(limits).await;
    set(&server, "door", State::Backoff, Some("Device or resource busy; next: fuser"));
    set(&server, "off", State::Disabled, Some("switched off in the config (enabled = false)"));
    let _orders = server.stills.open(&name("door"));
    for file in ["snapshot.jpg", "stream.mjpeg"] {
        for (path, status, words) in [
            ("nobody", 404, "no camera nobody"),
            ("NO%20NAME", 404, "no camera"),
            ("door", 503, "backoff: Device or resource busy"),
            ("off", 503, "disabled: switched off in the config"),
        ] {
            let answer = server.get(&format!("/cameras/{path}/{file}")).await;
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(message.contains(words), "{message}");
            assert_eq!(answer.header("retry-after"), (status == 503).then_some("5"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let answer = server.request("POST", &format!("/cameras/door/{file}"), "content-length: 0\r\n").await;
        assert_eq!(answer.status, 405);
    }
    for query in
        ["snapshot.jpg?width=0", "snapshot.jpg?width=wide", "stream.mjpeg?fps=0", "stream.mjpeg?fps=16"]
    {
        let answer = server.get(&format!("/cameras/door/{query}")).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("whole number from"), "{answer:?}");
    }
    assert_eq!(server.get("/cameras/door/other.jpg").await.status, 404);
}

#[tokio::test]
async fn a_stream_is_parts_that_browsers_take_and_ends_with_the_camera() {
    let server = Server::start().await;
    set(&server, "door", State::Live, None);
    let kitchen = Kitchen::open(&server);
    let mut stream = Stream::open(&server, "?fps=15").await;
    assert_eq!(stream.status, 200);
    assert!(
        stream.head.contains("multipart/x-mixed-replace; boundary=portald-next-picture"),
        "{}",
        stream.head
    );
    assert!(stream.head.contains("cache-control: no-store"), "{}", stream.head);
    // Chunk sizes stand between.
    let mut lines = Vec::new();
    while lines.iter().filter(|line: &&String| line.starts_with("--portald-next-picture")).count() < 3 {
        lines.push(stream.line().await.unwrap());
    }
    assert!(lines.iter().any(|line| line == "content-type: image/jpeg"), "{lines:?}");
    let picture = lines.iter().find(|line| line.starts_with('[')).unwrap();
    assert!(lines.contains(&format!("content-length: {}", picture.len())), "{lines:?}");
    let mut second = Stream::open(&server, "").await;
    // Of the fifteen that are made each second for the other. A busy machine makes fewer, and takes longer.
    let number = |text: String| text[1..].split(' ').next().unwrap().parse::<u64>().unwrap();
    let (first, begun) = (number(second.picture().await.unwrap()), Instant::now());
    let mut last = first;
    for _ in 0..10 {
        last = number(second.picture().await.unwrap());
    }
    let (made, took) = (last - first, begun.elapsed());
    assert!(took > Duration::from_millis(1300), "ten in {took:?}: more than five a second");
    assert!(made <= 50, "ten of {made}: fewer than five a second");
    assert_eq!(kitchen.open.load(Ordering::SeqCst), 1, "one encoder for both");
    assert_eq!(server.metric("portald_mjpeg_readers").await, 2);
    set(&server, "door", State::Disabled, Some("switched off"));
    while stream.picture().await.is_some() {}
    while second.picture().await.is_some() {}
    wait("the readers to be gone", async {
        while server.metric("portald_mjpeg_readers").await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    kitchen.task.abort();
}

#[tokio::test]
async fn a_stream_outlives_the_limit_on_connections_for_as_long_as_it_is_read() {
    let limits =
        Limits { connection: Duration::from_secs(5), close: Duration::from_millis(100), ..patient() };
    let server = Server::within(limits).await;
    set(&server, "door", State::Live, None);
    let mut orders = server.stills.open(&name("door"));
    // Pictures that no socket buffer holds many of.
    let cook = tokio::spawn(async move {
        let order = orders.next().await.unwrap();
        let jpeg: Arc<[u8]> = vec![b'x'; 1 << 20].into();
        loop {
            if order.line().due(Instant::now()) {
                order.publish(Arc::clone(&jpeg), Instant::now());
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    let mut read = Stream::open(&server, "?fps=15").await;
    let unread = Stream::open(&server, "?fps=15").await;
    let mut sink = vec![0; 1 << 16];
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) {
        assert!(wait("bytes", read.reader.read(&mut sink)).await.unwrap() > 0, "ended while it was read");
    }
    wait("the end of the stream that nobody reads", async {
        loop {
            // Reading on, so that the one goes on.
            let _ = read.reader.read(&mut sink).await.unwrap();
            if server.stills.readers() == 1 {
                break;
            }
        }
    })
    .await;
    assert_eq!((read.status, unread.status), (200, 200));
    cook.abort();
}

#[tokio::test]
async fn readers_over_the_limit_are_refused_and_counted() {
    let server = Server::start().await;
    set(&server, "door", State::Live, None);
    let _kitchen = Kitchen::open(&server);
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(Stream::open(&server, "").await);
    }
    assert!(streams.iter().all(|stream| stream.status == 200));
    let refused = server.get("/cameras/door/stream.mjpeg").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("all the readers it may have"), "{refused:?}");
    assert_eq!(server.metric("portald_stills_refused_total").await, 1);
    // A single picture still is to be had.
    assert_eq!(server.get("/cameras/door/snapshot.jpg").await.status, 200);
}
