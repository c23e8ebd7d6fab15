//! GGUF: a table of typed keys and values, a table of tensors, then tensors at aligned offsets.

use std::io::{self, BufReader, Read, SeekFrom};

use super::{HEADER_BYTES_MAX, Input, PARTS_MAX, Part, content_of, malformed};
use crate::codec::Content;

const NAME_BYTES_MAX: u64 = 64 << 10;
const ALIGNMENT_KEY: &[u8] = b"general.alignment";
const ALIGNMENT: u64 = 32;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const UINT32: u32 = 4;

/// Reads the header field by field and never more than the limit.
struct Fields<'a, R: ?Sized> {
    input: BufReader<&'a mut R>,
    at: u64,
    limit: u64,
}

impl<R: Input + ?Sized> Fields<'_, R> {
    fn take(&mut self, len: u64) -> io::Result<()> {
        self.at = self.at.checked_add(len).ok_or_else(malformed)?;
        if self.at > self.limit {
            return Err(malformed());
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N as u64)?;
        let mut out = [0; N];
        self.input.read_exact(&mut out)?;
        Ok(out)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> io::Result<Vec<u8>> {
        let len = self.u64()?;
        if len > NAME_BYTES_MAX {
            return Err(malformed());
        }
        self.take(len)?;
        let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
        self.input.read_exact(&mut out)?;
        Ok(out)
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        self.take(len)?;
        self.input
            .seek_relative(i64::try_from(len).map_err(|_| malformed())?)
    }

    /// Skips a value of a type.
    fn skip_value(&mut self, kind: u32, depth: usize) -> io::Result<()> {
        if let Some(len) = scalar_bytes(kind) {
            return self.skip(len);
        }
        match kind {
            STRING => {
                let len = self.u64()?;
                self.skip(len)
            }
            ARRAY if depth < 4 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                if let Some(len) = scalar_bytes(kind) {
                    return self.skip(len.checked_mul(count).ok_or_else(malformed)?);
                }
                // Every string or array takes at least eight bytes of the limit.
                (0..count).try_for_each(|_| self.skip_value(kind, depth + 1))
            }
            _ => Err(malformed()),
        }
    }
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

/// Content of a tensor type; quantised ones are blocks of mixed fields.
fn content(kind: u32) -> Content {
    match kind {
        1 | 25 | 30 => content_of(2),
        0 | 26 => content_of(4),
        27 | 28 => content_of(8),
        24 => content_of(1),
        _ => Content::Unknown,
    }
}

pub(super) fn parts<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    input.seek(SeekFrom::Start(0))?;
    let mut fields = Fields {
        input: BufReader::with_capacity(64 << 10, input),
        at: 0,
        limit: size.min(HEADER_BYTES_MAX),
    };
    let [_, version] = [fields.u32()?, fields.u32()?];
    let [tensors, values] = [fields.u64()?, fields.u64()?];
    if !(2..=3).contains(&version) || tensors > PARTS_MAX as u64 {
        return Ok(Vec::new());
    }
    let mut alignment = ALIGNMENT;
    for _ in 0..values {
        let (name, kind) = (fields.name()?, fields.u32()?);
        if name == ALIGNMENT_KEY && kind == UINT32 {
            alignment = u64::from(fields.u32()?);
        } else {
            fields.skip_value(kind, 0)?;
        }
    }
    if !alignment.is_power_of_two() {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for _ in 0..tensors {
        let name = fields.name()?;
        let dimensions = u64::from(fields.u32()?);
        fields.skip(dimensions * 8)?;
        let (kind, offset) = (fields.u32()?, fields.u64()?);
        rows.push((offset, kind, name));
    }
    Ok(place(rows, fields.at.next_multiple_of(alignment), size))
}

/// A tensor reaches to the next one: what lies between is padding.
fn place(mut rows: Vec<(u64, u32, Vec<u8>)>, first: u64, size: u64) -> Vec<Part> {
    rows.sort();
    let ends: Vec<u64> = rows
        .iter()
        .skip(1)
        .map(|r| first.saturating_add(r.0))
        .chain([size])
        .collect();
    let part = |((offset, kind, name), end): ((u64, u32, Vec<u8>), u64)| {
        let start = first.checked_add(offset)?;
        Some(Part {
            start,
            len: end.checked_sub(start)?,
            content: content(kind),
            name,
            ..Part::default()
        })
    };
    let parts: Option<Vec<Part>> = rows.into_iter().zip(ends).map(part).collect();
    parts.unwrap_or_default()
}
