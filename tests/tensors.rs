//! Files of tensors as numpy, gguf and onnx write them, merged by tensor and read again by these.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::Tree;
use crate::venv::{self, must};

const PACKAGES: [&str; 3] = ["numpy", "gguf==0.19.0", "onnx==1.23.2"];

fn script(args: &[&str], folder: &Path) {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let python = PYTHON.get_or_init(|| venv::python("tensors", &PACKAGES));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tensors.py");
    must(Command::new(python).arg(script).args(args).arg(folder));
}

#[test]
fn files_of_tensors_merge_and_open_where_they_came_from() {
    let tree = Tree::repo();
    let models = tree.path("models");
    script(&["write", "base"], &models);
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    script(&["write", "theirs"], &models);
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    script(&["write", "ours"], &models);
    tree.commit("left");
    tree.mv(&["merge", "side", "-m", "both"]).success();
    script(&["check", "both"], &models);
    let shown = tree.mv(&["diff", "HEAD~1", "HEAD"]).success();
    assert!(
        shown.contains("m.gguf") && !shown.contains("compared as binary"),
        "{shown}"
    );
    // What both trained is one decision a file.
    tree.mv(&["switch", "-c", "again"]).success();
    script(&["write", "again"], &models);
    tree.commit("again");
    tree.mv(&["switch", "main"]).success();
    script(&["write", "base"], &models);
    tree.commit("back");
    let done = tree.mv(&["merge", "again"]);
    for name in ["m.npz", "m.gguf", "m.onnx"] {
        assert!(
            done.out
                .contains(&format!("conflict models/{name} (content)")),
            "{}",
            done.out
        );
    }
    done.fails_with(3);
    for name in ["models/m.npz", "models/m.gguf", "models/m.onnx"] {
        tree.mv(&["resolve", name, "--theirs"]).success();
    }
    tree.mv(&["merge", "--continue", "-m", "theirs"]).success();
    script(&["check", "again"], &models);
}
