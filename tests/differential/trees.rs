//! Trees: merges of random histories against `git merge-tree`, with renames and without.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use modelv_core::driver::Labels;
use modelv_core::id::BlobId;
use modelv_core::merge::{Listing, Merged, Outcome, Side, merge};
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;

use crate::lines::{edit, lines, lost};
use crate::support::{LABELS, Random, cases, git};

type Tree = BTreeMap<String, (Mode, String)>;

fn first(random: &mut Random) -> Tree {
    let folders = ["", "a/", "a/s/", "b/"];
    let mut out = Tree::new();
    for i in 0..3 + random.below(5) {
        let path = format!("{}f{i}.py", random.pick(&folders));
        let count = 6 + random.below(12);
        let text = lines(random, count, &format!("{path}:")).join("\n") + "\n";
        out.insert(path, (Mode::File, text));
    }
    out
}

/// One commit: an edit, a new file, a deletion, a move with or without an edit, a moved directory,
/// a changed mode, a link in place of a file.
fn step(random: &mut Random, tree: &mut Tree, tag: &str) {
    let paths: Vec<String> = tree.keys().cloned().collect();
    if paths.is_empty() {
        return;
    }
    let path = random.pick(&paths).clone();
    let fresh = format!("{tag}{:x}", random.next() % 65536);
    let change = |random: &mut Random, text: &str| {
        let old: Vec<String> = text.lines().map(str::to_owned).collect();
        edit(random, &old, tag).join("\n") + "\n"
    };
    let (mode, text) = tree[&path].clone();
    match random.below(12) {
        0..=4 if mode != Mode::Symlink => {
            let text = change(random, &text);
            tree.insert(path, (mode, text));
        }
        5 => {
            let folder = random.pick(&["", "a/", "a/s/", "b/"]).to_owned();
            let text = lines(random, 8, &fresh).join("\n") + "\n";
            tree.insert(format!("{folder}{fresh}.py"), (Mode::File, text));
        }
        6 => drop(tree.remove(&path)),
        7 | 8 => {
            tree.remove(&path);
            tree.insert(format!("m/{fresh}.py"), (mode, text));
        }
        9 if mode != Mode::Symlink => {
            let text = change(random, &text);
            tree.remove(&path);
            tree.insert(format!("m/{fresh}.py"), (mode, text));
        }
        10 => {
            let moved: Vec<String> = paths
                .iter()
                .filter(|p| p.starts_with("a/"))
                .cloned()
                .collect();
            for path in moved {
                let file = tree.remove(&path).unwrap();
                tree.insert(format!("{fresh}/{}", &path[2..]), file);
            }
        }
        11 if random.chance(70) => drop(tree.insert(path, (Mode::Executable, text))),
        11 => drop(tree.insert(path, (Mode::Symlink, fresh))),
        _ => {}
    }
}

/// Writes commits for `git fast-import`; answers their marks.
#[derive(Default)]
struct Import {
    stream: String,
    marks: usize,
}

impl Import {
    fn commit(&mut self, tree: &Tree, parent: Option<usize>) -> usize {
        self.marks += 1;
        let mark = self.marks;
        let w = &mut self.stream;
        let _ = writeln!(
            w,
            "commit refs/heads/c{mark}\nmark :{mark}\ncommitter A <a@b> 1700000000 +0000\ndata 1\nx"
        );
        if let Some(parent) = parent {
            let _ = writeln!(w, "from :{parent}\ndeleteall");
        }
        for (path, (mode, text)) in tree {
            let mode = match mode {
                Mode::Symlink => "120000",
                Mode::Executable => "100755",
                _ => "100644",
            };
            let _ = writeln!(w, "M {mode} inline {path}\ndata {}\n{text}", text.len());
        }
        w.push('\n');
        mark
    }

