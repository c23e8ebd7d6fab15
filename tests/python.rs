//! The Python package, through the real wheel: built, installed into an environment of its own, and
//! tested by the tests beside it. Whatever is missing is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use modelv_repo::core::id::TreeId;
use modelv_repo::{CommitOptions, Ctx, Repo};

use crate::support::{BINARY, Tree};
use crate::venv::{self, must};

/// Builds the wheel; the newest that is known to work.
const MATURIN: &str = "maturin==1.16.0";
/// What the tests of saving arrays need; any version will do.
const NUMPY: &str = "numpy";
/// Compares the stubs with the module.
const MYPY: &str = "mypy==2.4.1";
/// What people train with and read data with, as the tests of `STACKS` need it.
const STACK: &[&str] = &[
    "datasets==5.2.0",
    "fsspec==2026.9.0",
    "ipykernel==7.4.0",
    "lightgbm==4.7.0",
    "matplotlib==3.11.2",
    "nbclient==0.11.0",
    "numpy==2.4.6",
    "pandas==3.1.1",
    "pyarrow==26.0.1",
    "scikit-learn==1.9.1",
    // XGBoost without what an accelerator needs.
    "xgboost-cpu==3.2.0",
];

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../modelv-py")
}

/// Cargo's folder for what tests keep, so that only the first run downloads anything.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The wheel of this source.
fn wheel() -> &'static Path {
    static WHEEL: OnceLock<PathBuf> = OnceLock::new();
    WHEEL.get_or_init(|| {
        let python = venv::python("python/venv", &[MATURIN, NUMPY, MYPY]);
        let wheels = kept("python/wheels");
        let _ = std::fs::remove_dir_all(&wheels);
        // Cargo's lock on the target folder is free while tests run, and what they were built with
        // is used again.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        must(
            Command::new(&python)
                .args(["-m", "maturin", "build", "--locked", "--interpreter"])
                .arg(&python)
                .arg("--manifest-path")
                .arg(package().join("Cargo.toml"))
                .arg("--out")
                .arg(&wheels)
                .env("CARGO_TARGET_DIR", target),
        );
        let found: Vec<PathBuf> = std::fs::read_dir(&wheels)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        let [wheel] = found.as_slice() else {
            panic!("one wheel expected: {found:?}");
        };
        let name = wheel.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.contains("-cp39-abi3-"), "{name}");
        wheel.clone()
    })
}

/// The interpreter of an environment with these packages and the wheel.
fn with_wheel(name: &str, packages: &[&str]) -> PathBuf {
    let python = venv::python(name, packages);
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--force-reinstall",
    ];
    must(Command::new(&python).args(pip).arg(wheel()));
    python
}

/// An environment with NumPy and nothing else.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| with_wheel("python/venv", &[MATURIN, NUMPY, MYPY]))
}

/// An environment with the libraries that people use beside it.
fn stack() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| with_wheel("python/stack", STACK))
}

fn unittest(python: &Path, module: &str) {
    let output = Command::new(python)
        .args(["-m", "unittest", "-v", module])
        .current_dir(package().join("tests"))
        .env("MODELV_BIN", BINARY)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("Ran 0 tests"), "{text}");
    assert!(!text.contains("skipped"), "{text}");
}

#[test]
fn every_test_of_the_package_is_run_here() {
    let here = include_str!("python.rs");
    for entry in std::fs::read_dir(package().join("tests")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if let Some(module) = name.strip_suffix(".py").filter(|n| n.starts_with("test_")) {
            assert!(here.contains(&format!("(), \"{module}\")")), "{module}");
        }
    }
}

#[test]
fn repositories() {
    unittest(python(), "test_repo");
}

#[test]
fn files() {
    unittest(python(), "test_file");
}

#[test]
fn loading() {
    unittest(python(), "test_load");
}

#[test]
fn file_systems() {
    unittest(stack(), "test_fs");
}

#[test]
fn figures() {
    unittest(stack(), "test_figure");
}

