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
    tree.mv(&["commit", "--no-verify", "-am", "four"]).success();
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
fn the_log_takes_what_is_typed_in_git() {
    let tree = tree();
    tree.mv(&["switch", "-c", "side"]).success();
    tree.put("b", "of the side\n");
    tree.commit("Side work");
    tree.mv(&["switch", "main"]).success();
    let subjects = |args: &[&str]| {
        let said = tree.mv(&[&["log", "--oneline"], args].concat()).success();
        let lines = said
            .lines()
            .filter_map(|l| Some(l.split_once(") ").unwrap_or(l.split_once(' ')?).1));
        let subject = |l: &str| l.trim_end_matches(" [no model]").to_owned();
        lines.map(subject).collect::<Vec<String>>()
    };
    assert_eq!(subjects(&["--all"]), ["Side work", "three", "two", "one"]);
    assert_eq!(subjects(&["main", "side", "-1"]), ["Side work"]);
    assert_eq!(subjects(&["--all", "--grep", "SIDE"]), ["Side work"]);
    assert_eq!(subjects(&["--grep", "t", "a"]), ["three", "two"]);
    assert_eq!(subjects(&["side", "--", "b"]), ["Side work"]);
    let said = tree.mv(&["log", "-p", "-1", "--", "a"]).success();
    assert!(
        said.contains("    three\n")
            && said.contains("    -two\n")
            && said.contains("    +three\n"),
        "{said}"
    );
    let said = tree
        .mv(&["log", "--stat", "-2", "side", "--", "b"])
        .success();
    assert!(
        said.contains("1 line +") && !said.contains("three"),
        "{said}"
    );
    tree.put("side", "a file");
    let said = tree.mv(&["log", "side"]).fails_with(2);
    assert!(
        said.contains("`modelv log side --` means the revision"),
        "{said}"
    );
    let said = tree.mv(&["log", "gone"]).fails_with(1);
    assert!(said.contains("revision `gone` not found"), "{said}");
}

#[test]
fn a_file_that_is_ignored_later_is_told() {
    let tree = tree();
    tree.put(".gitignore", "a\n");
    let said = tree.mv(&["status"]).success();
    let line =
        "  - a (left out now, and still there: `modelv track --explain PATH` says by what)\n";
    assert!(said.contains(line), "{said}");
    std::fs::remove_file(tree.path("a")).unwrap();
    let said = tree.mv(&["status"]).success();
    assert!(said.contains("  - a\n"), "{said}");
}

#[test]
fn an_export_into_files_says_where_to() {
    let tree = tree();
    let said = tree.mv(&["export", "HEAD", "."]).fails_with(1);
    assert!(
        said.contains("hint: name a folder that is empty or missing"),
        "{said}"
    );
}

#[test]
fn a_name_that_is_no_text_is_decided_as_it_is_typed() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::repo();
    let name = std::ffi::OsStr::from_bytes(b"b\xff.txt");
    let file = tree.root().join(name);
    let commit = |text: &str| {
        std::fs::write(&file, text).unwrap();
        tree.commit(text);
    };
    commit("base\n");
    tree.mv(&["switch", "-c", "side"]).success();
    commit("theirs\n");
    tree.mv(&["switch", "main"]).success();
    commit("ours\n");
    tree.mv(&["merge", "side"]).fails_with(3);
    let mut command = tree.command(&["resolve", "--theirs"]);
    assert!(command.arg(name).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "theirs\n");
}

#[test]
fn a_branch_can_be_named_before_the_first_commit() {
    let tree = Tree::repo();
    let said = tree.mv(&["switch", "-c", "trunk"]).success();
    assert_eq!(said, "on branch trunk (no commit yet)\n");
    tree.mv(&["undo"]).success();
    tree.mv(&["switch", "-c", "bad name"]).fails_with(1);
    tree.mv(&["switch", "-c", "trunk"]).success();
    tree.put("a", "1");
    let said = tree.mv(&["commit", "-m", "one"]).success();
    assert!(
        said.starts_with("[trunk ") && said.contains("first commit"),
        "{said}"
    );
    let listed = tree.mv(&["branch"]).success();
    assert!(
        listed.starts_with("* trunk ") && listed.lines().count() == 1,
        "{listed}"
    );
}

