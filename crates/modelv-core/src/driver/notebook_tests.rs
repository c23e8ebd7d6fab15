use proptest::prelude::*;
use serde_json::json;

use super::super::{Driver, choose, diff, examine, merge, settle};
use super::*;

const LABELS: Labels<'_> = Labels {
    ours: "main",
    base: "base",
    theirs: "topic",
};

/// A code cell: id, source, output.
fn code(id: &str, source: &str, output: u32) -> Value {
    let lines: Vec<&str> = source.split_inclusive('\n').collect();
    let mut cell = json!({
        "cell_type": "code", "execution_count": output, "metadata": {}, "source": lines,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": [output.to_string()]}],
    });
    if !id.is_empty() {
        cell["id"] = id.into();
    }
    cell
}

fn book(cells: &[Value]) -> String {
    let minor = if cells.iter().any(|c| c.get("id").is_some()) {
        5
    } else {
        4
    };
    let book = json!({"cells": cells, "metadata": {"kernelspec": {"name": "py"}}, "nbformat": 4, "nbformat_minor": minor});
    String::from_utf8(write(&book, b"{\n \"\n")).unwrap()
}

fn merged(base: &str, ours: &str, theirs: &str) -> (Value, Vec<String>) {
    let [b, o, t] = [base, ours, theirs].map(str::as_bytes);
    let m = merge(Driver::Notebook, Some(b), o, t, &LABELS);
    assert_eq!(choose(b"n.ipynb", &m.bytes), Driver::Notebook);
    let items = m.conflicts.into_iter().map(|c| match c.item {
        Item::Key(key) => key,
        other => format!("{other:?}"),
    });
    let value: Value = serde_json::from_slice(&m.bytes).unwrap();
    valid(&value);
    (value, items.collect())
}

/// What the schema of nbformat 4 asks of cells.
fn valid(book: &Value) {
    let minor = book["nbformat_minor"].as_u64().unwrap();
    let mut ids = HashSet::new();
    for cell in book["cells"].as_array().unwrap() {
        assert!(
            cell["source"].is_array() && cell["metadata"].is_object(),
            "{cell}"
        );
        assert_eq!(cell.get("id").is_some(), minor >= 5, "{cell}");
        if let Some(id) = cell.get("id") {
            assert!(ids.insert(id.to_string()), "{id} stands there twice");
        }
        if cell["cell_type"] == "code" {
            assert!(cell["outputs"].is_array(), "{cell}");
            assert!(cell["execution_count"].is_null() || cell["execution_count"].is_u64());
        }
    }
}

fn sources(book: &Value) -> Vec<String> {
    let cells = book["cells"].as_array().unwrap();
    cells
        .iter()
        .map(|c| source(c.as_object().unwrap()))
        .collect()
}

#[test]
fn cells_merge_and_outputs_follow_the_source() {
    let base = book(&[
        code("a", "a = 1\n", 1),
        code("b", "b\n", 1),
        code("c", "c\n", 1),
    ]);
    // Ours changes a and reruns c, theirs changes b and reruns all.
    let ours = book(&[
        code("a", "a = 2\n", 7),
        code("b", "b\n", 1),
        code("c", "c\n", 7),
    ]);
    let theirs = book(&[
        code("a", "a = 1\n", 8),
        code("b", "b\nb2\n", 8),
        code("c", "c\n", 8),
        code("d", "d\n", 8),
    ]);
    let (book, items) = merged(&base, &ours, &theirs);
    assert!(items.is_empty());
    assert_eq!(sources(&book), ["a = 2\n", "b\nb2\n", "c\n", "d\n"]);
    let counts: Vec<u64> = book["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["execution_count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [7, 8, 7, 8]);
}

#[test]
fn a_cell_both_sides_changed_is_one_conflict_and_its_outputs_are_cleared() {
    let base = book(&[code("a", "1\n2\n3\n", 1)]);
    let (ours, theirs) = (
        book(&[code("a", "x\n2\n3\n", 2)]),
        book(&[code("a", "1\n2\ny\n", 3)]),
    );
    let (both, items) = merged(&base, &ours, &theirs);
    assert!(items.is_empty());
    assert_eq!(sources(&both), ["x\n2\ny\n"]);
    assert_eq!(both["cells"][0]["outputs"], json!([]));
    assert!(both["cells"][0]["execution_count"].is_null());
    let theirs = book(&[code("a", "z\n2\n3\n", 3)]);
    let (marked, items) = merged(&base, &ours, &theirs);
    assert_eq!(items, ["cell a"]);
    assert!(sources(&marked)[0].contains("<<<<<<< main"));
    let bytes = write(&marked, ours.as_bytes());
    let item = Item::Key("cell a".into());
    let settled = settle(Driver::Notebook, &bytes, &item, Some("\"z\\n2\\n3\\n\"")).unwrap();
    let settled: Value = serde_json::from_slice(&settled).unwrap();
    assert_eq!(sources(&settled), ["z\n2\n3\n"]);
}

