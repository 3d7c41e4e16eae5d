//! What programs read: cameras, rooms, health. Nothing here changes anything.

use serde::Serialize;
use serde_json::json;
use warp::http::StatusCode;
use warp::reply::Response;

use super::routes::respond;
use super::{Context, metrics};
use crate::status::State;

/// The paths answered here.
pub(super) const PATHS: [&str; 6] =
    ["/api/cameras", "/api/rooms", "/api/rtc", "/healthz", "/readyz", "/metrics"];

/// The answer to a `GET` of `path`; `None` when it is none of [`PATHS`].
pub(super) async fn response(path: &str, context: &Context) -> Option<Response> {
    let site = &context.site;
    Some(match path {
        "/api/cameras" => reply_json(StatusCode::OK, &site.cameras.list()),
        "/api/rooms" => match context.rooms().await {
            Some(rooms) => reply_json(StatusCode::OK, &rooms),
            None => hub_silent(),
        },
        "/api/rtc" => reply_json(StatusCode::OK, &site.rtc),
        "/healthz" => match context.rooms().await {
            Some(_) => reply_text(StatusCode::OK, "ok\n"),
            None => hub_silent(),
        },
        "/readyz" => ready(context),
        "/metrics" => respond(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::render(context).await,
        ),
        _ => return None,
    })
}

/// A JSON body.
pub(super) fn reply_json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => respond(status, "application/json", text),
        Err(e) => reply_text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the answer: {e}\n")),
    }
}

fn reply_text(status: StatusCode, text: impl Into<String>) -> Response {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn hub_silent() -> Response {
    reply_text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the signalling hub does not answer; portald must be restarted\n",
    )
}

/// The cameras that are switched on and cannot be watched; none is what makes us ready.
fn ready(context: &Context) -> Response {
    let cameras = context.site.cameras.list();
    let missing: Vec<_> = cameras
        .iter()
        .filter(|camera| camera.state != State::Disabled && !camera.state.is_watchable())
        .map(|camera| json!({ "name": camera.name, "state": camera.state, "reason": camera.reason }))
        .collect();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply_json(status, &missing)
}
