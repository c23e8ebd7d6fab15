//! GGUF, versions 2 and 3: a table of typed keys and values, a table of tensors, then tensors at
//! aligned offsets. Quantised types are blocks, which are compared by their bytes.

use super::fields::{Fields, bad};
use super::numbers::Number;
use super::{Source, TENSORS_MAX, Tensor, TensorError, Tensors};
use crate::driver::TensorKind;

const STRING: u32 = 8;
const ARRAY: u32 = 9;
const UINT32: u32 = 4;
/// Dimensions of a tensor.
const DIMENSIONS_MAX: u32 = 8;

/// How tensors are aligned where nothing is said of it.
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;

/// A value by its key, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) key: String,
    pub(super) kind: u32,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Value {
    /// Whether it is a number of 32 bits without a sign.
    pub(super) fn is_u32(&self) -> bool {
        self.kind == UINT32
    }
}

/// What a file says before its numbers.
#[derive(Debug, Default)]
pub(crate) struct GgufHeader {
    pub(super) tensors: Tensors,
    /// Its values, in their order.
    pub(super) values: Vec<Value>,
    pub(super) version: u32,
    /// Chat templates by their keys: programs that the loader runs.
    pub(crate) templates: Vec<(String, String)>,
}

/// Name, numbers a block, bytes a block.
fn block(kind: u32) -> Option<(&'static str, u64, u64)> {
    Some(match kind {
        0 => ("F32", 1, 4),
        1 => ("F16", 1, 2),
        2 => ("Q4_0", 32, 18),
        3 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        8 => ("Q8_0", 32, 34),
        9 => ("Q8_1", 32, 36),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        24 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        30 => ("BF16", 1, 2),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        _ => return None,
    })
}

/// The number of a type.
pub(super) fn kind_number(name: &str) -> Option<u32> {
    (0..64).find(|n| block(*n).is_some_and(|(found, ..)| found == name))
}

fn number(name: &str) -> Option<Number> {
    Some(match name {
        "F64" => Number::F64,
        "F32" => Number::F32,
        "F16" => Number::F16,
        "BF16" => Number::Bf16,
        "I8" => Number::I8,
        "I16" => Number::I16,
        "I32" => Number::I32,
        "I64" => Number::I64,
        _ => return None,
    })
}

fn scalar_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn skip_value(fields: &mut Fields<'_>, kind: u32, depth: usize) -> Result<(), TensorError> {
    if let Some(len) = scalar_bytes(kind) {
        return fields.skip(len);
    }
    match kind {
        STRING => {
            let len = fields.u64()?;
            fields.skip(len)
        }
        ARRAY if depth < 4 => {
            let (kind, count) = (fields.u32()?, fields.u64()?);
            if let Some(len) = scalar_bytes(kind) {
                let all = len.checked_mul(count);
                return fields.skip(all.ok_or_else(|| bad("an array is too long"))?);
            }
            // Every string or array costs at least eight bytes of the budget.
            (0..count).try_for_each(|_| skip_value(fields, kind, depth + 1))
        }
        _ => Err(bad("a value of an unknown type")),
    }
}

impl GgufHeader {
    pub(crate) fn read(source: &mut dyn Source, size: u64) -> Result<Self, TensorError> {
        let mut fields = Fields::new(source, 0, size)?;
        if fields.array::<4>()? != *b"GGUF" {
            return Err(bad("it does not start like one"));
        }
        let version = fields.u32()?;
        let (tensors, values) = (fields.u64()?, fields.u64()?);
        if !(2..=3).contains(&version) {
            return Err(bad("an unknown version"));
        }
        if tensors > TENSORS_MAX as u64 {
            return Err(bad("it has too many tensors"));
        }
        let mut out = Self {
            version,
            ..Self::default()
        };
        let mut alignment = DEFAULT_ALIGNMENT;
        for _ in 0..values {
            let len = fields.u64()?;
            let (key, kind) = (fields.text(len)?, fields.u32()?);
            let start = fields.at;
            let name = key.clone();
            if key == "general.alignment" && kind == UINT32 {
                alignment = u64::from(fields.u32()?);
            } else if key.contains("chat_template") && kind == STRING {
                let len = fields.u64()?;
                out.templates.push((key, fields.text(len)?));
            } else {
                skip_value(&mut fields, kind, 0)?;
            }
            out.values.push(Value {
                key: name,
                kind,
                start,
                end: fields.at,
            });
        }
        if !alignment.is_power_of_two() {
            return Err(bad("its alignment is no power of two"));
        }
        let mut found = Vec::new();
        for _ in 0..tensors {
            found.push(row(&mut fields)?);
        }
        let first = fields.at.next_multiple_of(alignment);
        for (name, mut tensor) in found {
            let at = first.checked_add(tensor.offset);
            let end = at.and_then(|at| at.checked_add(tensor.bytes));
            tensor.offset = at
                .filter(|_| end.is_some_and(|e| e <= size))
                .ok_or_else(|| bad(&format!("tensor `{name}` is outside of the file")))?;
            if out.tensors.insert(name, tensor).is_some() {
                return Err(bad("two tensors have one name"));
            }
        }
        Ok(out)
    }
}

/// A row of the table of tensors; its offset counts from the first.
fn row(fields: &mut Fields<'_>) -> Result<(String, Tensor), TensorError> {
    let len = fields.u64()?;
    let (name, dimensions) = (fields.text(len)?, fields.u32()?);
    if dimensions > DIMENSIONS_MAX {
        return Err(bad("a tensor has too many dimensions"));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(fields.u64()?);
    }
    let (kind, offset) = (fields.u32()?, fields.u64()?);
    let wrong = || bad(&format!("tensor `{name}` has no whole number of blocks"));
    let (dtype, numbers, width) =
        block(kind).ok_or_else(|| bad(&format!("tensor `{name}` is of an unknown type")))?;
    let count = super::bytes_of(&shape, 1).ok_or_else(wrong)?;
    if count % numbers != 0 {
        return Err(wrong());
    }
    let number = number(dtype);
    let tensor = Tensor {
        kind: TensorKind {
            dtype: dtype.to_owned(),
            shape,
        },
        number,
        fortran: false,
        offset,
        bytes: (count / numbers).checked_mul(width).ok_or_else(wrong)?,
        block: number.is_none().then_some(width),
    };
    Ok((name, tensor))
}
