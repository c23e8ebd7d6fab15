//! Measures walks over a long history beside `git` on the same graph, in one run.
//!
//! `cargo run --release -p modelv-repo --example history -- MODELV [COMMITS [MERGES]]`, where MODELV is the
//! binary of the command line, built with the same profile. Both sides are processes that print to
//! a file; each figure is the median of seven, taken in turns, as noise of the machine hits both.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "what it prints is what it is for"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use modelv_repo::Repo;
use modelv_repo::core::commit::{Commit, Person, Recipe, Time};
use modelv_repo::core::env::Env;
use modelv_repo::core::id::CommitId;
use modelv_repo::core::tree::{self, IdOnly};

type Failure = Box<dyn std::error::Error>;

/// Parents of each commit: a main line from which, so many times, a side line of five commits
/// leaves and comes back. The last two commits are tips with one base.
fn graph(commits: usize, merges: usize) -> Vec<Vec<usize>> {
    let mut parents: Vec<Vec<usize>> = vec![vec![]];
    let every = commits / merges.max(1);
    let mut head = 0;
    while parents.len() < commits {
        let add = |of: Vec<usize>, parents: &mut Vec<Vec<usize>>| {
            parents.push(of);
            parents.len() - 1
        };
        if every > 8 && parents.len() % every < 2 && parents.len() + 10 < commits {
            let mut side = head;
            for _ in 0..5 {
                side = add(vec![side], &mut parents);
                head = add(vec![head], &mut parents);
            }
            head = add(vec![head, side], &mut parents);
        }
        head = add(vec![head], &mut parents);
    }
    // Two long lines from the middle: their base is far behind both.
    let (mut a, mut b) = (head, head);
    for _ in 0..50 {
        parents.push(vec![a]);
        a = parents.len() - 1;
        parents.push(vec![b]);
        b = parents.len() - 1;
    }
    parents
}

fn make_ours(root: &Path, graph: &[Vec<usize>]) -> Result<(), Failure> {
    let mut repo = Repo::init(root)?;
    let session = repo.store().begin()?;
    let empty = tree::write_tree(&[], &mut IdOnly).map_err(|_| "no tree")?;
    let env = Env::none();
    session.put_object(&env)?;
    let person = Person {
        name: "Ada".into(),
        email: "ada@example.org".into(),
    };
    let mut ids: Vec<CommitId> = Vec::new();
    for (i, parents) in graph.iter().enumerate() {
        let commit = Commit {
            recipe: Recipe {
                code: empty,
                data: empty,
                config: empty,
                env: env.id(),
            },
            model: None,
            parents: parents.iter().map(|p| ids[*p]).collect(),
            author: person.clone(),
            committer: person.clone(),
            time: Time {
                seconds: 1_500_000_000 + i64::try_from(i)? * 60,
                offset_minutes: 0,
            },
            message: format!("commit {i}"),
            runs: vec![],
            extra: Default::default(),
        };
        ids.push(CommitId(session.put_object(&commit)?));
    }
    session.finish()?;
    let n = ids.len();
    repo.create_branch("a", ids[n - 2])?;
    repo.create_branch("b", ids[n - 1])?;
    repo.create_branch("main", ids[n - 1])?;
    Ok(())
}

fn make_git(root: &Path, graph: &[Vec<usize>]) -> Result<(), Failure> {
    let git = |args: &[&str]| -> Result<(), Failure> {
        let ok = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(args)
            .status()?;
        if ok.success() {
            Ok(())
        } else {
            Err(format!("git {args:?}").into())
        }
    };
    std::fs::create_dir_all(root)?;
    git(&["init", "-q", "-b", "main"])?;
    let mut text = String::new();
    let n = graph.len();
    for (i, parents) in graph.iter().enumerate() {
        let branch = if i + 2 == n { "a" } else { "main" };
        let time = 1_500_000_000 + i * 60;
        let message = format!("commit {i}");
        writeln!(text, "commit refs/heads/{branch}\nmark :{}", i + 1)?;
        writeln!(
            text,
            "committer Ada <ada@example.org> {time} +0000\ndata {}\n{message}",
            message.len()
        )?;
        if i > 0 && parents.is_empty() {
            writeln!(text, "reset refs/heads/{branch}")?;
        }
        for (k, parent) in parents.iter().enumerate() {
            let word = if k == 0 { "from" } else { "merge" };
            writeln!(text, "{word} :{}", parent + 1)?;
        }
    }
    writeln!(text, "reset refs/heads/b\nfrom :{n}")?;
    let mut child = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["fast-import", "--quiet", "--force"])
        .stdin(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or("no stdin")?
        .write_all(text.as_bytes())?;
    if !child.wait()?.success() {
        return Err("git fast-import failed".into());
    }
    Ok(())
}

fn time(program: &str, root: &Path, args: &[&str]) -> Result<f64, Failure> {
    let out = tempfile::tempfile()?;
    let clock = Instant::now();
    let status = Command::new(program)
        .args(args)
        .current_dir(root)
        .stdout(out)
        .status()?;
    let taken = clock.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        return Err(format!("{program} {args:?}: {status}").into());
    }
    Ok(taken)
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let modelv = args
        .next()
        .ok_or("usage: history MODELV [COMMITS [MERGES]]")?;
    let modelv = std::path::absolute(modelv)?.display().to_string();
    let commits: usize = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let merges: usize = args.next().map_or(Ok(1000), |n| n.parse())?;
    let graph = graph(commits, merges);
    let dir = tempfile::tempdir()?;
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("git"));
    make_ours(&ours, &graph)?;
    make_git(&theirs, &graph)?;
    let joins = graph.iter().filter(|p| p.len() > 1).count();
    println!(
        "{} commits, {joins} merges; milliseconds, medians of 7",
        graph.len()
    );
    let cases: [(&str, &[&str], &[&str]); 6] = [
        ("log", &["log", "--oneline"], &["log", "--oneline", "main"]),
        (
            "log -n 10",
            &["log", "--oneline", "-n", "10"],
            &["log", "--oneline", "-n", "10", "main"],
        ),
        ("log in full", &["log"], &["log", "main"]),
        (
            "range a..b",
            &["log", "--oneline", "a..b"],
            &["log", "--oneline", "a..b"],
        ),
        (
            "merge base",
            &["merge-base", "a", "b"],
            &["merge-base", "a", "b"],
        ),
        // What every program pays before it does anything.
        ("one name", &["rev-parse", "a"], &["rev-parse", "a"]),
    ];
    for with_graph in [false, true] {
        if with_graph {
            let _ = time("git", &theirs, &["commit-graph", "write", "--reachable"])?;
        }
        for (name, mine, git) in cases {
            let mut figures: [Vec<f64>; 2] = Default::default();
            for round in 0..8 {
                let found = [time(&modelv, &ours, mine)?, time("git", &theirs, git)?];
                // The first warms caches, and writes what is derived.
                if round > 0 {
                    for (list, ms) in figures.iter_mut().zip(found) {
                        list.push(ms);
                    }
                }
            }
            for list in &mut figures {
                list.sort_by(f64::total_cmp);
            }
            let (a, b) = (figures[0][3], figures[1][3]);
            let word = if with_graph {
                "git with commit-graph"
            } else {
                "git"
            };
            println!(
                "{name:12} modelv {a:8.1}  {word} {b:8.1}  ratio {:.2}",
                a / b
            );
        }
    }
    Ok(())
}
