//! Merging listings of files, and the merge base: of a criss-cross history one that no commit holds.

use std::collections::HashMap;

use modelv_core::driver::Labels;
use modelv_core::env::Env;
use modelv_core::id::{BlobId, CommitId};
use modelv_core::merge::{self, Listing, Merged, Outcome, Side};
use modelv_core::path::RepoPath;

use super::Base;
use super::large::{Contents, Unstored};
use crate::envdiff::merge_env;
use crate::error::{Error, Result};
use crate::repo::{DOCUMENT_BYTES_MAX, Repo};
use crate::worktree::{Files, SnapFile};

impl Repo {
    pub(super) fn merge_listings(
        &self,
        base: &Listing,
        ours: &Listing,
        theirs: &Listing,
        labels: &Labels<'_>,
        made: &Contents,
    ) -> Result<(Merged, HashMap<BlobId, Unstored>)> {
        let rules = self.rules()?;
        let keys = |path: &RepoPath| rules.table_key(path);
        let mut new = HashMap::new();
        let mut read = |blob: BlobId, size| {
            if let Some(bytes) = made.bytes.get(&blob) {
                return Ok(Some(bytes.clone()));
            }
            if size > DOCUMENT_BYTES_MAX {
                return Ok(None);
            }
            self.read_blob(blob).map(Some)
        };
        let mut large = |path: &RepoPath, sides| {
            let key = rules.table_key(path);
            self.merge_large(path, sides, (key.as_deref(), labels), made, &mut new)
        };
        let from = (&mut read as merge::Read<'_, Error>, &mut large as _);
        let merged = merge::merge_any(base, ours, theirs, (labels, &keys), from)?;
        Ok((merged, new))
    }

    /// The merge base. Several best common ancestors (a criss-cross history) are merged into one
    /// that no commit holds, as Git does; their conflicts stand in it with markers.
    pub(crate) fn virtual_base(&self, bases: &[CommitId], made: &mut Contents) -> Result<Base> {
        self.base_above(bases, made, &mut HashMap::new(), 0)
    }

    /// The same; every set of commits is merged once, for criss-crosses on each other share theirs.
    fn base_above(
        &self,
        bases: &[CommitId],
        made: &mut Contents,
        known: &mut HashMap<Vec<CommitId>, Base>,
        depth: usize,
    ) -> Result<Base> {
        /// A base of so many bases of bases is as good as the first of them.
        const DEPTH_MAX: usize = 64;
        if let Some(found) = known.get(bases) {
            return Ok(found.clone());
        }
        let all = bases;
        let bases = if depth < DEPTH_MAX {
            bases
        } else {
            bases.get(..1).unwrap_or(bases)
        };
        let Some((first, rest)) = bases.split_first() else {
            return Ok((Listing::new(), Env::none()));
        };
        let commit = self.commit_object(*first)?;
        let mut files = listing(&self.files(*first)?);
        let mut env = self.env_object(commit.recipe.env)?;
        for next in rest {
            let above = self.merge_bases(*first, *next)?;
            let (base, base_env) = self.base_above(&above, made, known, depth + 1)?;
            let commit = self.commit_object(*next)?;
            let other = listing(&self.files(*next)?);
            let labels = Labels {
                ours: "base 1",
                base: "base",
                theirs: "base 2",
            };
            let (merged, large) = self.merge_listings(&base, &files, &other, &labels, made)?;
            made.files.extend(large);
            files = merged
                .files
                .into_iter()
                .map(|(path, outcome)| match outcome {
                    Outcome::Keep(side) => (path, side),
                    Outcome::Write { mode, bytes } => {
                        let blob = BlobId::of(&bytes);
                        let size = bytes.len() as u64;
                        made.bytes.insert(blob, bytes);
                        (path, Side { mode, size, blob })
                    }
                })
                .collect();
            env = merge_env(&base_env, &env, &self.env_object(commit.recipe.env)?).0;
        }
        known.insert(all.to_vec(), (files.clone(), env.clone()));
        Ok((files, env))
    }
}

fn side_of(file: &SnapFile) -> Side {
    Side {
        mode: file.mode,
        size: file.size,
        blob: file.blob,
    }
}

/// The files of all ingredients, the model's too: what one side alone changed must never be lost.
pub(crate) fn listing(files: &Files) -> Listing {
    let sides = files.iter().map(|(p, f)| (p.clone(), side_of(f)));
    sides.collect()
}
