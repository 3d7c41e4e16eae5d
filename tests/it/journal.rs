//! What the daemon writes into the journal, by a socket that stands in for journald's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use gstreamer as gst;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::daemon::{Daemon, LIMIT};
use crate::viewer::{Conduct, Viewer};

/// The fields of a message.
type Entry = BTreeMap<String, String>;

/// In a mount namespace where the directory `$0` is journald's; systemd names the stream of a service's stderr so.
const INSIDE: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                      mount --bind \"$0\" /run/systemd/journal && \
                      JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";

struct Journal {
    directory: PathBuf,
    entries: Arc<Mutex<Vec<Entry>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Journal {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("portald-journal-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let socket = UnixDatagram::bind(directory.join("socket")).unwrap();
        let entries = Arc::<Mutex<Vec<Entry>>>::default();
        let kept = Arc::clone(&entries);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 20];
            while let Ok(length) = socket.recv(&mut buffer).await {
                kept.lock().unwrap().push(parse(&buffer[..length]));
            }
        });
        Self { directory, entries, task }
    }

    /// Waits for a message with these fields.
    async fn wait_for(&self, daemon: &mut Daemon, fields: &[(&str, &str)]) -> Entry {
        let fits = |entry: &&Entry| {
            fields.iter().all(|(name, value)| entry.get(*name).is_some_and(|field| field.contains(value)))
        };
        let find = || self.entries.lock().unwrap().iter().find(fits).cloned();
        daemon.wait_for(&format!("{fields:?}"), async |_: &Daemon| find().is_some()).await;
        find().unwrap()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The journal's native protocol: `NAME=VALUE`, or `NAME`, the value's length in 8 bytes, and the value.
fn parse(mut bytes: &[u8]) -> Entry {
    let mut entry = Entry::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        bytes = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                entry.insert(text(&line[..at]), text(&line[at + 1..]));
                rest
            }
            None => {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                entry.insert(text(line), text(&rest[8..8 + length]));
                &rest[8 + length + 1..]
            }
        };
    }
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_their_fields_priorities_and_ids() {
    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("no namespaces here: the journal's messages are not checked");
        return;
    }
    gst::init().unwrap();
    let journal = Journal::new();
    let directory = journal.directory.display().to_string();
    let tables = "[room.home]\n[camera.one]\nsource = \"test\"\nwidth = 640\nheight = 360\nframerate = 15\n\
                  [camera.gone]\nsource = \"/dev/v4l/by-id/nothing\"\n";
    let through = ["unshare", "-rm", "sh", "-c", INSIDE, &directory];
    let mut daemon = Daemon::start_by(tables, &[], 200, &through, &[]).await;

    let absent = [("CAMERA", "gone"), ("STATE", "absent"), ("REASON", "no device at"), ("PRIORITY", "4")];
    let entry = journal.wait_for(&mut daemon, &absent).await;
    assert_eq!(entry["MESSAGE_ID"], portald::events::CAMERA_ABSENT);
    assert!(entry["MESSAGE"].starts_with("camera gone: absent: no device at"), "{entry:?}");
    assert_eq!(entry["VERSION"], env!("CARGO_PKG_VERSION"));
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "portald");
    // The library's mapping, as README says: our info is notice.
    journal.wait_for(&mut daemon, &[("MESSAGE", "the wall of 2 cameras"), ("PRIORITY", "5")]).await;

    let conduct = Conduct { camera: Some("one".into()), ..Conduct::default() };
    let mut viewer = Viewer::join(daemon.port, "home", conduct).await;
    timeout(LIMIT, viewer.pictures(3)).await.expect("pictures");
    journal.wait_for(&mut daemon, &[("CAMERA", "one"), ("STATE", "live"), ("PRIORITY", "5")]).await;
    viewer.leave().await;

    std::fs::write(daemon.directory().join("portald.toml"), "[camera.one]\nsauce = 1\n").unwrap();
    daemon.signal("HUP");
    let id = portald::events::RELOAD_REFUSED;
    let refused =
        [("MESSAGE_ID", id), ("PRIORITY", "3"), ("REASON", "portald.toml:2:1: key `camera.one.sauce`")];
    journal.wait_for(&mut daemon, &refused).await;
    let (status, log) = daemon.terminate().await;
    assert!(status.success() && log.is_empty(), "all went to the journal: {log}");
}
