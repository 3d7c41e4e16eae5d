//! `/api/rtc`: the `RTCConfiguration` that a page should use.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::ice::IceServers;

/// As of now: the passwords of TURN servers may be time-limited.
pub(super) fn configuration(servers: &IceServers) -> Value {
    let servers = servers.servers(SystemTime::now()).into_iter().map(|server| match server.login {
        None => json!({ "urls": server.urls }),
        Some((username, credential)) => {
            json!({ "urls": server.urls, "username": username, "credential": credential.reveal() })
        }
    });
    json!({ "iceServers": servers.collect::<Vec<_>>() })
}
