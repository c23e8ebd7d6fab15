//! Files of commits, opened one by one: found through the trees, read with seeking, chunk by chunk.
//!
//! A reader keeps its repository alive; it must never give out a byte that was not checked.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_core::tree::{self, Mode};
use modelv_store::{Error as StoreError, Reader, Store, unwrap_io};

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::external::{self, Pointer};
use crate::repo::Repo;
use crate::worktree::{Ingredient, Rules};

/// A repository that is held open for its store.
#[derive(Debug)]
struct Held(Arc<Repo>);

impl Deref for Held {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0.store
    }
}

/// The content of one file of a commit.
#[derive(Debug)]
pub struct FileReader {
    inner: Reader<Held>,
}

impl FileReader {
    /// Bytes of the whole file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// Reads what comes next; 0 at the end. Fills less than `buf` at the border of a chunk.
    ///
    /// # Errors
    /// A chunk is missing or damaged.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        Ok(self.inner.read(buf).map_err(unwrap_io)?)
    }

    /// Fills `buf` from `position` on, as far as the file reaches, and says how far that was.
    ///
    /// # Errors
    /// A chunk is missing or damaged.
    pub fn read_at(&mut self, position: u64, buf: &mut [u8]) -> Result<usize> {
        self.inner
            .seek(SeekFrom::Start(position))
            .map_err(unwrap_io)?;
        let mut filled = 0;
        while filled < buf.len() {
            match self.read(&mut buf[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }
}

impl Repo {
    /// Opens a file of a commit; a symbolic link reads as its target, external data is fetched into the store.
    ///
    /// # Errors
    /// No such revision, no such file in it, or damage.
    pub fn open_file(self: &Arc<Self>, revision: &str, path: &RepoPath) -> Result<FileReader> {
        let commit = self.commit_object(self.resolve(revision)?)?;
        let recipe = commit.recipe;
        let model = commit.model.map(|m| m.tree);
        let roots = [recipe.code, recipe.data, recipe.config];
        let roots: Vec<_> = roots.into_iter().chain(model).collect();
        for root in roots.iter().copied() {
            let found = tree::find(&self.store, root, path)?;
            if let Some(entry) = found.filter(|e| e.mode != Mode::Tree) {
                let inner = Reader::open(Held(Arc::clone(self)), &BlobId(entry.id));
                let inner = inner.map_err(|e| match e {
                    StoreError::Elsewhere {
                        source, remotes, ..
                    } => Error::NotHere {
                        remotes,
                        paths: vec![path.to_string()],
                        source: source.map(|e| Box::new(Error::from(*e))),
                    },
                    other => other.into(),
                })?;
                return Ok(FileReader { inner });
            }
        }
        let described = external::pointer_of(path)?;
        for root in roots {
            let found = tree::find(&self.store, root, &described)?;
            let small = |e: &tree::Entry| e.mode == Mode::File && e.size <= external::BYTES_MAX;
            let Some(entry) = found.filter(small) else {
                continue;
            };
            let bytes = self
                .store
                .read_blob(&BlobId(entry.id), external::BYTES_MAX)?;
            if bytes.starts_with(external::MAGIC) {
                let pointer = Pointer::parse(&described, &bytes)?;
                let content = self.store_external(path, &pointer, &Ctx::quiet())?;
                let inner = Reader::open(Held(Arc::clone(self)), &content)?;
                return Ok(FileReader { inner });
            }
        }
        Err(self.no_file(revision, path)?)
    }

    /// Why a commit has no file at a path: there is nothing, or a folder, of which some files are named.
    fn no_file(&self, revision: &str, path: &RepoPath) -> Result<Error> {
        /// So many are named.
        const NAMED: usize = 5;
        let files = self.files(self.resolve(revision)?)?;
        let inside: Vec<&RepoPath> = files
            .keys()
            .filter(|p| p.is_within(path.as_bytes()))
            .collect();
        if inside.is_empty() {
            return Ok(Error::not_found("path", path.to_string()));
        }
        let mut named: Vec<String> = inside.iter().take(NAMED).map(ToString::to_string).collect();
        if inside.len() > NAMED {
            named.push(format!("and {} more", inside.len() - NAMED));
        }
        let reason = format!("it is a folder, with {}", named.join(", "));
        Ok(Error::invalid("file", format!("{revision}:{path}"), reason))
    }

    /// Where a path lies below the root of the working tree; empty for the root itself, `None`
    /// outside of it. Looks at names only: nothing needs to exist.
    #[must_use]
    pub fn relative(&self, path: &Path) -> Option<PathBuf> {
        relative_to(self.root(), path)
    }

    /// What a file of a tree belongs to, by the `modelv.toml` of that tree: the working tree, or the one that a run
    /// executes in ([`Repo::tree_of_run`]).
    ///
    /// # Errors
    /// The path is outside, or `modelv.toml` is not valid.
    pub fn ingredient_in(&self, tree: &Path, path: &Path) -> Result<Ingredient> {
        let outside = || {
            let name = path.display().to_string();
            Error::invalid("path", name, "it is outside of the working tree")
        };
        let found = relative_to(tree, path).ok_or_else(outside)?;
        let found = RepoPath::new(found.as_os_str().as_bytes())?;
        Ok(Rules::load(tree)?.classify(&found).ingredient)
    }
}

fn relative_to(root: &Path, path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(root.join(path)).ok()?;
    let mut clean = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    let real_root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    clean
        .strip_prefix(root)
        .or_else(|_| clean.strip_prefix(&real_root))
        .map(Path::to_owned)
        .ok()
}