#[test]
fn cells_without_ids_are_matched_by_what_they_say() {
    let base = book(&[
        code("", "import numpy as np\n", 1),
        code("", "x = np.ones(3)\nz = 1\ny = 1\n", 1),
    ]);
    let ours = book(&[
        code("", "import numpy as np\n", 1),
        code("", "new\n", 1),
        code("", "x = np.ones(4)\nz = 1\ny = 1\n", 1),
    ]);
    let theirs = book(&[
        code("", "import numpy as np\n", 1),
        code("", "x = np.ones(3)\nz = 1\ny = 2\n", 1),
    ]);
    let (book, items) = merged(&base, &ours, &theirs);
    assert!(items.is_empty(), "{items:?}");
    assert_eq!(
        sources(&book),
        [
            "import numpy as np\n",
            "new\n",
            "x = np.ones(4)\nz = 1\ny = 2\n"
        ]
    );
}

#[test]
fn a_cell_removed_here_and_changed_there_stays_and_is_a_conflict() {
    let base = book(&[code("a", "a\n", 1), code("b", "b\n", 1)]);
    let (gone, changed) = (
        book(&[code("a", "a\n", 1)]),
        book(&[code("a", "a\n", 1), code("b", "b2\n", 1)]),
    );
    for (o, t) in [(&gone, &changed), (&changed, &gone)] {
        let (book, items) = merged(&base, o, t);
        assert_eq!(
            (sources(&book), items),
            (
                vec!["a\n".to_owned(), "b2\n".to_owned()],
                vec!["cell b".to_owned()]
            )
        );
    }
    // Only run anew: gone.
    let rerun = book(&[code("a", "a\n", 1), code("b", "b\n", 9)]);
    let (book, items) = merged(&base, &gone, &rerun);
    assert_eq!((sources(&book).len(), items.len()), (1, 0));
}

#[test]
fn metadata_merge_by_key() {
    let text = book(&[code("a", "a\n", 1)]);
    let tag = |text: &str, tag: &str| {
        text.replace(
            "\"metadata\": {},",
            &format!("\"metadata\": {{\"{tag}\": 1}},"),
        )
    };
    let (book, items) = merged(&text, &tag(&text, "x"), &tag(&text, "y"));
    assert!(items.is_empty());
    assert_eq!(book["cells"][0]["metadata"], json!({"x": 1, "y": 1}));
    let name = |name: &str| text.replace("\"py\"", &format!("\"{name}\""));
    let (book, items) = merged(&text, &name("o"), &name("t"));
    assert_eq!(items, ["metadata.kernelspec.name"]);
    assert_eq!(book["metadata"]["kernelspec"]["name"], "o");
    let item = Item::Key("cells.a.metadata.x".into());
    let set = settle(
        Driver::Notebook,
        tag(&text, "x").as_bytes(),
        &item,
        Some("2"),
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(set).unwrap(),
        tag(&text, "x").replace("\"x\": 1", "\"x\": 2")
    );
}

