//! The one task that owns [`Rooms`], and the handles by which sockets and cameras take part.
//!
//! Everything members say goes through one queue, so each one's words stay in order. Everything they are told goes
//! into a bounded queue of their own: one who does not read loses its seat and costs nobody else a message.

mod counters;
mod queues;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

pub use self::counters::Counters;
use self::queues::{Command, Commands, DELIVERIES, Guard, Inbox, Outbox, Queued, outbox};
use crate::proto::ids::{ConnId, Kind, MemberId, Name, RoomMode, Session};
use crate::proto::message::{ClientMessage, ServerMessage};
use crate::proto::room::{CloseReason, Input, Join, Limits, Output, RoomError, RoomView, Rooms};

/// A handle to the rooms; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    commands: Commands,
    next_conn: Arc<AtomicU64>,
    /// How many may wait for each member.
    deliveries: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

impl Hub {
    /// Starts the task that owns `rooms`. It ends with the last [`Hub`] and [`Membership`], or by
    /// [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn spawn(rooms: Rooms) -> (Self, JoinHandle<()>) {
        Self::spawn_queueing(rooms, DELIVERIES)
    }

    /// As [`spawn`](Self::spawn), with so many deliveries that may wait for each member.
    #[must_use]
    pub fn spawn_queueing(rooms: Rooms, deliveries: usize) -> (Self, JoinHandle<()>) {
        let (handle, commands) = Commands::new();
        let counters = Arc::<Counters>::default();
        let task = HubTask {
            // Below 2^52: JavaScript is exact up to 2^53.
            rooms: rooms.numbered_from(Session(Uuid::new_v4().as_u64_pair().1 >> 12)),
            commands,
            members: HashMap::new(),
            counters: Arc::clone(&counters),
        };
        let deliveries = Arc::new(AtomicUsize::new(deliveries));
        let hub = Self { commands: handle, next_conn: Arc::default(), deliveries, counters };
        (hub, tokio::spawn(task.run()))
    }

    /// Asks for a seat. A refusal comes as deliveries: the error, then the close. `None`: the hub is gone.
    pub async fn join(&self, request: JoinRequest) -> Option<Membership> {
        let conn = ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed));
        let join = Join {
            room: request.room,
            id: request.id,
            key: request.key,
            sessions: request.sessions,
            kind: request.kind,
            title: request.title,
            address: request.address,
            // Never `None`: a UUID is 36 letters.
            fresh_id: MemberId::new(Uuid::new_v4().to_string())?,
            fresh_key: Uuid::new_v4().to_string(),
        };
        let (outbox, inbox) = outbox(self.deliveries.load(Ordering::Relaxed));
        self.commands.send(Command::Join(conn, join, outbox)).await.then(|| {
            let guard = Arc::new(Guard { conn, commands: self.commands.clone() });
            Membership {
                sender: Sender { guard: Arc::clone(&guard) },
                receiver: Receiver { inbox, _guard: guard },
            }
        })
    }

    /// The rooms and their members. An answer also proves that the hub works. `None`: it is gone.
    pub async fn rooms(&self) -> Option<Vec<RoomView>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::View(reply)).await;
        answer.await.ok()
    }

    /// Opens a room. `None`: the hub is gone.
    pub async fn add_room(&self, name: Name, mode: RoomMode) -> Option<Result<(), RoomError>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::AddRoom(name, mode, reply)).await;
        answer.await.ok()
    }

    /// Takes a room away and closes who is in it with [`CloseReason::RoomGone`]; whether there was one. `None`: the
    /// hub is gone.
    pub async fn remove_room(&self, name: Name) -> Option<bool> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::RemoveRoom(name, reply)).await;
        answer.await.ok()
    }

    /// Takes a member out of a room for good: no seat is kept. Returns when that is done, or the hub is gone.
    pub async fn remove_member(&self, room: Name, id: MemberId) {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::RemoveMember(room, id, reply)).await;
        let _ = answer.await;
    }

    /// Keeps to other limits from now on: of the rooms, and of what may wait for members that join later.
    pub async fn set_limits(&self, limits: Limits, deliveries: usize) {
        self.deliveries.store(deliveries, Ordering::Relaxed);
        self.commands.send(Command::Limits(limits)).await;
    }

    /// Closes every membership with [`CloseReason::Shutdown`] and ends the task.
    pub async fn shutdown(&self) {
        self.commands.send(Command::Shutdown).await;
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

/// What a connection asks for; see [`Join`].
#[derive(Clone)]
pub struct JoinRequest {
    /// The room's name as the client wrote it.
    pub room: Option<String>,
    /// The id it would like.
    pub id: Option<String>,
    /// The secret of the seat it had.
    pub key: Option<String>,
    /// Whether it keeps connections whose session number is unchanged.
    pub sessions: bool,
    /// What it is; [`Kind::Camera`] is for this box's own cameras, and for those of others that showed the token.
    pub kind: Kind,
    /// What to call it on a page.
    pub title: Option<String>,
    /// Where it connects from; `None` for members within this process.
    pub address: Option<IpAddr>,
}

impl fmt::Debug for JoinRequest {
    /// Without the key: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest")
            .field("room", &self.room)
            .field("id", &self.id)
            .field("sessions", &self.sessions)
            .field("kind", &self.kind)
            .field("title", &self.title)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A connection's part in a room. Dropping it is the closing of its transport: the client may come back.
#[derive(Debug)]
pub struct Membership {
    sender: Sender,
    receiver: Receiver,
}

impl Membership {
    /// Says something; waits while the hub is busy. `false`: the hub is gone.
    pub async fn send(&self, message: ClientMessage) -> bool {
        self.sender.send(message).await
    }

    /// Shows a sign of life that is no message.
    pub async fn heard(&self) {
        self.sender.heard().await;
    }

    /// The next delivery. `None` after a close, or when the hub is gone.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }

    /// The two directions, for two tasks. The transport counts as closed when both are dropped.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Leaves for good: no seat is kept.
    pub async fn leave(self) {
        self.sender.leave();
    }
}

/// The speaking half of a [`Membership`]; clones are the same half.
#[derive(Debug, Clone)]
pub struct Sender {
    guard: Arc<Guard>,
}

impl Sender {
    /// Says something; waits while the hub is busy. `false`: the hub is gone.
    pub async fn send(&self, message: ClientMessage) -> bool {
        self.guard.commands.send(Command::Input(Input::Message(self.guard.conn, message))).await
    }

    /// Shows a sign of life that is no message.
    pub async fn heard(&self) {
        self.guard.commands.send(Command::Input(Input::Heard(self.guard.conn))).await;
    }

    /// Is called otherwise from now on, which the others in the room are told.
    pub async fn retitle(&self, title: String) {
        self.guard.commands.send(Command::Retitle(self.guard.conn, title)).await;
    }

    /// Leaves for good: no seat is kept.
    pub fn leave(self) {
        self.guard.commands.send_last(Input::Leave(self.guard.conn));
    }
}

/// The hearing half of a [`Membership`].
#[derive(Debug)]
pub struct Receiver {
    inbox: Inbox,
    _guard: Arc<Guard>,
}

impl Receiver {
    /// The next delivery. `None` after a close, or when the hub is gone.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.inbox.recv().await
    }
}

/// What a member is given.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// To be sent to the client.
    Message(ServerMessage),
    /// The last delivery: why the connection ends.
    Close(CloseReason),
}

