//! A process that is killed at any change it makes on the disk leaves a repository that is sound,
//! that has all it had, and in which the same command then works unaided: no lock is left.
//!
//! The binary that the tests use is built with the feature `faults` and kills itself (SIGKILL) at
//! the change that the environment names; `tests/faults.py` does the same from outside, with
//! `strace`, at every system call.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::BINARY;

/// What `modelv_store::fs::faults` reads.
const KILL_AT: &str = "MODELV_TEST_KILL_AT";

/// A command: its name, the repository it works in, and its arguments.
type Case = (&'static str, &'static str, &'static [&'static str]);

const CASES: [Case; 11] = [
    ("commit", "a", &["commit", "-m", "second"]),
    ("switch", "b", &["switch", "topic"]),
    ("merge", "b", &["merge", "topic"]),
    ("undo", "b", &["undo"]),
    ("branch", "b", &["branch", "another"]),
    ("push", "b", &["push"]),
    ("fetch", "c", &["fetch"]),
    ("pull", "c", &["pull"]),
    ("clone", ".", &["clone", "REMOTE", "d"]),
    ("init", ".", &["init", "new/e"]),
    ("gc", "b", COLLECT),
];

/// Deletes at once what nothing leads to, and writes all else anew.
const COLLECT: &[&str] = &["gc", "--now", "--repack", "--keep-days", "0"];

fn run(dir: &Path, args: &[&str], kill: Option<&str>) -> Output {
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("MODELV_AUTHOR_NAME", "Ada")
        .env("MODELV_AUTHOR_EMAIL", "ada@example.org");
    if let Some(kill) = kill {
        command.env(KILL_AT, kill);
    }
    command.output().unwrap()
}

fn must(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args, None);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn put(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The same as in the library's own tests: something to commit in `a`, to merge, to push and to
/// undo in `b`, to fetch in `c`.
fn prepare(dir: &Path) {
    let remote = format!("file://{}/remote", dir.display());
    must(dir, &["init", "a"]);
    put(dir.join("a/modelv.toml"), "[env]\ncapture = \"none\"\n");
    put(dir.join("a/train.py"), "print(1)\n");
    must(&dir.join("a"), &["commit", "-m", "first"]);
    must(&dir.join("a"), &["remote", "add", "origin", &remote]);
    must(&dir.join("a"), &["push"]);
    put(dir.join("a/train.py"), "print(2)\n");
    put(dir.join("a/models/w.bin"), &"weights ".repeat(700));
    for name in ["b", "c", "other"] {
        must(dir, &["clone", &remote, name]);
    }
    let b = dir.join("b");
    must(&b, &["switch", "-c", "dead"]);
    put(b.join("dead.bin"), &"dead ".repeat(900));
    must(&b, &["commit", "-m", "dead"]);
    must(&b, &["switch", "main"]);
    must(&b, &["branch", "-d", "dead"]);
    must(&b, &["switch", "-c", "topic"]);
    put(b.join("data/rows.csv"), "a,b\n1,2\n");
    put(b.join("train.py"), "print(3)\n");
    must(&b, &["commit", "-m", "topic"]);
    must(&b, &["switch", "main"]);
    put(b.join("eval.py"), "print('b')\n");
    must(&b, &["commit", "-m", "main"]);
    let other = dir.join("other");
    must(&other, &["switch", "-c", "side"]);
    put(other.join("more.py"), "print('more')\n");
    must(&other, &["commit", "-m", "more"]);
    must(&other, &["push", "-u", "origin", "side"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Short ids of all commits that the current branch of a repository has.
fn commits(repo: &Path) -> Vec<String> {
    let output = run(repo, &["log", "--oneline"], None);
    let error = String::from_utf8_lossy(&output.stderr);
    let is_young = error.contains("there is no commit yet");
    assert!(output.status.success() || is_young, "{error}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect()
}

/// Kills a command at one change; `false` when it ended before that.
fn kill(origin: &Path, at: &Path, case: Case, point: &str) -> bool {
    let (name, place, args) = case;
    let _ = std::fs::remove_dir_all(at);
    copy(origin, at);
    let remote = format!("file://{}/remote", at.display());
    let args: Vec<&str> = args
        .iter()
        .map(|a| if *a == "REMOTE" { &remote } else { *a })
        .collect();
    let dir = at.join(place);
    // Remotes are known by their path; this copy has another.
    let repo = match name {
        "clone" => at.join("d"),
        "init" => at.join("new/e"),
        _ => dir.clone(),
    };
    let there = |repo: &Path| repo.join(".mv/oplog").exists();
    let before = if there(&repo) {
        commits(&repo)
    } else {
        Vec::new()
    };
    let output = run(&dir, &args, Some(point));
    if output.status.signal() != Some(9) {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} at {point}: {error}");
        return false;
    }
    if there(&repo) {
        must(&repo, &["fsck"]);
        let now = commits(&repo);
        // Another branch, or one step back, is what these are for.
        let leads_away = ["switch", "undo"].contains(&name);
        let is_there = before.iter().all(|c| now.contains(c));
        assert!(leads_away || is_there, "{name} at {point}");
    }
    // The same again: it works, or had been done.
    let again = run(&dir, &args, None);
    let error = String::from_utf8_lossy(&again.stderr);
    let was_done = ["already", "nothing to", "a merge is not finished"]
        .iter()
        .any(|w| error.contains(w));
    assert!(
        again.status.success() || was_done,
        "{name} again after {point}: {error}"
    );
    put(repo.join("next.txt"), point);
    must(&repo, &["commit", "-m", "next"]);
    must(&repo, &["fsck"]);
    if name == "gc" {
        must(&repo, COLLECT);
        for folder in [".mv/condemned", ".mv/trash"] {
            let left = std::fs::read_dir(repo.join(folder)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{folder} after {point}");
        }
        must(&repo, &["fsck"]);
    }
    true
}

#[test]
fn a_kill_at_any_change_leaves_a_sound_repository_and_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    // The same path for origin and copies: what is configured as a remote stays true.
    let next = std::sync::atomic::AtomicUsize::new(0);
    let points = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        for thread in 0..threads {
            let (next, points, dir) = (&next, &points, dir.path());
            scope.spawn(move || {
                let at = dir.join(format!("{thread}/disk"));
                let origin = dir.join(format!("{thread}/origin"));
                std::fs::create_dir_all(&at).unwrap();
                prepare(&at);
                std::fs::rename(&at, &origin).unwrap();
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(case) = CASES.get(number) else {
                        return;
                    };
                    for call in 0.. {
                        let half = if call % 2 == 0 { "" } else { "+half" };
                        if !kill(&origin, &at, *case, &format!("{call}{half}")) {
                            break;
                        }
                        points.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let points = points.into_inner();
    assert!(
        points > 120,
        "only {points} points: is the binary built for tests?"
    );
}
