//! The time: is it plausible, and does somebody keep it.

use super::live::Live;
use super::{Finding, Group};

/// 1 January 2026 (UTC), in seconds: no box that runs this portald is older.
const EARLIEST: u64 = 1_767_225_600;
/// 1 January 2050.
const LATEST: u64 = 2_524_608_000;
const DAY: u64 = 24 * 60 * 60;

/// What the clock says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    now: Option<u64>,
    is_synchronized: Option<bool>,
}

impl Facts {
    pub(super) fn gather(live: &dyn Live) -> Self {
        Self { now: Some(live.now()), is_synchronized: live.is_synchronized() }
    }
}

pub(super) fn judge(me: &Facts) -> Vec<Finding> {
    let Some(now) = me.now else { return Vec::new() };
    let group = Group::Clock;
    let date = date(now);
    if !(EARLIEST..LATEST).contains(&now) {
        return vec![
            Finding::broken(group, "year", format!("the clock says {date} (UTC)"))
                .because("certificates, time-limited TURN passwords and login cookies are refused at a wrong time")
                .mend("sudo timedatectl set-ntp true; without a network: sudo timedatectl set-time 'YYYY-MM-DD HH:MM:SS'"),
        ];
    }
    let finding = match me.is_synchronized {
        Some(true) => Finding::fine(group, "time", format!("{date} (UTC), kept by a time server")),
        None => Finding::fine(
            group,
            "time",
            format!("{date} (UTC); whether a time server keeps it cannot be told"),
        ),
        Some(false) => Finding::warning(group, "time", format!("{date} (UTC), and no time server keeps it"))
            .because(
                "it drifts, and a box without a battery starts in the past; certificates and logs go wrong",
            )
            .mend("sudo timedatectl set-ntp true; if that is refused: sudo apt install systemd-timesyncd"),
    };
    vec![finding]
}

/// `2026-11-22`, of seconds since 1970.
fn date(seconds: u64) -> String {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut days = seconds / DAY;
    let mut year = 1970;
    while days >= if is_leap(year) { 366 } else { 365 } && year < 9999 {
        days -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (EARLIEST, "2026-01-01"),
            (EARLIEST - 1, "2025-12-31"),
            (LATEST, "2050-01-01"),
        ] {
            assert_eq!(date(seconds), text);
        }
        assert!(date(u64::MAX).starts_with("9999-"));
    }
}