/// The task behind [`Hub`].
struct HubTask {
    rooms: Rooms,
    commands: mpsc::UnboundedReceiver<Queued>,
    members: HashMap<ConnId, Outbox>,
    counters: Arc<Counters>,
}

impl HubTask {
    async fn run(mut self) {
        loop {
            let timeout = self.rooms.poll_timeout().map(Instant::from_std);
            let command = tokio::select! {
                command = self.commands.recv() => command,
                () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => {
                    Some((Command::Input(Input::Tick), None))
                }
            };
            match command {
                Some((Command::Join(conn, join, outbox), _)) => {
                    self.members.insert(conn, outbox);
                    self.handle(Input::Join(conn, join));
                }
                Some((Command::Input(input), _)) => self.handle(input),
                // Whoever asked may have stopped waiting.
                Some((Command::View(reply), _)) => drop(reply.send(self.rooms.view())),
                Some((Command::AddRoom(name, mode, reply), _)) => {
                    drop(reply.send(self.rooms.add_room(name, mode)))
                }
                Some((Command::RemoveRoom(name, reply), _)) => drop(reply.send(self.remove_room(&name))),
                Some((Command::RemoveMember(room, id, reply), _)) => {
                    let outputs = self.rooms.remove_member(&room, &id);
                    self.perform(outputs);
                    let _ = reply.send(());
                }
                Some((Command::Retitle(conn, title), _)) => {
                    let outputs = self.rooms.retitle(conn, title);
                    self.perform(outputs);
                }
                Some((Command::Limits(limits), _)) => self.rooms.set_limits(limits),
                Some((Command::Shutdown, _)) | None => break,
            }
        }
        for (_, outbox) in self.members.drain() {
            outbox.close(CloseReason::Shutdown);
        }
    }

    /// Gives `input` to the rooms and does what they say.
    fn handle(&mut self, input: Input) {
        self.counters.input(&input);
        let now = Instant::now().into_std();
        if let Input::Closed(conn) | Input::Leave(conn) = &input {
            self.members.remove(conn);
        }
        let outputs = self.rooms.handle(now, input);
        self.perform(outputs);
    }

    /// Does what the rooms say. Whoever is found slow by that leaves, which is an input in its turn; each takes a member
    /// away, so there is an end.
    fn perform(&mut self, outputs: Vec<Output>) {
        let mut waiting = VecDeque::from(outputs);
        while let Some(output) = waiting.pop_front() {
            self.counters.output(&output);
            match output {
                Output::Send(conn, message) => {
                    let slow = self.members.get(&conn).is_some_and(|outbox| !outbox.push(message));
                    if slow {
                        self.counters.slow_closed.fetch_add(1, Ordering::Relaxed);
                        self.close(conn, CloseReason::TooSlow);
                        waiting.extend(self.rooms.handle(Instant::now().into_std(), Input::Leave(conn)));
                    }
                }
                Output::Close(conn, reason) => self.close(conn, reason),
                Output::Dropped(_) => {}
            }
        }
    }

    fn remove_room(&mut self, name: &Name) -> bool {
        let outputs = self.rooms.remove_room(name);
        let existed = outputs.is_some();
        for output in outputs.into_iter().flatten() {
            if let Output::Close(conn, reason) = output {
                self.close(conn, reason);
            }
        }
        existed
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        if let Some(outbox) = self.members.remove(&conn) {
            outbox.close(reason);
        }
    }
}

#[cfg(test)]
mod tests;
