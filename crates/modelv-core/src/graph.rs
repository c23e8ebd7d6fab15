//! The commit graph: ancestry and merge bases. Every walk keeps a visited set, so that a history
//! of stacked diamonds costs its commits and not its paths.

pub mod dag;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// All ancestors of `start`, itself included.
///
/// # Errors
/// The first error of `parents`.
pub fn ancestors<I: Copy + Eq + Hash, E>(
    start: &[I],
    mut parents: impl FnMut(I) -> Result<Vec<I>, E>,
) -> Result<HashSet<I>, E> {
    let mut seen: HashSet<I> = start.iter().copied().collect();
    let mut queue: VecDeque<I> = start.iter().copied().collect();
    while let Some(id) = queue.pop_front() {
        for parent in parents(id)? {
            if seen.insert(parent) {
                queue.push_back(parent);
            }
        }
    }
    Ok(seen)
}

/// The best common ancestors: common ancestors that no other common ancestor descends from.
/// Sorted, so that a criss-cross history gives the same answer from both sides.
///
/// # Errors
/// The first error of `parents`.
pub fn merge_bases<I: Copy + Eq + Hash + Ord, E>(
    a: I,
    b: I,
    mut parents: impl FnMut(I) -> Result<Vec<I>, E>,
) -> Result<Vec<I>, E> {
    let mut cache: HashMap<I, Vec<I>> = HashMap::new();
    let mut load = |id: I| -> Result<Vec<I>, E> {
        if let Some(found) = cache.get(&id) {
            return Ok(found.clone());
        }
        let found = parents(id)?;
        cache.insert(id, found.clone());
        Ok(found)
    };
    let of_a = ancestors(&[a], &mut load)?;
    let of_b = ancestors(&[b], &mut load)?;
    let common: HashSet<I> = of_a.intersection(&of_b).copied().collect();
    // A common ancestor is not best when it is reachable from the parents of another one.
    let mut above = Vec::new();
    for id in &common {
        above.extend(load(*id)?);
    }
    let mut best: Vec<I> = common
        .difference(&above.into_iter().collect())
        .copied()
        .collect();
    best.sort();
    Ok(best)
}

/// How many of a set of commits each of them reaches, itself included. `order` holds the set,
/// parents before children; parents outside of it don't count.
///
/// # Errors
/// The first error of `parents`.
pub fn reach<I: Copy + Eq + Hash, E>(
    order: &[I],
    mut parents: impl FnMut(I) -> Result<Vec<I>, E>,
) -> Result<Vec<usize>, E> {
    let places: HashMap<I, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut inside: Vec<Vec<usize>> = Vec::with_capacity(order.len());
    let mut counts: Vec<usize> = Vec::with_capacity(order.len());
    for id in order {
        let above = parents(*id)?;
        let above: Vec<usize> = above
            .iter()
            .filter_map(|p| places.get(p).copied())
            .collect();
        let count = match above.as_slice() {
            [] => 1,
            // A line of commits needs no walk.
            [one] => counts.get(*one).copied().unwrap_or(0) + 1,
            several => {
                let mut seen: HashSet<usize> = several.iter().copied().collect();
                let mut stack = several.to_vec();
                while let Some(at) = stack.pop() {
                    let next = inside.get(at).into_iter().flatten().copied();
                    stack.extend(next.filter(|i| seen.insert(*i)));
                }
                seen.len() + 1
            }
        };
        inside.push(above);
        counts.push(count);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn bases(graph: &[&[usize]], a: usize, b: usize) -> Vec<usize> {
        let parents = |i: usize| Ok::<_, Infallible>(graph[i].to_vec());
        merge_bases(a, b, parents).unwrap()
    }

    #[test]
    fn simple_shapes() {
        // 0 - 1 - 2, and 3 from 1.
        let graph: &[&[usize]] = &[&[], &[0], &[1], &[1], &[]];
        assert_eq!(bases(graph, 2, 3), [1]);
        assert_eq!(bases(graph, 2, 2), [2]);
        assert_eq!(bases(graph, 0, 2), [0]);
        assert!(bases(graph, 2, 4).is_empty());
    }

    #[test]
    fn criss_cross_has_two_bases_from_both_sides() {
        let graph: &[&[usize]] = &[&[], &[0], &[0], &[1, 2], &[2, 1]];
        assert_eq!(bases(graph, 3, 4), [1, 2]);
        assert_eq!(bases(graph, 4, 3), [1, 2]);
    }

    #[test]
    fn stacked_diamonds_are_linear() {
        let mut graph: Vec<Vec<usize>> = vec![vec![]];
        for _ in 0..200 {
            let top = graph.len() - 1;
            graph.push(vec![top]);
            graph.push(vec![top]);
            graph.push(vec![top + 1, top + 2]);
        }
        let mut calls = 0;
        let last = graph.len() - 1;
        let found = merge_bases(last - 1, last - 2, |i| {
            calls += 1;
            Ok::<_, Infallible>(graph[i].clone())
        });
        assert_eq!(found.unwrap(), [last - 3]);
        assert!(calls <= graph.len());
    }

    #[test]
    fn reach_counts_each_commit_once() {
        // Two diamonds on each other, and a commit whose parent is outside of the set.
        let graph: &[&[usize]] = &[&[], &[0], &[0], &[1, 2], &[3], &[3], &[5, 4], &[99]];
        let order: Vec<usize> = (0..graph.len()).collect();
        let counts = reach(&order, |i| Ok::<_, Infallible>(graph[i].to_vec())).unwrap();
        assert_eq!(counts, [1, 2, 2, 4, 5, 5, 7, 1]);
    }

    proptest::proptest! {
        /// Against the definition: x is a base iff common and no other common one reaches it.
        #[test]
        fn agrees_with_the_definition(
            edges in proptest::collection::vec(proptest::collection::vec(0usize..64, 0..3), 2..16),
        ) {
            let graph: Vec<Vec<usize>> = edges
                .iter()
                .enumerate()
                .map(|(i, e)| if i == 0 { vec![] } else { e.iter().map(|x| x % i).collect() })
                .collect();
            let reach = |i| ancestors(&[i], |i: usize| Ok::<_, Infallible>(graph[i].clone())).unwrap();
            let (a, b) = (graph.len() - 1, graph.len() - 2);
            let common: HashSet<usize> = reach(a).intersection(&reach(b)).copied().collect();
            let mut want: Vec<usize> = common
                .iter()
                .copied()
                .filter(|x| !common.iter().any(|y| y != x && reach(*y).contains(x)))
                .collect();
            want.sort_unstable();
            let slices: Vec<&[usize]> = graph.iter().map(Vec::as_slice).collect();
            proptest::prop_assert_eq!(bases(&slices, a, b), want);
        }
    }
}
