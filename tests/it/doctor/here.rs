//! `portald doctor` on this box, which is given real faults.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::daemon::{Daemon, LIMIT, Reserved};

/// A directory that goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("portald-doctor-here-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The exit code and the report; the second within its own limits, however much hangs.
async fn doctor(config: &Path, variables: &[(&str, &Path)]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portald"));
    command
        .args(["doctor", "--json", "--config"])
        .arg(config)
        .envs(variables.iter().copied())
        .kill_on_drop(true);
    let output = timeout(2 * LIMIT, command.output()).await.expect("the doctor never hangs").unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    (output.status.code().unwrap(), report)
}

/// The findings of a check, such as `port`.
fn of(report: &Value, check: &str) -> Vec<Value> {
    let all = report["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["check"] == check).cloned().collect()
}

fn text(finding: &Value, key: &str) -> String {
    finding[key].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_port_that_somebody_has_is_told_with_who() {
    let scratch = Scratch::new("port");
    // Nobody else gets the port when the holder is gone.
    let reserved = Reserved::new();
    let holder = TcpListener::bind(("127.0.0.1", reserved.port)).unwrap();
    let address = holder.local_addr().unwrap();
    let config = scratch.file("portald.toml", &format!("[server]\nlisten = \"{address}\"\n"));
    let (code, report) = doctor(&config, &[]).await;
    let port = of(&report, "port").remove(0);
    assert_eq!((code, port["severity"].as_str()), (2, Some("broken")), "{report:#}");
    let (found, mend) = (text(&port, "found"), text(&port, "mend"));
    let own = std::process::id();
    assert!(found.starts_with(&format!("port {} is taken by ", address.port())), "{found}");
    assert!(found.ends_with(&format!("(process {own})")), "{found}");
    assert!(mend.contains("listen another port"), "{mend}");
    drop(holder);
    let (_, report) = doctor(&config, &[]).await;
    assert_eq!(text(&of(&report, "port")[0], "found"), format!("{address} is free for portald to listen at"));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_or_is_wrong_is_broken() {
    let scratch = Scratch::new("config");
    let wrong = scratch.file("wrong.toml", "[camera.a]\nsource = 'test'\nwidht = 1\n");
    for (config, told) in [
        // Root may read every file, but nobody reads a directory as one.
        (scratch.0.clone(), "cannot be read: Is a directory"),
        (scratch.0.join("none.toml"), "cannot be read: No such file"),
        (wrong, "wrong.toml:3:1: key `camera.a.widht`"),
    ] {
        let (code, report) = doctor(&config, &[]).await;
        let finding = of(&report, "config").remove(0);
        assert_eq!((code, finding["severity"].as_str()), (2, Some("broken")), "{finding}");
        assert!(text(&finding, "found").contains(told), "{finding}");
        // The rest is examined all the same.
        assert!(!of(&report, "trial").is_empty(), "{report:#}");
    }
}

#[tokio::test]
async fn a_box_without_plugins_is_told_which_packages_to_install() {
    let scratch = Scratch::new("plugins");
    let config = scratch.file("portald.toml", "[server]\nlisten = '127.0.0.1:0'\n");
    let (nothing, registry) = (scratch.0.join("nothing"), scratch.0.join("registry.bin"));
    let variables: [(&str, &Path); 3] = [
        ("GST_PLUGIN_SYSTEM_PATH_1_0", &nothing),
        ("GST_PLUGIN_SYSTEM_PATH", &nothing),
        ("GST_REGISTRY", &registry),
    ];
    let (code, report) = doctor(&config, &variables).await;
    assert_eq!(code, 2, "{report:#}");
    let lacking = of(&report, "required");
    let mends: String = lacking.iter().map(|finding| text(finding, "mend")).collect();
    for package in ["plugins-base", "plugins-good", "plugins-bad", "nice"] {
        assert!(
            mends.contains(&format!("install gstreamer1.0-{package}"))
                || mends.contains(&format!("reinstall gstreamer1.0-{package}")),
            "{mends}"
        );
    }
    assert!(lacking.iter().any(|finding| text(finding, "found").contains("webrtcbin")), "{lacking:?}");
    // With the plug-ins it starts, and encoders have their proof.
    let (_, report) = doctor(&config, &[]).await;
    assert_eq!(of(&report, "required")[0]["severity"], "fine", "{report:#}");
    assert!(
        of(&report, "trial").iter().any(|trial| text(trial, "found").contains("enc works: ")),
        "{report:#}"
    );
}

#[tokio::test]
async fn directories_without_room_or_that_are_none_are_told() {
    let scratch = Scratch::new("disk");
    let config = scratch.file("portald.toml", "[server]\nlisten = '127.0.0.1:0'\n");
    let file = scratch.file("file", "");
    // The kernel's own file system has no room for anyone.
    let (_, report) =
        doctor(&config, &[("XDG_STATE_HOME", Path::new("/proc")), ("XDG_CACHE_HOME", &file)]).await;
    let full = of(&report, "full").into_iter().chain(of(&report, "read-only")).next();
    let full = full.unwrap_or_else(|| panic!("{report:#}"));
    assert!(text(&full, "found").starts_with("/proc/portald "), "{full}");
    let none = of(&report, "directory").remove(0);
    assert_eq!(text(&none, "found"), format!("{} is no directory", file.display()));
    assert_eq!(none["severity"], "warning");
}

#[tokio::test]
async fn a_daemon_that_runs_is_asked_what_it_knows() {
    let tables = "[camera.there]\nsource = 'test'\n[camera.gone]\nsource = '/dev/v4l/by-id/nowhere'\n";
    let daemon = Daemon::start(tables).await;
    let scratch = Scratch::new("daemon");
    let listen = format!("[server]\nlisten = \"127.0.0.1:{}\"\n", daemon.port);
    let config = scratch.file("portald.toml", &format!("{listen}{tables}"));
    let (code, report) = doctor(&config, &[]).await;
    assert_eq!(
        text(&of(&report, "port")[0], "found"),
        format!("portald listens at 127.0.0.1:{}", daemon.port)
    );
    let runs = of(&report, "runs").remove(0);
    assert_eq!(runs["severity"], "fine", "{runs}");
    assert!(text(&runs, "found").contains("and answers"), "{runs}");
    let (cameras, absent) = (of(&report, "camera"), of(&report, "absent"));
    assert_eq!((cameras.len(), absent.len(), code), (1, 1, 2), "{report:#}");
    assert!(text(&cameras[0], "found").starts_with("camera gone is absent"), "{cameras:?}");
}

#[tokio::test]
async fn a_shared_report_of_this_box_has_not_its_name() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let scratch = Scratch::new("share");
    let config =
        scratch.file("portald.toml", "[camera.gate]\nsource = 'rtsp://admin:hunter2@cam.example.net/live'\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portald"));
    command.args(["doctor", "--share", "--config"]).arg(&config).kill_on_drop(true);
    let output = timeout(2 * LIMIT, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("portald ") && said.contains("\nEncoders\n"), "{said}");
    let is_word = |c: char| !c.is_alphanumeric();
    assert!(host.len() < 3 || said.split(is_word).all(|word| word != host), "{said}");
    for secret in ["hunter2", "cam.example.net"] {
        assert!(!said.contains(secret), "{said}");
    }
}
