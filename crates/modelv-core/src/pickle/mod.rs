//! A static reader of Python's pickles, protocols 0 to 5: what a stream would import and build is
//! told, nothing is imported, built or called.
//!
//! It keeps the real stack and memo, because a name that is imported may have been put onto the
//! stack long before. Values live in a list and point to each other by number, so that neither a
//! deep nor a circular one costs more than its bytes. What it can't follow is trouble, never guessed.

mod machine;
mod ops;
#[cfg(test)]
mod tests;
mod torch;

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, SeekFrom};

pub(crate) use torch::{TorchTensor, tensors_of};

use crate::driver::Source;

/// A value, by its number.
pub(crate) type Id = u32;

/// What is known of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing we need.
    Opaque,
    /// Where a tuple, list or call begins on the stack.
    Mark,
    Int(i64),
    /// Short text; long text is opaque.
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An import: `module.name`.
    Global(String),
    /// The result of calling an import.
    Called(String, Vec<Id>),
    /// What the loading program is asked for by this id.
    Persistent(Id),
}

/// Most values of one stream; a tensor's data is none.
const VALUES_MAX: usize = 1 << 21;
/// Longer texts are opaque, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 10;
/// Pickles within pickles (object arrays of joblib) that are followed.
const NESTED_MAX: usize = 8;

/// What a pickle would do.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Everything it imports, as `module.name`.
    pub(crate) globals: BTreeSet<String>,
    /// Why it could not be followed to its end.
    pub(crate) trouble: Option<String>,
    /// Its values.
    pub(crate) values: Vec<Value>,
    /// The result; `None` in trouble.
    pub(crate) root: Option<Id>,
    /// Where it ends in the source.
    pub(crate) end: u64,
}

impl Reading {
    pub(crate) fn value(&self, id: Id) -> &Value {
        self.values.get(id as usize).unwrap_or(&Value::Opaque)
    }
}

/// Reads the pickle that lies at `start` and ends before `end`.
///
/// # Errors
/// The source's own. A stream that ends too early is trouble, not an error.
pub(crate) fn read(source: &mut dyn Source, start: u64, end: u64) -> io::Result<Reading> {
    source.seek(SeekFrom::Start(start))?;
    let mut input = Input {
        inner: BufReader::with_capacity(64 << 10, source),
        at: start,
        end,
    };
    machine::run(&mut input, 0)
}

/// Bytes up to a border.
pub(super) struct Input<'a> {
    inner: BufReader<&'a mut dyn Source>,
    at: u64,
    end: u64,
}

/// Why reading stops: the source fails, or the stream makes no sense.
#[derive(Debug)]
pub(super) enum Stop {
    Io(io::Error),
    Trouble(String),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Trouble("it ends in the middle".into());
        }
        Self::Io(e)
    }
}

fn trouble<T>(text: &str) -> Result<T, Stop> {
    Err(Stop::Trouble(text.to_owned()))
}

impl Input<'_> {
    fn take(&mut self, len: u64) -> Result<(), Stop> {
        let end = self.at.checked_add(len).filter(|at| *at <= self.end);
        let Some(end) = end else {
            return trouble("it ends in the middle");
        };
        self.at = end;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N as u64)?;
        let mut out = [0; N];
        self.inner.read_exact(&mut out)?;
        Ok(out)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.bytes::<1>()?[0])
    }

    fn skip(&mut self, len: u64) -> Result<(), Stop> {
        self.take(len)?;
        let by = i64::try_from(len).map_err(|_| Stop::Trouble("a length is too large".into()))?;
        Ok(self.inner.seek_relative(by)?)
    }

    /// Text of so many bytes; `None` where it is too long to be kept.
    fn text(&mut self, len: u64) -> Result<Option<String>, Stop> {
        if len > TEXT_BYTES_MAX {
            self.skip(len)?;
            return Ok(None);
        }
        self.take(len)?;
        let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
        self.inner.read_exact(&mut out)?;
        Ok(Some(String::from_utf8_lossy(&out).into_owned()))
    }

    /// The rest of a line without its end; `None` where it is too long to be kept.
    fn line(&mut self) -> Result<Option<String>, Stop> {
        let mut out = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if out.len() as u64 <= TEXT_BYTES_MAX => out.push(byte),
                _ => {}
            }
        }
        let fits = out.len() as u64 <= TEXT_BYTES_MAX;
        Ok(fits.then(|| {
            String::from_utf8_lossy(&out)
                .trim_end_matches('\r')
                .to_owned()
        }))
    }
}
