//! A child process of this program: for what goes through drivers, and may hang or crash.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often it is looked whether the child has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long one that is killed is waited for.
const DYING: Duration = Duration::from_secs(1);
/// Most that is read of what it says on stderr, in bytes.
const MAX_SAID: u64 = 64 * 1024;

/// What it wrote, and how it ended.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    /// On stderr.
    pub(super) said: String,
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
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(Silence::NotStarted)?;
    // Taken and closed: the child reads to the end.
    if let Some(mut stdin) = child.stdin.take() {
        // One that died before it read has no answer either.
        let _ = stdin.write_all(input);
    }
    let text = child.stdout.take().map(|stdout| reader(stdout, most));
    let said = child.stderr.take().map(|stderr| reader(stderr, MAX_SAID));
    let status = end(&mut child, limit).ok_or_else(|| {
        let _ = child.kill();
        // A driver that holds it in the kernel holds it still; then it is init's when we end.
        let _ = end(&mut child, DYING);
        Silence::Late
    })?;
    let read = |reader: Option<JoinHandle<String>>| reader.and_then(|thread| thread.join().ok());
    Ok(Answer { text: read(text).unwrap_or_default(), said: read(said).unwrap_or_default(), status })
}

/// How it ended; none: it did not within `limit`.
fn end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if begun.elapsed() < limit => thread::sleep(LOOK),
            _ => return None,
        }
    }
}

/// Reads to the end, and keeps at most `most` bytes.
fn reader(mut from: impl Read + Send + 'static, most: u64) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let _ = from.by_ref().take(most).read_to_end(&mut kept);
        // One that writes more shall not wait for a reader.
        let _ = io::copy(&mut from, &mut io::sink());
        String::from_utf8_lossy(&kept).into_owned()
    })
}
