//! `/cameras/NAME/snapshot.jpg` and `/cameras/NAME/stream.mjpeg`: pictures for programs that know nothing else.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use serde_json::json;
use tokio::time::timeout;
use warp::http::{Method, StatusCode, header};
use warp::hyper::body::Bytes;
use warp::reply::{Reply, Response};

use super::access::Caller;
use super::answers::{reply_json, respond, unauthorized};
use super::headers::insert;
use super::life::Life;
use super::{Context, api, told_to_end};
use crate::config::settings::WIDTH;
use crate::proto::ids::Name;
use crate::status::{CameraStatus, State};
use crate::stills::{DEFAULT_FPS, FPS, Picture, Wish};

/// A stream that brought no picture for so long ends: whoever reads it comes back and is told why.
const SILENCE: Duration = Duration::from_secs(15);
/// How often a stream asks whether its camera is still there.
const LOOK: Duration = Duration::from_secs(1);
/// When a program that was refused should come back, in seconds.
const RETRY_AFTER: &str = "5";
/// Divides the pictures of a stream; in none of ours, because each part says its length.
const BOUNDARY: &str = "portald-next-picture";

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    camera: &'a str,
    is_stream: bool,
}

impl<'a> Wanted<'a> {
    /// `None`: the path is not one of these.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let (camera, file) = path.strip_prefix("/cameras/")?.split_once('/')?;
        match file {
            "snapshot.jpg" => Some(Self { camera, is_stream: false }),
            "stream.mjpeg" => Some(Self { camera, is_stream: true }),
            _ => None,
        }
    }
}

/// The answer to a `GET` or `HEAD`.
pub(super) async fn response(
    wanted: Wanted<'_>,
    method: &Method,
    query: &str,
    caller: &Caller,
    life: Life,
    context: Arc<Context>,
) -> Response {
    if !api::opens_any(caller, &context).await {
        return unauthorized(caller, api::ANY_ROOM);
    }
    // A camera that the caller may not see is for it none that there is.
    let shown =
        |camera: &CameraStatus| caller.opens_all() || camera.rooms.iter().any(|room| caller.opens(room));
    let named = Name::new(wanted.camera).ok().and_then(|name| context.site.cameras.get(&name));
    let Some(camera) = named.filter(shown) else {
        let name: String = wanted.camera.chars().take(100).collect();
        return refusal(StatusCode::NOT_FOUND, "camera_not_found", format!("there is no camera {name}"));
    };
    let (key, range) = if wanted.is_stream { ("fps", FPS) } else { ("width", WIDTH) };
    let number = match number(query, key, &range) {
        Ok(number) => number,
        Err(message) => return refusal(StatusCode::BAD_REQUEST, "bad_query", message),
    };
    // Waiting would change nothing.
    if matches!(camera.state, State::Disabled | State::Absent) {
        return not_live(&camera);
    }
    if !wanted.is_stream {
        return snapshot(&camera.name, number, &context).await;
    }
    if method == Method::HEAD {
        return streamed(respond(StatusCode::OK, "", Bytes::new()));
    }
    stream(&camera.name, number.unwrap_or(DEFAULT_FPS), life, context).await
}

async fn snapshot(camera: &Name, width: Option<u32>, context: &Context) -> Response {
    match timeout(context.limits().picture, context.site.stills.snapshot(camera, width)).await {
        Ok(Ok(picture)) => respond(StatusCode::OK, "image/jpeg", bytes(&picture)),
        Ok(Err(why)) => unavailable(format!("no picture of {camera}: {why}")),
        Err(_) => late(camera, context),
    }
}

async fn stream(camera: &Name, fps: u32, life: Life, context: Arc<Context>) -> Response {
    let mut pictures = match context.site.stills.stream(camera, fps) {
        Ok(pictures) => pictures,
        Err(why) => return unavailable(format!("no pictures of {camera}: {why}")),
    };
    // The first one decides between pictures and a reason.
    let first = match timeout(context.limits().picture, pictures.next()).await {
        Ok(Some(first)) => first,
        Ok(None) => return unavailable(format!("no pictures of {camera}: they cannot be made now")),
        Err(_) => return late(camera, &context),
    };
    let mut parts = VecDeque::from([Bytes::from(format!("--{BOUNDARY}\r\n"))]);
    append(&mut parts, &first);
    let reading = Reading { camera: camera.clone(), pictures, parts, life, context };
    let body = unfold(reading, |mut reading| async move {
        let part = reading.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), reading))
    });
    streamed(warp::reply::stream(body).into_response())
}

