//! A law of costs: so much for each unit of work, never less than nothing. Non-negative least squares, as in
//! Lawson and Hanson, *Solving Least Squares Problems* (1974), chapter 23, solved by coordinate descent
//! (Franc, Hlaváč, Navara, *Sequential Coordinate-Wise Algorithm for the Non-negative Least Squares
//! Problem*, 2005), which for a handful of columns needs no factorisation.

/// Rounds after which the rest of an improvement is noise.
const ROUNDS_MAX: usize = 20_000;
/// Change of a scaled coefficient that ends the rounds.
const SETTLED: f64 = 1e-10;

/// What a unit of each kind of work costs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Law {
    pub(super) costs: Vec<f64>,
}

impl Law {
    /// The costs, none below zero, whose predictions of `y` for `rows` have the least squared errors.
    pub(super) fn fit(rows: &[Vec<f64>], y: &[f64]) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        let scale: Vec<f64> = (0..width)
            .map(|j| rows.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt())
            .collect();
        let scaled = |row: &[f64], j: usize| {
            if scale[j] > 0.0 {
                row[j] / scale[j]
            } else {
                0.0
            }
        };
        let mut gram = vec![vec![0.0; width]; width];
        let mut target = vec![0.0; width];
        for (row, y) in rows.iter().zip(y) {
            for j in 0..width {
                target[j] += scaled(row, j) * y;
                for (k, cell) in gram[j].iter_mut().enumerate() {
                    *cell += scaled(row, j) * scaled(row, k);
                }
            }
        }
        let mut x = vec![0.0f64; width];
        for _ in 0..ROUNDS_MAX {
            let mut moved = 0.0f64;
            for j in 0..width {
                if gram[j][j] <= 0.0 {
                    continue;
                }
                let slope: f64 =
                    gram[j].iter().zip(&x).map(|(g, x)| g * x).sum::<f64>() - target[j];
                let next = (x[j] - slope / gram[j][j]).max(0.0);
                moved = moved.max((next - x[j]).abs());
                x[j] = next;
            }
            if moved < SETTLED * x.iter().fold(1.0, |a: f64, b| a.max(*b)) {
                break;
            }
        }
        let unscaled = |(x, s): (f64, &f64)| if *s > 0.0 { x / s } else { 0.0 };
        Self {
            costs: x.into_iter().zip(&scale).map(unscaled).collect(),
        }
    }

    /// What work costs.
    pub(super) fn of(&self, row: &[f64]) -> f64 {
        self.costs.iter().zip(row).map(|(c, x)| c * x).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_exact_law_is_found() {
        let rows: Vec<Vec<f64>> = (0..20)
            .map(|i| vec![1.0, f64::from(i), f64::from(i * i % 7)])
            .collect();
        let y: Vec<f64> = rows.iter().map(|r| 5.0 + 2.0 * r[1] + 0.5 * r[2]).collect();
        let law = Law::fit(&rows, &y);
        for (found, want) in law.costs.iter().zip([5.0, 2.0, 0.5]) {
            assert!((found - want).abs() < 1e-6, "{:?}", law.costs);
        }
    }

    #[test]
    fn no_work_is_worth_less_than_nothing() {
        let rows = vec![vec![1.0, 0.0], vec![1.0, 1.0], vec![1.0, 2.0]];
        let law = Law::fit(&rows, &[10.0, 8.0, 6.0]);
        assert!(law.costs.iter().all(|c| *c >= 0.0), "{:?}", law.costs);
        assert!((law.costs[0] - 8.0).abs() < 1e-6);
    }

    #[test]
    fn work_that_nobody_had_costs_nothing_and_no_rows_give_no_law() {
        let law = Law::fit(&[vec![2.0, 0.0]], &[4.0]);
        assert_eq!((law.of(&[1.0, 9.0]) * 1e6).round(), 2e6);
        assert_eq!(Law::fit(&[], &[]).of(&[1.0]), 0.0);
    }

    proptest! {
        /// Karush, Kuhn and Tucker: where a cost is above zero the slope is zero, elsewhere it is not downwards.
        #[test]
        fn what_is_found_is_the_least(
            rows in proptest::collection::vec(proptest::collection::vec(0.0f64..10.0, 3), 4..20),
            seed in proptest::collection::vec(-5.0f64..20.0, 20),
        ) {
            let y = &seed[..rows.len()];
            let law = Law::fit(&rows, y);
            for j in 0..3 {
                let slope: f64 = rows.iter().zip(y).map(|(r, y)| r[j] * (law.of(r) - y)).sum();
                let size: f64 = rows.iter().zip(y).map(|(r, y)| (r[j] * y).abs()).sum::<f64>() + 1.0;
                prop_assert!(slope > -1e-4 * size);
                prop_assert!(law.costs[j] < 1e-7 || slope < 1e-4 * size);
            }
        }
    }
}
