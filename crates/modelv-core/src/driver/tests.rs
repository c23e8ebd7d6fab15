use proptest::prelude::*;

use super::*;

const LABELS: Labels<'_> = Labels {
    ours: "main",
    base: "base",
    theirs: "topic",
};

fn merged(name: &str, base: &str, ours: &str, theirs: &str) -> (String, Vec<Conflict>) {
    let driver = choose(name.as_bytes(), ours.as_bytes());
    let m = merge(
        driver,
        Some(base.as_bytes()),
        ours.as_bytes(),
        theirs.as_bytes(),
        &LABELS,
    );
    (String::from_utf8(m.bytes).unwrap(), m.conflicts)
}

#[test]
fn drivers_are_chosen_by_name_and_content() {
    for (name, content, word) in [
        ("a.py", "x", "text"),
        ("p.toml", "a = 1", "config"),
        ("p.toml", "a = = 1", "text"),
        ("p.json", "[1]", "text"),
        ("p.json", "{}", "config"),
        ("requirements-dev.txt", "a==1", "packages"),
        ("d/x.csv", "a,b", "table"),
        ("x.csv", "a\0b", "binary"),
        ("n.ipynb", "{}", "text"),
        ("n.ipynb", "{\"nbformat\": 4, \"cells\": []}", "notebook"),
    ] {
        assert_eq!(
            choose(name.as_bytes(), content.as_bytes()).to_string(),
            word,
            "{name}"
        );
    }
    assert_eq!(choose(b"x.txt", b"\xff\xfe\xfd"), Driver::Binary);
}

#[test]
fn both_sides_of_a_line_stand_between_markers() {
    let (text, conflicts) = merged("a", "1\nx\n3\n", "1\nours\n3\n", "1\ntheirs\n3\n");
    assert_eq!(
        text,
        "1\n<<<<<<< main\nours\n||||||| base\nx\n=======\ntheirs\n>>>>>>> topic\n3\n"
    );
    assert_eq!(conflicts[0].item, Item::Lines { hunks: 1 });
    assert!(has_markers(text.as_bytes()));
    assert!(!has_markers(b"a <<<<<<< b\n=======\n>>>>>>>>\n"));
}

#[test]
fn unified_is_what_git_prints() {
    let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten";
    assert_eq!(
        unified(old.as_bytes(), new.as_bytes(), 1),
        "@@ -4,3 +4,3 @@\n 4\n-5\n+five\n 6\n@@ -9 +9,2 @@\n 9\n+ten\n\\ No newline at end of file\n"
    );
    assert_eq!(unified(b"", b"a\n", 3), "@@ -0,0 +1 @@\n+a\n");
}

#[test]
fn toml_keys_merge_where_lines_would_not() {
    let base = "[train]\nc = 1.0 # regularisation\nseed = 7\n";
    let ours = "[train]\nc = 2.0 # regularisation\nseed = 7\n";
    let theirs =
        "# theirs\n[train]\nc = 1.0 # regularisation\nseed = 8\n\n[data]\nlangs = [\"en\"]\n";
    let (text, conflicts) = merged("p.toml", base, ours, theirs);
    assert!(conflicts.is_empty());
    let values = config_values(Format::Toml, text.as_bytes()).unwrap();
    let shown: Vec<String> = values.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        shown,
        ["data.langs=[\"en\"]", "train.c=2.0", "train.seed=8"]
    );
    assert!(text.contains("# regularisation"));
}

#[test]
fn toml_conflicts_name_the_key_and_the_file_still_parses() {
    let base = "[train]\nc = 1.0\nk = 1\n";
    let (text, conflicts) = merged(
        "p.toml",
        base,
        "[train]\nc = 2.0\nk = 1\n",
        "[train]\nc = 4.0\nk = \"1\"\n",
    );
    assert_eq!(text, "[train]\nc = 2.0\nk = \"1\"\n");
    let c = &conflicts[0];
    let shown = (c.base.as_deref(), c.ours.as_deref(), c.theirs.as_deref());
    assert_eq!(shown, (Some("1.0"), Some("2.0"), Some("4.0")));
    assert_eq!(
        (conflicts.len(), &c.item),
        (1, &Item::Key("train.c".into()))
    );
    let toml = Driver::Config(Format::Toml);
    let settled = settle(toml, text.as_bytes(), &c.item, Some("3.5")).unwrap();
    assert_eq!(settled, b"[train]\nc = 3.5\nk = \"1\"\n");
    let gone = settle(toml, text.as_bytes(), &c.item, None).unwrap();
    assert_eq!(gone, b"[train]\nk = \"1\"\n");
    let odd = settle(toml, text.as_bytes(), &c.item, Some("a b")).unwrap_err();
    assert_eq!(
        odd.to_string(),
        "the decision does not fit: `a b` is no TOML value; text needs quotes"
    );
}

