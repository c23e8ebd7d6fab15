//! A part of a model that rten runs.
//!
//! rten has whole numbers of 32 bits alone: what comes in larger is refused, never cut.

use rten::{ModelOptions, NodeId, Value};
use rten_tensor::Layout;

use crate::Runner;
use crate::error::{Error, Result, failed, malformed};
use crate::external::Files;
use crate::plan::named;
use crate::proto::{GraphProto, NodeProto};
use crate::tensor::{Data, Tensor};

pub(crate) struct Network {
    model: rten::Model,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    input_ids: Vec<NodeId>,
    output_ids: Vec<NodeId>,
}

impl Network {
    /// Reads a part. `graph` is what `bytes` say, for messages.
    pub(crate) fn load(
        bytes: Vec<u8>,
        graph: &GraphProto,
        files: Files,
        inputs: Vec<String>,
        outputs: Vec<String>,
    ) -> Result<Self> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        for (name, bytes) in files {
            options.external_data(&name, bytes);
        }
        let model = options.load(bytes).map_err(|e| refused(graph, &e))?;
        let ids = |names: &[String]| -> Result<Vec<NodeId>> {
            let id = |name: &String| {
                let found = model.find_node(name);
                found.ok_or_else(|| malformed(format!("nothing makes `{name}`")))
            };
            names.iter().map(id).collect()
        };
        Ok(Self {
            input_ids: ids(&inputs)?,
            output_ids: ids(&outputs)?,
            model,
            inputs,
            outputs,
        })
    }

    pub(crate) fn run(&self, inputs: Vec<Tensor>, with: &Runner) -> Result<Vec<Tensor>> {
        let values = inputs.into_iter().map(value);
        let values: Vec<Value> = values.collect::<Result<_>>()?;
        let ids = self.input_ids.iter().copied();
        let inputs = ids.zip(values.into_iter().map(Into::into)).collect();
        let options = Some(with.options.clone());
        let outputs = self.model.run(inputs, &self.output_ids, options);
        let outputs = outputs.map_err(|e| failed(e.to_string()))?;
        outputs.into_iter().map(tensor).collect()
    }
}

/// Says which operator it is, where it is one.
fn refused(graph: &GraphProto, e: &rten::LoadError) -> Error {
    let text = e.to_string();
    let is_unknown =
        text.contains("not supported or not enabled") || text.contains("not enabled because");
    let mut all = Vec::new();
    collect(graph, &mut all);
    let by_name = e.node().and_then(|name| {
        let mut nodes = all.iter();
        nodes.find(|n| n.name.as_deref() == Some(name))
    });
    let says = |n: &&&NodeProto| {
        let end = format!("{} operator not", n.operator());
        text.contains(&end)
    };
    match all.iter().find(says).or(by_name) {
        Some(node) if is_unknown => {
            let (operator, at) = named(node);
            Error::Operator { operator, at }
        }
        _ if e.kind() == rten::LoadErrorKind::OperatorInvalid => {
            Error::Unsupported(format!("the server does not run it: {text}"))
        }
        _ => malformed(text),
    }
}

fn collect<'a>(graph: &'a GraphProto, out: &mut Vec<&'a NodeProto>) {
    for node in &graph.node {
        out.push(node);
        node.graphs().for_each(|g| collect(g, out));
    }
}

fn value(tensor: Tensor) -> Result<Value> {
    let dims = tensor.dims;
    let made = match tensor.data {
        Data::Float(v) => Value::from_shape(&dims, v).map_err(|e| e.to_string()),
        Data::Int32(v) => Value::from_shape(&dims, v).map_err(|e| e.to_string()),
        Data::Int8(v) => Value::from_shape(&dims, v).map_err(|e| e.to_string()),
        Data::Uint8(v) => Value::from_shape(&dims, v).map_err(|e| e.to_string()),
        Data::Bool(v) => {
            let v: Vec<i32> = v.into_iter().map(i32::from).collect();
            Value::from_shape(&dims, v).map_err(|e| e.to_string())
        }
        Data::Int64(v) => {
            let narrow = v.into_iter().map(|n| {
                let narrow = i32::try_from(n);
                narrow.map_err(|_| Error::Unfit(format!("the number {n} has more than 32 bits")))
            });
            let v: Vec<i32> = narrow.collect::<Result<_>>()?;
            Value::from_shape(&dims, v).map_err(|e| e.to_string())
        }
        Data::Text(_) => Err("texts for a network".to_owned()),
    };
    made.map_err(failed)
}

fn tensor(value: Value) -> Result<Tensor> {
    let (dims, data) = match value {
        Value::FloatTensor(t) => (t.shape().to_vec(), Data::Float(t.into_data())),
        Value::Int32Tensor(t) => (t.shape().to_vec(), Data::Int32(t.into_data())),
        Value::Int8Tensor(t) => (t.shape().to_vec(), Data::Int8(t.into_data())),
        Value::UInt8Tensor(t) => (t.shape().to_vec(), Data::Uint8(t.into_data())),
        _ => return Err(failed("a sequence where a tensor is needed")),
    };
    Tensor::new(dims, data)
}
