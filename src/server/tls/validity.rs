//! From when until when a certificate is valid: the one thing that rustls does not tell a server of its own.

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    /// The first second.
    pub(super) from: u64,
    /// The last second.
    pub(super) until: u64,
}

/// DER tags (X.690).
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

impl Validity {
    /// Reads `TBSCertificate.validity` (RFC 5280, 4.1). `None` when this is no certificate.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (body, _) = element(certificate, SEQUENCE)?;
        let rest = element(body, VERSION).map_or(body, |(_, rest)| rest);
        let (_serial, rest) = element(rest, INTEGER)?;
        let (_algorithm, rest) = element(rest, SEQUENCE)?;
        let (_issuer, rest) = element(rest, SEQUENCE)?;
        let (validity, _) = element(rest, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Self { from, until })
    }
}

/// The content of the element at the beginning, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    // Below 128 the length itself, else the number of its bytes.
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, and what follows it.
fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (text, rest, century) = match element(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, None),
        None => {
            let (text, rest) = element(bytes, GENERALIZED_TIME)?;
            let (digits, text) = text.split_at_checked(2)?;
            (text, rest, Some(number(digits)?))
        }
    };
    let [year, month, day, hour, minute, second] = {
        let (digits, end) = text.split_at_checked(12)?;
        if end != b"Z" {
            return None;
        }
        let mut parts = [0; 6];
        for (part, digits) in parts.iter_mut().zip(digits.chunks(2)) {
            *part = number(digits)?;
        }
        parts
    };
    // RFC 5280, 4.1.2.5.1: two digits from 50 on are of the last century.
    let century = century.unwrap_or(if year >= 50 { 19 } else { 20 });
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_until(century * 100 + year, month, day)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 to a date; `None` before. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

/// `YYYY-MM-DD` of a time in seconds since 1970 (UTC). The inverse of [`days_until`], from the same source.
pub(super) fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["box.local".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn both_kinds_of_dates_are_read() {
        for (from, until, seconds) in [
            ((1970, 1, 1), (2000, 2, 29), (0, 951_782_400)),
            ((2024, 12, 31), (2026, 3, 1), (1_735_603_200, 1_772_323_200)),
            // From 2050 on they are written with four digits of the year.
            ((2049, 12, 31), (2100, 3, 1), (2_524_521_600, 4_107_542_400)),
        ] {
            let validity = Validity::of(&made(from, until)).unwrap();
            assert_eq!((validity.from, validity.until), seconds);
            let text = |(year, month, day): (i32, u8, u8)| format!("{year:04}-{month:02}-{day:02}");
            assert_eq!((date(validity.from), date(validity.until)), (text(from), text(until)));
        }
    }

    #[test]
    fn what_is_cut_off_or_no_certificate_has_no_dates() {
        let whole = made((2024, 1, 1), (2025, 1, 1));
        for end in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..end]), None, "{end}");
        }
        for bytes in [&b""[..], b"0", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"-----BEGIN"] {
            assert_eq!(Validity::of(bytes), None);
        }
    }
}
