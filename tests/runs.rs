//! Runs: shown, filtered, compared, ranked.

use std::os::unix::process::CommandExt;

use crate::support::Tree;

/// Three finished runs and one that failed, each of its own recipe.
fn trained() -> Tree {
    let tree = Tree::repo();
    tree.put(
        "train.sh",
        "echo \"epoch 1\"\necho '{\"f1\": '$F1', \"n\": 3}' > metrics.json\n",
    );
    for (lr, f1) in [("0.1", "0.71"), ("0.01", "0.93"), ("0.001", "0.85")] {
        tree.put("params.toml", &format!("lr = {lr}\noptimizer = \"adam\"\n"));
        let script = format!("F1={f1} sh train.sh");
        tree.mv(&["run", "-m", lr, "--", "sh", "-c", &script])
            .success();
    }
    assert_eq!(
        tree.mv(&["run", "--", "sh", "-c", "echo no; exit 3"])
            .status,
        Some(3)
    );
    tree
}

/// Short id of the run of a commit.
fn run_of(tree: &Tree, revision: &str) -> String {
    let id = &tree.json(&["runs", "show", revision, "--json"])["id"];
    id.as_str().unwrap()[..12].to_owned()
}

fn f1_of(tree: &Tree, args: &[&str]) -> Vec<f64> {
    let list = tree.json(&[&["runs", "--json"], args].concat());
    let runs = list.as_array().unwrap().iter();
    runs.filter_map(|r| r["metrics"]["f1"].as_f64()).collect()
}

#[test]
fn a_run_is_one_line_of_the_list() {
    let tree = Tree::repo();
    let script = "import json\njson.dump({'f1': 2/3}, open('metrics.json', 'w'))\n";
    tree.mv(&["run", "--", "python3", "-c", script]).success();
    let listed = tree.mv(&["runs"]).success();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let want =
        "python3 -c import json json.dump({'f1': 2/3}, open('metrics.json', 'w')) f1=0.666667\n";
    assert!(listed.ends_with(want), "{listed}");
    // Nothing is lost by it.
    let json = tree.json(&["runs", "--json"]);
    assert_eq!(json[0]["command"][2], script);
    assert_eq!(json[0]["metrics"]["f1"], 2.0 / 3.0);
    let shown = tree.mv(&["runs", "show", "HEAD"]).success();
    assert!(shown.contains("f1 = 0.6666666666666666"), "{shown}");
    assert!(
        shown.contains("determinism  unknown, `modelv reproduce` tells"),
        "{shown}"
    );
}

#[test]
fn runs_are_filtered_and_sorted() {
    let tree = trained();
    assert_eq!(tree.json(&["runs", "--json"]).as_array().unwrap().len(), 4);
    assert_eq!(f1_of(&tree, &["--sort", "f1"]), [0.71, 0.85, 0.93]);
    assert_eq!(f1_of(&tree, &["--sort", "-f1", "-n", "2"]), [0.93, 0.85]);
    assert_eq!(
        f1_of(&tree, &["--sort", "lr", "--status", "finished"]),
        [0.85, 0.93, 0.71]
    );
    assert_eq!(
        f1_of(&tree, &["--metric", "f1>0.8", "--param", "lr < 0.01"]),
        [0.85]
    );
    assert_eq!(f1_of(&tree, &["--param", "optimizer=sgd"]), [0.0; 0]);
    let failed = tree.mv(&["runs", "--status", "failed"]).success();
    assert_eq!(failed.lines().count(), 1, "{failed}");
    assert!(
        failed.contains("failed") && failed.ends_with("echo no; exit 3\n"),
        "{failed}"
    );
    let said = tree.mv(&["runs", "--sort", "nope"]).fails_with(1);
    assert!(said.contains("metric `nope` not found"), "{said}");
    let said = tree.mv(&["runs", "--metric", "f1"]).fails_with(1);
    assert!(
        said.starts_with("error: condition `f1` is not valid"),
        "{said}"
    );
    assert!(said.contains("hint: "), "{said}");
}

