//! What goes over a socket: one JSON object a frame, `{"type":T, T:payload, "target"|"from":ID}`.
//!
//! Payloads are kept as the raw JSON text they came as: a relay has no business rewriting them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ids::{Kind, MemberId, Session};

/// Largest message from a client, in bytes. A browser's SDP for a dozen tracks is about 12 kB.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Longest message type, in bytes.
pub const MAX_TYPE: usize = 64;
/// Types that only the server speaks, and names a payload cannot have: never relayed, or a member could forge them.
pub const RESERVED: [&str; 7] = ["info", "error", "ping", "pong", "type", "from", "target"];

/// A message from a member to the server.
#[derive(Debug, Clone)]
pub enum ClientMessage {
    /// Answered by [`ServerMessage::Pong`] with the same number.
    Ping(Box<RawValue>),
    /// Our addition, `{"type":"renew-session","renew-session":N,"target":ID}`: the connection numbered `N` with
    /// `target` cannot be saved; give the two a new number.
    Renew {
        /// The other member of the pair.
        target: MemberId,
        /// The number the sender has; an outdated one is ignored.
        session: Session,
    },
    /// Our addition, `{"type":"camera-status","camera-status":{…}}`: how a camera of another box is, for this one's API.
    Status(Box<RawValue>),
    /// For another member.
    Relay {
        /// The message's type: `description`, `candidate`, `quality`, or an application's own.
        kind: String,
        /// The payload as it came.
        payload: Payload,
        /// Whom it is for. Without one it goes nowhere, as on the reference server.
        target: Option<MemberId>,
    },
}

/// Why a frame is no [`ClientMessage`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Over [`MAX_MESSAGE`].
    #[error("message of {0} bytes; at most {MAX_MESSAGE} are taken")]
    TooLong(usize),
    /// Not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// No `type`, or one that is not a string of 1 to 64 bytes.
    #[error("`type` is missing or not a short string")]
    NoType,
    /// A type that only the server speaks.
    #[error("type `{0}` is reserved for the server")]
    Reserved(String),
    /// A payload that cannot be what its type needs.
    #[error("payload of `{0}` is not what that type needs")]
    BadPayload(String),
}

impl ClientMessage {
    /// Reads one text frame.
    ///
    /// # Errors
    /// [`MessageError`] says what is wrong with it; the sender's fault, never ours.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        if text.len() > MAX_MESSAGE {
            return Err(MessageError::TooLong(text.len()));
        }
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(text).map_err(|e| MessageError::NotJson(short(&e)))?;
        let string = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
        let kind = fields
            .get("type")
            .and_then(|raw| string(raw))
            .filter(|kind| !kind.is_empty() && kind.len() <= MAX_TYPE)
            .ok_or(MessageError::NoType)?;
        // What is no id is nobody's: such a message goes nowhere, as on the reference server.
        let target = fields.get("target").and_then(|raw| string(raw)).and_then(MemberId::new);
        let payload = Payload(fields.remove(&kind));
        match kind.as_str() {
            "ping" => match payload.0 {
                Some(number) if serde_json::from_str::<serde_json::Number>(number.get()).is_ok() => {
                    Ok(Self::Ping(number))
                }
                _ => Err(MessageError::BadPayload(kind)),
            },
            "renew-session" => {
                let session = serde_json::from_str(payload.get()).ok();
                match (target, session) {
                    (Some(target), Some(session)) => Ok(Self::Renew { target, session }),
                    _ => Err(MessageError::BadPayload(kind)),
                }
            }
            "camera-status" if target.is_none() => Ok(Self::Status((*payload).to_owned())),
            reserved if RESERVED.contains(&reserved) => Err(MessageError::Reserved(kind)),
            _ => Ok(Self::Relay { kind, payload, target }),
        }
    }

    /// A message for `target`, as a camera of this box sends it.
    #[must_use]
    pub fn relay(kind: &str, payload: &impl Serialize, target: &MemberId) -> Self {
        let payload = serde_json::value::to_raw_value(payload).unwrap_or_else(|_| null());
        Self::Relay { kind: kind.to_owned(), payload: payload.into(), target: Some(target.clone()) }
    }

    /// The frame as a client sends it.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Ping(number) => object("ping", Some(number), None),
            Self::Renew { target, session } => {
                let number = serde_json::value::to_raw_value(session).unwrap_or_else(|_| null());
                object("renew-session", Some(&number), Some(("target", target)))
            }
            Self::Status(status) => object("camera-status", Some(status), None),
            Self::Relay { kind, payload, target } => {
                object(kind, payload.0.as_deref(), target.as_ref().map(|id| ("target", id)))
            }
        }
    }
}

