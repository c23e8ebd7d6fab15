//! Codecs: how the bytes of an entry are written. Chosen by looking at a sample; never larger than
//! raw. See `spec/pack.md`.
//!
//! Owns the bytes behind a row of a pack. It must never trust them: every length is checked against
//! what the row promises before anything is allocated, and the caller checks the hash.

mod delta;
mod explain;
mod floats;
mod patch;
mod planes;
mod predict;
#[cfg(test)]
mod predict_tests;
mod product;
mod residual;
mod sample;
mod scratch;

pub(crate) use explain::Pair;
pub(crate) use floats::Format;
pub use planes::Width;
pub(crate) use predict::{
    COLUMNS_MAX, FACTOR_NUMBERS_MAX, Factor, HEADER_BYTES_MAX, PIECES_MAX, Piece, RANKS_MAX,
    load as load_factor,
};
pub(crate) use scratch::{Scratch, with_scratch};

use crate::error::{Error, Result};
pub(crate) use patch::BASES_MAX;
use sample::Choice;

/// How an entry's bytes are encoded; the number is the codec byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
    /// Numbers of a fixed width, split into planes of bytes.
    Planes = 2,
    /// What differs from another chunk, split into planes.
    Delta = 3,
    /// What is left over a prediction from other chunks, split into planes.
    Predicted = 4,
    /// What was inserted, removed or changed in another chunk.
    Patch = 5,
}

/// What is known of the bytes of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// No numbers wider than a byte: objects, text.
    Bytes,
    /// Numbers of this width, the first of them at the first byte.
    Numbers(Width),
    /// Anything.
    #[default]
    Unknown,
}

/// zstd's level: 1 is near the speed of the disk, and higher ones gain little on data and weights.
const LEVEL: i32 = 1;
/// Entries below this are kept raw: a frame header would eat the gain.
const MIN_BYTES: usize = 64;

impl Codec {
    /// Reads a codec byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Planes),
            3 => Some(Self::Delta),
            4 => Some(Self::Predicted),
            5 => Some(Self::Patch),
            _ => None,
        }
    }

    /// Whether it takes other chunks to decode: who keeps or sends such an entry keeps or sends
    /// those too.
    #[must_use]
    pub fn is_over_others(self) -> bool {
        matches!(self, Self::Delta | Self::Predicted | Self::Patch)
    }
}

/// Gives the bytes of a chunk that is at most so many steps away from chunks that are stored whole;
/// 0: that is whole itself.
pub(crate) type Bases<'a> = &'a dyn Fn(&[u8; 32], u8) -> Result<Vec<u8>>;

/// A chunk to encode another one over.
pub(crate) struct Base {
    pub(crate) id: [u8; 32],
    pub(crate) plain: Vec<u8>,
    /// Whether it is stored whole.
    pub(crate) is_whole: bool,
}

/// What the bytes of an entry may come from.
pub(crate) struct Origin {
    /// The chunk to store it over first, then others that factors may start from.
    pub(crate) bases: Vec<Base>,
    /// Chunks of any length that have much of the same content, somewhere; no others count then.
    pub(crate) alike: Vec<Base>,
    /// Factors of updates.
    pub(crate) pairs: Vec<Pair>,
    /// Column of the first number in the matrix of the factors.
    pub(crate) first: usize,
}

/// A prediction, and the header that says how it is made.
pub(crate) struct Guess {
    pub(crate) header: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

/// What is stored over others must promise this part of what the entry needs alone: reading it
/// takes two chunks or more.
const WORTH: f64 = 0.85;

/// Encodes bytes, or gives `None` when raw is as small.
#[must_use]
pub fn encode(plain: &[u8], content: Content) -> Option<(Codec, Vec<u8>)> {
    with_scratch(|s| {
        encode_in(plain, content, None, s).map(|(codec, bytes)| (codec, bytes.to_vec()))
    })
}

/// Encodes bytes into `scratch`, over what they come from if that is clearly better, or gives `None`
/// when raw is as small.
pub(crate) fn encode_in<'a>(
    plain: &[u8],
    content: Content,
    origin: Option<&Origin>,
    scratch: &'a mut Scratch,
) -> Option<(Codec, &'a [u8])> {
    if plain.len() < MIN_BYTES {
        return None;
    }
    // At least a thirty-second smaller, or decoding is not worth its time.
    let room = plain.len() - plain.len() / 32;
    let (alone, choice) = sample::choose(plain, content, scratch);
    let over = origin.and_then(|origin| encode_over(plain, content, origin, alone, scratch));
    if let Some((codec, len)) = over.filter(|(_, len)| *len < room) {
        return Some((codec, &scratch.out[..len]));
    }
    let (codec, len) = match choice {
        Choice::Raw => return None,
        Choice::Zstd => (Codec::Zstd, scratch.zstd(plain)?),
        Choice::Planes { width, skip } => {
            let len = planes::encode(plain, width, skip, &[], scratch)?;
            (Codec::Planes, len)
        }
    };
    (len < room).then(|| (codec, &scratch.out[..len]))
}

