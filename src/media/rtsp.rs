//! Cameras in the network: what they send, how to log in, and what they say in words.
//!
//! The URL holds the password. It never gets into a launch line; the element gets it as properties, and no text of
//! GStreamer that might quote it leaves this module as it is.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_sdp as gst_sdp;

use super::capture::{Words, build, by_name, stop, words};
use super::{MediaError, has_element, missing};
use crate::config::settings::{RtspTransport, Secret, redacted};

/// How long a camera may take to say what it sends. The element's own limit for each answer is 5 s.
pub(super) const DESCRIBE: Duration = Duration::from_secs(8);
/// How long it is tried to learn why a camera could not be reached.
pub(super) const REACH: Duration = Duration::from_secs(2);
/// RTSP's own port (RFC 2326, 3.2), and that of RTSP over TLS.
const PORTS: (u16, u16) = (554, 322);

/// Where a camera is and how to log in. `Debug` shows neither name nor password.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The URL without name and password; a path may hold one still.
    location: Secret,
    user: Option<Secret>,
    password: Option<Secret>,
    transport: RtspTransport,
    /// The encoding to take, as RTP names it: `H264`.
    encoding: String,
    /// Pictures a second, where the camera tells before it sends.
    pub(super) framerate: Option<(u32, u32)>,
}

/// What a camera's description says of a video: its encoding, and pictures a second.
type Video = (String, Option<(u32, u32)>);

impl Network {
    /// Asks the camera at `url` what it sends, and takes its H.264 if it has any, else its first video. Blocks.
    ///
    /// # Errors
    /// [`MediaError::Network`] when it cannot be reached, refuses, or has no video.
    pub fn describe(url: &Secret, transport: RtspTransport) -> Result<Self, MediaError> {
        let (location, user, password) = split(url.reveal());
        let mut network =
            Self { location, user, password, transport, encoding: String::new(), framerate: None };
        if !has_element("rtspsrc") {
            return Err(missing("rtspsrc"));
        }
        let pipeline = build("rtsp", "rtspsrc name=source tcp-timeout=5000000 ! fakesink")?;
        let result = network.ask(&pipeline);
        stop(&pipeline);
        let mut streams = result?;
        let chosen = streams.iter().position(|(encoding, _)| encoding == "H264").unwrap_or(0);
        if streams.is_empty() {
            return Err(MediaError::Network {
                why: "the camera sends no video at this path".into(),
                hint: "look up its video's RTSP path in its manual, and write it into `source`",
            });
        }
        (network.encoding, network.framerate) = streams.swap_remove(chosen);
        Ok(network)
    }

    /// Whether it sends H.264.
    #[must_use]
    pub fn is_h264(&self) -> bool {
        self.encoding == "H264"
    }

    /// What it sends, as RTP names it.
    #[must_use]
    pub fn encoding(&self) -> &str {
        &self.encoding
    }

