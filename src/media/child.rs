//! A child process of this program: for what goes through drivers, and may hang or crash.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether the child has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What it wrote, and how it ended.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) status: ExitStatus,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It could not be started.
    NotStarted(io::Error),
    /// It did not end in time, and was ended.
    Late,
}

/// Runs `program argument`, writes `input` to it, and reads at most `most` bytes. Blocks, at most for `limit`.
pub(super) fn ask(
    program: &Path,
    argument: &str,
    input: &[u8],
    limit: Duration,
    most: u64,
) -> Result<Answer, Silence> {
    let spawned = Command::new(program)
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = spawned.map_err(Silence::NotStarted)?;
    // Taken and closed: the child reads to the end.
    if let Some(mut stdin) = child.stdin.take() {
        // One that died before it read has no answer either.
        let _ = stdin.write_all(input);
    }
    let reader = child.stdout.take().map(|stdout| {
        thread::spawn(move || {
            let mut answer = Vec::new();
            stdout.take(most).read_to_end(&mut answer).map(|_| String::from_utf8_lossy(&answer).into_owned())
        })
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < limit => thread::sleep(LOOK),
            _ => {
                // A driver that holds it in the kernel holds it still; then it is init's when we end.
                let _ = child.kill();
                let _ = child.try_wait();
                return Err(Silence::Late);
            }
        }
    };
    let text = reader.and_then(|thread| thread.join().ok()).and_then(Result::ok).unwrap_or_default();
    Ok(Answer { text, status })
}