/// Encodes into `scratch.out` over what the bytes come from, unless they need about `alone` of their
/// size without; the codec and the length.
fn encode_over(
    plain: &[u8],
    content: Content,
    origin: &Origin,
    alone: f64,
    scratch: &mut Scratch,
) -> Option<(Codec, usize)> {
    if !origin.alike.is_empty() {
        let len = patch::encode(plain, &origin.alike, alone, scratch)?;
        return Some((Codec::Patch, len));
    }
    let first = origin
        .bases
        .first()
        .filter(|b| b.plain.len() == plain.len());
    let width = match content {
        Content::Numbers(width) if plain.len().is_multiple_of(width.bytes()) => width,
        _ => {
            let base = first.filter(|b| b.is_whole)?;
            let len = delta::encode(plain, base, content, alone, scratch)?;
            return Some((Codec::Delta, len));
        }
    };
    let guess = explain::explain(plain, width, origin.first, &origin.bases, &origin.pairs);
    let len = match guess {
        Some(guess) => predict::encode(plain, width, &guess.header, &guess.bytes, alone, scratch),
        None => {
            let base = first?;
            let header = predict::header_over(&base.id);
            predict::encode(plain, width, &header, &base.plain, alone, scratch)
        }
    };
    Some((Codec::Predicted, len?))
}

/// Decodes exactly `plain_len` bytes that are not over a base; never allocates more than a small
/// multiple of that.
///
/// # Errors
/// The stored bytes are damaged or have another length.
pub fn decode(codec: Codec, stored: &[u8], plain_len: usize) -> Result<Vec<u8>> {
    let mut plain = vec![0; plain_len];
    with_scratch(|s| decode_into(codec, stored, &mut plain, &no_base, s))?;
    Ok(plain)
}

/// The bases of what must be over none.
pub(crate) fn no_base(_: &[u8; 32], _: u8) -> Result<Vec<u8>> {
    Err(Error::corrupt("entry over a base", "no base is at hand"))
}

/// Ids of the chunks that stored bytes are over: none for a codec that is over no others. The base
/// comes first; with whether they predict more than that base.
pub(crate) fn names(codec: Codec, stored: &[u8]) -> Result<(Vec<[u8; 32]>, bool)> {
    match codec {
        Codec::Delta => Ok((vec![*delta::split(stored)?.0], false)),
        Codec::Predicted => predict::names(stored),
        Codec::Patch => Ok((patch::split(stored)?.0.to_vec(), true)),
        Codec::Raw | Codec::Zstd | Codec::Planes => Ok((Vec::new(), false)),
    }
}

