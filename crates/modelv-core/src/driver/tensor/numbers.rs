//! Numbers of tensors as `f64`, and the sums over pairs of them.

use super::super::Numbers;

/// A type of number, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
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
    pub(super) fn width(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    pub(super) fn is_whole(self) -> bool {
        !matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "whole numbers are compared by their bytes"
    )]
    pub(super) fn decode<'v>(self, bytes: &[u8], out: &'v mut Vec<f64>) -> &'v [f64] {
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
    max: f64,
    abs: f64,
    squares: f64,
    dot: f64,
    old: f64,
    new: f64,
}

impl Sum {
    /// Adds pairs. `whole`: what changed is counted by [`Self::changed_raw`].
    pub(super) fn add(&mut self, old: &[f64], new: &[f64], whole: bool) {
        for (a, b) in old.iter().zip(new) {
            let gap = (b - a).abs();
            if gap.is_finite() {
                self.max = self.max.max(gap);
                self.abs += gap;
                self.squares += gap * gap;
                self.dot += a * b;
                self.old += a * a;
                self.new += b * b;
                self.changed += u64::from(!whole && gap > 0.0);
            } else {
                self.not_finite += 1;
                // The same NaN or infinity is no change.
                self.changed += u64::from(!whole && a.to_bits() != b.to_bits());
            }
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
            cosine,
            not_finite: self.not_finite,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
