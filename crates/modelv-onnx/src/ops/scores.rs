//! Labels of classes, and what becomes of scores before they are given out.

use super::attributes::Attributes;
use super::not_so;
use crate::error::Result;
use crate::tensor::{Data, Tensor};

/// What is done to the scores of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Transform {
    None,
    Softmax,
    SoftmaxZero,
    Logistic,
}

impl Transform {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        match of.text("post_transform", "NONE").as_str() {
            "NONE" => Ok(Self::None),
            "SOFTMAX" => Ok(Self::Softmax),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            "LOGISTIC" => Ok(Self::Logistic),
            other => Err(not_so(of, &format!("`post_transform` {other}"))),
        }
    }

    /// By the number that newer operators have for it. Of 1 and 2 the reference runtime means the other
    /// one than ONNX does.
    pub(super) fn numbered(of: &Attributes<'_>) -> Result<Self> {
        match of.int("post_transform", 0) {
            0 => Ok(Self::None),
            3 => Ok(Self::SoftmaxZero),
            other => Err(not_so(of, &format!("`post_transform` {other}"))),
        }
    }

    pub(super) fn apply(self, row: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Logistic => row.iter_mut().for_each(|s| *s = logistic(*s)),
            Self::Softmax => softmax(row, |_| true),
            Self::SoftmaxZero => softmax(row, |s| s.abs() > 1e-7),
        }
    }
}

fn softmax(row: &mut [f32], counts: fn(f32) -> bool) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = match counts(*score) {
            true => (*score - most).exp(),
            false => *score * (-most).exp(),
        };
        sum += *score;
    }
    row.iter_mut().for_each(|s| *s /= sum);
}

/// So written that nothing overflows.
pub(super) fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - v } else { v }
}

/// What classes are called.
pub(super) enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    pub(super) fn read(of: &Attributes<'_>, ints: &str, texts: &str) -> Result<Self> {
        let (numbers, names) = (of.ints(ints), of.texts(texts));
        match (numbers.is_empty(), names.is_empty()) {
            (false, true) => Ok(Self::Ints(numbers.to_vec())),
            (true, false) => Ok(Self::Texts(names)),
            _ => Err(of.wrong("has no list of classes, or two")),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(all) => all.len(),
            Self::Texts(all) => all.len(),
        }
    }

    /// The label of each row.
    pub(super) fn of(&self, best: &[usize]) -> Result<Tensor> {
        let data = match self {
            Self::Ints(all) => Data::Int64(best.iter().map(|i| all[*i]).collect()),
            Self::Texts(all) => Data::Text(best.iter().map(|i| all[*i].clone()).collect()),
        };
        Tensor::new(vec![best.len()], data)
    }
}

/// Where the largest is; the first of several.
pub(super) fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, score) in row.iter().enumerate() {
        if *score > row[best] {
            best = at;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_probabilities() {
        let after = |transform: Transform, row: &[f32]| {
            let mut row = row.to_vec();
            transform.apply(&mut row);
            row
        };
        assert_eq!(after(Transform::None, &[1.0, -2.0]), [1.0, -2.0]);
        assert_eq!(after(Transform::Softmax, &[3.0, 3.0]), [0.5, 0.5]);
        assert_eq!(after(Transform::Softmax, &[1e30, 0.0]), [1.0, 0.0]);
        assert_eq!(
            after(Transform::SoftmaxZero, &[0.0, 2.0, 2.0]),
            [0.0, 0.5, 0.5]
        );
        assert_eq!(
            after(Transform::Logistic, &[0.0, -1e30, 1e30]),
            [0.5, 0.0, 1.0]
        );
        assert_eq!(largest(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(largest(&[f32::NAN]), 0);
    }
}
