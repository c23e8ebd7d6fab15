//! How long a build takes, told before it: by the example, and by `release` itself.

use std::path::Path;
use std::process::Command;

use crate::serving::{served, share_caches};
use crate::support::BINARY;
use crate::venv;

fn example(path: &str) -> std::path::PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/build-time");
    top.join(path)
}

#[test]
fn the_example_learns_from_builds_and_answers() {
    let packages = ["scikit-learn==1.6.1", "numpy==2.2.6", "scipy==1.15.3"];
    let wanted = std::fs::read_to_string(example("project/requirements.txt")).unwrap();
    assert_eq!(wanted.lines().collect::<Vec<_>>(), packages);
    let python = venv::python("scikit-learn", &packages);
    let dir = tempfile::tempdir().unwrap();
    let said = venv::must(
        Command::new("python3")
            .arg(example("run.py"))
            .args(["--modelv", BINARY, "--python"])
            .arg(&python)
            .arg("--keep")
            .arg(dir.path().join("work")),
    );
    for want in [
        "mae_of_the_slowest_tenth_ms",
        "a-package-of-our-own",
        "image sha256:",
    ] {
        assert!(said.contains(want), "{want} in {said}");
    }
}

#[test]
fn requirements_are_read_as_they_are_meant() {
    let mut test = Command::new("python3");
    test.arg("test_requirements.py");
    venv::must(test.current_dir(example("project")));
}

/// A line of `builds.jsonl`, of a build that took at least so long.
fn build(i: u64, least: u64) -> String {
    let numpy = i.is_multiple_of(2);
    let packages = if numpy { "\"numpy 2.0\"" } else { "" };
    let size = if numpy { 64 << 20 } else { 0 };
    let milliseconds = least + if numpy { 5000 } else { 0 } + i % 7;
    format!(
        "{{\"version\":1,\"image\":\"\",\"compression\":\"gzip\",\"fetched\":[],\"milliseconds\":{milliseconds},\
         \"layers\":[{{\"name\":\"env: numpy 2.0\",\"cached\":false,\"unpacked\":{size},\"packages\":[{packages}],\
         \"milliseconds\":1}}]}}\n"
    )
}

#[test]
fn builds_are_noted_and_the_next_one_is_told() {
    let tree = served();
    share_caches(&tree);
    let estimate = || tree.json(&["release", "HEAD", "--estimate", "--json"]);
    let first = estimate();
    assert_eq!(first["builds"], 0);
    assert!(
        first["low"].as_u64() < first["milliseconds"].as_u64(),
        "{first}"
    );
    assert!(
        first["milliseconds"].as_u64() < first["high"].as_u64(),
        "{first}"
    );
    tree.mv(&["release", "HEAD", "-o", "image"]).success();
    let noted = tree.get(".mv/builds.jsonl");
    let noted: serde_json::Value = serde_json::from_str(&noted).unwrap();
    let names: Vec<&str> = noted["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.last(), Some(&"commit"));
    assert!(
        names.contains(&"server") && names.contains(&"model"),
        "{names:?}"
    );
    // What is known now takes no time any more.
    assert!(estimate()["milliseconds"].as_u64() <= first["milliseconds"].as_u64());
    tree.put(
        ".mv/builds.jsonl",
        &(0..60).map(|i| build(i, 1000)).collect::<String>(),
    );
    let learned = estimate();
    assert_eq!(learned["builds"], 60);
    let likely = learned["milliseconds"].as_u64().unwrap();
    assert!((900..1300).contains(&likely), "{learned}");
    let plan = tree.mv(&["release", "plan", "HEAD"]).success();
    assert!(
        plan.contains("in 90 of 100; learned from 60 builds)"),
        "{plan}"
    );
    let said = tree.mv(&["release", "HEAD", "--estimate"]).success();
    assert!(said.starts_with("time: about 1."), "{said}");
    // Worth a wait: it is told before the build, too.
    let long: String = (0..60).map(|i| build(i, 9000)).collect();
    tree.put(".mv/builds.jsonl", &long);
    let done = tree.mv(&["release", "HEAD", "-o", "image"]);
    let said = "in 90 of 100; learned from 60 builds)\n";
    assert!(
        done.err.contains("  about 9.") || done.err.contains("  about 8."),
        "{done:?}"
    );
    assert!(done.err.contains(said), "{done:?}");
    done.success();
    // What can't be built has no time.
    tree.put("modelv.toml", "");
    tree.commit("nothing to serve");
    let said = tree.mv(&["release", "HEAD", "--estimate"]).fails_with(1);
    assert!(said.contains("release plan"), "{said}");
    tree.mv(&["release", "HEAD"]).fails_with(2);
    tree.mv(&["release", "HEAD", "--estimate", "-o", "x"])
        .fails_with(2);
}
