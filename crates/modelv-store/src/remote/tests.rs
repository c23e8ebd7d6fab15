//! The protocol over a folder and over a store in memory, with remotes that lie, lose answers and
//! ignore conditions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use modelv_core::canon::{self, Kind, Object};
use modelv_core::id::{BlobId, CommitId, to_hex};
use object_store::memory::InMemory;

use super::backend::{Backend, PutIf, Version};
use super::cloud::Cloud;
use super::local::LocalDir;
use super::root::{self, Change};
use super::*;
use crate::tests::noise;
use crate::{Cuts, Key, Store, Tag};

type Changed = Result<Option<Change>>;

fn store(dir: &Path) -> Store {
    Store::init(dir).unwrap()
}

fn put(store: &Store, bytes: &[u8]) -> BlobId {
    let session = store.begin().unwrap();
    let size = bytes.len() as u64;
    let (id, _) = session.put_blob(&mut &bytes[..], size).unwrap();
    session.finish().unwrap();
    id
}

fn folder(dir: &Path) -> Remote {
    let backend = LocalDir::new("file:", dir.join("remote"));
    Remote::over(backend, &dir.join("cache"))
}

fn memory(store: &Arc<InMemory>) -> Cloud {
    Cloud::memory("memory:", store).unwrap()
}

/// Both kinds of remote.
fn remotes(dir: &Path) -> [Remote; 2] {
    let memory = memory(&Arc::default());
    [folder(dir), Remote::over(memory, &dir.join("cache-memory"))]
}

fn change(names: &[(&str, u8)]) -> Change {
    Change {
        head: "refs/heads/main".into(),
        refs: names
            .iter()
            .map(|(name, n)| (format!("refs/heads/{name}"), CommitId([*n; 32])))
            .collect(),
    }
}

/// Sends blobs and moves the root.
fn push(remote: &Remote, from: &Store, blobs: &[BlobId]) -> Sent {
    let root = remote.root().unwrap();
    let catalog = match &root {
        Some(root) => remote.catalog(root, from, &Unwatched).unwrap(),
        None => Catalog::default(),
    };
    let mut out = Outgoing::new(from, &catalog);
    for id in blobs {
        out.add(Item::Blob(*id)).unwrap();
    }
    let sent = remote.send(&out, &Unwatched).unwrap();
    let moved = remote.swap(&sent, &mut |_| -> Changed {
        Ok(Some(change(&[("main", 1)])))
    });
    moved.unwrap();
    sent
}

fn pull(remote: &Remote, to: &Store) -> Result<Received> {
    let root = remote.root()?.expect("a root");
    let catalog = remote.catalog(&root, to, &Unwatched)?;
    remote.receive_all(to, &catalog, &Unwatched)
}

#[test]
fn objects_are_created_replaced_and_refused_alike_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    for remote in remotes(dir.path()) {
        let backend = remote.backend.as_ref();
        assert!(backend.read("k", 100).unwrap().is_none());
        assert!(matches!(backend.put_if("k", b"1", None), PutIf::Done));
        assert!(matches!(backend.put_if("k", b"2", None), PutIf::Refused));
        let (bytes, first) = backend.read("k", 100).unwrap().unwrap();
        assert_eq!(bytes, b"1");
        assert!(matches!(
            backend.put_if("k", b"2", Some(&first)),
            PutIf::Done
        ));
        assert!(matches!(
            backend.put_if("k", b"3", Some(&first)),
            PutIf::Refused
        ));
        assert_eq!(backend.read("k", 100).unwrap().unwrap().0, b"2");
        let file = dir.path().join("file");
        for len in [0, 10, 20 << 20] {
            let bytes = noise(1, len);
            std::fs::write(&file, &bytes).unwrap();
            backend
                .upload("d/f", &file, &file.with_extension("journal"), &Unwatched)
                .unwrap();
            assert_eq!(backend.size("d/f").unwrap(), Some(len as u64));
            let mut got = Vec::new();
            let mut sink = |b: &[u8]| {
                got.extend_from_slice(b);
                Ok(())
            };
            backend.download("d/f", &mut sink).unwrap();
            assert!(got == bytes);
        }
        let ranges = [5..7, 19 << 20..20 << 20];
        let found = backend.ranges("d/f", &ranges).unwrap();
        assert_eq!((found[0].len(), found[1].len()), (2, 1 << 20));
        backend.delete("d/f").unwrap();
        backend.delete("d/f").unwrap();
        assert_eq!(backend.size("d/f").unwrap(), None);
        remote.check_swap().unwrap();
    }
}

