//! How far rows are from each other, for nearest neighbours.
//!
//! The converter of scikit-learn's models writes it as `CDist`, or as a `Scan` over the rows of the training:
//! one round for each. Such a loop is known by its body, and done at once.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::{Operator, not_so};
use crate::error::{Result, failed};
use crate::proto::{GraphProto, NodeProto};
use crate::tensor::{Tensor, count};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    Euclidean,
    Squares,
    Manhattan,
    /// The sum of powers.
    Powers(f64),
}

impl Metric {
    fn of(self, a: &[f32], b: &[f32]) -> f32 {
        let apart = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let sum: f64 = match self {
            Self::Euclidean => apart.map(|x| x * x).sum::<f64>().sqrt(),
            Self::Squares => apart.map(|x| x * x).sum(),
            Self::Manhattan => apart.map(f64::abs).sum(),
            Self::Powers(p) => apart.map(|x| x.abs().powf(p)).sum(),
        };
        sum as f32
    }

    /// Of each row of one table to each of another.
    fn table(self, from: &Tensor, to: &Tensor) -> Result<Tensor> {
        let ((rows, columns), (others, width)) = (from.table()?, to.table()?);
        if columns != width {
            let text = format!("{columns} columns where {width} are needed");
            return Err(failed(text));
        }
        let size = count(&[rows, others]).ok_or_else(|| failed("too many distances"))?;
        let (a, b) = (from.to_floats()?, to.to_floats()?);
        let mut out = Vec::with_capacity(size);
        for row in 0..rows {
            let row = &a[row * columns..(row + 1) * columns];
            let each = (0..others).map(|other| &b[other * columns..(other + 1) * columns]);
            out.extend(each.map(|other| self.of(row, other)));
        }
        Tensor::floats(vec![rows, others], out)
    }
}

fn two<'a>(inputs: &[&'a Tensor]) -> Result<(&'a Tensor, &'a Tensor)> {
    match inputs {
        [a, b] => Ok((a, b)),
        _ => Err(failed("a second table is missing")),
    }
}

/// From each row of the first table to each of the second.
pub(super) struct CDist(Metric);

impl CDist {
    pub(super) fn read(of: &Attributes<'_>) -> Result<Self> {
        match of.text("metric", "sqeuclidean").as_str() {
            "euclidean" => Ok(Self(Metric::Euclidean)),
            "sqeuclidean" => Ok(Self(Metric::Squares)),
            other => Err(not_so(of, &format!("`metric` {other}"))),
        }
    }
}

impl Operator for CDist {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (a, b) = two(inputs)?;
        Ok(vec![self.0.table(a, b)?])
    }
}

/// The first table as it is, and from each row of the second to each of the first.
pub(super) struct Rounds(Metric);

impl Rounds {
    /// `None`: a loop over something else.
    pub(super) fn read(node: &NodeProto) -> Option<Self> {
        let of = Attributes::of(node);
        let others = [
            "directions",
            "scan_input_axes",
            "scan_input_directions",
            "scan_output_axes",
            "scan_output_directions",
        ];
        if of.int("num_scan_inputs", 0) != 1 || of.without(&others).is_err() {
            return None;
        }
        let mut graphs = node.graphs();
        let body = graphs.next().filter(|_| node.input.len() == 2)?;
        Body::of(body)?.metric().map(Self)
    }
}

impl Operator for Rounds {
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (state, rows) = two(inputs)?;
        Ok(vec![state.clone(), self.0.table(rows, state)?])
    }
}

/// What a round does.
struct Body<'a> {
    graph: &'a GraphProto,
    makers: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> Body<'a> {
    /// `None`: it makes one value twice, and who knows which is meant.
    fn of(graph: &'a GraphProto) -> Option<Self> {
        let mut makers = HashMap::new();
        for node in &graph.node {
            let [name] = &node.output[..] else {
                return None;
            };
            if !node.is_standard() || makers.insert(name.as_str(), node).is_some() {
                return None;
            }
        }
        Some(Self { graph, makers })
    }

    /// The value behind those that only hand it on.
    fn origin(&self, mut name: &'a str) -> &'a str {
        for _ in 0..self.graph.node.len() {
            match self.makers.get(name) {
                Some(node) if node.operator() == "Identity" => {
                    name = node.input.first().map_or("", String::as_str);
                }
                _ => break,
            }
        }
        name
    }

    /// Who makes a value, and out of what, if it is that operator.
    fn maker(&self, name: &'a str, operator: &str) -> Option<(&'a NodeProto, &'a str)> {
        let node = *self.makers.get(self.origin(name))?;
        let first = node.input.first().filter(|_| node.operator() == operator)?;
        Some((node, first))
    }

    fn constant(&self, name: &str) -> Option<Tensor> {
        let mut all = self.graph.initializer.iter();
        let tensor = all.find(|t| t.name.as_deref() == Some(name))?;
        Tensor::of(tensor).ok()
    }

    fn metric(&self) -> Option<Metric> {
        let names = |all: &'a [crate::proto::ValueInfo]| {
            let names = all.iter().map(|i| i.name.as_deref().unwrap_or_default());
            names.collect::<Vec<&str>>()
        };
        let (inputs, outputs) = (names(&self.graph.input), names(&self.graph.output));
        let (&[state, row], &[kept, told]) = (&inputs[..], &outputs[..]) else {
            return None;
        };
        if self.origin(kept) != state {
            return None;
        }
        let (metric, apart) = self.summed(told)?;
        let (node, from) = self.maker(apart, "Sub")?;
        let to = node.input.get(1)?;
        (self.origin(from) == state && self.origin(to) == row).then_some(metric)
    }

    /// What is done to differences, and these.
    fn summed(&self, told: &'a str) -> Option<(Metric, &'a str)> {
        let found = |operator: &str| {
            let (node, inner) = self.maker(told, operator)?;
            self.is_of_columns(node).then_some(inner)
        };
        if let Some(apart) = found("ReduceSumSquare") {
            return Some((Metric::Squares, apart));
        }
        let inner = found("ReduceSum")?;
        if let Some((_, apart)) = self.maker(inner, "Abs") {
            return Some((Metric::Manhattan, apart));
        }
        let (node, inner) = self.maker(inner, "Pow")?;
        let (_, apart) = self.maker(inner, "Abs")?;
        let power = self.constant(node.input.get(1)?)?.to_floats().ok()?;
        match power[..] {
            [power] => Some((Metric::Powers(f64::from(power)), apart)),
            _ => None,
        }
    }

    /// Whether columns are summed up, and go.
    fn is_of_columns(&self, node: &NodeProto) -> bool {
        let of = Attributes::of(node);
        let axes = match node.input.get(1) {
            Some(name) => self.constant(name).and_then(|t| t.to_ints().ok()),
            None => Some(of.ints("axes").to_vec()),
        };
        let is_last = matches!(axes.as_deref(), Some([1 | -1]));
        is_last && of.int("keepdims", 1) == 0
    }
}
