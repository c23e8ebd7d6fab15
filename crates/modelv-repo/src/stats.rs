//! What takes how much room: by ingredient, by type of file, and what each commit added. Each content
//! and chunk counts where it first appears, oldest commit first. Must never read a content.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use modelv_core::canon::{self, Kind};
use modelv_core::commit::Commit;
use modelv_core::id::{BlobId, ChunkId, CommitId, RunId, TreeId};
use modelv_core::run::Run;
use modelv_core::tree::{Entry, Node};
use modelv_store::Usage;

use crate::ctx::{Ctx, Unit};
use crate::error::Result;
use crate::names;
use crate::repo::Repo;
use crate::worktree::Ingredient;

/// What files of one kind take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Different contents.
    pub contents: u64,
    /// Bytes of the files of all commits: what as many copies would take.
    pub copies: u64,
    /// Bytes of different contents.
    pub bytes: u64,
    /// Bytes of different chunks.
    pub chunks: u64,
    /// Bytes of them in packs.
    pub stored: u64,
}

/// What one commit added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRoom {
    /// The commit.
    pub id: CommitId,
    /// First line of its message.
    pub subject: String,
    /// What it added, without trees and records.
    pub room: Room,
    /// Bytes of its trees and records in packs.
    pub records: u64,
}

/// What a repository takes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stats {
    /// All packs.
    pub usage: Usage,
    /// Files of all commits together.
    pub total: Room,
    /// Bytes of trees, commits, environments and runs in packs.
    pub records: u64,
    /// What runs printed and measured.
    pub runs: Room,
    /// By ingredient.
    pub ingredients: BTreeMap<Ingredient, Room>,
    /// By the end of the name, in small letters; empty: none.
    pub types: BTreeMap<String, Room>,
    /// Newest first.
    pub commits: Vec<CommitRoom>,
}

/// Bytes of a directory by type of file.
type Totals = Rc<BTreeMap<String, u64>>;

/// Where something counts.
#[derive(Clone, Copy)]
enum Place {
    File(Ingredient),
    Run,
}

struct Counter<'a> {
    repo: &'a Repo,
    stats: Stats,
    totals: HashMap<TreeId, Totals>,
    trees: HashSet<TreeId>,
    blobs: HashSet<BlobId>,
    chunks: HashSet<ChunkId>,
    records: HashSet<[u8; 32]>,
}

impl Repo {
    /// Counts what branches, tags and remote-tracking refs lead to.
    ///
    /// # Errors
    /// A commit or tree is damaged.
    pub fn stats(&self, ctx: &Ctx<'_>) -> Result<Stats> {
        let mut counter = Counter {
            repo: self,
            stats: Stats {
                usage: self.store.usage()?,
                ..Stats::default()
            },
            totals: HashMap::new(),
            trees: HashSet::new(),
            blobs: HashSet::new(),
            chunks: HashSet::new(),
            records: HashSet::new(),
        };
        let commits = self.oldest_first()?;
        ctx.progress
            .start("counting", Unit::Items, Some(commits.len() as u64));
        for (id, commit) in commits {
            ctx.cancel.check()?;
            ctx.progress.advance(1);
            counter.commit(id, &commit)?;
        }
        ctx.progress.finish();
        counter.stats.commits.reverse();
        Ok(counter.stats)
    }

    /// All commits, parents before children.
    fn oldest_first(&self) -> Result<Vec<(CommitId, Commit)>> {
        let prefixes = [names::HEADS, names::TAGS, names::REMOTES, names::WHEELS];
        let tips = prefixes.iter().flat_map(|p| self.refs_below(p));
        let tips = tips.map(|(_, id)| id).chain(self.head());
        let mut starts = Vec::new();
        for id in tips.collect::<HashSet<_>>() {
            starts.push((self.commit_object(id)?.time.seconds, id));
        }
        starts.sort_unstable_by_key(|(time, id)| std::cmp::Reverse((*time, id.0)));
        let mut stack: Vec<(CommitId, bool)> = starts.iter().map(|(_, id)| (*id, false)).collect();
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        while let Some((id, parents_done)) = stack.pop() {
            if parents_done {
                out.push((id, self.commit_object(id)?));
            } else if seen.insert(id) && self.store.has_object(Kind::Commit, &id.0)? {
                stack.push((id, true));
                let commit = self.commit_object(id)?;
                stack.extend(commit.parents.iter().rev().map(|p| (*p, false)));
            }
        }
        Ok(out)
    }
}

