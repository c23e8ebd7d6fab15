//! Clean checkouts: the ingredients of a recipe in a folder of their own, where a program neither sees
//! nor disturbs the user's files. They lie below `.mv/tmp` and go away with their owner; a kernel lock
//! tells those of living processes from what a crash left behind.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use modelv_core::commit::Recipe;
use modelv_core::id::to_hex;
use modelv_store::{Session, fs};

use crate::capture::metrics;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::oplog::nonce;
use crate::repo::Repo;
use crate::run::METRICS_FILE;
use crate::worktree::{Files, Ingredient, Keep, Rules, StatCache, look, place};

const PREFIX: &str = "tree-";

/// The variable that names the folder whose files a program of a run works on, where that is not the working tree.
pub const TREE_VARIABLE: &str = "MODELV_TREE";

/// A checkout in use.
#[derive(Debug)]
pub(crate) struct CleanTree {
    dir: PathBuf,
    _lock: File,
}

impl Drop for CleanTree {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next one: its lock is free.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl CleanTree {
    /// Where the files are.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// What tells a program in it that its outputs are here, and not in the user's working tree.
    pub(crate) fn variable(&self) -> (OsString, OsString) {
        (TREE_VARIABLE.into(), self.root().into())
    }

    fn cache(&self) -> PathBuf {
        self.dir.join("statcache")
    }

    /// The model that is there now, stored in a session.
    ///
    /// # Errors
    /// A file can't be read, or its `modelv.toml` is not valid any more.
    pub(crate) fn outputs(
        &self,
        repo: &Repo,
        session: &Session<'_>,
        ctx: &Ctx<'_>,
    ) -> Result<Files> {
        let root = self.root();
        let rules = Rules::load(&root)?;
        let keep = Keep {
            session,
            head: &|| None,
            mark: None,
        };
        let cache = StatCache::load(&self.cache());
        let look = look(&root, &cache, Some(keep), &repo.store, ctx)?;
        super::tell_left_out(&look.skipped, &rules, ctx);
        let mut files = look.files(&rules)?;
        files.retain(|_, f| f.ingredient == Ingredient::Model);
        Ok(files)
    }

    /// What its program said it measured.
    pub(crate) fn metrics(
        &self,
        ctx: &Ctx<'_>,
    ) -> std::collections::BTreeMap<String, modelv_core::value::Value> {
        let mut found = metrics::read_or_tell(&self.root().join(METRICS_FILE), ctx);
        crate::capture::secrets::mask_values(&mut found);
        found
    }
}

impl Repo {
    /// Checks files out into a folder of their own, without any that are a model.
    ///
    /// # Errors
    /// Content is missing, or can't be written.
    pub(crate) fn clean_tree(&self, files: &Files, ctx: &Ctx<'_>) -> Result<CleanTree> {
        let tmp = self.dir().join("tmp");
        remove_left_behind(&tmp)?;
        let dir = tmp.join(format!("{PREFIX}{}", to_hex(&nonce())));
        fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        let path = dir.join("lock");
        let lock = fs::create_new(&path).map_err(Error::io("create", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        let tree = CleanTree { dir, _lock: lock };
        let mut files = files.clone();
        files.retain(|_, f| f.ingredient != Ingredient::Model);
        let cache = self.write_out(files, &tree.root(), ctx)?;
        // A cache that can't be written makes the next look slower, nothing else.
        let _ = cache.save(&tree.cache());
        Ok(tree)
    }

    /// The folder whose files a program that belongs to a run works on: the working tree, or the clean checkout that
    /// a sweep or a repetition executes it in.
    #[must_use]
    pub fn tree_of_run(&self) -> PathBuf {
        let is_ours = |tree: &PathBuf| {
            let tmp = self.dir().join("tmp").canonicalize();
            tree.canonicalize()
                .is_ok_and(|real| tmp.is_ok_and(|tmp| real.starts_with(tmp)))
        };
        std::env::var_os(TREE_VARIABLE)
            .map(PathBuf::from)
            .filter(is_ours)
            .unwrap_or_else(|| self.root().to_owned())
    }
}

impl Repo {
    /// The variable by which a program in a clean tree imports packages that were installed in place from there,
    /// and not from the folder that they were installed from, which is the user's; `None`: there are none.
    ///
    /// # Errors
    /// The environment or a file is missing or damaged, or a folder has a `:` in its name.
    pub(crate) fn modules_of(
        &self,
        tree: &CleanTree,
        files: &Files,
        recipe: &Recipe,
    ) -> Result<Option<(OsString, OsString)>> {
        const NAME: &str = "PYTHONPATH";
        let env = self.env_object(recipe.env)?;
        let root = tree.root();
        let mut folders = Vec::new();
        for inside in self.roots_in_place(files, &env)?.into_values() {
            if inside.is_empty() {
                folders.push(root.clone());
            }
            folders.extend(inside.iter().map(|path| place(&root, path)));
        }
        if folders.is_empty() {
            return Ok(None);
        }
        let before = std::env::var_os(NAME).filter(|value| !value.is_empty());
        folders.extend(before.iter().flat_map(std::env::split_paths));
        let joined = std::env::join_paths(&folders);
        let joined = joined
            .map_err(|e| Error::invalid("folder", root.display().to_string(), e.to_string()))?;
        Ok(Some((NAME.into(), joined)))
    }
}

fn remove_left_behind(tmp: &Path) -> Result<()> {
    for entry in std::fs::read_dir(tmp).map_err(Error::io("read", tmp))? {
        let dir = entry.map_err(Error::io("read", tmp))?.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // One without a lock was just made, or is being removed.
        let is_left = File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_left {
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
    Ok(())
}