#[test]
fn contents_arrive_and_nothing_travels_twice() {
    let dir = tempfile::tempdir().unwrap();
    for (i, remote) in remotes(dir.path()).into_iter().enumerate() {
        let at = |name: &str| dir.path().join(format!("{name}{i}"));
        let (a, b) = (store(&at("a")), store(&at("b")));
        let small: Vec<Vec<u8>> = (0..50).map(|n| noise(n, 3000)).collect();
        let large = noise(99, 70 << 20);
        let mut ids: Vec<BlobId> = small.iter().map(|bytes| put(&a, bytes)).collect();
        ids.push(put(&a, &large));
        let sent = push(&remote, &a, &ids);
        assert!(sent.bytes > 70 << 20 && sent.bytes_found == 0, "{sent:?}");
        assert!(
            sent.packs.len() <= 4,
            "small packs were not joined: {sent:?}"
        );
        assert_eq!(push(&remote, &a, &ids).packs, []);

        let received = pull(&remote, &b).unwrap();
        assert!(received.bytes >= 70 << 20);
        assert!(b.read_blob(&ids[50], u64::MAX).unwrap() == large);
        assert_eq!(b.read_blob(&ids[7], 5000).unwrap(), small[7]);
        assert_eq!(
            b.verify(&mut |_, _| {}).unwrap().problems,
            Vec::<String>::new()
        );
        assert_eq!(pull(&remote, &b).unwrap(), Received::default());

        // A change in the middle of the large file costs the chunks around it.
        let mut changed = large.clone();
        changed[30 << 20..(30 << 20) + 1000].copy_from_slice(&noise(5, 1000));
        let id = put(&b, &changed);
        let sent = push(&remote, &b, &[id]);
        assert!(sent.bytes < 6 << 20, "{sent:?}");
        assert!(pull(&remote, &a).unwrap().bytes < 6 << 20);
        assert!(a.read_blob(&id, u64::MAX).unwrap() == changed);
    }
}

#[test]
fn single_things_come_alone() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let (a, b) = (store(&dir.path().join("a")), store(&dir.path().join("b")));
    let (one, two) = (put(&a, &noise(1, 3 << 20)), put(&a, &noise(2, 3 << 20)));
    push(&remote, &a, &[one, two]);
    let root = remote.root().unwrap().unwrap();
    let catalog = remote.catalog(&root, &b, &Unwatched).unwrap();
    let mut incoming = remote.receive(&b, &catalog).unwrap();
    incoming.load(&[Item::Blob(one)], &Unwatched).unwrap();
    let received = incoming.finish().unwrap();
    assert!((3 << 20..4 << 20).contains(&received.bytes), "{received:?}");
    assert!(b.has_blob(&one).unwrap() && !b.has_blob(&two).unwrap());
    assert!(b.read_blob(&one, u64::MAX).unwrap() == noise(1, 3 << 20));
}

/// Stops a transfer after so many bytes.
struct StopAfter(AtomicU64);

