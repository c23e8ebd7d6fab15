//! Remotes: the same packs in any object store, and one root object that says which of them count
//! and where the refs point. See `spec/remote.md`.
//!
//! Everything but the root is immutable and named by its hash, so sending it twice changes nothing.
//! The root moves by conditional put alone (`swap.rs`). The only module tree that knows `tokio` and
//! the network, and it must never let either out: every call here blocks.

mod backend;
mod catalog;
mod cloud;
mod collect;
mod error;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod guard;
pub(crate) mod lazy;
#[cfg(test)]
mod likely_tests;
mod local;
mod mend;
mod object;
mod outgoing;
mod parts;
mod profile;
mod receive;
mod root;
mod send;
#[cfg(feature = "faults")]
mod simulate;
mod stage;
#[cfg(test)]
mod storm;
mod swap;
#[cfg(test)]
mod tests;
mod url;

use std::path::{Path, PathBuf};

pub use catalog::Catalog;
pub use collect::{CollectOptions, Collection, RemoteCollector};
pub use error::{RemoteError, Trouble};
pub use guard::{Guard, Reach, Way};
pub use lazy::{Lazy, Source};
pub use mend::{Mend, Spare};
pub use object::{ObjectAt, ObjectState, shown_url, split_query};
pub use outgoing::Outgoing;
pub use receive::{Incoming, Received};
pub use root::{Change, Make, PackInfo, Root};
pub use send::Sent;
pub use url::RemoteOptions;

use backend::Backend;
use modelv_core::canon::Kind;
use modelv_core::id::BlobId;

/// Result with the remote's error.
pub type Result<T, E = RemoteError> = std::result::Result<T, E>;

/// Watches long transfers, and may stop them.
pub trait Watch: Sync {
    /// A transfer of about so many bytes starts.
    fn start(&self, task: &str, bytes: u64);
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
    /// The transfer has ended.
    fn finish(&self);
    /// Whether to stop as soon as possible.
    fn is_stopped(&self) -> bool;
}

/// Shows nothing and never stops.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Counts bytes; an error when the watcher wants to stop.
fn tick(watch: &dyn Watch, bytes: u64) -> Result<()> {
    watch.advance(bytes);
    if watch.is_stopped() {
        return Err(RemoteError::Stopped);
    }
    Ok(())
}

/// What an object leads to: the thing that is asked for or sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// A canonical object.
    Object(Kind, [u8; 32]),
    /// The content of a file.
    Blob(BlobId),
}

/// An open remote. Nothing has been asked of it yet when it is opened.
#[derive(Debug)]
pub struct Remote {
    url: String,
    backend: Box<dyn Backend>,
    /// Pack indexes and lists of packs that were seen: immutable, may be deleted at any time.
    cache: PathBuf,
}

impl Remote {
    /// Opens the remote at `url`, keeping what it learns in the folder `cache`.
    ///
    /// # Errors
    /// The address is not one, or credentials are missing.
    pub fn open(url: &str, options: &RemoteOptions, cache: &Path) -> Result<Self> {
        Ok(Self {
            url: url.to_owned(),
            backend: url::open(url, options)?,
            cache: cache.to_owned(),
        })
    }

    #[cfg(test)]
    fn over(backend: impl Backend + 'static, cache: &Path) -> Self {
        Self {
            url: "test:".into(),
            backend: Box::new(backend),
            cache: cache.to_owned(),
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The root; `None` when there is no repository yet.
    ///
    /// # Errors
    /// The remote can't be reached, or the root is damaged.
    pub fn root(&self) -> Result<Option<Root>> {
        let found = self.backend.read(root::KEY, root::BYTES_MAX)?;
        found
            .map(|(bytes, _)| root::decode_root(&self.url, &bytes))
            .transpose()
    }

    /// Tries out whether the remote really compares and swaps: writers race for an object, exactly
    /// one must win, and a stale condition must fail.
    ///
    /// # Errors
    /// [`RemoteError::NoSwap`] when it does not; or it can't be reached or written.
    pub fn check_swap(&self) -> Result<()> {
        swap::probe(self.backend.as_ref(), &self.url)
    }

    /// Whether refs can be moved here at all.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.backend.is_read_only()
    }

    /// Moves the root: `make` gets the current one and gives the refs and head as they are to be,
    /// or `None` to leave it; it is asked again whenever another writer was faster. The packs that
    /// were sent are added.
    ///
    /// # Errors
    /// Those of `make`; [`RemoteError::Unknown`] when the remote did not say whether it happened;
    /// [`RemoteError::Busy`] when others were faster all the time.
    pub fn swap<E: From<RemoteError>>(
        &self,
        sent: &Sent,
        make: &mut Make<'_, E>,
    ) -> Result<Option<Root>, E> {
        swap::swap(self, sent, swap::PATIENCE, make)
    }
}

/// Runs the same work on several threads; the first error is the result.
fn on_threads(threads: usize, work: &(dyn Fn() -> Result<()> + Sync)) -> Result<()> {
    std::thread::scope(|scope| {
        let hands: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        hands
            .into_iter()
            .map(|hand| hand.join().unwrap_or_else(|_| Err(thread_died())))
            .fold(Ok(()), Result::and)
    })
}

fn thread_died() -> RemoteError {
    crate::Error::Input(std::io::Error::other("a worker thread ended early")).into()
}
