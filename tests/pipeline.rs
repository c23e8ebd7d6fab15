//! Pipelines through the real binary: drawn, explained, run, restored, interrupted.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::support::{Done, Tree};

const STAGES: &str = r#"[env]
capture = "none"

[stage.report]
command = "wc -c < models/model.txt > report.txt"
inputs = ["models/model.txt"]
outputs = ["report.txt"]

[stage.prepare]
command = "tr a-z A-Z < data/raw.csv > build/clean.csv"
inputs = ["data/raw.csv"]
outputs = ["build/clean.csv"]

[stage.train]
command = "echo training; mkdir -p models; cat build/clean.csv params.toml > models/model.txt; echo '{\"f1\": 0.5}' > metrics.json"
inputs = ["build"]
params = ["lr"]
outputs = ["models", "metrics.json"]
"#;

fn tree() -> Tree {
    let tree = Tree::repo();
    tree.put("modelv.toml", STAGES);
    tree.put("data/raw.csv", "a,b\n1,2\n");
    tree.put("params.toml", "lr = 0.1\nseed = 1\n");
    tree
}

/// Name and state of each stage.
fn states(tree: &Tree, args: &[&str]) -> Vec<String> {
    let all = tree.json(&[&["pipeline", "status", "--json"], args].concat());
    let word = |s: &serde_json::Value| {
        format!(
            "{} {}",
            s["name"].as_str().unwrap(),
            s["state"].as_str().unwrap()
        )
    };
    all.as_array().unwrap().iter().map(word).collect()
}

#[test]
fn only_what_changed_is_run_and_it_says_why() {
    let tree = tree();
    let drawn = tree.mv(&["pipeline"]).success();
    assert_eq!(
        drawn,
        "*  prepare  data/raw.csv -> build/clean.csv\n\
         *  train    build -> metrics.json models\n\
         *  report   models/model.txt -> report.txt\n"
    );
    let told = tree.mv(&["run", "--dry-run"]).success();
    assert_eq!(
        told,
        "prepare  run         never run\n\
         train    waits       waits for prepare\n\
         report   waits       waits for train\n"
    );
    assert!(!tree.path("build").exists());
    let done = tree.mv(&["run", "-m", "first"]);
    assert!(done.err.contains("train| training\n"), "{done:?}");
    let said = done.success();
    assert!(
        said.contains("f1 = 0.5") && said.contains("model of recipe"),
        "{said}"
    );
    let first = tree.id("HEAD");
    assert_eq!(tree.get("report.txt"), "26\n");
    let again = tree.mv(&["run"]).success();
    assert!(again.ends_with("everything is up to date\n"), "{again}");
    assert_eq!(tree.id("HEAD"), first);

    tree.put("params.toml", "lr = 0.2\nseed = 1\n");
    let told = tree.mv(&["pipeline", "status"]).success();
    assert_eq!(
        told,
        "prepare  up to date\n\
         train    run         params.lr 0.1 -> 0.2\n\
         report   waits       waits for train\n"
    );
    // Another model of the same length: the report need not be written again, but it is asked for.
    tree.put("data/raw.csv", "a,b\n1,3\n");
    let told = tree.mv(&["run", "--dry-run"]).success();
    assert!(
        told.starts_with("prepare  run         input data/raw.csv changed\n"),
        "{told}"
    );
    tree.mv(&["run", "-m", "second"]).success();
    // A parameter that no stage declares changes nothing.
    tree.put("params.toml", "lr = 0.2\nseed = 2\n");
    assert_eq!(
        states(&tree, &[]),
        [
            "prepare up to date",
            "train up to date",
            "report up to date"
        ]
    );
}