impl Watch for StopAfter {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, bytes: u64) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
    }
    fn finish(&self) {}
    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn an_interrupted_transfer_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let (a, b) = (store(&dir.path().join("a")), store(&dir.path().join("b")));
    let bytes = noise(3, 140 << 20);
    let id = put(&a, &bytes);
    let catalog = Catalog::default();
    let mut out = Outgoing::new(&a, &catalog);
    out.add(Item::Blob(id)).unwrap();
    let stop = StopAfter(AtomicU64::new(138 << 20));
    assert!(matches!(
        remote.send(&out, &stop),
        Err(RemoteError::Stopped)
    ));
    assert!(remote.root().unwrap().is_none());
    let sent = remote.send(&out, &Unwatched).unwrap();
    assert!(sent.bytes_found > 0, "{sent:?}");
    let moved = remote.swap(&sent, &mut |_| -> Changed {
        Ok(Some(change(&[("main", 1)])))
    });
    let root = moved.unwrap().unwrap();

    let catalog = remote.catalog(&root, &b, &Unwatched).unwrap();
    let stop = StopAfter(AtomicU64::new(138 << 20));
    let stopped = remote.receive_all(&b, &catalog, &stop);
    assert!(matches!(stopped, Err(RemoteError::Stopped)));
    assert!(!b.has_blob(&id).unwrap());
    let received = remote.receive_all(&b, &catalog, &Unwatched).unwrap();
    assert!(received.bytes < 130 << 20, "{received:?}");
    assert!(b.read_blob(&id, u64::MAX).unwrap() == bytes);
    let left = std::fs::read_dir(dir.path().join("b/fetch"))
        .unwrap()
        .count();
    assert_eq!(left, 1, "only the lock stays");
}

fn remote_file(dir: &Path, extension: &str) -> PathBuf {
    let packs = std::fs::read_dir(dir.join("remote/packs")).unwrap();
    packs
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == extension))
        .unwrap()
}

#[test]
fn damage_on_the_remote_is_found_and_changes_nothing_here() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let a = store(&dir.path().join("a"));
    let id = put(&a, &noise(1, 100_000));
    push(&remote, &a, &[id]);
    let pack = remote_file(dir.path(), "pack");
    let good = std::fs::read(&pack).unwrap();
    for at in [0, 7, 100, 50_000, good.len() - 60, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        std::fs::write(&pack, &bad).unwrap();
        let b = store(&dir.path().join(format!("b{at}")));
        let error = pull(&remote, &b).unwrap_err();
        assert!(error.is_corrupt(), "{at}: {error}");
        assert!(!b.has_blob(&id).unwrap());
    }
    std::fs::write(&pack, &good).unwrap();
    // A damaged or missing index is made from the pack.
    let idx = remote_file(dir.path(), "idx");
    let whole = std::fs::read(&idx).unwrap();
    for damage in [Some(whole[..whole.len() - 1].to_vec()), None] {
        match damage {
            Some(bytes) => std::fs::write(&idx, bytes).unwrap(),
            None => std::fs::remove_file(&idx).unwrap(),
        }
        std::fs::remove_dir_all(dir.path().join("cache/idx")).unwrap_or_default();
        let b = tempfile::tempdir().unwrap();
        let b = store(b.path());
        pull(&remote, &b).unwrap();
        assert!(b.has_blob(&id).unwrap());
    }
    let path = dir.path().join("remote/root");
    let good = std::fs::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(root::decode_root("", &bad).is_err(), "bit {bit}");
    }
    assert!(root::decode_root("", &good[..20]).is_err());
}

#[test]
fn a_pack_that_lies_about_a_content_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let (a, b) = (store(&dir.path().join("a")), store(&dir.path().join("b")));
    // Right chunks under the id of another file: no hash of a pack, object or chunk tells.
    let real = put(&a, &noise(1, 200_000));
    let cuts: Cuts = a.cuts(&real).unwrap().unwrap();
    let wanted = BlobId::of(b"what the victim asks for");
    let key: Key = (Tag::Object(Kind::Cuts).byte(), wanted.0);
    let session = a.begin().unwrap();
    session
        .put(
            key,
            &canon::encode_unchecked(&cuts),
            crate::codec::Content::Bytes,
        )
        .unwrap();
    session.finish().unwrap();
    push(&remote, &a, &[real, wanted]);
    let error = pull(&remote, &b).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(!b.has_blob(&wanted).unwrap());
    let root = remote.root().unwrap().unwrap();
    let catalog = remote.catalog(&root, &b, &Unwatched).unwrap();
    let mut incoming = remote.receive(&b, &catalog).unwrap();
    assert!(incoming.load(&[Item::Blob(wanted)], &Unwatched).is_err());
    drop(incoming);
    assert!(!b.has_blob(&wanted).unwrap());
}

