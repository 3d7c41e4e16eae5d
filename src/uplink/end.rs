//! How a connection to another server ends, what that means, and what to do about it.

use std::fmt;

use super::backoff::Hope;
use super::dial::DialError;
use crate::proto::ids::MemberId;

/// We leave for good: the server keeps no seat.
pub(super) const LEAVING: u16 = 1001;
/// We drop a socket and come back for our seat.
pub(super) const COMING_BACK: u16 = 4000;
/// A newer socket of the same client took the seat.
const REPLACED: u16 = 4001;
/// A portald's close after it said what it refuses.
const REFUSED: u16 = 1008;
/// Longest text of a server's that is shown, in characters.
const MAX_SAID: usize = 300;

/// Why a connection ended, or did not come about.
#[derive(Debug)]
pub(super) enum End {
    /// We left.
    Left,
    /// There was none.
    NotOpened(DialError),
    /// The server said that we did something wrong: a code and perhaps a sentence.
    Refused(String, Option<String>),
    /// The server gave us another id than the one we are known by.
    OtherId(MemberId),
    /// The server closed it: the code, and its words.
    Closed(u16, String),
    /// It broke.
    Broken(String),
    /// Nothing was heard, or nothing taken, for too long.
    Silent,
    /// The server answers and no longer has us in the room.
    Forgotten,
    /// We join again, so that everybody builds their connections anew.
    Rebuild,
    /// We come back for our seat under another title.
    Retitled,
}

impl End {
    /// For counting: one of [`crate::status::UplinkStatus::ENDS`].
    pub(super) fn label(&self) -> &'static str {
        match self {
            // Leaving is counted by nobody.
            Self::Left | Self::Closed(..) if !self.is_taken() => "closed",
            Self::NotOpened(DialError::Connect { .. }) => "unreachable",
            Self::NotOpened(_) => "handshake",
            _ if self.is_taken() => "taken",
            Self::Refused(..) => "refused",
            Self::Broken(_) => "broken",
            Self::Silent => "silent",
            Self::Rebuild | Self::Retitled => "rebuild",
            _ => "forgotten",
        }
    }

    /// Whether trying again soon may help.
    pub(super) fn hope(&self) -> Hope {
        match self {
            Self::Rebuild | Self::Retitled => Hope::Sure,
            _ if self.is_taken() => Hope::Taken,
            Self::NotOpened(error) if error.is_lasting() => Hope::Little,
            Self::Refused(..) | Self::Closed(REFUSED, _) => Hope::Little,
            _ => Hope::Good,
        }
    }

    /// Whether our key opens nothing any more.
    pub(super) fn loses_seat(&self) -> bool {
        self.is_taken() || matches!(self, Self::Refused(..))
    }

    fn is_taken(&self) -> bool {
        match self {
            Self::OtherId(_) | Self::Closed(REPLACED, _) => true,
            Self::Refused(code, _) => code == "id_taken",
            _ => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut =
            |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect() };
        match self {
            Self::Left => f.write_str("it left"),
            Self::NotOpened(error) => write!(f, "{error}"),
            Self::Refused(code, None) => write!(f, "that server refuses it: {}", cut(code)),
            Self::Refused(_, Some(why)) => write!(f, "that server refuses it: {}", cut(why)),
            Self::OtherId(id) => write!(
                f,
                "that server gave it the id {id} and not its own: it is a portald that knows no uplinks, or another \
                 box has the same name (`box` of [uplink] gives this one another)"
            ),
            Self::Closed(REPLACED, _) => f.write_str(
                "another box took its place: it has the same name (`box` of [uplink] gives this one another)",
            ),
            Self::Closed(code, why) if why.is_empty() => {
                write!(f, "that server closed the connection ({code})")
            }
            Self::Closed(code, why) => write!(f, "that server closed the connection ({code}: {})", cut(why)),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Silent => f.write_str("that server does not answer"),
            Self::Forgotten => f.write_str("that server has lost it from the room"),
            Self::Retitled => f.write_str("its title changed"),
            Self::Rebuild => f.write_str(
                "a viewer's connection cannot be saved, and that server has new ones made only when somebody joins",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::UplinkStatus;

    #[test]
    fn ends_say_how_long_to_wait_and_are_counted() {
        let id = MemberId::new("x").unwrap();
        let refused = |code: &str| End::Refused(code.into(), Some("why".into()));
        for (end, label, hope) in [
            (refused("unauthorized"), "refused", Hope::Little),
            (refused("id_taken"), "taken", Hope::Taken),
            (End::OtherId(id), "taken", Hope::Taken),
            (End::Closed(4001, String::new()), "taken", Hope::Taken),
            (End::Closed(1008, "too many messages".into()), "closed", Hope::Little),
            (End::Closed(1001, "portald ends".into()), "closed", Hope::Good),
            (End::Broken("reset".into()), "broken", Hope::Good),
            (End::Silent, "silent", Hope::Good),
            (End::Forgotten, "forgotten", Hope::Good),
            (End::Rebuild, "rebuild", Hope::Sure),
            (End::Retitled, "rebuild", Hope::Sure),
            (End::NotOpened(DialError::Untrusted("x".into())), "handshake", Hope::Little),
        ] {
            assert_eq!((end.label(), end.hope()), (label, hope), "{end:?}");
            assert!(UplinkStatus::ENDS.contains(&end.label()), "{end:?}");
        }
        assert!(!format!("{}", refused("a\u{1b}[31m")).contains('\u{1b}'));
    }
}
