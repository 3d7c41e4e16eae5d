//! The rules of the rooms behind another transport: plain TCP, one JSON message a line.
//!
//! ```text
//! cargo run --no-default-features --example tcp_lines -- 127.0.0.1:7000
//! nc 127.0.0.1 7000
//! {"room":"talk","id":"ann","sessions":true}                      the first line: what a WebSocket has in its address
//! {"type":"chat","chat":"hello","target":"bob"}                   then messages, as on a WebSocket
//! ```
//!
//! `Rooms` knows no sockets, threads or clocks. Whoever wants it behind something else does what this file does:
//! turn what happens into an `Input` with the time, do each `Output` in order, and call again at `poll_timeout`.
//! For strangers more is needed, such as deadlines for writing and a limit on connections: see `src/server`.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use portald::proto::ids::{ConnId, Kind, MemberId, Name, RoomMode};
use portald::proto::message::{ClientMessage, ErrorCode, MAX_MESSAGE, ServerMessage};
use portald::proto::room::{Input, Join, Limits, Output, Rooms};
use serde::Deserialize;

/// The first line of a client.
#[derive(Deserialize)]
struct Hello {
    room: Option<String>,
    id: Option<String>,
    key: Option<String>,
    #[serde(default)]
    sessions: bool,
}

/// What the readers tell the one thread that owns the rooms.
enum Event {
    /// Somebody connected and asks for a seat.
    Join(ConnId, TcpStream, Join),
    /// Somebody said something, which may be no message.
    Line(ConnId, String),
    /// A connection ended.
    Closed(ConnId),
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    let mut rooms = Rooms::new(Limits::default());
    rooms.add_room(Name::new("talk")?, RoomMode::Mesh)?;
    // Bounded: when the rooms are busy, readers wait, and with them the clients.
    let (events, inbox) = sync_channel(256);
    thread::spawn(move || run(rooms, &inbox));
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    // Each connection has a number that is never used again, so that a late end cannot hit a newcomer.
    for (number, stream) in (0..).zip(listener.incoming()) {
        let (stream, events) = (stream?, events.clone());
        thread::spawn(move || read(ConnId(number), stream, &events));
    }
    Ok(())
}

/// Reads one client's lines to their end.
fn read(conn: ConnId, stream: TcpStream, events: &SyncSender<Event>) -> Option<()> {
    let address = stream.peer_addr().ok()?.ip();
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let hello: Hello = serde_json::from_str(&line(&mut lines)?).ok()?;
    let join = Join {
        room: hello.room,
        id: hello.id,
        key: hello.key,
        sessions: hello.sessions,
        // `Camera` opens the ids that begin with `!`: not for strangers.
        kind: Kind::Peer,
        title: None,
        address: Some(address),
        // Both must be beyond guessing: a key opens its seat.
        fresh_id: MemberId::new(uuid::Uuid::new_v4().to_string())?,
        fresh_key: uuid::Uuid::new_v4().to_string(),
    };
    events.send(Event::Join(conn, stream, join)).ok()?;
    while let Some(line) = line(&mut lines) {
        events.send(Event::Line(conn, line)).ok()?;
    }
    events.send(Event::Closed(conn)).ok()
}

/// The next line; none at the end, or when it is longer than a message may be.
fn line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let limit = MAX_MESSAGE as u64 + 1;
    stream.take(limit).read_line(&mut line).ok()?;
    line.ends_with('\n').then(|| line.trim_end().to_owned())
}

/// Owns the rooms: one thread, no locks.
fn run(mut rooms: Rooms, inbox: &Receiver<Event>) {
    let mut clients = HashMap::new();
    loop {
        // The rooms have no clock: they say when they want to be asked again, and are told the time with each input.
        let wait = rooms.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
        let input = match inbox.recv_timeout(wait.unwrap_or(Duration::from_secs(3600))) {
            Ok(Event::Join(conn, stream, join)) => {
                // One who does not read must not hold up the others.
                let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
                clients.insert(conn, stream);
                Input::Join(conn, join)
            }
            Ok(Event::Line(conn, line)) => match ClientMessage::parse(&line) {
                Ok(message) => Input::Message(conn, message),
                Err(fault) => {
                    let error = ServerMessage::Error(ErrorCode::BadMessage, Some(fault.to_string()));
                    write(&mut clients, conn, &error);
                    Input::Heard(conn)
                }
            },
            Ok(Event::Closed(conn)) => {
                clients.remove(&conn);
                // The seat of a client with a key is kept for a while; `Input::Leave` would give it up at once.
                Input::Closed(conn)
            }
            Err(RecvTimeoutError::Timeout) => Input::Tick,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for output in rooms.handle(Instant::now(), input) {
            match output {
                Output::Send(conn, message) => write(&mut clients, conn, &message),
                // The rooms have forgotten it already; its reader's `Closed` will change nothing.
                Output::Close(conn, _) => drop(clients.remove(&conn).map(|s| s.shutdown(Shutdown::Both))),
                Output::Dropped(reason) => drop(writeln!(std::io::stderr(), "dropped: {reason:?}")),
            }
        }
    }
}

/// Writes a line. Who cannot take it is cut off: its reader then sees the end, and the rooms hear of it.
fn write(clients: &mut HashMap<ConnId, TcpStream>, conn: ConnId, message: &ServerMessage) {
    let Some(stream) = clients.get_mut(&conn) else { return };
    if stream.write_all((message.to_json() + "\n").as_bytes()).is_err() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
