//! Push: what is missing goes up first, then all refs move at once, or none.

use std::collections::{BTreeMap, HashSet};

use modelv_core::id::{CommitId, EnvId};
use modelv_store::remote::{Catalog, Change, Outgoing, Remote, RemoteError, Root, Sent, Trouble};

use super::{CtxWatch, RefUpdate, RemoteInfo};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::hooks::Hook;
use crate::names;
use crate::oplog::RefChange;
use crate::repo::Repo;

/// So often a push begins again because of collections.
const TRIES_MAX: u32 = 8;

/// What `push` is asked for.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// `NAME`, `NAME:THEIRS`, or `:THEIRS` to delete; branches before tags. Empty: the current
    /// branch.
    pub refs: Vec<String>,
    /// All branches.
    pub all: bool,
    /// All tags.
    pub tags: bool,
    /// Delete the named refs on the remote.
    pub delete: bool,
    /// Replace commits that are not ancestors, if the remote still has what was last seen of it. Not moves
    /// of aliases.
    pub force_with_lease: bool,
    /// Make the pushed branches follow the remote's.
    pub set_upstream: bool,
    /// Only tell.
    pub dry_run: bool,
    /// Run no hooks.
    pub no_hooks: bool,
}

/// What a push did.
#[derive(Debug)]
pub struct PushReport {
    /// Where to.
    pub remote: RemoteInfo,
    /// Refs that moved there; empty: everything was up to date.
    pub updates: Vec<RefUpdate>,
    /// What went up.
    pub sent: Sent,
}

/// One ref that is to move on the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    /// Full name there.
    theirs: String,
    /// Branch here that it comes from.
    ours: Option<String>,
    new: Option<CommitId>,
}

impl Repo {
    /// Sends refs and all that they lead to.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the remote has commits that we do not know ("fetch first"); the
    /// remote can't be reached; something is missing here. The remote's refs have not moved then.
    pub fn push(
        &mut self,
        info: &RemoteInfo,
        options: &PushOptions,
        ctx: &Ctx<'_>,
    ) -> Result<PushReport> {
        let mut wishes = self.wishes(info, options)?;
        let remote = self.open_remote(info)?;
        find_deleted(info, &remote, &mut wishes)?;
        let mut tries = 0;
        let (updates, sent) = loop {
            match self.push_once(info, &remote, &wishes, options, tries, ctx) {
                Err(e) if tries < TRIES_MAX && was_collected(&e) => tries += 1,
                done => break done.map_err(|e| self.a_part(info, e))?,
            }
        };
        if !options.dry_run {
            self.note_push(info, &wishes, options)?;
        }
        Ok(PushReport {
            remote: info.clone(),
            updates: self.with_targets(updates),
            sent,
        })
    }

    /// What is missing in a clone of a part is no damage.
    fn a_part(&self, info: &RemoteInfo, error: Error) -> Error {
        match error {
            Error::Store(modelv_store::Error::NotFound { what, id }) if self.is_partial() => {
                let text = format!(
                    "this clone holds a part of what `{}` ({}) lacks: {what} `{id}` is not here",
                    info.name, info.url
                );
                Error::State(text)
            }
            other => other,
        }
    }

    fn push_once(
        &self,
        info: &RemoteInfo,
        remote: &Remote,
        wishes: &[Wish],
        options: &PushOptions,
        tries: u32,
        ctx: &Ctx<'_>,
    ) -> Result<(Vec<RefUpdate>, Sent)> {
        let root = remote.root()?;
        let decided = self.decide(info, root.as_ref(), wishes, options)?;
        let mut updates = decided.unwrap_or_default();
        let mut sent = Sent::default();
        if updates.is_empty() || options.dry_run {
            return Ok((updates, sent));
        }
        if tries == 0 && !options.no_hooks {
            self.before_push(info, &updates, ctx)?;
        }
        sent = self.send(remote, root.as_ref(), &updates, ctx)?;
        let mut head = self.head_ref().unwrap_or_default().to_owned();
        if !wishes.iter().any(|w| w.theirs == head) {
            let mut branches = wishes.iter().filter(|w| w.theirs.starts_with(names::HEADS));
            head = branches.next().map_or(head, |w| w.theirs.clone());
        }
        remote.swap(&sent, &mut |root| {
            ctx.cancel.check()?;
            let Some(now) = self.decide(info, root, wishes, options)? else {
                return Ok(None);
            };
            let change = apply(root, &now, &head);
            updates = now;
            Ok::<_, Error>(Some(change))
        })?;
        Ok((updates, sent))
    }

