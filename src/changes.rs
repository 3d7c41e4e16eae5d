//! What a reload has to do: the difference of two configurations, as actions in the order in which they are done.
//!
//! Pure, so that "only what changed is touched" can be tested without a camera. What is not in the list goes on as it is.

use std::fmt;

use crate::config::settings::{Camera, Server, Settings, Tls};
use crate::proto::ids::{Name, RoomMode};

/// What is to be done, and what cannot be done while portald runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which they are done: first who may come in, then what goes, then what comes.
    pub actions: Vec<Action>,
    /// Keys that have changed and stay as they were until a restart, as a user knows them.
    pub restart: Vec<&'static str>,
}

/// One thing to do. What it needs besides a name is in the new configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Networks, pages, proxies, or which files hold passwords and tokens, those of rooms included.
    Access,
    /// Where the certificate comes from.
    Tls,
    /// What clients may cost.
    Limits,
    /// How pictures of viewers who come from now on find their way.
    Ice,
    /// A camera leaves, with its viewers.
    RemoveCamera(Name),
    /// Cameras leave that room of another server.
    RemoveUplink(Name),
    /// A room goes, and whoever is in it is told.
    RemoveRoom(Name),
    /// A room opens; cameras go where they belong afterwards.
    AddRoom(Name, RoomMode),
    /// Cameras go to a room of another server.
    AddUplink(Name),
    /// A camera goes on with other settings; its viewers keep their connections.
    ChangeCamera(Name, Depth),
    /// A camera comes.
    AddCamera(Name),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access => f.write_str("who may come in"),
            Self::Tls => f.write_str("the certificate's files"),
            Self::Limits => f.write_str("the limits"),
            Self::Ice => f.write_str("[ice]"),
            Self::RemoveCamera(name) => write!(f, "camera {name} left"),
            Self::RemoveUplink(name) => write!(f, "uplink {name} left"),
            Self::RemoveRoom(name) => write!(f, "room {name} closed"),
            Self::AddRoom(name, RoomMode::Wall) => write!(f, "room {name} opened as a wall"),
            Self::AddRoom(name, RoomMode::Mesh) => write!(f, "room {name} opened as a mesh"),
            Self::AddUplink(name) => write!(f, "uplink {name} came"),
            Self::ChangeCamera(name, Depth::Live) => write!(f, "camera {name} goes on"),
            Self::ChangeCamera(name, Depth::Encoders) => write!(f, "camera {name} is encoded anew"),
            Self::ChangeCamera(name, Depth::Reopen) => write!(f, "camera {name} is opened anew"),
            Self::AddCamera(name) => write!(f, "camera {name} came"),
        }
    }
}

/// How much of a camera has to start again, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Nothing: its title, its rooms, whether it is always on.
    Live,
    /// Its encoders: bit rates, key frames, the small picture. The device goes on.
    Encoders,
    /// The device: size, rate, who encodes, how a network camera sends.
    Reopen,
}

