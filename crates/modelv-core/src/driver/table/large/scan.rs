//! A large table, read batch by batch, each a small table of its own; and written row by row.

use std::io::{self, BufWriter, SeekFrom, Write};

use super::super::super::{Refusal, Source};
use super::super::TableError;
use super::super::reader::Rows;
use super::super::rows::Sheet;
use super::{ROWS_MAX, Scratch};

/// Rows looked at together.
const BATCH_ROWS: usize = 1 << 14;

/// What is known of a table once it has been read, or its begin has.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Everything before the first row.
    pub(super) head: String,
    /// Names of the columns; of JSON Lines, the fields of the first row.
    pub(super) header: Vec<String>,
    /// Rows read.
    pub(super) rows: usize,
    /// Whether lines end as on Windows, one at least.
    pub(super) crlf: bool,
    /// Whether the last line ends.
    pub(super) ends: bool,
}

/// Reads a table from its start until `work` has seen enough; `None` is an empty one.
pub(super) fn batches(
    source: Option<&mut dyn Source>,
    separator: Option<char>,
    work: &mut dyn FnMut(&Sheet<'_>) -> Result<bool, TableError>,
) -> Result<Facts, TableError> {
    let mut facts = Facts {
        ends: true,
        ..Facts::default()
    };
    let Some(source) = source else {
        return Ok(facts);
    };
    source.seek(SeekFrom::Start(0))?;
    let mut rows = Rows::new(Some(source), separator == Some(','));
    let mut is_first = true;
    loop {
        if rows.is_low() {
            rows.fill()?;
        }
        let spans = rows.ahead(BATCH_ROWS);
        let is_last = rows.source.is_none() && spans.len() < BATCH_ROWS;
        let length = match spans.last() {
            _ if is_last => rows.rest().len(),
            Some(span) => span.end,
            None => return Err(super::beyond("a row is longer than 8 MiB")),
        };
        let piece = &rows.rest()[..length];
        let text = [facts.head.as_bytes(), piece].concat();
        let sheet = Sheet::read(&text, separator).map_err(|refusal| match refusal {
            // Its number would be that in the batch.
            Refusal::Invalid(_) if !is_first => {
                Refusal::Invalid("a row does not fit the first line".into())
            }
            other => other,
        })?;
        if is_first {
            facts.head = sheet.head().to_owned();
            facts.header.clone_from(&sheet.header);
        }
        facts.crlf |= memchr::memmem::find(piece, b"\r\n").is_some();
        facts.ends = piece.last().map_or(facts.ends, |last| *last == b'\n');
        facts.rows += sheet.rows.len();
        if facts.rows > ROWS_MAX {
            return Err(super::beyond("it has more than 33 million rows"));
        }
        if !work(&sheet)? || is_last {
            return Ok(facts);
        }
        is_first = false;
        rows.at += length;
    }
}

/// The begin of a table.
pub(super) fn begin(
    source: Option<&mut dyn Source>,
    separator: Option<char>,
) -> Result<Facts, TableError> {
    batches(source, separator, &mut |_| Ok(false))
}

/// Puts rows together in the layout of one table.
pub(super) struct Writer<'w> {
    out: BufWriter<&'w mut dyn Scratch>,
    end: &'static str,
    /// The line end that stands before what comes next.
    owed: &'static str,
    final_end: bool,
}

impl<'w> Writer<'w> {
    pub(super) fn new(out: &'w mut dyn Scratch, like: &Facts) -> io::Result<Self> {
        let end = if like.crlf { "\r\n" } else { "\n" };
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 20, out),
            end,
            owed: "",
            final_end: like.ends,
        };
        let head = &like.head;
        if let Some(line) = head.strip_suffix(end) {
            writer.out.write_all(line.as_bytes())?;
            writer.owed = end;
            return Ok(writer);
        }
        writer.out.write_all(head.as_bytes())?;
        let is_bare = head.trim_start_matches('\u{feff}').is_empty() || head.ends_with('\n');
        writer.owed = if is_bare { "" } else { end };
        Ok(writer)
    }

    pub(super) fn row(&mut self, row: &str) -> io::Result<()> {
        self.out.write_all(self.owed.as_bytes())?;
        self.owed = self.end;
        self.out.write_all(row.as_bytes())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.final_end {
            self.out.write_all(self.owed.as_bytes())?;
        }
        self.out.flush()
    }
}