/// What goes wrong with the conditional puts of a [`Faulty`] remote, in turns.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// It is written, but the answer is lost.
    LostAnswer,
    /// The request is lost.
    LostRequest,
    /// A conflict is answered though nothing stood in the way.
    FalseConflict,
    /// Conditions are ignored.
    NoConditions,
}

/// A remote whose conditional puts go wrong.
#[derive(Debug)]
struct Faulty {
    inner: LocalDir,
    faults: Vec<Fault>,
    turn: AtomicUsize,
}

impl Faulty {
    fn over(dir: &Path, faults: &[Fault]) -> Remote {
        let faulty = Self {
            inner: LocalDir::new("test:", dir.join("remote")),
            faults: faults.to_vec(),
            turn: AtomicUsize::new(0),
        };
        Remote::over(faulty, &dir.join("cache"))
    }
}

impl Backend for Faulty {
    fn read(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, Version)>> {
        self.inner.read(key, limit)
    }
    fn put_if(&self, key: &str, bytes: &[u8], expected: Option<&Version>) -> PutIf {
        let lost = || RemoteError::access("test:", Trouble::Timeout, None);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match self.faults[turn % self.faults.len()] {
            Fault::None => self.inner.put_if(key, bytes, expected),
            Fault::LostRequest => PutIf::Ambiguous(lost()),
            Fault::FalseConflict => PutIf::Refused,
            Fault::LostAnswer => {
                self.inner.put_if(key, bytes, expected);
                PutIf::Ambiguous(lost())
            }
            Fault::NoConditions => {
                let now = self.inner.read(key, u64::MAX).unwrap().map(|(_, v)| v);
                self.inner.put_if(key, bytes, now.as_ref());
                PutIf::Done
            }
        }
    }
    fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.inner.put(key, bytes)
    }
    fn size(&self, key: &str) -> Result<Option<u64>> {
        self.inner.size(key)
    }
    fn upload(&self, key: &str, file: &Path, journal: &Path, watch: &dyn Watch) -> Result<()> {
        self.inner.upload(key, file, journal, watch)
    }
    fn state(&self, key: &str, version: Option<&str>) -> Result<Option<ObjectState>> {
        self.inner.state(key, version)
    }
    fn download_version(
        &self,
        key: &str,
        version: Option<&str>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.inner.download_version(key, version, sink)
    }
    fn ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>> {
        self.inner.ranges(key, ranges)
    }
    fn list(&self, folder: &str) -> Result<Vec<backend::Listed>> {
        self.inner.list(folder)
    }
    fn modified(&self, key: &str) -> Result<Option<u64>> {
        self.inner.modified(key)
    }
    fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key)
    }
}

#[test]
fn a_lost_answer_is_resolved_by_the_nonce() {
    for faults in [
        &[Fault::LostAnswer][..],
        &[Fault::LostRequest, Fault::None],
        &[Fault::FalseConflict, Fault::LostRequest, Fault::LostAnswer],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let remote = Faulty::over(dir.path(), faults);
        for n in 0..10u8 {
            let mut asked = 0;
            let sent = Sent::default();
            let moved = remote.swap(&sent, &mut |root| -> Changed {
                asked += 1;
                assert_eq!(root.map_or(0, |r| r.seq + 1), u64::from(n));
                Ok(Some(change(&[("main", n)])))
            });
            assert_eq!(moved.unwrap().unwrap().seq, u64::from(n));
            assert_eq!(asked, 1, "nobody else was there: one attempt is enough");
        }
    }
}

