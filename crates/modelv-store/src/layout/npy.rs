//! npy: magic, version, length of the header, a Python literal that names the type, then elements.

use std::io;

use super::{Input, Part, content_of, read_at, u16_at, u32_at};
use crate::codec::Content;

const DICT_BYTES_MAX: u64 = 64 << 10;

/// The elements of the array that lies at `start` and takes `len` bytes with its header.
pub(super) fn part<R: Input + ?Sized>(
    input: &mut R,
    start: u64,
    len: u64,
    name: &[u8],
) -> io::Result<Option<Part>> {
    if len < 12 {
        return Ok(None);
    }
    let head = read_at(input, start, 12)?;
    if !head.starts_with(b"\x93NUMPY") {
        return Ok(None);
    }
    let (dict_at, dict_len) = match head[6] {
        1 => (10, u16_at(&head, 8).map(u64::from)),
        2 | 3 => (12, u32_at(&head, 8).map(u64::from)),
        _ => return Ok(None),
    };
    let Some(dict_len) = dict_len.filter(|n| *n <= DICT_BYTES_MAX && dict_at + n <= len) else {
        return Ok(None);
    };
    let dict = read_at(
        input,
        start + dict_at,
        usize::try_from(dict_len).unwrap_or(0),
    )?;
    Ok(Some(Part {
        start: start + dict_at + dict_len,
        len: len - dict_at - dict_len,
        content: content(&dict),
        name: name.to_vec(),
        ..Part::default()
    }))
}

/// The type in `{'descr': '<f4', …}`: order, kind, bytes of an element.
fn content(dict: &[u8]) -> Content {
    let text = String::from_utf8_lossy(dict);
    let descr = text
        .split_once("'descr':")
        .map(|(_, rest)| rest.trim_start());
    let quoted = descr.and_then(|d| d.strip_prefix('\'')?.split_once('\''));
    let Some((descr, _)) = quoted else {
        return Content::Unknown;
    };
    let mut chars = descr.chars();
    let (order, kind) = (chars.next(), chars.next());
    let bytes = chars.as_str().parse();
    match (order, kind, bytes) {
        (Some('<'), Some('f' | 'i' | 'u' | 'V'), Ok(bytes)) => content_of(bytes),
        // Two floats each.
        (Some('<'), Some('c'), Ok(bytes)) => content_of(bytes / 2),
        (Some('|'), Some('i' | 'u' | 'b'), Ok(1)) => content_of(1),
        _ => Content::Unknown,
    }
}
