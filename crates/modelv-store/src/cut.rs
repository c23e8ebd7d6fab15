//! Cutting a file into chunks at borders its content decides, so that an insertion changes the
//! chunks around it and no others; where the layout of the file is known, at the borders of its
//! parts. See `spec/blob.md`.
//!
//! FastCDC with normalised chunk sizes (Xia et al., "The Design of Fast Content-Defined Chunking
//! for Data Deduplication Based Storage Systems", TPDS 2020). Borders are no part of any id.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::LazyLock;

use crate::codec::Content;
use crate::layout::{Part, Within};

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

/// Bytes that one lane looks at in a row.
const LANE_BYTES: usize = 1024;
/// Bytes that a hash still knows of.
const WINDOW_BYTES: usize = 64;

fn step(hash: u64, byte: u8, gear: &[u64; 256]) -> u64 {
    (hash << 1).wrapping_add(gear[usize::from(byte)])
}

/// The end of the first place of `range` where the hash has no bit of `mask`; hashes begin at `start`.
///
/// A hash depends on the last 64 bytes only, so four places are looked at side by side: one hash
/// waits for the one before it, four keep a core busy.
fn find(bytes: &[u8], start: usize, range: Range<usize>, mask: u64) -> Option<usize> {
    let gear = &*GEAR;
    let before = |at: usize| {
        let known = start.max(at.saturating_sub(WINDOW_BYTES))..at;
        bytes[known].iter().fold(0, |hash, b| step(hash, *b, gear))
    };
    let mut at = range.start;
    while at + 4 * LANE_BYTES <= range.end {
        let mut lanes = bytes[at..at + 4 * LANE_BYTES].chunks_exact(LANE_BYTES);
        let mut lane = || lanes.next().unwrap_or_default().iter();
        let (a, b, c, d) = (lane(), lane(), lane(), lane());
        let mut hashes = [0, 1, 2, 3].map(|n| before(at + n * LANE_BYTES));
        let found = a.zip(b).zip(c.zip(d)).any(|((a, b), (c, d))| {
            for (hash, byte) in hashes.iter_mut().zip([a, b, c, d]) {
                *hash = step(*hash, *byte, gear);
            }
            hashes.iter().any(|hash| hash & mask == 0)
        });
        if found {
            break;
        }
        at += 4 * LANE_BYTES;
    }
    let mut hash = before(at);
    let ends = |byte: &u8| {
        hash = step(hash, *byte, gear);
        hash & mask == 0
    };
    let place = bytes[at..range.end].iter().position(ends)?;
    Some(at + place + 1)
}

/// Length of the first chunk of `bytes`, which holds at least `sizes.max` bytes or the file's end.
#[must_use]
pub fn first_border(bytes: &[u8], sizes: Sizes) -> usize {
    if bytes.len() <= sizes.min {
        return bytes.len();
    }
    let (strict, loose) = masks(sizes);
    let end = bytes.len().min(sizes.max);
    let normal = end.min(sizes.normal).max(sizes.min);
    // From here on other bits count; the hash still begins at the least size.
    find(bytes, sizes.min, sizes.min..normal, strict)
        .or_else(|| find(bytes, sizes.min, normal..end, loose))
        .unwrap_or(end)
}

/// Bytes of the blocks that a part of a layout is cut into, from its begin on, if it is not cut by its
/// content.
pub const BLOCK_BYTES: usize = 2 << 20;

/// A piece of a file.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Its bytes; never none.
    pub bytes: Vec<u8>,
    /// What they are.
    pub content: Content,
    /// Number of the part of the layout it lies in, and its offset there.
    pub place: Option<(usize, u64)>,
}

impl Chunk {
    pub(crate) fn as_piece(&self) -> Piece<'_> {
        Piece {
            bytes: &self.bytes,
            content: self.content,
            place: self.place,
        }
    }
}

/// A range that is cut in one way.
struct Region {
    /// Bytes not read yet.
    left: u64,
    /// Number of the part and what it holds; `None` for what is cut by its content.
    part: Option<(usize, Content)>,
    offset: u64,
}

/// Cuts a stream.
pub struct Cutter<R> {
    input: R,
    sizes: Sizes,
    regions: VecDeque<Region>,
    /// Bytes read ahead in a range that is cut by its content, used up to `start`.
    buffer: Vec<u8>,
    start: usize,
}

fn regions(parts: &[Part]) -> VecDeque<Region> {
    let mut out = VecDeque::with_capacity(2 * parts.len() + 1);
    let gap = |left| Region {
        left,
        part: None,
        offset: 0,
    };
    let mut at = 0;
    for (number, part) in parts.iter().enumerate() {
        if part.start > at {
            out.push_back(gap(part.start - at));
        }
        out.push_back(match part.within {
            Within::Content => gap(part.len),
            Within::Blocks => Region {
                left: part.len,
                part: Some((number, part.content)),
                offset: 0,
            },
        });
        at = part.end();
    }
    out.push_back(gap(u64::MAX));
    out
}

