//! A report that may be shown to strangers: no passwords, no names of people or of the box, no public addresses.
//!
//! The findings hold no passwords to begin with. What is masked here is found by its value, wherever it stands.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::report::{Finding, Report};
use super::tree::Tree;
use crate::config::settings::{Host, Networks, SecretFile, Source, redacted};

/// Shorter values are not looked for: they would be found in the midst of other words.
const MIN_LENGTH: usize = 3;
/// Users that every box has, whose names tell nothing.
const PLAIN_USERS: [&str; 4] = ["root", "portald", "pi", "nobody"];

/// What must not be shown, each with what stands for it.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Values, longest first.
    values: Vec<(String, String)>,
}

impl Known {
    pub(super) fn gather(tree: &Tree, facts: &super::Facts) -> Self {
        let mut known = Self::default();
        let host = tree.text("/proc/sys/kernel/hostname").unwrap_or_default();
        known.hide(&host, "HOST");
        known.hide(host.split('.').next().unwrap_or_default(), "HOST");
        let passwd = tree.text("/etc/passwd").unwrap_or_default();
        for (number, line) in passwd.lines().enumerate() {
            let mut fields = line.split(':');
            let (name, uid) =
                (fields.next().unwrap_or_default(), fields.nth(1).and_then(|uid| uid.parse::<u32>().ok()));
            // People have numbers from 1000 on (login.defs).
            if uid.is_some_and(|uid| uid >= 1000) && !PLAIN_USERS.contains(&name) {
                known.hide(name, &format!("USER-{number}"));
            }
        }
        let serials = facts.usb.cameras.iter().filter_map(|camera| camera.serial.as_deref());
        serials.for_each(|serial| known.hide(serial, "SERIAL"));
        if let Some(settings) = facts.configuration.settings() {
            for camera in &settings.cameras {
                if let Source::Rtsp(url) = &camera.source {
                    known.hide_url(url.reveal());
                }
            }
            settings.uplinks.iter().for_each(|uplink| known.hide_url(&uplink.url));
            settings.access.hosts.iter().for_each(|host| known.hide(host, "NAME"));
            let access = &settings.access;
            for file in
                [&access.viewer_password, &access.admin_token, &access.uplink_token].into_iter().flatten()
            {
                known.hide_file(tree, file);
            }
        }
        known.values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        known
    }

    fn hide(&mut self, value: &str, mask: &str) {
        if value.len() >= MIN_LENGTH && value != "localhost" {
            self.values.push((value.to_owned(), mask.to_owned()));
        }
    }

    /// User, password, and a name that is not an address.
    fn hide_url(&mut self, url: &str) {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        self.hide(password, "PASSWORD");
        self.hide(user, "LOGIN");
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        if let Some((Host::Name(name), _)) = Host::parse_with_port(host) {
            self.hide(&name, "NAME");
        }
    }

    fn hide_file(&mut self, tree: &Tree, file: &SecretFile) {
        if let SecretFile::Path(path) = file
            && let Some(secret) = tree.text(path)
        {
            self.hide(&secret, "SECRET");
        }
    }

    fn masked(&self, text: &str, seen: &mut BTreeMap<IpAddr, usize>) -> String {
        // Each run of blanks and quotes parts two words; a word may be a URL.
        let mut text: String = pieces(text)
            .map(|piece| if piece.contains("://") { redacted(piece) } else { piece.into() })
            .collect();
        for (value, mask) in &self.values {
            text = replaced(&text, value, mask);
        }
        pieces(&text).map(|piece| without_public_address(piece, seen)).collect()
    }
}

/// The report with everything masked that tells who and where this box is.
pub(super) fn masked(report: Report, known: &Known) -> Report {
    let mut seen = BTreeMap::new();
    let Report { verdict, mut about, findings } = report;
    about.user = known.masked(&about.user, &mut seen);
    about.system = known.masked(&about.system, &mut seen);
    let findings = findings
        .into_iter()
        .map(|finding| Finding {
            found: known.masked(&finding.found, &mut seen),
            why: known.masked(&finding.why, &mut seen),
            mend: known.masked(&finding.mend, &mut seen),
            ..finding
        })
        .collect();
    Report { verdict, about, findings }
}

