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
    let (y, mo, d, h, mi, s) = civil(seconds);
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z")
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
