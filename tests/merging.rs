//! The options of `merge`, through the real binary.

use crate::support::Tree;

/// `main` and `side` both change `lr`, a line, a row and a link; each also changes something alone.
fn scene() -> Tree {
    let tree = Tree::repo();
    let put = |lr: &str, line: &str, row: &str, top: &str| {
        tree.put("params.toml", &format!("lr = {lr}\nseed = 7\n"));
        tree.put("train.py", &format!("{top}\nb\nc\nd\n{line}\n"));
        tree.put("data/x.csv", &format!("id,v\n1,one\n2,{row}\n"));
    };
    put("1", "e", "two", "a");
    tree.put("gone.py", "g\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    put("2", "THEIRS", "theirs", "a");
    tree.put("gone.py", "theirs\n");
    tree.put("theirs.py", "new\n");
    tree.commit("side");
    tree.mv(&["switch", "main"]).success();
    put("9", "OURS", "ours", "A");
    std::fs::remove_file(tree.path("gone.py")).unwrap();
    tree.commit("left");
    tree
}

#[test]
fn a_side_decides_for_an_ingredient_or_a_path() {
    let tree = scene();
    let open = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["merge", "side", "--dry-run", "--json"];
        all.extend(args);
        let done = tree.mv(&all);
        let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
        let list = json["conflicts"].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|c| c["item"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = tree.mv(&["status"]).success();
    assert_eq!(open(&[]).len(), 4);
    assert_eq!(
        open(&["--strategy", "theirs:config"]),
        ["data/x.csv:row id=2", "gone.py", "train.py"]
    );
    assert_eq!(
        open(&["--strategy", "ours:code"]),
        ["data/x.csv:row id=2", "params.toml:lr"]
    );
    assert_eq!(open(&["--strategy", "ours:data/"]).len(), 3);
    assert_eq!(open(&["--strategy", "ours:env"]).len(), 4);
    assert!(open(&["--strategy", "ours"]).is_empty());
    assert_eq!(tree.mv(&["status"]).success(), before);
    // The first that fits counts; what one side changed alone is there either way.
    let args = [
        "merge",
        "side",
        "--strategy",
        "ours:params.toml",
        "--strategy",
        "theirs",
    ];
    let done = tree.mv(&args);
    assert!(
        done.err.contains("params.toml:lr: ours taken"),
        "{}",
        done.err
    );
    done.success();
    assert_eq!(tree.get("params.toml"), "lr = 9\nseed = 7\n");
    assert_eq!(tree.get("train.py"), "A\nb\nc\nd\nTHEIRS\n");
    assert_eq!(tree.get("data/x.csv"), "id,v\n1,one\n2,theirs\n");
    assert_eq!(
        (tree.get("gone.py"), tree.get("theirs.py")),
        ("theirs\n".into(), "new\n".into())
    );
    tree.mv(&["undo"]).success();
    tree.mv(&["merge", "side", "--strategy", "ours"]).success();
    assert_eq!(tree.get("train.py"), "A\nb\nc\nd\nOURS\n");
    assert!(!tree.path("gone.py").exists());
    for bad in ["mine", "ours:../x", "theirs:../x", ""] {
        tree.mv(&["merge", "side", "--strategy", bad]).fails_with(1);
    }
}

#[test]
fn a_branch_moves_or_gets_a_commit_as_asked() {
    let tree = scene();
    let said = tree.mv(&["merge", "side", "--ff-only"]).fails_with(1);
    assert!(
        said.contains("have both moved") && said.contains("hint: "),
        "{said}"
    );
    let said = tree.mv(&["merge", "side", "main"]).fails_with(2);
    assert!(said.contains("one after the other"), "{said}");
    tree.mv(&["merge", "side", "--no-ff", "--ff-only"])
        .fails_with(2);
    tree.mv(&["switch", "-c", "old", "main~1"]).success();
    tree.mv(&["merge", "main", "--ff-only"]).success();
    assert_eq!(tree.id("old"), tree.id("main"));
    tree.mv(&["undo"]).success();
    tree.mv(&["merge", "main", "--no-ff"]).success();
    assert_eq!(tree.id("HEAD^2"), tree.id("main"));
    // A merge without conflicts is one operation.
    tree.mv(&["undo"]).success();
    assert_eq!(tree.id("HEAD"), tree.id("main~1"));
    tree.mv(&["merge", "main", "--no-ff", "--no-commit"])
        .success();
    assert_eq!(tree.id("HEAD"), tree.id("main~1"));
    tree.mv(&["merge", "--abort"]).success();
    assert_eq!(tree.get("params.toml"), "lr = 1\nseed = 7\n");
    tree.mv(&["undo"]).success();
    assert_eq!(tree.get("params.toml"), "lr = 9\nseed = 7\n");
    tree.mv(&["merge", "--continue"]).success();
    assert_eq!(tree.id("HEAD^2"), tree.id("main"));
}

#[test]
fn who_comes_second_writes_nothing() {
    for _ in 0..4 {
        let tree = scene();
        let args = ["merge", "side", "--no-commit", "--strategy", "theirs"];
        tree.mv(&args).success();
        let both = ["--continue", "--abort"].map(|end| {
            let mut command = tree.command(&["merge", end]);
            command.stdout(std::process::Stdio::null());
            command.stderr(std::process::Stdio::null());
            command.spawn().unwrap()
        });
        let ended = both.map(|mut child| child.wait().unwrap().success());
        assert!(ended[0] != ended[1], "{ended:?}");
        let status = tree.json(&["status", "--json"]);
        assert_eq!(status["changes"].as_array().unwrap().len(), 0, "{status}");
    }
}

/// Runs a command with an editor or a merge tool.
fn with(tree: &Tree, args: &[&str], env: &[(&str, &str)]) -> crate::support::Done {
    let output = tree
        .command(args)
        .envs(env.iter().copied())
        .output()
        .unwrap();
    crate::support::Done::new(&output)
}

#[test]
fn conflicts_are_decided_in_the_editor_and_the_merge_tool() {
    let tree = scene();
    tree.mv(&["merge", "side"]).fails_with(3);
    let set = r#"f() { sed -i "s/^9$/3/" "$1"; }; f"#;
    let lr = ["resolve", "params.toml:lr", "--edit"];
    with(&tree, &lr, &[("VISUAL", set), ("EDITOR", "false")]).success();
    assert_eq!(tree.get("params.toml"), "lr = 3\nseed = 7\n");
    for (env, want) in [
        (&[][..], "no editor is set"),
        (&[("EDITOR", "false")], "nothing is done"),
        (&[("EDITOR", "sed -i d")], "no value is left"),
    ] {
        let status = if env.is_empty() { 2 } else { 1 };
        let said = with(&tree, &lr, env).fails_with(status);
        assert!(said.contains(want), "{said}");
    }
    let said = with(&tree, &["resolve", "nope", "--edit"], &[("EDITOR", "true")]).fails_with(1);
    assert!(said.contains("conflict `nope` not found"), "{said}");
    // An editor that leaves the markers decides nothing.
    let said = with(&tree, &["mergetool", "train.py"], &[("EDITOR", "true")]).fails_with(3);
    assert!(said.contains("still carries conflict markers"), "{said}");
    // The tool sees all three versions and writes the fourth; a row goes to the editor.
    let tool = r#"grep -q OURS "$LOCAL" && grep -q THEIRS "$REMOTE" && grep -q "^e" "$BASE" && cp "$REMOTE" "$MERGED""#;
    tree.mv(&["config", "merge.tool", tool]).success();
    let done = with(&tree, &["mergetool"], &[("EDITOR", "true")]);
    assert!(
        done.err.contains("gone.py (delete/modify): no tool helps"),
        "{}",
        done.err
    );
    assert!(done.out.contains("decided train.py\n"), "{}", done.out);
    done.fails_with(3);
    assert_eq!(tree.get("train.py"), "a\nb\nc\nd\nTHEIRS\n");
    let open = tree.json(&["conflicts", "--json"]);
    let open = open
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["resolved"] == false);
    assert_eq!(open.map(|c| &c["item"]).collect::<Vec<_>>(), ["gone.py"]);
    tree.mv(&["resolve", "gone.py", "--ours"]).success();
    with(&tree, &["mergetool"], &[]).success();
    tree.mv(&["merge", "--continue"]).success();
    assert!(
        tree.mv(&["mergetool"])
            .fails_with(2)
            .contains("no merge is under way")
    );
    assert!(!tree.path(".mv/tmp").join("edit").exists());
}

#[test]
fn criss_crosses_on_each_other_are_merged_once_each() {
    let tree = Tree::repo();
    tree.put("a", "0\n");
    tree.put("b", "0\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    let (mut main, mut side) = (tree.id("main"), tree.id("side"));
    for i in 1..9 {
        for (branch, file) in [("main", "a"), ("side", "b")] {
            tree.mv(&["switch", branch]).success();
            tree.put(file, &format!("{i}\n"));
            tree.commit(&format!("{branch} {i}"));
        }
        (main, side) = (tree.id("main"), tree.id("side"));
        for (branch, other) in [("main", &side), ("side", &main)] {
            tree.mv(&["switch", branch]).success();
            tree.mv(&["merge", other]).success();
        }
    }
    let bases = tree.json(&["merge-base", "main", "side", "--json"]);
    let mut want = vec![main, side];
    want.sort();
    assert_eq!(bases, serde_json::json!(want));
    for (branch, file) in [("main", "a"), ("side", "b")] {
        tree.mv(&["switch", branch]).success();
        tree.put(file, "last\n");
        tree.commit("last");
    }
    tree.mv(&["merge", "main"]).success();
    assert_eq!(
        (tree.get("a"), tree.get("b")),
        ("last\n".into(), "last\n".into())
    );
    tree.mv(&["merge-base", "nope", "main"]).fails_with(1);
}

#[test]
fn demands_that_meet_over_two_files_are_told() {
    let tree = Tree::repo();
    let project = |demand: &str| {
        let text = format!("[project]\nname = \"x\"\ndependencies = [\"{demand}\"]\n");
        tree.put("pyproject.toml", &text);
    };
    tree.put("requirements.txt", "numpy>=1\n");
    project("numpy");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    tree.put("requirements.txt", "numpy>=2.0\n");
    tree.commit("newer");
    tree.mv(&["switch", "main"]).success();
    project("numpy<2");
    tree.commit("older");
    let said = "no version meets `numpy<2` in pyproject.toml and `numpy>=2.0` in requirements.txt together";
    for args in [&["merge", "--dry-run", "side"][..], &["merge", "side"]] {
        let done = tree.mv(args);
        assert_eq!(done.err.matches(said).count(), 1, "{}", done.err);
        done.success();
    }
    // It is known now: the next merge says nothing of it.
    tree.mv(&["switch", "-c", "more", "side"]).success();
    tree.put("a.py", "pass\n");
    tree.commit("more");
    tree.mv(&["switch", "main"]).success();
    let done = tree.mv(&["merge", "more"]);
    assert!(!done.err.contains("no version meets"), "{}", done.err);
    done.success();
}

#[test]
fn a_tool_that_leaves_a_conflict_keeps_nobody_from_the_next() {
    let tree = Tree::repo();
    let put = |line: &str, demand: &str| {
        for file in ["a.py", "b.py"] {
            tree.put(file, &format!("{line} in {file}\n"));
        }
        let text = format!("torch{demand} ; python_version < '3.10'\n");
        tree.put("requirements.txt", &text);
    };
    put("base", "");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    put("theirs", "==2.0");
    tree.commit("theirs");
    tree.mv(&["switch", "main"]).success();
    put("ours", "==1.0");
    tree.commit("ours");
    tree.mv(&["merge", "side"]).fails_with(3);
    // It fails on a.py and takes theirs of b.py; the demand needs an editor.
    let tool = r#"case "$MERGED" in *a.py) exit 7;; esac; cp "$REMOTE" "$MERGED""#;
    let done = with(&tree, &["mergetool"], &[("MODELV_MERGETOOL", tool)]);
    assert!(done.err.contains("a.py stays open: "), "{}", done.err);
    let hint = r"`modelv resolve 'requirements.txt:torch ; python_version < '\''3.10'\''' --ours`";
    assert!(
        done.err.contains("none is set") && done.err.contains(hint),
        "{}",
        done.err
    );
    assert!(done.err.ends_with("2 open\n"), "{}", done.err);
    assert_eq!(done.out, "decided b.py\n");
    done.fails_with(3);
    assert_eq!(tree.get("b.py"), "theirs in b.py\n");
    // A tool that changes nothing leaves the markers, and the rest to the editor.
    let env = [("MODELV_MERGETOOL", "true "), ("EDITOR", "true")];
    let done = with(&tree, &["mergetool"], &env);
    assert!(
        done.err.contains("still carries conflict markers"),
        "{}",
        done.err
    );
    assert!(
        done.out.starts_with("decided requirements.txt:torch"),
        "{}",
        done.out
    );
    done.fails_with(3);
    let help = tree.mv(&["mergetool", "--help"]).success();
    assert!(
        help.contains("MODELV_MERGETOOL") && help.contains("BASE LOCAL REMOTE MERGED"),
        "{help}"
    );
}

#[test]
fn an_edit_of_an_entry_never_lands_on_another() {
    let entry = |name: &str, lr: &str| (name.to_owned(), lr.to_owned());
    let yaml = |list: &[(String, String)]| {
        let one = |(name, lr): &(String, String)| format!("  - name: {name}\n    lr: {lr}\n");
        format!("layers:\n{}", list.iter().map(one).collect::<String>())
    };
    let json = |list: &[(String, String)]| {
        let one = |(name, lr): &(String, String)| {
            format!("    {{\n      \"name\": \"{name}\",\n      \"lr\": {lr}\n    }}")
        };
        let all: Vec<String> = list.iter().map(one).collect();
        format!("{{\n  \"layers\": [\n{}\n  ]\n}}\n", all.join(",\n"))
    };
    let toml = |list: &[(String, String)]| {
        let one =
            |(name, lr): &(String, String)| format!("[[layers]]\nname = \"{name}\"\nlr = {lr}\n\n");
        list.iter().map(one).collect::<String>()
    };
    let base = [entry("enc", "0.1"), entry("dec", "0.1")];
    let edited = [entry("enc", "0.5"), entry("dec", "0.1")];
    let swapped = [entry("dec", "0.1"), entry("enc", "0.1")];
    let shifted = [entry("dec", "0.1"), entry("new", "0.1")];
    for moved in [swapped, shifted] {
        let tree = Tree::repo();
        let put = |list: &[(String, String)]| {
            tree.put("conf/a.yaml", &yaml(list));
            tree.put("conf/b.json", &json(list));
            tree.put("conf/c.toml", &toml(list));
        };
        put(&base);
        tree.commit("base");
        tree.mv(&["switch", "-c", "side"]).success();
        put(&edited);
        tree.commit("edited");
        tree.mv(&["switch", "main"]).success();
        put(&moved);
        tree.commit("moved");
        for (from, into) in [("side", "main"), ("main", "side")] {
            tree.mv(&["switch", into]).success();
            let done = tree.mv(&["merge", from, "--json"]);
            let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
            let items: Vec<&str> = told["conflicts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["path"].as_str().unwrap())
                .collect();
            assert_eq!(
                items,
                ["conf/a.yaml", "conf/b.json", "conf/c.toml"],
                "{told}"
            );
            tree.mv(&["merge", "--abort"]).success();
        }
    }
    // Edits of different entries, and of different keys of one entry by its name, are merged.
    let tree = Tree::repo();
    tree.put("a.yaml", &yaml(&base));
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    tree.put(
        "a.yaml",
        &yaml(&edited).replace("lr: 0.1\n", "lr: 0.1\n    wd: 1\n"),
    );
    tree.commit("edited");
    tree.mv(&["switch", "main"]).success();
    tree.put(
        "a.yaml",
        &yaml(&base).replace("name: enc\n", "name: enc\n    bias: true\n"),
    );
    tree.commit("also");
    tree.mv(&["merge", "side"]).success();
    let want = "layers:\n  - name: enc\n    bias: true\n    lr: 0.5\n  - name: dec\n    lr: 0.1\n    wd: 1\n";
    assert_eq!(tree.get("a.yaml"), want);
}

#[test]
fn a_column_of_one_side_meets_the_edits_of_the_other() {
    let tree = Tree::repo();
    tree.put("t.csv", "id,v\n1,a\n2,b\n3,c\n");
    tree.commit("base");
    tree.mv(&["switch", "-c", "o"]).success();
    tree.put("t.csv", "id,v\n1,a\n2,b\n3,C\n");
    tree.commit("a cell");
    tree.mv(&["switch", "main"]).success();
    tree.put("t.csv", "id,v,n\n1,a,1\n2,b,2\n3,c,3\n");
    tree.commit("a column");
    tree.mv(&["merge", "o", "-m", "both"]).success();
    assert_eq!(tree.get("t.csv"), "id,v,n\n1,a,1\n2,b,2\n3,C,3\n");
    // A column that went here and has other cells there is one decision.
    tree.mv(&["switch", "o"]).success();
    tree.mv(&["merge", "main"]).success();
    tree.put("t.csv", "id,n\n1,1\n2,2\n3,3\n");
    tree.commit("without v");
    tree.mv(&["switch", "main"]).success();
    tree.put("t.csv", "id,v,n\n1,a,1\n2,B,2\n3,C,30\n");
    tree.commit("two cells");
    let merge = |want: &str, args: &[&str]| {
        let done = tree.mv(&["merge", "o"]);
        assert!(
            done.out.contains("conflict t.csv:column v (key)"),
            "{}",
            done.out
        );
        done.fails_with(3);
        tree.mv(&[&["resolve", "t.csv:column v"], args].concat())
            .success();
        assert_eq!(tree.get("t.csv"), want);
        tree.mv(&["merge", "--abort"]).success();
    };
    merge("id,n\n1,1\n2,2\n3,30\n", &["--theirs"]);
    merge("id,v,n\n1,a,1\n2,B,2\n3,C,30\n", &["--ours"]);
    merge("id,v,n\n1,a,1\n2,b,2\n3,C,30\n", &["--base"]);
    merge(
        "id,v,n\n1,a,1\n2,q,2\n3,C,30\n",
        &["--value", "{\"id=2\": \"q\"}"],
    );
    tree.mv(&["merge", "o", "--strategy", "theirs"]).success();
    assert_eq!(tree.get("t.csv"), "id,n\n1,1\n2,2\n3,30\n");
}

/// Many conflicts are counted, and not all told.
#[test]
fn the_first_conflicts_of_each_ingredient_are_shown() {
    let tree = Tree::repo();
    let write = |text: &str| {
        for n in 0..30 {
            tree.put(&format!("lib/{n:02}.py"), &format!("x = {text}\n"));
        }
        tree.put("data/notes.txt", &format!("{text}\n"));
        tree.commit(text);
    };
    write("1");
    tree.mv(&["branch", "side"]).success();
    write("2");
    tree.mv(&["switch", "side"]).success();
    write("3");
    for args in [
        &["merge", "main", "--dry-run"][..],
        &["merge", "main"],
        &["conflicts"],
    ] {
        let said = tree.mv(args);
        let shown = |name: &str| said.out.matches(name).count();
        assert_eq!(
            (shown("conflict lib/"), shown("conflict data/")),
            (20, 1),
            "{}",
            said.out
        );
        assert!(said.out.contains("and 10 more in code"), "{}", said.out);
        let way = if args.contains(&"--dry-run") {
            "`--json`"
        } else {
            "--all"
        };
        assert!(said.err.contains(way), "{}", said.err);
    }
    let all = tree.mv(&["conflicts", "--all"]).success();
    assert_eq!(all.matches("conflict lib/").count(), 30);
    let json = tree.json(&["conflicts", "--json"]);
    assert_eq!(json.as_array().unwrap().len(), 31);
    // What is decided makes room for what is open.
    for n in 0..25 {
        tree.mv(&["resolve", &format!("lib/{n:02}.py"), "--ours"])
            .success();
    }
    let said = tree.mv(&["conflicts"]).success();
    assert!(
        said.contains("conflict lib/29.py") && said.contains("and 10 more in code"),
        "{said}"
    );
}
