//! Bisect, blame and the filters of `log`, through the real binary.

use crate::support::Tree;

/// Commits 0 to 7: a line more in `train.py` each; `lr` changes in 3, data in 5, a package in 6;
/// `f1` of the run falls in 5.
fn scene() -> Tree {
    let tree = Tree::repo();
    for i in 0..8 {
        tree.put(
            "train.py",
            &(0..=i).map(|n| format!("line {n}\n")).collect::<String>(),
        );
        let lr = if i < 3 { "0.1" } else { "0.2" };
        tree.put("params.toml", &format!("[train]\nlr = {lr}\nseed = 7\n"));
        let row = if i < 5 { "two" } else { "TWO" };
        tree.put("data/x.csv", &format!("id,v\n1,one\n2,{row}\n"));
        let numpy = if i < 6 { "1.0" } else { "2.0" };
        tree.put("requirements.txt", &format!("numpy=={numpy}\nscipy==1.0\n"));
        let f1 = if i < 5 { "0.9" } else { "0.5" };
        tree.put(
            "fit.sh",
            &format!("echo '{{\"f1\": {f1}}}' > metrics.json\n"),
        );
        let mut command = tree.command(&["commit", "-m", &format!("c{i}")]);
        command.env(
            "SOURCE_DATE_EPOCH",
            (1_700_000_000 + i * 86_400).to_string(),
        );
        if i == 2 {
            command.env("MODELV_AUTHOR_NAME", "Bob");
        }
        assert!(command.output().unwrap().status.success());
        tree.mv(&["tag", &format!("c{i}")]).success();
    }
    tree
}

