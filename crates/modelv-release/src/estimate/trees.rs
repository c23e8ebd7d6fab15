//! Gradient-boosted regression trees for squared errors: Friedman, *Greedy Function Approximation: A Gradient
//! Boosting Machine* (2001), algorithm 2, with exact splits. The same rows give the same trees: ties go to the
//! first feature and the lowest threshold, and nothing is drawn at random.

/// How many trees, how deep, and how much of each is believed.
const TREES: usize = 50;
const DEPTH: usize = 3;
const RATE: f64 = 0.1;
/// A split leaves at least so many rows on each side: a package that fewer builds had decides nothing.
const LEAF_MIN: usize = 3;

/// A tree: leaves are values.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Leaf(f64),
    /// Rows whose feature is at most the threshold go left.
    Split {
        feature: usize,
        threshold: f64,
        sides: Box<[Node; 2]>,
    },
}

impl Node {
    fn of(&self, row: &[f64]) -> f64 {
        let mut at = self;
        loop {
            match at {
                Self::Leaf(value) => return *value,
                Self::Split {
                    feature,
                    threshold,
                    sides,
                } => at = &sides[usize::from(row[*feature] > *threshold)],
            }
        }
    }
}

/// A sum of trees.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Trees {
    trees: Vec<Node>,
}

impl Trees {
    /// Trees for rows that are equally long. Their order is nothing: sums are made in one of our own.
    pub(super) fn fit(rows: &[Vec<f64>], y: &[f64]) -> Self {
        let mut pairs: Vec<(&Vec<f64>, f64)> = rows.iter().zip(y.iter().copied()).collect();
        pairs.sort_by(|a, b| {
            let cells = a.0.iter().zip(b.0).map(|(a, b)| a.total_cmp(b));
            let first = cells.into_iter().find(|order| order.is_ne());
            first.unwrap_or_else(|| a.1.total_cmp(&b.1))
        });
        let rows: Vec<Vec<f64>> = pairs.iter().map(|(row, _)| (*row).clone()).collect();
        let rows = rows.as_slice();
        let mut rest: Vec<f64> = pairs.into_iter().map(|(_, y)| y).collect();
        // Each column sorted once; a node takes its rows out of it.
        let width = rows.first().map_or(0, Vec::len);
        let sorted: Vec<Vec<usize>> = (0..width)
            .map(|j| {
                let mut order: Vec<usize> = (0..rows.len()).collect();
                order.sort_by(|a, b| rows[*a][j].total_cmp(&rows[*b][j]));
                order
            })
            .collect();
        let mut out = Self::default();
        for _ in 0..TREES {
            let tree = grow(rows, &rest, &sorted, &vec![true; rows.len()], DEPTH);
            for (row, rest) in rows.iter().zip(&mut rest) {
                *rest -= RATE * tree.of(row);
            }
            out.trees.push(tree);
        }
        out
    }

    pub(super) fn of(&self, row: &[f64]) -> f64 {
        self.trees.iter().map(|tree| RATE * tree.of(row)).sum()
    }
}

/// The best split of the rows that are `inside`.
struct Split {
    feature: usize,
    threshold: f64,
    gain: f64,
}

fn grow(
    rows: &[Vec<f64>],
    y: &[f64],
    sorted: &[Vec<usize>],
    inside: &[bool],
    depth: usize,
) -> Node {
    let count = inside.iter().filter(|i| **i).count();
    let sum: f64 = (0..rows.len()).filter(|i| inside[*i]).map(|i| y[i]).sum();
    #[expect(clippy::cast_precision_loss, reason = "counts of builds are small")]
    let mean = if count == 0 { 0.0 } else { sum / count as f64 };
    if depth == 0 || count < 2 * LEAF_MIN {
        return Node::Leaf(mean);
    }
    let best = (0..sorted.len()).fold(None, |best: Option<Split>, feature| {
        let found = split(rows, y, (&sorted[feature], feature), inside, (count, sum));
        match (best, found) {
            (Some(best), Some(found)) if found.gain <= best.gain => Some(best),
            (best, found) => found.or(best),
        }
    });
    let Some(Split {
        feature, threshold, ..
    }) = best
    else {
        return Node::Leaf(mean);
    };
    let side = |right: bool| {
        let is_in = |i: usize| inside[i] && (rows[i][feature] > threshold) == right;
        let inside: Vec<bool> = (0..rows.len()).map(is_in).collect();
        grow(rows, y, sorted, &inside, depth - 1)
    };
    Node::Split {
        feature,
        threshold,
        sides: Box::new([side(false), side(true)]),
    }
}

