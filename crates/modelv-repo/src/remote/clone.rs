//! Clone: a new repository with a remote, its history, and a branch checked out; or one commit
//! with exactly what a release of it needs.

use std::path::Path;

use modelv_core::canon::Kind;
use modelv_core::id::CommitId;
use modelv_core::path::RepoPath;
use modelv_store::remote::{Item, Received, Remote, Root};

use super::walk::Scope;
use super::{FetchOptions, ORIGIN, RemoteInfo, RemoteOptions, refuse_working_copy};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::external::{self, ALLOW, Fetch};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::wheels;
use crate::worktree::{Files, Ingredient, SnapFile, sparse};

/// What `clone` is asked for.
#[derive(Debug, Clone, Default)]
pub struct CloneOptions {
    /// No working tree.
    pub bare: bool,
    /// Check this branch out instead of the remote's own choice.
    pub branch: Option<String>,
    /// Take this commit alone: an id, the beginning of one, a branch or a tag of the remote.
    pub commit: Option<String>,
    /// Take the contents of these ingredients only; empty: of all.
    pub only: Vec<Ingredient>,
    /// Take contents only when they are read or checked out.
    pub lazy: bool,
    /// Take contents of files of so many bytes and more only when they are read or checked out.
    pub filter: Option<u64>,
    /// Check only these paths out, and the files of the top folder.
    pub sparse: Vec<RepoPath>,
    /// Take so many commits of each branch only, and tags of these.
    pub depth: Option<u32>,
    /// Addresses of external data that may be asked without a question, as patterns.
    pub allow_external: Vec<String>,
    /// Settings of the remote.
    pub remote: RemoteOptions,
}

/// What a clone holds.
#[derive(Debug)]
pub struct Cloned {
    /// The repository.
    pub repo: Repo,
    /// What is checked out; `None` when the remote has no commit.
    pub head: Option<CommitId>,
    /// Name of the branch that is checked out.
    pub branch: Option<String>,
    /// What came.
    pub received: Received,
    /// External data that could not be brought, and why. Everything else is there.
    pub missing: Vec<(RepoPath, Error)>,
}

/// What a release reads: everything but the data.
const RELEASED: [Ingredient; 3] = [Ingredient::Code, Ingredient::Config, Ingredient::Model];

/// Whether a folder is missing or empty, or holds no more than what making a repository leaves when
/// it is cut short: folders of ours without an operation log.
fn is_unused(dir: &Path, bare: bool) -> bool {
    let holds_only = |dir: &Path, is_ours: &dyn Fn(&str) -> bool| {
        let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.all(|entry| entry.file_name().to_str().is_some_and(is_ours))
    };
    let is_part = |name: &str| {
        ["packs", "tmp", "quarantine", "leases", "cache"].contains(&name)
            || name.starts_with("oplog.tmp-")
    };
    if bare {
        return holds_only(dir, &is_part);
    }
    let metadata = dir.join(crate::repo::DIR_NAME);
    holds_only(dir, &|name| name == crate::repo::DIR_NAME) && holds_only(&metadata, &is_part)
}

impl Repo {
    /// Clones the repository at `url` into `dir`, which is made, or is empty, or holds a clone of
    /// the same remote that was cut short: then it goes on.
    ///
    /// # Errors
    /// The remote can't be reached or is damaged; `dir` has content; the branch or commit is not
    /// there. A clone that fails on the way can be started again.
    pub fn clone_from(
        url: &str,
        dir: &Path,
        options: &CloneOptions,
        command: &str,
        ctx: &Ctx<'_>,
    ) -> Result<Cloned> {
        let info = RemoteInfo {
            name: ORIGIN.into(),
            url: url.to_owned(),
            options: options.remote.clone(),
        };
        let metadata = if options.bare {
            dir.to_owned()
        } else {
            dir.join(crate::repo::DIR_NAME)
        };
        refuse_working_copy(url)?;
        let remote = Remote::open(url, &info.options, &metadata.join("cache/remote"))?;
        let root = remote
            .root()?
            .ok_or_else(|| Error::not_found("repository", url))?;
        // Before anything is made: another attempt may name another folder.
        if let Some(name) = &options.branch
            && !root.refs.contains_key(&format!("{}{name}", names::HEADS))
        {
            return Err(Error::not_found("branch", name));
        }
        let mut repo = Self::prepare_clone(&info, dir, options)?;
        repo.set_command(command);
        match &options.commit {
            Some(text) => repo.clone_commit(&info, &remote, &root, text, options, ctx),
            None => repo.clone_branches(&info, &remote, &root, options, ctx),
        }
    }

