//! Files and directories that one side of a merge moved. Moves are found by content, exact ones
//! first, then by how much is the same; an edit of the other side follows its file, a new file of
//! the other side follows its directory. Works on listings and never writes content.
//!
//! Only moves that matter are looked for: those of files the other side changed, moved or deleted,
//! or in whose directory it put something.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::id::BlobId;
use crate::likeness::{self, Candidate, Fingerprint};
use crate::merge::{Conflict, Listing, Moved, Read, Side, Why, join};
use crate::path::{RepoPath, folders_of, name_of, parent_of};
use crate::tree::Mode;

/// Larger files are only followed when their content stays, in bytes.
const SIMILAR_BYTES_MAX: u64 = 4 << 20;

/// A file that both sides moved, to different places.
#[derive(Debug)]
pub(crate) struct Apart {
    pub(crate) from: RepoPath,
    pub(crate) ours: RepoPath,
    pub(crate) theirs: RepoPath,
}

/// What there is to tell about the moves.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) apart: Vec<Apart>,
    /// Files one side moved and the other deleted.
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) notes: Vec<String>,
}

type Moves = BTreeMap<RepoPath, RepoPath>;

/// Brings the three listings under the names that the result will have.
///
/// # Errors
/// The first error of `read`.
pub(crate) fn follow<E>(sides: &mut [Listing; 3], read: Read<'_, E>) -> Result<Followed, E> {
    let mut out = Followed::default();
    let mut moves = [Moves::new(), Moves::new()];
    for (mover, other) in [(1, 2), (2, 1)] {
        moves[mover - 1] = find(
            [&sides[0], &sides[mover], &sides[other]],
            read,
            &mut out.notes,
        )?;
    }
    follow_directories(sides, &mut moves, &mut out.notes);
    let froms: BTreeSet<RepoPath> = moves.iter().flat_map(|m| m.keys().cloned()).collect();
    for from in froms {
        let to = |side: usize| moves[side].get(&from);
        match (to(0), to(1)) {
            (Some(q), Some(r)) if q == r => {
                move_base(&mut sides[0], &from, q);
            }
            (Some(q), Some(r)) => {
                let crossed = sides[2].contains_key(q) || sides[1].contains_key(r);
                let known = sides[0].contains_key(q) || sides[0].contains_key(r);
                if !crossed && !known {
                    let (ours, theirs) = (q.clone(), r.clone());
                    out.apart.push(Apart { from, ours, theirs });
                }
            }
            (Some(to), None) => out.conflicts.extend(one(sides, 1, &from, to)),
            (None, Some(to)) => out.conflicts.extend(one(sides, 2, &from, to)),
            (None, None) => {}
        }
    }
    out.notes.sort();
    out.notes.dedup();
    Ok(out)
}

fn move_base(base: &mut Listing, from: &RepoPath, to: &RepoPath) {
    if !base.contains_key(to)
        && let Some(side) = base.remove(from)
    {
        base.insert(to.clone(), side);
    }
}

/// A file that one side alone moved: the other's edit moves with it; a deletion is a conflict.
fn one(sides: &mut [Listing; 3], mover: usize, from: &RepoPath, to: &RepoPath) -> Option<Conflict> {
    let other = 3 - mover;
    if sides[other].contains_key(to) || sides[0].contains_key(to) {
        return None;
    }
    let base = sides[0].get(from).copied();
    match sides[other].get(from).copied() {
        None => {
            let moved = sides[mover].get(to).copied();
            Some(Conflict {
                path: to.clone(),
                part: None,
                why: Why::DeleteModify,
                base,
                ours: moved.filter(|_| mover == 1),
                theirs: moved.filter(|_| mover == 2),
                moved: Some(Moved {
                    from: from.clone(),
                    twin: None,
                }),
            })
        }
        Some(edited) if Some(edited) != base => {
            sides[other].remove(from);
            sides[other].insert(to.clone(), edited);
            move_base(&mut sides[0], from, to);
            None
        }
        Some(_) => None,
    }
}

