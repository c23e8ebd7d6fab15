//! History and results of other tools, made by those tools: Git, Git LFS, DVC, MLflow, the Hub's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Tree;
use crate::venv::{must, python};

/// Git in a folder, as one person at one time, whoever runs the tests.
fn git_command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Grace")
        .env("GIT_AUTHOR_EMAIL", "grace@example.org")
        .env("GIT_AUTHOR_DATE", "2021-02-03T04:05:06+0530")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.org")
        .env("GIT_COMMITTER_DATE", "2022-03-04T05:06:07-0200");
    command
}

fn git(dir: &Path, args: &[&str]) -> String {
    must(&mut git_command(dir, args)).trim().to_owned()
}

fn write(dir: &Path, path: &str, content: &str) {
    let full = dir.join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(full, content).unwrap();
}

fn commit(dir: &Path, message: &str) -> String {
    git(dir, &["add", "-A"]);
    git(
        dir,
        &[
            "commit",
            "-q",
            "--allow-empty",
            "--allow-empty-message",
            "-m",
            message,
        ],
    );
    git(dir, &["rev-parse", "HEAD"])
}

/// A folder for a Git repository beside a working tree of ours.
fn there(tree: &Tree) -> PathBuf {
    let dir = tree.path("there");
    std::fs::create_dir_all(&dir).unwrap();
    git(&dir, &["init", "-q", "-b", "main"]);
    dir
}

/// An empty repository in a folder of its own.
fn here(tree: &Tree) -> String {
    tree.mv(&["init", "here"]).success();
    tree.path("here").to_str().unwrap().to_owned()
}

/// A stream for `git fast-import` with a history that edits, deletes, and makes folders of files.
fn random_history(seed: u64) -> String {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut pick = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let paths = [
        "a.py",
        "b",
        "b/c.py",
        "b/d/e.csv",
        "data/x.csv",
        "data/x.csv/y",
        "models/w.bin",
        "params.toml",
        "dir with space/\u{e4}.txt",
        "modelv.toml",
    ];
    let mut out = String::new();
    for number in 1..=40_u64 {
        out += &format!("commit refs/heads/main\nmark :{number}\n");
        out += &format!("committer A <a@x> {} +0100\n", 1_600_000_000 + number);
        out += &format!("data 3\nc{number:02}");
        if number > 1 {
            out += &format!("\nfrom :{}", number - 1);
            if number > 5 && pick(4) == 0 {
                out += &format!("\nmerge :{}", number - 2 - pick(3));
            }
        }
        for _ in 0..1 + pick(4) {
            let path = paths[usize::try_from(pick(paths.len() as u64)).unwrap()];
            if pick(4) == 0 {
                out += &format!("\nD \"{path}\"");
                continue;
            }
            let mode = ["100644", "100755", "120000"][usize::try_from(pick(3)).unwrap()];
            let content = match path {
                "modelv.toml" => "[ingredients]\ndata = [\"*.py\"]\n".to_owned(),
                _ => format!("v{}", pick(30)),
            };
            out += &format!(
                "\nM {mode} inline \"{path}\"\ndata {}\n{content}",
                content.len()
            );
        }
        out += "\n\n";
    }
    out
}

