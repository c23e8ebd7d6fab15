//! Numbers of tensors as `f64`, and the sums over pairs of them.

use super::super::Numbers;

/// A type of number, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
}

impl Number {
    pub(crate) fn width(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    pub(crate) fn is_whole(self) -> bool {
        !matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "whole numbers are compared by their bytes"
    )]
    pub(crate) fn decode<'v>(self, bytes: &[u8], out: &'v mut Vec<f64>) -> &'v [f64] {
        out.clear();
        match self {
            Self::F64 => each(bytes, out, f64::from_le_bytes),
            Self::F32 => each(bytes, out, |b| f32::from_le_bytes(b).into()),
            Self::F16 => each(bytes, out, |b| half(u16::from_le_bytes(b))),
            Self::Bf16 => each(bytes, out, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16).into()
            }),
            Self::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f64),
            Self::I32 => each(bytes, out, |b| i32::from_le_bytes(b).into()),
            Self::I16 => each(bytes, out, |b| i16::from_le_bytes(b).into()),
            Self::I8 => each(bytes, out, |b| i8::from_le_bytes(b).into()),
            Self::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f64),
            Self::U32 => each(bytes, out, |b| u32::from_le_bytes(b).into()),
            Self::U16 => each(bytes, out, |b| u16::from_le_bytes(b).into()),
            Self::U8 => each(bytes, out, |b| u8::from_le_bytes(b).into()),
        }
        out
    }
}

impl Number {
    /// Writes a number of a floating-point type, rounded once, to nearest, ties to even; what is too
    /// large becomes infinite. Types of whole numbers are nothing to be rounded to: they get zeros.
    pub(crate) fn encode(self, value: f64, out: &mut Vec<u8>) {
        match self {
            Self::F64 => out.extend(value.to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "this rounds to nearest")]
            Self::F32 => out.extend((value as f32).to_le_bytes()),
            Self::F16 => out.extend(to_half(to_odd(value)).to_le_bytes()),
            Self::Bf16 => out.extend(to_brain(to_odd(value)).to_le_bytes()),
            whole => out.extend(std::iter::repeat_n(0, whole.width())),
        }
    }

    /// Whether the bytes of one number are an infinity.
    pub(crate) fn is_infinite(self, bytes: &[u8]) -> bool {
        let mut out = Vec::with_capacity(1);
        self.decode(bytes, &mut out);
        out.first().is_some_and(|v| v.is_infinite())
    }
}

/// The nearest `f32` towards zero, with its last bit set where that is not exact ("round to odd"):
/// what is rounded to nearest from there is rounded as if it came from `value` itself.
#[expect(clippy::cast_possible_truncation, reason = "this is the rounding")]
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) == value || near.is_nan() {
        return near;
    }
    let bits = near.to_bits() - u32::from(f64::from(near).abs() > value.abs());
    f32::from_bits(bits | 1)
}

/// bfloat16 of a number, to nearest, ties to even.
fn to_brain(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return high(bits) | 0x40;
    }
    high(bits + 0x7fff + (bits >> 16 & 1))
}

fn high(bits: u32) -> u16 {
    u16::try_from(bits >> 16).unwrap_or(u16::MAX)
}

/// IEEE 754 binary16 of a number, to nearest, ties to even.
fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = high(bits) & 0x8000;
    let exponent = i32::from(high(bits) >> 7 & 0xff) - 127;
    let fraction = bits & 0x007f_ffff;
    // The result as a count of its last place, and the bits that are cut off.
    let (whole, cut) = match exponent {
        128 if fraction != 0 => return sign | 0x7e00,
        16.. => return sign | 0x7c00,
        -14..=15 => {
            let above = u32::try_from(exponent + 15).unwrap_or(0) << 23;
            (above | fraction, 13)
        }
        -25..=-15 => (fraction | 0x0080_0000, (-exponent - 1).unsigned_abs()),
        _ => return sign,
    };
    let (kept, rest, middle) = (whole >> cut, whole & ((1 << cut) - 1), 1u32 << (cut - 1));
    let up = rest > middle || (rest == middle && kept & 1 == 1);
    sign | u16::try_from(kept + u32::from(up)).unwrap_or(0x7c00)
}

fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f64>, read: impl Fn([u8; N]) -> f64) {
    let (whole, _) = bytes.as_chunks::<N>();
    out.extend(whole.iter().map(|b| read(*b)));
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
    }
}

/// Sums over pairs of numbers.
#[derive(Debug, Default)]
pub(super) struct Sum {
    changed: u64,
    not_finite: u64,
    nan: [u64; 2],
    infinite: [u64; 2],
    max: f64,
    abs: f64,
    squares: f64,
    dot: f64,
    old: f64,
    new: f64,
}

/// Sums side by side: one alone would wait for each addition to end before the next.
const LANES: usize = 8;

#[derive(Debug, Default)]
struct Lanes {
    changed: [u64; LANES],
    max: [f64; LANES],
    abs: [f64; LANES],
    squares: [f64; LANES],
    dot: [f64; LANES],
    old: [f64; LANES],
    new: [f64; LANES],
}

impl Lanes {
    /// Adds pairs, unless a difference is not finite.
    fn add(&mut self, a: &[f64; LANES], b: &[f64; LANES], whole: bool) -> bool {
        let gaps: [f64; LANES] = std::array::from_fn(|i| (b[i] - a[i]).abs());
        if !gaps.iter().fold(true, |all, gap| all & gap.is_finite()) {
            return false;
        }
        for i in 0..LANES {
            let gap = gaps[i];
            self.max[i] = if gap > self.max[i] { gap } else { self.max[i] };
            self.abs[i] += gap;
            self.squares[i] += gap * gap;
            self.dot[i] += a[i] * b[i];
            self.old[i] += a[i] * a[i];
            self.new[i] += b[i] * b[i];
            self.changed[i] += u64::from(!whole & (gap > 0.0));
        }
        true
    }

