//! Lines: merges against `git merge-file`, differences through `git apply`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use modelv_core::driver::{Driver, merge, unified};

use crate::support::{LABELS, Random, cases, git};

/// Lines of a file; most stand there once, some often, as braces and blank lines do.
pub(crate) fn lines(random: &mut Random, count: usize, tag: &str) -> Vec<String> {
    let often = ["", "}", "    return x", "# ---"];
    (0..count)
        .map(|i| match random.chance(25) {
            true => (*random.pick(&often)).to_owned(),
            false => format!("{tag}{i} {:x}", random.next() % 4096),
        })
        .collect()
}

/// Changes some runs of lines; new lines carry the tag.
pub(crate) fn edit(random: &mut Random, base: &[String], tag: &str) -> Vec<String> {
    let mut out = base.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(out.len() + 1);
        let end = (at + random.below(4)).min(out.len());
        let count = random.below(4);
        let fresh = format!("{tag}{:x}-", random.next() % 65536);
        let new = lines(random, count, &fresh);
        out.splice(at..end, new);
    }
    out
}

fn text(lines: &[String], random: &mut Random) -> Vec<u8> {
    let mut out = lines.join("\n").into_bytes();
    if !lines.is_empty() && !random.chance(15) {
        out.push(b'\n');
    }
    out
}

/// Lines of one side alone that are not in the result, and lines of the base that both kept.
pub(crate) fn lost(base: &[u8], sides: [&[u8]; 2], merged: &[u8]) -> Vec<String> {
    let set = |bytes: &[u8]| -> HashSet<String> {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let (b, m) = (set(base), set(merged));
    let [o, t] = sides.map(set);
    let new = o.union(&t).filter(|l| !b.contains(*l));
    let kept = b.iter().filter(|l| o.contains(*l) && t.contains(*l));
    let all = new.chain(kept).filter(|l| !m.contains(*l));
    all.cloned().collect()
}

/// What Git makes of it: the text, and whether something is open.
fn by_git(dir: &Path, [base, ours, theirs]: [&[u8]; 3]) -> (Vec<u8>, bool) {
    for (name, bytes) in [("base", base), ("ours", ours), ("theirs", theirs)] {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    let done = git(
        dir,
        &["merge-file", "-p", "--diff3", "ours", "base", "theirs"],
    );
    let status = done.status.code().unwrap();
    assert!(status < 128, "{}", String::from_utf8_lossy(&done.stderr));
    (done.stdout, status != 0)
}

#[test]
fn lines_merge_as_git_merges_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    let count = cases(150);
    for seed in 0..count {
        let mut random = Random(seed);
        let length = random.below(40);
        let base = lines(&mut random, length, "b");
        let sides = [edit(&mut random, &base, "o"), edit(&mut random, &base, "t")];
        let [base, ours, theirs] = [&base, &sides[0], &sides[1]].map(|l| text(l, &mut random));
        let merged = merge(Driver::Text, Some(&base), &ours, &theirs, &LABELS);
        let back = merge(Driver::Text, Some(&base), &theirs, &ours, &LABELS);
        let open = !merged.conflicts.is_empty();
        assert_eq!(open, !back.conflicts.is_empty(), "seed {seed}");
        assert!(open || merged.bytes == back.bytes, "seed {seed}");
        let (git, git_open) = by_git(dir.path(), [&base, &ours, &theirs]);
        let gone = lost(&base, [&ours, &theirs], &merged.bytes);
        // A line that one side has twice and the other removed once may go with Git too.
        let also: HashSet<String> = lost(&base, [&ours, &theirs], &git).into_iter().collect();
        let gone: Vec<&String> = gone.iter().filter(|l| !also.contains(*l)).collect();
        assert!(gone.is_empty(), "seed {seed}: {gone:?}");
        let class = match (open, git_open) {
            (false, false) if merged.bytes == git => "the same",
            (false, false) => "clean in both, repeated lines matched in another way",
            (true, true) => "open in both",
            (true, false) => "open, Git matched repeated lines in another way",
            (false, true) => "clean, Git matched repeated lines in another way",
        };
        if class.contains("matched") {
            // Without repeated lines, and lines that changed places, there is one way to match them.
            let mut seen = HashSet::new();
            let all = [&base, &ours, &theirs].map(|b| String::from_utf8_lossy(b).into_owned());
            let twice = all.iter().any(|t| {
                seen.clear();
                t.lines().any(|l| !seen.insert(l.to_owned()))
            });
            let moved = all[1..].iter().any(|side| {
                let place = |line: &str| side.lines().position(|l| l == line);
                !all[0].lines().filter_map(place).is_sorted()
            });
            assert!(twice || moved, "seed {seed}: {class}");
        }
        *classes.entry(class).or_default() += 1;
    }
    println!("lines: {classes:?}");
    let apart: u64 = classes
        .iter()
        .filter(|(c, _)| c.contains("matched"))
        .map(|(_, n)| n)
        .sum();
    assert!(
        apart * 20 <= count,
        "more than one in twenty differs: {classes:?}"
    );
}

#[test]
fn git_applies_our_differences() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..cases(40) {
        let mut random = Random(seed ^ 0xd1ff);
        let length = 1 + random.below(40);
        let old = lines(&mut random, length, "b");
        let new = edit(&mut random, &old, "n");
        let [old, new] = [&old, &new].map(|l| text(l, &mut random));
        if old == new || old.is_empty() || new.is_empty() {
            continue;
        }
        let hunks = unified(&old, &new, random.below(4));
        std::fs::write(dir.path().join("f"), &old).unwrap();
        std::fs::write(dir.path().join("p"), format!("--- a/f\n+++ b/f\n{hunks}")).unwrap();
        let done = git(
            dir.path(),
            &["apply", "--unidiff-zero", "--whitespace=nowarn", "p"],
        );
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "seed {seed}: {error}\n{hunks}");
        assert_eq!(
            std::fs::read(dir.path().join("f")).unwrap(),
            new,
            "seed {seed}"
        );
    }
}
