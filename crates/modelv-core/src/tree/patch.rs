//! Writing a tree that differs from another one in a few files: what lies in other directories is
//! neither read nor written.

use std::collections::BTreeMap;

use super::{Clash, Entry, Sink, WriteError, read_directory, write_directory};
use crate::canon::Source;
use crate::id::{BlobId, TreeId};
use crate::path::RepoPath;
use crate::tree::Mode;

/// What a path holds afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Path from the root of the tree; not twice among edits.
    pub path: RepoPath,
    /// Mode, size and content of the file; `None`: there is none.
    pub file: Option<(Mode, u64, BlobId)>,
}

/// Writes the tree that comes of `root` by `edits`; `None` for a root: from the empty one. Gives
/// `None` when no file is left. The same id as [`super::write_tree`] gives for all files.
///
/// # Errors
/// A path is both a file and a directory, a node of `root` can't be read, or the sink fails.
pub fn patch_tree<E, R, W>(
    source: &R,
    root: Option<TreeId>,
    edits: &[Edit],
    sink: &mut W,
) -> Result<Option<TreeId>, WriteError<E>>
where
    R: Source<Error = E> + ?Sized,
    W: Sink<Error = E> + ?Sized,
{
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    let done = Patch { source, sink }.level(root, &sorted, 0)?;
    Ok(done.map(|(id, _)| id))
}

struct Patch<'a, R: ?Sized, W: ?Sized> {
    source: &'a R,
    sink: &'a mut W,
}