#[test]
fn a_run_is_shown_with_what_it_printed() {
    let tree = trained();
    let id = run_of(&tree, "HEAD~1");
    let shown = tree.mv(&["runs", "show", &id]).success();
    for line in [
        "status       finished with 0",
        "params       lr = 0.01",
        "             optimizer = \"adam\"",
        "metrics      f1 = 0.93",
        "command      F1=0.93 sh train.sh",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert_eq!(
        tree.mv(&["runs", "show", &id, "--log"]).success(),
        "epoch 1\n"
    );
    let said = tree.mv(&["runs", "show", "beefbeef"]).fails_with(1);
    assert_eq!(
        said,
        "error: run `beefbeef` not found\n\nhint: `modelv runs` lists them\n"
    );
}

#[test]
fn the_best_run_is_found() {
    let tree = trained();
    let best = tree.mv(&["runs", "best", "--metric", "f1"]).success();
    assert_eq!(
        best,
        format!(
            "{} f1 = 0.93  F1=0.93 sh train.sh\n",
            run_of(&tree, "HEAD~1")
        )
    );
    let least = tree.json(&["runs", "best", "--metric", "f1", "--min", "--json"]);
    assert_eq!(least["params"]["lr"], 0.1);
    let said = tree.mv(&["runs", "best", "--metric", "f2"]).fails_with(1);
    assert!(said.starts_with("error: metric `f2` not found"), "{said}");
}

#[test]
fn runs_are_compared_side_by_side() {
    let tree = trained();
    let (a, b) = (run_of(&tree, "HEAD~2"), run_of(&tree, "HEAD~1"));
    let shown = tree.mv(&["runs", "compare", &a, &b]).success();
    let words: Vec<Vec<&str>> = shown
        .lines()
        .map(|l| {
            l.split("  ")
                .map(str::trim)
                .filter(|w| !w.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(words[0], ["run", &a, &b]);
    let rows: Vec<&Vec<&str>> = words.iter().filter(|w| w[0].contains(' ')).collect();
    assert_eq!(rows[0], &["param lr", "0.1", "0.01"]);
    assert_eq!(rows[1], &["metric f1", "0.71", "0.93"]);
    assert_eq!(rows[2], &["param optimizer", "adam", "adam"]);
    let csv = tree
        .mv(&["runs", "compare", &a, &b, "--changed", "--csv"])
        .success();
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("kind,key,differs,"), "{csv}");
    assert_eq!(
        lines[1..],
        ["param,lr,true,0.1,0.01", "metric,f1,true,0.71,0.93"]
    );
    let json = tree.json(&["runs", "compare", "HEAD~2", "HEAD", "--json"]);
    assert_eq!(json["rows"][0]["values"], serde_json::json!([0.1, 0.001]));
}

#[test]
fn all_runs_as_one_table_of_values() {
    let tree = trained();
    let csv = tree.mv(&["runs", "--csv", "--sort", "f1"]).success();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 5, "{csv}");
    assert_eq!(
        lines[0],
        "run,started,status,duration_ms,recipe,command,param.lr,param.optimizer,metric.f1,metric.n"
    );
    assert!(lines[1].ends_with(",0.1,adam,0.71,3"), "{csv}");
    assert!(
        lines[4].contains(",failed,") && lines[4].ends_with(",adam,,"),
        "{csv}"
    );
}

#[test]
fn series_are_drawn_over_one_another() {
    let tree = Tree::repo();
    tree.put(
        "train.py",
        "import json, os, sys\n\
         out = open(os.path.join(os.environ['MODELV_RUN'], 'series.jsonl'), 'a')\n\
         for i in range(50):\n\
         \x20   out.write(json.dumps({'name': 'loss', 'step': i, 'value': float(sys.argv[1]) / (i + 1), 'time': 0.0}) + '\\n')\n",
    );
    for rate in ["1", "2"] {
        tree.mv(&["run", "--", "python3", "train.py", rate])
            .success();
    }
    let all = tree.json(&["runs", "--json"]);
    let ids: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].as_str().unwrap())
        .collect();
    let drawn = tree
        .mv(&["runs", "compare", ids[0], ids[1], "--plot", "loss"])
        .success();
    let plot: Vec<&str> = drawn.lines().skip_while(|l| *l != "loss").collect();
    assert_eq!(plot.len(), 1 + 12 + 1 + 2, "{drawn}");
    assert!(
        plot[1].trim_start().starts_with("2.000000 \u{2502}"),
        "{}",
        plot[1]
    );
    assert!(plot[12].contains("0.020000 \u{2502}"), "{}", plot[12]);
    assert!(plot[13].ends_with("0 .. 49"), "{}", plot[13]);
    let e = tree
        .mv(&["runs", "compare", ids[0], ids[1], "--plot", "nope"])
        .fails_with(1);
    assert!(e.contains("metric `nope` not found"), "{e}");
}

