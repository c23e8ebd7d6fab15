//! Values as they are, in another kind or order.

use super::attributes::Attributes;
use super::linear::input;
use super::{Operator, not_so};
use crate::error::{Result, failed};
use crate::proto::element;
use crate::tensor::{Data, Kind, Tensor, count};

/// What it gets. A table of probabilities stays one: maps are no tensors.
pub(super) struct Same;

impl Operator for Same {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![input(inputs)?.clone()])
    }
}

pub(super) struct Cast(Kind);

impl Cast {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let number = i32::try_from(of.int("to", 0)).unwrap_or(0);
        let half = (number == element::FLOAT16).then_some(Kind::Float);
        let kind = half
            .or(Kind::of(number))
            .ok_or_else(|| not_so(of, &format!("`to` {number}")))?;
        Ok(Self(kind))
    }
}

impl Operator for Cast {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![input(inputs)?.clone().cast(self.0)?])
    }
}

/// Another shape, which the second input says.
pub(super) struct Reshape {
    keeps_zero: bool,
}

impl Reshape {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        of.without(&["shape"])?;
        Ok(Self {
            keeps_zero: of.int("allowzero", 0) != 0,
        })
    }
}

impl Operator for Reshape {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [input, shape] = inputs else {
            return Err(failed("a new shape is missing"));
        };
        let wanted = shape.to_ints()?;
        let bad = || {
            failed(format!(
                "a shape of {:?} can't become {wanted:?}",
                input.dims
            ))
        };
        let mut dims = Vec::with_capacity(wanted.len());
        for (at, size) in wanted.iter().enumerate() {
            dims.push(match size {
                -1 => 1,
                0 if !self.keeps_zero => *input.dims.get(at).ok_or_else(bad)?,
                size => usize::try_from(*size).map_err(|_| bad())?,
            });
        }
        if let Some(open) = wanted.iter().position(|size| *size == -1) {
            let known = count(&dims).filter(|n| *n > 0).ok_or_else(bad)?;
            dims[open] = input.data.len() / known;
        }
        if count(&dims) != Some(input.data.len()) {
            return Err(bad());
        }
        Ok(vec![Tensor::new(dims, input.data.clone())?])
    }
}

/// A table of what was more or less: its rows are the dimensions before one, its columns those behind.
pub(super) struct Flatten(i64);

impl Flatten {
    pub(super) fn read(of: &Attributes<'_>) -> Self {
        Self(of.int("axis", 1))
    }
}

impl Operator for Flatten {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        // Behind the last dimension is a place too.
        let at = match usize::try_from(self.0) {
            Ok(at) if at == input.dims.len() => Some(at),
            _ => place(self.0, input.dims.len()),
        };
        let at = at.ok_or_else(|| failed(format!("dimension {} is asked for", self.0)))?;
        let (outer, inner) = input.dims.split_at(at);
        let dims = vec![outer.iter().product(), inner.iter().product()];
        Ok(vec![Tensor::new(dims, input.data.clone())?])
    }
}

/// Texts beside each other.
pub(super) struct Concat(i64);

impl Concat {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        match of.has("axis") {
            true => Ok(Self(of.int("axis", 0))),
            false => Err(of.wrong("does not say in which dimension")),
        }
    }
}

impl Operator for Concat {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let first = input(inputs)?;
        let axis = place(self.0, first.dims.len());
        let axis = axis.ok_or_else(|| failed(format!("dimension {} is asked for", self.0)))?;
        let mut dims = first.dims.clone();
        dims[axis] = 0;
        let mut parts = Vec::with_capacity(inputs.len());
        for input in inputs {
            let Data::Text(all) = &input.data else {
                return Err(failed("numbers and texts can't be joined"));
            };
            let mut open = input.dims.clone();
            let own = open.get_mut(axis).map(std::mem::take);
            let others = [&dims[..axis], &[0], &dims[axis + 1..]].concat();
            let own = own.filter(|_| open == others);
            dims[axis] += own.ok_or_else(|| failed("tables of other sizes can't be joined"))?;
            let width: usize = input.dims[axis..].iter().product();
            parts.push((all, width));
        }
        let size = count(&dims).ok_or_else(|| failed("too many elements"))?;
        let mut out = Vec::with_capacity(size);
        for row in 0..dims[..axis].iter().product() {
            for (all, width) in &parts {
                out.extend_from_slice(&all[row * width..(row + 1) * width]);
            }
        }
        Ok(vec![Tensor::new(dims, Data::Text(out))?])
    }
}

