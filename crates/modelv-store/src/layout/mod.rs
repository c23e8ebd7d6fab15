//! Where the tensors of a file are, so that it is cut at their borders. See `spec/blob.md`.
//!
//! Owns the readers of headers: safetensors, GGUF, ONNX, npy, Parquet, and the members of tar files
//! and of zip files that are stored (npz, PyTorch). A layout is advice: a header that lies, is
//! malformed or is too large makes cutting worse, never the bytes wrong, so readers here give up
//! quietly instead of failing, and read no more of a file than its headers.

mod gguf;
mod npy;
mod onnx;
mod parquet;
mod safetensors;
mod tar;
mod tensors;
#[cfg(test)]
mod tests;
mod zip;

pub(crate) use tensors::{Tensor, tensors};

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

/// Bytes of a file's start that tell its kind.
const HEAD_BYTES: usize = 512;

/// How a part is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Within {
    /// Into blocks of one size: what is changed in place, like a tensor.
    #[default]
    Blocks,
    /// By its content: what is written anew with other lengths, like compressed pages.
    Content,
}

/// A range of a file: a tensor, a member, a column, or several small ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Offset in the file.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// What they are.
    pub content: Content,
    /// How it is cut.
    pub within: Within,
    /// Only small parts of the same group are put together: a row group, a member.
    pub group: u32,
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
    let mut input = input;
    let mut head = [0; HEAD_BYTES];
    input.seek(SeekFrom::Start(0))?;
    if !fill(input, &mut head)? {
        return Ok(Vec::new());
    }
    if tar::is_header(&head) {
        return quiet(tar::parts(&mut input, size), size);
    }
    read_single(input, size, &head)
}

/// The layout of a file that is not an archive of whole files, told by its first bytes.
fn read_single<R: Input + ?Sized>(
    input: &mut R,
    size: u64,
    head: &[u8; HEAD_BYTES],
) -> io::Result<Vec<Part>> {
    let parts = match head {
        [b'G', b'G', b'U', b'F', ..] => gguf::parts(input, size),
        [b'P', b'K', 3, 4, ..] => zip::parts(input, size),
        [b'P', b'A', b'R', b'1', ..] => parquet::parts(input, size),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            npy::part(input, 0, size, b"").map(|p| p.into_iter().collect())
        }
        [_, _, _, _, _, _, _, _, b'{', ..] => safetensors::parts(input, size),
        [onnx::FIRST, ..] => onnx::parts(input, size),
        _ => Ok(Vec::new()),
    };
    quiet(parts, size)
}

/// Makes nothing of a malformed header; what the input itself reports stays an error.
fn quiet(parts: io::Result<Vec<Part>>, size: u64) -> io::Result<Vec<Part>> {
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
    let mut out: Vec<Part> = Vec::new();
    // Whether the last of `out` may still grow.
    let mut open = false;
    for part in parts {
        let small = part.len < PART_BYTES_MIN;
        if let Some(last) = out.last_mut()
            && open
            && small
            && part.group == last.group
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

/// What makes the caller give up on a header.
fn malformed() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
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
