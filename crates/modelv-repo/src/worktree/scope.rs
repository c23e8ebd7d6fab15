//! The part of a tree that a command was asked to deal with.

use std::collections::BTreeSet;

use modelv_core::path::{RepoPath, folders_of};

/// Everything, or what is at and below some paths.
pub(crate) struct Scope<'a>(BTreeSet<&'a [u8]>);

impl<'a> Scope<'a> {
    /// What is at and below `paths`; everything when there are none.
    pub(crate) fn new(paths: &'a [RepoPath]) -> Self {
        Self(paths.iter().map(RepoPath::as_bytes).collect())
    }

    pub(crate) fn holds(&self, path: &RepoPath) -> bool {
        self.0.is_empty() || self.hits(path).next().is_some()
    }

    /// The first path of the scope at or below which there is no file.
    pub(crate) fn unknown<'f>(
        &self,
        files: impl Iterator<Item = &'f RepoPath>,
    ) -> Option<RepoPath> {
        let mut left = self.0.clone();
        for path in files {
            for hit in self.hits(path) {
                left.remove(hit);
            }
        }
        left.first().and_then(|p| RepoPath::new(*p).ok())
    }

    /// The paths of the scope at or below which `path` lies.
    fn hits<'s>(&'s self, path: &'s RepoPath) -> impl Iterator<Item = &'a [u8]> + use<'a, 's> {
        let name = path.as_bytes();
        let all = std::iter::once(name).chain(folders_of(name));
        all.filter_map(|at| self.0.get(at).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_what_is_at_and_below_its_paths() {
        let path = |p: &str| RepoPath::new(p).unwrap();
        let paths = [path("a/b"), path("c"), path("d")];
        let scope = Scope::new(&paths);
        let files = ["a/b/x", "a/bc", "a", "c", "c.txt", "e/c"].map(path);
        let held: Vec<_> = files.iter().filter(|p| scope.holds(p)).collect();
        assert_eq!(held, [&files[0], &files[3]]);
        assert_eq!(scope.unknown(files.iter()), Some(path("d")));
        assert_eq!(scope.unknown([path("d/x")].iter().chain(&files)), None);
        let all = Scope::new(&[]);
        assert!(all.holds(&path("x")) && all.unknown([].iter()).is_none());
    }
}
