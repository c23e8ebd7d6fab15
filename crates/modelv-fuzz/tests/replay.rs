//! Every input of the corpus, what once broke something, and seeded changes of both.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

use std::path::{Path, PathBuf};

use modelv_fuzz::{TARGETS, Target};

/// Changed inputs per target; `MODELV_FUZZ_CHANGES` asks for more.
const CHANGES: u64 = 1000;

fn changes() -> u64 {
    let asked = std::env::var("MODELV_FUZZ_CHANGES").ok();
    asked.map_or(CHANGES, |n| n.parse().unwrap())
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus")
}

/// The inputs of a target, by name.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    let name = |p: &Path| p.file_name().unwrap().to_string_lossy().into_owned();
    paths
        .iter()
        .map(|p| (name(p), std::fs::read(p).unwrap()))
        .collect()
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % end.max(1)
    }

    /// Flips, cuts, repeats and splices; numbers at the edges of their types.
    fn change(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len());
            match self.below(7) {
                0 if !out.is_empty() => out[at] ^= 1 << self.below(8),
                1 if !out.is_empty() => out[at] = [0, 1, 127, 128, 255][self.below(5)],
                2 => out.truncate(at),
                3 => drop(out.drain(at..(at + self.below(16)).min(out.len()))),
                4 => {
                    let from = self.below(other.len());
                    let len = self.below(64).min(other.len() - from);
                    out.splice(at..at, other[from..from + len].iter().copied());
                }
                5 => {
                    let edge = [0, 1, 0x7fff_ffff, 0xffff_ffff, u64::MAX, 1 << 63][self.below(6)];
                    let bytes = &edge.to_le_bytes()[..[2, 4, 8][self.below(3)]];
                    let end = (at + bytes.len()).min(out.len());
                    out.splice(at..end, bytes.iter().copied());
                }
                _ => {
                    let copy = out[at..(at + self.below(32)).min(out.len())].to_vec();
                    out.splice(at..at, copy);
                }
            }
        }
        out
    }
}

#[test]
fn nothing_in_the_corpus_breaks_anything() {
    for target in TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (name, bytes) in &inputs {
            let done = std::panic::catch_unwind(|| (target.run)(bytes));
            assert!(done.is_ok(), "{}/{name} broke it", target.name);
        }
    }
}

#[test]
fn changes_of_the_corpus_break_nothing() {
    for target in TARGETS {
        let inputs = inputs(target);
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        for number in 0..changes() {
            let (_, input) = &inputs[random.below(inputs.len())];
            let (_, other) = &inputs[random.below(inputs.len())];
            let changed = random.change(input, other);
            if std::panic::catch_unwind(|| (target.run)(&changed)).is_err() {
                let kept = std::env::temp_dir().join(format!("modelv-{}-{number}", target.name));
                std::fs::write(&kept, &changed).unwrap();
                panic!("{} broke; the input is {}", target.name, kept.display());
            }
        }
    }
}

/// A folder that no target reads would be a corpus that nobody replays.
#[test]
fn every_folder_of_the_corpus_has_its_target() {
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_string_lossy();
        assert!(modelv_fuzz::find(&name).is_some(), "no target `{name}`");
    }
}