#[test]
fn unknown_is_an_outcome_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let remote = Faulty::over(dir.path(), &[Fault::LostRequest]);
    let patience = Duration::from_millis(200);
    let mut make = |_: Option<&Root>| -> Changed { Ok(Some(change(&[("main", 1)]))) };
    let sent = Sent::default();
    let error = swap::swap(&remote, &sent, patience, &mut make).unwrap_err();
    assert!(matches!(error, RemoteError::Unknown { .. }), "{error}");
    // A remote that answers, and always no, is busy: nothing is in doubt.
    let remote = Faulty::over(dir.path(), &[Fault::FalseConflict]);
    let error = swap::swap(&remote, &sent, patience, &mut make).unwrap_err();
    assert!(matches!(error, RemoteError::Busy { .. }), "{error}");
}

#[test]
fn a_remote_without_conditions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let remote = Faulty::over(dir.path(), &[Fault::NoConditions]);
    let error = remote.check_swap().unwrap_err();
    assert!(matches!(error, RemoteError::NoSwap { .. }), "{error}");
    let left = std::fs::read_dir(dir.path().join("remote/probe")).unwrap();
    assert_eq!(left.count(), 0, "the probe is cleaned up");
}

/// Many writers, each adding refs of its own, over remotes that lose answers: every acknowledged
/// change is there at the end, and roots form one chain without a gap.
#[test]
fn no_update_is_lost_between_many_writers() {
    const WRITERS: u8 = 8;
    const EACH: u8 = 12;
    let dir = tempfile::tempdir().unwrap();
    let memory = Arc::new(InMemory::new());
    let folder = |_| {
        Faulty::over(
            dir.path(),
            &[Fault::None, Fault::LostAnswer, Fault::LostRequest],
        )
    };
    let shared = |n| Remote::over(self::memory(&memory), &dir.path().join(format!("c{n}")));
    let makers: [&(dyn Fn(u8) -> Remote + Sync); 2] = [&folder, &shared];
    for make in makers {
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                scope.spawn(move || {
                    let remote = make(writer);
                    for n in 0..EACH {
                        let moved = remote.swap(&Sent::default(), &mut |root| -> Changed {
                            let mut refs = root.map(|r| r.refs.clone()).unwrap_or_default();
                            let old =
                                refs.insert(format!("refs/heads/{writer}-{n}"), CommitId([n; 32]));
                            assert!(old.is_none(), "applied twice");
                            let head = "refs/heads/main".into();
                            Ok(Some(Change { head, refs }))
                        });
                        moved.unwrap();
                    }
                });
            }
        });
        let root = make(0).root().unwrap().unwrap();
        assert_eq!(root.refs.len(), usize::from(WRITERS) * usize::from(EACH));
        assert_eq!(root.seq + 1, u64::from(WRITERS) * u64::from(EACH));
    }
}

#[test]
fn lists_of_packs_stay_few() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let a = store(&dir.path().join("a"));
    let ids: Vec<BlobId> = (0..40).map(|n| put(&a, &noise(n, 1000))).collect();
    for id in &ids {
        push(&remote, &a, &[*id]);
    }
    let root = remote.root().unwrap().unwrap();
    assert!(root.lists.len() <= 7, "{} lists", root.lists.len());
    let b = store(&dir.path().join("b"));
    pull(&remote, &b).unwrap();
    assert!(ids.iter().all(|id| b.has_blob(id).unwrap()));
}

#[test]
fn a_name_in_memory_is_one_store_for_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let open = |url: &str| Remote::open(url, &RemoteOptions::default(), dir.path()).unwrap();
    let (a, b) = (store(&dir.path().join("a")), store(&dir.path().join("b")));
    let id = put(&a, &noise(1, 1000));
    push(&open("memory://shared"), &a, &[id]);
    pull(&open("memory://shared"), &b).unwrap();
    assert!(b.has_blob(&id).unwrap());
    assert!(open("memory://other").root().unwrap().is_none());
}

