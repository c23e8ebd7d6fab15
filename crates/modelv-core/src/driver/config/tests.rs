//! Cases told one by one: format, three versions, result, conflicts.

use super::super::{Driver, choose, diff as driver_diff, examine, merge, settle};
use super::*;

const LABELS: Labels<'_> = Labels {
    ours: "main",
    base: "base",
    theirs: "topic",
};

pub(super) fn merged(name: &str, base: &str, ours: &str, theirs: &str) -> (String, Vec<String>) {
    let driver = choose(name.as_bytes(), ours.as_bytes());
    let [base, ours, theirs] = [base, ours, theirs].map(str::as_bytes);
    let m = merge(driver, Some(base), ours, theirs, &LABELS);
    let items = m.conflicts.into_iter().map(|c| match c.item {
        Item::Key(key) => key,
        other => format!("{other:?}"),
    });
    (String::from_utf8(m.bytes).unwrap(), items.collect())
}

/// Name, base, ours, theirs, result, conflicts.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a [&'a str]);

fn check(cases: &[Case<'_>]) {
    for (name, base, ours, theirs, want, items) in cases {
        let (text, found) = merged(name, base, ours, theirs);
        assert_eq!(text, *want, "{name}: {ours:?} {theirs:?}");
        assert_eq!(found, *items, "{name}: {ours:?} {theirs:?}");
        let (_, back) = merged(name, base, theirs, ours);
        assert_eq!(back, *items, "{name}, sides exchanged");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn json_merges_by_key_and_keeps_its_layout() {
    check(&[
        // One line, nothing between its parts.
        (
            "a.json",
            r#"{"a":1,"b":2}"#,
            r#"{"a":5,"b":2}"#,
            r#"{"a":1,"b":6}"#,
            r#"{"a":5,"b":6}"#,
            &[],
        ),
        // Both add, both remove, at any depth, in the indent of ours.
        (
            "a.json",
            "{\n    \"m\": {\n        \"a\": 1,\n        \"b\": 2\n    }\n}\n",
            "{\n    \"m\": {\n        \"a\": 1,\n        \"x\": 1\n    }\n}\n",
            "{\n    \"m\": {\n        \"b\": 2,\n        \"y\": {\n            \"z\": 1\n        }\n    }\n}\n",
            "{\n    \"m\": {\n        \"y\": {\n            \"z\": 1\n        },\n        \"x\": 1\n    }\n}\n",
            &[],
        ),
        // No final newline, order of keys as in ours.
        (
            "a.json",
            "{\"b\": 1, \"a\": 2}",
            "{\"b\": 3, \"a\": 2}",
            "{\"b\": 1, \"a\": 4, \"c\": 5}",
            "{\"b\": 3, \"a\": 4, \"c\": 5}",
            &[],
        ),
        (
            "a.json",
            "{}",
            "{\"a\": 1}",
            "{\"b\": 1}",
            "{\"b\": 1, \"a\": 1}",
            &[],
        ),
        (
            "a.json",
            "{\"a\": 1}",
            "{}",
            "{\"a\": 1, \"b\": 2}",
            "{\"b\": 2}",
            &[],
        ),
        // Types count: 1, 1.0, "1" and true are four values.
        (
            "a.json",
            "{\"a\": 1, \"b\": 0}",
            "{\"a\": 1.0, \"b\": 0}",
            "{\"a\": \"1\", \"b\": 1}",
            "{\"a\": 1.0, \"b\": 1}",
            &["a"],
        ),
        (
            "a.json",
            "{\"a\": 1}",
            "{\"a\": 2}",
            "{}",
            "{\"a\": 2}",
            &["a"],
        ),
        // Lists by position when lengths are equal, else one value.
        (
            "a.json",
            "{\"l\": [1, {\"x\": 1, \"y\": 1}]}",
            "{\"l\": [2, {\"x\": 1, \"y\": 1}]}",
            "{\"l\": [1, {\"x\": 2, \"y\": 1}]}",
            "{\"l\": [2, {\"x\": 2, \"y\": 1}]}",
            &[],
        ),
        (
            "a.json",
            "{\"l\": [1, 2]}",
            "{\"l\": [3, 2]}",
            "{\"l\": [4, 2]}",
            "{\"l\": [3, 2]}",
            &["l[0]"],
        ),
        (
            "a.json",
            "{\"l\": [1, 2]}",
            "{\"l\": [1]}",
            "{\"l\": [1, 3]}",
            "{\"l\": [1]}",
            &["l"],
        ),
        // An edit must not land on another entry that came to its place.
        (
            "a.json",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 1}, {\"name\": \"dec\", \"lr\": 1}]}",
            "{\"l\": [{\"name\": \"dec\", \"lr\": 1}, {\"name\": \"enc\", \"lr\": 1}]}",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 5}, {\"name\": \"dec\", \"lr\": 1}]}",
            "{\"l\": [{\"name\": \"dec\", \"lr\": 1}, {\"name\": \"enc\", \"lr\": 1}]}",
            &["l"],
        ),
        (
            "a.json",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 1}, {\"name\": \"dec\", \"lr\": 1}]}",
            "{\"l\": [{\"name\": \"mid\", \"lr\": 1}, {\"name\": \"dec\", \"lr\": 1}]}",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 5}, {\"name\": \"dec\", \"lr\": 2}]}",
            "{\"l\": [{\"name\": \"mid\", \"lr\": 1}, {\"name\": \"dec\", \"lr\": 1}]}",
            &["l"],
        ),
        (
            "a.json",
            "{\"l\": [{\"w\": 1, \"lr\": 1}, {\"w\": 2, \"lr\": 1}]}",
            "{\"l\": [{\"w\": 2, \"lr\": 1}, {\"w\": 3, \"lr\": 1}]}",
            "{\"l\": [{\"w\": 1, \"lr\": 5}, {\"w\": 2, \"lr\": 1}]}",
            "{\"l\": [{\"w\": 2, \"lr\": 1}, {\"w\": 3, \"lr\": 1}]}",
            &["l"],
        ),
        // Where everything stays, both edits are taken.
        (
            "a.json",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 1, \"w\": 1}]}",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 2, \"w\": 1}]}",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 1, \"w\": 3}]}",
            "{\"l\": [{\"name\": \"enc\", \"lr\": 2, \"w\": 3}]}",
            &[],
        ),
        // CRLF and a byte order mark stay.
        (
            "a.json",
            "\u{feff}{\r\n \"a\": 1,\r\n \"b\": 1\r\n}\r\n",
            "\u{feff}{\r\n \"a\": 2,\r\n \"b\": 1\r\n}\r\n",
            "\u{feff}{\r\n \"a\": 1,\r\n \"b\": 3,\r\n \"c\": {\r\n  \"d\": 1\r\n }\r\n}\r\n",
            "\u{feff}{\r\n \"a\": 2,\r\n \"b\": 3,\r\n \"c\": {\r\n  \"d\": 1\r\n }\r\n}\r\n",
            &[],
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn yaml_merges_by_key_and_keeps_layout_and_comments() {
    let base = "# head\ntrain:\n  lr: 0.1  # rate\n  seed: 7\nlayers: [1, 2]\n";
    check(&[
        (
            "p.yaml",
            base,
            &base.replace("0.1", "0.2"),
            &base
                .replace("seed: 7", "seed: 8")
                .replace("# rate", "# the rate"),
            "# head\ntrain:\n  lr: 0.2  # the rate\n  seed: 8\nlayers: [1, 2]\n",
            &[],
        ),
        (
            "p.yaml",
            base,
            &base.replace("  seed: 7\n", "  seed: 7\n  # ours\n  a: 1\n"),
            &base.replace(
                "  seed: 7\n",
                "  seed: 7\n  # theirs\n  b:\n    - x\n    - y: 1\n",
            ),
            "# head\ntrain:\n  lr: 0.1  # rate\n  seed: 7\n  # theirs\n  b:\n    - x\n    - y: 1\n  # ours\n  a: 1\nlayers: [1, 2]\n",
            &[],
        ),
        (
            "p.yaml",
            base,
            &base.replace("[1, 2]", "[3, 2]"),
            &base.replace("[1, 2]", "[1, 4]"),
            &base.replace("[1, 2]", "[3, 4]"),
            &[],
        ),
        (
            "p.yaml",
            base,
            &base.replace("0.1", "0.2"),
            &base.replace("0.1", "0.3"),
            &base.replace("0.1", "0.2"),
            &["train.lr"],
        ),
        // A block in place of a value, a value in place of a block.
        (
            "p.yaml",
            "a: 1 # one\nb: 1\n",
            "a: 1 # one\nb: 2\n",
            "a: # block\n  x: 1\nb: 1\n",
            "a: # block\n  x: 1\nb: 2\n",
            &[],
        ),
        (
            "p.yaml",
            "a:\n- 1\n- 2\nb: 1\n",
            "a:\n- 1\n- 2\nb: 2\n",
            "a: x\nb: 1\n",
            "a: x\nb: 2\n",
            &[],
        ),
        // Blocks of text, a key without a value, no final newline.
        (
            "p.yaml",
            "a: |\n  one\n  two\nb:\nc: 1",
            "a: |\n  one\n  2\nb:\nc: 1",
            "a: |\n  one\n  two\nb: x\nc: 2",
            "a: |\n  one\n  2\nb: x\nc: 2",
            &[],
        ),
        // Comments behind braces and quotes.
        (
            "p.yaml",
            "a: {x: 1}\nb: 'q'\nc: [1]\n",
            "a: {x: 2} # o\nb: 'q'\nc: [1] # p\n",
            "a: {x: 1}\nb: 'r' # t\nc: [2]\n",
            "a: {x: 2} # o\nb: 'r' # t\nc: [2] # p\n",
            &[],
        ),
        // Two readings of one word are two values.
        (
            "p.yaml",
            "a: yes\nb: 1\n",
            "a: true\nb: 1\n",
            "a: \"yes\"\nb: 1\n",
            "a: true\nb: 1\n",
            &[],
        ),
        (
            "p.yaml",
            "é: ü\r\nb: 1\r\n",
            "é: ö\r\nb: 1\r\n",
            "é: ü\r\nb: 2\r\nc: 3\r\n",
            "é: ö\r\nb: 2\r\nc: 3\r\n",
            &[],
        ),
    ]);
}

#[test]
fn ini_and_env_merge_by_key() {
    let ini = "; head\ntop = 1\n\n[a]\nx = 1\ny: 2\n\n[b]\nlong = one\n    two\n";
    check(&[
        (
            "setup.cfg",
            ini,
            &ini.replace("x = 1", "x = 5")
                .replace("    two\n", "    two\n    three\n"),
            &ini.replace("y: 2\n", "# why\ny: 3\nz = 4\n")
                .replace("top = 1\n", "top = 2\n"),
            "; head\ntop = 2\n\n[a]\nx = 5\n# why\ny: 3\nz = 4\n\n[b]\nlong = one\n    two\n    three\n",
            &[],
        ),
        (
            "a.ini",
            "[a]\nx = 1\n",
            "[a]\nx = 1\n[o]\nk = 1\n",
            "[a]\nx = 1\n[t]\nk = 1\n",
            "[a]\nx = 1\n[t]\nk = 1\n[o]\nk = 1\n",
            &[],
        ),
        (
            "a.ini",
            "[a]\nx = 1\n",
            "[a]\nx = 2\n",
            "[a]\nx = 3\n",
            "[a]\nx = 2\n",
            &["a.x"],
        ),
        (
            ".env",
            "# db\nexport HOST=a # main\nPORT=1\n",
            "# db\nexport HOST=b # main\nPORT=1\n",
            "# db\nexport HOST=a # main\nPORT=2\nKEY=\"a b\"\n",
            "# db\nexport HOST=b # main\nPORT=2\nKEY=\"a b\"\n",
            &[],
        ),
        (".env.test", "A=1", "A=2", "A=3", "A=2", &["A"]),
    ]);
}

#[test]
fn toml_comments_of_lines_both_sides_changed_stay() {
    let base = "[t]\nc = 1 # rate\nd = 1\n";
    check(&[
        (
            "p.toml",
            base,
            "[t]\nc = 2 # rate\nd = 1\n",
            "[t]\nc = 1 # the rate\nd = 1\n",
            "[t]\nc = 2 # the rate\nd = 1\n",
            &[],
        ),
        (
            "p.toml",
            base,
            "[t]\nc = 2 # a\nd = 1\n",
            "[t]\nc = 1 # b\nd = 1\n",
            "[t]\nc = 2 # a # b\nd = 1\n",
            &[],
        ),
        (
            "p.toml",
            base,
            "[t]\nc = 2 # rate\nd = 1\n",
            "[t]\n# why\nc = 1 # rate\nd = 2\n",
            "[t]\n# why\nc = 2 # rate\nd = 2\n",
            &[],
        ),
        (
            "p.toml",
            base,
            "# o\n[t] # x\nc = 2 # rate\nd = 1\n",
            "# t\n[t]\nc = 3 # rate\nd = 1\n",
            "# o\n# t\n[t] # x\nc = 2 # rate\nd = 1\n",
            &["t.c"],
        ),
        (
            "p.toml",
            "l = [1, 2] # l\n",
            "l = [3, 2] # l\n",
            "l = [1, 4] # m\n",
            "l = [3, 4] # m\n",
            &[],
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn decisions_are_put_in_place() {
    for (name, text, key, value, want) in [
        (
            "a.json",
            "{\"a\": {\"b\": 1}}",
            "a.b",
            Some("2.0"),
            Ok("{\"a\": {\"b\": 2.0}}"),
        ),
        (
            "a.json",
            "{\"a\": {\"b\": 1}}",
            "a.c",
            Some("[1]"),
            Ok("{\"a\": {\"b\": 1, \"c\": [1]}}"),
        ),
        (
            "a.json",
            "{\"a\": {\"b\": 1}}",
            "x.y",
            Some("1"),
            Ok("{\"a\": {\"b\": 1}, \"x\": {\"y\": 1}}"),
        ),
        (
            "a.json",
            "{\"a\": 1, \"b\": 2}",
            "a",
            None,
            Ok("{\"b\": 2}"),
        ),
        ("a.json", "{\"a\": 1}", "nope", None, Ok("{\"a\": 1}")),
        (
            "a.json",
            "{\"l\": [1, {\"x\": 1}]}",
            "l[1].x",
            Some("2"),
            Ok("{\"l\": [1, {\"x\": 2}]}"),
        ),
        (
            "a.json",
            "{\"a\": 1}",
            "a",
            Some("1, \"b\": 2"),
            Err("no JSON value"),
        ),
        (
            "a.json",
            "{\"a\": 1}",
            "a",
            Some("x y"),
            Err("no JSON value"),
        ),
        (
            "a.json",
            "{\"a\": [1]}",
            "a[0]",
            None,
            Err("can't be set in place"),
        ),
        (
            "a.json",
            "{\"a\": 1}",
            "a..b",
            Some("1"),
            Err("is no dotted key"),
        ),
        (
            "a.yaml",
            "a: 1 # c\nb: 2\n",
            "a",
            Some("x"),
            Ok("a: x # c\nb: 2\n"),
        ),
        (
            "a.yaml",
            "a:\n  - 1\n  - 2\nb: 2\n",
            "a",
            Some("[3]"),
            Ok("a: [3]\nb: 2\n"),
        ),
        (
            "a.yaml",
            "a:\n  b: 1\n",
            "a.\"c d\"",
            Some("3"),
            Ok("a:\n  b: 1\n  \"c d\": 3\n"),
        ),
        (
            "a.yaml",
            "a:\n  b: 1\n",
            "c.d",
            Some("3"),
            Ok("a:\n  b: 1\nc:\n  d: 3\n"),
        ),
        ("a.yaml", "a: 1\nb: 2\n", "b", None, Ok("a: 1\n")),
        (
            "a.ini",
            "[a]\nx = 1\n",
            "a.y",
            Some("v w"),
            Ok("[a]\nx = 1\ny = v w\n"),
        ),
        (
            "a.ini",
            "[a]\nx = 1\n",
            "b.y",
            Some("1"),
            Ok("[a]\nx = 1\n[b]\ny = 1\n"),
        ),
        (
            ".env",
            "A=1\nB=2\n",
            "A",
            Some("\"x y\""),
            Ok("A=\"x y\"\nB=2\n"),
        ),
        (".env", "A=1\n", "A", Some("1\nB=2"), Err("no env value")),
    ] {
        let driver = choose(name.as_bytes(), text.as_bytes());
        let found = settle(driver, text.as_bytes(), &Item::Key(key.into()), value);
        match (found, want) {
            (Ok(bytes), Ok(want)) => assert_eq!(String::from_utf8(bytes).unwrap(), want),
            (Err(e), Err(want)) => assert!(e.to_string().contains(want), "{e}"),
            (found, want) => panic!("{name} {key}: {found:?} {want:?}"),
        }
    }
}

#[test]
fn values_are_typed_and_differ_by_key_and_position() {
    let yaml = b"a: 1\nb: 1.0\nc: '1'\nd: true\ne: ~\nf: 010\ng: yes\nh: 1e-4\ni: .inf\nj: 1:30\nk: 18446744073709551615\nl: []\nm: {}\n";
    let values = config_values(Format::Yaml, yaml).unwrap();
    let shown: Vec<String> = values.values().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "1",
            "1.0",
            "\"1\"",
            "true",
            "null",
            "\"010\"",
            "\"yes\"",
            "0.0001",
            "inf",
            "\"1:30\"",
            "18446744073709551615",
            "[]",
            "{}"
        ]
    );
    let (old, new) = (
        "{\"l\": [1, {\"x\": 1}], \"m\": [1]}",
        "{\"l\": [1, {\"x\": 1.0}], \"m\": [1, 2]}",
    );
    let driver = Driver::Config(Format::Json);
    let changes = driver_diff(driver, Some(old.as_bytes()), Some(new.as_bytes()));
    let keys: Vec<&String> = changes
        .iter()
        .map(|c| match c {
            Change::Key { key, .. } => key,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys, ["l[1].x", "m"]);
}

#[test]
fn secrets_are_hidden_in_differences_and_kept_in_merges() {
    let (old, new) = ("API_TOKEN=abc\nLR=1\n", "API_TOKEN=abd\nLR=2\n");
    let changes = driver_diff(
        Driver::Config(Format::Env),
        Some(old.as_bytes()),
        Some(new.as_bytes()),
    );
    let text = format!("{changes:?}");
    assert_eq!(changes.len(), 2);
    assert!(
        !text.contains("abc") && !text.contains("abd") && text.contains("(hidden)"),
        "{text}"
    );
    let (text, _) = merged(".env", old, new, &old.replace("LR=1", "LR=1\nX=1"));
    assert!(text.contains("abd"));
    for (text, want) in [
        (
            "# a=b\nAPI_TOKEN=\"x\ny\" # c\nLR=1\n",
            "# a=b\nAPI_TOKEN=(hidden) # c\nLR=1\n",
        ),
        (
            "A=1\nA=2\nrest of it\n",
            "A=(hidden)\nA=(hidden)\n(hidden)\n",
        ),
    ] {
        let masked = without_secrets(b"d/.env", text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(masked).unwrap(), want);
    }
    assert_eq!(without_secrets(b"a.yaml", b"token: x\n"), None);
}

#[test]
fn what_is_not_what_its_name_claims_is_text_with_a_word() {
    let deep = |a: &str, b: &str| a.repeat(100_000) + "1" + &b.repeat(100_000);
    let big = format!("{{\"a\": \"{}\"}}", "x".repeat(17 << 20));
    for (name, content, want) in [
        (
            "c/conf.json",
            "{\"a\": }",
            "c/conf.json is not valid JSON (line 1: expected a value): compared as text",
        ),
        (
            "a.json",
            "{\"a\": 1, \"a\": 2}",
            "the key `a` stands there twice",
        ),
        ("a.json", &deep("{\"a\":", "}"), "nested more than 128 deep"),
        ("a.json", &deep("[", "]"), "nested more than 128 deep"),
        ("a.json", &big, "larger than 16 MiB"),
        (
            "a.json",
            "{\"a\": 123456789012345678901234567890}",
            "fits no 64 bits",
        ),
        ("a.json", "{\"a\": 1} x", "expected nothing more"),
        ("a.json", "{\"a\": \"\\", "does not end"),
        ("a.json", "[1]", "its top level is no object"),
        (
            "a.yaml",
            "a: &x 1\nb: *x\n",
            "a.yaml is not taken apart as YAML (it uses anchors): compared as text",
        ),
        ("a.yaml", "a: !!str 1\n", "it uses tags"),
        ("a.yaml", "a: 1\n---\nb: 1\n", "it uses several documents"),
        ("a.yaml", "? [a]\n: 1\n", "keys that are no names"),
        ("a.yaml", "a: 1\na: 2\n", "the key `a` stands there twice"),
        ("a.yaml", "- 1\n", "its top level is no map"),
        ("a.yaml", "a: [1\n", "a.yaml is not valid YAML"),
        ("a.yaml", &deep("{a: ", "}"), "compared as text"),
        ("a.yaml", &deep("- ", ""), "nested more than 128 deep"),
        ("a.ini", "[a\n", "line 1: expected `]`"),
        ("a.ini", "[a]\nX=1\nx=2\n", "in different case"),
        ("a.ini", "[a]\n[a]\n", "the key `a` stands there twice"),
        (".env", "A=1\nA=2\n", "the key `A` stands there twice"),
        (".env", "no value\n", "line 1: expected `NAME=value`"),
        (".env", "A=\"open\n", "line 1: expected `NAME=value`"),
        ("a.toml", "a = = 1", "a.toml is not valid TOML (line 1: "),
    ] {
        let found = examine(name.as_bytes(), content.as_bytes());
        assert_eq!(found.driver, Driver::Text, "{name}");
        let note = found.note.unwrap();
        assert!(note.contains(want), "{note}");
    }
    let utf16: Vec<u8> = "{\"a\": 1}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let found = examine(b"a.json", &utf16);
    assert_eq!(found.driver, Driver::Binary);
    assert_eq!(
        found.note.unwrap(),
        "a.json is not valid JSON (it is no UTF-8 text): compared as binary"
    );
}

#[test]
fn a_million_keys_merge() {
    let file = |a: usize, b: usize| {
        let lines: Vec<String> = (0..1_000_000)
            .map(|i| format!("\"k{i}\":{}", usize::from(i == a) + usize::from(i == b)))
            .collect();
        format!("{{{}}}", lines.join(","))
    };
    let none = usize::MAX;
    let (text, items) = merged(
        "a.json",
        &file(none, none),
        &file(3, none),
        &file(none, 999_999),
    );
    assert!(items.is_empty());
    assert!(text == file(3, 999_999));
}
