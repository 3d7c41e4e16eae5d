//! Reading session descriptions: a line scanner, not a parser. It looks at the few attributes that decide
//! whether a description may be used and leaves the rest to those who understand it.
//!
//! Lines may end in CRLF or LF (RFC 8866 section 5 asks readers to take both). Nothing here panics, and the work is
//! bounded by [`MAX_SDP`].

use std::fmt;

/// Longest description that is looked at, in bytes. Chromium 156 needs 10 kB for a camera, a microphone and a
/// screen, Firefox 153 half of that.
pub const MAX_SDP: usize = 32 * 1024;
/// Most media lines in one description. Browsers reuse the lines of stopped tracks, so real pages stay far below.
pub const MAX_MEDIA: usize = 32;
/// Longest media id that is taken, in bytes. Browsers count up from `0`.
const MAX_MID: usize = 64;

/// Why a description cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// Over [`MAX_SDP`] bytes.
    TooLong,
    /// No SDP at all, or a media line that is none.
    NotSdp,
    /// Over [`MAX_MEDIA`] media lines.
    TooManyMedia,
    /// A different number of media lines than the offer has, or not video.
    OtherMedia,
    /// A media line without a media id, or two with the same.
    BadMid,
    /// No ICE user name fragment or password.
    NoIce,
    /// No SHA-256 certificate fingerprint.
    NoFingerprint,
    /// More than one SHA-256 certificate fingerprint: nobody could say which of them is the peer's.
    TwoFingerprints,
    /// An answer that does not say which side starts the DTLS handshake.
    BadSetup,
    /// No payload type that is H.264 or VP8.
    NoCodec,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is too long",
            Self::NotSdp => "it is not SDP",
            Self::TooManyMedia => "it has too many media lines",
            Self::OtherMedia => "its media lines are not those of the offer",
            Self::BadMid => "a media id is missing, repeated or malformed",
            Self::NoIce => "it has no ICE credentials",
            Self::NoFingerprint => "it has no SHA-256 fingerprint",
            Self::TwoFingerprints => "it has different SHA-256 fingerprints",
            Self::BadSetup => "its DTLS role is neither active nor passive",
            Self::NoCodec => "it has neither H.264 nor VP8",
        })
    }
}

/// A description cut into lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp<'a> {
    /// Lines before the first media line.
    pub session: Lines<'a>,
    /// The media sections, in order; at least one.
    pub media: Vec<Media<'a>>,
}

impl<'a> Sdp<'a> {
    /// Cuts `text` into its sections.
    ///
    /// # Errors
    /// A [`Defect`] when it is too long, has no or too many media lines, or is not SDP to the letter: GStreamer
    /// reads leniently, and what it finds where we find nothing would get past our checks. It skips white space
    /// before a line's letter and before an attribute's name, ends a line at CR, and the text at NUL.
    pub fn scan(text: &'a str) -> Result<Self, Defect> {
        if text.len() > MAX_SDP {
            return Err(Defect::TooLong);
        }
        if !text.starts_with("v=0")
            || text.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t'))
        {
            return Err(Defect::NotSdp);
        }
        let mut session = Lines(Vec::new());
        let mut media: Vec<Media<'a>> = Vec::new();
        for line in lines(text) {
            if !is_line(line) {
                return Err(Defect::NotSdp);
            }
            if let Some(rest) = line.strip_prefix("m=") {
                if media.len() == MAX_MEDIA {
                    return Err(Defect::TooManyMedia);
                }
                media.push(Media::new(rest).ok_or(Defect::NotSdp)?);
            } else {
                media.last_mut().map_or(&mut session, |section| &mut section.lines).0.push(line);
            }
        }
        if media.is_empty() { Err(Defect::NotSdp) } else { Ok(Self { session, media }) }
    }

