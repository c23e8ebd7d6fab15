//! What differs from a chunk of the same length: the same tensor in the commit before.
//!
//! ```text
//! id of the base 32 | planes of (plain XOR base)
//! ```
//! A base is never a delta itself: a reader refuses a chain. For bytes of which is not known where a
//! number begins; numbers are better off with what is left over a prediction (`predict.rs`).

use super::planes;
use super::sample;
use super::scratch::Scratch;
use super::{Base, Bases, Content, WORTH};
use crate::error::{Error, Result};

/// Encodes into `scratch.out`, unless `alone`, the part of its size that the chunk needs without a
/// base, is nearly as good; the length.
pub(super) fn encode(
    plain: &[u8],
    base: &Base,
    content: Content,
    alone: f64,
    scratch: &mut Scratch,
) -> Option<usize> {
    if base.plain.len() != plain.len() {
        return None;
    }
    let mut xor = std::mem::take(&mut scratch.left);
    xor.clear();
    xor.extend(plain.iter().zip(&base.plain).map(|(a, b)| a ^ b));
    let (estimate, width, skip) = sample::planes_of(&xor, content);
    let len = if estimate < WORTH * alone {
        planes::encode(&xor, width, skip, &base.id, scratch)
    } else {
        None
    };
    scratch.left = xor;
    len
}

/// Id of the base, and the planes.
pub(crate) fn split(stored: &[u8]) -> Result<(&[u8; 32], &[u8])> {
    stored
        .split_first_chunk()
        .ok_or_else(|| Error::corrupt("entry over a base", "it is cut off"))
}

/// Decodes into `plain`, which has the entry's length.
pub(super) fn decode(
    stored: &[u8],
    plain: &mut [u8],
    bases: Bases<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    let (id, rest) = split(stored)?;
    planes::decode(rest, plain, scratch)?;
    let base = bases(id, 0)?;
    if base.len() != plain.len() {
        return Err(Error::corrupt(
            "entry over a base",
            "the base has another length",
        ));
    }
    for (byte, base) in plain.iter_mut().zip(base) {
        *byte ^= base;
    }
    Ok(())
}
