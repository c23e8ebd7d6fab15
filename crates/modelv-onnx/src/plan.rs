//! A model as steps, one after the other: parts that rten runs, and operators that are here.

use std::collections::{HashMap, HashSet};

use prost::Message;
use prost::bytes::Bytes;

use crate::error::{Error, Result, malformed};
use crate::external::{self, Files};
use crate::graph;
use crate::network::Network;
use crate::ops::{self, Operator};
use crate::proto::{Attribute, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfo, element};
use crate::tensor::{Kind, Tensor};

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What the model calls it.
    pub name: String,
    /// What its elements are.
    pub kind: Kind,
    /// Its dimensions; `None`: any size.
    pub dims: Vec<Option<usize>>,
    /// The classes whose probabilities its columns are, where it was a list of maps.
    pub classes: Vec<String>,
}

pub(crate) enum Step {
    Network(Network),
    Operator {
        operator: Box<dyn Operator>,
        inputs: Vec<String>,
        outputs: Vec<String>,
        /// For messages.
        name: String,
    },
}

pub(crate) struct Plan {
    pub(crate) inputs: Vec<Slot>,
    pub(crate) outputs: Vec<Slot>,
    pub(crate) steps: Vec<Step>,
    /// Constants that operators here look at.
    pub(crate) constants: HashMap<String, Tensor>,
    /// How often each value is looked at by a step.
    pub(crate) uses: HashMap<String, usize>,
}

/// The operator of a node, and which node, for messages.
pub(crate) fn named(node: &NodeProto) -> (String, String) {
    let operator = match node.domain.as_deref() {
        None | Some("" | "ai.onnx") => node.operator().to_owned(),
        Some(domain) => format!("{domain}.{}", node.operator()),
    };
    let at = match node.name.as_deref() {
        None | Some("") => String::new(),
        Some(name) => format!(" (node `{name}`)"),
    };
    (operator, at)
}

impl Plan {
    pub(crate) fn read(
        bytes: Vec<u8>,
        other: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        let mut bytes = Bytes::from(bytes);
        let mut model = ModelProto::decode(bytes.clone()).map_err(|e| malformed(e.to_string()))?;
        let graph = model.graph.as_mut();
        let graph = graph.ok_or_else(|| malformed("it has no graph"))?;
        graph::check(graph)?;
        let files = external::take(graph, other)?;
        if graph::complete(graph) || !files.is_empty() {
            bytes = model.encode_to_vec().into();
        }
        let graph = model.graph.as_ref();
        let graph = graph.ok_or_else(|| malformed("it has no graph"))?;
        let is_own = graph.node.iter().any(NodeProto::is_classical);
        let (inputs, outputs) = (inputs(graph)?, outputs(graph)?);
        let mut plan = Self {
            inputs,
            outputs,
            steps: Vec::new(),
            constants: HashMap::new(),
            uses: HashMap::new(),
        };
        if is_own {
            let cut = Cut::of(model.clone())?;
            plan.steps = cut.steps(&plan, &files)?;
            plan.constants = cut.constants(&plan.steps)?;
        } else {
            refuse_texts(&plan)?;
            let names = |slots: &[Slot]| slots.iter().map(|s| s.name.clone()).collect();
            let (inputs, outputs) = (names(&plan.inputs), names(&plan.outputs));
            let network = Network::load(bytes.to_vec(), graph, files, inputs, outputs)?;
            plan.steps.push(Step::Network(network));
        }
        plan.count_uses();
        Ok(plan)
    }

    fn count_uses(&mut self) {
        for step in &self.steps {
            let inputs = match step {
                Step::Network(network) => &network.inputs,
                Step::Operator { inputs, .. } => inputs,
            };
            for name in inputs {
                *self.uses.entry(name.clone()).or_default() += 1;
            }
        }
        for slot in &self.outputs {
            *self.uses.entry(slot.name.clone()).or_default() += 1;
        }
    }
}

fn refuse_texts(plan: &Plan) -> Result<()> {
    let mut all = plan.inputs.iter().chain(&plan.outputs);
    match all.find(|slot| slot.kind == Kind::Text) {
        None => Ok(()),
        Some(slot) => Err(Error::Unsupported(format!(
            "`{}` is of texts, and no operator for them is one that the server runs",
            slot.name
        ))),
    }
}

fn inputs(graph: &GraphProto) -> Result<Vec<Slot>> {
    // Before version 4 of the format, constants were inputs too.
    let constants: HashSet<_> = graph.initializer.iter().map(|t| &t.name).collect();
    let inputs = graph.input.iter().filter(|i| !constants.contains(&i.name));
    let inputs: Vec<Slot> = inputs.map(|i| slot(i, None)).collect::<Result<_>>()?;
    distinct(&inputs)?;
    Ok(inputs)
}

