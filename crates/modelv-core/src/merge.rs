//! Three-way merge of two listings of files: path by path, then inside a file by its driver.
//!
//! Symmetric: exchanging the sides exchanges `ours` and `theirs` in the conflicts and nothing
//! else. Nothing is lost: what one side changed is in the result or in a conflict.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::driver::{self, Item, Labels};
use crate::id::BlobId;
use crate::path::RepoPath;
use crate::tree::Mode;

mod directories;

/// One file of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Side {
    /// Never [`Mode::Tree`].
    pub mode: Mode,
    /// Bytes of the content.
    pub size: u64,
    /// The content.
    pub blob: BlobId,
}

/// All files of a side.
pub type Listing = BTreeMap<RepoPath, Side>;

/// What the merge made of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A file as one side has it.
    Keep(Side),
    /// New content, merged from both.
    Write {
        /// Mode of the file.
        mode: Mode,
        /// Its content.
        bytes: Vec<u8>,
    },
}

/// Why two changes of one thing could not be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Both sides changed the same lines.
    Text,
    /// Both sides changed the value of one key.
    Key,
    /// Both sides changed the demand on one package.
    Package,
    /// Both sides changed a file that has no inside for us.
    Content,
    /// One side deleted what the other changed.
    DeleteModify,
    /// Both sides added different files of one name.
    AddAdd,
    /// The sides disagree whether it is a file or a link.
    Type,
    /// A file of one side is a directory of the other.
    FileDirectory,
}

impl Why {
    /// The word for people and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Key => "key",
            Self::Package => "package",
            Self::Content => "content",
            Self::DeleteModify => "delete/modify",
            Self::AddAdd => "add/add",
            Self::Type => "type",
            Self::FileDirectory => "file/directory",
        }
    }
}

/// Something the merge can't decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The file it is in.
    pub path: RepoPath,
    /// Key or package inside the file; `None`: the file as a whole, or its text.
    pub part: Option<driver::Conflict>,
    /// The reason.
    pub why: Why,
    /// The file in the merge base.
    pub base: Option<Side>,
    /// Our file.
    pub ours: Option<Side>,
    /// Their file.
    pub theirs: Option<Side>,
}

/// Result of a merge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Every path of the result.
    pub files: BTreeMap<RepoPath, Outcome>,
    /// What is left to decide, by path.
    pub conflicts: Vec<Conflict>,
    /// What people should know: files that are not what their names claim.
    pub notes: Vec<String>,
}

/// Gives the content of a file, or `None` when it is too large to be merged inside.
pub type Read<'a, E> = &'a mut dyn FnMut(BlobId, u64) -> Result<Option<Vec<u8>>, E>;

/// Merges two listings over their base.
///
/// # Errors
/// The first error of `read`.
pub fn merge<E>(
    base: &Listing,
    ours: &Listing,
    theirs: &Listing,
    labels: &Labels<'_>,
    read: Read<'_, E>,
) -> Result<Merged, E> {
    let mut sides = [base.clone(), ours.clone(), theirs.clone()];
    let mut out = Merged::default();
    directories::follow(&mut sides, &mut out.notes);
    follow_renames(&mut sides);
    let [base, ours, theirs] = &sides;
    let paths: BTreeSet<&RepoPath> = base
        .keys()
        .chain(ours.keys())
        .chain(theirs.keys())
        .collect();
    for path in paths {
        let (b, o, t) = (base.get(path), ours.get(path), theirs.get(path));
        if o == t || t == b {
            keep(&mut out, path, o);
        } else if o == b {
            keep(&mut out, path, t);
        } else {
            merge_path(&mut out, path, [b, o, t], labels, read)?;
        }
    }
    part_files_from_directories(&mut out, ours, labels);
    Ok(out)
}

fn keep(out: &mut Merged, path: &RepoPath, side: Option<&Side>) {
    if let Some(side) = side {
        out.files.insert(path.clone(), Outcome::Keep(*side));
    }
}

/// A file one side only moved is edited where it went: its base and the other side's edit move too.
/// Only moves that keep the content are followed.
fn follow_renames(sides: &mut [Listing; 3]) {
    for (mover, other) in [(1, 2), (2, 1)] {
        for (from, to) in moves(&sides[0], &sides[mover]) {
            let edited = sides[other].get(&from).copied();
            let free = !sides[other].contains_key(&to) && !sides[0].contains_key(&to);
            let Some(edited) = edited.filter(|e| free && Some(e) != sides[0].get(&from)) else {
                continue;
            };
            sides[other].remove(&from);
            sides[other].insert(to.clone(), edited);
            if let Some(base) = sides[0].remove(&from) {
                sides[0].insert(to, base);
            }
        }
    }
}

/// Files that vanished under one name and appeared under another with the same content, where that
/// is unambiguous.
fn moves(base: &Listing, side: &Listing) -> Vec<(RepoPath, RepoPath)> {
    let mut gone: HashMap<BlobId, Vec<&RepoPath>> = HashMap::new();
    for (path, file) in base
        .iter()
        .filter(|(p, f)| f.size > 0 && !side.contains_key(*p))
    {
        gone.entry(file.blob).or_default().push(path);
    }
    let mut come: HashMap<BlobId, Vec<&RepoPath>> = HashMap::new();
    for (path, file) in side.iter().filter(|(p, _)| !base.contains_key(*p)) {
        come.entry(file.blob).or_default().push(path);
    }
    let mut out = Vec::new();
    for (blob, from) in gone {
        if let ([from], Some([to])) = (from.as_slice(), come.get(&blob).map(Vec::as_slice)) {
            out.push(((*from).clone(), (*to).clone()));
        }
    }
    out.sort();
    out
}

