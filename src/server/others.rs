//! Cameras of other boxes as `/api/cameras` shows them: what they say of themselves, checked, and what we know better.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::proto::ids::{CAMERA_PREFIX, Name};
use crate::proto::room::{MemberView, RoomView};
use crate::status::State;

/// Longest reason, in characters. Ours have up to about 300.
const MAX_REASON: usize = 500;

/// A camera of another box, with the fields of our own.
#[derive(Debug, Serialize)]
pub(super) struct OtherCamera {
    /// `box.camera`
    name: String,
    title: String,
    rooms: Vec<Name>,
    state: State,
    reason: Option<String>,
    /// Unix milliseconds.
    since: u64,
    /// When it was last live.
    seen: Option<u64>,
    source: String,
    renditions: Vec<Value>,
    viewers: u64,
    dropped: u64,
}

impl OtherCamera {
    /// Whether it is listed under this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        self.source.clone()
    }
}

/// What a camera says of itself; all of it may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    state: Option<State>,
    reason: Option<String>,
    since: Option<u64>,
    seen: Option<u64>,
    renditions: Vec<BTreeMap<String, Value>>,
    viewers: u64,
    dropped: u64,
}

/// The cameras of other boxes in these rooms, by name.
pub(super) fn cameras(rooms: &[RoomView]) -> Vec<OtherCamera> {
    let mut found = BTreeMap::<&str, OtherCamera>::new();
    for room in rooms {
        for member in room.members.iter().filter(|member| member.remote) {
            let camera = found.entry(member.name.as_str()).or_insert_with(|| camera(member));
            camera.rooms.push(room.name.clone());
        }
    }
    found.into_values().collect()
}

fn camera(member: &MemberView) -> OtherCamera {
    let report = member.status.as_ref().and_then(|status| serde_json::from_str(status.get()).ok());
    // One that says nothing yet is about to.
    let report: Report = report.unwrap_or_default();
    let (state, reason, since) = if member.away {
        (State::Absent, Some("the box does not answer".to_owned()), None)
    } else {
        (report.state.unwrap_or(State::Opening), report.reason, report.since)
    };
    let name = member.name.as_str().trim_start_matches(CAMERA_PREFIX);
    let gone = member.away;
    OtherCamera {
        title: member.title.clone().unwrap_or_else(|| name.to_owned()),
        rooms: Vec::new(),
        state,
        reason: reason.map(|reason| reason.chars().take(MAX_REASON).collect()),
        since: since.unwrap_or_else(|| unix_millis(member.since)),
        seen: report.seen,
        source: format!("box {}", name.split('.').next().unwrap_or_default()),
        renditions: report
            .renditions
            .into_iter()
            .filter(|_| !gone)
            .map(|one| one.into_iter().collect())
            .collect(),
        viewers: if gone { 0 } else { report.viewers },
        dropped: report.dropped,
        name: name.to_owned(),
    }
}

fn unix_millis(then: Instant) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(then.elapsed()).as_millis()).unwrap_or(u64::MAX)
}
