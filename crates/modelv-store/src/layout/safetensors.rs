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

pub(super) fn parts<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    let len = u64_at(&read_at(input, 0, 8)?, 0).unwrap_or(u64::MAX);
    if len > HEADER_BYTES_MAX || len > size - 8 {
        return Ok(Vec::new());
    }
    let json = read_at(input, 8, usize::try_from(len).unwrap_or(0))?;
    let Ok(Header(rows)) = serde_json::from_slice(&json) else {
        return Ok(Vec::new());
    };
    let first = 8 + len;
    let part = |(name, row): (String, Row)| {
        let (begin, end) = row.data_offsets;
        Some(Part {
            start: first.checked_add(begin)?,
            len: end.checked_sub(begin)?,
            content: content(&row.dtype),
            name: name.into_bytes(),
            ..Part::default()
        })
    };
    // One row that can't be makes the whole header doubtful.
    let parts: Option<Vec<Part>> = rows.into_iter().map(part).collect();
    Ok(parts.unwrap_or_default())
}
