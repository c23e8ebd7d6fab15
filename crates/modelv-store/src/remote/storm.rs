//! Many updates through a network that loses, repeats, delays and refuses, over a store whose versions
//! are hashes of contents (so that the same bytes twice are the same version). The long form:
//! `MODELV_TEST_UPDATES=20000 cargo test --release -p modelv-store storm`.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modelv_core::id::CommitId;

use super::backend::{Backend, Listed, PutIf, Version};
use super::object::ObjectState;
use super::root::{self, Change, Root};
use super::swap::swap;
use super::{Remote, RemoteError, Result, Sent, Trouble, Watch};

const SEED: u64 = 20_261;
const WRITERS: u64 = 4;

/// A request that comes again when others have been answered in between.
struct Late {
    due: u64,
    bytes: Vec<u8>,
    expected: Option<Version>,
}

#[derive(Default)]
struct State {
    root: Option<Vec<u8>>,
    requests: u64,
    late: Vec<Late>,
    /// Puts that were applied.
    applied: u64,
    /// Answers that were lost after the put was applied.
    lost: u64,
}

fn version(bytes: &[u8]) -> Version {
    Version {
        e_tag: Some(blake3::hash(bytes).to_hex().to_string()),
        version: None,
    }
}

impl State {
    fn put_if(&mut self, bytes: &[u8], expected: Option<&Version>) -> PutIf {
        if self.root.as_deref().map(version).as_ref() != expected {
            return PutIf::Refused;
        }
        self.root = Some(bytes.to_vec());
        self.applied += 1;
        PutIf::Done
    }

    /// Counts a request, lets what is late arrive, and draws what goes wrong, in percent.
    fn next(&mut self) -> u64 {
        self.requests += 1;
        let now = self.requests;
        let (due, later) = self.late.drain(..).partition(|l| l.due <= now);
        self.late = later;
        for again in Vec::<Late>::from_iter(due) {
            self.put_if(&again.bytes, again.expected.as_ref());
        }
        let drawn = blake3::hash(&[SEED.to_le_bytes(), now.to_le_bytes()].concat());
        u64::from(u16::from_le_bytes([
            drawn.as_bytes()[0],
            drawn.as_bytes()[1],
        ])) % 100
    }
}

#[derive(Clone, Default)]
struct Storm(Arc<Mutex<State>>);

impl std::fmt::Debug for Storm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Storm")
    }
}

fn lost() -> RemoteError {
    RemoteError::access("storm:", Trouble::Timeout, None)
}

impl Backend for Storm {
    fn read(&self, key: &str, _: u64) -> Result<Option<(Vec<u8>, Version)>> {
        assert_eq!(key, root::KEY);
        let mut state = self.0.lock().unwrap();
        match state.next() {
            0..10 => Err(lost()),
            _ => Ok(state.root.clone().map(|b| (b.clone(), version(&b)))),
        }
    }

    fn put_if(&self, key: &str, bytes: &[u8], expected: Option<&Version>) -> PutIf {
        assert_eq!(key, root::KEY);
        let mut state = self.0.lock().unwrap();
        match state.next() {
            // Applied, and nobody hears of it.
            0..10 => {
                let done = state.put_if(bytes, expected);
                state.lost += u64::from(matches!(done, PutIf::Done));
                PutIf::Ambiguous(lost())
            }
            // Cut before, and busy.
            10..20 => PutIf::Ambiguous(lost()),
            // A conflict where there was none.
            20..22 => PutIf::Refused,
            // Comes twice, the second time late.
            22..24 => {
                let due = state.requests + 7;
                state.late.push(Late {
                    due,
                    bytes: bytes.to_vec(),
                    expected: expected.cloned(),
                });
                state.put_if(bytes, expected)
            }
            // Given up by the client, and applied late.
            24..26 => {
                let due = state.requests + 3;
                state.late.push(Late {
                    due,
                    bytes: bytes.to_vec(),
                    expected: expected.cloned(),
                });
                PutIf::Ambiguous(lost())
            }
            _ => state.put_if(bytes, expected),
        }
    }

