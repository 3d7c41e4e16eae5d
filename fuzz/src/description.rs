//! What a browser may send a camera as descriptions: parts of `[what][text]`, fed to one session after the other.
//!
//! `A`, `O`: an answer, an offer. `a`, `o`: one of the captured descriptions with edits, as an answer or an offer.
//! `W`: webrtcbin's own offer. `c`: DTLS came up. A text that is given to webrtcbin is read here once more, the lenient
//! way in which GStreamer does it: what it finds must be what the session has checked.

use std::time::{Duration, Instant};

use portald::proto::message::{Description, SdpKind};
use portald::proto::negotiation::{Generation, Input, Limits, Negotiation, Output};
use portald::proto::sdp::{Direction, MAX_MEDIA, MAX_SDP, Sdp, normal_fingerprint};

use super::{Feed, parts};

/// What webrtcbin offers; its media id is `video0`.
pub(super) const OFFER: &str = include_str!("../../tests/data/sdp/webrtcbin_offer.sdp");
/// The tag of the session whose descriptions were captured.
pub(super) const TAG: u64 = 7;
/// What browsers said, for edits.
const CAPTURED: [&str; 10] = [
    include_str!("../../tests/data/sdp/chromium_view_answer.sdp"),
    include_str!("../../tests/data/sdp/firefox_view_answer.sdp"),
    include_str!("../../tests/data/sdp/chromium_webcam_offer.sdp"),
    include_str!("../../tests/data/sdp/firefox_webcam_offer.sdp"),
    include_str!("../../tests/data/sdp/chromium_restart_offer.sdp"),
    include_str!("../../tests/data/sdp/firefox_restart_offer.sdp"),
    include_str!("../../tests/data/sdp/chromium_rejected_answer.sdp"),
    include_str!("../../tests/data/sdp/firefox_rejected_answer.sdp"),
    include_str!("../../tests/data/sdp/chromium_datachannel_offer.sdp"),
    include_str!("../../tests/data/sdp/chromium_early_offer.sdp"),
];
/// Lines that decide something, for edits.
const LINES: [&str; 12] = [
    "a=candidate:1 1 udp 2122194687 192.0.2.2 38901 typ host",
    "a=candidate:1 1 udp 2122194687 a988bcc1.local 38901 typ host",
    "a=end-of-candidates",
    "m=video 9 UDP/TLS/RTP/SAVPF 96",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "a=mid:p7",
    "a=mid:video0",
    "a=group:BUNDLE p7 1",
    "a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB",
    "a=setup:active",
    "a=inactive",
    "a=ice-ufrag:zIme",
];
/// The most that our reply adds to a section: transport, media id, direction.
const SECTION: usize = 700;

/// Feeds the parts to a session that has made its offer.
pub fn run(data: &[u8]) {
    let mut now = Instant::now();
    let limits = Limits { descriptions: 12, ..Limits::default() };
    let mut session = Session::new(limits);
    session.put(now, Input::Start);
    let first = parts(data).next().and_then(|part| part.strip_prefix(b"W"));
    if let Some(text) = first {
        // Nobody else's text: it must not make us panic, and that is all.
        let sdp = String::from_utf8_lossy(text).into_owned();
        let _ = session.machine.handle(now, Input::OfferCreated { generation: Generation(1), sdp });
        return;
    }
    session.put(now, Input::OfferCreated { generation: Generation(1), sdp: OFFER.to_owned() });
    for part in parts(data) {
        now += Duration::from_millis(10);
        let Some((tag, rest)) = part.split_first() else { continue };
        match tag {
            b'c' => session.connect(now),
            b'a' => session.remote(now, SdpKind::Answer, &edited(rest)),
            b'o' => session.remote(now, SdpKind::Offer, &edited(rest)),
            b'A' | b'O' => {
                let kind = if *tag == b'A' { SdpKind::Answer } else { SdpKind::Offer };
                if let Ok(text) = std::str::from_utf8(rest) {
                    session.remote(now, kind, text);
                }
            }
            _ => {}
        }
    }
}

