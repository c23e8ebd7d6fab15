//! Code and configuration as commits on a branch of a Git repository, for those who live there. Each
//! names the commit it was made of in trailers, so that exporting again adds only what is new. Must never
//! move a branch that is checked out, nor drop commits that others made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;
use gix::refs::transaction::PreviousValue;
use modelv_core::commit::{Commit, Person, Time};
use modelv_core::id::{CommitId, TreeId};
use modelv_core::tree::{self, Entry, Mode};

use crate::ctx::{Ctx, Unit};
use crate::error::{Error, Result};
use crate::import::{Unreadable, parents_first};
use crate::names;
use crate::repo::Repo;
use crate::worktree::{Ingredient, Trees};

/// The trailer that names the commit.
const COMMIT: &str = "Modelv-Commit";
/// The trailer that names its recipe.
const RECIPE: &str = "Modelv-Recipe";

/// What `export git` is asked for.
#[derive(Debug, Clone)]
pub struct GitExport {
    /// The commit whose history goes.
    pub revision: String,
    /// Name of the branch there.
    pub branch: String,
    /// What goes: code and configuration, where nothing is named.
    pub parts: Vec<Ingredient>,
    /// Move the branch though it has commits that were not exported.
    pub force: bool,
}

/// What an export made.
#[derive(Debug)]
pub struct Exported {
    /// Commits that are new there.
    pub commits: usize,
    /// The tip of the branch.
    pub tip: String,
}

/// Turns commits into Git's. Remembers every folder and file.
struct Exporter<'a> {
    repo: &'a Repo,
    git: &'a gix::Repository,
    bad: &'a Unreadable,
    parts: Vec<Ingredient>,
    folders: HashMap<Vec<TreeId>, ObjectId>,
    files: HashMap<[u8; 32], ObjectId>,
    made: HashMap<CommitId, ObjectId>,
}

impl Repo {
    /// Writes history into the Git repository at `place`, and moves a branch there.
    ///
    /// # Errors
    /// It is none, the branch is checked out or has commits of others, or something can't be written.
    /// The branch has not moved then.
    pub fn export_git(&self, place: &Path, options: &GitExport, ctx: &Ctx<'_>) -> Result<Exported> {
        let bad = Unreadable::new(place);
        names::check("branch", &options.branch)?;
        let tip = self.resolve(&options.revision)?;
        let mut git = gix::open(place).map_err(|e| bad.because(e))?;
        git.committer_or_set_generic_fallback()
            .map_err(|e| bad.because(e))?;
        let full = format!("{}{}", names::HEADS, options.branch);
        let is_current = git.head_name().ok().flatten();
        let is_current = is_current.is_some_and(|n| n.as_bstr() == full.as_str());
        if is_current && !git.is_bare() {
            let text = format!("branch `{}` is checked out there", options.branch);
            return Err(Error::State(text));
        }
        let old = git.try_find_reference(&full).map_err(|e| bad.because(e))?;
        let old = old.map(|mut r| r.peel_to_id().map(gix::Id::detach));
        let old = old.transpose().map_err(|e| bad.because(e))?;
        let mut exporter = Exporter {
            repo: self,
            git: &git,
            bad: &bad,
            parts: match options.parts.as_slice() {
                [] => vec![Ingredient::Code, Ingredient::Config],
                parts => parts.to_vec(),
            },
            folders: HashMap::new(),
            files: HashMap::new(),
            made: old.map_or_else(|| Ok(HashMap::new()), |old| exported(&git, old, &bad))?,
        };
        let order = parents_first([tip], |id| match exporter.made.contains_key(&id) {
            true => Ok(None),
            false => Ok(Some(self.commit_object(id)?.parents)),
        })?;
        let commits = order.len();
        ctx.progress
            .start("exporting commits", Unit::Items, Some(commits as u64));
        for id in order {
            ctx.cancel.check()?;
            exporter.commit(id)?;
            ctx.progress.advance(1);
        }
        ctx.progress.finish();
        let new = exporter.made[&tip];
        let is_ahead = match old {
            Some(old) => old == new || is_behind(&git, old, new, &bad)?,
            None => true,
        };
        if !is_ahead && !options.force {
            let text = format!(
                "branch `{}` there has commits that `{}` does not have",
                options.branch, options.revision
            );
            return Err(Error::State(text));
        }
        let before = match old {
            Some(old) => PreviousValue::MustExistAndMatch(old.into()),
            None => PreviousValue::MustNotExist,
        };
        if old != Some(new) {
            git.reference(full.as_str(), new, before, "modelv export git")
                .map_err(|e| bad.because(e))?;
        }
        Ok(Exported {
            commits,
            tip: new.to_string(),
        })
    }
}