    fn put(&self, _: &str, _: &[u8]) -> Result<()> {
        unreachable!("only the root moves")
    }
    fn size(&self, _: &str) -> Result<Option<u64>> {
        unreachable!("only the root moves")
    }
    fn upload(&self, _: &str, _: &Path, _: &Path, _: &dyn Watch) -> Result<()> {
        unreachable!("only the root moves")
    }
    fn state(&self, _: &str, _: Option<&str>) -> Result<Option<ObjectState>> {
        unreachable!("only the root moves")
    }
    fn download_version(
        &self,
        _: &str,
        _: Option<&str>,
        _: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        unreachable!("only the root moves")
    }
    fn ranges(&self, _: &str, _: &[Range<u64>]) -> Result<Vec<Vec<u8>>> {
        unreachable!("only the root moves")
    }
    fn list(&self, _: &str) -> Result<Vec<Listed>> {
        unreachable!("only the root moves")
    }
    fn modified(&self, _: &str) -> Result<Option<u64>> {
        unreachable!("only the root moves")
    }
    fn delete(&self, _: &str) -> Result<()> {
        unreachable!("only the root moves")
    }
}

/// What a writer did came to.
#[derive(Debug, Default)]
struct Outcomes {
    acknowledged: u64,
    failed: u64,
    unknown: u64,
}

fn count(n: u64) -> CommitId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_le_bytes());
    CommitId(id)
}

/// One writer counts upward in a ref of its own. What it sees there before each step tells whether its last
/// step was lost, done twice, or done though it had been told that it failed.
fn write(remote: &Remote, writer: u64, updates: u64) -> Outcomes {
    let name = format!("refs/heads/{writer}");
    let mut outcomes = Outcomes::default();
    // Whether a step of unknown outcome was done is seen by the next one.
    let (mut done, mut in_doubt) = (0, false);
    let mut last_seq = 0;
    while outcomes.acknowledged + outcomes.failed + outcomes.unknown < updates {
        let mut make = |root: Option<&Root>| -> Result<Option<Change>> {
            let seq = root.map_or(0, |r| r.seq + 1);
            assert!(
                seq >= last_seq,
                "a root from before: {seq} after {last_seq}"
            );
            last_seq = seq;
            let mut refs = root.map(|r| r.refs.clone()).unwrap_or_default();
            let here = refs.get(&name).copied();
            if in_doubt && here == Some(count(done + 1)) {
                done += 1;
            }
            in_doubt = false;
            assert_eq!(here, (done > 0).then(|| count(done)), "{name}");
            refs.insert(name.clone(), count(done + 1));
            let head = "refs/heads/0".into();
            Ok(Some(Change { head, refs }))
        };
        match swap(
            remote,
            &Sent::default(),
            Duration::from_secs(600),
            &mut make,
        ) {
            Ok(_) => {
                done += 1;
                outcomes.acknowledged += 1;
            }
            Err(RemoteError::Unknown { .. }) => {
                in_doubt = true;
                outcomes.unknown += 1;
            }
            Err(_) => outcomes.failed += 1,
        }
    }
    outcomes
}

#[test]
fn no_acknowledged_update_is_lost_and_none_is_done_twice() {
    let updates = std::env::var("MODELV_TEST_UPDATES").ok();
    let updates: u64 = updates.map_or(1_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let storm = Storm::default();
    let outcomes: Vec<Outcomes> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let remote = Remote::over(storm.clone(), &dir.path().join("cache"));
                scope.spawn(move || write(&remote, writer, updates / WRITERS))
            })
            .collect();
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let state = storm.0.lock().unwrap();
    let of = |part: fn(&Outcomes) -> u64| outcomes.iter().map(part).sum::<u64>();
    let (acknowledged, unknown) = (of(|o| o.acknowledged), of(|o| o.unknown));
    let root = root::decode_root("storm:", state.root.as_ref().unwrap()).unwrap();
    // One chain: each root that was put in place is the one after another.
    assert_eq!(root.seq + 1, state.applied);
    assert!(state.applied >= acknowledged && state.applied <= acknowledged + unknown);
    // In memory the others put more roots in place than a root remembers while one waits to look again, which takes a
    // real store minutes: how often that happens is a matter of how threads are scheduled, one or two in a thousand.
    assert!(unknown * 100 <= updates, "{outcomes:?}");
    assert!(
        state.lost * 50 > updates,
        "the storm was no storm: {}",
        state.lost
    );
    println!(
        "{updates} updates, {} requests: {outcomes:?}",
        state.requests
    );
}
