//! The log: what is appended is there, what was torn is left out, and damage is never believed.

use super::*;

fn draft(changes: Vec<RefChange>) -> Draft {
    Draft {
        time: Time {
            seconds: 0,
            offset_minutes: 0,
        },
        actor: "a@b".into(),
        command: "test".into(),
        worktree: false,
        undoes: None,
        changes,
    }
}

fn set(name: &str, old: Option<&str>, new: Option<&str>) -> RefChange {
    let text = |s: &str| Target::Text(s.into());
    RefChange {
        name: name.into(),
        old: old.map(text),
        new: new.map(text),
    }
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("oplog");
    std::fs::write(&path, header()).unwrap();
    (dir, path)
}

/// A log of many operations, the last of which are behind what is noted beside it.
fn long_log() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = fresh();
    let mut log = OpLog::read(&path).unwrap();
    let value = "x".repeat(100_000);
    for i in 0..12 {
        let name = format!("{i}");
        log.append(draft(vec![set(&name, None, Some(&value))]))
            .unwrap();
    }
    log.append(draft(vec![set("3", Some(&value), Some("y"))]))
        .unwrap();
    log.append(draft(vec![set("3", Some("y"), None)])).unwrap();
    assert!(checkpoint::path(&path).exists());
    (dir, path)
}

#[test]
fn what_is_noted_beside_a_long_log_says_the_same() {
    let (_dir, path) = long_log();
    let whole = OpLog::read(&path).unwrap();
    let mut recent = OpLog::read_recent(&path).unwrap();
    assert!(recent.skipped > 0 && recent.count() == whole.count());
    assert_eq!((&recent.refs, recent.end), (&whole.refs, whole.end));
    let again = recent.whole().unwrap().unwrap();
    assert_eq!(again.operations, whole.operations);
    assert!(whole.whole().unwrap().is_none());
    // Both append; each sees what the other has.
    recent
        .append(draft(vec![set("new", None, Some("1"))]))
        .unwrap();
    let mut whole = whole;
    whole
        .append(draft(vec![set("new", Some("1"), Some("2"))]))
        .unwrap();
    recent
        .append(draft(vec![set("new", Some("2"), None)]))
        .unwrap();
    assert_eq!(OpLog::read(&path).unwrap().refs, recent.refs);
}

#[test]
fn what_is_noted_is_believed_of_its_own_log_only() {
    let (_dir, path) = long_log();
    let noted = checkpoint::path(&path);
    let good = std::fs::read(&noted).unwrap();
    let whole = OpLog::read(&path).unwrap();
    for at in (0..good.len()).step_by(good.len() / 50) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        for bytes in [bad, good[..at].to_vec()] {
            std::fs::write(&noted, bytes).unwrap();
            let log = OpLog::read_recent(&path).unwrap();
            assert!(log.skipped == 0 && log.refs == whole.refs, "byte {at}");
            assert!(!log.is_checkpoint_sound());
        }
    }
    std::fs::write(&noted, &good).unwrap();
    // Another log, as long as this one.
    let (_other_dir, other) = long_log();
    std::fs::copy(&other, &path).unwrap();
    assert_eq!(OpLog::read_recent(&path).unwrap().skipped, 0);
    // Damage before it is found by who reads all, damage behind it by everybody.
    let mut bytes = std::fs::read(&other).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&other, &bytes).unwrap();
    let recent = OpLog::read_recent(&other).unwrap();
    assert!(recent.whole().is_err());
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&other, &bytes).unwrap();
    assert!(OpLog::read_recent(&other).is_err());
}

#[test]
fn refs_move_by_compare_and_swap() {
    let (_dir, path) = fresh();
    let mut a = OpLog::read(&path).unwrap();
    let mut b = OpLog::read(&path).unwrap();
    a.append(draft(vec![set("x", None, Some("1"))])).unwrap();
    let lost = b
        .append(draft(vec![set("x", None, Some("2"))]))
        .unwrap_err();
    assert_eq!(
        lost.to_string(),
        "`x` was moved by another process meanwhile"
    );
    b.append(draft(vec![set("x", Some("1"), Some("2"))]))
        .unwrap();
    assert_eq!(
        OpLog::read(&path).unwrap().refs["x"],
        Target::Text("2".into())
    );
}

