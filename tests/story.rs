//! The main job: commit, branch, diff, merge, run, undo, recreate.

use crate::support::Tree;

fn first(tree: &Tree) -> String {
    tree.put("train.py", "a = 1\nb = 2\nc = 3\nd = 4\n");
    tree.put("data/en.tsv", "id\ttext\n1\thello\n");
    tree.put("params.toml", "[train]\nc = 1.0 # strength\nseed = 7\n");
    tree.put("requirements.txt", "numpy==1.26.4\nscipy==1.13.0\n");
    tree.commit("first")
}

#[test]
fn a_commit_is_shown_with_all_its_parts() {
    let tree = Tree::repo();
    let id = first(&tree);
    assert_eq!(id.len(), 64);
    let shown = tree.mv(&["show"]).success();
    for line in [
        "author Ada <ada@example.org>, 2023-11-14 22:13:20 +0000",
        "    first",
        "3 files, ",
        "model        none",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    let json = tree.json(&["show", "--json"]);
    assert_eq!(json["id"], id.as_str());
    assert_eq!(json["recipe"]["id"], tree.recipe().as_str());
    assert_eq!(
        tree.mv(&["status"]).success().lines().last(),
        Some("nothing to commit")
    );
    assert_eq!(
        tree.mv(&["cat", "HEAD:data/en.tsv"]).success(),
        "id\ttext\n1\thello\n"
    );
}

#[test]
fn equal_recipes_have_equal_ids_wherever_they_are() {
    let (a, b) = (Tree::repo(), Tree::repo());
    first(&a);
    b.put("requirements.txt", "numpy==1.26.4\nscipy==1.13.0\n");
    b.put("params.toml", "[train]\nc = 1.0 # strength\nseed = 7\n");
    b.put("data/en.tsv", "id\ttext\n1\thello\n");
    b.put("train.py", "a = 1\nb = 2\nc = 3\nd = 4\n");
    let mut command = b.command(&["commit", "-m", "another message", "--author", "Bob <b@x>"]);
    assert!(
        command
            .env("SOURCE_DATE_EPOCH", "1800000000")
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(a.recipe(), b.recipe());
    assert_ne!(a.id("HEAD"), b.id("HEAD"));
    b.put("params.toml", "[train]\nc = \"1.0\" # strength\nseed = 7\n");
    b.commit("a type");
    assert_ne!(a.recipe(), b.recipe());
}

#[test]
fn revisions_name_commits() {
    let tree = Tree::repo();
    let one = first(&tree);
    tree.put("train.py", "two\n");
    let two = tree.commit("two");
    tree.mv(&["tag", "v1", "HEAD~1"]).success();
    for (revision, id) in [
        ("HEAD", &two),
        ("@", &two),
        ("main", &two),
        ("HEAD~1", &one),
        ("HEAD^", &one),
        ("v1", &one),
        ("@{1}", &one),
        ("main@{0}", &two),
        (&two[..8], &two),
    ] {
        assert_eq!(&tree.id(revision), id, "{revision}");
    }
    assert_eq!(
        tree.mv(&["rev-parse", "--short", "HEAD"]).success().trim(),
        &two[..12]
    );
    let log = tree.json(&["log", "--json", "--", "data"]);
    assert_eq!(log.as_array().unwrap().len(), 1);
    assert_eq!(log[0]["id"], one.as_str());
}

#[test]
fn a_part_can_be_committed() {
    let tree = Tree::repo();
    first(&tree);
    tree.put("train.py", "changed\n");
    tree.put("data/de.tsv", "new\n");
    tree.mv(&["commit", "-m", "data only", "data"]).success();
    let status = tree.json(&["status", "--json"]);
    assert_eq!(status["changes"].as_array().unwrap().len(), 1);
    assert_eq!(status["changes"][0]["path"], "train.py");
    tree.mv(&["restore", "train.py"]).success();
    assert!(tree.get("train.py").starts_with("a = 1"));
}

#[test]
fn what_a_restore_wrote_over_comes_back() {
    let tree = Tree::repo();
    first(&tree);
    let train = tree.get("train.py");
    tree.put("train.py", "precious\n");
    tree.put("other.py", "stays\n");
    std::fs::remove_file(tree.path("data/de.tsv")).ok();
    tree.mv(&["restore", "train.py"]).success();
    assert_eq!(tree.get("train.py"), train);
    let said = tree.mv(&["undo"]).success();
    assert!(said.starts_with("took back: restore train.py\n"), "{said}");
    assert_eq!(tree.get("train.py"), "precious\n");
    // What changed since is not lost by taking it back.
    tree.mv(&["restore", "train.py"]).success();
    tree.put("train.py", "more\n");
    let said = tree.mv(&["undo"]).fails_with(1);
    assert!(said.contains("undo would overwrite"), "{said}");
    tree.mv(&["restore", "train.py"]).success();
    tree.mv(&["undo"]).success();
    assert_eq!(tree.get("train.py"), "more\n");
    assert_eq!(tree.get("other.py"), "stays\n");
    // A link where a folder was is no obstacle, and comes back as well.
    std::fs::remove_dir_all(tree.path("data")).unwrap();
    std::os::unix::fs::symlink("elsewhere", tree.path("data")).unwrap();
    tree.mv(&["restore", "data"]).success();
    assert!(tree.path("data").is_dir());
    tree.mv(&["undo"]).success();
    assert!(tree.path("data").is_symlink());
    tree.mv(&["fsck"]).success();
}

#[test]
fn models_of_both_sides_are_in_the_merge() {
    let tree = Tree::repo();
    tree.put("models/base.bin", "base\n");
    tree.put("train.py", "1\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "other"]).success();
    tree.put("models/a.bin", "a\n");
    tree.commit("other");
    tree.mv(&["switch", "main"]).success();
    tree.put("models/b.bin", "b\n");
    tree.put("train.py", "2\n");
    tree.commit("main");
    tree.mv(&["merge", "other"]).success();
    for (name, text) in [("base", "base\n"), ("a", "a\n"), ("b", "b\n")] {
        assert_eq!(tree.get(&format!("models/{name}.bin")), text);
    }
    let log = tree.mv(&["log", "--oneline", "-n", "1"]).success();
    assert!(log.contains("[model stale]"), "{log}");
    tree.mv(&["revert", "-m", "1", "HEAD"]).success();
    assert!(!tree.path("models/a.bin").exists());
    assert_eq!(tree.get("models/b.bin"), "b\n");
}

#[test]
fn differences_are_shown_by_ingredient() {
    let tree = Tree::repo();
    first(&tree);
    tree.put("train.py", "a = 1\nb = 20\nc = 3\nd = 4\n");
    tree.put("params.toml", "[train]\nc = 2.0 # strength\nseed = 7\n");
    tree.put("data/en.tsv", "id\ttext\n1\thello\n2\tbye\n");
    tree.put("requirements.txt", "numpy==1.26.4\nscipy==1.14.1\n");
    let shown = tree.mv(&["diff"]).success();
    for line in [
        "data ~ data/en.tsv  (1 -> 2 rows, by id: +1 -0 ~0, +1 -0 lines)",
        "    + row 2",
        "    ~ train.c: 1.0 -> 2.0",
        "    ~ scipy: scipy==1.13.0 -> scipy==1.14.1",
        "    -b = 2\n    +b = 20",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert_eq!(tree.mv(&["diff", "--exit-code"]).status, Some(1));
    assert_eq!(
        tree.mv(&["diff", "--exit-code", "HEAD", "HEAD"]).status,
        Some(0)
    );
}

/// Two branches that change the same key, the same package file, and different lines.
fn diverged() -> Tree {
    let tree = Tree::repo();
    first(&tree);
    tree.mv(&["switch", "-c", "topic"]).success();
    tree.put("train.py", "a = 10\nb = 2\nc = 3\nd = 4\n");
    tree.put("params.toml", "[train]\nc = 4.0 # strength\nseed = 8\n");
    tree.put("requirements.txt", "numpy==1.26.4\nscipy==1.14.1\n");
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    assert!(tree.get("train.py").starts_with("a = 1\n"));
    tree.put("train.py", "a = 1\nb = 2\nc = 3\nd = 40\n");
    tree.put("params.toml", "[train]\nc = 2.0 # strength\nseed = 7\n");
    tree.put("requirements.txt", "numpy==2.0.0\nscipy==1.13.0\n");
    tree.commit("ours");
    tree
}

#[test]
fn a_merge_combines_what_it_can_and_asks_for_the_rest() {
    let tree = diverged();
    let before = tree.id("HEAD");
    assert_eq!(tree.mv(&["merge", "--dry-run", "topic"]).status, Some(3));
    assert_eq!(tree.mv(&["merge", "topic"]).status, Some(3));
    let conflicts = tree.json(&["conflicts", "--json"]);
    assert_eq!(conflicts.as_array().unwrap().len(), 1);
    assert_eq!(conflicts[0]["item"], "params.toml:train.c");
    assert_eq!(tree.get("train.py"), "a = 10\nb = 2\nc = 3\nd = 40\n");
    assert_eq!(
        tree.get("requirements.txt"),
        "numpy==2.0.0\nscipy==1.14.1\n"
    );
    let error = tree.mv(&["merge", "--continue"]).fails_with(3);
    assert!(
        error.contains("1 conflict is not resolved: `params.toml:train.c`"),
        "{error}"
    );
    tree.mv(&["resolve", "params.toml:train.c", "--theirs"])
        .success();
    tree.mv(&["merge", "--continue"]).success();
    assert_eq!(
        tree.get("params.toml"),
        "[train]\nc = 4.0 # strength\nseed = 8\n"
    );
    let merged = tree.json(&["show", "--json"]);
    assert_eq!(merged["parents"][0], before.as_str());
    assert_eq!(merged["parents"].as_array().unwrap().len(), 2);
    tree.mv(&["fsck"]).success();
}

#[test]
fn both_directions_give_one_recipe() {
    let recipe = |onto: &str, from: &str, side: &str| {
        let tree = diverged();
        tree.mv(&["switch", onto]).success();
        assert_eq!(tree.mv(&["merge", from]).status, Some(3));
        tree.mv(&["resolve", "params.toml:train.c", side]).success();
        tree.mv(&["merge", "--continue"]).success();
        tree.recipe()
    };
    assert_eq!(
        recipe("main", "topic", "--theirs"),
        recipe("topic", "main", "--ours")
    );
}

#[test]
fn an_aborted_merge_leaves_every_byte() {
    let tree = diverged();
    let before = tree.get("train.py");
    assert_eq!(tree.mv(&["merge", "topic"]).status, Some(3));
    tree.put("note", "made meanwhile");
    tree.mv(&["merge", "--abort"]).success();
    assert_eq!(tree.get("train.py"), before);
    let changes = tree.json(&["status", "--json"])["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    assert_eq!(tree.get("note"), "made meanwhile");
}

#[test]
fn what_was_edited_beside_a_merge_outlives_it() {
    let tree = diverged();
    for name in ["helper.py", "gone.py"] {
        tree.put(name, "ours\n");
    }
    tree.commit("beside");
    let before = tree.get("train.py");
    assert_eq!(tree.mv(&["merge", "topic"]).status, Some(3));
    tree.put("helper.py", "edited meanwhile\n");
    tree.put("train.py", "half decided\n");
    std::fs::remove_file(tree.path("gone.py")).unwrap();
    let said = tree.mv(&["merge", "--abort"]).success();
    assert!(
        said.contains("changes made meanwhile stay: gone.py, helper.py"),
        "{said}"
    );
    assert_eq!(tree.get("helper.py"), "edited meanwhile\n");
    assert_eq!(tree.get("train.py"), before);
    assert!(!tree.path("gone.py").exists());
    // It goes on where it was, with the same edits.
    tree.mv(&["undo"]).success();
    assert_eq!(tree.get("train.py"), "half decided\n");
    assert_eq!(tree.get("helper.py"), "edited meanwhile\n");
    tree.mv(&["merge", "--abort"]).success();
    tree.mv(&["restore", "helper.py", "gone.py"]).success();
    // A file that moved here takes what they changed: it is no file that the merge left alone.
    tree.put("old.txt", "1\n2\n3\n4\n5\n6\n7\n8\n");
    tree.commit("old");
    tree.mv(&["switch", "-c", "far"]).success();
    tree.put("old.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    tree.put("train.py", "theirs now\n");
    tree.commit("far");
    tree.mv(&["switch", "main"]).success();
    std::fs::rename(tree.path("old.txt"), tree.path("new.txt")).unwrap();
    tree.put("train.py", "ours now\n");
    tree.commit("moved");
    assert_eq!(tree.mv(&["merge", "far"]).status, Some(3));
    assert!(tree.get("new.txt").ends_with("9\n"));
    let said = tree.mv(&["merge", "--abort"]).success();
    assert!(!said.contains("stay"), "{said}");
    assert!(tree.get("new.txt").ends_with("8\n"));
    assert_eq!(
        tree.mv(&["status", "--json"])
            .success()
            .matches("path")
            .count(),
        0
    );
}

#[test]
fn text_conflicts_carry_markers_until_they_are_gone() {
    let tree = Tree::repo();
    first(&tree);
    tree.mv(&["switch", "-c", "topic"]).success();
    tree.put("train.py", "theirs\n");
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    tree.put("train.py", "ours\n");
    tree.commit("ours");
    assert_eq!(tree.mv(&["merge", "topic"]).status, Some(3));
    assert!(
        tree.get("train.py")
            .starts_with("<<<<<<< main\nours\n||||||| base\n")
    );
    let error = tree.mv(&["resolve", "train.py"]).fails_with(1);
    assert!(
        error.contains("`train.py` still carries conflict markers"),
        "{error}"
    );
    tree.put("train.py", "both\n");
    tree.mv(&["resolve", "train.py"]).success();
    tree.mv(&["merge", "--continue"]).success();
    assert_eq!(tree.mv(&["cat", "HEAD:train.py"]).success(), "both\n");
}

#[test]
fn undo_goes_back_step_by_step() {
    let tree = Tree::repo();
    let one = first(&tree);
    tree.put("train.py", "two\n");
    tree.commit("two");
    tree.mv(&["branch", "other"]).success();
    tree.mv(&["branch", "-d", "other"]).success();
    tree.mv(&["undo"]).success();
    assert!(tree.mv(&["branch"]).success().contains("other"));
    tree.mv(&["undo"]).success();
    tree.mv(&["undo"]).success();
    assert_eq!(tree.id("HEAD"), one);
    assert_eq!(tree.get("train.py"), "two\n");
}

#[test]
fn a_run_commits_its_model_and_is_not_repeated() {
    let tree = Tree::repo();
    tree.put("params.toml", "lr = 0.1\n");
    tree.put("train.sh", "mkdir -p models; echo w > models/w; date +%N >> count; echo '{\"f1\": 0.5}' > metrics.json; echo done\n");
    tree.put(".mvignore", "count\n");
    let done = tree.mv(&["run", "-m", "train", "--", "sh", "train.sh"]);
    assert!(done.err.contains("done"), "{}", done.err);
    let out = done.success();
    assert!(
        out.contains("finished") && out.contains("f1 = 0.5"),
        "{out}"
    );
    let commit = tree.id("HEAD");
    let shown = tree.json(&["show", "--json"]);
    assert_eq!(shown["metrics"]["f1"], 0.5);
    assert_eq!(shown["model"]["stale"], false);
    assert_eq!(tree.json(&["status", "--json"])["model"], "current");
    std::fs::remove_dir_all(tree.path("models")).unwrap();
    let again = tree.mv(&["run", "--", "sh", "train.sh"]).success();
    assert!(again.contains("taken from the store"), "{again}");
    assert_eq!(tree.get("models/w"), "w\n");
    assert_eq!(
        (tree.id("HEAD"), tree.get("count").lines().count()),
        (commit, 1)
    );
    tree.put("params.toml", "lr = 0.2\n");
    tree.commit("another lr");
    assert_eq!(tree.json(&["status", "--json"])["model"], "stale");
    let failed = tree.mv(&["run", "--", "sh", "-c", "echo no; exit 7"]);
    assert_eq!(failed.status, Some(7));
    let runs = tree.json(&["runs", "--json"]);
    let states: Vec<&str> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["status"].as_str().unwrap())
        .collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&"failed") && states.contains(&"finished"));
}

#[test]
fn a_commit_is_recreated_elsewhere_byte_for_byte() {
    let tree = Tree::repo();
    let id = first(&tree);
    std::os::unix::fs::symlink("nowhere", tree.path("broken")).unwrap();
    tree.put("with space/x", "y");
    tree.commit("more");
    tree.mv(&["export", "HEAD", "out"]).success();
    assert_eq!(tree.get("out/with space/x"), "y");
    assert_eq!(
        std::fs::read_link(tree.path("out/broken"))
            .unwrap()
            .to_str(),
        Some("nowhere")
    );
    tree.mv(&["export", &id, "older"]).success();
    assert!(!tree.path("older/with space").exists());
}

#[test]
fn commands_work_from_below() {
    let tree = Tree::repo();
    first(&tree);
    tree.put("data/new.tsv", "x\n");
    let mut command = tree.command(&["commit", "-m", "from below", "new.tsv"]);
    assert!(
        command
            .current_dir(tree.path("data"))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(tree.mv(&["cat", "HEAD:data/new.tsv"]).success(), "x\n");
}
