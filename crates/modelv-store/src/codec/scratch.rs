//! Buffers and compression contexts that one thread uses again and again: making them anew for
//! every chunk costs more than a tenth of the encoding.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, ParamSwitch, find_frame_compressed_size};

use super::LEVEL;
use crate::error::{Error, Result};

/// The lowest level: zstd looks for hardly any repetition and is left with its Huffman stage.
const HUFFMAN_LEVEL: i32 = -131_072;

/// First bytes of a zstd frame that is not to be skipped.
const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What encoding and decoding work in. Nothing in it outlives one call.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The encoded bytes.
    pub(super) out: Vec<u8>,
    /// The planes, one behind the other.
    pub(super) planes: Vec<u8>,
    /// What differs from a base, or is left over a prediction.
    pub(super) left: Vec<u8>,
    /// Where trial runs write.
    pub(super) trial: Vec<u8>,
    /// Stored bytes as they were read.
    pub(crate) stored: Vec<u8>,
    matching: Option<Compressor<'static>>,
    huffman: Option<Compressor<'static>>,
    decoder: Option<Decompressor<'static>>,
}

thread_local! {
    /// More than one only where decoding a chunk needs another one first.
    static SCRATCHES: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with a scratch of this thread.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCHES.with_borrow_mut(Vec::pop).unwrap_or_default();
    let value = work(&mut scratch);
    SCRATCHES.with_borrow_mut(|all| all.push(scratch));
    value
}

fn new_huffman() -> io::Result<Compressor<'static>> {
    let mut made = Compressor::new(HUFFMAN_LEVEL)?;
    made.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
    made.set_parameter(CParameter::ChecksumFlag(false))?;
    Ok(made)
}

/// Checks that the bytes are one frame from begin to end.
pub(super) fn check_frame(stored: &[u8]) -> Result<()> {
    // The library would take several frames, and skip some that hold anything.
    let is_frame = stored.starts_with(&FRAME_MAGIC)
        && find_frame_compressed_size(stored).is_ok_and(|len| len == stored.len());
    match is_frame {
        true => Ok(()),
        false => Err(Error::corrupt(
            "compressed entry",
            "it is not exactly one frame",
        )),
    }
}

impl Scratch {
    /// Compresses `src` into `dst` with zstd's search for repetition; the length, if it fits.
    pub(super) fn matching(&mut self, src: &[u8], dst: &mut [u8]) -> Option<usize> {
        if self.matching.is_none() {
            self.matching = Compressor::new(LEVEL).ok();
        }
        self.matching.as_mut()?.compress_to_buffer(src, dst).ok()
    }

    /// The same with the Huffman stage only: for bytes that don't repeat but are not evenly spread.
    pub(super) fn huffman(&mut self, src: &[u8], dst: &mut [u8]) -> Option<usize> {
        if self.huffman.is_none() {
            self.huffman = new_huffman().ok();
        }
        self.huffman.as_mut()?.compress_to_buffer(src, dst).ok()
    }

    /// Compresses `plain` into `out` as one frame that is smaller than `plain`.
    pub(super) fn zstd(&mut self, plain: &[u8]) -> Option<usize> {
        let mut out = self.take_out(plain.len());
        let len = self.matching(plain, &mut out[..plain.len()]);
        self.out = out;
        len
    }

    /// Takes `out` with at least `len` bytes; the caller puts it back.
    pub(super) fn take_out(&mut self, len: usize) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.out);
        if out.len() < len {
            out.resize(len, 0);
        }
        out
    }

    /// Decodes one frame of exactly as many bytes as `dst` has.
    pub(super) fn unzstd_to(&mut self, stored: &[u8], dst: &mut [u8]) -> Result<()> {
        let bad = |detail: String| Error::corrupt("compressed entry", detail);
        check_frame(stored)?;
        if self.decoder.is_none() {
            self.decoder = Some(Decompressor::new().map_err(Error::Input)?);
        }
        let Some(decoder) = self.decoder.as_mut() else {
            return Ok(());
        };
        let len = decoder
            .decompress_to_buffer(stored, dst)
            .map_err(|e| bad(e.to_string()))?;
        if len != dst.len() {
            return Err(bad("its length is not the recorded one".into()));
        }
        Ok(())
    }
}
