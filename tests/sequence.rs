//! Cherry-pick, revert and rebase through the real binary: what they say, and bad input.

use crate::support::Tree;

/// `main`: base, left. `side`: base, one, two. Both change `lr`.
fn scene() -> Tree {
    let tree = Tree::repo();
    tree.put("params.toml", "lr = 1\nseed = 7\n");
    tree.put("train.py", "a\nb\nc\nd\ne\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    tree.put("params.toml", "lr = 2\nseed = 7\n");
    tree.commit("one");
    tree.put("train.py", "a\nb\nc\nd\nE\n");
    let mut command = tree.command(&["commit", "-m", "two", "--author", "Bob <bob@x>"]);
    assert!(command.output().unwrap().status.success());
    tree.mv(&["switch", "main"]).success();
    tree.put("params.toml", "lr = 9\nseed = 7\n");
    tree.commit("left");
    tree
}

#[test]
fn a_commit_is_picked_and_taken_back() {
    let tree = scene();
    let (side, before) = (tree.id("side"), tree.id("HEAD"));
    let said = tree.mv(&["cherry-pick", "-x", "side"]).success();
    assert!(said.contains(" two [no model]\nnow at main ("), "{said}");
    let head = tree.json(&["show", "--json"]);
    assert_eq!(head["author"]["name"], "Bob");
    assert_eq!(head["committer"]["name"], "Ada");
    assert_eq!(
        head["message"],
        format!("two\n\n(cherry picked from commit {side})")
    );
    let done = tree.json(&["revert", "HEAD", "--json"]);
    assert_eq!(done["commits"][0]["subject"], "Revert \"two\"");
    assert_eq!(tree.get("train.py"), "a\nb\nc\nd\ne\n");
    for _ in 0..2 {
        tree.mv(&["undo"]).success();
    }
    assert_eq!(tree.id("HEAD"), before);
}

#[test]
fn a_rebase_stops_and_goes_on() {
    let tree = scene();
    tree.mv(&["switch", "side"]).success();
    let before = tree.id("side");
    let said = tree.mv(&["rebase", "main"]).fails_with(3);
    assert!(said.contains("rebase 1 of 2, "), "{said}");
    let status = tree.mv(&["status"]).success();
    assert!(
        status.contains("rebasing ") && status.contains(" of side, 1 of 2: 1 of 1"),
        "{status}"
    );
    let said = tree.mv(&["merge", "main"]).fails_with(1);
    assert!(
        said.contains("a rebase is not finished") && said.contains("`modelv rebase --continue`")
    );
    let said = tree.mv(&["commit", "-m", "x"]).fails_with(1);
    assert!(said.contains("1 more commit to come"), "{said}");
    tree.mv(&["rebase", "--continue"]).fails_with(3);
    tree.mv(&["rebase", "--abort"]).success();
    assert_eq!(tree.id("side"), before);
    tree.mv(&["rebase", "main"]).fails_with(3);
    let said = tree.mv(&["resolve", "params.toml:lr", "--theirs"]);
    assert!(
        said.err.contains("`modelv rebase --continue`"),
        "{}",
        said.err
    );
    let said = tree.mv(&["rebase", "--continue"]).success();
    assert!(said.contains("now at side ("), "{said}");
    let log = tree.json(&["log", "--json"]);
    let subjects: Vec<_> = (0..4)
        .map(|i| log[i]["message"].as_str().unwrap())
        .collect();
    assert_eq!(subjects, ["two", "one", "left", "base"]);
    assert_eq!(log[0]["author"]["name"], "Bob");
    assert_eq!(tree.get("params.toml"), "lr = 2\nseed = 7\n");
    tree.mv(&["undo"]).success();
    tree.mv(&["rebase", "--skip"]).success();
    assert_eq!(tree.get("params.toml"), "lr = 9\nseed = 7\n");
    assert_eq!(tree.get("train.py"), "a\nb\nc\nd\nE\n");
}

#[test]
fn errors_name_the_next_command() {
    let tree = scene();
    tree.mv(&["merge", "side~1", "--message", "m"])
        .fails_with(3);
    tree.mv(&["resolve", "params.toml:lr", "--ours"]).success();
    tree.mv(&["merge", "--continue"]).success();
    let before = tree.mv(&["log", "--json"]).success();
    for (args, status, want) in [
        (&["revert", "HEAD"][..], 1, "`-m 1` takes the difference"),
        (&["revert", "-m", "3", "HEAD"], 1, "has 2 parents"),
        (&["cherry-pick", "nope"], 1, "revision `nope` not found"),
        (&["cherry-pick", "HEAD..HEAD"], 1, "holds no commit"),
        (
            &["cherry-pick", "HEAD...side"],
            1,
            "expected a commit or `A..B`",
        ),
        (&["cherry-pick", "main~1"], 1, "it is so already"),
        (
            &["cherry-pick", "side", "side~1", "--message", "m"],
            1,
            "name one commit",
        ),
        (&["cherry-pick"], 2, "required"),
        (
            &["cherry-pick", "--skip", "--abort"],
            2,
            "cannot be used with",
        ),
        (
            &["cherry-pick", "--continue"],
            1,
            "no cherry-pick is under way",
        ),
        (&["rebase", "--abort"], 1, "no rebase is under way"),
        (&["rebase", "side~2~1"], 1, "not found"),
        (
            &["rebase", "side", "--no-commit"],
            2,
            "rebase keeps messages",
        ),
        (&["rebase", "side"], 1, "`modelv merge UPSTREAM`"),
    ] {
        let said = tree.mv(args).fails_with(status);
        assert!(said.contains(want), "{args:?}: {said}");
    }
    assert_eq!(tree.mv(&["log", "--json"]).success(), before);
}
