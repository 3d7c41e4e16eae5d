//! A viewer without a browser: a WebSocket client and a receiving webrtcbin, for tests and benchmarks.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_sdp as gst_sdp;
use gstreamer_webrtc as gst_webrtc;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// How long a connection may bring no picture. A session's own limit is 10 s.
const RETRY: Duration = Duration::from_secs(15);

/// How a viewer behaves.
#[derive(Debug, Clone)]
pub(crate) struct Conduct {
    /// Opens with `sessions=1`.
    pub(crate) sessions: bool,
    /// Decodes, and reads the strip of test cameras; else counts access units.
    pub(crate) decodes: bool,
    /// Answers offers.
    pub(crate) answers: bool,
    /// Sends no candidates and takes none: never connects.
    pub(crate) deaf: bool,
    /// The only camera it answers.
    pub(crate) camera: Option<String>,
    /// Takes H.264 out of what it answers to.
    pub(crate) no_h264: bool,
    /// What to ask for.
    pub(crate) quality: Option<&'static str>,
    /// The TURN server that all its packets must go through, as webrtcbin reads it.
    pub(crate) relay: Option<String>,
    /// What its link carries, in kbit/s; what is more is lost. 0: everything.
    pub(crate) link: Arc<AtomicU64>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            sessions: true,
            decodes: false,
            answers: true,
            deaf: false,
            camera: None,
            no_h264: false,
            quality: None,
            relay: None,
            link: Arc::default(),
        }
    }
}

impl Conduct {
    /// One that asks for the full pictures: a busy machine's link looks like a bad one, which would be given the small ones.
    #[allow(dead_code, reason = "not for the benchmarks")]
    pub(crate) fn full() -> Self {
        Self { quality: Some("main"), ..Self::default() }
    }
}

/// One picture, as seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    #[allow(dead_code, reason = "for the benchmarks")]
    pub(crate) at: Instant,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The strip of the test camera; 0 when not decoded.
    pub(crate) strip: u32,
    /// Bytes of the access unit, or of the picture when decoded.
    #[allow(dead_code, reason = "for the benchmarks")]
    pub(crate) bytes: usize,
    /// Tells an access unit from every other, whoever received it; 0 when decoded.
    #[allow(dead_code, reason = "for the benchmarks")]
    pub(crate) digest: u64,
}

impl Seen {
    pub(crate) fn identity(self) -> u8 {
        (self.strip >> 24) as u8
    }

    pub(crate) fn counter(self) -> u8 {
        (self.strip >> 16) as u8
    }
}

/// What a viewer saw, by camera id.
pub(crate) type Pictures = Arc<Mutex<HashMap<String, Vec<Seen>>>>;

/// A connected viewer. Dropping it vanishes without a word; [`Viewer::leave`] closes its socket first.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) pictures: Pictures,
    /// Counts pictures of all cameras, to wait for.
    pub(crate) count: watch::Receiver<u64>,
    /// `info`s and offers received.
    pub(crate) infos: watch::Receiver<u64>,
    /// Conditions that cameras told, newest last: (camera, state, reason); `trouble` counts as one.
    pub(crate) conditions: Arc<Mutex<Vec<(String, String, String)>>>,
    /// Candidates that cameras offered.
    #[allow(dead_code, reason = "not for the benchmarks")]
    pub(crate) candidates: Arc<Mutex<Vec<String>>>,
    offers: Arc<AtomicUsize>,
    out: mpsc::UnboundedSender<Out>,
    task: tokio::task::JoinHandle<()>,
}

enum Out {
    Text(String),
    Close,
}

