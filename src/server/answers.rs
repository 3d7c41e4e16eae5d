//! What answers are made of.

use serde::Serialize;
use serde_json::json;
use warp::http::{self, StatusCode, header};
use warp::hyper::body::Bytes;
use warp::reply::{Reply, Response};

use super::access::{Caller, Refusal, Shown};
use super::body::BodyError;
use super::headers::insert;

/// A response with a body.
pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(body.into()).into_response();
    *response.status_mut() = status;
    insert(response.headers_mut(), header::CONTENT_TYPE, content_type);
    response
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response {
    respond(status, "text/plain; charset=utf-8", text.into())
}

/// A JSON body.
pub(super) fn reply_json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => respond(status, "application/json", text),
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the answer: {e}\n")),
    }
}

/// `{"error":{"code","message"}}`
pub(super) fn error(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    reply_json(status, &json!({ "error": { "code": code, "message": message.into() } }))
}

/// For a method that is not possible; `allowed` are those that are.
pub(super) fn not_allowed(allowed: &str, message: impl Into<String>) -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    insert(response.headers_mut(), header::ALLOW, allowed);
    response
}

/// For a request that may not come in.
pub(super) fn refused(refusal: &Refusal) -> Response {
    error(refusal.status, refusal.code, &*refusal.message)
}

/// For somebody who does not know what it takes; `needed` says what that is.
pub(super) fn unauthorized(caller: &Caller, needed: &str) -> Response {
    let (code, message) = unauthorized_in_words(caller, needed);
    let Shown::TooMany(wait) = caller.shown else {
        let mut response = error(StatusCode::UNAUTHORIZED, code, message);
        // RFC 9110 wants a challenge. Not `Basic`, at which a browser would ask in a window of its own.
        insert(response.headers_mut(), header::WWW_AUTHENTICATE, "Bearer realm=\"portald\"");
        return response;
    };
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, code, message);
    insert(response.headers_mut(), header::RETRY_AFTER, &seconds(wait).to_string());
    response
}

/// The code and the message for [`unauthorized`].
pub(super) fn unauthorized_in_words(caller: &Caller, needed: &str) -> (&'static str, String) {
    let how =
        "log in at /login, or send it as ?token=, as `Authorization: Bearer`, or as the password of `Basic`";
    match caller.shown {
        Shown::TooMany(wait) => (
            "too_many_attempts",
            format!("too many wrong passwords came from this address; try again in {} s", seconds(wait)),
        ),
        Shown::Nothing => ("unauthorized", format!("this needs {needed}: {how}")),
        Shown::Wrong => ("unauthorized", format!("the password or token is wrong; this needs {needed}")),
        Shown::Right => {
            ("unauthorized", format!("the password or token is for something else; this needs {needed}"))
        }
    }
}

/// A wait in whole seconds, rounded up.
pub(super) fn seconds(wait: std::time::Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// For a body that cannot be used.
pub(super) fn bad_body(fault: BodyError) -> Response {
    match fault {
        BodyError::TooLarge(max) => {
            error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("at most {max} bytes are taken"))
        }
        BodyError::TooSlow => {
            error(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the request's body did not come in time")
        }
        BodyError::Gone => error(StatusCode::BAD_REQUEST, "body_incomplete", "the request's body broke off"),
    }
}

/// The hub cannot be asked.
pub(super) fn hub_silent() -> Response {
    text(StatusCode::SERVICE_UNAVAILABLE, "the signalling hub does not answer; portald must be restarted\n")
}
