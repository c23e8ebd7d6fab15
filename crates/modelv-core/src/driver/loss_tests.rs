//! Merges in which something could get lost without a word.

use proptest::prelude::*;

use std::collections::BTreeMap;

use super::*;
use crate::value::Value;

const LABELS: Labels<'_> = Labels {
    ours: "main",
    base: "base",
    theirs: "topic",
};
const TOML: Driver = Driver::Config(Format::Toml);
const JSON: Driver = Driver::Config(Format::Json);

fn merged(driver: Driver, base: &str, ours: &str, theirs: &str) -> (String, Vec<Item>) {
    let [base, ours, theirs] = [base, ours, theirs].map(str::as_bytes);
    let m = merge(driver, Some(base), ours, theirs, &LABELS);
    let items = m.conflicts.into_iter().map(|c| c.item).collect();
    (String::from_utf8(m.bytes).unwrap(), items)
}

#[test]
fn a_json_key_both_sides_add_in_different_places_is_a_conflict() {
    let base = "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n";
    let ours = base.replace("{\n", "{\n  \"x\": 1,\n");
    let theirs = base.replace("3\n", "3,\n  \"x\": 2\n");
    for (o, t) in [(&ours, &theirs), (&theirs, &ours)] {
        let (text, items) = merged(JSON, base, o, t);
        assert_eq!(
            (text.as_str(), items),
            (o.as_str(), vec![Item::Key("x".into())])
        );
    }
    assert_eq!(choose(b"a.json", b"{\"a\": 1, \"a\": 2}"), Driver::Text);
    assert_eq!(
        choose(b"a.json", b"[{\"a\": [{\"b\": 1, \"b\": 1}]}]"),
        Driver::Text
    );
}

#[test]
fn disjoint_json_keys_merge() {
    let base = "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n";
    let (ours, theirs) = (base.replace('1', "1.0"), base.replace('3', "\"3\""));
    let (text, items) = merged(JSON, base, &ours, &theirs);
    assert_eq!(text, "{\n  \"a\": 1.0,\n  \"b\": 2,\n  \"c\": \"3\"\n}\n");
    assert!(items.is_empty());
}

#[test]
fn a_key_here_and_a_table_of_that_name_there_is_a_conflict() {
    let (base, key, table) = (
        "b = 1\nc = 1\n",
        "a = 1\nb = 1\nc = 1\n",
        "b = 1\nc = 1\n[a]\nx = 1\n",
    );
    for (o, t) in [(key, table), (table, key)] {
        let (_, items) = merged(TOML, base, o, t);
        assert_eq!(items, [Item::Lines { hunks: 1 }], "{o:?} {t:?}");
    }
    for (o, t) in [("z = 1\n", "[z.y]\nx = 1\n"), ("[z.y]\nx = 1\n", "z = 1\n")] {
        let (_, items) = merged(TOML, "z = 2\n", o, t);
        assert_eq!(items, [Item::Lines { hunks: 1 }], "{o:?} {t:?}");
    }
}

#[test]
fn their_comments_survive_a_conflict_elsewhere() {
    let base = "c = 1\n\n[data]\nn = 1\n\n[train]\nseed = 1\n";
    let ours = base.replace("c = 1", "c = 2");
    let theirs = base
        .replace("c = 1", "c = 3")
        .replace("[train]\n", "# why\n[train]\n# new\nlr = 0.1\n");
    let (text, items) = merged(TOML, base, &ours, &theirs);
    assert_eq!(items, [Item::Key("c".into())]);
    let want = "c = 2\n\n[data]\nn = 1\n\n# why\n[train]\n# new\nlr = 0.1\nseed = 1\n";
    assert_eq!(text, want);
}

#[test]
fn toml_keeps_its_line_ends() {
    let base = "a = 1\r\nb = 1\r\n";
    let (text, items) = merged(
        TOML,
        base,
        "a = 2\r\nb = 1\r\n",
        "a = 1\r\nb = 2\r\nc = 3\r\n",
    );
    assert_eq!(
        (text.as_str(), items),
        ("a = 2\r\nb = 2\r\nc = 3\r\n", vec![])
    );
}

#[test]
fn arrays_of_tables_are_values_that_can_be_chosen() {
    let [base, ours, theirs] = ["1", "2", "3"].map(|n| format!("[[a]]\nx = {n}\n[a.b]\ny = 1\n"));
    let m = merge(
        TOML,
        Some(base.as_bytes()),
        ours.as_bytes(),
        theirs.as_bytes(),
        &LABELS,
    );
    assert_eq!(m.bytes, ours.as_bytes());
    let conflict = &m.conflicts[0];
    assert_eq!(conflict.item, Item::Key("a".into()));
    let settled = settle(TOML, &m.bytes, &conflict.item, conflict.theirs.as_deref()).unwrap();
    let read = |b: &[u8]| config_values(Format::Toml, b).unwrap();
    assert_eq!(read(&settled), read(theirs.as_bytes()));
}

