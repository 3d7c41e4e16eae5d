//! What is refused, and in which words.

use super::super::ids::{MAX_NAME, Name};
use super::super::message::ErrorCode;

/// What a client did wrong, and the sentence for whoever reads its console.
pub(super) type Refusal = (ErrorCode, String);

/// No room was asked for.
pub(super) fn room_not_set() -> Refusal {
    (ErrorCode::RoomNotSet, "no room was asked for; open the socket with `?room=NAME`".to_owned())
}

/// There is no such room.
pub(super) fn room_not_found(asked: &str) -> Refusal {
    let shown: String = asked.chars().take(MAX_NAME).collect();
    (ErrorCode::RoomNotFound, format!("there is no room `{shown}` here; `/api/rooms` lists those there are"))
}

/// The room has as many members as it may.
pub(super) fn room_full(name: &Name, members: usize) -> Refusal {
    let why =
        format!("room `{name}` has {members} members, as many as it may; try again when somebody has left");
    (ErrorCode::RoomFull, why)
}

/// A camera of another box asks for an id that none can have.
pub(super) fn bad_camera_id() -> Refusal {
    let why =
        "a camera of another box joins as `id=!BOX.CAMERA`, two names of a-z, 0-9 and - with a dot between";
    (ErrorCode::Unauthorized, why.to_owned())
}

/// Somebody else has the id that a camera of another box needs.
pub(super) fn id_taken(id: &str) -> Refusal {
    let why = format!(
        "`{id}` is here already, and the key of its seat was not shown: another box has the same name, or this one \
         was started again less than half a minute ago"
    );
    (ErrorCode::IdTaken, why)
}

/// The room has as many cameras of other boxes as it may.
pub(super) fn too_many_cameras(cameras: usize) -> Refusal {
    let why = format!("the room has {cameras} cameras of other boxes, as many as it may");
    (ErrorCode::RoomFull, why)
}
