//! History of a Git repository: its commits with their authors and times, its branches and tags. Each
//! commit notes the one it was made of (`git.commit`), so that importing again takes only what is new.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use modelv_core::canon;
use modelv_core::commit::{Commit, PARENTS_MAX, Person, Time};
use modelv_core::env::{Env, Lock};
use modelv_core::id::CommitId;
use modelv_store::Session;

use super::order::parents_first;
use super::snapshots::{Left, Snapshots};
use crate::capture::env::is_lock_file;
use crate::commit::write_recipe_of;
use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::names;
use crate::oplog::{RefChange, Target};
use crate::repo::Repo;
use crate::worktree::Files;

/// The fact of a commit that names the Git commit it was made of.
const GIT_COMMIT: &str = "git.commit";
/// When the author wrote it, where that is not when it was committed: `SECONDS +HHMM`, as Git has it.
pub(crate) const AUTHOR_TIME: &str = "git.author-time";
/// What a commit without a message is called: ours have one.
const NO_MESSAGE: &str = "(no message)";

/// What `import git` is asked for.
#[derive(Debug, Clone, Default)]
pub struct GitImport {
    /// Only these branches, and the tags that their history has; empty: all branches and tags.
    pub branches: Vec<String>,
    /// Put before the name of every branch and tag, for example `old/`.
    pub prefix: String,
    /// Move branches and tags that have gone another way here.
    pub force: bool,
}

/// What an import took.
#[derive(Debug, Default)]
pub struct Imported {
    /// Commits that are new.
    pub commits: usize,
    /// Branches and tags that are new or have moved, by full name.
    pub refs: Vec<(String, CommitId)>,
    /// Those that were left alone, because they have gone another way here.
    pub kept: Vec<String>,
    /// Whether files were written into the working tree.
    pub checked_out: bool,
    /// What could not be taken as it is.
    pub left: Left,
}

/// Makes errors about one Git repository.
pub(crate) struct Unreadable(String);

impl Unreadable {
    pub(crate) fn new(place: &Path) -> Self {
        Self(place.display().to_string())
    }

    /// The error for what Git's library says.
    pub(crate) fn because(&self, detail: impl std::fmt::Display) -> Error {
        Error::invalid("Git repository", self.0.clone(), detail.to_string())
    }
}

/// A branch or tag there, and the commit it leads to.
struct GitRef {
    /// As it is called here, in full.
    name: String,
    id: ObjectId,
}

impl Repo {
    /// Takes history from the Git repository at `place`, which may be the one this working tree is in.
    /// In a repository without a commit, what Git has checked out is checked out here too; into the
    /// working tree of that very repository nothing is written.
    ///
    /// # Errors
    /// It is none, its objects can't be read, or what would be written over is in no commit. Nothing
    /// has changed then.
    pub fn import_git(
        &mut self,
        place: &Path,
        options: &GitImport,
        ctx: &Ctx<'_>,
    ) -> Result<Imported> {
        let _turn = self.take_turn()?;
        self.refuse_while_merging("import")?;
        let bad = Unreadable::new(place);
        let git = gix::open(place).map_err(|e| bad.because(e))?;
        let (wanted, unfit) = self.wanted_refs(&git, options, &bad)?;
        let mut map = self.imported_before()?;
        let order = order_of(&git, wanted.iter().map(|r| r.id), &map, ctx, &bad)?;
        let mut out = Imported {
            commits: order.len(),
            ..Imported::default()
        };
        let session = self.store.begin()?;
        let mut snapshots = Snapshots::new(&git, place);
        ctx.progress
            .start("importing commits", Unit::Items, Some(order.len() as u64));
        for id in order {
            ctx.cancel.check()?;
            let made = self.import_commit(&git, id, &map, &mut snapshots, &session, &bad)?;
            map.insert(id, made);
            ctx.progress.advance(1);
        }
        ctx.progress.finish();
        session.finish()?;
        for text in unfit {
            snapshots.unfit(text);
        }
        out.left = snapshots.left();
        self.move_refs(&git, &wanted, &map, options, out, ctx)
    }

