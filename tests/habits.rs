//! What people type who know Git: it works, or is refused with the words that do it here.

use crate::support::Tree;

fn tree() -> Tree {
    let tree = Tree::repo();
    for n in ["one", "two", "three"] {
        tree.put("a", n);
        tree.commit(n);
    }
    tree
}

#[test]
fn what_means_the_same_is_accepted() {
    let tree = tree();
    let lines = |args: &[&str]| tree.mv(args).success().lines().count();
    assert_eq!(lines(&["log", "--oneline", "-2"]), 2);
    assert_eq!(lines(&["log", "-1", "--oneline"]), 1);
    assert_eq!(lines(&["log", "--oneline", "-n", "2"]), 2);
    assert_eq!(lines(&["log", "--oneline", "--max-count=2"]), 2);
    tree.put("a", "four");
    tree.mv(&["commit", "-am", "four"]).success();
    tree.put("a", "five");
    assert_eq!(
        tree.mv(&["commit", "-q", "--all", "-m", "five"]).success(),
        ""
    );
    assert_eq!(tree.mv(&["init", "-q", "inside"]).success(), "");
    tree.mv(&["switch", "-c", "side"]).success();
    tree.put("b", "1");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    assert_eq!(
        tree.mv(&["branch", "--show-current"]).success().trim(),
        "main"
    );
    let listed = tree.mv(&["branch"]).success();
    assert_eq!(tree.mv(&["branch", "--list"]).success(), listed);
    tree.mv(&["merge", "--no-ff", "--no-edit", "-m", "merged", "side"])
        .success();
    tree.mv(&["revert", "--no-edit", "-m", "1", "HEAD"])
        .success();
    tree.mv(&["cherry-pick", "-x", "side"]).success();
    tree.mv(&["undo"]).success();
    tree.mv(&["revert", "-n", "side"]).success();
    tree.mv(&["revert", "--abort"]).success();
    tree.mv(&["branch", "-D", "side"]).success();
    tree.put("a", "other");
    tree.mv(&["restore", "-s", "HEAD", "a"]).success();
}

#[test]
fn what_is_another_word_here_is_named() {
    let tree = tree();
    for (line, want) in [
        (
            "add .",
            "error: no command `add`\n\nhint: nothing is staged here: `modelv commit` takes",
        ),
        ("checkout -b side", "`modelv switch -c NEW` makes one"),
        ("diff --cached", "error: `diff` takes no `--cached`"),
        (
            "reset --hard HEAD~1",
            "`modelv undo` takes the last command back",
        ),
        ("stash pop", "`modelv switch -c wip`"),
        (
            "commit --amend -m x",
            "`modelv undo` takes the last commit back",
        ),
        (
            "rebase -i HEAD~1",
            "`modelv cherry-pick A B C` takes commits",
        ),
        ("log --pretty=oneline", "`--oneline` is short"),
        ("branch -m new", "`modelv branch NEW OLD`"),
        ("push --force", "`--force-with-lease`"),
        ("config --global user.name x", "`modelv config KEY VALUE`"),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let said = tree.mv(&args).fails_with(2);
        assert!(said.contains(want), "{line}: {said}");
    }
    // What is right nowhere is told as ever.
    let said = tree.mv(&["log", "--nonsense"]).fails_with(2);
    assert!(said.contains("unexpected argument '--nonsense'"), "{said}");
}

#[test]
fn a_commit_gives_its_files_back_when_it_is_undone() {
    let tree = tree();
    tree.mv(&["undo"]).success();
    assert_eq!(tree.get("a"), "three");
}

#[test]
fn a_message_does_not_drive_the_terminal() {
    let tree = tree();
    tree.put("a", "four\u{1b}[2J\n");
    let message = "one\u{1b}[31m\n\nmore\u{1b}]0;title\u{7}";
    let mut said = tree.mv(&["commit", "-m", message]).success();
    for args in [
        &["log"] as &[&str],
        &["log", "--oneline"],
        &["show", "-p"],
        &["branch"],
    ] {
        said += &tree.mv(args).success();
    }
    assert!(!said.contains(['\u{1b}', '\u{7}']), "{said:?}");
    assert_eq!(said.matches("one\\u{1b}[31m").count(), 5, "{said}");
    assert!(said.contains("more\\u{1b}]0;title\\u{7}"), "{said}");
}

#[test]
fn a_slip_in_modelv_toml_is_told() {
    let tree = tree();
    tree.put(
        "modelv.toml",
        "[ingredientz]\ndata = [\"d/**\"]\n[evaluate]\ncommand = \"x\"\n",
    );
    for args in [&["status"] as &[&str], &["commit", "-m", "rules"]] {
        let done = tree.mv(args);
        let want = "warning: modelv.toml: `ingredientz` is nothing that this version knows\n";
        assert!(
            done.err.contains(want) && !done.err.contains("evaluate"),
            "{done:?}"
        );
        done.success();
    }
}