/// Before anybody has recorded it, a killed run is kept by nothing but its folder.
#[test]
fn a_killed_run_survives_a_collection_with_all_it_was_about() {
    let tree = Tree::repo();
    tree.put("params.toml", "seed = 1\n");
    tree.commit("code");
    tree.put("params.toml", "seed = 3\n");
    let script = "echo started > started; exec sleep 30";
    let mut child = tree
        .command(&["run", "--", "sh", "-c", script])
        .process_group(0)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !tree.path("started").exists() {
        std::thread::yield_now();
    }
    let group = format!("-{}", child.id());
    let killed = std::process::Command::new("kill")
        .args(["-9", "--", &group])
        .status();
    assert!(killed.unwrap().success());
    child.wait().unwrap();
    std::fs::remove_file(tree.path("started")).unwrap();
    tree.put("params.toml", "seed = 5\n");
    tree.mv(&["gc", "--now", "--keep-days", "0"]).success();
    tree.mv(&["fsck"]).success();
    let runs = tree.json(&["runs", "--json", "--status", "interrupted"]);
    assert_eq!(runs[0]["params"]["seed"], 3, "{runs}");
    tree.mv(&["gc", "--now", "--keep-days", "0"]).success();
    tree.mv(&["fsck"]).success();
}

#[test]
fn a_known_result_writes_over_nothing_for_good() {
    let tree = Tree::repo();
    let train = "mkdir -p models; echo v1 > models/m.bin";
    tree.commit("code");
    let run = || tree.mv(&["run", "-m", "t", "--", "sh", "-c", train]);
    run().success();
    tree.put("models/m.bin", "tuned for two days\n");
    tree.put("models/new.bin", "new\n");
    let again = run();
    assert!(again.err.contains("restore/before"), "{}", again.err);
    again.success();
    assert_eq!(tree.get("models/m.bin"), "v1\n");
    tree.mv(&["restore", "--source", "restore/before", "models"])
        .success();
    assert_eq!(tree.get("models/m.bin"), "tuned for two days\n");
    assert_eq!(tree.get("models/new.bin"), "new\n");
    // And `undo`, which takes the commit of a result back first where there is one.
    let again = run();
    assert_eq!(tree.get("models/m.bin"), "v1\n");
    again.success();
    tree.mv(&["undo"]).success();
    assert_eq!(tree.get("models/m.bin"), "tuned for two days\n");
    assert_eq!(tree.get("models/new.bin"), "new\n");
    std::fs::remove_file(tree.path("models/new.bin")).unwrap();
    tree.mv(&["restore", "."]).success();
    tree.mv(&["switch", "-c", "other", "HEAD~1"]).success();
    tree.put("models/m.bin", "mine\n");
    run().success();
    let undone = tree.mv(&["undo"]);
    assert!(
        undone.err.contains("`modelv undo` once more"),
        "{}",
        undone.err
    );
    undone.success();
    tree.mv(&["undo"]).success();
    assert_eq!(tree.get("models/m.bin"), "mine\n");
    // What somebody wrote since is not lost to it.
    run().success();
    tree.put("models/m.bin", "newer\n");
    tree.mv(&["undo"]).success();
    let said = tree.mv(&["undo"]).fails_with(1);
    assert!(
        said.contains(
            "undo would overwrite `models/m.bin`: other files than those that came in their place"
        ) && said.contains("modelv restore --source restore/before PATH"),
        "{said}"
    );
    assert_eq!(tree.get("models/m.bin"), "newer\n");
}

