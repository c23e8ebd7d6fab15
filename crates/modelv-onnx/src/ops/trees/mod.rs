//! Ensembles of trees: forests and boosted trees.
//!
//! What ONNX leaves open of two classes with one score is done as its reference runtime does it.

mod ensemble;
mod forest;

use super::attributes::Attributes;
use super::linear::input;
use super::scores::{Labels, Transform, largest, logistic};
use super::{Operator, not_so};
use crate::error::{Result, failed};
use crate::tensor::{Tensor, count};
use forest::Forest;

/// What the trees say to each row of a table.
fn of_rows(
    forest: &Forest,
    input: &Tensor,
    targets: usize,
    mut row: impl FnMut(&[f32]),
) -> Result<usize> {
    let (rows, columns) = input.table()?;
    forest.fits(columns)?;
    count(&[rows, targets]).ok_or_else(|| failed("too many scores"))?;
    let values = input.to_floats()?;
    values.chunks_exact(columns.max(1)).for_each(&mut row);
    Ok(rows)
}

/// Two classes that one list of weights tells apart.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pair {
    /// All weights are shares.
    Shares,
    /// Weights of both signs.
    Signed,
}

pub(super) struct Classifier {
    forest: Forest,
    labels: Labels,
    transform: Transform,
    base: Vec<f32>,
    /// Set if all weights are of one of two classes.
    pair: Option<Pair>,
}

impl Classifier {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let labels = Labels::read(of, "classlabels_int64s", "classlabels_strings")?;
        let base = of.numbers("base_values")?.into_owned();
        let classes = labels.len();
        if classes < 2 {
            return Err(not_so(of, "one class"));
        }
        if ![0, classes].contains(&base.len()) && (classes, base.len()) != (2, 1) {
            return Err(of.wrong("has base values for other classes"));
        }
        let ids = of.ints("class_ids");
        let is_pair = classes == 2 && ids.iter().all(|id| *id == ids[0]);
        let is_signed = of.numbers("class_weights")?.iter().any(|w| *w < 0.0);
        let pair = is_pair.then_some(if is_signed {
            Pair::Signed
        } else {
            Pair::Shares
        });
        if pair.is_some() && (ids.first() == Some(&1) || base.len() == 2) {
            return Err(not_so(
                of,
                "two classes of which only the second has weights",
            ));
        }
        Ok(Self {
            forest: Forest::read(of, "class", classes)?,
            labels,
            transform: Transform::read(of)?,
            base,
            pair,
        })
    }

    /// The class of a row, and its scores in place of the sums.
    fn finish(&self, scores: &mut [f32]) -> usize {
        let Some(pair) = self.pair else {
            let best = largest(scores);
            self.transform.apply(scores);
            return best;
        };
        let score = scores[0];
        let (first, second) = match (pair, self.transform) {
            (Pair::Shares, _) => (1.0 - score, score),
            (Pair::Signed, Transform::Logistic) => (logistic(-score), logistic(score)),
            (Pair::Signed, _) => (-score, score),
        };
        (scores[0], scores[1]) = (first, second);
        usize::from(match pair {
            Pair::Shares => score > 0.5,
            Pair::Signed => score > 0.0,
        })
    }
}

impl Operator for Classifier {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let classes = self.labels.len();
        let (mut best, mut out) = (Vec::new(), Vec::new());
        let rows = of_rows(&self.forest, input(inputs)?, classes, |row| {
            let from = out.len();
            out.resize(from + classes, 0.0);
            let scores = &mut out[from..];
            for weight in self.forest.weights(row) {
                scores[weight.target as usize] += weight.value;
            }
            for (score, base) in scores.iter_mut().zip(&self.base) {
                *score += base;
            }
            best.push(self.finish(scores));
        })?;
        Ok(vec![
            self.labels.of(&best)?,
            Tensor::floats(vec![rows, classes], out)?,
        ])
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

pub(super) struct Regressor {
    forest: Forest,
    targets: usize,
    aggregate: Aggregate,
    base: Vec<f32>,
    transform: Transform,
}

impl Regressor {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let targets = usize::try_from(of.int("n_targets", 1)).unwrap_or(0);
        let base = of.numbers("base_values")?.into_owned();
        if targets == 0 || ![0, targets].contains(&base.len()) {
            return Err(of.wrong("has base values for other targets"));
        }
        if Transform::read(of)? != Transform::None {
            return Err(not_so(of, "`post_transform`"));
        }
        let aggregate = match of.text("aggregate_function", "SUM").as_str() {
            "SUM" => Aggregate::Sum,
            "AVERAGE" => Aggregate::Average,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            other => return Err(not_so(of, &format!("`aggregate_function` {other}"))),
        };
        Ok(Self {
            forest: Forest::read(of, "target", targets)?,
            targets,
            aggregate,
            base,
            transform: Transform::None,
        })
    }
}

impl Regressor {
    /// An operator that takes the place of both, since version 5 of `ai.onnx.ml`.
    pub(super) fn read_ensemble(of: &Attributes<'_>) -> Result<Self> {
        ensemble::read(of)
    }
}

impl Operator for Regressor {
    #[expect(clippy::cast_precision_loss, reason = "a number of trees")]
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let trees = self.forest.trees() as f32;
        let mut out = Vec::new();
        let rows = of_rows(&self.forest, input(inputs)?, self.targets, |row| {
            let from = out.len();
            let mut scores: Vec<Option<f32>> = vec![None; self.targets];
            for weight in self.forest.weights(row) {
                let score = &mut scores[weight.target as usize];
                *score = Some(match (*score, self.aggregate) {
                    (None, _) => weight.value,
                    (Some(s), Aggregate::Sum | Aggregate::Average) => s + weight.value,
                    (Some(s), Aggregate::Min) => s.min(weight.value),
                    (Some(s), Aggregate::Max) => s.max(weight.value),
                });
            }
            for (at, score) in scores.into_iter().enumerate() {
                let mut score = score.unwrap_or(0.0);
                if self.aggregate == Aggregate::Average {
                    score /= trees;
                }
                out.push(score + self.base.get(at).copied().unwrap_or(0.0));
            }
            self.transform.apply(&mut out[from..]);
        })?;
        Ok(vec![Tensor::floats(vec![rows, self.targets], out)?])
    }
}