#[test]
fn options_of_requirement_files_are_not_lost() {
    let (ours, theirs) = (
        "a==2\n",
        "--index-url https://x\na==1\n-r more.txt\n./w.whl\n",
    );
    for (o, t) in [(ours, theirs), (theirs, ours)] {
        let (text, items) = merged(Driver::Packages, "a==1\n", o, t);
        assert!(items.is_empty());
        for line in [
            "a==2\n",
            "--index-url https://x\n",
            "-r more.txt\n",
            "./w.whl\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text:?}");
        }
    }
}

#[test]
fn thousands_of_new_demands_on_both_sides_are_all_there() {
    let many = |c: char| -> String { (0..3000).map(|i| format!("{c}{i}==1\n")).collect() };
    let (text, items) = merged(Driver::Packages, "", &many('p'), &many('q'));
    assert_eq!((text.lines().count(), items), (6000, vec![]));
}

#[test]
fn two_urls_are_two_demands() {
    let base = "https://x/a.whl\nhttps://x/b.whl\nlib\n";
    let (ours, theirs) = (base.replace("lib", "lib==1"), base.replace("lib", "lib>=2"));
    let (_, items) = merged(Driver::Packages, base, &ours, &theirs);
    assert_eq!(items, [Item::Package("lib".into())]);
}

#[test]
fn a_comment_that_ends_in_a_backslash_hides_no_demand() {
    let text = b"# C:\\dir\\\nlib==1\n";
    let changes = diff(Driver::Packages, None, Some(text));
    assert_eq!(changes.len(), 1);
}

#[test]
fn torchvision_is_not_torch() {
    let base = "torch==1\ntorchvision==1\n";
    let (ours, theirs) = ("torch==2\ntorchvision==1\n", "torch==1\ntorchvision==2\n");
    let (text, items) = merged(Driver::Packages, base, ours, theirs);
    assert_eq!(
        (text.as_str(), items),
        ("torch==2\ntorchvision==2\n", vec![])
    );
}

#[test]
fn deep_nesting_of_every_kind_is_bounded() {
    let n = 100_000;
    for text in [
        format!("{}b = 1\n", "a.".repeat(n)),
        format!("[{}b]\n", "a.".repeat(n)),
        format!("a = {}", "{b = ".repeat(n)),
        format!("a = {}1{}", "[".repeat(n), "]".repeat(n)),
    ] {
        assert_eq!(choose(b"a.toml", text.as_bytes()), Driver::Text);
    }
    let text = format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    assert_eq!(choose(b"a.json", text.as_bytes()), Driver::Text);
}

/// Nested TOML in which one name may be a value, a table or an array of tables.
fn toml() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("1"),
        Just("2"),
        Just("1.0"),
        Just("[1, 2]"),
        Just("{}"),
        Just("{x = 1, y = 2}"),
        Just("{x = 2}"),
        Just("1 # note")
    ];
    let body = move || proptest::collection::btree_map("[xyz]", value.clone(), 0..3);
    let heads = proptest::collection::btree_map(
        prop_oneof![
            Just("[x]"),
            Just("[y]"),
            Just("[x.z]"),
            Just("[[z]]"),
            Just("[z.y]")
        ],
        body(),
        0..3,
    );
    (body(), heads)
        .prop_map(|(top, heads)| {
            let lines = |m: BTreeMap<String, &str>| -> String {
                m.into_iter().map(|(k, v)| format!("{k} = {v}\n")).collect()
            };
            let rest: String = heads
                .into_iter()
                .map(|(h, m)| format!("\n# about {h}\n{h}\n{}", lines(m)))
                .collect();
            lines(top) + &rest
        })
        .prop_filter("no TOML", |t| {
            config_values(Format::Toml, t.as_bytes()).is_ok()
        })
}

fn laws(format: Format, b: &str, x: &str, y: &str) {
    let driver = Driver::Config(format);
    let (forward, items) = merged(driver, b, x, y);
    let (backward, back) = merged(driver, b, y, x);
    assert_eq!(items, back, "{b:?} {x:?} {y:?}");
    let values = |text: &str| config_values(format, text.as_bytes());
    if items.iter().any(|i| matches!(i, Item::Lines { .. })) {
        return;
    }
    let (m, n) = (values(&forward).unwrap(), values(&backward).unwrap());
    let [b, x, y] = [b, x, y].map(|t| values(t).unwrap());
    let keys = [&b, &x, &y, &m].map(BTreeMap::keys).into_iter().flatten();
    let same = |p: Option<&Value>, q: Option<&Value>| match (p, q) {
        (Some(p), Some(q)) => p.same(q),
        (p, q) => p.is_none() && q.is_none(),
    };
    for key in keys {
        let [b, x, y, m, n] = [&b, &x, &y, &m, &n].map(|v| v.get(key));
        let want = if same(x, y) || same(y, b) {
            x
        } else if same(x, b) {
            y
        } else {
            assert!(items.contains(&Item::Key(key.clone())), "{key}");
            continue;
        };
        assert!(
            same(m, want) && same(n, want),
            "{key}: {m:?} {n:?} {want:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_toml_value_is_lost(b in toml(), x in toml(), y in toml()) {
        laws(Format::Toml, &b, &x, &y);
    }
}