    /// Encoding and rate of each video that the camera has.
    fn ask(&self, pipeline: &gst::Pipeline) -> Result<Vec<Video>, MediaError> {
        let source = by_name::<gst::Element>(pipeline, "source")?;
        self.log_in(&source);
        let (sender, answer) = mpsc::sync_channel(4);
        let told = sender.clone();
        source.connect("on-sdp", false, move |values| {
            let sdp = values[1].get::<gst_sdp::SDPMessage>().ok()?;
            let _ = told.try_send(Ok(videos(&sdp)));
            None
        });
        // Nothing is to be set up.
        source.connect("select-stream", false, |_| Some(false.to_value()));
        let bus = pipeline.bus().ok_or_else(|| MediaError::pipeline("rtsp", "has no bus"))?;
        let network = self.clone();
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(e) = message.view() {
                let _ = sender.try_send(Err(network.words(&e.error(), &e.debug().unwrap_or_default())));
            }
            gst::BusSyncReply::Drop
        });
        let _ = pipeline.set_state(gst::State::Playing);
        match answer.recv_timeout(DESCRIBE) {
            Ok(Ok(streams)) => Ok(streams),
            Ok(Err(Words { why, hint: Some(hint) })) => Err(MediaError::Network { why, hint }),
            Ok(Err(Words { why, hint: None })) => Err(MediaError::pipeline("the camera", why)),
            Err(_) => Err(MediaError::Network {
                why: format!("the camera gave no answer within {} s", DESCRIBE.as_secs()),
                hint: TRY_A_PLAYER,
            }),
        }
    }

    /// Prepares the source of a capture: where, who, how, and which of the streams.
    ///
    /// # Errors
    /// [`MediaError`] when the template's source is no `rtspsrc`.
    pub(super) fn configure(&self, source: &gst::Element) -> Result<(), MediaError> {
        if source.factory().is_none_or(|factory| factory.name() != "rtspsrc") {
            return Err(MediaError::Template("the element called `source` must be an rtspsrc".into()));
        }
        self.log_in(source);
        let (wanted, taken) = (self.encoding.clone(), AtomicBool::new(false));
        // Audio, a second picture, metadata: nobody takes them, so they are not sent.
        source.connect("select-stream", false, move |values| {
            let caps = values[2].get::<gst::Caps>().ok()?;
            let caps = caps.structure(0)?;
            let field = |name| caps.get::<String>(name).unwrap_or_default();
            let encoding = field("encoding-name");
            // One that needs no name has none.
            let is_it = encoding.is_empty() || encoding.eq_ignore_ascii_case(&wanted);
            let fits = field("media") == "video" && is_it;
            Some((fits && !taken.swap(true, Ordering::AcqRel)).to_value())
        });
        Ok(())
    }

    fn log_in(&self, source: &gst::Element) {
        source.set_property("location", self.location.reveal());
        if let Some(user) = &self.user {
            source.set_property("user-id", user.reveal());
            source.set_property("user-pw", self.password.as_ref().map_or("", Secret::reveal));
        }
        let protocols = match self.transport {
            RtspTransport::Tcp => "tcp",
            RtspTransport::Udp => "udp",
        };
        source.set_property_from_str("protocols", protocols);
    }

    /// What went wrong, for people. rtspsrc puts the status of the camera's answer behind its message.
    pub(super) fn words(&self, error: &gst::glib::Error, debug: &str) -> Words {
        let text = words(error, debug);
        let said = |status: &str| text.contains(&format!("({status})"));
        let (why, hint) = if said("401") || said("403") || error.matches(gst::ResourceError::NotAuthorized) {
            match self.user {
                Some(_) => (
                    "the camera refuses the user name or password".to_owned(),
                    "correct them in `source`: rtsp://USER:PASSWORD@HOST/PATH, with %20 for a space and the like",
                ),
                None => (
                    "the camera asks for a user name and a password".to_owned(),
                    "write them into `source`: rtsp://USER:PASSWORD@HOST/PATH",
                ),
            }
        } else if said("404") || error.matches(gst::ResourceError::NotFound) {
            (
                "the camera has nothing at this path (404)".to_owned(),
                "look up its video's RTSP path in its manual, and write it into `source`",
            )
        } else if said("461") {
            (
                "the camera does not send in the way that is asked (461)".to_owned(),
                "write the other of the two: rtsp_transport = \"udp\" or \"tcp\"",
            )
        } else if said("453") || said("503") {
            (
                "the camera has no more room for a viewer".to_owned(),
                "close other programs that watch it, or raise its limit of connections",
            )
        } else if error.matches(gst::ResourceError::OpenReadWrite)
            || error.matches(gst::ResourceError::OpenRead)
        {
            (format!("the camera at {} cannot be reached: {}", self.shown(), self.reach(&text)), UNREACHABLE)
        } else if text.contains("Could not receive any UDP packets") {
            (
                "the camera's UDP packets do not arrive".to_owned(),
                "let a firewall pass them, or write rtsp_transport = \"tcp\"",
            )
        } else if error.matches(gst::CoreError::MissingPlugin)
            || error.matches(gst::StreamError::CodecNotFound)
        {
            (
                format!("no decoder for the camera's {} is installed", self.encoding),
                "apt install gstreamer1.0-libav",
            )
        } else if text.contains("Timeout") {
            (
                format!("what is at {} takes the connection and does not answer", self.shown()),
                "restart the camera, and see whether address and port in `source` are right",
            )
        } else if text.contains("Parse error") {
            (format!("what answers at {} does not speak RTSP", self.shown()), UNREACHABLE)
        } else if error.matches(gst::ResourceError::Read) || error.matches(gst::ResourceError::Write) {
            (format!("the connection to the camera broke: {}", self.clean(&text)), UNREACHABLE)
        } else {
            (self.clean(&text), "it is tried again; if this returns, see whether a player shows the camera")
        };
        Words { why, hint: Some(hint) }
    }

    /// `text`, unless it quotes what must not be shown.
    fn clean(&self, text: &str) -> String {
        let location = self.location.reveal();
        let text = text.replace(location, &redacted(location));
        // A path may hold a password as well.
        let path = location.splitn(4, '/').nth(3).filter(|_| redacted(location) != location);
        let secrets =
            [self.user.as_ref().map(Secret::reveal), self.password.as_ref().map(Secret::reveal), path];
        let quoted = |secret: &&str| !secret.is_empty() && text.contains(*secret);
        match secrets.iter().flatten().any(quoted) {
            true => "GStreamer's message is not shown, because it may hold the password".to_owned(),
            false => text,
        }
    }

    /// Host and port.
    fn shown(&self) -> String {
        let (host, port) = self.host();
        format!("{host}:{port}")
    }

    fn host(&self) -> (&str, u16) {
        let (scheme, rest) = self.location.reveal().split_once("://").unwrap_or_default();
        let port = if scheme == "rtsps" { PORTS.1 } else { PORTS.0 };
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        match host.rsplit_once(':') {
            Some((name, number)) if !number.contains(']') => (name, number.parse().unwrap_or(port)),
            _ => (host, port),
        }
    }

    /// Why no connection comes about; GStreamer says no more than "Generic error". Blocks for some seconds at most.
    fn reach(&self, text: &str) -> String {
        let (host, port) = self.host();
        let addresses = match (host.trim_matches(['[', ']']), port).to_socket_addrs() {
            Ok(addresses) => addresses,
            Err(error) => return error.to_string(),
        };
        let begun = Instant::now();
        let mut why = None;
        for address in addresses.take_while(|_| begun.elapsed() < REACH) {
            match TcpStream::connect_timeout(&address, REACH) {
                Ok(_) => return format!("there is no RTSP at this port ({})", self.clean(text)),
                Err(error) => why = Some(error.to_string()),
            }
        }
        why.unwrap_or_else(|| "its name has no address".into())
    }
}

