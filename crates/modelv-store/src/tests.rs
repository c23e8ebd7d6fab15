use std::io::{Read, Seek, SeekFrom};

use modelv_core::canon::{Kind, Object};
use modelv_core::id::BlobId;
use proptest::prelude::*;

use crate::{Cuts, Error, Stats, Store, fs};

#[derive(bincode::Encode, bincode::Decode, Debug, PartialEq)]
struct Note(String);
impl Object for Note {
    const KIND: Kind = Kind::Run;
}

pub(crate) fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(dir.path()).unwrap();
    (dir, store)
}

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

pub(crate) fn put(store: &Store, bytes: &[u8]) -> BlobId {
    let session = store.begin().unwrap();
    let (id, size) = session
        .put_blob(&mut &bytes[..], bytes.len() as u64)
        .unwrap();
    assert_eq!(size, bytes.len() as u64);
    session.finish().unwrap();
    id
}

fn pack_files(dir: &tempfile::TempDir, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir.path().join("packs"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    found
}

#[test]
fn blobs_of_every_size_come_back_in_a_new_process() {
    let (dir, store) = fresh();
    for len in [0, 1, 1000, 16 << 10, 300_000, 5 << 20, 70 << 20] {
        let bytes = noise(len as u64, len);
        let id = put(&store, &bytes);
        assert_eq!(id, BlobId::of(&bytes));
        let again = Store::open(dir.path()).unwrap();
        assert_eq!(again.open_blob(&id).unwrap().size(), len as u64);
        assert!(
            again.read_blob(&id, u64::MAX).unwrap() == bytes,
            "{len} bytes"
        );
    }
    assert_eq!(
        store.verify(&mut |_, _| {}).unwrap().problems,
        Vec::<String>::new()
    );
    // 70 MiB of noise fill more than one pack.
    assert!(pack_files(&dir, "pack").len() >= 8);
}

#[test]
fn what_is_there_is_not_written_again() {
    let (_dir, store) = fresh();
    let bytes = noise(1, 2 << 20);
    put(&store, &bytes);
    let session = store.begin().unwrap();
    session
        .put_blob(&mut &bytes[..], bytes.len() as u64)
        .unwrap();
    assert_eq!(session.finish().unwrap().entries, 0);
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"tail");
    let session = store.begin().unwrap();
    session
        .put_blob(&mut &longer[..], longer.len() as u64)
        .unwrap();
    let stats = session.finish().unwrap();
    assert!(
        stats.plain_bytes < 600 << 10,
        "{} bytes are new",
        stats.plain_bytes
    );
}

#[test]
fn reading_can_start_anywhere() {
    let (_dir, store) = fresh();
    let bytes = noise(2, 3 << 20);
    let id = put(&store, &bytes);
    let mut reader = store.open_blob(&id).unwrap();
    for at in [0usize, 1, 65_536, 1_000_000, (3 << 20) - 1, 3 << 20] {
        reader.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut some = Vec::new();
        reader.by_ref().take(1000).read_to_end(&mut some).unwrap();
        assert_eq!(some, bytes[at..(at + 1000).min(bytes.len())]);
    }
    assert_eq!(reader.seek(SeekFrom::End(-5)).unwrap(), (3 << 20) - 5);
    assert!(reader.seek(SeekFrom::Current(-(4 << 20))).is_err());
}

#[test]
fn a_session_sees_its_own_objects_and_others_only_after_it() {
    let (dir, store) = fresh();
    let other = Store::open(dir.path()).unwrap();
    let session = store.begin().unwrap();
    let id = session.put_object(&Note("hello".into())).unwrap();
    let seen: Note = modelv_core::canon::load(&session, &id).unwrap();
    assert_eq!(seen, Note("hello".into()));
    assert!(matches!(
        store.object_bytes(Kind::Run, &id),
        Err(Error::NotFound { .. })
    ));
    session.finish().unwrap();
    assert!(store.has_object(Kind::Run, &id).unwrap());
    assert!(!other.has_object(Kind::Run, &id).unwrap());
    other.refresh().unwrap();
    assert!(other.has_object(Kind::Run, &id).unwrap());
    let hex = modelv_core::id::to_hex(&id);
    assert_eq!(
        other.find_prefix(Kind::Run, &hex[..6], 9).unwrap(),
        vec![id]
    );
    assert!(
        other
            .find_prefix(Kind::Commit, &hex[..6], 9)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_dropped_session_leaves_nothing() {
    let (dir, store) = fresh();
    let session = store.begin().unwrap();
    session
        .put_blob(&mut &noise(3, 100_000)[..], 100_000)
        .unwrap();
    drop(session);
    assert_eq!(
        std::fs::read_dir(dir.path().join("tmp")).unwrap().count(),
        0
    );
    assert!(pack_files(&dir, "pack").is_empty());
}

#[test]
fn many_threads_write_one_session() {
    let (_dir, store) = fresh();
    let session = store.begin().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let session = &session;
            scope.spawn(move || {
                for i in 0..50u64 {
                    // Half of them are the same in every thread.
                    let seed = if i % 2 == 0 { i } else { i + 1000 * thread };
                    let bytes = noise(seed, 3000);
                    session.put_blob(&mut &bytes[..], 3000).unwrap();
                }
            });
        }
    });
    assert_eq!(session.finish().unwrap().entries, (25 + 4 * 25));
    assert!(store.verify(&mut |_, _| {}).unwrap().problems.is_empty());
}

