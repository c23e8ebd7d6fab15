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
    let apart = || !ours.iter().filter(both).eq(theirs.iter().filter(both));
    match (moved(ours), moved(theirs)) {
        (true, true) if apart() => None,
        (false, true) => Some(weave(theirs, ours, &in_theirs)),
        _ => Some(weave(ours, theirs, &in_ours)),
    }
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
