//! Properties over any order of inputs, and of the machine against a model of a browser over a bad network.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tests::{
    ANSWER, EARLY, OFFER, WEBCAM, candidate, connected, drawn, fingerprint, offer_created, remote,
};
use super::*;

/// Ours, another's, damaged and plain garbage.
fn descriptions() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![ANSWER, EARLY, WEBCAM, OFFER]).prop_map(str::to_owned);
    let renamed = known.clone().prop_map(|sdp| sdp.replace("video0", "p7").replace("p7", "p6"));
    let damaged = (known.clone(), any::<prop::sample::Index>(), "\\PC{0,12}").prop_map(|(sdp, at, noise)| {
        let lines: Vec<_> = sdp.lines().collect();
        let at = at.index(lines.len());
        lines
            .iter()
            .enumerate()
            .map(|(i, line)| format!("{}\r\n", if i == at { &noise } else { *line }))
            .collect()
    });
    prop_oneof![4 => known, 1 => renamed, 2 => damaged, 1 => "\\PC{0,200}"]
}

fn inputs() -> impl Strategy<Value = Input> {
    let generation = || (0u64..5).prop_map(Generation);
    let candidates = (prop::sample::select(vec!["p7", "0"]), prop::sample::select(vec!["3yZj", "zIme", ""]));
    prop_oneof![
        2 => Just(Input::Start),
        3 => (1u64..3).prop_map(offer_created),
        1 => (generation(), descriptions()).prop_map(|(generation, sdp)| Input::OfferCreated { generation, sdp }),
        3 => generation().prop_map(|generation| Input::RemoteSet { generation }),
        1 => (generation(), ".{0,9}").prop_map(|(generation, what)| Input::PromiseFailed { generation, what }),
        2 => Just(remote(SdpKind::Answer, ANSWER)),
        2 => descriptions().prop_map(|sdp| remote(SdpKind::Answer, &sdp)),
        3 => descriptions().prop_map(|sdp| remote(SdpKind::Offer, &sdp)),
        3 => candidates.prop_map(|(mid, ufrag)| candidate(mid, ufrag)),
        1 => ".{0,60}".prop_map(|candidate| Input::RemoteCandidate(Some(Candidate { candidate, ..Candidate::default() }))),
        1 => Just(Input::RemoteCandidate(None)),
        1 => (0u32..2, ".{0,20}").prop_map(|(m_line, candidate)| Input::LocalCandidate { m_line, candidate }),
        3 => Just(connected(ANSWER)),
        1 => prop::option::of(".{0,20}").prop_map(|fingerprint| Input::Connected { fingerprint }),
        1 => Just(Input::Connected { fingerprint: Some(["AB"; 32].join(":")) }),
        1 => Just(Input::Lost(LossReason::Silent)),
        1 => Just(Input::Tick),
    ]
}

fn mids(sdp: &str) -> Vec<String> {
    sdp.lines().filter(|line| line.starts_with("a=mid:")).map(|line| line.trim_end().to_owned()).collect()
}

/// What must hold of every output, whatever came in.
#[derive(Default)]
struct Watch {
    last_generation: u64,
    offers: usize,
    answers_set: usize,
    /// webrtcbin's own media id, in `a=mid:` lines.
    own_mid: Vec<String>,
    verified: bool,
    media: usize,
    added: usize,
    closed: bool,
}

