//! The merge matrix: every row for every kind of file, from both sides. A kind of file says how it
//! writes parts (`name`, `value`) and at what its merge decides; a row says what happens to parts.

use std::collections::HashMap;
use std::convert::Infallible;

use crate::driver::{self, Change, Driver, Item, Labels, State};
use crate::id::BlobId;
use crate::merge::{Listing, Merged, Outcome, Side, merge};
use crate::path::RepoPath;
use crate::tree::Mode;

mod kinds;
mod trees;

/// Parts of a file by name.
type Parts<'a> = &'a [(&'a str, &'a str)];

/// At what the merge of a kind of file decides.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// Part by part; a conflict is called so.
    Parts(fn(&str) -> String),
    /// Line by line.
    Lines,
    /// Part by part; a conflict is about the whole file.
    Together,
    /// The whole file.
    Whole,
}

struct Kind {
    path: &'static str,
    write: fn(Parts<'_>) -> Vec<u8>,
    unit: Unit,
}

/// What a row comes to.
#[derive(Debug, Clone, Copy)]
enum Want<'a> {
    Clean(Parts<'a>),
    /// Of these parts.
    Conflict(&'a [&'a str]),
}

struct Row<'a> {
    name: &'a str,
    base: Option<Parts<'a>>,
    ours: Parts<'a>,
    theirs: Parts<'a>,
    /// Where parts are known.
    parts: Want<'a>,
    /// Where lines are known; parts stand apart by lines that never change.
    lines: bool,
    /// Where nothing is known.
    whole: bool,
}

const B: Parts<'_> = &[("a", "1"), ("b", "1"), ("c", "1")];
const A2: Parts<'_> = &[("a", "2"), ("b", "1"), ("c", "1")];
const A3: Parts<'_> = &[("a", "3"), ("b", "1"), ("c", "1")];
const B2: Parts<'_> = &[("a", "1"), ("b", "2"), ("c", "1")];
const A2B2: Parts<'_> = &[("a", "2"), ("b", "2"), ("c", "1")];
const A2B3: Parts<'_> = &[("a", "2"), ("b", "3"), ("c", "1")];
const NO_A: Parts<'_> = &[("b", "1"), ("c", "1")];
const NO_A_B2: Parts<'_> = &[("b", "2"), ("c", "1")];
const NO_C: Parts<'_> = &[("a", "1"), ("b", "1")];
const ONLY_B: Parts<'_> = &[("b", "1")];
const D1: Parts<'_> = &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
const D2: Parts<'_> = &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "2")];
const D2_FIRST: Parts<'_> = &[("d", "2"), ("a", "1"), ("b", "1"), ("c", "1")];
const E1: Parts<'_> = &[("a", "1"), ("b", "1"), ("c", "1"), ("e", "1")];
const D1E1: Parts<'_> = &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")];
const A2D1: Parts<'_> = &[("a", "2"), ("b", "1"), ("c", "1"), ("d", "1")];

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn rows() -> Vec<Row<'static>> {
    use Want::{Clean, Conflict};
    let row = |name, ours, theirs, parts, lines, whole| Row {
        name,
        base: Some(B),
        ours,
        theirs,
        parts,
        lines,
        whole,
    };
    let added = |name, ours, theirs, parts, lines, whole| Row {
        base: None,
        ..row(name, ours, theirs, parts, lines, whole)
    };
    vec![
        row("neither", B, B, Clean(B), true, true),
        row("the same change", A2, A2, Clean(A2), true, true),
        row("one side", A2, B, Clean(A2), true, true),
        row("two parts", A2, B2, Clean(A2B2), true, false),
        row(
            "a common and another change",
            A2,
            A2B2,
            Clean(A2B2),
            true,
            false,
        ),
        row(
            "one part in two ways",
            A2,
            A3,
            Conflict(&["a"]),
            false,
            false,
        ),
        row(
            "one part in two ways, one by ours",
            A2B2,
            B2,
            Clean(A2B2),
            true,
            false,
        ),
        row(
            "two changes, one open",
            A2B2,
            A2B3,
            Conflict(&["b"]),
            false,
            false,
        ),
        row("a part removed", NO_A, B, Clean(NO_A), true, true),
        row(
            "a part removed by both",
            NO_A,
            NO_A,
            Clean(NO_A),
            true,
            true,
        ),
        row(
            "different parts removed",
            NO_A,
            NO_C,
            Clean(ONLY_B),
            true,
            false,
        ),
        row(
            "a part removed and edited",
            NO_A,
            A2,
            Conflict(&["a"]),
            false,
            false,
        ),
        row(
            "one removed, another edited",
            NO_A,
            B2,
            Clean(NO_A_B2),
            false,
            false,
        ),
        row("a part added", D1, B, Clean(D1), true, true),
        row("the same part added", D1, D1, Clean(D1), true, true),
        row(
            "a part added in two ways",
            D1,
            D2,
            Conflict(&["d"]),
            false,
            false,
        ),
        row(
            "the same, elsewhere",
            D1,
            D2_FIRST,
            Conflict(&["d"]),
            true,
            false,
        ),
        row("different parts added", D1, E1, Clean(D1E1), false, false),
        row(
            "one added, another edited",
            A2,
            D1,
            Clean(A2D1),
            true,
            false,
        ),
        added("the same file added", B, B, Clean(B), true, true),
        added(
            "the file added in two ways",
            A2,
            A3,
            Conflict(&["a"]),
            false,
            false,
        ),
    ]
}