#[test]
fn commits_of_no_branch_are_told_when_they_are_left() {
    let tree = tree();
    tree.mv(&["tag", "v1"]).success();
    let said = tree.mv(&["switch", "v1"]).fails_with(1);
    assert!(said.contains("`modelv switch --detach v1`"), "{said}");
    tree.mv(&["switch", "--detach", "v1"]).success();
    // What a tag leads to is not lost.
    let done = tree.mv(&["switch", "main"]);
    assert_eq!(done.err, "");
    done.success();
    tree.mv(&["switch", "--detach", "HEAD"]).success();
    tree.put("a", "aside");
    let said = tree.mv(&["commit", "-m", "aside"]).success();
    assert!(said.starts_with("[detached "), "{said}");
    let id = tree.id("HEAD");
    let done = tree.mv(&["switch", "main"]);
    let want = format!(
        "note: {0} is on no branch: `modelv branch NAME {0}` keeps it\n",
        &id[..12]
    );
    assert_eq!(done.err, want);
    done.success();
    tree.mv(&["branch", "kept", &id[..12]]).success();
    assert_eq!(tree.id("kept"), id);
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

#[test]
fn a_commit_without_a_message_opens_the_editor_on_a_terminal() {
    let tree = tree();
    tree.put("new.py", "x\n");
    let said = tree.mv(&["commit"]).fails_with(2);
    assert!(
        said.contains("a commit needs a message") && said.contains("commit -m"),
        "{said}"
    );
    // An editor that keeps what it was given, and writes above it.
    tree.put(
        "edit.sh",
        "cp \"$1\" given\nprintf 'written\\n\\nwhy\\n# no\\n' > head\ncat head given > \"$1\"\nrm head\n",
    );
    let on_terminal = |editor: &str| {
        let line = format!("'{}' commit", crate::support::BINARY);
        let mut command = tree.command(&[]);
        let mut script = std::process::Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .current_dir(tree.root())
            .env_clear();
        for (key, value) in command.env("EDITOR", editor).get_envs() {
            script.env(key, value.unwrap_or_default());
        }
        script.stdin(std::process::Stdio::null());
        script
            .output()
            .expect("this test needs `script` of util-linux")
    };
    let said = String::from_utf8_lossy(&on_terminal("true").stdout).into_owned();
    assert!(said.contains("no message is left"), "{said}");
    let said = String::from_utf8_lossy(&on_terminal("").stdout).into_owned();
    assert!(said.contains("no editor is set"), "{said}");
    let done = on_terminal("sh edit.sh");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    let given = tree.get("given");
    assert!(
        given.contains("# on main") && given.contains("+ new.py"),
        "{given}"
    );
    let log = tree.mv(&["log", "-1"]).success();
    assert!(
        log.contains("written") && log.contains("why") && !log.contains("# no"),
        "{log}"
    );
}

#[test]
fn switch_goes_back_and_names_that_mislead_are_refused() {
    let tree = tree();
    tree.mv(&["switch", "-c", "side"]).success();
    tree.mv(&["switch", "main"]).success();
    let on = |name: &str| {
        let said = tree.mv(&["switch", "-"]).success();
        assert!(said.contains(name), "{said}");
    };
    on("on branch side");
    on("on branch main");
    tree.mv(&["switch", "--detach", "HEAD~1"]).success();
    on("on branch main");
    on("detached at");
    for name in ["deadbeef", "refs/heads/x"] {
        let said = tree.mv(&["branch", name]).fails_with(1);
        assert!(said.contains("it reads as"), "{said}");
        tree.mv(&["tag", name]).fails_with(1);
        tree.mv(&["switch", "-c", name]).fails_with(1);
    }
    tree.mv(&["branch", "facade"]).success();
    let said = tree
        .mv(&["compose", "--code", "side", "--branch", "new"])
        .fails_with(1);
    assert!(
        said.contains("every ingredient is that of `side`"),
        "{said}"
    );
    let said = tree.mv(&["mount"]).fails_with(2);
    assert!(said.contains("[COMMIT] DIR"), "{said}");
    let said = tree.mv(&["diff", "src/gone.py"]).fails_with(1);
    assert!(said.contains("`-- PATH`"), "{said}");
}
