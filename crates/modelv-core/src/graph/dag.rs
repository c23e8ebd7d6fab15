//! Walks over a graph whose commits have numbers and generations: they look at no more of it than
//! the answer takes. The generation of a commit is one more than the largest of its parents', so
//! that whatever has a larger one than all that is left is no ancestor of it.

use std::collections::BinaryHeap;

/// A graph of commits, numbered from 0.
pub trait Dag {
    /// What orders commits of one time: their ids.
    type Tie: Ord + Copy;

    /// How many commits there are.
    fn count(&self) -> usize;

    /// Calls `each` with every parent, in order.
    fn parents(&self, at: u32, each: &mut dyn FnMut(u32));

    /// Above those of all parents.
    fn generation(&self, at: u32) -> u32;

    /// When it was made, and its id.
    fn age(&self, at: u32) -> (i64, Self::Tie);
}

const SEEN: u8 = 1;
const HIDDEN: u8 = 2;
const LEFT: u8 = 1;
const RIGHT: u8 = 2;
const STALE: u8 = 4;
const QUEUED: u8 = 8;

/// Commits in order: children before parents, the newest first among those that are free to come.
/// What it looks at grows with what is taken from it.
pub struct Order<'d, D: Dag> {
    dag: &'d D,
    state: Vec<u8>,
    /// Children of each commit that were found and have not come yet.
    waiting: Vec<u32>,
    /// Commits whose parents have not been counted, by generation.
    found: BinaryHeap<(u32, u32)>,
    /// Hidden commits whose parents are not marked yet.
    hidden: BinaryHeap<(u32, u32)>,
    ready: BinaryHeap<((i64, D::Tie), u32)>,
}

impl<'d, D: Dag> Order<'d, D> {
    /// What `start` leads to without `exclude` and all before it.
    #[must_use]
    pub fn new(dag: &'d D, start: &[u32], exclude: &[u32]) -> Self {
        let mut order = Self {
            dag,
            state: vec![0; dag.count()],
            waiting: vec![0; dag.count()],
            found: BinaryHeap::new(),
            hidden: BinaryHeap::new(),
            ready: BinaryHeap::new(),
        };
        for at in exclude {
            order.hide(*at);
        }
        let mut lowest = u32::MAX;
        for at in start {
            order.find(*at);
            lowest = lowest.min(dag.generation(*at));
        }
        order.look_above(lowest);
        for at in start {
            order.release(*at);
        }
        order
    }

    fn hide(&mut self, at: u32) {
        let state = &mut self.state[at as usize];
        if *state & HIDDEN == 0 {
            *state |= HIDDEN;
            self.hidden.push((self.dag.generation(at), at));
        }
    }

    fn find(&mut self, at: u32) {
        let state = &mut self.state[at as usize];
        if *state & SEEN == 0 {
            *state |= SEEN;
            self.found.push((self.dag.generation(at), at));
        }
    }

    /// Counts the children of, and marks what is hidden among, all commits down to a generation.
    fn look_above(&mut self, generation: u32) {
        let dag = self.dag;
        while let Some((_, at)) = pop_above(&mut self.hidden, generation) {
            dag.parents(at, &mut |parent| self.hide(parent));
        }
        while let Some((_, at)) = pop_above(&mut self.found, generation) {
            if self.state[at as usize] & HIDDEN != 0 {
                continue;
            }
            dag.parents(at, &mut |parent| {
                self.waiting[parent as usize] += 1;
                self.find(parent);
            });
        }
    }

    /// Lets a commit come if nothing that is left is its child.
    fn release(&mut self, at: u32) {
        const READY: u8 = 4;
        let state = &mut self.state[at as usize];
        if self.waiting[at as usize] == 0 && *state & (HIDDEN | READY) == 0 {
            *state |= READY;
            self.ready.push((self.dag.age(at), at));
        }
    }
}

fn pop_above(heap: &mut BinaryHeap<(u32, u32)>, generation: u32) -> Option<(u32, u32)> {
    heap.peek()
        .is_some_and(|(g, _)| *g > generation)
        .then(|| heap.pop())
        .flatten()
}

impl<D: Dag> Iterator for Order<'_, D> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (_, at) = self.ready.pop()?;
        let dag = self.dag;
        let mut parents = Vec::new();
        dag.parents(at, &mut |parent| parents.push(parent));
        for parent in &parents {
            self.look_above(dag.generation(*parent));
        }
        // Its own parents were counted when something at their height was looked at.
        for parent in parents {
            let waiting = &mut self.waiting[parent as usize];
            *waiting = waiting.saturating_sub(1);
            self.release(parent);
        }
        Some(at)
    }
}

