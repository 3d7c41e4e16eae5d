//! A server on a port of its own, and clients that know nothing of its code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use portald::control::Controls;
use portald::hub::{Hub, JoinRequest, Membership};
use portald::proto::ids::{Kind, Name, RoomMode};
use portald::proto::room::{self, Rooms};
use portald::server::{self, Access, Limits, RoomChange, Site};
use portald::status::{CameraStatus, Cameras, State};
use portald::stills::Stills;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// For what must happen but may take its time on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`, and fails naming `what` when it never comes.
pub(crate) async fn wait<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// Limits whose times no busy machine breaks; a test shortens the one it is about.
pub(crate) fn patient() -> Limits {
    let long = PATIENCE * 2;
    Limits {
        header: long,
        connection: long,
        write: long,
        ping: long,
        silence: long,
        close: long,
        linger: long,
        login: long,
        health: long,
        picture: long,
        shutdown: long,
        ..Limits::default()
    }
}

/// A portald without cameras' pictures: rooms `home` (wall) and `mesh`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Hub,
    pub(crate) hub_task: JoinHandle<()>,
    pub(crate) cameras: Cameras,
    pub(crate) stills: Stills,
    pub(crate) controls: Controls,
    limits: watch::Sender<Arc<Limits>>,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) serving: JoinHandle<()>,
    /// What is told of rooms that are made and removed.
    pub(crate) changes: mpsc::Receiver<RoomChange>,
}

/// What a server is started with.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) rooms: room::Limits,
    pub(crate) listen: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: patient(),
            access: Access::default(),
            rooms: room::Limits {
                seat_kept: PATIENCE * 2,
                silent_after: PATIENCE * 2,
                ..room::Limits::default()
            },
            listen: "127.0.0.1:0",
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::within(patient()).await
    }

    pub(crate) async fn within(limits: Limits) -> Self {
        Self::with(Setup { limits, ..Setup::default() }).await
    }

    /// One that lets in whom `access` does.
    pub(crate) async fn guarded(limits: Limits, access: Access) -> Self {
        Self::with(Setup { limits, access, ..Setup::default() }).await
    }

    /// With a site that `change` makes of the plain one.
    pub(crate) async fn with_site(limits: Limits, change: impl FnOnce(Site) -> Site) -> Self {
        let setup = Setup { limits, ..Setup::default() };
        Self::build(Self::two_rooms(&setup), setup, change).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::with_rooms(Self::two_rooms(&setup), setup).await
    }

    fn two_rooms(setup: &Setup) -> Rooms {
        let mut rooms = Rooms::new(setup.rooms.clone());
        rooms.add_room(Name::new("home").unwrap(), RoomMode::Wall).unwrap();
        rooms.add_room(Name::new("mesh").unwrap(), RoomMode::Mesh).unwrap();
        rooms
    }

    /// With rooms of the caller's, in place of those of `setup`.
    pub(crate) async fn with_rooms(rooms: Rooms, setup: Setup) -> Self {
        Self::build(rooms, setup, |site| site).await
    }

    async fn build(rooms: Rooms, setup: Setup, change: impl FnOnce(Site) -> Site) -> Self {
        let (hub, hub_task) = Hub::spawn(rooms);
        let cameras = Cameras::new();
        let (tell_changes, changes) = server::room_changes();
        let site = change(Site {
            version: "1.2.3",
            access: Arc::new(setup.access),
            room_changes: Some(tell_changes),
            ..Site::new(hub.clone(), cameras.clone())
        });
        let (stills, controls) = (site.stills.clone(), site.controls.clone());
        let listeners = server::bind(&[setup.listen.parse().unwrap()]).await.unwrap();
        let address = listeners[0].local_addr().unwrap();
        let (shutdown, told) = watch::channel(false);
        let (limits, limited) = watch::channel(Arc::new(setup.limits));
        let serving = tokio::spawn(server::serve_changing(listeners, site, limited, told));
        Self { address, hub, hub_task, cameras, stills, controls, limits, shutdown, serving, changes }
    }

    /// Keeps connections that come from now on within other limits.
    pub(crate) fn limit(&self, limits: Limits) {
        self.limits.send_replace(Arc::new(limits));
    }

    /// A camera of this box joins `room`.
    pub(crate) async fn camera(&self, name: &str, room: &str) -> Membership {
        let request = JoinRequest {
            room: Some(room.to_owned()),
            id: Some(format!("!{name}")),
            key: None,
            sessions: true,
            kind: Kind::Camera,
            title: Some(name.to_uppercase()),
            address: None,
        };
        self.hub.join(request).await.unwrap()
    }

    pub(crate) async fn connect(&self, query: &str) -> Client {
        self.try_connect(query).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, query: &str) -> Result<Client, WsError> {
        let url = format!("ws://{}/portal?{query}", self.address);
        let (socket, _) = wait("handshake", tokio_tungstenite::connect_async(url)).await?;
        Ok(Client { socket })
    }

    /// A client that shows a bearer token.
    pub(crate) async fn connect_with(&self, query: &str, token: &str) -> Client {
        let mut request = format!("ws://{}/portal?{query}", self.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = wait("handshake", tokio_tungstenite::connect_async(request)).await.unwrap();
        Client { socket }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request("GET", path, "").await
    }

    /// One request on a connection of its own; `headers` are lines that end with `\r\n`.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str) -> Response {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request =
                format!("{method} {path} HTTP/1.1\r\nhost: portald\r\nconnection: close\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        Response::parse(&wait(path, exchange).await)
    }

    /// The value of a line of `/metrics`.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let page = self.get("/metrics").await.body;
        let value = page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in {page}")).parse().unwrap()
    }
}

/// What a plain request brought.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// A client over a real socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn send(&mut self, json: &Value) {
        self.send_text(json.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: impl Into<String>) {
        wait("send", self.socket.send(Message::text(text.into()))).await.unwrap();
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match wait("a message", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("instead of a message: {other:?}"),
            }
        }
    }

    /// The next message, which must be an `info`: its payload.
    pub(crate) async fn info(&mut self) -> Value {
        let message = self.next().await;
        assert_eq!(message["type"], "info", "{message}");
        message["info"].clone()
    }

    /// Proves that nothing is on the way: the next message is the answer to this ping.
    pub(crate) async fn nothing_came(&mut self) {
        self.send(&serde_json::json!({ "type": "ping", "ping": 4711 })).await;
        assert_eq!(self.next().await, serde_json::json!({ "type": "pong", "pong": 4711 }));
    }

    /// The messages until the server closes, and the code it closes with; `None` without a close frame.
    pub(crate) async fn closed(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut messages = Vec::new();
        let mut code = None;
        loop {
            match wait("the end of the socket", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => messages.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    code = Some(frame.map_or(1005, |frame| <CloseCode as Into<u16>>::into(frame.code)));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (messages, code),
            }
        }
    }
}

/// The ids in a roster.
pub(crate) fn ids(info: &Value) -> Vec<&str> {
    info["members"].as_array().unwrap().iter().map(|member| member["id"].as_str().unwrap()).collect()
}

/// What the table says of a camera that has done nothing yet.
pub(crate) fn status(camera: &str, rooms: &[&str], state: State) -> CameraStatus {
    CameraStatus {
        name: Name::new(camera).unwrap(),
        title: camera.to_owned(),
        rooms: rooms.iter().map(|room| Name::new(*room).unwrap()).collect(),
        state,
        reason: None,
        since: 0,
        seen: None,
        source: "test".to_owned(),
        wishes: Default::default(),
        renditions: Vec::new(),
        viewers: 0,
        dropped: 0,
        restarts: Default::default(),
    }
}
