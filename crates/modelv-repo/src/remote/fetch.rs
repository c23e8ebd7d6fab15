//! Fetch: everything the remote's refs lead to comes first and is checked, then the
//! remote-tracking refs move. And pull: fetch, then merge.

use std::collections::{HashMap, HashSet};

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
use crate::worktree::sparse::Held;

/// What `fetch` is asked for.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Forget remote-tracking refs of branches that are gone there.
    pub prune: bool,
    /// Hold these ingredients too from now on, in a clone that holds a part.
    pub add: Vec<Ingredient>,
    /// In a clone without all of the history: hold so much of it.
    pub depth: Option<Depth>,
}

/// How much of the history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// So many commits of each branch.
    Commits(u32),
    /// All of it.
    All,
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

/// How many commits are still wanted from each commit on, itself included.
#[derive(Debug, Default)]
struct Left {
    is_cut: bool,
    of: HashMap<CommitId, u32>,
    /// What hangs together here already.
    here: HashSet<CommitId>,
    /// Whether more is wanted of that, too.
    widens: bool,
    /// So many commits are wanted of what an alias names: its record is none of them.
    depth: u32,
    /// Records of aliases, and whether the move before is wanted too.
    records: HashMap<CommitId, bool>,
}

impl Left {
    /// Whether what `from` leads to is wanted; `is_first`: the first parent, which is what a record names.
    fn takes(&mut self, from: Step, found: Step, is_first: bool) -> bool {
        let (true, Step::Commit(child), Step::Commit(parent)) = (self.is_cut, from, found) else {
            return true;
        };
        // What is here hangs together, or is where the history was cut off: that stays so.
        if self.here.contains(&parent) {
            return self.widens;
        }
        if self.here.contains(&child) {
            return false;
        }
        let left = match self.records.get(&child) {
            Some(_) if is_first => self.depth,
            Some(false) => return false,
            Some(true) => {
                self.records.insert(parent, true);
                1
            }
            None => self.of.get(&child).copied().unwrap_or(1).saturating_sub(1),
        };
        let known = self.of.entry(parent).or_insert(0);
        *known = left.max(*known);
        left > 0
    }
}