/// A world of files by content.
#[derive(Default)]
struct World(HashMap<BlobId, Vec<u8>>);

impl World {
    fn side(&mut self, mode: Mode, content: &[u8]) -> Side {
        let blob = BlobId::of(content);
        self.0.insert(blob, content.to_vec());
        Side {
            mode,
            size: content.len() as u64,
            blob,
        }
    }

    fn merge(&self, b: &Listing, o: &Listing, t: &Listing) -> Merged {
        let labels = Labels {
            ours: "ours",
            base: "base",
            theirs: "theirs",
        };
        merge(b, o, t, &labels, &mut |blob, _| {
            Ok::<_, Infallible>(Some(self.0[&blob].clone()))
        })
        .unwrap()
    }

    fn bytes(&self, outcome: &Outcome) -> Vec<u8> {
        match outcome {
            Outcome::Keep(side) => self.0[&side.blob].clone(),
            Outcome::Write { bytes, .. } => bytes.clone(),
        }
    }
}

fn listing(files: &[(&str, Side)]) -> Listing {
    files
        .iter()
        .map(|(path, side)| (RepoPath::new(*path).unwrap(), *side))
        .collect()
}

/// Whether two versions say something different; their layout does not count.
fn differ(driver: Driver, a: &[u8], b: &[u8]) -> bool {
    if matches!(driver, Driver::Text | Driver::Binary) {
        return a != b;
    }
    driver::diff(driver, Some(a), Some(b))
        .iter()
        .any(|c| match c {
            Change::Lines { .. } | Change::Bytes { .. } => false,
            Change::Rows { old, new } => old != new,
            Change::Keyed {
                added,
                removed,
                changed,
                ..
            } => added + removed + changed > 0,
            // Where both sides added a cell at one place, either order will do.
            Change::Cell {
                state: State::Changed,
                added: 0,
                removed: 0,
                outputs: false,
                metadata: false,
                ..
            } => false,
            _ => true,
        })
}

/// What is open in a merge, by the names of its parts.
fn open(merged: &Merged) -> Vec<String> {
    let name = |c: &crate::merge::Conflict| match c.part.as_ref().map(|p| &p.item) {
        Some(Item::Key(name) | Item::Package(name)) => name.clone(),
        _ => c.why.word().to_owned(),
    };
    merged.conflicts.iter().map(name).collect()
}

fn check(kind: &Kind, row: &Row<'_>) {
    let case = format!("{}: {}", kind.path, row.name);
    let mut world = World::default();
    let mut put = |parts| world.side(Mode::File, &(kind.write)(parts));
    let base = row.base.map(&mut put);
    let sides = [put(row.ours), put(row.theirs)];
    let base = listing(&base.map(|b| (kind.path, b)).into_iter().collect::<Vec<_>>());
    let [o, t] = sides.map(|s| listing(&[(kind.path, s)]));
    let (forward, backward) = (world.merge(&base, &o, &t), world.merge(&base, &t, &o));
    let path = RepoPath::new(kind.path).unwrap();
    let [f, b] = [&forward, &backward].map(|m| world.bytes(&m.files[&path]));
    assert_eq!(open(&forward), open(&backward), "{case}");
    let same = (kind.write)(row.ours) == (kind.write)(row.theirs);
    let want = match (kind.unit, row.parts) {
        // An array has no names: what remains of it may be the same.
        _ if same => Want::Clean(row.ours),
        (Unit::Parts(_), want) => want,
        (Unit::Together, Want::Clean(parts)) => Want::Clean(parts),
        (Unit::Lines, Want::Clean(parts)) if row.lines => Want::Clean(parts),
        // Lines know of no names: both parts stand there.
        (Unit::Lines, _) if row.lines => return assert!(open(&forward).is_empty(), "{case}"),
        (Unit::Whole, Want::Clean(parts)) if row.whole => Want::Clean(parts),
        _ => Want::Conflict(&[]),
    };
    let driver = driver::choose(kind.path.as_bytes(), &(kind.write)(row.ours));
    match want {
        Want::Clean(parts) => {
            assert_eq!(open(&forward), [""; 0], "{case}");
            let text = String::from_utf8_lossy(&f);
            assert!(!differ(driver, &f, &(kind.write)(parts)), "{case}: {text}");
            assert_eq!(f, b, "{case}: from the other side");
        }
        Want::Conflict(parts) => match kind.unit {
            Unit::Parts(called) => {
                let parts: Vec<String> = parts.iter().map(|p| called(p)).collect();
                assert_eq!(open(&forward), parts, "{case}");
            }
            _ => assert_eq!(open(&forward).len(), 1, "{case}"),
        },
    }
    // Whatever is open, the file is still one of its kind; text carries markers.
    assert_eq!(driver::choose(kind.path.as_bytes(), &f), driver, "{case}");
    assert_eq!(forward.notes, [""; 0], "{case}");
}