impl Viewer {
    /// Opens a socket to the daemon at `port` and answers its cameras.
    pub(crate) async fn join(port: u16, room: &str, conduct: Conduct) -> Self {
        let query = if conduct.sessions { "&sessions=1" } else { "" };
        let url = format!("ws://127.0.0.1:{port}/portal?room={room}{query}");
        // Without Nagle's algorithm, as browsers: it holds the second candidate back for 40 ms.
        let (socket, _) =
            tokio_tungstenite::connect_async_with_config(url, None, true).await.expect("the daemon accepts");
        let (mut write, mut read) = socket.split();
        let (out, mut outbox) = mpsc::unbounded_channel::<Out>();
        let (counter, count) = watch::channel(0u64);
        let (info_counter, infos) = watch::channel(0u64);
        let pictures = Pictures::default();
        let conditions = Arc::new(Mutex::new(Vec::new()));
        let offers = Arc::new(AtomicUsize::new(0));
        let candidates = Arc::new(Mutex::new(Vec::new()));
        let state = State {
            candidates: Arc::clone(&candidates),
            offers: Arc::clone(&offers),
            conduct,
            out: out.clone(),
            pictures: Arc::clone(&pictures),
            counter: Arc::new(counter),
            connections: HashMap::new(),
            wanted: HashMap::new(),
        };
        let told = Arc::clone(&conditions);
        let task = tokio::spawn(async move {
            let mut state = state;
            let mut retry = tokio::time::interval(RETRY / 4);
            loop {
                tokio::select! {
                    message = read.next() => {
                        let Some(Ok(message)) = message else { break };
                        let Message::Text(text) = message else { continue };
                        let message: Value = serde_json::from_str(&text).expect("the server sends JSON");
                        match message["type"].as_str() {
                            Some("info") => {
                                state.on_info(&message["info"]);
                                info_counter.send_modify(|n| *n += 1);
                            }
                            Some("state") => {
                                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                                let entry = (text(&message["from"]), text(&message["state"]["state"]), text(&message["state"]["reason"]));
                                told.lock().unwrap().push(entry);
                            }
                            Some("trouble") => {
                                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                                let entry = (text(&message["from"]), "trouble".to_owned(), text(&message["trouble"]["message"]));
                                told.lock().unwrap().push(entry);
                            }
                            _ => state.on_message(&message),
                        }
                    }
                    _ = retry.tick() => state.retry(),
                    out = outbox.recv() => match out {
                        Some(Out::Text(text)) => if write.send(Message::text(text)).await.is_err() { break },
                        Some(Out::Close) | None => {
                            // Without a code the seat would be kept for a client that may come back.
                            let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                            let _ = write.send(Message::Close(Some(goodbye))).await;
                            break;
                        }
                    }
                }
            }
            let connections = std::mem::take(&mut state.connections);
            tokio::task::spawn_blocking(move || drop(connections)).await.ok();
        });
        Self { pictures, count, infos, conditions, candidates, offers, out, task }
    }

    /// Sends a frame of its own making.
    pub(crate) fn send(&self, message: &Value) {
        let _ = self.out.send(Out::Text(message.to_string()));
    }

    /// Waits until `n` more pictures have come.
    pub(crate) async fn pictures(&mut self, n: u64) {
        let target = *self.count.borrow_and_update() + n;
        self.count.wait_for(|count| *count >= target).await.expect("the viewer runs");
    }

    /// What it saw of one camera so far.
    pub(crate) fn seen(&self, camera: &str) -> Vec<Seen> {
        self.pictures.lock().unwrap().get(&format!("!{camera}")).cloned().unwrap_or_default()
    }

    /// Offers it was made, by all cameras, but for those that came to nothing and that it had made anew.
    pub(crate) fn offers(&self) -> usize {
        self.offers.load(Ordering::Relaxed)
    }

    /// Closes the socket and stops.
    pub(crate) async fn leave(self) {
        let _ = self.out.send(Out::Close);
        let _ = self.task.await;
    }

    /// Stops without closing anything in order.
    pub(crate) async fn vanish(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

struct State {
    candidates: Arc<Mutex<Vec<String>>>,
    offers: Arc<AtomicUsize>,
    conduct: Conduct,
    out: mpsc::UnboundedSender<Out>,
    pictures: Pictures,
    counter: Arc<watch::Sender<u64>>,
    connections: HashMap<String, Connection>,
    /// Session numbers by camera, since when, and the pictures of it seen before.
    wanted: HashMap<String, (u64, Instant, usize)>,
}

struct Connection {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
            bus.set_flushing(true);
        }
    }
}

