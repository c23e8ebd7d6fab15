//! Tensors between a client, rten and the operators here.

use crate::error::{Error, Result, failed, malformed};
use crate::proto::{EXTERNAL, TensorProto, element};

/// Most elements of one tensor.
pub const ELEMENTS_MAX: usize = 1 << 28;

/// What elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `f32`.
    Float,
    /// `i32`.
    Int32,
    /// `i64`.
    Int64,
    /// `i8`.
    Int8,
    /// `u8`.
    Uint8,
    /// Truth values.
    Bool,
    /// Texts.
    Text,
}

impl Kind {
    /// The name that the Open Inference Protocol has for it.
    #[must_use]
    pub fn datatype(self) -> &'static str {
        match self {
            Self::Float => "FP32",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Int8 => "INT8",
            Self::Uint8 => "UINT8",
            Self::Bool => "BOOL",
            Self::Text => "BYTES",
        }
    }

    /// Of ONNX's number for it; `None`: none that is run here.
    pub(crate) fn of(number: i32) -> Option<Self> {
        match number {
            element::FLOAT => Some(Self::Float),
            element::INT32 => Some(Self::Int32),
            element::INT64 => Some(Self::Int64),
            element::INT8 => Some(Self::Int8),
            element::UINT8 => Some(Self::Uint8),
            element::BOOL => Some(Self::Bool),
            element::STRING => Some(Self::Text),
            _ => None,
        }
    }
}

/// Elements in the order of their indices, the last one fastest.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is the kind of its name")]
pub enum Data {
    Float(Vec<f32>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int8(Vec<i8>),
    Uint8(Vec<u8>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

impl Data {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Int32(v) => v.len(),
            Self::Int64(v) => v.len(),
            Self::Int8(v) => v.len(),
            Self::Uint8(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Float(_) => Kind::Float,
            Self::Int32(_) => Kind::Int32,
            Self::Int64(_) => Kind::Int64,
            Self::Int8(_) => Kind::Int8,
            Self::Uint8(_) => Kind::Uint8,
            Self::Bool(_) => Kind::Bool,
            Self::Text(_) => Kind::Text,
        }
    }
}

/// Elements and their dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Sizes, the outermost first.
    pub dims: Vec<usize>,
    /// The elements.
    pub data: Data,
}

/// How many elements dimensions make; `None`: more than there may be.
pub(crate) fn count(dims: &[usize]) -> Option<usize> {
    let product = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    product.filter(|n| *n <= ELEMENTS_MAX)
}

impl Tensor {
    /// # Errors
    /// The dimensions make another number of elements.
    pub fn new(dims: Vec<usize>, data: Data) -> Result<Self> {
        match count(&dims) {
            Some(n) if n == data.len() => Ok(Self { dims, data }),
            _ => Err(failed(format!(
                "{} elements in a shape of {dims:?}",
                data.len()
            ))),
        }
    }

    pub(crate) fn floats(dims: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        Self::new(dims, Data::Float(data))
    }

    /// Its elements as `f32`.
    #[expect(clippy::cast_precision_loss, reason = "as ONNX casts")]
    pub(crate) fn to_floats(&self) -> Result<Vec<f32>> {
        Ok(match &self.data {
            Data::Float(v) => v.clone(),
            Data::Int32(v) => v.iter().map(|n| *n as f32).collect(),
            Data::Int64(v) => v.iter().map(|n| *n as f32).collect(),
            Data::Int8(v) => v.iter().map(|n| f32::from(*n)).collect(),
            Data::Uint8(v) => v.iter().map(|n| f32::from(*n)).collect(),
            Data::Bool(v) => v.iter().map(|b| f32::from(u8::from(*b))).collect(),
            Data::Text(_) => return Err(failed("texts where numbers are needed")),
        })
    }

    /// Its elements as `i64`; those of floats towards zero.
    pub(crate) fn to_ints(&self) -> Result<Vec<i64>> {
        Ok(match &self.data {
            Data::Float(v) => v.iter().map(|n| *n as i64).collect(),
            Data::Int32(v) => v.iter().map(|n| i64::from(*n)).collect(),
            Data::Int64(v) => v.clone(),
            Data::Int8(v) => v.iter().map(|n| i64::from(*n)).collect(),
            Data::Uint8(v) => v.iter().map(|n| i64::from(*n)).collect(),
            Data::Bool(v) => v.iter().map(|b| i64::from(*b)).collect(),
            Data::Text(_) => return Err(failed("texts where numbers are needed")),
        })
    }

