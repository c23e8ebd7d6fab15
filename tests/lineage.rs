//! What made a file, and what was made of it; and many runs at once.

use crate::support::Tree;

fn piped() -> Tree {
    let tree = Tree::repo();
    tree.put(
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[stage.clean]\ncommand = \"tr a-z A-Z < data/raw.csv > build/clean.csv\"\n\
         inputs = [\"data/raw.csv\"]\noutputs = [\"build/clean.csv\"]\n\
         [stage.train]\ncommand = \"mkdir -p models; wc -c < build/clean.csv > models/w.txt\"\n\
         inputs = [\"build/clean.csv\"]\noutputs = [\"models\"]\n",
    );
    tree.put("data/raw.csv", "a,b\n1,2\n");
    tree.mv(&["run", "-m", "trained"]).success();
    tree
}

fn stage_of(link: &serde_json::Value) -> &str {
    link["run"]["stage"]["name"].as_str().unwrap_or("-")
}

#[test]
fn lineage_goes_both_ways() {
    let tree = piped();
    let made = tree.json(&["lineage", "models/w.txt", "--json"]);
    assert_eq!(made["made_by"].as_array().unwrap().len(), 1, "{made}");
    let train = &made["made_by"][0];
    assert_eq!(stage_of(train), "train");
    assert_eq!(train["sources"][0]["path"], "build/clean.csv");
    let clean = train["sources"][0]["made_by"][0].as_str().unwrap();
    let shown = tree.json(&["runs", "show", clean, "--json"]);
    assert_eq!(shown["stage"]["name"], "clean");
    assert_eq!(made["made_in"][0]["id"], tree.id("HEAD").as_str());
    // From the data on.
    let used = tree.json(&["lineage", "HEAD:data/raw.csv", "--json"]);
    assert!(used["made_by"].as_array().unwrap().is_empty(), "{used}");
    let users: Vec<&str> = used["used_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(stage_of)
        .collect();
    assert!(
        users.contains(&"clean") && !users.contains(&"train"),
        "{users:?}"
    );
    assert_eq!(used["used_in"][0]["path"], "data/raw.csv");
    // By the digits of its id, from a folder below, and for people.
    let digest = used["content"].as_str().unwrap();
    let by_id = tree.json(&["lineage", &digest[..12], "--json"]);
    assert_eq!(by_id["used_by"], used["used_by"]);
    let below = tree.mv(&["-C", "build", "lineage", "clean.csv"]).success();
    assert!(
        below.contains("finished clean: tr a-z") && below.contains("finished train: mkdir"),
        "{below}"
    );
    let said = tree.mv(&["lineage", "no-such-thing"]).fails_with(1);
    assert!(said.contains("hint: "), "{said}");
}

#[test]
fn who_left_a_model_alone_did_not_make_it() {
    let tree = Tree::repo();
    tree.put("modelv.toml", "[env]\ncapture = \"none\"\n");
    let run = |text: &str| {
        tree.mv(&["run", "-m", text, "--", "sh", "-c", text])
            .success()
    };
    run("mkdir models; echo a > models/a.txt");
    run("echo b > models/b.txt");
    run("echo c > models/c.txt");
    let makers = |path: &str| -> Vec<String> {
        let found = tree.json(&["lineage", path, "--json"]);
        let runs = found["made_by"].as_array().unwrap().iter();
        runs.map(|l| l["run"]["command"][2].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        makers("models/a.txt"),
        ["mkdir models; echo a > models/a.txt"]
    );
    assert_eq!(makers("models/b.txt"), ["echo b > models/b.txt"]);
    // What somebody put there was made by no run.
    tree.put("models/d.txt", "d\n");
    tree.commit("by hand");
    run("echo e > models/e.txt");
    assert!(makers("models/d.txt").is_empty());
}

#[test]
fn a_commit_has_what_made_it_and_what_follows() {
    let tree = piped();
    let first = tree.id("HEAD");
    tree.put("data/raw.csv", "a,b\n1,2\n3,4\n");
    tree.mv(&["run", "-m", "more data"]).success();
    let found = tree.json(&["lineage", &first, "--json"]);
    assert_eq!(found["made_by"].as_array().unwrap().len(), 3, "{found}");
    assert_eq!(found["used_in"][0]["id"], tree.id("HEAD").as_str());
    assert_eq!(found["used_by"].as_array().unwrap().len(), 3);
    let shown = tree.mv(&["lineage", "HEAD"]).success();
    assert!(
        shown.contains(&format!("follows commit {} trained", &first[..12])),
        "{shown}"
    );
}

#[test]
fn of_fifty_runs_at_once_none_is_lost() {
    let tree = Tree::repo();
    tree.put("params.toml", "seed = 100\n");
    tree.commit("code");
    let start = |n: usize| {
        // In the working tree there is one at a time; points of sweeps have trees of their own.
        let point = format!("seed={n}");
        let args = ["run", "--sweep", &point, "--", "sh", "-c", "exit 3"];
        let mut command = tree.command(&args);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let all: Vec<_> = (0..50).map(start).collect();
    for child in all {
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    }
    let runs = tree.json(&["runs", "--json", "--status", "failed"]);
    let runs = runs.as_array().unwrap();
    let points = runs.iter().filter(|r| !r["parent"].is_null());
    let seeds: std::collections::BTreeSet<i64> = points
        .map(|r| r["params"]["seed"].as_i64().unwrap())
        .collect();
    assert_eq!((runs.len(), seeds), (100, (0..50).collect()));
    tree.mv(&["fsck"]).success();
}
