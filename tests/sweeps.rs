//! Sweeps and reproduction through the real binary.

use crate::support::Tree;

/// Trains a "model" that depends on two parameters; fails for a learning rate of 0.3.
fn tree() -> Tree {
    let tree = Tree::repo();
    tree.put(
        "train.py",
        "import json, os, pathlib, tomllib\n\
         p = tomllib.loads(pathlib.Path('params.toml').read_text())\n\
         if p['lr'] == 0.3: raise SystemExit('it diverged')\n\
         pathlib.Path('models').mkdir(exist_ok=True)\n\
         pathlib.Path('models/w.txt').write_text('%s %s' % (p['lr'], p['seed']))\n\
         pathlib.Path('scratch.txt').write_text('x')\n\
         json.dump({'f1': p['lr'] * 10 + p['seed']}, open('metrics.json', 'w'))\n",
    );
    tree.put("params.toml", "lr = 0.1 # rate\nseed = 1\n");
    tree.put("data/x.csv", "1,2\n");
    tree.put(".gitignore", "scratch.txt\n");
    tree.commit("code");
    tree
}

const TRAIN: [&str; 3] = ["--", "python3", "train.py"];

fn sweep(tree: &Tree, more: &[&str]) -> crate::support::Done {
    let args = [
        "run",
        "--sweep",
        "lr=0.1,0.2,0.3",
        "--sweep",
        "seed=1..2",
        "--jobs",
        "2",
    ];
    tree.mv(&[&args, more, &TRAIN].concat())
}

#[test]
fn a_value_typed_twice_is_one_point() {
    let tree = tree();
    let args = [&["run", "--json", "--sweep", "seed=1,1,2"][..], &TRAIN].concat();
    assert_eq!(tree.json(&args)["points"].as_array().unwrap().len(), 2);
}

#[test]
fn several_parameters_stand_behind_one_flag() {
    let tree = tree();
    let args = [
        "run",
        "--sweep",
        "lr=0.1,0.2",
        "seed=1..2",
        "--jobs",
        "2",
        "--json",
    ];
    let points = tree.json(&[&args[..], &TRAIN].concat())["points"].clone();
    let shown: Vec<String> = points
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["point"].to_string())
        .collect();
    let want =
        ["0.1", "0.2"].map(|lr| ["1", "2"].map(|seed| format!("{{\"lr\":{lr},\"seed\":{seed}}}")));
    assert_eq!(shown, want.concat());
    // A command without `--` before it is no parameter, and says so.
    let said = tree
        .mv(&["run", "--sweep", "lr=0.1", "python3", "train.py"])
        .fails_with(1);
    assert!(
        said.contains("`python3`") && said.contains("-- python train.py"),
        "{said}"
    );
}

#[test]
fn the_last_part_of_a_key_names_it_where_it_is_the_only_one() {
    let tree = tree();
    tree.put(
        "params.toml",
        "[train]\nlr = 0.1\nseed = 1\n[eval]\nseed = 2\n",
    );
    let run = |words: &[&str]| {
        let command = ["--", "sh", "-c", "mkdir -p models; cp params.toml models/p"];
        tree.mv(&[&["run", "--sweep"], words, &command].concat())
    };
    run(&["lr=0.5", "train.seed=7", "--promote", "none"]).fails_with(1);
    let all = tree.json(&["runs", "--json", "--param", "train.lr=0.5"]);
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all[0]["params"]["train.seed"], 7);
    let said = run(&["seed=1,2"]).fails_with(1);
    let both = "`params.toml:train.seed`, `params.toml:eval.seed`";
    let turned = "`params.toml:eval.seed`, `params.toml:train.seed`";
    assert!(said.contains(both) || said.contains(turned), "{said}");
    let said = run(&["rate=1,2"]).fails_with(1);
    assert!(
        said.contains("no `{rate}`") && said.contains("--lr {lr}"),
        "{said}"
    );
}

#[test]
fn flags_of_the_command_are_swept_where_it_names_them() {
    let tree = tree();
    let sweep = |more: &[&str]| {
        let head = ["run", "--json", "--sweep", "rate=0.25,0.5", "lr=0.1,0.2"];
        let command = [
            "--",
            "sh",
            "-c",
            "mkdir models; echo $0 $1 > models/w",
            "--r={rate}",
            "{lr}",
        ];
        tree.json(&[&head[..], more, &command].concat())
    };
    let done = sweep(&[]);
    let points = done["points"].as_array().unwrap();
    let command = |n: usize| points[n]["run"]["command"].as_array().unwrap()[3..].to_vec();
    assert_eq!(command(0), ["--r=0.25", "0.1"]);
    assert_eq!(command(3), ["--r=0.5", "0.2"]);
    assert_eq!(points[3]["run"]["params"]["rate"], 0.5);
    assert_eq!(points[3]["run"]["params"]["lr"], 0.2);
    // What the command names stands in no file then: one recipe, four commands, each known afterwards.
    let recipe = |n: usize| points[n]["run"]["recipe"].clone();
    assert_eq!(recipe(0), recipe(3));
    let again = sweep(&[]);
    let known = again["points"].as_array().unwrap().iter();
    assert_eq!(known.filter(|p| p["reused"] == true).count(), 4);
}

