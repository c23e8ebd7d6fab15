//! What goes on beside a run: edits, other runs, kills. No wrong result may come of it.

use std::process::{Child, Command, Stdio};

use crate::support::{Done, Tree};

/// Tells that it runs, waits until it may go on, and writes what it finds then.
const SLOW: &str = "echo on > started; while [ ! -e go ]; do sleep 0.02; done; mkdir -p models; cp params.toml models/m";

fn tree() -> Tree {
    let tree = Tree::repo();
    tree.put(".mvignore", "started\ngo\n");
    tree.put("params.toml", "lr = 0.1\n");
    tree.commit("code");
    tree
}

/// A command under way, once its program runs.
fn start(tree: &Tree, args: &[&str]) -> Child {
    let _ = std::fs::remove_file(tree.path("started"));
    let mut command = tree.command(args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    await_file(tree, "started");
    child
}

fn await_file(tree: &Tree, path: &str) {
    let begun = std::time::Instant::now();
    while !tree.path(path).exists() {
        assert!(begun.elapsed().as_secs() < 60, "`{path}` was never written");
        std::thread::yield_now();
    }
}

fn go(tree: &Tree, child: Child) -> Done {
    tree.put("go", "");
    let done = Done::new(&child.wait_with_output().unwrap());
    std::fs::remove_file(tree.path("go")).unwrap();
    done
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([name, pid]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_parameter_edited_under_a_run_makes_no_model_of_the_old_one() {
    let tree = tree();
    let head = tree.id("HEAD");
    let args = ["run", "-m", "slow", "--", "sh", "-c", SLOW];
    let child = start(&tree, &args);
    tree.put("params.toml", "lr = 0.9\n");
    let said = go(&tree, child).fails_with(1);
    assert!(
        said.contains("error: `params.toml` changed while it ran"),
        "{said}"
    );
    assert!(said.contains("hint: "), "{said}");
    assert_eq!(tree.id("HEAD"), head);
    let run = tree.json(&["runs", "--json"])[0].clone();
    assert_eq!(run["status"], "finished", "{run}");
    assert_eq!(run["doubts"][0]["path"], "params.toml");
    let id = run["id"].as_str().unwrap();
    let shown = tree.mv(&["runs", "show", id]).success();
    assert!(
        shown.contains("in doubt     `params.toml` changed"),
        "{shown}"
    );
    crate::spec::sound(tree.root());
    // The same recipe again is executed, and then it is known.
    tree.put("params.toml", "lr = 0.1\n");
    let done = go(&tree, start(&tree, &args));
    assert!(!done.success().contains("taken from the store"));
    assert_eq!(tree.get("models/m"), "lr = 0.1\n");
    let known = tree.mv(&args).success();
    assert!(known.contains("taken from the store"), "{known}");
}

fn stages(tree: &Tree, text: &str) {
    tree.put("modelv.toml", &format!("[env]\ncapture = \"none\"\n{text}"));
    tree.commit("stages");
}

#[test]
fn a_stage_whose_parameters_or_inputs_moved_is_not_known_later() {
    let tree = tree();
    tree.put("data/x.csv", "1\n");
    stages(
        &tree,
        &format!(
            "[stage.a]\ncommand = '''{SLOW}'''\ninputs = ['data']\nparams = ['lr']\noutputs = ['models']\n"
        ),
    );
    let head = tree.id("HEAD");
    for (path, old, new) in [
        ("params.toml", "lr = 0.1\n", "lr = 0.9\n"),
        ("data/x.csv", "1\n", "2\n"),
        ("params.toml", "lr = 0.1\n", "lr = \n"),
    ] {
        let child = start(&tree, &["run"]);
        tree.put(path, new);
        let done = go(&tree, child);
        let said = done.fails_with(1);
        assert!(
            said.contains(&format!("`{path}` changed while it ran")),
            "{said}"
        );
        tree.put(path, old);
        assert_eq!(tree.id("HEAD"), head);
        let status = tree.mv(&["pipeline", "status"]).success();
        assert!(
            status.contains("run         no run of it has finished"),
            "{status}"
        );
    }
    let done = go(&tree, start(&tree, &["run", "-m", "right"]));
    done.success();
    assert_eq!(tree.get("models/m"), "lr = 0.1\n");
    // What no stage declares may change; the whole then is no model of the recipe, each stage still is.
    std::fs::remove_dir_all(tree.path("models")).unwrap();
    let child = start(&tree, &["run", "--force"]);
    tree.put("notes.txt", "new files are no edits\n");
    go(&tree, child).success();
}

#[test]
fn one_run_at_a_time_has_the_working_tree() {
    let tree = tree();
    tree.mv(&["branch", "other"]).success();
    let args = ["run", "-m", "first", "--", "sh", "-c", SLOW];
    let child = start(&tree, &args);
    let pid = child.id().to_string();
    for args in [
        &["run", "--", "true"][..],
        &["switch", "other"],
        &["merge", "other"],
        &["rebase", "other"],
    ] {
        let said = tree.mv(args).fails_with(1);
        let want = format!(
            "can't {}: a run is under way in this working tree, process {pid} since ",
            args[0]
        );
        assert!(said.contains(&want) && said.contains("hint: "), "{said}");
    }
    // Reading and sweeps go on beside it.
    tree.mv(&["runs"]).success();
    tree.mv(&["run", "--sweep", "lr=0.1,0.2", "--", "true"])
        .success();
    let mut waits = tree.command(&[
        "run",
        "--wait",
        "--",
        "sh",
        "-c",
        "mkdir -p models; echo 2 > models/m",
    ]);
    let mut waits = waits
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 5];
    std::io::Read::read_exact(waits.stderr.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"note:", "it says that it waits");
    go(&tree, child).success();
    Done::new(&waits.wait_with_output().unwrap()).success();
    assert_eq!(tree.get("models/m"), "2\n");
    // A run within a run belongs to it.
    let inner = format!("echo 3 > models/m; {} run -- true", crate::support::BINARY);
    tree.mv(&["run", "--", "sh", "-c", &inner]).success();
    let commit = tree.json(&["show", "--json"]);
    let runs = commit["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{commit}");
    let outer = tree.json(&["runs", "show", runs[0].as_str().unwrap(), "--json"]);
    assert!(outer["parent"].is_null(), "{outer}");
}

#[test]
fn what_a_killed_run_left_behind_is_named() {
    let tree = tree();
    let args = ["run", "-m", "slow", "--", "sh", "-c", SLOW];
    let mut child = start(&tree, &args);
    signal("-9", &child.id().to_string());
    child.wait().unwrap();
    let said = tree.mv(&args).fails_with(1);
    let left = said.split("still writes here: process ").nth(1);
    let left = left
        .unwrap_or_else(|| panic!("{said}"))
        .lines()
        .next()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("was killed") && said.contains("`kill PROCESS`"),
        "{said}"
    );
    for pid in left.split(' ') {
        // The `sleep` of the loop may have ended by itself.
        let _ = Command::new("kill").arg(pid).stderr(Stdio::null()).status();
    }
    tree.put("go", "");
    tree.mv(&["run", "--wait", "-m", "slow", "--", "sh", "-c", SLOW])
        .success();
    let runs = tree.json(&["runs", "--json", "--status", "interrupted"]);
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
}

#[test]
fn a_request_to_terminate_ends_the_program_and_is_recorded() {
    let tree = tree();
    let script =
        "trap 'echo bye > said; exit 9' TERM; echo $$ > started; while :; do sleep 0.02; done";
    let child = start(&tree, &["run", "--", "sh", "-c", script]);
    signal("-TERM", &child.id().to_string());
    let done = Done::new(&child.wait_with_output().unwrap());
    assert_eq!(done.status, Some(130), "{done:?}");
    assert_eq!(tree.get("said"), "bye\n", "it may end in its own way");
    let runs = tree.json(&["runs", "--json"]);
    assert_eq!(runs[0]["status"], "interrupted", "{runs}");
}

#[test]
fn a_stage_that_fails_leaves_the_last_good_outputs() {
    let tree = tree();
    let command = "[ $(cat ok) = yes ] || { echo half > log.txt; exit 3; }; mkdir -p models; echo good | tee models/m log.txt";
    stages(
        &tree,
        &format!(
            "[stage.a]\ncommand = '''{command}'''\ninputs = ['ok']\noutputs = ['models', 'log.txt']\n"
        ),
    );
    tree.put("ok", "yes\n");
    tree.mv(&["run", "-m", "good"]).success();
    tree.put("ok", "no\n");
    let said = tree.mv(&["run", "-m", "bad"]).fails_with(1);
    assert_eq!(tree.get("models/m"), "good\n");
    // What it wrote itself is for its author to look at.
    assert_eq!(tree.get("log.txt"), "half\n");
    assert!(
        said.contains("`modelv restore log.txt` brings the committed one back"),
        "{said}"
    );
    tree.mv(&["restore", "log.txt"]).success();
    assert_eq!(tree.get("log.txt"), "good\n");
}

#[test]
fn an_output_that_is_a_link_to_a_folder_is_refused() {
    let tree = tree();
    let disk = Tree::empty();
    disk.put("big/w", "1");
    stages(
        &tree,
        "[stage.a]\ncommand = 'echo 1 > models/m'\noutputs = ['models']\n",
    );
    std::os::unix::fs::symlink(disk.path("big"), tree.path("models")).unwrap();
    let said = tree.mv(&["run"]).fails_with(1);
    assert!(
        said.contains("writes `models`, which is a link to a folder") && said.contains("hint: "),
        "{said}"
    );
    assert!(tree.path("models").is_symlink() && disk.get("big/w") == "1");
    stages(
        &tree,
        "[stage.a]\ncommand = 'echo 1 > build/m'\noutputs = ['build/m']\n",
    );
    std::os::unix::fs::symlink(disk.path("big"), tree.path("build")).unwrap();
    let said = tree.mv(&["run"]).fails_with(1);
    assert!(
        said.contains("cannot reach `build/m`") && !said.contains("a: runs"),
        "{said}"
    );
}

#[test]
fn a_repetition_of_nothing_is_not_called_equal() {
    let tree = tree();
    tree.put("models/old", "1");
    stages(
        &tree,
        "[stage.d]\ncommand = 'mkdir -p o.txt'\noutputs = ['o.txt']\n",
    );
    tree.mv(&["run", "-m", "nothing"]).success();
    let done = tree.mv(&["reproduce", "HEAD"]);
    assert_eq!(done.status, Some(1), "{done:?}");
    assert!(
        done.out.contains("nothing to compare") && !done.out.contains("bit-equal"),
        "{}",
        done.out
    );
}

#[test]
fn a_run_is_told_as_json() {
    let tree = tree();
    let args = [
        "run",
        "--json",
        "--",
        "sh",
        "-c",
        "mkdir -p models; echo 1 > models/m; echo '{\"f1\": 0.5}' > metrics.json",
    ];
    let json = tree.json(&args);
    assert_eq!(
        (&json["run"]["metrics"]["f1"], &json["reused"]),
        (&0.5.into(), &false.into()),
        "{json}"
    );
    assert_eq!(json["commit"], tree.id("HEAD"));
    let again = tree.json(&args);
    assert_eq!(again["reused"], true, "{again}");
}

#[test]
fn a_log_that_the_run_itself_writes_is_no_doubt() {
    let tree = Tree::repo();
    tree.put(
        "train.sh",
        "echo epoch\nmkdir -p models\necho w > models/w.bin\n",
    );
    tree.put("train.log", "an earlier one\n");
    tree.put("printed.txt", "an earlier one\n");
    tree.commit("base");
    // By its name, and because it is where we print.
    tree.put(
        "train.sh",
        "echo epoch | tee train.log\nmkdir -p models\necho w > models/w.bin\n",
    );
    let printed = std::fs::File::create(tree.path("printed.txt")).unwrap();
    let mut command = tree.command(&["run", "-m", "trained", "--", "sh", "train.sh"]);
    let status = command.stdout(printed).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let shown = tree.json(&["show", "HEAD", "--json"]);
    assert_eq!(shown["message"], "trained");
}

#[test]
fn a_parameter_that_is_put_back_before_the_end_is_noticed_all_the_same() {
    for has_stages in [false, true] {
        let tree = tree();
        if has_stages {
            stages(
                &tree,
                &format!(
                    "[stage.train]\ncommand = {SLOW:?}\nparams = [\"params.toml:\"]\noutputs = [\"models\"]\n"
                ),
            );
        }
        let args: &[&str] = match has_stages {
            true => &["run", "-m", "t"],
            false => &["run", "-m", "t", "--", "sh", "-c", SLOW],
        };
        let child = start(&tree, args);
        tree.put("params.toml", "lr = 0.9\n");
        tree.put("params.toml", "lr = 0.1\n");
        let said = go(&tree, child).fails_with(1);
        assert!(said.contains("params.toml"), "{said}");
    }
}

#[test]
fn a_commit_made_meanwhile_costs_no_model() {
    let tree = tree();
    let child = start(&tree, &["run", "-m", "trained", "--", "sh", "-c", SLOW]);
    tree.put("notes.md", "meanwhile\n");
    tree.commit("meanwhile");
    let said = go(&tree, child).fails_with(1);
    let branch = said.split('`').nth(1).unwrap().to_owned();
    assert!(branch.starts_with("run-"), "{said}");
    // What lies in the working tree is what the branch holds.
    std::fs::remove_dir_all(tree.path("models")).unwrap();
    tree.mv(&["merge", &branch, "-m", "both"]).success();
    assert!(tree.path("models/m").exists() && tree.path("notes.md").exists());
}

#[test]
fn what_was_put_aside_before_the_last_time_has_a_name() {
    let tree = Tree::repo();
    tree.put("a.txt", "committed\n");
    tree.commit("base");
    for text in ["first\n", "second\n"] {
        tree.put("a.txt", text);
        tree.mv(&["restore", "a.txt"]).success();
    }
    let aside = |revision: &str| tree.mv(&["cat", &format!("{revision}:a.txt")]).success();
    assert_eq!(aside("restore/before"), "second\n");
    assert_eq!(aside("restore/before@{1}"), "first\n");
}
