//! One tensor of every model, and of the base, in memory as their files hold it; decoded in pieces.

use std::io;

use super::{Side, Sides, Tally, raw};
use crate::driver::tensor::{Number, Tensor};

/// Numbers are decoded so many at a time.
const PIECE: usize = 1 << 14;

/// The tensor of one name.
pub(super) struct Slab {
    number: Number,
    count: usize,
    /// Models in their order, then the base where there is one.
    sides: Vec<Vec<u8>>,
    models: usize,
}

/// What the models, and the base, have at one place of a tensor.
pub(super) struct Row<'a> {
    pub(super) at: usize,
    /// Without the base.
    pub(super) models: &'a [f64],
    /// 0 without a base.
    pub(super) base: f64,
}

impl Slab {
    /// Reads the tensor out of every side. All have the same type and shape.
    pub(super) fn read(
        number: Number,
        sides: &mut Sides<'_>,
        places: &[&Tensor],
    ) -> io::Result<Self> {
        let read = |(side, tensor): (&mut Side<'_>, &&Tensor)| raw(side, tensor);
        let models = sides.models;
        let sides: Vec<Vec<u8>> = sides
            .all
            .iter_mut()
            .zip(places)
            .map(read)
            .collect::<io::Result<_>>()?;
        Ok(Self {
            number,
            count: sides.first().map_or(0, |s| s.len() / number.width()),
            sides,
            models,
        })
    }

    /// The bytes of the first model, if all sides have the same.
    pub(super) fn same(&self) -> Option<&[u8]> {
        let (first, rest) = self.sides.split_first()?;
        rest.iter().all(|s| s == first).then_some(first)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Calls `f` with every place, in order.
    pub(super) fn rows(&self, mut f: impl FnMut(&Row<'_>)) {
        let width = self.number.width();
        let mut columns: Vec<Vec<f64>> = vec![Vec::with_capacity(PIECE); self.sides.len()];
        let mut row = vec![0.0; self.sides.len()];
        for start in (0..self.count).step_by(PIECE) {
            let end = (start + PIECE).min(self.count);
            for (column, side) in columns.iter_mut().zip(&self.sides) {
                self.number
                    .decode(&side[start * width..end * width], column);
            }
            for at in start..end {
                for (value, column) in row.iter_mut().zip(&columns) {
                    *value = column[at - start];
                }
                f(&Row {
                    at,
                    models: &row[..self.models],
                    base: row.get(self.models).copied().unwrap_or(0.0),
                });
            }
        }
    }

    /// Makes the result: `f` says what stands at each place. Where all sides have the same number
    /// it stays, bit for bit; where one of them has none that is finite, there is NaN.
    pub(super) fn make(&self, tally: &mut Tally, mut f: impl FnMut(&Row<'_>) -> f64) -> Vec<u8> {
        let width = self.number.width();
        let has_base = self.sides.len() > self.models;
        let mut out = Vec::with_capacity(self.count * width);
        self.rows(|row| {
            let place = row.at * width..(row.at + 1) * width;
            let bytes = |side: &Vec<u8>| side[place.clone()] == self.sides[0][place.clone()];
            // Called everywhere: what it keeps of its own goes on.
            let value = f(row);
            if self.sides.iter().all(bytes) {
                out.extend_from_slice(&self.sides[0][place.clone()]);
            } else if is_finite(row, has_base) {
                let start = out.len();
                self.number.encode(value, &mut out);
                tally.overflows += u64::from(self.number.is_infinite(&out[start..]));
            } else {
                self.number.encode(f64::NAN, &mut out);
                tally.not_finite += 1;
            }
        });
        out
    }

    /// Whether all sides have finite numbers there.
    pub(super) fn is_finite(&self, row: &Row<'_>) -> bool {
        is_finite(row, self.sides.len() > self.models)
    }
}

fn is_finite(row: &Row<'_>, has_base: bool) -> bool {
    row.models.iter().all(|v| v.is_finite()) && (!has_base || row.base.is_finite())
}
