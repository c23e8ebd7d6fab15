//! What rten computes otherwise than ONNX says, written in operators that it computes alike.
//!
//! Of several largest values it takes the last where ONNX takes the first, to it a number between zero and one
//! is no truth, zero has a sign, and many tables times a vector keep a column.

use std::collections::{HashMap, HashSet};

use crate::proto::{Attribute, GraphProto, NodeProto, TensorProto, element};

/// The type of an attribute that is a whole number.
const INT: i32 = 2;

/// Repairs a graph and all inside it. Whether anything was to be done.
pub(crate) fn repair(graph: &mut GraphProto) -> bool {
    let mut names = HashSet::new();
    collect(graph, &mut names);
    let mut prefix = "repaired".to_owned();
    while names.iter().any(|name| name.starts_with(&prefix)) {
        prefix.push('_');
    }
    let mut made = Made {
        prefix,
        names: 0,
        constants: Vec::new(),
    };
    made.graph(graph);
    made.names > 0
}

fn collect<'a>(graph: &'a GraphProto, names: &mut HashSet<&'a str>) {
    names.extend(graph.initializer.iter().filter_map(|t| t.name.as_deref()));
    names.extend(graph.input.iter().filter_map(|i| i.name.as_deref()));
    for node in &graph.node {
        names.extend(node.input.iter().chain(&node.output).map(String::as_str));
        node.graphs().for_each(|inner| collect(inner, names));
    }
}

/// Names that nobody else has, and constants of the graph that is repaired.
struct Made {
    prefix: String,
    names: usize,
    constants: Vec<TensorProto>,
}

fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    let mut all = node.attribute.iter();
    let found = all.find(|a| a.name.as_deref() == Some(name));
    found.and_then(|a| a.i).unwrap_or(default)
}

fn attribute(name: &str, value: i64) -> Attribute {
    Attribute {
        name: Some(name.to_owned()),
        i: Some(value),
        kind: Some(INT),
        ..Attribute::default()
    }
}

fn step(node: &NodeProto, operator: &str, input: Vec<String>, output: Vec<String>) -> NodeProto {
    NodeProto {
        input,
        output,
        name: node.name.clone(),
        op_type: Some(operator.to_owned()),
        attribute: Vec::new(),
        domain: None,
    }
}

/// A value as singles.
fn cast(node: &NodeProto, from: String, to: String) -> NodeProto {
    let mut cast = step(node, "Cast", vec![from], vec![to]);
    cast.attribute = vec![attribute("to", i64::from(element::FLOAT))];
    cast
}

impl Made {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}{}", self.prefix, self.names)
    }

    fn graph(&mut self, graph: &mut GraphProto) {
        let outside = std::mem::take(&mut self.constants);
        let vectors = graph.initializer.iter().filter(|t| t.dims.len() == 1);
        let named = vectors.filter_map(|t| Some((t.name.clone()?, t.clone())));
        let vectors: HashMap<String, TensorProto> = named.collect();
        let mut nodes = Vec::with_capacity(graph.node.len());
        for mut node in std::mem::take(&mut graph.node) {
            for attribute in &mut node.attribute {
                let inner = attribute.g.iter_mut().chain(&mut attribute.graphs);
                inner.for_each(|g| self.graph(g));
            }
            let (input, output) = (node.input.first().cloned(), node.output.first().cloned());
            let (Some(input), Some(output), true) = (input, output, node.is_standard()) else {
                nodes.push(node);
                continue;
            };
            let vector = node.input.get(1).and_then(|name| vectors.get(name));
            let to_truth = int(&node, "to", 0) == i64::from(element::BOOL);
            match node.operator() {
                "MatMul" => match vector {
                    Some(v) => nodes.extend(self.product(&node, input, v, output)),
                    None => nodes.push(node),
                },
                "ArgMax" | "ArgMin" if int(&node, "select_last_index", 0) == 0 => {
                    nodes.extend(self.first(&node, input, output));
                }
                "Cast" if to_truth => {
                    nodes.extend(self.truth(&node, input, output));
                }
                "Sign" => nodes.extend(self.sign(&node, input, output)),
                _ => nodes.push(node),
            }
        }
        graph.node = nodes;
        graph.initializer.append(&mut self.constants);
        self.constants = outside;
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = self.name();
        self.constants.push(TensorProto {
            name: Some(name.clone()),
            ..tensor
        });
        name
    }

    fn number(&mut self, n: i64) -> String {
        let one = TensorProto {
            dims: vec![1],
            data_type: Some(element::INT64),
            int64_data: vec![n],
            ..TensorProto::default()
        };
        self.constant(one)
    }

    /// The place of the first of the largest or smallest: of several, `TopK` takes the first.
    fn first(&mut self, node: &NodeProto, input: String, output: String) -> Vec<NodeProto> {
        let axis = int(node, "axis", 0);
        let keeps = int(node, "keepdims", 1) != 0;
        let places = if keeps { output.clone() } else { self.name() };
        let inputs = vec![input, self.number(1)];
        let mut top = step(node, "TopK", inputs, vec![self.name(), places.clone()]);
        let largest = i64::from(node.operator() == "ArgMax");
        top.attribute = vec![
            attribute("axis", axis),
            attribute("largest", largest),
            attribute("sorted", 1),
        ];
        if keeps {
            return vec![top];
        }
        let inputs = vec![places, self.number(axis)];
        vec![top, step(node, "Squeeze", inputs, vec![output])]
    }

    /// The product with a table of one column, which goes.
    fn product(
        &mut self,
        node: &NodeProto,
        input: String,
        vector: &TensorProto,
        output: String,
    ) -> Vec<NodeProto> {
        let mut column = vector.clone();
        column.dims.push(1);
        let inputs = vec![input, self.constant(column)];
        let column = self.name();
        let last = vec![column.clone(), self.number(-1)];
        vec![
            step(node, "MatMul", inputs, vec![column]),
            step(node, "Squeeze", last, vec![output]),
        ]
    }

    fn zero(&mut self) -> String {
        let zero = TensorProto {
            data_type: Some(element::FLOAT),
            float_data: vec![0.0],
            ..TensorProto::default()
        };
        self.constant(zero)
    }

    /// One where a number is above zero, and less one where it is below.
    fn sign(&mut self, node: &NodeProto, input: String, output: String) -> Vec<NodeProto> {
        let zero = self.zero();
        let (float, sign) = (self.name(), self.name());
        let mut nodes = vec![cast(node, input.clone(), float.clone())];
        let mut parts = Vec::new();
        for operator in ["Greater", "Less"] {
            let (truth, part) = (self.name(), self.name());
            let inputs = vec![float.clone(), zero.clone()];
            nodes.push(step(node, operator, inputs, vec![truth.clone()]));
            nodes.push(cast(node, truth, part.clone()));
            parts.push(part);
        }
        nodes.push(step(node, "Sub", parts, vec![sign.clone()]));
        nodes.push(step(node, "CastLike", vec![sign, input], vec![output]));
        nodes
    }

    /// Whether a number is not zero.
    fn truth(&mut self, node: &NodeProto, input: String, output: String) -> Vec<NodeProto> {
        let (float, is_zero) = (self.name(), self.name());
        let zero = self.zero();
        vec![
            cast(node, input, float.clone()),
            step(node, "Equal", vec![float, zero], vec![is_zero.clone()]),
            step(node, "Not", vec![is_zero], vec![output]),
        ]
    }
}
