//! What every request has to pass that changes something: the admin token, and a body of JSON.

use serde::de::DeserializeOwned;
use warp::http::{HeaderMap, StatusCode, header};
use warp::reply::Response;

use super::Context;
use super::access::{Caller, Standing, Visit};
use super::answers::{bad_body, error, not_allowed, unauthorized};
use super::body::{Body, MAX_JSON};

/// The answer to `caller` if it may not change `what` (in the plural), which can be read with the methods `readable`.
pub(super) fn refused(
    what: &str,
    readable: &str,
    visit: &Visit,
    caller: &Caller,
    context: &Context,
) -> Option<Response> {
    if !context.site.access.has_admin() {
        let message = format!(
            "{what} cannot be changed here: no admin token is configured. To enable it, write one into a file and name \
             that in [access] of portald.toml: admin_token_file = \"/etc/portald/admin-token\""
        );
        return Some(not_allowed(readable, message));
    }
    let is_own_page = matches!(visit.origin, Some((_, Standing::Own)));
    // A browser sends the cookie whatever page asks; a token somebody had to write.
    if !caller.is_admin() || (caller.is_admin_by_cookie() && !is_own_page) {
        context.note_unauthorized(caller, visit, "a change");
        return Some(unauthorized(caller, "the admin token, in the header `Authorization: Bearer TOKEN`"));
    }
    None
}

/// The body as JSON; `example` tells whoever sends something else what to send.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    example: &str,
    visit: &Visit,
    context: &Context,
) -> Result<T, Response> {
    // A form of another page cannot have this type.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "the body must be JSON, with content-type: application/json";
        return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message));
    }
    let body = context.read(body, MAX_JSON, visit).await.map_err(bad_body)?;
    serde_json::from_slice(&body)
        .map_err(|fault| error(StatusCode::BAD_REQUEST, "bad_request", format!("{fault}; {example}")))
}
