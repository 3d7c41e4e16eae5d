//! Changes to cameras while they run: what may be wished for, and whom it is told.
//!
//! The server asks here and whoever runs a camera answers here, and neither knows the other. A change lasts until portald
//! starts again: then the configuration says how things are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::settings::{self, BITRATE};
use crate::proto::ids::Name;

/// What can be changed of a camera, as it is now; the same keys as in a [`Change`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Wishes {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Bit rate of the main rendition in kbit/s; of no effect where the camera encodes that itself.
    pub bitrate: u32,
    /// The smaller rendition.
    pub sub: SubWishes,
}

/// See [`Wishes::sub`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SubWishes {
    /// In kbit/s.
    pub bitrate: u32,
}

impl From<&settings::Camera> for Wishes {
    fn from(camera: &settings::Camera) -> Self {
        let sub = SubWishes { bitrate: camera.sub.bitrate };
        Self { enabled: camera.enabled, bitrate: camera.bitrate, sub }
    }
}

/// What somebody wants to be otherwise; what is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// See [`Wishes::enabled`].
    #[serde(default, deserialize_with = "given")]
    pub enabled: Option<bool>,
    /// In kbit/s, as `bitrate` in the configuration.
    #[serde(default, deserialize_with = "given")]
    pub bitrate: Option<i64>,
    /// The smaller rendition.
    #[serde(default)]
    pub sub: SubChange,
}

/// See [`Change::sub`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubChange {
    /// In kbit/s, as `bitrate` in the configuration.
    #[serde(default, deserialize_with = "given")]
    pub bitrate: Option<i64>,
}

/// A key that is there has a value: `null` is none.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Change {
    /// `wishes` with this change.
    ///
    /// # Errors
    /// [`Refusal::OutOfRange`]
    pub fn apply(&self, wishes: Wishes) -> Result<Wishes, Refusal> {
        let rate = |key, wanted: Option<i64>, now| match wanted {
            None => Ok(now),
            Some(found) => {
                let rate = u32::try_from(found).ok().filter(|rate| BITRATE.contains(rate));
                rate.ok_or(Refusal::OutOfRange { key, found })
            }
        };
        Ok(Wishes {
            enabled: self.enabled.unwrap_or(wishes.enabled),
            bitrate: rate("bitrate", self.bitrate, wishes.bitrate)?,
            sub: SubWishes { bitrate: rate("sub.bitrate", self.sub.bitrate, wishes.sub.bitrate)? },
        })
    }
}

/// Why a change is not made; nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No camera of that name runs here.
    #[error("there is no camera `{0}` that can be changed; GET /api/cameras lists them")]
    Unknown(String),
    /// As in the configuration.
    #[error("{key}: found {found}; allowed: {} to {} kbit/s", BITRATE.start(), BITRATE.end())]
    OutOfRange {
        /// As in the body.
        key: &'static str,
        /// What it had.
        found: i64,
    },
    /// The camera encodes its main rendition.
    #[error(
        "bitrate: {0} encodes its H.264 itself, which is passed on as it is, so its rate is the camera's to choose: set it \
         there, or write `encoder = \"NAME\"` into [camera.{0}] to have it encoded here; sub.bitrate can be changed"
    )]
    PassedOn(Name),
}

/// Whoever runs a camera.
pub trait Steered: fmt::Debug + Send + Sync {
    /// Makes a change at once, and does not wait until it shows in the pictures.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is changed.
    fn change(&self, change: &Change) -> Result<(), Refusal>;
}

/// The cameras that can be changed; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Controls(Arc<Mutex<BTreeMap<Name, Weak<dyn Steered>>>>);

impl Controls {
    /// Changes of `name` go to `camera` from now on, for as long as it lives.
    pub fn put(&self, name: Name, camera: Weak<dyn Steered>) {
        self.table().insert(name, camera);
    }

    /// Makes a change at once.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is changed.
    pub fn change(&self, name: &Name, change: &Change) -> Result<(), Refusal> {
        let camera = self.table().get(name).and_then(Weak::upgrade);
        camera.ok_or_else(|| Refusal::Unknown(name.to_string()))?.change(change)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Name, Weak<dyn Steered>>> {
        // Each entry is whole by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wishes = Wishes { enabled: true, bitrate: 2000, sub: SubWishes { bitrate: 400 } };

    fn change(json: &str) -> Result<Change, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_stays() {
        for (json, changed) in [
            ("{}", NOW),
            (r#"{"sub":{}}"#, NOW),
            (r#"{"enabled":false}"#, Wishes { enabled: false, ..NOW }),
            (r#"{"bitrate":50}"#, Wishes { bitrate: 50, ..NOW }),
            (r#"{"bitrate":100000}"#, Wishes { bitrate: 100_000, ..NOW }),
            (r#"{"sub":{"bitrate":99}}"#, Wishes { sub: SubWishes { bitrate: 99 }, ..NOW }),
        ] {
            assert_eq!(change(json).unwrap().apply(NOW), Ok(changed), "{json}");
        }
    }

    #[test]
    fn rates_are_those_of_the_configuration() {
        for (json, key, found) in [
            (r#"{"bitrate":49}"#, "bitrate", 49),
            (r#"{"bitrate":100001,"enabled":false}"#, "bitrate", 100_001),
            (r#"{"bitrate":-1}"#, "bitrate", -1),
            (r#"{"bitrate":4294969296}"#, "bitrate", 4_294_969_296), // 2000, if its upper half were lost
            (r#"{"bitrate":2000,"sub":{"bitrate":0}}"#, "sub.bitrate", 0),
        ] {
            let refusal = change(json).unwrap().apply(NOW).unwrap_err();
            assert_eq!(refusal, Refusal::OutOfRange { key, found }, "{json}");
            let text = refusal.to_string();
            assert!(text.starts_with(key) && text.contains("50 to 100000 kbit/s"), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_change() {
        for (json, why) in [
            (r#"{"title":"x"}"#, "unknown field `title`"),
            (r#"{"sub":{"width":1}}"#, "unknown field `width`"),
            (r#"{"sub":3}"#, "SubChange"),
            (r#"{"sub":null}"#, "null"),
            (r#"{"bitrate":null}"#, "null"),
            (r#"{"enabled":null}"#, "null"),
            (r#"{"enabled":"false"}"#, "boolean"),
            (r#"{"bitrate":"2000"}"#, "i64"),
            (r#"{"bitrate":2000.5}"#, "i64"),
            (r#"{"bitrate":99999999999999999999}"#, "i64"),
            (r#"{"bitrate":100,"bitrate":200}"#, "duplicate"),
        ] {
            let error = change(json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[derive(Debug, Default)]
    struct Noted(Mutex<Vec<Change>>);

    impl Steered for Noted {
        fn change(&self, change: &Change) -> Result<(), Refusal> {
            self.0.lock().unwrap().push(*change);
            Ok(())
        }
    }

    #[test]
    fn a_camera_is_told_for_as_long_as_it_lives() {
        let (controls, door) = (Controls::default(), Name::new("door").unwrap());
        let off = change(r#"{"enabled":false}"#).unwrap();
        assert_eq!(controls.change(&door, &off), Err(Refusal::Unknown("door".into())));
        let camera = Arc::new(Noted::default());
        let weak: Weak<Noted> = Arc::downgrade(&camera);
        controls.put(door.clone(), weak);
        assert_eq!(controls.clone().change(&door, &off), Ok(()));
        assert_eq!(*camera.0.lock().unwrap(), [off]);
        drop(camera);
        assert!(controls.change(&door, &off).is_err());
    }
}
