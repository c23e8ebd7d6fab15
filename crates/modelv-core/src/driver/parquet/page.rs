//! The pages of a column: their headers, their compression, their levels and values. One page of each
//! column is in memory at once.

use std::io::{Read, SeekFrom};

use super::super::tensor::Source;
use super::super::{Refusal, TableError};
use super::footer::{Chunk, Leaf, beyond, invalid};
use super::values::{self, UNPACKED_BYTES_MAX, Values, hybrid, plain};
use crate::thrift::Compact;

/// A longer header of a page is refused, in bytes.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// So much is read of a header at first, in bytes.
const HEADER_BYTES: u64 = 1 << 10;
/// More entries in one page are refused.
const ENTRIES_MAX: usize = 16 << 20;

const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;
/// Encodings by a dictionary.
const BY_DICTIONARY: [i64; 2] = [2, 8];

/// A column of a row group, as it is read.
pub(super) struct Column {
    leaf: Leaf,
    at: u64,
    end: u64,
    codec: i64,
    dictionary: Option<Values>,
    page: Page,
}

/// Entries of a page: levels, and values where an entry has one.
#[derive(Default)]
struct Page {
    count: usize,
    reps: Vec<u32>,
    defs: Vec<u32>,
    values: Values,
    /// Which values of the dictionary, if they are of one.
    indices: Option<Vec<u32>>,
    entry: usize,
    value: usize,
}

#[derive(Default)]
struct Header {
    kind: i64,
    unpacked: i64,
    packed: i64,
    count: i64,
    encoding: i64,
    /// Bytes of the levels before the values; `None`: they say it themselves.
    levels: Option<(i64, i64)>,
    is_packed: bool,
}

impl Column {
    pub(super) fn new(leaf: &Leaf, chunk: &Chunk) -> Self {
        Self {
            leaf: *leaf,
            at: chunk.start,
            end: chunk.end,
            codec: chunk.codec,
            dictionary: None,
            page: Page::default(),
        }
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        let page = &self.page;
        let numbers = page.reps.len() + page.defs.len() + page.indices.as_ref().map_or(0, Vec::len);
        let dictionary = self.dictionary.as_ref().map_or(0, Values::held);
        dictionary + page.values.held() + 4 * numbers
    }

    /// Whether the next page has to be read before there is another entry.
    pub(super) fn is_at_end_of_page(&self) -> bool {
        self.page.entry == self.page.count
    }

    /// Levels of repetition and definition of the next entry of this page.
    pub(super) fn levels(&self) -> (u8, u8) {
        let level = |levels: &[u32]| levels.get(self.page.entry).map_or(0, |l| *l as u8);
        (level(&self.page.reps), level(&self.page.defs))
    }

