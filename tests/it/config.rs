//! The configuration: what users write, and what they are told when it is wrong.
#![allow(clippy::unwrap_used)] // Helpers of tests: clippy knows only the test functions themselves.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portald::config::{
    self, Camera, ConfigError, EncoderChoice, RtspTransport, Secret, Settings, Source, Sub, Wish,
};
use portald::proto::ids::{Name, RoomMode};

/// The file that is installed as /etc/portald/portald.toml.
const SHIPPED: &str = include_str!("../../packaging/portald.toml");

/// Loads `text` as if it were the file, with these environment variables.
fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("portald-{}-{number}.toml", std::process::id()));
    fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|&(name, value)| (name.into(), value.into()));
    let result = config::load_with(Some(&file), environment);
    fs::remove_file(&file).unwrap();
    result
}

fn load(text: &str) -> Result<Settings, ConfigError> {
    load_with(text, &[])
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// The error as a user sees it, without the directory of the file.
fn told(error: &ConfigError) -> String {
    let text = error.to_string();
    let text = match text.split_once(".toml:") {
        Some((path, rest)) => format!("{}.toml:{rest}", path.rsplit('/').next().unwrap()),
        None => text,
    };
    format!("{text}\nhint: {}\n", error.hint())
}

/// Each broken file has beside it the text its user gets. `PORTALD_TEST_BLESS=1` writes those texts anew; read them.
#[test]
fn broken_files_are_explained() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let bless = std::env::var_os("PORTALD_TEST_BLESS").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    assert!(files.len() >= 15, "only {} files in {}", files.len(), dir.display());
    let mut differing = Vec::new();
    for file in files {
        let told = match config::load_with(Some(&file), []) {
            Ok(_) => panic!("{} was accepted", file.display()),
            Err(error) => told(&error),
        };
        assert!(!told.contains("hunter2"), "{}: shows a password: {told}", file.display());
        assert!(!told.contains("hint: \n"), "{}: has no hint", file.display());
        let expected = file.with_extension("txt");
        if bless {
            fs::write(&expected, &told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            differing.push(format!("{}:\n{told}", file.display()));
        }
    }
    assert!(differing.is_empty(), "these say something else now:\n{}", differing.join("\n"));
}

#[test]
fn every_line_and_column_is_that_of_the_mistake() {
    // In each, `«` stands before what must be pointed at.
    for marked in [
        "[server]\nlisten = «\"nowhere\"",
        "[server]\nlisten = [ \"[::]:80\", «\"nowhere\" ]",
        "[server]\n«lisen = \"x\"",
        "[camera.a]\nsource=\"test\"\n  height =   «5000",
        "camera.a = { source = \"test\", sub = { «bitrat = 5 } }",
        "camera.a = { title = \"ä€\", source = \"test\", sub = { bitrate = «5 } }",
        "[room.a]\n[camera.b]\nsource = \"test\"\nrooms = [\n\t«'c']",
        "[room.«\"A b\"]",
        "[camera.«x]",
        "\u{feff}[server]\npath = «\"x\"",
        "[server]\r\npath = «'x'",
        "[camera.a]\nsource = \"test\"\nalways_on = «\"yes\"",
        "«[[camera]]\nsource = 'test'",
    ] {
        let at = marked.find('«').unwrap();
        let line_start = marked[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = marked[..at].matches('\n').count() + 1;
        let column = marked[line_start..at].chars().count() + 1;
        let error = load(&marked.replace('«', "")).unwrap_err().to_string();
        assert!(
            error.contains(&format!(".toml:{line}:{column}: key `")),
            "{marked}\n{error}, expected {line}:{column}"
        );
    }
}

#[test]
fn no_typo_shows_a_password() {
    let good = "[server]\npath = '/x'\n[camera.a]\nwidth = 640\nsource = \"rtsp://admin:hunter2@cam/x\"\ntitle = 'T'\n";
    assert!(load(good).is_ok());
    let mut refused = 0;
    for at in 0..good.len() {
        let mut typos = vec![good[..at].to_owned(), good[..at].to_owned() + &good[at + 1..]];
        typos.extend(
            ["\"", "'", "=", "\n", " ", "@", "[", "é"].map(|typo| good[..at].to_owned() + typo + &good[at..]),
        );
        for text in typos {
            match load(&text) {
                Ok(settings) => assert!(!format!("{settings:?}").contains("nter2"), "{text}"),
                Err(error) => {
                    refused += 1;
                    let told = told(&error) + &format!("{error:?}");
                    assert!(!told.contains("hunte") && !told.contains("nter2"), "{text}\n{told}");
                }
            }
        }
    }
    assert!(refused > 300, "only {refused} typos were refused");
}

#[test]
fn the_whole_contract_is_understood() {
    let settings = load(
        r#"
        [server]
        listen = "[::]:8080"
        path = "/portal"
        [room.home]
        mode = "wall"
        [room.desk]
        mode = "mesh"
        [camera.front-door]
        title = "Front door"
        rooms = ["home", "desk"]
        source = "/dev/v4l/by-id/usb-046d_C920-video-index0"
        width = 1920
        height = 1080
        framerate = 25
        rtsp_transport = "udp"
        encoder = "v4l2h264enc"
        bitrate = 4000
        keyframe_interval = 1
        always_on = true
        enabled = false
        [camera.front-door.sub]
        width = 320
        height = 200
        framerate = 5
        bitrate = 100
        [camera.another]
        source = "rtsp://admin:hunter2@10.0.0.7/live"
        "#,
    )
    .unwrap();
    assert_eq!(settings.server.listen, ["[::]:8080".parse::<SocketAddr>().unwrap()]);
    let rooms: Vec<_> = settings.rooms.iter().map(|room| (room.name.as_str(), room.mode)).collect();
    assert_eq!(rooms, [("home", RoomMode::Wall), ("desk", RoomMode::Mesh)], "in the file's order");
    let camera = Camera {
        name: name("front-door"),
        title: "Front door".into(),
        rooms: vec![name("home"), name("desk")],
        source: Source::V4l2("/dev/v4l/by-id/usb-046d_C920-video-index0".into()),
        rtsp_transport: RtspTransport::Udp,
        wish: Wish { width: 1920, height: 1080, framerate: 25 },
        encoder: EncoderChoice::Named("v4l2h264enc".into()),
        bitrate: 4000,
        keyframe_interval: Duration::from_secs(1),
        always_on: true,
        enabled: false,
        sub: Sub { width: 320, height: Some(200), framerate: Some(5), bitrate: 100 },
    };
    assert_eq!(settings.cameras[0], camera);
    let url = Secret::new("rtsp://admin:hunter2@10.0.0.7/live");
    assert_eq!(settings.cameras[1], settings.found_camera(name("another"), Source::Rtsp(url)));
    assert_eq!(settings.cameras[1].rooms, [name("home")], "every wall room");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn sources_are_told_apart() {
    for (text, source) in [
        ("/dev/video0", Source::V4l2("/dev/video0".into())),
        ("libcamera", Source::Libcamera(None)),
        (
            "libcamera:/base/soc/i2c0mux/i2c@1/imx708@1a",
            Source::Libcamera(Some("/base/soc/i2c0mux/i2c@1/imx708@1a".into())),
        ),
        (r"libcamera:\_SB_.PC00.I2C2.CAM0 a", Source::Libcamera(Some(r"\_SB_.PC00.I2C2.CAM0 a".into()))),
        ("rtsp://cam/live", Source::Rtsp(Secret::new("rtsp://cam/live"))),
        ("rtsps://a:b/c@d@cam:322/", Source::Rtsp(Secret::new("rtsps://a:b/c@d@cam:322/"))),
        ("test", Source::Test(config::DEFAULT_TEST_PATTERN.into())),
        ("test:ball", Source::Test("ball".into())),
    ] {
        assert_eq!(load(&format!("[camera.a]\nsource = '{text}'")).unwrap().cameras[0].source, source);
    }
    for text in [
        "",
        "x",
        "/dev/vid eo0",
        "/dev/\"",
        "libcamera:",
        "libcamera:a!b",
        "libcamera: a",
        "libcamera:a\"b",
        "rtsp://",
        "rtsp://u:p@",
        "rtsp://a b/",
        "TEST",
        "file:///x",
    ] {
        assert!(load(&format!("[camera.a]\nsource = '{text}'")).is_err(), "{text}");
    }
}

#[test]
fn one_source_is_one_camera_unless_it_is_switched_off_or_a_test() {
    let two = |source: &str, more: &str| {
        load(&format!("[camera.a]\nsource = '{source}'\n[camera.b]\nsource = '{source}'\n{more}"))
    };
    assert!(two("/dev/video0", "").is_err());
    assert!(two("/dev/video0", "enabled = false").is_ok());
    assert!(two("test:ball", "").is_ok());
    assert!(two("libcamera", "").is_err());
}

/// Only the whole program knows what encoders there are.
#[cfg(feature = "media")]
#[test]
fn an_encoder_of_which_there_is_no_file_is_found_when_the_configuration_is_checked() {
    let file = std::env::temp_dir().join(format!("portald-encoder-{}.toml", std::process::id()));
    let check = |encoder: &str| {
        fs::write(&file, format!("[camera.a]\nsource = \"test\"\nencoder = \"{encoder}\"\n")).unwrap();
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_portald"));
        let out = program.args(["check-config", "--config"]).arg(&file).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(check("x264enc"), (Some(0), String::new()));
    let (code, told) = check("x246enc");
    assert!(
        code == Some(1) && told.contains(".toml:3:11: key `camera.a.encoder`: found `x246enc`"),
        "{told}"
    );
    assert!(told.contains("did you mean `x264enc`?"), "{told}");
    let (_, told) = check("mine");
    assert!(told.contains("hint: there are: auto, ") && told.contains(", vp8enc"), "{told}");
    fs::remove_file(&file).unwrap();
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    let error = config::load_with(Some(Path::new("/nowhere/portald.toml")), []).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/portald.toml: cannot be read: No such file"), "{error}");
    assert!(error.hint().contains("--config"), "{}", error.hint());
    if !Path::new(config::DEFAULT_FILE).exists() {
        assert_eq!(config::load_with(None, []).unwrap(), load("").unwrap());
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "[server]\npath = '/a'\n[camera.front-door]\nsource = 'test'\nwidth = 640";
    let settings = load_with(
        text,
        &[
            ("PORTALD_SERVER__PATH", "/b"),
            ("PORTALD_SERVER__LISTEN", "[::1]:9000"),
            ("PORTALD_CAMERA__FRONT_DOOR__WIDTH", "800"),
            ("PORTALD_CAMERA__FRONT_DOOR__KEYFRAME_INTERVAL", "4"),
            ("PORTALD_CAMERA__FRONT_DOOR__ALWAYS_ON", "true"),
            ("PORTALD_CAMERA__FRONT_DOOR__TITLE", "12"),
            ("PORTALD_CAMERA__FRONT_DOOR__ROOMS", "[home]"),
            ("PORTALD_CAMERA__FRONT_DOOR__SUB__BITRATE", "300"),
            ("PORTALD_CAMERA__BACK__SOURCE", "rtsp://u:[x],{y}@10.0.0.7/"),
            ("PORTALD_LOG", "debug"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(settings.server.path, "/b");
    assert_eq!(settings.server.listen, ["[::1]:9000".parse::<SocketAddr>().unwrap()]);
    let camera = &settings.cameras[0];
    assert_eq!((camera.wish.width, camera.title.as_str(), camera.always_on), (800, "12", true));
    assert_eq!((camera.keyframe_interval, camera.sub.bitrate), (Duration::from_secs(4), 300));
    assert_eq!(settings.cameras[1].source, Source::Rtsp(Secret::new("rtsp://u:[x],{y}@10.0.0.7/")));
    let two = load_with("", &[("PORTALD_SERVER__LISTEN", r#"["127.0.0.1:1", "[::1]:1"]"#)]).unwrap();
    assert_eq!(two.server.listen.len(), 2);
}

#[test]
fn errors_of_the_environment_name_the_variable() {
    let text = "[camera.front]\nsource = 'test'\nwidth = 640\nrooms = ['home']\n[camera.front.sub]\n";
    for (variable, value, told) in [
        (
            "PORTALD_CAMERA__FRONT__WIDTH",
            "8",
            "key `camera.front.width`: found 8; allowed: a whole number, 16",
        ),
        (
            "PORTALD_CAMERA__FRONT__WIDTH",
            "wide",
            "key `camera.front.width`: found the text `wide`; allowed: a whole",
        ),
        ("PORTALD_CAMERA__FRONT__WIDHT", "8", "key `camera.front.widht`: found a key that does not exist"),
        (
            "PORTALD_CAMERA__FRONT__ROOMS",
            "[home, hom]",
            "key `camera.front.rooms`: found `hom`; allowed: `home`",
        ),
        ("PORTALD_CAMERA__BACK__WIDTH", "640", "key `camera.back`: found no `source`; allowed: a V4L2 path"),
        (
            "PORTALD_SERVER_PATH",
            "/x",
            "key `server_path`: found a key that does not exist; allowed: `server`",
        ),
        ("PORTALD_CAMERA__FRONT__SUB", "x", "key `camera.front.sub`: found the text `x`; allowed: a table"),
        ("PORTALD_SERVER__LISTEN", "8080", "key `server.listen`: found the number 8080; allowed: an address"),
        ("PORTALD_SERVER", "8080", "key `server`: found the number 8080; allowed: a table, `[server]`"),
    ] {
        let error = load_with(text, &[(variable, value)]).unwrap_err();
        let expected = format!("environment variable {variable}: {told}");
        assert!(error.to_string().starts_with(&expected), "{error}\nexpected {expected}");
    }
    let error = load_with("", &[("PORTALD_SERVER_PATH", "/x")]).unwrap_err();
    assert!(error.hint().contains("PORTALD_SERVER__PATH"), "{}", error.hint());
}

#[test]
fn mistakes_in_the_file_keep_their_place_when_the_environment_is_set() {
    let error = load_with("[camera.a]\nsource = 'test'\nwidth = 8", &[("PORTALD_CAMERA__A__HEIGHT", "480")])
        .unwrap_err();
    assert!(error.to_string().contains(".toml:3:9: key `camera.a.width`"), "{error}");
}

/// The lines of the shipped file that are keys or tables, commented out or not, as they are when uncommented.
fn shipped_lines() -> impl Iterator<Item = &'static str> {
    SHIPPED.lines().map(|line| line.strip_prefix('#').unwrap_or(line)).filter(|line| {
        // Prose has a space after its #.
        !line.starts_with([' ', '#']) && !line.is_empty()
    })
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(load(SHIPPED).unwrap(), load("").unwrap());
    let live: Vec<_> = SHIPPED.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(live.is_empty(), "everything is commented out, so that an upgrade may change defaults: {live:?}");
}

/// Keys of the shipped file that have no default, or one that only the box knows: what stands there is an example.
fn is_example(table: &str, key: &str) -> bool {
    key.ends_with("_file")
        || table == "uplink.hub"
        || matches!((table, key), ("server.tls", "certificate" | "key") | ("ice", "turn_username"))
}

#[test]
fn the_shipped_file_uncommented_is_the_defaults() {
    let mut table = String::new();
    let mut all = String::new();
    for line in shipped_lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.split(']').next().unwrap().to_owned();
        } else if is_example(&table, line.split('=').next().unwrap().trim()) {
            continue;
        }
        if table != "uplink.hub" {
            all += &format!("{line}\n");
        }
    }
    let settings = load(&all).unwrap();
    let defaults = load("").unwrap();
    assert_eq!(Settings { cameras: Vec::new(), ..settings.clone() }, defaults);
    for camera in &settings.cameras {
        let default = defaults.found_camera(camera.name.clone(), camera.source.clone());
        let default = Camera {
            title: camera.title.clone(),
            // Written out, what follows the main picture by default.
            sub: Sub { height: Some(360), framerate: Some(15), ..default.sub },
            ..default
        };
        assert_eq!(*camera, default);
    }
    assert_eq!(settings.cameras.len(), 1);
}

/// The names of the keys that a table may have, from what the error for a bogus one allows.
fn keys_of(table: &str) -> Vec<String> {
    let source = if table.starts_with("camera") { "[camera.front-door]\nsource = 'test'\n" } else { "" };
    let header =
        if table == "camera.front-door" || table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let error = load(&format!("{source}{header}bogus = 1")).unwrap_err().to_string();
    assert!(error.contains("bogus`: found a key that does not exist; allowed: "), "{error}");
    let (_, allowed) = error.split_once("allowed: ").unwrap();
    allowed.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

/// What must stand beside a line of the shipped file for it to be valid alone.
fn beside(table: &str, key: &str) -> &'static str {
    match (table, key) {
        ("camera.front-door", "source") => "[camera.front-door]\n",
        ("camera.front-door", _) => "[camera.front-door]\nsource = 'test'\n",
        ("camera.front-door.sub", _) => "[camera.front-door]\nsource = 'test'\n[camera.front-door.sub]\n",
        ("server.tls", "certificate") => "[server.tls]\nkey = 'k'\n",
        ("server.tls", "key") => "[server.tls]\ncertificate = 'c'\n",
        ("ice", "turn_username") => "[ice]\nturn_password_file = 'p'\n",
        ("ice", "turn_password_file") => "[ice]\nturn_username = 'u'\n",
        ("uplink.hub", "url") => "[uplink.hub]\nroom = 'r'\n",
        ("uplink.hub", "room") => "[uplink.hub]\nurl = 'ws://a'\n",
        ("uplink.hub", _) => "camera.front-door.source = 'test'\n[uplink.hub]\nurl = 'ws://a'\nroom = 'r'\n",
        _ => "",
    }
}

#[test]
fn each_line_of_the_shipped_file_may_be_uncommented_alone_and_every_key_is_there() {
    let defaults = load("").unwrap();
    let mut table = String::new();
    let mut seen = Vec::new();
    for line in shipped_lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.split(']').next().unwrap().to_owned();
            continue;
        }
        let key = line.split('=').next().unwrap().trim();
        seen.push(format!("{table}.{key}"));
        let before = match beside(&table, key) {
            "" => format!("[{table}]\n"),
            before => before.to_owned(),
        };
        let settings =
            load(&format!("{before}{line}")).unwrap_or_else(|error| panic!("{before}{line}: {error}"));
        if !is_example(&table, key) {
            assert_eq!(Settings { cameras: Vec::new(), ..settings.clone() }, defaults, "{line}");
        }
        for camera in settings.cameras {
            let default = defaults.found_camera(camera.name.clone(), camera.source.clone());
            let equal = Camera { title: default.title.clone(), ..camera.clone() } == default;
            // These three follow something else by default; the file shows what that comes to.
            let follows = table.ends_with(".sub") && ["height", "framerate"].contains(&key);
            assert!(equal || follows, "{line} is not the default: {camera:?}");
        }
    }
    for table in TABLES {
        for key in keys_of(table).iter().filter(|key| !TABLES.contains(&format!("{table}.{key}").as_str())) {
            assert!(
                seen.contains(&format!("{table}.{key}")),
                "the shipped file says nothing of `{key}` in [{table}]"
            );
        }
    }
}

/// The tables of the shipped file.
const TABLES: [&str; 9] = [
    "server",
    "server.tls",
    "access",
    "limits",
    "ice",
    "uplink.hub",
    "room.home",
    "camera.front-door",
    "camera.front-door.sub",
];

#[test]
fn a_bogus_key_is_refused_in_every_table() {
    assert_eq!(keys_of(""), ["server", "access", "limits", "ice", "uplink", "room", "camera"]);
    let tables: Vec<_> =
        shipped_lines().filter_map(|line| line.strip_prefix('[')?.split(']').next()).collect();
    assert_eq!(tables, TABLES);
    for table in tables {
        assert!(!keys_of(table).is_empty());
    }
}
