//! ONNX: nested protobuf messages, of which the tensors' data are found without reading them.
//!
//! Only messages large enough to hold a part are looked into: model, graph, initializers, and the
//! tensors that constant nodes hold as attributes. Graphs inside nodes are not.

use std::io::{self, BufReader, Read, SeekFrom};

use super::{HEADER_BYTES_MAX, Input, PART_BYTES_MIN, PARTS_MAX, Part, content_of, malformed};
use crate::codec::Content;

/// The first byte of a model: the tag of its first field, a number.
pub(super) const FIRST: u8 = 0x08;

const NAME_BYTES_MAX: u64 = 64 << 10;

/// A message that is looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

impl Message {
    /// What a field of it holds, if that is looked into.
    fn inner(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Graph | Self::Attribute, 5) => Some(Self::Tensor),
            _ => None,
        }
    }
}

/// What is known of a tensor; fields come in any order.
#[derive(Default)]
struct Tensor {
    kind: u64,
    name: Vec<u8>,
    /// Field, begin and length of its data.
    data: Option<(u64, u64, u64)>,
}

impl Tensor {
    fn part(self) -> Option<Part> {
        let (field, start, len) = self.data.filter(|(.., len)| *len >= PART_BYTES_MIN)?;
        let content = match field {
            FLOAT_DATA => content_of(4),
            DOUBLE_DATA => content_of(8),
            _ => content(self.kind),
        };
        Some(Part {
            start,
            len,
            content,
            name: self.name,
            ..Part::default()
        })
    }
}

const KIND: u64 = 2;
const FLOAT_DATA: u64 = 4;
const NAME: u64 = 8;
const RAW_DATA: u64 = 9;
const DOUBLE_DATA: u64 = 10;

/// Content of an element type.
fn content(kind: u64) -> Content {
    match kind {
        2 | 3 | 9 | 17..=20 => content_of(1),
        4 | 5 | 10 | 16 => content_of(2),
        1 | 6 | 12 | 14 => content_of(4),
        7 | 11 | 13 | 15 => content_of(8),
        _ => Content::Unknown,
    }
}

/// The value of a field.
enum Value {
    Number(u64),
    /// So many bytes, which come next.
    Bytes(u64),
}

struct Walk<'a, R: ?Sized> {
    input: BufReader<&'a mut R>,
    at: u64,
    /// Bytes that may still be read, other than by skipping.
    budget: u64,
    parts: Vec<Part>,
}

impl<R: Input + ?Sized> Walk<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<()> {
        let len = out.len() as u64;
        self.budget = self.budget.checked_sub(len).ok_or_else(malformed)?;
        self.at += len;
        self.input.read_exact(out)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.read(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        self.at += len;
        let len = i64::try_from(len).map_err(|_| malformed())?;
        self.input.seek_relative(len)
    }

    /// Number and value of the next field of a message that ends at `end`.
    fn field(&mut self, end: u64) -> io::Result<(u64, Value)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(8),
            2 => Value::Bytes(self.varint()?),
            5 => Value::Bytes(4),
            _ => return Err(malformed()),
        };
        let len = match value {
            Value::Number(_) => 0,
            Value::Bytes(len) => len,
        };
        let inside = self.at.checked_add(len).is_some_and(|at| at <= end);
        if tag >> 3 == 0 || !inside {
            return Err(malformed());
        }
        Ok((tag >> 3, value))
    }

    /// Walks through a message; the nesting is that of [`Message::inner`], five deep.
    fn message(&mut self, message: Message, end: u64) -> io::Result<()> {
        let mut tensor = Tensor::default();
        while self.at < end {
            let (field, value) = self.field(end)?;
            let len = match value {
                Value::Number(value) => {
                    if field == KIND {
                        tensor.kind = value;
                    }
                    continue;
                }
                Value::Bytes(len) => len,
            };
            if let Some(inner) = message.inner(field).filter(|_| len >= PART_BYTES_MIN) {
                self.message(inner, self.at + len)?;
                continue;
            }
            match (message, field) {
                (Message::Tensor, NAME) if len <= NAME_BYTES_MAX => {
                    tensor.name = vec![0; usize::try_from(len).unwrap_or(0)];
                    self.read(&mut tensor.name)?;
                    continue;
                }
                (Message::Tensor, FLOAT_DATA | RAW_DATA | DOUBLE_DATA) => {
                    tensor.data = Some((field, self.at, len));
                }
                _ => {}
            }
            self.skip(len)?;
        }
        if message == Message::Tensor {
            self.parts.extend(tensor.part());
            if self.parts.len() > PARTS_MAX {
                return Err(malformed());
            }
        }
        Ok(())
    }
}

pub(super) fn parts<R: Input + ?Sized>(input: &mut R, size: u64) -> io::Result<Vec<Part>> {
    input.seek(SeekFrom::Start(0))?;
    let mut walk = Walk {
        input: BufReader::with_capacity(8 << 10, input),
        at: 0,
        budget: HEADER_BYTES_MAX,
        parts: Vec::new(),
    };
    walk.message(Message::Model, size)?;
    Ok(walk.parts)
}
