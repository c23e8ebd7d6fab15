use std::io::Cursor;

use proptest::prelude::*;

use super::super::super::{Driver, InMemory, diff as diff_small};
use super::super::reader::ROW_BYTES_MAX;
use super::*;

/// Counts what is put aside.
#[derive(Default)]
struct Counted(InMemory, usize);

impl Spill for Counted {
    fn put(&mut self, side: usize, part: usize, bytes: &[u8]) -> io::Result<()> {
        self.1 += bytes.len();
        self.0.put(side, part, bytes)
    }

    fn take(&mut self, side: usize, part: usize) -> io::Result<Vec<u8>> {
        self.0.take(side, part)
    }
}

fn streamed(
    separator: Option<char>,
    old: &str,
    new: &str,
) -> (Result<Vec<Change>, TableError>, usize) {
    let (mut a, mut b, mut spill) = (Cursor::new(old), Cursor::new(new), Counted::default());
    let found = diff(separator, None, [Some(&mut a), Some(&mut b)], &mut spill);
    (found, spill.1)
}

/// Everything but lines, which are counted by their place in small tables.
fn without_lines(changes: Vec<Change>) -> Vec<Change> {
    changes
        .into_iter()
        .filter(|c| !matches!(c, Change::Lines { .. }))
        .collect()
}

#[test]
fn a_table_that_is_streamed_differs_as_a_small_one() {
    for (separator, old, new) in [
        (
            Some(','),
            "id,a\n1,x\n2,y\n3,z\n",
            "id,a\n1,x\n2,Y\n4,w\n3,z\n",
        ),
        (
            Some(','),
            "id,a\n1,\"x\ny\"\n2,y",
            "id,a\n1,\"x\nz\"\n2,y\n",
        ),
        (Some(','), "id,a\r\n1,x\r\n2,y\r\n", "id,a\n1,x\n2,y\n"),
        (Some(','), "\u{feff}id,a\n1,x\n\n2,y\n", "id,a\n1,x\n2,q\n"),
        (Some(','), "id,a\n1,x\n2,y\n", "id,a,b\n1,x,1\n2,y,2\n"),
        (Some('\t'), "id\ta\n1\t\"x\n2\ty\n", "id\ta\n2\ty\n1\t\"x\n"),
        (
            None,
            "{\"id\": 1, \"a\": 2}\n{\"id\": 2}\n",
            "{\"id\": 1, \"a\": 3}\n{\"id\": 3}\n",
        ),
        (Some(','), "id,a\n1,x\n", "id,a\n"),
    ] {
        let driver = separator.map_or(Driver::JsonLines, Driver::Table);
        let small = diff_small(driver, Some(old.as_bytes()), Some(new.as_bytes()));
        let large = streamed(separator, old, new).0.unwrap();
        assert_eq!(
            without_lines(large),
            without_lines(small),
            "{old:?} {new:?}"
        );
    }
}

#[test]
fn rows_beyond_memory_are_put_aside_and_found_again() {
    let row = |i: u32, v: u32| format!("{i},{v},{}\n", "x".repeat(200));
    let count = 150_000;
    let old: String = (0..count).map(|i| row(i, i)).collect();
    let new: String = (0..count)
        .rev()
        .filter(|i| i % 1000 != 7)
        .map(|i| row(i, if i % 1000 == 3 { 0 } else { i }))
        .collect();
    let (old, new) = (format!("id,v,pad\n{old}"), format!("id,v,pad\n{new}"));
    assert!(old.len() > KEPT_BYTES_MAX / 3);
    let (found, aside) = streamed(
        Some(','),
        &old,
        &format!(
            "{new}{}",
            (count..2 * count + 50_000)
                .map(|i| row(i, i))
                .collect::<String>()
        ),
    );
    assert!(aside > 0);
    let found = found.unwrap();
    assert!(
        found.contains(&Change::Keyed {
            key: "id".into(),
            added: 200_000,
            removed: 150,
            changed: 150
        }),
        "{:?}",
        &found[..2]
    );
}

#[test]
fn what_is_no_table_is_refused() {
    for (old, new, word) in [
        ("id,a\n1,x\n", "id,a\n1,x,y\n", "does not fit"),
        ("id,a\n1,x\n", "id,a\n1,\"x\n", "quote"),
        ("id,a\n1,x\n", "id,a\n1,\u{1}\n", ""),
    ] {
        match streamed(Some(','), old, new).0 {
            Err(TableError::Refused(refusal)) => {
                assert!(refusal.to_string().contains(word) && !word.is_empty());
            }
            Ok(_) => assert!(word.is_empty(), "{new:?}"),
            Err(e) => panic!("{e}"),
        }
    }
    let long = format!("id,a\n1,{}\n", "x".repeat(3 * ROW_BYTES_MAX));
    assert!(matches!(
        streamed(Some(','), &long, "id,a\n").0,
        Err(TableError::Refused(Refusal::Beyond(_)))
    ));
    assert!(matches!(
        streamed(None, "{\"id\": 1}\n", "[1]\n").0,
        Err(TableError::Refused(_))
    ));
}

proptest! {
    #[test]
    fn streaming_changes_nothing(old in "(([0-9]{1,2},[ab]|[0-9],\"a\nb\")\n){0,30}", new in "(([0-9]{1,2},[ab]|[0-9],\"a\nb\")\n){0,30}") {
        let (old, new) = (format!("id,a\n{old}"), format!("id,a\n{new}"));
        if old == new {
            return Ok(());
        }
        let small = diff_small(Driver::Table(','), Some(old.as_bytes()), Some(new.as_bytes()));
        let large = streamed(Some(','), &old, &new).0.unwrap();
        let keyed = |all: &[Change]| all.iter().find(|c| matches!(c, Change::Keyed { .. })).cloned();
        let rows = |all: &[Change]| all.iter().find(|c| matches!(c, Change::Rows { .. })).cloned();
        prop_assert_eq!(rows(&large), rows(&small));
        // A key that stands twice only in rows that did not change names the others well.
        if let Some(small) = keyed(&small) {
            prop_assert_eq!(keyed(&large), Some(small));
        }
    }
}