    /// The media ids that share one transport with `mid` (RFC 9143); empty when it is not bundled.
    #[must_use]
    pub fn bundled_with(&self, mid: &str) -> Vec<&'a str> {
        let groups = self.session.values("group").filter_map(|group| group.strip_prefix("BUNDLE"));
        let mids = |group: &'a str| group.split_ascii_whitespace().collect::<Vec<_>>();
        groups.map(mids).find(|mids| mids.contains(&mid)).unwrap_or_default()
    }

    /// The ICE user name fragment and password of a section, its own or the session's (RFC 8839 section 5.4).
    ///
    /// # Errors
    /// [`Defect::NoIce`] when one of them is missing.
    pub fn ice(&self, media: &Media<'a>) -> Result<(&'a str, &'a str), Defect> {
        let find = |name| media.lines.value(name).or_else(|| self.session.value(name));
        let both = find("ice-ufrag").zip(find("ice-pwd"));
        both.filter(|(ufrag, pwd)| !ufrag.is_empty() && !pwd.is_empty()).ok_or(Defect::NoIce)
    }

    /// The one SHA-256 fingerprint that holds for a section, in capitals.
    ///
    /// RFC 8122 lets a section's fingerprints replace the session's and lets there be several. We want the two
    /// levels to agree on one: a list would let a man in the middle add his own. Other hashes do not count.
    ///
    /// # Errors
    /// [`Defect::NoFingerprint`] or [`Defect::TwoFingerprints`].
    pub fn fingerprint(&self, media: &Media<'a>) -> Result<String, Defect> {
        let all = self.session.values("fingerprint").chain(media.lines.values("fingerprint"));
        let mut found: Option<String> = None;
        for value in all {
            let Some((hash, digits)) = value.split_once(' ') else {
                continue;
            };
            if !hash.eq_ignore_ascii_case("sha-256") {
                continue;
            }
            let digits = normal_fingerprint(digits).ok_or(Defect::NoFingerprint)?;
            if found.replace(digits.clone()).is_some_and(|before| before != digits) {
                return Err(Defect::TwoFingerprints);
            }
        }
        found.ok_or(Defect::NoFingerprint)
    }
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media<'a> {
    /// `audio`, `video`, `application`.
    pub kind: &'a str,
    /// The port; 9 is a placeholder, 0 rejects the section (unless it is bundle-only).
    pub port: u16,
    /// `UDP/TLS/RTP/SAVPF` and the like.
    pub protocol: &'a str,
    /// Payload types, or `webrtc-datachannel`.
    pub formats: Vec<&'a str>,
    /// The lines below the media line.
    pub lines: Lines<'a>,
}

impl<'a> Media<'a> {
    fn new(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next()?;
        // A port may be a range, `49170/2`; nobody in WebRTC writes one.
        let port = words.next()?.split('/').next()?.parse().ok()?;
        let protocol = words.next()?;
        let formats: Vec<_> = words.collect();
        (!formats.is_empty()).then_some(Self { kind, port, protocol, formats, lines: Lines(Vec::new()) })
    }

    /// The media id, when there is one and it is a token (RFC 5888).
    #[must_use]
    pub fn mid(&self) -> Option<&'a str> {
        let token = |mid: &&str| {
            let valid = |b: u8| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&b);
            !mid.is_empty() && mid.len() <= MAX_MID && mid.bytes().all(valid)
        };
        self.lines.value("mid").filter(token)
    }

    /// Whether the section is turned down: port 0, and not merely because it is bundle-only (RFC 9143).
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && self.lines.value("bundle-only").is_none()
    }

    /// Which way media goes, seen from the writer; `sendrecv` when nothing is said (RFC 8866 section 6.7).
    /// Firefox writes a `sendrecv` above every section, so the session's word counts for nothing.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let find = |line: &&str| Direction::read(line.strip_prefix("a=")?);
        self.lines.0.iter().find_map(find).unwrap_or(Direction::SendRecv)
    }

    /// The codec's name behind a payload type, as written.
    #[must_use]
    pub fn codec(&self, format: &str) -> Option<&'a str> {
        let mapped = |value: &'a str| {
            let (payload_type, encoding) = value.split_once(' ')?;
            (payload_type == format).then(|| encoding.trim().split('/').next())?
        };
        self.lines.values("rtpmap").find_map(mapped)
    }
}

/// Which way media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the writer.
    SendOnly,
    /// To the writer.
    RecvOnly,
    /// Not at all.
    Inactive,
}

impl Direction {
    /// The direction an attribute names, if it names one.
    #[must_use]
    pub fn read(attribute: &str) -> Option<Self> {
        Some(match attribute {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }
}

/// The lines of a section, without their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines<'a>(pub Vec<&'a str>);

impl<'a> Lines<'a> {
    /// The first value of an attribute; empty for a flag.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// All values of an attribute.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |line| match line.strip_prefix("a=")?.strip_prefix(name)? {
            "" => Some(""),
            rest => rest.strip_prefix(':').map(str::trim),
        })
    }
}

/// Thirty-two pairs of hexadecimal digits with colons between, in capitals; `None` for anything else.
#[must_use]
pub fn normal_fingerprint(digits: &str) -> Option<String> {
    let digits = digits.trim().to_ascii_uppercase();
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    (digits.split(':').count() == 32 && digits.split(':').all(pair)).then_some(digits)
}