    /// Makes the repository, or finds one that an earlier attempt made.
    fn prepare_clone(info: &RemoteInfo, dir: &Path, options: &CloneOptions) -> Result<Self> {
        let mut repo = if is_unused(dir, options.bare) {
            if options.bare {
                Self::init_bare(dir)?
            } else {
                Self::init(dir)?
            }
        } else {
            let found = Self::open(dir).ok().filter(|repo| {
                let same = repo.remotes().iter().any(|r| r == info);
                let is_new = repo.oplog().count() == 1;
                (same || is_new) && repo.head().is_none() && repo.is_bare() == options.bare
            });
            found.ok_or_else(|| Error::Exists {
                what: "folder",
                name: dir.display().to_string(),
            })?
        };
        let mut changes = repo.remote_settings(info);
        if !options.only.is_empty() {
            let words: Vec<_> = options.only.iter().map(|i| i.word()).collect();
            changes.extend(repo.config_change("clone.only", Some(&words.join(","))));
        }
        if options.lazy {
            changes.extend(repo.config_change("clone.lazy", Some("true")));
        }
        if let Some(bytes) = options.filter {
            changes.extend(repo.config_change("clone.filter", Some(&bytes.to_string())));
        }
        if !options.sparse.is_empty() {
            let text = sparse::sparse_text(&options.sparse)?;
            changes.extend(repo.config_change(sparse::KEY, Some(&text)));
        }
        if !options.allow_external.is_empty() {
            let text = options.allow_external.join(" ");
            changes.extend(repo.config_change(ALLOW, Some(&text)));
        }
        if let Some(depth) = options.depth {
            if depth == 0 || options.commit.is_some() {
                let reason = "it is a number of commits from 1 on, and not of one commit alone";
                return Err(Error::invalid("depth", depth.to_string(), reason));
            }
            changes.extend(repo.config_change("clone.depth", Some(&depth.to_string())));
        }
        if !changes.is_empty() {
            repo.set_command("clone");
            repo.update_refs(changes)?;
        }
        Ok(repo)
    }

