//! The header of safetensors: a length, a JSON object, the numbers. Tensors must fill the rest of
//! the file without holes or overlaps, each with exactly the bytes of its type and shape.

use std::collections::BTreeMap;

use super::super::config::json_object;
use super::super::{Refusal, TensorKind};
use super::numbers::Number;
use super::{
    HEADER_BYTES_MAX, Header, Source, TENSORS_MAX, Tensor, TensorError, Tensors, bytes_of, read_at,
};
use crate::value::Value;

pub(super) fn read(source: &mut dyn Source, size: u64) -> Result<Header, TensorError> {
    let bad = |text: &str| TensorError::Refused(Refusal::Invalid(text.to_owned()));
    if size < 8 {
        return Err(bad("it is shorter than its header"));
    }
    let mut length = [0; 8];
    read_at(source, 0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(bad("its header is too large"));
    }
    if length > size - 8 {
        return Err(bad("it is shorter than its header"));
    }
    let mut header = vec![0; usize::try_from(length).unwrap_or(0)];
    read_at(source, 8, &mut header)?;
    let text = std::str::from_utf8(&header).map_err(|_| bad("its header is no UTF-8"))?;
    let entries = json_object(text)?;
    if entries.len() > TENSORS_MAX {
        return Err(bad("it has too many tensors"));
    }
    let (start, room) = (8 + length, size - 8 - length);
    let mut out = Tensors::new();
    let mut metadata = BTreeMap::new();
    let mut spans = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        if name == "__metadata__" {
            metadata = texts(&value);
            continue;
        }
        let (tensor, begin, end) =
            tensor(&value).map_err(|what| bad(&format!("tensor `{name}`: {what}")))?;
        spans.push((begin, end));
        let offset = start.saturating_add(begin);
        out.insert(name, Tensor { offset, ..tensor });
    }
    spans.sort_unstable();
    let mut at = 0;
    for (begin, end) in spans {
        if begin != at {
            return Err(bad("its tensors overlap or leave holes"));
        }
        at = end;
    }
    if at != room {
        return Err(bad("its tensors do not fill the file"));
    }
    Ok(Header {
        tensors: out,
        metadata,
    })
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let Value::Map(map) = value else {
        return BTreeMap::new();
    };
    let text = |(key, value): (&String, &Value)| match value {
        Value::Str(text) => Some((key.clone(), text.clone())),
        _ => None,
    };
    map.iter().filter_map(text).collect()
}

fn tensor(value: &Value) -> Result<(Tensor, u64, u64), &'static str> {
    let Value::Map(map) = value else {
        return Err("no object");
    };
    let whole = |value: &Value| match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::UInt(n) => Some(*n),
        _ => None,
    };
    let list = |key: &str| match map.get(key) {
        Some(Value::List(items)) => items.iter().map(whole).collect::<Option<Vec<u64>>>(),
        _ => None,
    };
    let Some(Value::Str(dtype)) = map.get("dtype") else {
        return Err("no dtype");
    };
    let shape = list("shape").ok_or("no shape")?;
    let (number, width) = kind(dtype).ok_or("an unknown dtype")?;
    let Some([begin, end]) = list("data_offsets").and_then(|o| <[u64; 2]>::try_from(o).ok()) else {
        return Err("no data_offsets");
    };
    let bytes = end.checked_sub(begin).ok_or("offsets that go backwards")?;
    if bytes_of(&shape, width) != Some(bytes) {
        return Err("not the bytes of its shape");
    }
    let kind = TensorKind {
        dtype: dtype.clone(),
        shape,
    };
    let tensor = Tensor {
        kind,
        number,
        fortran: false,
        offset: 0,
        bytes,
        block: None,
    };
    Ok((tensor, begin, end))
}

fn kind(dtype: &str) -> Option<(Option<Number>, u64)> {
    let number = match dtype {
        "F64" => Number::F64,
        "F32" => Number::F32,
        "F16" => Number::F16,
        "BF16" => Number::Bf16,
        "I64" => Number::I64,
        "I32" => Number::I32,
        "I16" => Number::I16,
        "I8" => Number::I8,
        "U64" => Number::U64,
        "U32" => Number::U32,
        "U16" => Number::U16,
        "U8" | "BOOL" => Number::U8,
        "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => return Some((None, 1)),
        "C64" => return Some((None, 8)),
        _ => return None,
    };
    Some((Some(number), number.width() as u64))
}
