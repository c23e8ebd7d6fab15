//! safetensors: length of the header `u64`, header as JSON, tensors at offsets behind it.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{HEADER_BYTES_MAX, Input, PARTS_MAX, Part, content_of, read_at, u64_at};
use crate::codec::Content;

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "dtype")]
    content: Dtype,
    data_offsets: (u64, u64),
}

/// What a type's name says; the name itself is not kept, for a hostile header has many.
struct Dtype(Content);

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self(match &*name {
            "BF16" | "F16" | "I16" | "U16" => content_of(2),
            "F32" | "I32" | "U32" => content_of(4),
            "F64" | "I64" | "U64" => content_of(8),
            "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => content_of(1),
            _ => Content::Unknown,
        }))
    }
}

/// All tensors, with offsets from the end of the header; the metadata is skipped.
struct Header(Vec<Part>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut parts = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if parts.len() == PARTS_MAX {
                        return Err(A::Error::custom("too many tensors"));
                    }
                    let row: Row = map.next_value()?;
                    let (start, end) = row.data_offsets;
                    let Some(len) = end.checked_sub(start) else {
                        return Err(A::Error::custom("a tensor ends before its begin"));
                    };
                    parts.push(Part {
                        start,
                        len,
                        content: row.content.0,
                        name: name.into_bytes(),
                        ..Part::default()
                    });
                }
                Ok(Header(parts))
            }
        }
        deserializer.deserialize_map(Rows)
    }
}

pub(super) fn parts<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    let len = u64_at(&read_at(input, 0, 8)?, 0).unwrap_or(u64::MAX);
    if len > HEADER_BYTES_MAX || len > size - 8 {
        return Ok(Vec::new());
    }
    let json = read_at(input, 8, usize::try_from(len).unwrap_or(0))?;
    let Ok(Header(mut parts)) = serde_json::from_slice(&json) else {
        return Ok(Vec::new());
    };
    // One tensor that can't be makes the whole header doubtful.
    for part in &mut parts {
        match part.start.checked_add(8 + len) {
            Some(start) => part.start = start,
            None => return Ok(Vec::new()),
        }
    }
    Ok(parts)
}
