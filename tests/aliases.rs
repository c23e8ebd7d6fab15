//! Names of deployments: moves past gates, refusals with both numbers, and the way back.

use crate::support::Tree;

/// What the evaluation finds is in the model.
const TOML: &str = "\
[env]
capture = \"none\"
[evaluate]
command = \"cp models/metrics.json metrics.json\"
require = [\"f1 >= 0.8\", \"slice.*.f1 > 0.5\"]
no-worse = [\"f1\"]
";

fn model(tree: &Tree, f1: f64, german: f64) -> String {
    let text = format!("{{\"f1\": {f1}, \"slice\": {{\"de\": {{\"f1\": {german}}}}}}}");
    tree.put("models/metrics.json", &text);
    tree.commit(&format!("f1 {f1} {german}"))
}

#[test]
fn an_alias_moves_past_its_gates_and_back() {
    let tree = Tree::repo();
    tree.put("modelv.toml", TOML);
    let (a, b) = (model(&tree, 0.9, 0.7), model(&tree, 0.85, 0.4));
    let c = model(&tree, 0.95, 0.8);
    tree.mv(&["alias", "set", "prod", &a]).fails_with(2);
    let said = tree
        .mv(&["alias", "set", "prod", &a, "-m", "live"])
        .fails_with(1);
    assert!(
        said.contains("is not evaluated") && said.contains("`--evaluate`"),
        "{said}"
    );
    let set = |to: &str, more: &[&str]| {
        let args = ["alias", "set", "prod", to, "-m", "live", "--evaluate"];
        tree.mv(&[&args[..], more].concat())
    };
    set(&a, &["--expect", "none"]).success();
    let said = set(&b, &[]).fails_with(1);
    for part in [
        "`slice.*.f1 > 0.5`: `slice.de.f1` is 0.4",
        "`f1` is 0.85, commit",
        "has 0.9",
        "--force --reason",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(tree.id("prod"), a);
    tree.mv(&["alias", "set", "prod", &b, "-m", "x", "--force"])
        .fails_with(2);
    set(&b, &["--force", "--reason", "the old one is down"]).success();
    let said = set(&c, &["--expect", &a]).fails_with(1);
    assert!(said.contains("not what was expected"), "{said}");
    set(&c, &["--expect", &b]).success();
    let all = tree.json(&["alias", "list", "--json"]);
    assert_eq!(
        (&all[0]["alias"], &all[0]["commit"]),
        (&"prod".into(), &c.as_str().into())
    );
    assert_eq!(all[0]["gate"]["checks"][0]["found"], 0.95);
    let listed = tree.mv(&["alias", "list"]).success();
    assert!(listed.starts_with("prod "), "{listed}");
    assert_eq!(tree.mv(&["alias"]).success(), listed);
    tree.mv(&["alias", "rollback", "prod", "-m", "too slow"])
        .success();
    assert_eq!((tree.id("prod"), tree.id("prod@{1}")), (b.clone(), c));
    let log = tree.mv(&["alias", "log", "prod"]).success();
    for part in [
        "rollback",
        "too slow",
        "forced: the old one is down",
        "Ada <ada@example.org>",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(log.matches("failed `").count(), 2, "{log}");
    // A remote carries it, `undo` takes a move back, and the second reader agrees.
    tree.mv(&["remote", "add", "origin", "remote"]).success();
    tree.mv(&["push", "origin", "main"]).success();
    let pushed = tree.mv(&["push", "origin", "prod"]).success();
    assert!(
        pushed.contains(&format!("prod {} (new)", &b[..12])),
        "{pushed}"
    );
    let clone = Tree::empty();
    let from = tree.path("remote").display().to_string();
    clone.mv(&["clone", &from, "work"]).success();
    let work = clone
        .mv(&["-C", "work", "alias", "log", "prod", "--json"])
        .success();
    assert_eq!(work.matches("\"action\"").count(), 4, "{work}");
    tree.mv(&["undo"]).success();
    tree.mv(&["fsck"]).success();
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/reader/check.py");
    let read = std::process::Command::new("python3")
        .arg(reader)
        .arg(tree.path(".mv"))
        .output()
        .unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    tree.mv(&["alias", "delete", "prod"]).success();
    let said = tree.mv(&["alias", "log", "prod"]).fails_with(1);
    assert!(said.contains("`modelv alias list`"), "{said}");
}
