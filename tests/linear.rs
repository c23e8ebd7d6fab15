//! Many processes that move the refs of one bucket at once. Every acknowledged push names what it replaced: together
//! they must be one chain for each branch, without a gap and without a fork, from its first commit to what is there
//! in the end; and whoever looks on never sees a branch go back.
//!
//! `tests/remotes.sh` is the long form, with 64 writers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::remote::noise;
use crate::support::{Done, Tree};
use crate::weed::Server;

/// A number from the environment, for long forms.
fn number(variable: &str, otherwise: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap())
}

fn writers() -> usize {
    number("MODELV_TEST_WRITERS", 8)
}

fn rounds() -> usize {
    number("MODELV_TEST_ROUNDS", 2)
}

/// So long a single push may be tried again.
const PATIENCE: Duration = Duration::from_secs(1200);

/// A push that was acknowledged.
#[derive(Debug, Clone)]
struct Move {
    branch: String,
    old: Option<String>,
    new: String,
}

fn mv(server: &Server, tree: &Tree, args: &[&str]) -> Done {
    let mut command = tree.command(args);
    Done::new(&command.envs(server.env("admin")).output().unwrap())
}

/// Pushes until it is acknowledged, merging what others pushed.
fn push(server: &Server, tree: &Tree, args: &[&str]) -> Vec<Move> {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "a push never gets through");
        let done = mv(server, tree, &[&["push", "--json"], args].concat());
        if done.status == Some(0) {
            let told: Value = serde_json::from_str(&done.out).unwrap();
            return moves(&told);
        }
        // Nobody may be told anything else, least of all that a push failed that did not.
        let is_late = done.err.contains("fetch first");
        let is_busy = done.err.contains("by others all the time");
        assert!(is_late || is_busy, "{}", done.err);
        if is_late {
            mv(server, tree, &["pull", "-m", "together"]).success();
        }
    }
}

fn moves(told: &Value) -> Vec<Move> {
    let refs = told["refs"].as_array().unwrap().iter();
    refs.map(|moved| Move {
        branch: moved["ref"].as_str().unwrap().to_owned(),
        old: moved["old"].as_str().map(str::to_owned),
        new: moved["new"].as_str().unwrap().to_owned(),
    })
    .collect()
}

/// The commits of a branch in the order in which they were there, if its moves are one chain from `first` to `last`.
fn chain(moves: &[Move], first: Option<&str>, last: &str) -> Result<Vec<String>, String> {
    let mut after: HashMap<Option<&str>, &str> = HashMap::new();
    for step in moves {
        let old = step.old.as_deref();
        if let Some(other) = after.insert(old, &step.new) {
            return Err(format!(
                "{old:?} was replaced by {other} and by {}",
                step.new
            ));
        }
    }
    let mut at = first;
    let mut seen: Vec<String> = first.map(str::to_owned).into_iter().collect();
    while let Some(next) = after.remove(&at) {
        seen.push(next.to_owned());
        at = Some(next);
    }
    if let Some((old, new)) = after.into_iter().next() {
        return Err(format!(
            "{new} was to follow {old:?}, which was never there"
        ));
    }
    match at == Some(last) {
        true => Ok(seen),
        false => Err(format!("it ends with {at:?}, and {last} is there")),
    }
}

#[test]
fn the_checker_finds_what_is_lost() {
    let step = |old: Option<&str>, new: &str| Move {
        branch: "b".into(),
        old: old.map(str::to_owned),
        new: new.into(),
    };
    let good = [step(Some("2"), "3"), step(None, "1"), step(Some("1"), "2")];
    assert_eq!(chain(&good, None, "3").unwrap(), ["1", "2", "3"]);
    // The last one is not there, one has gone, two replaced the same.
    assert!(chain(&good, None, "2").is_err());
    assert!(chain(&good[..2], None, "3").is_err());
    let forked = [&good[..], &[step(Some("1"), "4")]].concat();
    assert!(chain(&forked, None, "3").is_err());
}

/// A bucket with a first commit on `main`, which is given too.
fn bucket(server: &Server, url: &str) -> (Tree, String) {
    let tree = Tree::repo();
    tree.put("train.py", "print(1)\n");
    let first = tree.commit("first");
    mv(server, &tree, &["remote", "add", "origin", url]).success();
    mv(server, &tree, &["push"]).success();
    (tree, first)
}

