//! Which connections a member should have, read off one `info` after another.

use std::collections::BTreeMap;

use super::ids::{Kind, MemberId, Session};
use super::message::Info;

/// The peers of one camera, or of any member that keeps connections whose session number is unchanged.
#[derive(Debug, Default)]
pub struct Roster {
    id: Option<MemberId>,
    peers: BTreeMap<MemberId, Option<Session>>,
}

/// What an `info` asks for. What is to end is named before what is to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Build a connection with this peer.
    Start {
        /// With whom.
        peer: MemberId,
        /// Its number; a reference server gives none.
        session: Option<Session>,
        /// Whether *we* are to be polite, by what the server says.
        polite: bool,
    },
    /// Close the connection with this peer.
    End {
        /// With whom.
        peer: MemberId,
    },
}

impl Roster {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an `info` and says what it changes. A reference server gives no numbers: there a stock peer rebuilds
    /// its side on every `info`, and so must we.
    pub fn update(&mut self, info: &Info) -> Vec<Change> {
        // Under another id we are somebody else: numbers belong to pairs of ids.
        let renamed = self.id.replace(info.id.clone()).is_some_and(|before| before != info.id);
        // A camera has no use for another. A map, since a server could list somebody twice.
        let is_peer = |id: &MemberId, kind| kind != Some(Kind::Camera) && !id.is_camera() && *id != info.id;
        let listed: BTreeMap<&MemberId, (Option<Session>, bool)> = (info.members.iter())
            .filter(|member| is_peer(&member.id, member.kind))
            .map(|member| (&member.id, (member.session, member.polite)))
            .collect();

        let keeps = |peer: &MemberId, session: Option<Session>| {
            !renamed && session.is_some() && listed.get(peer).is_some_and(|(number, _)| *number == session)
        };
        let (kept, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.peers).into_iter().partition(|(peer, session)| keeps(peer, *session));
        let mut changes: Vec<Change> = ended.into_keys().map(|peer| Change::End { peer }).collect();
        for (&peer, &(session, polite)) in listed.iter().filter(|(peer, _)| !kept.contains_key(**peer)) {
            changes.push(Change::Start { peer: peer.clone(), session, polite });
        }
        self.peers = listed.into_iter().map(|(peer, (session, _))| (peer.clone(), session)).collect();
        changes
    }

    /// The id the server gave us, once it has.
    #[must_use]
    pub fn id(&self) -> Option<&MemberId> {
        self.id.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Member;
    use super::*;

    #[test]
    fn only_a_changed_number_rebuilds() {
        let mut roster = Roster::new();
        assert_eq!(
            roster.update(&info("!cam", &[("a", Some(1)), ("b", Some(2))])),
            [start("a", 1), start("b", 2)]
        );
        assert_eq!(roster.update(&info("!cam", &[("a", Some(1)), ("b", Some(2))])), []);
        assert_eq!(
            roster.update(&info("!cam", &[("a", Some(1)), ("b", Some(3))])),
            [end("b"), start("b", 3)]
        );
        assert_eq!(roster.id().unwrap().as_str(), "!cam");
    }

    #[test]
    fn who_is_not_listed_ends() {
        let mut roster = Roster::new();
        roster.update(&info("!cam", &[("a", Some(1)), ("b", Some(2))]));
        assert_eq!(
            roster.update(&info("!cam", &[("b", Some(2)), ("c", Some(3))])),
            [end("a"), start("c", 3)]
        );
        assert_eq!(roster.update(&info("!cam", &[])), [end("b"), end("c")]);
        assert_eq!(roster.update(&info("!cam", &[])), []);
    }

    #[test]
    fn without_numbers_every_info_rebuilds_everything() {
        let mut roster = Roster::new();
        let unnumbered = |peer| Change::Start { peer: id(peer), session: None, polite: false };
        assert_eq!(roster.update(&info("!cam", &[("a", None)])), [unnumbered("a")]);
        assert_eq!(roster.update(&info("!cam", &[("a", None)])), [end("a"), unnumbered("a")]);
        assert_eq!(roster.update(&info("!cam", &[("a", Some(1))])), [end("a"), start("a", 1)]);
        assert_eq!(roster.update(&info("!cam", &[("a", None)])), [end("a"), unnumbered("a")]);
    }

    #[test]
    fn cameras_and_ourselves_are_no_peers() {
        let mut listed =
            info("!cam", &[("!other", Some(1)), ("!cam", Some(2)), ("remote", Some(3)), ("a", Some(4))]);
        listed.members[2].kind = Some(Kind::Camera);
        assert_eq!(Roster::new().update(&listed), [start("a", 4)]);
    }

    #[test]
    fn under_a_new_id_everything_is_new() {
        let mut roster = Roster::new();
        roster.update(&info("me", &[("a", Some(1))]));
        assert_eq!(roster.update(&info("me-too", &[("a", Some(1))])), [end("a"), start("a", 1)]);
    }

    #[test]
    fn listed_twice_is_started_once() {
        assert_eq!(Roster::new().update(&info("!cam", &[("a", Some(1)), ("a", Some(2))])), [start("a", 2)]);
    }

    #[test]
    fn politeness_is_passed_on() {
        let mut listed = info("zzz", &[("a", Some(1))]);
        listed.members[0].polite = true;
        let polite = Change::Start { peer: id("a"), session: Some(Session(1)), polite: true };
        assert_eq!(Roster::new().update(&listed), [polite]);
    }

    fn id(text: &str) -> MemberId {
        MemberId::new(text).unwrap()
    }

    fn start(peer: &str, session: u64) -> Change {
        Change::Start { peer: id(peer), session: Some(Session(session)), polite: false }
    }

    fn end(peer: &str) -> Change {
        Change::End { peer: id(peer) }
    }

    fn info(you: &str, members: &[(&str, Option<u64>)]) -> Info {
        let member = |(peer, session): &(&str, Option<u64>)| Member {
            id: id(peer),
            polite: false,
            kind: None,
            title: None,
            session: session.map(Session),
        };
        Info { id: id(you), members: members.iter().map(member).collect(), key: None }
    }
}
