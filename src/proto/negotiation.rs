//! One viewer of one camera: the camera's side of offer and answer. `negotiation.dot` draws it.
//!
//! The camera offers once and is impolite: webrtcbin cannot roll back ("completely untested" in 1.22), so an offer
//! that crosses ours is ignored and the browser rolls back. What the browser offers later (its webcam) is answered
//! from here, without webrtcbin; why is told in `terms`. webrtcbin cannot restart ICE either (1.22 and 1.26), so
//! a browser that wants to is given a new session.
//!
//! A peer's mistake is an [`Output`], never an error. After [`Output::Close`] there is only silence.

mod candidate;
mod io;
#[cfg(test)]
mod properties;
mod terms;
#[cfg(test)]
mod tests;

use std::time::Instant;

pub use io::{CloseReason, Codec, Generation, IgnoreReason, Input, Limits, LossReason, Output};

use self::candidate::RemoteCandidate;
use self::terms::{Agreed, AnswerFault, Offer, OfferFault};
use super::message::{Candidate, Description, SdpKind};
use super::sdp::normal_fingerprint;

/// The machine. Feed it what happens, do what it says.
#[derive(Debug)]
pub struct Negotiation {
    tag: u64,
    limits: Limits,
    state: State,
    generation: Generation,
    deadline: Option<Instant>,
    descriptions: usize,
    candidates: usize,
    /// Those that were sent to the browser.
    own_candidates: Vec<String>,
    replies: u64,
}

#[derive(Debug)]
enum State {
    New,
    Offering,
    AwaitingAnswer {
        offer: Offer,
        held: Vec<RemoteCandidate>,
    },
    /// `proven`: DTLS came up, with the right certificate, before webrtcbin said that the answer is set.
    Applying {
        terms: Terms,
        proven: bool,
    },
    /// Answered, on the way to a connection.
    Stable(Terms),
    /// Connected and verified; media flows.
    Live(Terms),
    Closed,
}

#[derive(Debug)]
struct Terms {
    offer: Offer,
    agreed: Agreed,
}

impl State {
    /// What was agreed, once the browser has answered.
    fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Applying { terms, .. } | Self::Stable(terms) | Self::Live(terms) => Some(terms),
            Self::New | Self::Offering | Self::AwaitingAnswer { .. } | Self::Closed => None,
        }
    }

    /// Our offer, once the browser may have seen it.
    fn offer(&self) -> Option<&Offer> {
        match self {
            Self::AwaitingAnswer { offer, .. } => Some(offer),
            _ => self.terms().map(|terms| &terms.offer),
        }
    }
}

impl Negotiation {
    /// A machine for one session. `tag` tells its offer from those of all other sessions: their answers may come
    /// here late, since a stock client's messages do not say which connection they are from.
    #[must_use]
    pub fn new(tag: u64, limits: Limits) -> Self {
        Self {
            tag,
            limits,
            state: State::New,
            generation: Generation(0),
            deadline: None,
            descriptions: 0,
            candidates: 0,
            own_candidates: Vec::new(),
            replies: 0,
        }
    }

    /// Takes in what happened and says what to do.
    #[must_use]
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Output> {
        if self.is_closed() {
            return Vec::new();
        }
        match input {
            Input::Start => self.start(now),
            Input::OfferCreated { generation, sdp } => self.offer_created(generation, &sdp),
            Input::RemoteSet { generation } => self.remote_set(generation),
            Input::PromiseFailed { generation, what } => self.promise_failed(generation, &what),
            Input::Remote(description) => self.remote(&description),
            Input::RemoteCandidate(candidate) => self.remote_candidate(candidate),
            Input::LocalCandidate { m_line, candidate } => self.local_candidate(m_line, &candidate),
            Input::Connected { fingerprint } => self.connected(fingerprint.as_deref()),
            Input::Lost(reason) => self.close(CloseReason::Lost(reason)),
            Input::Tick => self.tick(now),
        }
    }

