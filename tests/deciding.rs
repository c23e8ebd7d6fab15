//! Conflicts about a file as a whole: who has what is told, and a side is taken only by name.

use crate::support::Tree;

#[test]
fn who_has_what_is_told_and_nothing_is_decided_unsaid() {
    let tree = Tree::repo();
    let put = |path: &str, bytes: &[u8]| std::fs::write(tree.path(path), bytes).unwrap();
    put("bin.dat", b"\0base");
    put("del.py", b"base\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    put("bin.dat", b"\0theirs!");
    std::fs::remove_file(tree.path("del.py")).unwrap();
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    put("bin.dat", b"\0ours");
    put("del.py", b"ours\n");
    tree.commit("ours");
    let done = tree.mv(&["merge", "side"]);
    let want = "conflict del.py (delete/modify)\n    base   file, 5 B\n    ours   file, 5 B\n    theirs (deleted)\n";
    assert!(done.out.contains(want), "{}", done.out);
    done.fails_with(3);
    let list = tree.json(&["conflicts", "--json"]);
    assert_eq!(
        list[0]["theirs_file"],
        serde_json::json!({"is_executable": false, "is_link": false, "size": 8})
    );
    assert!(
        list[1]["theirs_file"].is_null() && list[1]["ours_file"]["size"] == 5,
        "{list}"
    );
    let said = tree.mv(&["status"]).success();
    assert!(
        said.contains("del.py (delete/modify; ours: file, 5 B; theirs: (deleted))"),
        "{said}"
    );
    for item in ["bin.dat", "del.py"] {
        let said = tree.mv(&["resolve", item]).fails_with(1);
        assert!(
            said.contains("nothing is decided") && said.contains("--ours"),
            "{said}"
        );
    }
    put("bin.dat", b"\0mine");
    tree.mv(&["resolve", "bin.dat"]).success();
    tree.mv(&["resolve", "del.py", "--theirs"]).success();
    tree.mv(&["merge", "--continue"]).success();
    assert!(!tree.path("del.py").exists());
    assert_eq!(std::fs::read(tree.path("bin.dat")).unwrap(), b"\0mine");
}

/// Both sides moved one file, to different places, and edited it.
fn moved_apart() -> Tree {
    let tree = Tree::repo();
    let text = |first: &str, last: &str| {
        let body: String = (0..20).map(|i| format!("line {i}\n")).collect();
        format!("{first}\n{body}{last}\n")
    };
    tree.put("old.py", &text("top", "end"));
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    std::fs::remove_file(tree.path("old.py")).unwrap();
    tree.put("theirs.py", &text("top", "THEIRS"));
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    std::fs::remove_file(tree.path("old.py")).unwrap();
    tree.put("ours.py", &text("OURS", "end"));
    tree.commit("ours");
    tree
}

#[test]
fn a_file_that_both_moved_is_never_left_nowhere() {
    let tree = moved_apart();
    let done = tree.mv(&["merge", "side"]);
    for part in ["as old.py", "(moved to theirs.py)", "(moved to ours.py)"] {
        assert!(done.out.contains(part), "{part} in {}", done.out);
    }
    done.fails_with(3);
    let list = tree.json(&["conflicts", "--json"]);
    assert_eq!(
        (&list[0]["was"], &list[0]["twin"]),
        (&"old.py".into(), &"theirs.py".into())
    );
    let said = tree.mv(&["resolve", "ours.py"]).fails_with(1);
    assert!(
        said.contains("`ours.py` and `theirs.py` are both there"),
        "{said}"
    );
    // One decision about the place; the edits of both are in it.
    tree.mv(&["resolve", "ours.py", "--theirs"]).success();
    assert!(!tree.path("ours.py").exists());
    let text = tree.get("theirs.py");
    assert!(
        text.starts_with("OURS\n") && text.ends_with("THEIRS\n"),
        "{text}"
    );
    // Changing one's mind is possible, and loses nothing either.
    tree.mv(&["resolve", "theirs.py", "--ours"]).success();
    assert_eq!(tree.get("ours.py"), text);
    assert!(!tree.path("theirs.py").exists());
    tree.mv(&["merge", "--continue"]).success();
    assert_eq!(tree.get("ours.py"), text);
    tree.mv(&["undo"]).success();
    tree.mv(&["merge", "--abort"]).success();
    // By hand, by the base, and beforehand.
    tree.mv(&["merge", "side"]).fails_with(3);
    std::fs::remove_file(tree.path("ours.py")).unwrap();
    tree.mv(&["resolve", "ours.py"]).success();
    assert_eq!(tree.get("theirs.py"), text);
    tree.mv(&["merge", "--abort"]).success();
    tree.mv(&["merge", "side"]).fails_with(3);
    tree.mv(&["resolve", "theirs.py", "--base"]).success();
    let base = tree.get("old.py");
    assert!(
        base.starts_with("top\n") && base.ends_with("end\n"),
        "{base}"
    );
    assert!(!tree.path("ours.py").exists() && !tree.path("theirs.py").exists());
    tree.mv(&["merge", "--abort"]).success();
    for (side, there, gone) in [
        ("ours", "ours.py", "theirs.py"),
        ("theirs", "theirs.py", "ours.py"),
    ] {
        tree.mv(&["merge", "side", "--strategy", side]).success();
        assert_eq!(tree.get(there), text);
        assert!(!tree.path(gone).exists());
        tree.mv(&["undo"]).success();
    }
}

#[test]
fn a_strategy_for_a_path_that_is_not_there_is_a_mistake() {
    let tree = moved_apart();
    let said = tree
        .mv(&["merge", "side", "--strategy", "theirs:nosuch.py"])
        .fails_with(1);
    assert!(said.contains("neither side has such a path"), "{said}");
    let said = tree.mv(&["status"]).success();
    assert!(!said.contains("merging"), "{said}");
}

#[test]
fn keys_are_found_without_the_quotes_in_their_names() {
    let tree = Tree::repo();
    let put = |n: u8| tree.put("p.json", &format!("{{\"c:d\": {n}, \"a b\": {n}}}\n"));
    put(1);
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    put(2);
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    put(3);
    tree.commit("ours");
    tree.mv(&["merge", "side"]).fails_with(3);
    tree.mv(&["resolve", "p.json:c:d", "--theirs"]).success();
    tree.mv(&["resolve", "p.json:\"a b\"", "--ours"]).success();
    assert_eq!(tree.get("p.json"), "{\"c:d\": 2, \"a b\": 3}\n");
}

#[test]
fn the_base_of_a_criss_cross_can_be_taken_though_no_commit_holds_it() {
    let tree = Tree::repo();
    let put = |first: &str| tree.put("a.py", &format!("{first}\n2\n3\n"));
    put("1");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    put("S");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    put("M");
    tree.commit("left");
    tree.mv(&["branch", "before"]).success();
    tree.mv(&["merge", "side", "--strategy", "ours"]).success();
    tree.mv(&["switch", "side"]).success();
    tree.mv(&["merge", "before", "--strategy", "ours"])
        .success();
    put("SS");
    tree.commit("side again");
    tree.mv(&["switch", "main"]).success();
    put("MM");
    tree.commit("left again");
    tree.mv(&["merge", "side"]).fails_with(3);
    tree.mv(&["gc", "--now"]).success();
    tree.mv(&["fsck"]).success();
    let mut tool = tree.command(&["mergetool"]);
    tool.env(
        "MODELV_MERGETOOL",
        "cat \"$BASE\"; cp \"$LOCAL\" \"$MERGED\"",
    );
    let done = crate::support::Done::new(&tool.output().unwrap());
    assert!(
        done.out.contains("<<<<<<< base 1\n"),
        "{}{}",
        done.out,
        done.err
    );
    done.success();
    assert_eq!(tree.get("a.py"), "MM\n2\n3\n");
    tree.mv(&["resolve", "a.py", "--base"]).success();
    assert!(tree.get("a.py").contains(">>>>>>> base 2\n"));
    // Its own conflicts stand in it.
    tree.mv(&["merge", "--continue"]).fails_with(1);
    tree.mv(&["resolve", "a.py", "--theirs"]).success();
    tree.mv(&["merge", "--continue"]).success();
    assert_eq!(tree.get("a.py"), "SS\n2\n3\n");
}