    /// What runs before anything is sent: gets a line `REF OLD NEW` for each ref, with 64 zeros for none.
    fn before_push(&self, info: &RemoteInfo, updates: &[RefUpdate], ctx: &Ctx<'_>) -> Result<()> {
        let id = |id: Option<CommitId>| id.map_or("0".repeat(64), |id| id.to_hex());
        let line = |u: &RefUpdate| format!("{} {} {}\n", u.name, id(u.old), id(u.new));
        let lines: String = updates.iter().map(line).collect();
        let variables = [
            ("MODELV_REMOTE", info.name.clone()),
            ("MODELV_REMOTE_URL", info.url.clone()),
        ];
        self.run_hooks(Hook::PrePush, &variables, &lines, ctx)
    }

    /// The refs the user wants to move.
    fn wishes(&self, info: &RemoteInfo, options: &PushOptions) -> Result<Vec<Wish>> {
        let mut wishes = Vec::new();
        for text in &options.refs {
            wishes.push(self.wish(text, options.delete)?);
        }
        let mut take_all = |prefix: &str| {
            for (name, id) in self.refs_below(prefix) {
                wishes.push(Wish {
                    theirs: format!("{prefix}{name}"),
                    ours: (prefix == names::HEADS).then_some(name),
                    new: Some(id),
                });
            }
        };
        if options.all {
            take_all(names::HEADS);
        }
        if options.tags {
            take_all(names::TAGS);
        }
        if wishes.is_empty() && !options.all && !options.tags {
            let full = self
                .head_ref()
                .ok_or_else(|| Error::State("HEAD is detached: name what to push".into()))?;
            let ours = names::short(full).to_owned();
            let theirs = match self.upstream_of(&ours) {
                Some((remote, theirs)) if remote == info.name => theirs,
                _ => ours.clone(),
            };
            wishes.push(Wish {
                theirs: format!("{}{theirs}", names::HEADS),
                ours: Some(ours),
                new: Some(self.get_head()?),
            });
        }
        wishes.sort_by(|a, b| a.theirs.cmp(&b.theirs));
        wishes.dedup();
        if let Some(twice) = wishes.windows(2).find(|w| w[0].theirs == w[1].theirs) {
            let reason = "it is to become two commits at once";
            return Err(Error::invalid(
                "ref",
                names::short(&twice[0].theirs),
                reason,
            ));
        }
        Ok(wishes)
    }

