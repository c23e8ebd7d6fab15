//! What was inserted, removed or changed in a chunk: one zstd frame whose matches may reach back
//! into other chunks, the bases.
//!
//! ```text
//! number of bases, 1 or 2 | id of each 32 | one zstd frame
//! ```
//! For content that is cut where its bytes say so and has moved: rows of a table, members of an
//! archive. The same as `zstd --patch-from`. Bases may be stored over others themselves.

use zstd::zstd_safe::{CCtx, CParameter, DCtx};

use super::scratch::{Scratch, check_frame};
use super::{Base, Bases, WORTH};
use crate::error::{Error, Result};

/// zstd's level. The search for what the bases have costs the same at each.
const LEVEL: i32 = 3;
/// Most bases: a chunk that begins behind what was put in ends in the next one that lay there.
pub(crate) const BASES_MAX: usize = 2;

/// Encodes into `scratch.out`, unless `alone`, the part of its size that the chunk needs without
/// bases, is nearly as good; the length.
pub(super) fn encode(
    plain: &[u8],
    bases: &[Base],
    alone: f64,
    scratch: &mut Scratch,
) -> Option<usize> {
    let before: Vec<u8> = bases.iter().flat_map(|b| b.plain.iter().copied()).collect();
    let head = 1 + 32 * bases.len();
    let most = (WORTH * alone * plain.len() as f64) as usize;
    let mut out = scratch.take_out(plain.len() + head);
    out[0] = u8::try_from(bases.len()).ok()?;
    for (base, place) in bases.iter().zip(out[1..].chunks_exact_mut(32)) {
        place.copy_from_slice(&base.id);
    }
    // What would not fit is not worth it: the library stops there.
    let len = compress(plain, &before, &mut out[head..head + most]);
    scratch.out = out;
    len.map(|len| len + head)
}

fn compress(plain: &[u8], base: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut context = CCtx::try_create()?;
    let window = usize::BITS - (plain.len() + base.len()).leading_zeros();
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(window),
        // Finds long matches anywhere in the base; the level's own search sees only its end.
        CParameter::EnableLongDistanceMatching(true),
        CParameter::ChecksumFlag(false),
    ] {
        context.set_parameter(parameter).ok()?;
    }
    context.ref_prefix(base).ok()?;
    context.compress2(out, plain).ok()
}

/// Ids of the bases, and the frame.
pub(super) fn split(stored: &[u8]) -> Result<(&[[u8; 32]], &[u8])> {
    let bad = |detail| Error::corrupt("patch", detail);
    let (count, rest) = stored.split_first().ok_or_else(|| bad("it is empty"))?;
    let count = usize::from(*count);
    if !(1..=BASES_MAX).contains(&count) {
        return Err(bad("it has no base, or too many"));
    }
    let (ids, frame) = rest
        .split_at_checked(32 * count)
        .ok_or_else(|| bad("it is cut off"))?;
    Ok((ids.as_chunks().0, frame))
}

/// Decodes into `plain`, which has the entry's length.
pub(super) fn decode(stored: &[u8], plain: &mut [u8], bases: Bases<'_>) -> Result<()> {
    let (ids, frame) = split(stored)?;
    check_frame(frame)?;
    let mut before = bases(&ids[0], u8::MAX)?;
    for id in &ids[1..] {
        before.extend(bases(id, u8::MAX)?);
    }
    let bad = |detail: &str| Error::corrupt("patch", detail);
    // One for each call: a context holds on to the bytes that its frame reaches into.
    let mut context = DCtx::try_create().ok_or_else(|| bad("there is no memory to decode it"))?;
    context
        .ref_prefix(&before)
        .and_then(|_| context.decompress(plain, frame))
        .map_err(|code| bad(zstd::zstd_safe::get_error_name(code)))
        .and_then(|len| match len == plain.len() {
            true => Ok(()),
            false => Err(bad("its length is not the recorded one")),
        })
}
