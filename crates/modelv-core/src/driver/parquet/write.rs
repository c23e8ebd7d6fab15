//! Writes Parquet, row after row: flat columns, plain values, zstd. One row group is in memory at a
//! time, bounded by its bytes. Must never hold a table.

use std::io::{self, BufWriter, Write};

use super::super::table::{Scratch, TableError};
use super::build::Struct;
use super::cells;
use super::footer::{Leaf, Physical, Repetition, invalid};

/// A page takes about so many bytes, unpacked.
const PAGE_BYTES: usize = 1 << 20;
/// No page has more entries.
const PAGE_ENTRIES: usize = 1 << 18;
/// A row group takes about so many bytes of memory.
const GROUP_BYTES: usize = 64 << 20;
/// No row group has more rows.
const GROUP_ROWS: usize = 1 << 20;
const ZSTD: i32 = 6;
const ZSTD_LEVEL: i32 = 3;
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const DATA_PAGE: i32 = 0;
/// The version of the format that logical types came with.
const VERSION: i32 = 2;

/// A column, as its file describes it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its element of the schema.
    pub(super) element: Vec<u8>,
    pub(super) repetition: Repetition,
    pub(super) leaf: Leaf,
}

/// A column of the row group that is written.
#[derive(Default)]
struct Chunk {
    /// Which entries have a value, in runs.
    runs: Vec<(bool, usize)>,
    values: Vec<u8>,
    /// Values of one bit each, so many.
    bits: usize,
    entries: usize,
    /// Pages that are whole, and what they are unpacked.
    pages: Vec<u8>,
    unpacked: usize,
    all: usize,
}

