//! The name `mv`: whatever coreutils would carry out goes to coreutils.

use std::process::Command;

use crate::support::{BINARY, Tree};

/// A small generator, so that a failure can be repeated from its number (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % n
    }
}

fn listing(tree: &Tree) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut stack = vec![tree.root().to_owned()];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(tree.root())
                .unwrap()
                .display()
                .to_string();
            if path.is_dir() {
                out.push((name, String::new()));
                stack.push(path);
            } else {
                out.push((name, std::fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    out.sort();
    out
}

fn scratch() -> Tree {
    let tree = Tree::empty();
    for file in ["a", "b", "commit", "with space"] {
        tree.put(file, file);
    }
    tree.put("dir/x", "x");
    tree.put("run/y", "y");
    tree
}

#[test]
fn what_coreutils_would_do_is_done() {
    let link = Tree::empty();
    std::os::unix::fs::symlink(BINARY, link.path("mv")).unwrap();
    let words = [
        "-i",
        "-f",
        "-n",
        "-v",
        "-t",
        "--",
        "--help",
        "--hel",
        "--version",
        "--no-clobber",
        "a",
        "b",
        "dir",
        "run",
        "commit",
        "status",
        "add",
        "merge",
        "missing",
        "with space",
        "log",
        "-T",
    ];
    let mut random = Random(0x5eed);
    let mut carried_out = 0;
    for round in 0..600 {
        let count = 1 + random.below(4);
        let args: Vec<&str> = (0..count)
            .map(|_| words[random.below(words.len())])
            .collect();
        let (theirs, ours) = (scratch(), scratch());
        let run = |program: &std::path::Path, tree: &Tree| {
            Command::new(program)
                .args(&args)
                .current_dir(tree.root())
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap()
        };
        let system = run("/bin/mv".as_ref(), &theirs);
        if system.status.code() != Some(0) {
            continue;
        }
        carried_out += 1;
        let own = run(&link.path("mv"), &ours);
        assert_eq!(own.status.code(), Some(0), "round {round}: {args:?}");
        assert_eq!(
            own.stdout.is_empty(),
            system.stdout.is_empty(),
            "round {round}: {args:?}"
        );
        assert_eq!(listing(&ours), listing(&theirs), "round {round}: {args:?}");
    }
    assert!(
        carried_out > 50,
        "only {carried_out} command lines did anything"
    );
}

#[test]
fn our_verbs_are_ours() {
    let link = Tree::empty();
    std::os::unix::fs::symlink(BINARY, link.path("mv")).unwrap();
    let tree = Tree::empty();
    let mv = |args: &[&str]| {
        Command::new(link.path("mv"))
            .args(args)
            .current_dir(tree.root())
            .output()
            .unwrap()
    };
    assert!(mv(&["init"]).status.success());
    assert!(mv(&["-i", "status"]).status.success());
    tree.put("commit", "a file of that name");
    let said = mv(&["status"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("`commit` is also a verb"));
    // With a file of that name and another operand it is the mover's.
    assert!(mv(&["commit", "moved"]).status.success());
    assert_eq!(tree.get("moved"), "a file of that name");
    let function = tree.mv(&["alias", "--shell", "bash"]).success();
    let script = format!("{function}\nmv status");
    let bash = Command::new("bash")
        .args(["-c", &script])
        .current_dir(tree.root())
        .output()
        .unwrap();
    assert!(
        bash.status.success(),
        "{}",
        String::from_utf8_lossy(&bash.stderr)
    );
    tree.put("bin/x", "");
    tree.mv(&["alias", "--link", "bin"]).success();
    assert!(tree.path("bin/mv").is_symlink());
}
