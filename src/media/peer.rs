//! One viewer's pipeline, `appsrc ! payloader ! webrtcbin`: made for one session and thrown away whole.
//!
//! Callbacks hold weak references and send one typed event; nothing is decided on a GStreamer thread. Functions here
//! may block for some milliseconds (up to a second the first time in a process): call [`Peer::new`],
//! [`Peer::start_media`] and [`Peer::stop`] from a blocking thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_sdp as gst_sdp;
use gstreamer_video as gst_video;
use gstreamer_webrtc as gst_webrtc;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::capture::{Pulse, stop};
use super::offer::{Taken, offered_caps};
use super::reports::{self, Reports};
use super::{MediaError, Timeline};
use crate::proto::message::{Description, SdpKind};
use crate::proto::negotiation::{Codec, Generation, Input, LossReason};

/// How long webrtcbin is left alone after it was told something, before it is stopped. It does what it is told on a
/// thread of its own, and starts what it adds to itself; when that crosses its being stopped, an ICE source goes on
/// running in a stopped pipeline and is never freed, with a thread and a socket for each address. Measured on 1.22: one
/// viewer in fifteen of those that leave at once.
const BUILDING: Duration = Duration::from_millis(700);
/// Events that may wait for the session. A viewer's candidates are a few dozen; more is a peer gone wild.
const EVENTS: usize = 256;

/// One viewer's pipeline.
#[derive(Debug)]
pub struct Peer {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
    pad: gst::Pad,
    events: Events,
    /// Beats with every packet from the viewer.
    heard: Arc<Pulse>,
    reports: Arc<Reports>,
    taken: Taken,
    timeline: Timeline,
    /// Beats with everything that webrtcbin is told to do on its own thread.
    told: Arc<Pulse>,
    stopped: bool,
}

/// What a viewer's pipeline tells its session.
#[derive(Debug)]
pub enum PeerEvent {
    /// For the negotiation.
    Negotiation(Input),
    /// The viewer lost too much to go on without a key frame.
    KeyframeRequest,
    /// The pipeline broke.
    Error(String),
}

/// The sending half that callbacks hold. A full queue loses the event, which ends the session by its time limit.
#[derive(Debug, Clone)]
struct Events {
    queue: mpsc::Sender<PeerEvent>,
    lost: Arc<AtomicU64>,
}

impl Events {
    fn send(&self, input: Input) {
        self.push(PeerEvent::Negotiation(input));
    }

