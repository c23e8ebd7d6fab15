//! ONNX: nested protobuf messages. Tensors are the initializers of the graph; for scanning, the
//! domains of its operators and every place outside of the file that it names.

use super::fields::{Fields, bad};
use super::numbers::Number;
use super::{Source, TENSORS_MAX, Tensor, TensorError, Tensors};
use crate::driver::TensorKind;

/// Graphs within graphs.
const DEPTH_MAX: usize = 8;
/// Facts of each kind that are kept.
const FACTS_MAX: usize = 10_000;

/// What a model says.
#[derive(Debug, Default)]
pub(crate) struct OnnxFacts {
    pub(super) tensors: Tensors,
    /// Domains of operators.
    pub(crate) domains: Vec<String>,
    /// Files that hold data of tensors.
    pub(crate) locations: Vec<String>,
}

/// A message that is looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Opset,
    Graph,
    Function,
    Node,
    Attribute,
    Initializer,
    Tensor,
    External,
}

impl Message {
    fn inner(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 8) | (Self::Function, 9) => Self::Opset,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) => Self::Attribute,
            (Self::Graph, 5) => Self::Initializer,
            (Self::Attribute, 5 | 10) => Self::Tensor,
            (Self::Initializer | Self::Tensor, EXTERNAL) => Self::External,
            _ => return None,
        })
    }
}

/// Fields of a tensor, which come in any order.
#[derive(Default)]
struct Row {
    name: String,
    shape: Vec<u64>,
    kind: u64,
    /// Field, begin and length of its data.
    data: Option<(u64, u64, u64)>,
    is_external: bool,
}

const DIMS: u64 = 1;
const KIND: u64 = 2;
/// The name of a tensor.
pub(super) const NAME: u64 = 8;
/// Where a tensor lies outside of the file.
pub(super) const EXTERNAL: u64 = 13;
const RAW: u64 = 9;

fn dtype(kind: u64) -> (&'static str, Option<Number>) {
    match kind {
        1 => ("float", Some(Number::F32)),
        2 => ("uint8", Some(Number::U8)),
        3 => ("int8", Some(Number::I8)),
        4 => ("uint16", Some(Number::U16)),
        5 => ("int16", Some(Number::I16)),
        6 => ("int32", Some(Number::I32)),
        7 => ("int64", Some(Number::I64)),
        8 => ("string", None),
        9 => ("bool", Some(Number::U8)),
        10 => ("float16", Some(Number::F16)),
        11 => ("double", Some(Number::F64)),
        12 => ("uint32", Some(Number::U32)),
        13 => ("uint64", Some(Number::U64)),
        16 => ("bfloat16", Some(Number::Bf16)),
        _ => ("other", None),
    }
}

impl Row {
    fn tensor(self) -> Tensor {
        let (dtype, number) = dtype(self.kind);
        let (field, offset, bytes) = self.data.unwrap_or((RAW, 0, 0));
        // Only these lie in the file as they are in memory.
        let plain = matches!(
            (field, number),
            (RAW, _) | (4, Some(Number::F32)) | (10, Some(Number::F64))
        );
        let fits = |n: &Number| super::bytes_of(&self.shape, n.width() as u64) == Some(bytes);
        let place = if self.is_external {
            ", in another file"
        } else {
            ""
        };
        Tensor {
            kind: TensorKind {
                dtype: format!("{dtype}{place}"),
                shape: self.shape.clone(),
            },
            number: number.filter(|n| plain && fits(n)),
            fortran: false,
            offset,
            bytes,
            block: None,
        }
    }
}

/// Is told of a field: its number and type, where its tag begins, and where its content begins and
/// ends.
pub(super) type Each<'a> = &'a mut dyn FnMut(u64, u64, u64, u64, u64) -> Result<(), TensorError>;

/// Goes through the fields of one message, not into them.
pub(super) fn fields(
    source: &mut dyn Source,
    start: u64,
    end: u64,
    each: Each<'_>,
) -> Result<(), TensorError> {
    let mut fields = Fields::new(source, start, end)?;
    while fields.at < end {
        let begin = fields.at;
        let tag = fields.varint()?;
        let before = fields.at;
        let (inside, len) = match tag & 7 {
            0 => {
                fields.varint()?;
                (before, 0)
            }
            1 => (before, 8),
            2 => {
                let len = fields.varint()?;
                (fields.at, len)
            }
            5 => (before, 4),
            _ => return Err(bad("it is no ONNX")),
        };
        fields.skip(len)?;
        each(tag >> 3, tag & 7, begin, inside, fields.at)?;
    }
    Ok(())
}

