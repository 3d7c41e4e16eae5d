//! Cameras changed over HTTP while they run, by whoever has the admin token. The configuration wins after a restart.

use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use super::access::{Caller, Visit};
use super::answers::{error, not_allowed, reply_json};
use super::body::Body;
use super::{Context, admin, others};
use crate::control::{Change, Refusal};
use crate::proto::ids::{MAX_NAME, Name};

/// Where cameras are listed; below it, each can be changed.
const PATH: &str = "/api/cameras";

/// The name in `/api/cameras/NAME`.
pub(super) fn named(path: &str) -> Option<&str> {
    path.strip_prefix(PATH)?.strip_prefix('/')
}

/// The answer to a request for the camera `name`, which can be changed and, in the list, read.
pub(super) async fn change(
    method: &Method,
    name: &str,
    headers: &HeaderMap,
    body: Body,
    visit: &Visit,
    caller: &Caller,
    context: &Context,
) -> Response {
    if let Some(refused) = admin::refused("cameras", "", visit, caller, context) {
        return refused;
    }
    if method != Method::PATCH {
        let message = format!("{method} is not possible here; PATCH is, and GET {PATH} lists what there is");
        return not_allowed("PATCH", message);
    }
    let example =
        "send {\"bitrate\":2000,\"sub\":{\"bitrate\":400},\"enabled\":true} (kbit/s), or some of it";
    let change: Change = match admin::json(headers, body, example, visit, context).await {
        Ok(change) => change,
        Err(refused) => return refused,
    };
    let camera = Name::new(name).ok().filter(|name| context.site.cameras.get(name).is_some());
    let Some(camera) = camera else { return not_ours(name, context).await };
    if let Err(refusal) = context.site.controls.change(&camera, &change) {
        return refused(&refusal);
    }
    log::info!(camera = camera.as_str(), address:% = visit.client.address;
        "camera {camera}: changed over HTTP, from {}", visit.client.address);
    match context.site.cameras.get(&camera) {
        Some(status) => reply_json(StatusCode::OK, &status),
        None => refused(&Refusal::Unknown(camera.to_string())),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let (status, code) = match refusal {
        Refusal::Unknown(_) => (StatusCode::NOT_FOUND, "camera_not_found"),
        Refusal::OutOfRange { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "out_of_range"),
        Refusal::PassedOn(_) => (StatusCode::CONFLICT, "passed_on"),
    };
    error(status, code, refusal.to_string())
}

/// It is another box's, or nobody's.
async fn not_ours(name: &str, context: &Context) -> Response {
    let rooms = context.rooms().await.unwrap_or_default();
    if let Some(place) =
        others::cameras(&rooms).iter().find(|other| other.is(name)).map(|other| other.place())
    {
        let message =
            format!("{name} is a camera of {place}: change it there, with the admin token of that box");
        return error(StatusCode::CONFLICT, "other_box", message);
    }
    refused(&Refusal::Unknown(name.chars().take(MAX_NAME).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_are_named_below_the_list() {
        assert_eq!(named("/api/cameras/door"), Some("door"));
        assert_eq!(named("/api/cameras/"), Some(""));
        assert_eq!(
            (named("/api/cameras"), named("/api/camerasx/y"), named("/cameras/door")),
            (None, None, None)
        );
    }
}