    fn wish(&self, text: &str, delete: bool) -> Result<Wish> {
        let (ours, theirs) = match text.split_once(':') {
            Some((ours, theirs)) => (ours, theirs),
            None if delete => ("", text),
            None => (text, text),
        };
        if ours.is_empty() {
            names::check("branch", names::short(theirs))?;
            let full = if theirs.starts_with("refs/") {
                theirs.to_owned()
            } else {
                format!("{}{theirs}", names::HEADS)
            };
            return Ok(Wish {
                theirs: full,
                ours: None,
                new: None,
            });
        }
        let short = names::short(ours);
        let branch = format!("{}{short}", names::HEADS);
        let tag = format!("{}{short}", names::TAGS);
        let alias = format!("{}{short}", names::ALIASES);
        let (below, new) = match (self.ref_commit(&branch), self.ref_commit(&tag)) {
            (Some(id), _) if !ours.starts_with(names::TAGS) => (names::HEADS, id),
            (_, Some(id)) => (names::TAGS, id),
            _ if ours == names::HEAD || ours == "@" => (names::HEADS, self.get_head()?),
            _ if self.ref_commit(&alias).is_some() => (names::ALIASES, self.alias(short)?.record),
            _ => return Err(Error::not_found("branch", ours)),
        };
        let theirs = names::short(if theirs == ours { short } else { theirs });
        names::check("branch", theirs)?;
        if theirs == names::HEAD {
            return Err(Error::invalid("ref", text, "say where to: `HEAD:BRANCH`"));
        }
        // The name is in every record of it: under another one nobody could read it.
        if below == names::ALIASES && theirs != short {
            let reason =
                "an alias has the same name everywhere; `modelv alias set` makes another one";
            return Err(Error::invalid("ref", text, reason));
        }
        Ok(Wish {
            theirs: format!("{below}{theirs}"),
            ours: (below == names::HEADS && self.ref_commit(&branch).is_some())
                .then(|| short.to_owned()),
            new: Some(new),
        })
    }

    /// What would move; `None` when nothing would. Asked again with each root that gets in the way.
    fn decide(
        &self,
        info: &RemoteInfo,
        root: Option<&Root>,
        wishes: &[Wish],
        options: &PushOptions,
    ) -> Result<Option<Vec<RefUpdate>>> {
        let mut updates = Vec::new();
        let mut refused = Vec::new();
        for wish in wishes {
            let old = root.and_then(|r| r.refs.get(&wish.theirs).copied());
            if old == wish.new {
                continue;
            }
            let is_head = root.is_some_and(|r| r.head == wish.theirs);
            let verdict = match wish.new {
                None if is_head => Err("clones check it out"),
                _ if wish.theirs.starts_with(names::ALIASES) => {
                    self.check_alias(info, wish, old, options.force_with_lease)?
                }
                _ if options.force_with_lease => self.check_lease(info, wish, old),
                None => Ok(false),
                Some(new) => self.check_forward(wish, old, new)?,
            };
            match verdict {
                Ok(forced) => updates.push(RefUpdate {
                    name: wish.theirs.clone(),
                    old,
                    new: wish.new,
                    forced,
                }),
                Err(reason) => refused.push((names::short(&wish.theirs).to_owned(), reason)),
            }
        }
        if !refused.is_empty() {
            return Err(Error::Rejected {
                remote: info.name.clone(),
                refs: refused,
            });
        }
        let tips: Vec<CommitId> = wishes.iter().filter_map(|w| w.new).collect();
        updates.extend(self.wheels_to_push(root, &tips)?);
        Ok((!updates.is_empty()).then_some(updates))
    }

    /// Vendored wheels of environments in the history of `tips` that the remote lacks.
    fn wheels_to_push(&self, root: Option<&Root>, tips: &[CommitId]) -> Result<Vec<RefUpdate>> {
        let mut open = std::collections::HashMap::new();
        for (hex, new) in self.refs_below(names::WHEELS) {
            let name = format!("{}{hex}", names::WHEELS);
            let old = root.and_then(|r| r.refs.get(&name).copied());
            let Ok(env) = EnvId::from_hex(&hex) else {
                continue;
            };
            // What is there and not known here is somebody's newer set.
            let is_known = old.map_or(Ok(true), |old| self.has_commit(old))?;
            if old != Some(new) && is_known && self.is_better_set(old, new)? {
                let (new, forced) = (Some(new), false);
                open.insert(
                    env,
                    RefUpdate {
                        name,
                        old,
                        new,
                        forced,
                    },
                );
            }
        }
        let mut updates = Vec::new();
        let mut seen: HashSet<CommitId> = HashSet::new();
        let mut stack = tips.to_vec();
        while let Some(id) = stack.pop() {
            if open.is_empty() {
                break;
            }
            // A clone of one commit has no parents of it.
            if !seen.insert(id) || !self.has_commit(id)? {
                continue;
            }
            let commit = self.commit_object(id)?;
            updates.extend(open.remove(&commit.recipe.env));
            stack.extend(commit.parents);
        }
        updates.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(updates)
    }