    fn push(&self, event: PeerEvent) {
        // A session that has ended misses nothing.
        if let Err(TrySendError::Full(_)) = self.queue.try_send(event) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Peer {
    /// Builds the pipeline and starts it; what happens comes out of the receiver.
    ///
    /// # Errors
    /// [`MediaError`] when an element is missing or the pipeline does not start.
    pub fn new(timeline: &Timeline, name: &str) -> Result<(Self, mpsc::Receiver<PeerEvent>), MediaError> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let events = Events { queue: sender, lost: Arc::default() };
        let pipeline = gst::Pipeline::with_name(name);
        // Nobody waits on this bus (see `watch_bus`): one without a poll saves two descriptors a viewer.
        pipeline.set_bus(Some(&glib::Object::builder::<gst::Bus>().property("enable-async", false).build()));
        timeline.adopt(&pipeline);
        let webrtc = gst::ElementFactory::make("webrtcbin")
            .name("webrtc")
            .property_from_str("bundle-policy", "max-bundle")
            .build()
            .map_err(|_| super::missing("webrtcbin"))?;
        timeline.ice.apply(&webrtc);
        let (heard, reports) = (Pulse::new(), Arc::<Reports>::default());
        reports::listen(&pipeline, &heard, &reports);
        pipeline.add(&webrtc).map_err(|e| MediaError::pipeline("viewer pipeline", e))?;
        connect(&webrtc, &events);
        let pad = webrtc
            .request_pad_simple("sink_%u")
            .ok_or_else(|| MediaError::pipeline("viewer pipeline", "webrtcbin gives no sink pad"))?;
        let transceiver = pad.property::<gst_webrtc::WebRTCRTPTransceiver>("transceiver");
        transceiver.set_property("direction", gst_webrtc::WebRTCRTPTransceiverDirection::Sendonly);
        // Retransmission is the difference between no freeze and 9 s of 12 frozen at 5 % loss; FEC freezes too.
        transceiver.set_property("do-nack", true);
        transceiver.set_property("fec-type", gst_webrtc::WebRTCFECType::None);
        transceiver.set_property("codec-preferences", offered_caps());
        let (told, timeline) = (Pulse::new(), timeline.clone());
        let peer = Self {
            pipeline,
            webrtc,
            pad,
            events,
            heard,
            reports,
            taken: Taken::default(),
            timeline,
            told,
            stopped: false,
        };
        peer.watch_bus();
        peer.pipeline
            .set_state(gst::State::Playing)
            .map_err(|e| MediaError::pipeline("viewer pipeline", e))?;
        Ok((peer, receiver))
    }

    /// Asks for an offer; [`Input::OfferCreated`] follows.
    pub fn create_offer(&self, generation: Generation) {
        let events = self.events.clone();
        let promise = gst::Promise::with_change_func(move |reply| {
            let sdp = reply
                .ok()
                .flatten()
                .and_then(|reply| {
                    reply.value("offer").ok()?.get::<gst_webrtc::WebRTCSessionDescription>().ok()
                })
                .and_then(|description| description.sdp().as_text().ok());
            events.send(match sdp {
                Some(sdp) => Input::OfferCreated { generation, sdp },
                None => Input::PromiseFailed { generation, what: "webrtcbin made no offer".into() },
            });
        });
        self.told.beat();
        self.webrtc.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
    }

    /// Sets our own description.
    pub fn set_local(&self, generation: Generation, description: &Description) {
        self.set("set-local-description", generation, description, None);
    }

    /// Sets the viewer's description; [`Input::RemoteSet`] follows.
    pub fn set_remote(&self, generation: Generation, description: &Description) {
        self.taken.read(&description.sdp);
        self.set("set-remote-description", generation, description, Some(Input::RemoteSet { generation }));
    }

    fn set(
        &self,
        signal: &'static str,
        generation: Generation,
        description: &Description,
        then: Option<Input>,
    ) {
        let Ok(sdp) = gst_sdp::SDPMessage::parse_buffer(description.sdp.as_bytes()) else {
            let what = format!("{signal}: the description does not parse");
            return self.events.send(Input::PromiseFailed { generation, what });
        };
        let kind = match description.kind {
            SdpKind::Offer => gst_webrtc::WebRTCSDPType::Offer,
            SdpKind::Answer => gst_webrtc::WebRTCSDPType::Answer,
        };
        let events = self.events.clone();
        let promise = gst::Promise::with_change_func(move |reply| {
            let error = match reply {
                Ok(Some(reply)) => reply.get::<glib::Error>("error").ok().map(|e| e.to_string()),
                Ok(None) => None,
                Err(e) => Some(format!("{e:?}")),
            };
            match (error, then) {
                (Some(error), _) => {
                    events.send(Input::PromiseFailed { generation, what: format!("{signal}: {error}") });
                }
                (None, Some(input)) => events.send(input),
                (None, None) => {}
            }
        });
        let description = gst_webrtc::WebRTCSessionDescription::new(kind, sdp);
        self.told.beat();
        self.webrtc.emit_by_name::<()>(signal, &[&description, &promise]);
    }

    /// Hands a candidate of the viewer to the ICE agent.
    pub fn add_candidate(&self, m_line: u32, candidate: &str) {
        self.told.beat();
        self.webrtc.emit_by_name::<()>("add-ice-candidate", &[&m_line, &candidate]);
    }

    /// Builds the payloader for what was agreed and returns the `appsrc` to push encoded frames into. To be called
    /// once, after the viewer's certificate was checked: nothing can flow before.
    ///
    /// # Errors
    /// [`MediaError`] when an element is missing or does not link.
    pub fn start_media(
        &self,
        codec: Codec,
        payload_type: u8,
        launch: &str,
    ) -> Result<gst_app::AppSrc, MediaError> {
        let fault = |e: &dyn std::fmt::Display| MediaError::pipeline("payloader", e);
        let transceiver = self.pad.property::<gst_webrtc::WebRTCRTPTransceiver>("transceiver");
        // Left in place they filter what the payloader may send, down to its sprop-parameter-sets: not-negotiated.
        transceiver.set_property("codec-preferences", None::<gst::Caps>);
        let bin = gst::parse::bin_from_description(launch, false).map_err(|e| fault(&e))?;
        let pay = bin.by_name("pay").ok_or_else(|| fault(&"no element is named `pay`"))?;
        self.taken.add_to(&pay, &self.timeline);
        pay.set_property("pt", u32::from(payload_type));
        let source = gst_app::AppSrc::builder()
            .name("frames")
            .is_live(true)
            .format(gst::Format::Time)
            // Never blocks, never leaks: the fan-out looks at the level and skips to a key frame itself, because
            // appsrc's leaky modes run into a use-after-free that no 1.22 has fixed.
            .block(false)
            .max_bytes(0)
            .build();
        source.set_caps(Some(&encoded_caps(codec)));
        watch_keyframe_requests(&source, &self.events);
        bin.add(&source).map_err(|e| fault(&e))?;
        source.link(&pay).map_err(|e| fault(&e))?;
        let out = pay.static_pad("src").ok_or_else(|| fault(&"the payloader has no source pad"))?;
        self.reports.learn(&out);
        let ghost = gst::GhostPad::with_target(&out).map_err(|e| fault(&e))?;
        bin.add_pad(&ghost).map_err(|e| fault(&e))?;
        self.pipeline.add(&bin).map_err(|e| fault(&e))?;
        ghost.link(&self.pad).map_err(|e| fault(&format!("{e:?}")))?;
        bin.sync_state_with_parent().map_err(|e| fault(&e))?;
        Ok(source)
    }

    /// Time since something came from the viewer (Chromium reports at least every 1.5 s); since the start if nothing
    /// ever did.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heard.age()
    }