#[expect(
    clippy::too_many_lines,
    reason = "the cases of one path, in order of how sure they are"
)]
fn merge_path<E>(
    out: &mut Merged,
    path: &RepoPath,
    [b, o, t]: [Option<&Side>; 3],
    labels: &Labels<'_>,
    read: Read<'_, E>,
) -> Result<(), E> {
    let conflict = |out: &mut Merged, why, part| {
        let (base, ours, theirs) = (b.copied(), o.copied(), t.copied());
        out.conflicts.push(Conflict {
            path: path.clone(),
            part,
            why,
            base,
            ours,
            theirs,
        });
    };
    let (Some(ours), Some(theirs)) = (o, t) else {
        // Whoever kept the file keeps it until somebody decides.
        conflict(out, Why::DeleteModify, None);
        keep(out, path, o.or(t));
        return Ok(());
    };
    let regular = |s: &Side| matches!(s.mode, Mode::File | Mode::Executable);
    if !regular(ours) || !regular(theirs) {
        conflict(
            out,
            if ours.mode == theirs.mode {
                Why::Content
            } else {
                Why::Type
            },
            None,
        );
        keep(out, path, o);
        return Ok(());
    }
    let base = b.filter(|s| regular(s));
    let mode = match base {
        Some(base) if base.mode == ours.mode => theirs.mode,
        Some(_) => ours.mode,
        None if ours.mode == theirs.mode => ours.mode,
        None => Mode::Executable,
    };
    // Content that only one side changed is taken, whatever became of the mode.
    for (side, other) in [(ours, theirs), (theirs, ours)] {
        if side.blob == other.blob || base.is_some_and(|b| b.blob == other.blob) {
            out.files
                .insert(path.clone(), Outcome::Keep(Side { mode, ..*side }));
            return Ok(());
        }
    }
    let contents = (
        read(ours.blob, ours.size)?,
        read(theirs.blob, theirs.size)?,
        base.map(|b| read(b.blob, b.size)).transpose()?,
    );
    let (Some(ours_bytes), Some(theirs_bytes), base_bytes) = contents else {
        conflict(out, Why::Content, None);
        keep(out, path, o);
        return Ok(());
    };
    let base_bytes = base_bytes.flatten();
    let mut versions = vec![ours_bytes.as_slice(), &theirs_bytes];
    versions.extend(base_bytes.as_deref());
    let (kind, notes) = driver::examine_all(path.as_bytes(), &versions);
    out.notes.extend(notes);
    let merged = driver::merge(
        kind,
        base_bytes.as_deref(),
        &ours_bytes,
        &theirs_bytes,
        labels,
    );
    let mut whole = None;
    for part in merged.conflicts {
        match part.item {
            Item::Key(_) => conflict(out, Why::Key, Some(part)),
            Item::Package(_) => conflict(out, Why::Package, Some(part)),
            Item::Lines { .. } => whole = Some(Why::Text),
            Item::File if base.is_none() => whole = Some(Why::AddAdd),
            Item::File => whole = Some(Why::Content),
        }
    }
    if let Some(why) = whole {
        conflict(out, why, None);
    }
    out.files.insert(
        path.clone(),
        Outcome::Write {
            mode,
            bytes: merged.bytes,
        },
    );
    Ok(())
}

/// Where one side has a file and the other a directory of the same name, the file steps aside as
/// `NAME~LABEL`, and somebody has to decide.
fn part_files_from_directories(out: &mut Merged, ours: &Listing, labels: &Labels<'_>) {
    let is_dir = |files: &BTreeMap<RepoPath, Outcome>, path: &RepoPath| {
        let mut below = path.as_bytes().to_vec();
        below.push(b'/');
        let Ok(first) = RepoPath::new([below.as_slice(), b"\x01"].concat()) else {
            return false;
        };
        files
            .range(first..)
            .next()
            .is_some_and(|(p, _)| p.as_bytes().starts_with(&below))
    };
    let clashing: Vec<RepoPath> = out
        .files
        .keys()
        .filter(|p| is_dir(&out.files, p))
        .cloned()
        .collect();
    for path in clashing {
        let Some(outcome) = out.files.remove(&path) else {
            continue;
        };
        let is_ours = ours.contains_key(&path);
        let label = if is_ours { labels.ours } else { labels.theirs };
        let clean: String = label
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '_' })
            .take(40)
            .collect();
        let aside = [path.as_bytes(), b"~", clean.as_bytes()].concat();
        let side = match &outcome {
            Outcome::Keep(side) => Some(*side),
            Outcome::Write { .. } => None,
        };
        let Ok(aside) = RepoPath::new(aside) else {
            continue;
        };
        out.files.insert(aside.clone(), outcome);
        out.conflicts.push(Conflict {
            path: aside,
            part: None,
            why: Why::FileDirectory,
            base: None,
            ours: side.filter(|_| is_ours),
            theirs: side.filter(|_| !is_ours),
        });
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