#[test]
fn notebooks() {
    unittest(stack(), "test_jupyter");
}

#[test]
fn functions() {
    unittest(stack(), "test_capture");
}

#[test]
fn models_recreated() {
    unittest(stack(), "test_recreate");
}

#[test]
fn training_libraries() {
    unittest(stack(), "test_autolog");
}

#[test]
fn runs() {
    unittest(python(), "test_run");
}

#[test]
fn stubs() {
    unittest(python(), "test_stubs");
}

/// Recipe and tree ids of HEAD, as the command line prints them.
fn ids_by_command(tree: &Tree) -> serde_json::Value {
    let python = python().to_string_lossy().into_owned();
    tree.mv(&["init"]).success();
    tree.mv(&["commit", "-m", "one", "--python", &python])
        .success();
    let commit = tree.json(&["show", "--json"]);
    serde_json::json!({"recipe": commit["recipe"], "model": commit["model"]["tree"]})
}

fn ids_by_library(tree: &Tree) -> serde_json::Value {
    let mut repo = Repo::init(tree.root()).unwrap();
    let options = CommitOptions {
        message: "two".into(),
        author: Some("Bob <bob@example.org>".into()),
        python: Some(python().to_owned()),
        ..CommitOptions::default()
    };
    let id = repo.commit(&options, &Ctx::quiet()).unwrap().id;
    let commit = repo.commit_object(id).unwrap();
    serde_json::json!({
        "recipe": {
            "id": commit.recipe.id().to_hex(),
            "code": commit.recipe.code.to_hex(),
            "data": commit.recipe.data.to_hex(),
            "config": commit.recipe.config.to_hex(),
            "env": commit.recipe.env.to_hex(),
        },
        "model": commit.model.map(|m| TreeId::to_hex(&m.tree)),
    })
}

fn ids_by_wheel(tree: &Tree) -> serde_json::Value {
    const SCRIPT: &str = "import json, sys, modelv as mv\n\
        c = mv.init(sys.argv[1]).commit('three', author='Eve <eve@example.org>')\n\
        parts = ('id', 'code', 'data', 'config', 'env')\n\
        recipe = {p: getattr(c.recipe, p) for p in parts}\n\
        print(json.dumps({'recipe': recipe, 'model': c.model}))";
    let printed = must(Command::new(python()).args(["-c", SCRIPT]).arg(tree.root()));
    serde_json::from_str(&printed).unwrap()
}

/// Writes a tree that `seed` alone decides: all ingredients, depths, sizes, an executable, a link.
fn generate(tree: &Tree, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let folders = [
        "",
        "src/",
        "src/deep/er/",
        "data/",
        "data/rohe Daten/",
        "models/",
        "conf/",
    ];
    let endings = [".py", ".csv", ".toml", ".safetensors", ".txt", ".ipynb", ""];
    for i in 0..40 {
        let folder = folders[usize::try_from(next(7)).unwrap()];
        let ending = endings[usize::try_from(next(7)).unwrap()];
        let size = [0, 10, 5000, 300_000][usize::try_from(next(4)).unwrap()];
        let content: String = (0..size)
            .map(|_| char::from(b' ' + u8::try_from(next(90)).unwrap()))
            .collect();
        tree.put(&format!("{folder}f{i}ü{ending}"), &content);
    }
    tree.put("run.sh", "#!/bin/sh\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(tree.path("run.sh"), mode).unwrap();
    std::os::unix::fs::symlink("run.sh", tree.path("link")).unwrap();
}

#[test]
fn command_library_and_wheel_give_the_same_ids() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 1..=4 {
        let trees = [Tree::empty(), Tree::empty(), Tree::empty()];
        for tree in &trees {
            generate(tree, seed);
        }
        let ids = ids_by_command(&trees[0]);
        assert_eq!(ids, ids_by_library(&trees[1]), "seed {seed}");
        assert_eq!(ids, ids_by_wheel(&trees[2]), "seed {seed}");
        seen.insert(ids["recipe"]["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), 4);
}
