//! Three-way merge of two listings of files: path by path, then inside a file by its driver.
//!
//! Symmetric: exchanging the sides exchanges `ours` and `theirs` in the conflicts and nothing
//! else. Nothing is lost: what one side changed is in the result or in a conflict.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::driver::{self, Item, Labels};
use crate::id::BlobId;
use crate::path::{RepoPath, parent_of};
use crate::renames::{self, Apart};
use crate::tree::Mode;

#[cfg(test)]
#[path = "merge/directories_tests.rs"]
mod directories_tests;

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
    /// Both sides moved one file, to different places.
    Rename,
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
            Self::Rename => "rename/rename",
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
    /// Where the file was in the base and where the other side has it, of one that moved.
    pub moved: Option<Moved>,
}

impl Conflict {
    /// One of a file that did not move: its base, ours and theirs.
    fn of(
        path: &RepoPath,
        [base, ours, theirs]: [Option<Side>; 3],
        why: Why,
        part: Option<driver::Conflict>,
    ) -> Self {
        Self {
            path: path.clone(),
            part,
            why,
            base,
            ours,
            theirs,
            moved: None,
        }
    }
}

/// How a file that is in conflict moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its path in the base.
    pub from: RepoPath,
    /// Where the other side moved it; `None`: it did not.
    pub twin: Option<RepoPath>,
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

/// Gives the declared key of a table: columns with commas between them.
pub type Keys<'a> = &'a dyn Fn(&RepoPath) -> Option<String>;

/// A file that was merged without being read into memory, and what is left to decide in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Large {
    /// Its content, which whoever merged it keeps.
    pub blob: BlobId,
    /// Bytes of it.
    pub size: u64,
    /// What is left to decide.
    pub conflicts: Vec<driver::Conflict>,
}

/// Merges base, ours and theirs of a file that `read` does not give; or says why not.
pub type MergeLarge<'a, E> =
    &'a mut dyn FnMut(&RepoPath, [Option<Side>; 3]) -> Result<Result<Large, String>, E>;

/// Where contents come from.
struct Contents<'a, E> {
    read: Read<'a, E>,
    large: MergeLarge<'a, E>,
}

/// What a merge goes by.
#[derive(Clone, Copy)]
struct By<'a> {
    labels: &'a Labels<'a>,
    keys: Keys<'a>,
}

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
    merge_by(base, ours, theirs, (labels, &|_| None), read)
}

/// Goes through two maps side by side, in the order of their keys.
pub fn join<'a, K: Ord, A, B>(
    a: &'a BTreeMap<K, A>,
    b: &'a BTreeMap<K, B>,
) -> impl Iterator<Item = (&'a K, Option<&'a A>, Option<&'a B>)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (a.peek(), b.peek()) {
            (Some((x, _)), Some((y, _))) => x.cmp(y),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => a.next().map(|(key, value)| (key, Some(value), None)),
            Ordering::Greater => b.next().map(|(key, value)| (key, None, Some(value))),
            Ordering::Equal => {
                let (key, value) = a.next()?;
                Some((key, Some(value), b.next().map(|(_, value)| value)))
            }
        }
    })
}

/// Whether the base has a file that a side has not.
fn lacks(side: &Listing, base: &Listing) -> bool {
    join(base, side).any(|(_, _, there)| there.is_none())
}

/// Merges two listings over their base; rows of tables go by declared keys.
///
/// # Errors
/// The first error of `read`.
pub fn merge_by<E>(
    base: &Listing,
    ours: &Listing,
    theirs: &Listing,
    by: (&Labels<'_>, Keys<'_>),
    read: Read<'_, E>,
) -> Result<Merged, E> {
    let mut large = |_: &RepoPath, _: [Option<Side>; 3]| {
        Ok(Err("a file is too large to be merged inside".to_owned()))
    };
    merge_any(base, ours, theirs, by, (read, &mut large))
}

