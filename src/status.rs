//! What the API shows of the cameras: written by whoever runs them, read by the server.

pub mod counts;
pub mod events;
pub mod sessions;
pub mod trials;
mod uplinks;
pub mod viewers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::watch;

use self::counts::CameraCounts;
use self::events::{Event, Events};
use self::sessions::Sessions;
pub use self::uplinks::{UplinkStatus, Uplinks};
use self::viewers::Viewers;
use crate::control::Wishes;
use crate::fault::Kind;
use crate::proto::ids::Name;

/// Where a camera is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its device is not there.
    Absent,
    /// Its device is being opened.
    Opening,
    /// Ready; closed because nobody watches.
    Idle,
    /// Pictures come.
    Live,
    /// Open, but no pictures come.
    Stalled,
    /// Failed; tried again later.
    Backoff,
    /// Switched off, in the config or over HTTP.
    Disabled,
}

impl State {
    /// Every state, in the order of a camera's life.
    pub const ALL: [Self; 7] =
        [Self::Absent, Self::Opening, Self::Idle, Self::Live, Self::Stalled, Self::Backoff, Self::Disabled];

    /// The state as the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Opening => "opening",
            Self::Idle => "idle",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Backoff => "backoff",
            Self::Disabled => "disabled",
        }
    }

    /// Whether a viewer who asks now gets pictures.
    #[must_use]
    pub fn is_watchable(self) -> bool {
        matches!(self, Self::Idle | Self::Live)
    }
}

/// One camera as `/api/cameras` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraStatus {
    /// Its name in the config.
    pub name: Name,
    /// What the wall calls it.
    pub title: String,
    /// The rooms it is a member of.
    pub rooms: Vec<Name>,
    /// Where it is in its life.
    pub state: State,
    /// Why it is in that state, for people.
    pub reason: Option<String>,
    /// When the state last changed, in milliseconds since 1970 (UTC); kept by [`Cameras`].
    pub since: u64,
    /// When it was last live, in the same way; nothing while it is, and before it was for the first time.
    pub seen: Option<u64>,
    /// Where its pictures come from, without secrets.
    pub source: String,
    /// What can be changed while it runs: `enabled`, `bitrate`, `sub`.
    #[serde(flatten)]
    pub wishes: Wishes,
    /// What it is encoded as.
    pub renditions: Vec<RenditionStatus>,
    /// How many watch it.
    pub viewers: usize,
    /// Captured pictures that a busy encoder could not take, since the device was opened.
    pub dropped: u64,
    /// How often it, or one of its encoders, failed and was started again; in all in the API, by reason in `/metrics`.
    #[serde(serialize_with = "total")]
    pub restarts: Restarts,
}

/// Restarts since the daemon started, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restarts(BTreeMap<Kind, u64>);

impl Restarts {
    /// One more.
    pub fn count(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// How many for this reason.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

fn total<S: Serializer>(restarts: &Restarts, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(restarts.total())
}

/// One encoding of a camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RenditionStatus {
    /// `main` or `sub`.
    pub name: &'static str,
    /// `H264` or `VP8`.
    pub codec: String,
    /// The encoder's template; `passthrough` where the camera encodes it.
    pub encoder: String,
    /// Why it is made this way, where that needs saying.
    pub reason: Option<String>,
    /// Why it is smaller or slower than wished for.
    pub degraded: Option<String>,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// In pictures per second.
    pub framerate: f64,
    /// Asked of the encoder, or measured where the camera encodes, in kbit/s.
    pub bitrate: u32,
    /// Whether it is being encoded now; `false` while its encoder waits to be tried again.
    pub running: bool,
    /// How many watch this rendition.
    pub viewers: usize,
    /// Frames encoded since the daemon started.
    pub frames: u64,
    /// Key frames among them.
    pub keyframes: u64,
    /// Key frames asked for, requests close together counted once.
    pub keyframe_requests: u64,
    /// Frames not given to viewers that were behind.
    pub dropped: u64,
}

/// The table of cameras; a cheap handle, the same for every clone.
#[derive(Debug, Clone)]
pub struct Cameras {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Mutex<BTreeMap<Name, CameraStatus>>,
    changes: watch::Sender<u64>,
    sessions: Sessions,
    /// When whoever looks after a camera last did.
    turns: Mutex<BTreeMap<Name, Instant>>,
    /// Beside the table: what is counted there is no change of a camera's status.
    counts: Mutex<BTreeMap<Name, Arc<CameraCounts>>>,
    viewers: Viewers,
    events: Events,
}

impl Cameras {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        let (changes, _) = watch::channel(0);
        let (table, sessions, counts, viewers, turns) = Default::default();
        let events = Events::default();
        Self { inner: Arc::new(Inner { table, changes, sessions, counts, viewers, turns, events }) }
    }

