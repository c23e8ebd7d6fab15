//! External data in the working tree: what a checkout, a restore or an export writes beside descriptions.
//!
//! A checkout sees the data as files like others, with the content that is recorded: so nothing that was
//! changed there is written over, and what goes with its description is deleted with it. Only where the
//! bytes come from is another matter.

use std::collections::BTreeMap;

use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;

use super::allow::Word;
use super::{Pointer, Staged, base_of};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::worktree::checkout::{Origin, Plan};
use crate::worktree::{Files, Ingredient, SnapFile, StatStamp, place};

/// What a checkout brings from afar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// Nothing: what is not at hand is left out.
    Nothing,
    /// What may be asked without a question; the rest is left out, and told.
    Allowed,
    /// Everything: what may not be asked is an error.
    All,
}

/// What is known of the data that a commit describes, by the place of the data.
pub(crate) type Pointers = BTreeMap<RepoPath, Pointer>;

/// The place of data, its ingredient, and what is known of it.
pub(super) type Described = (RepoPath, Ingredient, Result<Pointer>);

fn as_file(pointer: &Pointer, ingredient: Ingredient) -> Option<SnapFile> {
    Some(SnapFile {
        ingredient,
        mode: Mode::File,
        size: pointer.state.size,
        blob: pointer.content?,
    })
}

impl Repo {
    /// The descriptions among files, each with the place of its data and the ingredient it belongs to. What
    /// is neither stored nor in the working tree is left out: then nothing is known of it.
    ///
    /// # Errors
    /// One is not valid: a merge may have left two versions in it.
    pub(crate) fn pointers(&self, files: &Files) -> Result<Vec<(RepoPath, Ingredient, Pointer)>> {
        let found = self.described(files)?.into_iter();
        let valid = found.map(|(base, ingredient, pointer)| Ok((base, ingredient, pointer?)));
        valid.collect()
    }

    /// The same, valid or not.
    pub(super) fn described(&self, files: &Files) -> Result<Vec<Described>> {
        let mut out = Vec::new();
        for (path, file) in files {
            let is_small = file.mode == Mode::File && file.size <= super::BYTES_MAX;
            let Some(base) = base_of(path).filter(|b| is_small && !files.contains_key(b)) else {
                continue;
            };
            let Some(bytes) = self.bytes_of(path, file)? else {
                continue;
            };
            if bytes.starts_with(super::MAGIC) {
                out.push((base, file.ingredient, Pointer::parse(path, &bytes)));
            }
        }
        Ok(out)
    }

    /// A small file of a commit or, before it is committed, of the working tree.
    fn bytes_of(&self, path: &RepoPath, file: &SnapFile) -> Result<Option<Vec<u8>>> {
        if self.store.has_blob(&file.blob)? {
            return Ok(Some(self.store.read_blob(&file.blob, super::BYTES_MAX)?));
        }
        let here = super::read_small(&place(self.root(), path));
        Ok(here.filter(|bytes| *blake3::hash(bytes).as_bytes() == file.blob.0))
    }

    /// Adds the data that descriptions are about to the files of a checkout: to those of the working tree as
    /// they are, to the others as they are recorded. Gives where the new data comes from.
    pub(crate) fn reveal(
        &self,
        current: &mut Files,
        from: &mut Files,
        to: &mut Files,
        ctx: &Ctx<'_>,
    ) -> Result<Pointers> {
        self.reveal_all((current, from, to), self.fetches_externals(), ctx)
    }

    /// The same, with what is to be fetched.
    pub(crate) fn reveal_all(
        &self,
        (current, from, to): (&mut Files, &mut Files, &mut Files),
        fetches: Fetch,
        ctx: &Ctx<'_>,
    ) -> Result<Pointers> {
        let (here, was) = (self.described(current)?, self.described(from)?);
        let will = self.described(to)?;
        if here.is_empty() && was.is_empty() && will.is_empty() {
            return Ok(Pointers::new());
        }
        let mut seen = self.seen();
        for (base, ingredient, _) in here.iter().chain(&was) {
            if !current.contains_key(base)
                && let Some(mut file) = seen.look(self, base, ctx)?
            {
                file.ingredient = *ingredient;
                current.insert(base.clone(), file);
            }
        }
        seen.save();
        for (base, ingredient, pointer) in &was {
            // What is not here was not lost by whoever changes it now.
            let recorded = match pointer {
                Ok(pointer) => as_file(pointer, *ingredient),
                // One with two versions in it is about what HEAD describes, as long as nobody decides.
                Err(_) => self.at_head(base)?,
            };
            if let Some(file) = recorded.filter(|_| current.contains_key(base)) {
                from.insert(base.clone(), file);
            }
        }
        let mut pointers = Pointers::new();
        let allowed = self.allowed_externals();
        let mut left = Vec::new();
        for (base, ingredient, pointer) in will {
            ctx.cancel.check()?;
            let Ok(pointer) = pointer else {
                // Until somebody decides, the data stays as it is.
                if let Some(now) = current.get(&base).cloned() {
                    from.insert(base.clone(), now.clone());
                    to.insert(base, now);
                }
                continue;
            };
            let Some(file) = as_file(&pointer, ingredient) else {
                continue;
            };
            let is_same = |files: &Files| files.get(&base).is_some_and(|f| f.blob == file.blob);
            let is_at_hand = is_same(current) || is_same(from);
            if !is_at_hand && fetches == Fetch::Nothing {
                continue;
            }
            if !is_at_hand
                && fetches == Fetch::Allowed
                && !self.store.has_blob(&file.blob)?
                && let Some(why) = allowed.objection(&pointer.url)
            {
                left.push((base, pointer.url, why));
                continue;
            }
            to.insert(base.clone(), file);
            pointers.insert(base, pointer);
        }
        super::allow::tell_left(&left, ctx);
        Ok(pointers)
    }

