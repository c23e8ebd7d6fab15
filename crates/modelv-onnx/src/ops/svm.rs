//! Support vector machines.
//!
//! Sums are of 64 bits. What ONNX leaves open of votes and probabilities is done as its reference runtime does it.

use super::attributes::Attributes;
use super::linear::input;
use super::scores::{Labels, Transform, logistic};
use super::{Operator, not_so};
use crate::error::{Result, failed};
use crate::tensor::{Tensor, count};

#[derive(Debug, Clone, Copy)]
enum Kernel {
    Linear,
    Poly {
        gamma: f64,
        offset: f64,
        degree: f64,
    },
    Rbf {
        gamma: f64,
    },
    Sigmoid {
        gamma: f64,
        offset: f64,
    },
}

impl Kernel {
    fn read(of: &Attributes<'_>) -> Result<Self> {
        let parameters: Vec<f64> = of
            .floats("kernel_params")
            .iter()
            .map(|x| f64::from(*x))
            .collect();
        let (gamma, offset, degree) = match parameters[..] {
            [] => (0.0, 0.0, 0.0),
            [gamma, offset, degree] => (gamma, offset, degree),
            _ => return Err(of.wrong("has another number of `kernel_params` than three")),
        };
        match of.text("kernel_type", "LINEAR").as_str() {
            "LINEAR" => Ok(Self::Linear),
            "POLY" => Ok(Self::Poly {
                gamma,
                offset,
                degree,
            }),
            "RBF" => Ok(Self::Rbf { gamma }),
            "SIGMOID" => Ok(Self::Sigmoid { gamma, offset }),
            other => Err(not_so(of, &format!("`kernel_type` {other}"))),
        }
    }

    fn of(self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let product = || pairs().map(|(a, b)| a * b).sum::<f64>();
        match self {
            Self::Linear => product(),
            Self::Poly {
                gamma,
                offset,
                degree,
            } => (gamma * product() + offset).powf(degree),
            Self::Rbf { gamma } => {
                let squares = pairs().map(|(a, b)| (a - b) * (a - b));
                (-gamma * squares.sum::<f64>()).exp()
            }
            Self::Sigmoid { gamma, offset } => (gamma * product() + offset).tanh(),
        }
    }
}

/// Support vectors, one after the other.
struct Vectors {
    kernel: Kernel,
    columns: usize,
    values: Vec<f32>,
}

impl Vectors {
    fn read(of: &Attributes<'_>, vectors: usize) -> Result<Self> {
        let values = of.floats("support_vectors").to_vec();
        let columns = values.len().checked_div(vectors).unwrap_or(0);
        if columns == 0 || columns * vectors != values.len() {
            return Err(of.wrong("has support vectors of no length"));
        }
        let kernel = Kernel::read(of)?;
        Ok(Self {
            kernel,
            columns,
            values,
        })
    }

    /// How near each of them is to a row.
    fn near(&self, row: &[f32]) -> Vec<f64> {
        let each = self.values.chunks_exact(self.columns);
        each.map(|vector| self.kernel.of(row, vector)).collect()
    }

    /// The rows of a table that has their columns.
    fn rows(&self, input: &Tensor) -> Result<(usize, Vec<f32>)> {
        let (rows, columns) = input.table()?;
        if columns != self.columns {
            let text = format!("{columns} columns where {} are needed", self.columns);
            return Err(failed(text));
        }
        Ok((rows, input.to_floats()?))
    }
}

pub(super) struct Classifier {
    vectors: Vectors,
    labels: Labels,
    /// The part of the vectors that is of each class.
    parts: Vec<std::ops::Range<usize>>,
    /// For each class but one, what each vector says between its own class and that one.
    coefficients: Vec<f32>,
    rho: Vec<f32>,
    probabilities: Option<(Vec<f32>, Vec<f32>)>,
    transform: Transform,
}

impl Classifier {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        let labels = Labels::read(of, "classlabels_ints", "classlabels_strings")?;
        let classes = labels.len();
        let mut vectors = 0usize;
        let mut parts = Vec::with_capacity(classes);
        for n in of.ints("vectors_per_class") {
            let end = usize::try_from(*n)
                .ok()
                .and_then(|n| vectors.checked_add(n));
            let end = end.ok_or_else(|| of.wrong("has less than no support vector"))?;
            parts.push(vectors..end);
            vectors = end;
        }
        if vectors == 0 {
            return Err(not_so(of, "no support vectors"));
        }
        if classes < 2 || parts.len() != classes {
            return Err(of.wrong("has support vectors of other classes than it names"));
        }
        let pairs = classes.checked_mul(classes - 1).map(|n| n / 2);
        let rho = of.floats("rho").to_vec();
        let coefficients = of.floats("coefficients").to_vec();
        if Some(rho.len()) != pairs || Some(coefficients.len()) != vectors.checked_mul(classes - 1)
        {
            return Err(of.wrong("has too few coefficients or offsets, or too many"));
        }
        let (a, b) = (of.floats("prob_a").to_vec(), of.floats("prob_b").to_vec());
        let probabilities = match (a.len(), b.len()) {
            (0, 0) => None,
            (n, m) if n == m && n == rho.len() => Some((a, b)),
            _ => return Err(of.wrong("has parameters of probabilities for other classes")),
        };
        let transform = Transform::read(of)?;
        if transform != Transform::None && probabilities.is_none() && classes == 2 {
            return Err(not_so(of, "`post_transform` of one score"));
        }
        Ok(Self {
            vectors: Vectors::read(of, vectors)?,
            labels,
            parts,
            coefficients,
            rho,
            probabilities,
            transform,
        })
    }

    /// The score of each pair of classes, and the class that wins most of them.
    fn scores(&self, row: &[f32]) -> (Vec<f32>, usize) {
        let near = self.vectors.near(row);
        let classes = self.parts.len();
        let sum = |of: usize, class: usize| -> f64 {
            let part = self.parts[class].clone();
            let from = of * near.len();
            let coefficients = &self.coefficients[from + part.start..from + part.end];
            let pairs = coefficients.iter().zip(&near[part]);
            pairs.map(|(c, x)| f64::from(*c) * x).sum()
        };
        let mut votes = vec![0usize; classes];
        let mut scores = Vec::with_capacity(self.rho.len());
        for i in 0..classes {
            for j in i + 1..classes {
                let score = sum(j - 1, i) + sum(i, j) + f64::from(self.rho[scores.len()]);
                votes[if score > 0.0 { i } else { j }] += 1;
                scores.push(score as f32);
            }
        }
        let mut best = 0;
        for (class, n) in votes.iter().enumerate() {
            if *n > votes[best] {
                best = class;
            }
        }
        (scores, best)
    }

    /// How many numbers are given for a row.
    fn width(&self) -> usize {
        match (&self.probabilities, self.parts.len()) {
            (Some(_), classes) => classes,
            (None, 2) => 2,
            (None, _) => self.rho.len(),
        }
    }
}