    /// Goes on; gives the value of the entry, if it has one.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Refusal> {
        let (_, def) = self.levels();
        let page = &mut self.page;
        page.entry += 1;
        if def != self.leaf.max_def {
            return Ok(None);
        }
        let at = page.value;
        page.value += 1;
        let found = match &page.indices {
            None => page.values.get(at),
            Some(indices) => indices
                .get(at)
                .and_then(|i| self.dictionary.as_ref()?.get(*i as usize)),
        };
        found
            .map(Some)
            .ok_or_else(|| invalid("a value is not in its dictionary"))
    }

    /// Reads the next page that has entries; `None` at the end of the column. Gives how much was
    /// unpacked.
    pub(super) fn load(&mut self, source: &mut dyn Source) -> Result<Option<usize>, TableError> {
        let mut work = 0;
        self.page = Page::default();
        while self.page.count == 0 {
            if self.at >= self.end {
                return Ok(None);
            }
            let header = self.header(source)?;
            let data = self.body(source, &header)?;
            work += data.len();
            match header.kind {
                DICTIONARY if self.dictionary.is_none() => {
                    let data = self.unpack(&header, &data, 0)?;
                    work += data.len();
                    let count = entries(header.count)?;
                    let found = plain(self.leaf.physical, &data, count);
                    self.dictionary =
                        Some(found.ok_or_else(|| invalid("a dictionary is malformed"))?);
                }
                DICTIONARY => return Err(invalid("a column has two dictionaries").into()),
                DATA | DATA_V2 => {
                    self.page = self.page(&header, &data)?;
                    work += self.held();
                }
                // Indexes and what is yet to come say nothing of the values.
                _ => {}
            }
        }
        Ok(Some(work))
    }

    fn header(&mut self, source: &mut dyn Source) -> Result<Header, TableError> {
        let left = self.end - self.at;
        let mut room = HEADER_BYTES;
        loop {
            let mut bytes = Vec::new();
            source.seek(SeekFrom::Start(self.at))?;
            Read::take(&mut *source, room.min(left)).read_to_end(&mut bytes)?;
            let mut compact = Compact(&bytes);
            if let Some(header) = header(&mut compact) {
                self.at += (bytes.len() - compact.0.len()) as u64;
                return Ok(header);
            }
            if room >= left || room >= HEADER_BYTES_MAX {
                return Err(invalid("the header of a page is malformed").into());
            }
            room *= 16;
        }
    }

    fn body(&mut self, source: &mut dyn Source, header: &Header) -> Result<Vec<u8>, TableError> {
        let length = u64::try_from(header.packed).ok();
        let Some(length) = length.filter(|l| *l <= self.end - self.at) else {
            return Err(invalid("a page is longer than its column").into());
        };
        if length > UNPACKED_BYTES_MAX as u64 {
            return Err(beyond("a page is larger than 64 MiB").into());
        }
        let mut out = Vec::new();
        source.seek(SeekFrom::Start(self.at))?;
        Read::take(&mut *source, length).read_to_end(&mut out)?;
        if out.len() as u64 != length {
            return Err(invalid("it ends early").into());
        }
        self.at += length;
        Ok(out)
    }

    /// The content of a page but for what comes first, uncompressed.
    fn unpack(&self, header: &Header, data: &[u8], first: usize) -> Result<Vec<u8>, Refusal> {
        let size = usize::try_from(header.unpacked).ok();
        let size = size.and_then(|s| s.checked_sub(first));
        let size = size.ok_or_else(|| invalid("a page is of no size"))?;
        if size > UNPACKED_BYTES_MAX {
            return Err(beyond("a page is larger than 64 MiB"));
        }
        let data = &data[first..];
        match header.is_packed {
            true => unpack(self.codec, data, size),
            false => Ok(data.to_vec()),
        }
    }

    fn page(&self, header: &Header, data: &[u8]) -> Result<Page, Refusal> {
        let malformed = || invalid("a page is malformed");
        let count = entries(header.count)?;
        let Leaf {
            max_def, max_rep, ..
        } = self.leaf;
        let (reps, defs, data) = match header.levels {
            Some((rep, def)) => {
                let length = |n| usize::try_from(n).map_err(|_| malformed());
                let (rep, def) = (length(rep)?, length(def)?);
                let both = rep.checked_add(def).filter(|n| *n <= data.len());
                let both = both.ok_or_else(malformed)?;
                let reps = levels(&data[..rep], max_rep, count);
                let defs = levels(&data[rep..both], max_def, count);
                (reps, defs, self.unpack(header, data, both)?)
            }
            None => {
                let unpacked = self.unpack(header, data, 0)?;
                let mut rest = Compact(&unpacked);
                let mut next = |max| match max {
                    0 => Some(Vec::new()),
                    max => {
                        let length = rest.take(4)?;
                        let length =
                            u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
                        levels(rest.take(u64::from(length))?, max, count)
                    }
                };
                let (reps, defs) = (next(max_rep), next(max_def));
                let at = unpacked.len() - rest.0.len();
                (reps, defs, unpacked[at..].to_vec())
            }
        };
        let (reps, defs) = reps.zip(defs).ok_or_else(malformed)?;
        let present = match max_def {
            0 => count,
            max => defs.iter().filter(|d| **d == u32::from(max)).count(),
        };
        let mut page = Page {
            count,
            reps,
            defs,
            ..Page::default()
        };
        if BY_DICTIONARY.contains(&header.encoding) {
            let (width, rest) = data.split_first().unwrap_or((&0, &[]));
            page.indices = Some(hybrid(rest, *width, present).ok_or_else(malformed)?);
        } else {
            let found = values::decode(header.encoding, self.leaf.physical, &data, present);
            let found =
                found.ok_or_else(|| beyond(format!("encoding {} is unknown", header.encoding)))?;
            page.values = found.ok_or_else(malformed)?;
        }
        Ok(page)
    }
}