fn subjects(tree: &Tree, args: &[&str]) -> Vec<String> {
    let mut all = vec!["log", "--json"];
    all.extend(args);
    let log = tree.json(&all);
    let list = log.as_array().unwrap().iter();
    list.map(|c| c["message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_log_shows_what_was_asked_for() {
    let tree = scene();
    for (args, want) in [
        (&["--config", "lr"][..], &["c3", "c0"][..]),
        (&["--config", "train.lr=0.20"], &["c3"]),
        (&["--config", "lr=0.7"], &[]),
        (&["--ingredient", "data"], &["c5", "c0"]),
        (
            &["--ingredient", "config", "--ingredient", "data"],
            &["c5", "c3", "c0"],
        ),
        (&["--ingredient", "model"], &[]),
        (&["--author", "bob"], &["c2"]),
        (&["--since", "2023-11-19"], &["c7", "c6", "c5"]),
        (&["--since", "2023-11-19", "--until", "2023-11-19"], &["c5"]),
        (&["--until", "@1700000000"], &["c0"]),
        (&["-n", "1", "--", "requirements.txt"], &["c6"]),
        (&["c1..c4", "--config", "lr"], &["c3"]),
        (&["--metric", "f1>0"], &[]),
    ] {
        assert_eq!(subjects(&tree, args), want, "{args:?}");
    }
    for (args, status, want) in [
        (
            &["log", "--since", "some day"][..],
            2,
            "`some day` is no time",
        ),
        (&["log", "--config", "lr="], 1, "expected KEY or KEY=VALUE"),
        (&["log", "--metric", "f1"], 1, "expected KEY OP VALUE"),
        (&["log", "--ingredient", "x"], 2, "possible values"),
    ] {
        let said = tree.mv(args).fails_with(status);
        assert!(
            said.contains(want) && said.contains("hint: ") | (status == 2),
            "{said}"
        );
    }
    tree.mv(&["run", "-m", "train", "--", "sh", "fit.sh"])
        .success();
    assert_eq!(subjects(&tree, &["--metric", "f1<0.8"]), ["train"]);
    assert_eq!(subjects(&tree, &["--metric", "f1>0.8"]).len(), 0);
    // A change that keeps the model keeps its run, which says nothing of the new recipe.
    tree.put("params.toml", "[train]\nlr = 0.3\nseed = 7\n");
    tree.commit("not trained");
    assert_eq!(subjects(&tree, &["--metric", "f1<0.8"]), ["train"]);
    let log = tree.json(&["log", "--json", "-n", "2"]);
    assert_eq!(
        (&log[0]["metrics_stale"], &log[1]["metrics_stale"]),
        (&true.into(), &false.into())
    );
    assert_eq!(log[0]["metrics"], log[1]["metrics"]);
    tree.put("fit.sh", "echo '{\"f1\": 0.7}' > metrics.json\n");
    tree.mv(&["run", "-m", "trained", "--", "sh", "fit.sh"])
        .success();
    assert_eq!(subjects(&tree, &["--metric", "f1=0.7"]), ["trained"]);
    assert_eq!(subjects(&tree, &["--metric", "f1=0.5"]), ["train"]);
}

#[test]
fn every_part_has_the_commit_that_gave_it() {
    let tree = scene();
    let blamed = |args: &[&str]| -> (String, Vec<String>) {
        let mut all = vec!["blame", "--json"];
        all.extend(args);
        let blame = tree.json(&all);
        let parts = blame["parts"].as_array().unwrap().iter();
        let part = |p: &serde_json::Value| {
            let text = |key: &str| p[key].as_str().unwrap().to_owned();
            format!("{} {} {}", text("name"), text("subject"), text("text"))
        };
        (
            blame["kind"].as_str().unwrap().into(),
            parts.map(part).collect(),
        )
    };
    let said = tree.mv(&["blame", "data"]).fails_with(1);
    assert!(said.contains("it is a folder"), "{said}");
    assert!(
        tree.mv(&["blame", "nope"])
            .fails_with(1)
            .contains("path `nope` not found")
    );
    // What is not committed is blamed on nobody, and said.
    let edited = |args: &[&str]| {
        tree.mv(args)
            .err
            .contains("train.py has uncommitted changes")
    };
    assert!(!edited(&["blame", "train.py"]));
    let text = tree.get("train.py");
    tree.put("train.py", "other\n");
    assert!(edited(&["blame", "train.py"]) && !edited(&["blame", "train.py", "HEAD"]));
    tree.put("train.py", &text);
    let (kind, lines) = blamed(&["train.py", "c3"]);
    assert_eq!(kind, "line");
    assert_eq!(
        lines,
        ["1 c0 line 0", "2 c1 line 1", "3 c2 line 2", "4 c3 line 3"]
    );
    assert_eq!(
        blamed(&["params.toml"]),
        (
            "key".into(),
            vec!["train.lr c3 0.2".into(), "train.seed c0 7".into()]
        )
    );
    assert_eq!(
        blamed(&["requirements.txt"]),
        (
            "package".into(),
            vec!["numpy c6 numpy==2.0".into(), "scipy c0 scipy==1.0".into()]
        )
    );
    assert_eq!(
        blamed(&["data/x.csv"]),
        ("row".into(), vec!["1 c0 1,one".into(), "2 c5 2,TWO".into()])
    );
    assert_eq!(blamed(&["data/x.csv", "--lines"]).0, "line");
    assert_eq!(blamed(&["--env"]).0, "package");
    let said = tree.mv(&["blame", "params.toml"]).success();
    assert!(
        said.contains(" Ada 2023-11-17 train.lr   = 0.2\n"),
        "{said}"
    );
    // A file that was moved keeps its history; a merge hands each part to its side.
    std::fs::rename(tree.path("train.py"), tree.path("fit.py")).unwrap();
    tree.commit("moved");
    assert_eq!(blamed(&["fit.py"]).1[2], "3 c2 line 2");
    tree.mv(&["switch", "-c", "side", "HEAD~1"]).success();
    tree.put("params.toml", "[train]\nlr = 0.2\nseed = 8\n");
    tree.commit("seed");
    tree.mv(&["switch", "main"]).success();
    tree.put("params.toml", "[train]\nlr = 0.3\nseed = 7\n");
    tree.commit("lr");
    tree.mv(&["merge", "side"]).success();
    assert_eq!(
        blamed(&["params.toml"]).1,
        ["train.lr lr 0.3", "train.seed seed 8"]
    );
    tree.put("w.bin", "\0\0");
    tree.put("app.env", "API_TOKEN=abcdefghijklmnop\n");
    tree.mv(&["commit", "-m", "bin", "--allow-secret"])
        .success();
    assert_eq!(blamed(&["app.env"]).1, ["API_TOKEN bin (hidden)"]);
    for (args, want) in [
        (&["blame", "w.bin"][..], "a binary file has neither"),
        (&["blame", "nope"], "path `nope` not found"),
        (&["blame", "."], "is no file"),
        (&["blame", "data"], "it is a folder"),
    ] {
        let done = tree.mv(args);
        assert!(
            done.status != Some(0) && done.err.contains(want),
            "{}",
            done.err
        );
    }
}

#[test]
fn the_commit_that_broke_it_is_found_by_hand_and_by_command() {
    let tree = scene();
    let (bad, before) = (tree.id("c5"), tree.id("HEAD"));
    tree.mv(&["bisect", "good"]).fails_with(1);
    let said = tree.mv(&["bisect", "start", "HEAD", "c0"]).success();
    assert!(
        said.contains("7 commits left, about 2 steps\ntry "),
        "{said}"
    );
    assert!(
        tree.mv(&["bisect", "start"])
            .fails_with(1)
            .contains("under way already")
    );
    let step = tree.json(&["bisect", "good", "c4", "--json"]);
    assert_eq!(
        (&step["outcome"], &step["candidates"]),
        (&"try".into(), &3.into())
    );
    tree.mv(&["bisect", "bad", "c6"]).success();
    let found = tree.json(&["bisect", "bad", "c5", "--json"]);
    assert_eq!(
        (&found["outcome"], &found["commit"]),
        (&"found".into(), &bad.as_str().into())
    );
    // Each answer can be taken back.
    tree.mv(&["undo"]).success();
    assert_eq!(
        tree.json(&["bisect", "status", "--json"])["bad"],
        tree.id("c6").as_str()
    );
    tree.mv(&["bisect", "reset"]).success();
    assert_eq!(tree.id("HEAD"), before);
    assert!(tree.mv(&["status"]).success().starts_with("on branch main"));
    tree.mv(&["bisect", "start", "HEAD", "c0"]).success();
    let done = tree
        .mv(&["bisect", "run", "sh", "-c", "! grep -q TWO data/x.csv"])
        .success();
    assert!(
        done.contains("first bad commit ") && done.contains(" c5\n"),
        "{done}"
    );
    tree.mv(&["bisect", "reset"]).success();
    tree.mv(&["bisect", "start", "HEAD", "c0"]).success();
    let skipping = "grep -q 'line 4' train.py && ! grep -q 'line 6' train.py && exit 125; ! grep -q TWO data/x.csv";
    let done = tree.mv(&["bisect", "run", "sh", "-c", skipping]).success();
    assert!(
        done.contains("one of these") && done.contains(" c5\n"),
        "{done}"
    );
    tree.mv(&["bisect", "reset"]).success();
    assert_eq!(tree.id("HEAD"), before);
}

#[test]
fn the_commit_that_broke_it_is_found_by_a_metric_without_a_checkout() {
    let tree = scene();
    for i in 0..8 {
        tree.mv(&["switch", "--detach", &format!("c{i}")]).success();
        tree.mv(&["run", "--", "sh", "fit.sh"]).success();
    }
    tree.mv(&["switch", "main"]).success();
    tree.mv(&["bisect", "start", "HEAD", "c0"]).success();
    tree.mv(&["switch", "main"]).success();
    tree.put("train.py", "not committed\n");
    let found = tree.json(&["bisect", "run", "--metric", "f1>0.8", "--json"]);
    assert_eq!(found["commit"], tree.id("c5").as_str());
    assert!(found["tried"].as_array().unwrap().len() <= 3, "{found}");
    assert_eq!(tree.get("train.py"), "not committed\n");
    tree.mv(&["bisect", "reset"]).success();
    // No run has it: nobody can tell of any.
    tree.put("train.py", "line 0\n");
    tree.mv(&["restore", "train.py"]).success();
    tree.mv(&["bisect", "start", "c3", "c0"]).success();
    let none = tree.json(&["bisect", "run", "--metric", "recall>0.8", "--json"]);
    assert_eq!(none["outcome"], "one-of");
    tree.mv(&["bisect", "reset"]).success();
    for (args, want) in [
        (&["bisect", "start", "c0", "c3"][..], "does not lie before"),
        (&["bisect", "run", "true"], "no bisection is under way"),
        (&["bisect", "reset"], "no bisection is under way"),
        (&["bisect", "start", "nope"], "not found"),
    ] {
        let said = tree.mv(args).fails_with(1);
        assert!(said.contains(want), "{args:?}: {said}");
    }
    tree.mv(&["bisect", "start"]).success();
    assert!(
        tree.mv(&["bisect", "run", "true"])
            .fails_with(1)
            .contains("bisect needs a bad commit")
    );
    tree.mv(&["bisect", "bad", "c3"]).success();
    tree.mv(&["bisect", "good", "c0"]).success();
    assert!(
        tree.mv(&["bisect", "run", "no-such-program"])
            .fails_with(1)
            .contains("no-such-program")
    );
    assert!(
        tree.mv(&["bisect", "run", "sh", "-c", "exit 200"])
            .fails_with(1)
            .contains("bisection stops")
    );
    tree.mv(&["bisect", "bad", "c3", "c2"]).fails_with(2);
}
