//! What goes into the negotiation machine and what comes out.

use std::fmt;
use std::time::Duration;

use crate::proto::message::{Candidate, Description};
use crate::proto::sdp::Defect;

/// Numbers what is asked of GStreamer, so that a result can be told from one that comes late. Strictly increasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What a session may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From [`Input::Start`] until media may flow.
    pub answer: Duration,
    /// Candidates kept until the answer comes.
    pub held_candidates: usize,
    /// Candidates taken from the browser in all.
    pub remote_candidates: usize,
    /// Our own candidates that later descriptions repeat.
    pub own_candidates: usize,
    /// Descriptions taken from the browser in all, useful or not: reading one costs.
    pub descriptions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Offer to connected takes 0.1 s on a LAN; one connection in hundreds never comes up and is retried.
            answer: Duration::from_secs(10),
            // A browser gathers one or two for each address and protocol.
            held_candidates: 64,
            remote_candidates: 256,
            // One for each address and protocol; a box has a few networks.
            own_candidates: 64,
            // A page makes one for each track that it adds or removes.
            descriptions: 64,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Make a connection; once.
    Start,
    /// webrtcbin made the offer.
    OfferCreated {
        /// Of [`Output::CreateOffer`].
        generation: Generation,
        /// The offer as made.
        sdp: String,
    },
    /// webrtcbin has set the answer.
    RemoteSet {
        /// Of [`Output::SetRemote`].
        generation: Generation,
    },
    /// webrtcbin could not do what was asked.
    PromiseFailed {
        /// Of the output that asked.
        generation: Generation,
        /// What it said.
        what: String,
    },
    /// A description from the browser.
    Remote(Description),
    /// A candidate from the browser; `None` when it has no more.
    RemoteCandidate(Option<Candidate>),
    /// A candidate from webrtcbin.
    LocalCandidate {
        /// Its media line.
        m_line: u32,
        /// `candidate:…`; empty when there are no more (from GStreamer 1.23 on).
        candidate: String,
    },
    /// DTLS is up.
    Connected {
        /// SHA-256 of the certificate really used, `AB:CD:…`; webrtcbin (1.22, 1.26) does not compare it itself.
        fingerprint: Option<String>,
    },
    /// The browser is gone.
    Lost(LossReason),
    /// Time passed; see [`poll_timeout`](super::Negotiation::poll_timeout).
    Tick,
}

impl Input {
    /// The input's name, as on the edges of `negotiation.dot`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::OfferCreated { .. } => "OfferCreated",
            Self::RemoteSet { .. } => "RemoteSet",
            Self::PromiseFailed { .. } => "PromiseFailed",
            Self::Remote(_) => "Remote",
            Self::RemoteCandidate(_) => "RemoteCandidate",
            Self::LocalCandidate { .. } => "LocalCandidate",
            Self::Connected { .. } => "Connected",
            Self::Lost(_) => "Lost",
            Self::Tick => "Tick",
        }
    }
}

/// What to do, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Have webrtcbin make an offer: [`Input::OfferCreated`] follows.
    CreateOffer(Generation),
    /// Set our offer on webrtcbin, as it made it: 1.26 finds its transceivers by its own media id.
    SetLocal(Generation, Description),
    /// Set the browser's answer, its candidates taken out and under webrtcbin's media id, on webrtcbin: [`Input::RemoteSet`] follows. The only
    /// text of a browser's description that ever reaches GStreamer.
    SetRemote(Generation, Description),
    /// To the browser.
    Send(Description),
    /// To the browser.
    SendCandidate(Candidate),
    /// Give webrtcbin a candidate of the browser.
    AddCandidate {
        /// The media line: always 0, for all is bundled.
        m_line: u32,
        /// `candidate:…`
        candidate: String,
    },
    /// The certificate is the answer's: let media flow. At most once.
    StartMedia {
        /// What the browser wants our packets numbered.
        payload_type: u8,
        /// What it wants in them.
        codec: Codec,
    },
    /// The browser wants what only a new connection can do: ask the server for a new session. `Close` follows.
    Renew,
    /// The end; nothing comes after.
    Close(CloseReason),
    /// Nothing was done with the input, or a part of it, for this reason; to be counted.
    Ignored(IgnoreReason),
}