impl Exporter<'_> {
    fn commit(&mut self, id: CommitId) -> Result<()> {
        let commit = self.repo.commit_object(id)?;
        let trees = Trees::of(&commit);
        let roots: Vec<TreeId> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Ingredient::Code => Some(trees.code),
                Ingredient::Data => Some(trees.data),
                Ingredient::Config => Some(trees.config),
                Ingredient::Model => trees.model,
            })
            .collect();
        let tree = match self.folder(&roots)? {
            Some(tree) => tree,
            None => self.write(&gix::objs::Tree::empty())?,
        };
        let parents = commit.parents.iter().filter_map(|p| self.made.get(p));
        let made = gix::objs::Commit {
            tree,
            parents: parents.copied().collect(),
            author: signature(&commit.author, author_time(&commit)),
            committer: signature(&commit.committer, commit.time),
            encoding: None,
            message: message_of(id, &commit).into(),
            extra_headers: Vec::new(),
        };
        let written = self.write(&made)?;
        self.made.insert(id, written);
        Ok(())
    }

    fn write(&self, object: &impl gix::objs::WriteTo) -> Result<ObjectId> {
        let id = self.git.write_object(object);
        Ok(id.map_err(|e| self.bad.because(e))?.detach())
    }

    /// The folder that holds what these folders hold; `None`: nothing.
    fn folder(&mut self, folders: &[TreeId]) -> Result<Option<ObjectId>> {
        let mut folders = folders.to_vec();
        folders.retain(|id| *id != tree::empty_id());
        if folders.is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.folders.get(&folders) {
            return Ok(Some(*known));
        }
        let mut names: BTreeMap<Vec<u8>, Vec<Entry>> = BTreeMap::new();
        for id in &folders {
            for entry in tree::read_directory(&self.repo.store, *id)? {
                names.entry(entry.name.clone()).or_default().push(entry);
            }
        }
        let mut entries = Vec::with_capacity(names.len());
        for (name, same) in names {
            let below: Vec<TreeId> = same.iter().filter_map(Entry::tree_id).collect();
            let found = match same.first() {
                Some(file) if below.is_empty() => self.file(file)?,
                _ => self.folder(&below)?.map(|id| (EntryKind::Tree, id)),
            };
            entries.extend(found.map(|(kind, oid)| gix::objs::tree::Entry {
                mode: kind.into(),
                filename: name.into(),
                oid,
            }));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        entries.sort();
        let id = self.write(&gix::objs::Tree { entries })?;
        self.folders.insert(folders, id);
        Ok(Some(id))
    }

    fn file(&mut self, entry: &Entry) -> Result<Option<(EntryKind, ObjectId)>> {
        let kind = match entry.mode {
            Mode::File => EntryKind::Blob,
            Mode::Executable => EntryKind::BlobExecutable,
            Mode::Symlink => EntryKind::Link,
            // What lies elsewhere stays there.
            Mode::External | Mode::Tree => return Ok(None),
        };
        let Some(blob) = entry.blob_id() else {
            return Ok(None);
        };
        if let Some(known) = self.files.get(&blob.0) {
            return Ok(Some((kind, *known)));
        }
        let mut bytes = Vec::new();
        let mut content = self.repo.store.open_blob(&blob)?;
        content.read_to_end(&mut bytes).map_err(Error::io(
            "read",
            String::from_utf8_lossy(&entry.name).as_ref(),
        ))?;
        let id = self
            .git
            .write_blob(&bytes)
            .map_err(|e| self.bad.because(e))?;
        let id = id.detach();
        self.files.insert(blob.0, id);
        Ok(Some((kind, id)))
    }
}

/// Commits that commits below `tip` there were made of.
fn exported(
    git: &gix::Repository,
    tip: ObjectId,
    bad: &Unreadable,
) -> Result<HashMap<CommitId, ObjectId>> {
    let (mut out, mut seen, mut stack) = (HashMap::new(), HashSet::new(), vec![tip]);
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        let commit = git.find_commit(id).map_err(|e| bad.because(e))?;
        let decoded = commit.decode().map_err(|e| bad.because(e))?;
        let text = decoded.message.to_str_lossy();
        let named = text
            .lines()
            .rev()
            .find_map(|l| l.strip_prefix(COMMIT)?.strip_prefix(": "));
        let named = named.and_then(|hex| CommitId::from_hex(hex).ok());
        out.extend(named.map(|named| (named, id)));
        stack.extend(decoded.parents());
    }
    Ok(out)
}

/// Whether `new` has `old` in its history.
fn is_behind(
    git: &gix::Repository,
    old: ObjectId,
    new: ObjectId,
    bad: &Unreadable,
) -> Result<bool> {
    let (mut seen, mut stack) = (HashSet::new(), vec![new]);
    while let Some(id) = stack.pop() {
        if id == old {
            return Ok(true);
        }
        if seen.insert(id) {
            let commit = git.find_commit(id).map_err(|e| bad.because(e))?;
            stack.extend(commit.parent_ids().map(gix::Id::detach));
        }
    }
    Ok(false)
}

fn message_of(id: CommitId, commit: &Commit) -> String {
    let text = commit.message.trim();
    // Trailers that are there already are one block with ours.
    let is_trailer = |line: &str| {
        let key = line.split_once(": ").map_or("", |(key, _)| key);
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let last = text.rsplit_once("\n\n").map(|(_, last)| last);
    let joins = last.is_some_and(|last| last.lines().all(is_trailer));
    let gap = if joins { "\n" } else { "\n\n" };
    let recipe = commit.recipe.id();
    format!("{text}{gap}{COMMIT}: {id}\n{RECIPE}: {recipe}\n")
}

/// A name and a time as Git takes them: without what ends them there.
fn signature(who: &Person, time: Time) -> gix::actor::Signature {
    let clean = |text: &str| -> String {
        let keeps = |c: &char| !c.is_control() && !"<>".contains(*c);
        text.chars().filter(keeps).collect::<String>().trim().into()
    };
    gix::actor::Signature {
        name: clean(&who.name).into(),
        email: clean(&who.email).into(),
        time: gix::date::Time {
            seconds: time.seconds,
            offset: i32::from(time.offset_minutes) * 60,
        },
    }
}

/// When the author wrote it: for what came from Git and was committed later, what was said there.
fn author_time(commit: &Commit) -> Time {
    let said = commit.extra.get(crate::import::AUTHOR_TIME);
    let said = said.and_then(|text| text.parse::<gix::date::Time>().ok());
    said.map_or(commit.time, |time| Time {
        seconds: time.seconds,
        offset_minutes: i16::try_from(time.offset / 60).unwrap_or(0),
    })
}