fn streamed(mut response: Response) -> Response {
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    insert(response.headers_mut(), header::CONTENT_TYPE, &kind);
    response
}

/// A stream under way.
struct Reading {
    camera: Name,
    pictures: Wish,
    /// What is left of the last picture.
    parts: VecDeque<Bytes>,
    life: Life,
    context: Arc<Context>,
}

impl Reading {
    /// What to send next; asked for only when the client has taken what was before.
    async fn next(&mut self) -> Option<Bytes> {
        self.life.renew();
        if self.parts.is_empty() {
            let picture = self.picture().await?;
            append(&mut self.parts, &picture);
        }
        self.parts.pop_front()
    }

    async fn picture(&mut self) -> Option<Picture> {
        let mut silence = Duration::ZERO;
        while silence < SILENCE {
            let camera = self.context.site.cameras.get(&self.camera)?;
            if camera.state == State::Disabled {
                return None;
            }
            tokio::select! {
                next = timeout(LOOK, self.pictures.next()) => match next {
                    Ok(next) => return next,
                    Err(_) => silence += LOOK,
                },
                () = told_to_end(self.context.shutdown.clone()) => return None,
            }
        }
        None
    }
}

/// The boundary comes with the picture before it, not with the one after: only then a browser shows it.
fn append(parts: &mut VecDeque<Bytes>, picture: &Picture) {
    let head = format!("content-type: image/jpeg\r\ncontent-length: {}\r\n\r\n", picture.jpeg.len());
    parts.extend([head.into(), bytes(picture), Bytes::from(format!("\r\n--{BOUNDARY}\r\n"))]);
}

fn bytes(picture: &Picture) -> Bytes {
    Bytes::from_owner(Arc::clone(&picture.jpeg))
}

/// No picture came in time: the camera's reason, if it has one.
fn late(camera: &Name, context: &Context) -> Response {
    match context.site.cameras.get(camera) {
        Some(camera) => not_live(&camera),
        None => refusal(StatusCode::NOT_FOUND, "camera_not_found", format!("there is no camera {camera}")),
    }
}

fn not_live(camera: &CameraStatus) -> Response {
    let CameraStatus { name, state, reason, .. } = camera;
    let why = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    unavailable(format!("no picture of {name}: it is {}{why}", state.as_str()))
}

fn unavailable(message: String) -> Response {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, "no_picture", message);
    insert(response.headers_mut(), header::RETRY_AFTER, RETRY_AFTER);
    response
}

fn refusal(status: StatusCode, code: &str, message: String) -> Response {
    reply_json(status, &json!({ "error": { "code": code, "message": message } }))
}

/// The number that the query gives for `key`, if any.
fn number(query: &str, key: &str, range: &RangeInclusive<u32>) -> Result<Option<u32>, String> {
    let Some((_, value)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(format!("{key} is a whole number from {} to {}", range.start(), range.end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_files_of_a_camera_are_known() {
        let wanted = |camera, is_stream| Some(Wanted { camera, is_stream });
        assert_eq!(Wanted::parse("/cameras/door/snapshot.jpg"), wanted("door", false));
        assert_eq!(Wanted::parse("/cameras/door/stream.mjpeg"), wanted("door", true));
        for path in ["/cameras/door", "/cameras/door/", "/cameras/a/b/snapshot.jpg", "/snapshot.jpg"] {
            assert_eq!(Wanted::parse(path), None, "{path}");
        }
    }

    #[test]
    fn numbers_are_read_within_their_range_only() {
        assert_eq!(number("a=1&width=320", "width", &WIDTH), Ok(Some(320)));
        assert_eq!(number("a=1", "width", &WIDTH), Ok(None));
        for query in ["width=", "width=0", "width=99999", "width=-1", "width=1.5", "width=x"] {
            assert!(number(query, "width", &WIDTH).is_err(), "{query}");
        }
    }
}
