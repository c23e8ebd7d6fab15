//! The merge of lines against `git merge-file`, on random small files.
//!
//! Where both merge without a conflict the bytes are equal. Elsewhere they may differ when a line
//! stands there several times and the two differences match another of them: both are then right.

use std::path::Path;
use std::process::Command;

use modelv_core::driver::{Driver, Labels, merge};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const LABELS: Labels<'_> = Labels {
    ours: "ours",
    base: "base",
    theirs: "theirs",
};
const CASES: u32 = 400;

/// What Git makes of it, and the number of its conflicts.
fn git(dir: &Path, [base, ours, theirs]: [&str; 3]) -> (Vec<u8>, i32) {
    for (name, text) in [("b", base), ("o", ours), ("t", theirs)] {
        std::fs::write(dir.join(name), text).expect("the folder is ours");
    }
    let out = Command::new("git")
        .current_dir(dir)
        .args(["merge-file", "-p", "--diff3", "-q"])
        .args(["-L", LABELS.ours, "-L", LABELS.base, "-L", LABELS.theirs])
        .args(["o", "b", "t"])
        .output()
        .expect("Git is installed");
    let code = out.status.code().expect("Git ends by itself");
    assert!(code < 128, "{}", String::from_utf8_lossy(&out.stderr));
    (out.stdout, code)
}

fn file() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("a\n"),
        Just("b\n"),
        Just("c\n"),
        Just("d\n"),
        Just("\n")
    ];
    (
        proptest::collection::vec(line, 0..10),
        prop_oneof![4 => Just(""), 1 => Just("end")],
    )
        .prop_map(|(lines, last)| format!("{}{last}", lines.concat()))
}

/// A version of `base`: some lines dropped, replaced or doubled.
fn edited(base: &str, edits: &[(usize, u8)]) -> String {
    let mut lines: Vec<String> = base.split_inclusive('\n').map(String::from).collect();
    for (at, kind) in edits {
        if lines.is_empty() {
            lines.push("new\n".into());
            continue;
        }
        let at = at % lines.len();
        match kind {
            0 => drop(lines.remove(at)),
            1 => lines[at] = format!("edit {kind}\n"),
            2 => lines.insert(at, "more\n".into()),
            _ => lines[at] = format!("other {kind}\n"),
        }
    }
    lines.concat()
}

#[test]
fn clean_merges_agree_with_git() {
    let dir = std::env::temp_dir().join(format!("modelv-text-merge-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::with_cases(CASES), rng);
    let edits = || proptest::collection::vec((0..10_usize, 0..5_u8), 1..4);
    let (mut equal, mut seen) = (0, 0);
    let tally = std::cell::RefCell::new((&mut equal, &mut seen));
    runner
        .run(&(file(), edits(), edits()), |(base, x, y)| {
            let (ours, theirs) = (edited(&base, &x), edited(&base, &y));
            let mine = merge(
                Driver::Text,
                Some(base.as_bytes()),
                ours.as_bytes(),
                theirs.as_bytes(),
                &LABELS,
            );
            let (bytes, conflicts) = git(&dir, [&base, &ours, &theirs]);
            let mut tally = tally.borrow_mut();
            *tally.1 += 1;
            *tally.0 += u32::from(mine.bytes == bytes);
            if mine.conflicts.is_empty() && conflicts == 0 {
                prop_assert_eq!(&mine.bytes, &bytes);
            }
            Ok(())
        })
        .unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(equal * 10 >= seen * 9, "{equal} of {seen} are as Git's");
}
