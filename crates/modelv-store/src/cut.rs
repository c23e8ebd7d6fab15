//! Cutting a file into chunks at borders its content decides, so that an insertion changes the
//! chunks around it and no others. See `spec/blob.md`.
//!
//! FastCDC with normalised chunk sizes (Xia et al., "The Design of Fast Content-Defined Chunking
//! for Data Deduplication Based Storage Systems", TPDS 2020). Borders are no part of any id.

use std::io::{self, Read};
use std::sync::LazyLock;

/// Largest chunk in bytes, whatever the cutter.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Sizes of a cutter, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// No border before this.
    pub min: usize,
    /// Borders get likelier from here on.
    pub normal: usize,
    /// A border at the latest.
    pub max: usize,
}

/// For files up to [`SMALL_FILE_BYTES_MAX`].
pub const SMALL: Sizes = Sizes {
    min: 16 << 10,
    normal: 64 << 10,
    max: 256 << 10,
};
/// For larger files: a terabyte stays a million chunks.
pub const LARGE: Sizes = Sizes {
    min: 256 << 10,
    normal: 1 << 20,
    max: 4 << 20,
};
/// Largest file that is cut finely, in bytes.
pub const SMALL_FILE_BYTES_MAX: u64 = 64 << 20;

/// The sizes for a file.
#[must_use]
pub fn sizes_for(file_bytes: u64) -> Sizes {
    if file_bytes <= SMALL_FILE_BYTES_MAX {
        SMALL
    } else {
        LARGE
    }
}

/// 256 words: the output of BLAKE3 in `derive_key` mode with this context and empty input.
static GEAR: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut bytes = [0u8; 2048];
    blake3::Hasher::new_derive_key("modelv 2026-11 gear table v1")
        .finalize_xof()
        .fill(&mut bytes);
    let mut table = [0u64; 256];
    for (word, raw) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*raw);
    }
    table
});

/// Bits that must be zero at a border: two more than the target before the normal size, two fewer
/// behind it. Taken from the high end, where the hash has seen the last 64 bytes.
fn masks(sizes: Sizes) -> (u64, u64) {
    let bits = sizes.normal.trailing_zeros();
    (!0 << (64 - (bits + 2)), !0 << (64 - (bits - 2)))
}

/// Length of the first chunk of `bytes`, which holds at least `sizes.max` bytes or the file's end.
#[must_use]
pub fn first_border(bytes: &[u8], sizes: Sizes) -> usize {
    if bytes.len() <= sizes.min {
        return bytes.len();
    }
    let (strict, loose) = masks(sizes);
    let gear = &*GEAR;
    let end = bytes.len().min(sizes.max);
    let normal = end.min(sizes.normal);
    let mut hash = 0u64;
    for (i, byte) in bytes[sizes.min..normal.max(sizes.min)].iter().enumerate() {
        hash = (hash << 1).wrapping_add(gear[usize::from(*byte)]);
        if hash & strict == 0 {
            return sizes.min + i + 1;
        }
    }
    for (i, byte) in bytes[normal.max(sizes.min)..end].iter().enumerate() {
        hash = (hash << 1).wrapping_add(gear[usize::from(*byte)]);
        if hash & loose == 0 {
            return normal.max(sizes.min) + i + 1;
        }
    }
    end
}

/// Cuts a stream.
pub struct Cutter<R> {
    input: R,
    sizes: Sizes,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

impl<R: Read> Cutter<R> {
    /// Cuts `input` with the given sizes.
    pub fn new(input: R, sizes: Sizes) -> Self {
        Self {
            input,
            sizes,
            buffer: Vec::new(),
            start: 0,
            ended: false,
        }
    }

    /// The next chunk, or `None` at the end.
    ///
    /// # Errors
    /// The input's.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.fill()?;
        let rest = &self.buffer[self.start..];
        if rest.is_empty() {
            return Ok(None);
        }
        let len = first_border(rest, self.sizes);
        let chunk = rest[..len].to_vec();
        self.start += len;
        Ok(Some(chunk))
    }

    /// Makes sure that a whole chunk, or the end, is in the buffer.
    fn fill(&mut self) -> io::Result<()> {
        if self.ended || self.buffer.len() - self.start >= self.sizes.max {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let room = 2 * self.sizes.max;
        while self.buffer.len() < room && !self.ended {
            let want = (room - self.buffer.len()) as u64;
            self.ended = self
                .input
                .by_ref()
                .take(want)
                .read_to_end(&mut self.buffer)?
                == 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut out);
        out
    }

    fn chunks(bytes: &[u8], sizes: Sizes) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(bytes, sizes);
        std::iter::from_fn(|| cutter.next_chunk().unwrap()).collect()
    }

    #[test]
    fn sizes_are_as_promised() {
        let bytes = noise(1, 8 << 20);
        let cut = chunks(&bytes, SMALL);
        let mean = bytes.len() / cut.len();
        assert!(
            (48 << 10..112 << 10).contains(&mean),
            "mean of {mean} bytes"
        );
        let forced = cut.iter().filter(|c| c.len() == SMALL.max).count();
        assert!(
            forced * 50 < cut.len(),
            "{forced} of {} were forced",
            cut.len()
        );
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it_only() {
        let old = noise(2, 8 << 20);
        let mut new = old.clone();
        new.splice(4_000_000..4_000_000, noise(3, 1000));
        let before: HashSet<Vec<u8>> = chunks(&old, SMALL).into_iter().collect();
        let changed = chunks(&new, SMALL)
            .iter()
            .filter(|c| !before.contains(*c))
            .count();
        assert!(changed <= 4, "{changed} chunks are new");
    }

    #[test]
    fn constant_bytes_are_cut_at_the_maximum() {
        let cut = chunks(&vec![0; 1 << 20], SMALL);
        assert!(cut.iter().rev().skip(1).all(|c| c.len() == cut[0].len()));
    }

    /// Reads one byte at a time.
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(buf.len()).min(1);
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        #[test]
        fn chunks_join_to_the_input_whatever_the_reads(seed: u64, len in 0usize..40_000) {
            let sizes = Sizes { min: 256, normal: 1024, max: 4096 };
            let bytes = noise(seed, len);
            let cut = chunks(&bytes, sizes);
            prop_assert_eq!(cut.concat(), bytes.clone());
            for (i, chunk) in cut.iter().enumerate() {
                prop_assert!(chunk.len() <= sizes.max);
                prop_assert!(chunk.len() >= sizes.min || i + 1 == cut.len());
            }
            let mut dripping = Cutter::new(Drip(&bytes), sizes);
            let slow: Vec<Vec<u8>> = std::iter::from_fn(|| dripping.next_chunk().unwrap()).collect();
            prop_assert_eq!(slow, cut);
        }
    }
}