    /// A lease holds when the remote still has what was last seen of it.
    fn check_lease(
        &self,
        info: &RemoteInfo,
        wish: &Wish,
        old: Option<CommitId>,
    ) -> Result<bool, &'static str> {
        let Some(branch) = wish.theirs.strip_prefix(names::HEADS) else {
            return Ok(old.is_some());
        };
        let seen = self.ref_commit(&format!("{}{}/{branch}", names::REMOTES, info.name));
        if seen != old {
            return Err("it has moved since it was last fetched");
        }
        let forward = match (old, wish.new) {
            (Some(old), Some(new)) => self.is_before(old, new).unwrap_or(false),
            _ => true,
        };
        Ok(!forward)
    }

    /// An alias only goes on from the move that is there, and only who knows that one removes it. No force
    /// changes that: what is in service is replaced by nobody who has not seen it. One that was deleted there comes
    /// back by a new move, or by force.
    fn check_alias(
        &self,
        info: &RemoteInfo,
        wish: &Wish,
        old: Option<CommitId>,
        is_forced: bool,
    ) -> Result<Result<bool, &'static str>> {
        let (Some(old), ours) = (old, self.ref_commit(&wish.theirs)) else {
            let is_seen = wish.new.is_some()
                && wish.new == self.seen_alias(&info.name, &wish.theirs)
                && !is_forced;
            return Ok(match is_seen {
                true => Err("the alias was deleted there"),
                false => Ok(false),
            });
        };
        let is_known = match wish.new.or(ours) {
            Some(ours) => ours == old || self.has_commit(old)? && self.is_before(old, ours)?,
            None => false,
        };
        Ok(if is_known {
            Ok(false)
        } else {
            Err("the alias was moved there too; fetch first")
        })
    }

    /// Without force, a branch only goes forward and a tag never moves.
    fn check_forward(
        &self,
        wish: &Wish,
        old: Option<CommitId>,
        new: CommitId,
    ) -> Result<Result<bool, &'static str>> {
        let Some(old) = old else {
            return Ok(Ok(false));
        };
        if wish.theirs.starts_with(names::TAGS) {
            return Ok(Err("the tag is another commit there"));
        }
        let known = self.has_commit(old)? && self.is_before(old, new)?;
        Ok(if known { Ok(false) } else { Err("fetch first") })
    }

    fn send(
        &self,
        remote: &Remote,
        root: Option<&Root>,
        updates: &[RefUpdate],
        ctx: &Ctx<'_>,
    ) -> Result<Sent> {
        let watch = CtxWatch(ctx);
        // What nobody could check out is not sent.
        let tips: Vec<CommitId> = updates.iter().filter_map(|u| u.new).collect();
        for tip in &tips {
            self.files(*tip)?;
        }
        let Some(root) = root else {
            let nothing = Catalog::default();
            let out = self.outgoing(&nothing, &tips, None, ctx)?;
            return Ok(remote.send(&out, &watch)?);
        };
        let known = remote.known(root, &self.store, &watch)?;
        let rest = known.unknown_bytes();
        let held = match rest {
            0 => None,
            _ => Some(self.held(root, &tips)?),
        };
        let out = self.outgoing(&known, &tips, held.as_ref(), ctx);
        let enough = match &out {
            Ok(out) => rest == 0 || out.bytes()? <= rest,
            Err(_) => rest == 0,
        };
        if enough {
            return send_out(remote, &out?, &watch);
        }
        // To ask what is there costs less than to send again what may be there; and it may have what is missing here.
        let all = remote.catalog(root, &self.store, &watch)?;
        send_out(remote, &self.outgoing(&all, &tips, None, ctx)?, &watch)
    }

    /// Remembers here what the remote has now.
    fn note_push(
        &mut self,
        info: &RemoteInfo,
        wishes: &[Wish],
        options: &PushOptions,
    ) -> Result<()> {
        let mut changes: Vec<RefChange> = Vec::new();
        for wish in wishes {
            changes.extend(self.seen_change(&info.name, &wish.theirs, wish.new));
            let Some(branch) = wish.theirs.strip_prefix(names::HEADS) else {
                continue;
            };
            changes.extend(self.tracking_change(&info.name, branch, wish.new));
            if let Some(ours) = &wish.ours
                && (options.set_upstream || self.upstream_of(ours).is_none())
            {
                changes.extend(self.upstream_changes(ours, &info.name, branch));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        match self.update_refs(changes) {
            // Another process has fetched or pushed meanwhile: what it saw is newer.
            Err(Error::RefMoved { .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}

#[cfg(test)]
impl Repo {
    /// Gives a ref of a remote whatever commit, as another program may.
    pub(crate) fn push_as_is(&self, info: &RemoteInfo, name: &str, new: CommitId) {
        let remote = self.open_remote(info).unwrap();
        let update = RefUpdate {
            name: name.to_owned(),
            old: None,
            new: Some(new),
            forced: false,
        };
        let updates = [update];
        let root = remote.root().unwrap();
        let sent = self
            .send(&remote, root.as_ref(), &updates, &Ctx::quiet())
            .unwrap();
        remote
            .swap(&sent, &mut |root| {
                Ok::<_, Error>(Some(apply(root, &updates, name)))
            })
            .unwrap();
    }
}

fn send_out(remote: &Remote, out: &Outgoing<'_>, watch: &CtxWatch<'_>) -> Result<Sent> {
    match out.is_empty() {
        true => Ok(out.nothing()),
        false => Ok(remote.send(out, watch)?),
    }
}

/// Whether what we relied on may have been collected while we read it or sent the rest.
fn was_collected(error: &Error) -> bool {
    matches!(
        error,
        Error::Remote(
            RemoteError::Collected { .. }
                | RemoteError::Access {
                    trouble: Trouble::Missing,
                    ..
                }
        )
    )
}

/// Of what is to be deleted, a name may be that of a tag there; and one that nothing has is a slip.
fn find_deleted(info: &RemoteInfo, remote: &Remote, wishes: &mut [Wish]) -> Result<()> {
    let mut deleted = wishes.iter_mut().filter(|w| w.new.is_none()).peekable();
    if deleted.peek().is_none() {
        return Ok(());
    }
    let root = remote.root()?;
    let is_there = |name: &str| root.as_ref().is_some_and(|r| r.refs.contains_key(name));
    let mut missing = Vec::new();
    for wish in deleted {
        let short = names::short(&wish.theirs).to_owned();
        let tag = format!("{}{short}", names::TAGS);
        if !is_there(&wish.theirs) && wish.theirs.starts_with(names::HEADS) && is_there(&tag) {
            wish.theirs = tag;
        } else if !is_there(&wish.theirs) {
            missing.push((short, "nothing there has this name"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Rejected {
        remote: info.name.clone(),
        refs: missing,
    })
}

/// The refs of the next root.
fn apply(root: Option<&Root>, updates: &[RefUpdate], first_head: &str) -> Change {
    let mut refs: BTreeMap<String, CommitId> = root.map(|r| r.refs.clone()).unwrap_or_default();
    for update in updates {
        match update.new {
            Some(id) => refs.insert(update.name.clone(), id),
            None => refs.remove(&update.name),
        };
    }
    let head = root
        .map(|r| r.head.clone())
        .filter(|h| refs.contains_key(h))
        .unwrap_or_else(|| first_head.to_owned());
    Change { head, refs }
}
