//! Plays the language-neutral suite of `tests/conformance` over real WebSockets, against portald and, where a file
//! says so, against a stand-in for the reference server. `tests/conformance/README.md` describes the files.

mod pattern;
mod script;
mod servers;

use std::collections::HashMap;
use std::path::PathBuf;

use futures_util::{SinkExt, StreamExt};
use portald::hub::{Delivery, Membership};
use portald::proto::message::ClientMessage;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use self::pattern::Captures;
use self::script::{Case, Reference, Step};
use self::servers::{Host, Relay};
use crate::site::{Server, wait};

/// How many files there are at least: one that is lost must not go unnoticed.
const FILES: usize = 100;
/// How many of them the reference server is held to as well.
const REFERENCE_FILES: usize = 44;

#[tokio::test]
async fn portald_does_what_each_file_says() {
    for (file, case) in cases(FILES).iter().filter(|(_, case)| case.reference != Reference::Only) {
        let server = Server::for_case(&case.server).await;
        play(file, case, &Host::Portald(&server)).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn the_reference_server_does_what_the_common_files_say() {
    let cases: Vec<_> =
        cases(FILES).into_iter().filter(|(_, case)| case.reference != Reference::No).collect();
    assert!(cases.len() >= REFERENCE_FILES, "only {} files", cases.len());
    for (file, case) in &cases {
        let relay = Relay::start(&case.server).await;
        play(file, case, &Host::Reference(&relay)).await;
    }
}

#[test]
fn a_file_with_a_mistake_is_refused() {
    let fault = |text: &str| serde_json::from_str::<Case>(text).unwrap_err().to_string();
    let with = |step: &str| format!(r#"{{"sentence":"x","server":{{"rooms":{{}}}},"steps":[{step}]}}"#);
    assert!(fault(&with(r#"{"step":"sing","socket":"a"}"#)).contains("sing"));
    assert!(fault(&with(r#"{"step":"connect","socket":"a","query":"","qeury":""}"#)).contains("qeury"));
    assert!(fault(r#"{"server":{"rooms":{}},"steps":[]}"#).contains("sentence"));
}

/// All files by name.
fn cases(at_least: usize) -> Vec<(String, Case)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    assert!(files.len() >= at_least, "only {} files in {}", files.len(), directory.display());
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let case: Case = serde_json::from_str(&std::fs::read_to_string(path).unwrap())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!case.sentence.is_empty() && !case.steps.is_empty(), "{name} says or does nothing");
        (name, case)
    };
    files.iter().map(read).collect()
}

async fn play(file: &str, case: &Case, host: &Host<'_>) {
    let mut stage = Stage { host, actors: HashMap::new(), captures: Captures::default(), marks: 0 };
    for (index, step) in case.steps.iter().enumerate() {
        if let Err(fault) = stage.play(step).await {
            panic!(
                "{file}, step {} against {}: {fault}\n  step: {step:?}\n  file: {}\n  captured: {:?}",
                index + 1,
                host.name(),
                case.sentence,
                stage.captures
            );
        }
    }
}

/// Who plays, and what was captured.
struct Stage<'a> {
    host: &'a Host<'a>,
    actors: HashMap<String, Actor>,
    captures: Captures,
    /// Pings sent to prove that nothing came.
    marks: u64,
}

enum Actor {
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Camera(Membership),
}

impl Stage<'_> {
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Connect { socket, query, address } => {
                let url = format!("{}?{}", self.host.url(), self.captures.fill_text(query)?);
                let local = TcpSocket::new_v4().unwrap();
                let address = address.as_deref().unwrap_or("127.0.0.1");
                local.bind(format!("{address}:0").parse().unwrap()).map_err(|e| e.to_string())?;
                let stream = local.connect(self.host.address()).await.map_err(|e| e.to_string())?;
                stream.set_nodelay(true).unwrap();
                let stream = MaybeTlsStream::Plain(stream);
                let shaken = wait("a handshake", tokio_tungstenite::client_async(url, stream)).await;
                let (open, _) = shaken.map_err(|e| e.to_string())?;
                self.enter(socket, Actor::Socket(Box::new(open)))
            }
            Step::Camera { socket, name, room } => {
                let membership = self.host.camera(name, room).await?;
                self.enter(socket, Actor::Camera(membership))
            }
            Step::Send { socket, json: message } => {
                let message = self.captures.fill(message)?;
                self.actor(socket)?.send_text(message.to_string()).await
            }
            Step::SendText { socket, text } => {
                let text = self.captures.fill_text(text)?;
                self.actor(socket)?.send_text(text).await
            }
            Step::SendBinary { socket, bytes } => {
                let frame = Message::binary(bytes.clone());
                self.socket(socket)?.send(frame).await.map_err(|e| e.to_string())
            }
            Step::WsPing { socket, payload } => {
                let socket = self.socket(socket)?;
                socket.send(Message::Ping(payload.clone().into())).await.map_err(|e| e.to_string())?;
                loop {
                    match wait("a pong", socket.next()).await {
                        Some(Ok(Message::Ping(_))) => {}
                        Some(Ok(Message::Pong(got))) if got == payload.as_bytes() => return Ok(()),
                        other => return Err(format!("instead of the pong: {other:?}")),
                    }
                }
            }
            Step::Expect { socket, message: pattern } => {
                let message = self.actor(socket)?.next().await?;
                self.captures.take(pattern, &message)
            }
            Step::ExpectNothing { socket } => {
                self.marks += 1;
                let mark = 1_000_000 + self.marks;
                let actor = self.actor(socket)?;
                actor.send_text(json!({ "type": "ping", "ping": mark }).to_string()).await?;
                let came = actor.next().await?;
                let pong = json!({ "type": "pong", "pong": mark });
                if came == pong { Ok(()) } else { Err(format!("something came: {came}")) }
            }
            Step::ExpectClose { socket, code } => self.closed(socket, Some(*code)).await,
            Step::Close { socket, code } => {
                match self.actor(socket)? {
                    Actor::Socket(socket) => {
                        let frame = CloseFrame { code: CloseCode::from(*code), reason: "".into() };
                        WebSocketStream::close(socket, Some(frame)).await.map_err(|e| e.to_string())?;
                    }
                    Actor::Camera(_) => {
                        if let Some(Actor::Camera(membership)) = self.actors.remove(socket) {
                            membership.leave().await;
                        }
                        return Ok(());
                    }
                }
                self.closed(socket, None).await
            }
            Step::Drop { socket } => {
                self.actors.remove(socket).ok_or_else(|| format!("nobody is called {socket}"))?;
                let open = self.actors.values().filter(|actor| matches!(actor, Actor::Socket(_))).count();
                self.host.wait_for_sockets(open as u64).await;
                Ok(())
            }
            Step::Pause { milliseconds } => {
                tokio::time::sleep(std::time::Duration::from_millis(*milliseconds)).await;
                Ok(())
            }
        }
    }

    fn enter(&mut self, name: &str, actor: Actor) -> Result<(), String> {
        match self.actors.insert(name.to_owned(), actor) {
            None => Ok(()),
            Some(_) => Err(format!("{name} is on stage already")),
        }
    }

    fn actor(&mut self, name: &str) -> Result<&mut Actor, String> {
        self.actors.get_mut(name).ok_or_else(|| format!("nobody is called {name}"))
    }

    fn socket(&mut self, name: &str) -> Result<&mut WebSocketStream<MaybeTlsStream<TcpStream>>, String> {
        match self.actor(name)? {
            Actor::Socket(socket) => Ok(socket),
            Actor::Camera(_) => Err(format!("{name} is a camera of the server and has no socket")),
        }
    }

    /// Reads to the end of a socket: no message may come, and the close frame must have `code`, if one is given.
    async fn closed(&mut self, name: &str, code: Option<u16>) -> Result<(), String> {
        let socket = self.socket(name)?;
        let mut got = None;
        loop {
            match wait("the end of the socket", socket.next()).await {
                Some(Ok(Message::Close(frame))) => got = frame.map(|frame| u16::from(frame.code)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // What was on its way when the client closed is of no account.
                Some(Ok(_)) if code.is_none() => {}
                Some(Ok(other)) => return Err(format!("instead of the close: {other}")),
                Some(Err(_)) | None => break,
            }
        }
        self.actors.remove(name);
        if code.is_none() || got == code { Ok(()) } else { Err(format!("closed with {got:?}")) }
    }
}

impl Actor {
    async fn send_text(&mut self, text: String) -> Result<(), String> {
        match self {
            Self::Socket(socket) => {
                wait("sending", socket.send(Message::text(text))).await.map_err(|e| e.to_string())
            }
            Self::Camera(membership) => {
                let message = ClientMessage::parse(&text).map_err(|e| e.to_string())?;
                membership.send(message).await.then_some(()).ok_or_else(|| "the hub is gone".to_owned())
            }
        }
    }

    async fn next(&mut self) -> Result<Value, String> {
        let text = match self {
            Self::Socket(socket) => loop {
                match wait("a message", socket.next()).await {
                    Some(Ok(Message::Text(text))) => break text.to_string(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => return Err(format!("instead of a message: {other:?}")),
                }
            },
            Self::Camera(membership) => match wait("a delivery", membership.recv()).await {
                Some(Delivery::Message(message)) => message.to_json(),
                other => return Err(format!("instead of a message: {other:?}")),
            },
        };
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
    }
}
