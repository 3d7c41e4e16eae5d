//! The package: what is written in more than one place is the same in each.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn metadata() -> toml::Table {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

#[test]
fn the_package_depends_on_what_the_demo_installs() {
    let metadata = metadata();
    let depends: BTreeSet<&str> = metadata["depends"]
        .as_str()
        .unwrap()
        .split(',')
        .map(|entry| entry.split_whitespace().next().unwrap())
        .filter(|name| name.starts_with("gstreamer1.0-"))
        .collect();
    let packages = read("packaging/packages.txt");
    let run: BTreeSet<&str> = packages.lines().filter_map(|line| line.strip_prefix("run ")).collect();
    assert!(!run.is_empty());
    assert_eq!(depends, run, "Cargo.toml (left) and group `run` of packaging/packages.txt (right) differ");
}

/// A file that the package forgets, or that is gone, would only show when somebody installs it.
#[test]
fn the_package_has_every_pipeline() {
    let metadata = metadata();
    let sources: Vec<&str> =
        metadata["assets"].as_array().unwrap().iter().map(|asset| asset[0].as_str().unwrap()).collect();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let glob = format!("pipelines/{}/*.pipeline", entry.file_name().to_str().unwrap());
            assert!(sources.contains(&glob.as_str()), "Cargo.toml's assets have no {glob}");
        }
    }
}

/// The script of a release, in a repository that has nothing but what it looks at.
#[test]
fn a_release_is_refused_unless_all_is_committed_written_down_and_tested() {
    let dir = std::env::temp_dir().join(format!("portald-release-{}", std::process::id()));
    let put = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").args(identity).args(arguments).current_dir(&dir).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let release = || {
        let output = Command::new("bash").arg("packaging/deb/release.sh").current_dir(&dir).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said)
    };
    put("packaging/deb/release.sh", &read("packaging/deb/release.sh"));
    // Packs nothing: what is tested here is when it is asked to.
    put("packaging/deb/build.sh", "#!/bin/sh\necho $1 > portald_$1.deb; echo portald_$1.deb\n");
    put("Cargo.toml", "[package]\nversion = \"1.2.3\"\n");
    put("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n");
    put(".gitignore", "/target\n*.deb\n");
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["update-index", "--chmod=+x", "packaging/deb/build.sh"]);
    Command::new("chmod").args(["+x", "packaging/deb/build.sh"]).current_dir(&dir).status().unwrap();
    git(&["commit", "-qm", "first"]);
    let refused = |words: &str| {
        let (done, said) = release();
        assert!(!done && said.contains(words), "expected {words}: {said}");
    };
    refused("CHANGELOG.md has no heading `## [1.2.3] - DATE`");
    put("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-30\n");
    refused("not committed");
    git(&["commit", "-qam", "second"]);
    refused("has not been tested");
    put("target/tested", &git(&["rev-parse", "HEAD~"]));
    refused("has not been tested");
    put("target/tested", &git(&["rev-parse", "HEAD"]));
    let (done, said) = release();
    assert!(done && said.contains("git tag -a v1.2.3"), "{said}");
    let sums = fs::read_to_string(dir.join("target/release-1.2.3/SHA256SUMS")).unwrap();
    assert!(sums.contains("portald_amd64.deb") && sums.contains("portald_arm64.deb"), "{sums}");
    git(&["tag", "v1.2.3", "HEAD~"]);
    refused("v1.2.3 is another commit");
    fs::remove_dir_all(&dir).unwrap();
}