impl<E, R, W> Patch<'_, R, W>
where
    R: Source<Error = E> + ?Sized,
    W: Sink<Error = E> + ?Sized,
{
    /// Id and sum of sizes of one directory; `None` when nothing is in it.
    fn level(
        &mut self,
        dir: Option<TreeId>,
        edits: &[&Edit],
        depth: usize,
    ) -> Result<Option<(TreeId, u64)>, WriteError<E>> {
        let old = match dir {
            Some(dir) => read_directory(self.source, dir).map_err(WriteError::Sink)?,
            None => Vec::new(),
        };
        let mut news: BTreeMap<&[u8], Option<Entry>> = BTreeMap::new();
        let mut rest = edits;
        while let Some(first) = rest.first() {
            let name = first.path.names().nth(depth).unwrap_or_default();
            let is_same = |e: &&&Edit| e.path.names().nth(depth) == Some(name);
            let (group, tail) = rest.split_at(rest.iter().take_while(is_same).count());
            let place = old.binary_search_by(|e| e.name.as_slice().cmp(name));
            let before = place.ok().map(|at| &old[at]);
            news.insert(name, self.entry(name, before, group, depth)?);
            rest = tail;
        }
        let mut entries = Vec::with_capacity(old.len() + news.len());
        for entry in old {
            match news.remove(entry.name.as_slice()) {
                Some(new) => entries.extend(new),
                None => entries.push(entry),
            }
        }
        let added = entries.len();
        entries.extend(news.into_values().flatten());
        if entries.len() > added {
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let done = write_directory(entries, self.sink);
        done.map(Some).map_err(WriteError::Sink)
    }

    /// What a name is afterwards; `edits` are of it, or of what is below.
    fn entry(
        &mut self,
        name: &[u8],
        before: Option<&Entry>,
        edits: &[&Edit],
        depth: usize,
    ) -> Result<Option<Entry>, WriteError<E>> {
        // The path itself comes before those below it.
        let (own, below) = match edits.split_first() {
            Some((first, below)) if first.path.names().nth(depth + 1).is_none() => {
                (Some(first), below)
            }
            _ => (None, edits),
        };
        let dir = before.and_then(Entry::tree_id);
        let inside = match (below, before) {
            ([], Some(before)) if dir.is_some() => Some(before.clone()),
            ([], _) => None,
            (below, _) => self.level(dir, below, depth + 1)?.map(|(id, size)| Entry {
                name: name.to_vec(),
                mode: Mode::Tree,
                size,
                id: id.0,
            }),
        };
        let file = match own {
            Some(edit) => edit.file.map(|(mode, size, blob)| Entry {
                name: name.to_vec(),
                mode,
                size,
                id: blob.0,
            }),
            None => before.filter(|e| e.mode != Mode::Tree).cloned(),
        };
        match (file, inside, edits.first()) {
            (Some(_), Some(_), Some(edit)) => Err(WriteError::Clash(Clash {
                path: edit.path.clone(),
            })),
            (file, inside, _) => Ok(file.or(inside)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::canon::Kind;
    use crate::tree::tests::{Map, MapError};
    use crate::tree::{FileEntry, write_tree};

    /// Nodes in memory, read and written with one kind of error.
    #[derive(Default, Clone)]
    struct Nodes(Map);

    impl Source for Nodes {
        type Error = MapError;
        fn load_bytes(&self, kind: Kind, id: &[u8; 32]) -> Result<Vec<u8>, MapError> {
            self.0.load_bytes(kind, id)
        }
    }

    impl Sink for Nodes {
        type Error = MapError;
        fn put_node(&mut self, id: TreeId, bytes: Vec<u8>) -> Result<(), MapError> {
            self.0.0.insert(id.0, bytes);
            Ok(())
        }
    }

    type Content = (Mode, u64, BlobId);

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).unwrap()
    }

    /// Few names, so that edits hit files and directories of the tree.
    fn paths() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab][a-d.]?", 1..4).prop_map(|names| names.join("/"))
    }

    fn files() -> impl Strategy<Value = BTreeMap<String, Content>> {
        let file = any::<(bool, u16, u8)>().prop_map(|(is_script, size, id)| {
            let mode = if is_script {
                Mode::Executable
            } else {
                Mode::File
            };
            (mode, u64::from(size), BlobId([id; 32]))
        });
        prop::collection::btree_map(paths(), file, 0..40).prop_map(|all| {
            // A path is a file or a directory, never both.
            let is_dir = |p: &str| all.keys().any(|o| o.starts_with(&format!("{p}/")));
            let alone = all.iter().filter(|(p, _)| !is_dir(p));
            alone.map(|(p, f)| (p.clone(), *f)).collect()
        })
    }

    fn write(files: &BTreeMap<String, Content>, nodes: &mut Nodes) -> TreeId {
        let entry = |(p, (mode, size, blob)): (&String, &Content)| FileEntry {
            path: path(p),
            mode: *mode,
            size: *size,
            blob: *blob,
        };
        let listed: Vec<_> = files.iter().map(entry).collect();
        write_tree(&listed, nodes).unwrap()
    }

    fn edits(old: &BTreeMap<String, Content>, new: &BTreeMap<String, Content>) -> Vec<Edit> {
        let all: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        all.into_iter()
            .filter(|p| old.get(*p) != new.get(*p))
            .map(|p| Edit {
                path: path(p),
                file: new.get(p).copied(),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_patched_tree_is_the_tree_of_the_new_files(old in files(), new in files()) {
            let mut nodes = Nodes::default();
            let root = write(&old, &mut nodes);
            let want = write(&new, &mut nodes);
            let source = nodes.clone();
            let root = (!old.is_empty()).then_some(root);
            let got = patch_tree(&source, root, &edits(&old, &new), &mut nodes).unwrap();
            prop_assert_eq!(got, (!new.is_empty()).then_some(want));
        }
    }

    #[test]
    fn a_file_where_a_directory_stays_is_refused() {
        let content = (Mode::File, 1, BlobId([1; 32]));
        let old = BTreeMap::from([("a/b".to_owned(), content)]);
        let mut nodes = Nodes::default();
        let root = write(&old, &mut nodes);
        let source = nodes.clone();
        for (root, edited) in [(Some(root), "a"), (Some(root), "a/b/c")] {
            let edit = Edit {
                path: path(edited),
                file: Some(content),
            };
            let refused = patch_tree(&source, root, &[edit], &mut nodes);
            assert!(matches!(refused, Err(WriteError::Clash(c)) if c.path == path(edited)));
        }
    }

    /// Of a large tree, only the directories on the way to the file are written.
    #[test]
    fn other_directories_are_not_touched() {
        let content = |n: u64| (Mode::File, n, BlobId([1; 32]));
        let old: BTreeMap<_, _> = (0..2000)
            .map(|n| (format!("d{}/f{n}", n % 50), content(n)))
            .collect();
        let mut nodes = Nodes::default();
        let root = write(&old, &mut nodes);
        let source = nodes.clone();
        let mut new = Nodes::default();
        let edit = Edit {
            path: path("d7/f7"),
            file: None,
        };
        patch_tree(&source, Some(root), &[edit], &mut new).unwrap();
        // The root, which may be split, and one directory.
        assert!(new.0.0.len() < 8, "{}", new.0.0.len());
    }
}