    /// Branches and tags that are to come, and those whose names we can't have.
    fn wanted_refs(
        &self,
        git: &gix::Repository,
        options: &GitImport,
        bad: &Unreadable,
    ) -> Result<(Vec<GitRef>, Vec<String>)> {
        let (mut out, mut unfit) = (Vec::new(), Vec::new());
        let platform = git.references().map_err(|e| bad.because(e))?;
        for found in platform.all().map_err(|e| bad.because(e))? {
            let mut found = found.map_err(|e| bad.because(e))?;
            let full = found.name().as_bstr().to_str_lossy().into_owned();
            let (below, name) = match (
                full.strip_prefix(names::HEADS),
                full.strip_prefix(names::TAGS),
            ) {
                (Some(name), _) => (names::HEADS, name),
                (_, Some(name)) => (names::TAGS, name),
                _ => continue,
            };
            let is_branch = below == names::HEADS;
            let named = options.branches.iter().any(|b| b == name);
            if is_branch && !options.branches.is_empty() && !named {
                continue;
            }
            let id = found.peel_to_id().map_err(|e| bad.because(e))?.detach();
            let kind = git.find_header(id).map_err(|e| bad.because(e))?.kind();
            if kind != gix::object::Kind::Commit {
                continue;
            }
            let name = format!("{}{name}", options.prefix);
            if let Err(e) = names::check(if is_branch { "branch" } else { "tag" }, &name) {
                unfit.push(e.to_string());
                continue;
            }
            let name = format!("{below}{name}");
            out.push(GitRef { name, id });
        }
        let missing = options.branches.iter().find(|b| {
            let full = format!("{}{}{b}", names::HEADS, options.prefix);
            out.iter().all(|r| r.name != full)
        });
        if let Some(branch) = missing {
            return Err(Error::not_found("branch of the Git repository", branch));
        }
        if out.is_empty() {
            return Err(bad.because("it has no commit"));
        }
        Ok((out, unfit))
    }

    /// Git commits that commits here were made of.
    fn imported_before(&self) -> Result<HashMap<ObjectId, CommitId>> {
        let mut tips: Vec<CommitId> = self.log.refs.values().filter_map(Target::commit).collect();
        let (mut seen, mut out) = (HashSet::new(), HashMap::new());
        while let Some(id) = tips.pop() {
            if !seen.insert(id) {
                continue;
            }
            // A clone of a part of history ends somewhere.
            let Ok(commit) = self.commit_object(id) else {
                continue;
            };
            let from = commit.extra.get(GIT_COMMIT);
            if let Some(from) = from.and_then(|hex| ObjectId::from_hex(hex.as_bytes()).ok()) {
                out.insert(from, id);
            }
            tips.extend(commit.parents);
        }
        Ok(out)
    }

    fn import_commit(
        &self,
        git: &gix::Repository,
        id: ObjectId,
        map: &HashMap<ObjectId, CommitId>,
        snapshots: &mut Snapshots<'_>,
        session: &Session<'_>,
        bad: &Unreadable,
    ) -> Result<CommitId> {
        let found = git.find_commit(id).map_err(|e| bad.because(e))?;
        let decoded = found.decode().map_err(|e| bad.because(e))?;
        let (trees, files) = snapshots.at(decoded.tree(), session)?;
        let env = locked(files);
        let text = |bytes: &BStr| text_of(bytes, decoded.encoding);
        let author = decoded.author().map_err(|e| bad.because(e))?;
        let committer = decoded.committer().map_err(|e| bad.because(e))?;
        let person = |who: &gix::actor::SignatureRef<'_>| Person {
            name: text(who.name),
            email: text(who.email),
        };
        let (time, wrote) = (time_of(&committer), time_of(&author));
        let mut extra = BTreeMap::from([(GIT_COMMIT.to_owned(), id.to_string())]);
        if wrote != time {
            extra.insert(AUTHOR_TIME.to_owned(), author.time.to_owned());
        }
        let mut parents: Vec<CommitId> = Vec::with_capacity(decoded.parents.len());
        for parent in decoded.parents() {
            // Those beyond the end of a shallow clone are not there.
            let known = map.get(&parent).filter(|p| !parents.contains(p));
            parents.extend(known);
        }
        if parents.len() > PARENTS_MAX {
            snapshots.unfit(format!("parents of {id} from the {}th on", PARENTS_MAX + 1));
            parents.truncate(PARENTS_MAX);
        }
        let before = parents
            .first()
            .map(|p| canon::load::<Commit, _>(session, &p.0))
            .transpose()?;
        let (recipe, model) = write_recipe_of(&trees, &env, before.as_ref(), session)?;
        let message = text(decoded.message);
        let message = Some(message.trim()).filter(|m| !m.is_empty());
        let commit = Commit {
            recipe,
            model,
            parents,
            author: person(&author),
            committer: person(&committer),
            time,
            message: message.unwrap_or(NO_MESSAGE).to_owned(),
            runs: Vec::new(),
            extra,
        };
        Ok(CommitId(session.put_object(&commit)?))
    }

    /// Lets branches and tags follow, and the working tree with its branch.
    fn move_refs(
        &mut self,
        git: &gix::Repository,
        wanted: &[GitRef],
        map: &HashMap<ObjectId, CommitId>,
        options: &GitImport,
        mut out: Imported,
        ctx: &Ctx<'_>,
    ) -> Result<Imported> {
        let mut changes = Vec::new();
        for GitRef { name, id } in wanted {
            let Some(new) = map.get(id).copied() else {
                continue;
            };
            let old = self.ref_commit(name);
            if old == Some(new) {
                continue;
            }
            let follows = match old {
                None => true,
                Some(old) => name.starts_with(names::HEADS) && self.is_before(old, new)?,
            };
            if !follows && !options.force {
                out.kept.push(name.clone());
                continue;
            }
            out.refs.push((name.clone(), new));
            changes.push(self.ref_change(name, Some(Target::Commit(new))));
        }
        let (head, more) = self.head_after(git, &changes, options);
        changes.extend(more);
        if let Some(new) = head.filter(|new| self.head() != Some(*new) && !self.is_bare()) {
            let is_here = git.workdir().is_some_and(|dir| is_same(dir, self.root()));
            if !is_here {
                self.check_out(self.head(), &self.files(new)?, "import", ctx)?;
                out.checked_out = true;
            }
        }
        if !changes.is_empty() {
            self.append(changes, out.checked_out, None)?;
            self.tell_secrets(ctx)?;
        }
        Ok(out)
    }

    /// Says whether files of HEAD hold credentials: they were in Git already, but not silently here.
    fn tell_secrets(&self, ctx: &Ctx<'_>) -> Result<()> {
        let Some(head) = self.head() else {
            return Ok(());
        };
        let found = self.stored_secrets(&self.files(head)?, ctx)?;
        if let Some(first) = found.first() {
            let (count, s) = (found.len(), if found.len() == 1 { "" } else { "s" });
            ctx.progress.note(&format!(
                "{count} secret{s} came with it, the first is {first}"
            ));
        }
        Ok(())
    }

    /// What HEAD leads to after these changes. Before the first commit here it follows Git's.
    fn head_after(
        &self,
        git: &gix::Repository,
        changes: &[RefChange],
        options: &GitImport,
    ) -> (Option<CommitId>, Option<RefChange>) {
        let moved = |full: &str| {
            let change = changes.iter().find(|c| c.name == full)?;
            change.new.as_ref()?.commit()
        };
        if self.head().is_some() {
            return (self.head_ref().and_then(moved), None);
        }
        let theirs = git.head_name().ok().flatten();
        let theirs = theirs.map(|n| {
            let name = n.shorten().to_str_lossy().into_owned();
            format!("{}{}{name}", names::HEADS, options.prefix)
        });
        let first = |c: &&RefChange| c.name.starts_with(names::HEADS);
        let full = theirs
            .filter(|full| moved(full).is_some())
            .or_else(|| changes.iter().find(first).map(|c| c.name.clone()));
        let Some(full) = full else {
            return (None, None);
        };
        (moved(&full), self.head_to(Target::Symbolic(full)))
    }
}