/// `text` with the media id `old` called `new`, in its section and in the bundle; all else to the letter.
#[must_use]
pub fn with_mid(text: &str, old: &str, new: &str) -> String {
    each_line(text, |line| {
        if line.strip_prefix("a=mid:").is_some_and(|mid| mid.trim() == old) {
            return Some(format!("a=mid:{new}"));
        }
        let group = line.strip_prefix("a=group:BUNDLE")?;
        let mids = group.split_ascii_whitespace().map(|mid| if mid == old { new } else { mid });
        Some(std::iter::once("a=group:BUNDLE").chain(mids).collect::<Vec<_>>().join(" "))
    })
}

/// `text` without its `a=candidate` lines, and without the line that says no more will come.
#[must_use]
pub fn without_candidates(text: &str) -> String {
    let is_candidate = |line: &str| {
        let name = line.strip_prefix("a=").and_then(|attribute| attribute.split(':').next());
        name.is_some_and(|name| matches!(name.trim(), "candidate" | "end-of-candidates"))
    };
    each_line(text, |line| is_candidate(line).then(String::new))
}

/// The lines of `text`, whichever way they end; empty ones left out.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty())
}

/// A small letter and `=` (RFC 8866 section 5); an attribute has its name right there.
fn is_line(line: &str) -> bool {
    let is_typed = matches!(line.as_bytes(), [b'a'..=b'z', b'=', ..]);
    is_typed
        && !line.contains('\r')
        && !line.strip_prefix("a=").is_some_and(|rest| rest.starts_with([' ', '\t']))
}