impl State {
    fn on_info(&mut self, info: &Value) {
        for member in info["members"].as_array().into_iter().flatten() {
            let (Some(id), Some(number)) = (member["id"].as_str(), member["session"].as_u64()) else {
                continue;
            };
            if self.wanted.get(id).is_none_or(|(known, ..)| *known != number) {
                self.wanted.insert(id.to_owned(), (number, Instant::now(), self.seen(id)));
            }
        }
    }

    fn seen(&self, camera: &str) -> usize {
        self.pictures.lock().unwrap().get(camera).map_or(0, Vec::len)
    }

    /// Asks for another connection where one has brought nothing for long, as a page does: on a machine that is busy
    /// enough no time limit of the daemon is long enough.
    fn retry(&mut self) {
        let patient = !self.conduct.sessions || !self.conduct.answers || self.conduct.deaf;
        let mut renewals = Vec::new();
        for (camera, (number, since, before)) in &self.wanted {
            let ours = self.conduct.camera.as_ref().is_none_or(|only| *camera == format!("!{only}"));
            if !patient && ours && since.elapsed() > RETRY && self.seen(camera) == *before {
                renewals.push((camera.clone(), *number));
            }
        }
        for (camera, number) in renewals {
            if let Some(failed) = self.connections.remove(&camera) {
                self.offers.fetch_sub(1, Ordering::Relaxed);
                tokio::task::spawn_blocking(move || drop(failed));
            }
            let renewal = json!({"type": "renew-session", "renew-session": number, "target": camera});
            let _ = self.out.send(Out::Text(renewal.to_string()));
        }
    }

    fn on_message(&mut self, message: &Value) {
        let Some(from) = message["from"].as_str() else { return };
        if self.conduct.camera.as_ref().is_some_and(|camera| from != format!("!{camera}")) {
            return;
        }
        match message["type"].as_str() {
            Some("description") if message["description"]["type"] == "offer" && self.conduct.answers => {
                self.offers.fetch_add(1, Ordering::Relaxed);
                if let Some(quality) = self.conduct.quality {
                    let wish = json!({"type": "quality", "quality": quality, "target": from});
                    let _ = self.out.send(Out::Text(wish.to_string()));
                }
                let sdp = message["description"]["sdp"].as_str().expect("an offer has text");
                let old = self.connections.remove(from);
                // Stopping an older connection blocks: not on this worker.
                if let Some(old) = old {
                    tokio::task::spawn_blocking(move || drop(old));
                }
                let connection = self.answer(from, sdp);
                self.connections.insert(from.to_owned(), connection);
            }
            Some("candidate") if !self.conduct.deaf => {
                let candidate = &message["candidate"];
                if let (Some(connection), Some(text)) =
                    (self.connections.get(from), candidate["candidate"].as_str())
                {
                    self.candidates.lock().unwrap().push(text.to_owned());
                    let line = candidate["sdpMLineIndex"].as_u64().unwrap_or(0) as u32;
                    connection.webrtc.emit_by_name::<()>("add-ice-candidate", &[&line, &text]);
                }
            }
            _ => {}
        }
    }

