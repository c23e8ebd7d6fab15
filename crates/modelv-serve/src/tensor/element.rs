//! Elements of tensors: which types there are, as bytes and as values of JSON.

use serde_json::{Number, Value};

use super::Result;

/// Types of elements, with their size in bytes; 0: each says its own.
const TYPES: [(&str, usize); 13] = [
    ("BOOL", 1),
    ("UINT8", 1),
    ("UINT16", 2),
    ("UINT32", 4),
    ("UINT64", 8),
    ("INT8", 1),
    ("INT16", 2),
    ("INT32", 4),
    ("INT64", 8),
    ("FP16", 2),
    ("FP32", 4),
    ("FP64", 8),
    ("BYTES", 0),
];

/// Bytes of an element.
pub(super) fn size_of(datatype: &str) -> Result<usize> {
    let found = TYPES.iter().find(|(name, _)| *name == datatype);
    found
        .map(|(_, size)| *size)
        .ok_or_else(|| format!("datatype `{datatype}` is not known"))
}

/// The elements that bytes are.
pub(super) fn decode(datatype: &str, bytes: &[u8], count: usize) -> Result<Vec<Value>> {
    let size = size_of(datatype)?;
    if size == 0 {
        return texts(bytes);
    }
    if count.checked_mul(size) != Some(bytes.len()) {
        return Err(format!(
            "{count} elements of {datatype} are not {} bytes",
            bytes.len()
        ));
    }
    bytes
        .chunks_exact(size)
        .map(|b| element(datatype, b))
        .collect()
}

fn texts(mut bytes: &[u8]) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or("a length of BYTES is cut off")?;
        let len = u32::from_le_bytes(*head) as usize;
        let (text, rest) = rest
            .split_at_checked(len)
            .ok_or("an element of BYTES is cut off")?;
        let text = std::str::from_utf8(text).map_err(|_| "an element of BYTES is no UTF-8")?;
        out.push(text.into());
        bytes = rest;
    }
    Ok(out)
}

fn element(datatype: &str, bytes: &[u8]) -> Result<Value> {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u64::from_le_bytes(wide);
    let float = |n: f64| {
        let number = Number::from_f64(n).map(Value::Number);
        number.ok_or_else(|| format!("{n} is no number of JSON"))
    };
    // The sign is in the last byte that is there.
    let shift = 64 - 8 * bytes.len();
    let signed = (unsigned << shift).cast_signed() >> shift;
    match datatype {
        "BOOL" => Ok(Value::Bool(unsigned != 0)),
        "FP16" => float(half(bytes[0], bytes[1])),
        "FP32" => float(f64::from(f32::from_bits(unsigned as u32))),
        "FP64" => float(f64::from_bits(unsigned)),
        name if name.starts_with('U') => Ok(unsigned.into()),
        _ => Ok(signed.into()),
    }
}

/// The number of a half-precision float.
fn half(low: u8, high: u8) -> f64 {
    let bits = u16::from_le_bytes([low, high]);
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => mantissa * 2f64.powi(-24),
        0x1f if mantissa == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// Whether a value is an element of this type.
pub(super) fn is_of(datatype: &str, value: &Value) -> bool {
    match datatype {
        "BOOL" => value.is_boolean(),
        "BYTES" => value.is_string(),
        "FP16" | "FP32" | "FP64" => value.is_number(),
        unsigned if unsigned.starts_with('U') => value.is_u64(),
        _ => value.is_i64() || value.is_u64(),
    }
}

/// The bytes of an element. What is whole and too large for its type is none of that type.
pub(super) fn encode(datatype: &str, value: &Value) -> Vec<u8> {
    let whole = || value.as_i64().unwrap_or_default();
    let float = || value.as_f64().unwrap_or(f64::NAN);
    match datatype {
        "BOOL" => vec![u8::from(value.as_bool().unwrap_or_default())],
        "FP32" => (float() as f32).to_le_bytes().to_vec(),
        "FP64" => float().to_le_bytes().to_vec(),
        "INT64" => whole().to_le_bytes().to_vec(),
        "INT32" => (whole() as i32).to_le_bytes().to_vec(),
        "INT8" => (whole() as i8).to_le_bytes().to_vec(),
        "UINT8" => (whole() as u8).to_le_bytes().to_vec(),
        _ => {
            let text = value.as_str().unwrap_or_default().as_bytes();
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            [&len.to_le_bytes()[..], text].concat()
        }
    }
}
