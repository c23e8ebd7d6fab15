//! Whether everything that the operation log leads to is there and well formed: commits, their
//! environments, runs, trees cut where they must be cut, and the content of every file. Each object
//! is looked at once, however many commits share it. Must never write.
//!
//! That stored bytes match their hashes is the store's own check ([`modelv_store::Store::verify`]).

use std::collections::{BTreeMap, HashMap, HashSet};

use modelv_core::commit::Commit;
use modelv_core::id::{BlobId, CommitId, EnvId, RunId, TreeId};
use modelv_core::path::{DEPTH_MAX, PATH_BYTES_MAX};
use modelv_core::tree::{self, Entry};
use modelv_store::gc::State;

use crate::error::Result;
use crate::oplog::Target;
use crate::remote::Promised;
use crate::repo::Repo;

impl Repo {
    /// Follows every name of the operation log, old ones included as far as `gc` has kept them, for
    /// `undo` goes back to them.
    /// Returns one line for each thing that is missing or malformed.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn check_reachable(&self) -> Result<Vec<String>> {
        let mut walk = Walk {
            repo: self,
            seen: HashSet::new(),
            deepest: HashMap::new(),
            overlaid: HashSet::new(),
            problems: Vec::new(),
            promised: self.promised()?,
        };
        // A damaged file is named by the check of the store.
        let horizon = State::read(self.dir()).map_or(u64::MAX, |s| s.horizon);
        let mut commits: Vec<CommitId> = Vec::new();
        for (_, target) in self.oplog().kept_targets(horizon) {
            match target {
                Target::Commit(id) => commits.push(*id),
                Target::Run(id) => walk.run(*id)?,
                Target::Blob(id) => walk.blob(*id, "the state of a merge")?,
                Target::Symbolic(_) | Target::Text(_) => {}
            }
        }
        while let Some(id) = commits.pop() {
            commits.extend(walk.commit(id)?);
        }
        Ok(walk.problems)
    }
}

struct Walk<'a> {
    repo: &'a Repo,
    /// Ids of different kinds never meet: each kind hashes in a domain of its own.
    seen: HashSet<[u8; 32]>,
    /// Of each directory the deepest place where it was looked at: names and bytes above it. Deeper
    /// down it is looked at again, for a path may get too long only there.
    deepest: HashMap<TreeId, (usize, usize)>,
    /// Directories that were laid over one another.
    overlaid: HashSet<Vec<TreeId>>,
    problems: Vec<String>,
    promised: Promised,
}