#[test]
fn what_reads_speaks_json() {
    let tree = Tree::repo();
    tree.put("train.py", "1\n");
    let made = tree.json(&["commit", "-m", "one", "--json"]);
    let id = tree.id("HEAD");
    assert_eq!(
        (made["id"].as_str(), made["branch"].as_str()),
        (Some(&*id), Some("main"))
    );
    assert_eq!(made["changes"].as_array().unwrap().len(), 2, "{made}");
    tree.mv(&["tag", "v1"]).success();
    assert_eq!(
        tree.json(&["tag", "--json"])[0],
        serde_json::json!({"name": "v1", "commit": id})
    );
    tree.mv(&["config", "user.name", "A"]).success();
    assert_eq!(tree.json(&["config", "--json"])["user.name"], "A");
    assert_eq!(tree.json(&["config", "user.name", "--json"]), "A");
    tree.mv(&["remote", "add", "origin", "../r"]).success();
    for args in [["remote", "list", "--json"], ["remote", "--json", "list"]] {
        assert_eq!(tree.json(&args)[0]["name"], "origin");
    }
    let sound = tree.json(&["fsck", "--json"]);
    assert_eq!(
        (&sound["sound"], &sound["problems"]),
        (&true.into(), &serde_json::json!([]))
    );
    let pack = std::fs::read_dir(tree.path(".mv/packs")).unwrap();
    let pack = pack
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "pack"));
    let pack = pack.unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let done = tree.mv(&["fsck", "--json"]);
    assert_eq!(done.status, Some(4), "{}", done.err);
    let found: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(found["sound"], false);
    assert!(!found["problems"].as_array().unwrap().is_empty(), "{found}");
}

#[test]
fn what_can_not_be_kept_of_the_outputs_is_named() {
    let tree = Tree::repo();
    tree.put("params.toml", "seed = 1\n");
    tree.commit("code");
    let script = "mkdir -p models; mkfifo models/pipe; echo > models/m";
    let said = tree.mv(&["run", "-m", "t", "--", "sh", "-c", script]);
    let want = "note: `models/pipe` is left out of the outputs: a named pipe";
    assert!(said.err.contains(want), "{}", said.err);
    said.success();
    let swept = tree.mv(&["run", "--sweep", "seed=1,2", "--", "sh", "-c", script]);
    assert!(swept.err.contains(want), "{}", swept.err);
    std::fs::remove_file(tree.path("models/pipe")).unwrap();
    let stage =
        format!("[stage.a]\ncommand = '{script}; echo 2 > models/m'\noutputs = ['models']\n");
    tree.put("modelv.toml", &format!("[env]\ncapture = 'none'\n{stage}"));
    let said = tree.mv(&["run"]);
    assert!(said.err.contains(want), "{}", said.err);
    said.success();
    // Two ways to train are one too many, however they are asked for.
    let both = format!("[env]\ncapture = 'none'\n[train]\ncommand = 'true'\n{stage}");
    tree.put("modelv.toml", &both);
    for args in [&["run"][..], &["run", "--sweep", "seed=1,2"]] {
        let said = tree.mv(args).fails_with(1);
        assert!(
            said.contains("stages and a `[train] command`: one of them is to go"),
            "{said}"
        );
    }
}

#[test]
fn what_is_asked_of_no_run_and_no_number_is_said() {
    let tree = Tree::repo();
    tree.commit("code");
    let said = tree.mv(&["runs", "forget"]).fails_with(2);
    assert!(
        said.contains("no run is named") && said.contains("`--failed`"),
        "{said}"
    );
    let script = "mkdir -p models; echo '{\"f1\": NaN}' > metrics.json; echo > models/m";
    tree.mv(&["run", "-m", "t", "--", "sh", "-c", script])
        .success();
    let said = tree.mv(&["runs", "best", "--metric", "f1"]).fails_with(1);
    assert!(
        said.contains("no finished run has a number as metric `f1`: NaN"),
        "{said}"
    );
    let said = tree.mv(&["runs", "best", "--metric", "f2"]).fails_with(1);
    assert!(said.contains("metric `f2` not found"), "{said}");
    tree.mv(&["run", "-j", "0"]).fails_with(2);
}

