//! Layouts: whatever a header says, the parts lie in order inside the file, and its chunks are it.

use std::io::Cursor;

use modelv_store::cut::{CHUNK_BYTES_MAX, Cutter, sizes_for};
use modelv_store::layout::{self, LAYOUT_BYTES_MIN};

use crate::take_u16;

/// What stands for the data of tensors: enough for a file to be looked into.
const HOLE: usize = LAYOUT_BYTES_MIN as usize + 100;

fn check(file: &[u8]) {
    let size = file.len() as u64;
    let Ok(parts) = layout::read(&mut Cursor::new(file), size) else {
        panic!("reading from memory fails");
    };
    let mut at = 0;
    for part in &parts {
        assert!(part.start >= at && part.len > 0, "parts overlap");
        at = part.start.saturating_add(part.len);
    }
    assert!(at <= size, "a part leads out");
    let mut cutter = Cutter::with_layout(file, sizes_for(size), &parts);
    let (mut rest, mut buffer) = (file, Vec::new());
    while let Ok(Some(chunk)) = cutter.next_chunk(buffer) {
        assert!(!chunk.bytes.is_empty() && chunk.bytes.len() <= CHUNK_BYTES_MAX);
        let after = rest.strip_prefix(&chunk.bytes[..]);
        rest = after.unwrap_or_else(|| panic!("chunks are not the file"));
        buffer = chunk.bytes;
    }
    assert!(rest.is_empty(), "bytes are missing");
}

/// A file with a hole at a place that the input chooses, so that what points from its end to its
/// begin can be right.
fn with_hole(magic: &[u8], mut data: &[u8]) -> Vec<u8> {
    let at = take_u16(&mut data).min(data.len());
    [magic, &data[..at], &[7; HOLE], &data[at..]].concat()
}

pub(crate) fn safetensors(data: &[u8]) {
    check(&[&(data.len() as u64).to_le_bytes(), data, &[7; HOLE]].concat());
    check(&[&[0xff; 7], data, &[7; HOLE]].concat());
}

pub(crate) fn gguf(data: &[u8]) {
    check(&[b"GGUF", data, &[7; HOLE]].concat());
}

pub(crate) fn npy(data: &[u8]) {
    check(&[b"\x93NUMPY", data, &[7; HOLE]].concat());
}

pub(crate) fn zip(data: &[u8]) {
    check(&with_hole(b"PK\x03\x04", data));
}

pub(crate) fn onnx(data: &[u8]) {
    check(&with_hole(b"\x08", data));
}

/// The input is the footer.
pub(crate) fn parquet(data: &[u8]) {
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes();
    check(&[b"PAR1", &[7; HOLE][..], data, &len, b"PAR1"].concat());
}

/// Headers of 512 bytes, whose magic and checksum are put right, each with a hole behind it.
pub(crate) fn tar(data: &[u8]) {
    let mut file = Vec::new();
    for header in data.chunks(512) {
        let at = file.len();
        file.extend_from_slice(header);
        file.resize(at + 512, 0);
        if header.iter().any(|b| *b != 0) {
            seal(&mut file[at..]);
        }
        file.resize(at + 512 + HOLE.next_multiple_of(512), 7);
    }
    check(&file);
    // As they are: a header may be the data of the one before.
    let mut file = data.to_vec();
    file.resize(file.len().next_multiple_of(512) + HOLE, 0);
    for header in file.chunks_exact_mut(512).take(data.len().div_ceil(512)) {
        seal(header);
    }
    check(&file);
}

/// Puts magic and checksum of a header right.
fn seal(header: &mut [u8]) {
    header[257..262].copy_from_slice(b"ustar");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
}