/// Decodes exactly as many bytes as `plain` has.
pub(crate) fn decode_into(
    codec: Codec,
    stored: &[u8],
    plain: &mut [u8],
    bases: Bases<'_>,
    scratch: &mut Scratch,
) -> Result<()> {
    match codec {
        Codec::Raw if stored.len() == plain.len() => plain.copy_from_slice(stored),
        Codec::Raw => {
            let detail = "its length is not the recorded one";
            return Err(Error::corrupt("entry", detail));
        }
        Codec::Zstd => scratch.unzstd_to(stored, plain)?,
        Codec::Planes => planes::decode(stored, plain, scratch)?,
        Codec::Delta => delta::decode(stored, plain, bases, scratch)?,
        Codec::Predicted => predict::decode(stored, plain, bases, scratch)?,
        Codec::Patch => patch::decode(stored, plain, bases)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;

    /// Numbers with the bell curve of trained weights.
    pub(super) fn weights(seed: u64, count: usize) -> Vec<f32> {
        let bytes = noise(seed, count * 8);
        let words = bytes.as_chunks::<8>().0;
        let sum = |w: &[u8; 8]| w.iter().map(|b| f32::from(*b) - 127.5).sum::<f32>();
        words.iter().map(|w| sum(w) / 10_000.0).collect()
    }

    fn bf16(values: &[f32]) -> Vec<u8> {
        let top = |v: &f32| ((v.to_bits() >> 16) as u16).to_le_bytes();
        values.iter().flat_map(top).collect()
    }

    #[test]
    fn text_shrinks_and_noise_stays_raw() {
        let text = b"the same words again and again ".repeat(10_000);
        let (codec, stored) = encode(&text, Content::Bytes).unwrap();
        assert_eq!(codec, Codec::Zstd);
        assert!(stored.len() < text.len() / 10);
        assert_eq!(decode(codec, &stored, text.len()).unwrap(), text);
        assert!(encode(&noise(1, 1 << 20), Content::Unknown).is_none());
        assert!(encode(&noise(1, 1 << 20), Content::Numbers(Width::Two)).is_none());
        assert!(encode(b"short", Content::Unknown).is_none());
    }

    #[test]
    fn weights_shrink_with_and_without_being_told() {
        let values = weights(7, 300_000);
        let f32s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let f64s: Vec<u8> = values
            .iter()
            .flat_map(|v| (f64::from(*v) / 3.0).to_le_bytes())
            .collect();
        let cases = [
            (bf16(&values), Width::Two, 0.70),
            (f32s, Width::Four, 0.86),
            (f64s, Width::Eight, 0.93),
        ];
        for (plain, width, at_most) in cases {
            let told = Content::Numbers(width);
            let guessed = Content::Unknown;
            for (content, shift) in [(told, 0), (guessed, 0), (guessed, 1), (guessed, 3)] {
                let plain = &plain[shift..];
                let (codec, stored) = encode(plain, content).unwrap();
                assert_eq!(codec, Codec::Planes, "{width:?} from byte {shift}");
                let ratio = stored.len() as f64 / plain.len() as f64;
                assert!(ratio < at_most, "{width:?} from byte {shift}: {ratio}");
                assert!(decode(codec, &stored, plain.len()).unwrap() == plain);
            }
        }
    }

    /// Text has no words: what looks like planes in a small sample must not win.
    #[test]
    fn text_and_small_entries_are_not_split() {
        let words = noise(3, 40_000);
        let text: String = words.iter().map(|b| format!("{},", b % 100)).collect();
        for len in [100, 1000, 5000, 50_000, text.len()] {
            let (codec, _) = encode(&text.as_bytes()[..len], Content::Unknown).unwrap();
            assert_eq!(codec, Codec::Zstd, "{len} bytes");
        }
        let small = bf16(&weights(1, 100));
        assert!(encode(&small, Content::Unknown).is_none_or(|(codec, _)| codec == Codec::Zstd));
    }

    #[test]
    fn a_wrong_hint_costs_little_and_loses_nothing() {
        let text = b"the same words again and again ".repeat(10_000);
        for width in Width::ALL {
            let (codec, stored) = encode(&text, Content::Numbers(width)).unwrap();
            assert!(stored.len() < text.len() / 10, "{codec:?}");
            assert_eq!(decode(codec, &stored, text.len()).unwrap(), text);
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_grows() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(decode(Codec::Zstd, &bomb, 1000).is_err());
        assert!(decode(Codec::Zstd, b"not a frame", 1000).is_err());
        assert!(decode(Codec::Raw, &[0; 3], 4).is_err());
    }

    fn base(plain: Vec<u8>) -> Base {
        Base {
            id: [7; 32],
            plain,
            is_whole: true,
        }
    }

    fn over(plain: &[u8], old: &Base, content: Content) -> Option<(Codec, Vec<u8>)> {
        let bases = vec![base(old.plain.clone())];
        encoded(plain, content, bases, Vec::new())
    }

    fn patched(plain: &[u8], old: &Base) -> Option<(Codec, Vec<u8>)> {
        let alike = vec![base(old.plain.clone())];
        encoded(plain, Content::Unknown, Vec::new(), alike)
    }

    fn encoded(
        plain: &[u8],
        content: Content,
        bases: Vec<Base>,
        alike: Vec<Base>,
    ) -> Option<(Codec, Vec<u8>)> {
        let origin = Origin {
            bases,
            alike,
            pairs: Vec::new(),
            first: 0,
        };
        with_scratch(|s| {
            encode_in(plain, content, Some(&origin), s)
                .map(|(codec, bytes)| (codec, bytes.to_vec()))
        })
    }

    fn under(codec: Codec, stored: &[u8], len: usize, base: &Base) -> Result<Vec<u8>> {
        let mut plain = vec![0; len];
        let bases: Bases<'_> = &|id, _| {
            assert_eq!(*id, base.id);
            Ok(base.plain.clone())
        };
        with_scratch(|s| decode_into(codec, stored, &mut plain, bases, s))?;
        Ok(plain)
    }

    #[test]
    fn a_small_move_of_every_weight_costs_little_over_the_base() {
        let (old, noise) = (weights(1, 400_000), weights(2, 400_000));
        let base = base(bf16(&old));
        for (step, at_most) in [(1e-4, 0.10), (1e-3, 0.25), (1e-2, 0.45)] {
            let moved = |(a, b): (&f32, &f32)| a * (1.0 + step * b * 20.0);
            let new: Vec<f32> = old.iter().zip(&noise).map(moved).collect();
            let new = bf16(&new);
            for content in [Content::Numbers(Width::Two), Content::Unknown] {
                let (codec, stored) = over(&new, &base, content).unwrap();
                let want = match content {
                    Content::Unknown => Codec::Delta,
                    _ => Codec::Predicted,
                };
                assert_eq!(codec, want, "{step}");
                let ratio = stored.len() as f64 / new.len() as f64;
                assert!(ratio < at_most, "{step}: {ratio}");
                assert!(under(codec, &stored, new.len(), &base).unwrap() == new);
            }
        }
    }

    #[test]
    fn a_base_that_does_not_help_is_not_used() {
        let plain = bf16(&weights(1, 100_000));
        for other in [bf16(&weights(2, 100_000)), plain[2..].to_vec()] {
            let (codec, _) = over(&plain, &base(other), Content::Numbers(Width::Two)).unwrap();
            assert_eq!(codec, Codec::Planes);
        }
    }

    /// Bytes with some in front, some gone, some changed; of another length than the base.
    #[test]
    fn what_moved_costs_what_changed_in_it() {
        for len in [20_000, 1 << 20, 4 << 20] {
            let old = base(noise(1, len));
            let mut new = noise(2, 1000);
            new.extend_from_slice(&old.plain[..len / 2]);
            new.extend_from_slice(&old.plain[len / 2 + 777..]);
            new[len / 3] ^= 1;
            let (codec, stored) = patched(&new, &old).unwrap();
            assert_eq!(codec, Codec::Patch);
            assert!(stored.len() < 1100 + len / 500, "{len}: {}", stored.len());
            assert!(under(codec, &stored, new.len(), &old).unwrap() == new);
            // Another base, another length, half a frame: an error.
            let other = base(noise(3, len));
            assert!(under(codec, &stored, new.len(), &other).is_ok_and(|b| b != new));
            assert!(under(codec, &stored, new.len() - 1, &old).is_err());
            assert!(under(codec, &stored, new.len() + 1, &old).is_err());
            assert!(under(codec, &stored[..stored.len() - 1], new.len(), &old).is_err());
            assert!(under(codec, &stored[..31], new.len(), &old).is_err());
            assert!(decode(codec, &stored, new.len()).is_err());
            let short = base(old.plain[..len / 9].to_vec());
            assert!(under(codec, &stored, new.len(), &short).is_err());
        }
    }

    #[test]
    fn a_patch_that_does_not_help_is_not_used() {
        let (old, new) = (base(noise(1, 1 << 20)), noise(2, 1 << 20));
        assert!(patched(&new, &old).is_none());
        let text = b"the same words again and again ".repeat(10_000);
        let (_, over) = patched(&text, &old).unwrap();
        let (_, alone) = encode(&text, Content::Unknown).unwrap();
        assert!(
            over.len() <= alone.len() + 64,
            "{} {}",
            over.len(),
            alone.len()
        );
    }

    #[test]
    fn a_delta_that_lies_is_refused() {
        let old = base(bf16(&weights(1, 50_000)));
        let mut new = old.plain.clone();
        new[500] ^= 1;
        let (codec, stored) = over(&new, &old, Content::Unknown).unwrap();
        assert!(codec == Codec::Delta && stored.len() < 1000);
        assert!(under(codec, &stored[..31], new.len(), &old).is_err());
        assert!(under(codec, &stored[..40], new.len(), &old).is_err());
        assert!(under(codec, &stored, new.len() - 2, &old).is_err());
        assert!(decode(codec, &stored, new.len()).is_err());
        let shorter = base(old.plain[2..].to_vec());
        assert!(under(codec, &stored, new.len(), &shorter).is_err());
    }
}