impl Watch {
    fn check(&mut self, machine: &Negotiation, before: &str, input: &Input, outputs: &[Output]) {
        let limits = &machine.limits;
        assert!(!self.closed || outputs.is_empty(), "after the end: {outputs:?}");
        assert!(outputs.len() <= 1 + limits.held_candidates + limits.remote_candidates);
        if before != machine.state() {
            let edge = (before.to_owned(), input.name().to_owned(), machine.state().to_owned());
            assert!(drawn().contains(&edge), "not drawn: {edge:?}");
        }
        if let Input::Connected { fingerprint: Some(used) } = input {
            self.verified |= *used == fingerprint(ANSWER) && self.answers_set == 1;
        }
        for output in outputs {
            match output {
                Output::CreateOffer(g) | Output::SetLocal(g, _) | Output::SetRemote(g, _) => {
                    assert!(g.0 > self.last_generation);
                    self.last_generation = g.0;
                }
                _ => {}
            }
            match output {
                Output::CreateOffer(_) => self.offers += 1,
                Output::SetLocal(_, set) => self.own_mid = mids(&set.sdp),
                Output::SetRemote(_, set) => {
                    self.answers_set += 1;
                    assert_eq!(set.kind, SdpKind::Answer, "no offer ever reaches webrtcbin");
                    assert!(!set.sdp.contains("a=candidate"));
                    assert_eq!(mids(&set.sdp), self.own_mid, "webrtcbin hears of its own media id only");
                }
                Output::StartMedia { .. } => {
                    self.media += 1;
                    assert!(self.verified, "media before the certificate was compared");
                }
                Output::AddCandidate { candidate, .. } => {
                    self.added += 1;
                    assert!(self.answers_set == 1 && !candidate.contains(".local"));
                }
                Output::Close(_) => self.closed = true,
                _ => {}
            }
        }
        assert!(self.offers <= 1 && self.answers_set <= self.offers && self.media <= 1);
        assert!(self.added <= limits.remote_candidates);
        assert_eq!(self.closed, machine.is_closed());
        let timed = matches!(machine.state(), "offering" | "awaiting-answer" | "applying" | "stable");
        assert_eq!(machine.poll_timeout().is_some(), timed, "a state that waits has a deadline");
    }
}

proptest! {
    #[test]
    fn whatever_comes_in_the_promises_hold(inputs in prop::collection::vec((inputs(), 0u64..400), 0..60)) {
        let limits = Limits { descriptions: 12, held_candidates: 3, remote_candidates: 5, ..Limits::default() };
        let mut machine = Negotiation::new(7, limits);
        let (mut watch, mut now) = (Watch::default(), Instant::now());
        for (input, wait) in inputs {
            now += Duration::from_millis(wait);
            let before = machine.state();
            let outputs = machine.handle(now, input.clone());
            watch.check(&machine, before, &input, &outputs);
        }
    }
}

/// A message on the wire.
#[derive(Debug, Clone)]
enum Wire {
    Description(Description),
    Candidate(Candidate),
    /// From the server: the two are to build a new connection.
    Renewed,
}

/// A polite browser with the perfect-negotiation code of the WebRTC specification, as the stock client has it.
/// Its descriptions are Chromium's, with its own ufrag and our media id put in.
#[derive(Debug, Default)]
struct Browser {
    /// The media ids of an open offer of its own.
    own_offer: Option<Vec<String>>,
    /// The camera's media id, once it has answered.
    answered: Option<String>,
    restarts: u32,
    /// Whether the page adds a webcam to each connection, and has yet to.
    webcam: bool,
    wants_webcam: bool,
}

impl Browser {
    /// Says for which offer it was made, so that an answer to another can be told from it.
    fn ufrag(&self) -> String {
        format!("b{}{}", self.restarts, self.answered.as_deref().unwrap_or_default())
    }

    fn offer(&mut self) -> Vec<Wire> {
        let sdp = match &self.answered {
            Some(mid) => WEBCAM.replace("p7", mid).replace("3yZj", &self.ufrag()),
            None => EARLY.to_owned(),
        };
        self.own_offer = Some(mids(&sdp));
        vec![Wire::Description(Description { kind: SdpKind::Offer, sdp })]
    }

    fn restart(&mut self) -> Vec<Wire> {
        if self.answered.is_none() {
            return Vec::new();
        }
        self.restarts += 1;
        self.offer()
    }