/// What a message carries: JSON to the letter, or nothing at all. Nothing is `undefined` in JavaScript, reads as
/// `null`, and stays nothing when it is passed on.
#[derive(Debug, Clone, Default)]
pub struct Payload(Option<Box<RawValue>>);

impl From<Box<RawValue>> for Payload {
    fn from(json: Box<RawValue>) -> Self {
        Self(Some(json))
    }
}

impl Deref for Payload {
    type Target = RawValue;
    fn deref(&self) -> &RawValue {
        self.0.as_deref().unwrap_or(RawValue::NULL)
    }
}

/// A message from the server to a member.
#[derive(Debug, Clone)]
pub enum ServerMessage {
    /// Who you are and whom you see.
    Info(Info),
    /// You did something wrong. After `bad_message` the socket stays; after the other codes it closes.
    Error(ErrorCode, Option<String>),
    /// The answer to a ping.
    Pong(Box<RawValue>),
    /// From another member.
    Relay {
        /// The message's type.
        kind: String,
        /// The payload as the sender wrote it.
        payload: Payload,
        /// Who sent it; set by the server, so it cannot be forged.
        from: MemberId,
    },
}

impl ServerMessage {
    /// The frame as the server sends it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let raw = |value: serde_json::Result<Box<RawValue>>| value.unwrap_or_else(|_| null());
        match self {
            // Rosters are long: no more copies than one.
            Self::Info(info) => {
                format!(
                    "{{\"type\":\"info\",\"info\":{}}}",
                    serde_json::to_string(info).unwrap_or_else(|_| "null".to_owned())
                )
            }
            Self::Error(code, message) => {
                let mut error = BTreeMap::from([("code", code.as_str())]);
                error.extend(message.as_deref().map(|text| ("message", text)));
                object("error", Some(&raw(serde_json::value::to_raw_value(&error))), None)
            }
            Self::Pong(number) => object("pong", Some(number), None),
            Self::Relay { kind, payload, from } => object(kind, payload.0.as_deref(), Some(("from", from))),
        }
    }
}

/// `info`: the receiver's own id and its roster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The receiver's id.
    pub id: MemberId,
    /// Those the receiver sees, itself not among them.
    pub members: Vec<Member>,
    /// The key of the receiver's seat; only in the first `info` to a client that opened with `sessions=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl fmt::Debug for Info {
    /// Without the key, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Info").field("id", &self.id).field("members", &self.members).finish_non_exhaustive()
    }
}

/// One entry of a roster. Only `id` and `polite` come from a reference server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// Whether the *receiver* of the roster is to be polite to it (perfect negotiation).
    pub polite: bool,
    /// Camera or peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What to call it on a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Changes exactly when the two must build a new connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// What a client did wrong, for its program to react to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No `?room=`.
    RoomNotSet,
    /// No such room.
    RoomNotFound,
    /// The room, or the server, has as many members as it may.
    RoomFull,
    /// What the client asks for needs a password or a token, and none came or a wrong one.
    Unauthorized,
    /// Too many wrong ones came from this address; what came was not looked at.
    TooManyAttempts,
    /// Another connection has the id that this camera needs, and the key of the seat was not shown.
    IdTaken,
    /// A frame that is no [`ClientMessage`]; the error's message says why.
    BadMessage,
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoomNotSet => "room_not_set",
            Self::RoomNotFound => "room_not_found",
            Self::RoomFull => "room_full",
            Self::Unauthorized => "unauthorized",
            Self::TooManyAttempts => "too_many_attempts",
            Self::IdTaken => "id_taken",
            Self::BadMessage => "bad_message",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A `description` payload: `RTCSessionDescription` as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Offer or answer.
    #[serde(rename = "type")]
    pub kind: SdpKind,
    /// RFC 8866 text.
    pub sdp: String,
}

