//! `source = "…"`: where a camera's pictures come from.

use std::path::PathBuf;

use super::error::closest;
use super::rejected::{Rejected, quoted};
use super::settings::{DEFAULT_TEST_PATTERN, Secret, Source, TEST_PATTERNS, redacted};

/// What a source may be, for error messages.
pub(super) const SOURCES: &str =
    "a V4L2 path such as `/dev/video0`, `libcamera`, `libcamera:NAME`, `rtsp://…`, `test` or `test:PATTERN`";

/// Parses it. No message of this function may hold more of an URL than [`redacted`] leaves.
pub(super) fn source(key: &[&str], written: &Secret) -> Result<Source, Rejected> {
    let text = written.reveal();
    // What may stand in a pipeline description, which the templates check again.
    let made_of = |s: &str, others: &str| {
        !s.is_empty() && s.len() <= 255 && s.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    let (scheme, rest) = text.split_once(':').map_or((text, None), |(scheme, rest)| (scheme, Some(rest)));
    match (scheme, rest) {
        _ if text.starts_with('/') => {
            if !made_of(text, "/._:+=,@-") {
                return Err(Rejected::value(key, quoted(text))
                    .allowed("a path of letters, digits and / . _ : + = , @ -")
                    .hint("let a udev rule make a link to the device in /dev with a plain name, and write that here"));
            }
            Ok(Source::V4l2(PathBuf::from(text)))
        }
        ("libcamera", None) => Ok(Source::Libcamera(None)),
        ("libcamera", Some(name)) if made_of(name, "/._:+=,@- \\") && name.trim() == name => {
            Ok(Source::Libcamera(Some(name.into())))
        }
        ("libcamera", Some(name)) => Err(Rejected::value(key, format!("the camera name {}", quoted(name)))
            .allowed("`libcamera`, which is the first, or a name of letters, digits, spaces and / . _ : + = , @ - \\")
            .hint("`portald devices` lists the names")),
        ("test", None) => Ok(Source::Test(DEFAULT_TEST_PATTERN.into())),
        ("test", Some(pattern)) if TEST_PATTERNS.contains(&pattern) => Ok(Source::Test(pattern.into())),
        ("test", Some(pattern)) => Err(Rejected::value(key, format!("the test pattern {}", quoted(pattern)))
            .allowed(TEST_PATTERNS.join(", "))
            .hint(closest(pattern, TEST_PATTERNS).map_or_else(
                || "`test:ball` is a ball that bounces".into(),
                |word| format!("did you mean `test:{word}`?"),
            ))),
        ("rtsp" | "rtsps", Some(rest)) => {
            let host =
                rest.strip_prefix("//").map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
            let spaceless = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
            if !spaceless || host.is_none_or(|host| host.is_empty() || host.starts_with(['/', ':', '?'])) {
                return Err(Rejected::value(key, quoted(text))
                    .allowed("`rtsp://HOST/PATH` or `rtsp://USER:PASSWORD@HOST:PORT/PATH`, without spaces")
                    .hint("write two slashes and the camera's address; a space in a password is `%20`"));
            }
            Ok(Source::Rtsp(written.clone()))
        }
        _ => {
            // After an unknown scheme anything may be a password.
            let found = if rest.is_some() { format!("{}…", redacted(scheme)) } else { text.to_owned() };
            let hint = match closest(scheme, ["libcamera", "rtsp", "test"]) {
                Some("rtsp") => "did you mean `rtsp://…`?".into(),
                Some(word) => format!("did you mean `{word}`?"),
                None if scheme.starts_with("video") && rest.is_none() => {
                    format!("did you mean `/dev/{scheme}`?")
                }
                None => "`portald devices` lists the cameras of this box".into(),
            };
            Err(Rejected::value(key, quoted(&found)).hint(hint))
        }
    }
}
