//! Rows put together from the columns, one after the other, as lines of JSON.

use std::io::{self, Read, Seek, SeekFrom};

use super::super::tensor::Source;
use super::super::{Refusal, TableError};
use super::footer::{self, Footer, Leaf, Logical, Node, Repetition, beyond, invalid};
use super::page::Column;
use super::{cells, text};

/// A longer row is refused, in bytes.
const ROW_BYTES_MAX: usize = 8 << 20;
/// The pages of all columns that are read at once take no more than this, in bytes.
const HELD_BYTES_MAX: usize = 256 << 20;
/// So many lines are made ahead, in bytes.
const AHEAD_BYTES: usize = 64 << 10;
/// A file may unpack to so many times its size, and to [`FREE_BYTES`].
const TIMES_MAX: u64 = 1_000;
const FREE_BYTES: u64 = 256 << 20;

/// The rows of a file as JSON Lines.
pub(super) struct Lines<'s> {
    pub(super) footer: Footer,
    columns: Columns<'s>,
    /// The next row group, and rows left of this one.
    group: usize,
    left: u64,
    text: Vec<u8>,
    given: usize,
    /// Lines of cells instead of JSON.
    has_cells: bool,
}

/// Where all columns of a row group are read.
struct Columns<'s> {
    source: &'s mut dyn Source,
    leaves: Vec<Leaf>,
    columns: Vec<Column>,
    held: usize,
    /// Bytes that may still be unpacked.
    budget: u64,
    /// Where the line that is written has to end.
    limit: usize,
}

impl<'s> Lines<'s> {
    pub(super) fn open(source: &'s mut dyn Source) -> Result<Self, TableError> {
        let (footer, size) = footer::read(source)?;
        if footer.leaves.is_empty() {
            return Err(beyond("it has no columns").into());
        }
        Ok(Self {
            columns: Columns {
                source,
                leaves: footer.leaves.clone(),
                columns: Vec::new(),
                held: 0,
                budget: size.saturating_mul(TIMES_MAX).saturating_add(FREE_BYTES),
                limit: 0,
            },
            footer,
            group: 0,
            left: 0,
            text: Vec::new(),
            given: 0,
            has_cells: false,
        })
    }

    /// The rows as lines of cells under the names of the columns.
    pub(super) fn open_cells(source: &'s mut dyn Source) -> Result<Self, TableError> {
        let mut out = Self::open(source)?;
        cells::check(&out.footer)?;
        out.text = cells::head(&out.footer.columns).into_bytes();
        out.has_cells = true;
        Ok(out)
    }

    /// Writes the next row; `false` at the end.
    fn row(&mut self) -> Result<bool, TableError> {
        while self.left == 0 {
            self.columns.end_group()?;
            let Some(group) = self.footer.groups.get(self.group) else {
                return Ok(false);
            };
            self.group += 1;
            self.left = group.rows;
            let both = self.footer.leaves.iter().zip(&group.chunks);
            self.columns.columns = both.map(|(leaf, chunk)| Column::new(leaf, chunk)).collect();
            self.columns.held = 0;
        }
        self.left -= 1;
        self.columns.limit = self.text.len() + ROW_BYTES_MAX;
        let line = if self.has_cells { line } else { object };
        line(&self.footer.columns, &mut self.columns, &mut self.text)?;
        self.text.push(b'\n');
        self.columns.end_row()?;
        Ok(true)
    }

    fn fill(&mut self) -> Result<(), TableError> {
        self.text.clear();
        self.given = 0;
        while self.text.len() < AHEAD_BYTES && self.row()? {}
        Ok(())
    }
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.text.len() {
            self.fill().map_err(|e| match e {
                TableError::Io(e) => e,
                // Whoever reads takes it out again.
                TableError::Refused(refusal) => io::Error::other(refusal),
            })?;
        }
        let n = (&self.text[self.given..]).read(buffer)?;
        self.given += n;
        Ok(n)
    }
}

/// Tables are read from the front, once.
impl Seek for Lines<'_> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Columns<'_> {
    /// Levels of the next entry of a leaf; `None` at the end of its column.
    fn peek(&mut self, leaf: usize) -> Result<Option<(u8, u8)>, TableError> {
        let column = &mut self.columns[leaf];
        if column.is_at_end_of_page() {
            let before = column.held();
            let Some(work) = column.load(self.source)? else {
                return Ok(None);
            };
            self.held = self.held - before.min(self.held) + column.held();
            if self.held > HELD_BYTES_MAX {
                return Err(beyond("its pages take more than 256 MiB at once").into());
            }
            let left = self.budget.checked_sub(work as u64);
            self.budget =
                left.ok_or_else(|| beyond("it unpacks to more than 1000 times its size"))?;
        }
        Ok(Some(column.levels()))
    }

    fn next(&mut self, leaf: usize) -> Result<Option<&[u8]>, TableError> {
        if self.peek(leaf)?.is_none() {
            return Err(invalid("a column ends before its rows do").into());
        }
        Ok(self.columns[leaf].next()?)
    }

