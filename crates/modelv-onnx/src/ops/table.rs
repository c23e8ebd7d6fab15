//! What is done to the values of a table before a model sees them.

use super::attributes::Attributes;
use super::linear::input;
use super::{Operator, not_so};
use crate::error::{Result, failed};
use crate::tensor::{Data, Tensor, count};

/// A value for each column, or one for all.
fn at(values: &[f32], column: usize) -> f32 {
    if values.len() == 1 {
        values[0]
    } else {
        values[column]
    }
}

fn fits(values: &[f32], columns: usize) -> Result<()> {
    if values.len() == 1 || values.len() == columns {
        return Ok(());
    }
    let text = format!("{columns} columns where {} are needed", values.len());
    Err(failed(text))
}

/// `(x - offset) * scale`.
pub(super) struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

impl Scaler {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let or = |values: &[f32], default: f32| match values {
            [] => vec![default],
            some => some.to_vec(),
        };
        Ok(Self {
            offset: or(of.floats("offset"), 0.0),
            scale: or(of.floats("scale"), 1.0),
        })
    }
}

impl Operator for Scaler {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let (_, columns) = input.table()?;
        fits(&self.offset, columns)?;
        fits(&self.scale, columns)?;
        let mut values = input.to_floats()?;
        for row in values.chunks_exact_mut(columns.max(1)) {
            for (column, value) in row.iter_mut().enumerate() {
                *value = (*value - at(&self.offset, column)) * at(&self.scale, column);
            }
        }
        Ok(vec![Tensor::floats(input.dims.clone(), values)?])
    }
}

/// Rows of the same size.
pub(super) struct Normalizer(fn(&[f32]) -> f32);

impl Normalizer {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        Ok(Self(match of.text("norm", "MAX").as_str() {
            "MAX" => |row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            "L1" => |row| row.iter().map(|x| x.abs()).sum(),
            "L2" => |row| row.iter().map(|x| x * x).sum::<f32>().sqrt(),
            other => return Err(not_so(of, &format!("`norm` {other}"))),
        }))
    }
}

impl Operator for Normalizer {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let (_, columns) = input.table()?;
        let mut values = input.to_floats()?;
        for row in values.chunks_exact_mut(columns.max(1)) {
            let size = (self.0)(row);
            if size != 0.0 {
                row.iter_mut().for_each(|x| *x /= size);
            }
        }
        Ok(vec![Tensor::floats(input.dims.clone(), values)?])
    }
}

/// One where a value is above a threshold.
pub(super) struct Binarizer(f32);

impl Binarizer {
    pub(super) fn read(of: &Attributes<'_>) -> Self {
        Self(of.float("threshold", 0.0))
    }
}

impl Operator for Binarizer {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let values = input.to_floats()?.into_iter();
        let values = values.map(|x| f32::from(u8::from(x > self.0)));
        Ok(vec![Tensor::floats(input.dims.clone(), values.collect())?])
    }
}

/// A value in the place of one that is missing.
pub(super) enum Imputer {
    Floats { missing: f32, values: Vec<f32> },
    Ints { missing: i64, values: Vec<i64> },
}

impl Imputer {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let (floats, ints) = (
            of.floats("imputed_value_floats"),
            of.ints("imputed_value_int64s"),
        );
        match (floats, ints) {
            ([], []) => Err(of.wrong("has no values")),
            ([], values) => Ok(Self::Ints {
                missing: of.int("replaced_value_int64", 0),
                values: values.to_vec(),
            }),
            (values, _) => Ok(Self::Floats {
                missing: of.float("replaced_value_float", 0.0),
                values: values.to_vec(),
            }),
        }
    }
}

impl Operator for Imputer {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let (_, columns) = input.table()?;
        let place = |at: usize, len: usize| if len == 1 { 0 } else { at % columns.max(1) };
        let fits = |len: usize| match len == 1 || len == columns {
            true => Ok(()),
            false => Err(failed(format!("{columns} columns where {len} are needed"))),
        };
        let data = match self {
            Self::Floats { missing, values } => {
                fits(values.len())?;
                let mut all = input.to_floats()?;
                for (at, x) in all.iter_mut().enumerate() {
                    if *x == *missing || (missing.is_nan() && x.is_nan()) {
                        *x = values[place(at, values.len())];
                    }
                }
                Data::Float(all)
            }
            Self::Ints { missing, values } => {
                fits(values.len())?;
                let mut all = input.to_ints()?;
                for (at, x) in all.iter_mut().enumerate() {
                    if x == missing {
                        *x = values[place(at, values.len())];
                    }
                }
                Data::Int64(all)
            }
        };
        Ok(vec![Tensor::new(input.dims.clone(), data)?])
    }
}

/// Tables beside each other.
pub(super) struct FeatureVectorizer;

impl Operator for FeatureVectorizer {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let tables = inputs.iter().map(|t| Ok((t.table()?, t.to_floats()?)));
        let tables: Vec<((usize, usize), Vec<f32>)> = tables.collect::<Result<_>>()?;
        let rows = tables.first().map_or(0, |((rows, _), _)| *rows);
        let columns: usize = tables.iter().map(|((_, columns), _)| columns).sum();
        if tables.iter().any(|((own, _), _)| *own != rows) {
            return Err(failed("tables of different lengths can't be joined"));
        }
        let size = count(&[rows, columns]).ok_or_else(|| failed("too many columns"))?;
        let mut out = Vec::with_capacity(size);
        for row in 0..rows {
            for ((_, columns), values) in &tables {
                out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
            }
        }
        Ok(vec![Tensor::floats(vec![rows, columns], out)?])
    }
}
