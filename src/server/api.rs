//! What programs read: cameras, rooms, health. Who may see some rooms only is shown these and no others.

use serde::Serialize;
use serde_json::json;
use warp::http::StatusCode;
use warp::reply::Response;

use super::access::Caller;
use super::answers::{hub_silent, reply_json, respond, text, unauthorized};
use super::others::{self, OtherCamera};
use super::{Context, metrics, overview, page, rtc};
use crate::proto::ids::Name;
use crate::proto::room::RoomView;
use crate::status::{CameraStatus, State};

/// The paths answered here.
pub(super) const PATHS: [&str; 12] = [
    "/api/access",
    "/api/cameras",
    "/api/encoders",
    "/api/events",
    "/api/rooms",
    "/api/rtc",
    "/api/uplinks",
    "/api/version",
    "/api/viewers",
    "/healthz",
    "/readyz",
    "/metrics",
];

/// What a caller without any room is told to bring.
pub(super) const ANY_ROOM: &str = "the password of this wall, or a room's token";

/// And who wants to know what concerns the whole box.
const FIGURES: &str = "the viewers' password or the admin token";

/// The answer to a `GET` of `path` by `caller`; `None` when it is none of [`PATHS`].
pub(super) async fn response(path: &str, caller: &Caller, context: &Context) -> Option<Response> {
    let site = &context.site;
    Some(match path {
        "/api/cameras" if !opens_any(caller, context).await => unauthorized(caller, ANY_ROOM),
        "/api/cameras" => cameras(caller, context).await,
        "/api/rooms" => match context.rooms().await {
            Some(rooms) if !opens_one_of(caller, &rooms) => unauthorized(caller, ANY_ROOM),
            Some(mut rooms) => {
                rooms.retain(|room| caller.opens(&room.name));
                reply_json(StatusCode::OK, &rooms)
            }
            None => hub_silent(),
        },
        "/api/events" if !opens_any(caller, context).await => unauthorized(caller, ANY_ROOM),
        "/api/events" => {
            let shown = visible_names(caller, context);
            let mut events = site.cameras.events().list();
            events.retain(|event| shown.contains(&event.name));
            reply_json(StatusCode::OK, &events)
        }
        "/api/viewers" if !opens_any(caller, context).await => unauthorized(caller, ANY_ROOM),
        "/api/viewers" => overview::viewers(&visible_names(caller, context), context),
        "/api/encoders" if !caller.sees_figures() => unauthorized(caller, FIGURES),
        "/api/encoders" => reply_json(StatusCode::OK, &site.trials.list()),
        "/api/uplinks" if !caller.sees_figures() => unauthorized(caller, FIGURES),
        "/api/uplinks" => overview::uplinks(context),
        "/api/access" => overview::access(caller, context),
        // Where every room needs a secret, so do the passwords of TURN servers.
        "/api/rtc" if !opens_any(caller, context).await => unauthorized(caller, ANY_ROOM),
        "/api/rtc" => reply_json(StatusCode::OK, &rtc::configuration(&site.rtc)),
        // No secret: the page itself, which says as much, is open to whoever may connect.
        "/api/version" => reply_json(
            StatusCode::OK,
            &json!({ "version": env!("CARGO_PKG_VERSION"), "page": page::version() }),
        ),
        "/healthz" => match context.rooms().await {
            Some(_) => text(StatusCode::OK, "ok\n"),
            None => hub_silent(),
        },
        "/readyz" => ready(caller, context),
        "/metrics" if !caller.sees_figures() => unauthorized(caller, FIGURES),
        "/metrics" => respond(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::render(context).await,
        ),
        _ => return None,
    })
}

/// This box's cameras, then those of other boxes.
async fn cameras(caller: &Caller, context: &Context) -> Response {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Listed {
        Own(CameraStatus),
        Other(OtherCamera),
    }
    let own = visible_cameras(caller, context).into_iter().map(Listed::Own);
    // Our own are listed also while the hub does not answer.
    let mut rooms = context.rooms().await.unwrap_or_default();
    rooms.retain(|room| caller.opens(&room.name));
    let others = others::cameras(&rooms).into_iter().map(Listed::Other);
    reply_json(StatusCode::OK, &own.chain(others).collect::<Vec<_>>())
}

/// Whether `caller` may be in any room at all.
pub(super) async fn opens_any(caller: &Caller, context: &Context) -> bool {
    // The hub need not be asked where everything is open.
    caller.opens_all() || context.rooms().await.is_some_and(|rooms| opens_one_of(caller, &rooms))
}

fn opens_one_of(caller: &Caller, rooms: &[RoomView]) -> bool {
    if rooms.is_empty() { caller.opens_others() } else { rooms.iter().any(|room| caller.opens(&room.name)) }
}

/// The cameras of the rooms that `caller` may be in, each with these rooms only.
fn visible_cameras(caller: &Caller, context: &Context) -> Vec<CameraStatus> {
    let mut cameras = context.site.cameras.list();
    if !caller.opens_all() {
        cameras.retain_mut(|camera| {
            camera.rooms.retain(|room| caller.opens(room));
            !camera.rooms.is_empty()
        });
    }
    cameras
}

fn visible_names(caller: &Caller, context: &Context) -> Vec<Name> {
    visible_cameras(caller, context).into_iter().map(|camera| camera.name).collect()
}

/// Whether every camera that is switched on can be watched, and those of them that cannot and that `caller` may see.
fn ready(caller: &Caller, context: &Context) -> Response {
    let is_missing = |camera: &CameraStatus| camera.state != State::Disabled && !camera.state.is_watchable();
    let status = match context.site.cameras.list().iter().any(is_missing) {
        false => StatusCode::OK,
        true => StatusCode::SERVICE_UNAVAILABLE,
    };
    let missing: Vec<_> = visible_cameras(caller, context)
        .into_iter()
        .filter(is_missing)
        .map(|camera| json!({ "name": camera.name, "state": camera.state, "reason": camera.reason }))
        .collect();
    reply_json(status, &missing)
}
