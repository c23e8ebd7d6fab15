//! Elements of tensors: which types there are, as bytes and as values of JSON.

use serde::Serialize;
use serde_json::Value;

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

/// How many elements bytes are.
pub(super) fn number_of(datatype: &str, bytes: &[u8], count: usize) -> Result<usize> {
    let size = size_of(datatype)?;
    if size == 0 {
        let (mut rest, mut number) = (bytes, 0);
        while !rest.is_empty() {
            text(&mut rest)?;
            number += 1;
        }
        return Ok(number);
    }
    if count.checked_mul(size) != Some(bytes.len()) {
        return Err(format!(
            "{count} elements of {datatype} are not {} bytes",
            bytes.len()
        ));
    }
    Ok(count)
}

/// Writes the element at the front of bytes, and takes it from them.
pub(super) fn write_next(datatype: &str, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<()> {
    let size = size_of(datatype)?;
    if size == 0 {
        return write(out, text(bytes)?);
    }
    let (own, rest) = bytes
        .split_at_checked(size)
        .ok_or("an element is cut off")?;
    *bytes = rest;
    write_element(datatype, own, out)
}

/// The text at the front of bytes.
fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str> {
    let (head, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or("a length of BYTES is cut off")?;
    let len = u32::from_le_bytes(*head) as usize;
    let (text, rest) = rest
        .split_at_checked(len)
        .ok_or("an element of BYTES is cut off")?;
    *bytes = rest;
    utf8(text)
}

/// The text of an element.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| "an element of BYTES is no UTF-8".to_owned())
}

fn write_element(datatype: &str, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u64::from_le_bytes(wide);
    // The sign is in the last byte that is there.
    let shift = 64 - 8 * bytes.len();
    let signed = (unsigned << shift).cast_signed() >> shift;
    match datatype {
        "BOOL" => write(out, &(unsigned != 0)),
        "FP16" => write_float(out, half(bytes[0], bytes[1])),
        "FP32" => write_float(out, f64::from(f32::from_bits(unsigned as u32))),
        "FP64" => write_float(out, f64::from_bits(unsigned)),
        name if name.starts_with('U') => write(out, &unsigned),
        _ => write(out, &signed),
    }
}

/// Writes a number, which JSON has no infinite ones of.
pub(crate) fn write_float(out: &mut Vec<u8>, number: f64) -> Result<()> {
    if !number.is_finite() {
        return Err(format!("{number} is no number of JSON"));
    }
    write(out, &number)
}

/// Writes an element as JSON.
pub(crate) fn write(out: &mut Vec<u8>, element: &(impl Serialize + ?Sized)) -> Result<()> {
    serde_json::to_writer(out, element).map_err(|e| e.to_string())
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

/// Adds the bytes of an element. What is whole and too large for its type is none of that type.
pub(super) fn encode(datatype: &str, value: &Value, out: &mut Vec<u8>) {
    let whole = || value.as_i64().unwrap_or_default();
    let float = || value.as_f64().unwrap_or(f64::NAN);
    match datatype {
        "BOOL" => out.push(u8::from(value.as_bool().unwrap_or_default())),
        "FP32" => out.extend((float() as f32).to_le_bytes()),
        "FP64" => out.extend(float().to_le_bytes()),
        "INT64" => out.extend(whole().to_le_bytes()),
        "INT32" => out.extend((whole() as i32).to_le_bytes()),
        "INT8" => out.extend((whole() as i8).to_le_bytes()),
        "UINT8" => out.push(whole() as u8),
        _ => {
            let text = value.as_str().unwrap_or_default().as_bytes();
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            out.extend(len.to_le_bytes());
            out.extend_from_slice(text);
        }
    }
}
