//! Tensors of messages, to and from the JSON that functions take and give.

use axum::body::Bytes;
use prost::Message;
use serde_json::Value;

use super::message::{InferRequest, InferResponse, Numbers, Tensor, add_text, texts};
use crate::tensor::{self, Elements, write_plain as plain};

type Result<T, E = String> = std::result::Result<T, E>;

/// The inputs of a request, by their names, as JSON.
pub(super) fn inputs(request: &InferRequest) -> Result<Vec<(String, Vec<u8>)>> {
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        let (n, m) = (request.inputs.len(), raw.len());
        return Err(format!("{n} inputs with {m} `raw_input_contents`"));
    }
    let each = request.inputs.iter().enumerate();
    each.map(|(at, input)| {
        let value = input_value(input, raw.get(at));
        let value = value.map_err(|e| format!("input `{}`: {e}", input.name))?;
        Ok((input.name.clone(), value))
    })
    .collect()
}

fn input_value(input: &Tensor, raw: Option<&Bytes>) -> Result<Vec<u8>> {
    let dims: Option<Vec<usize>> = input
        .shape
        .iter()
        .map(|d| usize::try_from(*d).ok())
        .collect();
    let dims = dims.ok_or("a tensor needs a `shape` of whole numbers")?;
    match (raw, &input.contents) {
        (Some(_), Some(_)) => Err("its elements come twice, `contents` and raw".into()),
        (Some(bytes), None) => tensor::nested(&input.datatype, &dims, Elements::Bytes(bytes)),
        (None, contents) => {
            let none = Bytes::new();
            typed(&input.datatype, &dims, contents.as_ref().unwrap_or(&none))
        }
    }
}

/// The elements of the field that is for a type, as nested lists.
fn typed(datatype: &str, dims: &[usize], contents: &Bytes) -> Result<Vec<u8>> {
    if datatype == "BYTES" {
        return typed_texts(dims, contents);
    }
    let all = Numbers::decode(contents.clone()).map_err(|e| e.to_string())?;
    match datatype {
        "BOOL" => listed(datatype, dims, &all.bools, |out, b| plain(out, &b)),
        "INT8" | "INT16" | "INT32" => listed(datatype, dims, &all.ints, |out, n| plain(out, &n)),
        "INT64" => listed(datatype, dims, &all.int64s, |out, n| plain(out, &n)),
        "UINT8" | "UINT16" | "UINT32" => {
            listed(datatype, dims, &all.uints, |out, n| plain(out, &n))
        }
        "UINT64" => listed(datatype, dims, &all.uint64s, |out, n| plain(out, &n)),
        "FP32" => listed(datatype, dims, &all.floats, |out, n| {
            tensor::write_float(out, f64::from(n))
        }),
        "FP64" => listed(datatype, dims, &all.doubles, tensor::write_float),
        // No field is for it.
        "FP16" => Err("FP16 comes in `raw_input_contents`".into()),
        _ => listed(datatype, dims, &[(); 0], |_, ()| Ok(())),
    }
}

fn listed<T: Copy>(
    datatype: &str,
    dims: &[usize],
    list: &[T],
    write: impl Fn(&mut Vec<u8>, T) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut rest = list.iter();
    let mut next = |out: &mut Vec<u8>| rest.next().map_or(Ok(()), |n| write(out, *n));
    tensor::nested(datatype, dims, Elements::Each(list.len(), &mut next))
}

fn typed_texts(dims: &[usize], contents: &[u8]) -> Result<Vec<u8>> {
    let mut count = 0;
    for text in texts(contents) {
        text?;
        count += 1;
    }
    let mut rest = texts(contents).flatten();
    let mut next = |out: &mut Vec<u8>| {
        let text = tensor::utf8(rest.next().unwrap_or_default())?;
        plain(out, text)
    };
    tensor::nested("BYTES", dims, Elements::Each(count, &mut next))
}

/// Adds an output, as bytes or in the field that is for its type: as the inputs came.
pub(super) fn add_output(
    response: &mut InferResponse,
    name: String,
    result: &[u8],
    datatype: Option<&'static str>,
    is_raw: bool,
) -> Result<(), serde_json::Error> {
    let tensor = tensor::Tensor::of(result, datatype)?;
    let mut output = Tensor {
        name,
        datatype: tensor.datatype.to_owned(),
        shape: tensor.dims.iter().map(|d| *d as i64).collect(),
        ..Tensor::default()
    };
    if is_raw {
        response.raw_output_contents.push(tensor.bytes()?.into());
    } else {
        output.contents = Some(contents(&tensor)?.into());
    }
    response.outputs.push(output);
    Ok(())
}