#[test]
fn addresses_are_read_as_written() {
    let cache = Path::new("/nowhere");
    let open = |url: &str| Remote::open(url, &RemoteOptions::default(), cache);
    for bad in [
        "",
        "ftp://h/x",
        "file://relative",
        "s3://",
        "memory://",
        "s3://u:p@b/x",
        "host:path",
        "file:/x",
    ] {
        let error = open(bad).unwrap_err();
        assert!(
            matches!(error, RemoteError::Address { .. }),
            "{bad}: {error}"
        );
    }
    for good in [
        "/srv/models",
        "./here",
        "file:///srv/models",
        "https://example.org/models",
    ] {
        assert!(open(good).is_ok(), "{good}");
    }
    assert!(open("https://example.org/m").unwrap().is_read_only());
}

/// The bytes of `spec/remote.md`, from a root made by hand.
#[test]
fn the_root_has_the_bytes_of_the_specification() {
    let root = Root {
        repository: [1; 16],
        seq: 300,
        nonce: [2; 16],
        recent: vec![[3; 16]],
        head: "refs/heads/main".into(),
        lists: vec![root::ListRef {
            id: [4; 32],
            packs: 2,
        }],
        condemned: Default::default(),
        refs: BTreeMap::from([("refs/heads/main".to_owned(), CommitId([5; 32]))]),
    };
    let bytes = root::encode_root(&root).unwrap();
    let mut want = b"MODELV\x20\x01".to_vec();
    want.extend([1; 16]);
    want.extend([0xfb, 0x2c, 0x01]);
    want.extend([2; 16]);
    want.push(1);
    want.extend([3; 16]);
    want.extend(b"\x0frefs/heads/main\x01");
    want.extend([4; 32]);
    want.extend(b"\x02\x01\x0frefs/heads/main");
    want.extend([5; 32]);
    let hash = canon::hash(Kind::Root, &want);
    want.extend(hash);
    assert_eq!(to_hex(&bytes), to_hex(&want));
    assert_eq!(root::decode_root("", &bytes).unwrap(), root);
    let mut wrong = root.clone();
    wrong.refs.insert("HEAD".into(), CommitId([5; 32]));
    assert!(wrong.check().is_err());
    // Wheels make it version 2: one ref more, behind the others.
    let mut wide = root;
    let name = format!("refs/wheels/{}", "0f".repeat(32));
    wide.refs.insert(name.clone(), CommitId([6; 32]));
    let mut body = want[..want.len() - 32].to_vec();
    let count = body.len() - 32 - 16 - 1;
    assert_eq!(body[count], 1);
    (body[7], body[count]) = (2, 2);
    body.push(76);
    body.extend(name.as_bytes());
    body.extend([6; 32]);
    let with_hash = |body: &[u8]| [body, &canon::hash(Kind::Root, body)].concat();
    let bytes = root::encode_root(&wide).unwrap();
    assert_eq!(to_hex(&bytes), to_hex(&with_hash(&body)));
    assert_eq!(root::decode_root("", &bytes).unwrap(), wide);
    for (at, byte) in [(7, 1), (7, 3), (count + 18 + 32, b'R')] {
        let mut bad = body.clone();
        bad[at] = byte;
        assert!(root::decode_root("", &with_hash(&bad)).is_err(), "{at}");
    }
    let plain = [&want[..7], &[2], &want[8..want.len() - 32]].concat();
    assert!(root::decode_root("", &with_hash(&plain)).is_err());
    wide.refs
        .insert("refs/wheels/short".into(), CommitId([6; 32]));
    assert!(root::encode_root(&wide).is_err());
}

/// Packs of a remote by their roots, before and after a collection that keeps what `alive` says.
fn collect(remote: &Remote, dir: &Path, alive: &[BlobId]) -> Collection {
    let scratch = tempfile::tempdir_in(dir).unwrap();
    let mut collector = RemoteCollector::begin(remote, scratch.path(), &Unwatched)
        .unwrap()
        .unwrap();
    for id in alive {
        collector.mark(Item::Blob(*id)).unwrap();
    }
    let options = CollectOptions {
        now: true,
        dry_run: false,
    };
    collector.collect(options, &Unwatched).unwrap().unwrap()
}

