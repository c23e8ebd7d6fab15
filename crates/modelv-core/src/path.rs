//! Paths inside a repository: bytes with `/`, validated once here and nowhere else.
//!
//! A [`RepoPath`] can be joined to a working tree without leaving it by name alone; following
//! symbolic links is the concern of whoever opens files.

use std::fmt;

/// Longest name of one entry, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Deepest path, in components.
pub const DEPTH_MAX: usize = 128;

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path `{path}` is refused: {reason}")]
pub struct PathError {
    /// The path, lossily as text.
    pub path: String,
    /// The rule that is broken.
    pub reason: &'static str,
}

/// A validated path relative to the root of the working tree. Never empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(Vec<u8>);

impl RepoPath {
    /// Validates `bytes`.
    ///
    /// # Errors
    /// Empty, absolute, too long or deep, or with a component that [`check_name`] refuses.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        let fail = |reason| {
            Err(PathError {
                path: String::from_utf8_lossy(&bytes).into_owned(),
                reason,
            })
        };
        if bytes.len() > PATH_BYTES_MAX {
            return fail("longer than 4096 bytes");
        }
        let mut depth = 0;
        for name in bytes.split(|b| *b == b'/') {
            depth += 1;
            if let Err(reason) = check_name(name) {
                return fail(reason);
            }
        }
        if depth > DEPTH_MAX {
            return fail("more than 128 components");
        }
        Ok(Self(bytes))
    }

    /// The path of `name` in the directory `dir`; the root's is `None`. Checks the name alone, for
    /// the directory's path is one already.
    ///
    /// # Errors
    /// The name breaks a rule, or the path gets too long or deep.
    pub fn below(dir: Option<&Self>, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(dir.map_or(0, |d| d.0.len() + 1) + name.len());
        let mut depth = 1;
        if let Some(dir) = dir {
            bytes.extend_from_slice(&dir.0);
            bytes.push(b'/');
            depth += dir.names().count();
        }
        bytes.extend_from_slice(name);
        let too_large = bytes.len() > PATH_BYTES_MAX || depth > DEPTH_MAX;
        let reason = match check_name(name) {
            Err(reason) => reason,
            Ok(()) if too_large => "longer than 4096 bytes or 128 components",
            Ok(()) => return Ok(Self(bytes)),
        };
        Err(PathError {
            path: String::from_utf8_lossy(&bytes).into_owned(),
            reason,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components, first to last.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// The last component.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        name_of(&self.0)
    }

    /// Whether `self` is `dir` or lies below it.
    #[must_use]
    pub fn is_within(&self, dir: &[u8]) -> bool {
        dir.is_empty()
            || self.0 == dir
            || (self.0.starts_with(dir) && self.0.get(dir.len()) == Some(&b'/'))
    }
}

/// The part of a path behind its last slash.
#[must_use]
pub fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

/// The directory of a path; empty for one in the root.
#[must_use]
pub fn parent_of(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    &path[..end]
}

/// All folders above a path, the nearest first.
pub fn folders_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(parent_of(path)), |f| {
        (!f.is_empty()).then(|| parent_of(f))
    })
    .filter(|f| !f.is_empty())
}