/// The files that `side` moved, from where in `base` and to where.
fn find<E>(
    [base, side, other]: [&Listing; 3],
    read: Read<'_, E>,
    notes: &mut Vec<String>,
) -> Result<Moves, E> {
    let apart = || join(base, side);
    let mut gone: Vec<&RepoPath> = apart()
        .filter_map(|(p, _, b)| b.is_none().then_some(p))
        .collect();
    if gone.is_empty() {
        return Ok(Moves::new());
    }
    let mut come: Vec<&RepoPath> = apart()
        .filter_map(|(p, a, _)| a.is_none().then_some(p))
        .collect();
    let mut out = exact(base, side, &gone, &come);
    let taken: BTreeSet<RepoPath> = out.values().cloned().collect();
    let grown: BTreeSet<&[u8]> = join(base, other)
        .filter(|(_, old, _)| old.is_none())
        .flat_map(|(p, ..)| folders_of(p.as_bytes()))
        .collect();
    gone.retain(|p| {
        let matters = other.get(*p) != base.get(*p) || grown.contains(parent_of(p.as_bytes()));
        !out.contains_key(*p) && matters && can_be_alike(&base[*p])
    });
    come.retain(|p| !taken.contains(*p) && can_be_alike(&side[*p]));
    if gone.len().saturating_mul(come.len()) > likeness::PAIRS_MAX {
        let text = format!(
            "{} files are gone and {} are new: too many to look for moves with edits",
            gone.len(),
            come.len()
        );
        notes.push(text);
        return Ok(out);
    }
    out.extend(alike([base, side], &gone, &come, read)?);
    Ok(out)
}

fn can_be_alike(side: &Side) -> bool {
    matches!(side.mode, Mode::File | Mode::Executable)
        && side.size > 0
        && side.size <= SIMILAR_BYTES_MAX
}

/// Moves that keep the content, where it is unambiguous which file is which; equal names decide
/// among equal files.
fn exact(base: &Listing, side: &Listing, gone: &[&RepoPath], come: &[&RepoPath]) -> Moves {
    let mut by_content: HashMap<BlobId, [Vec<&RepoPath>; 2]> = HashMap::new();
    for path in gone.iter().filter(|p| base[**p].size > 0) {
        by_content.entry(base[*path].blob).or_default()[0].push(path);
    }
    for path in come {
        if let Some(group) = by_content.get_mut(&side[*path].blob) {
            group[1].push(path);
        }
    }
    let mut out = Moves::new();
    let same_type = |from: &RepoPath, to: &RepoPath| {
        (base[from].mode == Mode::Symlink) == (side[to].mode == Mode::Symlink)
    };
    for [from, to] in by_content.values() {
        if let ([from], [to]) = (from.as_slice(), to.as_slice()) {
            if same_type(from, to) {
                out.insert((*from).clone(), (*to).clone());
            }
            continue;
        }
        for path in from {
            let named = |all: &[&RepoPath]| -> Vec<RepoPath> {
                let same = |p: &&&RepoPath| p.name() == path.name();
                all.iter().filter(same).map(|p| (*p).clone()).collect()
            };
            if let ([_], [to]) = (named(from).as_slice(), named(to).as_slice())
                && same_type(path, to)
            {
                out.insert((*path).clone(), to.clone());
            }
        }
    }
    out
}

/// Moves with edits: the most alike first.
fn alike<E>(
    [base, side]: [&Listing; 2],
    gone: &[&RepoPath],
    come: &[&RepoPath],
    read: Read<'_, E>,
) -> Result<Moves, E> {
    // A file of a size that no other one comes near is not read.
    let likely = |of: &Listing, path: &RepoPath, other: &Listing, paths: &[&RepoPath]| {
        let near = |p: &&RepoPath| likeness::can_be_alike(of[path].size, other[*p].size);
        paths.iter().any(near)
    };
    let (mut from, mut to) = (gone.to_vec(), come.to_vec());
    from.retain(|p| likely(base, p, side, come));
    to.retain(|p| likely(side, p, base, gone));
    let mut prints = HashMap::new();
    let old = candidates(base, &from, &mut prints, read)?;
    let new = candidates(side, &to, &mut prints, read)?;
    let pairs = likeness::pair(&old, &new).into_iter();
    Ok(pairs
        .map(|p| (from[p.old].clone(), to[p.new].clone()))
        .collect())
}

