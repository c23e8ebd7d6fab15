//! Data by reference: it stays where it is, and commits hold an address and what was found there. See
//! `spec/external.md`.
//!
//! Whoever uses the data gets the bytes that were recorded, or an error that shows both. Must never send
//! credentials to a place that a description names, other than the store of its address; never ask an address
//! that only this machine or network reaches because a description says so (`allow.rs`); and never take what a
//! source has now for what a commit recorded.

mod allow;
mod checkout;
mod copy;
mod declared;
mod fetch;
mod pointer;
mod seen;
#[cfg(test)]
mod tests;
mod verbs;

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_store::remote::{ObjectAt, ObjectState, RemoteError, RemoteOptions};

pub(crate) use allow::ALLOW;
pub(crate) use checkout::{Fetch, Pointers};
pub(crate) use declared::parse as parse_declared;
pub use fetch::Fetched;
pub use pointer::Pointer;
pub(crate) use pointer::{BYTES_MAX, MAGIC, SUFFIX, base_of, pointer_of, shown};
pub(crate) use seen::NAME as CACHE;
pub use verbs::{AddExternal, External, ExternalState, SourceState, Updated};

use allow::Word;

use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::repo::Repo;

/// The setting that says whether checkouts fetch.
const FETCH: &str = "external.fetch";

/// A file that was fetched and is not in its place yet; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Staged {
    file: tempfile::NamedTempFile,
    content: BlobId,
    size: u64,
}

impl Staged {
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }
}

/// A small file that is no link and no pipe.
fn read_small(path: &Path) -> Option<Vec<u8>> {
    if !std::fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    let limit = BYTES_MAX + 1;
    file.take(limit).read_to_end(&mut bytes).ok()?;
    (bytes.len() < usize::try_from(limit).ok()?).then_some(bytes)
}

/// Whether a file of this name may be a description.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.ends_with(SUFFIX)
}

/// Whether the file at `path` is meant as a description, of whatever version.
pub(crate) fn is_pointer(path: &Path) -> bool {
    read_small(path).is_some_and(|bytes| bytes.starts_with(MAGIC))
}

/// Whether the file at `path` is a description: one that can be read, that a merge has left markers in, or of a
/// later version. Any other stands for no data, so that what lies beside it must not be left out for it.
pub(crate) fn is_description(path: &Path) -> bool {
    const MARKER: &[u8] = b"\n<<<<<<< ";
    read_small(path).is_some_and(|bytes| {
        let is_unmerged = || bytes.windows(MARKER.len()).any(|w| w == MARKER);
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let version = line.strip_prefix(MAGIC).unwrap_or_default();
        let is_number = !version.is_empty() && version.iter().all(u8::is_ascii_digit);
        is_number && (version != b"1" || is_unmerged() || Pointer::read(&bytes).is_ok())
    })
}

/// The part of an address that settings of a remote hold for: scheme and bucket.
fn bucket_of(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    Some(&url[..end])
}

impl Repo {
    /// Whether checkouts bring external data.
    pub(crate) fn fetches_externals(&self) -> Fetch {
        match self.config(FETCH).as_deref() {
            Some("off") => Fetch::Nothing,
            _ => Fetch::Allowed,
        }
    }

    /// How a source is reached: as the remote in the same bucket, or as this repository is configured. A
    /// description never says it: a clone would send its credentials wherever that wants.
    fn options_for(&self, url: &str) -> RemoteOptions {
        let same =
            |remote: &str| bucket_of(remote).is_some() && bucket_of(remote) == bucket_of(url);
        let remote = self.remotes().into_iter().find(|r| same(&r.url));
        remote.map_or_else(
            || RemoteOptions {
                endpoint: self.config("external.endpoint"),
                region: self.config("external.region"),
            },
            |remote| remote.options,
        )
    }

    fn source(&self, url: &str, word: Word) -> Result<ObjectAt> {
        let way = self.allowed_externals().way(url, word);
        Ok(ObjectAt::open_guarded(url, &self.options_for(url), &way)?)
    }