#[test]
fn a_missing_or_damaged_index_is_rebuilt() {
    let (dir, store) = fresh();
    let bytes = noise(4, 500_000);
    let id = put(&store, &bytes);
    let idx = pack_files(&dir, "idx").remove(0);
    let whole = std::fs::read(&idx).unwrap();
    std::fs::remove_file(&idx).unwrap();
    assert_eq!(
        Store::open(dir.path())
            .unwrap()
            .read_blob(&id, u64::MAX)
            .unwrap(),
        bytes
    );
    assert_eq!(std::fs::read(&idx).unwrap(), whole);
    std::fs::write(&idx, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(
        Store::open(dir.path())
            .unwrap()
            .read_blob(&id, u64::MAX)
            .unwrap(),
        bytes
    );
}

/// Every flipped bit is found by `verify`, and reading gives the right bytes or an error.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let (dir, store) = fresh();
    let bytes = b"a small file, stored twice as cut and whole".repeat(3);
    let id = put(&store, &bytes);
    let session = store.begin().unwrap();
    session.put_object(&Note("note".into())).unwrap();
    session.finish().unwrap();
    for path in pack_files(&dir, "pack")
        .into_iter()
        .chain(pack_files(&dir, "idx"))
    {
        let whole = std::fs::read(&path).unwrap();
        let is_index = path.extension().is_some_and(|e| e == "idx");
        // Every bit of a pack; of an index (mostly fan-out) every seventh.
        for bit in (0..whole.len() * 8).step_by(if is_index { 7 } else { 1 }) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let damaged = Store::open(dir.path()).unwrap();
            let report = damaged.verify(&mut |_, _| {}).unwrap();
            let unnoticed = report.problems.is_empty() && report.remade.is_empty();
            assert!(!unnoticed, "bit {bit} of {} unnoticed", path.display());
            // An index was made again, or is made here.
            assert_eq!(
                is_index,
                !report.remade.is_empty(),
                "bit {bit} of {}: {report:?}",
                path.display()
            );
            std::fs::write(&path, &flipped).unwrap();
            let read = Store::open(dir.path()).unwrap().read_blob(&id, u64::MAX);
            match read {
                Ok(read) => assert_eq!(read, bytes, "bit {bit} of {}", path.display()),
                Err(e) => assert!(!is_index, "bit {bit} of the index: {e}"),
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_truncated_pack_is_an_error_that_names_it() {
    let (dir, store) = fresh();
    let id = put(&store, &noise(5, 100_000));
    drop(store);
    let pack = pack_files(&dir, "pack").remove(0);
    let whole = std::fs::read(&pack).unwrap();
    std::fs::write(&pack, &whole[..10_000]).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = store.read_blob(&id, u64::MAX).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(
        error.to_string().contains(pack.to_str().unwrap()),
        "{error}"
    );
    std::fs::write(
        &pack,
        b"MVPACK\x00\x09 and so on, long enough for a trailer, newer than us",
    )
    .unwrap();
    std::fs::remove_file(pack.with_extension("idx")).unwrap();
    let error = Store::open(dir.path())
        .unwrap()
        .read_blob(&id, u64::MAX)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has format version 9, this program reads up to 1")
    );
}

/// Stops at every call that changes the file system: what was finished before stays readable, and
/// nothing half-written is visible. The number of calls without a stop.
fn crash_at_every_call(pack_bytes: u64, content: &[u8]) -> u64 {
    for calls in 0.. {
        let (dir, mut store) = fresh();
        store.pack_bytes = pack_bytes;
        let before = noise(6, 50_000);
        let old = put(&store, &before);
        let cut = fs::faults::Watch::fail_from(dir.path(), calls, fs::faults::Fault::Io);
        let session = store.begin().unwrap();
        let wrote = session
            .put_blob(&mut &content[..], content.len() as u64)
            .and_then(|(id, _)| session.finish().map(|_| id));
        drop(cut);
        let again = Store::open(dir.path()).unwrap();
        assert_eq!(again.read_blob(&old, u64::MAX).unwrap(), before);
        let report = again.verify(&mut |_, _| {}).unwrap();
        // A pack of a file may be there without the pack of its cuts record, never the reverse.
        assert_eq!(report.problems, [""; 0], "{calls}");
        let new = BlobId::of(content);
        let whole = Store::open(dir.path()).unwrap();
        if wrote.is_ok() || whole.has_blob(&new).unwrap() {
            assert!(whole.read_blob(&new, u64::MAX).unwrap() == content);
        }
        if wrote.is_ok() && report.remade.is_empty() {
            return calls;
        }
    }
    0
}

#[test]
fn a_crash_at_any_call_leaves_the_old_state_or_the_new_one() {
    assert!(crash_at_every_call(1 << 30, &noise(7, 400_000)) > 5);
}

/// The same with workers, and with packs that are synced while others are written.
#[test]
fn a_crash_in_the_pipeline_leaves_the_old_state_or_the_new_one() {
    assert!(crash_at_every_call(1 << 20, &noise(8, (12 << 20) + 1)) > 30);
}

/// bf16 numbers near one.
pub(crate) fn weights(seed: u64, count: usize) -> Vec<u8> {
    let bytes = noise(seed, count * 4);
    let near_one = |b: &[u8; 4]| [b[0], 0x3c | (b[1] & b[2] & b[3] & 1)];
    bytes.as_chunks::<4>().0.iter().flat_map(near_one).collect()
}

pub(crate) fn safetensors(note: &str, tensors: &[Vec<u8>]) -> Vec<u8> {
    let mut at = 0;
    let mut json = format!(r#"{{"__metadata__":{{"note":"{note}"}}"#);
    for (number, tensor) in tensors.iter().enumerate() {
        let end = at + tensor.len();
        json +=
            &format!(r#","t{number}":{{"dtype":"BF16","shape":[],"data_offsets":[{at},{end}]}}"#);
        at = end;
    }
    json.push('}');
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    out.extend(tensors.concat());
    out
}

/// Stores a file of tensors and reads it back in both ways; what the session wrote.
pub(crate) fn put_tensors(store: &Store, bytes: &[u8], base: Option<&BlobId>) -> (BlobId, Stats) {
    let session = store.begin().unwrap();
    let mut input = std::io::Cursor::new(bytes);
    let (id, _) = session
        .put_file(&mut input, bytes.len() as u64, base)
        .unwrap();
    let stats = session.finish().unwrap();
    assert_eq!(id, BlobId::of(bytes));
    assert!(store.read_blob(&id, u64::MAX).unwrap() == *bytes);
    assert!(fetch(store, &id).unwrap() == *bytes);
    (id, stats)
}

fn fetch(store: &Store, id: &BlobId) -> crate::Result<Vec<u8>> {
    let out = std::sync::Mutex::new(Vec::new());
    let size = store.fetch_blob(id, &|at, bytes| {
        let (at, mut out) = (usize::try_from(at).unwrap(), out.lock().unwrap());
        let end = at + bytes.len();
        if out.len() < end {
            out.resize(end, 0);
        }
        out[at..end].copy_from_slice(bytes);
        Ok(())
    })?;
    let out = out.into_inner().unwrap();
    assert_eq!(out.len() as u64, size);
    Ok(out)
}

fn problems(store: &Store) -> Vec<String> {
    store.verify(&mut |_, _| {}).unwrap().problems
}

#[test]
fn files_of_tensors_share_what_is_alike_and_shrink() {
    let (_dir, store) = fresh();
    let mut tensors = [
        weights(1, 1_500_000),
        weights(2, 700_000),
        weights(3, 100_000),
    ];
    let (_, stats) = put_tensors(&store, &safetensors("x", &tensors), None);
    assert!(stats.stored_bytes < 3_200_000, "{stats:?}");
    tensors[1] = weights(4, 700_000);
    let second = safetensors("longer than before", &tensors);
    let (_, stats) = put_tensors(&store, &second, None);
    assert!(stats.stored_bytes < 1_000_000, "{stats:?}");
    assert!(problems(&store).is_empty());
}

/// Flips the lowest bit of one number in so many.
pub(crate) fn moved(tensor: &[u8], seed: u64) -> Vec<u8> {
    let noise = noise(seed, tensor.len() / 2);
    let mut out = tensor.to_vec();
    for (word, noise) in out.as_chunks_mut::<2>().0.iter_mut().zip(noise) {
        word[0] ^= u8::from(noise < 16);
    }
    out
}

#[test]
fn what_moved_a_little_is_stored_over_the_commit_before() {
    let (dir, store) = fresh();
    let mut tensors = [weights(1, 1_500_000), weights(2, 1_400_000)];
    let (mut last, whole) = put_tensors(&store, &safetensors("0", &tensors), None);
    for step in 1..4u64 {
        tensors = [moved(&tensors[0], 10 + step), moved(&tensors[1], 20 + step)];
        let bytes = safetensors(&step.to_string(), &tensors);
        let (id, stats) = put_tensors(&store, &bytes, Some(&last));
        assert!(stats.stored_bytes * 3 < whole.stored_bytes, "{stats:?}");
        // Never a delta of a delta: every base is whole.
        for (chunk, _) in store.cuts(&id).unwrap().unwrap().chunks {
            for base in store.bases_of(&chunk).unwrap() {
                assert!(store.bases_of(&base).unwrap().is_empty());
            }
        }
        last = id;
    }
    assert!(problems(&store).is_empty());
    // Without the pack of the first version, the last one is damaged, and fsck says so.
    let largest = pack_files(&dir, "pack")
        .into_iter()
        .max_by_key(|p| std::fs::metadata(p).unwrap().len())
        .unwrap();
    std::fs::remove_file(&largest).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(!problems(&store).is_empty());
    assert!(store.read_blob(&last, u64::MAX).is_err());
    assert!(fetch(&store, &last).is_err());
}

#[test]
fn a_base_of_another_kind_or_shape_is_no_help_and_no_harm() {
    let (_dir, store) = fresh();
    let tensors = [weights(1, 1_500_000), weights(2, 1_400_000)];
    let text = put(&store, &b"no tensors in here. ".repeat(100_000));
    let (other, _) = put_tensors(&store, &safetensors("x", &[weights(1, 1_400_000)]), None);
    let nowhere = BlobId([9; 32]);
    for (base, note) in [(text, "a"), (other, "b"), (nowhere, "c")] {
        put_tensors(&store, &safetensors(note, &tensors), Some(&base));
    }
    assert!(problems(&store).is_empty());
}

#[test]
fn a_sink_that_fails_stops_the_fetch() {
    let (_dir, store) = fresh();
    let id = put(&store, &noise(1, 9 << 20));
    let full = |_, _: &[u8]| Err(std::io::Error::other("no room"));
    let error = store.fetch_blob(&id, &full).unwrap_err();
    assert!(matches!(error, Error::Output(_)), "{error}");
    assert!(fetch(&store, &BlobId([1; 32])).is_err());
}

/// A reader that fails, or a file that shrank, is an error or a shorter file, never a wrong one.
#[test]
fn a_file_of_another_size_than_said_is_stored_as_it_is() {
    let (_dir, store) = fresh();
    for said in [0, 70_000, 200_000, 5 << 20] {
        let bytes = noise(said, 100_000);
        let session = store.begin().unwrap();
        let (id, size) = session
            .put_file(&mut std::io::Cursor::new(&bytes), said, None)
            .unwrap();
        session.finish().unwrap();
        assert_eq!((id, size), (BlobId::of(&bytes), 100_000));
        assert_eq!(store.read_blob(&id, u64::MAX).unwrap(), bytes);
    }
}

#[test]
fn cuts_records_that_lie_are_refused() {
    use modelv_core::canon::{decode, encode_unchecked};
    use modelv_core::id::ChunkId;
    let id = ChunkId([1; 32]);
    let lies = [
        Cuts {
            size: 5,
            chunks: vec![(id, 5)],
        },
        Cuts {
            size: 5,
            chunks: vec![(id, 2), (id, 2)],
        },
        Cuts {
            size: 2,
            chunks: vec![(id, 2), (id, 0)],
        },
        Cuts {
            size: 8 << 20,
            chunks: vec![(id, 1), (id, (8 << 20) - 1)],
        },
    ];
    for cuts in lies {
        assert!(
            decode::<Cuts>(&encode_unchecked(&cuts)).is_err(),
            "{cuts:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_files_round_trip(files in proptest::collection::vec((any::<u64>(), 0usize..200_000), 1..6)) {
        let (dir, store) = fresh();
        let session = store.begin().unwrap();
        let mut ids = Vec::new();
        for (seed, len) in &files {
            // Half noise, half repetition.
            let mut bytes = noise(*seed, len / 2);
            bytes.resize(*len, b'x');
            ids.push((session.put_blob(&mut &bytes[..], *len as u64).unwrap().0, bytes));
        }
        session.finish().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for (id, bytes) in ids {
            prop_assert_eq!(store.read_blob(&id, u64::MAX).unwrap(), bytes);
        }
    }
}
