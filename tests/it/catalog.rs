//! The journal's catalogue and the messages it explains.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn catalogue() -> String {
    fs::read_to_string(root().join("packaging/portald.catalog")).unwrap()
}

/// The constants of `src/events.rs`: id by name.
fn events() -> BTreeMap<String, String> {
    let code = fs::read_to_string(root().join("src/events.rs")).unwrap();
    let constant = |line: &str| {
        let (name, value) = line.strip_prefix("pub const ")?.split_once(": &str = \"")?;
        Some((name.to_owned(), value.strip_suffix("\";")?.to_owned()))
    };
    code.lines().filter_map(constant).collect()
}

/// The entries of the catalogue: id, header lines and text.
fn entries() -> Vec<(String, Vec<String>, String)> {
    let text = catalogue();
    let parts = text.split("\n-- ").skip(1).map(|part| {
        let (id, rest) = part.split_once('\n').unwrap();
        let (head, body) = rest.split_once("\n\n").unwrap();
        (id.to_owned(), head.lines().map(str::to_owned).collect(), body.trim().to_owned())
    });
    parts.collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join("src")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

#[test]
fn the_catalogue_explains_each_message_and_gives_a_command() {
    let events = events();
    assert!(events.len() >= 10, "{events:?}");
    let entries = entries();
    let mut explained: Vec<_> = entries.iter().map(|(id, ..)| id.clone()).collect();
    let mut logged: Vec<_> = events.values().cloned().collect();
    explained.sort();
    logged.sort();
    assert_eq!(explained, logged, "packaging/portald.catalog (left) and src/events.rs (right) differ");
    for (id, head, body) in &entries {
        assert!(id.len() == 32 && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        assert!(head[0].starts_with("Subject: ") && head.contains(&"Defined-By: portald".to_owned()), "{id}");
        assert!(body.lines().any(|line| line.starts_with("    ")), "{id}: no command to run");
        assert!(body.lines().all(|line| line.len() <= 80), "{id}: too wide for a terminal");
    }
}

#[test]
fn each_message_is_logged_somewhere_with_the_fields_that_the_catalogue_names() {
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    for (name, id) in events() {
        let uses: Vec<_> = code.match_indices(&format!("events::{name}")).collect();
        assert!(!uses.is_empty(), "{name} is logged nowhere");
        let entry = catalogue().split("\n-- ").find(|part| part.starts_with(&id)).unwrap().to_owned();
        let fields = entry.split('@').skip(1).step_by(2).map(str::to_lowercase);
        for field in fields {
            // The macro that has the id, or that of the match which chooses it.
            let has = |at: usize| code[at.saturating_sub(400)..code.len().min(at + 900)].contains(&field);
            assert!(uses.iter().all(|(at, _)| has(*at)), "{name} is logged without `{field}`");
        }
    }
}

/// A line of the log that speaks of a camera, a room or a viewer has it as a field too.
#[test]
fn what_a_line_of_the_log_names_is_a_field_of_it() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        for level in ["error!(", "warn!(", "info!("] {
            for (at, _) in code.match_indices(level) {
                let call = &code[at + level.len()..];
                let Some((fields, text)) = call.split_once('"') else { continue };
                let text = text.split('"').next().unwrap();
                for field in ["camera", "room", "peer", "uplink", "encoder"] {
                    if text.contains(&format!("{{{field}}}")) && !fields.contains(field) {
                        wrong.push(format!("{}: no field `{field}` in: {text}", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// By the journal's own tool, where it is installed.
#[test]
fn the_journal_reads_the_catalogue() {
    if Command::new("journalctl").arg("--version").output().is_err() {
        eprintln!("journalctl is not installed: not checked");
        return;
    }
    let scratch = std::env::temp_dir().join(format!("portald-catalog-{}", std::process::id()));
    let directory = scratch.join("usr/lib/systemd/catalog");
    fs::create_dir_all(&directory).unwrap();
    fs::create_dir_all(scratch.join("var/lib/systemd/catalog")).unwrap();
    fs::write(directory.join("portald.catalog"), catalogue()).unwrap();
    let journalctl = |arguments: &[&str]| {
        let output = Command::new("journalctl").arg("--root").arg(&scratch).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let (success, _, said) = journalctl(&["--update-catalog"]);
    assert!(success && said.is_empty(), "{said}");
    let (success, list, said) = journalctl(&["--list-catalog"]);
    fs::remove_dir_all(&scratch).unwrap();
    assert!(success, "{said}");
    for (id, head, _) in entries() {
        let subject = head[0].trim_start_matches("Subject: ");
        assert!(list.contains(&format!("{id} portald: {subject}")), "{id} is not in:\n{list}");
    }
}
