//! Fetch: everything the remote's refs lead to comes first and is checked, then the
//! remote-tracking refs move. And pull: fetch, then merge.

use std::collections::HashSet;

use modelv_core::id::{CommitId, RunId};
use modelv_store::remote::{Item, Received, Remote, RemoteError, Root};

use super::walk::{Scope, Step, below, walk};
use super::{CtxWatch, RefUpdate, RemoteInfo};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::merge::{MergeOptions, MergeOutcome};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::worktree::Ingredient;

/// What `fetch` is asked for.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Forget remote-tracking refs of branches that are gone there.
    pub prune: bool,
    /// Hold these ingredients too from now on, in a clone that holds a part.
    pub add: Vec<Ingredient>,
}

/// What a fetch did.
#[derive(Debug)]
pub struct FetchReport {
    /// Where from.
    pub remote: RemoteInfo,
    /// Remote-tracking refs and tags that moved here.
    pub updates: Vec<RefUpdate>,
    /// Tags that are another commit here; they stay.
    pub kept_tags: Vec<String>,
    /// What came.
    pub received: Received,
}

impl Repo {
    /// Brings what a remote has.
    ///
    /// # Errors
    /// The remote can't be reached, has no repository, or holds something damaged: no ref has
    /// moved here then.
    pub fn fetch(
        &mut self,
        info: &RemoteInfo,
        options: &FetchOptions,
        ctx: &Ctx<'_>,
    ) -> Result<FetchReport> {
        let remote = self.open_remote(info)?;
        let root = remote
            .root()?
            .ok_or_else(|| Error::not_found("repository", &info.url))?;
        self.fetch_root(info, &remote, &root, options, ctx)
    }

    pub(super) fn fetch_root(
        &mut self,
        info: &RemoteInfo,
        remote: &Remote,
        root: &Root,
        options: &FetchOptions,
        ctx: &Ctx<'_>,
    ) -> Result<FetchReport> {
        let (mut changes, kept_tags) = self.plan_fetch(info, root, options)?;
        let wheels = self.wheels_of_root(root);
        let updates = self.updates_of(&changes);
        let widened = self.widen(&options.add);
        let deepen = self.config_change("clone.depth", None);
        let mut received = Received::default();
        let is_new = updates.iter().any(|u| u.new.is_some()) || !wheels.is_empty();
        if is_new || widened.is_some() || deepen.is_some() {
            let scope = Scope {
                single: false,
                only: widened.clone().unwrap_or_else(|| self.contents_wanted()),
            };
            let tips: Vec<CommitId> = root.refs.values().copied().collect();
            received = self.receive(remote, root, &tips, &scope, ctx)?;
            let whole = widened.is_some() || deepen.is_some();
            let runs = self.check_connected(info, &tips, &scope, whole)?;
            // What can't be checked out gets no name here.
            for tip in updates.iter().filter_map(|u| u.new) {
                self.files(tip)?;
            }
            changes.extend(self.run_changes(runs));
            changes.extend(self.wheels_changes(wheels)?);
        }
        changes.extend(deepen);
        if let Some(only) = widened {
            let words: Option<Vec<_>> = only.map(|o| o.iter().map(|i| i.word()).collect());
            let text = words.map(|w| w.join(","));
            changes.extend(self.config_change("clone.only", text.as_deref()));
        }
        let before = self.only();
        if !changes.is_empty() {
            self.update_refs(changes)?;
        }
        self.show_added(before, ctx)?;
        let updates = updates
            .into_iter()
            .map(|mut u| {
                u.forced = match (u.old, u.new) {
                    (Some(old), Some(new)) => !self.is_before(old, new)?,
                    _ => false,
                };
                Ok(u)
            })
            .collect::<Result<_>>()?;
        Ok(FetchReport {
            remote: info.clone(),
            updates,
            kept_tags,
            received,
        })
    }

    /// Writes the files of ingredients that a clone holds from now on.
    fn show_added(
        &self,
        before: Option<std::collections::BTreeSet<Ingredient>>,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let (Some(before), Some(head)) = (before, self.head()) else {
            return Ok(());
        };
        if self.is_bare() || self.only().as_ref() == Some(&before) {
            return Ok(());
        }
        let to = self.files(head)?;
        let mut from = to.clone();
        from.retain(|_, file| before.contains(&file.ingredient));
        self.check_out_files(&from, &to, "fetch", ctx)
    }

