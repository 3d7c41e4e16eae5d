//! The hub's queues: one from everyone to the hub, and one from the hub to each member.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Delivery;
use crate::proto::ids::{ConnId, MemberId, Name, RoomMode};
use crate::proto::message::ServerMessage;
use crate::proto::room::{CloseReason, Input, Join, Limits, RoomError, RoomView};

/// Deliveries that may wait for a member, unless set otherwise. A viewer of a large wall gets about a dozen messages
/// for each camera.
pub(super) const DELIVERIES: usize = 256;
/// Bytes of clients' payloads that may wait for a member: a thousand idle readers must not fill the memory.
pub(super) const DELIVERY_BYTES: usize = 1024 * 1024;
/// Commands that may wait for the hub; more, and whoever has one to give waits.
const COMMANDS: usize = 1024;

/// Something for the hub to do.
pub(super) enum Command {
    Join(ConnId, Join, Outbox),
    Input(Input),
    View(oneshot::Sender<Vec<RoomView>>),
    AddRoom(Name, RoomMode, oneshot::Sender<Result<(), RoomError>>),
    RemoveRoom(Name, oneshot::Sender<bool>),
    RemoveMember(Name, MemberId, oneshot::Sender<()>),
    Retitle(ConnId, String),
    Limits(Limits),
    Shutdown,
}

/// A command, and its share of the queue until the hub has taken it.
pub(super) type Queued = (Command, Option<OwnedSemaphorePermit>);

/// The way to the hub. The queue itself has no bound, since a `Drop` cannot wait; instead each command but a
/// member's last holds a permit until the hub has taken it.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
}

impl Commands {
    /// The queue's two ends.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (queue, commands) = mpsc::unbounded_channel();
        (Self { queue, room: Arc::new(Semaphore::new(COMMANDS)) }, commands)
    }

    /// Waits for room, then queues `command`. `false`: the hub is gone.
    pub(super) async fn send(&self, command: Command) -> bool {
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        self.queue.send((command, permit)).is_ok()
    }

    /// Queues a member's closing or leaving. A hub that is gone needs none.
    pub(super) fn send_last(&self, input: Input) {
        let _ = self.queue.send((Command::Input(input), None));
    }
}

/// Tells the hub when the last half of a membership is dropped.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) conn: ConnId,
    pub(super) commands: Commands,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.commands.send_last(Input::Closed(self.conn));
    }
}

/// The hub's end of a member's queue.
pub(super) struct Outbox {
    queue: mpsc::Sender<Delivery>,
    /// Bytes of clients' payloads in the queue.
    bytes: Arc<AtomicUsize>,
}

/// The member's end of its queue.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: mpsc::Receiver<Delivery>,
    bytes: Arc<AtomicUsize>,
}

/// A queue for a new member, of so many deliveries.
pub(super) fn outbox(deliveries: usize) -> (Outbox, Inbox) {
    // One more, so that there is always room for a close.
    let (sender, receiver) = mpsc::channel(deliveries + 1);
    let bytes = Arc::<AtomicUsize>::default();
    (Outbox { queue: sender, bytes: Arc::clone(&bytes) }, Inbox { queue: receiver, bytes })
}

impl Outbox {
    /// Queues `message`; `false` when the member has left too much unread.
    pub(super) fn push(&self, message: ServerMessage) -> bool {
        let size = payload_size(&message);
        let waiting = self.bytes.fetch_add(size, Ordering::Relaxed);
        if self.queue.capacity() <= 1 || waiting.saturating_add(size) > DELIVERY_BYTES {
            return false;
        }
        // One whose reading half is dropped is about to close, and misses nothing.
        let _ = self.queue.try_send(Delivery::Message(message));
        true
    }

    /// Queues the last delivery.
    pub(super) fn close(self, reason: CloseReason) {
        let _ = self.queue.try_send(Delivery::Close(reason));
    }
}

impl Inbox {
    pub(super) async fn recv(&mut self) -> Option<Delivery> {
        let delivery = self.queue.recv().await;
        if let Some(Delivery::Message(message)) = &delivery {
            self.bytes.fetch_sub(payload_size(message), Ordering::Relaxed);
        }
        delivery
    }
}

/// What a message takes of [`DELIVERY_BYTES`]. What we say ourselves is short, or as long as the room is full.
fn payload_size(message: &ServerMessage) -> usize {
    match message {
        ServerMessage::Relay { kind, payload, .. } => kind.len() + payload.get().len(),
        // A number may have thousands of digits.
        ServerMessage::Pong(number) => number.get().len(),
        ServerMessage::Info(_) | ServerMessage::Error(..) => 0,
    }
}
