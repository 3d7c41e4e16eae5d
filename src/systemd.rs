//! What systemd is told: ready, stopping, and a status line. Without systemd these do nothing.

use sd_notify::NotifyState;

/// The sockets listen. Never waits for a camera: `dpkg -i` blocks until this is said.
pub fn ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// The daemon ends.
pub fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

/// What `systemctl status` shows.
pub fn status(text: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(text)]);
}