/// The commits that are asked for: without all of the history, no tags, which may be of any age.
fn tips_of(root: &Root, is_cut: bool) -> Vec<CommitId> {
    let wanted = |name: &str| !is_cut || !name.starts_with(names::TAGS);
    let refs = root.refs.iter().filter(|(name, _)| wanted(name));
    refs.map(|(_, id)| *id).collect()
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
        let cut = self.cut_of(options);
        let (planned, kept_tags) = self.plan_fetch(info, root, options)?;
        let is_cut = cut.is_some();
        let mut changes = self.without_far_tags(planned.clone(), is_cut)?;
        let wheels = self.wheels_of_root(root);
        let widened = self.widen(&options.add);
        let deepen = match cut {
            Some((depth, _)) => self.config_change("clone.depth", Some(&depth.to_string())),
            None => self.config_change("clone.depth", None),
        };
        let mut updates = self.updates_of(&changes);
        let mut received = Received::default();
        let aliases = self.aliases_of_root(root, ctx)?;
        let is_new =
            updates.iter().any(|u| u.new.is_some()) || !(wheels.is_empty() && aliases.is_empty());
        let wants_more = deepen.is_some() || cut.is_some_and(|(_, is_asked)| is_asked);
        if is_new || widened.is_some() || wants_more {
            let scope = Scope {
                single: false,
                depth: cut.map(|(depth, _)| depth),
                deepens: cut.is_some_and(|(_, is_asked)| is_asked),
                widens: is_cut && widened.is_some(),
                under: self.filter(),
                only: widened.clone().unwrap_or_else(|| self.contents_wanted()),
            };
            let tips = tips_of(root, cut.is_some());
            received = self.receive(remote, root, &tips, &scope, ctx)?;
            if is_cut {
                changes = self.without_far_tags(planned, is_cut)?;
                updates = self.updates_of(&changes);
            }
            let whole = widened.is_some() || wants_more;
            let runs = self.check_connected(info, &tips, &scope, whole)?;
            // What can't be checked out gets no name here.
            for tip in updates.iter().filter_map(|u| u.new) {
                self.files(tip)?;
            }
            changes.extend(self.run_changes(runs));
            changes.extend(self.wheels_changes(wheels)?);
            let moved = self.alias_changes(aliases, ctx)?;
            updates.extend(self.updates_of(&moved));
            changes.extend(moved);
        }
        changes.extend(self.see_aliases(&info.name, root, ctx)?);
        changes.extend(deepen);
        self.note_fetch(changes, widened, ctx)?;
        let updates: Vec<RefUpdate> = updates
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
            updates: self.with_targets(updates),
            kept_tags,
            received,
        })
    }

    /// Writes down what a fetch brought, with the files of ingredients that are held from now on.
    #[expect(clippy::option_option, reason = "no change, everything, or a part")]
    fn note_fetch(
        &mut self,
        mut changes: Vec<RefChange>,
        widened: Option<Option<std::collections::BTreeSet<Ingredient>>>,
        ctx: &Ctx<'_>,
    ) -> Result<()> {
        let before = self.tree_part();
        let mut after = before.clone();
        if let Some(only) = widened {
            let words = only.as_ref().map(|o| o.iter().map(|i| i.word()).collect());
            let text = words.map(|w: Vec<_>| w.join(","));
            changes.extend(self.config_change("clone.only", text.as_deref()));
            let sparse = self.sparse();
            after = (only.is_some() || sparse.is_some()).then_some(Held { only, sparse });
        }
        let note = |repo: &mut Self| match changes.is_empty() {
            true => Ok(()),
            false => repo.update_refs(changes).map(drop),
        };
        if before == after {
            return note(self);
        }
        self.change_part(before.as_ref(), after.as_ref(), "fetch", note, ctx)
    }

    /// How deep the history is to be that this clone holds, and whether somebody asked for that now; `None`:
    /// all of it.
    fn cut_of(&self, options: &FetchOptions) -> Option<(u32, bool)> {
        match options.depth {
            Some(Depth::All) => None,
            Some(Depth::Commits(depth)) if self.is_shallow() => Some((depth, true)),
            // Nothing is given up that is here.
            Some(Depth::Commits(_)) | None => Some((self.depth()?, false)),
        }
    }

    /// Without the tags of commits that lie further back than was asked for.
    fn without_far_tags(&self, changes: Vec<RefChange>, is_cut: bool) -> Result<Vec<RefChange>> {
        if !is_cut {
            return Ok(changes);
        }
        let mut out = Vec::new();
        for change in changes {
            let commit = change.new.as_ref().and_then(Target::commit);
            let is_far = match commit.filter(|_| change.name.starts_with(names::TAGS)) {
                Some(id) => !self.has_commit(id)?,
                None => false,
            };
            if !is_far {
                out.push(change);
            }
        }
        Ok(out)
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
        if *scope == Scope::default() {
            let catalog = remote.catalog(root, &self.store, &watch)?;
            return Ok(remote.receive_all(&self.store, &catalog, &watch)?);
        }
        let catalog = remote.likely(root, &self.store, &watch)?;
        let mut incoming = remote.receive(&self.store, &catalog)?;
        if !scope.single && scope.depth.is_none() {
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
        let mut left = self.left_of(root, tips, scope)?;
        let mut contents = Vec::new();
        let mut bytes = 0;
        while !level.is_empty() {
            let items: Vec<Item> = level.iter().map(|s| s.item()).collect();
            incoming.load(&items, &watch)?;
            let mut next = Vec::new();
            for step in level {
                let mut is_first = true;
                for found in below(&incoming, step, scope)? {
                    let is_parent = matches!(found, Step::Commit(_));
                    let is_wanted = left.takes(step, found, is_first);
                    is_first &= !is_parent;
                    if !is_wanted || !seen.insert(found) {
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

    /// How far the history behind each of some tips is wanted: of what is new here so many commits, of what
    /// moved up to what was here before, so that they hang together.
    fn left_of(&self, root: &Root, tips: &[CommitId], scope: &Scope) -> Result<Left> {
        let Some(depth) = scope.depth else {
            return Ok(Left::default());
        };
        let mut left = Left {
            is_cut: true,
            of: tips.iter().map(|id| (*id, depth)).collect(),
            here: HashSet::new(),
            widens: scope.widens,
            depth,
            records: HashMap::new(),
        };
        // Of an alias that is known here its moves since then come too, so that they hang together.
        for (name, id) in &root.refs {
            if name.starts_with(names::ALIASES) {
                left.records.insert(*id, self.ref_commit(name).is_some());
            }
        }
        if scope.deepens {
            return Ok(left);
        }
        let mut stack: Vec<CommitId> = [names::HEADS, names::TAGS, names::REMOTES, names::ALIASES]
            .into_iter()
            .flat_map(|prefix| self.refs_below(prefix))
            .map(|(_, id)| id)
            .collect();
        while let Some(id) = stack.pop() {
            if left.here.insert(id) {
                stack.extend(self.parents_of(id)?);
            }
        }
        let known: HashSet<String> = self
            .refs_below(names::REMOTES)
            .into_iter()
            .filter_map(|(name, _)| Some(name.split_once('/')?.1.to_owned()))
            .collect();
        for (name, id) in &root.refs {
            if name
                .strip_prefix(names::HEADS)
                .is_some_and(|branch| known.contains(branch))
            {
                left.of.insert(*id, u32::MAX);
            }
        }
        Ok(left)
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
            [names::HEADS, names::TAGS, names::REMOTES, names::ALIASES]
                .into_iter()
                .flat_map(|prefix| self.refs_below(prefix))
                .map(|(_, id)| id)
                .collect()
        };
        let is_cut = scope.depth.is_some();
        let mut runs = Vec::new();
        walk(&self.store, tips.iter().copied(), scope, &mut |step| {
            match step {
                Step::Commit(id) if known.contains(&id) => return Ok(false),
                // Tips are looked for by name; what lies before them may be cut off.
                Step::Commit(id) if is_cut && !tips.contains(&id) && !self.has_commit(id)? => {
                    return Ok(false);
                }
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
