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

/// A build backend of its own, so that building needs nothing that is installed: PEP 517.
const BACKEND: &str = r#"
import base64, hashlib, pathlib, zipfile
name, version, value = pathlib.Path("about").read_text().split()
def build_wheel(out, config_settings=None, metadata_directory=None):
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": f"VALUE = {value!r}\n",
             f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: own\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    digest = lambda t: base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b"=").decode()
    record = "".join(f"{p},sha256={digest(t)},{len(t)}\n" for p, t in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(f"{out}/{wheel}", "w") as z:
        for path, text in files.items():
            z.writestr(path, text)
    return wheel
"#;
const BUILD: &str =
    "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";

/// The source of a package that builds itself.
fn source(tree: &Tree, dir: &str, about: &str) {
    tree.put(&format!("{dir}/about"), about);
    tree.put(&format!("{dir}/backend.py"), BACKEND);
    tree.put(&format!("{dir}/pyproject.toml"), BUILD);
}

/// A server of Git repositories, until it is dropped.
struct Daemon(std::process::Child, u16);

impl Daemon {
    fn of(base: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new("git")
            .args(["daemon", "--export-all", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", base.display()))
            .arg(base)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("`git daemon` is needed");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self(child, port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has a child of its own that serves: both are asked.
        let id = self.0.id().to_string();
        let _ = Command::new("pkill").args(["-TERM", "-P", &id]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_built_from_source_is_kept_as_a_wheel() {
    let tree = committed();
    tree.put(
        ".mvignore",
        "wheels/\nmade/\nagain/\nother/\nserved/\nsdists/\n",
    );
    source(&tree, "served/lib", "fromgit 1.5 git");
    let git = |args: &[&str]| {
        let set = [
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@b",
            "-c",
            "init.defaultBranch=main",
        ];
        let mut command = Command::new("git");
        command
            .args(set)
            .args(args)
            .current_dir(tree.path("served/lib"));
        venv::must(&mut command).trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let daemon = Daemon::of(&tree.path("served"));
    let url = format!("git+git://127.0.0.1:{}/lib", daemon.1);
    pip(&tree, &[&format!("fromgit @ {url}@{commit}")]);
    // A source archive, by its file.
    source(&tree, "sdists/fromsource-0.3", "fromsource 0.3 archive");
    tree.put(
        "sdists/fromsource-0.3/PKG-INFO",
        "Metadata-Version: 2.1\nName: fromsource\nVersion: 0.3\n",
    );
    let mut tar = Command::new("tar");
    tar.args(["-czf", "fromsource-0.3.tar.gz", "fromsource-0.3"]);
    venv::must(tar.current_dir(tree.path("sdists")));
    pip(
        &tree,
        &[&tree
            .path("sdists/fromsource-0.3.tar.gz")
            .display()
            .to_string()],
    );
    tree.commit("with what was built here");
    let shown = tree.mv(&["env", "show", "HEAD"]).success();
    assert!(
        shown.contains(&format!("fromgit==1.5 @ {url}@{commit}\n")),
        "{shown}"
    );

    // From what is installed, and where nothing is, built anew from the commit that was recorded.
    let other = Tree::empty();
    let remote = format!("file://{}", tree.path("other").display());
    tree.mv(&["remote", "add", "origin", &remote]).success();
    tree.mv(&["push"]).success();
    other.mv(&["clone", &remote, "."]).success();
    let wheels = tree.path("wheels").display().to_string();
    let mut command = other.command(&["env", "vendor", "--wheels", &wheels, "--json"]);
    command.env("PIP_NO_INDEX", "1").env_remove("VIRTUAL_ENV");
    let done = Done::new(&command.output().unwrap());
    let built: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let names: Vec<&str> = built["wheels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"fromgit-1.5-py3-none-any.whl"),
        "{built} {}",
        done.err
    );
    let said = tree.mv(&["env", "vendor", "--offline"]).success();
    assert!(!said.contains("missing"), "{said}");
    drop(daemon);
    for gone in [".venv", "served", "sdists", "wheels"] {
        std::fs::remove_dir_all(tree.path(gone)).unwrap();
    }
    let made = [
        "env",
        "recreate",
        "--offline",
        "--output",
        "again",
        "--json",
    ];
    let made = json(cut_off(&tree, &made));
    assert_eq!(made["exact"], true, "{made}");
    let script = "import fromgit, fromsource; print(fromgit.VALUE, fromsource.VALUE)";
    assert_eq!(
        said_by(&tree.path("again/bin/python"), script),
        "git archive\n"
    );
}

/// An index that takes every question and never answers.
fn silent() -> (std::net::TcpListener, String) {
    let index = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/simple", index.local_addr().unwrap());
    (index, url)
}

#[test]
fn recreating_can_be_stopped_and_begun_again() {
    use std::io::Read;
    let tree = committed();
    let (index, url) = silent();
    let args = ["env", "recreate", "--output", "again", "--index", &url];
    let start = || {
        let child = tree
            .command(&args)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // pip is asking now.
        (child, index.accept().unwrap().0)
    };
    let signal = |child: &std::process::Child, name: &str| {
        venv::must(Command::new("kill").args([name, &child.id().to_string()]));
    };
    let (child, mut asked) = start();
    let said = tree.mv(&args).fails_with(1);
    assert!(said.contains("is being made by another process"), "{said}");
    signal(&child, "-TERM");
    let done = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(130), "{text}");
    assert!(
        text.contains("note: fetching accel==2.0+cpu, demo==1.0 from http://127"),
        "{text}"
    );
    assert!(!tree.path("again").exists());
    // Its pip is gone as well: the connection ends.
    let mut rest = Vec::new();
    let _ = asked.read_to_end(&mut rest);
    // Two signals that come together, as `timeout` sends them, are one wish.
    let (child, mut asked) = start();
    let id = child.id().to_string();
    venv::must(Command::new("kill").args(["-INT", &id, &id]));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(!tree.path("again").exists());
    let _ = asked.read_to_end(&mut rest);
    // Killed, it can clear nothing away; the next one does.
    let (mut child, _asked) = start();
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(tree.path("again/pyvenv.cfg").exists());
    let made = tree.json(&[
        "env", "recreate", "--output", "again", "--wheels", "wheels", "--json",
    ]);
    assert_eq!(made["exact"], true, "{made}");
}

#[test]
fn an_index_that_is_away_is_asked_once() {
    let tree = committed();
    for args in [
        &[
            "env",
            "recreate",
            "--output",
            "again",
            "--index",
            "http://127.0.0.1:9/simple",
        ][..],
        &[
            "reproduce",
            "HEAD",
            "--recreate",
            "--index",
            "http://127.0.0.1:9/simple",
        ],
    ] {
        if args[0] == "reproduce" {
            let python = tree.path(".venv/bin/python").display().to_string();
            tree.put("train.py", "import pathlib\npathlib.Path('models').mkdir()\npathlib.Path('models/x').write_text('x')\n");
            tree.mv(&["run", "-m", "t", "--", &python, "train.py"])
                .success();
        }
        let said = tree.mv(args).fails_with(1);
        assert!(
            said.contains("note: fetching accel==2.0+cpu, demo==1.0 from http://127"),
            "{said}"
        );
        assert!(
            said.contains("the package index can't be reached"),
            "{said}"
        );
        assert!(said.contains("hint: `--index URL` names another"), "{said}");
    }
    assert!(!tree.path("again").exists());
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

/// Trains in a tree with the packages of a virtual environment, keeps these in the repository, makes folder and
/// environment again elsewhere from the commit alone and without a network, trains there, and compares every
/// file of the model, bit by bit. Gives the tree, and the facts that the first run recorded.
fn made_again_elsewhere(python: &Path, train: &str) -> (Tree, serde_json::Value) {
    let tree = Tree::empty();
    tree.mv(&["init"]).success();
    tree.put("train.py", train);
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
    let facts = tree.json(&["runs", "--json"])[0]["host"].clone();
    with_python(&["env", "vendor", "--offline"]).success();
    let other = Tree::empty();
    let again = other.path("again");
    tree.mv(&["export", &commit, &again.display().to_string()])
        .success();
    let made = again.join("env").display().to_string();
    let recreate = [
        "env",
        "recreate",
        &commit,
        "--offline",
        "--output",
        &made,
        "--json",
    ];
    let made = json(cut_off(&tree, &recreate));
    assert_eq!(made["exact"], true, "{made}");
    let read = || -> std::collections::BTreeMap<_, _> {
        let files = std::fs::read_dir(again.join("models")).unwrap();
        let paths = files.map(|f| f.unwrap().path());
        paths
            .map(|p| (p.clone(), std::fs::read(p).unwrap()))
            .collect()
    };
    let before = read();
    assert!(!before.is_empty());
    std::fs::remove_dir_all(again.join("models")).unwrap();
    // With the variables that the run had: `OPENBLAS_CORETYPE`, for one, changes bits.
    let mut train = Command::new(again.join("env/bin/python"));
    train.arg("train.py").current_dir(&again).env_clear();
    venv::must(train.env("PATH", std::env::var_os("PATH").unwrap()));
    assert!(before == read(), "the weights are others");
    (tree, facts)
}

#[test]
fn a_model_of_scikit_learn_is_made_again_bit_by_bit_from_its_commit() {
    let python = venv::python(
        "scikit-learn",
        &["scikit-learn==1.6.1", "numpy==2.2.6", "scipy==1.15.3"],
    );
    let (tree, facts) = made_again_elsewhere(&python, TRAIN);
    assert_eq!(facts["imports"], "numpy scikit-learn");
    assert_eq!(
        (&facts["env.SEEN"], &facts["env.DB_PASSWORD"]),
        (&"1".into(), &"***".into())
    );
    assert!(
        facts["python"].as_str().unwrap().starts_with("3."),
        "{facts:?}"
    );
    // The libraries behind its modules have owners, where the system has a database of packages.
    let env = tree.json(&["env", "show", "HEAD", "--json"]);
    let system = env["system"].as_array().unwrap();
    let libraries = env["libraries"].as_array().unwrap();
    let mut names = system
        .iter()
        .flat_map(|s| s["libraries"].as_array().unwrap());
    let is_libm = |n: &serde_json::Value| n.as_str().unwrap().starts_with("libm.");
    assert!(
        names.any(is_libm) || libraries.iter().any(|l| is_libm(&l["name"])),
        "{env}"
    );
}

const BOOST: &str = r#"
import os
import numpy as np
import xgboost
chance = np.random.default_rng(11)
x = chance.random((400, 8))
y = (x @ chance.random(8) > 2).astype(int)
model = xgboost.train(
    {"objective": "binary:logistic", "subsample": 0.5, "colsample_bytree": 0.5, "seed": 1, "nthread": 2, "max_depth": 4},
    xgboost.DMatrix(x, y), 20)
os.makedirs("models", exist_ok=True)
model.save_model("models/trees.ubj")
np.save("models/margins.npy", model.predict(xgboost.DMatrix(x), output_margin=True))
"#;

#[test]
fn a_model_of_xgboost_is_made_again_bit_by_bit_from_its_commit() {
    let python = venv::python(
        "xgboost",
        &["xgboost-cpu==3.2.0", "numpy==2.2.6", "scipy==1.15.3"],
    );
    let (_tree, facts) = made_again_elsewhere(&python, BOOST);
    assert_eq!(facts["imports"], "numpy xgboost-cpu");
}

/// A project with its modules in `src`, as people install it in place; the build system is no part of the environment.
fn project(tree: &Tree, dir: &str, name: &str, value: &str) {
    let at = |path: &str| format!("{dir}{path}");
    let text = format!(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n\
         [project]\nname = '{name}'\nversion = '0.3'\n[project.scripts]\nsay-{name} = '{name}.tell:main'\n"
    );
    tree.put(&at("pyproject.toml"), &text);
    tree.put(
        &at(&format!("src/{name}/__init__.py")),
        &format!("VALUE = '{value}'\n"),
    );
    tree.put(&at(&format!("src/{name}/words/data.txt")), "beside\n");
    let tell = "import importlib.resources as r, {name}\ndef main():\n    print({name}.VALUE, \
                (r.files({name}) / 'words/data.txt').read_text().strip())\n";
    tree.put(
        &at(&format!("src/{name}/tell.py")),
        &tell.replace("{name}", name),
    );
}

fn pip_install(tree: &Tree, args: &[&str]) {
    let mut command = Command::new(tree.path(".venv/bin/python"));
    command.args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]);
    venv::must(command.args(args));
}

#[test]
fn what_was_used_in_place_is_made_again() {
    let tree = Tree::empty();
    tree.mv(&["init"]).success();
    tree.put(".mvignore", "again*/\n*.egg-info/\nbuild/\n");
    let outside = Tree::empty();
    project(&tree, "", "mine", "committed");
    project(&tree, "libs/part/", "part", "of it");
    project(&outside, "", "far", "from elsewhere");
    venv::must(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(tree.path(".venv")),
    );
    pip_install(&tree, &["setuptools", "wheel"]);
    let far = outside.root().display().to_string();
    let (mine, part) = (
        tree.root().display().to_string(),
        tree.path("libs/part").display().to_string(),
    );
    pip_install(
        &tree,
        &[
            "--no-build-isolation",
            "--no-deps",
            "-e",
            &mine,
            "-e",
            &part,
            "-e",
            &far,
        ],
    );
    tree.put("modelv.toml", "[serve]\nentry = 'serve:predict'\n");
    tree.put(
        "serve.py",
        "import mine, part, far\ndef predict(inputs): return mine.VALUE\n",
    );
    tree.commit("in place");
    // What the folder holds later is not what was committed.
    tree.put("src/mine/__init__.py", "VALUE = 'edited later'\n");
    let args = ["env", "recreate", "--output", "again 1"];
    let done = tree.mv(&args);
    assert_eq!(done.status, Some(1), "{}", done.err);
    assert!(
        done.err.contains(
            "left out: far==0.3: it was installed in place from a folder that is not in the commit"
        ),
        "{}",
        done.err
    );
    assert!(
        done.out
            .contains("mine==0.3 in place, with the code of the commit: "),
        "{}",
        done.out
    );
    assert!(
        done.out
            .contains("differs from what was recorded:\n- far 0.3 (file)\n"),
        "{}",
        done.out
    );
    let script = "import mine, part; print(mine.VALUE, part.VALUE, mine.__file__)";
    let said = said_by(&tree.path("again 1/bin/python"), script);
    assert!(
        said.starts_with("committed of it ")
            && said.contains("again 1/src/mine/src/mine/__init__.py"),
        "{said}"
    );
    let program = Command::new(tree.path("again 1/bin/say-mine"))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&program.stdout),
        "committed beside\n"
    );
    tree.put("src/mine/__init__.py", "VALUE = 'committed'\n");
    // A wheel of what is outside is built from its folder, which stays as it is.
    let before = std::fs::read_dir(outside.root()).unwrap().count();
    let vendored = tree.json(&["env", "vendor", "--offline", "--json"]);
    assert_eq!(vendored["complete"], true, "{vendored}");
    assert_eq!(
        vendored["in_commit"],
        serde_json::json!(["mine==0.3", "part==0.3"])
    );
    assert_eq!(std::fs::read_dir(outside.root()).unwrap().count(), before);
    std::fs::remove_dir_all(tree.path(".venv")).unwrap();
    std::fs::remove_dir_all(outside.root().join("src")).unwrap();
    let args = [
        "env",
        "recreate",
        "--offline",
        "--output",
        "again2",
        "--json",
    ];
    let done = cut_off(&tree, &args);
    let made: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(made["left_out"], serde_json::json!([]), "{made}");
    assert_eq!(made["changes"].as_array().unwrap().len(), 1, "{made}");
    let script = "import mine, part, far; print(mine.VALUE, part.VALUE, far.VALUE)";
    let said = said_by(&tree.path("again2/bin/python"), script);
    assert_eq!(said, "committed of it from elsewhere\n");
    cut_off(&tree, &["release", "HEAD", "--output", "again-image"]).success();
    tree.mv(&["release", "unpack", "again-image", "again-root"])
        .success();
    let about = tree.get("again-root/opt/modelv/image.json");
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    let site = "/opt/modelv/site-packages";
    let dirs = [site, "/opt/modelv/app/src", "/opt/modelv/app/libs/part/src"];
    assert_eq!(about["site_dirs"], serde_json::json!(dirs));
    assert!(
        tree.path("again-root")
            .join(&site[1..])
            .join("far/__init__.py")
            .exists()
    );
    for root in &dirs[1..] {
        assert!(tree.path("again-root").join(&root[1..]).is_dir(), "{root}");
    }
    tree.mv(&["fsck"]).success();
    sound(tree.root());
}

#[test]
fn a_clean_folder_imports_its_own_code() {
    let tree = Tree::empty();
    tree.mv(&["init"]).success();
    let mut venv = Command::new("python3");
    venv::must(
        venv.args(["-m", "venv", "--without-pip"])
            .arg(tree.path(".venv")),
    );
    let python = tree.path(".venv/bin/python");
    let site = said_by(&python, "import site; print(site.getsitepackages()[0])");
    let site = Path::new(site.trim());
    let info = site.join("mine-0.3.dist-info");
    std::fs::create_dir(&info).unwrap();
    let source = tree.path("src").display().to_string();
    let direct = format!(
        "{{\"url\": \"file://{}\", \"dir_info\": {{\"editable\": true}}}}",
        tree.root().display()
    );
    for (name, text) in [
        (
            "METADATA",
            "Metadata-Version: 2.1\nName: mine\nVersion: 0.3\n",
        ),
        ("RECORD", "mine-0.3.dist-info/RECORD,,\n"),
        ("direct_url.json", direct.as_str()),
    ] {
        std::fs::write(info.join(name), text).unwrap();
    }
    std::fs::write(site.join("mine.pth"), format!("{source}\n")).unwrap();
    tree.put(
        "train.py",
        "import mine, os\nos.makedirs('models', exist_ok=True)\nopen('models/m.txt', 'w').write(mine.VALUE)\n",
    );
    let python = python.to_str().unwrap();
    let train = |value: &str| {
        project(&tree, "", "mine", value);
        tree.commit(value);
        tree.mv(&["run", "-m", value, "--", python, "train.py"])
            .success();
        assert_eq!(tree.get("models/m.txt"), value);
        tree.id("HEAD")
    };
    let first = train("one");
    train("three");
    // The package in the interpreter leads to the working tree, which holds other code by now.
    let said = tree.mv(&["reproduce", &first]).success();
    assert!(said.contains("bit-equal"), "{said}");
}