    /// When to send [`Input::Tick`]; `None` when time plays no part.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// The state's name, for logs and tests.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self.state {
            State::New => "new",
            State::Offering => "offering",
            State::AwaitingAnswer { .. } => "awaiting-answer",
            State::Applying { .. } => "applying",
            State::Stable(_) => "stable",
            State::Live(_) => "live",
            State::Closed => "closed",
        }
    }

    /// How many candidates of the browser were passed on: none before its answer.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn start(&mut self, now: Instant) -> Vec<Output> {
        if !matches!(self.state, State::New) {
            return ignored(IgnoreReason::OutOfTurn);
        }
        self.state = State::Offering;
        self.deadline = now.checked_add(self.limits.answer);
        vec![Output::CreateOffer(self.next_generation())]
    }

    fn offer_created(&mut self, generation: Generation, sdp: &str) -> Vec<Output> {
        if let Some(stale) = self.stale(generation) {
            return ignored(stale);
        }
        if !matches!(self.state, State::Offering) {
            return ignored(IgnoreReason::OutOfTurn);
        }
        let offer = match Offer::read(sdp, self.tag) {
            Ok(offer) => offer,
            Err(defect) => return self.close(CloseReason::Failed(format!("unusable offer: {defect}"))),
        };
        let ours = Description { kind: SdpKind::Offer, sdp: sdp.to_owned() };
        let sent = Description { kind: SdpKind::Offer, sdp: offer.sdp.clone() };
        self.state = State::AwaitingAnswer { offer, held: Vec::new() };
        vec![Output::SetLocal(self.next_generation(), ours), Output::Send(sent)]
    }

    fn remote_set(&mut self, generation: Generation) -> Vec<Output> {
        if let Some(stale) = self.stale(generation) {
            return ignored(stale);
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Applying { terms, proven: true } => vec![self.go_live(terms)],
            State::Applying { terms, proven: false } => {
                self.state = State::Stable(terms);
                Vec::new()
            }
            other => {
                self.state = other;
                ignored(IgnoreReason::OutOfTurn)
            }
        }
    }

    fn promise_failed(&mut self, generation: Generation, what: &str) -> Vec<Output> {
        // An offer that could not be set shows again when the answer is: an old number needs no care.
        if let Some(stale) = self.stale(generation) {
            return ignored(stale);
        }
        match self.state {
            State::Offering | State::AwaitingAnswer { .. } | State::Applying { .. } => {
                self.close(CloseReason::Failed(what.chars().take(200).collect()))
            }
            _ => ignored(IgnoreReason::OutOfTurn),
        }
    }

    fn remote(&mut self, description: &Description) -> Vec<Output> {
        self.descriptions += 1;
        if self.descriptions > self.limits.descriptions {
            return self.close(CloseReason::TooManyDescriptions);
        }
        match description.kind {
            SdpKind::Answer => self.remote_answer(&description.sdp),
            SdpKind::Offer => self.remote_offer(&description.sdp),
        }
    }

    fn remote_answer(&mut self, sdp: &str) -> Vec<Output> {
        let State::AwaitingAnswer { offer, held } = &mut self.state else {
            return ignored(IgnoreReason::Unasked);
        };
        let agreed = match offer.agree(sdp) {
            Ok(agreed) => agreed,
            Err(AnswerFault::Foreign) => return ignored(IgnoreReason::StaleDescription),
            Err(AnswerFault::Unreadable(defect)) => return ignored(IgnoreReason::BadDescription(defect)),
            Err(AnswerFault::Refused) => return self.close(CloseReason::CodecRefused),
            // For the browser all is settled: it will not answer again.
            Err(AnswerFault::Unusable(defect)) => return self.close(CloseReason::BadAnswer(defect)),
        };
        let answer = Description { kind: SdpKind::Answer, sdp: offer.for_webrtcbin(sdp) };
        let terms = Terms { offer: offer.clone(), agreed };
        let held = std::mem::take(held);
        self.state = State::Applying { terms, proven: false };
        // A browser that gathers before it answers writes its candidates into the answer; they must pass the same
        // checks as others.
        let written: Vec<_> = candidate::in_description(sdp).take(self.limits.remote_candidates).collect();
        let mut outputs = vec![Output::SetRemote(self.next_generation(), answer)];
        for candidate in held.into_iter().map(Ok).chain(written) {
            outputs.push(candidate.map_or_else(Output::Ignored, |candidate| self.take_candidate(candidate)));
        }
        outputs
    }

    /// An offer is answered as soon as the terms are known: webrtcbin has no part in it, so nothing waits for it.
    fn remote_offer(&mut self, sdp: &str) -> Vec<Output> {
        let Some(terms) = self.state.terms() else {
            // Ours is on its way or about to be; a polite browser rolls back, answers it and offers again.
            return ignored(IgnoreReason::Glare);
        };
        match terms.offer.reply(&terms.agreed, sdp, self.replies.saturating_add(1), &self.own_candidates) {
            Ok(sdp) => {
                self.replies = self.replies.saturating_add(1);
                vec![Output::Send(Description { kind: SdpKind::Answer, sdp })]
            }
            Err(OfferFault::Foreign) => ignored(IgnoreReason::StaleDescription),
            Err(OfferFault::Unusable(defect)) => ignored(IgnoreReason::BadDescription(defect)),
            Err(OfferFault::Stopped) => self.close(CloseReason::Stopped),
            // A browser keeps one certificate for the life of a connection: this is somebody else.
            Err(OfferFault::Fingerprint) => self.close(CloseReason::FingerprintMismatch),
            Err(OfferFault::Restart) => {
                let mut outputs = vec![Output::Renew];
                outputs.extend(self.close(CloseReason::Renewed));
                outputs
            }
        }
    }

    fn remote_candidate(&mut self, candidate: Option<Candidate>) -> Vec<Output> {
        // Not passed on: with `.local` candidates dropped, libnice may know of none at all, and told that none will
        // come it may give up before the browser's first check arrives. The deadline is ours.
        let Some(candidate) = candidate.filter(|candidate| !candidate.candidate.is_empty()) else {
            return ignored(IgnoreReason::EndOfCandidates);
        };
        let Some(offer) = self.state.offer() else {
            // Nobody has seen our offer yet: it belongs to one that the browser will roll back.
            return ignored(IgnoreReason::StaleCandidate);
        };
        let candidate = match RemoteCandidate::read(&candidate, &offer.mid) {
            Ok(candidate) => candidate,
            Err(reason) => return ignored(reason),
        };
        let State::AwaitingAnswer { held, .. } = &mut self.state else {
            return vec![self.take_candidate(candidate)];
        };
        if held.len() >= self.limits.held_candidates {
            return ignored(IgnoreReason::TooManyCandidates);
        }
        held.push(candidate);
        Vec::new()
    }

    /// A well-formed candidate, once the answer says which ICE generation is the browser's.
    fn take_candidate(&mut self, candidate: RemoteCandidate) -> Output {
        let Some(terms) = self.state.terms() else {
            return Output::Ignored(IgnoreReason::OutOfTurn);
        };
        if candidate.ufrag.is_some_and(|ufrag| ufrag != terms.agreed.ufrag) {
            return Output::Ignored(IgnoreReason::StaleCandidate);
        }
        if self.candidates >= self.limits.remote_candidates {
            return Output::Ignored(IgnoreReason::TooManyCandidates);
        }
        self.candidates += 1;
        Output::AddCandidate { m_line: 0, candidate: candidate.text }
    }

    fn local_candidate(&mut self, m_line: u32, candidate: &str) -> Vec<Output> {
        let Some(offer) = self.state.offer() else {
            return ignored(IgnoreReason::OutOfTurn);
        };
        if m_line != 0 {
            return ignored(IgnoreReason::OtherMedia);
        }
        let candidate = candidate.strip_prefix("a=").unwrap_or(candidate).to_owned();
        if !candidate.is_empty() && self.own_candidates.len() < self.limits.own_candidates {
            self.own_candidates.push(candidate.clone());
        }
        vec![Output::SendCandidate(Candidate {
            candidate,
            sdp_mid: Some(offer.mid.clone()),
            sdp_m_line_index: Some(m_line),
            username_fragment: Some(offer.ufrag.clone()),
        })]
    }

    fn connected(&mut self, fingerprint: Option<&str>) -> Vec<Output> {
        let Some(terms) = self.state.terms() else {
            return ignored(IgnoreReason::OutOfTurn);
        };
        // Compared each time, and before anything else: a second handshake could be another's.
        if fingerprint.and_then(normal_fingerprint).as_ref() != Some(&terms.agreed.fingerprint) {
            return self.close(CloseReason::FingerprintMismatch);
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            // Media waits for webrtcbin: `codec-preferences` must be unset in between, or they filter our caps.
            State::Applying { terms, proven: false } => {
                self.state = State::Applying { terms, proven: true };
                Vec::new()
            }
            State::Stable(terms) => vec![self.go_live(terms)],
            other => {
                self.state = other;
                ignored(IgnoreReason::OutOfTurn)
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Output> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        self.close(match self.state {
            State::Offering => CloseReason::NoOffer,
            State::AwaitingAnswer { .. } => CloseReason::NoAnswer,
            _ => CloseReason::NotConnected,
        })
    }

    fn go_live(&mut self, terms: Terms) -> Output {
        let (payload_type, codec) = (terms.agreed.payload_type, terms.agreed.codec);
        self.state = State::Live(terms);
        self.deadline = None;
        Output::StartMedia { payload_type, codec }
    }

    fn close(&mut self, reason: CloseReason) -> Vec<Output> {
        self.state = State::Closed;
        self.deadline = None;
        vec![Output::Close(reason)]
    }

    fn next_generation(&mut self) -> Generation {
        self.generation = Generation(self.generation.0 + 1);
        self.generation
    }

    fn stale(&self, got: Generation) -> Option<IgnoreReason> {
        (got != self.generation).then_some(IgnoreReason::Stale { got, want: self.generation })
    }
}

fn ignored(reason: IgnoreReason) -> Vec<Output> {
    vec![Output::Ignored(reason)]
}
