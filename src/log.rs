//! Where log records go: to the journal with their key-values as fields when systemd started us, else to stderr.

use std::io::Write;

use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// The key-value that becomes the journal's `MESSAGE_ID`; see [`crate::events`].
const MESSAGE_ID: &str = "message_id";

/// Whether what is logged goes to the journal, with its fields.
#[must_use]
pub fn is_journal() -> bool {
    connected_to_journal()
}

/// Starts logging at `level`. Called once; what another logger in the process has taken stays with it.
pub fn init(level: LevelFilter) {
    let installed = if connected_to_journal() {
        JournalLog::new()
            .map(|journal| journal.with_extra_fields([("VERSION", env!("CARGO_PKG_VERSION"))]))
            .is_ok_and(|journal| journal.install().is_ok())
    } else {
        false
    };
    if !installed {
        let _ = log::set_logger(&Stderr);
    }
    log::set_max_level(level);
}

/// One line a record: level, message.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = format!("{:5} {}", record.level(), record.args());
            let mut fields = Fields(&mut line);
            let _ = record.key_values().visit(&mut fields);
            line.push('\n');
            // A closed stderr must not end the daemon.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Appends the fields that the message does not say already.
struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = value.to_string();
        // The journal's catalogue knows what it stands for; people do not.
        if key.as_str() != MESSAGE_ID && !self.0.contains(&value) {
            self.0.push_str(&format!(" {key}={value}"));
        }
        Ok(())
    }
}
