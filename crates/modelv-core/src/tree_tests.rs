use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// Objects in memory.
#[derive(Default)]
struct Map(HashMap<[u8; 32], Vec<u8>>);

#[derive(Debug, thiserror::Error)]
enum MapError {
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

#[test]
fn a_node_that_names_itself_is_refused_not_followed() {
    let mut map = Map::default();
    let inner = Node::Inner {
        level: 1,
        children: vec![Child {
            last: b"a".to_vec(),
            id: TreeId([9; 32]),
            entries: 1,
            bytes: 0,
        }],
    };
    map.0.insert([9; 32], canon::encode(&inner));
    assert!(read_directory(&map, TreeId([9; 32])).is_err());
    assert!(find(&map, TreeId([9; 32]), &RepoPath::new("a").unwrap()).is_err());
}

#[test]
fn hostile_nodes_are_refused() {
    let entry = |name: &[u8]| Entry {
        name: name.to_vec(),
        mode: Mode::File,
        size: 0,
        id: [0; 32],
    };
    for names in [
        vec!["b", "a"],
        vec!["a", "a"],
        vec![".."],
        vec!["a/b"],
        vec![".mv"],
        vec![""],
    ] {
        let node = Node::Leaf(names.iter().map(|n| entry(n.as_bytes())).collect());
        assert!(
            canon::decode::<Node>(&canon::encode(&node)).is_err(),
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
