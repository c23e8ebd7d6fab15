//! Rows about files as a whole, for every kind of file: where they stand, what they are, whether
//! they are there.

use super::{A2, A3, B, B2, Kind, Parts, Unit, World, differ, kinds, listing};
use crate::driver;
use crate::merge::{Listing, Merged, Outcome};
use crate::path::RepoPath;
use crate::tree::Mode;

/// One file of a side: where, of what mode, with which parts; a link with its target.
#[derive(Debug, Clone, Copy)]
enum F<'a> {
    File(&'a str, Parts<'a>),
    Program(&'a str, Parts<'a>),
    Link(&'a str, &'a str),
}

use F::{File, Link, Program};

/// A row: three sides, the files of a clean result or what is open.
struct Row<'a> {
    name: &'a str,
    sides: [&'a [F<'a>]; 3],
    want: Result<&'a [F<'a>], &'a [&'a str]>,
}

/// Paths are folders; the file of a kind has its own name in each. `!` is another name.
fn full(kind: &Kind, at: &str) -> String {
    match at.split_once('!') {
        Some((folder, stem)) => format!("{folder}{stem}{}", kind.path),
        None => format!("{at}{}", kind.path),
    }
}

fn list(world: &mut World, kind: &Kind, files: &[F<'_>]) -> Listing {
    let side = |file: &F<'_>| match file {
        File(at, parts) => (full(kind, at), world.side(Mode::File, &(kind.write)(parts))),
        Program(at, parts) => (
            full(kind, at),
            world.side(Mode::Executable, &(kind.write)(parts)),
        ),
        Link(at, to) => (full(kind, at), world.side(Mode::Symlink, to.as_bytes())),
    };
    let files: Vec<_> = files.iter().map(side).collect();
    let named: Vec<_> = files.iter().map(|(p, s)| (p.as_str(), *s)).collect();
    listing(&named)
}

const LONG: Parts<'_> = &[
    ("a", "1"),
    ("b", "1"),
    ("c", "1"),
    ("e", "1"),
    ("f", "1"),
    ("g", "1"),
    ("h", "1"),
];
const LONG_A2: Parts<'_> = &[
    ("a", "2"),
    ("b", "1"),
    ("c", "1"),
    ("e", "1"),
    ("f", "1"),
    ("g", "1"),
    ("h", "1"),
];
const LONG_H2: Parts<'_> = &[
    ("a", "1"),
    ("b", "1"),
    ("c", "1"),
    ("e", "1"),
    ("f", "1"),
    ("g", "1"),
    ("h", "2"),
];
const LONG_A2H2: Parts<'_> = &[
    ("a", "2"),
    ("b", "1"),
    ("c", "1"),
    ("e", "1"),
    ("f", "1"),
    ("g", "1"),
    ("h", "2"),
];

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn whole() -> Vec<Row<'static>> {
    let row = |name, sides, want| Row { name, sides, want };
    let b: &[F<'_>] = &[File("", B)];
    vec![
        row("deleted by one", [b, &[], b], Ok(&[])),
        row("deleted by both", [b, &[], &[]], Ok(&[])),
        row(
            "deleted and edited",
            [b, &[], &[File("", A2)]],
            Err(&["delete/modify"]),
        ),
        row(
            "files added apart",
            [&[], b, &[File("d/", A2)]],
            Ok(&[File("", B), File("d/", A2)]),
        ),
        row(
            "mode here, edit there",
            [b, &[Program("", B)], &[File("", A2)]],
            Ok(&[Program("", A2)]),
        ),
        row(
            "mode by both",
            [b, &[Program("", B)], &[Program("", A2)]],
            Ok(&[Program("", A2)]),
        ),
        row(
            "mode taken away, edit there",
            [&[Program("", B)], &[File("", B)], &[Program("", A2)]],
            Ok(&[File("", A2)]),
        ),
        row(
            "mode and deletion",
            [b, &[Program("", B)], &[]],
            Err(&["delete/modify"]),
        ),
        row(
            "a link on one side",
            [b, &[Link("", "x")], b],
            Ok(&[Link("", "x")]),
        ),
        row(
            "the same link on both",
            [b, &[Link("", "x")], &[Link("", "x")]],
            Ok(&[Link("", "x")]),
        ),
        row(
            "a link and an edit",
            [b, &[Link("", "x")], &[File("", A2)]],
            Err(&["type"]),
        ),
        row(
            "a link and a deletion",
            [b, &[Link("", "x")], &[]],
            Err(&["delete/modify"]),
        ),
        row(
            "a link moved in its target by one",
            [&[Link("", "x")], &[Link("", "y")], &[Link("", "x")]],
            Ok(&[Link("", "y")]),
        ),
        row(
            "two targets",
            [&[Link("", "x")], &[Link("", "y")], &[Link("", "z")]],
            Err(&["content"]),
        ),
        row(
            "a link added by both",
            [&[], &[Link("", "x")], &[Link("", "y")]],
            Err(&["content"]),
        ),
        row(
            "a link that becomes a file by one",
            [&[Link("", "x")], &[File("", B)], &[Link("", "x")]],
            Ok(&[File("", B)]),
        ),
        row(
            "a link retargeted and made a file",
            [&[Link("", "x")], &[File("", B)], &[Link("", "y")]],
            Err(&["type"]),
        ),
    ]
}

