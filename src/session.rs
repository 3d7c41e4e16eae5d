//! One viewer of one camera: feeds the negotiation, and does what it says on the viewer's pipeline and the link.

mod glare;
mod media;

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep_until};

pub use self::glare::Memory;

use self::glare::Glare;
use self::media::Media;
use crate::link;
use crate::media::camera::{Attendance, Camera};
use crate::media::fanout::Subscription;
use crate::media::peer::{Peer, PeerEvent};
use crate::proto::ids::{MemberId, Session as Number};
use crate::proto::message::{Candidate, ClientMessage, Description, Quality};
use crate::proto::negotiation::{IgnoreReason, Input, Limits, LossReason, Negotiation, Output};
use crate::quality::{Chooser, View};
use crate::status::sessions::Tracked;
use crate::status::viewers::Playback;

/// Messages from the viewer that may wait. Its candidates and descriptions are a few dozen in all.
const INBOX: usize = 64;
/// How long a viewer that is sent frames may report nothing. Chromium reports every 0.2–1.5 s, GStreamer every 5 s.
const SILENCE: u32 = 10;
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the link is looked at: a squeezed one should get the small pictures within 3 s. It costs a lock.
const MEASURE: Duration = Duration::from_millis(500);

/// What a session needs to know of its viewer.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The viewer's id in the room.
    pub id: MemberId,
    /// The room, for the log.
    pub room: String,
    /// The number of the connection, where the server gives one.
    pub number: Option<Number>,
    /// Makes this session's offer unlike every other's, so that its answer can be told from theirs.
    pub tag: u64,
    /// Whether it was seen to offer by itself.
    pub offers: Memory,
}

/// A message for a session.
#[derive(Debug)]
pub enum Inbound {
    /// A description of the viewer.
    Description(Description),
    /// A candidate of the viewer; `None` marks the end.
    Candidate(Option<Candidate>),
    /// The rendition it wants.
    Quality(Quality),
    /// How large it shows them.
    View(View),
    /// How they ran.
    Playback(Playback),
}

/// A running session; dropping it ends the session in order.
#[derive(Debug)]
pub struct Session {
    inbox: mpsc::Sender<Inbound>,
}

impl Session {
    /// The session's handle, and the future that runs it until it ends.
    pub fn new(camera: Camera, viewer: Viewer, link: link::Sender) -> (Self, impl Future<Output = ()>) {
        let (inbox, messages) = mpsc::channel(INBOX);
        (Self { inbox }, run(camera, viewer, link, messages))
    }

    /// Hands a message on; `false` when the session has ended or is flooded.
    #[must_use]
    pub fn send(&self, message: Inbound) -> bool {
        self.inbox.try_send(message).is_ok()
    }
}

async fn run(camera: Camera, viewer: Viewer, link: link::Sender, messages: mpsc::Receiver<Inbound>) {
    let mut tracked = camera.sessions().begin();
    let (timeline, name) = (camera.timeline().clone(), format!("viewer-{}", viewer.tag));
    let made = spawn_blocking(move || Peer::new(&timeline, &name)).await;
    let (peer, events) = match made {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => {
            tracked.ended("pipeline");
            let (camera, peer) = (camera.name().as_str(), viewer.id.as_str());
            let room = viewer.room.as_str();
            return warn!(camera, peer, room; "camera {camera}: no session for {peer}: {error}; {}", error.hint());
        }
        Err(_) => return,
    };
    let peer = Arc::new(peer);
    let negotiation = Negotiation::new(viewer.tag, Limits::default());
    let [main, sub] = camera.sizes();
    let task = Task {
        glare: Glare::new(Instant::now(), viewer.offers.clone()),
        chooser: Chooser::new(main, sub),
        camera,
        viewer,
        link,
        negotiation,
        peer: Arc::clone(&peer),
        attendance: None,
        media: None,
        unheard: 0,
        tracked,
        ended: false,
    };
    task.run(messages, events).await;
    // Stopping blocks for some milliseconds; the last reference is ours.
    if let Some(peer) = Arc::into_inner(peer) {
        let _ = spawn_blocking(move || peer.stop()).await;
    }
}

