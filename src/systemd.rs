//! What systemd is told: ready, reloading, stopping, a status line, and that all is well; and the sockets that it keeps
//! for us. Without systemd these do nothing.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The name that systemd keeps our listening sockets under.
const LISTENING: &str = "listen";

/// The listening sockets of the last run, which systemd kept. To be called before there are other threads: it takes what
/// systemd said of them out of the environment, so that no child believes them to be its own.
#[must_use]
pub fn kept() -> Vec<TcpListener> {
    let mut given = ListenFd::from_env();
    (0..given.len()).filter_map(|at| given.take_tcp_listener(at).ok().flatten()).collect()
}

/// Has systemd keep these listening sockets, and none of before, so that whoever connects while portald is restarted waits
/// instead of being refused.
pub fn keep<T: AsFd>(listeners: &[T]) {
    let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(LISTENING)]);
    let sockets: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    let _ = sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(LISTENING)], &sockets);
}

/// The sockets listen, or a reload is over. Never waits for a camera: `dpkg -i` blocks until this is said.
pub fn ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    // With the time, by which `Type=notify-reload` (systemd 253) knows that it is this reload that we speak of.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => drop(sd_notify::notify(&[NotifyState::Reloading, now])),
        Err(_) => drop(sd_notify::notify(&[NotifyState::Reloading])),
    }
}

/// The daemon ends.
pub fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

/// What `systemctl status` shows: one line.
pub fn status(text: &str) {
    let line = text.replace(|c: char| c.is_control(), " ");
    let _ = sd_notify::notify(&[NotifyState::Status(&line)]);
}

/// All is well. systemd ends a service that does not say so in time.
pub fn alive() {
    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
}

/// Within which time systemd wants to hear that all is well (`WatchdogSec=`); none: it does not ask this process.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|every| !every.is_zero())
}
