use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// A world of files by content, so that tests can speak of text.
#[derive(Default)]
struct World(HashMap<BlobId, Vec<u8>>);

impl World {
    fn listing(&mut self, files: &[(&str, &str)]) -> Listing {
        files
            .iter()
            .map(|(path, content)| {
                let (mode, content) = match content.strip_prefix("->") {
                    Some(target) => (Mode::Symlink, target),
                    None => (Mode::File, *content),
                };
                let blob = BlobId::of(content.as_bytes());
                self.0.insert(blob, content.as_bytes().to_vec());
                let side = Side {
                    mode,
                    size: content.len() as u64,
                    blob,
                };
                (RepoPath::new(*path).unwrap(), side)
            })
            .collect()
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

    /// The files of the result as text, and the conflicts as `path: why`.
    fn show(&self, merged: &Merged) -> (Vec<(String, String)>, Vec<String>) {
        let files = merged.files.iter().map(|(path, outcome)| {
            let bytes = match outcome {
                Outcome::Keep(side) => self.0[&side.blob].clone(),
                Outcome::Write { bytes, .. } => bytes.clone(),
            };
            (
                path.to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            )
        });
        let conflicts = merged
            .conflicts
            .iter()
            .map(|c| format!("{}: {}", c.path, c.why.word()));
        (files.collect(), conflicts.collect())
    }
}

type Files<'a> = &'a [(&'a str, &'a str)];

/// Merges in both directions; conflicts must be the same, and clean results equal.
fn check(base: Files, ours: Files, theirs: Files, want: Files, conflicts: &[&str]) {
    let mut world = World::default();
    let (b, o, t) = (
        world.listing(base),
        world.listing(ours),
        world.listing(theirs),
    );
    let forward = world.show(&world.merge(&b, &o, &t));
    let backward = world.show(&world.merge(&b, &t, &o));
    assert_eq!(forward.1, conflicts);
    assert_eq!(
        backward.1.len(),
        conflicts.len(),
        "from the other side: {:?}",
        backward.1
    );
    if conflicts.is_empty() {
        assert_eq!(forward.0, backward.0);
        let want: Vec<(String, String)> = want
            .iter()
            .map(|(p, c)| ((*p).into(), (*c).into()))
            .collect();
        assert_eq!(forward.0, want);
    }
}

#[test]
fn the_matrix_of_whole_files() {
    // Identical change, one side only, disjoint additions, both deleted.
    check(
        &[("a", "1\n")],
        &[("a", "2\n")],
        &[("a", "2\n")],
        &[("a", "2\n")],
        &[],
    );
    check(
        &[("a", "1\n")],
        &[("a", "1\n")],
        &[("a", "2\n")],
        &[("a", "2\n")],
        &[],
    );
    check(
        &[],
        &[("a", "1\n")],
        &[("b", "2\n")],
        &[("a", "1\n"), ("b", "2\n")],
        &[],
    );
    check(&[("a", "1\n")], &[], &[], &[], &[]);
    check(&[("a", "1\n")], &[], &[("a", "1\n")], &[], &[]);
    // Delete against edit, both directions.
    check(
        &[("a", "1\n")],
        &[],
        &[("a", "2\n")],
        &[],
        &["a: delete/modify"],
    );
    // Different content at the same line.
    check(
        &[("a", "1\n")],
        &[("a", "2\n")],
        &[("a", "3\n")],
        &[],
        &["a: text"],
    );
    // A link against a file, two links.
    check(
        &[("a", "1\n")],
        &[("a", "->x")],
        &[("a", "2\n")],
        &[],
        &["a: type"],
    );
    check(
        &[("a", "->x")],
        &[("a", "->y")],
        &[("a", "->z")],
        &[],
        &["a: content"],
    );
}

#[test]
fn lines_apart_are_combined() {
    check(
        &[("a", "1\n2\n3\n4\n5\n")],
        &[("a", "one\n2\n3\n4\n5\n")],
        &[("a", "1\n2\n3\n4\nfive\n")],
        &[("a", "one\n2\n3\n4\nfive\n")],
        &[],
    );
}

#[test]
fn a_rename_follows_an_edit() {
    check(
        &[("old.py", "1\n2\n3\n")],
        &[("new.py", "1\n2\n3\n")],
        &[("old.py", "1\n2\n3\n4\n")],
        &[("new.py", "1\n2\n3\n4\n")],
        &[],
    );
}

#[test]
fn a_file_against_a_directory_keeps_both() {
    let mut world = World::default();
    let b = world.listing(&[]);
    let o = world.listing(&[("a", "file\n")]);
    let t = world.listing(&[("a/b", "below\n")]);
    let (files, conflicts) = world.show(&world.merge(&b, &o, &t));
    let paths: Vec<&str> = files.iter().map(|f| f.0.as_str()).collect();
    assert_eq!(paths, ["a/b", "a~ours"]);
    assert_eq!(conflicts, ["a~ours: file/directory"]);
}

#[test]
fn configuration_keys_merge_and_conflict_by_name() {
    check(
        &[("params.toml", "lr = 0.1\nseed = 1\n")],
        &[("params.toml", "lr = 0.2\nseed = 1\n")],
        &[("params.toml", "lr = 0.1\nseed = 2\n")],
        &[("params.toml", "lr = 0.2\nseed = 2\n")],
        &[],
    );
    check(
        &[("params.toml", "lr = 0.1\n")],
        &[("params.toml", "lr = 0.2\n")],
        &[("params.toml", "lr = 0.3\n")],
        &[],
        &["params.toml: key"],
    );
}

fn side() -> impl Strategy<Value = Vec<(String, String)>> {
    let file = ("[ab](/[xy])?", "[12]\n([34]\n)?([56]\n)?");
    proptest::collection::btree_map(file.0, file.1, 0..5).prop_map(|files| {
        let paths: Vec<String> = files.keys().cloned().collect();
        files
            .into_iter()
            .filter(|(p, _)| !paths.iter().any(|q| q.starts_with(&format!("{p}/"))))
            .collect()
    })
}

fn refs(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(p, c)| (p.as_str(), c.as_str()))
        .collect()
}

