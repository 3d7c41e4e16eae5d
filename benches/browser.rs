//! Runs the benchmarks' scripts for Chromium.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::machine::chromium;

/// What `script` of benches/ wrote; it ends by itself within a minute and a half.
pub(crate) fn run(script: &str, arguments: &[&str], daemon: &Daemon) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
    let mut command = Command::new("node");
    command.arg(path).args(arguments).env("CHROMIUM", chromium()).stderr(Stdio::inherit());
    let output = command.output().expect("node starts");
    assert!(output.status.success(), "{script} failed; daemon:\n{}", daemon.log());
    serde_json::from_slice(&output.stdout).expect("the script writes JSON")
}
