//! What a camera and one browser agree on: our offer, the browser's answer to it, and our replies to the offers
//! the browser makes later (a page added its webcam).
//!
//! Those replies are written here and webrtcbin never hears of them, for three reasons, all measured with 1.22.0:
//! its own reply says `a=setup:active` to whom it already plays the passive part, and Chromium 156 refuses that
//! ("Failed to set SSL role for the transport"); a later offer whose media ids differ from the ones before ends
//! the *process* (`g_assert` in `_create_answer_task`), and the browser writes those; and it would build a
//! receiving chain for media that nobody wants. So the one text from a browser that reaches GStreamer is its
//! first answer, and it has been checked.

use super::Codec;
use crate::proto::sdp::{Defect, Direction, Media, Sdp, with_mid, without_candidates};

/// Our offer as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// The text, with our media id in it.
    pub(super) sdp: String,
    /// `p` and the session's tag: what an answer must echo. webrtcbin calls every session's media `video0`.
    pub(super) mid: String,
    /// What webrtcbin calls it, and must go on calling it: 1.26 finds its transceivers by this.
    own_mid: String,
    /// Our ICE user name fragment, which goes with our candidates.
    pub(super) ufrag: String,
    codecs: Vec<(u8, Codec)>,
}

/// What the browser's answer settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agreed {
    /// What our packets are and are numbered.
    pub(super) codec: Codec,
    /// The payload type of [`Self::codec`].
    pub(super) payload_type: u8,
    /// SHA-256 of the browser's certificate, in capitals.
    pub(super) fingerprint: String,
    /// The browser's ICE user name fragment: its candidates carry the same.
    pub(super) ufrag: String,
    password: String,
    formats: Vec<String>,
    extensions: Vec<String>,
    browser_is_active: bool,
}

/// Why an answer is not one to our offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerFault {
    /// It is for another session's offer.
    Foreign,
    /// It cannot be read, so it may be anybody's.
    Unreadable(Defect),
    /// It turns our media down.
    Refused,
    /// It is for our offer and cannot be used.
    Unusable(Defect),
}

/// Why a later offer gets no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfferFault {
    /// It is about another session's media.
    Foreign,
    /// It restarts ICE, which webrtcbin cannot (1.22 and 1.26).
    Restart,
    /// It ends our media.
    Stopped,
    /// It comes from another certificate than the answer.
    Fingerprint,
    /// It is broken.
    Unusable(Defect),
}

impl From<Defect> for AnswerFault {
    fn from(defect: Defect) -> Self {
        Self::Unusable(defect)
    }
}

impl From<Defect> for OfferFault {
    fn from(defect: Defect) -> Self {
        Self::Unusable(defect)
    }
}

impl Offer {
    /// Reads what webrtcbin made and gives its media the id that belongs to `tag` alone.
    pub(super) fn read(text: &str, tag: u64) -> Result<Self, Defect> {
        let sdp = Sdp::scan(text)?;
        let [media] = &sdp.media[..] else {
            return Err(Defect::OtherMedia);
        };
        if media.kind != "video" {
            return Err(Defect::OtherMedia);
        }
        let old = media.mid().ok_or(Defect::BadMid)?;
        let codecs: Vec<_> = media.formats.iter().filter_map(|format| codec(media, format)).collect();
        if codecs.is_empty() {
            return Err(Defect::NoCodec);
        }
        let ufrag = sdp.ice(media)?.0.to_owned();
        sdp.fingerprint(media)?;
        let mid = format!("p{tag}");
        Ok(Self { sdp: with_mid(text, old, &mid), mid, own_mid: old.to_owned(), ufrag, codecs })
    }

    /// The browser's answer as webrtcbin may see it: under webrtcbin's own media id, without candidates.
    pub(super) fn for_webrtcbin(&self, answer: &str) -> String {
        with_mid(&without_candidates(answer), &self.mid, &self.own_mid)
    }

