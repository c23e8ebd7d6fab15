//! The table of contents of npz: a zip of npy files. Only members stored as they are are read, so
//! that no small file can become a large one; their places may not overlap.

use super::super::Refusal;
use super::{HEADER_BYTES_MAX, Source, TENSORS_MAX, TensorError, Tensors, npy, read_at};

/// A zip's end record with the longest comment.
const TAIL_BYTES_MAX: u64 = 22 + 65_535;

pub(super) fn read(source: &mut dyn Source, size: u64) -> Result<Tensors, TensorError> {
    let directory = directory(source, size)?;
    let mut rest = directory.as_slice();
    let mut out = Tensors::new();
    let mut spans = Vec::new();
    while !rest.is_empty() {
        let (member, behind) = member(rest)?;
        rest = behind;
        if out.len() >= TENSORS_MAX {
            return Err(bad("it has too many members"));
        }
        let (name, begin, end) = place(source, size, &member)?;
        spans.push((member.at, end));
        let tensor = npy::read(source, begin, end)?;
        if out.insert(name, tensor).is_some() {
            return Err(bad("two members have one name"));
        }
    }
    spans.sort_unstable();
    if spans.windows(2).any(|w| w[1].0 < w[0].1) {
        return Err(bad("its members overlap"));
    }
    Ok(out)
}

fn bad(text: &str) -> TensorError {
    Refusal::Invalid(text.to_owned()).into()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?).into())
}

/// The bytes of the central directory.
fn directory(source: &mut dyn Source, size: u64) -> Result<Vec<u8>, TensorError> {
    let none = || bad("it is no zip");
    let length = size.min(TAIL_BYTES_MAX);
    let mut tail = vec![0; usize::try_from(length).unwrap_or(0)];
    read_at(source, size - length, &mut tail)?;
    let at = tail
        .windows(4)
        .rposition(|w| w == b"PK\x05\x06")
        .ok_or_else(none)?;
    let (Some(bytes), Some(offset)) = (u32_at(&tail, at + 12), u32_at(&tail, at + 16)) else {
        return Err(none());
    };
    if offset == 0xffff_ffff {
        return Err(Refusal::Beyond("it is larger than 4 GiB".into()).into());
    }
    if bytes > HEADER_BYTES_MAX || offset + bytes > size {
        return Err(bad("its table of contents is too large"));
    }
    let mut out = vec![0; usize::try_from(bytes).unwrap_or(0)];
    read_at(source, offset, &mut out)?;
    Ok(out)
}

struct Member {
    name: String,
    at: u64,
    bytes: u64,
}

fn member(bytes: &[u8]) -> Result<(Member, &[u8]), TensorError> {
    let broken = || bad("its table of contents is broken");
    if !bytes.starts_with(b"PK\x01\x02") {
        return Err(broken());
    }
    let field = |at| u16_at(bytes, at).ok_or_else(broken);
    let long = |at| u32_at(bytes, at).ok_or_else(broken);
    let (method, stored, plain) = (field(10)?, long(20)?, long(24)?);
    let (name, extra, comment, at) = (field(28)?, field(30)?, field(32)?, long(42)?);
    let end = usize::try_from(46 + name + extra + comment).map_err(|_| broken())?;
    let text = usize::try_from(46 + name)
        .ok()
        .and_then(|n| bytes.get(46..n));
    let name = text
        .and_then(|t| std::str::from_utf8(t).ok())
        .ok_or_else(broken)?;
    if method != 0 || stored != plain {
        return Err(Refusal::Beyond("its members are compressed".into()).into());
    }
    if stored == 0xffff_ffff || at == 0xffff_ffff {
        return Err(Refusal::Beyond("it is larger than 4 GiB".into()).into());
    }
    let member = Member {
        name: name.strip_suffix(".npy").unwrap_or(name).to_owned(),
        at,
        bytes: stored,
    };
    Ok((member, bytes.get(end..).ok_or_else(broken)?))
}

/// Where a member's bytes stand.
fn place(
    source: &mut dyn Source,
    size: u64,
    member: &Member,
) -> Result<(String, u64, u64), TensorError> {
    let mut head = [0; 30];
    if member.at + 30 > size {
        return Err(bad("a member is outside of the file"));
    }
    read_at(source, member.at, &mut head)?;
    let (Some(name), Some(extra)) = (u16_at(&head, 26), u16_at(&head, 28)) else {
        return Err(bad("a member has no header"));
    };
    let begin = member.at + 30 + name + extra;
    let end = begin + member.bytes;
    if !head.starts_with(b"PK\x03\x04") || end > size {
        return Err(bad("a member is outside of the file"));
    }
    Ok((member.name.clone(), begin, end))
}