fn contents(tensor: &tensor::Tensor<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let (mut numbers, mut texts) = (Numbers::default(), Vec::new());
    tensor.each(&mut |value| match tensor.datatype {
        "BOOL" => numbers.bools.extend(value.as_bool()),
        "INT64" => numbers.int64s.extend(value.as_i64()),
        "INT8" | "INT32" => {
            let int = value.as_i64().and_then(|n| i32::try_from(n).ok());
            numbers.ints.extend(int);
        }
        "UINT8" => {
            let uint = value.as_u64().and_then(|n| u32::try_from(n).ok());
            numbers.uints.extend(uint);
        }
        "FP32" => numbers.floats.extend(value.as_f64().map(|n| n as f32)),
        "FP64" => numbers.doubles.extend(value.as_f64()),
        _ => {
            if let Value::String(text) = value {
                add_text(&mut texts, &text);
            }
        }
    })?;
    Ok(match texts.is_empty() {
        true => numbers.encode_to_vec(),
        false => texts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a text of JSON says.
    fn said(text: &[u8]) -> Value {
        serde_json::from_slice(text).unwrap()
    }

    fn one(datatype: &str, shape: &[i64], contents: Vec<u8>) -> Result<Value> {
        let input = Tensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents: Some(contents.into()),
            ..Tensor::default()
        };
        let request = InferRequest {
            inputs: vec![input],
            ..InferRequest::default()
        };
        Ok(said(&inputs(&request)?.remove(0).1))
    }

    fn with(set: impl FnOnce(&mut Numbers)) -> Vec<u8> {
        let mut numbers = Numbers::default();
        set(&mut numbers);
        numbers.encode_to_vec()
    }

    #[test]
    fn each_type_has_its_field() {
        let mut texts = with(|c| c.ints = vec![1]);
        add_text(&mut texts, &"a".to_owned());
        add_text(&mut texts, &String::new());
        for (datatype, contents, want) in [
            (
                "BOOL",
                with(|c| c.bools = vec![true, false]),
                json!([true, false]),
            ),
            ("INT8", with(|c| c.ints = vec![-1, 2]), json!([-1, 2])),
            ("INT64", with(|c| c.int64s = vec![-1, 2]), json!([-1, 2])),
            ("UINT32", with(|c| c.uints = vec![1, 2]), json!([1, 2])),
            (
                "UINT64",
                with(|c| c.uint64s = vec![u64::MAX, 2]),
                json!([u64::MAX, 2]),
            ),
            (
                "FP32",
                with(|c| c.floats = vec![0.5, 2.0]),
                json!([0.5, 2.0]),
            ),
            (
                "FP64",
                with(|c| c.doubles = vec![0.1, 2.0]),
                json!([0.1, 2.0]),
            ),
            ("BYTES", texts, json!(["a", ""])),
        ] {
            assert_eq!(
                one(datatype, &[2], contents.clone()),
                Ok(want),
                "{datatype}"
            );
            assert!(one(datatype, &[3], contents).is_err(), "{datatype}");
        }
    }

    #[test]
    fn texts_that_are_cut_off_are_refused() {
        for odd in [
            &b"\x42"[..],
            b"\x42\x05x",
            b"\x42\0\x42\x02x",
            b"\x42\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x42\x01\xff",
            b"\x43",
        ] {
            assert!(one("BYTES", &[1], odd.to_vec()).is_err(), "{odd:?}");
        }
        assert_eq!(
            one("BYTES", &[2], b"\x42\0\x42\x01x".to_vec()),
            Ok(json!(["", "x"]))
        );
    }

    #[test]
    fn what_no_field_can_hold_is_refused() {
        for (datatype, shape, want) in [
            ("FP16", 0, "raw_input_contents"),
            ("FP8", 0, "is not known"),
            ("INT64", -1, "whole numbers"),
            ("INT64", i64::MAX, "with 0 of them"),
        ] {
            let why = one(datatype, &[shape], Vec::new()).unwrap_err();
            assert!(why.contains(want), "{datatype}: {why}");
        }
        assert!(one("FP32", &[1], with(|c| c.floats = vec![f32::NAN])).is_err());
    }

    #[test]
    fn raw_contents_are_for_all_inputs_or_none() {
        let input = |contents| Tensor {
            name: "x".into(),
            datatype: "INT8".into(),
            shape: vec![1],
            contents,
            ..Tensor::default()
        };
        let request = |inputs: Vec<Tensor>, raw: usize| InferRequest {
            inputs,
            raw_input_contents: vec![Bytes::from_static(b"\xff"); raw],
            ..InferRequest::default()
        };
        assert_eq!(
            inputs(&request(vec![input(None)], 1)),
            Ok(vec![("x".to_owned(), b"[-1]".to_vec())])
        );
        assert!(inputs(&request(vec![input(None), input(None)], 1)).is_err());
        assert!(inputs(&request(vec![input(Some(Bytes::new()))], 1)).is_err());
    }

    #[test]
    fn outputs_go_as_inputs_came() {
        for value in [
            json!([[1, 2], [3, 4]]),
            json!([0.5]),
            json!([true]),
            json!(["a", "b"]),
        ] {
            let mut raw = InferResponse::default();
            let text = value.to_string();
            add_output(&mut raw, "y".into(), text.as_bytes(), None, true).unwrap();
            let (want, bytes) = tensor::write("y", text.as_bytes(), None, true).unwrap();
            let want = said(&want);
            assert_eq!(raw.outputs[0].datatype, want["datatype"]);
            assert_eq!(json!(raw.outputs[0].shape), want["shape"]);
            assert_eq!(
                (raw.raw_output_contents, &raw.outputs[0].contents),
                (vec![bytes.into()], &None)
            );
            let mut plain = InferResponse::default();
            add_output(&mut plain, "y".into(), text.as_bytes(), None, false).unwrap();
            assert!(plain.raw_output_contents.is_empty());
            let output = &plain.outputs[0];
            let dims: Vec<usize> = output.shape.iter().map(|d| *d as usize).collect();
            let found = typed(&output.datatype, &dims, output.contents.as_ref().unwrap());
            assert_eq!(said(&found.unwrap()), value);
        }
    }
}
