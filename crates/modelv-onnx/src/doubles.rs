//! Constants of 64-bit floats, which are run as singles where that is what the model makes of them anyway.

use std::collections::{HashMap, HashSet};

use crate::cut::looked_at;
use crate::proto::{EXTERNAL, GraphProto, NodeProto, TensorProto, element};

/// Who looks at each value of a graph.
pub(crate) struct Users<'a> {
    nodes: HashMap<&'a str, Vec<&'a NodeProto>>,
    told: HashSet<&'a str>,
}

impl<'a> Users<'a> {
    pub(crate) fn of(graph: &'a GraphProto) -> Self {
        let mut nodes: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        for node in &graph.node {
            for name in looked_at(node) {
                nodes.entry(name).or_default().push(node);
            }
        }
        let told = graph.output.iter().filter_map(|o| o.name.as_deref());
        Self {
            nodes,
            told: told.collect(),
        }
    }

    /// Whether all that happens to a value is that it is moved, and cast to singles.
    pub(crate) fn cast(&self, name: &str) -> bool {
        let single = i64::from(element::FLOAT);
        let (mut ahead, mut seen) = (vec![name], HashSet::new());
        while let Some(name) = ahead.pop() {
            if !seen.insert(name.to_owned()) {
                continue;
            }
            if self.told.contains(name) {
                return false;
            }
            for node in self.nodes.get(name).into_iter().flatten() {
                match node.operator() {
                    "Cast" if node.attribute.iter().any(|a| a.i == Some(single)) => {}
                    "ArrayFeatureExtractor" | "Flatten" | "Gather" | "Identity" | "Reshape" => {
                        ahead.extend(node.output.iter().map(String::as_str));
                    }
                    _ => return false,
                }
            }
        }
        true
    }
}

/// A tensor of doubles as one of singles.
pub(crate) fn singles(tensor: &TensorProto) -> TensorProto {
    if tensor.data_location == Some(EXTERNAL) {
        return tensor.clone();
    }
    TensorProto {
        data_type: Some(element::FLOAT),
        float_data: values(tensor).map(|x| x as f32).collect(),
        raw_data: None,
        double_data: Vec::new(),
        ..tensor.clone()
    }
}

/// The elements of a tensor of doubles.
pub(crate) fn values(tensor: &TensorProto) -> impl Iterator<Item = f64> {
    let raw = tensor.raw_data.as_deref().unwrap_or_default().as_chunks();
    let raw = raw.0.iter().map(|b| f64::from_le_bytes(*b));
    raw.chain(tensor.double_data.iter().copied())
}