impl Operator for Classifier {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (rows, values) = self.vectors.rows(input(inputs)?)?;
        let size = count(&[rows, self.width()]).ok_or_else(|| failed("too many scores"))?;
        let (mut best, mut out) = (Vec::with_capacity(rows), Vec::with_capacity(size));
        for row in values.chunks_exact(self.vectors.columns) {
            let (scores, class) = self.scores(row);
            best.push(class);
            let mut scores = match &self.probabilities {
                Some((a, b)) => together(self.parts.len(), &scores, a, b),
                None if self.parts.len() == 2 => vec![-scores[0], scores[0]],
                None => scores,
            };
            self.transform.apply(&mut scores);
            out.append(&mut scores);
        }
        let dims = vec![rows, self.width()];
        Ok(vec![self.labels.of(&best)?, Tensor::floats(dims, out)?])
    }
}

/// Probabilities of classes out of those between each two of them: the second method of Wu, Lin and Weng
/// (2004), which LIBSVM uses, with its limits.
fn together(classes: usize, scores: &[f32], a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut between = vec![0.0f32; classes * classes];
    let mut pair = 0;
    for i in 0..classes {
        for j in i + 1..classes {
            let share = 1.0 - logistic(scores[pair] * a[pair] + b[pair]);
            let share = share.clamp(1e-7, 1.0 - 1e-7);
            between[i * classes + j] = share;
            between[j * classes + i] = 1.0 - share;
            pair += 1;
        }
    }
    let mut q = vec![0.0f32; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|j| *j != i) {
            let other = between[j * classes + i];
            q[i * classes + i] += other * other;
            q[i * classes + j] = -other * between[i * classes + j];
        }
    }
    let mut shares = vec![1.0 / classes as f32; classes];
    let enough = 0.005 / classes as f32;
    for _ in 0..100 {
        let row = |i: usize| &q[i * classes..(i + 1) * classes];
        let products = |i: usize| row(i).iter().zip(&shares).map(|(q, p)| q * p).sum::<f32>();
        let mut qp: Vec<f32> = (0..classes).map(products).collect();
        let mut pqp: f32 = shares.iter().zip(&qp).map(|(p, q)| p * q).sum();
        if qp.iter().all(|x| (x - pqp).abs() < enough) {
            break;
        }
        for i in 0..classes {
            let own = q[i * classes + i];
            let step = (pqp - qp[i]) / own;
            shares[i] += step;
            pqp = (pqp + step * (step * own + 2.0 * qp[i])) / (1.0 + step) / (1.0 + step);
            for j in 0..classes {
                qp[j] = (qp[j] + step * q[i * classes + j]) / (1.0 + step);
                shares[j] /= 1.0 + step;
            }
        }
    }
    shares
}

pub(super) struct Regressor {
    vectors: Vectors,
    coefficients: Vec<f32>,
    rho: f32,
    /// Whether only the sign is asked for.
    one_class: bool,
}

impl Regressor {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        if Transform::read(of)? != Transform::None {
            return Err(not_so(of, "`post_transform`"));
        }
        let supports = usize::try_from(of.int("n_supports", 0)).unwrap_or(0);
        if supports == 0 {
            return Err(not_so(of, "no support vectors"));
        }
        let coefficients = of.floats("coefficients").to_vec();
        let (&[rho], true) = (of.floats("rho"), coefficients.len() == supports) else {
            return Err(of.wrong("has too few coefficients or offsets, or too many"));
        };
        Ok(Self {
            vectors: Vectors::read(of, supports)?,
            coefficients,
            rho,
            one_class: of.int("one_class", 0) != 0,
        })
    }
}

impl Operator for Regressor {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (rows, values) = self.vectors.rows(input(inputs)?)?;
        let score = |row: &[f32]| {
            let near = self.vectors.near(row).into_iter();
            let parts = near.zip(&self.coefficients).map(|(x, c)| x * f64::from(*c));
            let score = (parts.sum::<f64>() + f64::from(self.rho)) as f32;
            match self.one_class {
                true if score > 0.0 => 1.0,
                true => -1.0,
                false => score,
            }
        };
        let scores = values.chunks_exact(self.vectors.columns).map(score);
        Ok(vec![Tensor::floats(vec![rows, 1], scores.collect())?])
    }
}