proptest! {
    #[test]
    fn laws(b in side(), x in side(), y in side()) {
        let mut world = World::default();
        let (lb, lx, ly) =
            (world.listing(&refs(&b)), world.listing(&refs(&x)), world.listing(&refs(&y)));
        for (o, t) in [(&lx, &lx), (&lb, &lx), (&lx, &lb)] {
            let merged = world.merge(&lb, o, t);
            prop_assert!(merged.conflicts.is_empty());
            prop_assert_eq!(world.show(&merged).0, world.show(&world.merge(&lx, &lx, &lx)).0);
        }
        let (forward, backward) = (world.merge(&lb, &lx, &ly), world.merge(&lb, &ly, &lx));
        let (f, r) = (world.show(&forward), world.show(&backward));
        prop_assert_eq!(f.1.len(), r.1.len());
        if f.1.is_empty() {
            prop_assert_eq!(&f.0, &r.0);
        }
        // A file that one side alone added is in the result, under its name or beside it, and so is
        // every line of it that the base does not have. It may have become the place of another.
        for (path, content) in &x {
            let added = !lb.contains_key(&RepoPath::new(path.as_str()).unwrap())
                && !ly.contains_key(&RepoPath::new(path.as_str()).unwrap());
            if added {
                let beside = format!("{path}~ours");
                let follows = format!("{path} follows its directory");
                let moved = forward.notes.iter().any(|n| n.starts_with(&follows));
                prop_assert!(moved || f.0.iter().any(|(p, _)| p == path || *p == beside), "{} is missing", path);
                for line in content.lines().filter(|l| !b.iter().any(|(_, c)| c.lines().any(|m| m == *l))) {
                    prop_assert!(f.0.iter().any(|(_, c)| c.lines().any(|m| m == line)), "{} is lost", line);
                }
            }
        }
    }
}