    fn clone_branches(
        mut self,
        info: &RemoteInfo,
        remote: &Remote,
        root: &Root,
        options: &CloneOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Cloned> {
        let full = match &options.branch {
            Some(name) => format!("{}{name}", names::HEADS),
            None => root.head.clone(),
        };
        let head = root.refs.get(&full).copied();
        let report = self.fetch_root(info, remote, root, &FetchOptions::default(), ctx)?;
        let Some(id) = head else {
            return Ok(Cloned {
                repo: self,
                head: None,
                branch: None,
                received: report.received,
                missing: Vec::new(),
            });
        };
        let branch = names::short(&full).to_owned();
        names::check("branch", &branch)?;
        let mut received = report.received;
        let (came, has_externals) = self.check_out_clone(id, ctx)?;
        received += came;
        let mut changes = self.upstream_changes(&branch, &info.name, &branch);
        changes.push(RefChange {
            name: full.clone(),
            old: None,
            new: Some(Target::Commit(id)),
        });
        changes.extend(self.head_to(Target::Symbolic(full)));
        self.append(changes, !self.is_bare(), None)?;
        let missing = self.externals_of_clone(has_externals, ctx)?;
        Ok(Cloned {
            repo: self,
            head,
            branch: Some(branch),
            received,
            missing,
        })
    }

    /// Writes the files that the remote holds. External data comes when the clone is whole: a source that is
    /// gone or has changed since is no reason to have no branch.
    /// Gives what came for it beside what a clone holds anyway, and whether there may be external data.
    fn check_out_clone(&self, id: CommitId, ctx: &Ctx<'_>) -> Result<(Received, bool)> {
        if self.is_bare() {
            return Ok((Received::default(), false));
        }
        let current = self.snapshot(&self.rules()?, None, ctx)?.files;
        let (none, to) = (Files::new(), self.files(id)?);
        let held = self.tree_part();
        let is_held = |(path, file): &(&RepoPath, &SnapFile)| {
            held.as_ref().is_none_or(|held| held.holds(path, file))
        };
        let came = self.bring_files(to.iter().filter(is_held), ctx)?;
        self.check_out_fetching(current, &none, &to, "clone", Fetch::Nothing, ctx)?;
        let has_externals = to.keys().any(|path| external::is_name(path.name()));
        Ok((came, has_externals))
    }

    /// Brings the external data of a clone as a checkout would; gives what could not be had.
    fn externals_of_clone(
        &mut self,
        has_some: bool,
        ctx: &Ctx<'_>,
    ) -> Result<Vec<(RepoPath, Error)>> {
        if !has_some || self.fetches_externals() == Fetch::Nothing {
            return Ok(Vec::new());
        }
        Ok(self.fetch_recorded(ctx)?.failed)
    }

    /// One commit, detached: what a release of it needs, or the ingredients that were named.
    fn clone_commit(
        mut self,
        info: &RemoteInfo,
        remote: &Remote,
        root: &Root,
        text: &str,
        options: &CloneOptions,
        ctx: &Ctx<'_>,
    ) -> Result<Cloned> {
        let id = self.find_commit(remote, root, text, ctx)?;
        let only = if options.lazy {
            std::collections::BTreeSet::new()
        } else if options.only.is_empty() {
            RELEASED.into_iter().collect()
        } else {
            options.only.iter().copied().collect()
        };
        let scope = Scope {
            single: true,
            only: Some(only),
            under: options.filter,
            ..Scope::default()
        };
        let mut received = self.receive(remote, root, &[id], &scope, ctx)?;
        let runs = self.check_connected(info, &[id], &scope, true)?;
        let words: Vec<_> = scope.only.iter().flatten().map(|i| i.word()).collect();
        let words = (!options.lazy).then(|| words.join(","));
        let mut changes = self.run_changes(runs);
        // A release installs its packages from them.
        let of_commit = wheels::ref_of(self.commit_object(id)?.recipe.env);
        let mut vendored = self.wheels_of_root(root);
        vendored.retain(|(name, _)| *name == of_commit);
        if let [(_, wheels)] = vendored.as_slice() {
            let more = self.receive(remote, root, &[*wheels], &scope, ctx)?;
            self.check_connected(info, &[*wheels], &scope, true)?;
            received += more;
            changes.extend(self.wheels_changes(vendored)?);
        }
        changes.extend(self.config_change("clone.only", words.as_deref()));
        changes.extend(self.config_change("clone.depth", Some("1")));
        changes.extend(self.config_change("clone.commit", Some(&id.to_hex())));
        self.update_refs(changes)?;
        let (came, has_externals) = self.check_out_clone(id, ctx)?;
        received += came;
        let change = self.head_to(Target::Commit(id));
        self.append(change.into_iter().collect(), !self.is_bare(), None)?;
        let missing = self.externals_of_clone(has_externals, ctx)?;
        Ok(Cloned {
            repo: self,
            head: Some(id),
            branch: None,
            received,
            missing,
        })
    }

    /// The commit that a text names on a remote.
    fn find_commit(
        &self,
        remote: &Remote,
        root: &Root,
        text: &str,
        ctx: &Ctx<'_>,
    ) -> Result<CommitId> {
        let named = [names::HEADS, names::TAGS]
            .iter()
            .find_map(|prefix| root.refs.get(&format!("{prefix}{text}")));
        if let Some(id) = named {
            return Ok(*id);
        }
        let watch = super::CtxWatch(ctx);
        let text = text.to_ascii_lowercase();
        let whole = CommitId::from_hex(&text);
        if let Ok(id) = whole
            && remote
                .likely(root, &self.store, &watch)?
                .has(Item::Object(Kind::Commit, id.0))
        {
            return Ok(id);
        }
        let catalog = remote.catalog(root, &self.store, &watch)?;
        let commits = catalog.commits();
        let found: Vec<CommitId> = commits
            .into_iter()
            .map(CommitId)
            .filter(|id| text.len() >= 4 && id.to_hex().starts_with(&text))
            .collect();
        match found.as_slice() {
            [id] => Ok(*id),
            [] => Err(Error::not_found("revision", text)),
            several => Err(Error::Ambiguous {
                name: text,
                candidates: several.iter().take(8).map(CommitId::short).collect(),
            }),
        }
    }
}