/// What leads from `from` to `to`.
#[must_use]
pub fn between(from: &Settings, to: &Settings) -> Changes {
    let mut changes = Changes { actions: Vec::new(), restart: for_a_restart(&from.server, &to.server) };
    let actions = &mut changes.actions;
    let tokens = |settings: &Settings| -> Vec<_> {
        let rooms = settings.rooms.iter().filter(|room| room.token.is_some());
        let mut tokens: Vec<_> = rooms.map(|room| (room.name.clone(), room.token.clone())).collect();
        tokens.sort_by(|one, other| one.0.cmp(&other.0));
        tokens
    };
    let both_encrypt = from.server.tls.is_some() && to.server.tls.is_some();
    for (changed, action) in [
        (from.access != to.access || tokens(from) != tokens(to), Action::Access),
        (both_encrypt && from.server.tls != to.server.tls, Action::Tls),
        (from.limits != to.limits, Action::Limits),
        (from.ice != to.ice, Action::Ice),
    ] {
        if changed {
            actions.push(action);
        }
    }
    let camera_of = |settings: &'_ Settings, name: &Name| {
        settings.cameras.iter().find(|camera| camera.name == *name).cloned()
    };
    let uplink_of = |settings: &Settings, name: &Name| {
        settings.uplinks.iter().find(|uplink| uplink.name == *name).cloned()
    };
    let mode_of = |settings: &Settings, name: &Name| {
        settings.rooms.iter().find(|room| room.name == *name).map(|room| room.mode)
    };
    let (mut changed, mut added) = (Vec::new(), Vec::new());
    for old in &from.cameras {
        match camera_of(to, &old.name).map(|new| depth(old, &new)) {
            Some(Some(Extent::None)) => {}
            Some(Some(Extent::Within(depth))) => changed.push(Action::ChangeCamera(old.name.clone(), depth)),
            Some(None) => {
                actions.push(Action::RemoveCamera(old.name.clone()));
                added.push(Action::AddCamera(old.name.clone()));
            }
            None => actions.push(Action::RemoveCamera(old.name.clone())),
        }
    }
    let new_cameras = to.cameras.iter().filter(|camera| camera_of(from, &camera.name).is_none());
    added.extend(new_cameras.map(|camera| Action::AddCamera(camera.name.clone())));
    let gone = from.uplinks.iter().filter(|uplink| uplink_of(to, &uplink.name).as_ref() != Some(uplink));
    actions.extend(gone.map(|uplink| Action::RemoveUplink(uplink.name.clone())));
    let gone = from.rooms.iter().filter(|room| mode_of(to, &room.name) != Some(room.mode));
    actions.extend(gone.map(|room| Action::RemoveRoom(room.name.clone())));
    let new = to.rooms.iter().filter(|room| mode_of(from, &room.name) != Some(room.mode));
    actions.extend(new.map(|room| Action::AddRoom(room.name.clone(), room.mode)));
    let new = to.uplinks.iter().filter(|uplink| uplink_of(from, &uplink.name).as_ref() != Some(uplink));
    actions.extend(new.map(|uplink| Action::AddUplink(uplink.name.clone())));
    actions.extend(changed);
    actions.extend(added);
    changes
}

/// Sockets are bound once, pages in use know the path, and a port speaks TLS or does not.
fn for_a_restart(from: &Server, to: &Server) -> Vec<&'static str> {
    // A new key of [server] has to be thought about here.
    let Server { listen, path, tls, mdns } = to;
    let encrypts = |tls: &Option<Tls>| tls.is_some();
    let keys = [
        (from.listen != *listen, "listen in [server]"),
        (from.path != *path, "path in [server]"),
        (from.mdns != *mdns, "mdns in [server]"),
        (encrypts(&from.tls) != encrypts(tls), "[server.tls], which switches encryption on or off"),
    ];
    keys.into_iter().filter(|(changed, _)| *changed).map(|(_, key)| key).collect()
}

/// How far a change goes that a camera lives through.
enum Extent {
    None,
    Within(Depth),
}

