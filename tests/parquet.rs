//! Parquet as pyarrow writes it, in every codec and encoding it has, compared cell by cell with what was
//! put in; and files that are none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::Tree;
use crate::venv::{self, must};

const PACKAGES: [&str; 2] = ["pyarrow==25.0.0", "numpy"];

fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| venv::python(&PACKAGES.join("-"), &PACKAGES))
}

fn script(args: &[&str], last: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parquet.py");
    must(Command::new(python()).arg(script).args(args).arg(last));
}

#[test]
fn files_of_pyarrow_are_told_cell_by_cell() {
    let tree = Tree::repo();
    for version in ["1", "2"] {
        script(&["write", version], &tree.path("data"));
        tree.commit(version);
    }
    let found = tree.mv(&["diff", "--json", "HEAD~1", "HEAD"]).success();
    let file = tree.path("found.json");
    std::fs::write(&file, found).unwrap();
    script(&["check"], &file);
    // For people, by a declared key, and as a page.
    let shown = tree
        .mv(&["diff", "HEAD~1", "HEAD", "--", "data/zstd-2.parquet"])
        .success();
    assert!(shown.contains("by id: +1 -1 ~59"), "{shown}");
    let rules = tree.get("modelv.toml");
    tree.put(
        "modelv.toml",
        &format!("{rules}\n[tables]\n\"data/*.parquet\" = {{ key = \"big\" }}\n"),
    );
    let shown = tree
        .mv(&["diff", "HEAD~1", "HEAD", "--", "data/zstd-2.parquet"])
        .success();
    assert!(shown.contains("by big:"), "{shown}");
    let page = tree
        .mv(&[
            "diff",
            "--html",
            "-",
            "HEAD~1",
            "HEAD",
            "--",
            "data/gzip-1.parquet",
        ])
        .success();
    assert!(page.contains("rows by big"), "{page}");
}

#[test]
fn what_is_no_parquet_is_binary_with_a_word() {
    let tree = Tree::repo();
    script(&["write", "1"], &tree.path("data"));
    tree.commit("good");
    let path = tree.path("data/zstd-1.parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    std::fs::write(&path, &bytes[..half]).unwrap();
    // Damage in the middle of the pages.
    let path = tree.path("data/gzip-1.parquet");
    bytes = std::fs::read(&path).unwrap();
    bytes[40..400].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let shown = tree.mv(&["diff"]);
    for path in ["zstd-1", "gzip-1"] {
        let word = format!("data/{path}.parquet is not valid Parquet (");
        assert!(shown.err.contains(&word), "{}", shown.err);
    }
    assert!(shown.err.contains("compared as binary"), "{}", shown.err);
    let _ = shown.success();
    tree.commit("bad");
    tree.mv(&["show", "-p"]).success();
}

#[test]
fn rows_and_columns_of_pyarrow_merge_and_are_read_by_it() {
    let tree = Tree::repo();
    let data = tree.path("data");
    script(&["sides", "base"], &data);
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    script(&["sides", "theirs"], &data);
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    script(&["sides", "ours"], &data);
    tree.commit("left");
    let done = tree.mv(&["merge", "side"]);
    assert!(
        done.out.contains("conflict data/nested.parquet (content)"),
        "{}",
        done.out
    );
    assert!(!done.out.contains("flat.parquet"), "{}", done.out);
    let err = done.fails_with(3);
    assert!(
        err.contains("data/nested.parquet: its column `list` is nested, merged as a whole"),
        "{err}"
    );
    script(&["merged"], &tree.path("data/flat.parquet"));
    tree.mv(&["resolve", "data/nested.parquet", "--theirs"])
        .success();
    tree.mv(&["merge", "--continue", "-m", "both"]).success();
    // One row in two ways is decided by itself.
    tree.mv(&["switch", "side"]).success();
    script(&["sides", "again"], &data);
    tree.commit("again");
    let done = tree.mv(&["merge", "main"]);
    assert!(
        done.out
            .contains("conflict data/flat.parquet:row id=3 (key)"),
        "{}",
        done.out
    );
    done.fails_with(3);
    tree.mv(&["merge", "--abort"]).success();
    tree.mv(&["merge", "main", "--strategy", "theirs"])
        .success();
}
