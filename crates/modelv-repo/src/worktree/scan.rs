//! Walking the working tree: what is there, and what is left out.
//!
//! `.gitignore` and `.mvignore` are honoured, links are not followed, and nothing is read here.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Mutex;

use ignore::{DirEntry, WalkBuilder, WalkState};
use modelv_core::path::RepoPath;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::DIR_NAME;

/// Something in the working tree that can't be versioned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why it is left out.
    pub reason: &'static str,
}

/// A file or link that was found.
pub(super) struct Found {
    pub(super) path: RepoPath,
    pub(super) meta: Metadata,
}

/// What a walk saw, sorted by path.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) files: Vec<Found>,
    pub(super) skipped: Vec<Skipped>,
}

/// Names that are made by tools and never versioned.
const IGNORED: &[&str] = &[
    DIR_NAME,
    ".git",
    ".hg",
    ".svn",
    ".dvc",
    "__pycache__",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".venv",
    "venv",
    "node_modules",
    ".DS_Store",
    // Holds secrets by convention.
    ".env",
];

fn is_wanted(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    if entry.depth() == 0 {
        return true;
    }
    if IGNORED.iter().any(|i| name == *i) || name.as_bytes().ends_with(b".pyc") {
        return false;
    }
    let is_dir = entry.file_type().is_some_and(|t| t.is_dir());
    // A virtual environment is captured as a list of packages.
    !(is_dir && entry.path().join("pyvenv.cfg").exists())
}

/// Walks the tree below `root` on all cores.
pub(super) fn scan(root: &Path, ctx: &Ctx<'_>) -> Result<Scan> {
    let threads = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(8);
    let walker = WalkBuilder::new(root)
        .standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .parents(false)
        .add_custom_ignore_filename(".mvignore")
        .follow_links(false)
        .filter_entry(is_wanted)
        .threads(threads)
        .build_parallel();
    let all = Mutex::new(Scan::default());
    let failed = Mutex::new(None);
    walker.run(|| {
        let mut mine = Batch {
            all: &all,
            scan: Scan::default(),
        };
        let failed = &failed;
        Box::new(move |entry| match visit(root, entry, &mut mine.scan, ctx) {
            Ok(state) => state,
            Err(e) => {
                let mut slot = failed
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                slot.get_or_insert(e);
                WalkState::Quit
            }
        })
    });
    if let Some(e) = failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        return Err(e);
    }
    let mut scan = all
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    scan.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    scan.skipped.sort();
    Ok(scan)
}

/// What one thread found; handed over when the thread is done.
struct Batch<'a> {
    all: &'a Mutex<Scan>,
    scan: Scan,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut all = self
            .all
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        all.files.append(&mut self.scan.files);
        all.skipped.append(&mut self.scan.skipped);
    }
}

fn visit(
    root: &Path,
    entry: Result<DirEntry, ignore::Error>,
    out: &mut Scan,
    ctx: &Ctx<'_>,
) -> Result<WalkState> {
    ctx.cancel.check()?;
    let entry = entry.map_err(|e| walk_error(root, &e))?;
    if entry.depth() == 0 {
        return Ok(WalkState::Continue);
    }
    let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
    let shown = relative.to_string_lossy().into_owned();
    let kind = entry.file_type();
    if kind.is_some_and(|t| t.is_dir()) {
        if entry.path().join(DIR_NAME).join("oplog").exists() {
            out.skipped.push(Skipped {
                path: shown,
                reason: "another repository",
            });
            return Ok(WalkState::Skip);
        }
        return Ok(WalkState::Continue);
    }
    let meta = match std::fs::symlink_metadata(entry.path()) {
        Ok(meta) => meta,
        // Removed since the directory was read.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(WalkState::Continue),
        Err(e) => return Err(Error::io("read", entry.path())(e)),
    };
    let t = meta.file_type();
    let reason = if t.is_socket() {
        Some("a socket")
    } else if t.is_fifo() {
        Some("a named pipe")
    } else if t.is_block_device() || t.is_char_device() {
        Some("a device")
    } else {
        None
    };
    if let Some(reason) = reason {
        out.skipped.push(Skipped {
            path: shown,
            reason,
        });
        return Ok(WalkState::Continue);
    }
    let path = RepoPath::new(relative.as_os_str().as_bytes())?;
    out.files.push(Found { path, meta });
    Ok(WalkState::Continue)
}

fn walk_error(root: &Path, e: &ignore::Error) -> Error {
    let source = match e.io_error() {
        Some(io) => std::io::Error::new(io.kind(), e.to_string()),
        None => std::io::Error::other(e.to_string()),
    };
    Error::Io {
        op: "read",
        path: root.to_owned(),
        source,
    }
}
