//! Collecting, repairing and counting through the real binary.

use std::path::PathBuf;

use crate::support::Tree;

/// Bytes that don't compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(len).collect()
}

fn weights(tree: &Tree, seed: u64) {
    tree.put("models/w.bin", "");
    std::fs::write(tree.path("models/w.bin"), noise(seed, 400_000)).unwrap();
}

/// The binary at another time.
fn at(tree: &Tree, days: u64, args: &[&str]) -> crate::support::Done {
    let now = (1_700_000_000 + days * 86_400).to_string();
    let output = tree.command(args).env("SOURCE_DATE_EPOCH", now).output();
    crate::support::Done::new(&output.unwrap())
}

fn packs(tree: &Tree) -> Vec<PathBuf> {
    let found = std::fs::read_dir(tree.path(".mv/packs")).unwrap();
    let mut found: Vec<PathBuf> = found.map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.extension().is_some_and(|e| e == "pack"));
    found.sort();
    found
}

fn bytes(tree: &Tree) -> u64 {
    packs(tree)
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum()
}

/// A history, and a branch with weights of its own that was deleted again.
fn with_a_dead_branch() -> Tree {
    let tree = Tree::repo();
    weights(&tree, 1);
    tree.commit("first");
    tree.mv(&["switch", "-c", "experiment"]).success();
    weights(&tree, 2);
    tree.commit("an experiment");
    tree.mv(&["switch", "main"]).success();
    tree.mv(&["branch", "-d", "experiment"]).success();
    tree
}

#[test]
fn what_nobody_needs_goes_in_two_steps() {
    let tree = with_a_dead_branch();
    let before = bytes(&tree);
    // As long as it can be undone, nothing is dead.
    assert_eq!(
        tree.json(&["gc", "--dry-run", "--json"])["dead"]["objects"],
        0
    );
    let told = at(&tree, 91, &["gc", "--dry-run"]).success();
    assert!(told.contains("would condemn 2 packs"), "{told}");
    assert_eq!(bytes(&tree), before);
    let done = at(&tree, 91, &["gc"]).success();
    assert!(done.contains("deleted 0 packs"), "{done}");
    tree.mv(&["fsck"]).success();
    let done = at(&tree, 92, &["gc"]).success();
    assert!(done.contains("deleted 2 packs"), "{done}");
    assert!(bytes(&tree) + 390_000 < before);
    assert!(tree.mv(&["fsck"]).success().starts_with("sound"));
    let e = tree.mv(&["undo"]).fails_with(1);
    assert!(e.contains("given up by `gc`"), "{e}");
    tree.mv(&["log"]).success();
    crate::spec::sound(tree.root());
}

#[test]
fn now_and_repack_leave_one_pack() {
    let tree = with_a_dead_branch();
    at(&tree, 91, &["gc", "--now", "--repack"]).success();
    assert_eq!(packs(&tree).len(), 1);
    assert!(!tree.path(".mv/condemned/1700000000").exists());
    assert!(tree.mv(&["fsck"]).success().starts_with("sound: 1 packs"));
    weights(&tree, 1);
    assert!(
        tree.mv(&["status"]).success().contains("nothing")
            || tree.mv(&["status"]).status == Some(0)
    );
}

#[test]
fn damage_is_repaired_from_a_clone() {
    let tree = Tree::repo();
    weights(&tree, 1);
    tree.commit("first");
    weights(&tree, 2);
    tree.commit("second");
    let other = Tree::empty();
    let address = other.path("remote").display().to_string();
    tree.mv(&["remote", "add", "origin", &address]).success();
    tree.mv(&["push"]).success();
    let clone = other.path("clone").display().to_string();
    tree.mv(&["clone", &address, &clone]).success();
    for (round, from) in ["origin", &address, &clone].into_iter().enumerate() {
        let all = packs(&tree);
        let first = &all[round % all.len()];
        let mut content = std::fs::read(first).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 4;
        std::fs::write(first, content).unwrap();
        let last = all.last().unwrap();
        std::fs::remove_file(last.with_extension("idx")).unwrap();
        std::fs::remove_file(last).unwrap();
        let said = tree.mv(&["fsck"]).fails_with(4);
        assert!(said.contains("fsck --repair"), "{said}");
        let said = tree.mv(&["fsck", "--repair", from]).success();
        assert!(
            said.contains("brought from") && said.ends_with("sound\n"),
            "{said}"
        );
        tree.mv(&["fsck"]).success();
        tree.mv(&["restore", "models/w.bin"]).success();
        assert!(std::fs::read(tree.path("models/w.bin")).unwrap() == noise(2, 400_000));
    }
    assert!(
        std::fs::read_dir(tree.path(".mv/quarantine"))
            .unwrap()
            .count()
            >= 3
    );
    let e = tree.mv(&["fsck", "--repair", "nowhere"]).fails_with(1);
    assert!(e.contains("nowhere"), "{e}");
}

#[test]
fn damage_is_told_by_the_name_of_the_file() {
    let tree = Tree::repo();
    weights(&tree, 1);
    tree.commit("first");
    let id = tree.mv(&["rev-parse", "HEAD"]).success();
    tree.mv(&["switch", "-c", "side"]).success();
    std::fs::remove_file(tree.path("models/w.bin")).unwrap();
    tree.commit("without");
    let largest = packs(&tree)
        .into_iter()
        .max_by_key(|p| std::fs::metadata(p).unwrap().len())
        .unwrap();
    let mut content = std::fs::read(&largest).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 4;
    std::fs::write(&largest, content).unwrap();
    let done = tree.mv(&["fsck"]);
    let want = format!(
        "lost: `models/w.bin` of commit `{}` can't be read",
        &id[..12]
    );
    assert!(done.out.contains(&want), "{done:?}");
    done.fails_with(4);
    let said = tree.mv(&["switch", "main"]).fails_with(4);
    assert!(
        said.contains("content of `models/w.bin` is damaged"),
        "{said}"
    );
}

#[test]
fn stats_add_up() {
    let tree = with_a_dead_branch();
    tree.put("data/rows.csv", &"1,2,3\n".repeat(5000));
    tree.commit("rows");
    let stats = tree.json(&["stats", "--json"]);
    let number = |v: &serde_json::Value| v.as_u64().unwrap();
    assert_eq!(number(&stats["types"]["bin"]["bytes"]), 400_000);
    assert_eq!(number(&stats["types"]["bin"]["copies"]), 800_000);
    assert_eq!(number(&stats["ingredients"]["data"]["bytes"]), 30_000);
    assert!(number(&stats["types"]["csv"]["stored"]) < 3000);
    let added: u64 = stats["commits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| number(&c["added"]["stored"]) + number(&c["records"]))
        .sum();
    assert_eq!(
        added,
        number(&stats["total"]["stored"]) + number(&stats["records"])
    );
    assert!(added < number(&stats["packs"]["bytes"]));
    let table = tree.mv(&["stats"]).success();
    assert!(
        table.contains(".bin") && !table.contains('\u{2588}'),
        "{table}"
    );
}
