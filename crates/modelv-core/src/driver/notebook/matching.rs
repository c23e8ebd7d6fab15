//! Which cell of one notebook is which of another: by id, by what it says, by its place.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;
use similar::{Algorithm, DiffOp};

use super::{Cell, source};

/// Matching cells without ids looks at all pairs: more cells are matched by equal source only.
const PAIRS_MAX: usize = 250_000;

/// Copies of a cell are told apart by their order in notebooks of so many pairs of cells.
const ORDER_MAX: usize = 25_000_000;

/// For each cell of `new`, the cell of `old` it was.
pub(super) fn matched(old: &[Cell], new: &[Cell]) -> Vec<Option<usize>> {
    let mut out = vec![None; new.len()];
    let mut taken = vec![false; old.len()];
    let ids: HashMap<String, usize> = old
        .iter()
        .enumerate()
        .filter_map(|(i, c)| Some((id(c)?, i)))
        .collect();
    for (j, cell) in new.iter().enumerate() {
        if let Some(i) = id(cell).and_then(|id| ids.get(&id).copied()) {
            (out[j], taken[i]) = (Some(i), true);
        }
    }
    // Ids are the identity where both have them.
    let free =
        |cell: &Cell, other: &[Cell]| id(cell).is_none() || other.iter().any(|c| id(c).is_none());
    let open: Vec<usize> = (0..new.len())
        .filter(|j| out[*j].is_none() && free(&new[*j], old))
        .collect();
    let rest: Vec<usize> = (0..old.len())
        .filter(|i| !taken[*i] && free(&old[*i], new))
        .collect();
    same_words([old, new], [&rest, &open], &mut out);
    let is_open = |out: &[Option<usize>]| -> [Vec<usize>; 2] {
        let taken: HashSet<usize> = out.iter().flatten().copied().collect();
        let rest = rest.iter().filter(|i| !taken.contains(i));
        let open = open.iter().filter(|j| out[**j].is_none());
        [rest.copied().collect(), open.copied().collect()]
    };
    let [i, j] = is_open(&out);
    if i.len().saturating_mul(j.len()) <= PAIRS_MAX {
        like_words([old, new], [&i, &j], &mut out);
    }
    let [i, j] = is_open(&out);
    same_place([old, new], [&i, &j], &mut out);
    out
}

fn id(cell: &Cell) -> Option<String> {
    cell.get("id").and_then(Value::as_str).map(str::to_owned)
}

/// Type and source.
fn said(cell: &Cell) -> (String, String) {
    (cell["cell_type"].to_string(), source(cell))
}

/// Matches cells that say the same: first those in one order, so that of two copies the one that
/// stayed where it was is the old one.
fn same_words([old, new]: [&[Cell]; 2], [rest, open]: [&[usize]; 2], out: &mut [Option<usize>]) {
    let words = |all: &[Cell], at: &[usize]| -> Vec<(String, String)> {
        at.iter().map(|i| said(&all[*i])).collect()
    };
    let (a, b) = (words(old, rest), words(new, open));
    let mut left = vec![true; rest.len()];
    if a.len().saturating_mul(b.len()) <= ORDER_MAX {
        for op in similar::capture_diff_slices(Algorithm::Myers, &a, &b) {
            if let DiffOp::Equal {
                old_index,
                new_index,
                len,
            } = op
            {
                for k in 0..len {
                    out[open[new_index + k]] = Some(rest[old_index + k]);
                    left[old_index + k] = false;
                }
            }
        }
    }
    let mut same: HashMap<&(String, String), Vec<usize>> = HashMap::new();
    for (k, words) in a.iter().enumerate().rev().filter(|(k, _)| left[*k]) {
        same.entry(words).or_default().push(rest[k]);
    }
    for (words, j) in b.iter().zip(open) {
        if out[*j].is_none() {
            out[*j] = same.get_mut(words).and_then(Vec::pop);
        }
    }
}

