//! Parquet: a footer in Thrift's compact protocol that says where each column of each row group is.
//!
//! Columns are cut by their content: their pages are mostly compressed, and change their lengths
//! with what they hold.

use std::io;

use modelv_core::thrift::{BINARY, Compact, I16, I64, LIST, STRUCT};

use super::{HEADER_BYTES_MAX, Input, PARTS_MAX, Part, Within, read_at, u32_at};
use crate::codec::Content;

const MAGIC: &[u8] = b"PAR1";
const TAIL_BYTES: u64 = 8;
/// What the footer says of one column in one row group.
#[derive(Default)]
struct Column {
    elsewhere: bool,
    path: Vec<u8>,
    codec: i64,
    len: i64,
    data: i64,
    dictionary: i64,
}

impl Column {
    fn read(footer: &mut Compact<'_>) -> Option<Self> {
        let mut column = Self::default();
        footer.fields(|s, number, kind| match (number, kind) {
            (1, BINARY) => {
                column.elsewhere = true;
                s.binary().map(drop)
            }
            (3, STRUCT) => column.read_facts(s),
            _ => s.skip(kind, 0),
        })?;
        Some(column)
    }

    fn read_facts(&mut self, footer: &mut Compact<'_>) -> Option<()> {
        footer.fields(|s, number, kind| {
            match (number, kind) {
                (3, LIST) => self.path = path(s)?,
                (4, I16..=I64) => self.codec = s.int()?,
                (7, I16..=I64) => self.len = s.int()?,
                (9, I16..=I64) => self.data = s.int()?,
                (11, I16..=I64) => self.dictionary = s.int()?,
                _ => s.skip(kind, 0)?,
            }
            Some(())
        })
    }

    fn part(self, group: u32) -> Option<Part> {
        // Some writers say 0 for a dictionary that is not there.
        let first = match self.dictionary {
            1.. => self.dictionary.min(self.data),
            _ => self.data,
        };
        Some(Part {
            start: u64::try_from(first).ok()?,
            len: u64::try_from(self.len).ok()?,
            content: if self.codec == 0 {
                Content::Unknown
            } else {
                Content::Bytes
            },
            within: Within::Content,
            group,
            name: self.path,
        })
    }
}

/// The names of a column and of what it lies in, joined by dots.
fn path(footer: &mut Compact<'_>) -> Option<Vec<u8>> {
    let (kind, count) = footer.list()?;
    let mut out = Vec::new();
    for number in 0..count {
        if kind != BINARY {
            return None;
        }
        if number > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(footer.binary()?);
    }
    Some(out)
}

/// All columns of all row groups; `None` when the footer is malformed.
fn columns(footer: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    Compact(footer).fields(|s, number, kind| match (number, kind) {
        (4, LIST) => s.structs(kind, |s, group| {
            let group = u32::try_from(group).ok()?;
            s.fields(|s, number, kind| match (number, kind) {
                (1, LIST) => s.structs(kind, |s, _| {
                    let column = Column::read(s)?;
                    if !column.elsewhere {
                        parts.push(column.part(group)?);
                    }
                    (parts.len() <= PARTS_MAX).then_some(())
                }),
                _ => s.skip(kind, 0),
            })
        }),
        _ => s.skip(kind, 0),
    })?;
    Some(parts)
}

pub(super) fn parts<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    let tail = read_at(input, size - TAIL_BYTES, 8)?;
    let len = u32_at(&tail, 0).map_or(u64::MAX, u64::from);
    let room = size - TAIL_BYTES - MAGIC.len() as u64;
    if !tail.ends_with(MAGIC) || len > HEADER_BYTES_MAX || len > room {
        return Ok(Vec::new());
    }
    let start = size - TAIL_BYTES - len;
    let footer = read_at(input, start, usize::try_from(len).unwrap_or(0))?;
    let mut parts = columns(&footer).unwrap_or_default();
    if parts.iter().any(|p| p.end() > start) {
        parts.clear();
    }
    Ok(parts)
}