/// A session with what was seen of it.
struct Session {
    machine: Negotiation,
    generation: u64,
    own_mid: Option<String>,
    /// The certificates named in the answer as webrtcbin reads it.
    fingerprints: Vec<String>,
    media: usize,
    is_closed: bool,
}

impl Session {
    fn new(limits: Limits) -> Self {
        let machine = Negotiation::new(TAG, limits);
        Self { machine, generation: 0, own_mid: None, fingerprints: Vec::new(), media: 0, is_closed: false }
    }

    fn remote(&mut self, now: Instant, kind: SdpKind, sdp: &str) {
        let outputs = self.put(now, Input::Remote(Description { kind, sdp: sdp.to_owned() }));
        for output in &outputs {
            match output {
                Output::SetRemote(generation, set) => {
                    assert_eq!(
                        (kind, set.kind),
                        (SdpKind::Answer, SdpKind::Answer),
                        "an offer got to webrtcbin"
                    );
                    self.read_as_webrtcbin(&set.sdp, sdp);
                    self.put(now, Input::RemoteSet { generation: *generation });
                }
                Output::Send(reply) => {
                    assert_eq!((kind, reply.kind), (SdpKind::Offer, SdpKind::Answer));
                    reply_fits(&reply.sdp, sdp);
                }
                Output::CreateOffer(_) | Output::SetLocal(..) => panic!("out of turn: {output:?}"),
                _ => {}
            }
        }
    }

    /// DTLS comes up: first with the certificate that the answer names, and if there are several, with the last.
    fn connect(&mut self, now: Instant) {
        let Some(used) = self.fingerprints.last().cloned() else { return };
        let outputs = self.put(now, Input::Connected { fingerprint: Some(used) });
        self.media += outputs.iter().filter(|output| matches!(output, Output::StartMedia { .. })).count();
        assert!(self.media <= 1);
    }

    fn put(&mut self, now: Instant, input: Input) -> Vec<Output> {
        let outputs = self.machine.handle(now, input);
        assert!(!self.is_closed || outputs.is_empty(), "after the end: {outputs:?}");
        for output in &outputs {
            match output {
                Output::CreateOffer(Generation(number))
                | Output::SetLocal(Generation(number), _)
                | Output::SetRemote(Generation(number), _) => {
                    assert!(*number > self.generation);
                    self.generation = *number;
                }
                Output::AddCandidate { candidate, .. } => super::candidate::is_plain(candidate),
                Output::Close(_) => self.is_closed = true,
                _ => {}
            }
            if let Output::SetLocal(_, set) = output {
                self.own_mid = leniently(&set.sdp, "mid").pop();
            }
        }
        assert_eq!(self.is_closed, self.machine.is_closed());
        outputs
    }

    fn read_as_webrtcbin(&mut self, set: &str, came: &str) {
        assert!(set.len() <= came.len() + 64 && set.len() <= MAX_SDP + 64);
        assert_eq!(
            lines(set).filter(|(kind, _)| *kind == 'm').count(),
            1,
            "other media got through: {set:?}"
        );
        for name in ["candidate", "end-of-candidates"] {
            assert!(leniently(set, name).is_empty(), "a candidate got through: {set:?}");
        }
        // A media id counts below a media line only.
        let media = set.find("\nm=").map_or("", |at| &set[at..]);
        assert_eq!(leniently(media, "mid").first(), self.own_mid.as_ref(), "another media id");
        let found = leniently(set, "fingerprint").into_iter().filter_map(|value| {
            let (hash, digits) = value.split_once(' ')?;
            hash.eq_ignore_ascii_case("sha-256").then(|| normal_fingerprint(digits)).flatten()
        });
        self.fingerprints = found.collect();
        self.fingerprints.dedup();
        assert_eq!(self.fingerprints.len(), 1, "not one certificate: {set:?}");
    }
}