    /// Checks an answer. Whose it is comes first: the answer of a session just replaced is no fault of this one.
    pub(super) fn agree(&self, text: &str) -> Result<Agreed, AnswerFault> {
        let sdp = Sdp::scan(text).map_err(AnswerFault::Unreadable)?;
        let Some(media) = sdp.media.first().filter(|media| media.mid() == Some(&self.mid)) else {
            return Err(AnswerFault::Foreign);
        };
        // Firefox leaves credentials and all out of a section it rejects: ask this before those.
        if media.is_rejected() {
            return Err(AnswerFault::Refused);
        }
        if sdp.media.len() != 1 || media.kind != "video" {
            return Err(Defect::OtherMedia.into());
        }
        let (ufrag, password) = sdp.ice(media)?;
        let fingerprint = sdp.fingerprint(media)?;
        let browser_is_active = match media.lines.value("setup").or_else(|| sdp.session.value("setup")) {
            Some("active") => true,
            Some("passive") => false,
            _ => return Err(Defect::BadSetup.into()),
        };
        let wanted = |format: &&str| self.codecs.iter().find(|(number, _)| format.parse() == Ok(*number));
        let &(payload_type, codec) = media.formats.iter().find_map(wanted).ok_or(AnswerFault::Refused)?;
        Ok(Agreed {
            codec,
            payload_type,
            fingerprint,
            ufrag: ufrag.to_owned(),
            password: password.to_owned(),
            formats: media.formats.iter().map(|&format| format.to_owned()).collect(),
            extensions: media.lines.values("extmap").map(|value| extension(value).to_owned()).collect(),
            browser_is_active,
        })
    }

    /// The reply to a later offer: our media as agreed, everything else inactive. `version` counts our
    /// descriptions from the offer, which is 0; `candidates` are those that were sent so far.
    pub(super) fn reply(
        &self,
        agreed: &Agreed,
        text: &str,
        version: u64,
        candidates: &[String],
    ) -> Result<String, OfferFault> {
        let theirs = Sdp::scan(text)?;
        let Some(first) = theirs.media.first().filter(|media| media.mid() == Some(&self.mid)) else {
            return Err(OfferFault::Foreign);
        };
        let mids: Vec<&str> = theirs.media.iter().map_while(Media::mid).collect();
        if mids.len() != theirs.media.len() || (1..mids.len()).any(|i| mids[..i].contains(&mids[i])) {
            return Err(Defect::BadMid.into());
        }
        if first.is_rejected() {
            return Err(OfferFault::Stopped);
        }
        if theirs.ice(first)? != (agreed.ufrag.as_str(), agreed.password.as_str()) {
            return Err(OfferFault::Restart);
        }
        if theirs.fingerprint(first)? != agreed.fingerprint {
            return Err(OfferFault::Fingerprint);
        }
        if !first.formats.iter().any(|format| format.parse() == Ok(agreed.payload_type)) {
            return Err(Defect::NoCodec.into());
        }
        Ok(self.write_reply(agreed, &theirs, version, candidates)?)
    }

    fn write_reply(
        &self,
        agreed: &Agreed,
        theirs: &Sdp<'_>,
        version: u64,
        candidates: &[String],
    ) -> Result<String, Defect> {
        let ours = Sdp::scan(&self.sdp)?;
        let (Some(our_media), Some(first)) = (ours.media.first(), theirs.media.first()) else {
            return Err(Defect::NotSdp);
        };
        let bundle = theirs.bundled_with(&self.mid);
        let taken =
            |media: &&Media<'_>| !media.is_rejected() && media.mid().is_some_and(|mid| bundle.contains(&mid));
        let added = || theirs.media.iter().skip(1);
        let mut out = Writer(String::with_capacity(2048));

        // As in our offer; the version of `o=` grows with each description (RFC 8829 section 5.3.2).
        for line in &ours.session.0 {
            if let Some(origin) = line.strip_prefix("o=") {
                out.line(&format!("o={}", with_version(origin, version)));
            } else if !line.starts_with("a=group:") {
                out.line(line);
            }
        }
        let mids = added().filter(taken).filter(|media| is_rtp(media)).filter_map(Media::mid);
        let mids: Vec<_> = std::iter::once(self.mid.as_str()).chain(mids).collect();
        out.line(&format!("a=group:BUNDLE {}", mids.join(" ")));
        self.write_our_section(&mut out, our_media, agreed, first);
        // Each description has those gathered so far (RFC 8829 section 5.3.2). Firefox 153 depends on it: of candidates that
        // come while its own offer is under way it takes only those that the reply repeats.
        candidates.iter().for_each(|candidate| out.line(&format!("a={candidate}")));
        let transport = self.transport(&ours, our_media, agreed)?;
        for media in added() {
            write_added_section(&mut out, media, taken(&media).then_some(&transport));
        }
        Ok(out.0)
    }

