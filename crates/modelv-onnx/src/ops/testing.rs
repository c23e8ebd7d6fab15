//! Nodes for tests, by their attributes.

use super::{Operator, read};
use crate::proto::{Attribute, NodeProto, TensorProto, element};

pub(super) enum Value {
    Text(&'static str),
    Texts(&'static [&'static str]),
    Int(i64),
    Ints(&'static [i64]),
    /// A tensor of floats.
    Tensor(&'static [f32]),
    Floats(&'static [f32]),
}

use Value::{Floats, Int, Ints, Tensor, Text, Texts};

pub(super) fn node(operator: &str, attributes: &[(&str, Value)]) -> NodeProto {
    let attribute = |(name, value): &(&str, Value)| {
        let mut out = Attribute {
            name: Some((*name).to_owned()),
            ..Attribute::default()
        };
        match value {
            Text(text) => out.s = Some(text.as_bytes().into()),
            Texts(all) => out.strings = all.iter().map(|t| t.as_bytes().into()).collect(),
            Int(n) => out.i = Some(*n),
            Ints(all) => out.ints = all.to_vec(),
            Floats(all) => out.floats = all.to_vec(),
            Tensor(all) => {
                out.t = Some(TensorProto {
                    dims: vec![all.len() as i64],
                    data_type: Some(element::FLOAT),
                    float_data: all.to_vec(),
                    ..TensorProto::default()
                });
            }
        }
        out
    };
    NodeProto {
        op_type: Some(operator.into()),
        domain: Some(match operator {
            "Tokenizer" | "CDist" => "com.microsoft".into(),
            "StringNormalizer" | "TfIdfVectorizer" | "Scan" | "Flatten" | "Concat" => String::new(),
            _ => "ai.onnx.ml".into(),
        }),
        attribute: attributes.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

pub(super) fn operator(node: &NodeProto) -> Box<dyn Operator> {
    read(node, true).unwrap().unwrap()
}

/// What is said of a node that is not run here.
pub(super) fn refused(node: &NodeProto) -> String {
    read(node, true).err().unwrap().to_string()
}
