//! Measures merges of trees beside `git merge` on the same files, in one run.
//!
//! `cargo run --release -p modelv-repo --example merges -- MODELV [FILES [CHANGED]]`, where MODELV is the
//! binary of the command line, built with the same profile. Each side changes CHANGED other files of
//! FILES; both programs merge, then take it back, in turns. Figures are medians of five. Last: two
//! branches on fifteen diamonds that stand on each other.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

const ROUNDS: usize = 5;
const DIAMONDS: usize = 15;
/// Files of one folder.
const FOLDER: usize = 100;

/// A folder in which both programs work.
struct Place<'a> {
    root: &'a Path,
    modelv: &'a str,
}

impl Place<'_> {
    /// Runs a command line to its end; milliseconds.
    fn run(&self, program: &str, args: &[&str]) -> Result<f64, Failure> {
        let clock = Instant::now();
        let done = Command::new(program)
            .args(args)
            .current_dir(self.root)
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@example.org")
            .env("GIT_COMMITTER_NAME", "Ada")
            .env("GIT_COMMITTER_EMAIL", "ada@example.org")
            .stdin(Stdio::null())
            .output()?;
        let taken = clock.elapsed().as_secs_f64() * 1e3;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(format!("{program} {args:?}: {}: {said}", done.status).into());
        }
        Ok(taken)
    }

    fn git(&self, args: &[&str]) -> Result<f64, Failure> {
        self.run("git", args)
    }

    fn modelv(&self, args: &[&str]) -> Result<f64, Failure> {
        self.run(self.modelv, args)
    }

    /// Begins a repository of either program with what is there.
    fn begin(&self, is_git: bool) -> Result<(), Failure> {
        if is_git {
            self.git(&["init", "-q", "-b", "main"])?;
            self.git(&["config", "gc.auto", "0"])?;
        } else {
            self.modelv(&["init"])?;
        }
        self.commit(is_git, "base")
    }

    fn commit(&self, is_git: bool, message: &str) -> Result<(), Failure> {
        if is_git {
            self.git(&["add", "-A"])?;
            self.git(&["commit", "-q", "-m", message])?;
        } else {
            self.modelv(&["commit", "-m", message])?;
        }
        Ok(())
    }

    fn switch(&self, is_git: bool, args: &[&str]) -> Result<(), Failure> {
        let args = [&["switch"], args].concat();
        let program = if is_git { "git" } else { self.modelv };
        self.run(program, &args).map(drop)
    }
}

fn write_file(root: &Path, n: usize, word: &str) -> Result<(), Failure> {
    let dir = root.join(format!("d{:04}", n / FOLDER));
    std::fs::create_dir_all(&dir)?;
    let mut text = String::new();
    for line in 0..12 {
        writeln!(text, "value_{line} = {}", n * 31 + line)?;
    }
    writeln!(text, "last = {word:?}")?;
    std::fs::write(dir.join(format!("f{n:06}.py")), text)?;
    Ok(())
}

/// Two branches that change other files each, spread over all folders.
fn make(place: &Place<'_>, is_git: bool, files: usize, changed: usize) -> Result<(), Failure> {
    std::fs::create_dir_all(place.root)?;
    for n in 0..files {
        write_file(place.root, n, "base")?;
    }
    place.begin(is_git)?;
    let step = files / changed.max(1);
    place.switch(is_git, &["-c", "side"])?;
    for n in 0..changed {
        write_file(place.root, n * step, "side")?;
    }
    place.commit(is_git, "side")?;
    place.switch(is_git, &["main"])?;
    for n in 0..changed {
        write_file(place.root, n * step + step / 2, "main")?;
    }
    place.commit(is_git, "main")
}

/// Branches that leave and come back, and two more on top of them.
fn make_diamonds(place: &Place<'_>, is_git: bool) -> Result<(), Failure> {
    std::fs::create_dir_all(place.root)?;
    write_file(place.root, 0, "base")?;
    place.begin(is_git)?;
    for n in 1..=DIAMONDS + 1 {
        let side = format!("side{n}");
        place.switch(is_git, &["-c", &side])?;
        write_file(place.root, 2 * n, "side")?;
        place.commit(is_git, "side")?;
        place.switch(is_git, &["main"])?;
        write_file(place.root, 2 * n + 1, "main")?;
        place.commit(is_git, "main")?;
        if n <= DIAMONDS {
            let program = if is_git { "git" } else { place.modelv };
            place.run(program, &["merge", &side, "-m", "merge"])?;
        }
    }
    Ok(())
}

/// Medians of a command of ours and one of Git, in turns; each is taken back afterwards.
fn measure(
    name: &str,
    [ours, theirs]: [&Place<'_>; 2],
    [mine, git]: [&[&str]; 2],
    back: bool,
) -> Result<(), Failure> {
    let mut figures: [Vec<f64>; 2] = Default::default();
    for round in 0..=ROUNDS {
        let found = [ours.modelv(mine)?, theirs.git(git)?];
        if back {
            ours.modelv(&["undo"])?;
            theirs.git(&["reset", "-q", "--hard", "HEAD~1"])?;
        }
        // The first warms caches.
        if round > 0 {
            for (list, ms) in figures.iter_mut().zip(found) {
                list.push(ms);
            }
        }
    }
    for list in &mut figures {
        list.sort_by(f64::total_cmp);
    }
    let [a, b] = figures.map(|list| list[ROUNDS / 2]);
    println!("{name:24} modelv {a:8.1}  git {b:8.1}  ratio {:.2}", a / b);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let modelv = args
        .next()
        .ok_or("usage: merges MODELV [FILES [CHANGED]]")?;
    let modelv = std::path::absolute(modelv)?.display().to_string();
    let files: usize = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let changed: usize = args.next().map_or(Ok(1000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let roots = ["ours", "git", "our-diamonds", "git-diamonds"].map(|name| dir.path().join(name));
    let place = |n: usize| Place {
        root: &roots[n],
        modelv: &modelv,
    };
    make(&place(0), false, files, changed)?;
    make(&place(1), true, files, changed)?;
    println!("{files} files, {changed} changed on each side; milliseconds, medians of {ROUNDS}");
    let both = [&place(0), &place(1)];
    measure(
        "merge, not written",
        both,
        [
            &["merge", "--dry-run", "side"],
            &["merge-tree", "--write-tree", "main", "side"],
        ],
        false,
    )?;
    measure("status", both, [&["status"], &["status"]], false)?;
    measure(
        "merge",
        both,
        [
            &["merge", "side", "-m", "merge"],
            &["merge", "-q", "side", "-m", "merge"],
        ],
        true,
    )?;
    make_diamonds(&place(2), false)?;
    make_diamonds(&place(3), true)?;
    measure(
        "15 stacked diamonds",
        [&place(2), &place(3)],
        [
            &["merge", "side16", "-m", "merge"],
            &["merge", "-q", "side16", "-m", "merge"],
        ],
        true,
    )
}
