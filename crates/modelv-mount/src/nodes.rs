//! What is where in a commit: the trees of its ingredients laid over one another, each directory read
//! when it is first looked into.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use modelv_repo::core::commit::Commit;
use modelv_repo::core::id::{BlobId, TreeId};
use modelv_repo::core::path::RepoPath;
use modelv_repo::core::tree::{self, Entry, Mode};
use modelv_repo::{Error, Repo};

/// The inode number of the root.
pub(crate) const ROOT: u64 = 1;

/// One file, link or directory.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) ino: u64,
    pub(crate) parent: u64,
    /// `None` is the root.
    pub(crate) path: Option<RepoPath>,
    pub(crate) kind: Kind,
    /// Bytes of the file; of a directory, of all files below it.
    pub(crate) size: u64,
}

#[derive(Debug)]
pub(crate) enum Kind {
    File { blob: BlobId, is_executable: bool },
    Link { blob: BlobId },
    Dir(Dir),
}

/// Trees of several ingredients that share a directory.
#[derive(Debug)]
pub(crate) struct Dir {
    trees: Vec<TreeId>,
    children: OnceLock<Arc<Vec<Child>>>,
}

/// A name in a directory, in order of bytes.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) name: Vec<u8>,
    pub(crate) node: Arc<Node>,
}

/// All nodes that were seen so far. A commit does not change, and so they stay.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) repo: Arc<Repo>,
    seen: RwLock<HashMap<u64, Arc<Node>>>,
}

impl Nodes {
    /// Reads the root directory alone.
    pub(crate) fn new(repo: Arc<Repo>, commit: &Commit) -> Result<Self, Error> {
        let recipe = commit.recipe;
        let model = commit.model.map(|m| m.tree);
        let trees = [recipe.code, recipe.data, recipe.config];
        let mut root = Node {
            ino: ROOT,
            parent: ROOT,
            path: None,
            kind: Kind::Dir(Dir {
                trees: trees.into_iter().chain(model).collect(),
                children: OnceLock::new(),
            }),
            size: 0,
        };
        let nodes = Self {
            repo,
            seen: RwLock::default(),
        };
        let children = nodes.children(&root)?.unwrap_or_default();
        root.size = sum(children.iter().map(|c| c.node.size));
        nodes.write().insert(ROOT, Arc::new(root));
        Ok(nodes)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<u64, Arc<Node>>> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node that the kernel was told of.
    pub(crate) fn get(&self, ino: u64) -> Option<Arc<Node>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(&ino).map(Arc::clone)
    }

    /// How many are known so far.
    pub(crate) fn len(&self) -> usize {
        self.seen
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// What is in a directory; `None` for anything else.
    pub(crate) fn children(&self, node: &Node) -> Result<Option<Arc<Vec<Child>>>, Error> {
        let Kind::Dir(dir) = &node.kind else {
            return Ok(None);
        };
        if let Some(children) = dir.children.get() {
            return Ok(Some(Arc::clone(children)));
        }
        let mut named: BTreeMap<Vec<u8>, Vec<Entry>> = BTreeMap::new();
        for tree in &dir.trees {
            for entry in tree::read_directory(self.repo.store(), *tree)? {
                named.entry(entry.name.clone()).or_default().push(entry);
            }
        }
        let children: Vec<Child> = named
            .into_iter()
            .map(|(name, entries)| self.child(node, name, &entries))
            .collect::<Result<_, _>>()?;
        Ok(Some(Arc::clone(
            dir.children.get_or_init(|| Arc::new(children)),
        )))
    }

    fn child(&self, dir: &Node, name: Vec<u8>, entries: &[Entry]) -> Result<Child, Error> {
        let path = RepoPath::below(dir.path.as_ref(), &name)?;
        let kind = match entries {
            [one] if one.mode != Mode::Tree => {
                let blob = BlobId(one.id);
                if one.mode == Mode::Symlink {
                    Kind::Link { blob }
                } else {
                    let is_executable = one.mode == Mode::Executable;
                    Kind::File {
                        blob,
                        is_executable,
                    }
                }
            }
            several => Kind::Dir(Dir {
                trees: several
                    .iter()
                    .map(Entry::tree_id)
                    .collect::<Option<_>>()
                    .ok_or_else(|| Error::Corrupt {
                        what: "commit".into(),
                        detail: format!("`{path}` is in two ingredients"),
                    })?,
                children: OnceLock::new(),
            }),
        };
        let size = sum(entries.iter().map(|e| e.size));
        let mut seen = self.write();
        let ino = free_number(&path, &seen);
        let node = seen.entry(ino).or_insert_with(|| {
            Arc::new(Node {
                ino,
                parent: dir.ino,
                path: Some(path),
                kind,
                size,
            })
        });
        let node = Arc::clone(node);
        Ok(Child { name, node })
    }
}

/// The inode number of a path: from its hash, so that it is the same in every mount of every commit.
/// Should two paths of one commit meet, the one that is seen later gets the next number.
fn free_number(path: &RepoPath, seen: &HashMap<u64, Arc<Node>>) -> u64 {
    let hash = BlobId::of(path.as_bytes()).0;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    let mut number = u64::from_le_bytes(bytes);
    loop {
        let is_free = seen
            .get(&number)
            .is_none_or(|node| node.path.as_ref() == Some(path));
        // 0 is no inode, 1 is the root.
        if number > ROOT && is_free {
            return number;
        }
        number = number.wrapping_add(1);
    }
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
