//! The order of things that two sides hold, each known by a number: those of the base by their
//! place there, added ones by higher numbers.

use std::collections::HashMap;
use std::hash::Hash;

/// A number, as small as those who hold many want it.
pub(super) trait Number: Copy + Ord + Hash {
    /// The same as a place in a list.
    fn place(self) -> usize;
}

impl Number for usize {
    fn place(self) -> usize {
        self
    }
}

impl Number for u32 {
    fn place(self) -> usize {
        usize::try_from(self).unwrap_or(usize::MAX)
    }
}

/// All that either side holds, in the order of the side that changed it; ours where none did. What
/// only the other side has stands behind what it stands behind there.
///
/// `None`: both sides changed the order, in different ways.
pub(super) fn merged<N: Number>(base: usize, ours: &[N], theirs: &[N]) -> Option<Vec<N>> {
    let numbers = ours.iter().chain(theirs).max().map_or(0, |n| n.place() + 1);
    let (in_ours, in_theirs) = (places(ours, numbers), places(theirs, numbers));
    let both = |n: &&N| in_ours[n.place()] && in_theirs[n.place()];
    let old = |n: &&N| n.place() < base;
    let moved = |side: &[N]| !side.iter().filter(both).filter(old).is_sorted();
    // Where each side put what both added is no order that somebody changed.
    let apart = || {
        let theirs = theirs.iter().filter(both).filter(old);
        !ours.iter().filter(both).filter(old).eq(theirs)
    };
    match (moved(ours), moved(theirs)) {
        (true, true) if apart() => None,
        (false, true) => Some(weave(theirs, ours, &in_theirs)),
        _ => Some(weave(ours, theirs, &in_ours)),
    }
}

/// Which of some places, each given once, are out of order: all but as many as can stay.
pub(super) fn moved(places: &[Option<usize>]) -> Vec<bool> {
    // For each length, where the run of it that ends lowest ends; and what stands before each.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; places.len()];
    let mut out: Vec<bool> = places.iter().map(Option::is_some).collect();
    for (at, place) in places.iter().enumerate().filter(|(_, p)| p.is_some()) {
        let length = ends.partition_point(|end| places[*end] < *place);
        before[at] = length.checked_sub(1).map(|last| ends[last]);
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut next = ends.last().copied();
    while let Some(at) = next {
        out[at] = false;
        next = before[at];
    }
    out
}

fn places<N: Number>(side: &[N], numbers: usize) -> Vec<bool> {
    let mut out = vec![false; numbers];
    for n in side {
        out[n.place()] = true;
    }
    out
}

/// One side, with what only the other has.
fn weave<N: Number>(side: &[N], other: &[N], in_side: &[bool]) -> Vec<N> {
    let mut behind: HashMap<Option<N>, Vec<N>> = HashMap::new();
    let mut anchor = None;
    for n in other {
        if in_side[n.place()] {
            anchor = Some(*n);
        } else {
            behind.entry(anchor).or_default().push(*n);
        }
    }
    let mut out = behind.remove(&None).unwrap_or_default();
    out.reserve(side.len());
    for n in side {
        out.push(*n);
        out.extend(behind.remove(&Some(*n)).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_can_stay_are_not_moved() {
        for (places, want) in [
            (vec![Some(0), None, Some(1), Some(2)], vec![]),
            (vec![Some(2), Some(0), None, Some(1)], vec![0]),
            (vec![Some(1), Some(2), Some(3), Some(0)], vec![3]),
            (vec![Some(3), Some(2), Some(1)], vec![0, 1]),
            (vec![], vec![]),
        ] {
            let found = moved(&places);
            let found: Vec<usize> = (0..found.len()).filter(|at| found[*at]).collect();
            assert_eq!(found, want, "{places:?}");
        }
    }

    #[test]
    fn what_both_added_is_no_order_that_was_changed() {
        assert_eq!(merged(2, &[2u32, 1, 0], &[1, 2, 0]), Some(vec![2, 1, 0]));
        assert_eq!(merged(2, &[1, 2u32, 0], &[2, 1, 0]), Some(vec![1, 2, 0]));
    }

    #[test]
    fn the_side_that_moved_something_gives_the_order() {
        for (ours, theirs, want) in [
            (vec![0u32, 1, 2], vec![0, 1, 2], Some(vec![0, 1, 2])),
            (vec![2, 0, 1], vec![0, 1, 2], Some(vec![2, 0, 1])),
            (vec![2, 0, 1], vec![2, 0, 1], Some(vec![2, 0, 1])),
            // Added and removed beside the move.
            (vec![2, 0, 1], vec![0, 3, 2], Some(vec![2, 0, 3, 1])),
            (vec![2, 0, 1, 4], vec![0, 1], Some(vec![2, 0, 1, 4])),
            (vec![], vec![1, 0, 3], Some(vec![1, 0, 3])),
            (vec![2, 0, 1], vec![1, 0, 2], None),
        ] {
            assert_eq!(merged(3, &ours, &theirs), want, "{ours:?} {theirs:?}");
            assert_eq!(merged(3, &theirs, &ours), want, "{theirs:?} {ours:?}");
        }
    }
}
