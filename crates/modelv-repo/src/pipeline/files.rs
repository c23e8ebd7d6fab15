//! The files at and below declared paths, ignored or not: what a stage declares is all that is there,
//! but for what tools leave behind by convention. Contents come from the stat caches where they are
//! known. Must never follow a link.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_store::{Session, Store};

use super::graph::overlap;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::worktree::{Files, StatCache, StatStamp, hash_file, is_left_out_of_stages, place};

/// Contents of ignored files that stages read or write, beside the cache of the working tree.
pub(super) const CACHE_FILE: &str = "stagecache";

/// Reads declared paths of one working tree.
pub(super) struct Reader {
    root: PathBuf,
    cache_path: PathBuf,
    /// The working tree's own.
    tree: StatCache,
    /// That of files which are in no commit.
    own: StatCache,
    /// All that was read here, by path.
    seen: BTreeMap<RepoPath, (StatStamp, BlobId)>,
    /// Whether something had to be hashed.
    is_news: bool,
}

impl Reader {
    pub(super) fn new(root: PathBuf, dir: &std::path::Path) -> Self {
        let cache_path = dir.join(CACHE_FILE);
        Self {
            tree: StatCache::load(&dir.join("statcache")),
            own: StatCache::load(&cache_path),
            root,
            cache_path,
            seen: BTreeMap::new(),
            is_news: false,
        }
    }

    /// Whether there is anything at a path.
    pub(super) fn exists(&self, path: &RepoPath) -> bool {
        std::fs::symlink_metadata(place(&self.root, path)).is_ok()
    }

    /// Whether a link that leads to a folder is there.
    pub(super) fn is_link_to_folder(&self, path: &RepoPath) -> bool {
        let full = place(&self.root, path);
        full.is_symlink() && full.is_dir()
    }

    /// The files at and below some paths; stored where there is a session.
    ///
    /// # Errors
    /// One can't be read, or is reached through a link.
    pub(super) fn read(
        &mut self,
        paths: &[RepoPath],
        keep: Option<(&Session<'_>, &Store)>,
        ctx: &Ctx<'_>,
    ) -> Result<Files> {
        let mut out = Files::new();
        for path in paths {
            self.refuse_links_above(path)?;
            let mut stack = vec![path.clone()];
            while let Some(at) = stack.pop() {
                let full = place(&self.root, &at);
                let meta = match std::fs::symlink_metadata(&full) {
                    Ok(meta) => meta,
                    Err(e) if is_gone(&e) => continue,
                    Err(e) => return Err(Error::io("read", &full)(e)),
                };
                if meta.is_dir() {
                    stack.extend(self.list(&at)?);
                } else {
                    self.read_file(at, keep, ctx, &mut out)?;
                }
            }
        }
        Ok(out)
    }

    fn list(&self, dir: &RepoPath) -> Result<Vec<RepoPath>> {
        let full = place(&self.root, dir);
        let fail = |e| Error::io("read", &full)(e);
        let mut out = Vec::new();
        for entry in std::fs::read_dir(&full).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            if !is_left_out_of_stages(name.as_bytes()) {
                out.push(RepoPath::below(Some(dir), name.as_bytes())?);
            }
        }
        Ok(out)
    }

    fn read_file(
        &mut self,
        path: RepoPath,
        keep: Option<(&Session<'_>, &Store)>,
        ctx: &Ctx<'_>,
        out: &mut Files,
    ) -> Result<()> {
        let known = |stamp: &StatStamp| {
            let seen = self.seen.get(&path).filter(|(s, _)| s == stamp);
            let seen = seen.map(|(_, blob)| *blob);
            seen.or_else(|| self.tree.content(&path, stamp))
                .or_else(|| self.own.content(&path, stamp))
        };
        let found = hash_file(&self.root, &path, &known, keep, ctx)?;
        let Some((stamp, file)) = found else {
            return Ok(());
        };
        if known(&stamp).is_none() {
            self.is_news = true;
            self.seen.insert(path.clone(), (stamp, file.blob));
        }
        out.insert(path, file);
        Ok(())
    }

    /// Refuses what only is reached through a link.
    pub(super) fn refuse_links_above(&self, path: &RepoPath) -> Result<()> {
        for above in modelv_core::path::folders_of(path.as_bytes()) {
            let full = self.root.join(std::ffi::OsStr::from_bytes(above));
            let is_link = std::fs::symlink_metadata(full).is_ok_and(|m| !m.is_dir());
            if is_link {
                return Err(Error::Blocked {
                    path: path.to_string(),
                    by: String::from_utf8_lossy(above).into_owned(),
                });
            }
        }
        Ok(())
    }

    /// Leaves what was read for the next time.
    pub(super) fn save(&self) {
        if !self.is_news {
            return;
        }
        let mut cache = StatCache::load(&self.cache_path);
        for (path, (stamp, blob)) in &self.seen {
            cache.insert(path, *stamp, *blob);
        }
        // A cache that can't be written makes the next call slower, nothing else.
        let _ = cache.save(&self.cache_path);
    }
}

fn is_gone(e: &std::io::Error) -> bool {
    matches!(
        e.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// Puts the files that stages have made in the place of what is on disk at their outputs.
pub(super) fn overlay(files: &mut Files, inputs: &[RepoPath], outputs: &[RepoPath], made: &Files) {
    let is_output = |path: &RepoPath| outputs.iter().any(|o| path.is_within(o.as_bytes()));
    files.retain(|path, _| !is_output(path));
    let wanted = |path: &RepoPath| inputs.iter().any(|i| path.is_within(i.as_bytes()));
    let made = made.iter().filter(|(path, _)| wanted(path));
    files.extend(made.map(|(path, file)| (path.clone(), file.clone())));
}

/// Whether a stage that writes `outputs` may make something of `input`.
pub(super) fn makes(outputs: &[RepoPath], input: &RepoPath) -> bool {
    outputs.iter().any(|o| overlap(o, input))
}