    fn end(&self, sum: &mut Sum) {
        sum.changed += self.changed.iter().sum::<u64>();
        sum.max = self.max.iter().copied().fold(sum.max, f64::max);
        sum.abs += self.abs.iter().sum::<f64>();
        sum.squares += self.squares.iter().sum::<f64>();
        sum.dot += self.dot.iter().sum::<f64>();
        sum.old += self.old.iter().sum::<f64>();
        sum.new += self.new.iter().sum::<f64>();
    }
}

impl Sum {
    /// Adds pairs. `whole`: what changed is counted by [`Self::changed_raw`].
    pub(super) fn add(&mut self, old: &[f64], new: &[f64], whole: bool) {
        let (first, old) = old.as_chunks::<LANES>();
        let (second, new) = new.as_chunks::<LANES>();
        let mut lanes = Lanes::default();
        for (a, b) in first.iter().zip(second) {
            if !lanes.add(a, b, whole) {
                self.add_each(a, b, whole);
            }
        }
        lanes.end(self);
        self.add_each(old, new, whole);
    }

    fn add_each(&mut self, old: &[f64], new: &[f64], whole: bool) {
        for (a, b) in old.iter().zip(new) {
            let gap = (b - a).abs();
            if gap.is_finite() {
                self.max = self.max.max(gap);
                self.abs += gap;
                self.squares += gap * gap;
                self.dot += a * b;
                self.old += a * a;
                self.new += b * b;
            } else {
                self.add_odd([*a, *b]);
            }
            // By bits: the same NaN or infinity is no change, and 0 and -0 are two numbers.
            self.changed += u64::from(!whole && a.to_bits() != b.to_bits());
        }
    }

    /// Counts a pair without a finite difference.
    fn add_odd(&mut self, pair: [f64; 2]) {
        self.not_finite += 1;
        for (side, value) in pair.into_iter().enumerate() {
            self.nan[side] += u64::from(value.is_nan());
            self.infinite[side] += u64::from(value.is_infinite());
        }
    }

    /// Counts whole numbers that differ, also where `f64` can't tell them apart.
    pub(super) fn changed_raw(&mut self, old: &[u8], new: &[u8], width: usize) {
        let pairs = old.chunks_exact(width).zip(new.chunks_exact(width));
        self.changed += pairs.filter(|(a, b)| a != b).count() as u64;
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean is not exact")]
    pub(super) fn finish(&self, count: u64) -> Numbers {
        let n = (count - self.not_finite).max(1) as f64;
        let norms = self.old.sqrt() * self.new.sqrt();
        let cosine = if norms > 0.0 {
            (self.dot / norms).clamp(-1.0, 1.0)
        } else if self.old == self.new {
            1.0
        } else {
            0.0
        };
        Numbers {
            count,
            changed: self.changed,
            max_abs: self.max,
            mean_abs: self.abs / n,
            rms: (self.squares / n).sqrt(),
            old_rms: (self.old / n).sqrt(),
            cosine,
            not_finite: self.not_finite,
            nan: self.nan,
            infinite: self.infinite,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(number: Number, value: f64) -> u16 {
        let mut out = Vec::new();
        number.encode(value, &mut out);
        u16::from_le_bytes(out.try_into().unwrap())
    }

    #[test]
    fn every_half_and_brain_float_survives_and_every_middle_goes_to_the_even_one() {
        for number in [Number::F16, Number::Bf16] {
            let decode = |bits: u16| number.decode(&bits.to_le_bytes(), &mut Vec::new())[0];
            for bits in 0..=u16::MAX {
                let value = decode(bits);
                if value.is_nan() {
                    assert!(decode(encoded(number, value)).is_nan(), "{bits:x}");
                    continue;
                }
                assert_eq!(encoded(number, value), bits);
                let next = decode(bits.wrapping_add(1));
                if bits & 0x7fff == 0x7fff || !next.is_finite() || !value.is_finite() {
                    continue;
                }
                let middle = f64::midpoint(value, next);
                let even = if bits & 1 == 0 { bits } else { bits + 1 };
                assert_eq!(encoded(number, middle), even, "{bits:x}");
                // So little beside the middle that an `f32` could not tell.
                let nudge = (next - value) * 1e-12;
                assert_eq!(encoded(number, middle + nudge), bits + 1, "{bits:x}");
                assert_eq!(encoded(number, middle - nudge), bits, "{bits:x}");
            }
        }
        assert_eq!(encoded(Number::F16, 65_519.9), 0x7bff);
        assert_eq!(encoded(Number::F16, 65_520.0), 0x7c00);
        assert_eq!(encoded(Number::F16, -1e300), 0xfc00);
        assert_eq!(encoded(Number::Bf16, 3.4e38), 0x7f80);
        assert_eq!(encoded(Number::F16, 1e-300), 0);
        assert!(Number::F16.is_infinite(&[0, 0x7c]) && !Number::F16.is_infinite(&[1, 0x7c]));
    }

    #[test]
    fn halves_are_read_as_ieee_writes_them() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 2f64.powi(-24)),
            (0x7bff, 65504.0),
            (0x7c00, f64::INFINITY),
            (0x3555, 0.333_251_953_125),
        ] {
            assert!(
                (half(bits) - value).abs() < 1e-300 || half(bits) == value,
                "{bits:x}"
            );
        }
        assert!(half(0x7e00).is_nan());
    }
}
