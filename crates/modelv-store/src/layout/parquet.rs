//! Parquet: a footer in Thrift's compact protocol that says where each column of each row group is.
//!
//! Columns are cut by their content: their pages are mostly compressed, and change their lengths
//! with what they hold.

use std::io;

use super::{HEADER_BYTES_MAX, Input, PARTS_MAX, Part, Within, read_at, u32_at};
use crate::codec::Content;

const MAGIC: &[u8] = b"PAR1";
const TAIL_BYTES: u64 = 8;
/// How deep values that are skipped may be nested.
const DEPTH_MAX: usize = 16;

// Types of the compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Reads values from the front of a footer; `None` when it is malformed.
struct Compact<'a>(&'a [u8]);

impl<'a> Compact<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn int(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn binary(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.take(len)
    }

    /// Type and number of the elements of a list or set.
    fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Some((head & 15, count))
    }

    /// Hands every field of a struct to `each`, which reads or skips it.
    fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut number = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            number = match head >> 4 {
                0 => self.int()?,
                step => number.checked_add(i64::from(step))?,
            };
            each(self, number, head & 15)?;
        }
    }

    /// Skips a value. Every element takes at least a byte, so counts can't lie for long.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => drop(self.byte()?),
            I16..=I64 => drop(self.varint()?),
            DOUBLE => drop(self.take(8)?),
            BINARY => drop(self.binary()?),
            UUID => drop(self.take(16)?),
            LIST | SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))?;
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 15, depth)
                })?;
            }
            STRUCT => self.fields(|s, _, kind| s.skip(kind, depth + 1))?,
            _ => return None,
        }
        Some(())
    }

    /// Inside lists and maps a truth value takes a byte; as a field it is part of the type.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            TRUE | FALSE => self.byte().map(drop),
            _ => self.skip(kind, depth + 1),
        }
    }

    /// Hands every struct of a list to `each`.
    fn structs(&mut self, mut each: impl FnMut(&mut Self, u64) -> Option<()>) -> Option<()> {
        let (kind, count) = self.list()?;
        if kind != STRUCT && count > 0 {
            return None;
        }
        (0..count).try_for_each(|number| each(self, number))
    }
}

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
        (4, LIST) => s.structs(|s, group| {
            let group = u32::try_from(group).ok()?;
            s.fields(|s, number, kind| match (number, kind) {
                (1, LIST) => s.structs(|s, _| {
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
