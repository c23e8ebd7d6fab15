//! Files of Parquet made here, true ones and lies. Files of other writers: `tests/parquet.rs`.

use std::io::Read;

use super::super::Labels;
use super::super::{
    Driver, State, TableError, diff as diff_by_driver, diff_tables, examine, merge,
};
use super::testing::{Lie, TRUTH, Values, write};
use super::*;

fn people(scale: i64) -> Vec<(&'static str, Values)> {
    vec![
        ("id", Values::Int((0..50).collect())),
        (
            "word",
            Values::Text((0..50).map(|n| ["a", "b\"\n", "ü"][n % 3]).collect()),
        ),
        (
            "marks",
            Values::Lists(
                (0..50)
                    .map(|n| (0..n % 4).map(|m| m * scale).collect())
                    .collect(),
            ),
        ),
    ]
}

fn lines(file: &[u8]) -> Result<String, TableError> {
    let mut source = Cursor::new(file);
    let mut out = String::new();
    let mut lines = Lines::open(&mut source)?;
    lines
        .read_to_string(&mut out)
        .map_err(|e| rows::refusal_of(e.into()))?;
    Ok(out)
}

fn refused(file: &[u8], word: &str) {
    match lines(file) {
        Err(TableError::Refused(refusal)) => {
            assert!(refusal.to_string().contains(word), "{refusal} for {word}");
        }
        other => panic!("{other:?} for {word}"),
    }
}

