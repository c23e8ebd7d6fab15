//! One large table, read in pieces: where its rows stand. Must never hold more than a few rows'
//! worth of bytes, nor look into a row.

use std::io::{self, Read};

use super::super::Source;

/// A longer row is refused, in bytes.
pub(super) const ROW_BYTES_MAX: usize = 8 << 20;

/// One table, read in pieces.
pub(super) struct Rows<'s> {
    pub(super) source: Option<&'s mut dyn Source>,
    quotes: bool,
    pub(super) buffer: Vec<u8>,
    pub(super) at: usize,
    pub(super) rows: u64,
}

/// Where a row ends: its text, and all its bytes.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) text: usize,
    pub(super) end: usize,
}

impl<'s> Rows<'s> {
    pub(super) fn new(source: Option<&'s mut dyn Source>, quotes: bool) -> Self {
        Self {
            source,
            quotes,
            buffer: Vec::new(),
            at: 0,
            rows: 0,
        }
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads on until the buffer is full or the table ends.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        self.buffer.drain(..self.at);
        self.at = 0;
        let room = 2 * ROW_BYTES_MAX - self.buffer.len();
        let read = source
            .by_ref()
            .take(room as u64)
            .read_to_end(&mut self.buffer)?;
        if read < room {
            self.source = None;
        }
        Ok(())
    }

    /// Whether more is to be read before a decision about what comes next.
    pub(super) fn is_low(&self) -> bool {
        self.source.is_some() && self.buffer.len() - self.at < ROW_BYTES_MAX
    }

    /// The next rows, blank ones left out; fewer at the end of what is there.
    pub(super) fn ahead(&self, count: usize) -> Vec<Span> {
        let rest = self.rest();
        let mut out = Vec::with_capacity(count);
        let (mut start, mut quoted) = (0, false);
        let mut add = |start: usize, stop: usize, end: usize| {
            let line = rest[start..stop]
                .strip_suffix(b"\r")
                .unwrap_or(&rest[start..stop]);
            if !line.trim_ascii().is_empty() {
                out.push(Span {
                    start,
                    text: start + line.len(),
                    end,
                });
            }
            out.len() == count
        };
        for i in memchr::memchr2_iter(b'\n', if self.quotes { b'"' } else { b'\n' }, rest) {
            if rest[i] == b'"' {
                quoted = !quoted;
            } else if !quoted {
                if add(start, i, i + 1) {
                    return out;
                }
                start = i + 1;
            }
        }
        if self.source.is_none() && !quoted && start < rest.len() {
            add(start, rest.len(), rest.len());
        }
        out
    }

    /// Passes over whole rows of the first `length` bytes; says how many bytes these are.
    pub(super) fn pass(&mut self, length: usize) -> usize {
        let rest = &self.buffer[self.at..self.at + length];
        let (mut start, mut quoted, mut rows) = (0, false, 0);
        for i in memchr::memchr2_iter(b'\n', if self.quotes { b'"' } else { b'\n' }, rest) {
            if rest[i] == b'"' {
                quoted = !quoted;
            } else if !quoted {
                // Only what begins blank can be blank.
                let blank = rest[start] <= b' ' && rest[start..i].trim_ascii().is_empty();
                rows += u64::from(!blank);
                start = i + 1;
            }
        }
        self.rows += rows;
        self.at += start;
        start
    }
}

/// How many bytes at the begin are the same.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut at = 0;
    for (x, y) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        if x != y {
            return at + x.iter().zip(y).position(|(x, y)| x != y).unwrap_or(0);
        }
        at += x.len();
    }
    at
}