#[test]
fn a_key_deleted_here_and_edited_there_is_a_conflict_from_both_sides() {
    let (base, edited, gone) = ("a = 1\nb = 1\n", "a = 2\nb = 1\n", "b = 1\n");
    for (ours, theirs) in [(edited, gone), (gone, edited)] {
        let (_, conflicts) = merged("p.toml", base, ours, theirs);
        assert_eq!(conflicts[0].item, Item::Key("a".into()));
    }
}

#[test]
fn types_of_toml_values_count() {
    let driver = Driver::Config(Format::Toml);
    for (a, b) in [
        ("a = 1", "a = 1.0"),
        ("a = 1", "a = \"1\""),
        ("a = 1", "a = true"),
    ] {
        assert_eq!(
            diff(driver, Some(a.as_bytes()), Some(b.as_bytes())).len(),
            1,
            "{a} {b}"
        );
    }
}

#[test]
fn demands_merge_by_package() {
    let base = "# pins\nnumpy==1.26.4\nscikit_learn==1.5.0\njoblib==1.4.0\n";
    let ours = "# pins\nnumpy==1.26.4\nscikit_learn==1.5.2\njoblib==1.4.0\n";
    let theirs = "# pins\nnumpy==1.26.4\nscikit_learn==1.5.0\njoblib==1.4.2  # faster\ntorch==2\n";
    let (text, conflicts) = merged("requirements.txt", base, ours, theirs);
    assert!(conflicts.is_empty());
    assert_eq!(
        text,
        "# pins\nnumpy==1.26.4\nscikit_learn==1.5.2\njoblib==1.4.2  # faster\ntorch==2\n"
    );
    let (_, conflicts) = merged("requirements.txt", "lib\n", "lib==1\n", "lib>=2\n");
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].item, Item::Package("lib".into()));
    assert_eq!(conflicts[0].theirs.as_deref(), Some("lib>=2"));
}