#[test]
fn every_point_is_a_run_of_its_own_recipe() {
    let tree = tree();
    tree.put("models/mine.txt", "not committed\n");
    let done = sweep(&tree, &["--promote", "f1", "--branch", "best"]);
    assert_eq!(done.status, Some(1), "{done:?}");
    assert!(
        done.err.contains("2 of 6 points failed") && done.err.contains("it diverged"),
        "{}",
        done.err
    );
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.len(), 7, "{}", done.out);
    assert!(
        lines[0].starts_with("lr   seed  status    duration"),
        "{}",
        lines[0]
    );
    assert!(lines[4].starts_with("0.2  2     finished"), "{}", lines[4]);
    assert!(lines[6].starts_with("0.3  2     failed"), "{}", lines[6]);
    // The user's tree is as it was.
    assert!(!tree.path("models/w.txt").exists() && !tree.path("scratch.txt").exists());
    assert_eq!(tree.get("models/mine.txt"), "not committed\n");
    let left = std::fs::read_dir(tree.path(".mv/tmp")).unwrap();
    assert_eq!(left.count(), 0);
    let all = tree.json(&["runs", "--json", "--metric", "f1>0"]);
    let recipes: std::collections::BTreeSet<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["recipe"].as_str().unwrap())
        .collect();
    assert_eq!(recipes.len(), 4);
    // The best one is a branch, with its parameters in the file and its model.
    assert_eq!(
        tree.mv(&["cat", "best:params.toml"]).success(),
        "lr = 0.2 # rate\nseed = 2\n"
    );
    assert_eq!(tree.mv(&["cat", "best:models/w.txt"]).success(), "0.2 2");
    assert_eq!(tree.json(&["show", "best", "--json"])["metrics"]["f1"], 4.0);
    tree.mv(&["gc", "--now", "--keep-days", "0"]).success();
    tree.mv(&["fsck"]).success();
    // Known points are not executed again, those that failed are.
    let again = sweep(&tree, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    let reused = json["points"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["reused"] == true);
    assert_eq!(reused.count(), 4);
    let id = all[0]["id"].as_str().unwrap();
    tree.mv(&[
        "runs", "best", "--metric", "f1", "--min", "--branch", "least",
    ])
    .success();
    assert_eq!(tree.mv(&["cat", "least:models/w.txt"]).success(), "0.1 1");
    assert!(!id.is_empty());
}

#[test]
fn sweeps_that_make_no_sense_are_refused() {
    let tree = tree();
    for (sweep, want) in [
        ("rate=1,2", "parameter `rate` is in no configuration file"),
        ("lr", "expected KEY=V1,V2"),
        ("lr=", "expected KEY=V1,V2"),
    ] {
        let args = [&["run", "--sweep", sweep], &TRAIN[..]].concat();
        let said = tree.mv(&args).fails_with(1);
        assert!(said.contains(want) && said.contains("hint: "), "{said}");
    }
    assert_eq!(tree.mv(&["runs"]).success(), "");
}

#[test]
fn parameters_of_the_command_line_are_recorded() {
    let tree = tree();
    let run = |value: &str| {
        let param = format!("extra={value}");
        tree.mv(&[&["run", "--param", &param], &TRAIN[..]].concat())
            .success()
    };
    run("3");
    let shown = tree.json(&["runs", "show", "HEAD", "--json"]);
    assert_eq!(
        shown["params"],
        serde_json::json!({"extra": 3, "lr": 0.1, "seed": 1})
    );
    assert!(run("3").contains("taken from the store"));
    assert!(!run("4").contains("taken from the store"));
}

