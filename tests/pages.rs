//! Reports as pages: complete, and nothing of a repository gets into their markup. What a browser
//! makes of them, `tests/pages.py` looks at.

use std::path::Path;
use std::process::Command;

use crate::support::Tree;

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;";

/// Every tag of a page; panics at markup that we never write.
fn tags(page: &str) -> Vec<String> {
    const KNOWN: &str = "!doctype html head meta title style body main h1 h2 h3 p div table caption thead \
        tbody tr th td details summary del ins svg rect line path text figure img figcaption ul li footer em span";
    let known: Vec<&str> = KNOWN.split_whitespace().collect();
    let mut out = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part
            .split_once('>')
            .unwrap_or_else(|| panic!("no end: {part}"));
        let name = tag
            .trim_start_matches('/')
            .split([' ', '>'])
            .next()
            .unwrap();
        assert!(known.contains(&name), "<{tag}>");
        let attributes = tag.split('"').step_by(2);
        for attribute in attributes {
            assert!(!attribute.contains(" on"), "<{tag}>");
        }
        out.push(tag.to_owned());
    }
    out
}

fn page(tree: &Tree, args: &[&str]) -> String {
    let said = tree.mv(args);
    assert_eq!(said.err, "wrote page.html\n");
    let _ = said.success();
    tree.get("page.html")
}

/// A run with a course of two metrics.
fn trained(tree: &Tree, message: &str, f1: &str) {
    let script = format!(
        "for i in 1 2 3; do echo '{{\"name\": \"loss\", \"step\": '$i', \"value\": 0.'$i', \"time\": 1.0}}' \
         >> $MODELV_RUN/series.jsonl; done; echo '{{\"f1\": {f1}, \"<script>m\": {f1}}}' > metrics.json"
    );
    tree.mv(&["run", "-m", message, "--", "sh", "-c", &script])
        .success();
}

fn hostile() -> Tree {
    let tree = Tree::repo();
    let name = HOSTILE.replace('/', "|");
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let files = |n: u32| {
        tree.put(&format!("{name}.py"), &format!("a = 1\n{HOSTILE}{n}\n"));
        tree.put(
            &format!("conf/{name}.json"),
            &format!("{{{quoted}: \"{n}<script>\"}}"),
        );
        tree.put("params.toml", &format!("lr = 0.{n}\n"));
        tree.put(
            "requirements.txt",
            &format!("numpy=={n}.0; python_version > \"{n}.<script>\"\n"),
        );
        tree.put(
            "data/x.csv",
            &format!("id,<script>c\n<script>k,{n}<script>v\n"),
        );
        let cell = serde_json::json!({"cells": [{"cell_type": "code", "id": "<script>i", "metadata": {},
            "outputs": [], "execution_count": null, "source": [format!("x = {n} # <script>")]}],
            "metadata": {}, "nbformat": 4, "nbformat_minor": 5});
        tree.put("n.ipynb", &cell.to_string());
        let header = "{\"<script>t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
        let mut tensors = (header.len() as u64).to_le_bytes().to_vec();
        tensors.extend(header.bytes());
        tensors.push(u8::try_from(n).unwrap());
        std::fs::create_dir_all(tree.path("models")).unwrap();
        std::fs::write(tree.path("models/w.safetensors"), tensors).unwrap();
        std::fs::write(
            tree.path("pic.png"),
            // A header is enough to be shown; what follows is the browser's to refuse.
            [
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01".as_slice(),
                &[n as u8],
            ]
            .concat(),
        )
        .unwrap();
    };
    files(1);
    trained(&tree, HOSTILE, "0.5");
    files(2);
    trained(&tree, HOSTILE, "0.75");
    tree
}

#[test]
fn nothing_of_a_repository_gets_into_the_markup() {
    let tree = hostile();
    let shown = page(&tree, &["diff", "--html", "page.html", "HEAD~1", "HEAD"]);
    let found = tags(&shown);
    assert_eq!(found.iter().filter(|t| t.starts_with("img ")).count(), 2);
    assert!(found.iter().any(|t| t.contains("default-src 'none'")));
    // Every place is there, and escaped.
    for text in [
        "&lt;script&gt;t",
        "&lt;script&gt;i",
        "&lt;script&gt;k",
        "&lt;script&gt;c: 1&lt;script&gt;v",
        "&lt;script&gt;m",
        "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&gt;",
        "numpy",
    ] {
        assert!(shown.contains(text), "{text} in {shown}");
    }
    let runs = page(
        &tree,
        &["runs", "compare", "HEAD~1", "HEAD", "--html", "page.html"],
    );
    let found = tags(&runs);
    assert!(runs.contains("&lt;script&gt;m"), "{runs}");
    // One chart, a line of three points for each run, and what tells them apart.
    assert_eq!(
        found
            .iter()
            .filter(|t| t.contains("class=\"chart\""))
            .count(),
        1
    );
    assert_eq!(runs.matches("<path class=\"run c1\"").count(), 2);
    assert_eq!(runs.matches("d=\"M").count(), 4);
}

#[test]
fn a_browser_shows_the_pages_and_runs_nothing() {
    let tree = hostile();
    for (file, args) in [
        ("diff.html", &["diff", "HEAD~1", "HEAD"][..]),
        ("runs.html", &["runs", "compare", "HEAD~1", "HEAD"]),
    ] {
        tree.mv(&[args, &["--html", file]].concat()).success();
        std::fs::rename(tree.path(file), tree.path(&format!("hostile-{file}"))).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/pages.py");
    let output = Command::new("python3")
        .arg(script)
        .args(["--binary", env!("CARGO_BIN_EXE_modelv")])
        .args([
            tree.path("hostile-diff.html"),
            tree.path("hostile-runs.html"),
        ])
        .output()
        .expect("this test needs `python3`");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn a_page_says_what_matters_and_where_it_was_cut() {
    let tree = Tree::repo();
    let text = |word: &str| -> String { (0..6_000).map(|n| format!("{word} {n}\n")).collect() };
    tree.put("long.py", &text("old"));
    tree.put("params.toml", "lr = 0.1\n");
    trained(&tree, "first", "0.5");
    tree.put("long.py", &text("new"));
    tree.put("params.toml", "lr = 0.2\n");
    trained(&tree, "second", "0.75");
    let shown = page(&tree, &["show", "--html", "page.html"]);
    let _ = tags(&shown);
    for text in [
        "<th scope=\"row\">f1</th><td class=\"good\">+0.2500 (+50.0 %), better</td><td>0.5</td><td>0.75</td>",
        "<th scope=\"row\">lr</th><td>0.1</td><td>0.2</td>",
        "<del>old</del> 0</td>",
        "<ins>new</ins> 0</td>",
        "Cut here: the rest of this file differs too",
        " -- long.py` shows all.",
        "<details><summary>long.py",
        "<details open><summary>params.toml",
        "Ada &lt;ada@example.org&gt;",
    ] {
        assert!(shown.contains(text), "{text}");
    }
    assert!(shown.contains(&tree.id("HEAD")) && shown.contains(&tree.recipe()));
    // To standard output, and without words around it.
    let out = tree
        .mv(&["diff", "--html", "-", "HEAD~1", "HEAD"])
        .success();
    assert!(out.starts_with("<!doctype html>") && out.ends_with("</html>\n"));
    let said = tree
        .mv(&["diff", "--html", "none/page.html", "HEAD~1", "HEAD"])
        .fails_with(1);
    assert!(said.contains("none/page.html"), "{said}");
}
