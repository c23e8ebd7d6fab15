//! Questions about images: what a release would do, what an image is made of, what differs between two.

use std::collections::BTreeMap;
use std::path::Path;

use crate::push::{Registry, released};
use crate::serving::{served, served_by, share_caches};
use crate::support::Tree;

/// All files below a folder, with their times: what was written shows.
fn traces(dir: &Path) -> BTreeMap<std::path::PathBuf, std::time::SystemTime> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() && !path.ends_with("no-home") {
            out.extend(traces(&path));
        }
        out.insert(path, meta.modified().unwrap());
    }
    out
}

fn not_known(plan: &serde_json::Value) -> Vec<&str> {
    let layers = plan["layers"].as_array().unwrap();
    let unknown = layers.iter().filter(|l| l["cached"] == false);
    unknown.map(|l| l["name"].as_str().unwrap()).collect()
}

#[test]
fn a_plan_says_how_much_is_fetched() {
    let tree = served_by("python3", &[]);
    let plan = tree.json(&["release", "plan", "HEAD", "--json"]);
    let labels = plan["fetch"].as_array().unwrap().len();
    assert!(labels > 0 && plan["fetch_unknown"] == 0, "{plan}");
    // pip alone, of which every environment has one.
    let shown = tree.mv(&["release", "plan", "HEAD"]).success();
    assert!(
        shown.contains("\nfetch: ") && shown.contains(" MB\n"),
        "{shown}"
    );
    assert!(
        !tree.path(".mv/cache/wheels").exists(),
        "nothing is fetched"
    );
    tree.mv(&["release", "HEAD", "--output", "image"]).success();
    let wheels = std::fs::read_dir(tree.path(".mv/cache/wheels")).unwrap();
    let bytes: u64 = wheels.map(|w| w.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(plan["fetch_bytes"], bytes);
    let plan = tree.json(&["release", "plan", "HEAD", "--json"]);
    assert_eq!(
        (&plan["fetch_bytes"], &plan["fetch_unknown"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_plan_says_what_a_release_will_do_and_writes_nothing() {
    let tree = served();
    tree.mv(&["status"]).success();
    let before = traces(tree.root());
    let plan = tree.json(&["release", "plan", "HEAD", "--json"]);
    assert_eq!(traces(tree.root()), before);
    assert_eq!(
        not_known(&plan),
        ["base", "server", "model", "code and config", "commit"]
    );
    assert_eq!(
        (&plan["digest"], &plan["problems"]),
        (&().into(), &serde_json::json!([]))
    );
    share_caches(&tree);
    let image = tree.json(&["release", "HEAD", "--output", "image", "--json"]);
    let plan = tree.json(&["release", "plan", "HEAD", "--json"]);
    assert_eq!(plan["digest"], image["digest"], "all layers are known");
    assert_eq!(not_known(&plan), ["commit"]);
    tree.put("serve.py", &format!("{}\n# more\n", tree.get("serve.py")));
    tree.commit("more code");
    let plan = tree.json(&["release", "plan", "HEAD", "--json"]);
    assert_eq!(not_known(&plan), ["code and config", "commit"]);
    // What is in the way is said all at once.
    tree.put("bare/etc/passwd", "");
    let said = tree.mv(&["release", "plan", "HEAD", "--base", "bare"]);
    assert_eq!(said.status, Some(1), "{}", said.err);
    for want in [
        "problem: shared libraries are missing",
        "problem: base `",
        "it has no python3",
    ] {
        assert!(said.out.contains(want), "{want} in {}", said.out);
    }
}

#[test]
fn a_plan_of_a_push_counts_what_is_missing_there() {
    let registry = Registry::start("");
    let tree = released();
    let to = format!("{}/team/doubles:1", registry.address);
    let plan = || tree.json(&["release", "plan", "HEAD", "--push", &to, "--json"]);
    let before = plan();
    let sizes = before["layers"].as_array().unwrap().iter();
    let total: u64 = sizes.map(|l| l["size"].as_u64().unwrap()).sum();
    assert_eq!(
        (&before["push"]["send"], &before["push"]["present"]),
        (&total.into(), &0.into())
    );
    tree.mv(&["release", "push", "image", &to]).success();
    let after = plan();
    assert_eq!(
        (&after["push"]["send"], &after["push"]["present"]),
        (&0.into(), &total.into())
    );
}

/// A commit whose model a run has made.
fn trained() -> Tree {
    let tree = served();
    share_caches(&tree);
    tree.put(".mvignore", "/one\n/two\n");
    tree.put("data/rows.csv", "a\n1\n");
    tree.put("train.sh", "wc -c < data/rows.csv > models/size.txt\n");
    tree.mv(&["run", "-m", "trained", "--", "sh", "train.sh"])
        .success();
    tree
}

#[test]
fn an_image_is_explained_wherever_it_is() {
    let registry = Registry::start("");
    let tree = trained();
    let commit = tree.id("HEAD");
    let to = format!("{}/team/doubles:1", registry.address);
    let image = tree.json(&[
        "release",
        "HEAD",
        "--output",
        "image",
        "--tar",
        "image.tar",
        "--push",
        &to,
        "--json",
    ]);
    let digest = image["digest"].as_str().unwrap();
    let pinned = format!("{}/team/doubles@{digest}", registry.address);
    for name in ["image", "image.tar", &to, &pinned] {
        let found = tree.json(&["release", "explain", name, "--json"]);
        assert_eq!(found["digest"], digest);
        assert_eq!(found["commit"]["id"], commit.as_str(), "{name}");
        assert_eq!(found["recipe"]["id"], tree.recipe());
        assert_eq!(found["data"][0]["path"], "data/rows.csv");
        assert_eq!(found["runs"][0]["command"][1], "train.sh", "{found}");
        assert_eq!(found["doubt"], serde_json::Value::Null);
    }
    let shown = tree.mv(&["release", "explain", &pinned]).success();
    for want in [
        "trained, by Ada",
        "data: 1 files",
        "made by run",
        "sh train.sh",
    ] {
        assert!(shown.contains(want), "{want} in {shown}");
    }
    // Where the commit is not, the answer is that it is not.
    let other = served();
    let said = other
        .mv(&["release", "explain", tree.path("image").to_str().unwrap()])
        .fails_with(1);
    assert!(said.contains(&commit[..12]), "{said}");
    let gone = format!("{}/team/doubles:2", registry.address);
    let said = tree.mv(&["release", "explain", &gone]).fails_with(1);
    assert!(said.contains("404"), "{said}");
}

#[test]
fn an_image_in_a_registry_is_a_base() {
    let registry = Registry::start("");
    let tree = released();
    let to = format!("{}/team/doubles:1", registry.address);
    let first = tree.json(&["release", "push", "image", &to, "--json"]);
    let pinned = format!(
        "{}/team/doubles@{}",
        registry.address,
        first["digest"].as_str().unwrap()
    );
    let build = |base: &str, name: &str| {
        tree.json(&[
            "release", "HEAD", "--base", base, "--output", name, "--json",
        ])
    };
    let (local, tag, pin) = (build("image", "a"), build(&to, "b"), build(&pinned, "c"));
    assert_eq!(
        (&tag["digest"], &pin["digest"]),
        (&local["digest"], &local["digest"])
    );
}

#[test]
fn two_images_differ_by_what_was_changed() {
    let tree = trained();
    tree.json(&["release", "HEAD", "--output", "one", "--json"]);
    tree.put("serve.py", &format!("{}\n# more\n", tree.get("serve.py")));
    let second = tree.commit("more code");
    let image = tree.json(&["release", "HEAD", "--output", "two", "--json"]);
    let found = tree.json(&["release", "diff", "one", "two", "--json"]);
    let names = |key: &str| -> Vec<String> {
        let layers = found[key].as_array().unwrap().iter();
        layers
            .map(|l| l["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("added"), ["code and config", "commit"]);
    assert_eq!(names("removed"), ["code and config", "commit"]);
    assert_eq!(found["new"]["commit"], second.as_str());
    let want = serde_json::json!({
        "opt/modelv/app/serve.py": "changed", "opt/modelv/image.json": "changed",
    });
    assert_eq!(found["files"], want);
    let layers = image["layers"].as_array().unwrap();
    let pulled: u64 = layers
        .iter()
        .rev()
        .take(1)
        .map(|l| l["size"].as_u64().unwrap())
        .sum();
    let bytes = found["pull_bytes"].as_u64().unwrap();
    assert!(bytes > pulled && bytes < 20_000, "{bytes}");
    let shown = tree.mv(&["release", "diff", "one", "two"]).success();
    assert!(shown.contains("~ opt/modelv/app/serve.py"), "{shown}");
    assert!(shown.contains("who has the first pulls"), "{shown}");
    let same = tree.json(&["release", "diff", "one", "one", "--json"]);
    assert_eq!(
        (&same["pull_bytes"], &same["files"]),
        (&0.into(), &serde_json::json!({}))
    );
}

#[test]
fn layers_packed_with_zstd_hold_the_same() {
    let tree = released();
    let zstd = [
        "release",
        "HEAD",
        "--compression",
        "zstd",
        "--output",
        "small",
        "--json",
    ];
    let small = tree.json(&zstd);
    let plain = tree.json(&["release", "inspect", "image", "--json"]);
    let ids = |image: &serde_json::Value| -> Vec<serde_json::Value> {
        image["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l["diff_id"].clone())
            .collect()
    };
    assert_eq!(ids(&small), ids(&plain));
    let same = tree.mv(&["release", "verify", "small"]).success();
    assert!(same.contains("is what commit"), "{same}");
    tree.json(&["release", "unpack", "small", "root"]);
    assert_eq!(
        tree.get("root/opt/modelv/app/models/w.json"),
        "{\"scale\": 2}"
    );
    let said = tree
        .mv(&[
            "release",
            "HEAD",
            "--compression",
            "zstd",
            "--output",
            "x",
            "--tar",
            "x.tar",
        ])
        .fails_with(2);
    assert!(said.contains("packed with zstd"), "{said}");
    assert!(!tree.path("x.tar").exists() && !tree.path("x").exists());
}
