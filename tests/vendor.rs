//! Vendored wheels: environments made again, and released, with nothing but the repository.

use std::path::Path;
use std::process::Command;

use crate::environment::{committed, pip, wheel};
use crate::serving::is_root;
use crate::spec::sound;
use crate::support::{BINARY, Done, Tree};
use crate::venv;

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
    sound(tree.root());
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
    rescued.success();
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

#[test]
fn uv_installs_the_same_as_pip() {
    let uv = venv::python("uv", &["uv==0.5.11"]);
    let tree = committed();
    tree.mv(&["env", "vendor", "--offline"]).success();
    let mut command = tree.command(&[
        "env",
        "recreate",
        "--offline",
        "--output",
        "again",
        "--json",
    ]);
    let path = std::env::var_os("PATH").unwrap();
    let all = [uv.parent().unwrap().as_os_str(), &path].join(std::ffi::OsStr::new(":"));
    command
        .env("PATH", all)
        .env("VIRTUAL_ENV", tree.path(".venv"));
    let made = json(Done::new(&command.output().unwrap()));
    assert_eq!(made["exact"], true, "{made}");
    let lib = std::fs::read_dir(tree.path("again/lib")).unwrap();
    let lib = lib.map(|e| e.unwrap().path()).next().unwrap();
    let installer = lib.join("site-packages/demo-1.0.dist-info/INSTALLER");
    assert_eq!(std::fs::read_to_string(installer).unwrap().trim(), "uv");
}

const TRAIN: &str = r#"
import os
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
x, y = load_breast_cancer(return_X_y=True)
linear = LogisticRegression(max_iter=5000).fit(x, y)
trees = GradientBoostingClassifier(n_estimators=20, random_state=7).fit(x, y)
os.makedirs("models", exist_ok=True)
np.save("models/linear.npy", np.append(linear.coef_[0], linear.intercept_))
np.save("models/trees.npy", trees.predict_proba(x))
print("trained")
"#;

#[test]
fn a_model_of_scikit_learn_is_made_again_bit_by_bit_from_its_commit() {
    let python = venv::python(
        "scikit-learn",
        &["scikit-learn==1.6.1", "numpy==2.2.6", "scipy==1.15.3"],
    );
    let tree = Tree::empty();
    tree.mv(&["init"]).success();
    tree.put("train.py", TRAIN);
    tree.put(
        "modelv.toml",
        "[env]\nvariables = [\"DB_PASSWORD\", \"SEEN\"]\n",
    );
    let with_python = |args: &[&str]| {
        let mut command = tree.command(args);
        let home = python.parent().and_then(Path::parent).unwrap();
        command
            .env("VIRTUAL_ENV", home)
            .env("SEEN", "1")
            .env("DB_PASSWORD", "hunter2");
        Done::new(&command.output().unwrap())
    };
    let program = python.display().to_string();
    with_python(&["run", "-m", "train", "--", &program, "train.py"]).success();
    let commit = tree.id("HEAD");
    let run = tree.json(&["runs", "--json"])[0].clone();
    let facts = run["host"].as_object().unwrap();
    assert_eq!(facts["imports"], "numpy scikit-learn");
    assert_eq!(
        (&facts["env.SEEN"], &facts["env.DB_PASSWORD"]),
        (&"1".into(), &"***".into())
    );
    assert!(
        facts["python"].as_str().unwrap().starts_with("3."),
        "{facts:?}"
    );
    with_python(&["env", "vendor", "--offline"]).success();
    // Another folder, another environment, no network, and nothing but the repository.
    let other = Tree::empty();
    tree.mv(&[
        "export",
        &commit,
        &other.path("again").display().to_string(),
    ])
    .success();
    let made = other.path("again/env").display().to_string();
    let made = json(cut_off(
        &tree,
        &[
            "env",
            "recreate",
            &commit,
            "--offline",
            "--output",
            &made,
            "--json",
        ],
    ));
    assert_eq!(made["exact"], true, "{made}");
    let models = ["models/linear.npy", "models/trees.npy"];
    let read = |name: &str| std::fs::read(other.path("again").join(name)).unwrap();
    let before = models.map(read);
    std::fs::remove_dir_all(other.path("again/models")).unwrap();
    // With the variables that the run had: `OPENBLAS_CORETYPE`, for one, changes bits.
    let mut again = Command::new(other.path("again/env/bin/python"));
    again.arg("train.py").current_dir(other.path("again"));
    venv::must(
        again
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap()),
    );
    assert!(before == models.map(read), "the weights are others");
}
