//! Runs the benchmarks' scripts for Chromium.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::machine::chromium;

/// What `script` of benches/ wrote; it ends by itself within a minute and a half.
pub(crate) fn run(script: &str, arguments: &[&str], daemon: &Daemon) -> Value {
    written(script, arguments).unwrap_or_else(|| panic!("{script} failed; daemon:\n{}", daemon.log()))
}

/// The same, of a script that starts a daemon itself and has a limit of its own.
pub(crate) fn run_alone(script: &str, arguments: &[&str]) -> Value {
    written(script, arguments).unwrap_or_else(|| panic!("{script} failed"))
}

/// The JSON of its last line.
fn written(script: &str, arguments: &[&str]) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
    let mut command = Command::new("node");
    command.arg(path).args(arguments).env("CHROMIUM", chromium()).stderr(Stdio::inherit());
    let output = command.env("PORTALD_BIN", env!("CARGO_BIN_EXE_portald")).output().expect("node starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let last = text.lines().last().filter(|_| output.status.success())?;
    Some(serde_json::from_str(last).expect("the script writes JSON"))
}
