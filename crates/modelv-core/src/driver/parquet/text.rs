//! A value as JSON, by what its column says it means. What is no text and no number is told by its
//! digits, or, where it is long, by its length and hash.

use std::io::Write;

use super::footer::{Leaf, Logical, Physical};

/// Longer values that are no text are told by their hash, in bytes.
const HEX_BYTES_MAX: usize = 32;
const DAY_SECONDS: i64 = 86_400;
/// The day of 1 January 1970, in days since noon of 1 January 4713 B.C.
const JULIAN_EPOCH: i64 = 2_440_588;

/// Writes a value.
pub(super) fn write(out: &mut Vec<u8>, leaf: &Leaf, raw: &[u8]) {
    // Writing to memory does not fail.
    let _ = match (leaf.physical, leaf.logical) {
        (Physical::Bool, _) => out.write_all(if raw == [0] { b"false" } else { b"true" }),
        (Physical::Float, _) => float(out, f64::from(f32::from_bits(word(raw))), f32_text(raw)),
        (Physical::Double, _) => {
            let value = f64::from_bits(long(raw).cast_unsigned());
            float(out, value, format!("{value:?}"))
        }
        (Physical::Int32 | Physical::Int64, logical) => integer(out, logical, number(raw), raw),
        (Physical::Int96, _) => {
            let (nanos, day) = raw.split_at(8);
            let day = i64::from(word(day)) - JULIAN_EPOCH;
            let nanos = i128::from(long(nanos)) + i128::from(day * DAY_SECONDS) * 1_000_000_000;
            moment(out, nanos, 1_000_000_000, false)
        }
        (_, Logical::Decimal(scale)) if raw.len() <= 16 => decimal(out, big_endian(raw), scale),
        (Physical::Fixed(16), Logical::Uuid) => {
            let hex = hex(raw);
            let parts = [
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..],
            ];
            write!(out, "\"{}\"", parts.join("-"))
        }
        (Physical::Fixed(2), Logical::Half) => {
            let value = half(u16::from_le_bytes([raw[0], raw[1]]));
            float(out, f64::from(value), format!("{value:?}"))
        }
        _ => bytes(out, raw),
    };
}

fn word(raw: &[u8]) -> u32 {
    raw.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
}

fn long(raw: &[u8]) -> i64 {
    let bits = raw.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    bits.cast_signed()
}

fn number(raw: &[u8]) -> i64 {
    match raw.len() {
        4 => i64::from(word(raw).cast_signed()),
        _ => long(raw),
    }
}

fn big_endian(raw: &[u8]) -> i128 {
    let sign = raw.first().map_or(0, |b| -i128::from(b >> 7));
    raw.iter().fold(sign, |n, b| n << 8 | i128::from(*b))
}

fn f32_text(raw: &[u8]) -> String {
    format!("{:?}", f32::from_bits(word(raw)))
}

/// JSON has no word for what is not finite.
fn float(out: &mut Vec<u8>, value: f64, text: String) -> std::io::Result<()> {
    match value.is_finite() {
        true => out.write_all(text.as_bytes()),
        false => write!(out, "\"{text}\""),
    }
}

fn integer(out: &mut Vec<u8>, logical: Logical, n: i64, raw: &[u8]) -> std::io::Result<()> {
    match logical {
        Logical::Unsigned if raw.len() == 4 => write!(out, "{}", word(raw)),
        Logical::Unsigned => write!(out, "{}", n.cast_unsigned()),
        Logical::Decimal(scale) => decimal(out, i128::from(n), scale),
        Logical::Date => write!(out, "\"{}\"", date(n)),
        Logical::Time(parts) => write!(out, "\"{}\"", clock(i128::from(n), parts)),
        Logical::Timestamp(parts, utc) => moment(out, i128::from(n), parts, utc),
        _ => write!(out, "{n}"),
    }
}

fn decimal(out: &mut Vec<u8>, n: i128, scale: u32) -> std::io::Result<()> {
    let scale = scale.min(60) as usize;
    let sign = if n < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", n.unsigned_abs(), width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    match rest {
        "" => write!(out, "{sign}{whole}"),
        rest => write!(out, "{sign}{whole}.{rest}"),
    }
}

/// A date from days since 1 January 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: i64) -> String {
    let z = i128::from(days) + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i128::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(n: i128, parts: u32) -> String {
    let (seconds, rest) = (
        n.div_euclid(i128::from(parts)),
        n.rem_euclid(i128::from(parts)),
    );
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = format!("{h:02}:{m:02}:{s:02}");
    if rest == 0 {
        return text;
    }
    let width = parts.ilog10() as usize;
    let rest = format!("{rest:0width$}");
    format!("{text}.{}", rest.trim_end_matches('0'))
}