/// The split of one feature that takes the most squared error away; `None`: none takes any.
#[expect(clippy::cast_precision_loss, reason = "counts of builds are small")]
fn split(
    rows: &[Vec<f64>],
    y: &[f64],
    (order, feature): (&[usize], usize),
    inside: &[bool],
    (count, sum): (usize, f64),
) -> Option<Split> {
    let whole = sum * sum / count as f64;
    let mut best: Option<Split> = None;
    let (mut left, mut left_sum) = (0usize, 0.0);
    let mut before: Option<f64> = None;
    for i in order.iter().copied().filter(|i| inside[*i]) {
        let value = rows[i][feature];
        let right = count - left;
        if let Some(low) = before
            && low < value
            && left >= LEAF_MIN
            && right >= LEAF_MIN
        {
            let right_sum = sum - left_sum;
            let parts = left_sum * left_sum / left as f64 + right_sum * right_sum / right as f64;
            let gain = parts - whole;
            if gain > 1e-9 * whole.abs().max(1e-9) && best.as_ref().is_none_or(|b| gain > b.gain) {
                let threshold = low + (value - low) / 2.0;
                best = Some(Split {
                    feature,
                    threshold,
                    gain,
                });
            }
        }
        left += 1;
        left_sum += y[i];
        before = Some(value);
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(trees: &Trees, rows: &[Vec<f64>], y: &[f64]) -> f64 {
        let errors = rows.iter().zip(y).map(|(r, y)| (trees.of(r) - y).powi(2));
        errors.sum()
    }

    #[test]
    fn steps_and_meetings_of_two_features_are_learned() {
        let rows: Vec<Vec<f64>> = (0..64)
            .map(|i| vec![f64::from(i % 8), f64::from(i / 8), f64::from(i % 3)])
            .collect();
        let y: Vec<f64> = rows
            .iter()
            .map(|r| if r[0] > 3.0 && r[1] > 5.0 { 100.0 } else { 0.0 })
            .collect();
        let trees = Trees::fit(&rows, &y);
        assert!(trees.of(&[7.0, 7.0, 0.0]) > 90.0);
        assert!(trees.of(&[7.0, 2.0, 0.0]).abs() < 5.0);
    }

    #[test]
    fn what_two_rows_have_decides_nothing() {
        let mut rows = vec![vec![0.0]; 20];
        rows[3] = vec![1.0];
        rows[4] = vec![1.0];
        let mut y = vec![1.0; 20];
        (y[3], y[4]) = (100.0, 100.0);
        let trees = Trees::fit(&rows, &y);
        assert_eq!(trees.of(&[0.0]), trees.of(&[1.0]));
    }

    #[test]
    fn no_rows_give_nothing() {
        assert_eq!(Trees::fit(&[], &[]).of(&[1.0, 2.0]), 0.0);
    }

    proptest! {
        #[test]
        fn trees_never_fit_worse_than_the_mean_and_the_order_of_rows_is_nothing(
            rows in proptest::collection::vec(proptest::collection::vec(0.0f64..4.0, 3), 1..40),
            seed in proptest::collection::vec(-50.0f64..50.0, 40),
        ) {
            let y = &seed[..rows.len()];
            let trees = Trees::fit(&rows, y);
            let before: f64 = y.iter().map(|y| y * y).sum();
            prop_assert!(error(&trees, &rows, y) <= before + 1e-9);
            let turned: Vec<Vec<f64>> = rows.iter().rev().cloned().collect();
            let back: Vec<f64> = y.iter().rev().copied().collect();
            let again = Trees::fit(&turned, &back);
            prop_assert_eq!(trees, again);
        }
    }
}