#[test]
fn every_row_for_every_kind_of_file() {
    let rows = rows();
    for kind in kinds::all() {
        let text = (kind.write)(B);
        let found = driver::examine(kind.path.as_bytes(), &text);
        assert_eq!(found.note, None, "{}", kind.path);
        rows.iter().for_each(|row| check(&kind, row));
    }
}

/// A layout of text, and whether a file has it.
struct Layout {
    name: &'static str,
    put: fn(&str) -> String,
    has: fn(&str) -> bool,
}

const LAYOUTS: [Layout; 3] = [
    Layout {
        name: "CRLF",
        put: |t| t.replace('\n', "\r\n"),
        has: |t| t.matches('\n').count() == t.matches("\r\n").count(),
    },
    Layout {
        name: "byte order mark",
        put: |t| format!("\u{feff}{t}"),
        has: |t| t.starts_with('\u{feff}') && !t[3..].contains('\u{feff}'),
    },
    Layout {
        name: "no final line end",
        put: |t| t.trim_end().to_owned(),
        has: |t| !t.ends_with('\n'),
    },
];

#[test]
fn layouts_survive_merges_from_both_sides() {
    let of = |kind: &Kind, parts, layout: &Layout| {
        let text = String::from_utf8((kind.write)(parts)).unwrap();
        (layout.put)(&text).into_bytes()
    };
    let mut wrong = Vec::new();
    let kinds = kinds::all().into_iter();
    for kind in kinds.filter(|k| matches!(k.unit, Unit::Parts(_) | Unit::Lines)) {
        for layout in &LAYOUTS {
            let case = format!("{}: {}", kind.path, layout.name);
            let [b, o, t, open] = [B, A2, B2, A3].map(|parts| of(&kind, parts, layout));
            let found = driver::examine(kind.path.as_bytes(), &b);
            let labels = Labels {
                ours: "ours",
                base: "base",
                theirs: "theirs",
            };
            for (o, t) in [(&o, &t), (&t, &o)] {
                let merged = driver::merge(found.driver, Some(&b), o, t, &labels);
                let text = String::from_utf8(merged.bytes.clone()).unwrap();
                let want = of(&kind, A2B2, layout);
                if !merged.conflicts.is_empty()
                    || !(layout.has)(&text)
                    || differ(found.driver, &merged.bytes, &want)
                {
                    wrong.push(format!("{case}: {text:?} {:?}", merged.conflicts));
                }
            }
            let merged = driver::merge(found.driver, Some(&b), &o, &open, &labels);
            assert_eq!(merged.conflicts.len(), 1, "{case}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Parts at random, of numbers by name.
fn random_parts()
-> impl proptest::strategy::Strategy<Value = std::collections::BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-e]", "[1-3]", 0..5)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    /// Where the whole file is open as soon as one part is: no part of one side is missing, none that
    /// it removed is back, and both sides come to the same bytes.
    #[test]
    fn no_tensor_is_lost(base in random_parts(), ours in random_parts(), theirs in random_parts()) {
        for kind in kinds::all().iter().filter(|k| matches!(k.unit, Unit::Together)) {
            let write = |parts: &std::collections::BTreeMap<String, String>| {
                let parts: Vec<(&str, &str)> = parts.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                (kind.write)(&parts)
            };
            let mut world = World::default();
            let [b, o, t] = [&base, &ours, &theirs]
                .map(|parts| listing(&[(kind.path, world.side(Mode::File, &write(parts)))]));
            let (forward, backward) = (world.merge(&b, &o, &t), world.merge(&b, &t, &o));
            let mut want = std::collections::BTreeMap::new();
            let mut fought = false;
            for name in base.keys().chain(ours.keys()).chain(theirs.keys()) {
                let [b, o, t] = [&base, &ours, &theirs].map(|parts| parts.get(name));
                fought |= o != t && o != b && t != b;
                want.extend(if o == b { t } else { o }.map(|v| (name.clone(), v.clone())));
            }
            proptest::prop_assert_eq!(!forward.conflicts.is_empty(), fought, "{}", kind.path);
            proptest::prop_assert_eq!(!backward.conflicts.is_empty(), fought, "{}", kind.path);
            if !fought {
                let path = RepoPath::new(kind.path).unwrap();
                let [f, b] = [&forward, &backward].map(|m| world.bytes(&m.files[&path]));
                let driver = driver::choose(kind.path.as_bytes(), &f);
                proptest::prop_assert!(!differ(driver, &f, &write(&want)), "{}", kind.path);
                proptest::prop_assert_eq!(f, b, "{}", kind.path);
            }
        }
    }
}