#[test]
fn writers_in_many_threads_lose_nothing() {
    let (_dir, path) = fresh();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let mut log = OpLog::read(path).unwrap();
                for i in 0..20 {
                    let name = format!("{thread}/{i}");
                    log.append(draft(vec![set(&name, None, Some("1"))]))
                        .unwrap();
                }
            });
        }
    });
    let log = OpLog::read(&path).unwrap();
    assert_eq!((log.refs.len(), log.operations.len()), (160, 160));
}

/// A sync that failed leaves nothing that a later append could build on.
#[test]
fn an_append_that_can_not_be_synced_is_taken_back() {
    use modelv_store::fs::faults::{Fault, Watch};
    let (dir, path) = fresh();
    let mut log = OpLog::read(&path).unwrap();
    log.append(draft(vec![set("x", None, Some("1"))])).unwrap();
    let before = std::fs::read(&path).unwrap();
    // The calls of an append: open the lock, open the log, write, sync.
    for call in 2..4 {
        let watch = Watch::fail_once(dir.path(), call, Fault::Io);
        log.append(draft(vec![set("x", Some("1"), Some("2"))]))
            .unwrap_err();
        drop(watch);
        assert_eq!(std::fs::read(&path).unwrap(), before, "call {call}");
    }
    log.append(draft(vec![set("x", Some("1"), Some("3"))]))
        .unwrap();
    assert_eq!(OpLog::read(&path).unwrap().operations.len(), 2);
}

#[test]
fn a_log_that_lost_its_end_is_refused() {
    let (_dir, path, whole, ends) = log_of(4);
    for cut in ends[0]..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = OpLog::read(&path).unwrap_err().to_string();
        assert!(error.contains("once acknowledged"), "{cut}: {error}");
    }
    std::fs::remove_file(tip::path(&path)).unwrap();
    std::fs::write(&path, &whole[..ends[2]]).unwrap();
    assert_eq!(OpLog::read(&path).unwrap().operations.len(), 2);
}

/// A log of `count` operations, long enough to cross sectors, and where each one ends.
fn log_of(count: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<usize>) {
    let (dir, path) = fresh();
    let mut log = OpLog::read(&path).unwrap();
    let mut ends = vec![usize::try_from(HEADER_BYTES).unwrap()];
    for i in 0..count {
        let name = format!("{i}{}", "x".repeat(i * 400));
        log.append(draft(vec![set(&name, None, Some("v"))]))
            .unwrap();
        ends.push(usize::try_from(log.end).unwrap());
    }
    let whole = std::fs::read(&path).unwrap();
    (dir, path, whole, ends)
}

/// A log as a crash in its last append leaves it: nobody had noted that length yet.
fn put_unnoted(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    let _ = std::fs::remove_file(tip::path(path));
}

#[test]
fn a_cut_at_any_byte_leaves_whole_operations_only() {
    let (_dir, path, whole, ends) = log_of(3);
    for cut in ends[0]..=whole.len() {
        put_unnoted(&path, &whole[..cut]);
        let log = OpLog::read(&path).unwrap();
        let want = ends.iter().filter(|e| **e <= cut).count() - 1;
        assert_eq!(log.operations.len(), want, "cut at {cut}");
        assert_eq!(log.unfinished_bytes, (cut - ends[want]) as u64);
    }
    // Appending after a cut keeps all of the tail aside and goes on.
    put_unnoted(&path, &whole[..whole.len() - 5]);
    let mut log = OpLog::read(&path).unwrap();
    log.append(draft(vec![set("new", None, Some("v"))]))
        .unwrap();
    assert_eq!(log.unfinished_bytes, 0);
    assert_eq!(OpLog::read(&path).unwrap().operations.len(), 3);
    let kept = path.with_file_name(format!("quarantine/oplog-tail-{}", ends[2]));
    assert_eq!(
        std::fs::read(kept).unwrap(),
        whole[ends[2]..whole.len() - 5]
    );
}

