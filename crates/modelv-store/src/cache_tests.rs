//! What is decoded, what is kept, and what damage does.

use std::io::{Read, Seek, SeekFrom};

use modelv_core::canon::{self, Kind};

use super::*;
use crate::codec::Content;
use crate::{Cuts, Tag};

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn put(store: &Store, bytes: &[u8]) -> BlobId {
    let session = store.begin().unwrap();
    let (id, _) = session
        .put_blob(&mut &bytes[..], bytes.len() as u64)
        .unwrap();
    session.finish().unwrap();
    id
}

#[test]
fn a_slice_decodes_the_chunks_it_lies_in_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(dir.path()).unwrap();
    let bytes = noise(8 << 20);
    let places = Places::find(&store, &put(&store, &bytes)).unwrap();
    assert_eq!(places.size(), 8 << 20);
    let cache = ChunkCache::new(1 << 30);
    for (position, len) in [(5_000_000, 1000), (0, 1), (8 << 20, 9), (3 << 20, 700_000)] {
        let before = cache.decoded();
        let mut buf = vec![0; len];
        let n = cache
            .read_at(&store, &places, position as u64, &mut buf)
            .unwrap();
        let want = &bytes[position..(position + len).min(bytes.len())];
        assert_eq!(&buf[..n], want);
        let inside = |at: &&u64| {
            let end = (position + len) as u64;
            **at > position as u64 && **at < end
        };
        let borders = places.starts.iter().filter(inside).count() as u64;
        let chunks = if want.is_empty() { 0 } else { borders + 1 };
        assert_eq!(cache.decoded() - before, chunks, "{position} {len}");
        // Once more: from memory.
        cache
            .read_at(&store, &places, position as u64, &mut buf)
            .unwrap();
        assert_eq!(cache.decoded() - before, chunks);
    }
}

#[test]
fn memory_is_bounded_and_threads_share_what_they_decode() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(dir.path()).unwrap();
    let bytes = noise(6 << 20);
    let places = Places::find(&store, &put(&store, &bytes)).unwrap();
    let all = ChunkCache::new(1 << 30);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut buf = vec![0; bytes.len()];
                all.read_at(&store, &places, 0, &mut buf).unwrap();
                assert!(buf == bytes);
            });
        }
    });
    assert_eq!(all.decoded(), places.chunks.len() as u64);
    let least = places.chunks.len() as u64 * ROW_BYTES + (6 << 20);
    assert_eq!(all.bytes(), least);
    // Room for a few chunks: threads that jump about get the right bytes, and it stays small.
    let small = ChunkCache::new(1 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (small, store, places, bytes) = (&small, &store, &places, &bytes);
            scope.spawn(move || {
                let mut buf = vec![0; 10_000];
                for step in 0..200 {
                    let at = (thread * 1_234_567 + step * 7_654_321) % (bytes.len() - buf.len());
                    small.read_at(store, places, at as u64, &mut buf).unwrap();
                    assert!(buf == bytes[at..at + buf.len()]);
                    assert!(small.bytes() <= 1 << 20);
                }
            });
        }
    });
    assert!(small.decoded() > places.chunks.len() as u64);
    let kept = lock(&small.kept);
    assert_eq!(kept.slots.len(), kept.turns.len());
}

#[test]
fn damage_fails_the_read_that_needs_it_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(dir.path()).unwrap();
    let bytes = noise(4 << 20);
    let id = put(&store, &bytes);
    let places = Places::find(&store, &id).unwrap();
    let pack = std::fs::read_dir(dir.path().join("packs"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "pack"))
        .unwrap();
    let mut stored = std::fs::read(&pack).unwrap();
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    std::fs::write(&pack, stored).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let cache = ChunkCache::new(1 << 30);
    let mut bad = 0;
    for (start, (_, len)) in places.starts.iter().zip(&places.chunks) {
        let mut buf = vec![0; *len as usize];
        for _ in 0..2 {
            match cache.read_at(&store, &places, *start, &mut buf) {
                Ok(_) => assert!(buf == bytes[usize::try_from(*start).unwrap()..][..buf.len()]),
                Err(e) => {
                    assert!(e.is_corrupt(), "{e}");
                    assert!(buf.iter().all(|b| *b == 0), "nothing is given out");
                    bad += 1;
                }
            }
        }
    }
    assert_eq!(bad, 2, "one chunk, each time");
    let missing = Places::find(&store, &BlobId::of(b"elsewhere"));
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

#[test]
fn chunks_of_another_file_are_found_out_before_the_end_is_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(dir.path()).unwrap();
    let bytes = noise(2 << 20);
    let id = put(&store, &bytes);
    let places = Places::find(&store, &id).unwrap();
    let mut chunks = places.chunks.clone();
    let last = chunks.len() - 1;
    chunks.swap(0, last);
    let forged = BlobId([9; 32]);
    let cuts = Cuts {
        size: places.size(),
        chunks,
    };
    let session = store.begin().unwrap();
    let key = (Tag::Object(Kind::Cuts).byte(), forged.0);
    let record = canon::encode(&cuts).unwrap();
    session.put(key, &record, Content::Bytes).unwrap();
    session.finish().unwrap();
    let mut out = Vec::new();
    let error = store
        .open_blob(&forged)
        .unwrap()
        .read_to_end(&mut out)
        .unwrap_err();
    assert!(error.to_string().contains("another file"), "{error}");
    assert!(out.len() < bytes.len());
    // A part of it can be read: each chunk is what its id says.
    let mut reader = store.open_blob(&forged).unwrap();
    reader.seek(SeekFrom::Start(1 << 20)).unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    // The right one, in pieces and with a look back in between.
    let mut reader = store.open_blob(&id).unwrap();
    let mut out = vec![0; 1 << 20];
    reader.read_exact(&mut out).unwrap();
    reader.seek(SeekFrom::Start(5)).unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    reader.seek(SeekFrom::Start(1 << 20)).unwrap();
    reader.read_to_end(&mut out).unwrap();
    assert!(out == bytes);
}
