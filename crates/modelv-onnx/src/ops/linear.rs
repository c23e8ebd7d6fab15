//! Linear models.

use super::attributes::Attributes;
use super::scores::{Labels, Transform, largest, logistic};
use super::{Operator, not_so};
use crate::error::{Result, failed};
use crate::tensor::{Tensor, count};

/// A score for each target: a row of coefficients, and what is added.
struct Scores {
    targets: usize,
    columns: usize,
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
}

impl Scores {
    fn read(of: &Attributes<'_>, targets: usize) -> Result<Self> {
        let coefficients = of.floats("coefficients").to_vec();
        let mut intercepts = of.floats("intercepts").to_vec();
        if intercepts.is_empty() {
            intercepts = vec![0.0; targets];
        }
        let columns = coefficients.len().checked_div(targets).unwrap_or(0);
        if columns == 0 || columns * targets != coefficients.len() || intercepts.len() != targets {
            return Err(of.wrong("has too few coefficients or intercepts, or too many"));
        }
        Ok(Self {
            targets,
            columns,
            coefficients,
            intercepts,
        })
    }

    /// The scores of all rows, one after the other.
    fn of(&self, input: &Tensor) -> Result<(usize, Vec<f32>)> {
        let (rows, columns) = input.table()?;
        if columns != self.columns {
            let text = format!("{columns} columns where {} are needed", self.columns);
            return Err(failed(text));
        }
        let values = input.to_floats()?;
        let size = count(&[rows, self.targets]).ok_or_else(|| failed("too many scores"))?;
        let mut out = Vec::with_capacity(size);
        for row in values.chunks_exact(columns) {
            let each = self.coefficients.chunks_exact(columns);
            for (coefficients, intercept) in each.zip(&self.intercepts) {
                let products = row.iter().zip(coefficients).map(|(x, c)| x * c);
                out.push(products.sum::<f32>() + intercept);
            }
        }
        Ok((rows, out))
    }
}

pub(super) struct Classifier {
    scores: Scores,
    labels: Labels,
    transform: Transform,
}

impl Classifier {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let labels = Labels::read(of, "classlabels_ints", "classlabels_strings")?;
        let intercepts = of.floats("intercepts").len();
        // One score may tell two classes apart.
        let targets = if intercepts == 0 {
            labels.len()
        } else {
            intercepts
        };
        if targets != labels.len() && (targets, labels.len()) != (1, 2) {
            return Err(of.wrong("has scores for other classes than it names"));
        }
        Ok(Self {
            scores: Scores::read(of, targets)?,
            labels,
            transform: Transform::read(of)?,
        })
    }
}

impl Operator for Classifier {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (rows, mut scores) = self.scores.of(input(inputs)?)?;
        let classes = self.labels.len();
        let best: Vec<usize> = if self.scores.targets < classes {
            scores.iter().map(|s| usize::from(*s > 0.0)).collect()
        } else {
            scores.chunks_exact(classes).map(largest).collect()
        };
        if self.scores.targets < classes {
            let pair = |s: &f32| match self.transform {
                Transform::Logistic => [logistic(-*s), logistic(*s)],
                _ => [1.0 - *s, *s],
            };
            scores = scores.iter().flat_map(pair).collect();
        } else {
            let each = scores.chunks_exact_mut(classes);
            each.for_each(|row| self.transform.apply(row));
        }
        Ok(vec![
            self.labels.of(&best)?,
            Tensor::floats(vec![rows, classes], scores)?,
        ])
    }
}

pub(super) struct Regressor(Scores);

impl Regressor {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let targets = usize::try_from(of.int("targets", 1)).unwrap_or(0);
        if Transform::read(of)? != Transform::None {
            return Err(not_so(of, "`post_transform`"));
        }
        Ok(Self(Scores::read(of, targets)?))
    }
}

impl Operator for Regressor {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (rows, scores) = self.0.of(input(inputs)?)?;
        Ok(vec![Tensor::floats(vec![rows, self.0.targets], scores)?])
    }
}

/// The first input.
pub(super) fn input<'a>(inputs: &[&'a Tensor]) -> Result<&'a Tensor> {
    inputs
        .first()
        .copied()
        .ok_or_else(|| failed("an operator without an input"))
}
