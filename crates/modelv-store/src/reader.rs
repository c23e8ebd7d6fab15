//! Reading a file's content from its chunks, with seeking; decodes only the chunks it needs.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Deref;

use modelv_core::id::BlobId;

use crate::error::Error;
use crate::remote::lazy::Found;
use crate::store::Store;
use crate::{Cuts, Tag};

/// Content of one file, read through a borrowed store.
pub type BlobReader<'a> = Reader<&'a Store>;

/// Content of one file. Every chunk is checked against its id before a byte of it is given out; of
/// a file that is read from its first byte to its last, the whole is checked against its id too,
/// before the end is given out. Seeking reads nothing; reading decodes the chunks it needs, and keeps
/// one of them.
///
/// ```no_run
/// use std::io::{Read, Seek, SeekFrom};
///
/// # fn example(id: &modelv_core::id::BlobId) -> Result<(), Box<dyn std::error::Error>> {
/// let store = modelv_store::Store::open(".mv".as_ref())?;
/// let mut file = store.open_blob(id)?;
/// file.seek(SeekFrom::End(-100))?;
/// let mut last = Vec::new();
/// file.read_to_end(&mut last)?;
/// # Ok(())
/// # }
/// ```
///
/// `S` is a borrowed store, or whatever keeps one alive for as long as the reader.
#[derive(Debug)]
pub struct Reader<S> {
    store: S,
    cuts: Option<Cuts>,
    /// Offset of each chunk; empty for a blob of one chunk.
    starts: Vec<u64>,
    size: u64,
    position: u64,
    /// The chunk in memory: its number and bytes.
    current: Option<(usize, Vec<u8>)>,
    /// Of a cut blob that was read from the front so far.
    whole: Option<Whole>,
}

/// The check of a blob whose chunks may each be right, and yet be another file's.
#[derive(Debug)]
struct Whole {
    id: BlobId,
    hasher: blake3::Hasher,
    /// Bytes hashed so far.
    upto: u64,
}

impl<S: Deref<Target = Store>> Reader<S> {
    /// Opens the content of a blob; see [`Store::open_blob`].
    ///
    /// # Errors
    /// Missing or damaged.
    pub fn open(store: S, id: &BlobId) -> Result<Self, Error> {
        if let Some(bytes) = store.read(&(Tag::Chunk.byte(), id.0))? {
            return Ok(Self::whole(store, bytes));
        }
        match store.cuts(id)? {
            Some(cuts) => Ok(Self::checked(store, cuts, id)),
            None => Self::brought(store, id),
        }
    }

    /// The same of a content that is not here.
    fn brought(store: S, id: &BlobId) -> Result<Self, Error> {
        let found = match store.lazy() {
            Some(lazy) => lazy.open(id)?,
            None => {
                let (what, id) = ("file content", id.to_hex());
                return Err(Error::NotFound { what, id });
            }
        };
        Ok(match found {
            Found::Whole(bytes) => Self::whole(store, bytes),
            Found::Cut(cuts) => Self::checked(store, cuts, id),
        })
    }

    /// A cut content, whose id is checked when it is read from the front.
    fn checked(store: S, cuts: Cuts, id: &BlobId) -> Self {
        let mut reader = Self::cut(store, cuts);
        reader.whole = Some(Whole {
            id: *id,
            hasher: blake3::Hasher::new(),
            upto: 0,
        });
        reader
    }

    fn whole(store: S, bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        let current = Some((0, bytes));
        Self {
            store,
            cuts: None,
            starts: Vec::new(),
            size,
            position: 0,
            current,
            whole: None,
        }
    }

    pub(crate) fn cut(store: S, cuts: Cuts) -> Self {
        let mut at = 0;
        let starts = cuts
            .chunks
            .iter()
            .map(|(_, len)| {
                let start = at;
                at += u64::from(*len);
                start
            })
            .collect();
        let size = cuts.size;
        Self {
            store,
            cuts: Some(cuts),
            starts,
            size,
            position: 0,
            current: None,
            whole: None,
        }
    }

    /// Bytes of the whole content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number and offset of the chunk that holds `position`.
    fn locate(&self, position: u64) -> (usize, u64) {
        match self.starts.partition_point(|s| *s <= position) {
            0 => (0, 0),
            n => (n - 1, self.starts[n - 1]),
        }
    }

    fn load(&mut self, number: usize) -> Result<(), Error> {
        if self.current.as_ref().is_some_and(|(n, _)| *n == number) {
            return Ok(());
        }
        let chunks = self.cuts.as_ref().map(|c| c.chunks.as_slice());
        let chunks = chunks.and_then(|c| c.get(number..)).unwrap_or_default();
        let mut bytes = self.current.take().map(|(_, b)| b).unwrap_or_default();
        self.store.read_first_chunk(chunks, &mut bytes)?;
        self.current = Some((number, bytes));
        Ok(())
    }

    /// Hashes what is about to be given out, if all before it was; checks the id at the end.
    fn check_whole(&mut self, given: usize) -> Result<(), Error> {
        let (number, start) = self.locate(self.position);
        let Some(whole) = self.whole.as_mut().filter(|w| w.upto == self.position) else {
            return Ok(());
        };
        let bytes = match &self.current {
            Some((n, bytes)) if *n == number => &bytes[..],
            _ => &[],
        };
        let at = usize::try_from(self.position - start).unwrap_or(usize::MAX);
        let part = bytes.get(at..).and_then(|b| b.get(..given));
        whole.hasher.update(part.unwrap_or_default());
        whole.upto += given as u64;
        if whole.upto == self.size && *whole.hasher.finalize().as_bytes() != whole.id.0 {
            let what = format!("file content `{}`", whole.id.short());
            // From here on every read fails.
            (self.cuts, self.current) = (None, None);
            return Err(Error::corrupt(what, "its chunks are another file's"));
        }
        Ok(())
    }
}

impl<S: Deref<Target = Store>> Read for Reader<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buf.is_empty() {
            return Ok(0);
        }
        let (number, start) = self.locate(self.position);
        self.load(number).map_err(io::Error::other)?;
        let held = self.current.as_ref().map_or(0, |(_, b)| b.len() as u64);
        let given = (start + held).saturating_sub(self.position);
        let given = usize::try_from(given).unwrap_or(usize::MAX).min(buf.len());
        self.check_whole(given).map_err(io::Error::other)?;
        let bytes = self.current.as_ref().map_or(&[][..], |(_, b)| b);
        let at = usize::try_from(self.position - start).unwrap_or(usize::MAX);
        let rest = bytes.get(at..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl<S> Seek for Reader<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = target(to, self.size, self.position)?;
        Ok(self.position)
    }
}

/// Where a seek leads in so many bytes, from a position.
pub(crate) fn target(to: SeekFrom, size: u64, position: u64) -> io::Result<u64> {
    let target = match to {
        SeekFrom::Start(n) => Some(n),
        SeekFrom::End(n) => size.checked_add_signed(n),
        SeekFrom::Current(n) => position.checked_add_signed(n),
    };
    target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))
}
