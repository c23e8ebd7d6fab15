//! What is checked of a graph before anybody works on it: that it is no larger than it may be, and asks for
//! nothing that would be computed otherwise than it says.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::plan::named;
use crate::proto::{Attribute, GraphProto, NodeProto, TensorProto, element};
use crate::tensor::Tensor;

/// Most nodes of a model. rten plans by going from node to node, on the stack.
const NODES_MAX: usize = 20_000;
/// Most nodes of all graphs inside of nodes: these are planned on threads with small stacks.
const INNER_NODES_MAX: usize = 1_000;

/// Checks a graph and all inside it.
pub(crate) fn check(graph: &GraphProto) -> Result<()> {
    Found::default().look(graph, false)
}

#[derive(Default)]
struct Found {
    nodes: usize,
    inner: usize,
}

impl Found {
    fn look(&mut self, graph: &GraphProto, is_inner: bool) -> Result<()> {
        self.nodes += graph.node.len();
        if is_inner {
            self.inner += graph.node.len();
        }
        if self.nodes > NODES_MAX || self.inner > INNER_NODES_MAX {
            let text = format!(
                "it has more than {NODES_MAX} nodes, or {INNER_NODES_MAX} inside of others"
            );
            return Err(Error::Unsupported(text));
        }
        if !graph.sparse_initializer.is_empty() {
            let text = "it has sparse tensors, which the server does not run";
            return Err(Error::Unsupported(text.into()));
        }
        for tensor in &graph.initializer {
            check_tensor(tensor)?;
        }
        for node in &graph.node {
            check_node(node)?;
            check_sizes(node, graph)?;
            for attribute in &node.attribute {
                for tensor in attribute.t.iter().chain(&attribute.tensors) {
                    check_tensor(tensor)?;
                }
            }
            for inner in node.graphs() {
                self.look(inner, true)?;
            }
        }
        Ok(())
    }
}

fn check_tensor(tensor: &TensorProto) -> Result<()> {
    let name = tensor.name.as_deref().unwrap_or_default();
    match tensor.data_type {
        Some(element::INT64) => {}
        Some(element::BFLOAT16) => {
            return Err(Error::Unsupported(format!(
                "the tensor `{name}` is of 16-bit brain floats (bfloat16), which the server does not run"
            )));
        }
        _ => return Ok(()),
    }
    check_whole(name, whole_numbers(tensor))
}

/// That all numbers of a tensor are computed as what they are.
pub(crate) fn check_whole(name: &str, mut numbers: impl Iterator<Item = i64>) -> Result<()> {
    match numbers.find(|n| !is_narrow(*n)) {
        None => Ok(()),
        Some(odd) => Err(Error::Unsupported(format!(
            "the tensor `{name}` has the number {odd}; the server computes whole numbers of 32 bits"
        ))),
    }
}

/// Says what ONNX lets a convolution leave out, and rten does not: that it goes on by one. Whether anything
/// was left out.
pub(crate) fn complete(graph: &mut GraphProto) -> bool {
    let ranks: HashMap<String, usize> = graph
        .initializer
        .iter()
        .filter_map(|t| Some((t.name.clone()?, t.dims.len())))
        .collect();
    let mut is_changed = false;
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            let inner = attribute.g.iter_mut().chain(&mut attribute.graphs);
            is_changed |= inner.map(complete).fold(false, |a, b| a | b);
        }
        let slides = [
            "Conv",
            "ConvTranspose",
            "ConvInteger",
            "MaxPool",
            "AveragePool",
        ];
        if !node.is_standard() || !slides.contains(&node.operator()) {
            continue;
        }
        let kernel = node
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some("kernel_shape"));
        let rank = kernel.map(|a| a.ints.len()).or_else(|| {
            let weights = node.input.get(1)?;
            ranks.get(weights)?.checked_sub(2)
        });
        for name in ["strides", "dilations"] {
            let is_there = node
                .attribute
                .iter()
                .any(|a| a.name.as_deref() == Some(name));
            let takes = name == "strides" || node.operator().starts_with("Conv");
            let Some(rank) = rank.filter(|_| !is_there && takes) else {
                continue;
            };
            is_changed = true;
            node.attribute.push(Attribute {
                name: Some(name.to_owned()),
                ints: vec![1; rank],
                kind: Some(INTS),
                ..Attribute::default()
            });
        }
    }
    is_changed
}