    /// The refs that are to move here. Names come from outside and are checked.
    fn plan_fetch(
        &self,
        info: &RemoteInfo,
        root: &Root,
        options: &FetchOptions,
    ) -> Result<(Vec<RefChange>, Vec<String>)> {
        let mut changes = Vec::new();
        let mut kept_tags = Vec::new();
        for (full, id) in &root.refs {
            if let Some(branch) = full.strip_prefix(names::HEADS) {
                names::check("branch", branch)?;
                changes.extend(self.tracking_change(&info.name, branch, Some(*id)));
            } else if let Some(tag) = full.strip_prefix(names::TAGS) {
                names::check("tag", tag)?;
                match self.ref_commit(full) {
                    None => changes.push(RefChange {
                        name: full.clone(),
                        old: None,
                        new: Some(Target::Commit(*id)),
                    }),
                    Some(ours) if ours != *id => kept_tags.push(tag.to_owned()),
                    Some(_) => {}
                }
            }
        }
        if options.prune {
            let prefix = format!("{}{}/", names::REMOTES, info.name);
            for (branch, _) in self.refs_below(&prefix) {
                if !root.refs.contains_key(&format!("{}{branch}", names::HEADS)) {
                    changes.extend(self.tracking_change(&info.name, &branch, None));
                }
            }
        }
        Ok((changes, kept_tags))
    }

    /// Vendored wheels of a remote that are not those here.
    pub(super) fn wheels_of_root(&self, root: &Root) -> Vec<(String, CommitId)> {
        let all = root.refs.iter().map(|(name, id)| (name.clone(), *id));
        all.filter(|(name, id)| {
            name.starts_with(names::WHEELS) && self.ref_commit(name) != Some(*id)
        })
        .collect()
    }

    /// The changes that take over wheels that have come. A set here that lacks nothing stays.
    pub(super) fn wheels_changes(&self, wheels: Vec<(String, CommitId)>) -> Result<Vec<RefChange>> {
        let mut changes = Vec::new();
        for (name, id) in wheels {
            if self.is_better_set(self.ref_commit(&name), id)? {
                let old = self.log.refs.get(&name).cloned();
                let new = Some(Target::Commit(id));
                changes.push(RefChange { name, old, new });
            }
        }
        Ok(changes)
    }

    fn updates_of(&self, changes: &[RefChange]) -> Vec<RefUpdate> {
        let commit = |target: &Option<Target>| target.as_ref().and_then(Target::commit);
        changes
            .iter()
            .map(|c| RefUpdate {
                name: c.name.clone(),
                old: commit(&c.old),
                new: commit(&c.new),
                forced: false,
            })
            .collect()
    }

    /// What a clone that holds a part is to hold from now on; `None`: no change.
    #[expect(clippy::option_option, reason = "no change, everything, or a part")]
    fn widen(&self, add: &[Ingredient]) -> Option<Option<std::collections::BTreeSet<Ingredient>>> {
        let mut only = self.only()?;
        let before = only.len();
        only.extend(add);
        if only.len() == before {
            return None;
        }
        Some((only.len() < 4).then_some(only))
    }

    /// Brings what commits lead to: all the remote has, or, where a part is enough, that part.
    pub(super) fn receive(
        &self,
        remote: &Remote,
        root: &Root,
        tips: &[CommitId],
        scope: &Scope,
        ctx: &Ctx<'_>,
    ) -> Result<Received> {
        let watch = CtxWatch(ctx);
        let catalog = remote.catalog(root, &self.store, &watch)?;
        if *scope == Scope::default() {
            return Ok(remote.receive_all(&self.store, &catalog, &watch)?);
        }
        let mut incoming = remote.receive(&self.store, &catalog)?;
        if !scope.single {
            // All at once: one level after the other would be requests for each.
            let missing = catalog.objects().into_iter().filter_map(|item| match item {
                Item::Object(kind, id) => match self.store.keeps_object(kind, &id) {
                    Ok(true) => None,
                    Ok(false) => Some(Ok(item)),
                    Err(e) => Some(Err(e)),
                },
                Item::Blob(_) => None,
            });
            let missing: Vec<Item> = missing.collect::<Result<_, modelv_store::Error>>()?;
            incoming.load(&missing, &watch)?;
        }
        let mut seen: HashSet<Step> = HashSet::new();
        let mut level: Vec<Step> = tips.iter().map(|id| Step::Commit(*id)).collect();
        let mut contents = Vec::new();
        let mut bytes = 0;
        while !level.is_empty() {
            let items: Vec<Item> = level.iter().map(|s| s.item()).collect();
            incoming.load(&items, &watch)?;
            let mut next = Vec::new();
            for step in level {
                for found in below(&incoming, step, scope)? {
                    if !seen.insert(found) {
                        continue;
                    }
                    if let Step::Blob(id, size) = found {
                        contents.push(Item::Blob(id));
                        bytes += size;
                    } else {
                        next.push(found);
                    }
                }
            }
            level = next;
        }
        incoming.load_watched(&contents, bytes, &watch)?;
        Ok(incoming.finish()?)
    }

