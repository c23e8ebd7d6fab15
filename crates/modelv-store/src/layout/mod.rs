//! Where the tensors of a file are, so that it is cut at their borders. See `spec/blob.md`.
//!
//! Owns the readers of headers: safetensors, GGUF, npy, and the stored members of zip files (npz,
//! PyTorch). A layout is advice: a header that lies, is malformed or is too large makes cutting
//! worse, never the bytes wrong, so readers here give up quietly instead of failing.

mod gguf;
mod npy;
mod safetensors;
#[cfg(test)]
mod tests;
mod zip;

pub(crate) use safetensors::{Tensor, tensors};

use std::io::{self, Read, Seek, SeekFrom};

use crate::codec::{Content, Width};

/// What a layout is read from; cut afterwards from its start.
pub trait Input: Read + Seek {}
impl<T: Read + Seek + ?Sized> Input for T {}

/// Smaller files are not looked into: they are hardly more than one chunk.
pub const LAYOUT_BYTES_MIN: u64 = 64 << 10;
/// Most bytes of headers that are read.
const HEADER_BYTES_MAX: u64 = 32 << 20;
/// Most parts a layout has.
const PARTS_MAX: usize = 1 << 20;
/// Parts below this are cut together with their neighbours.
pub const PART_BYTES_MIN: u64 = 64 << 10;
/// At most so many bytes of small parts are cut together.
pub const RUN_BYTES_MAX: u64 = 256 << 10;

/// A range of a file: a tensor, a member, or several small ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Offset in the file.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// What they are.
    pub content: Content,
    /// Its name in the header; the first one's for several.
    pub name: Vec<u8>,
}

impl Part {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Reads the layout of a file of `size` bytes: parts in order, none overlapping, none outside, none
/// empty. Empty for a file of another kind or with a malformed header. Leaves the input anywhere.
///
/// # Errors
/// The input's own errors.
pub fn read<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    if size < LAYOUT_BYTES_MIN {
        return Ok(Vec::new());
    }
    let mut magic = [0; 10];
    input.seek(SeekFrom::Start(0))?;
    if !fill(input, &mut magic)? {
        return Ok(Vec::new());
    }
    let parts = match &magic {
        [b'G', b'G', b'U', b'F', ..] => gguf::parts(input, size),
        [b'P', b'K', 3, 4, ..] => zip::parts(input, size),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            npy::part(input, 0, size, b"").map(|p| p.into_iter().collect())
        }
        [.., b'{', _] => safetensors::parts(input, size),
        _ => Ok(Vec::new()),
    };
    match parts {
        Ok(parts) => Ok(checked(parts, size)),
        // A header that says more than there is.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Sorts the parts and puts small neighbours together; gives up when they overlap.
fn checked(mut parts: Vec<Part>, size: u64) -> Vec<Part> {
    parts.retain(|p| p.len > 0);
    parts.sort_by_key(|p| p.start);
    let overlap = parts.windows(2).any(|w| w[0].end() > w[1].start);
    let outside = parts.iter().any(|p| p.end() > size);
    if overlap || outside || parts.len() > PARTS_MAX {
        return Vec::new();
    }
    let mut out: Vec<Part> = Vec::with_capacity(parts.len());
    // Whether the last of `out` may still grow.
    let mut open = false;
    for part in parts {
        let small = part.len < PART_BYTES_MIN;
        if let Some(last) = out.last_mut()
            && open
            && small
            && part.start - last.end() < PART_BYTES_MIN
            && part.end() - last.start <= RUN_BYTES_MAX
        {
            if last.end() != part.start || last.content != part.content {
                last.content = Content::Unknown;
            }
            last.len = part.end() - last.start;
        } else {
            open = small;
            out.push(part);
        }
    }
    out
}

/// Reads exactly; `false` when the input ends before.
fn fill<R: Read + ?Sized>(input: &mut R, buf: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buf) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Reads `len` bytes from `at` on, which the caller has bounded.
fn read_at<R: Input + ?Sized>(input: &mut R, at: u64, len: usize) -> io::Result<Vec<u8>> {
    input.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; len];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Little-endian words at an offset of a slice; `None` behind its end.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*word))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word))
}

/// Content of elements of so many bytes.
fn content_of(element_bytes: usize) -> Content {
    match element_bytes {
        1 => Content::Numbers(Width::One),
        2 => Content::Numbers(Width::Two),
        4 => Content::Numbers(Width::Four),
        8 => Content::Numbers(Width::Eight),
        _ => Content::Unknown,
    }
}