/// The payload of our addition to the wire `trouble`; a stock client ignores it.
#[derive(serde::Serialize)]
struct Trouble<'a> {
    message: &'a str,
    /// Whether the session is over with that.
    ended: bool,
}

struct Task {
    camera: Camera,
    viewer: Viewer,
    link: link::Sender,
    negotiation: Negotiation,
    peer: Arc<Peer>,
    /// From the viewer's first word on: a page that shows another camera of the room never answers this one, and must
    /// not have its device opened.
    attendance: Option<Attendance>,
    chooser: Chooser,
    media: Option<Media>,
    glare: Glare,
    /// Seconds for which it was sent frames and said nothing.
    unheard: u32,
    tracked: Tracked,
    ended: bool,
}

impl Task {
    async fn run(mut self, mut messages: mpsc::Receiver<Inbound>, mut events: mpsc::Receiver<PeerEvent>) {
        let (mut look, mut measure) = (interval(LOOK), interval(MEASURE));
        let mut started = false;
        while !self.ended {
            let deadline = self.negotiation.poll_timeout();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.on_message(message).await,
                    None => {
                        self.tracked.ended("left");
                        break;
                    }
                },
                Some(event) = events.recv() => self.on_event(event).await,
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    self.feed(Input::Tick).await;
                }
                () = sleep_until(self.glare.start().into()), if !started => {
                    started = true;
                    self.feed(Input::Start).await;
                }
                _ = look.tick() => self.look().await,
                _ = measure.tick() => self.measure(),
            }
        }
        self.report();
        let (camera, peer) = (self.camera.name().as_str(), self.viewer.id.as_str());
        debug!(camera, peer; "camera {camera}: session with {peer} ended");
    }

    async fn on_message(&mut self, message: Inbound) {
        if self.attendance.is_none() && !self.chooser.rests(Instant::now()) {
            self.attendance = Some(self.camera.attend());
        }
        match message {
            Inbound::Description(description) => self.feed(Input::Remote(description)).await,
            Inbound::Candidate(candidate) => self.feed(Input::RemoteCandidate(candidate)).await,
            Inbound::Quality(quality) => {
                self.chooser.wish(quality);
                self.choose();
            }
            Inbound::View(view) => {
                self.chooser.view(Instant::now(), view);
                self.rest();
                self.choose();
            }
            Inbound::Playback(playback) => {
                // What a page says of the connection before this one may come late.
                let is_ours = playback.session.is_none_or(|session| Some(session) == self.viewer.number);
                if let Some(media) = self.media.as_ref().filter(|_| is_ours) {
                    media.listed.update(|figures| {
                        figures.playback = Some(playback.after(figures.playback.unwrap_or_default()));
                    });
                }
                self.measure(); // so that no more was decoded than sent
            }
        }
    }

    async fn on_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Negotiation(input) => self.feed(input).await,
            PeerEvent::KeyframeRequest => {
                if let Some(subscription) = self.subscription() {
                    subscription.request_keyframe();
                }
            }
            PeerEvent::Error(error) => {
                self.tracked.ended("pipeline");
                self.warn(&format!("the viewer's pipeline broke: {error}"));
                self.renew().await;
            }
        }
    }

    /// Feeds the machine and does what it says.
    async fn feed(&mut self, input: Input) {
        let outputs = self.negotiation.handle(Instant::now(), input);
        self.tracked.moved(self.negotiation.state());
        for output in outputs {
            self.perform(output).await;
        }
    }

    async fn perform(&mut self, output: Output) {
        match output {
            Output::CreateOffer(generation) => self.peer.create_offer(generation),
            Output::SetLocal(generation, description) => self.peer.set_local(generation, &description),
            Output::SetRemote(generation, description) => {
                self.glare.answered(Instant::now());
                self.peer.set_remote(generation, &description);
            }
            Output::Send(description) => self.send("description", &description).await,
            Output::SendCandidate(candidate) => self.send("candidate", &candidate).await,
            Output::AddCandidate { m_line, candidate } => self.peer.add_candidate(m_line, &candidate),
            Output::StartMedia { payload_type, codec } => {
                if let Err(error) = self.start_media(payload_type, codec).await {
                    self.tracked.ended("media");
                    self.warn(&format!("{error}; {}", error.hint()));
                    self.ended = true;
                }
            }
            Output::Renew => self.renew().await,
            Output::Close(reason) => {
                let (camera, peer) = (self.camera.name().as_str(), self.viewer.id.as_str());
                let room = self.viewer.room.as_str();
                info!(camera, peer, room, reason = reason.as_str(); "camera {camera}: session with {peer} closed: {reason}");
                self.tracked.ended(reason.as_str());
                self.ended = true;
                self.complain(&reason.to_string(), true).await;
            }
            Output::Ignored(reason) => {
                if reason == IgnoreReason::Glare {
                    self.glare.crossed(Instant::now());
                }
                self.tracked.ignored(reason.as_str());
                let (camera, peer) = (self.camera.name().as_str(), self.viewer.id.as_str());
                debug!(camera, peer; "camera {camera}: from {peer} ignored: {reason:?}");
                if let IgnoreReason::BadDescription(defect) = reason {
                    self.complain(&format!("the description cannot be used: {defect}"), false).await;
                }
            }
        }
    }

    /// What only time can tell: a viewer that is stuck, or gone.
    async fn look(&mut self) {
        self.report();
        if self.media.is_none() && self.glare.is_stuck(Instant::now(), self.negotiation.candidates()) {
            self.tracked.ended("stuck");
            self.warn("not connected after a rollback; trying again");
            return self.renew().await;
        }
        self.check_silence().await;
    }

    /// Tells the counters what is noted elsewhere.
    fn report(&mut self) {
        if let Some(first) = self.subscription().and_then(Subscription::first) {
            self.tracked.first_frame(first);
        }
        self.tracked.lost_events(self.peer.lost_events());
    }

    /// Ends a session whose viewer is sent frames and has not been heard for a while. One that gets nothing has
    /// nothing to report.
    async fn check_silence(&mut self) {
        let Some(media) = &mut self.media else { return };
        let sent = media.subscription.as_ref().map_or(0, Subscription::sent);
        let flows = sent > media.sent;
        media.sent = sent;
        self.unheard = if flows && self.peer.silence() > 2 * LOOK { self.unheard + 1 } else { 0 };
        if self.unheard >= SILENCE {
            self.feed(Input::Lost(LossReason::Silent)).await;
        }
    }

    /// This connection cannot be saved: asks for another, and ends.
    async fn renew(&mut self) {
        self.tracked.ended("renewed");
        if let Some(session) = self.viewer.number {
            let target = self.viewer.id.clone();
            self.link.send(ClientMessage::Renew { target, session }, Some(session)).await;
        } else {
            self.link.rebuild();
        }
        self.ended = true;
    }

    /// Tells the author of the page what was wrong with what it sent, or why there will be no picture. Bounded by what
    /// it sends: one for each description at most.
    async fn complain(&mut self, message: &str, ended: bool) {
        self.send("trouble", &Trouble { message, ended }).await;
    }

    async fn send(&mut self, kind: &str, payload: &impl serde::Serialize) {
        let message = ClientMessage::relay(kind, payload, &self.viewer.id);
        // A connection of which a message is lost cannot be trusted.
        self.ended |= !self.link.send(message, self.viewer.number).await;
    }

    fn warn(&self, what: &str) {
        let (camera, peer) = (self.camera.name().as_str(), self.viewer.id.as_str());
        warn!(camera, peer, room = self.viewer.room.as_str(); "camera {camera}, viewer {peer}: {what}");
    }
}
