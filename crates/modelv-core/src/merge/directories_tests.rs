//! Directories that one side moved: what the other side added to the old place goes to the new one.

use super::{Listing, Outcome, Side, merge};
use crate::driver::Labels;
use crate::id::BlobId;
use crate::path::RepoPath;
use crate::tree::Mode;

fn listing(files: &[&str]) -> Listing {
    let side = |name: &str| Side {
        mode: Mode::File,
        size: 1,
        // The content is the last part of the name, so that it moves with it.
        blob: BlobId::of(name.rsplit('/').next().unwrap_or(name).as_bytes()),
    };
    let path = |name: &str| RepoPath::new(name.as_bytes().to_vec()).unwrap();
    files.iter().map(|n| (path(n), side(n))).collect()
}

/// The paths of a merge, the same from both sides, and how many notes it has.
fn merged(base: &[&str], ours: &[&str], theirs: &[&str]) -> (Vec<String>, usize) {
    let labels = Labels {
        ours: "ours",
        base: "base",
        theirs: "theirs",
    };
    let (b, o, t) = (listing(base), listing(ours), listing(theirs));
    let mut read = |_, _| Ok::<_, std::convert::Infallible>(None);
    let one = merge(&b, &o, &t, &labels, &mut read).unwrap();
    let two = merge(&b, &t, &o, &labels, &mut read).unwrap();
    assert_eq!(one.files, two.files);
    assert!(one.conflicts.is_empty(), "{:?}", one.conflicts);
    assert!(one.files.values().all(|f| matches!(f, Outcome::Keep(_))));
    let paths = one.files.keys().map(ToString::to_string).collect();
    (paths, one.notes.len())
}

#[test]
fn what_is_added_follows_its_directory() {
    let base = ["src/a", "src/b", "src/sub/c", "other"];
    let moved = ["lib/a", "lib/b", "lib/sub/c", "other"];
    let mut added = base.to_vec();
    added.extend(["src/new", "src/sub/deep/new2", "srcs/x"]);
    let (paths, notes) = merged(&base, &moved, &added);
    assert_eq!(
        paths,
        [
            "lib/a",
            "lib/b",
            "lib/new",
            "lib/sub/c",
            "lib/sub/deep/new2",
            "other",
            "srcs/x"
        ]
    );
    assert_eq!(notes, 2);
}

#[test]
fn what_is_not_moved_as_a_whole_stays() {
    let base = ["src/a", "src/b", "src/c"];
    let added = ["src/a", "src/b", "src/c", "src/new"];
    // One file stayed; two places have as many; the new place is taken; everything was deleted.
    for ours in [
        &["lib/a", "lib/b", "src/c"][..],
        &["lib/a", "bin/b", "src2/c"],
        &["lib/a", "lib/b", "lib/c", "lib/new"],
        &["x"],
    ] {
        let (paths, notes) = merged(&base, ours, &added);
        assert!(paths.contains(&"src/new".into()), "{ours:?}: {paths:?}");
        assert_eq!(notes, 0);
    }
    // Both moved it: each file is where its own side put it.
    let ours = ["lib/a", "lib/b", "lib/c"];
    let theirs = ["lib/a", "lib/b", "lib/c", "lib/new"];
    assert_eq!(merged(&base, &ours, &theirs).0, theirs);
}

#[test]
fn a_directory_below_another_can_go_elsewhere() {
    let base = ["src/a", "src/sub/b", "src/sub/c"];
    let ours = ["lib/a", "far/b", "far/c"];
    let theirs = ["src/a", "src/sub/b", "src/sub/c", "src/n", "src/sub/m"];
    let (paths, _) = merged(&base, &ours, &theirs);
    assert_eq!(paths, ["far/b", "far/c", "far/m", "lib/a", "lib/n"]);
}
