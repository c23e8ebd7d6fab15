//! zip files whose members are stored, not compressed: npz and PyTorch's checkpoints.
//!
//! The pickle inside a checkpoint is never looked at: its storages are members, and what numbers
//! they hold is found by a sample.

use std::io;

use super::{HEADER_BYTES_MAX, Input, PARTS_MAX, Part, npy, read_at, u16_at, u32_at, u64_at};
use crate::codec::Content;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: u64 = 65_535;
const ENCRYPTED: u16 = 1;

/// A stored member as the central directory tells it.
struct Member {
    name: Vec<u8>,
    header: u64,
    len: u64,
}

pub(super) fn parts<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    let Some((start, len)) = directory(input, size)? else {
        return Ok(Vec::new());
    };
    let inside = start.checked_add(len).is_some_and(|end| end <= size);
    if !inside || len > HEADER_BYTES_MAX {
        return Ok(Vec::new());
    }
    let bytes = read_at(input, start, usize::try_from(len).unwrap_or(0))?;
    let Some(members) = members(&bytes) else {
        return Ok(Vec::new());
    };
    let mut parts = Vec::with_capacity(members.len());
    for member in members {
        if let Some(part) = part(input, member, start)? {
            parts.push(part);
        }
    }
    Ok(parts)
}

/// Offset and length of the central directory.
fn directory<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Option<(u64, u64)>> {
    let tail_len = size.min(COMMENT_BYTES_MAX + END_BYTES as u64);
    let tail_start = size - tail_len;
    let tail = read_at(input, tail_start, usize::try_from(tail_len).unwrap_or(0))?;
    let Some(at) = tail.windows(END_BYTES).rposition(|w| w.starts_with(END)) else {
        return Ok(None);
    };
    let small = |at: usize| u32_at(&tail, at).map(u64::from);
    let (Some(len), Some(start)) = (small(at + 12), small(at + 16)) else {
        return Ok(None);
    };
    if len != u64::from(u32::MAX) && start != u64::from(u32::MAX) {
        return Ok(Some((start, len)));
    }
    // Too large for the old record: the locator before it leads to the new one.
    let locator = at.checked_sub(20).and_then(|at| tail.get(at..));
    let Some(locator) = locator.filter(|l| l.starts_with(LOCATOR64)) else {
        return Ok(None);
    };
    let record = u64_at(locator, 8).filter(|r| r.checked_add(56).is_some_and(|end| end <= size));
    let Some(record) = record else {
        return Ok(None);
    };
    let record = read_at(input, record, 56)?;
    let found = u64_at(&record, 48).zip(u64_at(&record, 40));
    Ok(found.filter(|_| record.starts_with(END64)))
}

/// The stored members of a directory; `None` when it is malformed.
fn members(mut bytes: &[u8]) -> Option<Vec<Member>> {
    let mut out = Vec::new();
    while bytes.starts_with(CENTRAL) {
        let (flags, method) = (u16_at(bytes, 8)?, u16_at(bytes, 10)?);
        let lens = [28, 30, 32].map(|at| u16_at(bytes, at).map(usize::from));
        let [Some(name), Some(extra), Some(comment)] = lens else {
            return None;
        };
        let name = bytes.get(CENTRAL_BYTES..CENTRAL_BYTES + name)?;
        let extra_at = CENTRAL_BYTES + name.len();
        let extra = bytes.get(extra_at..extra_at + extra)?;
        let sizes = [24, 20, 42].map(|at| u32_at(bytes, at));
        let [len, packed, header] = wide(sizes, extra)?;
        if method == 0 && flags & ENCRYPTED == 0 && len == packed && len > 0 {
            out.push(Member {
                name: name.to_vec(),
                header,
                len,
            });
        }
        if out.len() > PARTS_MAX {
            return None;
        }
        bytes = bytes.get(extra_at + extra.len() + comment..)?;
    }
    Some(out)
}

/// Size, packed size and offset: those that are all ones stand in the extra field 1, in this order.
fn wide(small: [Option<u32>; 3], mut extra: &[u8]) -> Option<[u64; 3]> {
    let mut field: &[u8] = &[];
    while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let end = 4 + usize::from(len);
        if id == 1 {
            field = extra.get(4..end)?;
        }
        extra = extra.get(end..)?;
    }
    let mut out = [0; 3];
    for (out, small) in out.iter_mut().zip(small) {
        let small = small?;
        *out = u64::from(small);
        if small == u32::MAX {
            *out = u64_at(field, 0)?;
            field = &field[8..];
        }
    }
    Some(out)
}

/// The bytes of a member, without the header of an array.
fn part<R: Input + ?Sized>(input: &mut R, member: Member, end: u64) -> io::Result<Option<Part>> {
    let fits = |at: u64, len: u64| at.checked_add(len).is_some_and(|e| e <= end);
    if !fits(member.header, LOCAL_BYTES as u64) {
        return Ok(None);
    }
    let local = read_at(input, member.header, LOCAL_BYTES)?;
    let (Some(name), Some(extra)) = (u16_at(&local, 26), u16_at(&local, 28)) else {
        return Ok(None);
    };
    let start = member.header + LOCAL_BYTES as u64 + u64::from(name) + u64::from(extra);
    if !local.starts_with(LOCAL) || !fits(start, member.len) {
        return Ok(None);
    }
    if member.name.ends_with(b".npy")
        && let Some(part) = npy::part(input, start, member.len, &member.name)?
    {
        return Ok(Some(part));
    }
    Ok(Some(Part {
        start,
        len: member.len,
        content: Content::Unknown,
        name: member.name,
        ..Part::default()
    }))
}
