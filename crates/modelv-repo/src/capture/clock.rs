//! The clock, and how its times are shown.

use modelv_core::commit::Time;

/// Now, in UTC. `SOURCE_DATE_EPOCH` stands in for the clock where a build must be repeatable.
#[must_use]
pub fn now() -> Time {
    let fixed = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|s| s.parse().ok());
    let seconds = fixed.unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
    });
    Time {
        seconds,
        offset_minutes: 0,
    }
}

/// Year, month, day, hour, minute, second of a UTC time. Algorithm: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(seconds: i64) -> (i64, i64, i64, i64, i64, i64) {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (
        year,
        month,
        doy - (153 * mp + 2) / 5 + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
    )
}

/// `2026-11-21 05:20:11 +0000`.
#[must_use]
pub fn format_time(time: Time) -> String {
    let offset = i64::from(time.offset_minutes);
    let (y, mo, d, h, mi, s) = civil(time.seconds.saturating_add(offset * 60));
    let sign = if offset < 0 { '-' } else { '+' };
    let (oh, om) = (offset.abs() / 60, offset.abs() % 60);
    format!("{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02} {sign}{oh:02}{om:02}")
}

/// `2026-11-21T05:20:11Z`, as RFC 3339 has it.
#[must_use]
pub fn format_rfc3339(seconds: i64) -> String {
    let mut out = String::with_capacity(20);
    write_rfc3339(&mut out, seconds);
    out
}

/// The same behind what is in `out`, without the machinery of formats: lists have very many.
pub fn write_rfc3339(out: &mut String, seconds: i64) {
    let (y, mo, d, h, mi, s) = civil(seconds);
    if !(0..10_000).contains(&y) {
        out.push_str(&format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z"));
        return;
    }
    let mut two = |n: i64, behind: &str| {
        for digit in [n / 10, n % 10] {
            out.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
        }
        out.push_str(behind);
    };
    two(y / 100, "");
    two(y % 100, "-");
    two(mo, "-");
    two(d, "T");
    two(h, ":");
    two(mi, ":");
    two(s, "Z");
}

/// Reads a time as people write it: `2026-11-21`, `2026-11-21 05:20`, `2026-11-21T05:20:11Z`,
/// `@1700000000`, `3 days ago`, `yesterday`, `now`. Without an offset it is UTC. Of a date alone, the
/// first second, or the last one with `is_end`.
#[must_use]
pub fn parse_time(text: &str, is_end: bool) -> Option<i64> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse().ok();
    }
    match text {
        "now" => return Some(now().seconds),
        "yesterday" => return Some(now().seconds - 86_400),
        _ => {}
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [count, unit, "ago"] = words.as_slice() {
        let length = match unit.trim_end_matches('s') {
            "second" => 1,
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            "week" => 7 * 86_400,
            "month" => 30 * 86_400,
            "year" => 365 * 86_400,
            _ => return None,
        };
        let back = count.parse::<i64>().ok()?.checked_mul(length)?;
        return now().seconds.checked_sub(back);
    }
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time.trim_end_matches('Z').trim())),
        None => (text, None),
    };
    let days = parse_days(date)?;
    match time {
        None if is_end => Some(days * 86_400 + 86_399),
        None => Some(days * 86_400),
        Some(time) => Some(days * 86_400 + parse_clock(time)?),
    }
}

/// `05:20` or `05:20:11`, in seconds.
fn parse_clock(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text
        .split(':')
        .map(|part| part.parse().ok().filter(|n| (0..60).contains(n)))
        .collect::<Option<_>>()?;
    match parts.as_slice() {
        [h, m] if *h < 24 => Some(h * 3600 + m * 60),
        [h, m, s] if *h < 24 => Some(h * 3600 + m * 60 + s),
        _ => None,
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`, by the same paper's `days_from_civil`.
fn parse_days(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text
        .split('-')
        .map(|p| p.parse().ok())
        .collect::<Option<_>>()?;
    let [y, m, d] = parts.as_slice() else {
        return None;
    };
    if !(1..=9999).contains(y) || !(1..=12).contains(m) || !(1..=31).contains(d) {
        return None;
    }
    let y = y - i64::from(*m <= 2);
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * (m + if *m > 2 { -3 } else { 9 }) + 2) / 5 + d - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    // A day that its month does not have.
    (civil(days * 86_400).2 == *d).then_some(days)
}

/// `340 ms`, `12.3 s`, `4 min 05 s`.
#[must_use]
pub fn format_duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, want) in [
            ("1970-01-01", Some(0)),
            ("2023-11-14 22:13", Some(1_699_999_980)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("@1700000000", Some(1_700_000_000)),
            ("2024-02-29", Some(1_709_164_800)),
            ("2023-02-29", None),
            ("2023-13-01", None),
            ("2023-11-14 25:00", None),
            ("three days ago", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text, false), want, "{text}");
        }
        assert_eq!(parse_time("1970-01-01", true), Some(86_399));
        let week = parse_time("1 week ago", false).unwrap();
        assert!((now().seconds - 7 * 86_400 - week).abs() < 5);
        // Every day of four centuries, there and back.
        for days in (0..146_097).step_by(13) {
            let text = &format_rfc3339(days * 86_400)[..10];
            assert_eq!(parse_days(text), Some(days), "{text}");
        }
    }
}
