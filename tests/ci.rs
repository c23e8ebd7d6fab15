//! The way of a commit through a CI, here and by the files that are written for it.

use std::process::Command;

use crate::serving::{served, share_caches};
use crate::support::{BINARY, Done, Tree};

const EVALUATE: &str = "\
[serve]
entry = \"serve:predict\"
[evaluate]
command = \"test ! -e fail && echo evaluating && echo '{\\\"f1\\\": 0.9}' > metrics.json\"
";

fn evaluated() -> Tree {
    let tree = served();
    share_caches(&tree);
    tree.put("modelv.toml", EVALUATE);
    tree.commit("evaluated");
    tree
}

#[test]
fn a_commit_passes_once_and_its_result_is_kept() {
    let tree = evaluated();
    let id = tree.id("HEAD");
    let done = tree.mv(&["ci", "run", "HEAD", "--output", "image"]);
    assert!(done.err.contains("evaluating"), "{}", done.err);
    let out = done.success();
    for step in ["check", "evaluate", "release", "verify"] {
        assert!(out.contains(&format!("passed {step}")), "{out}");
    }
    assert!(out.contains("f1 = 0.9"), "{out}");
    assert!(!tree.path("metrics.json").exists());
    let again = tree.mv(&["ci", "run", &id[..10], "--output", "image"]);
    assert!(!again.err.contains("evaluating"), "{}", again.err);
    let again = again.success();
    assert!(again.contains("from the record"), "{again}");
    let again = tree.json(&["ci", "run", &id[..10], "--output", "image", "--json"]);
    assert_eq!(
        (&again["passed"], &again["commit"]),
        (&true.into(), &id.as_str().into())
    );
    // Without its image a result answers nothing.
    std::fs::remove_dir_all(tree.path("image")).unwrap();
    let again = tree
        .mv(&["ci", "run", "HEAD", "--output", "image"])
        .success();
    assert!(!again.contains("from the record"), "{again}");
    assert!(tree.path("image/index.json").exists());
}

#[test]
fn a_step_that_fails_ends_it_and_is_tried_again() {
    let tree = evaluated();
    tree.put("fail", "1\n");
    tree.commit("fails");
    for _ in 0..2 {
        let done = tree.mv(&["ci", "run", "HEAD", "--output", "image"]);
        assert!(done.out.contains("passed check"), "{}", done.out);
        assert!(done.out.contains("failed evaluate"), "{}", done.out);
        assert!(!done.out.contains("release"), "{}", done.out);
        done.fails_with(1);
    }
    assert!(!tree.path("image").exists());
}

#[test]
fn what_is_written_for_a_ci_does_what_it_says() {
    let tree = evaluated();
    let error = tree.mv(&["ci", "init", "gitlab"]).fails_with(1);
    assert!(error.contains("remote"), "{error}");
    tree.mv(&["remote", "add", "origin", "remote"]).success();
    tree.mv(&["push"]).success();
    for (service, file) in [
        ("jenkins", "Jenkinsfile"),
        ("github", ".github/workflows/modelv.yml"),
        ("gitlab", ".gitlab-ci.yml"),
    ] {
        tree.mv(&["ci", "init", service]).success();
        let text = tree.get(file);
        assert!(!text.contains('@') || service == "github", "{text}");
        let url = format!("'file://{}'", tree.path("remote").display());
        assert!(text.contains(&url), "{text}");
        let exists = tree.mv(&["ci", "init", service]).fails_with(1);
        assert!(exists.contains("--force"), "{exists}");
    }
    // Its commands, as its runner gives them to a shell; the packages of this commit are this machine's.
    let text = tree.get(".gitlab-ci.yml").replace(" --recreate", "");
    let script: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("    - modelv"))
        .collect();
    assert_eq!(script.len(), 2, "{text}");
    let ci = Tree::empty();
    std::os::unix::fs::symlink(BINARY, ci.path("modelv")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    for command in script {
        let done = Command::new("sh")
            .args(["-ec", &format!("modelv{command}")])
            .current_dir(ci.root())
            .env("PATH", format!("{}:{path}", ci.root().display()))
            .env("COMMIT", tree.id("HEAD"))
            .env(
                "MODELV_REMOTE",
                format!("file://{}", tree.path("remote").display()),
            )
            .output()
            .unwrap();
        Done::new(&done).success();
    }
    let record: serde_json::Value = serde_json::from_str(&ci.get("ci.json")).unwrap();
    assert_eq!(
        (&record["passed"], &record["metrics"]["f1"]),
        (&true.into(), &0.9.into())
    );
    assert!(ci.path("image/index.json").exists());
    let odd = tree.mv(&["ci", "init", "github", "--force", "--from", "s3://a'b"]);
    odd.fails_with(2);
}
