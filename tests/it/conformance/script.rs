//! The files as they are written.

use std::collections::BTreeMap;

use portald::proto::ids::RoomMode;
use serde::Deserialize;
use serde_json::Value;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What it shows.
    pub(super) sentence: String,
    /// Whom it holds to that.
    #[serde(default)]
    pub(super) reference: Reference,
    /// What is needed of the server.
    pub(super) server: Setting,
    /// What happens, in order.
    pub(super) steps: Vec<Step>,
}

/// Whether the reference server is held to a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub(super) enum Reference {
    /// It does something else, or knows nothing of the matter.
    #[default]
    No,
    /// As portald is.
    Yes,
    /// It alone: a fault that portald must not share.
    Only,
}

impl TryFrom<Value> for Reference {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        match &value {
            Value::Bool(true) => Ok(Self::Yes),
            Value::Bool(false) => Ok(Self::No),
            Value::String(text) if text == "only" => Ok(Self::Only),
            other => Err(format!("`reference` is {other}; it may be true, false or \"only\"")),
        }
    }
}

/// The server that a file needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setting {
    /// Its rooms and their modes; a reference server knows no modes, all of its rooms are meshes.
    pub(super) rooms: BTreeMap<String, RoomMode>,
    /// What is not as usual.
    #[serde(default)]
    pub(super) limits: CaseLimits,
}

/// Limits that a file is about. Those not given are so long or so large that no file meets them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseLimits {
    pub(super) members_per_room: Option<usize>,
    pub(super) seat_kept_ms: Option<u64>,
    pub(super) seat_queue: Option<usize>,
    pub(super) silent_after_ms: Option<u64>,
}

/// One step.
#[derive(Debug, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Step {
    Connect {
        socket: String,
        query: String,
        #[serde(default)]
        address: Option<String>,
    },
    Camera {
        socket: String,
        name: String,
        room: String,
    },
    Send {
        socket: String,
        json: Value,
    },
    SendText {
        socket: String,
        text: String,
    },
    SendBinary {
        socket: String,
        bytes: Vec<u8>,
    },
    WsPing {
        socket: String,
        payload: String,
    },
    Expect {
        socket: String,
        message: Value,
    },
    ExpectNothing {
        socket: String,
    },
    ExpectClose {
        socket: String,
        code: u16,
    },
    Close {
        socket: String,
        code: u16,
    },
    Drop {
        socket: String,
    },
    Pause {
        milliseconds: u64,
    },
}
