//! The update of a few numbers: a row of one factor times columns of the other, in a fixed order of
//! IEEE 754 operations, so that every machine and every compiler finds the same bits. No operation
//! here may be fused or moved. See `spec/predict.md`.

use super::floats::{Format, bf16_bits, f16_bits};

/// How a sum of products is made; the number is its byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Sum {
    /// Each product and each sum rounded to f32.
    Single = 0,
    /// Each product exact, each sum rounded to f64 and then to f32: hardly ever another number than
    /// the fused operation of processors gives.
    Fused = 1,
    /// Each product exact, sums in f64, the last one rounded to f32.
    Double = 2,
}

impl Sum {
    pub(super) const ALL: [Self; 3] = [Self::Single, Self::Fused, Self::Double];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|s| *s as u8 == byte)
    }
}

/// What is done to the numbers of an update, besides summing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    pub(super) sum: Sum,
    /// Whether the row is scaled before the product instead of the sums behind it.
    pub(super) scale_first: bool,
    /// What the scaled row, or the sums, are rounded to.
    pub(super) first: Format,
    /// What the scaled sums, or the sums of the scaled row, are rounded to.
    pub(super) second: Format,
    pub(super) scale: f32,
}

/// Columns at a time: what a round works on stays in the first-level cache.
const ROUND: usize = 1024;

/// Sums of `row` times the columns `start..` of `right`, one for each of `out`.
pub(super) fn sums(
    sum: Sum,
    row: &[f32],
    right: &[f32],
    columns: usize,
    start: usize,
    out: &mut [f32],
) {
    let mut wide = [0f64; ROUND];
    for (round, out) in out.chunks_mut(ROUND).enumerate() {
        let (at, len) = (start + round * ROUND, out.len());
        let lines = right.chunks_exact(columns).map(|line| &line[at..at + len]);
        let pairs = row.iter().zip(lines);
        if sum == Sum::Single {
            out.fill(0.0);
            for (factor, line) in pairs {
                for (out, value) in out.iter_mut().zip(line) {
                    *out += factor * value;
                }
            }
            continue;
        }
        let wide = &mut wide[..len];
        wide.fill(0.0);
        for (factor, line) in pairs {
            let factor = f64::from(*factor);
            if sum == Sum::Fused {
                for (wide, value) in wide.iter_mut().zip(line) {
                    *wide = f64::from((*wide + factor * f64::from(*value)) as f32);
                }
            } else {
                for (wide, value) in wide.iter_mut().zip(line) {
                    *wide += factor * f64::from(*value);
                }
            }
        }
        for (out, wide) in out.iter_mut().zip(wide) {
            *out = *wide as f32;
        }
    }
}

impl Rule {
    /// The row as it goes into the product.
    pub(super) fn scaled_row(&self, row: &[f32]) -> Vec<f32> {
        if !self.scale_first {
            return row.to_vec();
        }
        row.iter()
            .map(|v| self.first.round(v * self.scale))
            .collect()
    }

    /// Sums as they are added to the base.
    pub(super) fn finish(&self, sums: &mut [f32]) {
        for sum in sums {
            if !self.scale_first {
                *sum = self.first.round(*sum) * self.scale;
            }
            *sum = self.second.round(*sum);
        }
    }
}

/// Adds an update to stored numbers. One that would not be a number stays as it is.
pub(super) fn add(format: Format, words: &mut [u8], update: &[f32]) {
    let halves = |words: &mut [u8], value: fn(u16) -> f32, bits: fn(f32) -> u16| {
        for (word, update) in words.as_chunks_mut::<2>().0.iter_mut().zip(update) {
            let sum = value(u16::from_le_bytes(*word)) + update;
            if !sum.is_nan() {
                *word = bits(sum).to_le_bytes();
            }
        }
    };
    match format {
        Format::Bf16 => halves(words, super::floats::bf16_value, bf16_bits),
        Format::F16 => halves(words, super::floats::f16_value, f16_bits),
        Format::F32 => {
            for (word, update) in words.as_chunks_mut::<4>().0.iter_mut().zip(update) {
                let sum = f32::from_le_bytes(*word) + update;
                if !sum.is_nan() {
                    *word = sum.to_le_bytes();
                }
            }
        }
    }
}

/// The rows of a matrix of so many columns that a range of its numbers touches: number of the row
/// from the first one touched on, its columns, and where in the range they are.
pub(super) fn rows(
    columns: usize,
    first: usize,
    count: usize,
) -> impl Iterator<Item = (usize, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut at = 0;
    (0..).map_while(move |row| {
        let start = if row == 0 { first } else { 0 };
        let len = (columns - start).min(count - at);
        let range = at..at + len;
        at += len;
        (len > 0).then_some((row, start..start + len, range))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_cover_a_range() {
        let found: Vec<_> = rows(5, 3, 9).collect();
        assert_eq!(found, [(0, 3..5, 0..2), (1, 0..5, 2..7), (2, 0..2, 7..9)]);
        assert_eq!(rows(5, 0, 5).collect::<Vec<_>>(), [(0, 0..5, 0..5)]);
        assert_eq!(rows(1000, 7, 2).collect::<Vec<_>>(), [(0, 7..9, 0..2)]);
    }

    #[test]
    fn sums_are_made_as_they_are_called() {
        // 1 + 2^-24 twice: lost one by one, kept in f64.
        let (row, right) = ([1.0f32, 1.0, 1.0], [1.0f32, 2f32.powi(-24), 2f32.powi(-24)]);
        let one = |sum| {
            let mut out = [0.0];
            sums(sum, &row, &right, 1, 0, &mut out);
            out[0]
        };
        assert_eq!(one(Sum::Single), 1.0);
        assert_eq!(one(Sum::Fused), 1.0);
        assert_eq!(one(Sum::Double), 1.0 + f32::EPSILON);
        // A product that is rounded is another one than an exact one.
        let x = 1.0 + f32::EPSILON;
        let (row, right) = ([-1.0f32, x], [x * x, x]);
        let one = |sum| {
            let mut out = [0.0];
            sums(sum, &row, &right, 1, 0, &mut out);
            out[0]
        };
        assert_eq!(one(Sum::Single), 0.0);
        assert_eq!(one(Sum::Fused), f32::EPSILON * f32::EPSILON);
    }

    #[test]
    fn wide_rows_are_the_same_as_single_columns() {
        let columns = 3 * ROUND + 17;
        let value = |i: usize| ((i * 7919) % 1000) as f32 / 777.0 - 0.6;
        let right: Vec<f32> = (0..4 * columns).map(value).collect();
        let row = [0.3, -1.7, 0.001, 12.5];
        for sum in Sum::ALL {
            let mut all = vec![0.0; columns - 5];
            sums(sum, &row, &right, columns, 5, &mut all);
            for at in [0, 1, ROUND - 1, ROUND, columns - 6] {
                let mut one = [0.0];
                sums(sum, &row, &right, columns, 5 + at, &mut one);
                assert_eq!(one[0].to_bits(), all[at].to_bits(), "{sum:?} {at}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_as_it_was() {
        let mut words = [f32::INFINITY, f32::NAN, 1.0, f32::MAX]
            .map(f32::to_le_bytes)
            .concat();
        add(
            Format::F32,
            &mut words,
            &[f32::NEG_INFINITY, 1.0, f32::NAN, f32::MAX],
        );
        let found = Format::F32.values(&words);
        assert_eq!(found[0], f32::INFINITY);
        assert!(found[1].is_nan());
        assert_eq!((found[2], found[3]), (1.0, f32::INFINITY));
    }
}