    /// Adds a camera or replaces what is known of it. `since` is kept while the state stays the same, and is
    /// now when it changes or when a newcomer's is 0.
    pub fn set(&self, status: CameraStatus) {
        let mut table = self.table();
        match table.get_mut(&status.name) {
            Some(entry) => self.change(entry, |entry| *entry = status),
            None => {
                let since = if status.since == 0 { unix_millis() } else { status.since };
                table.insert(status.name.clone(), CameraStatus { since, ..status });
                self.bump();
            }
        }
    }

    /// Changes what is known of one camera; nothing happens when there is none of that name. `f` runs under a
    /// lock: it must not block, nor call this table.
    pub fn update(&self, name: &Name, f: impl FnOnce(&mut CameraStatus)) {
        if let Some(entry) = self.table().get_mut(name) {
            self.change(entry, f);
        }
    }

    /// Forgets a camera.
    pub fn remove(&self, name: &Name) {
        self.turns().remove(name);
        self.counted().remove(name);
        if self.table().remove(name).is_some() {
            self.bump();
        }
    }

    /// Whoever looks after a camera does so now: it sees whether pictures come.
    pub fn turn(&self, name: &Name) {
        self.turns().insert(name.clone(), Instant::now());
    }

    /// Cameras that are said to be live although nobody has looked for longer than `limit`, and for how long.
    #[must_use]
    pub fn overlooked(&self, limit: Duration) -> Vec<(Name, Duration)> {
        let is_live = |name: &Name| self.get(name).is_some_and(|camera| camera.state == State::Live);
        let turns = self.turns().clone();
        let ages = turns.into_iter().map(|(name, at)| (name, at.elapsed()));
        ages.filter(|(name, age)| *age > limit && is_live(name)).collect()
    }

    /// All cameras, by name.
    #[must_use]
    pub fn list(&self) -> Vec<CameraStatus> {
        self.table().values().cloned().collect()
    }

    /// What the sessions of all cameras come to.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// Those who watch now.
    #[must_use]
    pub fn viewers(&self) -> &Viewers {
        &self.inner.viewers
    }

    /// From now on `counts` are those of the camera of this name.
    pub fn count(&self, name: Name, counts: Arc<CameraCounts>) {
        self.counted().insert(name, counts);
    }