    fn answer(&self, camera: &str, offer: &str) -> Connection {
        let pipeline = gst::Pipeline::new();
        let webrtc = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .property("latency", 0u32)
            .build()
            .expect("webrtcbin");
        let agent = webrtc.property::<gst::glib::Object>("ice-agent").property::<gst::glib::Object>("agent");
        agent.set_property("upnp", false);
        agent.set_property("ice-tcp", false);
        if let Some(relay) = &self.conduct.relay {
            webrtc.set_property_from_str("ice-transport-policy", "relay");
            assert!(webrtc.emit_by_name::<bool>("add-turn-server", &[relay]), "{relay}");
            // What libnice sends from another interface does not get to a server on loopback.
            let ice = webrtc.property::<gst::glib::Object>("ice-agent");
            assert!(ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]));
        }
        pipeline.add(&webrtc).expect("added");
        pipeline.bus().expect("a bus").set_sync_handler(|_, _| gst::BusSyncReply::Drop);
        squeeze(&pipeline, &self.conduct.link);
        self.receive(&pipeline, &webrtc, camera);
        if !self.conduct.deaf {
            let (out, target) = (self.out.clone(), camera.to_owned());
            webrtc.connect("on-ice-candidate", false, move |values| {
                let (line, text) = (values[1].get::<u32>().ok()?, values[2].get::<String>().ok()?);
                let message = json!({"type": "candidate", "target": target,
                    "candidate": {"candidate": text, "sdpMLineIndex": line}});
                let _ = out.send(Out::Text(message.to_string()));
                None
            });
        }
        pipeline.set_state(gst::State::Playing).expect("the receiver runs");
        let offer = if self.conduct.no_h264 { without_h264(offer) } else { offer.to_owned() };
        let sdp = gst_sdp::SDPMessage::parse_buffer(offer.as_bytes()).expect("the offer parses");
        let offer = gst_webrtc::WebRTCSessionDescription::new(gst_webrtc::WebRTCSDPType::Offer, sdp);
        webrtc.emit_by_name::<()>("set-remote-description", &[&offer, &None::<gst::Promise>]);
        let (out, target, weak) = (self.out.clone(), camera.to_owned(), webrtc.downgrade());
        let promise = gst::Promise::with_change_func(move |reply| {
            let Some(webrtc) = weak.upgrade() else { return };
            let answer = reply.ok().flatten().and_then(|reply| {
                reply.value("answer").ok()?.get::<gst_webrtc::WebRTCSessionDescription>().ok()
            });
            let Some(answer) = answer else { return };
            webrtc.emit_by_name::<()>("set-local-description", &[&answer, &None::<gst::Promise>]);
            let message = json!({"type": "description", "target": target,
                "description": {"type": "answer", "sdp": answer.sdp().as_text().expect("text")}});
            let _ = out.send(Out::Text(message.to_string()));
        });
        webrtc.emit_by_name::<()>("create-answer", &[&None::<gst::Structure>, &promise]);
        Connection { pipeline, webrtc }
    }

    fn receive(&self, pipeline: &gst::Pipeline, webrtc: &gst::Element, camera: &str) {
        let (weak, decodes) = (pipeline.downgrade(), self.conduct.decodes);
        let (pictures, counter, camera) =
            (Arc::clone(&self.pictures), Arc::clone(&self.counter), camera.to_owned());
        webrtc.connect_pad_added(move |_, pad| {
            let (Some(pipeline), gst::PadDirection::Src) = (weak.upgrade(), pad.direction()) else { return };
            let encoding = pad.current_caps().and_then(|caps| caps.structure(0)?.get::<String>("encoding-name").ok());
            let launch = match (encoding.as_deref(), decodes) {
                (Some("H264"), false) => "rtph264depay wait-for-keyframe=true request-keyframe=true ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out",
                (Some("H264"), true) => {
                    "rtph264depay wait-for-keyframe=true request-keyframe=true ! h264parse ! openh264dec ! videoconvert ! video/x-raw,format=I420 ! appsink name=out"
                }
                (_, false) => "rtpvp8depay wait-for-keyframe=true request-keyframe=true ! appsink name=out",
                (_, true) => "rtpvp8depay wait-for-keyframe=true request-keyframe=true ! vp8dec ! videoconvert ! video/x-raw,format=I420 ! appsink name=out",
            };
            let bin = gst::parse::bin_from_description(launch, true).expect("the receiving chain parses");
            let sink = bin.by_name("out").expect("named").downcast::<gst_app::AppSink>().expect("an appsink");
            sink.set_property("sync", false);
            let (pictures, counter, camera) = (Arc::clone(&pictures), Arc::clone(&counter), camera.clone());
            let new_sample = move |sink: &gst_app::AppSink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let seen = seen(&sample, decodes);
                // Where test cameras have their strip, a slate is dark.
                let is_slate = decodes && seen.strip == 0;
                let of = if is_slate { format!("{camera} slate") } else { camera.clone() };
                pictures.lock().unwrap().entry(of).or_default().push(seen);
                if is_slate {
                    return Ok(gst::FlowSuccess::Ok);
                }
                counter.send_modify(|n| *n += 1);
                Ok(gst::FlowSuccess::Ok)
            };
            sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
            pipeline.add(&bin).expect("added");
            bin.sync_state_with_parent().expect("the chain runs");
            pad.link(&bin.static_pad("sink").expect("a sink pad")).expect("linked");
        });
    }
}