    /// External data as HEAD describes it.
    fn at_head(&self, base: &RepoPath) -> Result<Option<SnapFile>> {
        let described = super::pointer_of(base)?;
        let mut files = self.files_or_none(self.head())?;
        files.retain(|path, _| *path == described);
        let found = self.described(&files)?.pop();
        Ok(found.and_then(|(_, ingredient, pointer)| as_file(&pointer.ok()?, ingredient)))
    }

    /// Fetches what a plan writes and the store does not hold, before anything is touched.
    pub(crate) fn stage<'p>(
        &self,
        files: impl Iterator<Item = (&'p RepoPath, &'p SnapFile)>,
        pointers: &Pointers,
        ctx: &Ctx<'_>,
    ) -> Result<BTreeMap<RepoPath, Staged>> {
        let mut staged = BTreeMap::new();
        if pointers.is_empty() {
            return Ok(staged);
        }
        let allowed = self.allowed_externals();
        for (path, file) in files {
            if let Some(pointer) = pointers.get(path)
                && !self.store.has_blob(&file.blob)?
            {
                // What an export writes may lie in the working tree.
                let mut seen = self.seen();
                let here = seen.look(self, path, ctx)?;
                if here.is_some_and(|here| here.blob == file.blob) {
                    self.store_external(path, pointer, ctx)?;
                    continue;
                }
                allowed.check(path, &pointer.url)?;
                staged.insert(
                    path.clone(),
                    self.fetch_external(path, pointer, Word::Commit, ctx)?,
                );
            }
        }
        Ok(staged)
    }

    /// Brings all that a plan writes, and tells the plan where it is.
    pub(crate) fn provide(
        &self,
        plan: &mut Plan,
        pointers: &Pointers,
        ctx: &Ctx<'_>,
    ) -> Result<BTreeMap<RepoPath, Staged>> {
        let staged = self.stage(plan.written(), pointers, ctx)?;
        let ordinary = plan.written().filter(|(p, _)| !pointers.contains_key(*p));
        self.bring_files(ordinary, ctx)?;
        let origin = |path: &RepoPath| match staged.get(path) {
            Some(file) => Origin::File(file.path().to_owned()),
            None => Origin::Store,
        };
        let origins = pointers.keys().map(|path| (path.clone(), origin(path)));
        plan.set_externals(origins.collect());
        Ok(staged)
    }

    /// Remembers the external data that was just written, so that it is not hashed to be known.
    pub(crate) fn note_externals<'p>(
        &self,
        written: impl Iterator<Item = (&'p RepoPath, &'p SnapFile)>,
        pointers: &Pointers,
    ) {
        let mut seen = self.seen();
        for (path, file) in written.filter(|(path, _)| pointers.contains_key(*path)) {
            if let Some(stamp) = StatStamp::at(&place(self.root(), path)) {
                seen.insert(path, stamp, file.blob);
            }
        }
        seen.save();
    }

    /// Adds the external data of some ingredients to the files of a commit, as contents of the store: they are
    /// fetched into it, and stay until a collection.
    ///
    /// # Errors
    /// A source can't be read, or has changed.
    pub fn resolve_externals(
        &self,
        files: &mut Files,
        wanted: &[Ingredient],
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        for (base, ingredient, pointer) in self.pointers(files)? {
            if !wanted.contains(&ingredient) {
                continue;
            }
            let file = as_file(&pointer, ingredient).ok_or_else(|| unread(&base))?;
            self.store_external(&base, &pointer, ctx)?;
            files.insert(base, file);
        }
        Ok(())
    }
}

/// Nothing says which content it has to be.
pub(super) fn unread(base: &RepoPath) -> Error {
    Error::State(format!(
        "external data `{base}` was never read: nothing says what it has to hold"
    ))
}
