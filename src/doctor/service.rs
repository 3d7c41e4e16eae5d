//! The daemon: does it run, does it answer, does it start at boot, and what does it say of its cameras.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use super::live::Live;
use super::processes::Processes;
use super::{Finding, Group};
use crate::config::settings::Settings;

/// Cameras that are named as not to be watched.
const MAX_CAMERAS: usize = 16;

/// What the daemon answers.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pid: Option<u32>,
    /// Code, or why there was no answer; none: nobody listens.
    health: Option<Result<u16, String>>,
    unready: Vec<Unready>,
}

/// A camera that `/readyz` names.
#[derive(Debug, Deserialize)]
struct Unready {
    name: String,
    state: String,
    #[serde(default)]
    reason: Option<String>,
}

impl Facts {
    pub(super) fn gather(live: &dyn Live, settings: &Settings, processes: &Processes) -> Self {
        let elsewhere = processes.daemon().map(|process| process.pid);
        let Some(listen) = settings.server.listen.first() else { return Self::default() };
        let pid = match processes.listener(*listen) {
            Some(Some(process)) if process.is_daemon => Some(process.pid),
            // Who it is cannot be seen: another user's, or in a container.
            Some(None) => elsewhere,
            _ => return Self { pid: elsewhere, ..Self::default() },
        };
        let address = SocketAddr::new(reachable(listen.ip()), listen.port());
        let health = live.ask(address, "/healthz").map(|(code, _)| code);
        let unready = match live.ask(address, "/readyz") {
            Ok((503, body)) if health == Ok(200) => serde_json::from_str(&body).unwrap_or_default(),
            _ => Vec::new(),
        };
        Self { pid, health: Some(health), unready }
    }
}

/// An address to ask a listener at from this box.
fn reachable(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // It takes IPv4 too, unless the box has no IPv4 at all.
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        listen => listen,
    }
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let (me, group) = (&facts.service, Group::Service);
    let restart = || match &facts.unit {
        Some(_) => "sudo systemctl restart portald; journalctl -u portald -n 30".to_owned(),
        None => "end it and start it again: portald run".to_owned(),
    };
    let mut found = Vec::new();
    // A port with TLS sends plain requests on to https://; `networks` may leave out this box itself.
    let answers = matches!(me.health, Some(Ok(200 | 301 | 302 | 307 | 308 | 401 | 403)));
    match (me.pid, &me.health, &facts.unit) {
        (Some(pid), ..) if answers => {
            found.push(Finding::fine(group, "runs", format!("portald runs (process {pid}) and answers")));
        }
        (None, ..) if answers => found.push(Finding::fine(group, "runs", "portald answers")),
        (Some(pid), Some(Ok(code)), _) => found.push(
            Finding::broken(
                group,
                "runs",
                format!("portald runs (process {pid}), and /healthz answers {code}"),
            )
            .because("nobody can watch")
            .mend(restart()),
        ),
        (Some(pid), Some(Err(why)), _) => found.push(
            Finding::broken(
                group,
                "runs",
                format!("portald runs (process {pid}) and does not answer: {why}"),
            )
            .because("nobody can watch")
            .mend(restart()),
        ),
        (Some(pid), None, Some(_)) => found.push(
            Finding::broken(
                group,
                "runs",
                format!("portald runs (process {pid}), and not at the address of `listen`"),
            )
            .because("it was started with another configuration, or has not come so far")
            .mend(restart()),
        ),
        (Some(pid), None, None) => {
            found.push(Finding::fine(
                group,
                "runs",
                format!("portald runs (process {pid}), at another address"),
            ));
        }
        (None, _, Some(_)) => found.push(
            Finding::broken(group, "runs", "the service is installed and does not run")
                .because("nobody can watch")
                .mend("sudo systemctl restart portald; journalctl -u portald -n 30"),
        ),
        (None, _, None) => {
            found.push(Finding::fine(
                group,
                "runs",
                "portald does not run, and no unit is installed: `portald run` starts it",
            ));
        }
    }
    if facts.unit.as_ref().is_some_and(|unit| !unit.is_enabled) {
        found.push(
            Finding::warning(group, "boot", "the service is not started at boot")
                .because("after a power cut the wall stays dark")
                .mend("sudo systemctl enable portald"),
        );
    }
    for Unready { name, state, reason } in me.unready.iter().take(MAX_CAMERAS) {
        let reason = reason.as_deref().unwrap_or("no reason given");
        // Reasons of the daemon have the next step in them.
        let (what, next) = reason.split_once("; next: ").unwrap_or((reason, ""));
        let mend = if next.is_empty() {
            format!("journalctl -u portald CAMERA={name} -n 20")
        } else {
            next.to_owned()
        };
        found.push(
            Finding::broken(group, "camera", format!("camera {name} is {state}: {what}"))
                .because("viewers see a slate")
                .mend(mend),
        );
    }
    found
}
