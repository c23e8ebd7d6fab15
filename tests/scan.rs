//! Malicious models, through the real binary under strace: nothing in them runs, and all is named.

use std::process::Command;

use crate::support::{BINARY, Tree};

/// Runs `modelv ARGS` under strace; fails when it executes or creates anything because of what it reads.
fn traced(tree: &Tree, args: &[&str]) -> (Option<i32>, String) {
    let log = tree.root().parent().unwrap().join(format!(
        "{}.strace",
        tree.root().file_name().unwrap().to_string_lossy()
    ));
    let plain = tree.command(args);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&log);
    command.args([
        "-e",
        "trace=execve,execveat,connect,unlink,rename,openat,creat,mkdir",
    ]);
    command.arg(BINARY).args(args).current_dir(tree.root());
    command
        .env_clear()
        .envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("strace is needed: {e}"));
    let trace = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let execs: Vec<&str> = trace.lines().filter(|l| l.contains("exec")).collect();
    assert_eq!(execs.len(), 1, "only the program itself: {execs:?}");
    let writes = |l: &&str| l.contains("O_CREAT") || l.contains("mkdir(") || l.contains("connect(");
    // The program's own derived files are no work of a pickle.
    let strange = |l: &&str| writes(l) && !l.contains("/.mv/");
    let found: Vec<&str> = trace.lines().filter(strange).collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(!tree.path("canary").exists());
    let out = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&out).into_owned(),
    )
}

/// Python that writes the canary when it is unpickled.
const MAKE: &str = r#"
import pickle, zipfile, struct, os, zlib, codecs
class Reduce:
    def __reduce__(self): return (os.system, ("touch canary",))
class Nested:
    def __reduce__(self): return (pickle.loads, (pickle.dumps(Reduce()),))
class Eval:
    def __reduce__(self): return (eval, ("open('canary','w')",))
def put(name, data):
    with open(name, "wb") as f: f.write(data)
for protocol in range(6):
    put("bad/reduce%d.pkl" % protocol, pickle.dumps({"w": [1, Reduce()]}, protocol))
put("bad/chain.pkl", b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\nX\x02\0\0\0os\x85RX\x06\0\0\0system\x86RX\x0c\0\0\0touch canary\x85R.")
put("bad/nested.pt", pickle.dumps(Nested()))
put("bad/eval.joblib", zlib.compress(pickle.dumps(Eval())))
put("bad/truncated.pkl", pickle.dumps(Reduce())[:-3])
put("bad/noname", pickle.dumps(Reduce()))
put("bad/tail.pkl", pickle.dumps([1, 2]) + pickle.dumps(Reduce()))
with zipfile.ZipFile("bad/two.pt", "w") as z:
    z.writestr("m/data.pkl", pickle.dumps({"a": 1}))
    z.writestr("m/data.pkl.bak", pickle.dumps(Reduce()))
put("good/data.pkl", pickle.dumps({"a": [1, 2.5, "x", b"y", {1, 2}, (None, True)]}))
put("good/list.joblib", pickle.dumps(list(range(1000)), 0))
"#;

fn models() -> Tree {
    let tree = Tree::repo();
    for folder in ["bad", "good"] {
        std::fs::create_dir(tree.path(folder)).unwrap();
    }
    let python = Command::new("python3")
        .args(["-c", MAKE])
        .current_dir(tree.root())
        .output();
    let output = python.unwrap_or_else(|e| panic!("python3 is needed: {e}"));
    assert!(output.status.success(), "{output:?}");
    assert!(!tree.path("canary").exists());
    tree
}

#[test]
fn nothing_malicious_runs_and_all_of_it_is_found() {
    let tree = models();
    let (status, said) = traced(&tree, &["scan", "--json", "bad"]);
    assert_eq!(status, Some(1), "{said}");
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    let files = found["files"].as_array().unwrap();
    let made = std::fs::read_dir(tree.path("bad")).unwrap().count();
    assert_eq!(files.len(), made, "{said}");
    for file in files {
        assert_eq!(file["verdict"], "dangerous", "{file}");
    }
    let (status, said) = traced(&tree, &["scan", "good"]);
    assert_eq!(
        (status, said.as_str()),
        (Some(0), "2 model files, 0 with findings\n")
    );
}

#[test]
fn commits_that_bring_such_files_say_so() {
    let tree = models();
    tree.commit("models from somewhere");
    let (status, said) = traced(&tree, &["scan", "--commit", "HEAD", "bad/two.pt"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("dangerous bad/two.pt"), "{said}");
    assert!(
        said.contains("m/data.pkl.bak: imports posix.system"),
        "{said}"
    );
    let (_, said) = traced(&tree, &["show"]);
    assert!(
        said.contains("dangerous bad/chain.pkl") && !said.contains("good/"),
        "{said}"
    );
    std::fs::copy(tree.path("bad/noname"), tree.path("good/data.pkl")).unwrap();
    let (_, said) = traced(&tree, &["diff"]);
    assert!(
        said.contains("good/data.pkl is dangerous to load: imports posix.system"),
        "{said}"
    );
    let said = tree.mv(&["scan", "missing"]).fails_with(1);
    assert!(said.contains("missing"), "{said}");
}

#[test]
fn what_is_not_there_does_not_pass_for_safe() {
    let tree = Tree::repo();
    tree.put("models/w.bin", "no model format\n");
    tree.commit("one");
    for args in [
        &["scan", "--commit", "HEAD", "models/typo"][..],
        &["scan", "--commit", "HEAD", "models", "typo"],
        &["scan", "models/typo"],
    ] {
        let said = tree.mv(args).fails_with(1);
        assert!(said.contains("typo"), "{args:?}: {said}");
    }
    for path in ["models", "models/w.bin", "."] {
        tree.mv(&["scan", "--commit", "HEAD", path]).success();
    }
}
