//! What a model takes and gives.

use std::collections::HashSet;

use crate::error::{Error, Result, malformed};
use crate::ops;
use crate::proto::{GraphProto, NodeProto, ValueInfo, element};
use crate::tensor::Kind;

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

/// What a graph takes.
pub(crate) fn inputs(graph: &GraphProto) -> Result<Vec<Slot>> {
    // Before version 4 of the format, constants were inputs too.
    let constants: HashSet<_> = graph.initializer.iter().map(|t| &t.name).collect();
    let inputs = graph.input.iter().filter(|i| !constants.contains(&i.name));
    let inputs: Vec<Slot> = inputs.map(|i| slot(i, None)).collect::<Result<_>>()?;
    distinct(&inputs)?;
    Ok(inputs)
}

/// What a graph gives.
pub(crate) fn outputs(graph: &GraphProto) -> Result<Vec<Slot>> {
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
    // Of 16 bits each is one of 32, and so it is computed.
    let half = (number == element::FLOAT16).then_some(Kind::Float);
    let Some(kind) = half.or(Kind::of(number)) else {
        return match number {
            element::BFLOAT16 => refuse("of 16-bit brain floats (bfloat16)"),
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
