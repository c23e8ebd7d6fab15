//! A model that is cut: in turn what can be run here, and what goes to rten as a model of its own.

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::doubles::{self, Users};
use crate::error::{Error, Result, malformed};
use crate::external::Files;
use crate::network::Network;
use crate::ops;
use crate::plan::{Plan, Step, named};
use crate::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfo, element};
use crate::tensor::{Kind, Tensor};

/// A model on its way to steps.
pub(crate) struct Cut {
    model: ModelProto,
    graph: GraphProto,
    /// Constants by name.
    tensors: HashMap<String, TensorProto>,
    /// Values that nodes make.
    made: HashSet<String>,
}

impl Cut {
    pub(crate) fn of(mut model: ModelProto) -> Result<Self> {
        let mut graph = model.graph.take().unwrap_or_default();
        let mut tensors = HashMap::new();
        for tensor in std::mem::take(&mut graph.initializer) {
            tensors.insert(tensor.name.clone().unwrap_or_default(), tensor);
        }
        let mut nodes = Vec::new();
        for node in std::mem::take(&mut graph.node) {
            match (node.operator(), &node.output[..]) {
                ("Constant", [name]) if node.is_standard() => {
                    tensors.insert(name.clone(), constant(&node)?);
                }
                _ => nodes.push(node),
            }
        }
        let made = nodes
            .iter()
            .flat_map(|n| n.output.iter().cloned())
            .collect();
        graph.node = nodes;
        Ok(Self {
            model,
            graph,
            tensors,
            made,
        })
    }

    /// In turn all that can be run here with what is known, and all that rten can run.
    pub(crate) fn steps(&self, plan: &Plan, files: &Files) -> Result<Vec<Step>> {
        let mut known: HashSet<String> = plan.inputs.iter().map(|s| s.name.clone()).collect();
        known.extend(self.tensors.keys().cloned());
        let mut texts = self.texts(plan);
        let mut left: Vec<&NodeProto> = self.graph.node.iter().collect();
        let mut steps = Vec::new();
        while !left.is_empty() {
            let before = left.len();
            let mut rest = Vec::new();
            for node in left {
                let on_texts = node.input.iter().any(|name| texts.contains(name));
                let operator = match self.is_ready(node, &known) {
                    true => ops::read(node, on_texts)?,
                    false => None,
                };
                let Some(operator) = operator else {
                    rest.push(node);
                    continue;
                };
                note_texts(node, &mut texts);
                known.extend(node.output.iter().cloned());
                steps.push(Step::Operator {
                    operator,
                    inputs: node
                        .input
                        .iter()
                        .filter(|n| !n.is_empty())
                        .cloned()
                        .collect(),
                    outputs: node.output.clone(),
                    name: node.operator().to_owned(),
                });
            }
            let (mut part, mut later) = (Vec::new(), Vec::new());
            for node in rest {
                if ops::is_own(node) || !self.is_ready(node, &known) {
                    later.push(node);
                    continue;
                }
                if node.input.iter().any(|name| texts.contains(name)) {
                    let (operator, at) = named(node);
                    let at = format!("{at} on texts");
                    return Err(Error::Operator { operator, at });
                }
                known.extend(node.output.iter().cloned());
                part.push(node);
            }
            if !part.is_empty() {
                let wanted = self.wanted(&part, &later, plan);
                steps.push(Step::Network(self.network(&part, wanted, files)?.into()));
            }
            if later.len() == before {
                return Err(stuck(&later));
            }
            left = later;
        }
        Ok(steps)
    }

    /// Whether all that a node looks at is known. Graphs inside of it know values of their own.
    fn is_ready(&self, node: &NodeProto, known: &HashSet<String>) -> bool {
        let mut own = node.input.iter();
        let mut all = looked_at(node).into_iter();
        own.all(|name| name.is_empty() || known.contains(name))
            && all.all(|name| known.contains(name) || !self.made.contains(name))
    }

    fn texts(&self, plan: &Plan) -> HashSet<String> {
        let inputs = plan.inputs.iter().filter(|s| s.kind == Kind::Text);
        let tensors = self.tensors.iter();
        let tensors = tensors.filter(|(_, t)| t.data_type == Some(element::STRING));
        let inputs = inputs.map(|s| s.name.clone());
        inputs
            .chain(tensors.map(|(name, _)| name.clone()))
            .collect()
    }

    /// Outputs of a part that are looked at outside of it.
    fn wanted(&self, part: &[&NodeProto], later: &[&NodeProto], plan: &Plan) -> Vec<String> {
        let mut outside: HashSet<&str> = plan.outputs.iter().map(|s| s.name.as_str()).collect();
        outside.extend(later.iter().flat_map(|n| looked_at(n)));
        let made = part.iter().flat_map(|n| &n.output);
        let wanted = made.filter(|name| outside.contains(name.as_str()));
        wanted.cloned().collect()
    }

