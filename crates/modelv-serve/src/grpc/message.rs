//! Messages of the Open Inference Protocol over gRPC, by the numbers of its `grpc_service.proto`.
//!
//! What is decoded is bounded first: two bytes may stand for a message of hundreds. Elements stay the bytes
//! that they are until they are written.

use std::collections::HashMap;

use axum::body::Bytes;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field, string};
use prost::{DecodeError, Message, Oneof};

/// Most inputs, outputs and contents of one request.
const PARTS_MAX: usize = 4_096;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Live {
    #[prost(bool, tag = "1")]
    pub(super) live: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ready {
    #[prost(bool, tag = "1")]
    pub(super) ready: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServerMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) extensions: Vec<String>,
}

/// Whose health is asked for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthOf {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Health {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// Of `ModelReady` and `ModelMetadata`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelName {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) platform: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<TensorMetadata>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int64(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(uint64, tag = "5")]
    Uint64(u64),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Parameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3, 4, 5")]
    pub(super) choice: Option<Choice>,
}

/// Elements of a tensor, but for texts: an empty one is two bytes, and would be many in a list.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Numbers {
    #[prost(bool, repeated, tag = "1")]
    pub(super) bools: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    pub(super) ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub(super) int64s: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub(super) uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub(super) uint64s: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub(super) floats: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub(super) doubles: Vec<f64>,
}

/// Number of the field of texts, beside those of numbers.
const TEXTS: u32 = 8;

/// The texts among the elements of a tensor, in their order.
pub(super) fn texts(mut contents: &[u8]) -> impl Iterator<Item = Result<&[u8], String>> {
    std::iter::from_fn(move || {
        let found = next_text(&mut contents);
        if found.is_err() {
            contents = &[];
        }
        found.transpose()
    })
}

fn next_text<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, String> {
    let broken = |e: DecodeError| e.to_string();
    while !bytes.is_empty() {
        let (tag, kind) = decode_key(bytes).map_err(broken)?;
        if (tag, kind) != (TEXTS, WireType::LengthDelimited) {
            skip_field(kind, tag, bytes, DecodeContext::default()).map_err(broken)?;
            continue;
        }
        let length = decode_varint(bytes).map_err(broken)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (text, rest) = bytes
            .split_at_checked(length)
            .ok_or("an element of BYTES is cut off")?;
        *bytes = rest;
        return Ok(Some(text));
    }
    Ok(None)
}

/// Adds a text to the elements of a tensor.
pub(super) fn add_text(contents: &mut Vec<u8>, text: &String) {
    string::encode(TEXTS, text, contents);
}

/// An input or an output.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
    #[prost(map = "string, message", tag = "4")]
    pub(super) parameters: HashMap<String, Parameter>,
    /// `Numbers` and texts.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(super) contents: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Requested {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(map = "string, message", tag = "2")]
    pub(super) parameters: HashMap<String, Parameter>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InferRequest {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(string, tag = "2")]
    pub(super) model_version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(map = "string, message", tag = "4")]
    pub(super) parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(super) inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    pub(super) outputs: Vec<Requested>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(super) raw_input_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InferResponse {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(string, tag = "2")]
    pub(super) model_version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(map = "string, message", tag = "4")]
    pub(super) parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(super) raw_output_contents: Vec<Bytes>,
}

/// A request for predictions, if it has no more parts than one may have.
pub(super) fn infer_request(bytes: &Bytes) -> Result<InferRequest, String> {
    if !has_few_parts(bytes).map_err(|e| e.to_string())? {
        return Err(format!(
            "more than {PARTS_MAX} inputs, outputs and contents"
        ));
    }
    InferRequest::decode(bytes.clone()).map_err(|e| e.to_string())
}

/// Whether a message has no more parts than one may have.
fn has_few_parts(mut bytes: &[u8]) -> Result<bool, DecodeError> {
    let mut count = 0;
    while !bytes.is_empty() && count <= PARTS_MAX {
        let (tag, kind) = decode_key(&mut bytes)?;
        skip_field(kind, tag, &mut bytes, DecodeContext::default())?;
        count += 1;
    }
    Ok(count <= PARTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_are_no_many_messages() {
        let empty_inputs = |n: usize| Bytes::from([0x2a, 0].repeat(n));
        assert_eq!(infer_request(&empty_inputs(3)).unwrap().inputs.len(), 3);
        let said = infer_request(&empty_inputs(PARTS_MAX + 1)).unwrap_err();
        assert!(said.contains("more than 4096"), "{said}");
        for odd in [
            &b"\x2a"[..],
            b"\x2a\x05x",
            b"\xff\xff\xff\xff\xff\xff",
            b"\x2b",
        ] {
            assert!(infer_request(&Bytes::from_static(odd)).is_err(), "{odd:?}");
        }
    }
}
