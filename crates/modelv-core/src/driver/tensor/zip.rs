//! The table of contents of a zip, as far as npz files and PyTorch's checkpoints need it, with the
//! extension for large files; and an archive that is written from members of others. Nothing is
//! inflated or packed here.

use std::io::{self, Write};

use super::super::Refusal;
use super::{HEADER_BYTES_MAX, Source, TENSORS_MAX, TensorError, read_at};

/// An end record with the longest comment, and the locator of the large one before it.
const TAIL_BYTES_MAX: u64 = 20 + 22 + 65_535;
/// What a field says when the large record has it.
const LARGE: u64 = 0xffff_ffff;

/// A member as the table of contents tells it.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Where its own header is.
    pub(crate) at: u64,
    /// Bytes in the file.
    pub(crate) bytes: u64,
    /// Bytes when inflated.
    pub(crate) plain: u64,
    /// 0: stored, 8: deflated.
    pub(crate) method: u64,
    /// What else its record says: made by, flags, time and date, checksum, attributes.
    facts: Facts,
}

#[derive(Debug, Clone)]
struct Facts {
    name: Vec<u8>,
    made: u16,
    flags: u16,
    time: u32,
    crc: u32,
    attributes: u32,
}

impl Member {
    /// Whether its bytes are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.facts.flags & 1 == 1
    }
}

fn bad(text: &str) -> TensorError {
    Refusal::Invalid(text.to_owned()).into()
}

fn broken() -> TensorError {
    bad("its table of contents is broken")
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// All members.
pub(crate) fn zip_members(source: &mut dyn Source, size: u64) -> Result<Vec<Member>, TensorError> {
    let directory = directory(source, size)?;
    let mut rest = directory.as_slice();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (found, behind) = member(rest).ok_or_else(broken)?;
        rest = behind;
        if out.len() >= TENSORS_MAX {
            return Err(bad("it has too many members"));
        }
        out.push(found);
    }
    Ok(out)
}

/// The bytes of the central directory.
fn directory(source: &mut dyn Source, size: u64) -> Result<Vec<u8>, TensorError> {
    let none = || bad("it is no zip");
    let length = size.min(TAIL_BYTES_MAX);
    let mut tail = vec![0; usize::try_from(length).unwrap_or(0)];
    read_at(source, size - length, &mut tail)?;
    let found = tail.windows(4).rposition(|w| w == b"PK\x05\x06");
    let at = found.ok_or_else(none)?;
    let (Some(mut bytes), Some(mut offset)) = (u32_at(&tail, at + 12), u32_at(&tail, at + 16))
    else {
        return Err(none());
    };
    if offset == LARGE || bytes == LARGE {
        let locator = at.checked_sub(20).and_then(|at| tail.get(at..at + 20));
        let locator = locator.filter(|l| l.starts_with(b"PK\x06\x07"));
        let record = locator.and_then(|l| u64_at(l, 8)).ok_or_else(broken)?;
        if record.checked_add(56).is_none_or(|end| end > size) {
            return Err(broken());
        }
        let mut large = [0; 56];
        read_at(source, record, &mut large)?;
        if !large.starts_with(b"PK\x06\x06") {
            return Err(broken());
        }
        bytes = u64_at(&large, 40).ok_or_else(broken)?;
        offset = u64_at(&large, 48).ok_or_else(broken)?;
    }
    let inside = offset.checked_add(bytes).is_some_and(|end| end <= size);
    if bytes > HEADER_BYTES_MAX || !inside {
        return Err(bad("its table of contents is too large"));
    }
    let mut out = vec![0; usize::try_from(bytes).unwrap_or(0)];
    read_at(source, offset, &mut out)?;
    Ok(out)
}

fn member(bytes: &[u8]) -> Option<(Member, &[u8])> {
    if !bytes.starts_with(b"PK\x01\x02") {
        return None;
    }
    let method = u16_at(bytes, 10)?;
    let (mut packed, mut plain, mut at) =
        (u32_at(bytes, 20)?, u32_at(bytes, 24)?, u32_at(bytes, 42)?);
    let lengths = [28, 30, 32].map(|at| u16_at(bytes, at));
    let [Some(name), Some(extra), Some(comment)] = lengths else {
        return None;
    };
    let to = |n: u64| usize::try_from(46 + n).ok();
    let name_bytes = bytes.get(46..to(name)?)?;
    let mut fields = bytes.get(to(name)?..to(name + extra)?)?;
    // In the field of large sizes stand those that are all ones, in this order.
    while fields.len() >= 4 {
        let (id, len) = (
            u16_at(fields, 0)?,
            usize::try_from(u16_at(fields, 2)?).ok()?,
        );
        let mut field = fields.get(4..4 + len)?;
        fields = &fields[4 + len..];
        if id != 1 {
            continue;
        }
        for value in [&mut plain, &mut packed, &mut at] {
            if *value == LARGE {
                *value = u64_at(field, 0)?;
                field = &field[8..];
            }
        }
    }
    let found = Member {
        name: String::from_utf8_lossy(name_bytes).into_owned(),
        at,
        bytes: packed,
        plain,
        method,
        facts: Facts {
            name: name_bytes.to_vec(),
            made: u16::try_from(u16_at(bytes, 4)?).ok()?,
            flags: u16::try_from(u16_at(bytes, 8)?).ok()?,
            time: u32::try_from(u32_at(bytes, 12)?).ok()?,
            crc: u32::try_from(u32_at(bytes, 16)?).ok()?,
            attributes: u32::try_from(u32_at(bytes, 38)?).ok()?,
        },
    };
    Some((found, bytes.get(to(name + extra + comment)?..)?))
}

