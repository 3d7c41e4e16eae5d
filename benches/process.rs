//! What the kernel says of a process.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

/// Kernel clock ticks a second in /proc (`USER_HZ`): 100 on every Linux architecture that Debian has.
const TICKS: f64 = 100.0;

/// What the kernel says of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    /// CPU seconds since its start.
    pub(crate) cpu: f64,
    /// Resident memory in MB (2²⁰ bytes).
    pub(crate) rss: f64,
    pub(crate) threads: f64,
    pub(crate) descriptors: f64,
}

impl Reading {
    /// Of the running process `id`, which is ours.
    pub(crate) fn of(id: u32) -> Self {
        let process = PathBuf::from(format!("/proc/{id}"));
        let text = |file: &str| fs::read_to_string(process.join(file)).expect("the process runs");
        let (stat, status) = (text("stat"), text("status"));
        // The second field, the command's name in parentheses, may hold spaces; utime and stime are the 14th and 15th.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
        let number = |key: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a status line");
            line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
        };
        let descriptors = fs::read_dir(process.join("fd")).expect("our own process").count() as f64;
        Self {
            at: Instant::now(),
            cpu: ticks / TICKS,
            rss: number("VmRSS:") / 1024.0,
            threads: number("Threads:"),
            descriptors,
        }
    }

    /// CPU since `earlier`, in percent of one core.
    pub(crate) fn cpu_percent_since(&self, earlier: &Self) -> f64 {
        100.0 * (self.cpu - earlier.cpu) / (self.at - earlier.at).as_secs_f64()
    }
}