fn clone(server: &Server, url: &str) -> Tree {
    let tree = Tree::empty();
    mv(server, &tree, &["clone", url, "."]).success();
    tree
}

/// What a branch of the remote is now.
fn look(server: &Server, tree: &Tree, branch: &str) -> String {
    mv(server, tree, &["fetch"]).success();
    tree.id(&format!("origin/{branch}"))
}

/// All people at once, each in a tree of their own: they edit, commit and push, round by round.
fn everybody(server: &Server, trees: &[Tree], edit: &(dyn Fn(usize, usize) + Sync)) -> Vec<Move> {
    std::thread::scope(|scope| {
        let work = |person: usize| {
            (0..rounds())
                .flat_map(|n| {
                    edit(person, n);
                    trees[person].commit("work");
                    push(server, &trees[person], &[])
                })
                .collect::<Vec<_>>()
        };
        let people: Vec<_> = (0..trees.len())
            .map(|person| scope.spawn(move || work(person)))
            .collect();
        people.into_iter().flat_map(|p| p.join().unwrap()).collect()
    })
}

#[test]
fn pushes_to_one_branch_are_one_chain_and_readers_never_see_it_go_back() {
    let server = Server::start();
    let url = "s3://linear/one";
    let (a, first) = bucket(&server, url);
    let trees: Vec<Tree> = (0..writers()).map(|_| clone(&server, url)).collect();
    let is_over = AtomicBool::new(false);
    let (moves, seen) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = vec![first.clone()];
            while !is_over.load(Ordering::Relaxed) {
                seen.push(look(&server, &a, "main"));
            }
            seen
        });
        let moves = everybody(&server, &trees, &|person, n| {
            trees[person].put(&format!("{person}-{n}.py"), "x\n");
        });
        is_over.store(true, Ordering::Relaxed);
        (moves, reader.join().unwrap())
    });
    assert_eq!(moves.len(), writers() * rounds());
    let last = look(&server, &a, "main");
    let order = chain(&moves, Some(&first), &last).unwrap();
    let place = |id: &String| {
        order
            .iter()
            .position(|o| o == id)
            .expect("an acknowledged commit")
    };
    let places: Vec<usize> = seen.iter().map(place).collect();
    assert!(places.is_sorted(), "a reader saw {places:?}");
    let end = clone(&server, url);
    for person in 0..writers() {
        for n in 0..rounds() {
            assert!(end.path(&format!("{person}-{n}.py")).exists());
        }
    }
    end.mv(&["fsck"]).success();
}

#[test]
fn pushes_to_many_branches_beside_a_collection_are_a_chain_each() {
    let server = Server::start();
    let url = "s3://linear/many";
    let (a, _) = bucket(&server, url);
    let trees: Vec<Tree> = (0..writers()).map(|_| clone(&server, url)).collect();
    let is_over = AtomicBool::new(false);
    let (moves, collected) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let done = mv(&server, &a, &["gc", "--remote", "--now"]);
                // Others may be faster all the time; nothing else may go wrong.
                let is_busy = done.err.contains("by others all the time");
                assert!(done.status == Some(0) || is_busy, "{}", done.err);
                count += usize::from(done.status == Some(0));
            }
            count
        });
        let moves = everybody(&server, &trees, &|person, n| {
            let tree = &trees[person];
            if n == 0 {
                tree.mv(&["switch", "-c", &format!("b{person}")]).success();
            }
            // Contents that others push, too, and that nobody needs a moment later.
            let seed = ((person + n) % 3) as u64;
            std::fs::write(tree.path("w.bin"), noise(seed, 100_000)).unwrap();
            tree.put("mine.py", &format!("{person} {n}\n"));
        });
        is_over.store(true, Ordering::Relaxed);
        (moves, collector.join().unwrap())
    });
    assert!(collected > 0);
    let end = clone(&server, url);
    end.mv(&["fsck"]).success();
    for person in 0..writers() {
        let name = format!("refs/heads/b{person}");
        let of = moves.iter().filter(|m| m.branch == name).cloned();
        let of: Vec<Move> = of.collect();
        assert_eq!(of.len(), rounds(), "{of:?}");
        let last = end.id(&format!("origin/b{person}"));
        chain(&of, None, &last).unwrap();
    }
    mv(&server, &end, &["fsck", "--remote", "origin"]).success();
}
