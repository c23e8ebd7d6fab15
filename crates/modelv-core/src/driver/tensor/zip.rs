//! The table of contents of a zip, as far as npz files and PyTorch's checkpoints need it, with the
//! extension for large files. Nothing is inflated here.

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
