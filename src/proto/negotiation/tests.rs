//! Scenarios, one a test. The descriptions were captured from Chromium 156, Firefox 153 and webrtcbin 1.22.0; in
//! those the session's tag is 7.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;
use crate::proto::sdp::{Defect, Direction, MAX_SDP, Sdp};

pub(super) const OFFER: &str = include_str!("../../../tests/data/sdp/webrtcbin_offer.sdp");
pub(super) const ANSWER: &str = include_str!("../../../tests/data/sdp/chromium_webcam_answer.sdp");
pub(super) const EARLY: &str = include_str!("../../../tests/data/sdp/chromium_early_offer.sdp");
pub(super) const WEBCAM: &str = include_str!("../../../tests/data/sdp/chromium_webcam_offer.sdp");
const VIEW_ANSWER: &str = include_str!("../../../tests/data/sdp/chromium_view_answer.sdp");
const RESTART: &str = include_str!("../../../tests/data/sdp/chromium_restart_offer.sdp");
const REJECTED: &str = include_str!("../../../tests/data/sdp/chromium_rejected_answer.sdp");
const FIREFOX_ANSWER: &str = include_str!("../../../tests/data/sdp/firefox_webcam_answer.sdp");
const FIREFOX_EARLY: &str = include_str!("../../../tests/data/sdp/firefox_early_offer.sdp");
const FIREFOX_WEBCAM: &str = include_str!("../../../tests/data/sdp/firefox_webcam_offer.sdp");
const FIREFOX_VIEW_ANSWER: &str = include_str!("../../../tests/data/sdp/firefox_view_answer.sdp");
const FIREFOX_RESTART: &str = include_str!("../../../tests/data/sdp/firefox_restart_offer.sdp");
const FIREFOX_REJECTED: &str = include_str!("../../../tests/data/sdp/firefox_rejected_answer.sdp");
pub(super) const DOT: &str = include_str!("../negotiation.dot");

/// A machine with a clock that stands still unless told.
struct Bench {
    machine: Negotiation,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { machine: Negotiation::new(7, limits), now: Instant::now() }
    }

    fn put(&mut self, input: Input) -> Vec<Output> {
        self.machine.handle(self.now, input)
    }

    /// Up to the state named, with the answer given.
    fn at(state: &str, answer: &str) -> Self {
        let mut bench = Self::new();
        let steps = [
            Input::Start,
            offer_created(1),
            remote(SdpKind::Answer, answer),
            Input::RemoteSet { generation: Generation(3) },
            connected(answer),
        ];
        for step in steps {
            if bench.machine.state() == state {
                break;
            }
            let _ = bench.put(step);
        }
        assert_eq!(bench.machine.state(), state);
        bench
    }

    fn answer(&mut self, sdp: &str) -> Vec<Output> {
        self.put(remote(SdpKind::Answer, sdp))
    }

    fn offer(&mut self, sdp: &str) -> Vec<Output> {
        self.put(remote(SdpKind::Offer, sdp))
    }

    fn later(&mut self, seconds: u64) -> Vec<Output> {
        self.now += Duration::from_secs(seconds);
        self.put(Input::Tick)
    }
}

pub(super) fn offer_created(generation: u64) -> Input {
    Input::OfferCreated { generation: Generation(generation), sdp: OFFER.into() }
}

pub(super) fn remote(kind: SdpKind, sdp: &str) -> Input {
    Input::Remote(Description { kind, sdp: sdp.into() })
}

pub(super) fn fingerprint(sdp: &str) -> String {
    let sdp = Sdp::scan(sdp).unwrap();
    sdp.fingerprint(&sdp.media[0]).unwrap()
}

pub(super) fn connected(sdp: &str) -> Input {
    Input::Connected { fingerprint: Some(fingerprint(sdp)) }
}

pub(super) fn candidate(mid: &str, ufrag: &str) -> Input {
    Input::RemoteCandidate(Some(Candidate {
        candidate: format!("candidate:1 1 udp 2122194687 192.0.2.2 38901 typ host ufrag {ufrag}"),
        sdp_mid: Some(mid.into()),
        sdp_m_line_index: Some(0),
        username_fragment: Some(ufrag.into()),
    }))
}

fn only_ignored(outputs: &[Output]) -> IgnoreReason {
    let [Output::Ignored(reason)] = outputs else { panic!("{outputs:?}") };
    *reason
}