    /// Fetches a source to a file of its own. Stops where there is more than `size`, if that is known.
    fn download(
        &self,
        source: &ObjectAt,
        version: Option<&str>,
        size: Option<u64>,
        ctx: &Ctx<'_>,
    ) -> Result<Staged> {
        let tmp = self.dir().join("tmp");
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix("external-").tempfile_in(&tmp);
        let mut file = made.map_err(Error::io("create a file in", &tmp))?;
        let mut hasher = blake3::Hasher::new();
        let mut got = 0u64;
        ctx.progress
            .start(&format!("fetching {}", source.url()), Unit::Bytes, size);
        let is_too_long = |got: u64| size.is_some_and(|size| got > size);
        let path = file.path().to_owned();
        let mut failed = None;
        let done = source.download(version, &mut |bytes| {
            if ctx.cancel.is_cancelled() {
                return Err(RemoteError::Stopped);
            }
            got += bytes.len() as u64;
            hasher.update(bytes);
            ctx.progress.advance(bytes.len() as u64);
            // What is too long is not believed, and need not be kept.
            if is_too_long(got) {
                return Err(RemoteError::Stopped);
            }
            file.write_all(bytes).map_err(|e| {
                failed = Some(e);
                RemoteError::Stopped
            })
        });
        ctx.progress.finish();
        ctx.cancel.check()?;
        if let Some(e) = failed {
            return Err(Error::io("write", path)(e));
        }
        match done {
            Err(RemoteError::Stopped) if is_too_long(got) => {}
            done => done?,
        }
        Ok(Staged {
            file,
            content: BlobId(*hasher.finalize().as_bytes()),
            size: got,
        })
    }

    /// The bytes that a description is about, checked against it. Whether its address may be asked is for the
    /// caller to say.
    ///
    /// # Errors
    /// [`Error::SourceChanged`] shows what was recorded and what is there; the source can't be read.
    pub(crate) fn fetch_external(
        &self,
        base: &RepoPath,
        pointer: &Pointer,
        word: Word,
        ctx: &Ctx<'_>,
    ) -> Result<Staged> {
        let source = self.source(&pointer.url, word)?;
        let version = pointer.state.version.as_deref();
        let recorded = version
            .map(|v| source.state(Some(v)))
            .transpose()?
            .flatten();
        // A version that is gone: what is there instead has to be it.
        let version = version.filter(|_| recorded.is_some());
        let found = match recorded {
            Some(state) => state,
            None => source.state(None)?.ok_or_else(|| Error::SourceChanged {
                path: base.to_string(),
                url: pointer.url.clone(),
                recorded: shown(&pointer.state, pointer.content.as_ref()),
                found: "nothing".into(),
            })?,
        };
        let changed = |found: &ObjectState, content: Option<&BlobId>| Error::SourceChanged {
            path: base.to_string(),
            url: pointer.url.clone(),
            recorded: shown(&pointer.state, pointer.content.as_ref()),
            found: shown(found, content),
        };
        let is_same = match pointer.content {
            Some(_) => found.size == pointer.state.size,
            None => pointer.is_as(&found),
        };
        if !is_same {
            return Err(changed(&found, None));
        }
        let staged = self.download(&source, version, Some(pointer.state.size), ctx)?;
        let is_right = staged.size == pointer.state.size
            && pointer.content.is_none_or(|id| id == staged.content);
        match is_right {
            true => Ok(staged),
            false => Err(changed(
                &ObjectState {
                    size: staged.size,
                    ..found
                },
                Some(&staged.content),
            )),
        }
    }

    /// Brings external data into the store, for who reads it without a checkout.
    pub(crate) fn store_external(
        &self,
        base: &RepoPath,
        pointer: &Pointer,
        ctx: &Ctx<'_>,
    ) -> Result<BlobId> {
        let content = pointer.content.ok_or_else(|| checkout::unread(base))?;
        if self.store.has_blob(&content)? {
            return Ok(content);
        }
        // What lies in the working tree need not come from afar.
        let mut seen = self.seen();
        let here = seen.look(self, base, ctx)?.filter(|f| f.blob == content);
        seen.save();
        let staged = match here {
            Some(_) => None,
            None => {
                self.allowed_externals().check(base, &pointer.url)?;
                Some(self.fetch_external(base, pointer, Word::Commit, ctx)?)
            }
        };
        let path: PathBuf = match &staged {
            Some(staged) => staged.path().to_owned(),
            None => crate::worktree::place(self.root(), base),
        };
        let mut file = std::fs::File::open(&path).map_err(Error::io("read", &path))?;
        file.rewind().map_err(Error::io("read", &path))?;
        let session = self.store.begin()?;
        let (stored, _) = session.put_file(&mut file, pointer.state.size, None)?;
        if stored != content {
            return Err(Error::ChangedWhileRead { path });
        }
        session.finish()?;
        Ok(content)
    }
}
