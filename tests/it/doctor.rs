//! `portald doctor` on boxes that are made up, each with what it says of them; and on this box, with real faults.

mod made_up;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use portald::doctor::live::Live;
use portald::doctor::tree::Tree;
use portald::doctor::{Options, Report, Severity, examine};

use self::made_up::{MadeUp, merged};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/doctor")
}

fn read(name: &str) -> toml::Table {
    let file = fixtures().join(format!("{name}.toml"));
    fs::read_to_string(&file).unwrap().parse().unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The names of all set-ups, the one where all is fine among them.
fn names() -> Vec<String> {
    let files =
        fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.filter_map(|file| file.strip_suffix(".toml").map(str::to_owned)).collect();
    names.sort();
    names
}

/// What the doctor says of the set-up `name`.
fn report(name: &str) -> Report {
    let base = read("box");
    let table = if name == "box" { base } else { merged(base, read(name)) };
    let share = table.get("share").and_then(toml::Value::as_bool).unwrap_or(false);
    let made = MadeUp::new(name, table);
    let tree = Tree::new(made.root());
    let live: Arc<dyn Live> = Arc::new(made);
    examine(&tree, &live, &Options { share, ..Options::default() })
}

#[test]
fn boxes() {
    let names = names();
    assert!(names.len() > 30, "only {} boxes", names.len());
    let mut wrong = Vec::new();
    for name in &names {
        let file = fixtures().join(format!("{name}.txt"));
        let said = report(name).words().replacen(env!("CARGO_PKG_VERSION"), "VERSION", 1);
        if std::env::var_os("PORTALD_BLESS").is_some() {
            fs::write(&file, &said).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if said != expected {
            wrong.push(format!("{name}: expected\n{expected}\nfound\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_good_box_is_fine_and_every_other_is_not() {
    for name in names() {
        let report = report(&name);
        let is_fine = report.verdict == Severity::Fine;
        assert_eq!(is_fine, name == "box", "{name}: {}", report.words());
        for finding in &report.findings {
            let bad = finding.severity != Severity::Fine;
            assert_eq!(bad, !finding.why.is_empty(), "{name}: {finding:?}");
            assert_eq!(bad, !finding.mend.is_empty(), "{name}: {finding:?}");
        }
    }
}

#[test]
fn every_subject_is_looked_at_and_json_has_stable_names() {
    let report: serde_json::Value = serde_json::from_str(&report("camera-held").json()).unwrap();
    assert_eq!(report["verdict"], "broken");
    assert_eq!(report["box"]["kernel"], "6.1.0-rpi8-rpi-v8");
    let findings = report["findings"].as_array().unwrap();
    let groups: BTreeSet<_> = findings.iter().map(|finding| finding["group"].as_str().unwrap()).collect();
    let all = [
        "cameras",
        "clock",
        "configuration",
        "disk",
        "encoders",
        "gstreamer",
        "memory",
        "network",
        "service",
        "usb",
        "versions",
    ];
    assert_eq!(groups, BTreeSet::from(all));
    let held = findings.iter().find(|finding| finding["check"] == "held").unwrap();
    let names: BTreeSet<_> = held.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["group", "check", "severity", "found", "why", "mend"]));
    assert_eq!(held["mend"], "sudo systemctl disable --now motion");
}

/// Every value that is planted in that box, none of which may be in a report for strangers, in words or as JSON.
#[test]
fn a_report_to_share_tells_nobody_who_and_where_the_box_is() {
    let shared = report("to-share");
    for text in [shared.words(), shared.json()] {
        for secret in [
            "hunter2",
            "admin:",
            "barn",
            "anna",
            "A1B2C3D4",
            "203.0.113",
            "198.51.100",
            "2001:db8",
            "fe80",
            "cams.example",
            "correct-horse",
        ] {
            assert!(!text.contains(secret), "`{secret}` is in\n{text}");
        }
        assert!(
            text.contains("HOST") && text.contains("ADDRESS-1") && text.contains("192.168.1.5"),
            "{text}"
        );
    }
}

#[cfg(feature = "media")]
mod here;
