//! Rooms made and removed over HTTP, by whoever has the admin token. They are gone after a restart.

use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use warp::http::{HeaderMap, Method, StatusCode, header};
use warp::reply::Response;

use super::access::{Caller, Visit};
use super::answers::{error, hub_silent, not_allowed, reply_json};
use super::body::Body;
use super::headers::insert;
use super::refusals::Reason;
use super::{Context, admin};
use crate::proto::ids::{MAX_NAME, Name, RoomMode};
use crate::proto::room::RoomError;
use crate::status::State;

/// Where rooms are listed and made; below it, each can be removed.
pub(super) const PATH: &str = "/api/rooms";

/// Changes that wait for whoever publishes cameras; whoever makes more waits.
const CHANGES: usize = 16;

/// A room was made or removed; cameras are to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomChange {
    /// A new room.
    Added {
        /// Its name.
        name: Name,
        /// The cameras to publish there; none: every enabled one.
        cameras: Option<Vec<Name>>,
    },
    /// It is gone, and everyone in it was told.
    Removed {
        /// Its name.
        name: Name,
    },
}

/// A channel for [`Site::room_changes`](super::Site::room_changes).
#[must_use]
pub fn room_changes() -> (mpsc::Sender<RoomChange>, mpsc::Receiver<RoomChange>) {
    mpsc::channel(CHANGES)
}

/// The name in `/api/rooms/NAME`.
pub(super) fn named(path: &str) -> Option<&str> {
    path.strip_prefix(PATH)?.strip_prefix('/')
}

/// The answer to a request that wants to change something at `path`.
pub(super) async fn change(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: Body,
    visit: &Visit,
    caller: &Caller,
    context: &Context,
) -> Response {
    if let Some(refused) = admin::refused("rooms", "GET, HEAD", visit, caller, context) {
        return refused;
    }
    match (method, named(path)) {
        (&Method::POST, None) => add(headers, body, visit, context).await,
        (&Method::DELETE, Some(name)) => remove(name, context).await,
        (_, name) => {
            let allowed = if name.is_some() { "DELETE" } else { "GET, HEAD, POST" };
            let message = format!("{method} is not possible here; {allowed} are");
            not_allowed(allowed, message)
        }
    }
}

/// What the body of a `POST` has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default)]
    mode: RoomMode,
    cameras: Option<Vec<Name>>,
}

async fn add(headers: &HeaderMap, body: Body, visit: &Visit, context: &Context) -> Response {
    let bad = |message: String| error(StatusCode::BAD_REQUEST, "bad_request", message);
    let example =
        "send {\"name\":\"…\"}, if you like with \"mode\":\"wall\" or \"mesh\" and \"cameras\":[names]";
    let wanted: Wanted = match admin::json(headers, body, example, visit, context).await {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    let name = match Name::new(wanted.name) {
        Ok(name) => name,
        Err(fault) => return bad(format!("{fault} (at most {MAX_NAME})")),
    };
    if let Err(fault) = check_cameras(wanted.cameras.as_deref().unwrap_or_default(), context) {
        return bad(fault);
    }
    let cameras = match (wanted.cameras, wanted.mode) {
        (None, RoomMode::Mesh) => Some(Vec::new()),
        (cameras, _) => cameras,
    };
    // One change at a time, or whoever publishes cameras could hear of two in the wrong order.
    let _turn = context.room_changes.lock().await;
    match context.site.hub.add_room(name.clone(), wanted.mode).await {
        Some(Ok(())) => {}
        Some(Err(fault @ RoomError::Exists(_))) => {
            return error(StatusCode::CONFLICT, "room_exists", fault.to_string());
        }
        Some(Err(fault @ RoomError::TooMany(_))) => {
            context.refusals.note(Reason::Rooms, visit.client.address, &fault);
            return error(StatusCode::SERVICE_UNAVAILABLE, "rooms_full", fault.to_string());
        }
        None => return hub_silent(),
    }
    log::info!(room = name.as_str(); "room {name} made over HTTP, from {}", visit.client.address);
    context.tell(RoomChange::Added { name: name.clone(), cameras }).await;
    let mut response =
        reply_json(StatusCode::CREATED, &json!({ "name": name, "mode": wanted.mode, "members": [] }));
    insert(response.headers_mut(), header::LOCATION, &format!("{PATH}/{name}"));
    response
}

/// Whether each of `wanted` is a camera that can be published.
fn check_cameras(wanted: &[Name], context: &Context) -> Result<(), String> {
    let cameras = context.site.cameras.list();
    let enabled: Vec<&str> = cameras
        .iter()
        .filter(|camera| camera.state != State::Disabled)
        .map(|camera| camera.name.as_str())
        .collect();
    match wanted.iter().find(|name| !enabled.contains(&name.as_str())) {
        Some(name) => {
            Err(format!("there is no camera `{name}` that is enabled; there are: {}", enabled.join(", ")))
        }
        None => Ok(()),
    }
}

async fn remove(name: &str, context: &Context) -> Response {
    let _turn = context.room_changes.lock().await;
    let removed = match Name::new(name) {
        Ok(name) => context.site.hub.remove_room(name.clone()).await.map(|existed| existed.then_some(name)),
        Err(_) => Some(None),
    };
    match removed {
        None => hub_silent(),
        Some(None) => {
            let name: String = name.chars().take(MAX_NAME).collect();
            error(
                StatusCode::NOT_FOUND,
                "room_not_found",
                format!("there is no room `{name}`; GET {PATH} lists them"),
            )
        }
        Some(Some(name)) => {
            log::info!(room = name.as_str(); "room {name} removed over HTTP");
            context.tell(RoomChange::Removed { name }).await;
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_named_below_the_list() {
        assert_eq!(named("/api/rooms/attic"), Some("attic"));
        assert_eq!(named("/api/rooms/"), Some(""));
        assert_eq!((named("/api/rooms"), named("/api/roomsx/y"), named("/api")), (None, None, None));
    }
}