/// The next step with a camera that is there and does not do what it should.
pub(super) const TRY_A_PLAYER: &str = "restart the camera, and see whether a player shows it at this address";

const UNREACHABLE: &str =
    "see whether it is on and in this network, and whether address and port in `source` are right";

/// The URL without name and password, and those, with %XX resolved. The last `@` ends them: passwords hold `@` and `/`.
fn split(url: &str) -> (Secret, Option<Secret>, Option<Secret>) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("rtsp", url));
    let Some((login, rest)) = rest.rsplit_once('@') else { return (Secret::new(url), None, None) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let secret = |text: &str| Some(Secret::new(decoded(text)));
    (Secret::new(format!("{scheme}://{rest}")), secret(user), secret(password))
}

/// `text` with its %XX as what they stand for (RFC 3986, 2.1); a `%` that begins none stays.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let escaped = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high << 4 | low).ok(),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Encoding and rate of each video in a description.
fn videos(sdp: &gst_sdp::SDPMessageRef) -> Vec<Video> {
    let video = |media: &&gst_sdp::SDPMediaRef| media.media() == Some("video");
    sdp.medias()
        .map(|media| -> &gst_sdp::SDPMediaRef { media })
        .filter(video)
        .filter_map(|media| {
            let payload: i32 = media.format(0)?.parse().ok()?;
            let told = || {
                let caps = media.caps_from_media(payload)?;
                Some(caps.structure(0)?.get::<String>("encoding-name").ok()?.to_ascii_uppercase())
            };
            // Numbers that need no explanation (RFC 3551, table 5).
            let known = || match payload {
                26 => Some("JPEG".to_owned()),
                32 => Some("MPV".to_owned()),
                _ => None,
            };
            let encoding = told().or_else(known)?;
            let rate = media.attribute_val("framerate").and_then(|rate| rate.trim().parse::<f64>().ok());
            let rate = rate
                .filter(|rate| (0.5..=240.0).contains(rate))
                .map(|rate| ((rate * 1000.0).round() as u32, 1000));
            Some((encoding, rate))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_taken_out_of_the_url() {
        for (url, location, login) in [
            ("rtsp://cam/live", "rtsp://cam/live", None),
            ("rtsp://admin:s3cret@cam:554/live?x=1", "rtsp://cam:554/live?x=1", Some(("admin", "s3cret"))),
            ("rtsps://a:b/c@d@cam:322/", "rtsps://cam:322/", Some(("a", "b/c@d"))),
            ("rtsp://a%40b:p%2fq%zz%C3%A9@cam/", "rtsp://cam/", Some(("a@b", "p/q%zz\u{e9}"))),
            ("rtsp://admin@cam/", "rtsp://cam/", Some(("admin", ""))),
        ] {
            let (found, user, password) = split(url);
            assert_eq!(found.reveal(), location, "{url}");
            let user = user.as_ref().map(Secret::reveal);
            assert_eq!(user.zip(password.as_ref().map(Secret::reveal)), login, "{url}");
        }
    }

    #[test]
    fn no_text_of_gstreamer_shows_a_secret() {
        let network = |url: &str| {
            let (location, user, password) = split(url);
            let (transport, encoding) = (RtspTransport::Tcp, String::new());
            Network { location, user, password, transport, encoding, framerate: None }
        };
        let camera = network("rtsp://admin:s3cret@cam:8554/live");
        assert_eq!(
            camera.clean("could not open rtsp://cam:8554/live"),
            "could not open rtsp://cam:8554/live"
        );
        for text in ["login admin failed", "password s3cret is wrong", "rtsp://admin:s3cret@cam:8554/live"] {
            assert!(camera.clean(text).contains("is not shown"), "{}", camera.clean(text));
        }
        let camera = network("rtsp://cam/user=admin_password=s3cret_channel=1");
        for text in [
            "no rtsp://cam/user=admin_password=s3cret_channel=1",
            "404: user=admin_password=s3cret_channel=1",
        ] {
            assert!(!camera.clean(text).contains("s3cret"), "{}", camera.clean(text));
        }
        assert!(!format!("{camera:?}").contains("s3cret"), "{camera:?}");
        assert_eq!(camera.shown(), "cam:554");
        assert_eq!(network("rtsps://a:b@[fd00::1]/x").shown(), "[fd00::1]:322");
        assert_eq!(network("rtsp://[fd00::1]:8554/x").shown(), "[fd00::1]:8554");
    }

    #[test]
    fn the_videos_of_a_description_are_found() {
        gst::init().unwrap();
        let sdp = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\n\
                   m=video 0 RTP/AVP 96\r\na=rtpmap:96 h265/90000\r\na=framerate:12.5\r\n\
                   m=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\nm=video 0 RTP/AVP 26\r\n\
                   m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n";
        let sdp = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes()).unwrap();
        let found = videos(&sdp);
        let encodings: Vec<_> = found.iter().map(|(encoding, _)| encoding.as_str()).collect();
        assert_eq!(encodings, ["H265", "H264", "JPEG"]);
        assert_eq!(found[0].1, Some((12500, 1000)));
    }
}
