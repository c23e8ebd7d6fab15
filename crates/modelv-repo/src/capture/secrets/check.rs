//! What a commit would take, looked through before it is taken.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;

use super::mask::shown;
use super::rules::TextKind;
use super::scan::{Hit, scan_sized};
use super::wide;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::{Files, Ingredient, Rules, SnapFile, place};

/// Larger files are no code: they are not looked through.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// A credential that a commit would take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// Line, from 1.
    pub line: u64,
    /// Which rule found it.
    pub rule: &'static str,
    /// The first characters of the value and stars.
    pub masked: String,
    /// `rule@path:hash`, as `[secrets] allow` takes it. The hash is one of rule and value.
    pub key: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{} {} {}",
            self.path, self.line, self.rule, self.masked
        )
    }
}

fn finding(path: &RepoPath, hit: &Hit) -> Finding {
    let mut hasher = blake3::Hasher::new_derive_key("modelv 2026 allowed secret");
    hasher.update(hit.rule.as_bytes());
    hasher.update(&[0]);
    hasher.update(&hit.value);
    let hash = hasher.finalize().to_hex();
    Finding {
        path: path.to_string(),
        line: hit.line,
        rule: hit.rule,
        masked: shown(&hit.value),
        key: format!("{}@{path}:{}", hit.rule, &hash[..12]),
    }
}

/// Looks through one file as a commit would if it were code.
///
/// # Errors
/// It can't be read.
pub fn scan_file(path: &Path) -> std::io::Result<Vec<Hit>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > FILE_BYTES_MAX {
        return Ok(Vec::new());
    }
    let name = path.file_name().unwrap_or_default();
    look(&mut file, kind_of_name(name.as_bytes()), size)
}

fn kind(path: &RepoPath, file: &SnapFile) -> TextKind {
    match file.ingredient {
        Ingredient::Config => TextKind::Config,
        _ => kind_of_name(path.name()),
    }
}

fn kind_of_name(name: &[u8]) -> TextKind {
    const ENDS: &[&[u8]] = &[
        b".yaml",
        b".yml",
        b".ini",
        b".cfg",
        b".conf",
        b".env",
        b".properties",
        b".toml",
        b".sh",
        b".netrc",
        b"Dockerfile",
        b".envrc",
    ];
    if ENDS.iter().any(|e| name.ends_with(e)) || name.starts_with(b".env") {
        TextKind::Config
    } else {
        TextKind::Code
    }
}

fn is_checked(path: &RepoPath, file: &SnapFile) -> bool {
    let kind = matches!(file.ingredient, Ingredient::Code | Ingredient::Config)
        || path.name().ends_with(b".ipynb");
    let mode = matches!(file.mode, Mode::File | Mode::Executable);
    kind && mode && file.size > 0 && file.size <= FILE_BYTES_MAX
}

impl Repo {
    /// Refuses what holds credentials: code, configuration and notebooks whose content none of
    /// `known` (the files of the parents) has. What an earlier commit of the same file has is no
    /// news.
    ///
    /// # Errors
    /// [`Error::Secrets`], or a file can't be read.
    pub(crate) fn refuse_secrets(
        &self,
        files: &Files,
        known: &[&Files],
        rules: &Rules,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let allow = rules.secrets();
        let blobs: HashSet<BlobId> = known
            .iter()
            .flat_map(|f| f.values().map(|file| file.blob))
            .collect();
        let work: Vec<(&RepoPath, &SnapFile)> = files
            .iter()
            .filter(|(path, file)| is_checked(path, file) && !blobs.contains(&file.blob))
            .filter(|(path, _)| !allow.allows_path(path))
            .collect();
        let mut found = Vec::new();
        for (path, hits) in self.scan_all(&work, ctx)? {
            let old = self.known_values(path, known)?;
            found.extend(
                hits.iter()
                    .filter(|h| !old.contains(&h.value))
                    .map(|h| finding(path, h))
                    .filter(|f| !allow.allows(f)),
            );
        }
        if found.is_empty() {
            return Ok(());
        }
        found.sort();
        Err(Error::Secrets { findings: found })
    }

    /// Credentials in files that are stored already, as far as they are at hand.
    ///
    /// # Errors
    /// A file is damaged, or it was interrupted.
    pub(crate) fn stored_secrets(&self, files: &Files, ctx: &Ctx<'_>) -> Result<Vec<Finding>> {
        let mut out = Vec::new();
        for (path, file) in files.iter().filter(|(path, file)| is_checked(path, file)) {
            ctx.cancel.check()?;
            let mut content = self.store.open_blob(&file.blob)?;
            let hits = look(&mut content, kind(path, file), file.size)
                .map_err(Error::io("read", place(self.root(), path)))?;
            out.extend(hits.iter().map(|h| finding(path, h)));
        }
        out.sort();
        Ok(out)
    }

    fn known_values(&self, path: &RepoPath, known: &[&Files]) -> Result<HashSet<Vec<u8>>> {
        let mut out = HashSet::new();
        for file in known.iter().filter_map(|f| f.get(path)) {
            if is_checked(path, file) {
                let bytes = self.read_blob(file.blob)?;
                let hits = look(&mut &bytes[..], kind(path, file), 0).unwrap_or_default();
                out.extend(hits.into_iter().map(|h| h.value));
            }
        }
        Ok(out)
    }

    /// Looks through files on all cores; gives those with hits.
    fn scan_all<'a>(
        &self,
        work: &[(&'a RepoPath, &SnapFile)],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<(&'a RepoPath, Vec<Hit>)>> {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Ok(Vec::new()));
        std::thread::scope(|scope| {
            // A thread for a handful of files costs more than it saves.
            for _ in 0..threads.min(work.len().div_ceil(16)) {
                scope.spawn(|| {
                    while let Some((path, file)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let hits = ctx.cancel.check().and_then(|()| self.scan_one(path, file));
                        if hits.as_ref().is_ok_and(Vec::is_empty) {
                            continue;
                        }
                        let mut done = done
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner);
                        match (&mut *done, hits) {
                            (Ok(list), Ok(hits)) => list.push((*path, hits)),
                            (Ok(_), Err(e)) => *done = Err(e),
                            (Err(_), _) => return,
                        }
                    }
                });
            }
        });
        done.into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The file must be what the snapshot has: it is hashed as it is read.
    fn scan_one(&self, path: &RepoPath, file: &SnapFile) -> Result<Vec<Hit>> {
        let full = place(self.root(), path);
        let opened = File::open(&full).map_err(Error::io("read", &full))?;
        let mut hashed = Hashed {
            inner: opened,
            hasher: blake3::Hasher::new(),
        };
        let hits =
            look(&mut hashed, kind(path, file), file.size).map_err(Error::io("read", &full))?;
        if BlobId(*hashed.hasher.finalize().as_bytes()) != file.blob {
            return Err(Error::ChangedWhileRead { path: full });
        }
        Ok(hits)
    }
}

/// Looks through a file, also one in UTF-16: with a zero in every second byte it passes for binary.
fn look(stream: &mut dyn Read, kind: TextKind, size: u64) -> std::io::Result<Vec<Hit>> {
    let mut head = Vec::with_capacity(2);
    (&mut *stream).take(2).read_to_end(&mut head)?;
    match wide::is_little_endian(&head) {
        Some(little) => scan_sized(&mut wide::Wide::new(stream, little), kind, size / 2),
        None => scan_sized(&mut (&head[..]).chain(stream), kind, size),
    }
}

struct Hashed {
    inner: File,
    hasher: blake3::Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }
}