    fn run(&self, dir: &Path) {
        assert!(git(dir, &["init", "-q"]).status.success());
        let mut child = Command::new("git")
            .args(["fast-import", "--quiet"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(self.stream.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// Git's own objects, read by one process.
struct Objects(Child, BufReader<std::process::ChildStdout>);

impl Objects {
    fn open(dir: &Path) -> Self {
        let mut child = Command::new("git")
            .args(["cat-file", "--batch"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn read(&mut self, id: &str) -> String {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{id}").unwrap();
        stdin.flush().unwrap();
        let mut head = String::new();
        self.1.read_line(&mut head).unwrap();
        let size: usize = head.trim().rsplit(' ').next().unwrap().parse().unwrap();
        let mut body = vec![0; size + 1];
        self.1.read_exact(&mut body).unwrap();
        body.pop();
        String::from_utf8(body).unwrap()
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What Git makes of two commits: the tree, and whether something is open. `merge-tree` always
/// follows renames; the strategy `resolve` never does.
fn by_git(dir: &Path, objects: &mut Objects, renames: bool, pair: [usize; 2]) -> (Tree, bool) {
    let [a, b] = pair.map(|n| format!("refs/heads/c{n}"));
    let directories = ["-c", "merge.directoryRenames=true"];
    let text = |args: &[&str]| {
        let done = git(dir, args);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        let status = done.status.code().unwrap();
        assert!(status < 2, "{args:?}: {error}");
        (String::from_utf8(done.stdout).unwrap(), status != 0)
    };
    let (tree, open) = if renames {
        let args = [
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            &a,
            &b,
        ];
        text(&[directories.as_slice(), &args].concat())
    } else {
        text(&["checkout", "-q", "-f", "--detach", &a]);
        let open = text(&["merge", "-q", "-s", "resolve", "--no-commit", "--no-ff", &b]).1;
        text(&["add", "-A"]);
        let tree = text(&["write-tree"]).0;
        text(&["reset", "-q", "--hard"]);
        text(&["clean", "-q", "-f", "-d"]);
        (tree, open)
    };
    let tree = tree.lines().next().unwrap();
    let listed = git(dir, &["ls-tree", "-r", "-z", tree]).stdout;
    let listed = String::from_utf8(listed).unwrap();
    let entries = listed.split_terminator('\0').map(|entry| {
        let (facts, path) = entry.split_once('\t').unwrap();
        let facts: Vec<&str> = facts.split(' ').collect();
        let mode = match facts[0] {
            "120000" => Mode::Symlink,
            "100755" => Mode::Executable,
            _ => Mode::File,
        };
        (path.to_owned(), (mode, objects.read(facts[2])))
    });
    (entries.collect(), open)
}

fn by_us(trees: [&Tree; 3]) -> (Tree, Merged, Tree) {
    let mut blobs: HashMap<BlobId, String> = HashMap::new();
    let [b, o, t] = trees.map(|tree| -> Listing {
        tree.iter()
            .map(|(path, (mode, text))| {
                let blob = BlobId::of(text.as_bytes());
                blobs.insert(blob, text.clone());
                let side = Side {
                    mode: *mode,
                    size: text.len() as u64,
                    blob,
                };
                (RepoPath::new(path.as_str()).unwrap(), side)
            })
            .collect()
    });
    let run = |o: &Listing, t: &Listing, labels: &Labels<'_>| {
        merge(&b, o, t, labels, &mut |blob, _| {
            Ok::<_, ()>(Some(blobs[&blob].clone().into_bytes()))
        })
        .unwrap()
    };
    let merged = run(&o, &t, &LABELS);
    let back = run(&t, &o, &LABELS);
    let words = |m: &Merged| m.conflicts.iter().map(|c| c.why.word()).collect::<Vec<_>>();
    assert_eq!(words(&merged), words(&back));
    assert!(!merged.conflicts.is_empty() || merged.files == back.files);
    let of = |outcome: &Outcome| match outcome {
        Outcome::Keep(side) => (side.mode, blobs[&side.blob].clone()),
        Outcome::Write { mode, bytes } => (*mode, String::from_utf8(bytes.clone()).unwrap()),
    };
    let tree = merged
        .files
        .iter()
        .map(|(p, f)| (p.to_string(), of(f)))
        .collect();
    // What is open shows its sides too.
    let mut shown = Tree::new();
    for (i, conflict) in merged.conflicts.iter().enumerate() {
        for side in [conflict.ours, conflict.theirs].into_iter().flatten() {
            shown.insert(
                format!("{i}-{}", side.blob),
                (side.mode, blobs[&side.blob].clone()),
            );
        }
    }
    (tree, merged, shown)
}

fn all_text(tree: &Tree) -> Vec<u8> {
    tree.values()
        .map(|(_, text)| format!("{text}\n"))
        .collect::<String>()
        .into_bytes()
}

fn class(ours: &Tree, merged: &Merged, git: &Tree, git_open: bool) -> String {
    let open: Vec<&str> = merged.conflicts.iter().map(|c| c.why.word()).collect();
    match (open.is_empty(), git_open) {
        (true, false) if ours == git => "the same".into(),
        (true, false) if ours.keys().eq(git.keys()) => "clean in both, other content".into(),
        (true, false) => "clean in both, other places".into(),
        (false, true) => "open in both".into(),
        (true, true) => "clean, open in Git".into(),
        (false, false) => format!("clean in Git, open: {}", open[0]),
    }
}

#[test]
fn trees_merge_as_git_merges_them() {
    let dir = tempfile::tempdir().unwrap();
    let count = cases(60);
    let mut import = Import::default();
    let mut worlds = Vec::new();
    for seed in 0..count {
        let mut random = Random(seed ^ 0x7ee5);
        let base = first(&mut random);
        let root = import.commit(&base, None);
        let mut heads = Vec::new();
        for tag in ["o", "t"] {
            let (mut tree, mut head) = (base.clone(), root);
            for _ in 0..=random.below(4) {
                step(&mut random, &mut tree, tag);
                head = import.commit(&tree, Some(head));
            }
            heads.push((tree, head));
        }
        worlds.push((base, heads));
    }
    import.run(dir.path());
    let mut objects = Objects::open(dir.path());
    for renames in [true, false] {
        let mut classes: BTreeMap<String, u64> = BTreeMap::new();
        for (seed, (base, heads)) in worlds.iter().enumerate() {
            let [(o, a), (t, b)] = [&heads[0], &heads[1]];
            let (ours, merged, shown) = by_us([base, o, t]);
            let (git, git_open) = by_git(dir.path(), &mut objects, renames, [*a, *b]);
            let text = [all_text(&ours), all_text(&shown)].concat();
            let gone = lost(&all_text(base), [&all_text(o), &all_text(t)], &text);
            // A deletion takes a line that stands in another file too, with Git as well; and where
            // Git leaves more open, one of a line that stands in many files.
            let known = String::from_utf8(all_text(&git)).unwrap();
            let old = String::from_utf8(all_text(base)).unwrap();
            let gone: Vec<&String> = gone
                .iter()
                .filter(|l| known.lines().any(|m| m == *l))
                .filter(|l| old.lines().filter(|m| m == *l).count() < 2)
                .collect();
            assert!(gone.is_empty(), "seed {seed}: {gone:?}");
            *classes
                .entry(class(&ours, &merged, &git, git_open))
                .or_default() += 1;
        }
        println!("trees, renames {renames}: {classes:?}");
        let of = |name: &str| classes.get(name).copied().unwrap_or(0);
        let same = of("the same") + of("open in both");
        // Git without renames calls an edit of a moved file open; we follow it.
        let least = if renames { 90 } else { 60 };
        assert!(same * 100 >= count * least, "{classes:?}");
    }
}
