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
