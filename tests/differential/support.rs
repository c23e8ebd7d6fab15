//! Random numbers that are the same on every machine, and other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use modelv_core::driver::Labels;

use crate::venv;

pub(crate) const LABELS: Labels<'_> = Labels {
    ours: "ours",
    base: "base",
    theirs: "theirs",
};

/// How many cases: more in the long form.
pub(crate) fn cases(short: u64) -> u64 {
    let times = std::env::var("MODELV_DIFFERENTIAL").ok();
    short * times.map_or(1, |t| t.parse().expect("MODELV_DIFFERENTIAL is a number"))
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Git without anybody's configuration.
pub(crate) fn git(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@b")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_COMMITTER_EMAIL", "a@b")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CEILING_DIRECTORIES", dir)
        .stdin(Stdio::null());
    command.output().expect("these tests need `git`")
}

/// An interpreter with what we are compared with.
pub(crate) fn python() -> &'static Path {
    const PACKAGES: [&str; 2] = ["packaging==26.3", "nbdime==4.0.4"];
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let name = || format!("differential-{}", PACKAGES.join("-"));
    PYTHON.get_or_init(|| venv::python(&name(), &PACKAGES))
}

/// What a script beside these tests answers to a question in JSON.
pub(crate) fn ask(script: &str, question: &serde_json::Value) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("question.json");
    std::fs::write(&input, question.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/differential")
        .join(script);
    let output = Command::new(python())
        .arg(script)
        .arg(&input)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}