/// The type of an attribute that is a list of whole numbers.
const INTS: i32 = 7;

/// Whether a whole number is computed as what it is. The largest and smallest of 64 bits mean "to the end".
fn is_narrow(n: i64) -> bool {
    i32::try_from(n).is_ok() || n == i64::MAX || n <= i64::MIN + 1
}

fn whole_numbers(tensor: &TensorProto) -> impl Iterator<Item = i64> {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    let raw = raw
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b));
    raw.chain(tensor.int64_data.iter().copied())
}

/// That corners stay corners where a size is a whole number alone: rten knows no part of one.
fn check_sizes(node: &NodeProto, graph: &GraphProto) -> Result<()> {
    let corners = |a: &Attribute| {
        let is_mode = a.name.as_deref() == Some("coordinate_transformation_mode");
        is_mode && a.s.as_deref() == Some(b"align_corners")
    };
    let scales = node.input.get(2).filter(|name| !name.is_empty());
    let Some(scales) = scales.filter(|_| node.operator() == "Resize" && node.is_standard()) else {
        return Ok(());
    };
    if !node.attribute.iter().any(corners) {
        return Ok(());
    }
    let mut tensors = graph.initializer.iter();
    let found = tensors.find(|t| t.name.as_ref() == Some(scales));
    let mut makers = graph.node.iter().filter(|n| n.output.contains(scales));
    let made = makers
        .next()
        .and_then(|n| n.attribute.iter().find_map(|a| a.t.as_ref()));
    // One for each dimension, of which there are few.
    let known = found.or(made).filter(|t| matches!(t.dims[..], [0..16]));
    let known = known.and_then(|t| Tensor::of(t).ok());
    let known = known.and_then(|t| t.to_floats().ok());
    if known.is_some_and(|all| all.iter().all(|x| x.fract() == 0.0)) {
        return Ok(());
    }
    let (operator, at) = named(node);
    Err(Error::Operator {
        operator,
        at: format!(
            "{at} with `coordinate_transformation_mode` align_corners and a scale of parts"
        ),
    })
}

fn check_node(node: &NodeProto) -> Result<()> {
    let refuse = |what: &str| {
        let (operator, at) = named(node);
        Err(Error::Operator {
            operator,
            at: format!("{at} {what}"),
        })
    };
    let int = |name: &str| {
        let mut all = node.attribute.iter();
        all.find(|a| a.name.as_deref() == Some(name))
            .and_then(|a| a.i)
    };
    let text = |name: &str| {
        let mut all = node.attribute.iter();
        let found = all.find(|a| a.name.as_deref() == Some(name));
        found.and_then(|a| a.s.as_deref()).unwrap_or_default()
    };
    if node.is_standard() {
        // What rten computes otherwise.
        match node.operator() {
            "NonMaxSuppression" => return refuse("(of several batches or classes)"),
            "Resize" if text("mode") == b"cubic" => return refuse("with `mode` cubic"),
            _ if text("auto_pad") == b"SAME_LOWER" => return refuse("with `auto_pad` SAME_LOWER"),
            _ => {}
        }
    }
    let double = Some(i64::from(element::DOUBLE));
    if node.is_standard() && node.operator() == "Cast" && int("to") == double {
        return refuse("to doubles, which the server computes as singles");
    }
    let brain = Some(i64::from(element::BFLOAT16));
    if node.is_standard() && node.operator() == "Cast" && int("to") == brain {
        return refuse("to 16-bit brain floats (bfloat16)");
    }
    Ok(())
}
