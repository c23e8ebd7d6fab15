//! Tables read in pieces: whatever a file holds, reading it ends, and merging three comes to what
//! merging them in memory does.

use std::io::{Cursor, Read, Seek, SeekFrom};

use modelv_core::driver::{self, Driver, InMemory, Source, TableError};

use crate::drivers::{LABELS, versions};

/// The input is a file, or two of one length.
pub(crate) fn parquet(data: &[u8]) {
    let (old, new) = data.split_at(data.len() / 2);
    for (old, new) in [(None, data), (Some(data), data), (Some(old), new)] {
        let (mut a, mut b) = (old.map(Cursor::new), Cursor::new(new));
        let sides = [
            a.as_mut().map(|c| c as &mut dyn Source),
            Some(&mut b as &mut dyn Source),
        ];
        let _ = driver::diff_tables(Driver::Parquet, None, sides, &mut InMemory::default());
    }
    let _ = driver::examine(b"a.parquet", data);
    let _ = driver::diff(Driver::Parquet, Some(data), Some(new));
}

/// Three versions of a table, merged in pieces and in memory.
pub(crate) fn large(data: &[u8]) {
    let all = versions(data);
    for path in ["a.csv", "a.tsv", "a.jsonl"] {
        let (kind, _) = driver::examine_all(path.as_bytes(), &all);
        if !matches!(kind, Driver::Table(_) | Driver::JsonLines) {
            continue;
        }
        let [base, ours, theirs] = all;
        if ours == theirs || base == theirs || base == ours {
            continue;
        }
        let [mut b, mut o, mut t] = all.map(Cursor::new);
        let sides = [&mut b, &mut o, &mut t].map(|c| Some(c as &mut dyn Source));
        let mut room = InMemory::default();
        let large = driver::merge_large(path.as_bytes(), None, sides, &LABELS, &mut room);
        let small = driver::merge(kind, Some(base), ours, theirs, &LABELS);
        match large {
            Ok(mut joined) => {
                let mut content = Vec::new();
                joined
                    .content
                    .seek(SeekFrom::Start(0))
                    .and_then(|_| joined.content.read_to_end(&mut content))
                    .unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(joined.conflicts, small.conflicts, "other conflicts");
                assert_eq!(content, small.bytes, "other content");
            }
            // Lines in conflict have markers in memory; in pieces nothing is merged.
            Err(TableError::Refused(why)) => {
                assert!(!small.conflicts.is_empty(), "not merged: {why}");
            }
            Err(TableError::Io(e)) => panic!("{e}"),
        }
    }
}