/// `text` in words and what is between them; together they are the text.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|c: char| c.is_whitespace() || "\"'(),;`".contains(c))
}

/// `text` with `value` replaced where it stands as a word of its own: `cam` is not hidden in `camera`.
fn replaced(text: &str, value: &str, mask: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let last = before.chars().next_back().or_else(|| out.chars().next_back());
        out.push_str(before);
        out.push_str(if is_word(last) || is_word(after.chars().next()) { value } else { mask });
        rest = after;
    }
    out + rest
}

/// `piece` with an address in it that is not of a LAN replaced by a number, the same for the same address. Of IPv6 all but
/// loopback is masked: the others have the network card's number in them, or are the provider's.
fn without_public_address(piece: &str, seen: &mut BTreeMap<IpAddr, usize>) -> String {
    let of_address = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    let mut out = String::new();
    let mut rest = piece;
    while let Some(start) = rest.find(of_address) {
        let (before, run) = rest.split_at(start);
        let end = run.find(|c| !of_address(c)).unwrap_or(run.len());
        let (run, after) = run.split_at(end);
        out.push_str(before);
        out.push_str(&masked_run(run, seen));
        rest = after;
    }
    out + rest
}

/// A run of digits, dots and colons: an address, one with a port, or something else.
fn masked_run(run: &str, seen: &mut BTreeMap<IpAddr, usize>) -> String {
    let trimmed = run.trim_end_matches(['.', ':']);
    let with_port = || {
        trimmed
            .rsplit_once(':')
            .and_then(|(ip, port)| Some((ip.parse::<IpAddr>().ok().filter(IpAddr::is_ipv4)?, port)))
    };
    let (ip, port) = match (trimmed.parse::<IpAddr>(), with_port()) {
        (Ok(ip), _) => (ip, None),
        (_, Some((ip, port))) => (ip, Some(port)),
        _ => return run.to_owned(),
    };
    let is_plain = match ip {
        IpAddr::V4(v4) => v4.is_unspecified() || Networks::default().contains(ip),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    };
    if is_plain {
        return run.to_owned();
    }
    let next = seen.len() + 1;
    let number = *seen.entry(ip).or_insert(next);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("ADDRESS-{number}{port}{}", &run[trimmed.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_identifies_is_masked_and_the_rest_stays() {
        let mut known = Known::default();
        known.hide("barn", "HOST");
        known.hide_url("rtsp://admin:hunter2@cams.example.org:554/live");
        known.hide("A1B2C3D4", "SERIAL");
        let mut seen = BTreeMap::new();
        for (text, shown) in [
            ("http://barn.local:8080/ barnacle", "http://HOST.local:8080/ barnacle"),
            ("rtsp://admin:hunter2@cams.example.org:554/live", "rtsp://***@NAME:554/live"),
            ("said hunter2 to admin", "said PASSWORD to LOGIN"),
            (
                "/dev/v4l/by-id/usb-046d_C920_A1B2C3D4-video-index0",
                "/dev/v4l/by-id/usb-046d_C920_SERIAL-video-index0",
            ),
            (
                "at 203.0.113.7 and 203.0.113.7:80, not 192.168.1.5:8080",
                "at ADDRESS-1 and ADDRESS-1:80, not 192.168.1.5:8080",
            ),
            (
                "https://[2001:db8::1]:8080/ [::]:8080 127.0.0.1",
                "https://[ADDRESS-2]:8080/ [::]:8080 127.0.0.1",
            ),
            (
                "GStreamer 1.22.0, 1.2.3.4.5, 12:30:59, portald.toml:3:9: face",
                "GStreamer 1.22.0, 1.2.3.4.5, 12:30:59, portald.toml:3:9: face",
            ),
            ("fe80::ba27:ebff:fe00:1.", "ADDRESS-3."),
        ] {
            assert_eq!(known.masked(text, &mut seen), shown);
        }
    }
}
