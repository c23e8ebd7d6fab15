//! The table that a merge by key writes, row by row, and what it leaves to decide.

use super::super::super::{Conflict, Labels};
use super::super::TableError;
use super::super::columns::Columns;
use super::super::merge::{Done, decide};
use super::super::rows::Sheet;
use super::keyed::{Act, Texts};
use super::scan::{Writer, alone};

/// Conflicts are kept in memory up to so many bytes; with more, nothing is merged.
const CONFLICT_BYTES_MAX: usize = 32 << 20;

/// The table that is written, and what is left to decide.
pub(super) struct Output<'a> {
    pub(super) separator: Option<char>,
    pub(super) labels: &'a Labels<'a>,
    pub(super) head: &'a str,
    pub(super) acts: &'a [Act],
    pub(super) is_led_by_theirs: bool,
    pub(super) out: Writer<'a>,
    pub(super) done: Done<'a>,
    /// Of what is left to decide.
    pub(super) bytes: usize,
}

impl Output<'_> {
    /// Writes what becomes of one key, if something does.
    pub(super) fn put(&mut self, lead: Option<&str>, texts: Texts) -> Result<(), TableError> {
        let (ours, theirs) = match self.is_led_by_theirs {
            false => (lead, texts.other.as_deref()),
            true => (texts.other.as_deref(), lead),
        };
        let rows = [texts.base.as_deref(), ours, theirs];
        let columns = self.done.columns;
        let row = match self.acts[texts.number] {
            Act::Ours => ours,
            Act::Theirs => theirs,
            Act::Both => {
                let row = match columns {
                    Some(columns) => columns.decide(rows),
                    None => decide(self.separator, rows, self.labels),
                };
                let row = self.decided(rows, row)?;
                return Ok(row.map_or(Ok(()), |row| self.out.row(&row))?);
            }
        };
        Ok(match (row, columns) {
            (Some(row), Some(_)) => self.out.row(&Columns::clear(row)),
            (Some(row), None) => self.out.row(row),
            (None, _) => Ok(()),
        }?)
    }

    /// The row to write, if there is one, and what is left to decide about it.
    fn decided(
        &mut self,
        rows: [Option<&str>; 3],
        row: Result<Option<String>, ()>,
    ) -> Result<Option<String>, TableError> {
        let contests = self.done.columns.map(|c| c.contests(rows));
        let contests = contests.unwrap_or_default();
        if row.is_ok() && contests.is_empty() {
            return Ok(row.unwrap_or_default());
        }
        let texts = rows.iter().flatten().map(|r| r.len() + 64);
        self.bytes += match row {
            Ok(_) => contests.iter().map(|c| c.bytes() + 64).sum::<usize>(),
            Err(()) => texts.sum(),
        };
        if self.bytes > CONFLICT_BYTES_MAX {
            return Err(super::beyond("both sides changed too many of its rows"));
        }
        let [_, ours, theirs] = rows;
        let text = alone(self.head, ours.or(theirs).unwrap_or(""));
        let sheet = Sheet::read(text.as_bytes(), self.separator)?;
        let at = (!sheet.rows.is_empty()).then_some(0);
        let key = at.and_then(|at| sheet.value(at, self.done.column));
        Ok(self.done.row(&key.unwrap_or_default(), rows, row))
    }

    /// All that is left to decide.
    pub(super) fn finish(self) -> Result<Vec<Conflict>, TableError> {
        self.out.finish()?;
        Ok(self.done.finish())
    }
}
