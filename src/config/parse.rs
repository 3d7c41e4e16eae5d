//! From the file as written to the settings as used. What cannot be is rejected with its key; where that key was
//! written is `super::origin`'s business.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::proto::ids::{MAX_NAME, Name, RoomMode};

use super::error::closest;
use super::file::{self, File};
use super::rejected::{Rejected, allowed_range, quoted, shown};
use super::settings::{
    BITRATE, Camera, EncoderChoice, FRAMERATE, HEIGHT, KEYFRAME_INTERVAL, MAX_CAMERAS, MAX_TITLE,
    MAX_UPLINKS, Room, RtspTransport, SecretFile, Settings, Source, Sub, WIDTH, Wish,
};
use super::source::{SOURCES, source};

mod network;
mod server;

type Result<T> = std::result::Result<T, Rejected>;

/// Parses a whole file. `order` says where a table was first mentioned: rooms and cameras come in that order, as on
/// the wall, and of two that cannot both be, the later one is rejected.
pub(super) fn settings(file: File, order: impl Fn(&[&str]) -> usize) -> Result<Settings> {
    let limits = server::limits(file.limits)?;
    at_most(limits.rooms, "room", file.room.len())?;
    at_most(MAX_CAMERAS, "camera", file.camera.len())?;
    at_most(MAX_UPLINKS, "uplink", file.uplink.len())?;
    let mut settings = Settings {
        server: server::server(file.server)?,
        access: server::access(file.access)?,
        limits,
        ice: network::ice(file.ice)?,
        uplinks: Vec::new(),
        rooms: Vec::new(),
        cameras: Vec::new(),
    };
    let mut tables: Vec<_> = file.room.into_iter().collect();
    tables.sort_by_cached_key(|(name, _)| order(&["room", name]));
    for (name, table) in tables {
        settings.rooms.push(room(&name, table)?);
    }
    if settings.rooms.is_empty() {
        settings.rooms.push(room("home", file::Room::default())?);
    }
    let mut tables: Vec<_> = file.camera.into_iter().collect();
    tables.sort_by_cached_key(|(name, _)| order(&["camera", name]));
    for (name, table) in tables {
        let camera = camera(&name, table, &settings)?;
        settings.cameras.push(camera);
    }
    let mut tables: Vec<_> = file.uplink.into_iter().collect();
    tables.sort_by_cached_key(|(name, _)| order(&["uplink", name]));
    for (name, table) in tables {
        let uplink = network::uplink(&name, table, &settings)?;
        settings.uplinks.push(uplink);
    }
    Ok(settings)
}

/// Refuses more tables of a kind than portald can serve.
fn at_most(limit: usize, kind: &str, found: usize) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(Rejected::key(&[kind], format!("{found} tables"))
        .allowed(format!("at most {limit}"))
        .hint(format!("remove each {kind} that nobody uses, or leave some to another box")))
}

/// `[room.NAME]`
fn room(name: &str, table: file::Room) -> Result<Room> {
    let mode = match table.mode.as_deref() {
        None | Some("wall") => RoomMode::Wall,
        Some("mesh") => RoomMode::Mesh,
        Some(other) => {
            return Err(Rejected::value(&["room", name, "mode"], quoted(other)).hint(
                match closest(other, ["wall", "mesh"]) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => {
                        "`wall`: browsers see cameras, not each other; `mesh`: everyone sees everyone".into()
                    }
                },
            ));
        }
    };
    let token = secret_file(&["room", name, "token_file"], table.token_file)?;
    Ok(Room { name: table_name("room", name)?, mode, token })
}