    /// The counts of each camera that has some.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Name, Arc<CameraCounts>> {
        self.counted().clone()
    }

    /// What lately became of them.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// One camera.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<CameraStatus> {
        self.table().get(name).cloned()
    }

    /// A counter that moves on every change, to wait on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    fn change(&self, entry: &mut CameraStatus, f: impl FnOnce(&mut CameraStatus)) {
        let before = entry.clone();
        f(entry);
        entry.name = before.name.clone();
        entry.since = if entry.state == before.state { before.since } else { unix_millis() };
        entry.seen = match (before.state, entry.state) {
            (_, State::Live) => None,
            (State::Live, _) => Some(entry.since),
            _ => before.seen,
        };
        if entry.state != before.state {
            let (name, at, reason) = (entry.name.clone(), entry.since, entry.reason.clone());
            self.inner.events.add(Event { name, at, state: entry.state, reason });
        }
        if *entry != before {
            self.bump();
        }
    }

    fn bump(&self) {
        self.inner.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<Name, Instant>> {
        self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<CameraCounts>>> {
        self.inner.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Name, CameraStatus>> {
        // Every entry is valid on its own: a panic elsewhere leaves nothing half-written that would matter here.
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Cameras {
    fn default() -> Self {
        Self::new()
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_uplinks_are_counted_by_reason() {
        let uplinks = Uplinks::default();
        let name = |text| Name::new(text).unwrap();
        let status = uplinks.add(name("hub"), name("door"));
        status.ended("silent");
        status.ended("no such reason");
        assert_eq!(
            uplinks.clone().list()[0].ends().filter(|end| end.1 > 0).collect::<Vec<_>>(),
            [("silent", 1)]
        );
        drop(status);
        assert!(uplinks.list().is_empty(), "its way is gone");
    }

    fn camera(name: &str, state: State) -> CameraStatus {
        CameraStatus {
            name: Name::new(name).unwrap(),
            title: name.to_owned(),
            rooms: vec![Name::new("home").unwrap()],
            state,
            reason: None,
            since: 0,
            seen: None,
            source: "test".to_owned(),
            wishes: Wishes::default(),
            renditions: Vec::new(),
            viewers: 0,
            dropped: 0,
            restarts: Restarts::default(),
        }
    }

    #[test]
    fn restarts_are_counted_by_reason_and_shown_in_all() {
        let mut status = camera("door", State::Idle);
        status.restarts.count(Kind::Busy);
        status.restarts.count(Kind::Stalled);
        status.restarts.count(Kind::Stalled);
        assert_eq!((status.restarts.of(Kind::Stalled), status.restarts.of(Kind::Ended)), (2, 0));
        assert!(serde_json::to_string(&status).unwrap().ends_with(r#""restarts":3}"#));
    }

    #[test]
    fn since_moves_with_the_state_only() {
        let cameras = Cameras::new();
        let name = Name::new("door").unwrap();
        cameras.set(CameraStatus { since: 5, ..camera("door", State::Idle) });
        cameras.update(&name, |c| c.viewers = 3);
        assert_eq!((cameras.list()[0].since, cameras.list()[0].viewers), (5, 3));
        cameras.set(camera("door", State::Idle));
        assert_eq!(cameras.list()[0].since, 5);
        cameras.update(&name, |c| c.state = State::Live);
        assert!(cameras.list()[0].since > 1_600_000_000_000);
    }

    #[test]
    fn when_it_was_last_live_is_known_until_it_is_live_again() {
        let (cameras, name) = (Cameras::new(), Name::new("door").unwrap());
        let become_ = |state| {
            cameras.update(&name, |c| c.state = state);
            cameras.list()[0].seen
        };
        cameras.set(camera("door", State::Idle));
        assert_eq!((become_(State::Opening), become_(State::Live)), (None, None));
        let stalled = become_(State::Stalled);
        assert_eq!(stalled, Some(cameras.list()[0].since));
        assert_eq!([become_(State::Absent), become_(State::Opening)], [stalled; 2]);
        cameras.set(camera("door", State::Absent));
        assert_eq!(cameras.list()[0].seen, stalled, "what is known anew of it changes nothing");
        assert_eq!(become_(State::Live), None);
    }

    #[test]
    fn only_live_cameras_can_be_overlooked() {
        let (cameras, name) = (Cameras::new(), Name::new("door").unwrap());
        cameras.set(camera("door", State::Live));
        assert_eq!(cameras.overlooked(Duration::ZERO), [], "nobody has begun to look after it");
        cameras.turn(&name);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(cameras.overlooked(Duration::from_secs(600)), []);
        assert_eq!(cameras.overlooked(Duration::from_millis(1))[0].0, name);
        cameras.update(&name, |camera| camera.state = State::Stalled);
        assert_eq!(cameras.overlooked(Duration::from_millis(1)), [], "it is known");
        cameras.remove(&name);
        cameras.set(camera("door", State::Live));
        assert_eq!(cameras.overlooked(Duration::from_millis(1)), [], "another of that name");
    }

    #[test]
    fn only_changes_are_announced() {
        let cameras = Cameras::new();
        let name = Name::new("door").unwrap();
        let mut changes = cameras.subscribe();
        cameras.set(camera("door", State::Idle));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        cameras.update(&name, |c| c.viewers = 0);
        cameras.update(&Name::new("nobody").unwrap(), |c| c.viewers = 9);
        assert!(!changes.has_changed().unwrap());
        cameras.clone().remove(&name);
        assert!(changes.has_changed().unwrap() && cameras.list().is_empty());
    }

    #[test]
    fn states_are_written_as_the_contract_says() {
        for state in State::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.as_str()));
        }
    }

    #[test]
    fn a_camera_is_listed_by_name_and_shows_its_name_first() {
        let cameras = Cameras::new();
        cameras.set(camera("b", State::Live));
        cameras.set(camera("a", State::Disabled));
        let json = serde_json::to_string(&cameras.list()).unwrap();
        assert!(
            json.starts_with(
                r#"[{"name":"a","title":"a","rooms":["home"],"state":"disabled","reason":null,"#
            ),
            "{json}"
        );
    }
}