/// Maps of paths are searched by bytes, for example by those of a directory on the way.
impl std::borrow::Borrow<[u8]> for RepoPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Characters without a width, and those that turn the direction of what follows.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl fmt::Display for RepoPath {
    /// Lossy, with what is not seen escaped: a name can't drive the terminal, nor read as another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in String::from_utf8_lossy(&self.0).chars() {
            if c.is_control() || is_invisible(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Checks one component of a path.
///
/// # Errors
/// The rule that is broken, as text.
pub fn check_name(name: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("empty component");
    }
    if name == b"." || name == b".." {
        return Err("`.` or `..` as a component");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("a component longer than 255 bytes");
    }
    if name.iter().any(|b| *b == 0 || *b == b'/') {
        return Err("NUL or `/` in a component");
    }
    if is_metadata_name(name) {
        return Err("a component that a file system could take for `.mv` or `.git`");
    }
    Ok(())
}

/// Whether a file system could take `name` for `.mv`, our own folder, or for `.git`, from whose
/// configuration and hooks Git runs programs: any case, the DOS short names `mv~1` and `git~1`, with
/// characters that some file systems ignore (HFS+: CVE-2014-9390; ext4 with case folding), before a
/// `:` (an NTFS stream), or with trailing dots and spaces as Windows drops them.
#[must_use]
pub fn is_metadata_name(name: &[u8]) -> bool {
    if name.is_ascii() {
        // Nearly every name: nothing to see through, nothing to allocate.
        return is_metadata_ascii(name);
    }
    let seen: String = String::from_utf8_lossy(name)
        .chars()
        .filter(|c| !is_ignorable(*c))
        .collect();
    is_metadata_ascii(seen.as_bytes())
}

/// Unicode's `Default_Ignorable_Code_Point`, with the 16 that HFS+ ignores among them.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn is_metadata_ascii(name: &[u8]) -> bool {
    let seen = name.split(|b| *b == b':').next().unwrap_or(name);
    let end = seen
        .iter()
        .rposition(|b| !b". ".contains(b))
        .map_or(0, |i| i + 1);
    [b".mv".as_slice(), b"mv~1", b".git", b"git~1"]
        .iter()
        .any(|own| seen[..end].eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_are_refused() {
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            ".mv",
            ".MV/x",
            "a/.mV/b",
            ".mv.",
            ".mv ",
            ".m\u{200c}v",
            "\u{feff}.mv",
            ".mv::$INDEX_ALLOCATION",
            "MV~1",
            "mv~1.",
            "mv~1 ",
            "mv~1::$INDEX_ALLOCATION",
            "\u{200c}mv~1",
            "Mv~1\u{feff}. .",
            ".git",
            "a/.Git/hooks/x",
            "git~1",
            ".g\u{ad}it",
            "a\0b",
        ] {
            assert!(RepoPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(RepoPath::new(vec![b'a'; 256]).is_err());
        assert!(RepoPath::new("a/".repeat(128) + "a").is_err());
        for good in [
            "a",
            "a b",
            ".mvignore",
            "mv",
            "mv~10",
            "mv~2",
            "a/.gitignore",
            "git~2",
            "\u{e9}",
            "..a",
            "a..",
            "x:y",
        ] {
            assert!(RepoPath::new(good).is_ok(), "{good:?}");
        }
        assert!(RepoPath::new(vec![0xff, 0xfe]).is_ok());
    }

    #[test]
    fn a_path_below_a_directory_obeys_the_same_rules() {
        let dir = RepoPath::new("a/b").unwrap();
        let below = |name: &[u8]| RepoPath::below(Some(&dir), name);
        assert_eq!(below(b"c").unwrap(), RepoPath::new("a/b/c").unwrap());
        assert_eq!(RepoPath::below(None, b"c"), RepoPath::new("c"));
        for bad in [b"..".as_slice(), b"", b"x/y", b".MV", &[b'x'; 256]] {
            assert!(below(bad).is_err(), "{bad:?}");
        }
        let deep = RepoPath::new(["a"; DEPTH_MAX].join("/")).unwrap();
        assert!(RepoPath::below(Some(&deep), b"a").is_err());
        let long = RepoPath::new(vec!["a".repeat(200); 20].join("/")).unwrap();
        assert!(RepoPath::below(Some(&long), &[b'a'; 100]).is_err());
    }

    #[test]
    fn control_bytes_are_escaped_for_people() {
        let path = RepoPath::new("a\x1b[31m\n").unwrap();
        assert_eq!(path.to_string(), "a\\u{1b}[31m\\n");
    }

    #[test]
    fn within_respects_component_borders() {
        let path = RepoPath::new("data/en.csv").unwrap();
        assert!(path.is_within(b"") && path.is_within(b"data") && path.is_within(b"data/en.csv"));
        assert!(!path.is_within(b"dat") && !path.is_within(b"data/en"));
    }
}
