//! What the page `/status` shows besides cameras and rooms: who watches, the ways to other servers, and what may be changed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::reply::Response;

use super::Context;
use super::access::Caller;
use super::answers::reply_json;
use crate::proto::ids::Name;
use crate::status::UplinkStatus;
use crate::status::viewers::Figures;

/// One who watches a camera, by the number that `/metrics` knows it by.
#[derive(Debug, Serialize)]
struct Viewer<'a> {
    /// Of the camera.
    name: &'a Name,
    viewer: u32,
    rendition: &'static str,
    codec: &'a str,
    /// Given to it since it connected.
    frames: u64,
    bytes: u64,
    /// Packets.
    lost: u64,
    /// Of the packets between its last two reports, 0 to 1.
    loss: Option<f64>,
    /// In milliseconds.
    round_trip: Option<f64>,
    /// What its page says, if it does.
    playback: Option<Value>,
}

/// Those who watch one of `cameras`; at most as many as are listed one by one.
pub(super) fn viewers(cameras: &[Name], context: &Context) -> Response {
    let all = context.site.cameras.viewers().list();
    let seen = all.iter().filter(|((camera, _), _)| cameras.contains(camera));
    reply_json(
        StatusCode::OK,
        &seen.map(|((name, number), of)| viewer(name, *number, of)).collect::<Vec<_>>(),
    )
}

fn viewer<'a>(name: &'a Name, viewer: u32, of: &'a Figures) -> Viewer<'a> {
    let playback = of.playback.map(|of| {
        json!({ "decoded": of.decoded, "dropped": of.dropped, "freezes": of.freezes, "frozen": of.frozen })
    });
    Viewer {
        name,
        viewer,
        rendition: of.rendition,
        codec: &of.codec,
        frames: of.frames,
        bytes: of.bytes,
        lost: of.lost,
        loss: of.loss,
        round_trip: of.round_trip.map(|time| time.as_secs_f64() * 1000.0),
        playback,
    }
}

/// The ways of cameras to other servers.
pub(super) fn uplinks(context: &Context) -> Response {
    let list = context.site.uplinks.list();
    reply_json(StatusCode::OK, &list.iter().map(|uplink| way(uplink)).collect::<Vec<_>>())
}

fn way(uplink: &UplinkStatus) -> Value {
    json!({
        "name": uplink.uplink,
        "camera": uplink.camera,
        "connected": uplink.connected.load(Relaxed),
        "dropped": uplink.dropped.load(Relaxed),
        "ended": uplink.ends().collect::<BTreeMap<_, _>>(),
    })
}

/// What `caller`, of whom the address tells nothing, may do besides watching.
pub(super) fn access(caller: &Caller, context: &Context) -> Response {
    let answer = json!({
        "changes": context.site.access.has_admin(),
        "admin": caller.is_admin(),
        "figures": caller.sees_figures(),
    });
    reply_json(StatusCode::OK, &answer)
}