/// `[camera.NAME]`; `settings` has the rooms, and the cameras before it.
fn camera(name: &str, table: file::Camera, settings: &Settings) -> Result<Camera> {
    let valid_name = table_name("camera", name)?;
    let key = |key| ["camera", name, key];
    let enabled = table.enabled.unwrap_or(true);
    let Some(written) = table.source else {
        return Err(Rejected::key(&["camera", name], "no `source`").allowed(SOURCES).hint(
            "add a line such as `source = \"/dev/video0\"`; `portald devices` lists the cameras of this box",
        ));
    };
    let source = source(&key("source"), &written)?;
    let shared = |other: &&Camera| {
        enabled && other.enabled && other.source == source && !matches!(source, Source::Test(_))
    };
    if let Some(other) = settings.cameras.iter().find(shared) {
        let found = format!("{}, which is camera `{}`'s too", quoted(&source.to_string()), other.name);
        return Err(Rejected::value(&key("source"), found)
            .allowed("one camera for each source")
            .hint("a camera may be in several rooms: list them in its `rooms`"));
    }
    let defaults = settings.found_camera(valid_name, source);
    let rooms = match table.rooms {
        Some(names) => rooms(&key("rooms"), &names, settings)?,
        None if defaults.rooms.is_empty() => {
            return Err(Rejected::key(
                &["camera", name],
                "no `rooms`, and no room of mode \"wall\" to be in",
            )
            .allowed("every wall room is the default, so there must be one")
            .hint(format!("add `rooms = [\"{}\"]` or a wall room", first_room(settings))));
        }
        None => defaults.rooms,
    };
    Ok(Camera {
        rooms,
        rtsp_transport: transport(&key("rtsp_transport"), table.rtsp_transport)?,
        title: title(&key("title"), table.title)?.unwrap_or(defaults.title),
        wish: Wish {
            width: number(&key("width"), table.width, &WIDTH)?.unwrap_or(defaults.wish.width),
            height: number(&key("height"), table.height, &HEIGHT)?.unwrap_or(defaults.wish.height),
            framerate: number(&key("framerate"), table.framerate, &FRAMERATE)?
                .unwrap_or(defaults.wish.framerate),
        },
        encoder: encoder(&key("encoder"), table.encoder)?,
        bitrate: number(&key("bitrate"), table.bitrate, &BITRATE)?.unwrap_or(defaults.bitrate),
        keyframe_interval: seconds(&key("keyframe_interval"), table.keyframe_interval)?
            .unwrap_or(defaults.keyframe_interval),
        always_on: table.always_on.unwrap_or(defaults.always_on),
        enabled,
        sub: sub(name, table.sub)?,
        ..defaults
    })
}

/// `[camera.NAME.sub]`
fn sub(name: &str, table: file::Sub) -> Result<Sub> {
    let key = |key| ["camera", name, "sub", key];
    let defaults = Sub::default();
    Ok(Sub {
        width: number(&key("width"), table.width, &WIDTH)?.unwrap_or(defaults.width),
        height: number(&key("height"), table.height, &HEIGHT)?,
        framerate: number(&key("framerate"), table.framerate, &FRAMERATE)?,
        bitrate: number(&key("bitrate"), table.bitrate, &BITRATE)?.unwrap_or(defaults.bitrate),
    })
}

/// The name of a table under `[room]` or `[camera]`.
fn table_name(kind: &str, name: &str) -> Result<Name> {
    Name::new(name).map_err(|_| {
        let plain: String =
            name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let plain: String = plain.trim_matches('-').chars().take(MAX_NAME).collect();
        let plain = if plain.is_empty() { "front-door".to_owned() } else { plain };
        let title = if kind == "camera" { "; `title` may say it as you like" } else { "" };
        Rejected::key(&[kind, name], format!("the name {}", quoted(name)))
            .allowed(format!("1 to {MAX_NAME} characters of a-z, 0-9 and -"))
            .hint(format!("call the table `[{kind}.{plain}]`{title}"))
    })
}

/// What the wall shows.
fn title(key: &[&str], title: Option<String>) -> Result<Option<String>> {
    let Some(title) = title else { return Ok(None) };
    let length = title.chars().count();
    if title.trim().is_empty() || length > MAX_TITLE || title.chars().any(char::is_control) {
        let found = if length > MAX_TITLE { format!("{length} characters") } else { quoted(&title) };
        return Err(
            Rejected::value(key, found).hint("shorten it, or remove the line to show the camera's name")
        );
    }
    Ok(Some(title))
}

/// The rooms a camera is published in.
fn rooms(key: &[&str], names: &[String], settings: &Settings) -> Result<Vec<Name>> {
    let known = || settings.rooms.iter().map(|room| room.name.as_str());
    for (index, name) in names.iter().enumerate() {
        if known().any(|room| room == name) {
            continue;
        }
        let all = known().map(|room| format!("`{room}`")).collect::<Vec<_>>().join(", ");
        return Err(Rejected::value(key, quoted(name)).index(index).allowed(all).hint(
            match closest(name, known()) {
                Some(room) => format!("did you mean `{room}`?"),
                None => format!("add a table `[room.{}]`, or name a room there is", shown(name)),
            },
        ));
    }
    list(key, names, true, |name| Name::new(name).map_err(|error| error.to_string())).map_err(|rejected| {
        if names.is_empty() {
            rejected.hint(
                "to keep a camera off every wall write `enabled = false`; to have it on all remove the line",
            )
        } else {
            rejected
        }
    })
}

