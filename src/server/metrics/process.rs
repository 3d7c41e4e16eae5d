//! What the process takes of the box, under the names that all Prometheus clients use. From procfs, which answers from
//! memory: what is not there is left out.

use std::fs;

use super::page::Page;

/// The unit of times in procfs, a second's part: `USER_HZ`, 100 wherever Linux runs on what Debian supports.
const TICKS: f64 = 100.0;

/// Writes all of it.
pub(super) fn write(page: &mut Page) {
    let read = |file: &str| fs::read_to_string(format!("/proc/{file}")).unwrap_or_default();
    let times = Times::parse(&read("self/stat"));
    let status = read("self/status");
    let kib = |key| number_after(&status, key).map(|kib| kib * 1024.0);
    let descriptors = fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1) as f64); // its own
    let boot = number_after(&read("stat"), "btime ");
    let start = times.as_ref().zip(boot).map(|(times, boot)| boot + times.start);
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            "counter",
            "CPU time used, in user and system mode.",
            times.as_ref().map(|times| times.used),
        ),
        ("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.", start),
        ("process_threads", "gauge", "Threads.", number_after(&status, "Threads:")),
        ("process_open_fds", "gauge", "File descriptors in use.", descriptors),
        ("process_max_fds", "gauge", "File descriptors there may be.", max_open(&read("self/limits"))),
        ("process_resident_memory_bytes", "gauge", "Memory in use.", kib("VmRSS:")),
        ("process_virtual_memory_bytes", "gauge", "Address space in use.", kib("VmSize:")),
    ] {
        if let Some(value) = value {
            page.single(name, kind, help, value);
        }
    }
}

/// Of proc_pid_stat(5), in seconds.
#[derive(Debug, PartialEq)]
struct Times {
    /// User and system time.
    used: f64,
    /// Since the box started.
    start: f64,
}

impl Times {
    /// The name of the program, in parentheses, may hold spaces and parentheses: fields are counted behind it.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // The first of these is field 3; utime is 14, stime 15, starttime 22.
        let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
        Some(Self { used: seconds(14)? + seconds(15)?, start: seconds(22)? })
    }
}

/// The soft limit in proc_pid_limits(5); `unlimited` is none.
fn max_open(limits: &str) -> Option<f64> {
    number_after(limits, "Max open files")
}

/// The first number of the line that begins with `key`.
fn number_after(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procfs_is_read_as_its_manual_says() {
        let stat = "812 (a) b (c) S 1 812 812 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 31 0 1234 1 2 3";
        assert_eq!(Times::parse(stat), Some(Times { used: 2.0, start: 12.34 }));
        assert_eq!(Times::parse("812 (portald) S 1"), None);
        let status = "Name:\tportald\nVmSize:\t  204 kB\nVmRSS:\t   88 kB\nThreads:\t31\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(88.0));
        assert_eq!(number_after(status, "Threads:"), Some(31.0));
        assert_eq!(number_after(status, "VmSwap:"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            65536                524288               files     \n";
        assert_eq!(max_open(limits), Some(65_536.0));
        assert_eq!(
            max_open("Max open files            unlimited            unlimited            files"),
            None
        );
    }

    #[test]
    fn this_process_is_described() {
        let mut page = Page::default();
        write(&mut page);
        let text = page.into_text();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<f64>().unwrap()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "it began {age} s ago");
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0 && value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
    }
}