    /// Whether all that new commits lead to is here; gives the runs on the way. What a ref here
    /// leads to was checked when the ref was made.
    pub(super) fn check_connected(
        &self,
        info: &RemoteInfo,
        tips: &[CommitId],
        scope: &Scope,
        whole: bool,
    ) -> Result<Vec<RunId>> {
        let known: HashSet<CommitId> = if whole {
            HashSet::new()
        } else {
            [names::HEADS, names::TAGS, names::REMOTES]
                .into_iter()
                .flat_map(|prefix| self.refs_below(prefix))
                .map(|(_, id)| id)
                .collect()
        };
        let mut runs = Vec::new();
        walk(&self.store, tips.iter().copied(), scope, &mut |step| {
            match step {
                Step::Commit(id) if known.contains(&id) => return Ok(false),
                Step::Run(id) => runs.push(id),
                _ => {}
            }
            let is_here = match step.item() {
                Item::Object(kind, id) => self.store.has_object(kind, &id)?,
                Item::Blob(id) => self.store.has_blob(&id)?,
            };
            if is_here {
                return Ok(true);
            }
            Err(Error::from(RemoteError::Corrupt {
                url: info.url.clone(),
                what: format!("the repository ({step:?})"),
                detail: "its refs lead to something that it does not hold".into(),
            }))
        })?;
        Ok(runs)
    }

    /// The changes that list runs of others among ours.
    pub(super) fn run_changes(&self, runs: Vec<RunId>) -> Vec<RefChange> {
        runs.into_iter()
            .map(|id| RefChange {
                name: format!("{}{id}", names::RUNS),
                old: None,
                new: Some(Target::Run(id)),
            })
            .filter(|c| !self.log.refs.contains_key(&c.name))
            .collect()
    }

    /// Fetches, then merges the upstream of the current branch (or `branch` of the remote) into it.
    ///
    /// # Errors
    /// As [`Repo::fetch`] and [`Repo::merge`]; or there is nothing to merge.
    pub fn pull(
        &mut self,
        info: &RemoteInfo,
        branch: Option<&str>,
        options: &MergeOptions,
        ctx: &Ctx<'_>,
    ) -> Result<(FetchReport, MergeOutcome)> {
        self.refuse_while_merging("pull")?;
        self.refuse_while_running("pull")?;
        let current = self
            .head_ref()
            .map(|r| names::short(r).to_owned())
            .ok_or_else(|| Error::State("HEAD is detached: switch to a branch to pull".into()))?;
        let theirs = match (branch, self.upstream_of(&current)) {
            (Some(named), _) => named.to_owned(),
            (None, Some((remote, theirs))) if remote == info.name => theirs,
            _ => current.clone(),
        };
        let report = self.fetch(info, &FetchOptions::default(), ctx)?;
        let name = format!("{}/{theirs}", info.name);
        let id = self
            .ref_commit(&format!("{}{name}", names::REMOTES))
            .ok_or_else(|| Error::not_found("branch", &name))?;
        if !options.no_hooks {
            self.before_merge(id, ctx)?;
        }
        let options = &MergeOptions {
            no_hooks: true,
            ..options.clone()
        };
        // The fetch may have been long: others work in the tree until here.
        let _turn = self.take_turn()?;
        let outcome = if self.head().is_none() {
            self.check_out(None, &self.files(id)?, "pull", ctx)?;
            self.append(vec![self.head_change(id)], true, None)?;
            MergeOutcome::FastForward(id)
        } else {
            self.merge(&name, options, ctx)?
        };
        if self.upstream_of(&current).is_none() {
            self.set_upstream(&current, &info.name, &theirs)?;
        }
        Ok((report, outcome))
    }
}
