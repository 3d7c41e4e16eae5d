//! A browser's ICE candidates: which of them webrtcbin may see.

use std::net::IpAddr;

use super::IgnoreReason;
use crate::proto::message::Candidate;

/// Longest candidate that is looked at, in bytes. Real ones are under 200.
const MAX_CANDIDATE: usize = 1024;

/// A candidate that is well formed and for our media; its generation is yet to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteCandidate {
    /// `candidate:…`
    pub(super) text: String,
    /// The ICE generation it says it belongs to.
    pub(super) ufrag: Option<String>,
}

impl RemoteCandidate {
    /// Checks a candidate from the wire; `mid` is our media's.
    ///
    /// The media id tells more than the ufrag: Firefox 153 keeps its ufrag when it rolls an early offer back, while
    /// the ports gathered for it (under media ids `0`, `1`) are closed.
    pub(super) fn read(candidate: &Candidate, mid: &str) -> Result<Self, IgnoreReason> {
        match (candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index) {
            (Some(theirs), _) if theirs != mid => return Err(IgnoreReason::OtherMedia),
            (None, Some(index)) if index != 0 => return Err(IgnoreReason::OtherMedia),
            (None, None) => return Err(IgnoreReason::BadCandidate),
            _ => {}
        }
        let mut read = Self::read_text(&candidate.candidate)?;
        // Older browsers write it in the text only, and some in the field only.
        match (&candidate.username_fragment, &read.ufrag) {
            (Some(field), Some(text)) if field != text => return Err(IgnoreReason::StaleCandidate),
            (Some(field), _) => read.ufrag = Some(field.clone()),
            _ => {}
        }
        Ok(read)
    }

    /// RFC 8839 section 5.1: `candidate:` foundation component transport priority address port `typ` type …
    fn read_text(text: &str) -> Result<Self, IgnoreReason> {
        if text.len() > MAX_CANDIDATE || text.chars().any(char::is_control) {
            return Err(IgnoreReason::BadCandidate);
        }
        let text = text.strip_prefix("a=").unwrap_or(text);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [foundation, component, transport, priority, address, port, "typ", _, rest @ ..] = &words[..]
        else {
            return Err(IgnoreReason::BadCandidate);
        };
        if words.iter().any(|word| is_mdns(word)) {
            return Err(IgnoreReason::Mdns);
        }
        let known = ["udp", "tcp"].iter().any(|known| transport.eq_ignore_ascii_case(known));
        let numbers = priority.parse::<u32>().is_ok() && port.parse::<u16>().is_ok();
        // A name is never looked up, and nobody makes us send checks to a group.
        let address = address.parse().is_ok_and(|ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast());
        if !(foundation.starts_with("candidate:") && known && numbers && address) {
            return Err(IgnoreReason::BadCandidate);
        }
        // Firefox gathers for RTCP too before it knows that we mux.
        if *component != "1" {
            return Err(IgnoreReason::OtherMedia);
        }
        let ufrag = rest.chunks(2).find_map(|pair| match pair {
            ["ufrag", ufrag] => Some((*ufrag).to_owned()),
            _ => None,
        });
        // As RFC 8839 has it: GStreamer and libnice split at each single space, and with two in a row would take
        // another word for the address (and look it up, when it is none).
        Ok(Self { text: words.join(" "), ufrag })
    }
}

/// The candidates written into a description.
pub(super) fn in_description(sdp: &str) -> impl Iterator<Item = Result<RemoteCandidate, IgnoreReason>> {
    let written = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    written.map(|line| RemoteCandidate::read_text(line.trim_end()))
}

fn is_mdns(word: &str) -> bool {
    let word = word.trim_end_matches('.');
    word.len() >= 6 && word.as_bytes()[word.len() - 6..].eq_ignore_ascii_case(b".local")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: &str =
        "candidate:3116591196 1 udp 2122194687 192.0.2.2 38901 typ host generation 0 ufrag t/PJ network-id 1";

    fn read(text: &str) -> Result<RemoteCandidate, IgnoreReason> {
        let candidate =
            Candidate { candidate: text.into(), sdp_mid: Some("p7".into()), ..Candidate::default() };
        RemoteCandidate::read(&candidate, "p7")
    }

    #[test]
    fn browsers_candidates_pass() {
        for text in [
            UDP,
            "candidate:3793949654 1 tcp 1518214911 192.0.2.2 9 typ host tcptype active generation 0 ufrag t/PJ network-id 1",
            "candidate:0 1 UDP 2122187007 192.0.2.2 50165 typ host",
            "candidate:1 1 udp 1677729535 203.0.113.9 4711 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag t/PJ",
            "candidate:4 1 UDP 2015363583 fd00::2 60133 typ host",
        ] {
            assert_eq!(read(text).unwrap().text, text);
        }
        assert_eq!(read(UDP).unwrap().ufrag.as_deref(), Some("t/PJ"));
        assert_eq!(read(&format!("a={UDP}")).unwrap().text, UDP);
        assert_eq!(read(&format!("  {}  ", UDP.replace(' ', "  "))).unwrap().text, UDP);
    }

    #[test]
    fn what_webrtcbin_should_not_see_is_named() {
        let bad = [
            "x".to_owned(),
            UDP.replace("candidate:", ""),
            UDP.replace("udp", "sctp"),
            UDP.replace("192.0.2.2", "example.org"),
            UDP.replace("192.0.2.2", "224.0.0.251"),
            UDP.replace("192.0.2.2", "0.0.0.0"),
            UDP.replace("38901", "70000"),
            format!("{UDP}\r\na=x"),
            format!("{UDP} {}", "x".repeat(1024)),
        ];
        for text in bad {
            assert_eq!(read(&text), Err(IgnoreReason::BadCandidate), "{text}");
        }
        let mdns = UDP.replace("192.0.2.2", "a988bcc1-e190-4b63-96c3-156e2db5c2cf.local");
        for text in [mdns.clone(), mdns.replace(".local", ".LOCAL"), mdns.replace(".local", ".local.")] {
            assert_eq!(read(&text), Err(IgnoreReason::Mdns));
        }
        assert_eq!(read(&UDP.replace(" 1 udp", " 2 udp")), Err(IgnoreReason::OtherMedia));
    }

    #[test]
    fn a_candidate_says_which_media_it_is_for() {
        let read = |mid: Option<&str>, index, field: Option<&str>| {
            let candidate = Candidate {
                candidate: UDP.into(),
                sdp_mid: mid.map(Into::into),
                sdp_m_line_index: index,
                username_fragment: field.map(Into::into),
            };
            RemoteCandidate::read(&candidate, "p7").map(|read| read.ufrag)
        };
        assert_eq!(read(Some("p7"), Some(0), Some("t/PJ")), Ok(Some("t/PJ".into())));
        assert_eq!(read(None, Some(0), None), Ok(Some("t/PJ".into())));
        assert_eq!(read(Some("0"), Some(0), None), Err(IgnoreReason::OtherMedia));
        assert_eq!(read(None, Some(1), None), Err(IgnoreReason::OtherMedia));
        assert_eq!(read(None, None, None), Err(IgnoreReason::BadCandidate));
        assert_eq!(read(Some("p7"), None, Some("other")), Err(IgnoreReason::StaleCandidate));
    }
}