fn moved() -> Vec<Row<'static>> {
    let row = |name, sides, want| Row { name, sides, want };
    let b: &[F<'_>] = &[File("", LONG)];
    let to: &[F<'_>] = &[File("d/", LONG)];
    vec![
        row("moved by one", [b, to, b], Ok(to)),
        row("moved to one place by both", [b, to, to], Ok(to)),
        row(
            "moved and edited",
            [b, to, &[File("", LONG_A2)]],
            Ok(&[File("d/", LONG_A2)]),
        ),
        row(
            "moved and made a program",
            [b, to, &[Program("", LONG)]],
            Ok(&[Program("d/", LONG)]),
        ),
        row("moved and deleted", [b, to, &[]], Err(&["delete/modify"])),
        row(
            "moved to two places",
            [b, to, &[File("e/", LONG)]],
            Err(&["rename/rename", "rename/rename"]),
        ),
        row(
            "moved to where the other put a file",
            [b, to, &[File("", LONG_A2), File("d/", B)]],
            Err(&["*"]),
        ),
        row(
            "a directory moved, a file edited in it",
            [
                &[File("d/", LONG), File("d/!x", B2)],
                &[File("e/", LONG), File("e/!x", B2)],
                &[File("d/", LONG_A2), File("d/!x", B2)],
            ],
            Ok(&[File("e/", LONG_A2), File("e/!x", B2)]),
        ),
        row(
            "a directory moved, a file added to it",
            [
                &[File("d/s/", LONG), File("d/!x", B2)],
                &[File("e/s/", LONG), File("e/!x", B2)],
                &[File("d/s/", LONG), File("d/!x", B2), File("d/s/!n", A3)],
            ],
            Ok(&[File("e/s/", LONG), File("e/!x", B2), File("e/s/!n", A3)]),
        ),
        row(
            "a directory split, a file added to it",
            [
                &[File("d/", LONG), File("d/!x", B2)],
                &[File("e/", LONG), File("f/!x", B2)],
                &[File("d/", LONG), File("d/!x", B2), File("d/!n", A3)],
            ],
            Ok(&[File("e/", LONG), File("f/!x", B2), File("d/!n", A3)]),
        ),
        row(
            "a file here, a directory there",
            [&[], &[File("", B)], &[Link("d/", "x")]],
            Ok(&[File("", B), Link("d/", "x")]),
        ),
    ]
}

/// Moves with edits on the side that moved: where the merge knows parts or lines.
fn moved_and_edited() -> Vec<Row<'static>> {
    let row = |name, sides, want| Row { name, sides, want };
    let b: &[F<'_>] = &[File("", LONG)];
    let to: &[F<'_>] = &[File("d/", LONG_A2)];
    vec![
        row(
            "moved and edited on both sides",
            [b, to, &[File("", LONG_H2)]],
            Ok(&[File("d/", LONG_A2H2)]),
        ),
        row(
            "moved to one place and edited by both",
            [b, to, &[File("d/", LONG_H2)]],
            Ok(&[File("d/", LONG_A2H2)]),
        ),
        row(
            "edited, moved and deleted",
            [b, to, &[]],
            Err(&["delete/modify"]),
        ),
        row(
            "moved to two places and edited",
            [b, to, &[File("e/", LONG_H2)]],
            Err(&["rename/rename", "rename/rename"]),
        ),
    ]
}

fn is_text(kind: &Kind) -> bool {
    !matches!(kind.unit, Unit::Whole)
}

fn open(merged: &Merged) -> Vec<&'static str> {
    merged.conflicts.iter().map(|c| c.why.word()).collect()
}

fn check(kind: &Kind, row: &Row<'_>) {
    let case = format!("{}: {}", kind.path, row.name);
    let mut world = World::default();
    let [b, o, t] = row.sides.map(|files| list(&mut world, kind, files));
    let (forward, backward) = (world.merge(&b, &o, &t), world.merge(&b, &t, &o));
    assert_eq!(open(&forward), open(&backward), "{case}");
    match row.want {
        Err(["*"]) => assert!(!open(&forward).is_empty(), "{case}"),
        Err(words) => assert_eq!(open(&forward), words, "{case}"),
        Ok(files) => {
            assert_eq!(open(&forward), [""; 0], "{case}");
            assert_eq!(forward.files, backward.files, "{case}");
            let want = list(&mut world, kind, files);
            let paths: Vec<&RepoPath> = forward.files.keys().collect();
            assert_eq!(paths, want.keys().collect::<Vec<_>>(), "{case}");
            for (path, side) in &want {
                let outcome = &forward.files[path];
                let mode = match outcome {
                    Outcome::Keep(side) => side.mode,
                    Outcome::Write { mode, .. } => *mode,
                };
                assert_eq!(mode, side.mode, "{case}: {path}");
                let (is, should) = (world.bytes(outcome), &world.0[&side.blob]);
                let driver = driver::choose(kind.path.as_bytes(), should);
                assert!(!differ(driver, &is, should), "{case}: {path}");
            }
        }
    }
    nothing_lost(&world, &[&b, &o, &t], &forward, &case);
}

/// What is new on a side stands in the result, in a conflict, or is part of a merged file.
fn nothing_lost(world: &World, [b, o, t]: &[&Listing; 3], merged: &Merged, case: &str) {
    let merged_files = merged
        .files
        .values()
        .filter(|f| matches!(f, Outcome::Write { .. }));
    let written = merged_files.count();
    for side in [o, t] {
        for (path, file) in side.iter().filter(|(p, f)| b.get(*p) != Some(f)) {
            let kept = merged
                .files
                .values()
                .any(|f| world.bytes(f) == world.0[&file.blob]);
            let shown = merged.conflicts.iter().any(|c| {
                [c.ours, c.theirs]
                    .into_iter()
                    .flatten()
                    .any(|s| s.blob == file.blob)
            });
            let known = b.values().any(|f| f.blob == file.blob);
            assert!(
                kept || shown || known || written > 0,
                "{case}: {path} is lost"
            );
        }
    }
}

#[test]
fn every_row_about_whole_files() {
    for kind in kinds::all() {
        whole()
            .iter()
            .chain(&moved())
            .for_each(|row| check(&kind, row));
        if is_text(&kind) {
            moved_and_edited().iter().for_each(|row| check(&kind, row));
        }
    }
}

#[test]
fn a_file_against_a_directory_never_takes_a_name_that_is_there() {
    let mut world = World::default();
    let mut side = |text: &str| world.side(Mode::File, text.as_bytes());
    let (old, file, below, other) = (
        side(
            "old
",
        ),
        side(
            "file
",
        ),
        side(
            "below
",
        ),
        side(
            "other
",
        ),
    );
    let base = listing(&[("a~ours", other), ("a~theirs", other), ("a", old)]);
    let ours = listing(&[("a~ours", other), ("a~theirs", other), ("a", file)]);
    let theirs = listing(&[("a~ours", other), ("a~theirs", other), ("a/b", below)]);
    for (o, t, aside) in [(&ours, &theirs, "a~ours2"), (&theirs, &ours, "a~theirs2")] {
        let merged = world.merge(&base, o, t);
        let paths: Vec<String> = merged.files.keys().map(ToString::to_string).collect();
        assert_eq!(merged.files.len(), 4, "{paths:?}");
        assert_eq!(open(&merged), ["file/directory"]);
        assert_eq!(merged.conflicts[0].path.to_string(), aside);
        assert_eq!(
            world.bytes(&merged.files[&RepoPath::new(aside).unwrap()]),
            b"file\n"
        );
    }
}

#[test]
fn an_edit_follows_only_what_is_alike() {
    let mut world = World::default();
    let mut side = |text: &str| world.side(Mode::File, text.as_bytes());
    let (old, edited, other) = (
        side("one\ntwo\nthree\nfour\n"),
        side("one\ntwo\nthree\nfour\nfive\n"),
        side("six\nseven\neight\nnine\n"),
    );
    let base = listing(&[("a", old)]);
    let merged = world.merge(&base, &listing(&[("b", other)]), &listing(&[("a", edited)]));
    assert_eq!(open(&merged), ["delete/modify"]);
    assert_eq!(merged.files.len(), 2);
}
