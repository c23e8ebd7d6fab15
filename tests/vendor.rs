//! Vendored wheels: environments made again, and released, with nothing but the repository.

use std::path::Path;
use std::process::Command;

use crate::environment::{committed, pip, wheel};
use crate::serving::is_root;
use crate::spec::sound;
use crate::support::{BINARY, Done, Tree};

/// The binary where there is no network: not even a loopback device that is up.
fn cut_off(tree: &Tree, args: &[&str]) -> Done {
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !is_root() {
        command.arg("--map-root-user");
    }
    let plain = tree.command(&[]);
    command.arg(BINARY).args(args).current_dir(tree.root());
    command.env_clear();
    command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    // An index that would be asked is not reached, and the test ends at once.
    command.env("PIP_INDEX_URL", "http://127.0.0.1:9/simple");
    command.env("PIP_RETRIES", "0");
    command.env_remove("PIP_FIND_LINKS");
    let output = command
        .output()
        .expect("`unshare` of util-linux is needed to cut the network off");
    Done::new(&output)
}

fn json(done: Done) -> serde_json::Value {
    serde_json::from_str(&done.success()).unwrap()
}

fn said_by(python: &Path, script: &str) -> String {
    let output = Command::new(python).args(["-c", script]).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

const VALUES: &str = "import demo, accel; print(demo.VALUE, accel.VALUE)";

#[test]
fn an_environment_is_made_again_from_the_repository_alone() {
    let tree = committed();
    let said = tree
        .mv(&["env", "recreate", "--offline", "--output", "again"])
        .fails_with(1);
    assert!(said.contains("no wheel of it is vendored"), "{said}");
    assert!(said.contains("hint: `modelv env vendor REV`"), "{said}");
    let made = json(cut_off(&tree, &["env", "vendor", "--offline", "--json"]));
    assert_eq!(made["complete"], true, "{made}");
    assert_eq!(made["added"], made["repacked"], "{made}");
    // Nothing of what was installed, and nothing it was installed from, is left.
    for gone in [".venv", "wheels"] {
        std::fs::remove_dir_all(tree.path(gone)).unwrap();
    }
    let again = json(cut_off(
        &tree,
        &[
            "env",
            "recreate",
            "--offline",
            "--output",
            "again",
            "--json",
        ],
    ));
    assert_eq!(again["exact"], true, "{again}");
    assert!(again["vendored"].as_u64().unwrap() >= 2, "{again}");
    assert_eq!(said_by(&tree.path("again/bin/python"), VALUES), "one cpu\n");
    let shown = tree.mv(&["env", "show", "HEAD"]).success();
    assert!(shown.contains("\nvendored "), "{shown}");
    // What is there already stays as it is.
    let twice = tree.mv(&["env", "vendor"]).success();
    assert!(twice.contains("none of them new"), "{twice}");
    for args in [&["gc", "--now", "--repack"][..], &["fsck"]] {
        tree.mv(args).success();
    }
    sound(&tree);
    let last = json(cut_off(
        &tree,
        &[
            "env",
            "recreate",
            "--offline",
            "--output",
            "other",
            "--json",
        ],
    ));
    assert_eq!(last["env"], again["env"]);
}

#[test]
fn wheels_go_where_their_commits_go() {
    let tree = committed();
    let remote = format!("file://{}", tree.path("other").display());
    tree.mv(&["remote", "add", "origin", &remote]).success();
    // First the commit alone, as a program does that knows nothing of wheels.
    tree.mv(&["push"]).success();
    let early = Tree::empty();
    early.mv(&["clone", &remote, "."]).success();
    tree.mv(&["env", "vendor", "--offline"]).success();
    let pushed = tree.mv(&["push"]).success();
    assert!(pushed.contains("wheels of environment "), "{pushed}");
    assert!(tree.mv(&["push"]).success().contains("up to date"));
    std::fs::remove_dir_all(tree.path(".venv")).unwrap();

    let head = tree.id("HEAD");
    let (whole, one) = (Tree::empty(), Tree::empty());
    whole.mv(&["clone", &remote, "."]).success();
    one.mv(&["clone", "--bare", "--commit", &head, &remote, "."])
        .success();
    early.mv(&["fetch"]).success();
    for clone in [&whole, &one, &early] {
        let args = [
            "env",
            "recreate",
            &head,
            "--offline",
            "--output",
            "made here",
            "--json",
        ];
        let made = json(cut_off(clone, &args));
        assert_eq!(made["exact"], true, "{made}");
        assert_eq!(
            said_by(&clone.path("made here/bin/python"), VALUES),
            "one cpu\n"
        );
        clone.mv(&["fsck"]).success();
    }
    // A clone of a part says what it lacks.
    let part = Tree::empty();
    part.mv(&["clone", "--only", "code,config", &remote, "."])
        .success();
    let args = ["env", "recreate", "--offline", "--output", "made"];
    let said = part.mv(&args).fails_with(1);
    assert!(
        said.contains("this clone does not hold the vendored wheel"),
        "{said}"
    );
    assert!(said.contains("hint: `modelv fetch --add model`"), "{said}");
    part.mv(&["fetch", "--add", "model"]).success();
    part.mv(&args).success();
}

#[test]
fn only_what_was_recorded_is_taken_in() {
    let tree = committed();
    wheel(&tree, "other", "demo", "1.0", "forged");
    let site = tree.path(".venv/lib");
    let site = std::fs::read_dir(site).unwrap().next().unwrap().unwrap();
    let demo = site.path().join("site-packages/demo.py");
    std::fs::write(&demo, "VALUE = 'patched'\n").unwrap();
    let done = tree.mv(&["env", "vendor", "--offline", "--wheels", "other"]);
    assert_eq!(done.status, Some(1), "{}", done.err);
    let why = "missing: demo==1.0: ";
    assert!(done.err.contains(why), "{}", done.err);
    assert!(
        done.err
            .contains("other files than those that were installed"),
        "{}",
        done.err
    );
    let done = tree.mv(&["env", "vendor", "--offline"]);
    assert_eq!(done.status, Some(1));
    assert!(
        done.err.contains("demo.py` is not what RECORD says"),
        "{}",
        done.err
    );
    // The right one is taken, and the wheels of both times are there.
    let done = tree.json(&["env", "vendor", "--offline", "--wheels", "wheels", "--json"]);
    assert_eq!(
        (&done["complete"], &done["added"]),
        (&true.into(), &1.into()),
        "{done}"
    );
    let names: Vec<&str> = done["wheels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"demo-1.0-py3-none-any.whl"), "{names:?}");
    assert!(
        names.iter().any(|n| n.starts_with("accel-2.0+cpu-")),
        "{names:?}"
    );
    // They can be taken out again; a second time there is nothing to take out.
    tree.mv(&["env", "vendor", "--drop"]).success();
    let said = tree.mv(&["env", "vendor", "--drop"]).fails_with(1);
    assert!(said.contains("vendored environment"), "{said}");
    tree.mv(&["undo"]).success();
    assert_eq!(
        tree.json(&["env", "show", "HEAD", "--json"])["vendored"]
            .as_array()
            .unwrap()
            .len(),
        names.len()
    );
}

#[test]
fn a_lost_log_loses_no_wheels() {
    let tree = committed();
    tree.mv(&["env", "vendor", "--offline"]).success();
    let before = tree.json(&["env", "show", "HEAD", "--json"]);
    std::fs::remove_file(tree.path(".mv/oplog")).unwrap();
    let rescued = tree.mv(&["fsck", "--rescue"]);
    assert!(rescued.err.is_empty(), "{}", rescued.err);
    let after = tree.json(&["env", "show", "main", "--json"]);
    assert_eq!(before["vendored"], after["vendored"]);
    assert_eq!(tree.mv(&["branch"]).success().matches("found/").count(), 1);
}

#[test]
fn a_release_needs_no_index() {
    let tree = committed();
    tree.put("modelv.toml", "[serve]\nentry = \"serve:predict\"\n");
    tree.put(
        "serve.py",
        "import demo\ndef predict(inputs): return demo.VALUE\n",
    );
    pip(&tree, &["--upgrade", "demo==1.0"]);
    tree.commit("served");
    tree.mv(&["env", "vendor", "--offline"]).success();
    std::fs::remove_dir_all(tree.path("wheels")).unwrap();
    std::fs::remove_dir_all(tree.path(".venv")).unwrap();
    let built = cut_off(&tree, &["release", "HEAD", "--output", "image", "--json"]);
    let built = json(built);
    let layers = built["layers"].as_array().unwrap();
    let packages = layers
        .iter()
        .any(|l| l["name"].as_str().unwrap().starts_with("env: "));
    assert!(packages, "{built}");
}