#[test]
fn differences_name_cells() {
    let old = book(&[
        code("a", "a\n", 1),
        code("b", "b\n", 1),
        code("c", "c\n", 1),
    ]);
    let new = book(&[
        code("a", "a2\n", 1),
        code("c", "c\n", 2),
        code("d", "d\n", 1),
    ]);
    let changes = diff(Driver::Notebook, Some(old.as_bytes()), Some(new.as_bytes()));
    let shown: Vec<String> = changes
        .iter()
        .map(|c| match c {
            Change::Cell {
                name,
                state,
                outputs,
                ..
            } => format!("{name} {state} {outputs}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "a changed false",
            "c changed true",
            "d added false",
            "b removed false"
        ]
    );
}

#[test]
fn cells_that_only_moved_or_changed_their_type_are_told() {
    let cell = |id: &str| code(id, &format!("{id}\n"), 1);
    let old = book(&[cell("a"), cell("b"), cell("c")]);
    let new = book(&[cell("c"), cell("a"), cell("b")]);
    let changes = diff(Driver::Notebook, Some(old.as_bytes()), Some(new.as_bytes()));
    let want = |c: &Change| matches!(c, Change::Cell { name, moved: true, added: 0, removed: 0, .. } if name == "c");
    assert!(changes.len() == 1 && want(&changes[0]), "{changes:?}");
    let typed = old.replacen("\"code\"", "\"raw\"", 1);
    let changes = diff(
        Driver::Notebook,
        Some(old.as_bytes()),
        Some(typed.as_bytes()),
    );
    assert!(
        matches!(changes.as_slice(), [Change::Cell { metadata: true, .. }]),
        "{changes:?}"
    );
}

#[test]
fn what_is_no_notebook_is_text_with_a_word() {
    for (text, want) in [
        ("{}", "it is no nbformat 4"),
        (
            "{\"nbformat\": 3, \"worksheets\": []}",
            "it is no nbformat 4",
        ),
        ("{\"nbformat\": 4}", "no list of cells"),
        (
            "{\"nbformat\": 4, \"cells\": [{}]}",
            "a cell has no type or no source",
        ),
        (
            "{\"nbformat\": 4, \"cells\": [], \"cells\": []}",
            "the key `cells` stands there twice",
        ),
        ("<<<<<<< x\n{}", "not valid a notebook"),
    ] {
        let found = examine(b"n.ipynb", text.as_bytes());
        assert_eq!(found.driver, Driver::Text);
        assert!(found.note.as_ref().unwrap().contains(want), "{found:?}");
    }
}

fn cells() -> impl Strategy<Value = Vec<(char, u8, u8)>> {
    let cell = (prop::char::range('a', 'e'), 0u8..3, 0u8..3);
    proptest::collection::vec(cell, 0..5).prop_map(|mut cells| {
        let mut seen = HashSet::new();
        cells.retain(|(id, ..)| seen.insert(*id));
        cells
    })
}

fn text_of(cells: &[(char, u8, u8)], side: char) -> String {
    let cells: Vec<Value> = cells
        .iter()
        .map(|(id, n, run)| {
            let said = if *n == 0 { 'b' } else { side };
            code(
                &id.to_string(),
                &format!("{id}\n{said}{n}\n"),
                u32::from(*run),
            )
        })
        .collect();
    book(&cells)
}

proptest! {
    #[test]
    fn notebook_laws(b in cells(), x in cells(), y in cells()) {
        let [bt, xt, yt] = [text_of(&b, 'b'), text_of(&x, 'x'), text_of(&y, 'y')];
        for (o, t, want) in [(&xt, &xt, &xt), (&bt, &xt, &xt), (&xt, &bt, &xt)] {
            let m = merge(Driver::Notebook, Some(bt.as_bytes()), o.as_bytes(), t.as_bytes(), &LABELS);
            prop_assert_eq!(String::from_utf8(m.bytes).unwrap(), want.clone());
        }
        // A notebook without cells has no ids to tell cells by.
        if [&bt, &xt, &yt].iter().any(|t| !t.contains("\"id\"")) {
            return Ok(());
        }
        // Two orders of the cells: both stand there as text.
        let [b, o, t] = [&bt, &xt, &yt].map(String::as_bytes);
        let m = merge(Driver::Notebook, Some(b), o, t, &LABELS);
        if m.conflicts.iter().any(|c| matches!(c.item, Item::Lines { .. })) {
            prop_assert!(super::super::has_markers(&m.bytes));
            return Ok(());
        }
        let (book, items) = merged(&bt, &xt, &yt);
        let (back, other) = merged(&bt, &yt, &xt);
        prop_assert_eq!(&items, &other);
        if items.is_empty() {
            let sorted = |b: &Value| { let mut s = sources(b); s.sort(); s };
            prop_assert_eq!(sorted(&book), sorted(&back));
        }
        // What one side alone wrote is there.
        let all = sources(&book).concat();
        for (mine, other, side) in [(&x, &y, 'x'), (&y, &x, 'y')] {
            for (id, n, _) in mine.iter().filter(|c| c.1 > 0) {
                let untouched = !other.iter().any(|c| c.0 == *id && c.1 > 0);
                if untouched {
                    let (line, cell) = (format!("{side}{n}\n"), format!("cell {id}"));
                    prop_assert!(all.contains(&line) || items.contains(&cell));
                }
            }
        }
    }
}

/// A notebook of cells that say their names; a `*` is an edit. A cell's id is its name.
fn named(cells: &str, with_ids: bool) -> String {
    let cell = |said: &str| {
        let id = said.replace('*', "");
        code(if with_ids { &id } else { "" }, said, 1)
    };
    book(&cells.split(' ').map(cell).collect::<Vec<_>>())
}

#[test]
fn a_move_of_one_side_is_kept_beside_the_edits_of_the_other() {
    for (with_ids, base, moved, edited, want, conflicts) in [
        (true, "a b c", "c a b", "a b c", "c a b", vec![]),
        (true, "a b c", "c a b", "a b c*", "c* a b", vec![]),
        (true, "a b c", "c a b", "a* b c", "c a* b", vec![]),
        (false, "a b c", "c a b", "a* b c", "c a* b", vec![]),
        (true, "a b c d", "d a b c", "a x b d", "d a x b", vec![]),
        (true, "a b c", "c a b n", "a b", "a b n", vec![]),
        (true, "a b c", "c a b", "a b* c", "c a b*", vec![]),
        (true, "a b c", "c* a b", "a b", "c* a b", vec!["cell c"]),
        (true, "a b c d", "d a b c", "d a b* c", "d a b* c", vec![]),
        // Without ids, of two copies the one that stayed is the old one.
        (false, "a b x", "x a b x", "a b x n", "x a b x n", vec![]),
        (false, "a b x x", "x a b x", "a b x x*", "x a b x*", vec![]),
        // Removed against written anew.
        (true, "a b c", "a c", "a b* c", "a b* c", vec!["cell b"]),
        (false, "a b c", "a c", "a b* c", "a b* c", vec!["cell #2"]),
        (false, "a b", "a", "n a b*", "n a b*", vec!["cell #3"]),
        (
            false,
            "a b c",
            "n a c",
            "a b* c",
            "n a b* c",
            vec!["cell #3"],
        ),
        // The same words are one cell only in one place.
        (false, "a b", "n a b", "a b n", "n a b n", vec![]),
        (false, "a b", "a n b", "a n b o", "a n b o", vec![]),
    ] {
        let [b, o, t] = [base, moved, edited].map(|cells| named(cells, with_ids));
        for (o, t) in [(&o, &t), (&t, &o)] {
            let (book, items) = merged(&b, o, t);
            assert_eq!(sources(&book).join(" "), want, "{base} {moved} {edited}");
            assert_eq!(items, conflicts, "{base} {moved} {edited}");
        }
    }
}

#[test]
fn two_orders_of_the_cells_are_a_conflict() {
    for with_ids in [true, false] {
        let [b, o, t] = ["a b c d", "d a b c", "a c b d"].map(|cells| named(cells, with_ids));
        for (o, t) in [(&o, &t), (&t, &o)] {
            let [b, o, t] = [&b, o, t].map(String::as_bytes);
            let m = merge(Driver::Notebook, Some(b), o, t, &LABELS);
            assert!(matches!(m.conflicts[0].item, Item::Lines { .. }));
            assert!(text::has_markers(&m.bytes));
        }
    }
}

proptest! {
    #[test]
    fn no_cell_is_lost_by_a_move(
        x in Just(vec!['a', 'b', 'c', 'd', 'e']).prop_shuffle(),
        with_ids: bool,
        edited in 0usize..5,
    ) {
        let said = |cells: &[String]| named(&cells.join(" "), with_ids);
        let plain: Vec<String> = ('a'..='e').map(String::from).collect();
        let mut edit = plain.clone();
        edit[edited].push('*');
        let moved: Vec<String> = x.iter().map(char::to_string).collect();
        let want = moved.iter().map(|c| if *c == plain[edited] { edit[edited].clone() } else { c.clone() });
        let want = said(&want.collect::<Vec<_>>());
        let [b, o, t] = [said(&plain), said(&moved), said(&edit)];
        for (o, t) in [(&o, &t), (&t, &o)] {
            let (book, items) = merged(&b, o, t);
            prop_assert_eq!(items.len(), 0);
            prop_assert_eq!(sources(&book), sources(&serde_json::from_str(&want).unwrap()));
        }
    }
}