/// Loses what is more than `link` carries, and reports as often as a browser does.
fn squeeze(pipeline: &gst::Pipeline, link: &Arc<AtomicU64>) {
    let link = Arc::clone(link);
    pipeline.connect_deep_element_added(move |_, _, element| {
        let Some(factory) = element.factory() else { return };
        if factory.name() == "rtpsession" {
            let session = element.property::<gst::glib::Object>("internal-session");
            session.set_property("rtcp-min-interval", gst::ClockTime::from_mseconds(500));
        }
        if factory.name() != "nicesrc" {
            return;
        }
        let (link, bucket) = (Arc::clone(&link), Mutex::new((0.0, Instant::now())));
        let pad = element.static_pad("src").expect("a source has one");
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let packet = info.buffer().expect("of the kind asked for");
            let mut head = [0; 2];
            let rate = link.load(Ordering::Relaxed) as f64 / 8.0;
            // RFC 7983 and RFC 5761: RTP, and not RTCP.
            let is_rtp = packet.copy_to_slice(0, &mut head).is_ok()
                && (128..192).contains(&head[0])
                && !(192..224).contains(&head[1]);
            if rate == 0.0 || !is_rtp {
                return gst::PadProbeReturn::Ok;
            }
            let (tokens, since) = &mut *bucket.lock().unwrap();
            // A key frame fits, as into the queue of a router.
            *tokens = (*tokens + since.elapsed().as_secs_f64() * 1000.0 * rate).min(400.0 * rate);
            *since = Instant::now();
            if *tokens < packet.size() as f64 {
                return gst::PadProbeReturn::Drop;
            }
            *tokens -= packet.size() as f64;
            gst::PadProbeReturn::Ok
        });
    });
}

/// The offer as a browser without H.264 reads it: what it does not know it does not answer.
fn without_h264(offer: &str) -> String {
    let h264 =
        offer.lines().find_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(" H264/")).expect("H.264").0;
    let known = |line: &&str| !line.contains(&format!(":{h264} ")) && !line.contains(&format!("apt={h264}"));
    let lines = offer.lines().filter(known).map(|line| match line.strip_prefix("m=") {
        Some(_) => line.replace(&format!(" {h264}"), ""),
        None => line.to_owned(),
    });
    lines.map(|line| line + "\r\n").collect()
}

fn seen(sample: &gst::Sample, decoded: bool) -> Seen {
    let caps = sample.caps().and_then(|caps| caps.structure(0));
    let side = |name| caps.and_then(|caps| caps.get::<i32>(name).ok()).unwrap_or(0) as u32;
    let (width, height) = (side("width"), side("height"));
    let strip = if decoded { strip(sample, width as usize) } else { 0 };
    let bytes = sample.buffer().map_or(0, gst::BufferRef::size);
    let digest = if decoded { 0 } else { digest(sample) };
    Seen { at: Instant::now(), width, height, strip, bytes, digest }
}

/// Tells an access unit from every other.
pub(crate) fn digest(sample: &gst::Sample) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(map) = sample.buffer().and_then(|buffer| buffer.map_readable().ok()) {
        hasher.write(&map);
    }
    hasher.finish()
}

/// Reads the strip: blocks of 16 pixels at the width the camera captures, which is 640 or more times a whole scale.
fn strip(sample: &gst::Sample, width: usize) -> u32 {
    let Some(map) = sample.buffer().and_then(|buffer| buffer.map_readable().ok()) else { return 0 };
    // The tests' cameras capture 640 or 1280 wide; smaller pictures are scaled from 640.
    let block = if width >= 640 { 16 } else { 16 * width / 640 };
    let stride = width.next_multiple_of(4);
    (0..32).fold(0, |word, bit| {
        let at = (block / 2) * stride + bit * block + block / 2;
        word << 1 | u32::from(map.get(at).is_some_and(|luma| *luma >= 128))
    })
}
