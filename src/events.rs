//! The messages a user is most likely to meet, by the ids under which the journal's catalogue explains them.
//!
//! `packaging/portald.catalog` has the explanations and the commands to run (`journalctl -x`); `tests/it/catalog.rs` holds
//! the two together. An id never changes its meaning: programs may wait for it (`journalctl MESSAGE_ID=…`). A log line
//! says it as the key-value `message_id`, which becomes the field `MESSAGE_ID`.

/// The configuration cannot be used, and portald does not start.
pub const CONFIG_INVALID: &str = "ba5fa31f05ea4b67843e3acc5c03a29a";
/// Something in the system keeps portald from starting.
pub const START_FAILED: &str = "02d788d94c544b1598eeebad1f4056de";
/// A reload was refused; what was in use stays.
pub const RELOAD_REFUSED: &str = "a0f27e4fef784f6b90398fa1db8028b8";
/// A reload cannot apply a key.
pub const NEEDS_RESTART: &str = "3dcde0afbfaa470e95322eb3f2062fe6";
/// No camera is configured and none was found.
pub const NO_CAMERA: &str = "26d44be9e9c841b587e5e4b19edb8dd0";
/// A camera's device is not there.
pub const CAMERA_ABSENT: &str = "5fd04589e2bf49088f464e23e2f13612";
/// A camera failed and is tried again.
pub const CAMERA_FAILED: &str = "e285c655a7994357bd3a529384192c14";
/// A camera is open and gives no pictures.
pub const CAMERA_STALLED: &str = "eb8eea6d742c4b39a6e11ebc79fa8de4";
/// A rendition cannot be encoded and is tried again.
pub const ENCODER_FAILED: &str = "ccc3245afcad4289ad31adc19715cbc2";
/// A viewer must wait for a place.
pub const VIEWER_WAITS: &str = "4b87232b0f244a03bbcb41090fb5aa22";
/// Somebody was not let in.
pub const REFUSED: &str = "d661834cc4254f5fbb8b1f84aaf8d9c4";
/// A camera is not at another server.
pub const UPLINK_AWAY: &str = "5239d69adc3741968695f3438d5fccb9";
/// The dates of the certificate are wrong.
pub const CERTIFICATE_DATES: &str = "ce7035951b174ae59273e295bb8317f4";
/// systemd is not told that all is well.
pub const WATCHDOG: &str = "cf15df5249c54edda7abe002d893fc7d";
