//! The tensors of a safetensors file with their shapes, for those who look for particular ones. A
//! file of another kind, or with a malformed header, has none.

use std::collections::HashMap;
use std::io;

use serde::Deserialize;

use super::{Input, read_at, u64_at};

/// Longest header that is read: that of an adapter names hundreds of tensors, not a million.
const HEADER_BYTES_MAX: u64 = 4 << 20;

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

/// A row of the header; the metadata has none of these.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The tensors of a file, none outside of it.
///
/// # Errors
/// The input's own errors.
pub(crate) fn tensors<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Tensor>> {
    if size < 8 {
        return Ok(Vec::new());
    }
    let len = u64_at(&read_at(input, 0, 8)?, 0).unwrap_or(u64::MAX);
    if len > HEADER_BYTES_MAX || len > size - 8 {
        return Ok(Vec::new());
    }
    let json = read_at(input, 8, usize::try_from(len).unwrap_or(0))?;
    let Ok(rows) = serde_json::from_slice::<HashMap<String, Row>>(&json) else {
        return Ok(Vec::new());
    };
    let tensor = |(name, row): (String, Row)| {
        let (begin, end) = row.data_offsets;
        let start = (8 + len).checked_add(begin)?;
        let len = end.checked_sub(begin)?;
        start.checked_add(len).filter(|end| *end <= size)?;
        Some(Tensor {
            name,
            dtype: row.dtype,
            shape: row.shape,
            start,
            len,
        })
    };
    let mut found: Vec<Tensor> = rows.into_iter().filter_map(tensor).collect();
    // The order of a map is another one each time.
    found.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
    Ok(found)
}