/// A power cut in the middle of an append: each of its sectors was written or reads as zeros.
#[test]
fn every_torn_append_is_left_out_and_nothing_else() {
    for count in 1..5 {
        let (_dir, path, whole, ends) = log_of(count);
        let start = ends[count - 1];
        let sectors: Vec<usize> =
            (start / SECTOR_BYTES..=(whole.len() - 1) / SECTOR_BYTES).collect();
        for lost in 1..1usize << sectors.len() {
            let mut bytes = whole.clone();
            for (bit, sector) in sectors.iter().enumerate() {
                if lost & 1 << bit != 0 {
                    let end = ((sector + 1) * SECTOR_BYTES).min(bytes.len());
                    bytes[(sector * SECTOR_BYTES).max(start)..end].fill(0);
                }
            }
            put_unnoted(&path, &bytes);
            let mut log = OpLog::read(&path).unwrap();
            assert_eq!(log.operations.len(), count - 1, "sectors {lost:b}");
            log.append(draft(vec![set("next", None, Some("v"))]))
                .unwrap();
            assert_eq!(OpLog::read(&path).unwrap().operations.len(), count);
        }
    }
}

#[test]
fn a_lost_sector_before_the_last_operation_is_damage() {
    let (_dir, path, whole, ends) = log_of(4);
    for sector in 0..ends[3] / SECTOR_BYTES {
        let mut bytes = whole.clone();
        let start = (sector * SECTOR_BYTES).max(ends[0]);
        bytes[start..(sector + 1) * SECTOR_BYTES].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let error = OpLog::read(&path).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}

/// Writes a log whose only frame is right in form but not in what it says.
fn forged(changes: Vec<RefChange>) -> Result<OpLog> {
    let (_dir, path) = fresh();
    let operation = Operation {
        seq: 0,
        time: Time {
            seconds: 0,
            offset_minutes: 0,
        },
        actor: String::new(),
        command: String::new(),
        nonce: [0; 16],
        worktree: false,
        undoes: None,
        changes,
    };
    let body = canon::encode_unchecked(&operation);
    let frame = frame(&body, &chain_hash(&[0; 32], &body)).unwrap();
    std::fs::write(&path, [b"MVOPLOG\x01".as_slice(), &frame].concat()).unwrap();
    OpLog::read(&path)
}

#[test]
fn a_frame_that_contradicts_the_refs_is_refused() {
    assert_eq!(
        forged(vec![set("x", None, Some("1"))]).unwrap().refs.len(),
        1
    );
    let moved = forged(vec![set("x", Some("0"), Some("1"))]).unwrap_err();
    assert!(moved.to_string().contains("from where it was not"));
    let twice = vec![set("x", None, Some("1")), set("x", Some("1"), None)];
    let twice = forged(twice).unwrap_err();
    assert!(twice.to_string().contains("changes twice"), "{twice}");
}

#[test]
fn a_name_is_not_written_twice_in_one_operation() {
    let (_dir, path) = fresh();
    let mut log = OpLog::read(&path).unwrap();
    let twice = vec![set("x", None, Some("1")), set("x", None, Some("2"))];
    assert!(log.append(draft(twice)).is_err());
    assert_eq!(OpLog::read(&path).unwrap().operations.len(), 0);
}

#[test]
fn every_flipped_bit_is_found() {
    let (_dir, path) = fresh();
    let mut log = OpLog::read(&path).unwrap();
    for i in 0..3 {
        log.append(draft(vec![set(&i.to_string(), None, Some("v"))]))
            .unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        assert!(OpLog::read(&path).is_err(), "bit {bit} was not noticed");
    }
}

#[test]
fn a_newer_repository_is_refused() {
    let (_dir, path) = fresh();
    std::fs::write(&path, b"MVOPLOG\x02").unwrap();
    let error = OpLog::read(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this repository has format version 2, this program reads up to 1"
    );
}
