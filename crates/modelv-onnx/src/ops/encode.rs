//! Words to numbers, and back.

use std::collections::HashMap;

use super::Operator;
use super::attributes::Attributes;
use super::linear::input;
use crate::error::{Result, failed};
use crate::tensor::{Data, Tensor, count};

/// A key that can be looked up: floats by their bits, where no number is not equal to itself and zero is one.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Int(i64),
    Float(u32),
    Text(String),
}

fn float_key(x: f32) -> Key {
    Key::Float(if x == 0.0 {
        0
    } else if x.is_nan() {
        f32::NAN.to_bits()
    } else {
        x.to_bits()
    })
}

fn keys(data: &Data) -> Result<Vec<Key>> {
    Ok(match data {
        Data::Text(all) => all.iter().map(|t| Key::Text(t.clone())).collect(),
        Data::Float(all) => all.iter().map(|x| float_key(*x)).collect(),
        _ => {
            let dims = vec![data.len()];
            let all = Tensor::new(dims, data.clone())?.to_ints()?;
            all.into_iter().map(Key::Int).collect()
        }
    })
}

/// A list of values that a node gives in one of three attributes.
fn list(of: &Attributes<'_>, prefix: &str) -> Option<Data> {
    let name = |kind: &str| format!("{prefix}_{kind}");
    if of.has(&name("int64s")) {
        return Some(Data::Int64(of.ints(&name("int64s")).to_vec()));
    }
    if of.has(&name("floats")) {
        return Some(Data::Float(of.floats(&name("floats")).to_vec()));
    }
    of.has(&name("strings"))
        .then(|| Data::Text(of.texts(&name("strings"))))
}

/// Each value's partner.
pub(super) struct LabelEncoder {
    places: HashMap<Key, usize>,
    /// The last one is for what is in no place.
    values: Data,
}

impl LabelEncoder {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        of.without(&["classes_strings", "keys_tensor", "values_tensor"])?;
        let found = list(of, "keys").zip(list(of, "values"));
        let (from, mut values) = found.ok_or_else(|| of.wrong("has no keys and values"))?;
        if from.len() != values.len() {
            return Err(of.wrong("has other numbers of keys and values"));
        }
        match &mut values {
            Data::Text(all) => all.push(of.text("default_string", "_Unused")),
            Data::Float(all) => all.push(of.float("default_float", -0.0)),
            Data::Int64(all) => all.push(of.int("default_int64", -1)),
            _ => {}
        }
        // The first of equal keys counts.
        let mut places = HashMap::new();
        for (at, key) in keys(&from)?.into_iter().enumerate() {
            places.entry(key).or_insert(at);
        }
        Ok(Self { places, values })
    }
}

impl Operator for LabelEncoder {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let other = self.values.len().saturating_sub(1);
        let keys = keys(&input.data)?;
        let at = keys.iter().map(|k| *self.places.get(k).unwrap_or(&other));
        let data = match &self.values {
            Data::Text(all) => Data::Text(at.map(|at| all[at].clone()).collect()),
            Data::Float(all) => Data::Float(at.map(|at| all[at]).collect()),
            Data::Int64(all) => Data::Int64(at.map(|at| all[at]).collect()),
            _ => return Err(failed("a label encoder without values")),
        };
        Ok(vec![Tensor::new(input.dims.clone(), data)?])
    }
}

/// A column for each category.
pub(super) struct OneHotEncoder {
    places: HashMap<Key, usize>,
    is_text: bool,
    columns: usize,
    /// Whether a value of no category is a row of zeros.
    zeros: bool,
}

impl OneHotEncoder {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let (texts, ints) = (of.texts("cats_strings"), of.ints("cats_int64s"));
        let categories = match (texts.is_empty(), ints.is_empty()) {
            (false, true) => Data::Text(texts),
            (true, false) => Data::Int64(ints.to_vec()),
            _ => return Err(of.wrong("has no list of categories, or two")),
        };
        let numbered = keys(&categories)?.into_iter().enumerate();
        Ok(Self {
            places: numbered.map(|(at, key)| (key, at)).collect(),
            is_text: matches!(categories, Data::Text(_)),
            columns: categories.len(),
            zeros: of.int("zeros", 1) != 0,
        })
    }
}

impl Operator for OneHotEncoder {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = input(inputs)?;
        let keys = match (&input.data, self.is_text) {
            (Data::Text(_), true) => keys(&input.data)?,
            (Data::Text(_), false) | (_, true) => {
                return Err(failed("values of another kind than the categories"));
            }
            (_, false) => input.to_ints()?.into_iter().map(Key::Int).collect(),
        };
        let mut dims = input.dims.clone();
        dims.push(self.columns);
        let size = count(&dims).ok_or_else(|| failed("too many categories for so many values"))?;
        let mut out = vec![0.0; size];
        for (row, key) in out.chunks_exact_mut(self.columns).zip(&keys) {
            match self.places.get(key) {
                Some(at) => row[*at] = 1.0,
                None if self.zeros => {}
                None => return Err(failed("a value of no known category")),
            }
        }
        Ok(vec![Tensor::floats(dims, out)?])
    }
}