fn only_closed(outputs: &[Output]) -> &CloseReason {
    let [Output::Close(reason)] = outputs else { panic!("{outputs:?}") };
    reason
}

fn sent_answer(outputs: &[Output]) -> &str {
    let [Output::Send(Description { kind: SdpKind::Answer, sdp })] = outputs else { panic!("{outputs:?}") };
    sdp
}

#[test]
fn a_view_only_page_is_offered_answers_and_plays() {
    let mut bench = Bench::new();
    assert_eq!(bench.put(Input::Start), [Output::CreateOffer(Generation(1))]);
    let outputs = bench.put(offer_created(1));
    let [Output::SetLocal(Generation(2), set), Output::Send(sent)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert!(sent.sdp.contains("a=mid:p7\r\n") && sent.sdp.contains("a=group:BUNDLE p7\r\n"));
    // webrtcbin goes on under its own media id: 1.26 finds its transceivers by it.
    assert_eq!(set.sdp, sent.sdp.replace("p7\r\n", "video0\r\n"));
    let answer = Description { kind: SdpKind::Answer, sdp: VIEW_ANSWER.replace("p7\r\n", "video0\r\n") };
    assert_eq!(bench.answer(VIEW_ANSWER), [Output::SetRemote(Generation(3), answer)]);
    assert_eq!(bench.put(Input::RemoteSet { generation: Generation(3) }), []);
    assert_eq!(bench.machine.state(), "stable");
    let start = Output::StartMedia { payload_type: 96, codec: Codec::H264 };
    assert_eq!(bench.put(connected(VIEW_ANSWER)), [start]);
    assert_eq!((bench.machine.state(), bench.machine.poll_timeout()), ("live", None));
}

#[test]
fn firefox_without_openh264_gets_vp8() {
    let mut bench = Bench::at("stable", FIREFOX_VIEW_ANSWER);
    let start = Output::StartMedia { payload_type: 98, codec: Codec::Vp8 };
    assert_eq!(bench.put(connected(FIREFOX_VIEW_ANSWER)), [start]);
}

#[test]
fn glare_with_a_polite_webcam_page_ends_with_its_media_inactive() {
    for (early, answer, again) in [(EARLY, ANSWER, WEBCAM), (FIREFOX_EARLY, FIREFOX_ANSWER, FIREFOX_WEBCAM)] {
        for when in ["new", "offering", "awaiting-answer"] {
            assert_eq!(only_ignored(&Bench::at(when, answer).offer(early)), IgnoreReason::Glare, "{when}");
        }
        for when in ["applying", "stable", "live"] {
            let mut bench = Bench::at(when, answer);
            let outputs = bench.offer(again);
            let reply = Sdp::scan(sent_answer(&outputs)).unwrap();
            let directions: Vec<_> = reply.media.iter().map(|media| media.direction()).collect();
            assert_eq!(directions, [Direction::SendOnly, Direction::Inactive, Direction::Inactive]);
            assert_eq!(bench.machine.state(), when);
        }
    }
}

#[test]
fn a_reply_repeats_the_candidates_that_were_sent() {
    let mut bench = Bench::at("stable", ANSWER);
    let most = bench.machine.limits.own_candidates;
    for port in 1..=most + 1 {
        let candidate = format!("a=candidate:1 1 UDP 2015363327 192.0.2.2 {port} typ host");
        let outputs = bench.put(Input::LocalCandidate { m_line: 0, candidate });
        assert!(matches!(outputs[..], [Output::SendCandidate(_)]), "sent at once, too");
    }
    bench.put(Input::LocalCandidate { m_line: 0, candidate: String::new() });
    let outputs = bench.offer(WEBCAM);
    let reply = Sdp::scan(sent_answer(&outputs)).unwrap();
    let candidates: Vec<Vec<_>> =
        reply.media.iter().map(|media| media.lines.values("candidate").collect()).collect();
    assert_eq!(candidates[0].len(), most, "a bound on what is kept");
    assert_eq!(candidates[0][0], "1 1 UDP 2015363327 192.0.2.2 1 typ host");
    assert!(candidates[1..].iter().all(Vec::is_empty), "once for the one transport");
}

#[test]
fn an_early_offer_that_comes_after_the_answer_is_stale() {
    assert_eq!(only_ignored(&Bench::at("stable", ANSWER).offer(EARLY)), IgnoreReason::StaleDescription);
}

#[test]
fn an_answer_that_echoes_another_sessions_media_id_is_stale() {
    let mut bench = Bench::at("awaiting-answer", ANSWER);
    for other in ["p6", "p77", "video0"] {
        assert_eq!(only_ignored(&bench.answer(&ANSWER.replace("p7", other))), IgnoreReason::StaleDescription);
    }
    assert!(matches!(bench.answer(ANSWER)[..], [Output::SetRemote(..)]));
}

#[test]
fn an_offer_about_another_sessions_media_is_stale() {
    let mut bench = Bench::at("live", ANSWER);
    assert_eq!(only_ignored(&bench.offer(&WEBCAM.replace("p7", "p6"))), IgnoreReason::StaleDescription);
}

#[test]
fn a_second_copy_of_the_answer_is_ignored() {
    for when in ["applying", "stable", "live"] {
        assert_eq!(only_ignored(&Bench::at(when, ANSWER).answer(ANSWER)), IgnoreReason::Unasked);
    }
    for when in ["new", "offering"] {
        assert_eq!(only_ignored(&Bench::at(when, ANSWER).answer(ANSWER)), IgnoreReason::Unasked);
    }
}

#[test]
fn a_rejected_media_line_says_that_the_codec_is_refused() {
    for rejected in [REJECTED, FIREFOX_REJECTED] {
        let mut bench = Bench::at("awaiting-answer", ANSWER);
        assert_eq!(only_closed(&bench.answer(rejected)), &CloseReason::CodecRefused);
    }
}

#[test]
fn a_rejection_of_another_sessions_offer_is_stale() {
    let mut bench = Bench::at("awaiting-answer", ANSWER);
    assert_eq!(only_ignored(&bench.answer(&REJECTED.replace("p7", "p6"))), IgnoreReason::StaleDescription);
}

#[test]
fn an_answer_of_ours_that_cannot_be_used_ends_the_session() {
    let sha1 = format!("a=fingerprint:sha-1 {}\r\n", ["AB"; 20].join(":"));
    let own = format!("a=fingerprint:sha-256 {}\r\n", fingerprint(ANSWER));
    let other = own.replace("5E:A5", "5E:A6");
    let cases = [
        (ANSWER.replace(&own, ""), Defect::NoFingerprint),
        (ANSWER.replace(&own, &sha1), Defect::NoFingerprint),
        (ANSWER.replace(&own, &format!("{own}{other}")), Defect::TwoFingerprints),
        (ANSWER.replacen("a=group", &format!("{other}a=group"), 1), Defect::TwoFingerprints),
        (ANSWER.replace("a=ice-ufrag", "a=x"), Defect::NoIce),
        (ANSWER.replace("setup:active", "setup:actpass"), Defect::BadSetup),
        (format!("{ANSWER}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"), Defect::OtherMedia),
    ];
    for (answer, defect) in cases {
        let mut bench = Bench::at("awaiting-answer", ANSWER);
        assert_eq!(only_closed(&bench.answer(&answer)), &CloseReason::BadAnswer(defect));
    }
}

#[test]
fn the_fingerprint_may_stand_above_the_sections_and_lines_may_end_in_lf() {
    let own = format!("a=fingerprint:sha-256 {}\r\n", fingerprint(ANSWER));
    let above = ANSWER.replace(&own, "").replacen("a=group", &format!("{own}a=group"), 1);
    for answer in [above, ANSWER.replace("\r\n", "\n"), ANSWER.to_owned()] {
        let mut bench = Bench::at("stable", &answer);
        assert!(matches!(bench.put(connected(ANSWER))[..], [Output::StartMedia { .. }]));
        let _ = sent_answer(&bench.offer(&WEBCAM.replace("\r\n", "\n")));
    }
}

#[test]
fn garbage_and_oversized_descriptions_are_ignored() {
    let long = format!("{ANSWER}{}", "a=x\r\n".repeat(MAX_SDP / 5));
    for (text, defect) in [("", Defect::NotSdp), ("hello", Defect::NotSdp), (&long, Defect::TooLong)] {
        let mut bench = Bench::at("awaiting-answer", ANSWER);
        assert_eq!(only_ignored(&bench.answer(text)), IgnoreReason::BadDescription(defect));
        assert!(matches!(bench.answer(ANSWER)[..], [Output::SetRemote(..)]));
        assert_eq!(only_ignored(&bench.offer(text)), IgnoreReason::BadDescription(defect));
    }
}

#[test]
fn candidates_before_the_answer_are_held_and_follow_it() {
    let mut bench = Bench::at("awaiting-answer", ANSWER);
    assert_eq!(bench.put(candidate("p7", "3yZj")), []);
    assert_eq!(bench.put(candidate("p7", "zIme")), []);
    let outputs = bench.answer(ANSWER);
    let [Output::SetRemote(..), Output::AddCandidate { m_line: 0, .. }, Output::Ignored(reason)] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(*reason, IgnoreReason::StaleCandidate);
}

#[test]
fn an_early_offers_candidates_are_not_held() {
    for when in ["new", "offering"] {
        assert_eq!(
            only_ignored(&Bench::at(when, ANSWER).put(candidate("0", "zIme"))),
            IgnoreReason::StaleCandidate
        );
    }
    let mut bench = Bench::at("awaiting-answer", ANSWER);
    assert_eq!(only_ignored(&bench.put(candidate("0", "zIme"))), IgnoreReason::OtherMedia);
}

#[test]
fn candidates_of_another_ice_generation_are_stale() {
    for when in ["applying", "stable", "live"] {
        let mut bench = Bench::at(when, ANSWER);
        assert!(matches!(bench.put(candidate("p7", "3yZj"))[..], [Output::AddCandidate { .. }]));
        assert_eq!(only_ignored(&bench.put(candidate("p7", "zIme"))), IgnoreReason::StaleCandidate);
    }
}

#[test]
fn no_more_candidates_is_not_passed_on() {
    let empty = Candidate { sdp_mid: Some("p7".into()), ..Candidate::default() };
    for end in [None, Some(empty)] {
        for when in ["awaiting-answer", "stable"] {
            let outputs = Bench::at(when, ANSWER).put(Input::RemoteCandidate(end.clone()));
            assert_eq!(only_ignored(&outputs), IgnoreReason::EndOfCandidates);
        }
    }
}

#[test]
fn candidates_in_an_answer_are_checked_like_others() {
    let lines = "a=candidate:1 1 udp 1 192.0.2.2 9 typ host\r\na=candidate:2 1 udp 1 x.local 9 typ host\r\na=end-of-candidates\r\n";
    let outputs = Bench::at("awaiting-answer", ANSWER).answer(&format!("{ANSWER}{lines}"));
    let [Output::SetRemote(_, set), Output::AddCandidate { candidate, .. }, Output::Ignored(reason)] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(set.sdp, ANSWER.replace("p7\r\n", "video0\r\n"));
    assert_eq!(
        (candidate.as_str(), *reason),
        ("candidate:1 1 udp 1 192.0.2.2 9 typ host", IgnoreReason::Mdns)
    );
}

#[test]
fn candidates_are_bounded() {
    let mut bench = Bench::with(Limits { held_candidates: 2, remote_candidates: 3, ..Limits::default() });
    let _ = (bench.put(Input::Start), bench.put(offer_created(1)));
    let _ = (bench.put(candidate("p7", "3yZj")), bench.put(candidate("p7", "3yZj")));
    assert_eq!(only_ignored(&bench.put(candidate("p7", "3yZj"))), IgnoreReason::TooManyCandidates);
    assert_eq!(bench.answer(ANSWER).len(), 3);
    assert!(matches!(bench.put(candidate("p7", "3yZj"))[..], [Output::AddCandidate { .. }]));
    assert_eq!(only_ignored(&bench.put(candidate("p7", "3yZj"))), IgnoreReason::TooManyCandidates);
}

#[test]
fn our_candidates_carry_our_media_id_and_ufrag() {
    let local = |m_line, candidate: &str| Input::LocalCandidate { m_line, candidate: candidate.into() };
    assert_eq!(
        only_ignored(&Bench::at("offering", ANSWER).put(local(0, "candidate:1"))),
        IgnoreReason::OutOfTurn
    );
    for when in ["awaiting-answer", "live"] {
        let mut bench = Bench::at(when, ANSWER);
        for text in ["candidate:1 1 UDP 2015363327 192.0.2.2 43780 typ host", ""] {
            let expected = Candidate {
                candidate: text.into(),
                sdp_mid: Some("p7".into()),
                sdp_m_line_index: Some(0),
                username_fragment: Some("beeW0JtoDnvFHarm+RWRh+KulA1axNQC".into()),
            };
            assert_eq!(bench.put(local(0, text)), [Output::SendCandidate(expected)]);
        }
        assert_eq!(only_ignored(&bench.put(local(1, "x"))), IgnoreReason::OtherMedia);
    }
}

#[test]
fn an_ice_restart_asks_for_a_new_session() {
    let cases = [(VIEW_ANSWER, RESTART), (FIREFOX_VIEW_ANSWER, FIREFOX_RESTART)];
    for when in ["applying", "stable", "live"] {
        for (answer, restart) in cases {
            let mut bench = Bench::at(when, answer);
            assert_eq!(bench.offer(restart), [Output::Renew, Output::Close(CloseReason::Renewed)]);
            assert_eq!(bench.offer(restart), []);
        }
    }
}

#[test]
fn a_later_offer_from_another_certificate_ends_the_session() {
    let outputs = Bench::at("live", ANSWER).offer(&WEBCAM.replace("5E:A5", "5E:A6"));
    assert_eq!(only_closed(&outputs), &CloseReason::FingerprintMismatch);
}

#[test]
fn a_page_that_stops_our_media_ends_the_session() {
    let outputs = Bench::at("live", ANSWER).offer(&WEBCAM.replace("m=video 58857", "m=video 0"));
    assert_eq!(only_closed(&outputs), &CloseReason::Stopped);
}

#[test]
fn offers_for_ever_end_the_session() {
    let mut bench = Bench::at("live", ANSWER);
    // The answer was the first description.
    for _ in 1..Limits::default().descriptions {
        let _ = sent_answer(&bench.offer(WEBCAM));
    }
    assert_eq!(only_closed(&bench.offer(WEBCAM)), &CloseReason::TooManyDescriptions);
    assert!(bench.machine.is_closed());
}

#[test]
fn connected_before_the_answer_is_set_waits_for_it() {
    let mut bench = Bench::at("applying", ANSWER);
    assert_eq!(bench.put(connected(ANSWER)), []);
    assert_eq!(only_ignored(&bench.put(connected(ANSWER))), IgnoreReason::OutOfTurn);
    let outputs = bench.put(Input::RemoteSet { generation: Generation(3) });
    assert!(matches!(outputs[..], [Output::StartMedia { .. }]));
    assert_eq!(bench.machine.state(), "live");
}

#[test]
fn connected_twice_starts_media_once() {
    let mut bench = Bench::at("live", ANSWER);
    assert_eq!(only_ignored(&bench.put(connected(ANSWER))), IgnoreReason::OutOfTurn);
}

#[test]
fn the_certificate_in_use_must_be_the_answers() {
    for when in ["applying", "stable", "live"] {
        for fingerprint in [None, Some(String::new()), Some(fingerprint(VIEW_ANSWER)), Some("AB:CD".into())] {
            let outputs = Bench::at(when, ANSWER).put(Input::Connected { fingerprint });
            assert_eq!(only_closed(&outputs), &CloseReason::FingerprintMismatch);
        }
    }
    let lower = Some(fingerprint(ANSWER).to_lowercase());
    assert!(matches!(
        Bench::at("stable", ANSWER).put(Input::Connected { fingerprint: lower })[..],
        [Output::StartMedia { .. }]
    ));
}

#[test]
fn connected_without_an_answer_proves_nothing() {
    for when in ["new", "offering", "awaiting-answer"] {
        assert_eq!(only_ignored(&Bench::at(when, ANSWER).put(connected(ANSWER))), IgnoreReason::OutOfTurn);
    }
}

#[test]
fn what_does_not_come_in_time_is_named() {
    let cases = [
        ("offering", CloseReason::NoOffer),
        ("awaiting-answer", CloseReason::NoAnswer),
        ("applying", CloseReason::NotConnected),
        ("stable", CloseReason::NotConnected),
    ];
    for (when, reason) in cases {
        let mut bench = Bench::at(when, ANSWER);
        assert_eq!(bench.machine.poll_timeout(), Some(bench.now + Duration::from_secs(10)));
        assert_eq!(bench.later(9), []);
        assert_eq!(only_closed(&bench.later(1)), &reason, "{when}");
        assert_eq!(bench.machine.poll_timeout(), None);
    }
    for when in ["new", "live"] {
        assert_eq!(Bench::at(when, ANSWER).later(3600), [], "{when}");
    }
}

#[test]
fn results_of_gstreamer_that_come_late_are_stale() {
    let stale = |got, want| IgnoreReason::Stale { got: Generation(got), want: Generation(want) };
    assert_eq!(only_ignored(&Bench::at("offering", ANSWER).put(offer_created(9))), stale(9, 1));
    assert_eq!(only_ignored(&Bench::at("awaiting-answer", ANSWER).put(offer_created(1))), stale(1, 2));
    let set = |generation| Input::RemoteSet { generation: Generation(generation) };
    assert_eq!(only_ignored(&Bench::at("applying", ANSWER).put(set(2))), stale(2, 3));
    assert_eq!(only_ignored(&Bench::at("stable", ANSWER).put(set(3))), IgnoreReason::OutOfTurn);
    let failed = |generation| Input::PromiseFailed { generation: Generation(generation), what: "no".into() };
    assert_eq!(only_ignored(&Bench::at("applying", ANSWER).put(failed(2))), stale(2, 3));
    assert_eq!(only_ignored(&Bench::at("stable", ANSWER).put(failed(3))), IgnoreReason::OutOfTurn);
}

#[test]
fn what_webrtcbin_cannot_do_ends_the_session() {
    for (when, generation) in [("offering", 1), ("awaiting-answer", 2), ("applying", 3)] {
        let what = "x".repeat(1000);
        let input = Input::PromiseFailed { generation: Generation(generation), what };
        assert_eq!(only_closed(&Bench::at(when, ANSWER).put(input)), &CloseReason::Failed("x".repeat(200)));
    }
    let empty = Input::OfferCreated { generation: Generation(1), sdp: String::new() };
    let outputs = Bench::at("offering", ANSWER).put(empty);
    assert_eq!(only_closed(&outputs), &CloseReason::Failed("unusable offer: it is not SDP".into()));
}

#[test]
fn started_twice_is_once() {
    for when in ["offering", "live"] {
        assert_eq!(only_ignored(&Bench::at(when, ANSWER).put(Input::Start)), IgnoreReason::OutOfTurn);
    }
}

#[test]
fn the_drawing_is_the_machine() {
    // Every way of every input in every state; what moves must be drawn, and what is drawn must move.
    let mut walked = BTreeSet::new();
    for from in ["new", "offering", "awaiting-answer", "applying", "stable", "live"] {
        for proven in [false, true] {
            for input in all_inputs() {
                for full in [false, true] {
                    let mut bench = Bench::at(from, ANSWER);
                    if proven && from == "applying" {
                        let _ = bench.put(connected(ANSWER));
                    }
                    if full {
                        bench.machine.limits.descriptions = 0;
                    }
                    bench.now += Duration::from_secs(3600);
                    let name = input.name();
                    let _ = bench.put(input.clone());
                    if bench.machine.state() != from {
                        walked.insert((from.to_owned(), name.to_owned(), bench.machine.state().to_owned()));
                    }
                }
            }
        }
    }
    assert_eq!(walked, drawn());
}

/// One of each kind of input, good and bad.
fn all_inputs() -> Vec<Input> {
    let mut inputs = vec![
        Input::Start,
        Input::OfferCreated { generation: Generation(1), sdp: String::new() },
        offer_created(1),
        remote(SdpKind::Answer, ANSWER),
        remote(SdpKind::Answer, REJECTED),
        remote(SdpKind::Offer, WEBCAM),
        remote(SdpKind::Offer, RESTART),
        candidate("p7", "3yZj"),
        Input::RemoteCandidate(None),
        Input::LocalCandidate { m_line: 0, candidate: String::new() },
        connected(ANSWER),
        Input::Connected { fingerprint: None },
        Input::Lost(LossReason::Silent),
        Input::Tick,
    ];
    for generation in (1..4).map(Generation) {
        inputs.push(Input::RemoteSet { generation });
        inputs.push(Input::PromiseFailed { generation, what: String::new() });
    }
    inputs
}

/// The edges of `negotiation.dot`: from, input, to.
pub(super) fn drawn() -> BTreeSet<(String, String, String)> {
    let edges = DOT.lines().filter(|line| line.contains("->"));
    let parts = edges.map(|line| line.split('"').collect::<Vec<_>>());
    parts
        .flat_map(|parts| {
            let [_, from, _, to, _, labels, _] = parts[..] else { panic!("{parts:?}") };
            let labels = labels.split(", ");
            labels.map(|label| (from.to_owned(), label.to_owned(), to.to_owned())).collect::<Vec<_>>()
        })
        .collect()
}
