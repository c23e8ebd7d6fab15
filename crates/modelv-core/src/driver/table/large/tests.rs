use std::io::Cursor;

use proptest::prelude::*;

use super::super::super::{
    Driver, InMemory, Item, Merged, has_markers, merge_by, settle as settle_small,
};
use super::*;

mod columns;

const LABELS: Labels<'_> = Labels {
    ours: "ours",
    base: "base",
    theirs: "theirs",
};

fn text(mut content: Box<dyn Scratch>) -> String {
    let mut out = String::new();
    content.seek(SeekFrom::Start(0)).unwrap();
    content.read_to_string(&mut out).unwrap();
    out
}

fn large(
    driver: Driver,
    key: Option<&str>,
    versions: [Option<&str>; 3],
) -> Result<(String, Vec<Conflict>), TableError> {
    let [mut b, mut o, mut t] = versions.map(|v| v.map(Cursor::new));
    let sides = [
        b.as_mut().map(|c| c as &mut dyn Source),
        o.as_mut().map(|c| c as &mut dyn Source),
        t.as_mut().map(|c| c as &mut dyn Source),
    ];
    let table = driver.table(key).unwrap();
    let joined = table.join(sides, &LABELS, &mut InMemory::default())?;
    Ok((text(joined.content), joined.conflicts))
}

fn small(driver: Driver, key: Option<&str>, versions: [Option<&str>; 3]) -> Merged {
    merge_by(driver, key, versions.map(|v| v.map(str::as_bytes)), &LABELS)
}

