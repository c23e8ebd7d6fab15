//! The header of npy, versions 1 to 3: a dictionary as Python writes it, then the numbers. Arrays of
//! objects are pickles and refused.

use super::super::{Refusal, TensorKind};
use super::numbers::Number;
use super::{Source, Tensor, TensorError, bytes_of, read_at};

/// Python itself refuses longer ones.
const HEADER_BYTES_MAX: u32 = 1 << 16;

/// Reads the header that starts at `at`, of an array that ends at `end`.
pub(super) fn read(source: &mut dyn Source, at: u64, end: u64) -> Result<Tensor, TensorError> {
    let bad = |text: &str| TensorError::Refused(Refusal::Invalid(text.to_owned()));
    let room = end.saturating_sub(at);
    let mut head = [0; 12];
    if room < 12 {
        return Err(bad("it is shorter than its header"));
    }
    read_at(source, at, &mut head)?;
    if head[..6] != *b"\x93NUMPY" {
        return Err(bad("it does not start like one"));
    }
    let (length, start) = match head[6] {
        1 => (u32::from(u16::from_le_bytes([head[8], head[9]])), 10),
        2 | 3 => (
            u32::from_le_bytes([head[8], head[9], head[10], head[11]]),
            12,
        ),
        _ => return Err(bad("an unknown version")),
    };
    if length > HEADER_BYTES_MAX {
        return Err(bad("its header is too large"));
    }
    if u64::from(length) + start > room {
        return Err(bad("it is shorter than its header"));
    }
    let mut text = vec![0; length as usize];
    read_at(source, at + start, &mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| bad("its header is no UTF-8"))?;
    let (dtype, fortran, shape) =
        header(text).ok_or_else(|| bad("its header is no dictionary of an array"))?;
    let Some((number, width)) = kind(&dtype) else {
        let text = format!("it has elements of type `{dtype}`");
        return Err(Refusal::Beyond(text).into());
    };
    let offset = at + start + u64::from(length);
    let bytes = bytes_of(&shape, width).ok_or_else(|| bad("its shape is too large"))?;
    if offset.checked_add(bytes) != Some(end) {
        return Err(bad("it has not the bytes of its shape"));
    }
    Ok(Tensor {
        kind: TensorKind { dtype, shape },
        number,
        fortran,
        offset,
        bytes,
        block: None,
    })
}

/// Type, order and shape.
fn header(text: &str) -> Option<(String, bool, Vec<u64>)> {
    let behind = |key: &str| {
        let at = text.find(&format!("'{key}'"))?;
        text[at + key.len() + 2..]
            .trim_start()
            .strip_prefix(':')
            .map(str::trim_start)
    };
    let descr = behind("descr")?;
    let dtype = match descr.strip_prefix('\'') {
        Some(rest) => rest.split('\'').next()?.to_owned(),
        None => "of fields".to_owned(),
    };
    let order = behind("fortran_order")?;
    let fortran = match () {
        () if order.starts_with("True") => true,
        () if order.starts_with("False") => false,
        () => return None,
    };
    let inner = behind("shape")?.strip_prefix('(')?.split(')').next()?;
    let shape = inner.split(',').map(str::trim).filter(|n| !n.is_empty());
    let shape: Option<Vec<u64>> = shape.map(|n| n.parse().ok()).collect();
    Some((dtype, fortran, shape?))
}

fn kind(dtype: &str) -> Option<(Option<Number>, u64)> {
    let (order, rest) = dtype.split_at_checked(1)?;
    let number = match rest {
        "f8" => Number::F64,
        "f4" => Number::F32,
        "f2" => Number::F16,
        "i8" => Number::I64,
        "i4" => Number::I32,
        "i2" => Number::I16,
        "i1" => Number::I8,
        "u8" => Number::U64,
        "u4" => Number::U32,
        "u2" => Number::U16,
        "u1" | "b1" => Number::U8,
        _ => return other(rest).map(|width| (None, width)),
    };
    let width = number.width() as u64;
    match order {
        "<" | "|" => Some((Some(number), width)),
        // Compared by bytes only: nobody trains on such machines any more.
        ">" => Some((None, width)),
        _ => None,
    }
}

/// Bytes of elements that are compared by bytes only: complex numbers, texts, times.
fn other(rest: &str) -> Option<u64> {
    let (letter, digits) = rest.split_at_checked(1)?;
    let digits = digits.split('[').next()?;
    let n: u64 = digits.parse().ok().filter(|n| *n <= 1 << 20)?;
    match letter {
        "c" | "S" | "V" | "m" | "M" => Some(n),
        "U" => Some(4 * n),
        _ => None,
    }
}