/// The kinds of description that portals members exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdpKind {
    /// Proposes.
    Offer,
    /// Accepts.
    Answer,
}

/// A `candidate` payload: `RTCIceCandidate` as JSON. An empty `candidate` marks the end of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// RFC 8839 `candidate:…` without the `a=`.
    #[serde(default)]
    pub candidate: String,
    /// The media id it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// The m-line it belongs to, from 0.
    #[serde(default, rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u32>,
    /// The ICE generation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

/// A `quality` payload: which rendition a viewer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// The full one.
    Main,
    /// The small one.
    Sub,
    /// The server decides.
    #[default]
    Auto,
}

/// At most 200 characters of it: of a frame that is one long text it would repeat all, escaped ten times as long.
fn short(error: &serde_json::Error) -> String {
    error.to_string().chars().take(200).collect()
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

fn object(kind: &str, payload: Option<&RawValue>, who: Option<(&str, &MemberId)>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let kind = quoted(kind);
    let mut frame = format!("{{\"type\":{kind}");
    if let Some(payload) = payload {
        frame.push_str(&format!(",{kind}:{}", payload.get()));
    }
    if let Some((name, id)) = who {
        frame.push_str(&format!(",\"{name}\":{}", quoted(id.as_str())));
    }
    frame.push('}');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_types_keep_their_payload_to_the_letter() {
        let text = r#"{"type":"chat","chat":{"b":1.50,"a":[ ]},"target":"x"}"#;
        let ClientMessage::Relay { kind, payload, target } = ClientMessage::parse(text).unwrap() else {
            panic!()
        };
        assert_eq!((kind.as_str(), payload.get()), ("chat", r#"{"b":1.50,"a":[ ]}"#));
        let relayed = ServerMessage::Relay { kind, payload, from: target.unwrap() }.to_json();
        assert_eq!(relayed, r#"{"type":"chat","chat":{"b":1.50,"a":[ ]},"from":"x"}"#);
    }

    #[test]
    fn what_only_the_server_says_is_refused() {
        for kind in RESERVED.iter().filter(|kind| **kind != "ping") {
            let text = format!(r#"{{"type":"{kind}","{kind}":{{}},"target":"x"}}"#);
            assert!(ClientMessage::parse(&text).is_err(), "{kind}");
        }
    }

    #[test]
    fn faults_are_named() {
        let parse = |text: &str| ClientMessage::parse(text).unwrap_err();
        assert!(matches!(parse("[]"), MessageError::NotJson(_)));
        assert!(matches!(parse("{"), MessageError::NotJson(_)));
        let long = parse(&format!("\"{}\"", "x".repeat(MAX_MESSAGE - 2)));
        assert!(long.to_string().len() < 300, "it repeats the frame");
        assert_eq!(parse("{}"), MessageError::NoType);
        assert_eq!(parse(r#"{"type":3}"#), MessageError::NoType);
        assert_eq!(parse(r#"{"type":"ping","ping":"x"}"#), MessageError::BadPayload("ping".into()));
        assert_eq!(parse(&" ".repeat(MAX_MESSAGE + 1)), MessageError::TooLong(MAX_MESSAGE + 1));
    }

    #[test]
    fn a_message_without_payload_or_target_is_still_one() {
        for target in ["null", "7", "\"\""] {
            let message = ClientMessage::parse(&format!(r#"{{"type":"bye","target":{target}}}"#)).unwrap();
            assert!(
                matches!(message, ClientMessage::Relay { target: None, ref payload, .. } if payload.get() == "null")
            );
            assert_eq!(message.to_json(), r#"{"type":"bye"}"#, "what was not there is not made up");
        }
    }

    #[test]
    fn candidates_have_the_names_browsers_use() {
        let text = r#"{"candidate":"candidate:1 1 udp 1 10.0.0.1 9 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"abcd"}"#;
        let candidate: Candidate = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&candidate).unwrap(), text);
    }
}
