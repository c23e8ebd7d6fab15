//! Golden requests: recorded from the working tree, and put to the image before it counts.

use std::process::Command;

use serde_json::json;

use crate::serving::{served, share_caches};
use crate::support::Tree;

const RULES: &str = "[serve]\nentry = \"serve:predict\"\ngolden = \"golden.jsonl\"\n";

/// A repository whose golden requests are recorded and committed.
fn recorded() -> Tree {
    let tree = served();
    share_caches(&tree);
    tree.put("modelv.toml", RULES);
    tree.put(
        "requests.txt",
        "{\"inputs\": [1, 2.5]}\n{\"name\": \"three\", \"request\": [3]}\n",
    );
    let out = tree.mv(&["release", "golden", "requests.txt"]).success();
    assert_eq!(out, "recorded 2 requests in golden.jsonl\n");
    assert_eq!(
        tree.get("golden.jsonl"),
        "{\"request\":{\"inputs\":[1,2.5]},\"response\":[2,5.0]}\n\
         {\"name\":\"three\",\"request\":[3],\"response\":[6]}\n"
    );
    tree.commit("with golden requests");
    tree
}

const RELEASE: [&str; 4] = ["release", "HEAD", "--output", "image"];

#[test]
fn an_image_that_answers_otherwise_is_not_released() {
    let tree = recorded();
    let done = tree.mv(&RELEASE);
    assert!(
        done.err
            .contains("2 golden requests are answered as recorded"),
        "{}",
        done.err
    );
    done.success();
    // What an image has answered, an equal one does.
    let again = tree.json(&[&RELEASE[..], &["--json"]].concat());
    assert_eq!(again["golden"], json!({"requests": 2}));
    std::fs::remove_dir_all(tree.path("image")).unwrap();
    tree.put("models/w.json", "{\"scale\": 2.001}");
    let code = tree.get("serve.py");
    tree.commit("another model");
    let said = tree.mv(&RELEASE).fails_with(1);
    assert!(
        said.contains("request 1 at `[0]`: expected 2, got 2.001; request 2 (`three`) at `[0]`: expected 6, got 6.00"),
        "{said}"
    );
    assert!(
        said.contains("`modelv release golden` records them anew"),
        "{said}"
    );
    assert!(!tree.path("image").exists());
    let ci = tree.mv(&["ci", "run", "HEAD", "--output", "image"]);
    assert!(ci.out.contains("failed release"), "{}", ci.out);
    ci.fails_with(1);
    // Nothing is asked where nobody wants to know.
    tree.mv(&[&RELEASE[..], &["--no-replay"]].concat())
        .success();
    let said = tree
        .mv(&["release", "verify", "image", "--replay"])
        .fails_with(1);
    assert!(said.contains("expected 2, got 2.001"), "{said}");
    tree.put("modelv.toml", &format!("{RULES}golden-tolerance = 0.01\n"));
    tree.commit("numbers may differ");
    tree.mv(&RELEASE).success();
    // A function that fails, and one that can't be loaded.
    for (change, want) in [
        (
            "raise ValueError('gone')",
            "expected an answer, got 500 predict_failed: ValueError: gone",
        ),
        (
            "\nimport no_such_module\ndef nothing(): pass",
            "the server does not start: cannot load `serve:predict`",
        ),
    ] {
        let broken = code.replace("print('talk on stdout')", change);
        tree.put("serve.py", &broken);
        tree.commit("broken");
        let said = tree.mv(&RELEASE).fails_with(1);
        assert!(said.contains(want), "{said}");
    }
    // Recorded anew from the same requests.
    tree.put("serve.py", &code);
    tree.mv(&["release", "golden"]).success();
    assert!(
        tree.get("golden.jsonl").contains("6.00"),
        "{}",
        tree.get("golden.jsonl")
    );
    tree.put("modelv.toml", RULES);
    tree.commit("right again");
    let ci = tree.json(&[
        "ci",
        "run",
        "HEAD",
        "--output",
        "image",
        "--compression",
        "zstd",
        "--json",
    ]);
    assert_eq!(ci["replay"], json!({"requests": 2}), "{ci}");
    let names: Vec<_> = ci["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["check", "evaluate", "release", "replay", "verify"]);
    let manifest = tree.json(&["release", "inspect", "image", "--json"]);
    assert_eq!(manifest["digest"], ci["image"]);
    let digest = ci["image"]
        .as_str()
        .unwrap()
        .replace("sha256:", "image/blobs/sha256/");
    assert!(
        tree.get(&digest).contains("tar+zstd"),
        "layers as asked for"
    );
}

#[test]
fn a_machine_that_cannot_start_it_says_so() {
    let tree = recorded();
    // Whoever runs this may make no namespace for mounts, as in many a container.
    let run = |args: &[&str]| {
        let inner = tree.command(args);
        let script = "echo 0 > /proc/sys/user/max_mnt_namespaces && exec \"$@\"";
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", script, "sh"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(tree.root())
            .env_clear()
            .envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .output()
            .unwrap();
        crate::support::Done::new(&output)
    };
    let done = run(&RELEASE);
    let want = "warning: 2 golden requests were not put to the image: this machine makes no \
                namespace for it (unshare: unshare failed: ";
    assert!(done.err.contains(want), "{}", done.err);
    done.success();
    let ci = run(&["ci", "run", "HEAD", "--output", "image", "--json"]).success();
    let ci: serde_json::Value = serde_json::from_str(&ci).unwrap();
    let why = ci["replay"]["skipped"].as_str().unwrap();
    assert!(why.contains("unshare failed"), "{ci}");
    assert_eq!(ci["passed"], true);
    // A record of it is no answer where it can be started.
    let ci = tree.json(&["ci", "run", "HEAD", "--output", "image", "--json"]);
    assert_eq!(ci["replay"], json!({"requests": 2}), "{ci}");
}

#[test]
fn what_is_no_golden_request_is_refused() {
    let tree = served();
    share_caches(&tree);
    let said = tree
        .mv(&["release", "golden", "requests.txt"])
        .fails_with(1);
    assert!(said.contains("add `golden = \"golden.jsonl\"`"), "{said}");
    tree.put("modelv.toml", RULES);
    for (requests, want) in [
        ("[1\n", "line 1 is not JSON"),
        ("\n", "it holds no request"),
        (
            "[1]\n\"raise\"\n",
            "request 2 is not answered: 500 predict_failed: ValueError: no such thing",
        ),
    ] {
        tree.put("requests.txt", requests);
        let said = tree
            .mv(&["release", "golden", "requests.txt"])
            .fails_with(1);
        assert!(said.contains(want), "{said}");
        assert!(!tree.path("golden.jsonl").exists());
    }
    tree.commit("without the file");
    let said = tree.mv(&RELEASE).fails_with(1);
    assert!(
        said.contains("golden requests in `golden.jsonl`: the commit has no such file"),
        "{said}"
    );
    tree.put("golden.jsonl", "{\"request\": [1]}\n");
    tree.commit("without an answer");
    let said = tree.mv(&RELEASE).fails_with(1);
    assert!(said.contains("request 1 has no recorded answer"), "{said}");
    let plan = tree.mv(&["release", "plan", "HEAD"]);
    assert!(
        plan.out.contains("problem: golden requests in"),
        "{}",
        plan.out
    );
}
