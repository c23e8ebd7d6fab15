//! The independent reader of `spec/reader` over repositories that the real binary made.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Tree;

/// Runs the reader: its exit status, and all it said.
fn read(repository: &Path) -> (Option<i32>, String) {
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/reader/check.py");
    let output = Command::new("python3")
        .args(["-B".as_ref(), check.as_os_str(), repository.as_os_str()])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

/// What the independent reader says of a sound repository.
pub(crate) fn sound(repository: &Path) -> String {
    let (status, said) = read(repository);
    assert_eq!(status, Some(0), "{said}");
    said
}

/// Bytes that don't compress (xorshift64).
fn noise(seed: u64, words: usize) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).take(words).flatten().collect()
}

/// Weights as training leaves them: the exponents are alike, the rest is noise.
fn weights(seed: u64, count: usize) -> Vec<u8> {
    let number = |w: &[u8]| f32::from(i16::from_le_bytes([w[0], w[1]])) / 1e6;
    noise(seed, count)
        .chunks(8)
        .flat_map(|w| number(w).to_le_bytes())
        .collect()
}

fn file(tree: &Tree, path: &str, bytes: &[u8]) {
    tree.put(path, "");
    std::fs::write(tree.path(path), bytes).unwrap();
}

/// A history with everything in it.
fn rich() -> Tree {
    let tree = Tree::repo();
    for n in 0..1500 {
        tree.put(&format!("data/rows/{n:05}.txt"), &format!("row {n}\n"));
    }
    tree.put("params.toml", "[train]\nlr = 0.1\nlayers = [1, 2]\n");
    tree.put("train.sh", "mkdir -p models; cp weights.bin models/w; echo '{\"f1\": 0.5, \"steps\": 300}' > metrics.json; echo done\n");
    file(&tree, "weights.bin", &weights(1, 400_000));
    std::os::unix::fs::symlink("params.toml", tree.path("link")).unwrap();
    tree.put("a/b/c/d/e", "deep");
    tree.put("empty", "");
    tree.commit("first");
    // Above 64 MiB files are cut coarsely.
    let mut large = noise(2, 600_000);
    large.resize(65 << 20, 0);
    file(&tree, "data/large.bin", &large);
    tree.commit("a large file");
    tree.mv(&["run", "-m", "train", "--", "sh", "train.sh"])
        .success();
    tree.mv(&["tag", "v1"]).success();
    tree
}

/// Two branches that differ, merged; then two that are in conflict.
fn branch_and_merge(tree: &Tree) {
    tree.mv(&["switch", "-c", "side"]).success();
    tree.put("side.py", "print(1)\n");
    tree.put("params.toml", "[train]\nlr = 0.2\nlayers = [1, 2]\n");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    tree.put("data/rows/00007.txt", "changed\n");
    std::fs::remove_file(tree.path("data/rows/00008.txt")).unwrap();
    tree.commit("main");
    tree.mv(&["merge", "side", "-m", "both"]).success();
    tree.mv(&["switch", "-c", "other", "HEAD~1"]).success();
    tree.put("params.toml", "[train]\nlr = 0.3\nlayers = [1, 2]\n");
    tree.commit("other");
    tree.mv(&["undo"]).success();
    tree.put("params.toml", "[train]\nlr = 0.4\nlayers = [1, 2]\n");
    tree.commit("other again");
    tree.mv(&["switch", "main"]).success();
    tree.mv(&["merge", "other"]).fails_with(3);
}

#[test]
fn the_reader_finds_a_rich_repository_sound() {
    let tree = rich();
    branch_and_merge(&tree);
    let open = sound(tree.root());
    assert!(open.contains("1 runs"), "{open}");
    tree.mv(&["resolve", "params.toml:train.lr", "--value", "0.5"])
        .success();
    tree.mv(&["merge", "--continue", "-m", "decided"]).success();
    let said = sound(tree.root());
    // Two of them are of the files before and after a decision, so that undo brings them back.
    assert!(said.contains("11 commits"), "{said}");
    tree.mv(&["fsck"]).success();
}

fn small() -> Tree {
    let tree = Tree::repo();
    tree.put("a", "1");
    tree.commit("first");
    tree.put("a", "2");
    tree.commit("second");
    tree
}

fn packs(tree: &Tree, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(tree.path(".mv/packs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    found
}

/// Reader and program must both refuse it, the reader by this rule.
fn refused(tree: &Tree, rule: &str) {
    let (status, said) = read(tree.root());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&format!("breaks {rule}: ")), "{said}");
    assert_ne!(tree.mv(&["fsck"]).status, Some(0), "{rule}");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_reader_and_fsck_find_the_same_damage() {
    let tree = small();
    flip(&packs(&tree, "pack")[0], 9);
    refused(&tree, "PACK-4");
    let tree = small();
    flip(&packs(&tree, "idx")[0], 100);
    // An index is derived: the reader refuses it, and fsck makes it again.
    let (status, said) = read(tree.root());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("breaks PIDX-3: "), "{said}");
    let fsck = tree.mv(&["fsck"]);
    assert_eq!(fsck.status, Some(0));
    let fsck = fsck.out + &fsck.err;
    assert!(fsck.contains("damaged or missing"), "{fsck}");
    sound(tree.root());
    let tree = small();
    let first = &packs(&tree, "pack")[0];
    std::fs::remove_file(first.with_extension("idx")).unwrap();
    std::fs::remove_file(first).unwrap();
    let (status, said) = read(tree.root());
    assert_eq!(status, Some(1), "{said}");
    tree.mv(&["fsck"]).fails_with(4);
    let tree = small();
    flip(&tree.path(".mv/oplog"), 60);
    refused(&tree, "OPLOG-7");
}

#[test]
fn what_is_allowed_to_be_broken_is() {
    let tree = small();
    let log = tree.path(".mv/oplog");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.extend([3, 0, 0, 0, 252, 255, 255, 255, b'M']);
    std::fs::write(&log, bytes).unwrap();
    assert!(sound(tree.root()).contains("9 bytes of an unfinished append"));
    std::fs::remove_file(&packs(&tree, "idx")[0]).unwrap();
    assert!(sound(tree.root()).contains("1 packs without an index"));
}