/// The same; files that `read` does not give are merged by `large`.
///
/// # Errors
/// The first error of `read` or `large`.
pub fn merge_any<E>(
    base: &Listing,
    ours: &Listing,
    theirs: &Listing,
    (labels, keys): (&Labels<'_>, Keys<'_>),
    (read, large): (Read<'_, E>, MergeLarge<'_, E>),
) -> Result<Merged, E> {
    let by = By { labels, keys };
    let mut from = Contents { read, large };
    let mine = ours;
    let mut out = Merged::default();
    let mut moved;
    let mut sides = [base, ours, theirs];
    // Where nothing is gone, nothing was moved.
    if lacks(ours, base) || lacks(theirs, base) {
        moved = sides.map(Listing::clone);
        let followed = renames::follow(&mut moved, from.read)?;
        (out.conflicts, out.notes) = (followed.conflicts, followed.notes);
        for apart in &followed.apart {
            merge_apart(&mut out, &mut moved, apart, by, &mut from)?;
        }
        sides = moved.each_ref();
    }
    merge_paths(&mut out, sides, by, &mut from)?;
    let is_ours = |path: &RepoPath| mine.contains_key(path) || sides[1].contains_key(path);
    part_files_from_directories(&mut out, &is_ours, labels);
    out.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// Merges path by path.
fn merge_paths<E>(
    out: &mut Merged,
    [base, ours, theirs]: [&Listing; 3],
    by: By<'_>,
    from: &mut Contents<'_, E>,
) -> Result<(), E> {
    // What a move has put there already comes with the rest: a map is made of a sorted list at once.
    let mut files: Vec<(RepoPath, Outcome)> = std::mem::take(&mut out.files).into_iter().collect();
    let mut olds = base.iter().peekable();
    for (path, o, t) in join(ours, theirs) {
        while olds.next_if(|(p, _)| *p < path).is_some() {}
        let b = olds.next_if(|(p, _)| *p == path).map(|(_, side)| side);
        let kept = match (b, o, t) {
            (b, o, t) if o == t || t == b => o,
            (b, o, t) if o == b => t,
            sides => {
                merge_path(out, path, sides.into(), by, from)?;
                continue;
            }
        };
        files.extend(kept.map(|side| (path.clone(), Outcome::Keep(*side))));
    }
    // Of one path, what is merged counts.
    files.extend(std::mem::take(&mut out.files));
    out.files = files.into_iter().collect();
    Ok(())
}

/// Both sides moved one file, to different places: it stands in both, with the edits of both, until
/// somebody says which place is right.
fn merge_apart<E>(
    out: &mut Merged,
    sides: &mut [Listing; 3],
    apart: &Apart,
    by: By<'_>,
    from: &mut Contents<'_, E>,
) -> Result<(), E> {
    let [base, ours, theirs] = sides;
    let b = base.remove(&apart.from);
    let (o, t) = (ours.remove(&apart.ours), theirs.remove(&apart.theirs));
    let (Some(ours), Some(theirs)) = (o, t) else {
        return Ok(());
    };
    if ours == theirs || b == Some(theirs) {
        keep(out, &apart.ours, Some(&ours));
    } else if b == Some(ours) {
        keep(out, &apart.ours, Some(&theirs));
    } else {
        let sides = [b.as_ref(), Some(&ours), Some(&theirs)];
        merge_path(out, &apart.ours, sides, by, from)?;
        // One decision about the file as a whole is enough, and it is about its place.
        out.conflicts
            .retain(|c| c.path != apart.ours || c.part.is_some());
    }
    if let Some(outcome) = out.files.get(&apart.ours).cloned() {
        out.files.insert(apart.theirs.clone(), outcome);
    }
    let mut conflict = |[path, twin]: [&RepoPath; 2], ours, theirs| {
        out.conflicts.push(Conflict {
            moved: Some(Moved {
                from: apart.from.clone(),
                twin: Some(twin.clone()),
            }),
            ..Conflict::of(path, [b, ours, theirs], Why::Rename, None)
        });
    };
    conflict([&apart.ours, &apart.theirs], Some(ours), None);
    conflict([&apart.theirs, &apart.ours], None, Some(theirs));
    Ok(())
}

fn keep(out: &mut Merged, path: &RepoPath, side: Option<&Side>) {
    if let Some(side) = side {
        out.files.insert(path.clone(), Outcome::Keep(*side));
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "the cases of one path, in order of how sure they are"
)]
fn merge_path<E>(
    out: &mut Merged,
    path: &RepoPath,
    [b, o, t]: [Option<&Side>; 3],
    by: By<'_>,
    from: &mut Contents<'_, E>,
) -> Result<(), E> {
    let conflict = |out: &mut Merged, why, part| {
        let sides = [b.copied(), o.copied(), t.copied()];
        out.conflicts.push(Conflict::of(path, sides, why, part));
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
        (from.read)(ours.blob, ours.size)?,
        (from.read)(theirs.blob, theirs.size)?,
        base.map(|b| (from.read)(b.blob, b.size)).transpose()?,
    );
    let (Some(ours_bytes), Some(theirs_bytes), None | Some(Some(_))) = &contents else {
        let sides = [base, Some(ours), Some(theirs)].map(Option::<&Side>::copied);
        return merge_large(out, path, sides, mode, from);
    };
    let base_bytes = contents.2.as_ref().and_then(Option::as_deref);
    let mut versions = vec![ours_bytes.as_slice(), theirs_bytes];
    versions.extend(base_bytes);
    let (kind, notes) = driver::examine_all(path.as_bytes(), &versions);
    out.notes.extend(notes);
    let key = (by.keys)(path);
    if let Some(key) = &key
        && !driver::key_fits(kind, key, &versions)
    {
        let text = format!("{path}: the key `{key}` does not name every row once; merged by line");
        out.notes.push(text);
    }
    let merged = driver::merge_by(
        kind,
        key.as_deref(),
        [base_bytes, Some(ours_bytes), Some(theirs_bytes)],
        by.labels,
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

/// Merges a file that is too large for memory; what can't be merged so is to decide as a whole.
fn merge_large<E>(
    out: &mut Merged,
    path: &RepoPath,
    sides: [Option<Side>; 3],
    mode: Mode,
    from: &mut Contents<'_, E>,
) -> Result<(), E> {
    let mut conflict = |why, part| {
        out.conflicts.push(Conflict::of(path, sides, why, part));
    };
    match (from.large)(path, sides)? {
        Ok(Large {
            blob,
            size,
            conflicts,
        }) => {
            conflicts
                .into_iter()
                .for_each(|part| conflict(Why::Key, Some(part)));
            let side = Side { mode, size, blob };
            out.files.insert(path.clone(), Outcome::Keep(side));
        }
        Err(reason) => {
            conflict(Why::Content, None);
            out.notes.push(reason);
            keep(out, path, sides[1].as_ref());
        }
    }
    Ok(())
}

/// Where one side has a file and the other a directory of the same name, the file steps aside as
/// `NAME~LABEL`, and somebody has to decide.
fn part_files_from_directories(
    out: &mut Merged,
    of_ours: &dyn Fn(&RepoPath) -> bool,
    labels: &Labels<'_>,
) {
    let mut clashing: BTreeSet<RepoPath> = BTreeSet::new();
    let mut last: &[u8] = b"";
    for path in out.files.keys() {
        let mut dir = parent_of(path.as_bytes());
        // Those of one directory mostly follow each other.
        if dir == std::mem::replace(&mut last, dir) {
            continue;
        }
        while !dir.is_empty() {
            clashing.extend(out.files.get_key_value(dir).map(|(path, _)| path.clone()));
            dir = parent_of(dir);
        }
    }
    for path in clashing {
        let Some(outcome) = out.files.remove(&path) else {
            continue;
        };
        let is_ours = of_ours(&path);
        let label = if is_ours { labels.ours } else { labels.theirs };
        let Some(aside) = free_name(out, &path, label) else {
            out.files.insert(path, outcome);
            continue;
        };
        let side = match &outcome {
            Outcome::Keep(side) => Some(*side),
            Outcome::Write { .. } => None,
        };
        out.files.insert(aside.clone(), outcome);
        // What was to decide about the file as a whole is decided where it stands now.
        let whole = |c: &Conflict| c.path == path && c.part.is_none();
        let was = out.conflicts.iter().find(|c| whole(c)).cloned();
        out.conflicts.retain(|c| !whole(c));
        for part in out.conflicts.iter_mut().filter(|c| c.path == path) {
            part.path = aside.clone();
        }
        let sides = match was {
            Some(was) => [was.base, was.ours, was.theirs],
            None => [None, side.filter(|_| is_ours), side.filter(|_| !is_ours)],
        };
        let why = Why::FileDirectory;
        out.conflicts.push(Conflict::of(&aside, sides, why, None));
    }
}

/// A name beside a path that no file of the result has.
fn free_name(out: &Merged, path: &RepoPath, label: &str) -> Option<RepoPath> {
    let clean: String = label
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .take(40)
        .collect();
    let name = |n: usize| match n {
        1 => clean.clone(),
        n => format!("{clean}{n}"),
    };
    let taken = |p: &RepoPath| out.files.keys().any(|q| q.is_within(p.as_bytes()));
    (1..=out.files.len() + 1)
        .filter_map(|n| RepoPath::new([path.as_bytes(), b"~", name(n).as_bytes()].concat()).ok())
        .find(|p| !taken(p))
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