/// Rewrites `text` line by line: `None` keeps a line, an empty one drops it.
fn each_line(text: &str, rewrite: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    for whole in text.split_inclusive('\n') {
        let line = whole.trim_end_matches(['\r', '\n']);
        match rewrite(line) {
            None => out.push_str(whole),
            Some(new) if new.is_empty() => {}
            Some(new) => {
                out.push_str(&new);
                out.push_str(&whole[line.len()..]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: &str = include_str!("../../tests/data/sdp/webrtcbin_offer.sdp");
    const CHROMIUM: &str = include_str!("../../tests/data/sdp/chromium_webcam_offer.sdp");
    const FIREFOX: &str = include_str!("../../tests/data/sdp/firefox_webcam_offer.sdp");

    #[test]
    fn a_webrtcbin_offer_has_one_video_section() {
        let sdp = Sdp::scan(OFFER).unwrap();
        let [media] = &sdp.media[..] else { panic!() };
        assert_eq!((media.kind, media.port, media.mid()), ("video", 9, Some("video0")));
        assert_eq!(media.formats, ["96", "98", "97"]);
        assert_eq!(
            [media.codec("96"), media.codec("98"), media.codec("9")],
            [Some("H264"), Some("VP8"), None]
        );
        assert_eq!(media.direction(), Direction::SendOnly);
        assert_eq!(sdp.ice(media).unwrap().0, "beeW0JtoDnvFHarm+RWRh+KulA1axNQC");
    }

    #[test]
    fn firefox_puts_its_fingerprint_and_a_direction_above_the_sections() {
        let sdp = Sdp::scan(FIREFOX).unwrap();
        assert!(sdp.media[0].lines.value("fingerprint").is_none());
        assert!(sdp.fingerprint(&sdp.media[0]).unwrap().starts_with("9F:E3:32:21"));
        assert_eq!(sdp.media[0].direction(), Direction::RecvOnly);
        assert!(sdp.media[2].port == 0 && !sdp.media[2].is_rejected(), "bundle-only is not rejected");
        assert_eq!(sdp.bundled_with("p7"), ["p7", "2", "3"]);
        assert!(sdp.bundled_with("9").is_empty());
    }

    #[test]
    fn session_level_ice_holds_where_a_section_has_none() {
        let text = "v=0\r\na=ice-ufrag:up\r\na=ice-pwd:pw\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=ice-ufrag:own\r\n";
        let sdp = Sdp::scan(text).unwrap();
        assert_eq!(sdp.ice(&sdp.media[0]), Ok(("up", "pw")));
        assert_eq!(sdp.ice(&sdp.media[1]), Ok(("own", "pw")));
        let bare = Sdp::scan("v=0\nm=video 9 x 96\na=ice-ufrag:u\n").unwrap();
        assert_eq!(bare.ice(&bare.media[0]), Err(Defect::NoIce));
    }

    #[test]
    fn exactly_one_sha_256_fingerprint_counts() {
        let one = ["AB"; 32].join(":");
        let other = ["CD"; 32].join(":");
        let found = |session: &[String], media: &[String]| {
            let lines =
                |all: &[String]| all.iter().map(|v| format!("a=fingerprint:{v}\r\n")).collect::<String>();
            let text = format!("v=0\r\n{}m=video 9 x 96\r\n{}", lines(session), lines(media));
            let sdp = Sdp::scan(&text).unwrap();
            sdp.fingerprint(&sdp.media[0])
        };
        let sha256 = |digits: &str| format!("sha-256 {digits}");
        assert_eq!(found(&[sha256(&one)], &[]), Ok(one.clone()));
        assert_eq!(found(&[], &[format!("SHA-256 {}", one.to_lowercase())]), Ok(one.clone()));
        assert_eq!(found(&[sha256(&one)], &[sha256(&one)]), Ok(one.clone()));
        assert_eq!(found(&[], &["sha-1 00:11".into(), sha256(&one)]), Ok(one.clone()));
        assert_eq!(found(&[sha256(&one)], &[sha256(&other)]), Err(Defect::TwoFingerprints));
        assert_eq!(found(&[], &[sha256(&one), sha256(&other)]), Err(Defect::TwoFingerprints));
        assert_eq!(found(&[], &["sha-1 00:11".into()]), Err(Defect::NoFingerprint));
        assert_eq!(found(&[], &[sha256("AB:CD")]), Err(Defect::NoFingerprint));
        assert_eq!(found(&[], &[]), Err(Defect::NoFingerprint));
    }

    #[test]
    fn either_line_end_reads_the_same() {
        let unix = CHROMIUM.replace("\r\n", "\n");
        assert_ne!(unix, CHROMIUM);
        assert_eq!(Sdp::scan(&unix), Sdp::scan(CHROMIUM));
    }

    #[test]
    fn what_is_no_description_is_named() {
        for (text, defect) in [
            (String::new(), Defect::NotSdp),
            ("v=0\r\n".into(), Defect::NotSdp),
            ("v=0\r\nm=video\r\n".into(), Defect::NotSdp),
            ("v=0\r\nm=video 70000 x 96\r\n".into(), Defect::NotSdp),
            (format!("{OFFER}a=x\0y\r\n"), Defect::NotSdp),
            (format!("{OFFER} a=candidate:x\r\n"), Defect::NotSdp),
            (format!("{OFFER}a= candidate:x\r\n"), Defect::NotSdp),
            (format!("{OFFER}\ta=x\r\n"), Defect::NotSdp),
            (format!("{OFFER}\ra=x\r\n"), Defect::NotSdp),
            (format!("{OFFER}a=ice-ufrag:a\rb\r\n"), Defect::NotSdp),
            (format!("{OFFER}A=x\r\n"), Defect::NotSdp),
            (format!("{OFFER}x\r\n"), Defect::NotSdp),
            (format!("v=0\r\n{}", "m=video 9 x 96\r\n".repeat(MAX_MEDIA + 1)), Defect::TooManyMedia),
            (format!("{OFFER}{}", " ".repeat(MAX_SDP)), Defect::TooLong),
        ] {
            assert_eq!(Sdp::scan(&text), Err(defect), "{text:.40}");
        }
    }

    #[test]
    fn a_media_id_is_renamed_in_its_section_and_in_the_bundle_only() {
        let renamed = with_mid(OFFER, "video0", "p7");
        let expected = OFFER.replace("a=mid:video0", "a=mid:p7").replace("BUNDLE video0", "BUNDLE p7");
        assert_eq!(renamed, expected);
        assert_eq!(with_mid(CHROMIUM, "zzz", "p7"), CHROMIUM);
    }

    #[test]
    fn candidates_are_taken_out() {
        let out = without_candidates(CHROMIUM) + &without_candidates(FIREFOX);
        assert!(CHROMIUM.contains("a=candidate:") && FIREFOX.contains("a=end-of-candidates"));
        assert!(!out.contains("candidate"));
        assert_eq!(without_candidates("a=candidate\r\na=candidates\r\n"), "a=candidates\r\n");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(v=0\r\n)?(([a-z]=|a=(mid|group|rtpmap|fingerprint|ice-ufrag):)?\\PC{0,20}\r?\n){0,20}") {
            let _ = (with_mid(&text, "0", "p"), without_candidates(&text));
            if let Ok(sdp) = Sdp::scan(&text) {
                for media in &sdp.media {
                    let _ = (media.mid(), media.direction(), media.is_rejected(), media.codec("96"));
                    let _ = (sdp.ice(media), sdp.fingerprint(media), sdp.bundled_with("0"));
                }
            }
        }
    }
}
