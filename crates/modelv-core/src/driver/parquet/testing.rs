//! Writes Parquet for tests: flat columns and lists, uncompressed or not, page by page, as it stands in
//! the format; and lies about it where a test wants that.

use super::build::Struct;

/// Values of a column.
#[derive(Clone)]
pub(crate) enum Values {
    Int(Vec<i64>),
    Text(Vec<&'static str>),
    /// Lists of numbers.
    Lists(Vec<Vec<i64>>),
}

/// What a test changes.
#[derive(Clone, Copy)]
pub(crate) struct Lie {
    /// Added to the rows that are claimed.
    pub(crate) rows: i64,
    /// Instead of the values of a page.
    pub(crate) entries: Option<i64>,
    /// Instead of the size of a page.
    pub(crate) size: Option<i64>,
    pub(crate) codec: i64,
    pub(crate) encoding: i64,
    /// Groups around the first column.
    pub(crate) nested: usize,
}

pub(crate) const TRUTH: Lie = Lie {
    rows: 0,
    entries: None,
    size: None,
    codec: 0,
    encoding: 0,
    nested: 0,
};

/// Levels of one bit each, in runs of one.
fn levels(all: &[u8]) -> Vec<u8> {
    let runs: Vec<u8> = all.iter().flat_map(|l| [2, *l]).collect();
    [
        &u32::try_from(runs.len()).unwrap().to_le_bytes(),
        runs.as_slice(),
    ]
    .concat()
}

fn body(values: &Values) -> (usize, Vec<u8>) {
    match values {
        Values::Int(all) => (
            all.len(),
            all.iter().flat_map(|n| n.to_le_bytes()).collect(),
        ),
        Values::Text(all) => {
            let one = |t: &&str| {
                let length = u32::try_from(t.len()).unwrap().to_le_bytes();
                [length.as_slice(), t.as_bytes()].concat()
            };
            (all.len(), all.iter().flat_map(one).collect())
        }
        Values::Lists(all) => {
            let (mut reps, mut defs, mut data) = (Vec::new(), Vec::new(), Vec::new());
            for list in all {
                if list.is_empty() {
                    reps.push(0);
                    defs.push(0);
                }
                for (i, n) in list.iter().enumerate() {
                    reps.push(u8::from(i > 0));
                    defs.push(1);
                    data.extend(n.to_le_bytes());
                }
            }
            let count = reps.len();
            (count, [levels(&reps), levels(&defs), data].concat())
        }
    }
}

/// A page with all values of a column, and how many entries it has.
fn page(values: &Values, lie: Lie) -> (i64, Vec<u8>) {
    let (count, data) = body(values);
    let entries = i64::try_from(count).unwrap();
    let size = i64::try_from(data.len()).unwrap();
    let data = match lie.codec {
        6 => zstd::bulk::compress(&data, 1).unwrap(),
        _ => data,
    };
    let packed = i64::try_from(data.len()).unwrap();
    let page = Struct::default()
        .long(1, 0)
        .long(2, lie.size.unwrap_or(size))
        .long(3, packed)
        .inside(
            5,
            Struct::default()
                .long(1, lie.entries.unwrap_or(entries))
                .long(2, lie.encoding)
                .long(3, 3)
                .long(4, 3),
        );
    (entries, [page.end(), data].concat())
}

/// A file of one row group, a page for each column.
pub(crate) fn write(columns: &[(&str, Values)], lie: Lie) -> Vec<u8> {
    let mut out = b"PAR1".to_vec();
    let (mut schema, mut chunks, mut rows) = (Vec::new(), Vec::new(), 0);
    for (name, values) in columns {
        let start = i64::try_from(out.len()).unwrap();
        let (entries, page) = page(values, lie);
        out.extend(page);
        let length = i64::try_from(out.len()).unwrap() - start;
        let (kind, repetition) = match values {
            Values::Int(_) => (2, 0),
            Values::Text(_) => (6, 0),
            Values::Lists(_) => (2, 2),
        };
        let leaf = Struct::default()
            .long(1, kind)
            .long(3, repetition)
            .text(4, name);
        schema.push(match values {
            Values::Text(_) => leaf.long(6, 0).end(),
            _ => leaf.end(),
        });
        let facts = Struct::default()
            .long(1, kind)
            .long(4, lie.codec)
            .long(5, entries)
            .long(7, length)
            .long(9, start);
        chunks.push(Struct::default().long(2, start).inside(3, facts).end());
        rows = match values {
            Values::Int(all) => all.len(),
            Values::Text(all) => all.len(),
            Values::Lists(all) => all.len(),
        };
    }
    let count = i64::try_from(columns.len()).unwrap();
    let mut all = vec![Struct::default().text(4, "schema").long(5, count).end()];
    all.extend((0..lie.nested).map(|_| Struct::default().long(3, 1).text(4, "g").long(5, 1).end()));
    all.extend(schema);
    let rows = i64::try_from(rows).unwrap() + lie.rows;
    let footer = Struct::default()
        .long(1, 1)
        .structs(2, &all)
        .long(3, rows)
        .structs(
            4,
            &[Struct::default()
                .structs(1, &chunks)
                .long(2, 0)
                .long(3, rows)
                .end()],
        )
        .end();
    out.extend(&footer);
    out.extend(u32::try_from(footer.len()).unwrap().to_le_bytes());
    out.extend(b"PAR1");
    out
}