#[test]
fn known_outputs_are_restored_also_on_another_branch() {
    let tree = tree();
    tree.commit("code");
    tree.mv(&["run", "-m", "first"]).success();
    let model = tree.get("models/model.txt");
    tree.mv(&["switch", "-c", "other"]).success();
    tree.put("params.toml", "lr = 0.9\n");
    tree.mv(&["pipeline", "run", "train"]).success();
    assert_ne!(tree.get("models/model.txt"), model);
    tree.put("params.toml", "lr = 0.1\nseed = 1\n");
    std::fs::remove_dir_all(tree.path("build")).unwrap();
    tree.put("models/stray.txt", "made by hand\n");
    let told = tree.mv(&["pipeline", "status"]).success();
    assert!(
        told.contains("restore     output build/clean.csv removed"),
        "{told}"
    );
    assert!(told.contains("output models/stray.txt added"), "{told}");
    tree.mv(&["pipeline", "run"]).success();
    assert_eq!(tree.get("models/model.txt"), model);
    assert_eq!(tree.get("build/clean.csv"), "A,B\n1,2\n");
    // What nothing had recorded was put aside, not thrown away.
    assert!(!tree.path("models/stray.txt").exists());
    tree.mv(&["fsck"]).success();
    tree.mv(&["gc", "--now", "--repack", "--keep-days", "0"])
        .success();
    tree.mv(&["fsck"]).success();
    tree.put("params.toml", "lr = 0.9\n");
    let done = tree.mv(&["pipeline", "run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&done.success()).unwrap();
    assert_eq!(json["stages"][1]["done"], "restored", "{json}");
    let clone = Tree::empty();
    tree.mv(&["switch", "main"]).success();
    tree.mv(&[
        "remote",
        "add",
        "origin",
        clone.path("remote").to_str().unwrap(),
    ])
    .success();
    tree.mv(&["push"]).success();
    clone
        .mv(&["clone", clone.path("remote").to_str().unwrap(), "work"])
        .success();
    crate::spec::sound(tree.root());
    crate::spec::sound(&clone.path("work"));
}

#[test]
fn a_stage_is_a_run_with_its_log_and_parameters() {
    let tree = tree();
    tree.mv(&["run", "-m", "first"]).success();
    let listed = tree.mv(&["runs"]).success();
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let all = tree.json(&["runs", "--json"]);
    let find = |name: &str| {
        let mut runs = all.as_array().unwrap().iter();
        runs.find(|r| r["stage"]["name"] == name).unwrap().clone()
    };
    let train = find("train");
    assert_eq!(train["params"], serde_json::json!({"lr": 0.1}));
    assert_eq!(train["metrics"]["f1"], 0.5);
    let whole = all
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["stage"].is_null())
        .unwrap();
    assert_eq!(train["parent"], whole["nonce"]);
    let log = tree
        .mv(&["runs", "show", train["id"].as_str().unwrap(), "--log"])
        .success();
    assert_eq!(log, "training\n");
    let commit = tree.json(&["show", "--json"]);
    assert_eq!(commit["runs"].as_array().unwrap().len(), 4, "{commit}");
    assert_eq!(commit["metrics"]["f1"], 0.5);
}

#[test]
fn a_failed_stage_stops_those_that_need_it_and_no_others() {
    let tree = Tree::repo();
    let stage = |name: &str, command: &str, inputs: &str, outputs: &str| {
        format!("[stage.{name}]\ncommand = \"{command}\"\ninputs = {inputs}\noutputs = {outputs}\n")
    };
    let text = [
        "[env]\ncapture = \"none\"\n".to_owned(),
        stage("a", "echo no; exit 3", "[]", "['a.txt']"),
        stage("b", "cp a.txt b.txt", "['a.txt']", "['b.txt']"),
        stage("c", "echo c > c.txt", "[]", "['c.txt']"),
        stage("d", "true", "['c.txt']", "['d.txt']"),
    ];
    tree.put("modelv.toml", &text.concat());
    let done = tree.mv(&["pipeline", "run", "--jobs", "3", "--json"]);
    assert_eq!(done.status, Some(1), "{done:?}");
    assert!(done.err.contains("runs show"), "{}", done.err);
    let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let words: Vec<&str> = json["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["done"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["failed", "not run", "finished", "failed"]);
    assert_eq!(json["stages"][3]["detail"], "it did not write `d.txt`");
    let failed = tree.mv(&["runs", "--status", "failed"]).success();
    assert!(failed.contains("a: echo no; exit 3"), "{failed}");
    assert!(
        tree.mv(&["pipeline", "status", "a"])
            .success()
            .contains("no run of it has finished")
    );
}

#[test]
fn pipelines_that_make_no_sense_are_refused() {
    let tree = tree();
    let refused = |more: &str, args: &[&str]| {
        tree.put("modelv.toml", &format!("{STAGES}{more}"));
        tree.mv(args).fails_with(1)
    };
    let one = "[stage.one]\ncommand = 'x'\n";
    for (more, want) in [
        (
            format!("{one}inputs = ['report.txt']\noutputs = ['data/raw.csv']\n"),
            "wait for one another: ",
        ),
        (
            format!("{one}outputs = ['models/model.txt']\n"),
            "both write `models` and `models/model.txt`",
        ),
        (
            format!("{one}after = ['two']\n"),
            "comes after `two`, which is no stage",
        ),
        (
            format!("{one}input = ['x']\n"),
            "`stage.one.input` is none of command, inputs",
        ),
        (
            format!("{one}inputs = ['../x']\n"),
            "is no path from the top",
        ),
        (
            format!("{one}inputs = ['a']\noutputs = ['a/b']\n"),
            "reads `a` and writes `a/b`",
        ),
        ("[stage.one]\n".into(), "`stage.one.command` is missing"),
        (
            format!("{one}inputs = ['gone.csv']\n"),
            "needs `gone.csv`, which is not there",
        ),
        (
            format!("{one}params = ['gone']\n"),
            "parameter `gone` is in no configuration file",
        ),
        (
            "[train]\ncommand = 'x'\n".into(),
            "stages and a `[train] command`",
        ),
    ] {
        let said = refused(&more, &["run"]);
        assert!(
            said.contains(want) && said.contains("hint: "),
            "{want}: {said}"
        );
    }
    tree.put("modelv.toml", STAGES);
    assert!(
        tree.mv(&["pipeline", "run", "nope"])
            .fails_with(1)
            .contains("stage `nope` not found")
    );
    assert!(
        Tree::repo()
            .mv(&["pipeline"])
            .fails_with(1)
            .contains("has no stages")
    );
}

#[test]
fn ctrl_c_ends_the_programs_and_records_them() {
    let tree = Tree::repo();
    tree.put(
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[stage.slow]\ncommand = \"echo on > started; sleep 600; echo off\"\noutputs = [\"out\"]\n\
         [stage.next]\ncommand = \"cp out next\"\ninputs = [\"out\"]\noutputs = [\"next\"]\n",
    );
    let mut command = tree.command(&["pipeline", "run", "--json"]);
    let child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    while !tree.path("started").exists() {
        std::thread::yield_now();
    }
    let asked = std::time::Instant::now();
    let kill = ["-INT", &child.id().to_string()].map(str::to_owned);
    assert!(Command::new("kill").args(kill).status().unwrap().success());
    let done = Done::new(&child.wait_with_output().unwrap());
    assert_eq!(done.status, Some(130), "{done:?}");
    assert!(asked.elapsed().as_secs() < 60, "its program went on");
    let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(json["stages"][0]["done"], "interrupted", "{json}");
    assert_eq!(
        tree.mv(&["runs", "--status", "interrupted"])
            .success()
            .lines()
            .count(),
        2
    );
    assert!(!tree.path("out").exists() && !tree.path("next").exists());
}

fn one_stage(command: &str) -> Tree {
    let tree = Tree::repo();
    let stage = format!(
        "[env]\ncapture = \"none\"\n[stage.a]\ncommand = \"{command}\"\noutputs = [\"models\", \"metrics.json\"]\n"
    );
    tree.put("modelv.toml", &stage);
    tree.commit("a stage");
    tree
}

#[test]
fn what_nobody_had_recorded_is_put_aside_with_a_word() {
    let tree = one_stage("mkdir -p models; echo 1 > models/m; echo '{}' > metrics.json");
    tree.put("models/NOTES.md", "a day of work\n");
    let said = tree.mv(&["run", "-m", "one"]);
    let hint = "`modelv restore --source restore/before models/NOTES.md` brings it back";
    assert_eq!(tree.mv(&["fsck"]).status, Some(0));
    assert!(said.err.contains(hint), "{}", said.err);
    said.success();
    assert!(!tree.path("models/NOTES.md").exists());
    tree.mv(&["restore", "--source", "restore/before", "models/NOTES.md"])
        .success();
    let back = std::fs::read_to_string(tree.path("models/NOTES.md")).unwrap();
    assert_eq!(back, "a day of work\n");
}

#[test]
fn a_stage_that_a_signal_ends_has_failed() {
    let tree = one_stage("kill -SEGV $$");
    let said = tree.mv(&["run", "-m", "one"]);
    assert_eq!(said.status, Some(1), "{}", said.err);
    assert!(said.err.contains("error: stage `a` failed"), "{}", said.err);
    let runs = tree.json(&["runs", "--json"]);
    assert_eq!(runs[0]["status"], "failed", "{runs}");
}

#[test]
fn metrics_that_are_no_json_cost_no_result() {
    let diverged =
        "mkdir -p models; echo 1 > models/m; echo '{\\\"f1\\\": NaN, \\\"n\\\": 2}' > metrics.json";
    let tree = one_stage(diverged);
    tree.mv(&["run", "-m", "diverged"]).success();
    let run = tree.json(&["runs", "--json"])[0].clone();
    assert_eq!(run["metrics"]["f1"], "NaN", "{run}");
    let tree = one_stage("mkdir -p models; echo 1 > models/m; echo '{' > metrics.json");
    let said = tree.mv(&["run", "-m", "cut off"]);
    let word = "the run is kept without its metrics";
    assert!(said.err.contains(word), "{}", said.err);
    said.success();
}

#[test]
fn a_failed_pipeline_has_no_metrics_of_an_earlier_run() {
    let tree =
        one_stage("mkdir -p models; echo 1 > models/m; echo '{\\\"f1\\\": 1}' > metrics.json");
    tree.mv(&["run", "-m", "good"]).success();
    let bad = "[env]\ncapture = \"none\"\n[stage.b]\ncommand = \"exit 3\"\noutputs = [\"x\"]\n";
    tree.put("modelv.toml", bad);
    assert_eq!(tree.mv(&["run", "-m", "bad"]).status, Some(1));
    let runs = tree.json(&["runs", "--json", "--status", "failed"]);
    for run in runs.as_array().unwrap() {
        assert!(run["metrics"].get("f1").is_none(), "{run}");
    }
    tree.put("modelv.toml", &bad.replace("\"x\"", "\"modelv.toml\""));
    let said = tree.mv(&["run"]).fails_with(1);
    assert!(said.contains("no stage may write it"), "{said}");
}
