//! Files that grew, shrank and changed somewhere, stored over the ones before.

use std::io::Cursor;

use modelv_core::id::{BlobId, ChunkId};

use crate::codec::Codec;
use crate::tests::{fresh, noise};
use crate::{Stats, Store, Tag};

fn put(store: &Store, bytes: &[u8], base: Option<&BlobId>) -> (BlobId, Stats) {
    let session = store.begin().unwrap();
    let size = bytes.len() as u64;
    let (id, _) = session
        .put_file(&mut Cursor::new(bytes), size, base)
        .unwrap();
    (id, session.finish().unwrap())
}

fn check(store: &Store, files: &[(BlobId, &[u8])]) {
    for (id, bytes) in files {
        assert!(store.read_blob(id, u64::MAX).unwrap() == *bytes);
    }
    let problems = store.verify(&mut |_, _| {}).unwrap().problems;
    assert_eq!(problems, Vec::<String>::new());
}

fn codecs(store: &Store, id: &BlobId) -> Vec<u8> {
    let chunks = match store.cuts(id).unwrap() {
        Some(cuts) => cuts.chunks.iter().map(|c| c.0).collect(),
        None => vec![ChunkId(id.0)],
    };
    let codec = |id: &ChunkId| {
        let key = (Tag::Chunk.byte(), id.0);
        store.find(&key).unwrap().unwrap().1.codec
    };
    chunks.iter().map(codec).collect()
}

/// Whatever the size decides about cutting and threads.
#[test]
fn what_is_put_in_costs_little_more_than_its_bytes() {
    for (number, len) in [100_000, 3 << 20, 66 << 20].into_iter().enumerate() {
        let (_dir, store) = fresh();
        let old = noise(number as u64, len);
        let (base, _) = put(&store, &old, None);
        for (n, at) in [0, len / 3 + 1, len].into_iter().enumerate() {
            let inserted = noise(100 + n as u64, len / 50);
            let new = [&old[..at], &inserted, &old[at..]].concat();
            let (id, stats) = put(&store, &new, Some(&base));
            let over = stats.stored_bytes as f64 / inserted.len() as f64;
            assert!(over < 1.3, "{len} at {at}: {over} of what was put in");
            check(&store, &[(base, &old), (id, &new)]);
        }
    }
}

/// Rows of a table that change, come and go all over the file, again and again: a chain of patches
/// ends, and every version can be read.
#[test]
fn a_table_that_changes_from_commit_to_commit_costs_its_changes() {
    let (_dir, store) = fresh();
    let row = |n: u64, change: u64| format!("{n},{},{change}\n", noise(n, 16).escape_ascii());
    let mut rows: Vec<String> = (0..20_000).map(|n| row(n, 0)).collect();
    let mut files = Vec::new();
    let (mut base, mut first) = (None, 0);
    for change in 1..=12 {
        let bytes = rows.concat().into_bytes();
        let (id, stats) = put(&store, &bytes, base.as_ref());
        if change == 1 {
            first = stats.stored_bytes;
        } else if change < 5 {
            assert!(
                stats.stored_bytes < first / 20,
                "{change}: {stats:?}, {first}"
            );
            assert!(codecs(&store, &id).contains(&(Codec::Patch as u8)));
        }
        files.push((id, bytes));
        base = Some(id);
        rows[change as usize * 1500] = row(7, change);
        rows.remove(change as usize * 777);
        rows.insert(change as usize * 99, row(99_999, change));
    }
    let files: Vec<_> = files.iter().map(|(id, bytes)| (*id, &bytes[..])).collect();
    check(&store, &files);
}

#[test]
fn a_file_that_has_nothing_of_the_old_one_is_stored_whole() {
    let (_dir, store) = fresh();
    let (base, _) = put(&store, &noise(1, 40 << 20), None);
    let new = noise(2, 40 << 20);
    let (id, _) = put(&store, &new, Some(&base));
    assert!(codecs(&store, &id).iter().all(|c| *c == Codec::Raw as u8));
    check(&store, &[(id, &new)]);
}

/// A base that went away or is damaged costs bytes, not the commit.
#[test]
fn a_base_that_cannot_be_read_is_done_without() {
    let (_dir, store) = fresh();
    let mut new = noise(1, 200_000);
    let missing = BlobId::of(&new);
    new[100] ^= 1;
    let (id, _) = put(&store, &new, Some(&missing));
    check(&store, &[(id, &new)]);
}