    /// The same in another kind.
    pub(crate) fn cast(self, kind: Kind) -> Result<Self> {
        if self.data.kind() == kind {
            return Ok(self);
        }
        let data = match kind {
            Kind::Float => Data::Float(self.to_floats()?),
            Kind::Int64 => Data::Int64(self.to_ints()?),
            Kind::Int32 => Data::Int32(self.to_ints()?.into_iter().map(|n| n as i32).collect()),
            Kind::Int8 => Data::Int8(self.to_ints()?.into_iter().map(|n| n as i8).collect()),
            Kind::Uint8 => Data::Uint8(self.to_ints()?.into_iter().map(|n| n as u8).collect()),
            Kind::Bool => Data::Bool(match &self.data {
                Data::Float(v) => v.iter().map(|n| *n != 0.0).collect(),
                _ => self.to_ints()?.into_iter().map(|n| n != 0).collect(),
            }),
            Kind::Text => match &self.data {
                // ONNX leaves open how the digits of a float are written.
                Data::Float(_) => return Err(failed("floats can't be cast to texts here")),
                _ => Data::Text(self.to_ints()?.iter().map(i64::to_string).collect()),
            },
        };
        Ok(Self { data, ..self })
    }

    /// Rows and columns of a table; a list is one row.
    pub(crate) fn table(&self) -> Result<(usize, usize)> {
        match self.dims[..] {
            [columns] => Ok((1, columns)),
            [rows, columns] => Ok((rows, columns)),
            _ => Err(failed(format!(
                "a shape of {:?} where a table is needed",
                self.dims
            ))),
        }
    }

    /// A constant of a model.
    pub(crate) fn of(proto: &TensorProto) -> Result<Self> {
        let name = proto.name.as_deref().unwrap_or_default();
        let bad = |detail: &str| malformed(format!("the tensor `{name}` {detail}"));
        let dims = proto.dims.iter().map(|d| usize::try_from(*d).ok());
        let dims: Vec<usize> = dims
            .collect::<Option<_>>()
            .ok_or_else(|| bad("has a negative size"))?;
        if proto.data_location == Some(EXTERNAL) {
            let text =
                format!("the tensor `{name}` is in another file, and not of a neural network");
            return Err(Error::Unsupported(text));
        }
        let data = elements(proto).ok_or_else(|| {
            let number = proto.data_type.unwrap_or_default();
            Error::Unsupported(format!(
                "the tensor `{name}` has elements of type {number}, which the server does not run"
            ))
        })?;
        Self::new(dims, data).map_err(|_| bad("has another number of elements than its shape"))
    }
}

/// The elements of a constant; `None`: of a kind that is not run here.
fn elements(proto: &TensorProto) -> Option<Data> {
    let raw = proto.raw_data.as_deref();
    let ints = || proto.int32_data.iter();
    Some(match (Kind::of(proto.data_type?)?, raw) {
        (Kind::Float, None) => Data::Float(proto.float_data.clone()),
        (Kind::Float, Some(raw)) => Data::Float(numbers(raw, f32::from_le_bytes)),
        (Kind::Int32, None) => Data::Int32(proto.int32_data.clone()),
        (Kind::Int32, Some(raw)) => Data::Int32(numbers(raw, i32::from_le_bytes)),
        (Kind::Int64, None) => Data::Int64(proto.int64_data.clone()),
        (Kind::Int64, Some(raw)) => Data::Int64(numbers(raw, i64::from_le_bytes)),
        (Kind::Int8, None) => Data::Int8(ints().map(|n| *n as i8).collect()),
        (Kind::Int8, Some(raw)) => Data::Int8(numbers(raw, i8::from_le_bytes)),
        (Kind::Uint8, None) => Data::Uint8(ints().map(|n| *n as u8).collect()),
        (Kind::Uint8, Some(raw)) => Data::Uint8(raw.to_vec()),
        (Kind::Bool, None) => Data::Bool(ints().map(|n| *n != 0).collect()),
        (Kind::Bool, Some(raw)) => Data::Bool(raw.iter().map(|b| *b != 0).collect()),
        (Kind::Text, _) => {
            let texts = proto.string_data.iter();
            Data::Text(
                texts
                    .map(|t| String::from_utf8_lossy(t).into_owned())
                    .collect(),
            )
        }
    })
}

fn numbers<T, const N: usize>(raw: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|b| of(*b)).collect()
}