    /// One entry without a value in every leaf of a column.
    fn absent(&mut self, node: &Node) -> Result<(), TableError> {
        for leaf in node.leaves.clone() {
            if self.next(leaf)?.is_some() {
                return Err(invalid("a column has a value where another has none").into());
            }
        }
        Ok(())
    }

    /// What is nested ends with its row.
    fn end_row(&mut self) -> Result<(), TableError> {
        for leaf in 0..self.leaves.len() {
            if self.leaves[leaf].max_rep > 0
                && let Some((rep, _)) = self.peek(leaf)?
                && rep != 0
            {
                return Err(invalid("a list goes on behind its row").into());
            }
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), TableError> {
        for leaf in 0..self.columns.len() {
            if self.peek(leaf)?.is_some() {
                return Err(invalid("a column goes on behind its rows").into());
            }
        }
        Ok(())
    }
}

fn object(nodes: &[Node], columns: &mut Columns<'_>, out: &mut Vec<u8>) -> Result<(), TableError> {
    for (i, node) in nodes.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        out.extend_from_slice(node.label.as_bytes());
        field(node, columns, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// A row of cells.
fn line(nodes: &[Node], columns: &mut Columns<'_>, out: &mut Vec<u8>) -> Result<(), TableError> {
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 {
            out.push(b'\t');
        }
        let at = node.leaves.start;
        let leaf = columns.leaves[at];
        let raw = columns.next(at)?;
        if raw.is_none() && node.repetition == Repetition::Required {
            return Err(invalid("a value that has to be there is not").into());
        }
        cells::write(out, &leaf, raw);
        if out.len() > columns.limit {
            return Err(beyond("a row is longer than 8 MiB").into());
        }
    }
    Ok(())
}

/// A column of one row, or of one entry of a list.
fn field(node: &Node, columns: &mut Columns<'_>, out: &mut Vec<u8>) -> Result<(), TableError> {
    if node.repetition == Repetition::Required {
        return value(node, columns, out);
    }
    let first = node.leaves.start;
    let Some((_, def)) = columns.peek(first)? else {
        return Err(invalid("a column ends before its rows do").into());
    };
    let is_there = def >= node.max_def;
    match (node.repetition, is_there) {
        (Repetition::Repeated, false) => {
            out.extend_from_slice(b"[]");
            columns.absent(node)
        }
        (_, false) => {
            out.extend_from_slice(b"null");
            columns.absent(node)
        }
        (Repetition::Repeated, true) => {
            let mut sign = b'[';
            loop {
                out.push(sign);
                value(node, columns, out)?;
                sign = b',';
                let next = columns.peek(first)?;
                if next.is_none_or(|(rep, _)| rep < node.max_rep) {
                    break;
                }
            }
            out.push(b']');
            Ok(())
        }
        (_, true) => value(node, columns, out),
    }
}

/// What is there, of one entry.
fn value(node: &Node, columns: &mut Columns<'_>, out: &mut Vec<u8>) -> Result<(), TableError> {
    if out.len() > columns.limit {
        return Err(beyond("a row is longer than 8 MiB").into());
    }
    if node.inside.is_empty() {
        let leaf = columns.leaves[node.leaves.start];
        let Some(raw) = columns.next(node.leaves.start)? else {
            return Err(invalid("a value that has to be there is not").into());
        };
        text::write(out, &leaf, raw);
        return Ok(());
    }
    // Lists and maps are wrapped in groups that mean nothing by themselves.
    match (node.logical, node.inside.as_slice()) {
        (Logical::List, [list]) if list.repetition == Repetition::Repeated => {
            elements(list, columns, out)
        }
        (Logical::Map, [map]) if map.repetition == Repetition::Repeated => field(map, columns, out),
        _ => object(&node.inside, columns, out),
    }
}

/// The entries of a list, each without the group around it.
fn elements(list: &Node, columns: &mut Columns<'_>, out: &mut Vec<u8>) -> Result<(), TableError> {
    let [element] = list.inside.as_slice() else {
        return field(list, columns, out);
    };
    let first = list.leaves.start;
    let Some((_, def)) = columns.peek(first)? else {
        return Err(invalid("a column ends before its rows do").into());
    };
    if def < list.max_def {
        out.extend_from_slice(b"[]");
        return columns.absent(list);
    }
    let mut sign = b'[';
    loop {
        out.push(sign);
        field(element, columns, out)?;
        sign = b',';
        let next = columns.peek(first)?;
        if next.is_none_or(|(rep, _)| rep < list.max_rep) {
            break;
        }
    }
    out.push(b']');
    Ok(())
}

/// What a refusal became on its way through a reader.
pub(super) fn refusal_of(error: TableError) -> TableError {
    match error {
        TableError::Io(e) => match e.downcast::<Refusal>() {
            Ok(refusal) => refusal.into(),
            Err(e) => TableError::Io(e),
        },
        refused @ TableError::Refused(_) => refused,
    }
}