impl Walk<'_> {
    /// Checks a commit; returns its parents the first time it is seen.
    fn commit(&mut self, id: CommitId) -> Result<Vec<CommitId>> {
        if !self.seen.insert(id.0) {
            return Ok(Vec::new());
        }
        let commit: Commit = match self.repo.commit_object(id) {
            Ok(commit) => commit,
            Err(_) if self.promised.has(&id.0) => return Ok(Vec::new()),
            Err(e) => {
                self.problems.push(format!("commit `{}`: {e}", id.short()));
                return Ok(Vec::new());
            }
        };
        let recipe = commit.recipe;
        let of = format!("commit `{}`", id.short());
        self.env(recipe.env, &of);
        let model = commit.model.map(|m| m.tree);
        let roots: Vec<TreeId> = [recipe.code, recipe.data, recipe.config]
            .into_iter()
            .chain(model)
            .collect();
        for root in &roots {
            self.tree(*root, &of)?;
        }
        self.overlay(roots, &of);
        for run in commit.runs {
            self.run(run)?;
        }
        Ok(commit.parents)
    }

    fn env(&mut self, id: EnvId, of: &str) {
        if self.seen.insert(id.0)
            && !self.promised.has(&id.0)
            && let Err(e) = self.repo.env_object(id)
        {
            self.problems.push(format!("environment of {of}: {e}"));
        }
    }

    fn run(&mut self, id: RunId) -> Result<()> {
        if !self.seen.insert(id.0) {
            return Ok(());
        }
        let of = format!("run `{}`", id.short());
        match self.repo.run_object(id) {
            Ok(run) => {
                let origin = run.origin;
                let inputs = origin.stage.map(|s| s.inputs);
                let ingredients = origin.ingredients.into_iter();
                let trees = ingredients.flat_map(|r| [r.code, r.data, r.config]);
                for tree in trees.chain(inputs).chain(run.outputs) {
                    self.tree(tree, &of)?;
                }
                if let Some(recipe) = origin.ingredients {
                    self.env(recipe.env, &of);
                }
                for blob in [run.log, run.series].into_iter().flatten() {
                    self.blob(blob, &of)?;
                }
            }
            Err(_) if self.promised.has(&id.0) => {}
            Err(e) => self.problems.push(format!("{of}: {e}")),
        }
        Ok(())
    }

    /// Whether a directory has to be looked at where it stands now.
    fn is_deeper(&mut self, id: TreeId, depth: usize, bytes: usize) -> bool {
        let known = self.deepest.get(&id).copied();
        let (most, longest) = known.unwrap_or_default();
        if known.is_some() && depth <= most && bytes <= longest {
            return false;
        }
        self.deepest
            .insert(id, (depth.max(most), bytes.max(longest)));
        true
    }

    /// Checks a directory and all below it.
    fn tree(&mut self, root: TreeId, of: &str) -> Result<()> {
        let mut dirs = vec![Place::root(root)];
        while let Some(at) = dirs.pop() {
            let path = &at.path;
            if !self.is_deeper(at.id, at.depth, at.bytes) {
                continue;
            }
            if self.promised.has(&at.id.0) {
                continue;
            }
            let shown = if path.is_empty() { "/" } else { path };
            let entries = match tree::verify_directory(&self.repo.store, at.id) {
                Ok(entries) => entries,
                Err(e) => {
                    self.problems.push(format!("tree `{shown}` of {of}: {e}"));
                    continue;
                }
            };
            let sum = entries.iter().fold(0u64, |n, e| n.saturating_add(e.size));
            if at.size.is_some_and(|size| size != sum) {
                self.problems.push(format!(
                    "tree `{path}` of {of}: it has another size than stated"
                ));
            }
            // The rule about long paths is also what keeps this walk from going down for ever.
            for entry in &entries {
                let below = at.below(entry);
                if below.depth > DEPTH_MAX || below.bytes > PATH_BYTES_MAX {
                    self.problems.push(format!(
                        "tree `{shown}` of {of}: a path in it breaks a rule: it is longer than 4096 bytes or 128 names"
                    ));
                    break;
                }
                match (entry.tree_id(), entry.blob_id()) {
                    (Some(_), _) => dirs.push(below),
                    (None, Some(blob)) => self.content(blob, entry, &below.path, of)?,
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }

    /// Checks that directories fit over one another (COMMIT-4). Those that can't be read have been
    /// named already.
    fn overlay(&mut self, roots: Vec<TreeId>, of: &str) {
        let mut waiting = vec![(roots, String::new())];
        while let Some((dirs, path)) = waiting.pop() {
            if !self.overlaid.insert(dirs.clone()) {
                continue;
            }
            let mut named: BTreeMap<Vec<u8>, Vec<Option<TreeId>>> = BTreeMap::new();
            for dir in dirs {
                let entries = tree::read_directory(&self.repo.store, dir).unwrap_or_default();
                for entry in entries {
                    let id = entry.tree_id();
                    named.entry(entry.name).or_default().push(id);
                }
            }
            for (name, ids) in named.into_iter().filter(|(_, ids)| ids.len() > 1) {
                let below = join(&path, &name);
                match ids.into_iter().collect::<Option<Vec<TreeId>>>() {
                    Some(dirs) => waiting.push((dirs, below)),
                    None => self
                        .problems
                        .push(format!("`{below}` of {of} is in two ingredients")),
                }
            }
        }
    }

    /// Checks that a file's content is there and as long as its entry says.
    fn content(&mut self, blob: BlobId, entry: &Entry, path: &str, of: &str) -> Result<()> {
        let found = self.repo.store.blob_size(&blob)?;
        if self.seen.insert(blob.0) && found.is_none() && !self.promised.has(&blob.0) {
            self.problems.push(format!("`{path}` of {of} is missing"));
        }
        if found.is_some_and(|size| size != entry.size) {
            self.problems
                .push(format!("`{path}` of {of} has another size than stated"));
        }
        Ok(())
    }

    fn blob(&mut self, id: BlobId, of: &str) -> Result<()> {
        let is_new = self.seen.insert(id.0) && !self.promised.has(&id.0);
        if is_new && self.repo.store.blob_size(&id)?.is_none() {
            self.problems
                .push(format!("file content `{}` of {of} is missing", id.short()));
        }
        Ok(())
    }
}

/// A directory on the way down, and where it stands.
struct Place {
    id: TreeId,
    /// For people, lossily.
    path: String,
    /// Names of the path, and its bytes.
    depth: usize,
    bytes: usize,
    /// What its entry says.
    size: Option<u64>,
}

impl Place {
    fn root(id: TreeId) -> Self {
        Self {
            id,
            path: String::new(),
            depth: 0,
            bytes: 0,
            size: None,
        }
    }

    fn below(&self, entry: &Entry) -> Self {
        let slash = usize::from(self.depth > 0);
        Self {
            id: TreeId(entry.id),
            path: join(&self.path, &entry.name),
            depth: self.depth + 1,
            bytes: self.bytes + slash + entry.name.len(),
            size: Some(entry.size),
        }
    }
}

fn join(path: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if path.is_empty() {
        name.into_owned()
    } else {
        format!("{path}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use modelv_core::canon;
    use modelv_core::commit::{Commit, Person, Recipe, Time};
    use modelv_core::env::Env;
    use modelv_core::id::{BlobId, CommitId, TreeId};
    use modelv_core::tree::{Child, Entry, Mode, Node, empty_id};

    use super::*;
    use crate::names;
    use crate::oplog::RefChange;

    fn file(name: &str, content: &[u8], size: u64) -> Entry {
        Entry {
            name: name.into(),
            mode: Mode::File,
            size,
            id: BlobId::of(content).0,
        }
    }

    /// What is wrong with a repository whose one commit has `code` as its code; "here" is the only
    /// content that is stored.
    fn problems(nodes: &[Node], code: impl Fn(&[TreeId]) -> TreeId) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = Repo::init(dir.path()).unwrap();
        let session = repo.store.begin().unwrap();
        session.put_blob(&mut b"here".as_slice(), 4).unwrap();
        session.put_object(&Node::Leaf(vec![])).unwrap();
        session.put_object(&Env::none()).unwrap();
        let ids: Vec<TreeId> = nodes
            .iter()
            .map(|n| TreeId(session.put_object(n).unwrap()))
            .collect();
        let person = Person {
            name: "Ada".into(),
            email: "ada@example.org".into(),
        };
        let commit = Commit {
            recipe: Recipe {
                code: code(&ids),
                data: empty_id(),
                config: empty_id(),
                env: Env::none().id(),
            },
            model: None,
            parents: vec![],
            author: person.clone(),
            committer: person,
            time: Time {
                seconds: 0,
                offset_minutes: 0,
            },
            message: "m".into(),
            runs: vec![],
            extra: BTreeMap::new(),
        };
        let id = CommitId(session.put_object(&commit).unwrap());
        session.finish().unwrap();
        repo.update_refs(vec![RefChange {
            name: format!("{}main", names::HEADS),
            old: None,
            new: Some(Target::Commit(id)),
        }])
        .unwrap();
        let id = id.short();
        let found = repo.check_reachable().unwrap();
        found.iter().map(|p| p.replace(&id, "C")).collect()
    }

    #[test]
    fn a_sound_repository_has_no_problems() {
        let leaf = Node::Leaf(vec![file("a", b"here", 4)]);
        assert_eq!(problems(&[leaf], |ids| ids[0]), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let leaf = Node::Leaf(vec![file("a", b"gone", 4), file("b", b"here", 5)]);
        assert_eq!(
            problems(&[leaf], |ids| ids[0]),
            [
                "`a` of commit `C` is missing",
                "`b` of commit `C` has another size than stated"
            ]
        );
        assert!(problems(&[], |_| TreeId([7; 32]))[0].starts_with("tree `/` of commit `C`: tree"));
    }

    #[test]
    fn a_path_that_gets_too_long_is_named_wherever_its_directories_are_shared() {
        let mut nodes = vec![Node::Leaf(vec![file("a", b"here", 4)])];
        for _ in 0..DEPTH_MAX {
            let below = canon::id_of(nodes.last().unwrap());
            nodes.push(Node::Leaf(vec![Entry {
                name: b"d".to_vec(),
                mode: Mode::Tree,
                size: 4,
                id: below,
            }]));
        }
        // The shallower one is looked at first.
        let fits = |at: usize| {
            let found = problems(&nodes, |ids| ids[at]);
            found.iter().filter(|p| p.contains("128 names")).count()
        };
        assert_eq!((fits(DEPTH_MAX - 1), fits(DEPTH_MAX)), (0, 1));
        let both = [("x", DEPTH_MAX - 1), ("y", DEPTH_MAX - 2)].map(|(name, at)| Entry {
            name: name.into(),
            mode: Mode::Tree,
            size: 4,
            id: canon::id_of(&nodes[at]),
        });
        let mut all = nodes.clone();
        all.push(Node::Leaf(both.to_vec()));
        let found = problems(&all, |ids| *ids.last().unwrap());
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_tree_cut_another_way_is_named() {
        let (a, b) = (file("a", b"here", 4), file("b", b"here", 4));
        let leaves = [Node::Leaf(vec![a]), Node::Leaf(vec![b])];
        let child = |name: &str, node: &Node| Child {
            last: name.into(),
            id: TreeId(canon::id_of(node)),
            entries: 1,
            bytes: 4,
        };
        let root = Node::Inner {
            level: 1,
            children: vec![child("a", &leaves[0]), child("b", &leaves[1])],
        };
        let [a, b] = leaves;
        let found = problems(&[a, b, root], |ids| ids[2]);
        assert!(found[0].contains("cut into nodes another way"), "{found:?}");
    }

    #[test]
    fn a_directory_with_another_size_than_its_entry_says_is_named() {
        let below = Node::Leaf(vec![file("a", b"here", 4)]);
        let root = Node::Leaf(vec![Entry {
            name: b"dir".to_vec(),
            mode: Mode::Tree,
            size: 5,
            id: canon::id_of(&below),
        }]);
        assert_eq!(
            problems(&[below, root], |ids| ids[1]),
            ["tree `dir` of commit `C`: it has another size than stated"]
        );
    }
}
