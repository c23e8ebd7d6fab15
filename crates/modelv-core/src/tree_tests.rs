use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::canon::Source;
use crate::path::RepoPath;

/// Objects in memory.
#[derive(Default, Clone)]
pub(super) struct Map(pub(super) HashMap<[u8; 32], Vec<u8>>);

#[derive(Debug, thiserror::Error)]
pub(super) enum MapError {
    #[error("missing")]
    Missing,
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Source for Map {
    type Error = MapError;
    fn load_bytes(&self, _: Kind, id: &[u8; 32]) -> Result<Vec<u8>, MapError> {
        self.0.get(id).cloned().ok_or(MapError::Missing)
    }
}

impl Sink for Map {
    type Error = std::convert::Infallible;
    fn put_node(&mut self, id: TreeId, bytes: Vec<u8>) -> Result<(), Self::Error> {
        self.0.insert(id.0, bytes);
        Ok(())
    }
}

fn file(path: &str, content: &str) -> FileEntry {
    FileEntry {
        path: RepoPath::new(path).unwrap(),
        mode: Mode::File,
        size: content.len() as u64,
        blob: BlobId::of(content.as_bytes()),
    }
}

fn listing(files: &BTreeMap<String, String>) -> Vec<FileEntry> {
    files.iter().map(|(p, c)| file(p, c)).collect()
}

fn root(map: &mut Map, files: &[FileEntry]) -> TreeId {
    write_tree(files, map).map_err(|_| "clash").unwrap()
}

#[test]
fn order_of_files_does_not_matter() {
    let mut map = Map::default();
    let a = [
        file("b", "1"),
        file("a/x", "2"),
        file("a.b", "3"),
        file("a/y/z", "4"),
    ];
    let mut b = a.clone();
    b.reverse();
    assert_eq!(root(&mut map, &a), root(&mut map, &b));
}

#[test]
fn a_file_that_is_also_a_directory_is_refused() {
    for clash in [
        [file("a", "1"), file("a/b", "2")],
        [file("a", "1"), file("a", "2")],
    ] {
        assert!(matches!(
            write_tree(&clash, &mut IdOnly),
            Err(WriteError::Clash(_))
        ));
    }
}

#[test]
fn one_change_among_many_names_writes_few_nodes() {
    let mut map = Map::default();
    let mut files: Vec<FileEntry> = (0..50_000)
        .map(|i| file(&format!("f{i:06}"), "x"))
        .collect();
    let old = root(&mut map, &files);
    let before = map.0.len();
    assert!(
        (100..400).contains(&before),
        "about 50,000 / 256 nodes, got {before}"
    );
    files[31_337] = file("f031337", "changed");
    files.push(file("g", "new"));
    let new = root(&mut map, &files);
    assert!(
        map.0.len() - before <= 6,
        "wrote {} nodes",
        map.0.len() - before
    );
    let changes = diff(&map, old, new).unwrap();
    let paths: Vec<String> = changes.iter().map(|c| c.path.to_string()).collect();
    assert_eq!(paths, ["f031337", "g"]);
    assert_eq!(list(&map, new).unwrap().len(), 50_001);
    let found = find(&map, new, &RepoPath::new("f031337").unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(found.id, BlobId::of(b"changed").0);
    assert_eq!(
        find(&map, new, &RepoPath::new("f9").unwrap()).unwrap(),
        None
    );
    assert_eq!(
        find(&map, new, &RepoPath::new("zz").unwrap()).unwrap(),
        None
    );
}

fn row(name: &str, size: u64) -> Entry {
    Entry {
        name: name.into(),
        mode: Mode::File,
        size,
        id: [0; 32],
    }
}

fn child(last: &str, id: TreeId, entries: u64, bytes: u64) -> Child {
    Child {
        last: last.into(),
        id,
        entries,
        bytes,
    }
}

impl Map {
    fn put(&mut self, node: &Node) -> TreeId {
        let (id, bytes) = node_id(node);
        self.0.insert(id.0, bytes);
        id
    }
}

#[test]
fn a_node_that_names_itself_is_refused_not_followed() {
    let mut map = Map::default();
    let own = TreeId([9; 32]);
    let inner = Node::Inner {
        level: 1,
        children: vec![child("a", own, 1, 0), child("b", own, 1, 0)],
    };
    map.0.insert(own.0, canon::encode(&inner).unwrap());
    assert!(read_directory(&map, own).is_err());
    assert!(find(&map, own, &RepoPath::new("a").unwrap()).is_err());
    assert!(list(&map, own).is_err());
}

#[test]
fn a_node_must_be_what_its_parent_says() {
    let mut map = Map::default();
    let a = map.put(&Node::Leaf(vec![row("a", 1), row("b", 2)]));
    let c = map.put(&Node::Leaf(vec![row("c", 4)]));
    let empty = map.put(&Node::Leaf(vec![]));
    let second = child("c", c, 1, 4);
    for (what, first) in [
        ("another last name", child("bb", a, 2, 3)),
        ("another count", child("b", a, 1, 3)),
        ("another size", child("b", a, 2, 4)),
        ("no entries", child("b", empty, 0, 0)),
    ] {
        let root = map.put(&Node::Inner {
            level: 1,
            children: vec![first, second.clone()],
        });
        assert!(read_directory(&map, root).is_err(), "{what}");
        assert!(
            find(&map, root, &RepoPath::new("b").unwrap()).is_err(),
            "{what}"
        );
        assert!(diff(&map, empty, root).is_err(), "{what}");
    }
}

#[test]
fn nodes_out_of_order_are_refused() {
    let mut map = Map::default();
    let ac = map.put(&Node::Leaf(vec![row("a", 0), row("c", 0)]));
    let bd = map.put(&Node::Leaf(vec![row("b", 0), row("d", 0)]));
    let root = map.put(&Node::Inner {
        level: 1,
        children: vec![child("c", ac, 2, 0), child("d", bd, 2, 0)],
    });
    assert!(read_directory(&map, root).is_err());
}

#[test]
fn a_directory_cut_another_way_is_found() {
    let mut map = Map::default();
    let a = map.put(&Node::Leaf(vec![row("a", 0)]));
    let b = map.put(&Node::Leaf(vec![row("b", 0)]));
    let cut = map.put(&Node::Inner {
        level: 1,
        children: vec![child("a", a, 1, 0), child("b", b, 1, 0)],
    });
    assert_eq!(read_directory(&map, cut).unwrap().len(), 2);
    assert!(verify_directory(&map, cut).is_err());
    let whole = map.put(&Node::Leaf(vec![row("a", 0), row("b", 0)]));
    assert_eq!(verify_directory(&map, whole).unwrap().len(), 2);
}

#[test]
fn hostile_nodes_are_refused() {
    for names in [
        vec!["b", "a"],
        vec!["a", "a"],
        vec![".."],
        vec!["a/b"],
        vec![".mv"],
        vec![""],
    ] {
        let node = Node::Leaf(names.iter().map(|n| row(n, 0)).collect());
        assert!(
            canon::decode::<Node>(&canon::encode_unchecked(&node)).is_err(),
            "{names:?}"
        );
    }
}

fn tree_strategy() -> impl Strategy<Value = BTreeMap<String, String>> {
    let path = proptest::collection::vec("[a-c]{1,2}", 1..4).prop_map(|p| p.join("/"));
    proptest::collection::btree_map(path, "[xyz]{0,2}", 0..24).prop_map(|files| {
        // Drop files that another path uses as a directory.
        let paths: Vec<String> = files.keys().cloned().collect();
        files
            .into_iter()
            .filter(|(p, _)| !paths.iter().any(|q| q.starts_with(&format!("{p}/"))))
            .collect()
    })
}

proptest! {
    #[test]
    fn listing_gives_back_what_was_written(files in tree_strategy()) {
        let mut map = Map::default();
        let id = root(&mut map, &listing(&files));
        let back: BTreeMap<String, BlobId> =
            list(&map, id).unwrap().into_iter().map(|f| (f.path.to_string(), f.blob)).collect();
        let want: BTreeMap<String, BlobId> =
            files.iter().map(|(p, c)| (p.clone(), BlobId::of(c.as_bytes()))).collect();
        prop_assert_eq!(back, want);
    }

    #[test]
    fn applying_a_diff_gives_the_other_tree(a in tree_strategy(), b in tree_strategy()) {
        let mut map = Map::default();
        let (ia, ib) = (root(&mut map, &listing(&a)), root(&mut map, &listing(&b)));
        let mut now: BTreeMap<RepoPath, FileEntry> =
            list(&map, ia).unwrap().into_iter().map(|f| (f.path.clone(), f)).collect();
        for change in diff(&map, ia, ib).unwrap() {
            prop_assert_eq!(now.get(&change.path), change.old.as_ref());
            match change.new {
                Some(new) => now.insert(change.path, new),
                None => now.remove(&change.path),
            };
        }
        let files: Vec<FileEntry> = now.into_values().collect();
        prop_assert_eq!(root(&mut map, &files), ib);
    }
}

/// So many levels of ten directories each, all ten the same, and ten files at the bottom.
fn tens(map: &mut Map, levels: u32) -> TreeId {
    let mut id = BlobId([1; 32]).0;
    for level in 0..=levels {
        let mode = if level == 0 { Mode::File } else { Mode::Tree };
        let name = |n: u8| vec![b'0' + n];
        let entry = |n| Entry {
            name: name(n),
            mode,
            size: 1,
            id,
        };
        let (tree, bytes) = node_id(&Node::Leaf((0..10).map(entry).collect()));
        map.0.insert(tree.0, bytes);
        id = tree.0;
    }
    TreeId(id)
}

#[test]
fn a_few_directories_are_no_endless_tree() {
    let mut map = Map::default();
    let small = tens(&mut map, 4);
    assert_eq!(list(&map, small).unwrap().len(), 100_000);
    let empty = root(&mut map, &[]);
    for levels in [6, 9, 100] {
        let endless = tens(&mut map, levels);
        for refused in [
            list(&map, endless).map(drop),
            diff(&map, empty, endless).map(drop),
            diff(&map, endless, small).map(drop),
        ] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("name one another too often"), "{said}");
        }
        assert_eq!(diff(&map, endless, endless).unwrap(), []);
    }
}
