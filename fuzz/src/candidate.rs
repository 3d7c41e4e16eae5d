//! What a browser may send a camera as candidates: parts of `[what][text]`.
//!
//! `j`: a payload. `t`: the text of a candidate for our media. `A`: now the answer comes, with such a text in it.

use std::net::IpAddr;
use std::time::Instant;

use portald::proto::message::{Candidate, Description, SdpKind};
use portald::proto::negotiation::{Generation, Input, Limits, Negotiation, Output};

use super::description::{OFFER, TAG, leniently};
use super::{parts, tagged};

const ANSWER: &str = include_str!("../../tests/data/sdp/chromium_view_answer.sdp");

/// Feeds the parts to a session that waits for its answer.
pub fn run(data: &[u8]) {
    let now = Instant::now();
    let limits = Limits { held_candidates: 4, remote_candidates: 8, ..Limits::default() };
    let most = limits.remote_candidates;
    let mut session = Negotiation::new(TAG, limits);
    let _ = session.handle(now, Input::Start);
    let _ = session.handle(now, Input::OfferCreated { generation: Generation(1), sdp: OFFER.into() });
    let mut added = 0;
    for part in parts(data) {
        let Some((tag, text)) = tagged(part) else { continue };
        let outputs = match tag {
            b'j' => {
                let Ok(candidate) = serde_json::from_str::<Option<Candidate>>(text) else { continue };
                session.handle(now, Input::RemoteCandidate(candidate))
            }
            b't' => {
                let mid = Some(format!("p{TAG}"));
                let candidate = Candidate { candidate: text.into(), sdp_mid: mid, ..Candidate::default() };
                session.handle(now, Input::RemoteCandidate(Some(candidate)))
            }
            b'A' => {
                let sdp = format!("{ANSWER}{text}");
                session.handle(now, Input::Remote(Description { kind: SdpKind::Answer, sdp }))
            }
            _ => continue,
        };
        for output in outputs {
            match output {
                Output::AddCandidate { m_line, candidate } => {
                    assert_eq!(m_line, 0);
                    is_plain(&candidate);
                    added += 1;
                }
                Output::SetRemote(_, set) => {
                    assert!(
                        leniently(&set.sdp, "candidate").is_empty(),
                        "a candidate got through: {:?}",
                        set.sdp
                    );
                }
                Output::Ignored(_) | Output::Close(_) => {}
                other => panic!("out of turn: {other:?}"),
            }
        }
        assert!(added <= most, "more candidates than the limit");
    }
}

/// Whether webrtcbin may have it: RFC 8839's words with one space between (libnice and GStreamer split there), an
/// address, and nothing that would be looked up.
pub(super) fn is_plain(candidate: &str) {
    assert!(candidate.len() <= 1024 && !candidate.chars().any(char::is_control), "{candidate:?}");
    let words: Vec<&str> = candidate.split(' ').collect();
    assert!(words.len() >= 8 && words.iter().all(|word| !word.is_empty()), "{candidate:?}");
    assert!(words[0].starts_with("candidate:") && words[1] == "1" && words[6] == "typ", "{candidate:?}");
    let address: IpAddr = words[4].parse().expect("an address");
    assert!(!address.is_unspecified() && !address.is_multicast(), "{candidate:?}");
    let lower = candidate.to_lowercase();
    assert!(lower.split(' ').all(|word| !word.trim_end_matches('.').ends_with(".local")), "{candidate:?}");
}
