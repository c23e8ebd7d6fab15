//! Reading a file's content from its chunks, with seeking; decodes only the chunks it needs.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Deref;

use modelv_core::id::BlobId;

use crate::error::Error;
use crate::store::Store;
use crate::{Cuts, Tag};

/// Content of one file, read through a borrowed store.
pub type BlobReader<'a> = Reader<&'a Store>;

/// Content of one file. Every chunk is checked against its id before a byte of it is given out.
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
            Some(cuts) => Ok(Self::cut(store, cuts)),
            None => Err(Error::NotFound {
                what: "file content",
                id: id.to_hex(),
            }),
        }
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
        let Some((id, len)) = self.cuts.as_ref().and_then(|c| c.chunks.get(number)) else {
            return Err(Error::corrupt(
                "file content",
                "a chunk is missing from its record",
            ));
        };
        let (id, len) = (*id, *len);
        let mut bytes = self.current.take().map(|(_, b)| b).unwrap_or_default();
        self.store.read_chunk(&id, len, &mut bytes)?;
        self.current = Some((number, bytes));
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
        let target = match to {
            SeekFrom::Start(n) => Some(n),
            SeekFrom::End(n) => self.size.checked_add_signed(n),
            SeekFrom::Current(n) => self.position.checked_add_signed(n),
        };
        self.position = target
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))?;
        Ok(self.position)
    }
}
