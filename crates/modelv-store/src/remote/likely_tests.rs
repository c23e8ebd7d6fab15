//! Who wants little of a large remote asks for few of its indexes, and still finds whatever is there.

use std::path::Path;

use modelv_core::id::{BlobId, CommitId};

use super::local::LocalDir;
use super::root::Change;
use super::*;
use crate::Store;
use crate::tests::{noise, put};

/// Packs of large chunks, beside one of small files.
const LARGE: u64 = 40;

fn remote(dir: &Path, cache: &str) -> Remote {
    Remote::over(LocalDir::new("file:", dir.join("remote")), &dir.join(cache))
}

fn push(remote: &Remote, from: &Store, ids: &[BlobId]) {
    let catalog = match remote.root().unwrap() {
        Some(root) => remote.catalog(&root, from, &Unwatched).unwrap(),
        None => Catalog::default(),
    };
    let mut out = Outgoing::new(from, &catalog);
    for id in ids {
        out.add(Item::Blob(*id)).unwrap();
    }
    let sent = remote.send(&out, &Unwatched).unwrap();
    let moved = remote.swap(&sent, &mut |_| -> Result<Option<Change>> {
        let refs = [("refs/heads/main".to_owned(), CommitId([1; 32]))];
        Ok(Some(Change {
            head: "refs/heads/main".into(),
            refs: refs.into(),
        }))
    });
    moved.unwrap();
}

/// A remote with many packs of large chunks and one of small files, and what is in them.
fn filled(dir: &Path) -> (Vec<BlobId>, Vec<BlobId>) {
    let a = Store::init(&dir.join("a")).unwrap();
    let writer = remote(dir, "cache");
    let large: Vec<BlobId> = (0..LARGE)
        .map(|n| {
            let id = put(&a, &noise(n, 300_000));
            push(&writer, &a, &[id]);
            id
        })
        .collect();
    let small: Vec<BlobId> = (100..130).map(|n| put(&a, &noise(n, 900))).collect();
    push(&writer, &a, &small);
    (small, large)
}

/// Indexes that were asked for.
fn asked(dir: &Path, cache: &str) -> usize {
    std::fs::read_dir(dir.join(cache).join("idx")).map_or(0, Iterator::count)
}

fn load(dir: &Path, cache: &str, items: &[BlobId]) -> Result<Store> {
    let store = Store::init(&dir.join(format!("store-{cache}"))).unwrap();
    let reader = remote(dir, cache);
    let root = reader.root()?.expect("a root");
    let catalog = reader.likely(&root, &store, &Unwatched)?;
    assert!(catalog.unknown_bytes() > 0);
    let mut incoming = reader.receive(&store, &catalog)?;
    let items: Vec<Item> = items.iter().map(|id| Item::Blob(*id)).collect();
    incoming.load(&items, &Unwatched)?;
    incoming.finish()?;
    Ok(store)
}

#[test]
fn small_things_are_found_without_the_indexes_of_large_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (small, _) = filled(dir.path());
    let store = load(dir.path(), "few", &small).unwrap();
    assert_eq!(asked(dir.path(), "few"), 1);
    for (id, n) in small.iter().zip(100..) {
        assert!(store.read_blob(id, 1000).unwrap() == noise(n, 900));
    }
}

#[test]
fn what_is_elsewhere_is_looked_for_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = filled(dir.path());
    // Whichever pack is looked into last, all are found, and by most not all are asked for.
    let mut fewest = usize::MAX;
    for n in 0..4 {
        let cache = format!("some-{n}");
        let id = large[n * 11];
        let store = load(dir.path(), &cache, &[small[0], id]).unwrap();
        let bytes = store.read_blob(&id, u64::MAX).unwrap();
        assert!(bytes == noise(n as u64 * 11, 300_000));
        fewest = fewest.min(asked(dir.path(), &cache));
    }
    assert!(fewest < LARGE as usize, "{fewest} indexes");
    // What no pack holds is said when all were looked into.
    let error = load(dir.path(), "all", &[BlobId([7; 32])]).unwrap_err();
    assert!(error.to_string().contains("no pack holds it"), "{error}");
    assert_eq!(asked(dir.path(), "all"), LARGE as usize + 1);
}