#[test]
fn what_the_machine_did_is_a_series_of_its_own() {
    let tree = Tree::repo();
    tree.put("bin/nvidia-smi", "#!/bin/sh\necho '0, 93, 512'\n");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.path("bin/nvidia-smi"), mode).unwrap();
    let said = tree
        .mv(&["config", "run.system-metrics", "often"])
        .fails_with(1);
    assert!(
        said.contains("a number of seconds from 0.1 on, or `off`"),
        "{said}"
    );
    tree.mv(&["config", "run.system-metrics", "0.1"]).success();
    // It ends when it has seen points of its own run.
    let script = "echo '{\"f1\": 1}' > metrics.json; until grep -q gpu.0.memory $MODELV_RUN/series.jsonl; do sleep 0.05; done";
    let mut command = tree.command(&["run", "--", "sh", "-c", script]);
    let path = format!(
        "{}:{}",
        tree.path("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let done = command.env("PATH", path).output().unwrap();
    crate::support::Done::new(&done).success();
    let shown = tree.mv(&["runs", "show", "HEAD"]).success();
    for want in [
        "metrics      f1 = 1",
        "system       cpu: mean ",
        "io.read: mean ",
        "memory: mean ",
        "gpu.0.busy: mean 93.0 %, highest 93.0 %",
        "gpu.0.memory: mean ",
    ] {
        assert!(shown.contains(want), "{want}: {shown}");
    }
    let run = tree.json(&["runs", "show", "HEAD", "--json"]);
    assert_eq!(run["metrics"], serde_json::json!({"f1": 1}));
    tree.mv(&["config", "run.system-metrics", "off"]).success();
    let wait = "sleep 0.4; echo '{\"f1\": 2}' > metrics.json";
    tree.mv(&["run", "--", "sh", "-c", wait]).success();
    let shown = tree.mv(&["runs", "show", "HEAD"]).success();
    assert!(!shown.contains("system"), "{shown}");
}

#[test]
fn forgotten_runs_are_gone_until_undo_and_their_room_with_gc() {
    let tree = trained();
    let count = |args: &[&str]| {
        let all = tree.json(&[&["runs", "--json"], args].concat());
        all.as_array().unwrap().len()
    };
    let failed = tree.json(&["runs", "--json", "--status", "failed"])[0]["id"].clone();
    let failed = failed.as_str().unwrap();
    let short = &failed[..12];
    let told = tree
        .mv(&["runs", "forget", "--failed", "--dry-run"])
        .success();
    assert_eq!((told, count(&[])), (format!("would forget {short}\n"), 4));
    let young = tree.mv(&["runs", "forget", "--failed", "--older-than", "1d"]);
    assert!(young.err.contains("no run is meant"), "{young:?}");
    tree.mv(&["runs", "forget", "--failed"]).success();
    assert_eq!((count(&[]), count(&["--status", "failed"])), (3, 0));
    tree.mv(&["undo"]).success();
    assert_eq!(count(&["--status", "failed"]), 1);
    // What a commit names is what made its model.
    let kept = tree.mv(&["runs", "forget", short, &run_of(&tree, "HEAD")]);
    assert!(kept.err.contains("stays, a commit names it"), "{kept:?}");
    assert_eq!(kept.success(), format!("forgot {short}\n"));
    tree.mv(&["gc", "--now", "--keep-days", "0"]).success();
    tree.mv(&["fsck"]).success();
    let said = tree.mv(&["runs", "show", failed]).fails_with(1);
    assert!(said.contains("not found"), "{said}");
    assert_eq!(count(&[]), 3);
    for (args, want) in [
        (&["runs", "forget"][..], "no run is named"),
        (
            &["runs", "forget", "--failed", "--older-than", "soon"],
            "`soon` is no age",
        ),
    ] {
        let said = tree.mv(args).fails_with(2);
        assert!(said.contains(want), "{said}");
    }
}
