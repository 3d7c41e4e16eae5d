//! Names and numbers of the wire, as types that cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest camera or room name, in characters. Names become URLs, file names and metric labels.
pub const MAX_NAME: usize = 40;
/// Longest member id, in bytes: a UUID has 36, a remote camera `!box.camera` at most 82.
pub const MAX_ID: usize = 96;
/// What a camera's member id starts with. It sorts below every UUID, so every portals server tells a browser to
/// be polite to a camera, and webrtcbin (which cannot roll back) may stay the impolite side.
pub const CAMERA_PREFIX: char = '!';

/// Why a string is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a name: names are 1 to {MAX_NAME} characters of a-z, 0-9 and -")]
pub struct InvalidName {
    /// What was given instead, shortened.
    pub found: String,
}

/// The name of a room or a camera: 1 to 40 characters of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks and wraps `name`.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, too long, or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(valid) {
            return Err(InvalidName { found: name.chars().take(60).collect() });
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A member of a room as others see it: a UUID for a browser, `!name` for a camera.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(String);

impl MemberId {
    /// The id under which the camera `name` of this box joins its rooms.
    #[must_use]
    pub fn camera(name: &Name) -> Self {
        Self(format!("{CAMERA_PREFIX}{name}"))
    }

    /// The id under which the camera `name` of the box `box_name` joins the rooms of other servers. Names have no dot,
    /// so no camera of the other box has it.
    #[must_use]
    pub fn remote_camera(box_name: &Name, name: &Name) -> Self {
        Self(format!("{CAMERA_PREFIX}{box_name}.{name}"))
    }

    /// Wraps an id that came from a server we joined, or one just made; `None` when it is empty, longer than
    /// [`MAX_ID`] bytes or has characters other than printable ASCII.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (!id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|b| b.is_ascii_graphic())).then_some(Self(id))
    }

    /// Whether this is a camera's id, on any portald.
    #[must_use]
    pub fn is_camera(&self) -> bool {
        self.0.starts_with(CAMERA_PREFIX)
    }

    /// Whether this is [`Self::remote_camera`] of two names.
    #[must_use]
    pub fn is_remote_camera(&self) -> bool {
        let names = self.0.strip_prefix(CAMERA_PREFIX).and_then(|names| names.split_once('.'));
        names.is_some_and(|(one, other)| Name::new(one).is_ok() && Name::new(other).is_ok())
    }

    /// The portals rule: `you` is polite to `peer` when its id is the greater one. Ids are ASCII, so comparing
    /// bytes is comparing UTF-16 code units, as the reference server does.
    #[must_use]
    pub fn polite_to(&self, peer: &Self) -> bool {
        self.0 > peer.0
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One transport connection (a socket, a local channel). Never used twice, so a late close cannot hit a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The number of the connection that a pair of members should have; a new number means: build a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Session(pub u64);

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Publishes pictures and never rolls back an offer.
    Camera,
    /// A browser or another program.
    Peer,
}

/// Who sees whom in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomMode {
    /// Browsers see cameras, not each other.
    #[default]
    Wall,
    /// Everyone sees everyone, as the portals library does (two cameras excepted: neither has eyes).
    Mesh,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_words() {
        assert_eq!(Name::new("front-door").unwrap().as_str(), "front-door");
        for bad in ["", "Front", "a b", "a/b", "ä", "!cam", &"x".repeat(41)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_camera_sorts_below_every_uuid() {
        let camera = MemberId::camera(&Name::new("zzz").unwrap());
        let browser = MemberId::new("00000000-0000-4000-8000-000000000000").unwrap();
        assert!(browser.polite_to(&camera));
        assert!(!camera.polite_to(&browser));
        assert!(camera.is_camera() && !browser.is_camera());
    }

    #[test]
    fn cameras_of_other_boxes_have_a_dot_in_their_ids() {
        let name = |text| Name::new(text).unwrap();
        let longest = MemberId::remote_camera(&name(&"x".repeat(MAX_NAME)), &name(&"y".repeat(MAX_NAME)));
        assert!(longest.is_remote_camera() && longest.is_camera() && longest.as_str().len() <= MAX_ID);
        for other in ["!door", "barn.door", "!barn.", "!.door", "!barn.front.door", "!Barn.door", "!"] {
            assert!(!MemberId::new(other).unwrap().is_remote_camera(), "{other}");
        }
    }

    #[test]
    fn ids_are_printable_and_bounded() {
        for bad in [String::new(), "a b".into(), "ü".into(), "\u{7f}".into(), "x".repeat(MAX_ID + 1)] {
            assert!(MemberId::new(bad).is_none());
        }
    }
}