/// Both ways come to the same; or the large one merges nothing where the small one has no rows to
/// decide. Says whether it merged.
fn agree(driver: Driver, key: Option<&str>, versions: [Option<&str>; 3]) -> bool {
    let [base, ours, theirs] = versions;
    if ours == theirs || base == theirs || base == ours {
        return true;
    }
    let (small, large) = (small(driver, key, versions), large(driver, key, versions));
    match large {
        Ok((merged, conflicts)) => {
            assert_eq!(
                String::from_utf8(small.bytes).unwrap(),
                merged,
                "{versions:#?}"
            );
            assert_eq!(small.conflicts, conflicts, "{versions:#?}");
            true
        }
        Err(TableError::Refused(why)) => {
            assert!(has_markers(&small.bytes), "{why}: {versions:#?}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn tables_merge_as_small_ones_do() {
    let csv = Driver::Table(',');
    for (driver, base, ours, theirs) in [
        // A row each; cells of one row; appended on both sides.
        (
            csv,
            "id,a,b\n1,x,y\n2,z,w\n",
            "id,a,b\n1,X,y\n2,z,w\n3,n,n\n",
            "id,a,b\n1,x,Y\n2,z,w\n4,m,m\n",
        ),
        // Removed here, changed there.
        (
            csv,
            "id,a\n1,x\n2,y\n3,z\n",
            "id,a\n1,x\n3,z\n",
            "id,a\n1,x\n2,Y\n3,z\n",
        ),
        // Added twice, the same and not.
        (
            csv,
            "id,a\n1,x\n",
            "id,a\n1,x\n2,y\n3,q\n",
            "id,a\n1,x\n3,Q\n2,y\n",
        ),
        // Another order on one side.
        (
            csv,
            "id,a\n1,x\n2,y\n3,z\n4,w\n",
            "id,a\n4,w\n3,z\n2,y\n1,x\n",
            "id,a\n1,X\n2,y\n3,z\n4,w\n5,v\n",
        ),
        // Layout.
        (
            csv,
            "\u{feff}id,a\r\n1,x\r\n2,y\r\n",
            "\u{feff}id,a\r\n1,X\r\n2,y",
            "\u{feff}id,a\r\n1,x\r\n2,Y\r\n",
        ),
        (
            csv,
            "id,a\n1,\"x\ny\"\n2,y\n",
            "id,a\n1,\"X\ny\"\n2,y\n",
            "id,a\n1,\"x\ny\"\n2,\"y\n\"\n",
        ),
        (
            Driver::Table('\t'),
            "id\ta\n1\tx\n2\ty\n",
            "id\ta\n1\tX\n2\ty\n",
            "id\ta\n1\tx\n2\tY\n",
        ),
        (csv, "id,a\n1,x\n", "id,a", "id,a\n1,z\n"),
        // No key: by line, and appended.
        (
            csv,
            "t,l\na,1\nb,2\nc,3\nd,4\n",
            "t,l\nA,1\nb,2\nc,3\nd,4\n",
            "t,l\na,1\nb,2\nc,3\nD,4\n",
        ),
        (csv, "t,l\na,1\n", "t,l\na,1\nb,2\n", "t,l\na,1\nc,3\n"),
        (
            Driver::JsonLines,
            "{\"id\":1,\"a\":1,\"b\":1}\n",
            "{\"id\":1,\"a\":2,\"b\":1}\n",
            "{\"id\":1,\"a\":1,\"b\":2}\n",
        ),
        (
            Driver::JsonLines,
            "{\"id\":1}\n",
            "{\"id\":1}\n{\"id\":2}\n",
            "{\"id\":1}\n{\"id\":3}\n",
        ),
    ] {
        for [ours, theirs] in [[ours, theirs], [theirs, ours]].map(|s| s.map(Some)) {
            assert!(agree(driver, None, [Some(base), ours, theirs]), "{base:?}");
            // Both added the file.
            agree(driver, None, [None, ours, theirs]);
        }
    }
}

#[test]
fn what_rows_do_not_decide_is_not_merged() {
    for (base, ours, theirs, word) in [
        (
            "n,a\n1,x\n",
            "n,a,b\n1,x,1\n",
            "n,a\n1,y\n",
            "columns differ",
        ),
        (
            "id,a,b\n1,x,y\n",
            "id,b,a\n1,y,x\n",
            "a,b,id\nX,y,1\n",
            "another order",
        ),
        ("t,l\na,1\n", "t,l\nb,1\n", "t,l\nc,1\n", "no column"),
        (
            "id,a\n1,x\n1,y\n",
            "id,a\n1,x\n1,z\n",
            "id,a\n1,x\n1,w\n",
            "no column",
        ),
        (
            "id,a\n1,x\n2,y\n3,z\n",
            "id,a\n3,z\n2,y\n1,x\n",
            "id,a\n2,y\n1,x\n3,Z\n",
            "another order",
        ),
        ("id,a\n1,x\n", "id,a\n1,x,y\n", "id,a\n1,z\n", "first line"),
        ("id,a\n1,x\n", "id,a\n1,\"x\n", "id,a\n1,z\n", "quote"),
    ] {
        for [ours, theirs] in [[ours, theirs], [theirs, ours]] {
            let versions = [Some(base), Some(ours), Some(theirs)];
            match large(Driver::Table(','), None, versions) {
                Err(TableError::Refused(why)) => {
                    let why = why.to_string();
                    assert!(
                        why.contains(word) || word == "first line" && why.contains("row"),
                        "{why}"
                    );
                }
                Err(e) => panic!("{e}"),
                Ok((merged, conflicts)) => panic!("{merged:?} {conflicts:?}"),
            }
        }
    }
}

#[test]
fn edits_far_apart_meet_line_by_line() {
    let row = |i: usize| format!("word{},{i}\n", i % 7);
    let build = |edit: &dyn Fn(usize) -> Option<String>| -> String {
        let rows = (0..40_000).map(|i| edit(i).unwrap_or_else(|| row(i)));
        format!("t,n\n{}", rows.collect::<String>())
    };
    let base = build(&|_| None);
    let ours = build(&|i| (i % 9000 == 5).then(|| "ours,0\n".repeat(30)));
    let theirs = build(&|i| (i % 7000 == 100).then(String::new));
    let versions = [base.as_str(), &ours, &theirs].map(Some);
    assert!(agree(Driver::Table(','), None, versions));
    let (merged, _) = large(Driver::Table(','), None, versions).unwrap();
    let both = build(&|i| match i {
        _ if i % 9000 == 5 => Some("ours,0\n".repeat(30)),
        _ => (i % 7000 == 100).then(String::new),
    });
    assert_eq!(merged, both);
}

#[test]
fn decisions_are_put_as_into_small_tables() {
    let table = "id,a\n1,x\n2,y\n3,z\n";
    for (item, value) in [
        ("row id=2", Some("2,Y")),
        ("row id=2", None),
        ("row id=9", Some("9,n")),
        ("row id=9", None),
        ("row id=2", Some("5,Y")),
        ("row id=2", Some("2,Y,Z")),
        ("row nosuch=2", Some("2,Y")),
        ("else", None),
    ] {
        let small = settle_small(
            Driver::Table(','),
            table.as_bytes(),
            &Item::Key(item.into()),
            value,
        );
        let (mut source, mut room) = (Cursor::new(table), InMemory::default());
        let large = settle(Some(','), &mut source, &[(item, value)], &mut room);
        match (small, large) {
            (Ok(small), Ok(large)) => assert_eq!(String::from_utf8(small).unwrap(), text(large)),
            (Err(_), Err(_)) => {}
            (small, large) => panic!("{item} {value:?}: {small:?} {}", large.is_ok()),
        }
    }
    let many = [
        ("row id=1", None),
        ("row id=7", Some("7,q")),
        ("row id=3", Some("3,Z")),
    ];
    let (mut source, mut room) = (Cursor::new(table), InMemory::default());
    let done = settle(Some(','), &mut source, &many, &mut room).unwrap();
    assert_eq!(text(done), "id,a\n2,y\n3,Z\n7,q\n");
}

/// What somebody does to rows.
#[derive(Debug, Clone)]
enum Edit {
    Set(usize, u8),
    Remove(usize),
    Add(usize, u8, u8),
    Move(usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (0..200usize, 0..4u8).prop_map(|(i, v)| Edit::Set(i, v)),
        2 => (0..200usize).prop_map(Edit::Remove),
        3 => (0..200usize, 200..230u8, 0..3u8).prop_map(|(i, k, v)| Edit::Add(i, k, v)),
        1 => (0..200usize, 0..200usize).prop_map(|(i, j)| Edit::Move(i, j)),
    ];
    prop::collection::vec(edit, 0..6)
}

fn edited(rows: &[(u8, u8, u8)], edits: &[Edit]) -> Vec<(u8, u8, u8)> {
    let mut rows = rows.to_vec();
    for edit in edits {
        let n = rows.len().max(1);
        match *edit {
            Edit::Set(i, v) if i < rows.len() => match v % 2 {
                0 => rows[i].1 = v + 5,
                _ => rows[i].2 = v + 5,
            },
            Edit::Remove(i) if i < rows.len() => drop(rows.remove(i)),
            Edit::Add(i, key, v) if rows.iter().all(|r| r.0 != key) => {
                rows.insert(i.min(rows.len()), (key, v, v));
            }
            Edit::Move(i, j) if !rows.is_empty() => {
                let row = rows.remove(i % n);
                rows.insert(j.min(rows.len()), row);
            }
            _ => {}
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn random_tables_merge_as_small_ones_do(
        count in 0..200u8, a in edits(), b in edits(),
        has_key in prop::bool::weighted(0.8), is_json: bool, crlf in prop::bool::weighted(0.2),
        no_end in prop::bool::weighted(0.2),
    ) {
        let base: Vec<_> = (0..count).map(|i| (i, i % 3, i % 2)).collect();
        let write = |rows: &[(u8, u8, u8)]| {
            let name = if has_key { "id" } else { "n" };
            let mut out = if is_json { String::new() } else { format!("{name},a,b\n") };
            for (key, x, y) in rows {
                // Without a key, rows repeat.
                let key = if has_key { *key } else { key % 5 };
                out += &match is_json {
                    true => format!("{{\"{name}\":{key},\"a\":{x},\"b\":{y}}}\n"),
                    false => format!("{key},{x},{y}\n"),
                };
            }
            if no_end { out.pop(); }
            if crlf { out.replace('\n', "\r\n") } else { out }
        };
        let driver = if is_json { Driver::JsonLines } else { Driver::Table(',') };
        let versions = [write(&base), write(&edited(&base, &a)), write(&edited(&base, &b))];
        let [base, ours, theirs] = versions.each_ref().map(|v| Some(v.as_str()));
        agree(driver, None, [base, ours, theirs]);
        agree(driver, None, [base, theirs, ours]);
        agree(driver, Some("a"), [base, ours, theirs]);
    }
}
