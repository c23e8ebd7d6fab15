//! Directories that one side moved: what the other side added to the old place goes to the new one.
//!
//! A directory is moved when nothing of it is left on that side and most of its files went to one
//! other place, as Git's merge-ort has it. Only moves that keep the content tell of it.

use std::collections::BTreeMap;

use super::{Listing, moves};
use crate::path::RepoPath;

/// Moves what was added to moved directories, and says so in `notes`.
pub(super) fn follow(sides: &mut [Listing; 3], notes: &mut Vec<String>) {
    let moved = [moved(&sides[0], &sides[1]), moved(&sides[0], &sides[2])];
    for (other, by_mover) in [(2, &moved[0]), (1, &moved[1])] {
        if by_mover.is_empty() {
            continue;
        }
        let added: Vec<RepoPath> = sides[other]
            .keys()
            .filter(|p| !sides[0].contains_key(*p))
            .cloned()
            .collect();
        for from in added {
            let Some(to) = destination(&from, by_mover) else {
                continue;
            };
            // A directory that both sides moved is where the other side wants it.
            let is_taken = sides.iter().any(|side| side.contains_key(&to));
            if is_taken || !keeps_directory(&sides[0], &sides[other], &from) {
                continue;
            }
            if let Some(file) = sides[other].remove(&from) {
                notes.push(format!("{from} goes to {to}: its directory was moved"));
                sides[other].insert(to, file);
            }
        }
    }
}

fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|b| *b == b'/').map(|at| &path[..at])
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

fn has_below(side: &Listing, dir: &[u8]) -> bool {
    let below = [dir, b"/"].concat();
    // The first path behind `dir/`, whatever its name.
    let Ok(first) = RepoPath::new([below.as_slice(), b"\x01"].concat()) else {
        return true;
    };
    let next = side.range(first..).next();
    next.is_some_and(|(p, _)| p.as_bytes().starts_with(&below))
}

/// Whether the side that added a file still has what was in its directory.
fn keeps_directory(base: &Listing, side: &Listing, added: &RepoPath) -> bool {
    let Some(dir) = parent(added.as_bytes()) else {
        return false;
    };
    let below = [dir, b"/"].concat();
    let mut old = base.keys().filter(|p| p.as_bytes().starts_with(&below));
    old.any(|p| side.contains_key(p)) || !has_below(base, dir)
}

type Moved = BTreeMap<Vec<u8>, Vec<u8>>;

/// Where each moved directory went.
fn moved(base: &Listing, side: &Listing) -> Moved {
    let mut votes: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, usize>> = BTreeMap::new();
    for (from, to) in moves(base, side) {
        let (mut a, mut b) = (parent(from.as_bytes()), parent(to.as_bytes()));
        // `x/sub/f` that went to `y/sub/f` speaks for `x/sub` and for `x`.
        while let (Some(x), Some(y)) = (a, b)
            && x != y
        {
            let slot = votes.entry(x.to_vec()).or_default();
            *slot.entry(y.to_vec()).or_default() += 1;
            if last(x) != last(y) {
                break;
            }
            (a, b) = (parent(x), parent(y));
        }
    }
    let mut out = Moved::new();
    for (dir, places) in votes {
        let most = places.values().max().copied().unwrap_or(0);
        let mut best = places.iter().filter(|(_, n)| **n == most);
        if let (Some((to, _)), None) = (best.next(), best.next())
            && !has_below(side, &dir)
        {
            out.insert(dir, to.clone());
        }
    }
    out
}

/// Where a path goes by the deepest directory above it that was moved.
fn destination(path: &RepoPath, moved: &Moved) -> Option<RepoPath> {
    let bytes = path.as_bytes();
    let mut dir = parent(bytes);
    while let Some(above) = dir {
        if let Some(to) = moved.get(above) {
            return RepoPath::new([to.as_slice(), &bytes[above.len()..]].concat()).ok();
        }
        dir = parent(above);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Side, merge};
    use super::*;
    use crate::driver::Labels;
    use crate::id::BlobId;
    use crate::tree::Mode;

    fn listing(files: &[&str]) -> Listing {
        let side = |name: &str| Side {
            mode: Mode::File,
            size: 1,
            // The content is the last part of the name, so that it moves with it.
            blob: BlobId::of(last(name.as_bytes())),
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
}