fn outputs(graph: &GraphProto) -> Result<Vec<Slot>> {
    let maker = |info: &ValueInfo| {
        let name = info.name.as_ref();
        let mut nodes = graph.node.iter();
        nodes.find(|n| name.is_some_and(|name| n.output.contains(name)))
    };
    let outputs = graph.output.iter().map(|o| slot(o, maker(o)));
    let outputs: Vec<Slot> = outputs.collect::<Result<_>>()?;
    if outputs.is_empty() {
        return Err(malformed("it has no output"));
    }
    distinct(&outputs)?;
    Ok(outputs)
}

fn distinct(slots: &[Slot]) -> Result<()> {
    let names: HashSet<&str> = slots.iter().map(|s| s.name.as_str()).collect();
    if names.len() != slots.len() || names.contains("") {
        return Err(malformed(
            "two of its inputs or outputs have one name, or none",
        ));
    }
    Ok(())
}

fn slot(info: &ValueInfo, maker: Option<&NodeProto>) -> Result<Slot> {
    let name = info.name.clone().unwrap_or_default();
    let kind = info.kind.clone().unwrap_or_default();
    if let Some(node) = maker.filter(|n| n.is_classical() && n.operator() == "ZipMap") {
        let classes = ops::classes(node);
        return Ok(Slot {
            name,
            kind: Kind::Float,
            dims: vec![None, Some(classes.len())],
            classes,
        });
    }
    let refuse = |what: &str| {
        let text = format!("`{name}` is {what}, which the server does not run");
        Err(Error::Unsupported(text))
    };
    let Some(tensor) = kind.tensor else {
        return match (kind.sequence, kind.map, kind.optional) {
            (Some(_), _, _) => refuse("a sequence"),
            (_, Some(_), _) => refuse("a map"),
            (_, _, Some(_)) => refuse("an optional value"),
            _ => refuse("of no type"),
        };
    };
    let number = tensor.element.unwrap_or_default();
    let Some(kind) = Kind::of(number) else {
        return match number {
            element::DOUBLE => {
                refuse("of doubles (the server computes singles, `FloatTensorType`)")
            }
            _ => refuse(&format!("of elements of type {number}")),
        };
    };
    let Some(shape) = tensor.shape else {
        return refuse("of no number of dimensions");
    };
    let size = |value: Option<i64>| value.and_then(|n| usize::try_from(n).ok());
    let dims = shape.dims.iter().map(|d| size(d.value)).collect();
    Ok(Slot {
        name,
        kind,
        dims,
        classes: Vec::new(),
    })
}

/// A model on its way to steps.
struct Cut {
    model: ModelProto,
    graph: GraphProto,
    /// Constants by name.
    tensors: HashMap<String, TensorProto>,
    /// Values that nodes make.
    made: HashSet<String>,
}

impl Cut {
    fn of(mut model: ModelProto) -> Result<Self> {
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
    fn steps(&self, plan: &Plan, files: &Files) -> Result<Vec<Step>> {
        let mut known: HashSet<String> = plan.inputs.iter().map(|s| s.name.clone()).collect();
        known.extend(self.tensors.keys().cloned());
        let mut texts = self.texts(plan);
        let mut left: Vec<&NodeProto> = self.graph.node.iter().collect();
        let mut steps = Vec::new();
        while !left.is_empty() {
            let before = left.len();
            let mut rest = Vec::new();
            for node in left {
                let operator = match self.is_ready(node, &known) {
                    true => ops::read(node)?,
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
                if node.is_classical() || !self.is_ready(node, &known) {
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
                steps.push(Step::Network(self.network(&part, wanted, files)?));
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

    fn constants(&self, steps: &[Step]) -> Result<HashMap<String, Tensor>> {
        let mut out = HashMap::new();
        for step in steps {
            let Step::Operator { inputs, .. } = step else {
                continue;
            };
            for name in inputs {
                if let Some(tensor) = self.tensors.get(name) {
                    out.insert(name.clone(), Tensor::of(tensor)?);
                }
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
fn looked_at(node: &NodeProto) -> Vec<&str> {
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
    let int = |a: &Attribute| a.i == Some(i64::from(element::STRING));
    let is = match node.operator() {
        "Identity" | "Reshape" | "ArrayFeatureExtractor" => takes,
        "Cast" => node.attribute.iter().any(int),
        "LabelEncoder" => node
            .attribute
            .iter()
            .any(|a| a.name.as_deref() == Some("values_strings")),
        "LinearClassifier" | "TreeEnsembleClassifier" => node
            .attribute
            .iter()
            .any(|a| a.name.as_deref() == Some("classlabels_strings")),
        _ => false,
    };
    if is {
        texts.extend(node.output.first().cloned());
    }
}

/// Why nothing more can be run.
fn stuck(left: &[&NodeProto]) -> Error {
    let unknown = left
        .iter()
        .find(|n| n.is_classical() && !matches!(ops::read(n), Ok(Some(_))));
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