#[test]
fn rows_become_lines() {
    let found = lines(&write(&people(2), TRUTH)).unwrap();
    let rows: Vec<&str> = found.lines().collect();
    assert_eq!(rows.len(), 50);
    assert_eq!(rows[0], r#"{"id":0,"word":"a","marks":[]}"#);
    assert_eq!(rows[7], r#"{"id":7,"word":"b\"\n","marks":[0,2,4]}"#);
    assert_eq!(
        found,
        lines(&write(&people(2), Lie { codec: 6, ..TRUTH })).unwrap()
    );
}

#[test]
fn rows_differ_by_key_and_columns_by_type() {
    let old = write(&people(2), TRUTH);
    let mut changed = people(2);
    changed.push(("more", Values::Int(vec![1; 50])));
    changed[1].1 = Values::Int(vec![5; 50]);
    let found = diff_by_driver(Driver::Parquet, Some(&old), Some(&write(&changed, TRUTH)));
    let columns: Vec<_> = found
        .iter()
        .filter_map(|c| match c {
            Change::Column { name, added } => Some((name.as_str(), *added)),
            _ => None,
        })
        .collect();
    assert_eq!(
        columns,
        [("word: text", false), ("word: int64", true), ("more", true)]
    );
    let mut one = people(2);
    let Values::Lists(lists) = &mut one[2].1 else {
        panic!()
    };
    lists[7] = vec![9];
    let found = diff_by_driver(Driver::Parquet, Some(&old), Some(&write(&one, TRUTH)));
    assert!(
        found.contains(&Change::Rows { old: 50, new: 50 }),
        "{found:?}"
    );
    let keyed = Change::Keyed {
        key: "id".into(),
        added: 0,
        removed: 0,
        changed: 1,
    };
    assert!(found.contains(&keyed), "{found:?}");
    let row = Change::Row {
        key: "7".into(),
        state: State::Changed,
        cells: vec![("marks".into(), "[0,2,4]".into(), "[9]".into())],
    };
    assert!(found.contains(&row), "{found:?}");
    assert_eq!(diff_by_driver(Driver::Parquet, Some(&old), Some(&old)), []);
    let added = diff_by_driver(Driver::Parquet, None, Some(&old));
    assert!(
        added.contains(&Change::Rows { old: 0, new: 50 }),
        "{added:?}"
    );
}

#[test]
fn two_changed_versions_are_a_conflict() {
    let versions = [1, 2, 3].map(|n| write(&people(n), TRUTH));
    let [base, ours, theirs] = &versions;
    assert_eq!(examine(b"data/a.parquet", ours).driver, Driver::Parquet);
    let labels = Labels {
        ours: "o",
        base: "b",
        theirs: "t",
    };
    let merged = merge(Driver::Parquet, Some(base), ours, theirs, &labels);
    assert_eq!((&merged.bytes, merged.conflicts.len()), (ours, 1));
    let one = merge(Driver::Parquet, Some(base), ours, base, &labels);
    assert_eq!((&one.bytes, one.conflicts.len()), (ours, 0));
    let not = examine(b"a.parquet", b"PAR1\0 but not to its end");
    assert_eq!(not.driver, Driver::Binary);
    assert!(not.note.unwrap().contains("it does not end with PAR1"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of lies")]
fn lies_are_refused_by_name() {
    let lie = |lie: Lie| write(&people(2), lie);
    for (file, word) in [
        (lie(Lie { rows: 1, ..TRUTH }), "ends before its rows"),
        (lie(Lie { rows: -1, ..TRUTH }), "goes on behind its rows"),
        (lie(Lie { rows: -51, ..TRUTH }), "-1 rows"),
        (
            lie(Lie {
                rows: i64::MAX / 2,
                ..TRUTH
            }),
            "ends before its rows",
        ),
        (
            lie(Lie {
                entries: Some(1 << 40),
                ..TRUTH
            }),
            "more than 16 Mi values",
        ),
        (
            lie(Lie {
                entries: Some(-1),
                ..TRUTH
            }),
            "-1 values",
        ),
        (
            lie(Lie {
                entries: Some(60),
                ..TRUTH
            }),
            "malformed",
        ),
        (
            lie(Lie {
                size: Some(1 << 40),
                ..TRUTH
            }),
            "larger than 64 MiB",
        ),
        (
            lie(Lie {
                size: Some(7),
                ..TRUTH
            }),
            "decompress to the size",
        ),
        (lie(Lie { codec: 3, ..TRUTH }), "LZO"),
        (lie(Lie { codec: 77, ..TRUTH }), "codec 77"),
        (
            lie(Lie {
                encoding: 4,
                ..TRUTH
            }),
            "encoding 4",
        ),
        (lie(Lie { nested: 3, ..TRUTH }), "a page is malformed"),
        (
            write(
                &people(2)[..1],
                Lie {
                    nested: 40,
                    ..TRUTH
                },
            ),
            "nested too deep",
        ),
        (write(&[], TRUTH), "no columns"),
        (b"PAR1".to_vec(), "too short"),
        (b"PAR1\xff\xff\xff\x7fPAR1".to_vec(), "longer than the file"),
        (b"PAR1\0\0\0\0PARE".to_vec(), "encrypted"),
    ] {
        refused(&file, word);
    }
}

#[test]
fn a_comparison_with_a_lie_falls_back_and_says_so() {
    let lie = |lie: Lie| write(&people(2), lie);
    let (good, bad) = (lie(TRUTH), lie(Lie { codec: 3, ..TRUTH }));
    let (mut a, mut b) = (Cursor::new(&good), Cursor::new(&bad));
    let sides = [
        Some(&mut a as &mut dyn Source),
        Some(&mut b as &mut dyn Source),
    ];
    let found = diff_tables(Driver::Parquet, None, sides, &mut InMemory::default());
    assert!(
        matches!(found, Err(TableError::Refused(Refusal::Beyond(_)))),
        "{found:?}"
    );
    assert_eq!(
        super::super::table_note("a.parquet", &Refusal::Beyond("why".into())),
        "a.parquet is not taken apart as Parquet (why): compared as binary"
    );
}

#[test]
fn a_row_that_never_ends_is_stopped() {
    let list = vec![("id", Values::Lists(vec![vec![i64::MIN; 500_000]]))];
    refused(&write(&list, TRUTH), "a row is longer than 8 MiB");
}

#[test]
fn any_byte_may_be_wrong() {
    let good = write(&people(3), Lie { codec: 6, ..TRUTH });
    for file in [good, write(&people(3), TRUTH)] {
        for at in 0..file.len() {
            for bit in [0, 3, 7] {
                let mut bad = file.clone();
                bad[at] ^= 1 << bit;
                if let Ok(text) = lines(&bad) {
                    assert!(text.len() < 1 << 20);
                }
            }
            assert!(lines(&file[..at]).is_err(), "{at}");
        }
    }
}