/// The best common ancestors of two commits: common ones that no other common one descends from.
#[must_use]
pub fn merge_bases<D: Dag>(dag: &D, a: u32, b: u32) -> Vec<u32> {
    let mut state = vec![0u8; dag.count()];
    let mut queue = BinaryHeap::new();
    // How many in the queue could still lead to a base.
    let mut live = 0usize;
    let mut mark = |at: u32, bits: u8, queue: &mut BinaryHeap<(u32, u32)>, live: &mut usize| {
        let slot = &mut state[at as usize];
        let before = *slot;
        *slot |= bits;
        if before & QUEUED == 0 {
            *slot |= QUEUED;
            queue.push((dag.generation(at), at));
            *live += usize::from(*slot & STALE == 0);
        } else if before & STALE == 0 && *slot & STALE != 0 {
            *live -= 1;
        }
        *slot
    };
    mark(a, LEFT, &mut queue, &mut live);
    mark(b, RIGHT, &mut queue, &mut live);
    let mut bases = Vec::new();
    while live > 0
        && let Some((_, at)) = queue.pop()
    {
        // All its descendants have come before it: its marks are final.
        let mut bits = mark(at, 0, &mut queue, &mut live);
        if bits & STALE == 0 {
            live -= 1;
            if bits & (LEFT | RIGHT) == LEFT | RIGHT {
                bases.push(at);
                bits |= STALE;
            }
        }
        let bits = bits & (LEFT | RIGHT | STALE);
        dag.parents(at, &mut |parent| {
            mark(parent, bits, &mut queue, &mut live);
        });
    }
    bases
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::convert::Infallible;

    use super::*;

    struct Rows(Vec<(Vec<u32>, u32, i64)>, std::cell::Cell<usize>);

    impl Rows {
        fn new(edges: &[Vec<usize>], times: &[i64]) -> Self {
            let mut rows: Vec<(Vec<u32>, u32, i64)> = Vec::new();
            for (i, parents) in edges.iter().enumerate() {
                let parents: Vec<u32> =
                    parents.iter().map(|p| u32::try_from(*p).unwrap()).collect();
                let above = parents.iter().map(|p| rows[*p as usize].1).max();
                rows.push((parents, above.map_or(1, |g| g + 1), times[i]));
            }
            Self(rows, 0.into())
        }
    }

    impl Dag for Rows {
        type Tie = u32;

        fn count(&self) -> usize {
            self.0.len()
        }

        fn parents(&self, at: u32, each: &mut dyn FnMut(u32)) {
            self.1.set(self.1.get() + 1);
            self.0[at as usize].0.iter().for_each(|p| each(*p));
        }

        fn generation(&self, at: u32) -> u32 {
            self.0[at as usize].1
        }

        fn age(&self, at: u32) -> (i64, u32) {
            (self.0[at as usize].2, at)
        }
    }

    #[test]
    fn no_more_is_looked_at_than_it_takes() {
        // A line of 10,000, and two tips on it.
        let mut edges: Vec<Vec<usize>> = (0..10_000usize)
            .map(|i| i.checked_sub(1).into_iter().collect())
            .collect();
        edges.extend([vec![9_990], vec![9_980]]);
        let times: Vec<i64> = (0..10_002).collect();
        let rows = Rows::new(&edges, &times);
        assert_eq!(Order::new(&rows, &[9_999], &[]).take(10).count(), 10);
        assert!(rows.1.take() < 50);
        assert_eq!(merge_bases(&rows, 10_000, 10_001), [9_980]);
        assert!(rows.1.take() < 50);
        let range: Vec<u32> = Order::new(&rows, &[9_999], &[9_995]).collect();
        assert_eq!(range, [9_999, 9_998, 9_997, 9_996]);
        assert!(rows.1.take() < 50);
    }

    proptest::proptest! {
        /// Against walks over everything, with clocks that are wrong.
        #[test]
        fn walks_agree_with_the_definitions(
            edges in proptest::collection::vec(proptest::collection::vec(0usize..64, 0..4), 3..24),
            times in proptest::collection::vec(0i64..6, 24),
        ) {
            let graph: Vec<Vec<usize>> = edges
                .iter()
                .enumerate()
                .map(|(i, e)| {
                    let mut e: Vec<usize> = if i == 0 { vec![] } else { e.iter().map(|x| x % i).collect() };
                    e.sort_unstable();
                    e.dedup();
                    e
                })
                .collect();
            let rows = Rows::new(&graph, &times);
            let n = u32::try_from(graph.len()).unwrap();
            let parents = |i: usize| Ok::<_, Infallible>(graph[i].clone());
            let mut bases = merge_bases(&rows, n - 1, n - 2);
            bases.sort_unstable();
            let want = super::super::merge_bases(n as usize - 1, n as usize - 2, parents).unwrap();
            proptest::prop_assert_eq!(bases.iter().map(|b| *b as usize).collect::<Vec<_>>(), want);
            // All that is asked for, once each, and no parent before its child.
            let (start, exclude) = ([n - 1, n - 3], [n - 2]);
            let order: Vec<u32> = Order::new(&rows, &start, &exclude).collect();
            let reach = |from: &[u32]| {
                let from: Vec<usize> = from.iter().map(|i| *i as usize).collect();
                super::super::ancestors(&from, parents).unwrap()
            };
            let want: HashSet<usize> = reach(&start).difference(&reach(&exclude)).copied().collect();
            let got: HashSet<usize> = order.iter().map(|i| *i as usize).collect();
            proptest::prop_assert_eq!(order.len(), got.len());
            proptest::prop_assert_eq!(&got, &want);
            for (i, at) in order.iter().enumerate() {
                let later: HashSet<usize> = order[i..].iter().map(|x| *x as usize).collect();
                for child in order[i + 1..].iter() {
                    proptest::prop_assert!(!graph[*child as usize].contains(&(*at as usize)), "{:?}", later);
                }
            }
        }
    }
}
