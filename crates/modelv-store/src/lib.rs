//! Store of modelv: immutable objects and file contents in packs. See `spec/pack.md`,
//! `spec/pack-index.md` and `spec/blob.md`.
//!
//! What is stored is found by (tag, id). A pack is written once, synced, renamed into place, and
//! never changed. Codecs and cutting are no part of any id, so they can improve.

mod alike;
mod base;
mod cache;
pub mod codec;
pub mod cut;
mod error;
mod factors;
mod fetch;
pub mod fs;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod gc;
mod index;
mod ingest;
pub mod layout;
mod listing;
mod pack;
#[cfg(test)]
mod predict_tests;
mod reader;
pub mod remote;
pub mod repair;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod usage;

pub use cache::{ChunkCache, Places};
pub use error::{Error, Result};
pub use factors::Adapter;
pub use fetch::Sink;
pub use reader::{BlobReader, Reader};
pub use session::{Session, Stats};
pub use store::{Report, Store, unwrap_io};
pub use usage::{Parts, Usage};

use modelv_core::canon::{DecodeError, Kind, Object};
use modelv_core::id::ChunkId;

/// How a blob is cut into chunks: the storage record found by the blob's id.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Cuts {
    /// Bytes of the whole blob.
    pub size: u64,
    /// Chunks in order, with their lengths in bytes.
    pub chunks: Vec<(ChunkId, u32)>,
}

impl Object for Cuts {
    const KIND: Kind = Kind::Cuts;

    fn check(&self) -> std::result::Result<(), DecodeError> {
        let bad = |what| Err(DecodeError::NotCanonical(what));
        if self.chunks.len() < 2 {
            return bad("a cuts record of fewer than two chunks");
        }
        if self
            .chunks
            .iter()
            .any(|(_, len)| *len == 0 || *len as usize > cut::CHUNK_BYTES_MAX)
        {
            return bad("a chunk of no bytes or of more than the limit");
        }
        let sum: u64 = self.chunks.iter().map(|(_, len)| u64::from(*len)).sum();
        if sum != self.size {
            return bad("chunk lengths that do not add up to the size");
        }
        Ok(())
    }
}

/// What kind of thing a pack entry is; the number is the tag byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tag {
    /// A byte range of a file.
    Chunk,
    /// A canonical object, cuts records included.
    Object(Kind),
}

impl Tag {
    const CHUNK: u8 = 0;

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Chunk => Self::CHUNK,
            Self::Object(kind) => kind as u8,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        // Recipes are parts of commits and operations are in the log: neither is ever in a pack.
        const KINDS: [Kind; 5] = [Kind::Tree, Kind::Env, Kind::Commit, Kind::Run, Kind::Cuts];
        if byte == Self::CHUNK {
            return Some(Self::Chunk);
        }
        KINDS
            .into_iter()
            .find(|k| *k as u8 == byte)
            .map(Self::Object)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::Object(Kind::Tree) => "tree",
            Self::Object(Kind::Env) => "environment",
            Self::Object(Kind::Commit) => "commit",
            Self::Object(Kind::Run) => "run",
            Self::Object(Kind::Cuts) => "cuts record",
            Self::Object(_) => "object",
        }
    }
}

/// Key of an entry: tag byte, then id. Sorted so in every index.
pub(crate) type Key = (u8, [u8; 32]);