    /// Our section is that of our offer without what the browser did not take, so payload types, header
    /// extensions and SSRCs stay what they are on the wire.
    fn write_our_section(&self, out: &mut Writer, ours: &Media<'_>, agreed: &Agreed, theirs: &Media<'_>) {
        let is_taken = |format: &&str| {
            agreed.formats.iter().any(|taken| taken == format) && theirs.formats.contains(format)
        };
        let formats: Vec<&str> = ours.formats.iter().copied().filter(is_taken).collect();
        out.line(&format!("m=video 9 {} {}", ours.protocol, formats.join(" ")));
        for line in &ours.lines.0 {
            let Some(attribute) = line.strip_prefix("a=") else {
                out.line(line);
                continue;
            };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            let keep = match name {
                "rtpmap" | "fmtp" | "rtcp-fb" => {
                    value.split(' ').next().is_some_and(|format| formats.contains(&format))
                }
                "extmap" => agreed.extensions.iter().any(|taken| taken == extension(value)),
                // The last belongs in offers only (RFC 8858).
                "setup" | "candidate" | "end-of-candidates" | "rtcp-mux-only" => false,
                _ => Direction::read(attribute).is_none(),
            };
            if keep {
                out.line(line);
            }
        }
        out.line(agreed.our_setup());
        // A page that stopped receiving for a while is told that we understood; what we send it is dropped there.
        let receives = matches!(theirs.direction(), Direction::SendRecv | Direction::RecvOnly);
        out.line(if receives { "a=sendonly" } else { "a=inactive" });
    }

    /// The lines of the one transport: Chromium writes them in every section, so a reply may as well.
    fn transport(&self, ours: &Sdp<'_>, media: &Media<'_>, agreed: &Agreed) -> Result<[String; 4], Defect> {
        let (ufrag, password) = ours.ice(media)?;
        let fingerprint = ours.fingerprint(media)?;
        Ok([
            format!("a=ice-ufrag:{ufrag}"),
            format!("a=ice-pwd:{password}"),
            format!("a=fingerprint:sha-256 {fingerprint}"),
            agreed.our_setup().to_owned(),
        ])
    }
}

impl Agreed {
    /// Our side of the DTLS handshake, which a later description must not change.
    fn our_setup(&self) -> &'static str {
        if self.browser_is_active { "a=setup:passive" } else { "a=setup:active" }
    }
}

/// A section that the browser added: inactive, on our transport and with the one format that it likes best; or
/// rejected when there is no transport for it, or it is a data channel, which cannot be inactive.
fn write_added_section(out: &mut Writer, media: &Media<'_>, transport: Option<&[String; 4]>) {
    let (Some(mid), Some(format)) = (media.mid(), media.formats.first()) else {
        return;
    };
    let transport = transport.filter(|_| is_rtp(media));
    let port = if transport.is_some() { 9 } else { 0 };
    out.line(&format!("m={} {port} {} {format}", media.kind, media.protocol));
    out.line("c=IN IP4 0.0.0.0");
    out.line(&format!("a=mid:{mid}"));
    out.line("a=inactive");
    let Some(transport) = transport else { return };
    transport.iter().for_each(|line| out.line(line));
    out.line("a=rtcp-mux");
    for name in ["rtpmap", "fmtp"] {
        for value in media.lines.values(name).filter(|value| value.split(' ').next() == Some(format)) {
            out.line(&format!("a={name}:{value}"));
        }
    }
}

fn is_rtp(media: &Media<'_>) -> bool {
    matches!(media.kind, "audio" | "video") && media.protocol == "UDP/TLS/RTP/SAVPF"
}