fn moment(out: &mut Vec<u8>, n: i128, parts: u32, utc: bool) -> std::io::Result<()> {
    let day = i128::from(DAY_SECONDS) * i128::from(parts);
    let date = date(i64::try_from(n.div_euclid(day)).unwrap_or(0));
    let z = if utc { "Z" } else { "" };
    write!(out, "\"{date}T{}{z}\"", clock(n.rem_euclid(day), parts))
}

fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023) / 1024.0);
    sign * match exponent {
        0 => fraction * 2f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction) * 2f32.powi(e - 15),
    }
}

fn hex(raw: &[u8]) -> String {
    raw.iter().map(|b| format!("{b:02x}")).collect()
}

/// Text where it is some: older writers don't say it.
fn bytes(out: &mut Vec<u8>, raw: &[u8]) -> std::io::Result<()> {
    match std::str::from_utf8(raw) {
        Ok(text) => {
            serde_json::to_writer(out, text)?;
            Ok(())
        }
        Err(_) if raw.len() <= HEX_BYTES_MAX => write!(out, "\"0x{}\"", hex(raw)),
        Err(_) => {
            let hash = blake3::hash(raw).to_hex();
            write!(out, "\"{} bytes, blake3 {}\"", raw.len(), &hash[..16])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_what_they_mean() {
        use Logical::{Date, Decimal, Half, Plain, Text, Time, Timestamp, Unsigned, Uuid};
        use Physical::{Bool, Bytes, Double, Fixed, Float, Int32, Int64, Int96};
        let int = |n: i64| n.to_le_bytes().to_vec();
        let day =
            |nanos: i64, day: u32| [nanos.to_le_bytes().as_slice(), &day.to_le_bytes()].concat();
        for (physical, logical, raw, want) in [
            (Bool, Plain, vec![1], "true"),
            (Int32, Plain, vec![0xff; 4], "-1"),
            (Int32, Unsigned, vec![0xff; 4], "4294967295"),
            (Int64, Unsigned, vec![0xff; 8], "18446744073709551615"),
            (Int64, Decimal(2), int(-5), "-0.05"),
            (Fixed(3), Decimal(1), vec![0xff, 0xff, 0x85], "-12.3"),
            (Bytes, Decimal(0), vec![1, 0], "256"),
            (Int32, Date, vec![0; 4], "\"1970-01-01\""),
            (
                Int32,
                Date,
                (-1i32).to_le_bytes().to_vec(),
                "\"1969-12-31\"",
            ),
            (
                Int64,
                Timestamp(1_000, true),
                int(951_782_400_123),
                "\"2000-02-29T00:00:00.123Z\"",
            ),
            (
                Int64,
                Timestamp(1_000_000_000, false),
                int(-1),
                "\"1969-12-31T23:59:59.999999999\"",
            ),
            (Int64, Time(1_000_000), int(3_723_500_000), "\"01:02:03.5\""),
            (
                Int96,
                Plain,
                day(1_000_000_000, 2_440_589),
                "\"1970-01-02T00:00:01\"",
            ),
            (Float, Plain, 0.1f32.to_le_bytes().to_vec(), "0.1"),
            (Double, Plain, 1e300f64.to_le_bytes().to_vec(), "1e300"),
            (Double, Plain, f64::NAN.to_le_bytes().to_vec(), "\"NaN\""),
            (Fixed(2), Half, vec![0x00, 0x3e], "1.5"),
            (Fixed(2), Half, vec![0x00, 0xfc], "\"-inf\""),
            (
                Fixed(16),
                Uuid,
                (0..16).collect(),
                "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"",
            ),
            (Bytes, Text, b"a\"\n".to_vec(), "\"a\\\"\\n\""),
            (Bytes, Plain, vec![0xff, 1], "\"0xff01\""),
        ] {
            let leaf = Leaf {
                physical,
                logical,
                max_def: 0,
                max_rep: 0,
            };
            let mut out = Vec::new();
            write(&mut out, &leaf, &raw);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn long_values_are_told_by_their_hash() {
        let leaf = Leaf {
            physical: Physical::Bytes,
            logical: Logical::Plain,
            max_def: 0,
            max_rep: 0,
        };
        let mut out = Vec::new();
        write(&mut out, &leaf, &[0xff; 1000]);
        assert!(out.starts_with(b"\"1000 bytes, blake3 "), "{out:?}");
    }

    #[test]
    fn any_number_is_some_time() {
        for n in [i64::MIN, -1, 0, i64::MAX] {
            for logical in [
                Logical::Date,
                Logical::Time(1_000),
                Logical::Timestamp(1_000, true),
                Logical::Decimal(u32::MAX),
            ] {
                let leaf = Leaf {
                    physical: Physical::Int64,
                    logical,
                    max_def: 0,
                    max_rep: 0,
                };
                let mut out = Vec::new();
                write(&mut out, &leaf, &n.to_le_bytes());
                let json: serde_json::Result<serde_json::Value> = serde_json::from_slice(&out);
                assert!(json.is_ok(), "{out:?}");
            }
        }
    }
}