/// What our packets hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264, constrained baseline.
    H264,
    /// VP8.
    Vp8,
}

impl Codec {
    /// Its name in templates and file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Vp8 => "vp8",
        }
    }
}

/// How a browser was found to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// webrtcbin's connection state became `failed`.
    Failed,
    /// No RTCP for too long: 1.22 reports nothing else of a dead viewer.
    Silent,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// webrtcbin made no offer in time.
    NoOffer,
    /// The browser did not answer in time.
    NoAnswer,
    /// It answered, and no connection came up in time.
    NotConnected,
    /// The browser plays neither of the codecs offered.
    CodecRefused,
    /// Its answer cannot be used.
    BadAnswer(Defect),
    /// What is at the other end is not what answered, or no longer.
    FingerprintMismatch,
    /// The page ended our media.
    Stopped,
    /// More than [`Limits::descriptions`].
    TooManyDescriptions,
    /// A new session takes over.
    Renewed,
    /// webrtcbin could not do what was asked.
    Failed(String),
    /// The browser is gone.
    Lost(LossReason),
}

impl CloseReason {
    /// A short name for counters.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoOffer => "no-offer",
            Self::NoAnswer => "no-answer",
            Self::NotConnected => "not-connected",
            Self::CodecRefused => "codec-refused",
            Self::BadAnswer(_) => "bad-answer",
            Self::FingerprintMismatch => "fingerprint-mismatch",
            Self::Stopped => "stopped",
            Self::TooManyDescriptions => "too-many-descriptions",
            Self::Renewed => "renewed",
            Self::Failed(_) => "failed",
            Self::Lost(LossReason::Failed) => "lost",
            Self::Lost(LossReason::Silent) => "silent",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOffer => "no offer could be made in time",
            Self::NoAnswer => "the browser did not answer in time",
            Self::NotConnected => "the browser answered but could not be reached in time",
            Self::CodecRefused => "the browser plays none of the codecs offered",
            Self::BadAnswer(defect) => return write!(f, "the browser's answer cannot be used: {defect}"),
            Self::FingerprintMismatch => "the certificate at the other end is not the browser's",
            Self::Stopped => "the page ended the camera's media",
            Self::TooManyDescriptions => "the browser sent too many descriptions",
            Self::Renewed => "the browser asked for a new connection",
            Self::Failed(what) => return write!(f, "webrtcbin: {what}"),
            Self::Lost(LossReason::Failed) => "the connection failed",
            Self::Lost(LossReason::Silent) => "nothing was heard from the browser for too long",
        })
    }
}

/// Why an input was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IgnoreReason {
    /// A result of GStreamer that is not the one waited for.
    Stale {
        /// The number that came.
        got: Generation,
        /// The number that was waited for.
        want: Generation,
    },
    /// A description about another session's media.
    StaleDescription,
    /// A candidate of another ICE generation.
    StaleCandidate,
    /// An offer that crossed ours.
    Glare,
    /// An answer when none is waited for: a second copy, say.
    Unasked,
    /// An input that this state does not expect, or a second time.
    OutOfTurn,
    /// A description that cannot be used.
    BadDescription(Defect),
    /// A candidate that is none.
    BadCandidate,
    /// A candidate for a media line or component that we do not use: all is bundled, RTCP muxed.
    OtherMedia,
    /// A `.local` candidate: 1.22 leaks a thread on each, and the browser reaches us all the same, as a peer-reflexive candidate.
    Mdns,
    /// The browser has no more candidates.
    EndOfCandidates,
    /// Over [`Limits::held_candidates`] or [`Limits::remote_candidates`].
    TooManyCandidates,
}

impl IgnoreReason {
    /// A short name for counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::StaleDescription => "stale-description",
            Self::StaleCandidate => "stale-candidate",
            Self::Glare => "glare",
            Self::Unasked => "unasked",
            Self::OutOfTurn => "out-of-turn",
            Self::BadDescription(_) => "bad-description",
            Self::BadCandidate => "bad-candidate",
            Self::OtherMedia => "other-media",
            Self::Mdns => "mdns",
            Self::EndOfCandidates => "end-of-candidates",
            Self::TooManyCandidates => "too-many-candidates",
        }
    }
}
