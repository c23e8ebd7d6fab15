//! Number formats of weights, exactly: what a stored number is worth, and the stored number next to
//! a value. Bit operations alone, so that every machine finds the same. See `spec/predict.md`.

use super::Width;

/// A format of floating-point numbers; the number is its byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Format {
    Bf16 = 1,
    F16 = 2,
    F32 = 3,
}

impl Format {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Bf16, Self::F16, Self::F32]
            .into_iter()
            .find(|f| *f as u8 == byte)
    }

    /// The format that safetensors calls so.
    pub(crate) fn from_safetensors(dtype: &str) -> Option<Self> {
        match dtype {
            "BF16" => Some(Self::Bf16),
            "F16" => Some(Self::F16),
            "F32" => Some(Self::F32),
            _ => None,
        }
    }

    pub(crate) fn width(self) -> Width {
        match self {
            Self::Bf16 | Self::F16 => Width::Two,
            Self::F32 => Width::Four,
        }
    }

    /// Bits of the mantissa, with the first one.
    pub(super) fn precision(self) -> u8 {
        match self {
            Self::Bf16 => 8,
            Self::F16 => 11,
            Self::F32 => 24,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        self.width().bytes()
    }

    /// What stored numbers are worth; a rest of less than a number is left out.
    pub(crate) fn values(self, stored: &[u8]) -> Vec<f32> {
        let halves = |value: fn(u16) -> f32| {
            let words = stored.as_chunks::<2>().0;
            words
                .iter()
                .map(|w| value(u16::from_le_bytes(*w)))
                .collect()
        };
        match self {
            Self::Bf16 => halves(bf16_value),
            Self::F16 => halves(f16_value),
            Self::F32 => {
                let words = stored.as_chunks::<4>().0;
                words.iter().map(|w| f32::from_le_bytes(*w)).collect()
            }
        }
    }

    /// The value of the format next to `value`, ties to even. Not a number stays none.
    pub(crate) fn round(self, value: f32) -> f32 {
        match self {
            _ if value.is_nan() => value,
            Self::Bf16 => bf16_value(bf16_bits(value)),
            Self::F16 => f16_value(f16_bits(value)),
            Self::F32 => value,
        }
    }
}

pub(super) fn bf16_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bf16 next to a value that is a number, ties to even.
pub(super) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    // At most 0x7f80_0000 without its sign, so that this never runs over.
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// 2^-24: the smallest f16 above zero.
const F16_STEP: f32 = f32::from_bits(0x3380_0000);

pub(super) fn f16_value(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, mantissa) = (u32::from(bits >> 10) & 0x1f, u32::from(bits & 0x3ff));
    match exponent {
        // Exact: ten bits times a power of two.
        0 => f32::from_bits((mantissa as f32 * F16_STEP).to_bits() | sign),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// The f16 next to a value that is a number, ties to even.
pub(super) fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let size = bits & 0x7fff_ffff;
    let half = match size {
        // 65536 and above.
        0x4780_0000.. => 0x7c00,
        // 2^-14 and above: fewer bits of the mantissa, a carry runs into the exponent.
        0x3880_0000.. => {
            let moved = size - (112 << 23);
            (moved + 0xfff + (moved >> 13 & 1)) >> 13
        }
        // Above 2^-25: steps of 2^-24.
        0x3300_0001.. => {
            let mantissa = size & 0x7f_ffff | 0x80_0000;
            let shift = 126 - (size >> 23);
            (mantissa + (1 << (shift - 1)) - 1 + (mantissa >> shift & 1)) >> shift
        }
        _ => 0,
    };
    sign | half as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The nearest of all values of a format, found by looking at every one of them.
    fn nearest(value: f32, of: fn(u16) -> f32, first_infinite: u16) -> u16 {
        let size = value.abs();
        // Above the largest by half a step and more is infinite.
        let largest = f64::from(of(first_infinite - 1));
        let step = largest - f64::from(of(first_infinite - 2));
        let found = if f64::from(size) >= largest + step / 2.0 {
            first_infinite
        } else {
            (0..first_infinite)
                .min_by(|a, b| {
                    let far = |n: u16| (f64::from(of(n)) - f64::from(size)).abs();
                    far(*a).total_cmp(&far(*b)).then((a & 1).cmp(&(b & 1)))
                })
                .unwrap()
        };
        found | if value.is_sign_negative() { 0x8000 } else { 0 }
    }

    #[test]
    fn every_number_of_a_format_is_next_to_itself() {
        for bits in 0..=u16::MAX {
            let (b, h) = (bf16_value(bits), f16_value(bits));
            assert!(b.is_nan() || bf16_bits(b) == bits);
            assert!(h.is_nan() || f16_bits(h) == bits, "{bits:x}");
        }
        assert_eq!(f16_value(0x3555), 0.333_251_95);
        assert_eq!(f16_value(0x0001), F16_STEP);
        assert_eq!(f16_value(0xfc00), f32::NEG_INFINITY);
        assert!(f16_value(0x7e00).is_nan() && Format::F16.round(f32::NAN).is_nan());
    }

    #[test]
    fn edges_round_as_they_must() {
        let cases = [
            (65_519.996, 0x7bff),
            (65_520.0, 0x7c00),
            (-1e30, 0xfc00),
            (f32::INFINITY, 0x7c00),
            (F16_STEP / 2.0, 0),
            (F16_STEP * 0.500_001, 1),
            (F16_STEP * 1.5, 2),
            (-0.0, 0x8000),
            (6.1e-5, 0x3ff),
        ];
        for (value, want) in cases {
            assert_eq!(f16_bits(value), want, "{value}");
        }
        assert_eq!(bf16_bits(f32::MAX), 0x7f80);
        assert_eq!(bf16_bits(1.003_906_3), 0x3f80);
        assert_eq!(bf16_bits(1.011_718_8), 0x3f82);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rounding_finds_the_nearest(bits: u32, small in -20i32..18, part in 0u32..1 << 23) {
            let any = f32::from_bits(bits);
            let near = f32::from_bits(((small + 127) as u32) << 23 | part);
            for value in [any, near, -near] {
                if !value.is_nan() {
                    prop_assert_eq!(bf16_bits(value), nearest(value, bf16_value, 0x7f80));
                    prop_assert_eq!(f16_bits(value), nearest(value, f16_value, 0x7c00));
                }
            }
        }
    }
}