/// `None`: another source is another camera, and one that is switched on or off comes or goes.
fn depth(from: &Camera, to: &Camera) -> Option<Extent> {
    // A new key of [camera] has to be thought about here.
    let Camera {
        name: _,
        title,
        rooms,
        source,
        rtsp_transport,
        wish,
        encoder,
        bitrate,
        keyframe_interval: _,
        always_on,
        enabled,
        sub,
    } = to;
    if from.source != *source || from.enabled != *enabled {
        return None;
    }
    let depth = if from.rtsp_transport != *rtsp_transport || from.wish != *wish || from.encoder != *encoder {
        Depth::Reopen
    } else if !from.is_encoded_like(to) {
        Depth::Encoders
    } else if from.title != *title
        || from.rooms != *rooms
        || from.always_on != *always_on
        || (from.bitrate, from.sub.bitrate) != (*bitrate, sub.bitrate)
    {
        Depth::Live
    } else {
        return Some(Extent::None);
    };
    Some(Extent::Within(depth))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::load_with;
    use crate::config::settings::{Room, Source, Uplink};

    fn settings(text: &str) -> Settings {
        let bytes = text.as_bytes().to_vec();
        crate::config::from_bytes("x.toml".into(), bytes, []).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A camera, and a change of it.
    fn after(change: &str) -> Vec<Action> {
        let camera = "[room.home]\n[room.attic]\n[camera.a]\nsource = \"test\"\nrooms = [\"home\"]\n";
        let changed = if change.starts_with("rooms") {
            camera.replace("rooms = [\"home\"]", change)
        } else {
            format!("{camera}{change}\n")
        };
        between(&settings(camera), &settings(&changed)).actions
    }

    #[test]
    fn keys_of_a_camera_are_applied_as_gently_as_they_can_be() {
        let name = || Name::new("a").unwrap();
        let change = |depth| vec![Action::ChangeCamera(name(), depth)];
        for (key, depth) in [
            ("title = \"Door\"", Depth::Live),
            ("rooms = [\"attic\"]", Depth::Live),
            ("always_on = true", Depth::Live),
            ("bitrate = 900", Depth::Live),
            ("keyframe_interval = 1.0", Depth::Encoders),
            ("[camera.a.sub]\nwidth = 320", Depth::Encoders),
            ("[camera.a.sub]\nbitrate = 90", Depth::Live),
            ("width = 640", Depth::Reopen),
            ("framerate = 10", Depth::Reopen),
            ("encoder = \"x264enc\"", Depth::Reopen),
            ("rtsp_transport = \"udp\"", Depth::Reopen),
            ("title = \"Door\"\nbitrate = 900", Depth::Live),
            ("title = \"Door\"\nwidth = 640\nbitrate = 900", Depth::Reopen),
        ] {
            assert_eq!(after(key), change(depth), "{key}");
        }
        assert_eq!(after("enabled = false"), [Action::RemoveCamera(name()), Action::AddCamera(name())]);
        assert_eq!(after("bitrate = 2000"), [], "the default, written");
    }

    #[test]
    fn what_cannot_change_is_named_and_changes_nothing_else() {
        let changes = between(
            &settings(""),
            &settings(
                "[server]\nlisten = \"[::]:9\"\npath = \"/x\"\nmdns = false\n[server.tls]\nself_signed = true\n",
            ),
        );
        assert_eq!(changes.actions, []);
        assert_eq!(changes.restart.len(), 4);
        assert!(changes.restart[3].starts_with("[server.tls]"));
        let tls = |file: &str| {
            settings(&format!("[server.tls]\ncertificate = \"/{file}.pem\"\nkey = \"/{file}.key\"\n"))
        };
        let changes = between(&tls("a"), &tls("b"));
        assert_eq!(changes, Changes { actions: vec![Action::Tls], restart: vec![] });
    }

    #[test]
    fn tables_of_the_box_are_one_action_each() {
        for (text, action) in [
            ("[access]\nnetworks = \"any\"", Action::Access),
            ("[access]\nviewer_password_file = \"/x\"", Action::Access),
            ("[limits]\nsessions = 3", Action::Limits),
            ("[ice]\nports = \"5000-5100\"", Action::Ice),
        ] {
            assert_eq!(between(&settings(""), &settings(text)).actions, [action], "{text}");
        }
        let room = |mode, token| settings(&format!("[room.home]\nmode = \"{mode}\"\n{token}"));
        let token = "token_file = \"/t\"";
        assert_eq!(between(&room("wall", ""), &room("wall", token)).actions, [Action::Access]);
        let home = || Name::new("home").unwrap();
        assert_eq!(
            between(&room("wall", ""), &room("mesh", "")).actions,
            [Action::RemoveRoom(home()), Action::AddRoom(home(), RoomMode::Mesh)]
        );
    }

    /// What a daemon is, as far as actions change it.
    #[derive(Debug, Clone, PartialEq)]
    struct World {
        rooms: BTreeMap<Name, RoomMode>,
        uplinks: BTreeMap<Name, Uplink>,
        cameras: BTreeMap<Name, Camera>,
    }

    impl World {
        fn of(settings: &Settings) -> Self {
            let Settings { rooms, uplinks, cameras, .. } = settings.clone();
            Self {
                rooms: rooms.into_iter().map(|room| (room.name, room.mode)).collect(),
                uplinks: uplinks.into_iter().map(|uplink| (uplink.name.clone(), uplink)).collect(),
                cameras: cameras.into_iter().map(|camera| (camera.name.clone(), camera)).collect(),
            }
        }

        /// Does `action`; panics where a daemon would have nothing to do it to.
        fn apply(&mut self, action: &Action, to: &Settings) {
            let camera = |name: &Name| to.cameras.iter().find(|camera| camera.name == *name).unwrap().clone();
            let uplink = |name: &Name| to.uplinks.iter().find(|uplink| uplink.name == *name).unwrap().clone();
            match action {
                Action::Access | Action::Tls | Action::Limits | Action::Ice => {}
                Action::RemoveCamera(name) => drop(self.cameras.remove(name).unwrap()),
                Action::RemoveUplink(name) => drop(self.uplinks.remove(name).unwrap()),
                Action::RemoveRoom(name) => drop(self.rooms.remove(name).unwrap()),
                Action::AddRoom(name, mode) => assert!(self.rooms.insert(name.clone(), *mode).is_none()),
                Action::AddUplink(name) => {
                    assert!(self.uplinks.insert(name.clone(), uplink(name)).is_none())
                }
                Action::ChangeCamera(name, _) => {
                    assert_ne!(self.cameras.insert(name.clone(), camera(name)).unwrap(), camera(name));
                }
                Action::AddCamera(name) => {
                    assert!(self.cameras.insert(name.clone(), camera(name)).is_none());
                }
            }
        }
    }

    fn touched(action: &Action) -> Option<&Name> {
        match action {
            Action::RemoveCamera(name) | Action::AddCamera(name) | Action::ChangeCamera(name, _) => {
                Some(name)
            }
            _ => None,
        }
    }

    /// Any configuration of a few rooms, uplinks and cameras, whatever their order.
    fn any_settings() -> impl Strategy<Value = Settings> {
        let name = |kind: &'static str| (0..4u8).prop_map(move |n| Name::new(format!("{kind}{n}")).unwrap());
        let mode = prop_oneof![Just(RoomMode::Wall), Just(RoomMode::Mesh)];
        let rooms = proptest::collection::btree_map(name("r"), mode, 0..4);
        let uplinks = proptest::collection::btree_map(name("u"), 0..2u8, 0..3);
        let camera = (0..2u8, 0..3u32, 0..2u32, any::<bool>(), 0..2u8);
        let cameras = proptest::collection::btree_map(name("c"), camera, 0..4);
        (rooms, uplinks, cameras, any::<bool>()).prop_map(|(rooms, uplinks, cameras, backwards)| {
            let mut settings = load_with(Some(Path::new("/dev/null")), []).unwrap();
            let room = |(name, mode)| Room { name, mode, token: None };
            settings.rooms = rooms.into_iter().map(room).collect();
            let uplink = |(name, url)| Uplink {
                name,
                url: format!("ws://{url}/portal"),
                room: "home".into(),
                cameras: None,
                box_name: None,
                token: None,
                fingerprint: None,
            };
            settings.uplinks = uplinks.into_iter().map(uplink).collect();
            let made = cameras.into_iter().map(|(name, (source, bitrate, width, enabled, title))| {
                let mut camera = settings.found_camera(name, Source::Test(format!("p{source}")));
                camera.bitrate += bitrate;
                camera.wish.width += width;
                camera.enabled = enabled;
                camera.title = format!("t{title}");
                camera
            });
            settings.cameras = made.collect();
            if backwards {
                settings.cameras.reverse();
                settings.rooms.reverse();
            }
            settings
        })
    }

    proptest! {
        #[test]
        fn the_actions_lead_from_one_to_the_other_and_touch_nothing_that_is_in_both(
            from in any_settings(), to in any_settings(),
        ) {
            let changes = between(&from, &to);
            let mut world = World::of(&from);
            for action in &changes.actions {
                world.apply(action, &to);
            }
            prop_assert_eq!(&world, &World::of(&to));
            let touched: BTreeSet<_> = changes.actions.iter().filter_map(touched).collect();
            for camera in from.cameras.iter().filter(|camera| to.cameras.contains(camera)) {
                prop_assert!(!touched.contains(&camera.name), "{:?}", changes);
            }
            prop_assert_eq!(between(&to, &to), Changes::default());
        }
    }
}