/// A piece of a file that is in memory.
#[derive(Debug, Default)]
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) content: Content,
    pub(crate) place: Option<(usize, u64)>,
}

/// Cuts a file that is in memory as a [`Cutter`] does.
pub(crate) fn pieces<'a>(
    whole: &'a [u8],
    sizes: Sizes,
    parts: &[Part],
) -> impl Iterator<Item = Piece<'a>> {
    let mut regions = regions(parts);
    let mut rest = whole;
    std::iter::from_fn(move || {
        let region = loop {
            let region = regions.front_mut()?;
            if region.left > 0 {
                break region;
            }
            regions.pop_front();
        };
        let in_region = usize::try_from(region.left).map_or(rest.len(), |n| n.min(rest.len()));
        let here = &rest[..in_region];
        let len = match region.part {
            Some(_) => here.len().min(BLOCK_BYTES),
            None => first_border(here, sizes),
        };
        let (bytes, behind) = rest.split_at(len);
        rest = behind;
        let piece = Piece {
            bytes,
            content: region.part.map_or(Content::Unknown, |(_, content)| content),
            place: region.part.map(|(part, _)| (part, region.offset)),
        };
        region.left -= len as u64;
        region.offset += len as u64;
        (len > 0).then_some(piece)
    })
}

impl<R: Read> Cutter<R> {
    /// Cuts `input` by its content alone.
    pub fn new(input: R, sizes: Sizes) -> Self {
        Self::with_layout(input, sizes, &[])
    }