#[test]
fn names_markers_and_hashes_are_kept_apart() {
    let text = "Torch_Vision==1 \\\n  --hash=sha256:aa\ntorch==2 ; python_version < '3.9'\ntorch==3 ; python_version >= '3.9'\n-r other.txt\n";
    let changes = diff(Driver::Packages, None, Some(text.as_bytes()));
    let names: Vec<String> = changes
        .iter()
        .filter_map(|c| match c {
            Change::Package { name, .. } => Some(name.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        names,
        [
            "-r other.txt",
            "torch ; python_version < '3.9'",
            "torch ; python_version >= '3.9'",
            "torch-vision"
        ]
    );
    assert!(
        settle(
            Driver::Packages,
            b"a==1\n",
            &Item::Package("a".into()),
            Some("b==1")
        )
        .is_err()
    );
    let set = settle(
        Driver::Packages,
        b"a==1\nb==1",
        &Item::Package("b".into()),
        Some("b==2"),
    );
    assert_eq!(set.unwrap(), b"a==1\nb==2\n");
}

#[test]
fn tables_are_counted() {
    let old = "id,text\n1,\"two\nlines\"\n2,x\n";
    let new = "id,text,lang\n1,\"two\nlines\",en\n2,x,de\n3,y,de\n";
    let changes = diff(
        Driver::Table(','),
        Some(old.as_bytes()),
        Some(new.as_bytes()),
    );
    assert_eq!(
        changes[0],
        Change::Column {
            name: "lang".into(),
            added: true
        }
    );
    assert_eq!(changes[1], Change::Rows { old: 2, new: 3 });
}

#[test]
fn hostile_content_is_an_error_not_a_crash() {
    let deep = "[".repeat(100_000);
    for name in ["a.toml", "a.json"] {
        let text = format!("{}{deep}", if name == "a.toml" { "a = " } else { "" });
        assert_eq!(choose(name.as_bytes(), text.as_bytes()), Driver::Text);
    }
}

fn toml_strategy() -> impl Strategy<Value = String> {
    let leaf = (
        "[abc]",
        prop_oneof![Just("1"), Just("2"), Just("\"x\""), Just("[1, 2]")],
    );
    let section = proptest::collection::btree_map(leaf.0, leaf.1, 0..4);
    (section.clone(), section).prop_map(|(top, inner)| {
        let mut out = String::new();
        for (k, v) in top {
            out.push_str(&format!("{k} = {v}\n"));
        }
        if !inner.is_empty() {
            out.push_str("\n[sub]\n");
        }
        for (k, v) in inner {
            out.push_str(&format!("{k} = {v}\n"));
        }
        out
    })
}

fn requirements() -> impl Strategy<Value = String> {
    proptest::collection::btree_map("[abcd]", "==[12]|>=[12]", 0..5)
        .prop_map(|m| m.into_iter().map(|(k, v)| format!("{k}{v}\n")).collect())
}

/// What a file means: its values or demands, as changes from nothing.
fn meaning(driver: Driver, text: &str) -> Vec<Change> {
    match driver {
        Driver::Packages => packages::diff(b"", text.as_bytes()),
        _ if text.is_empty() => vec![],
        _ => diff(driver, None, Some(text.as_bytes())),
    }
}

fn laws(name: &str, b: &str, x: &str, y: &str) {
    let driver = choose(name.as_bytes(), b"");
    for (ours, theirs, want) in [(x, x, x), (b, x, x), (x, b, x)] {
        assert_eq!(merged(name, b, ours, theirs), (want.to_owned(), vec![]));
    }
    let (forward, fc) = merged(name, b, x, y);
    let (backward, bc) = merged(name, b, y, x);
    let items = |c: &[Conflict]| c.iter().map(|c| c.item.clone()).collect::<Vec<_>>();
    assert_eq!(items(&fc), items(&bc));
    if fc.is_empty() {
        assert_eq!(
            meaning(driver, &forward),
            meaning(driver, &backward),
            "{b:?} {x:?} {y:?}"
        );
    }
    // What one side alone changed is in the result.
    let (mb, mx, my) = (meaning(driver, b), meaning(driver, x), meaning(driver, y));
    let result = meaning(driver, &forward);
    for change in mx.iter().filter(|c| !mb.contains(c)) {
        let name_of = |c: &Change| match c {
            Change::Key { key, .. } => key.clone(),
            Change::Package { name, .. } => name.clone(),
            _ => String::new(),
        };
        let of = |m: &[Change]| m.iter().find(|c| name_of(c) == name_of(change)).cloned();
        if of(&my) == of(&mb) {
            assert!(
                result.contains(change),
                "{change:?} lost: {b:?} {x:?} {y:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn toml_laws(b in toml_strategy(), x in toml_strategy(), y in toml_strategy()) {
        laws("p.toml", &b, &x, &y);
    }

    #[test]
    fn requirement_laws(b in requirements(), x in requirements(), y in requirements()) {
        laws("requirements.txt", &b, &x, &y);
    }

    #[test]
    fn text_laws(b in "([abc]\n){0,8}", x in "([abc]\n){0,8}", y in "([abc]\n){0,8}") {
        for (ours, theirs) in [(&x, &x), (&b, &x), (&x, &b)] {
            prop_assert_eq!(merged("t", &b, ours, theirs), (x.clone(), vec![]));
        }
        let (forward, fc) = merged("t", &b, &x, &y);
        let (backward, bc) = merged("t", &b, &y, &x);
        prop_assert_eq!(&fc, &bc);
        if fc.is_empty() {
            prop_assert_eq!(forward, backward);
        }
    }

    #[test]
    fn nothing_panics(name in "(a.toml|a.json|requirements.txt|a.csv|a.ipynb|a)", b: Vec<u8>, x: Vec<u8>, y: Vec<u8>) {
        let driver = choose(name.as_bytes(), &x);
        let _ = merge(driver, Some(&b), &x, &y, &LABELS);
        let _ = diff(driver, Some(&b), Some(&x));
        let _ = unified(&b, &x, 3);
    }
}