/// Elements of the last dimension, by their numbers.
pub(super) struct ArrayFeatureExtractor;

impl Operator for ArrayFeatureExtractor {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [input, numbers] = inputs else {
            return Err(failed("numbers of elements are missing"));
        };
        let (last, outer) = input
            .dims
            .split_last()
            .ok_or_else(|| failed("elements of a single value are asked for"))?;
        let numbers = numbers.to_ints()?.into_iter().map(|n| {
            let number = usize::try_from(n).ok().filter(|n| n < last);
            number.ok_or_else(|| failed(format!("element {n} of {last} is asked for")))
        });
        let numbers: Vec<usize> = numbers.collect::<Result<_>>()?;
        let mut dims = outer.to_vec();
        if dims.is_empty() {
            dims.push(1);
        }
        dims.push(numbers.len());
        let size = count(&dims).ok_or_else(|| failed("too many elements"))?;
        let last = *last;
        let places = (0..size).map(|at| (at / numbers.len()) * last + numbers[at % numbers.len()]);
        Ok(vec![Tensor::new(dims, pick(&input.data, places))?])
    }
}

/// Parts of one dimension, by their numbers.
pub(super) struct Gather(i64);

impl Gather {
    pub(super) fn read(of: &Attributes<'_>) -> Self {
        Self(of.int("axis", 0))
    }
}

/// A number that may count from the end.
fn place(n: i64, size: usize) -> Option<usize> {
    let size = i64::try_from(size).ok()?;
    let n = if n < 0 { n.checked_add(size)? } else { n };
    (0..size).contains(&n).then_some(n as usize)
}

impl Operator for Gather {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [input, numbers] = inputs else {
            return Err(failed("numbers of parts are missing"));
        };
        let axis = place(self.0, input.dims.len());
        let axis = axis.ok_or_else(|| failed(format!("dimension {} is asked for", self.0)))?;
        let size = input.dims[axis];
        let (outer, inner) = (&input.dims[..axis], &input.dims[axis + 1..]);
        let numbers_of = numbers.to_ints()?.into_iter().map(|n| {
            place(n, size).ok_or_else(|| failed(format!("part {n} of {size} is asked for")))
        });
        let picked: Vec<usize> = numbers_of.collect::<Result<_>>()?;
        let dims = [outer, &numbers.dims, inner].concat();
        count(&dims).ok_or_else(|| failed("too many elements"))?;
        let (rows, width): (usize, usize) = (outer.iter().product(), inner.iter().product());
        let places = (0..rows).flat_map(|row| {
            let starts = picked.iter().map(move |n| (row * size + n) * width);
            starts.flat_map(move |start| start..start + width)
        });
        Ok(vec![Tensor::new(dims, pick(&input.data, places))?])
    }
}

fn pick(data: &Data, places: impl Iterator<Item = usize>) -> Data {
    match data {
        Data::Float(v) => Data::Float(places.map(|at| v[at]).collect()),
        Data::Int32(v) => Data::Int32(places.map(|at| v[at]).collect()),
        Data::Int64(v) => Data::Int64(places.map(|at| v[at]).collect()),
        Data::Int8(v) => Data::Int8(places.map(|at| v[at]).collect()),
        Data::Uint8(v) => Data::Uint8(places.map(|at| v[at]).collect()),
        Data::Bool(v) => Data::Bool(places.map(|at| v[at]).collect()),
        Data::Text(v) => Data::Text(places.map(|at| v[at].clone()).collect()),
    }
}