/// The codec of a payload type, if it is one we can send.
fn codec(media: &Media<'_>, format: &str) -> Option<(u8, Codec)> {
    let number = format.parse().ok().filter(|number| *number < 128)?;
    let name = media.codec(format)?;
    let known = [("H264", Codec::H264), ("VP8", Codec::Vp8)];
    known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, codec)| (number, codec))
}

/// The number of a header extension, from `3 urn:…` or `3/recvonly urn:…`.
fn extension(value: &str) -> &str {
    value.split([' ', '/']).next().unwrap_or(value)
}

/// `- ID VERSION IN IP4 ADDRESS` with another version.
fn with_version(origin: &str, version: u64) -> String {
    let version = version.to_string();
    let words = origin.split(' ').enumerate().map(|(i, word)| if i == 2 { version.as_str() } else { word });
    words.collect::<Vec<_>>().join(" ")
}

struct Writer(String);

impl Writer {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = include_str!("../../../tests/data/sdp/webrtcbin_offer.sdp");
    const CHROMIUM_ANSWER: &str = include_str!("../../../tests/data/sdp/chromium_webcam_answer.sdp");
    const CHROMIUM_OFFER: &str = include_str!("../../../tests/data/sdp/chromium_webcam_offer.sdp");
    const FIREFOX_ANSWER: &str = include_str!("../../../tests/data/sdp/firefox_webcam_answer.sdp");
    const FIREFOX_OFFER: &str = include_str!("../../../tests/data/sdp/firefox_webcam_offer.sdp");
    const CHANNEL_ANSWER: &str = include_str!("../../../tests/data/sdp/chromium_datachannel_answer.sdp");
    const CHANNEL_OFFER: &str = include_str!("../../../tests/data/sdp/chromium_datachannel_offer.sdp");

    fn reply(answer: &str, offer: &str) -> Result<String, OfferFault> {
        let ours = Offer::read(OFFER, 7).unwrap();
        let agreed = ours.agree(answer).unwrap();
        ours.reply(&agreed, offer, 1, &[])
    }

    #[test]
    fn our_media_id_and_nothing_else_is_changed_in_our_offer() {
        let offer = Offer::read(OFFER, 7).unwrap();
        assert_eq!(offer.sdp.replace("p7", "video0"), OFFER);
        assert_eq!(offer.codecs, [(96, Codec::H264), (98, Codec::Vp8)]);
    }

    #[test]
    fn the_codec_is_the_first_of_the_answer_that_we_offered() {
        let offer = Offer::read(OFFER, 7).unwrap();
        let chosen = |answer: &str| offer.agree(answer).map(|agreed| (agreed.payload_type, agreed.codec));
        assert_eq!(chosen(CHROMIUM_ANSWER), Ok((96, Codec::H264)));
        assert_eq!(chosen(FIREFOX_ANSWER), Ok((98, Codec::Vp8)), "Firefox without OpenH264");
        assert_eq!(
            chosen(&CHROMIUM_ANSWER.replace("SAVPF 96 98 97", "SAVPF 97 98 96")),
            Ok((98, Codec::Vp8))
        );
        assert_eq!(
            chosen(&CHROMIUM_ANSWER.replace("SAVPF 96 98 97", "SAVPF 97 33")),
            Err(AnswerFault::Refused)
        );
    }

    #[test]
    fn a_reply_sends_ours_and_quiets_what_was_added() {
        for (answer, offer, formats) in [
            (CHROMIUM_ANSWER, CHROMIUM_OFFER, vec!["96", "98", "97"]),
            (FIREFOX_ANSWER, FIREFOX_OFFER, vec!["98"]),
        ] {
            let text = reply(answer, offer).unwrap();
            let (sdp, theirs) = (Sdp::scan(&text).unwrap(), Sdp::scan(offer).unwrap());
            assert_eq!(sdp.bundled_with("p7"), ["p7", "2", "3"]);
            assert_eq!(sdp.media.len(), theirs.media.len());
            assert_eq!((sdp.media[0].direction(), &sdp.media[0].formats), (Direction::SendOnly, &formats));
            for (mine, their) in sdp.media.iter().zip(&theirs.media) {
                assert_eq!((mine.mid(), mine.kind, mine.port), (their.mid(), their.kind, 9));
                assert_eq!(mine.lines.value("setup"), Some("passive"), "as settled by the answer");
                assert!(sdp.ice(mine).is_ok() && sdp.fingerprint(mine).is_ok());
            }
            for mine in &sdp.media[1..] {
                assert_eq!(mine.direction(), Direction::Inactive);
                assert!(mine.codec(mine.formats[0]).is_some());
            }
        }
    }