/// What files are made of; equal contents are read once.
fn candidates<'p, E>(
    side: &Listing,
    paths: &[&'p RepoPath],
    prints: &mut HashMap<BlobId, Fingerprint>,
    read: Read<'_, E>,
) -> Result<Vec<Candidate<'p>>, E> {
    let candidate = |path: &&'p RepoPath| {
        let file = side[*path];
        let print = match prints.entry(file.blob) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(none) => {
                let content = read(file.blob, file.size)?.unwrap_or_default();
                none.insert(Fingerprint::of(&content)).clone()
            }
        };
        Ok(Candidate {
            path: path.as_bytes(),
            print,
        })
    };
    paths.iter().map(candidate).collect()
}

/// What one side put into a directory that the other moved goes where that went.
fn follow_directories(sides: &mut [Listing; 3], moves: &mut [Moves; 2], notes: &mut Vec<String>) {
    let moved = [1, 2].map(|mover| directories(&sides[mover], &moves[mover - 1]));
    for (mover, other) in [(1, 2), (2, 1)] {
        // A directory that both sides moved is nobody's to move again.
        let to_of = |path: &[u8]| {
            let found = folders_of(path).find_map(|d| Some((d.to_vec(), moved[mover - 1].get(d)?)));
            found.filter(|(d, _)| !moved[other - 1].contains_key(d))
        };
        let new: Vec<(RepoPath, RepoPath)> = sides[other]
            .keys()
            .filter(|p| !sides[0].contains_key(*p))
            .filter_map(|p| {
                let (from, to) = to_of(p.as_bytes())?;
                let rest = &p.as_bytes()[from.len()..];
                let path = RepoPath::new([to, rest].concat()).ok()?;
                let free = sides.iter().all(|s| !s.contains_key(&path));
                free.then(|| (p.clone(), path))
            })
            .collect();
        for (from, to) in new {
            let Some(side) = sides[other].remove(&from) else {
                continue;
            };
            notes.push(format!("{from} follows its directory to {to}"));
            for place in moves[other - 1].values_mut().filter(|p| **p == from) {
                *place = to.clone();
            }
            sides[other].insert(to, side);
        }
    }
}

/// Directories that a side moved as a whole: nothing is left in them, and most of their files went
/// to one place.
fn directories(side: &Listing, moves: &Moves) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut votes: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, usize>> = BTreeMap::new();
    for (from, to) in moves {
        let (mut from, mut to) = (parent_of(from.as_bytes()), parent_of(to.as_bytes()));
        while !from.is_empty() && from != to {
            let places = votes.entry(from.to_vec()).or_default();
            *places.entry(to.to_vec()).or_default() += 1;
            // `a/x` to `b/x` says something about `a` too.
            if name_of(from) != name_of(to) {
                break;
            }
            (from, to) = (parent_of(from), parent_of(to));
        }
    }
    let stands = |folder: &[u8]| {
        let first = RepoPath::new([folder, b"/\x01"].concat());
        first.is_ok_and(|first| {
            let next = side.range(first..).next();
            next.is_some_and(|(p, _)| p.is_within(folder))
        })
    };
    let mut out = BTreeMap::new();
    for (from, places) in votes {
        let most = places.values().max().copied().unwrap_or(0);
        let mut best = places.iter().filter(|(_, n)| **n == most);
        if let (Some((to, _)), None) = (best.next(), best.next())
            && !to.is_empty()
            && !stands(&from)
        {
            out.insert(from, to.clone());
        }
    }
    out
}