fn entries(count: i64) -> Result<usize, Refusal> {
    let count = usize::try_from(count).map_err(|_| invalid("a page has -1 values"))?;
    if count > ENTRIES_MAX {
        return Err(beyond("a page has more than 16 Mi values"));
    }
    Ok(count)
}

/// Levels from 0 to a highest one; empty where that is 0.
fn levels(data: &[u8], max: u8, count: usize) -> Option<Vec<u32>> {
    if max == 0 {
        return Some(Vec::new());
    }
    let width = u8::try_from(8 - max.leading_zeros()).ok()?;
    let found = hybrid(data, width, count)?;
    found.iter().all(|l| *l <= u32::from(max)).then_some(found)
}

fn header(c: &mut Compact<'_>) -> Option<Header> {
    let mut out = Header {
        is_packed: true,
        ..Header::default()
    };
    c.fields(|c, number, kind| {
        match number {
            1 => out.kind = c.int()?,
            2 => out.unpacked = c.int()?,
            3 => out.packed = c.int()?,
            5 | 7 => c.fields(|c, number, kind| {
                match number {
                    1 => out.count = c.int()?,
                    2 => out.encoding = c.int()?,
                    _ => c.skip(kind, 0)?,
                }
                Some(())
            })?,
            8 => {
                let (mut def, mut rep) = (0, 0);
                c.fields(|c, number, kind| {
                    match number {
                        1 => out.count = c.int()?,
                        4 => out.encoding = c.int()?,
                        5 => def = c.int()?,
                        6 => rep = c.int()?,
                        7 => out.is_packed = Compact::flag(kind)?,
                        _ => c.skip(kind, 0)?,
                    }
                    Some(())
                })?;
                out.levels = Some((rep, def));
            }
            _ => c.skip(kind, 0)?,
        }
        Some(())
    })?;
    Some(out)
}

/// Decompresses to exactly as many bytes as were said, and never to more.
fn unpack(codec: i64, data: &[u8], size: usize) -> Result<Vec<u8>, Refusal> {
    let read = |from: &mut dyn Read| {
        let mut out = Vec::new();
        let read = from.take(size as u64 + 1).read_to_end(&mut out);
        read.is_ok().then_some(out)
    };
    let found = match codec {
        0 => Some(data.to_vec()),
        // A page without any value has nothing compressed.
        _ if size == 0 => Some(Vec::new()),
        1 => match snap::raw::decompress_len(data) {
            Ok(n) if n == size => snap::raw::Decoder::new().decompress_vec(data).ok(),
            _ => None,
        },
        2 => read(&mut flate2::read::MultiGzDecoder::new(data)),
        4 => read(&mut brotli_decompressor::Decompressor::new(data, 4096)),
        6 => zstd::bulk::decompress(data, size).ok(),
        7 => {
            let mut out = vec![0; size];
            let read = lz4_flex::block::decompress_into(data, &mut out).ok();
            read.filter(|n| *n == size).map(|_| out)
        }
        3 => return Err(beyond("it is compressed with LZO")),
        5 => return Err(beyond("it is compressed with the LZ4 of Hadoop")),
        other => return Err(beyond(format!("codec {other} is unknown"))),
    };
    found
        .filter(|out| out.len() == size)
        .ok_or_else(|| invalid("a page does not decompress to the size it says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_stopped_at_the_size_it_claims() {
        let zeros = vec![0; 1 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, &zeros).unwrap();
        let packed = [
            (2, gzip.finish().unwrap()),
            (6, zstd::bulk::compress(&zeros, 19).unwrap()),
            (1, snap::raw::Encoder::new().compress_vec(&zeros).unwrap()),
        ];
        for (codec, bytes) in &packed {
            assert_eq!(unpack(*codec, bytes, 1 << 20).unwrap(), zeros, "{codec}");
            for lie in [1, 1000, (1 << 20) - 1, (1 << 20) + 1] {
                assert!(unpack(*codec, bytes, lie).is_err(), "{codec} {lie}");
            }
        }
        for codec in [1, 2, 4, 6, 7] {
            assert!(
                unpack(codec, b"\xff\xff\xff\xff garbage", 100).is_err(),
                "{codec}"
            );
        }
        for codec in [3, 5, 99] {
            assert!(
                matches!(unpack(codec, b"", 1), Err(Refusal::Beyond(_))),
                "{codec}"
            );
        }
    }
}
