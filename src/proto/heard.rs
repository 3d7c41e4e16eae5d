//! What a member hears from a server: ours or another's, so nothing is taken for granted.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ids::{Kind, MemberId, Session};
use super::message::{Info, Member, RESERVED, ServerMessage};

/// A message to a member, as the member reads it.
#[derive(Debug, Clone)]
pub enum Heard {
    /// Who we are and whom we see. Entries whose id is none of ours ([`MemberId::new`]) are left out.
    Info(Info),
    /// We did something wrong: a code, and a sentence if the server has one.
    Error(String, Option<String>),
    /// The answer to a ping.
    Pong(Box<RawValue>),
    /// From another member.
    Relay {
        /// The message's type.
        kind: String,
        /// The payload as it came.
        payload: Box<RawValue>,
        /// Who sent it, if the server can be trusted.
        from: MemberId,
    },
}

impl Heard {
    /// Reads one text frame. `None`: it is no message, or one that nobody but the server may send and that somebody
    /// else did; the reference server relays every type.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
        let string = |raw: &RawValue| serde_json::from_str::<Option<String>>(raw.get()).ok().flatten();
        let kind = string(fields.get("type")?)?;
        let payload = fields.remove(&kind).unwrap_or_else(|| RawValue::NULL.to_owned());
        if let Some(from) = fields.get("from").and_then(|raw| string(raw)) {
            let (from, forged) = (MemberId::new(from)?, RESERVED.contains(&kind.as_str()));
            return (!forged).then_some(Self::Relay { kind, payload, from });
        }
        match kind.as_str() {
            "info" => Some(Self::Info(serde_json::from_str::<Roster>(payload.get()).ok()?.read()?)),
            "pong" => Some(Self::Pong(payload)),
            "error" => {
                let Fault { code, message } = serde_json::from_str(payload.get()).ok()?;
                Some(Self::Error(code, message))
            }
            _ => None,
        }
    }
}

impl From<ServerMessage> for Heard {
    fn from(message: ServerMessage) -> Self {
        match message {
            ServerMessage::Info(info) => Self::Info(info),
            ServerMessage::Error(code, text) => Self::Error(code.to_string(), text),
            ServerMessage::Pong(number) => Self::Pong(number),
            ServerMessage::Relay { kind, payload, from } => {
                Self::Relay { kind, payload: (*payload).to_owned(), from }
            }
        }
    }
}

/// An `info` as any server writes it.
#[derive(Deserialize)]
struct Roster {
    id: String,
    members: Vec<Entry>,
    key: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    polite: bool,
    kind: Option<String>,
    title: Option<String>,
    session: Option<Session>,
}

#[derive(Deserialize)]
struct Fault {
    code: String,
    message: Option<String>,
}

impl Roster {
    fn read(self) -> Option<Info> {
        let member = |entry: Entry| {
            let kind = entry.kind.map(|kind| if kind == "camera" { Kind::Camera } else { Kind::Peer });
            let Entry { id, polite, title, session, .. } = entry;
            Some(Member { id: MemberId::new(id)?, polite, kind, title, session })
        };
        let members = self.members.into_iter().filter_map(member).collect();
        Some(Info { id: MemberId::new(self.id)?, members, key: self.key })
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::ErrorCode;
    use super::*;

    #[test]
    fn what_our_server_says_is_heard_as_it_was_meant() {
        let id = |text| MemberId::new(text).unwrap();
        let member = Member {
            id: id("ann"),
            polite: false,
            kind: Some(Kind::Peer),
            title: Some("Ann".into()),
            session: Some(Session(7)),
        };
        let info = Info { id: id("!barn.door"), members: vec![member], key: Some("secret".into()) };
        let Some(Heard::Info(heard)) = Heard::parse(&ServerMessage::Info(info.clone()).to_json()) else {
            panic!()
        };
        assert_eq!(heard, info);
        let error = ServerMessage::Error(ErrorCode::Unauthorized, Some("why".into())).to_json();
        let Some(Heard::Error(code, Some(why))) = Heard::parse(&error) else { panic!() };
        assert_eq!((code.as_str(), why.as_str()), ("unauthorized", "why"));
    }

    #[test]
    fn what_the_reference_server_says_is_heard_too() {
        let text = r#"{"type":"info","info":{"id":"!c","members":[{"id":"a","polite":false},{"id":"a b","polite":true}]}}"#;
        let Some(Heard::Info(info)) = Heard::parse(text) else { panic!() };
        let members: Vec<_> =
            info.members.iter().map(|member| (member.id.as_str(), member.session)).collect();
        assert_eq!((members, info.key), (vec![("a", None)], None));
        let Some(Heard::Pong(number)) = Heard::parse(r#"{"type":"pong","pong":3}"#) else { panic!() };
        assert_eq!(number.get(), "3");
        let error = r#"{"type":"error","error":{"code":"room_not_found"}}"#;
        assert!(matches!(Heard::parse(error), Some(Heard::Error(code, None)) if code == "room_not_found"));
    }

    #[test]
    fn no_member_speaks_for_the_server() {
        let forged = r#"{"type":"info","info":{"id":"!c","members":[]},"from":"evil"}"#;
        assert!(Heard::parse(forged).is_none());
        let relayed = r#"{"type":"candidate","candidate":null,"from":"ann"}"#;
        assert!(matches!(Heard::parse(relayed), Some(Heard::Relay { from, .. }) if from.as_str() == "ann"));
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in
            ["", "[]", "{}", "3", r#"{"type":3}"#, r#"{"type":"info","info":{}}"#, r#"{"type":"chat"}"#]
        {
            assert!(Heard::parse(text).is_none(), "{text}");
        }
    }
}
