//! Splitting numbers into planes of bytes, so that what is alike lies together.
//!
//! A weight's sign and mantissa are noise, its exponent is not. Rotating each word one bit to the
//! left puts the whole exponent of bf16, f32 (and most of f16's and f64's) into the first plane,
//! which Huffman codes take to a third; the other planes mostly stay raw.
//!
//! ```text
//! width u8 | skip u8 | (how u8, length u32) per plane, highest byte first | loose bytes | planes
//! ```
//! Loose bytes are the `skip` bytes before the first word and the rest behind the last one.

use super::sample;
use super::scratch::Scratch;
use crate::error::{Error, Result};

/// Bytes of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// f8, 8-bit integers.
    One = 1,
    /// bf16, f16, 16-bit integers.
    Two = 2,
    /// f32, 32-bit integers.
    Four = 4,
    /// f64, 64-bit integers.
    Eight = 8,
}

impl Width {
    /// All widths, smallest first.
    pub(super) const ALL: [Self; 4] = [Self::One, Self::Two, Self::Four, Self::Eight];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|w| *w as u8 == byte)
    }

    pub(super) fn bytes(self) -> usize {
        self as usize
    }
}

/// How a plane is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum How {
    Raw = 0,
    Zstd = 1,
}

const PLANE_HEADER_BYTES: usize = 5;

fn header_bytes(width: Width) -> usize {
    2 + width.bytes() * PLANE_HEADER_BYTES
}

/// Words at a time: input and output of a round stay in the first-level cache.
const ROUND: usize = 2048;

/// Split and join for one type of word.
macro_rules! word {
    ($word:ty, $bytes:literal, $split:ident, $join:ident, [$($plane:ident),+]) => {
        /// Splits words into planes of `n` bytes, highest byte of the rotated word first.
        fn $split(words: &[u8], planes: &mut [u8], n: usize) {
            let words = words.as_chunks::<$bytes>().0;
            for (round, words) in words.chunks(ROUND).enumerate() {
                for (number, plane) in planes.chunks_exact_mut(n).enumerate() {
                    let shift = 8 * ($bytes - 1 - number);
                    let out = &mut plane[round * ROUND..][..words.len()];
                    for (out, word) in out.iter_mut().zip(words) {
                        *out = (<$word>::from_le_bytes(*word).rotate_left(1) >> shift) as u8;
                    }
                }
            }
        }

        /// The reverse of the split.
        fn $join(planes: &[&[u8]], words: &mut [u8]) {
            let &[$($plane),+] = planes else { return };
            let words = words.as_chunks_mut::<$bytes>().0;
            let n = words.len();
            $(let $plane = &$plane[..n];)+
            for i in 0..n {
                let mut word: $word = 0;
                $(word = word.checked_shl(8).unwrap_or(0) | <$word>::from($plane[i]);)+
                words[i] = word.rotate_right(1).to_le_bytes();
            }
        }
    };
}
word!(u8, 1, split1, join1, [a]);
word!(u16, 2, split2, join2, [a, b]);
word!(u32, 4, split4, join4, [a, b, c, d]);
word!(u64, 8, split8, join8, [a, b, c, d, e, f, g, h]);

/// Encodes into `scratch.out`, behind `prefix`; the length, which may be more than raw.
pub(super) fn encode(
    plain: &[u8],
    width: Width,
    skip: usize,
    prefix: &[u8],
    scratch: &mut Scratch,
) -> Option<usize> {
    let body = plain.get(skip..)?;
    let n = body.len() / width.bytes();
    let (words, tail) = body.split_at(n * width.bytes());
    if n == 0 {
        return None;
    }
    let mut planes = std::mem::take(&mut scratch.planes);
    if planes.len() < words.len() {
        planes.resize(words.len(), 0);
    }
    match width {
        Width::One => split1(words, &mut planes[..words.len()], n),
        Width::Two => split2(words, &mut planes[..words.len()], n),
        Width::Four => split4(words, &mut planes[..words.len()], n),
        Width::Eight => split8(words, &mut planes[..words.len()], n),
    }
    let start = prefix.len();
    let mut out = scratch.take_out(start + header_bytes(width) + plain.len());
    out[..start].copy_from_slice(prefix);
    out[start] = width as u8;
    out[start + 1] = u8::try_from(skip).ok()?;
    let mut at = start + header_bytes(width);
    for loose in [&plain[..skip], tail] {
        out[at..at + loose.len()].copy_from_slice(loose);
        at += loose.len();
    }
    for (number, plane) in planes[..words.len()].chunks_exact(n).enumerate() {
        let (how, len) = encode_plane(plane, &mut out[at..], scratch);
        let header = &mut out[start + 2 + number * PLANE_HEADER_BYTES..][..PLANE_HEADER_BYTES];
        header[0] = how as u8;
        header[1..].copy_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        at += len;
    }
    scratch.planes = planes;
    scratch.out = out;
    Some(at)
}

