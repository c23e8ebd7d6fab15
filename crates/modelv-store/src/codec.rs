//! Codecs: how the bytes of an entry are written. Chosen by trying a sample; never larger than raw.

use crate::error::{Error, Result};

/// How an entry's bytes are encoded; the number is the codec byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// zstd's level: 1 is near the speed of the disk, and higher ones gain little on data and weights.
const LEVEL: i32 = 1;
/// Entries below this are kept raw: a frame header would eat the gain.
const MIN_BYTES: usize = 64;
const SAMPLE_BYTES: usize = 16 << 10;

impl Codec {
    /// Reads a codec byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Encodes bytes, or gives `None` when raw is as small.
#[must_use]
pub fn encode(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < MIN_BYTES || !sample_shrinks(plain) {
        return None;
    }
    let encoded = zstd::bulk::compress(plain, LEVEL).ok()?;
    // At least a sixteenth smaller, or decoding is not worth its time.
    (encoded.len() < plain.len() - plain.len() / 16).then_some(encoded)
}

/// Whether pieces from the start, middle and end get smaller.
fn sample_shrinks(plain: &[u8]) -> bool {
    if plain.len() <= 4 * SAMPLE_BYTES {
        return true;
    }
    let middle = plain.len() / 2;
    let last = plain.len() - SAMPLE_BYTES;
    let (mut raw, mut packed) = (0, 0);
    for at in [0, middle, last] {
        let piece = &plain[at..(at + SAMPLE_BYTES).min(plain.len())];
        raw += piece.len();
        packed += zstd::bulk::compress(piece, LEVEL).map_or(piece.len(), |p| p.len());
    }
    packed < raw - raw / 16
}

/// Decodes exactly `plain_len` bytes; never allocates more.
///
/// # Errors
/// The frame is damaged or has another length.
pub fn decode(codec: Codec, stored: Vec<u8>, plain_len: usize) -> Result<Vec<u8>> {
    let plain = match codec {
        Codec::Raw => stored,
        Codec::Zstd => zstd::bulk::decompress(&stored, plain_len)
            .map_err(|e| Error::corrupt("compressed entry", e.to_string()))?,
    };
    if plain.len() != plain_len {
        return Err(Error::corrupt(
            "entry",
            "its length is not the recorded one",
        ));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_and_noise_stays_raw() {
        let text = b"the same words again and again ".repeat(10_000);
        let encoded = encode(&text).unwrap();
        assert!(encoded.len() < text.len() / 10);
        assert_eq!(decode(Codec::Zstd, encoded, text.len()).unwrap(), text);
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(encode(&noise).is_none());
        assert!(encode(b"short").is_none());
    }

    #[test]
    fn a_bomb_is_refused_before_it_grows() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(decode(Codec::Zstd, bomb.clone(), 1000).is_err());
        assert!(decode(Codec::Zstd, b"not a frame".to_vec(), 1000).is_err());
        assert!(decode(Codec::Raw, vec![0; 3], 4).is_err());
    }
}
