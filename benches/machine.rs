//! On what the figures were measured.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// Machine and versions; the load average is of now.
pub(crate) fn describe() -> Value {
    let cpu = text("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name").or_else(|| line.strip_prefix("Model")).map(str::to_owned)
        })
        .map_or_else(|| "unknown".to_owned(), |line| line.trim_start_matches([':', ' ', '\t']).to_owned());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = text("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0);
    json!({
        "cpu": cpu,
        "cores": cores,
        "memory_mb": memory / 1024,
        "kernel": text("/proc/sys/kernel/osrelease").trim(),
        "system": text("/etc/os-release").lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))
            .map_or("unknown", |name| name.trim_matches('"')),
        "portald": env!("CARGO_PKG_VERSION"),
    })
}

/// Load averages over 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    text("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Seconds of all cores since the start of the machine: (in all, idle).
pub(crate) fn processor_time() -> (f64, f64) {
    let stat = text("/proc/stat");
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; the guest times after them are counted in user already.
    let all: f64 = ticks.iter().take(8).sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (all / 100.0, idle / 100.0)
}

/// Datagrams that the kernel could not deliver because a receiver did not keep up, since the start of the machine.
pub(crate) fn datagrams_overrun() -> u64 {
    let snmp = text("/proc/net/snmp");
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut fields = names.split_whitespace().zip(values.split_whitespace());
    fields.find(|(name, _)| *name == "RcvbufErrors").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// The browser that the latency is measured in.
pub(crate) fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into())
}

/// What a program says to `--version`, or why it says nothing.
pub(crate) fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(|e| e.to_string(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