/// Our reply to a browser's later offer.
fn reply_fits(reply: &str, offer: &str) {
    assert!(reply.len() <= OFFER.len() + offer.len() + MAX_MEDIA * SECTION);
    assert!(lines(reply).all(|(kind, _)| kind.is_ascii_lowercase()), "no line of SDP: {reply:?}");
    assert!(!reply.contains("a=candidate"));
    if reply.len() > MAX_SDP {
        return;
    }
    let (ours, theirs) = (Sdp::scan(reply).expect("a reply is SDP"), Sdp::scan(offer).unwrap());
    assert_eq!(lines(reply).filter(|(kind, _)| *kind == 'm').count(), ours.media.len(), "a hidden section");
    assert_eq!(ours.media.len(), theirs.media.len(), "one section for each");
    for (n, (our, their)) in ours.media.iter().zip(&theirs.media).enumerate() {
        assert_eq!((our.mid(), our.kind), (their.mid(), their.kind));
        assert!(n == 0 || our.is_rejected() || our.direction() == Direction::Inactive, "we take no media");
        assert!(our.is_rejected() || (ours.ice(our).is_ok() && ours.fingerprint(our).is_ok()));
    }
    let first = ours.media.first().unwrap();
    assert_eq!(first.mid(), Some("p7"));
}

/// The values of an attribute as GStreamer's `gst_sdp_message_parse_buffer` finds them: white space before a line and
/// before a name does not count, and a line ends at CR, too.
pub(super) fn leniently(text: &str, name: &str) -> Vec<String> {
    let values = lines(text).filter(|(kind, _)| *kind == 'a').filter_map(|(_, rest)| {
        let rest = rest.trim_start_matches(is_space);
        let (found, value) = rest.split_once(':').unwrap_or((rest, ""));
        (found == name).then(|| value.trim().to_owned())
    });
    values.collect()
}

/// The lines as GStreamer finds them: the letter, and what follows `=`.
fn lines(text: &str) -> impl Iterator<Item = (char, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(is_space);
            let kind = rest.chars().next()?;
            let line = rest.split('\n').next().unwrap_or_default();
            rest = &rest[line.len()..];
            if let Some(value) = line[kind.len_utf8()..].strip_prefix('=') {
                return Some((kind, value.split('\r').next().unwrap_or_default()));
            }
        }
    })
}

/// `g_ascii_isspace`.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

/// A captured description, with edits: which, then for each the line, what to do, and with what.
fn edited(data: &[u8]) -> String {
    let mut feed = Feed(data);
    let text = feed.pick(&CAPTURED);
    let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\r\n")).collect();
    for _ in 0..20 {
        if feed.is_empty() || lines.is_empty() {
            break;
        }
        let at = feed.below(lines.len());
        match feed.below(8) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines.insert(at, format!("{}\r\n", feed.pick(&LINES))),
            3 => {
                let other = feed.below(lines.len());
                lines.swap(at, other);
            }
            4 => lines[at].insert(0, feed.pick(&[' ', '\t', '\r', '\n', 'a', 'é'])),
            5 => {
                let ends: Vec<usize> = lines[at].char_indices().map(|(n, _)| n).collect();
                let n = feed.pick(&ends);
                lines[at]
                    .insert(n, feed.pick(&[' ', '\t', '\r', '\n', ':', '=', '/', '0', '\u{b}', '\u{85}']));
            }
            6 => lines[at] = lines[at].replace("\r\n", feed.pick(&["\n", "\r", "", "\r\r\n", " \r\n"])),
            _ => {
                let other = feed.pick(&CAPTURED);
                let others: Vec<&str> = other.lines().collect();
                lines[at] = format!("{}\r\n", feed.pick(&others));
            }
        }
    }
    lines.concat()
}