/// A file that is written.
pub(super) struct Writer<'w> {
    out: BufWriter<&'w mut dyn Scratch>,
    at: u64,
    columns: Vec<Column>,
    chunks: Vec<Chunk>,
    rows: usize,
    all: usize,
    groups: Vec<Vec<u8>>,
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn short(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Chunk {
    fn put(&mut self, column: &Column, cell: &str) -> Result<(), TableError> {
        let value = cells::read(&column.leaf, cell)?;
        let is_there = value.is_some();
        match (&value, column.repetition) {
            (None, Repetition::Required) => {
                let name = &column.name;
                return Err(invalid(format!("column `{name}` has to have a value")).into());
            }
            (Some(value), _) => self.value(column.leaf.physical, value),
            (None, _) => {}
        }
        match self.runs.last_mut() {
            Some((kind, n)) if *kind == is_there => *n += 1,
            _ => self.runs.push((is_there, 1)),
        }
        self.entries += 1;
        if self.values.len() >= PAGE_BYTES || self.entries >= PAGE_ENTRIES {
            self.end_page(column)?;
        }
        Ok(())
    }

    fn value(&mut self, physical: Physical, value: &[u8]) {
        match physical {
            Physical::Bool => {
                if self.bits.is_multiple_of(8) {
                    self.values.push(0);
                }
                if let (Some(last), [1]) = (self.values.last_mut(), value) {
                    *last |= 1 << (self.bits % 8);
                }
                self.bits += 1;
            }
            Physical::Bytes => {
                // A row is far shorter.
                let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
                self.values.extend(length.to_le_bytes());
                self.values.extend(value);
            }
            _ => self.values.extend(value),
        }
    }

    fn end_page(&mut self, column: &Column) -> io::Result<()> {
        if self.entries == 0 {
            return Ok(());
        }
        let mut body = Vec::new();
        if column.repetition != Repetition::Required {
            let mut levels = Vec::new();
            for (is_there, n) in std::mem::take(&mut self.runs) {
                let mut head = n << 1;
                while head >= 0x80 {
                    levels.push((head & 0x7f) as u8 | 0x80);
                    head >>= 7;
                }
                levels.extend([head as u8, u8::from(is_there)]);
            }
            body.extend(u32::try_from(levels.len()).unwrap_or(0).to_le_bytes());
            body.extend(levels);
        }
        self.runs.clear();
        body.append(&mut self.values);
        let packed = zstd::bulk::compress(&body, ZSTD_LEVEL)?;
        let entries = Struct::default()
            .int(1, short(self.entries))
            .int(2, PLAIN)
            .int(3, RLE)
            .int(4, RLE);
        let head = Struct::default()
            .int(1, DATA_PAGE)
            .int(2, short(body.len()))
            .int(3, short(packed.len()))
            .inside(5, entries)
            .end();
        self.unpacked += head.len() + body.len();
        self.pages.extend(head);
        self.pages.extend(packed);
        self.all += self.entries;
        (self.entries, self.bits) = (0, 0);
        Ok(())
    }
}

impl<'w> Writer<'w> {
    pub(super) fn new(out: &'w mut dyn Scratch, columns: Vec<Column>) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        out.write_all(b"PAR1")?;
        Ok(Self {
            out,
            at: 4,
            chunks: columns.iter().map(|_| Chunk::default()).collect(),
            columns,
            rows: 0,
            all: 0,
            groups: Vec::new(),
        })
    }

    /// The next row, a cell for each column.
    pub(super) fn row(&mut self, row: &[&str]) -> Result<(), TableError> {
        if row.len() != self.columns.len() {
            return Err(invalid("a row has not a cell for each column").into());
        }
        let both = self.columns.iter().zip(&mut self.chunks);
        for ((column, chunk), cell) in both.zip(row) {
            chunk.put(column, cell)?;
        }
        self.rows += 1;
        let held = |c: &Chunk| c.pages.len() + c.values.len() + 16 * c.runs.len();
        let is_full = self.rows.is_multiple_of(1024)
            && self.chunks.iter().map(held).sum::<usize>() >= GROUP_BYTES;
        if is_full || self.rows >= GROUP_ROWS {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> io::Result<()> {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for (column, chunk) in self.columns.iter().zip(&mut self.chunks) {
            chunk.end_page(column)?;
            let start = i64::try_from(self.at).unwrap_or(i64::MAX);
            self.out.write_all(&chunk.pages)?;
            self.at += chunk.pages.len() as u64;
            bytes += chunk.unpacked;
            let facts = Struct::default()
                .int(1, number(column.leaf.physical))
                .ints(2, &[PLAIN, RLE])
                .texts(3, &[&column.name])
                .int(4, ZSTD)
                .long(5, signed(chunk.all))
                .long(6, signed(chunk.unpacked))
                .long(7, signed(chunk.pages.len()))
                .long(9, start);
            chunks.push(Struct::default().long(2, start).inside(3, facts).end());
            *chunk = Chunk::default();
        }
        let group = Struct::default().structs(1, &chunks).long(2, signed(bytes));
        self.groups.push(group.long(3, signed(self.rows)).end());
        self.all += self.rows;
        self.rows = 0;
        Ok(())
    }

    /// Writes the footer. `facts`: what it says of itself, as another file does; empty: nothing.
    pub(super) fn finish(mut self, facts: &[u8]) -> io::Result<()> {
        if self.rows > 0 {
            self.end_group()?;
        }
        let root = Struct::default()
            .text(4, "schema")
            .int(5, short(self.columns.len()));
        let columns = self.columns.iter().map(|c| c.element.clone());
        let schema: Vec<Vec<u8>> = std::iter::once(root.end()).chain(columns).collect();
        let mut footer = Struct::default()
            .int(1, VERSION)
            .structs(2, &schema)
            .long(3, signed(self.all))
            .structs(4, &self.groups);
        if !facts.is_empty() {
            footer = footer.raw_list(5, facts);
        }
        let footer = footer.text(6, "modelv").end();
        self.out.write_all(&footer)?;
        let length = u32::try_from(footer.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(b"PAR1")?;
        self.out.flush()
    }
}

/// The number of a type.
fn number(physical: Physical) -> i32 {
    match physical {
        Physical::Bool => 0,
        Physical::Int32 => 1,
        Physical::Int64 => 2,
        Physical::Int96 => 3,
        Physical::Float => 4,
        Physical::Double => 5,
        Physical::Bytes => 6,
        Physical::Fixed(_) => 7,
    }
}