    /// Events that its session lost, because too many waited.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        self.events.lost.load(Ordering::Relaxed)
    }

    /// What the viewer reported of the link.
    #[must_use]
    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Stops everything. Blocks for 2–90 ms, and for up to 0.7 s when the viewer leaves at once. The request pad is never released: on 1.22 that hangs for ever when no
    /// answer came.
    pub fn stop(mut self) {
        self.stopped = true;
        tear_down(&self.pipeline, &self.told);
    }

    /// Turns the pipeline's errors into events and drops every other message: a bus that keeps messages keeps the
    /// pipeline, and leaks a thread and nine descriptors a session.
    fn watch_bus(&self) {
        let events = self.events.clone();
        let Some(bus) = self.pipeline.bus() else { return };
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(e) = message.view() {
                events.push(PeerEvent::Error(e.error().to_string()));
            }
            gst::BusSyncReply::Drop
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.stopped {
            // Whoever drops it may be a tokio worker, which must not block, or a callback, where this deadlocks.
            let (pipeline, told) = (self.pipeline.clone(), Arc::clone(&self.told));
            std::thread::spawn(move || tear_down(&pipeline, &told));
        }
    }
}

/// Stops a viewer's pipeline, but not while it is still being built; see [`BUILDING`].
fn tear_down(pipeline: &gst::Pipeline, told: &Pulse) {
    std::thread::sleep(BUILDING.saturating_sub(told.age()));
    stop(pipeline);
}

/// Spends what the first webrtcbin of a process costs (an RSA key, plug-ins: 0.1–1.5 s, 18 MB) before a viewer waits.
///
/// # Errors
/// [`MediaError`] when no peer can be made at all.
pub fn warm_up(timeline: &Timeline) -> Result<(), MediaError> {
    let (peer, mut events) = Peer::new(timeline, "warm-up")?;
    peer.create_offer(Generation(0));
    let _ = events.blocking_recv();
    peer.stop();
    Ok(())
}

/// The caps of encoded frames until the fan-out brings its own.
fn encoded_caps(codec: Codec) -> gst::Caps {
    match codec {
        Codec::H264 => gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build(),
        Codec::Vp8 => gst::Caps::new_empty_simple("video/x-vp8"),
    }
}

fn connect(webrtc: &gst::Element, events: &Events) {
    let sender = events.clone();
    webrtc.connect("on-ice-candidate", false, move |values| {
        let m_line = values.get(1)?.get::<u32>().ok()?;
        let candidate = values.get(2)?.get::<Option<String>>().ok()?.unwrap_or_default();
        sender.send(Input::LocalCandidate { m_line, candidate });
        None
    });
    let sender = events.clone();
    webrtc.connect_notify(Some("connection-state"), move |webrtc, _| {
        match webrtc.property::<gst_webrtc::WebRTCPeerConnectionState>("connection-state") {
            gst_webrtc::WebRTCPeerConnectionState::Connected => {
                sender.send(Input::Connected { fingerprint: remote_fingerprint(webrtc) });
            }
            gst_webrtc::WebRTCPeerConnectionState::Failed => sender.send(Input::Lost(LossReason::Failed)),
            _ => {}
        }
    });
}

/// SHA-256 of the certificate the viewer really used, as `AB:CD:…` (RFC 8122). Neither Debian 12's nor 13's webrtcbin
/// compares it with the answer.
fn remote_fingerprint(webrtc: &gst::Element) -> Option<String> {
    let pad = webrtc.static_pad("sink_0")?;
    let transceiver = pad.property::<gst_webrtc::WebRTCRTPTransceiver>("transceiver");
    let transport = transceiver.sender()?.transport()?;
    let pem = transport.remote_certificate()?;
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = glib::base64_decode(&base64);
    let digest = glib::compute_checksum_for_data(glib::ChecksumType::Sha256, &der)?;
    let bytes: Vec<&str> = (0..digest.len()).step_by(2).filter_map(|i| digest.get(i..i + 2)).collect();
    Some(bytes.join(":").to_uppercase())
}

/// Turns the viewer's PLI and FIR, which arrive as upstream events, into our own event.
fn watch_keyframe_requests(source: &gst_app::AppSrc, events: &Events) {
    let Some(pad) = source.static_pad("src") else { return };
    let events = events.clone();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if info.event().is_some_and(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok()) {
            events.push(PeerEvent::KeyframeRequest);
        }
        gst::PadProbeReturn::Ok
    });
}