#[test]
fn what_is_dead_goes_and_its_name_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let a = store(&dir.path().join("a"));
    let (one, two) = (put(&a, &noise(1, 3 << 20)), put(&a, &noise(2, 3 << 20)));
    push(&remote, &a, &[one]);
    push(&remote, &a, &[two]);
    // A writer who has looked before relies on what goes.
    let old = remote.root().unwrap().unwrap();
    let catalog = remote.catalog(&old, &a, &Unwatched).unwrap();
    let relying = Outgoing::new(&a, &catalog).nothing();
    let done = collect(&remote, dir.path(), &[one]);
    assert_eq!((done.packs, done.deleted), (1, 2), "{done:?}");
    let moved = |sent: &Sent| {
        remote.swap(sent, &mut |_| -> Changed {
            Ok(Some(change(&[("main", 1)])))
        })
    };
    assert!(matches!(
        moved(&relying),
        Err(RemoteError::Collected { .. })
    ));
    // Sent again it has another name, and comes back whole.
    let root = remote.root().unwrap().unwrap();
    let catalog = remote.catalog(&root, &a, &Unwatched).unwrap();
    let mut out = Outgoing::new(&a, &catalog);
    assert!(out.add(Item::Blob(two)).unwrap());
    let sent = remote.send(&out, &Unwatched).unwrap();
    assert!(
        sent.packs
            .iter()
            .all(|p| !root.condemned.contains_key(&p.name))
    );
    assert_eq!(remote.send(&out, &Unwatched).unwrap().packs, sent.packs);
    moved(&sent).unwrap();
    let b = store(&dir.path().join("b"));
    pull(&remote, &b).unwrap();
    assert!(b.read_blob(&two, u64::MAX).unwrap() == noise(2, 3 << 20));
    assert!(b.has_blob(&one).unwrap());
}

#[test]
fn what_is_alive_of_a_pack_is_copied_before_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let a = store(&dir.path().join("a"));
    let ids: Vec<BlobId> = (0..5).map(|n| put(&a, &noise(n, 400_000))).collect();
    push(&remote, &a, &ids);
    let done = collect(&remote, dir.path(), &ids[..1]);
    assert!(done.packs == 1 && done.copied_bytes > 390_000, "{done:?}");
    let b = store(&dir.path().join("b"));
    pull(&remote, &b).unwrap();
    assert!(b.read_blob(&ids[0], u64::MAX).unwrap() == noise(0, 400_000));
    assert!(!b.has_blob(&ids[4]).unwrap());
    // What is not there can't be marked: the collection stops before it takes anything.
    let scratch = tempfile::tempdir_in(dir.path()).unwrap();
    let mut collector = RemoteCollector::begin(&remote, scratch.path(), &Unwatched)
        .unwrap()
        .unwrap();
    assert!(collector.mark(Item::Blob(ids[4])).unwrap_err().is_corrupt());
}

#[test]
fn no_object_stays_whose_contents_go() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let a = store(&dir.path().join("a"));
    // Cut contents: a record each, and chunks.
    let (one, two) = (put(&a, &noise(1, 3 << 20)), put(&a, &noise(2, 2 << 20)));
    push(&remote, &a, &[one, two]);
    // More than half of the pack is alive, but the record of the other content must not stay.
    collect(&remote, dir.path(), &[one]);
    let root = remote.root().unwrap().unwrap();
    let catalog = remote.catalog(&root, &a, &Unwatched).unwrap();
    assert!(catalog.has(Item::Blob(one)) && !catalog.has(Item::Blob(two)));
    push(&remote, &a, &[two]);
    let b = store(&dir.path().join("b"));
    pull(&remote, &b).unwrap();
    assert!(b.read_blob(&two, u64::MAX).unwrap() == noise(2, 2 << 20));
}

