use proptest::prelude::*;

use super::super::{Driver, choose, diff, examine, merge, settle};
use super::*;

const LABELS: Labels<'_> = Labels {
    ours: "main",
    base: "base",
    theirs: "topic",
};

fn merged(name: &str, base: &str, ours: &str, theirs: &str) -> (String, Vec<String>) {
    let driver = choose(name.as_bytes(), ours.as_bytes());
    let [b, o, t] = [base, ours, theirs].map(str::as_bytes);
    let m = merge(driver, Some(b), o, t, &LABELS);
    let items = m.conflicts.into_iter().map(|c| match c.item {
        Item::Key(key) => key,
        other => format!("{other:?}"),
    });
    (String::from_utf8(m.bytes).unwrap(), items.collect())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn rows_merge_by_key_and_cell() {
    for (name, base, ours, theirs, want, items) in [
        // Neighbours, and two cells of one row.
        (
            "a.csv",
            "id,a,b\n1,x,y\n2,x,y\n",
            "id,a,b\n1,X,y\n2,x,y\n",
            "id,a,b\n1,x,Y\n2,X,y\n",
            "id,a,b\n1,X,Y\n2,X,y\n",
            vec![],
        ),
        // Both append, one removes.
        (
            "a.csv",
            "id,a\n1,x\n2,x\n",
            "id,a\n1,x\n2,x\n3,o\n",
            "id,a\n1,x\n4,t\n",
            "id,a\n1,x\n4,t\n3,o\n",
            vec![],
        ),
        (
            "a.csv",
            "id,a\n1,x\n",
            "id,a\n1,o\n",
            "id,a\n1,t\n",
            "id,a\n1,o\n",
            vec!["row id=1"],
        ),
        (
            "a.csv",
            "id,a\n1,x\n",
            "id,a\n1,x\n2,o\n",
            "id,a\n1,x\n2,t\n",
            "id,a\n1,x\n2,o\n",
            vec!["row id=2"],
        ),
        // Quotes, line ends inside and outside of rows, byte order mark, no final line end.
        (
            "a.csv",
            "\u{feff}id,a\r\n1,\"x\r\ny\"\r\n2,z",
            "\u{feff}id,a\r\n1,\"X,\r\ny\"\r\n2,z",
            "\u{feff}id,a\r\n1,\"x\r\ny\"\r\n2,\"say \"\"hi\"\"\"",
            "\u{feff}id,a\r\n1,\"X,\r\ny\"\r\n2,\"say \"\"hi\"\"\"",
            vec![],
        ),
        (
            "a.tsv",
            "user_id\ta\n1\t\"x\n2\ty\n",
            "user_id\ta\n1\t\"X\n2\ty\n",
            "user_id\ta\n1\t\"x\n2\tY\n",
            "user_id\ta\n1\t\"X\n2\tY\n",
            vec![],
        ),
        (
            "a.jsonl",
            "{\"id\": 1, \"a\": 1, \"b\": 1}\n",
            "{\"id\": 1, \"a\": 2, \"b\": 1}\n",
            "{\"id\": 1, \"a\": 1, \"b\": 2}\n",
            "{\"id\": 1, \"a\": 2, \"b\": 2}\n",
            vec![],
        ),
        // No key: appended rows all stay, equal ones too; elsewhere lines decide.
        (
            "a.csv",
            "t,l\na,1\na,1\n",
            "t,l\na,1\na,1\nb,1\nb,1\n",
            "t,l\na,1\na,1\na,1\n",
            "t,l\na,1\na,1\na,1\nb,1\nb,1\n",
            vec![],
        ),
    ] {
        let (text, found) = merged(name, base, ours, theirs);
        assert_eq!(
            (text.as_str(), &found),
            (want, &items.iter().map(ToString::to_string).collect()),
            "{name}"
        );
        let (_, back) = merged(name, base, theirs, ours);
        assert_eq!(found, back);
    }
}

#[test]
fn two_rows_of_one_key_are_a_conflict_wherever_they_stand() {
    let base = "id,a\n1,x\n2,x\n3,x\n";
    let (ours, theirs) = (
        base.replace("1,x", "9,o\n1,x"),
        base.replace("3,x", "3,x\n9,t"),
    );
    let (_, items) = merged("a.csv", base, &ours, &theirs);
    assert_eq!(items, ["row id=9"]);
    let (text, items) = merged("a.csv", "t,l\na,1\n", "t,l\nb,1\n", "t,l\nc,1\n");
    assert!(text.contains("<<<<<<<"));
    assert_eq!(items, ["Lines { hunks: 1 }"]);
}

#[test]
fn decisions_are_whole_rows() {
    let text = b"id,a\n1,x\n2,y\n";
    let item = Item::Key("row id=1".into());
    for (value, want) in [
        (Some("1,\"a,b\""), Ok("id,a\n1,\"a,b\"\n2,y\n")),
        (None, Ok("id,a\n2,y\n")),
        (Some("5,z"), Err("no row of key `1`")),
        (Some("1"), Err("has 1 fields")),
        (Some("1,a\n7,b"), Err("no row of key `1`")),
    ] {
        match (settle(Driver::Table(','), text, &item, value), want) {
            (Ok(bytes), Ok(want)) => assert_eq!(bytes, want.as_bytes()),
            (Err(e), Err(want)) => assert!(e.to_string().contains(want), "{e}"),
            (found, want) => panic!("{found:?} {want:?}"),
        }
    }
    let new = settle(
        Driver::Table(','),
        text,
        &Item::Key("row id=3".into()),
        Some("3,z"),
    );
    assert_eq!(new.unwrap(), b"id,a\n1,x\n2,y\n3,z\n");
}

#[test]
fn differences_count_rows_and_name_cells() {
    let old = "id,text\n1,a\n2,b\n3,c\n";
    let new = "id,text,lang\n2,b,\n1,\"A\",en\n4,d,\n";
    let changes = diff(
        Driver::Table(','),
        Some(old.as_bytes()),
        Some(new.as_bytes()),
    );
    assert!(changes.contains(&Change::Column {
        name: "lang".into(),
        added: true
    }));
    assert!(changes.contains(&Change::Rows { old: 3, new: 3 }));
    assert!(changes.contains(&Change::Keyed {
        key: "id".into(),
        added: 1,
        removed: 1,
        changed: 1
    }));
    let cell = |c: &str, a: &str, b: &str| (c.to_owned(), a.to_owned(), b.to_owned());
    assert!(changes.contains(&Change::Row {
        key: "1".into(),
        state: State::Changed,
        cells: vec![cell("text", "a", "A"), cell("lang", "", "en")],
    }));
    let many = |x: &str| (0..5000).fold("id,x\n".to_owned(), |t, i| t + &format!("{i},{x}\n"));
    let changes = diff(
        Driver::Table(','),
        Some(many("a").as_bytes()),
        Some(many("b").as_bytes()),
    );
    let listed = changes
        .iter()
        .filter(|c| matches!(c, Change::Row { .. }))
        .count();
    assert_eq!(listed, ROWS_LISTED_MAX);
    assert!(changes.contains(&Change::Keyed {
        key: "id".into(),
        added: 0,
        removed: 0,
        changed: 5000
    }));
}

#[test]
fn what_is_no_table_is_text_with_a_word() {
    for (name, content, want) in [
        (
            "a.csv",
            "a,b\n1,2,3\n",
            "a.csv is not valid CSV (row 2 has 3 fields, the first line 2): compared as text",
        ),
        ("a.csv", "a,b\n1,\"2\n", "a quote does not end"),
        ("a.jsonl", "{\"a\": 1}\n[1]\n", "row 2: no JSON object"),
        ("a.jsonl", "{\"a\": 1\n", "row 1: no JSON object"),
    ] {
        let found = examine(name.as_bytes(), content.as_bytes());
        assert_eq!(found.driver, Driver::Text);
        assert!(found.note.as_ref().unwrap().contains(want), "{found:?}");
    }
}

fn table() -> impl Strategy<Value = String> {
    let row = (
        0u8..6,
        prop_oneof![Just("x"), Just("\"y,z\""), Just("w")],
        0u8..3,
    );
    proptest::collection::btree_map(row.0, (row.1, row.2), 0..6).prop_map(|rows| {
        rows.into_iter()
            .fold("id,a,b\n".to_owned(), |t, (id, (a, b))| {
                t + &format!("{id},{a},{b}\n")
            })
    })
}

proptest! {
    #[test]
    fn table_laws(b in table(), x in table(), y in table()) {
        for (o, t, want) in [(&x, &x, &x), (&b, &x, &x), (&x, &b, &x)] {
            prop_assert_eq!(merged("a.csv", &b, o, t), (want.clone(), vec![]));
        }
        let (forward, items) = merged("a.csv", &b, &x, &y);
        let (backward, back) = merged("a.csv", &b, &y, &x);
        prop_assert_eq!(&items, &back);
        prop_assert!(!items.iter().any(|i| i.starts_with("Lines")), "rows have a key: {:?}", items);
        prop_assert!(Sheet::read(forward.as_bytes(), Some(',')).unwrap().by_key("id").is_some());
        if items.is_empty() {
            let sorted = |t: &str| { let mut l: Vec<String> = t.lines().map(String::from).collect(); l.sort(); l };
            prop_assert_eq!(sorted(&forward), sorted(&backward));
        }
        // A row one side alone changed, added or removed is so in the result.
        let rows = |t: &str| -> HashMap<char, String> { t.lines().skip(1).map(|l| (l.chars().next().unwrap(), l.to_owned())).collect() };
        let [b, x, y, m] = [&b, &x, &y, &forward].map(|t| rows(t));
        for id in '0'..'6' {
            let [b, x, y, m] = [&b, &x, &y, &m].map(|r| r.get(&id));
            if b == y {
                prop_assert_eq!(m, x);
            } else if b == x {
                prop_assert_eq!(m, y);
            }
        }
    }

    #[test]
    fn no_appended_row_is_lost(base in "(a,[12]\n){1,4}", x in "([ab],[12]\n){0,4}", y in "([ab],[12]\n){0,4}") {
        let file = |tail: &str| format!("t,l\n{base}{tail}");
        let (text, items) = merged("a.csv", &file(""), &file(&x), &file(&y));
        prop_assert!(items.is_empty());
        let count = |t: &str, row: &str| t.lines().filter(|l| *l == row).count();
        for row in ["a,1", "a,2", "b,1", "b,2"] {
            let least = count(&base, row) + count(&x, row).max(count(&y, row));
            prop_assert!(count(&text, row) >= least, "{}", row);
        }
    }
}

#[test]
fn an_order_of_one_side_is_kept_beside_the_edits_of_the_other() {
    for (base, moved, edited, want, items) in [
        ("1 2 3", "3 2 1", "1* 2 3", "3 2 1*", vec![]),
        ("1 2 3", "3 1 2", "1 2 3*", "3* 1 2", vec![]),
        ("1 2 3", "3 2 1", "1* 2 3 4", "3 4 2 1*", vec![]),
        ("1 2 3", "3 2 1 5", "1* 3", "3 1* 5", vec![]),
        ("1 2 3", "3 2 1", "3 2 1*", "3 2 1*", vec![]),
        ("1 2 3", "3 2* 1", "1* 3", "3 2* 1*", vec!["row id=2"]),
    ] {
        let [b, o, t, want] = [base, moved, edited, want].map(rows_of);
        for (o, t) in [(&o, &t), (&t, &o)] {
            let (text, found) = merged("a.csv", &b, o, t);
            assert_eq!(found, items, "{base}, {moved}, {edited}");
            if items.is_empty() {
                assert_eq!(text, want, "{base}, {moved}, {edited}");
            }
        }
    }
    // Two orders.
    let [b, o, t] = ["1 2 3", "3 2 1", "2 3 1*"].map(rows_of);
    for (o, t) in [(&o, &t), (&t, &o)] {
        let (text, items) = merged("a.csv", &b, o, t);
        assert!(text.contains("<<<<<<<"), "{text}");
        assert!(items[0].starts_with("Lines"), "{items:?}");
    }
}

/// A table of the rows of these keys; a `*` is an edit.
fn rows_of(keys: &str) -> String {
    keys.split(' ').fold("id,a\n".to_owned(), |text, key| {
        let value = if key.ends_with('*') { "y" } else { "x" };
        text + &format!("{},{value}\n", key.trim_end_matches('*'))
    })
}

proptest! {
    #[test]
    fn no_order_of_rows_is_lost(
        x in Just(vec!["1", "2", "3", "4", "5"]).prop_shuffle(),
        edited in 0usize..5,
    ) {
        let plain = ["1", "2", "3", "4", "5"];
        let star = |rows: &[&str]| -> String {
            let mark = |r: &&str| if *r == plain[edited] { format!("{r}*") } else { (*r).to_owned() };
            rows_of(&rows.iter().map(mark).collect::<Vec<_>>().join(" "))
        };
        let (b, o, t) = (rows_of(&plain.join(" ")), rows_of(&x.join(" ")), star(&plain));
        for (o, t) in [(&o, &t), (&t, &o)] {
            prop_assert_eq!(merged("a.csv", &b, o, t), (star(&x), vec![]));
        }
    }
}