    #[test]
    fn each_reply_has_a_higher_version() {
        assert!(
            reply(CHROMIUM_ANSWER, CHROMIUM_OFFER)
                .unwrap()
                .contains("o=- 1478290610529897832 1 IN IP4 0.0.0.0\r\n")
        );
    }

    #[test]
    fn a_data_channel_is_rejected() {
        let text = reply(CHANNEL_ANSWER, CHANNEL_OFFER).unwrap();
        let sdp = Sdp::scan(&text).unwrap();
        assert!(sdp.media[1].is_rejected());
        assert_eq!(sdp.media[1].formats, ["webrtc-datachannel"]);
        assert_eq!(sdp.bundled_with("p7"), ["p7"]);
    }

    #[test]
    fn a_section_outside_the_bundle_is_rejected() {
        let offer = CHROMIUM_OFFER.replace("BUNDLE p7 2 3", "BUNDLE p7 3");
        let text = reply(CHROMIUM_ANSWER, &offer).unwrap();
        let sdp = Sdp::scan(&text).unwrap();
        assert_eq!(sdp.media.iter().map(Media::is_rejected).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn a_page_that_stops_receiving_is_told_inactive() {
        let offer = CHROMIUM_OFFER.replacen("a=recvonly", "a=inactive", 1);
        let text = reply(CHROMIUM_ANSWER, &offer).unwrap();
        assert_eq!(Sdp::scan(&text).unwrap().media[0].direction(), Direction::Inactive);
    }

    #[test]
    fn header_extensions_that_the_browser_took_stay() {
        let with = |text: &str, lines: &str| text.replacen("a=mid:", &format!("{lines}a=mid:"), 1);
        let ours = Offer::read(&with(OFFER, "a=extmap:6 urn:delay\r\na=extmap:5 urn:other\r\n"), 7).unwrap();
        let agreed = ours.agree(&with(CHROMIUM_ANSWER, "a=extmap:6/recvonly urn:delay\r\n")).unwrap();
        let text = ours.reply(&agreed, CHROMIUM_OFFER, 1, &[]).unwrap();
        assert!(text.contains("a=extmap:6 urn:delay\r\n") && !text.contains("urn:other"), "{text}");
    }

    #[test]
    fn a_later_offer_that_cannot_be_answered_says_why() {
        let fault = |offer: &str| reply(CHROMIUM_ANSWER, offer).unwrap_err();
        assert_eq!(fault(&CHROMIUM_OFFER.replace("p7", "p6")), OfferFault::Foreign);
        assert_eq!(fault(&CHROMIUM_OFFER.replace("3yZj", "new")), OfferFault::Restart);
        assert_eq!(fault(&CHROMIUM_OFFER.replace("4eJXUt0l6n46e6PpmpCmFmNn", "new")), OfferFault::Restart);
        assert_eq!(fault(&CHROMIUM_OFFER.replace("5E:A5", "5E:A6")), OfferFault::Fingerprint);
        assert_eq!(
            fault(&CHROMIUM_OFFER.replace("a=mid:3", "a=mid:2")),
            OfferFault::Unusable(Defect::BadMid)
        );
        assert_eq!(fault(&CHROMIUM_OFFER.replace("a=mid:3", "a=x")), OfferFault::Unusable(Defect::BadMid));
        assert_eq!(fault(&CHROMIUM_OFFER.replace("m=video 58857", "m=video 0")), OfferFault::Stopped);
        assert_eq!(
            fault(&CHROMIUM_OFFER.replace("SAVPF 96 ", "SAVPF ")),
            OfferFault::Unusable(Defect::NoCodec)
        );
    }
}