/// Writes one plane to the start of `out`, which has room for it as it is.
fn encode_plane(plane: &[u8], out: &mut [u8], scratch: &mut Scratch) -> (How, usize) {
    let room = &mut out[..plane.len() - plane.len() / 32];
    let len = match sample::choose_plane(plane, scratch) {
        sample::PlaneChoice::Raw => None,
        sample::PlaneChoice::Huffman => scratch.huffman(plane, room),
        sample::PlaneChoice::Matching => scratch.matching(plane, room),
    };
    match len {
        Some(len) => (How::Zstd, len),
        None => {
            out[..plane.len()].copy_from_slice(plane);
            (How::Raw, plane.len())
        }
    }
}

/// What the header says, checked against the lengths of the entry.
struct Header {
    width: Width,
    skip: usize,
    /// Words.
    n: usize,
    /// How each plane is written, and its range in the stored bytes.
    planes: Vec<(How, std::ops::Range<usize>)>,
    loose: std::ops::Range<usize>,
}

/// Width of the words and bytes before the first one, as the header says.
pub(super) fn shape(stored: &[u8]) -> Result<(Width, usize)> {
    let bad = |detail: &str| Error::corrupt("entry in planes", detail);
    let &[width, skip, ..] = stored else {
        return Err(bad("it is cut off"));
    };
    let width = Width::from_byte(width).ok_or_else(|| bad("unknown width of its words"))?;
    Ok((width, usize::from(skip)))
}

fn read_header(stored: &[u8], plain_len: usize) -> Result<Header> {
    let bad = |detail: &str| Error::corrupt("entry in planes", detail);
    let (width, skip) = shape(stored)?;
    if skip >= width.bytes() || skip > plain_len || stored.len() < header_bytes(width) {
        return Err(bad("its header is wrong"));
    }
    let n = (plain_len - skip) / width.bytes();
    let loose = header_bytes(width)..header_bytes(width) + plain_len - n * width.bytes();
    let mut at = loose.end;
    let mut planes = Vec::with_capacity(width.bytes());
    for row in stored[2..header_bytes(width)]
        .as_chunks::<PLANE_HEADER_BYTES>()
        .0
    {
        let len = u32::from_le_bytes([row[1], row[2], row[3], row[4]]) as usize;
        let how = match row[0] {
            0 if len == n => How::Raw,
            0 => return Err(bad("a raw plane has another length than its words")),
            1 => How::Zstd,
            _ => return Err(bad("a plane is written in an unknown way")),
        };
        let end = at.checked_add(len).filter(|end| *end <= stored.len());
        let end = end.ok_or_else(|| bad("a plane ends outside"))?;
        planes.push((how, at..end));
        at = end;
    }
    if at != stored.len() {
        return Err(bad("its planes don't add up to its length"));
    }
    Ok(Header {
        width,
        skip,
        n,
        planes,
        loose,
    })
}