fn fast_import(dir: &Path, stream: &str) {
    use std::io::Write;
    let mut child = git_command(dir, &["fast-import", "--quiet", "--force"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stream.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// Trees of the history of a branch, oldest first.
fn trees(dir: &Path, branch: &str) -> String {
    git(
        dir,
        &["log", "--topo-order", "--reverse", "--format=%T", branch],
    )
}

#[test]
fn every_tree_of_any_history_is_what_it_was_in_git() {
    for seed in 1..=6 {
        let tree = Tree::empty();
        let dir = there(&tree);
        fast_import(&dir, &random_history(seed));
        let here = here(&tree);
        tree.mv(&["-C", &here, "import", "git", "../there"])
            .success();
        git(tree.root(), &["init", "-q", "--bare", "back"]);
        let all = [
            "-C",
            &here,
            "export",
            "git",
            "../back",
            "--only",
            "code,data,config,model",
        ];
        tree.mv(&all).success();
        let back = tree.path("back");
        git(&back, &["fsck", "--strict"]);
        let (theirs, ours) = (trees(&dir, "main"), trees(&back, "modelv"));
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&theirs), sorted(&ours), "seed {seed}");
        let tip = |dir: &Path, name: &str| git(dir, &["rev-parse", &format!("{name}^{{tree}}")]);
        assert_eq!(tip(&dir, "main"), tip(&back, "modelv"), "seed {seed}");
        tree.mv(&["-C", &here, "fsck"]).success();
    }
}

#[test]
fn commits_come_with_people_times_parents_branches_and_tags() {
    let tree = Tree::empty();
    let dir = there(&tree);
    write(&dir, "train.py", "a = 1\n");
    write(&dir, "requirements.lock", "six==1.17.0\n");
    let first = commit(&dir, "first\n\nwhy it was done\n");
    git(&dir, &["tag", "-a", "v1", "-m", "one"]);
    git(&dir, &["switch", "-q", "-c", "side"]);
    write(&dir, "side.py", "s\n");
    let side = commit(&dir, "");
    git(&dir, &["switch", "-q", "main"]);
    write(&dir, "params.toml", "lr = 1\n");
    git(&dir, &["config", "i18n.commitEncoding", "ISO-8859-1"]);
    std::fs::write(tree.path("message"), b"gr\xfc\xdfe\n").unwrap();
    git(&dir, &["add", "-A"]);
    let message = tree.path("message");
    git(&dir, &["commit", "-q", "-F", message.to_str().unwrap()]);
    git(&dir, &["merge", "-q", "--no-ff", "-m", "both", "side"]);

    let here = here(&tree);
    let said = tree.json(&["-C", &here, "import", "git", "../there", "--json"]);
    assert_eq!(said["commits"], 4);
    assert_eq!(said["checked_out"], true);
    assert_eq!(
        std::fs::read_to_string(tree.path("here/side.py")).unwrap(),
        "s\n"
    );
    let shown = |revision: &str| tree.json(&["-C", &here, "show", revision, "--json"]);
    let merge = shown("HEAD");
    assert_eq!(
        (
            &merge["message"],
            merge["parents"].as_array().unwrap().len()
        ),
        (&"both".into(), 2)
    );
    assert_eq!(shown("HEAD~1")["message"], "gr\u{fc}\u{df}e");
    let start = shown("v1");
    assert_eq!(start["message"], "first\n\nwhy it was done");
    assert_eq!(start["author"]["name"], "Grace");
    assert_eq!(start["committer"]["email"], "ada@example.org");
    assert_eq!(start["time"], "2022-03-04T07:06:07Z");
    assert_eq!(start["extra"]["git.commit"], first);
    assert_eq!(start["extra"]["git.author-time"], "1612305306 +0530");
    let side_here = shown("side");
    assert_eq!(side_here["message"], "(no message)");
    assert_eq!(side_here["extra"]["git.commit"], side);
    // The same history makes the same commits, whoever takes it.
    tree.mv(&["init", "other"]).success();
    let other = tree.path("other");
    let other = other.to_str().unwrap();
    tree.mv(&["-C", other, "import", "git", "../there"])
        .success();
    let id = |dir: &str| tree.mv(&["-C", dir, "rev-parse", "main"]).success();
    assert_eq!(id(&here), id(other));
    // Back in Git, they are dated as they were.
    tree.mv(&["-C", &here, "export", "git", "../there", "v1"])
        .success();
    let dates = git(&dir, &["log", "-1", "--format=%ai %ci %an %ce", "modelv"]);
    assert_eq!(
        dates,
        "2021-02-03 04:05:06 +0530 2022-03-04 05:06:07 -0200 Grace ada@example.org"
    );
}

#[test]
fn a_second_import_takes_what_is_new_and_loses_nothing() {
    let tree = Tree::empty();
    let dir = there(&tree);
    write(&dir, "a.py", "1\n");
    commit(&dir, "one");
    let here = here(&tree);
    let import = ["-C", &here, "import", "git", "../there"];
    tree.mv(&import).success();
    assert!(tree.mv(&import).success().contains("took 0 new commits"));
    write(&dir, "a.py", "2\n");
    commit(&dir, "two");
    // What was edited here is not written over.
    std::fs::write(tree.path("here/a.py"), "mine\n").unwrap();
    let said = tree.mv(&import).fails_with(1);
    assert!(
        said.contains("import would overwrite uncommitted changes in `a.py`"),
        "{said}"
    );
    tree.mv(&["-C", &here, "restore", "a.py"]).success();
    let said = tree.mv(&import).success();
    assert!(
        said.contains("took 1 new commit\n") && said.contains("branch main is"),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(tree.path("here/a.py")).unwrap(),
        "2\n"
    );
    tree.mv(&["-C", &here, "undo"]).success();
    assert_eq!(
        std::fs::read_to_string(tree.path("here/a.py")).unwrap(),
        "1\n"
    );
    tree.mv(&import).success();
    // Both went on: ours stays, unless it is to be moved.
    std::fs::write(tree.path("here/b.py"), "ours\n").unwrap();
    tree.mv(&["-C", &here, "commit", "-m", "ours"]).success();
    write(&dir, "c.py", "theirs\n");
    commit(&dir, "theirs");
    let done = tree.mv(&import);
    assert!(
        done.err.contains("`main` has gone another way here"),
        "{}",
        done.err
    );
    done.success();
    tree.mv(&[
        "-C", &here, "import", "git", "../there", "--prefix", "git/", "--branch", "main",
    ])
    .success();
    tree.mv(&["-C", &here, "merge", "git/main", "-m", "both"])
        .success();
    for name in ["a.py", "b.py", "c.py"] {
        assert!(tree.path("here").join(name).exists(), "{name}");
    }
}

#[test]
fn a_working_tree_of_git_becomes_one_of_ours_in_place() {
    let tree = Tree::empty();
    let dir = there(&tree);
    write(&dir, ".gitignore", "*.log\n");
    write(&dir, "modelv.toml", "[env]\ncapture = \"none\"\n");
    write(&dir, "a.py", "1\n");
    commit(&dir, "one");
    write(&dir, "key.py", "P = 'postgres://ada:kG7vdW2m@db/x'\n");
    commit(&dir, "two");
    write(&dir, "a.py", "edited\n");
    write(&dir, "x.log", "noise\n");
    let at = dir.to_str().unwrap();
    tree.mv(&["-C", at, "init"]).success();
    let done = tree.mv(&["-C", at, "import", "git", ".", "--json"]);
    let secret = "1 secret came with it, the first is key.py:1";
    assert!(done.err.contains(secret), "{}", done.err);
    let said: serde_json::Value = serde_json::from_str(&done.success()).unwrap();
    assert_eq!(said["checked_out"], false);
    assert_eq!(
        std::fs::read_to_string(dir.join("a.py")).unwrap(),
        "edited\n"
    );
    let status = tree.mv(&["-C", at, "status"]).success();
    assert!(
        status.contains("a.py") && !status.contains("x.log"),
        "{status}"
    );
    assert_eq!(git(&dir, &["status", "--short"]), "M a.py\n?? .mv/");
}

#[test]
fn files_of_git_lfs_come_with_their_content() {
    let tree = Tree::empty();
    let dir = there(&tree);
    git(&dir, &["lfs", "install", "--local"]);
    git(&dir, &["lfs", "track", "*.bin"]);
    let content = "weights ".repeat(5000);
    write(&dir, "models/w.bin", &content);
    commit(&dir, "weights");
    assert!(git(&dir, &["show", "HEAD:models/w.bin"]).starts_with("version https://git-lfs"));
    let here = here(&tree);
    let said = tree.json(&["-C", &here, "import", "git", "../there", "--json"]);
    assert_eq!(
        (&said["resolved"], &said["unresolved"]),
        (&1.into(), &serde_json::json!([]))
    );
    assert_eq!(
        std::fs::read_to_string(tree.path("here/models/w.bin")).unwrap(),
        content
    );
    // A damaged cache is no content.
    let oid = git(&dir, &["lfs", "ls-files", "--long"]);
    let oid = oid.split(' ').next().unwrap();
    let place = dir
        .join(".git/lfs/objects")
        .join(&oid[..2])
        .join(&oid[2..4])
        .join(oid);
    let mut command = Command::new("chmod");
    must(command.arg("u+w").arg(&place));
    std::fs::write(&place, content.replacen("weights", "Weights", 1)).unwrap();
    tree.mv(&["init", "second"]).success();
    let second = tree.path("second");
    let import = ["-C", second.to_str().unwrap(), "import", "git", "../there"];
    let said = tree.mv(&import).fails_with(1);
    assert!(
        said.contains("its content is not the one it is named after"),
        "{said}"
    );
    // None at all is told, and the pointer comes.
    std::fs::remove_file(&place).unwrap();
    let done = tree.mv(&import);
    assert!(done.err.contains("models/w.bin"), "{}", done.err);
    done.success();
    let pointer = std::fs::read_to_string(second.join("models/w.bin")).unwrap();
    assert!(pointer.starts_with("version https://git-lfs"), "{pointer}");
}

/// A DVC of one version.
fn dvc(dir: &Path, args: &[&str]) -> String {
    let python = python("dvc", &["dvc==3.67.1"]);
    let mut command = Command::new(python);
    command.args(["-m", "dvc"]).args(args).current_dir(dir);
    let command = command.env("DVC_NO_ANALYTICS", "1");
    must(command.env("GIT_CONFIG_GLOBAL", "/dev/null"))
}

#[test]
fn files_that_dvc_keeps_come_with_their_content() {
    let tree = Tree::empty();
    let dir = there(&tree);
    dvc(&dir, &["init", "-q"]);
    write(&dir, "data/train.csv", "id,v\n1,1\n");
    write(&dir, "images/a/1.txt", "one");
    write(&dir, "images/2.txt", "two");
    dvc(&dir, &["add", "-q", "data/train.csv", "images"]);
    write(&dir, "train.py", "open('model.bin', 'w').write('m' * 9)\n");
    write(
        &dir,
        "dvc.yaml",
        "stages:\n  train:\n    cmd: python3 train.py\n    deps: [train.py, data/train.csv]\n    outs: [model.bin]\n",
    );
    dvc(&dir, &["repro", "-q"]);
    commit(&dir, "with dvc");
    write(&dir, "data/train.csv", "id,v\n1,2\n");
    dvc(&dir, &["add", "-q", "data/train.csv"]);
    dvc(&dir, &["repro", "-q"]);
    commit(&dir, "other data");

    let here = here(&tree);
    let said = tree.json(&["-C", &here, "import", "git", "../there", "--json"]);
    assert_eq!(said["unresolved"], serde_json::json!([]));
    let get = |path: &str| std::fs::read_to_string(tree.path("here").join(path)).unwrap();
    assert_eq!(get("data/train.csv"), "id,v\n1,2\n");
    assert_eq!(
        (get("images/a/1.txt"), get("images/2.txt")),
        ("one".into(), "two".into())
    );
    assert_eq!(get("model.bin"), "mmmmmmmmm");
    assert!(
        !tree.path("here/images.dvc").exists(),
        "the content stands for its pointer"
    );
    let old = tree
        .mv(&["-C", &here, "cat", "HEAD~1:data/train.csv"])
        .success();
    assert_eq!(old, "id,v\n1,1\n");
    let diff = tree
        .mv(&["-C", &here, "diff", "main~1", "main", "--stat"])
        .success();
    assert!(diff.contains("data/train.csv"), "{diff}");
    // Its pipeline is one here.
    let said = tree
        .mv(&["-C", &here, "import", "dvc", "../there"])
        .success();
    assert_eq!(said, "stage train is in modelv.toml\n");
    let toml = get("modelv.toml");
    assert!(
        toml.contains("[stage.train]\ncommand = \"python3 train.py\""),
        "{toml}"
    );
    std::fs::remove_file(tree.path("here/model.bin")).unwrap();
    tree.mv(&["-C", &here, "run", "-m", "again"]).success();
    assert_eq!(get("model.bin"), "mmmmmmmmm");
    let said = tree.mv(&["-C", &here, "import", "dvc", "../there"]);
    assert!(
        said.err.contains("has a stage of this name"),
        "{}",
        said.err
    );
    assert_eq!(get("modelv.toml"), toml);
    let said = tree
        .mv(&["-C", &here, "import", "dvc", "data"])
        .fails_with(1);
    assert!(said.contains("dvc.yaml"), "{said}");
}

const TRACKED: &str = "
import math, os, sys, mlflow
os.chdir(sys.argv[1])
mlflow.set_tracking_uri(sys.argv[2])
mlflow.set_experiment('tweets')
with mlflow.start_run(run_name='first'):
    mlflow.log_params({'lr': 0.1, 'opt': 'adam', 'deep': True})
    for i in range(300):
        mlflow.log_metric('loss', 1 / (i + 1), step=i)
    mlflow.log_metric('valid/f1', 0.9)
    with open('note.txt', 'w') as file:
        file.write('hello')
    mlflow.log_artifact('note.txt', 'plots')
    mlflow.set_tag('owner', 'ada')
    with mlflow.start_run(run_name='child', nested=True):
        mlflow.log_metric('loss', math.nan)
try:
    with mlflow.start_run(run_name='bad'):
        raise ValueError
except ValueError:
    pass
mlflow.start_run(run_name='open')
os._exit(0)
";

#[test]
fn runs_of_mlflow_come_with_points_artifacts_and_tags() {
    let packages = ["mlflow-skinny==3.17.2", "sqlalchemy", "alembic"];
    let python = python("mlflow", &packages);
    let tree = Tree::empty();
    let work = tree.path("work");
    std::fs::create_dir(&work).unwrap();
    for (uri, place) in [
        (format!("sqlite:///{}/mlflow.db", work.display()), "../work"),
        (format!("file://{}/files", work.display()), "../work/files"),
    ] {
        let mut command = Command::new(&python);
        let command = command.args(["-c", TRACKED]).arg(&work).arg(&uri);
        must(
            command
                .current_dir(&work)
                .env("MLFLOW_ALLOW_FILE_STORE", "true"),
        );
        let name = format!("here-{}", place.len());
        tree.mv(&["init", &name]).success();
        let here = tree.path(&name);
        let here = here.to_str().unwrap();
        let done = tree.mv(&["-C", here, "import", "mlflow", place]);
        assert!(done.err.contains("1 that are not over"), "{}", done.err);
        assert_eq!(done.success(), "took 3 new runs\n");
        let said = tree.mv(&["-C", here, "import", "mlflow", place]).success();
        assert_eq!(said, "took 0 new runs, 3 were here already\n");
        let runs = tree.json(&["-C", here, "runs", "--json"]);
        let runs = runs.as_array().unwrap();
        assert_eq!(runs.len(), 3);
        let named = |name: &str| {
            let is = |r: &&serde_json::Value| r["host"]["mlflow.runName"] == name;
            let id = runs.iter().find(is).unwrap()["id"].as_str().unwrap();
            tree.json(&["-C", here, "runs", "show", id, "--json"])
        };
        let first = named("first");
        assert_eq!(
            first["params"],
            serde_json::json!({"lr": 0.1, "opt": "adam", "deep": true})
        );
        assert_eq!(first["metrics"]["valid/f1"], 0.9);
        assert_eq!(first["metrics"]["loss"], 1.0 / 300.0);
        assert_eq!(
            (&first["host"]["owner"], &first["status"]),
            (&"ada".into(), &"finished".into())
        );
        assert_eq!(named("bad")["status"], "failed");
        assert_eq!(named("child")["metrics"]["loss"], "NaN");
        assert_eq!(first["outputs"].as_str().unwrap().len(), 64);
        let child = named("child");
        let ids = [&first, &child].map(|r| r["id"].as_str().unwrap());
        let compared = tree.mv(&[
            "-C", here, "runs", "compare", ids[0], ids[1], "--plot", "loss",
        ]);
        assert!(compared.success().contains("loss"));
        tree.mv(&["-C", here, "fsck"]).success();
        crate::spec::sound(&tree.path(&name));
    }
    tree.put("no.db", "no database");
    tree.mv(&["init", "third"]).success();
    for place in ["../no.db", "../nowhere"] {
        let third = tree.path("third");
        let said = tree
            .mv(&["-C", third.to_str().unwrap(), "import", "mlflow", place])
            .fails_with(1);
        assert!(said.contains("MLflow store"), "{said}");
    }
}

#[test]
fn a_snapshot_of_the_hub_becomes_a_commit() {
    // Made by the Hub's own cache functions: a file by its SHA-256, one by Git's id.
    let python = python("hub", &["huggingface_hub==2.4.0"]);
    let tree = Tree::repo();
    tree.commit("base");
    let script = "
import hashlib, os, sys
from huggingface_hub.file_download import repo_folder_name, _create_symlink
root = os.path.join(sys.argv[1], repo_folder_name(repo_id='ada/tiny', repo_type='model'))
commit = 'a' * 40
for name, text in [('model.safetensors', b'weights' * 99), ('sub/config.json', b'{}')]:
    blob = hashlib.sha256(text).hexdigest()
    if name.endswith('json'):
        blob = hashlib.sha1(b'blob %d\\0' % len(text) + text).hexdigest()
    os.makedirs(os.path.join(root, 'blobs'), exist_ok=True)
    open(os.path.join(root, 'blobs', blob), 'wb').write(text)
    pointer = os.path.join(root, 'snapshots', commit, name)
    os.makedirs(os.path.dirname(pointer), exist_ok=True)
    _create_symlink(os.path.join(root, 'blobs', blob), pointer)
os.makedirs(os.path.join(root, 'refs'))
open(os.path.join(root, 'refs', 'main'), 'w').write(commit)
";
    let hub = tree.path("no-home/hub");
    must(Command::new(python).args(["-c", script]).arg(&hub));
    let import = |args: &[&str]| {
        let mut command = tree.command(&[&["import", "hf"], args].concat());
        crate::support::Done::new(&command.env("HF_HUB_CACHE", &hub).output().unwrap())
    };
    let said = import(&["ada/tiny"]).success();
    assert!(
        said.contains("ada/tiny at aaaa") && said.contains("2 files"),
        "{said}"
    );
    assert_eq!(tree.get("models/tiny/sub/config.json"), "{}");
    let shown = tree.json(&["show", "HEAD", "--json"]);
    assert_eq!(shown["extra"]["hf.repo"], "ada/tiny");
    assert_eq!(shown["extra"]["hf.commit"], "a".repeat(40));
    assert!(
        import(&["ada/tiny"])
            .fails_with(1)
            .contains("nothing to commit")
    );
    let said = import(&["ada/none"]).fails_with(1);
    assert!(
        said.contains("snapshot of the Hub `ada/none` not found"),
        "{said}"
    );
    // What is in no commit is not written over.
    tree.mv(&["undo"]).success();
    tree.put("models/tiny/model.safetensors", "mine");
    let said = import(&["ada/tiny"]).fails_with(1);
    assert!(said.contains("would overwrite"), "{said}");
    let blobs = hub.join("models--ada--tiny/blobs");
    let weights = std::fs::read_dir(&blobs)
        .unwrap()
        .map(|e| e.unwrap().path());
    let weights = weights.max_by_key(|p| p.as_os_str().len()).unwrap();
    std::fs::write(weights, "damaged").unwrap();
    let said = import(&["ada/tiny", "--into", "models/other"]).fails_with(1);
    assert!(
        said.contains("its content is not the one it is named after"),
        "{said}"
    );
}

#[test]
fn an_export_adds_what_is_new_and_moves_nothing_of_others() {
    let tree = Tree::repo();
    tree.put("train.py", "1\n");
    tree.put("data/x.csv", "id\n1\n");
    tree.commit("one\n\nSigned-off-by: Ada <ada@example.org>");
    let dir = there(&tree);
    let export = ["export", "git", "there"];
    let said = tree.mv(&export).success();
    assert!(
        said.starts_with("wrote 1 new commit; branch modelv there is"),
        "{said}"
    );
    let message = git(&dir, &["log", "-1", "--format=%B", "modelv"]);
    let wanted = format!(
        "one\n\nSigned-off-by: Ada <ada@example.org>\nModelv-Commit: {}\nModelv-Recipe: {}",
        tree.id("HEAD"),
        tree.recipe()
    );
    assert_eq!(message, wanted);
    let files = git(&dir, &["ls-tree", "-r", "--name-only", "modelv"]);
    assert_eq!(files, "modelv.toml\ntrain.py");
    tree.put("train.py", "2\n");
    tree.commit("two");
    let before = git(&dir, &["rev-parse", "modelv"]);
    assert!(
        tree.mv(&export)
            .success()
            .starts_with("wrote 1 new commit;")
    );
    assert_eq!(git(&dir, &["rev-parse", "modelv^"]), before);
    assert!(
        tree.mv(&export)
            .success()
            .starts_with("wrote 0 new commits;")
    );
    // Somebody goes on there.
    git(&dir, &["switch", "-q", "modelv"]);
    let said = tree.mv(&export).fails_with(1);
    assert!(
        said.contains("branch `modelv` is checked out there"),
        "{said}"
    );
    write(&dir, "theirs.py", "x\n");
    commit(&dir, "theirs");
    git(&dir, &["switch", "-q", "-c", "elsewhere"]);
    let said = tree.mv(&export).fails_with(1);
    assert!(
        said.contains("has commits that `HEAD` does not have"),
        "{said}"
    );
    tree.mv(&["export", "git", "there", "--force"]).success();
    assert!(git(&dir, &["log", "--format=%s", "modelv"]).starts_with("two"));
}

#[test]
fn what_is_no_git_repository_is_refused() {
    let tree = Tree::repo();
    tree.put("plain/x", "x");
    let said = tree.mv(&["import", "dvc", "plain"]).fails_with(1);
    assert!(
        said.contains("plain/dvc.yaml` not found") && said.contains("holds `dvc.yaml`"),
        "{said}"
    );
    let said = tree.mv(&["export", "git", "plain"]).fails_with(1);
    assert!(said.contains("there is no commit yet"), "{said}");
    tree.commit("ours");
    for verb in ["import", "export"] {
        for place in ["plain", "nowhere"] {
            let said = tree.mv(&[verb, "git", place]).fails_with(1);
            assert!(said.contains("Git repository"), "{said}");
        }
    }
    let dir = there(&tree);
    let said = tree.mv(&["import", "git", "there"]).fails_with(1);
    assert!(said.contains("it has no commit"), "{said}");
    let before = tree.id("HEAD");
    write(&dir, "a", "a");
    commit(&dir, "a");
    let said = tree
        .mv(&["import", "git", "there", "--branch", "nosuch"])
        .fails_with(1);
    assert!(
        said.contains("branch of the Git repository `nosuch` not found"),
        "{said}"
    );
    let said = tree
        .mv(&["export", "git", "there", "--only", "weights"])
        .fails_with(2);
    assert!(said.contains("`weights` is no ingredient"), "{said}");
    // Objects that are damaged change nothing.
    let object = git(&dir, &["rev-parse", "HEAD^{tree}"]);
    let place = dir
        .join(".git/objects")
        .join(&object[..2])
        .join(&object[2..]);
    must(Command::new("chmod").arg("u+w").arg(&place));
    std::fs::write(&place, b"damaged").unwrap();
    tree.mv(&["import", "git", "there"]).fails_with(1);
    assert_eq!(tree.id("HEAD"), before);
}
