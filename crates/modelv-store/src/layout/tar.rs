//! tar: a header of 512 bytes before each member. Members with tensors or columns are cut as if they
//! were files of their own, other large ones by their content.
//!
//! Small members are left to be cut by content together with the headers around them: a member that
//! is put in or taken out then costs what is near it.

use std::io::{self, Read, Seek, SeekFrom};

use super::{
    HEAD_BYTES, HEADER_BYTES_MAX, Input, LAYOUT_BYTES_MIN, PARTS_MAX, Part, Within, malformed,
    read_at, read_single,
};
use crate::codec::Content;

const BLOCK: u64 = 512;
/// Most bytes of an extended header: names and a few facts.
const EXTENDED_BYTES_MAX: u64 = 64 << 10;

type Header = [u8; HEAD_BYTES];

/// Whether a block is the header of a member: the magic is there, and the checksum right.
pub(super) fn is_header(block: &Header) -> bool {
    // The checksum counts its own field as spaces.
    let sum = |range: &[u8]| range.iter().map(|b| u64::from(*b)).sum::<u64>();
    let computed = sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..]);
    &block[257..262] == b"ustar" && octal(&block[148..156]) == Some(computed)
}

/// A number in octal digits, ended by a space, a zero byte or the field.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|b| *b != b' ')?;
    let digits = &field[start..];
    let end = digits.iter().position(|b| matches!(b, b' ' | 0));
    let digits = &digits[..end.unwrap_or(digits.len())];
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

/// Size of a member: octal digits, or a binary number whose first bit is set.
fn size_of(header: &Header) -> Option<u64> {
    let field = &header[124..136];
    if field[0] != 0x80 {
        return octal(field);
    }
    let mut size = 0u64;
    for byte in &field[1..] {
        size = size.checked_mul(256)?.checked_add(u64::from(*byte))?;
    }
    Some(size)
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0);
    &field[..end.unwrap_or(field.len())]
}

fn name_of(header: &Header) -> Vec<u8> {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    // Older programs have times where the prefix stands.
    if &header[257..263] != b"ustar\0" || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, name].join(&b'/')
}

/// The size that an extended header gives to the member behind it. Records are `LENGTH KEY=VALUE\n`.
fn extended_size(mut records: &[u8]) -> Option<Option<u64>> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let mut found = None;
    while !records.is_empty() {
        let space = records.iter().position(|b| *b == b' ')?;
        let len = usize::try_from(number(&records[..space])?).ok()?;
        let (record, rest) = records.split_at_checked(len)?;
        let fact = record.get(space + 1..)?.strip_suffix(b"\n")?;
        if let Some(size) = fact.strip_prefix(b"size=") {
            found = Some(number(size)?);
        }
        records = rest;
    }
    Some(found)
}

/// A range of the file as a file of its own.
struct Window<'a> {
    input: &'a mut dyn Input,
    start: u64,
    len: u64,
    at: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let room = usize::try_from(left).map_or(buf.len(), |n| n.min(buf.len()));
        let n = self.input.read(&mut buf[..room])?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let inside = target.and_then(|at| Some((at, self.start.checked_add(at)?)));
        let (at, absolute) = inside.ok_or_else(malformed)?;
        self.input.seek(SeekFrom::Start(absolute))?;
        self.at = at;
        Ok(at)
    }
}

/// The parts of one member; its names stand behind the member's.
fn member(
    input: &mut dyn Input,
    start: u64,
    len: u64,
    group: u32,
    name: Vec<u8>,
) -> io::Result<Vec<Part>> {
    let mut window = Window {
        input,
        start,
        len,
        at: 0,
    };
    let mut head = [0; HEAD_BYTES];
    window.seek(SeekFrom::Start(0))?;
    window.read_exact(&mut head)?;
    let mut parts = read_single(&mut window, len, &head)?;
    for part in &mut parts {
        part.start += start;
        part.group = group;
        part.name = [&name[..], &[0], &part.name[..]].concat();
    }
    if parts.is_empty() {
        parts.push(Part {
            start,
            len,
            content: Content::Unknown,
            within: Within::Content,
            group,
            name,
        });
    }
    Ok(parts)
}

pub(super) fn parts(input: &mut dyn Input, size: u64) -> io::Result<Vec<Part>> {
    let (mut at, mut group, mut parts) = (0u64, 0u32, Vec::new());
    let mut extended = None;
    let mut budget = HEADER_BYTES_MAX;
    while at < size {
        budget = budget.checked_sub(BLOCK).ok_or_else(malformed)?;
        let mut header = [0; HEAD_BYTES];
        input.seek(SeekFrom::Start(at))?;
        input.read_exact(&mut header)?;
        if header == [0; HEAD_BYTES] {
            break;
        }
        if !is_header(&header) {
            return Err(malformed());
        }
        let start = at + BLOCK;
        let stated = size_of(&header).ok_or_else(malformed)?;
        let mut len = stated;
        match header[156] {
            b'0' | b'7' | 0 => {
                len = extended.take().unwrap_or(stated);
                if start.checked_add(len).is_none_or(|end| end > size) {
                    return Err(malformed());
                }
                if len >= LAYOUT_BYTES_MIN {
                    parts.extend(member(input, start, len, group, name_of(&header))?);
                    group += 1;
                }
            }
            b'x' => {
                budget = budget.checked_sub(stated).ok_or_else(malformed)?;
                if stated > EXTENDED_BYTES_MAX {
                    return Err(malformed());
                }
                let records = read_at(input, start, usize::try_from(stated).unwrap_or(0))?;
                extended = extended_size(&records).ok_or_else(malformed)?;
            }
            // Names that don't fit, facts of all members.
            b'L' | b'K' | b'g' => {}
            // Links, folders and devices have no bytes, whatever their size says.
            b'1'..=b'6' => {
                extended = None;
                len = 0;
            }
            _ => return Err(malformed()),
        }
        if parts.len() > PARTS_MAX {
            return Err(malformed());
        }
        at = len
            .checked_next_multiple_of(BLOCK)
            .and_then(|len| start.checked_add(len))
            .ok_or_else(malformed)?;
    }
    Ok(parts)
}