    /// Cuts `input` at the borders of `parts`, and these as each says; what lies between them is cut
    /// by its content.
    pub fn with_layout(input: R, sizes: Sizes, parts: &[Part]) -> Self {
        Self {
            input,
            sizes,
            regions: regions(parts),
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// The next chunk in `bytes`, whose content is lost, or `None` at the end.
    ///
    /// # Errors
    /// The input's.
    pub fn next_chunk(&mut self, bytes: Vec<u8>) -> io::Result<Option<Chunk>> {
        while let Some(region) = self.regions.front() {
            if let Some((part, content)) = region.part {
                return self.next_block(bytes, part, content);
            }
            self.fill()?;
            let rest = &self.buffer[self.start..];
            if rest.is_empty() {
                self.regions.pop_front();
                continue;
            }
            let len = first_border(rest, self.sizes);
            let mut bytes = bytes;
            bytes.clear();
            bytes.extend_from_slice(&rest[..len]);
            self.start += len;
            return Ok(Some(Chunk {
                bytes,
                content: Content::Unknown,
                place: None,
            }));
        }
        Ok(None)
    }

    /// A block of the first region, which is a part.
    fn next_block(
        &mut self,
        mut bytes: Vec<u8>,
        part: usize,
        content: Content,
    ) -> io::Result<Option<Chunk>> {
        let Some(region) = self.regions.front_mut() else {
            return Ok(None);
        };
        let want = usize::try_from(region.left).map_or(BLOCK_BYTES, |n| n.min(BLOCK_BYTES));
        // Growing clears what is new only: a buffer that is used again costs nothing here.
        bytes.resize(want, 0);
        let len = read_full(&mut self.input, &mut bytes)?;
        bytes.truncate(len);
        let place = Some((part, region.offset));
        region.left -= len as u64;
        region.offset += len as u64;
        if region.left == 0 || len < want {
            self.regions.pop_front();
        }
        Ok((len > 0).then_some(Chunk {
            bytes,
            content,
            place,
        }))
    }

    /// Makes sure that a whole chunk, or the end of the first region, is in the buffer.
    fn fill(&mut self) -> io::Result<()> {
        let Some(region) = self.regions.front_mut() else {
            return Ok(());
        };
        if region.left == 0 || self.buffer.len() - self.start >= self.sizes.max {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let have = self.buffer.len();
        let room = (2 * self.sizes.max - have) as u64;
        let want = usize::try_from(room.min(region.left)).unwrap_or(0);
        self.buffer.resize(have + want, 0);
        let len = read_full(&mut self.input, &mut self.buffer[have..])?;
        self.buffer.truncate(have + len);
        region.left -= len as u64;
        if len < want {
            region.left = 0;
        }
        Ok(())
    }
}

/// Reads until the buffer is full or the input ends; the number of bytes.
pub(crate) fn read_full<R: Read + ?Sized>(input: &mut R, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match input.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::Width;
    use crate::tests::noise;

    fn chunks(bytes: &[u8], sizes: Sizes) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(bytes, sizes);
        all(&mut cutter).into_iter().map(|c| c.bytes).collect()
    }

    fn all<R: Read>(cutter: &mut Cutter<R>) -> Vec<Chunk> {
        std::iter::from_fn(|| cutter.next_chunk(Vec::new()).unwrap()).collect()
    }

    fn part(start: u64, len: u64) -> Part {
        Part {
            start,
            len,
            content: Content::Numbers(Width::Two),
            ..Part::default()
        }
    }

    #[test]
    fn parts_are_cut_at_their_begin_and_into_blocks() {
        let bytes = noise(4, 6 << 20);
        let parts = [part(1000, 5 << 20), part(1000 + (5 << 20), 70_000)];
        let cut = all(&mut Cutter::with_layout(&bytes[..], SMALL, &parts));
        let places: Vec<_> = cut.iter().map(|c| (c.bytes.len(), c.place)).collect();
        assert_eq!(
            places[..5],
            [
                (1000, None),
                (2 << 20, Some((0, 0))),
                (2 << 20, Some((0, 2 << 20))),
                (1 << 20, Some((0, 4 << 20))),
                (70_000, Some((1, 0))),
            ]
        );
        assert!(places[5..].iter().all(|(_, place)| place.is_none()));
        assert!(cut[1].content == parts[0].content && cut[0].content == Content::Unknown);
        // The same parts behind a longer header are the same chunks.
        let longer = [&noise(5, 777)[..], &bytes].concat();
        let moved = [part(1777, 5 << 20), part(1777 + (5 << 20), 70_000)];
        let again = all(&mut Cutter::with_layout(&longer[..], SMALL, &moved));
        for (a, b) in cut[1..5].iter().zip(&again[1..5]) {
            assert!(a.bytes == b.bytes);
        }
    }

    /// BLOB-5 word for word.
    fn border_by_the_rule(bytes: &[u8], sizes: Sizes) -> usize {
        let bits = sizes.normal.trailing_zeros();
        let mut hash = 0u64;
        for i in sizes.min..bytes.len().min(sizes.max) {
            hash = (hash << 1).wrapping_add(GEAR[usize::from(bytes[i])]);
            let k = if i < sizes.normal { bits + 2 } else { bits - 2 };
            if hash >> (64 - k) == 0 {
                return i + 1;
            }
        }
        bytes.len().min(sizes.max)
    }

    #[test]
    fn four_lanes_find_the_borders_of_one() {
        let bytes = noise(11, 3 << 20);
        let tiny = Sizes {
            min: 64,
            normal: 256,
            max: 20_000,
        };
        for sizes in [SMALL, LARGE, tiny] {
            let mut rest = &bytes[..];
            let mut borders = 0;
            while !rest.is_empty() && borders < 500 {
                let border = first_border(rest, sizes);
                assert_eq!(border, border_by_the_rule(rest, sizes), "{sizes:?}");
                rest = &rest[border..];
                borders += 1;
            }
        }
        // No border but at the end of what there is, whatever its length.
        for len in [16_385, 20_000, 65_535, 65_536, 65_537, 70_000, 262_145] {
            let zeros = vec![0; len];
            assert_eq!(
                first_border(&zeros, SMALL),
                border_by_the_rule(&zeros, SMALL)
            );
        }
    }

    #[test]
    fn a_part_that_is_cut_by_content_is_a_range_of_its_own() {
        let bytes = noise(6, 3 << 20);
        let (first, second) = bytes.split_at(1_000_000);
        let by_content = |start, len| Part {
            within: Within::Content,
            ..part(start, len)
        };
        let parts = [by_content(1_000_000, 2 << 20)];
        let cut = all(&mut Cutter::with_layout(&bytes[..], SMALL, &parts));
        let (middle, last) = second.split_at(2 << 20);
        let apart = [first, middle, last]
            .map(|bytes| chunks(bytes, SMALL))
            .concat();
        assert!(cut.iter().all(|c| c.place.is_none()));
        assert!(cut.into_iter().map(|c| c.bytes).eq(apart));
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
            let slow: Vec<Vec<u8>> = all(&mut dripping).into_iter().map(|c| c.bytes).collect();
            prop_assert_eq!(slow, cut);
        }

        /// A layout may be of a file that was another one a moment ago.
        #[test]
        fn any_layout_gives_all_the_bytes(
            lens in proptest::collection::vec((0u64..9000, 1u64..9000, any::<bool>()), 0..6),
            len in 0usize..40_000,
        ) {
            let sizes = Sizes { min: 256, normal: 1024, max: 4096 };
            let bytes = noise(9, len);
            let mut at = 0;
            let parts: Vec<Part> = lens
                .into_iter()
                .map(|(gap, len, blocks)| {
                    at += gap + len;
                    let within = if blocks { Within::Blocks } else { Within::Content };
                    Part { within, ..part(at - len, len) }
                })
                .collect();
            let cut = all(&mut Cutter::with_layout(Drip(&bytes), sizes, &parts));
            prop_assert!(cut.iter().all(|c| !c.bytes.is_empty()));
            let key = |bytes: &[u8], content, place| (bytes.to_vec(), content, place);
            let in_memory: Vec<_> = pieces(&bytes, sizes, &parts)
                .map(|p| key(p.bytes, p.content, p.place))
                .collect();
            let streamed: Vec<_> = cut.iter().map(|c| key(&c.bytes, c.content, c.place)).collect();
            prop_assert_eq!(in_memory, streamed);
            let joined: Vec<u8> = cut.into_iter().flat_map(|c| c.bytes).collect();
            prop_assert_eq!(joined, bytes);
        }
    }
}