/// A list that has something in it, and nothing twice.
fn list<T: PartialEq>(
    key: &[&str],
    texts: &[String],
    is_list: bool,
    parse: impl Fn(&str) -> std::result::Result<T, String>,
) -> Result<Vec<T>> {
    let parsed = list_or_nothing(key, texts, is_list, parse)?;
    if parsed.is_empty() {
        return Err(Rejected::value(key, "an empty list").hint("remove the line to get the default"));
    }
    Ok(parsed)
}

/// A list that has nothing twice.
fn list_or_nothing<T: PartialEq>(
    key: &[&str],
    texts: &[String],
    is_list: bool,
    parse: impl Fn(&str) -> std::result::Result<T, String>,
) -> Result<Vec<T>> {
    let mut parsed = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let rejected = |found| {
            let rejected = Rejected::value(key, found);
            if is_list { rejected.index(index) } else { rejected }
        };
        let item = parse(text).map_err(|hint| rejected(quoted(text)).hint(hint))?;
        if parsed.contains(&item) {
            return Err(rejected(format!("{} a second time", quoted(text))).hint("remove one of the two"));
        }
        parsed.push(item);
    }
    Ok(parsed)
}

/// Where a secret is. What the file holds is read when portald starts.
fn secret_file(key: &[&str], text: Option<String>) -> Result<Option<SecretFile>> {
    let Some(text) = text else { return Ok(None) };
    if text.starts_with('/') {
        return Ok(Some(SecretFile::Path(text.into())));
    }
    // What systemd.exec(5) allows is what a file may be called.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 100 || text.starts_with('.') || !text.chars().all(plain) {
        // It may be the secret itself.
        return Err(Rejected::value(key, "something else")
            .hint("write the secret into a file that only portald can read, and its path here"));
    }
    Ok(Some(SecretFile::Credential(text)))
}

/// How an RTSP camera sends.
fn transport(key: &[&str], transport: Option<String>) -> Result<RtspTransport> {
    match transport.as_deref() {
        None | Some("tcp") => Ok(RtspTransport::Tcp),
        Some("udp") => Ok(RtspTransport::Udp),
        Some(other) => Err(Rejected::value(key, quoted(other)).hint(
            "`tcp` loses nothing; `udp` rather loses packets than wait for them, on a weak radio link",
        )),
    }
}

/// Which encoder template to use. Whether there is such a file [`super::unknown_encoder`] tells.
fn encoder(key: &[&str], encoder: Option<String>) -> Result<EncoderChoice> {
    let Some(name) = encoder else {
        return Ok(EncoderChoice::Auto);
    };
    if name == "auto" {
        return Ok(EncoderChoice::Auto);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
        let hint = match name.rsplit('/').next().unwrap_or(&name).split('.').next() {
            Some(stem) if !stem.is_empty() && stem.chars().all(plain) && name.contains(['/', '.']) => {
                format!("leave out directory and ending: `{stem}`")
            }
            _ => "`portald devices` lists the encoders; properties go in a file of their own, see pipelines/README.md".into(),
        };
        return Err(Rejected::value(key, quoted(&name)).hint(hint));
    }
    Ok(EncoderChoice::Named(name))
}

/// A whole number in its range.
fn number(key: &[&str], value: Option<i64>, range: &RangeInclusive<u32>) -> Result<Option<u32>> {
    let Some(value) = value else { return Ok(None) };
    if let Ok(value) = u32::try_from(value)
        && range.contains(&value)
    {
        return Ok(Some(value));
    }
    let (low, high) = (i64::from(*range.start()), i64::from(*range.end()));
    let hint = if key.last() == Some(&"bitrate") && (low..=high).contains(&(value / 1000)) {
        format!("it counts in kbit/s: did you mean {}?", value / 1000)
    } else {
        format!("the nearest that is allowed is {}", value.clamp(low, high))
    };
    Err(Rejected::value(key, value).hint(hint))
}

/// A time in seconds, in its range.
fn seconds(key: &[&str], value: Option<f64>) -> Result<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    if KEYFRAME_INTERVAL.contains(&value) {
        return Ok(Some(Duration::from_secs_f64(value)));
    }
    let hint = if KEYFRAME_INTERVAL.contains(&(value / 1000.0)) {
        format!("it counts in seconds: did you mean {:?}?", value / 1000.0)
    } else {
        format!("the default is 2.0; {}", allowed_range(&KEYFRAME_INTERVAL, "seconds"))
    };
    Err(Rejected::value(key, format!("{value:?}")).hint(hint))
}

/// A room to suggest.
fn first_room(settings: &Settings) -> &str {
    settings.rooms.first().map_or("home", |room| room.name.as_str())
}
