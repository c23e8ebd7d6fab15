//! safetensors: length of the header `u64`, header as JSON, tensors at offsets behind it.

use std::fmt;
use std::io;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{HEADER_BYTES_MAX, Input, PARTS_MAX, Part, content_of, read_at, u64_at};
use crate::codec::Content;

#[derive(Deserialize)]
struct Row {
    dtype: String,
    #[serde(default)]
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// All tensors; the metadata is skipped.
struct Header(Vec<(String, Row)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut rows = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else if rows.len() == PARTS_MAX {
                        return Err(A::Error::custom("too many tensors"));
                    } else {
                        rows.push((name, map.next_value()?));
                    }
                }
                Ok(Header(rows))
            }
        }
        deserializer.deserialize_map(Rows)
    }
}

fn content(dtype: &str) -> Content {
    match dtype {
        "BF16" | "F16" | "I16" | "U16" => content_of(2),
        "F32" | "I32" | "U32" => content_of(4),
        "F64" | "I64" | "U64" => content_of(8),
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => content_of(1),
        _ => Content::Unknown,
    }
}

/// A tensor as the header describes it.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    /// Offset in the file.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) len: u64,
}

/// The tensors of a file, none outside of it; empty for one of another kind, or malformed.
pub(crate) fn tensors<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Tensor>> {
    if size < 8 {
        return Ok(Vec::new());
    }
    let len = u64_at(&read_at(input, 0, 8)?, 0).unwrap_or(u64::MAX);
    if len > HEADER_BYTES_MAX || len > size - 8 {
        return Ok(Vec::new());
    }
    let json = read_at(input, 8, usize::try_from(len).unwrap_or(0))?;
    let Ok(Header(rows)) = serde_json::from_slice(&json) else {
        return Ok(Vec::new());
    };
    let first = 8 + len;
    let tensor = |(name, row): (String, Row)| {
        let (begin, end) = row.data_offsets;
        first.checked_add(end).filter(|end| *end <= size)?;
        Some(Tensor {
            start: first.checked_add(begin)?,
            len: end.checked_sub(begin)?,
            dtype: row.dtype,
            shape: row.shape,
            name,
        })
    };
    // One row that can't be makes the whole header doubtful.
    let tensors: Option<Vec<Tensor>> = rows.into_iter().map(tensor).collect();
    Ok(tensors.unwrap_or_default())
}

pub(super) fn parts<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    let part = |tensor: Tensor| Part {
        start: tensor.start,
        len: tensor.len,
        content: content(&tensor.dtype),
        name: tensor.name.into_bytes(),
    };
    Ok(tensors(input, size)?.into_iter().map(part).collect())
}
