//! Names that some file systems take for one: `README` and `readme`, `é` in one piece and in two. On such
//! a file system a commit that has both can't be checked out, and says so before anything is written.
//!
//! Only looks. Where names are told apart, as on almost every Linux, that costs two calls.

use std::collections::HashMap;

use modelv_core::path::RepoPath;
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// What a file system that folds names makes of one. Others fold less; none is known to fold more.
fn fold(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        Ok(name) => {
            let lower: String = name.nfd().flat_map(char::to_lowercase).collect();
            lower.nfd().collect::<String>().into_bytes()
        }
        // Such names are compared byte by byte.
        Err(_) => name.to_vec(),
    }
}

/// Two paths of which a file system that folds names makes one, directories included.
fn twins<'a>(paths: impl Iterator<Item = &'a RepoPath>) -> Option<(&'a [u8], &'a [u8])> {
    let mut seen: HashMap<Vec<u8>, &[u8]> = HashMap::new();
    for path in paths.map(RepoPath::as_bytes) {
        let ends = (0..path.len()).filter(|i| path[*i] == b'/');
        for end in ends.chain([path.len()]) {
            let part = &path[..end];
            if let Some(other) = seen.insert(fold(part), part)
                && other != part
            {
                return Some((other, part));
            }
        }
    }
    None
}

/// Refuses to write paths that would be one.
pub(super) fn refuse_twins<'a>(paths: impl Iterator<Item = &'a RepoPath>) -> Result<()> {
    match twins(paths) {
        None => Ok(()),
        Some((a, b)) => Err(Error::State(format!(
            "`{}` and `{}` are one name on this file system",
            String::from_utf8_lossy(a),
            String::from_utf8_lossy(b)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::beneath::Root;
    use super::*;

    fn refused(names: &[&[u8]]) -> Option<String> {
        let paths: Vec<RepoPath> = names.iter().map(|n| RepoPath::new(*n).unwrap()).collect();
        refuse_twins(paths.iter()).err().map(|e| e.to_string())
    }

    #[test]
    fn names_that_fold_to_one_are_refused() {
        let says = |names: &[&str]| {
            let names: Vec<&[u8]> = names.iter().map(|n| n.as_bytes()).collect();
            refused(&names)
        };
        assert_eq!(
            says(&["README", "a", "readme"]).unwrap(),
            "`README` and `readme` are one name on this file system"
        );
        assert!(
            says(&["Data/a.csv", "data/b.csv"])
                .unwrap()
                .contains("`Data` and `data`")
        );
        assert!(says(&["caf\u{e9}", "cafe\u{301}"]).is_some());
        assert!(says(&["x/\u{c9}", "x/e\u{301}"]).is_some());
        assert_eq!(says(&["a/x", "a/y", "b/x", "a-x", "ab"]), None);
        assert_eq!(refused(&[b"\xff", b"\xfe", b"a\xff", b"A\xff"]), None);
    }

    #[test]
    fn a_file_system_is_asked_whether_it_folds() {
        let dir = tempfile::tempdir().unwrap();
        // A folder in which the two spellings lead to one file.
        std::fs::write(dir.path().join(".mv"), "x").unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(!root.folds_names());
        std::fs::hard_link(dir.path().join(".mv"), dir.path().join(".MV")).unwrap();
        assert!(root.folds_names());
        // Without a repository there is a file to ask with, and it does not stay.
        let empty = tempfile::tempdir().unwrap();
        assert!(!Root::open(empty.path()).unwrap().folds_names());
        assert_eq!(empty.path().read_dir().unwrap().count(), 0);
    }
}
