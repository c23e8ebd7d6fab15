//! Commits put together of others' ingredients, through the real binary.

use crate::support::Tree;

/// `main`, and `other` with other code, data, parameters and model.
fn two() -> Tree {
    let tree = Tree::repo();
    tree.put("train.py", "a = 1\n");
    tree.put("data/x.csv", "id,v\n1,1\n");
    tree.put("params.toml", "lr = 1.0\n");
    tree.put("models/w.bin", "base");
    tree.commit("base");
    tree.mv(&["switch", "-c", "other"]).success();
    tree.put("train.py", "a = 2\n");
    tree.put("data/y.csv", "id,v\n2,2\n");
    tree.put("params.toml", "lr = 2.0\n");
    tree.put("models/w.bin", "other");
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    tree.put("serve.py", "b = 1\n");
    tree.put("models/w.bin", "main");
    tree.commit("ours");
    tree
}

#[test]
fn ingredients_of_several_commits_become_one() {
    let tree = two();
    let made = tree.json(&["compose", "--data", "other", "--config", "main~1", "--json"]);
    let (main, other) = (tree.id("HEAD^1"), tree.id("other"));
    let parents: Vec<&str> = made["parents"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| p.as_str())
        .collect();
    assert_eq!(parents, [main.as_str(), &other, &tree.id("other~1")]);
    assert_eq!(
        (&made["model"], &made["branch"]),
        (&"stale".into(), &"main".into())
    );
    assert_eq!(tree.get("train.py"), "a = 1\n");
    assert_eq!(tree.get("data/y.csv"), "id,v\n2,2\n");
    assert_eq!(tree.get("params.toml"), "lr = 1.0\n");
    assert_eq!(tree.get("models/w.bin"), "main");
    let shown = tree.json(&["show", "--json"]);
    let fact = shown["extra"]["compose"].as_str().unwrap();
    assert!(fact.contains(&format!("data={other} ")) && fact.contains(&format!("code={main} ")));
    assert_eq!(shown["message"], "compose data of other, config of main~1");
    assert!(
        tree.mv(&["status"])
            .success()
            .contains("nothing to compose")
            || tree.json(&["diff", "--json"])["files"]
                .as_array()
                .is_none_or(Vec::is_empty)
    );
    tree.mv(&["fsck"]).success();
    tree.mv(&["undo"]).success();
    assert_eq!(tree.id("HEAD"), main);
    assert!(!tree.path("data/y.csv").exists());
}

#[test]
fn a_model_that_this_recipe_made_is_found_and_is_not_stale() {
    let tree = two();
    let all = [
        "--code", "other", "--data", "other", "--config", "other", "--env", "other",
    ];
    let made = tree.json(&[&["compose", "--json"], &all[..]].concat());
    assert_eq!(made["model"], "current");
    assert_eq!(tree.get("models/w.bin"), "other");
    // By name, whatever made it.
    let made = tree.json(&[
        "compose",
        "--model",
        "main^1",
        "--json",
        "-m",
        "the old model",
    ]);
    assert_eq!(made["model"], "stale");
    assert_eq!(tree.get("models/w.bin"), "main");
}

#[test]
fn another_branch_gets_it_and_the_working_tree_stays() {
    let tree = two();
    tree.put("notes.txt", "not committed\n");
    let made = tree.json(&[
        "compose", "--code", "other", "--data", "main", "--branch", "mix", "--json",
    ]);
    assert_eq!(made["branch"], "mix");
    assert_eq!(made["parents"].as_array().unwrap().len(), 2);
    assert_eq!(tree.id("mix^1"), tree.id("other"));
    assert_eq!(tree.get("train.py"), "a = 1\n");
    let code = tree.mv(&["cat", "mix:train.py"]).success();
    assert_eq!(code, "a = 2\n");
    // Onto the same branch once more: its tip is the first parent.
    let before = tree.id("mix");
    tree.mv(&["compose", "--config", "main", "--branch", "mix"])
        .success();
    assert_eq!(tree.id("mix^1"), before);
}

#[test]
fn what_does_not_fit_is_refused() {
    let tree = two();
    tree.mv(&["switch", "-c", "sorted"]).success();
    tree.put(
        "modelv.toml",
        "[env]\ncapture = \"none\"\n[ingredients]\ndata = [\"sets/**\"]\n",
    );
    tree.put("sets/z.bin", "1\n");
    tree.commit("other rules");
    tree.mv(&["switch", "main"]).success();
    let head = tree.id("HEAD");
    let refuse = |args: &[&str], status: i32, part: &str| {
        let said = tree.mv(&[&["compose"], args].concat()).fails_with(status);
        assert!(said.contains(part), "{args:?}: {said}");
        assert_eq!(tree.id("HEAD"), head);
    };
    refuse(&[], 2, "required");
    refuse(
        &["--code", "main", "--code", "other"],
        2,
        "cannot be used multiple times",
    );
    refuse(&["--code", "nope"], 1, "revision `nope` not found");
    refuse(&["--code", "HEAD"], 1, "nothing to compose");
    refuse(
        &["--data", "sorted"],
        1,
        "`sets/z.bin` is data in `sorted` but code by the modelv.toml of `HEAD`",
    );
    refuse(
        &["--code", "sorted"],
        1,
        "these ingredients lie over one another",
    );
    refuse(
        &["--data", "other", "--branch", "a b"],
        1,
        "branch `a b` is not valid",
    );
    refuse(&["--data", "other", "-m", " "], 1, "it is empty");
    tree.put("params.toml", "lr = 9.0\n");
    refuse(
        &["--config", "other"],
        1,
        "compose would overwrite uncommitted changes in `params.toml`",
    );
    tree.mv(&["restore", "params.toml"]).success();
    tree.put("train.py", "a = 3\n");
    tree.commit("changed");
    tree.mv(&["merge", "other"]).fails_with(3);
    let said = tree.mv(&["compose", "--data", "other"]).fails_with(1);
    assert!(said.contains("a merge is not finished"), "{said}");
}