    fn receive(&mut self, wire: Wire) -> Vec<Wire> {
        let description = match wire {
            Wire::Description(description) => description,
            Wire::Candidate(_) => return Vec::new(),
            // A stock client closes its connection and makes another, to which everything that comes later goes.
            Wire::Renewed => {
                *self = Self { webcam: self.webcam, wants_webcam: self.webcam, ..Self::default() };
                return Vec::new();
            }
        };
        match description.kind {
            SdpKind::Answer => {
                // An answer when stable, or with other media than the offer, is an error, caught by the page.
                if self.own_offer.as_ref() == Some(&mids(&description.sdp)) {
                    self.own_offer = None;
                }
                Vec::new()
            }
            SdpKind::Offer => {
                let sdp = crate::proto::sdp::Sdp::scan(&description.sdp).unwrap();
                let mid = sdp.media[0].mid().unwrap().to_owned();
                // A media id cannot change within one connection: an offer of another session is an error.
                if self.answered.as_ref().is_some_and(|answered| *answered != mid) {
                    return Vec::new();
                }
                // Rolled back, if there was one; `negotiationneeded` fires again once stable.
                let rolled_back = self.own_offer.take().is_some();
                self.answered = Some(mid.clone());
                let answer = ANSWER.replace("p7", &mid).replace("3yZj", &self.ufrag());
                let candidate = Candidate {
                    candidate: "candidate:1 1 udp 2122194687 192.0.2.2 38901 typ host".into(),
                    sdp_mid: Some(mid.clone()),
                    sdp_m_line_index: Some(0),
                    username_fragment: Some(self.ufrag()),
                };
                let mut out = vec![
                    Wire::Description(Description { kind: SdpKind::Answer, sdp: answer }),
                    Wire::Candidate(candidate),
                ];
                if std::mem::take(&mut self.wants_webcam) || rolled_back {
                    out.extend(self.offer());
                }
                out
            }
        }
    }
}

/// What happens next, drawn at random.
#[derive(Debug, Clone, Copy)]
enum Step {
    ToBrowser(u8),
    ToCamera(u8),
    GStreamer,
    BrowserOffers,
    BrowserRestarts,
    /// The server gives the two a new number: the camera starts anew at once, the browser when it hears of it.
    Renew,
    Wait(u16),
}

/// What the link does to the message that a step delivers.
#[derive(Debug, Clone, Copy)]
struct Link {
    reorders: bool,
    duplicates: bool,
    loses: bool,
}

impl Link {
    /// Takes one message off the queue, or a copy of one, or throws one away.
    fn deliver(self, queue: &mut VecDeque<Wire>, dice: u8) -> Option<Wire> {
        let at = if self.reorders && !queue.is_empty() { usize::from(dice) % queue.len() } else { 0 };
        match dice % 8 {
            0 if self.duplicates => queue.get(at).cloned(),
            1 if self.loses => queue.remove(at).and(None),
            _ => queue.remove(at),
        }
    }
}

/// The camera's machine, a webrtcbin that does as told, the browser, and the link between.
struct World {
    machine: Negotiation,
    tag: u64,
    started: Instant,
    media: usize,
    closed: bool,
    now: Instant,
    gstreamer: VecDeque<Input>,
    browser: Browser,
    to_browser: VecDeque<Wire>,
    to_camera: VecDeque<Wire>,
    link: Link,
}

impl World {
    fn new(link: Link, wants_webcam: bool) -> Self {
        let now = Instant::now();
        let mut world = Self {
            machine: Negotiation::new(41, Limits::default()),
            tag: 41,
            started: now,
            media: 0,
            closed: false,
            now,
            gstreamer: VecDeque::new(),
            browser: Browser { webcam: wants_webcam, wants_webcam, ..Browser::default() },
            to_browser: VecDeque::new(),
            to_camera: VecDeque::new(),
            link,
        };
        world.put(Input::Start);
        world
    }