    fn network(&self, part: &[&NodeProto], outputs: Vec<String>, files: &Files) -> Result<Network> {
        let made: HashSet<&str> = part
            .iter()
            .flat_map(|n| &n.output)
            .map(String::as_str)
            .collect();
        let mut outer: Vec<&str> = part.iter().flat_map(|n| looked_at(n)).collect();
        outer.retain(|name| !name.is_empty() && !made.contains(name));
        outer.sort_unstable();
        outer.dedup();
        let mut graph = GraphProto {
            node: part.iter().map(|n| (*n).clone()).collect(),
            name: self.graph.name.clone(),
            output: outputs.iter().map(|name| nameless(name)).collect(),
            ..GraphProto::default()
        };
        let mut inputs = Vec::new();
        for name in outer {
            match self.tensors.get(name) {
                Some(tensor) => {
                    let name = Some(name.to_owned());
                    graph.initializer.push(TensorProto {
                        name,
                        ..tensor.clone()
                    });
                }
                // What only a graph inside of a node knows is none of its inputs.
                None if part.iter().any(|n| n.input.iter().any(|i| i == name))
                    || self.is_value(name) =>
                {
                    graph.input.push(nameless(name));
                    inputs.push(name.to_owned());
                }
                None => {}
            }
        }
        let model = ModelProto {
            graph: Some(graph.clone()),
            ..self.model.clone()
        };
        Network::load(
            model.encode_to_vec(),
            &graph,
            files.clone(),
            inputs,
            outputs,
        )
    }

    fn is_value(&self, name: &str) -> bool {
        let mut inputs = self.graph.input.iter();
        inputs.any(|i| i.name.as_deref() == Some(name)) || self.made.contains(name)
    }

    /// Constants that operators here look at.
    pub(crate) fn constants(&self, steps: &[Step]) -> Result<HashMap<String, Tensor>> {
        let mut out = HashMap::new();
        let users = Users::of(&self.graph);
        for step in steps {
            let Step::Operator { inputs, .. } = step else {
                continue;
            };
            for name in inputs {
                let Some(tensor) = self.tensors.get(name) else {
                    continue;
                };
                let tensor = match tensor.data_type == Some(element::DOUBLE) && users.cast(name) {
                    true => Tensor::of(&doubles::singles(tensor))?,
                    false => Tensor::of(tensor)?,
                };
                out.insert(name.clone(), tensor);
            }
        }
        Ok(out)
    }
}

fn nameless(name: &str) -> ValueInfo {
    ValueInfo {
        name: Some(name.to_owned()),
        kind: None,
    }
}

/// Names that a node and the graphs in it look at.
pub(crate) fn looked_at(node: &NodeProto) -> Vec<&str> {
    let own = node.input.iter().map(String::as_str);
    let inner = node.graphs().flat_map(|g| {
        let outputs = g.output.iter().filter_map(|o| o.name.as_deref());
        outputs.chain(g.node.iter().flat_map(looked_at))
    });
    own.chain(inner).collect()
}

/// Which outputs are of texts.
fn note_texts(node: &NodeProto, texts: &mut HashSet<String>) {
    let takes = node.input.first().is_some_and(|name| texts.contains(name));
    if ops::gives_texts(node, takes) {
        texts.extend(node.output.first().cloned());
    }
}

/// Why nothing more can be run.
fn stuck(left: &[&NodeProto]) -> Error {
    let unknown = left
        .iter()
        .find(|n| ops::is_own(n) && !matches!(ops::read(n, false), Ok(Some(_))));
    match unknown {
        Some(node) => {
            let (operator, at) = named(node);
            Error::Operator { operator, at }
        }
        None => malformed("a node looks at a value that nobody makes"),
    }
}

/// The tensor of a `Constant`.
fn constant(node: &NodeProto) -> Result<TensorProto> {
    let bad = || malformed("a constant has no value that is run here");
    let [attribute] = &node.attribute[..] else {
        return Err(bad());
    };
    let list = |kind: i32, len: usize| TensorProto {
        data_type: Some(kind),
        dims: vec![len as i64],
        ..TensorProto::default()
    };
    Ok(match attribute.name.as_deref().unwrap_or_default() {
        "value" => attribute.t.clone().ok_or_else(bad)?,
        "value_floats" => TensorProto {
            float_data: attribute.floats.clone(),
            ..list(element::FLOAT, attribute.floats.len())
        },
        "value_ints" => TensorProto {
            int64_data: attribute.ints.clone(),
            ..list(element::INT64, attribute.ints.len())
        },
        "value_float" => TensorProto {
            float_data: attribute.f.into_iter().collect(),
            dims: Vec::new(),
            ..list(element::FLOAT, 1)
        },
        "value_int" => TensorProto {
            int64_data: attribute.i.into_iter().collect(),
            dims: Vec::new(),
            ..list(element::INT64, 1)
        },
        _ => return Err(bad()),
    })
}
