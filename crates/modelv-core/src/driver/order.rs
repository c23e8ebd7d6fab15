//! The order of things that two sides hold, each known by a number: those of the base by their
//! place there, added ones by higher numbers.

use std::collections::HashMap;

/// All that either side holds, in the order of the side that changed it; ours where none did. What
/// only the other side has stands behind what it stands behind there.
///
/// `None`: both sides changed the order, in different ways.
pub(super) fn merged(base: usize, ours: &[usize], theirs: &[usize]) -> Option<Vec<usize>> {
    let numbers = ours.iter().chain(theirs).max().map_or(0, |n| n + 1);
    let (in_ours, in_theirs) = (places(ours, numbers), places(theirs, numbers));
    let both = |n: &&usize| in_ours[**n] && in_theirs[**n];
    let old = |n: &&usize| **n < base;
    let moved = |side: &[usize]| !side.iter().filter(both).filter(old).is_sorted();
    let apart = || !ours.iter().filter(both).eq(theirs.iter().filter(both));
    match (moved(ours), moved(theirs)) {
        (true, true) if apart() => None,
        (false, true) => Some(weave(theirs, ours, &in_theirs)),
        _ => Some(weave(ours, theirs, &in_ours)),
    }
}

fn places(side: &[usize], numbers: usize) -> Vec<bool> {
    let mut out = vec![false; numbers];
    for n in side {
        out[*n] = true;
    }
    out
}

/// One side, with what only the other has.
fn weave(side: &[usize], other: &[usize], in_side: &[bool]) -> Vec<usize> {
    let mut behind: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    let mut anchor = None;
    for n in other {
        if in_side[*n] {
            anchor = Some(*n);
        } else {
            behind.entry(anchor).or_default().push(*n);
        }
    }
    let mut out = behind.remove(&None).unwrap_or_default();
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
            (vec![0, 1, 2], vec![0, 1, 2], Some(vec![0, 1, 2])),
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