/// Matches cells that say much the same.
fn like_words([old, new]: [&[Cell]; 2], [rest, open]: [&[usize]; 2], out: &mut [Option<usize>]) {
    let mut taken = HashSet::new();
    for j in open {
        let best = rest
            .iter()
            .filter(|i| !taken.contains(*i) && old[**i]["cell_type"] == new[*j]["cell_type"])
            .map(|i| (alike(&source(&old[*i]), &source(&new[*j])), *i))
            .max_by_key(|(score, i)| (*score, Reverse(*i)));
        if let Some((score, i)) = best
            && score >= 500
        {
            taken.insert(i);
            out[*j] = Some(i);
        }
    }
}

/// Matches what is left between the same neighbours: a cell written anew in its place. Without this
/// it would be one removed and one added, and a removal by the other side would go unseen.
fn same_place([old, new]: [&[Cell]; 2], [rest, open]: [&[usize]; 2], out: &mut [Option<usize>]) {
    // The next matched cell behind each.
    let mut next = vec![old.len(); new.len() + 1];
    for j in (0..new.len()).rev() {
        next[j] = out[j].unwrap_or(next[j + 1]);
    }
    let mut before = vec![0; new.len() + 1];
    for j in 0..new.len() {
        before[j + 1] = out[j].map_or(before[j], |i| i + 1);
    }
    let mut k = 0;
    for j in open {
        while rest.get(k).is_some_and(|i| *i < before[*j]) {
            k += 1;
        }
        if let Some(i) = rest.get(k)
            && *i < next[*j]
            && old[*i]["cell_type"] == new[*j]["cell_type"]
        {
            out[*j] = Some(*i);
            k += 1;
        }
    }
}

/// How much of two texts is the same words, in thousandths.
fn alike(a: &str, b: &str) -> usize {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in a.split_whitespace() {
        *counts.entry(word).or_default() += 1;
    }
    let (mut common, mut total) = (0usize, counts.values().sum::<usize>());
    for word in b.split_whitespace() {
        total += 1;
        if let Some(n) = counts.get_mut(word).filter(|n| **n > 0) {
            *n -= 1;
            common += 1;
        }
    }
    (2000 * common).checked_div(total).unwrap_or(0)
}

/// Numbers for the cells of both sides: those of the base by their place there, added ones behind.
/// Cells both added have one number: with one id, or in the same words behind the same cell.
pub(super) fn numbered(base: &[Cell], ours: &[Cell], theirs: &[Cell]) -> [Vec<usize>; 2] {
    let (o_was, t_was) = (matched(base, ours), matched(base, theirs));
    let kept: HashSet<usize> = o_was.iter().flatten().copied().collect();
    let kept: HashSet<usize> = t_was
        .iter()
        .flatten()
        .copied()
        .filter(|i| kept.contains(i))
        .collect();
    let mut free = base.len();
    let mut fresh = || {
        free += 1;
        free - 1
    };
    let (mut by_id, mut by_words) = (HashMap::new(), HashMap::<_, VecDeque<usize>>::new());
    let mut numbers = Vec::with_capacity(ours.len());
    let mut anchor = None;
    for (cell, was) in ours.iter().zip(&o_was) {
        anchor = was.filter(|i| kept.contains(i)).or(anchor);
        let n = was.unwrap_or_else(&mut fresh);
        numbers.push(n);
        if was.is_none() {
            let id = id(cell);
            let words = (anchor, id.is_some(), said(cell));
            by_words.entry(words).or_default().push_back(n);
            by_id.extend(id.map(|id| (id, n)));
        }
    }
    let mut anchor = None;
    let mut taken = HashSet::new();
    let theirs = theirs.iter().zip(&t_was).map(|(cell, was)| {
        anchor = was.filter(|i| kept.contains(i)).or(anchor);
        let mut alike = |with_id| {
            let words = (anchor, with_id, said(cell));
            by_words.get_mut(&words).and_then(VecDeque::pop_front)
        };
        // Two ids are two cells.
        let twin = || match id(cell) {
            Some(id) => by_id.get(&id).copied().or_else(|| alike(false)),
            None => alike(false).or_else(|| alike(true)),
        };
        let known = was.or_else(twin).filter(|n| taken.insert(*n));
        known.unwrap_or_else(&mut fresh)
    });
    let theirs = theirs.collect();
    [numbers, theirs]
}