#[test]
fn who_sends_while_its_name_is_condemned_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let remote = folder(dir.path());
    let a = store(&dir.path().join("a"));
    let (one, two) = (put(&a, &noise(1, 100_000)), put(&a, &noise(2, 100_000)));
    push(&remote, &a, &[one]);
    let root = remote.root().unwrap().unwrap();
    let catalog = remote.catalog(&root, &a, &Unwatched).unwrap();
    let mut out = Outgoing::new(&a, &catalog);
    out.add(Item::Blob(two)).unwrap();
    let sent = remote.send(&out, &Unwatched).unwrap();
    // Nobody names it yet: to a collection that does not wait it looks left behind.
    let done = collect(&remote, dir.path(), &[one]);
    assert_eq!((done.left_behind, done.deleted), (1, 2));
    let moved = remote.swap(&sent, &mut |_| -> Changed {
        Ok(Some(change(&[("main", 1)])))
    });
    assert!(matches!(moved, Err(RemoteError::Collected { .. })));
    // One that waits lets young packs be.
    remote.send(&out, &Unwatched).unwrap();
    let scratch = tempfile::tempdir_in(dir.path()).unwrap();
    let mut collector = RemoteCollector::begin(&remote, scratch.path(), &Unwatched)
        .unwrap()
        .unwrap();
    collector.mark(Item::Blob(one)).unwrap();
    let done = collector
        .collect(CollectOptions::default(), &Unwatched)
        .unwrap()
        .unwrap();
    assert_eq!((done.left_behind, done.deleted), (0, 0));
}

#[test]
fn a_root_that_condemns_something_is_version_three_and_no_other_is() {
    let change = change(&[("main", 1)]);
    let mut root = Root::after(None, change, Vec::new());
    let version = |root: &Root| root::encode_root(root).unwrap()[7];
    assert_eq!(version(&root), 1);
    root.condemned.insert([7; 32], 300);
    assert_eq!(version(&root), 3);
    let bytes = root::encode_root(&root).unwrap();
    assert_eq!(root::decode_root("", &bytes).unwrap(), root);
    // The map is the end of the body: one name, then a number of three bytes.
    let body = &bytes[..bytes.len() - 32];
    let tail = [&[1][..], &[7; 32], &[251, 44, 1]].concat();
    assert!(body.ends_with(&tail), "{body:?}");
    // Without a name it is another version's root, and refused.
    let mut empty = body[..body.len() - tail.len()].to_vec();
    empty.push(0);
    empty.extend_from_slice(&canon::hash(Kind::Root, &empty));
    assert!(root::decode_root("", &empty).unwrap_err().is_corrupt());
}

#[test]
fn a_root_with_an_alias_is_version_four_and_no_other_is() {
    let mut root = Root::after(None, change(&[("main", 1)]), Vec::new());
    let name = "refs/aliases/prod";
    root.refs.insert(name.into(), CommitId([6; 32]));
    let bytes = root::encode_root(&root).unwrap();
    assert_eq!(bytes[7], 4);
    assert_eq!(root::decode_root("", &bytes).unwrap(), root);
    // The list of what is condemned is there, and empty.
    let body = &bytes[..bytes.len() - 32];
    assert!(body.ends_with(&[&[1; 32][..], &[0]].concat()), "{body:?}");
    for version in [1, 2, 3] {
        let mut other = body.to_vec();
        other[7] = version;
        if version < 3 {
            other.pop();
        }
        other.extend_from_slice(&canon::hash(Kind::Root, &other));
        assert!(root::decode_root("", &other).unwrap_err().is_corrupt());
    }
    root.condemned.insert([7; 32], 300);
    assert_eq!(root::encode_root(&root).unwrap()[7], 4);
    root.refs.remove(name);
    assert_eq!(root::encode_root(&root).unwrap()[7], 3);
    root.refs.insert("refs/aliases/".into(), CommitId([6; 32]));
    assert!(root::encode_root(&root).is_err());
}