    fn put(&mut self, input: Input) {
        let outputs = self.machine.handle(self.now, input);
        for output in outputs {
            assert!(!self.closed, "after the end: {output:?}");
            match output {
                Output::CreateOffer(generation) => {
                    self.gstreamer.push_back(Input::OfferCreated { generation, sdp: OFFER.into() });
                }
                Output::SetRemote(generation, answer) => {
                    let ours = format!("p{}", self.tag);
                    let ufrag = answer.sdp.lines().find(|line| line.starts_with("a=ice-ufrag:b")).unwrap();
                    assert!(
                        ufrag.trim_end().ends_with(&ours),
                        "an answer to another offer: {ufrag}, not {ours}"
                    );
                    self.gstreamer.push_back(Input::RemoteSet { generation });
                    self.gstreamer.push_back(connected(ANSWER));
                }
                Output::SetLocal(..) => {
                    self.gstreamer
                        .push_back(Input::LocalCandidate { m_line: 0, candidate: "candidate:1".into() });
                }
                Output::Send(description) => self.to_browser.push_back(Wire::Description(description)),
                Output::SendCandidate(candidate) => self.to_browser.push_back(Wire::Candidate(candidate)),
                Output::StartMedia { .. } => self.media += 1,
                Output::Close(_) => self.closed = true,
                Output::AddCandidate { .. } | Output::Renew | Output::Ignored(_) => {}
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::ToBrowser(dice) => {
                if let Some(wire) = self.link.deliver(&mut self.to_browser, dice) {
                    self.to_camera.extend(self.browser.receive(wire));
                }
            }
            Step::ToCamera(dice) => {
                if let Some(wire) = self.link.deliver(&mut self.to_camera, dice) {
                    self.put(match wire {
                        Wire::Description(description) => Input::Remote(description),
                        Wire::Candidate(candidate) => Input::RemoteCandidate(Some(candidate)),
                        Wire::Renewed => unreachable!("the server tells the browser"),
                    });
                }
            }
            Step::GStreamer => {
                // DTLS and the promise run on different threads: either may come first.
                let at = usize::from(self.link.reorders && self.gstreamer.len() > 1);
                if let Some(input) = self.gstreamer.remove(at) {
                    self.put(input);
                }
            }
            Step::BrowserOffers => self.to_camera.extend(self.browser.offer()),
            Step::BrowserRestarts => self.to_camera.extend(self.browser.restart()),
            Step::Renew => self.renew(),
            Step::Wait(milliseconds) => {
                self.now += Duration::from_millis(milliseconds.into());
                self.put(Input::Tick);
            }
        }
    }

    /// A new session; what is under way between the two, or on the camera's threads, is of the old one.
    fn renew(&mut self) {
        self.tag += 1;
        self.machine = Negotiation::new(self.tag, Limits::default());
        self.started = self.now;
        (self.closed, self.media) = (false, 0);
        self.gstreamer.clear();
        // What the server says is not lost, but it may overtake.
        self.to_browser.push_back(Wire::Renewed);
        self.put(Input::Start);
    }

    /// Lets everything under way arrive, then time run out.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.gstreamer.is_empty() && self.to_browser.is_empty() && self.to_camera.is_empty() {
                break;
            }
            // The dice never fall on losing or copying here.
            for step in [Step::GStreamer, Step::ToBrowser(2), Step::ToCamera(2)] {
                self.step(step);
            }
        }
        if let Some(deadline) = self.machine.poll_timeout() {
            assert!(deadline <= self.started + Limits::default().answer, "later than it may take");
            self.now = self.now.max(deadline);
            self.put(Input::Tick);
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => any::<u8>().prop_map(Step::ToBrowser),
        5 => any::<u8>().prop_map(Step::ToCamera),
        4 => Just(Step::GStreamer),
        2 => Just(Step::BrowserOffers),
        1 => Just(Step::BrowserRestarts),
        1 => Just(Step::Renew),
        1 => (0u16..3000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn over_any_network_it_ends_live_or_closed(
        steps in steps(), reorders: bool, duplicates: bool, loses: bool, webcam: bool
    ) {
        let mut world = World::new(Link { reorders, duplicates, loses }, webcam);
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        prop_assert!(matches!(world.machine.state(), "live" | "closed"), "{}", world.machine.state());
        prop_assert!(world.media <= 1);
    }

    #[test]
    fn over_a_websocket_a_page_that_keeps_its_connection_plays_and_has_its_answers(
        steps in steps(), webcam: bool
    ) {
        let link = Link { reorders: false, duplicates: false, loses: false };
        let mut world = World::new(link, webcam);
        let steady = |step: &Step| !matches!(step, Step::BrowserRestarts | Step::Wait(_));
        steps.into_iter().filter(steady).for_each(|step| world.step(step));
        world.settle();
        prop_assert_eq!(world.machine.state(), "live");
        prop_assert!(world.browser.own_offer.is_none(), "an offer of the browser was left without an answer");
    }
}