impl Counter<'_> {
    fn commit(&mut self, id: CommitId, commit: &Commit) -> Result<()> {
        let subject = commit.message.lines().next().unwrap_or_default();
        self.stats.commits.push(CommitRoom {
            id,
            subject: subject.to_owned(),
            room: Room::default(),
            records: 0,
        });
        self.record(Kind::Commit, id.0)?;
        let recipe = commit.recipe;
        self.record(Kind::Env, recipe.env.0)?;
        let roots = [
            (Ingredient::Code, Some(recipe.code)),
            (Ingredient::Data, Some(recipe.data)),
            (Ingredient::Config, Some(recipe.config)),
            (Ingredient::Model, commit.model.map(|m| m.tree)),
        ];
        for (ingredient, root) in roots {
            let Some(root) = root else { continue };
            self.tree(root, Place::File(ingredient))?;
            let totals = self.totals_of(root)?;
            for (kind, bytes) in totals.iter() {
                self.stats.types.entry(kind.clone()).or_default().copies += bytes;
                self.stats.ingredients.entry(ingredient).or_default().copies += bytes;
                self.stats.total.copies += bytes;
                self.last().room.copies += bytes;
            }
        }
        for run in &commit.runs {
            self.run(*run)?;
        }
        Ok(())
    }

    fn run(&mut self, id: RunId) -> Result<()> {
        if self.record(Kind::Run, id.0)? {
            let run: Run = canon::load(&self.repo.store, &id.0)?;
            for blob in [run.log, run.series].into_iter().flatten() {
                self.content(blob, "", Place::Run)?;
            }
        }
        Ok(())
    }

    fn last(&mut self) -> &mut CommitRoom {
        let last = self.stats.commits.len() - 1;
        &mut self.stats.commits[last]
    }

    /// Counts a record; `false` when it was counted before or is not in this clone.
    fn record(&mut self, kind: Kind, id: [u8; 32]) -> Result<bool> {
        if !self.records.insert(id) {
            return Ok(false);
        }
        let stored = self.repo.store.object_stored(kind, &id)?;
        let bytes = stored.unwrap_or(0);
        self.stats.records += bytes;
        self.last().records += bytes;
        Ok(stored.is_some())
    }

    fn node(&self, id: TreeId) -> Result<Node> {
        Ok(canon::load(&self.repo.store, &id.0)?)
    }

    /// Counts what is new below a directory.
    fn tree(&mut self, root: TreeId, place: Place) -> Result<()> {
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if !self.trees.insert(id) || !self.record(Kind::Tree, id.0)? {
                continue;
            }
            match self.node(id)? {
                Node::Inner { children, .. } => stack.extend(children.iter().map(|c| c.id)),
                Node::Leaf(entries) => {
                    for entry in entries {
                        if let Some(dir) = entry.tree_id() {
                            stack.push(dir);
                        } else if let Some(blob) = entry.blob_id() {
                            self.content(blob, &type_of(&entry), place)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, blob: BlobId, kind: &str, place: Place) -> Result<()> {
        if !self.blobs.insert(blob) {
            return Ok(());
        }
        let Some(parts) = self.repo.store.parts(&blob)? else {
            // A clone of a part holds less than its commits name.
            return Ok(());
        };
        let mut room = Room {
            contents: 1,
            stored: parts.record,
            ..Room::default()
        };
        for (chunk, plain, stored) in parts.chunks {
            room.bytes += u64::from(plain);
            if self.chunks.insert(chunk) {
                room.chunks += u64::from(plain);
                room.stored += u64::from(stored);
            }
        }
        match place {
            Place::File(ingredient) => {
                self.stats
                    .ingredients
                    .entry(ingredient)
                    .or_default()
                    .add(room);
                self.stats
                    .types
                    .entry(kind.to_owned())
                    .or_default()
                    .add(room);
                self.stats.total.add(room);
            }
            Place::Run => self.stats.runs.add(room),
        }
        self.last().room.add(room);
        Ok(())
    }

    /// Bytes of all files below a node, by type.
    fn totals_of(&mut self, id: TreeId) -> Result<Totals> {
        if let Some(known) = self.totals.get(&id) {
            return Ok(known.clone());
        }
        let mut out: BTreeMap<String, u64> = BTreeMap::new();
        let mut below = Vec::new();
        match self.node(id)? {
            Node::Inner { children, .. } => below.extend(children.iter().map(|c| c.id)),
            Node::Leaf(entries) => {
                for entry in entries {
                    match entry.tree_id() {
                        Some(dir) => below.push(dir),
                        None => *out.entry(type_of(&entry)).or_default() += entry.size,
                    }
                }
            }
        }
        for id in below {
            for (kind, bytes) in self.totals_of(id)?.iter() {
                *out.entry(kind.clone()).or_default() += bytes;
            }
        }
        let out = Rc::new(out);
        self.totals.insert(id, out.clone());
        Ok(out)
    }
}

impl Room {
    fn add(&mut self, other: Self) {
        self.contents += other.contents;
        self.bytes += other.bytes;
        self.chunks += other.chunks;
        self.stored += other.stored;
    }
}

/// The end of a name behind its last dot, in small letters.
fn type_of(entry: &Entry) -> String {
    let name = String::from_utf8_lossy(&entry.name);
    match name.rsplit_once('.') {
        Some((stem, end)) if !stem.is_empty() && !end.is_empty() => end.to_ascii_lowercase(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommitOptions;

    #[test]
    fn each_byte_counts_once_and_where_it_first_appears() {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(dir.path()).unwrap();
        let put = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let mut commit = |message: &str| {
            let options = CommitOptions {
                message: message.into(),
                author: Some("Ada <ada@example.org>".into()),
                ..CommitOptions::default()
            };
            repo.commit(&options, &Ctx::quiet()).unwrap();
        };
        put("modelv.toml", "[env]\ncapture = \"none\"\n");
        put("data/a.csv", &"1,2,3\n".repeat(1000));
        put("data/sub/b.CSV", &"1,2,3\n".repeat(1000));
        put("train.py", "print(1)\n");
        commit("first\n\nwith a body");
        put("train.py", "print(22)\n");
        commit("second");
        let stats = Repo::open(dir.path())
            .unwrap()
            .stats(&Ctx::quiet())
            .unwrap();
        let csv = stats.types["csv"];
        // Two files in two commits, one content.
        assert_eq!(
            (csv.contents, csv.copies, csv.bytes, csv.chunks),
            (1, 24_000, 6000, 6000)
        );
        assert!(csv.stored > 0 && csv.stored < 600, "{csv:?}");
        assert_eq!(stats.ingredients[&Ingredient::Data], csv);
        assert_eq!(stats.types["py"].contents, 2);
        let [second, first] = stats.commits.as_slice() else {
            panic!("{:?}", stats.commits)
        };
        assert_eq!(
            (first.subject.as_str(), first.room.bytes),
            ("first", 6000 + 9 + 23)
        );
        assert_eq!(
            (second.room.contents, second.room.bytes, second.room.copies),
            (1, 10, 12_033)
        );
        let stored: u64 = stats
            .commits
            .iter()
            .map(|c| c.room.stored + c.records)
            .sum();
        assert_eq!(stored, stats.total.stored + stats.records);
        // All that the packs hold, but for their tables.
        let tables = 50 * stats.usage.entries + 56 * stats.usage.packs;
        assert_eq!(stored + tables, stats.usage.bytes);
    }
}