impl OnnxFacts {
    pub(crate) fn read(source: &mut dyn Source, start: u64, end: u64) -> Result<Self, TensorError> {
        let mut fields = Fields::new(source, start, end)?;
        let mut out = Self::default();
        let mut row = Row::default();
        out.message(&mut fields, Message::Model, end, 0, &mut row)?;
        Ok(out)
    }

    fn message(
        &mut self,
        fields: &mut Fields<'_>,
        message: Message,
        end: u64,
        depth: usize,
        row: &mut Row,
    ) -> Result<(), TensorError> {
        // A graph is four messages down.
        if depth > 4 * DEPTH_MAX {
            return Err(bad("it is nested too deeply"));
        }
        while fields.at < end {
            let tag = fields.varint()?;
            let (field, wire) = (tag >> 3, tag & 7);
            let is_tensor = matches!(message, Message::Tensor | Message::Initializer);
            let len = match wire {
                0 => {
                    let value = fields.varint()?;
                    match field {
                        KIND if is_tensor => row.kind = value,
                        DIMS if is_tensor => row.dimension(value)?,
                        _ => {}
                    }
                    continue;
                }
                1 => 8,
                2 => fields.varint()?,
                5 => 4,
                _ => return Err(bad("it is no ONNX")),
            };
            if field == 0 || fields.at.checked_add(len).is_none_or(|at| at > end) {
                return Err(bad("it is no ONNX"));
            }
            let inside = fields.at + len;
            if let Some(inner) = message.inner(field).filter(|_| wire == 2) {
                let mut own = Row::default();
                let is_external = inner == Message::External;
                let below = if is_external { &mut *row } else { &mut own };
                self.message(fields, inner, inside, depth + 1, below)?;
                if inner == Message::Initializer {
                    self.keep(own)?;
                }
            } else {
                self.leaf(fields, message, (field, len), row)?;
            }
            if fields.at != inside {
                return Err(bad("it is no ONNX"));
            }
        }
        Ok(())
    }

    fn keep(&mut self, row: Row) -> Result<(), TensorError> {
        if self.tensors.len() >= TENSORS_MAX {
            return Err(bad("it has too many tensors"));
        }
        let name = row.name.clone();
        self.tensors.insert(name, row.tensor());
        Ok(())
    }

    /// A field of bytes that holds no message.
    fn leaf(
        &mut self,
        fields: &mut Fields<'_>,
        message: Message,
        (field, len): (u64, u64),
        row: &mut Row,
    ) -> Result<(), TensorError> {
        match (message, field) {
            (Message::Opset, 1) | (Message::Node, 7) | (Message::Function, 10) => {
                let domain = fields.text(len)?;
                if !self.domains.contains(&domain) && self.domains.len() < FACTS_MAX {
                    self.domains.push(domain);
                }
                Ok(())
            }
            // Every value, not only that of the key `location`: whoever reads on, and how, varies.
            (Message::External, 2) => {
                row.is_external = true;
                let value = fields.text(len)?;
                if self.locations.len() < FACTS_MAX {
                    self.locations.push(value);
                }
                Ok(())
            }
            (Message::Tensor | Message::Initializer, NAME) => {
                row.name = fields.text(len)?;
                Ok(())
            }
            (Message::Tensor | Message::Initializer, DIMS) => {
                let end = fields.at + len;
                while fields.at < end {
                    let value = fields.varint()?;
                    row.dimension(value)?;
                }
                Ok(())
            }
            (Message::Tensor | Message::Initializer, 4..=7 | RAW | 10 | 11) => {
                row.data = Some((field, fields.at, len));
                fields.skip(len)
            }
            _ => fields.skip(len),
        }
    }
}

impl Row {
    fn dimension(&mut self, value: u64) -> Result<(), TensorError> {
        if self.shape.len() >= 64 {
            return Err(bad("a tensor has too many dimensions"));
        }
        self.shape.push(value);
        Ok(())
    }
}