/// Where a member's bytes begin and end.
pub(crate) fn member_place(
    source: &mut dyn Source,
    size: u64,
    member: &Member,
) -> Result<(u64, u64), TensorError> {
    let outside = || bad("a member is outside of the file");
    let mut head = [0; 30];
    if member.at.checked_add(30).is_none_or(|end| end > size) {
        return Err(outside());
    }
    read_at(source, member.at, &mut head)?;
    let (Some(name), Some(extra)) = (u16_at(&head, 26), u16_at(&head, 28)) else {
        return Err(outside());
    };
    let begin = member.at + 30 + name + extra;
    let end = begin.checked_add(member.bytes).filter(|end| *end <= size);
    match end {
        Some(end) if head.starts_with(b"PK\x03\x04") => Ok((begin, end)),
        _ => Err(outside()),
    }
}

/// Sizes follow the bytes of a member instead of standing before them.
const SIZES_BEHIND: u16 = 1 << 3;
/// The field that readers skip, as PyTorch calls it.
const PADDING: [u8; 2] = *b"FB";

/// An archive that is written, member after member, each as another archive has it.
pub(super) struct Archive<'a> {
    out: Counted<'a>,
    /// The bytes of each member begin at a multiple of this.
    alignment: u64,
    table: Vec<u8>,
    count: u64,
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    at: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What fits into four bytes; what does not is said elsewhere.
fn small(n: u64) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

/// The field that holds what does not fit into four bytes, in this order; empty where all does.
fn large(numbers: &[u64]) -> Vec<u8> {
    let large: Vec<u8> = numbers
        .iter()
        .filter(|n| **n >= LARGE)
        .flat_map(|n| n.to_le_bytes())
        .collect();
    if large.is_empty() {
        return large;
    }
    let length = (large.len() as u16).to_le_bytes();
    [[1, 0], length].concat().into_iter().chain(large).collect()
}

impl<'a> Archive<'a> {
    pub(super) fn new(out: &'a mut dyn Write, alignment: u64) -> Self {
        Self {
            out: Counted { out, at: 0 },
            alignment,
            table: Vec::new(),
            count: 0,
        }
    }

    /// Begins a member; as many bytes follow.
    pub(super) fn member(&mut self, like: &Member, bytes: u64) -> io::Result<()> {
        let Facts {
            name,
            made,
            flags,
            time,
            crc,
            attributes,
        } = &like.facts;
        let at = self.out.at;
        // Both sizes stand in the header of a member, or none.
        let is_large = bytes >= LARGE || like.plain >= LARGE;
        let mut extra = Vec::new();
        if is_large {
            extra.extend([1, 0, 16, 0]);
            extra.extend(like.plain.to_le_bytes());
            extra.extend(bytes.to_le_bytes());
        }
        let head = 30 + name.len() as u64;
        if self.alignment > 1 {
            let begin = at + head + extra.len() as u64 + 4;
            let gap = begin.next_multiple_of(self.alignment) - begin;
            extra.extend(PADDING);
            extra.extend((gap as u16).to_le_bytes());
            extra.resize(extra.len() + usize::try_from(gap).unwrap_or(0), 0);
        }
        let outer = large(&[like.plain, bytes, at]);
        let version: u16 = if is_large || !outer.is_empty() {
            45
        } else {
            20
        };
        let common = |sizes: [[u8; 4]; 2], extra: &[u8]| {
            let mut out = version.to_le_bytes().to_vec();
            out.extend((flags & !SIZES_BEHIND).to_le_bytes());
            out.extend((like.method as u16).to_le_bytes());
            out.extend(time.to_le_bytes());
            out.extend(crc.to_le_bytes());
            out.extend(sizes.concat());
            out.extend((name.len() as u16).to_le_bytes());
            out.extend((extra.len() as u16).to_le_bytes());
            out
        };
        let sizes = match is_large {
            true => [[0xff; 4]; 2],
            false => [small(bytes), small(like.plain)],
        };
        let local = [
            b"PK\x03\x04",
            common(sizes, &extra).as_slice(),
            name,
            &extra,
        ]
        .concat();
        self.out.write_all(&local)?;
        self.table.extend(b"PK\x01\x02");
        self.table.extend(made.to_le_bytes());
        let sizes = [small(bytes), small(like.plain)];
        self.table.extend(common(sizes, &outer));
        // No comment, the first disk, nothing about the content.
        self.table.extend([0; 6]);
        self.table.extend(attributes.to_le_bytes());
        self.table.extend(small(at));
        self.table.extend(name);
        self.table.extend(outer);
        self.count += 1;
        Ok(())
    }

    /// Where the bytes of the member go.
    pub(super) fn body(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Writes the table of contents.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let (at, bytes, count) = (self.out.at, self.table.len() as u64, self.count);
        self.out.write_all(&self.table)?;
        if at >= LARGE || bytes >= LARGE || count >= 0xffff {
            let record = self.out.at;
            let mut large = b"PK\x06\x06".to_vec();
            large.extend(44u64.to_le_bytes());
            large.extend([45, 0, 45, 0]);
            large.extend([0; 8]);
            for n in [count, count, bytes, at] {
                large.extend(n.to_le_bytes());
            }
            large.extend(b"PK\x06\x07\0\0\0\0");
            large.extend(record.to_le_bytes());
            large.extend(1u32.to_le_bytes());
            self.out.write_all(&large)?;
        }
        let count = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
        let end = [
            b"PK\x05\x06\0\0\0\0".as_slice(),
            &count,
            &count,
            &small(bytes),
            &small(at),
            &[0, 0],
        ];
        self.out.write_all(&end.concat())
    }
}
