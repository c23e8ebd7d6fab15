//! A model as steps, one after the other: parts that rten runs, and operators that are here.

use std::collections::HashMap;

use prost::Message;
use prost::bytes::Bytes;

use crate::cut::Cut;
use crate::error::{Result, malformed};
use crate::external;
use crate::graph;
use crate::network::Network;
use crate::ops::{self, Operator};
use crate::proto::{ModelProto, NodeProto};
use crate::repair::repair;
use crate::slot::{Slot, inputs, outputs};
use crate::tensor::{Kind, Tensor};

pub(crate) enum Step {
    Network(Box<Network>),
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
        if graph::complete(graph) | repair(graph) || !files.is_empty() {
            bytes = model.encode_to_vec().into();
        }
        let graph = model.graph.as_ref();
        let graph = graph.ok_or_else(|| malformed("it has no graph"))?;
        let (inputs, outputs) = (inputs(graph)?, outputs(graph)?);
        let mut slots = inputs.iter().chain(&outputs);
        let is_own = slots.any(|s| s.kind == Kind::Text) || graph.node.iter().any(ops::is_own);
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
            let names = |slots: &[Slot]| slots.iter().map(|s| s.name.clone()).collect();
            let (inputs, outputs) = (names(&plan.inputs), names(&plan.outputs));
            let network = Network::load(bytes.to_vec(), graph, files, inputs, outputs)?;
            plan.steps.push(Step::Network(network.into()));
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