/// Decodes into `plain`, which has the entry's length.
pub(super) fn decode(stored: &[u8], plain: &mut [u8], scratch: &mut Scratch) -> Result<()> {
    let header = read_header(stored, plain.len())?;
    let Header { width, skip, n, .. } = header;
    let mut buffer = std::mem::take(&mut scratch.planes);
    if buffer.len() < n * width.bytes() {
        buffer.resize(n * width.bytes(), 0);
    }
    let mut planes: Vec<&[u8]> = Vec::with_capacity(width.bytes());
    let mut rest = buffer.as_mut_slice();
    for (how, range) in header.planes {
        match how {
            How::Raw => planes.push(&stored[range]),
            How::Zstd => {
                let (plane, after) = rest.split_at_mut(n);
                scratch.unzstd_to(&stored[range], plane)?;
                planes.push(plane);
                rest = after;
            }
        }
    }
    let words = &mut plain[skip..skip + n * width.bytes()];
    match width {
        Width::One => join1(&planes, words),
        Width::Two => join2(&planes, words),
        Width::Four => join4(&planes, words),
        Width::Eight => join8(&planes, words),
    }
    let (before, behind) = stored[header.loose].split_at(skip);
    plain[..skip].copy_from_slice(before);
    plain[skip + n * width.bytes()..].copy_from_slice(behind);
    scratch.planes = buffer;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(plain: &[u8], width: Width, skip: usize) -> Vec<u8> {
        let mut scratch = Scratch::default();
        let len = encode(plain, width, skip, &[], &mut scratch).unwrap();
        scratch.out[..len].to_vec()
    }

    fn decoded(stored: &[u8], len: usize) -> Result<Vec<u8>> {
        let mut plain = vec![0; len];
        decode(stored, &mut plain, &mut Scratch::default())?;
        Ok(plain)
    }

    /// The bytes that `spec/pack.md` shows.
    #[test]
    fn the_bytes_are_as_written_down() {
        let plain = [9, 0x80, 0x3f, 0x01, 0xc0, 7];
        let stored = encoded(&plain, Width::Two, 1);
        // 0x3f80 rotated is 0x7f00; 0xc001 is 0x8003.
        assert_eq!(
            stored,
            [
                2, 1, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 9, 7, 0x7f, 0x80, 0x00, 0x03
            ]
        );
        assert_eq!(decoded(&stored, 6).unwrap(), plain);
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let plain: Vec<u8> = (0..4000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let good = encoded(&plain, Width::Four, 0);
        assert!(good.len() < plain.len() / 2);
        let refused = |change: &dyn Fn(&mut Vec<u8>), len: usize| {
            let mut stored = good.clone();
            change(&mut stored);
            assert!(decoded(&stored, len).is_err());
        };
        refused(&|_| (), plain.len() - 4);
        refused(&|_| (), plain.len() + 1);
        refused(&|s| s[0] = 3, plain.len());
        refused(&|s| s[1] = 4, plain.len());
        refused(&|s| s[2] = 2, plain.len());
        refused(&|s| s[2] = 0, plain.len());
        refused(&|s| s[6] = 0xff, plain.len());
        refused(&|s| s[3] ^= 1, plain.len());
        refused(&|s| s.push(0), plain.len());
        refused(&|s| s.truncate(10), plain.len());
        refused(&Vec::clear, plain.len());
    }

    /// A plane that says it is short and unfolds to gigabytes stops at its words.
    #[test]
    fn a_plane_can_not_grow_beyond_its_words() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let len = u32::try_from(bomb.len()).unwrap().to_le_bytes();
        let mut stored = vec![2, 0, 1];
        stored.extend_from_slice(&len);
        stored.extend_from_slice(&[0, 100, 0, 0, 0]);
        stored.extend_from_slice(&bomb);
        stored.extend_from_slice(&[0; 100]);
        assert!(decoded(&stored, 200).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(
            bytes in proptest::collection::vec(any::<u8>(), 16..5000),
            repeat in 1usize..20,
            width in 0usize..4,
            skip in 0usize..8,
        ) {
            let width = Width::ALL[width];
            let skip = skip % width.bytes();
            let plain = bytes.repeat(repeat);
            let stored = encoded(&plain, width, skip);
            prop_assert!(stored.len() <= plain.len() + header_bytes(width));
            let back = decoded(&stored, plain.len()).unwrap();
            prop_assert!(back == plain);
        }

        #[test]
        fn random_bytes_are_refused_or_decoded_to_the_length(
            stored in proptest::collection::vec(any::<u8>(), 0..200),
            len in 0usize..300,
        ) {
            if let Ok(plain) = decoded(&stored, len) {
                prop_assert_eq!(plain.len(), len);
            }
        }
    }
}