/// Commits that are not known yet, every one behind its parents.
fn order_of(
    git: &gix::Repository,
    tips: impl Iterator<Item = ObjectId>,
    known: &HashMap<ObjectId, CommitId>,
    ctx: &Ctx<'_>,
    bad: &Unreadable,
) -> Result<Vec<ObjectId>> {
    let shallow: HashSet<ObjectId> = match git.shallow_commits().map_err(|e| bad.because(e))? {
        Some(ids) => ids.iter().copied().collect(),
        None => HashSet::new(),
    };
    parents_first(tips, |id| {
        if known.contains_key(&id) {
            return Ok(None);
        }
        ctx.cancel.check()?;
        if shallow.contains(&id) {
            return Ok(Some(Vec::new()));
        }
        let commit = git.find_commit(id).map_err(|e| bad.because(e))?;
        Ok(Some(commit.parent_ids().map(gix::Id::detach).collect()))
    })
}

/// The environment that is known of old commits: their lock files.
fn locked(files: &Files) -> Env {
    let locks = files.iter().filter(|(path, _)| is_lock_file(path.name()));
    Env {
        locks: locks
            .map(|(path, file)| Lock {
                path: path.as_bytes().to_vec(),
                blob: file.blob,
            })
            .collect(),
        ..Env::none()
    }
}

fn time_of(who: &gix::actor::SignatureRef<'_>) -> Time {
    // What Git can't read either is the beginning of time there too.
    let time = who.time().unwrap_or_default();
    Time {
        seconds: time.seconds,
        offset_minutes: i16::try_from(time.offset / 60).unwrap_or(0),
    }
}

/// Text in the encoding that a commit names; Latin-1 is the only one besides UTF-8 that people used.
fn text_of(bytes: &BStr, encoding: Option<&BStr>) -> String {
    let latin = ["latin1", "iso-8859-1", "latin-1", "iso8859-1"];
    let is_latin = encoding.is_some_and(|name| {
        let name = name.to_str_lossy().to_ascii_lowercase();
        latin.contains(&name.as_str())
    });
    match bytes.to_str() {
        Ok(text) => text.to_owned(),
        Err(_) if is_latin => bytes.iter().map(|b| char::from(*b)).collect(),
        Err(_) => bytes.to_str_lossy().into_owned(),
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    real(a).is_some_and(|a| real(b) == Some(a))
}