#[test]
fn a_commit_is_reproduced_bit_by_bit_or_it_says_where_it_differs() {
    let tree = tree();
    tree.mv(&[&["run", "-m", "train"], &TRAIN[..]].concat())
        .success();
    tree.put("params.toml", "lr = 0.9\nseed = 9\n");
    let said = tree.mv(&["reproduce", "HEAD"]).success();
    assert!(said.contains("bit-equal  models/w.txt\n"), "{said}");
    let run = &tree.json(&["runs", "--json", "-n", "1"])[0];
    assert!(
        run["determinism"] == "bit-equal" || run["repeats"].is_null(),
        "{run}"
    );
    assert_eq!(tree.get("params.toml"), "lr = 0.9\nseed = 9\n");

    // A script that is never the same: numbers drift by a count that it keeps outside.
    tree.put(
        "train.py",
        "import json, os, pathlib, struct\n\
         n = pathlib.Path(os.environ['HOME'] + '-count')\n\
         count = int(n.read_text()) if n.exists() else 0\n\
         n.write_text(str(count + 1))\n\
         head = json.dumps({'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]},\n\
                            'b': {'dtype': 'F32', 'shape': [1], 'data_offsets': [8, 12]}}).encode()\n\
         head += b' ' * (-len(head) % 8)\n\
         body = struct.pack('<3f', 1.0, 2.0, 3.0 + count / 1024)\n\
         pathlib.Path('w.safetensors').write_bytes(struct.pack('<Q', len(head)) + head + body)\n",
    );
    tree.mv(&[&["run", "-m", "drifts"], &TRAIN[..]].concat())
        .success();
    let said = tree.mv(&["reproduce"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.out.contains("different  w.safetensors: first at b: 1 of 1 numbers differ, largest distance 9.765625e-4"),
        "{}",
        said.out
    );
    let json = tree.json(&["reproduce", "--tolerance", "0.01", "--json"]);
    assert_eq!(json["determinism"], "tolerance", "{json}");
    assert_eq!(json["files"][0]["max_abs"], 0.001_953_125);
    let shown = tree
        .mv(&["runs", "show", json["run"].as_str().unwrap()])
        .success();
    assert!(
        shown.contains("determinism  tolerance, repeats run"),
        "{shown}"
    );
    // The run that was repeated tells it, too: the newest first.
    let shown = tree.mv(&["runs", "show", "HEAD"]).success();
    let word = "determinism  tolerance (run ";
    assert!(
        shown.contains(word) && shown.contains(", different (run "),
        "{shown}"
    );
    let json = tree.json(&["runs", "show", "HEAD", "--json"]);
    assert_eq!(json["repeated_by"][1]["determinism"], "different", "{json}");
    let said = tree.mv(&["reproduce", "HEAD~2"]).fails_with(1);
    assert!(
        said.contains("has no model to make again") && said.contains("hint: `modelv run`"),
        "{said}"
    );
    tree.mv(&["fsck"]).success();
}

#[test]
fn a_pipeline_is_reproduced_stage_by_stage() {
    let tree = Tree::repo();
    tree.put(
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[stage.one]\ncommand = \"echo 1 > build/one.txt # a comment\"\noutputs = [\"build/one.txt\"]\n\
         [stage.two]\ncommand = \"cat build/one.txt > two.txt\"\ninputs = [\"build/one.txt\"]\noutputs = [\"two.txt\"]\n",
    );
    tree.mv(&["run", "-m", "first"]).success();
    let said = tree.mv(&["reproduce"]).success();
    assert!(
        said.contains("bit-equal  build/one.txt\nbit-equal  two.txt\n"),
        "{said}"
    );
}

#[test]
fn what_cannot_end_well_does_not_begin() {
    let tree = tree();
    for args in [
        &["--promote", "f1", "--branch", "main"][..],
        &["--promote", "f1", "--branch", "no..name"],
        &["--dry-run"],
    ] {
        let said = tree.mv(&[&["run", "--sweep", "lr=0.1,0.2"], args].concat());
        assert_ne!(said.status, Some(0), "{args:?}: {}", said.err);
    }
    assert_eq!(tree.json(&["runs", "--json"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_sweep_that_makes_no_sense_is_refused_before_anything_runs() {
    let tree = tree();
    let twice = ["run", "--sweep", "lr=0.1", "--sweep", "params.toml:lr=0.2"];
    for (args, status, want) in [
        (&[&twice[..], &TRAIN].concat()[..], 1, "is given twice"),
        (&["run", "-j", "0", "--sweep", "lr=0.1"], 2, "--jobs"),
        (
            &[
                "run",
                "--sweep",
                "lr=0.1",
                "--promote",
                "f1",
                "--branch",
                "bad name",
            ],
            1,
            "bad name",
        ),
        (
            &[
                "run",
                "--sweep",
                "lr=0.1",
                "--promote",
                "f1",
                "--branch",
                "main",
            ],
            1,
            "already exists",
        ),
    ] {
        let said = tree.mv(args).fails_with(status);
        assert!(said.contains(want) && !said.contains(": runs"), "{said}");
    }
    let none = tree.json(&["runs", "--json"]);
    assert_eq!(none, serde_json::json!([]));
    let args = ["run", "--json", "--sweep", "lr=1e-1,abc", "--", "true"];
    let done = tree.mv(&args);
    assert!(
        done.err
            .contains("`lr` is no text in `params.toml`, and `abc` is"),
        "{}",
        done.err
    );
    let json: serde_json::Value = serde_json::from_str(&done.success()).unwrap();
    assert_eq!(json["points"][0]["point"]["lr"], 0.1, "{json}");
    assert_eq!(json["points"][1]["point"]["lr"], "abc");
}
