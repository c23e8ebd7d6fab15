//! Tensors of messages, to and from the JSON that functions take and give.

use axum::body::Bytes;
use serde_json::{Number, Value};

use super::message::{Contents, InferRequest, InferResponse, Tensor};
use crate::tensor::{self, Elements};

type Result<T, E = String> = std::result::Result<T, E>;

/// The inputs of a request, by their names.
pub(super) fn inputs(request: &InferRequest) -> Result<Vec<(String, Value)>> {
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

fn input_value(input: &Tensor, raw: Option<&Bytes>) -> Result<Value> {
    let dims: Option<Vec<usize>> = input
        .shape
        .iter()
        .map(|d| usize::try_from(*d).ok())
        .collect();
    let dims = dims.ok_or("a tensor needs a `shape` of whole numbers")?;
    let elements = match (raw, &input.contents) {
        (Some(_), Some(_)) => return Err("its elements come twice, `contents` and raw".into()),
        (Some(bytes), None) => Elements::Bytes(bytes),
        (None, contents) => {
            let none = Contents::default();
            Elements::Values(values(&input.datatype, contents.as_ref().unwrap_or(&none))?)
        }
    };
    tensor::nested(&input.datatype, &dims, elements)
}

/// The elements of the field that is for a type.
fn values(datatype: &str, c: &Contents) -> Result<Vec<Value>> {
    let float = |n: f64| {
        let number = Number::from_f64(n).map(Value::Number);
        number.ok_or_else(|| format!("{n} is no number of JSON"))
    };
    let text = |b: &Bytes| {
        let text = std::str::from_utf8(b).map(Value::from);
        text.map_err(|_| "an element of BYTES is no UTF-8".to_owned())
    };
    match datatype {
        "BOOL" => Ok(c.bools.iter().map(|b| Value::from(*b)).collect()),
        "INT8" | "INT16" | "INT32" => Ok(c.ints.iter().map(|n| Value::from(*n)).collect()),
        "INT64" => Ok(c.int64s.iter().map(|n| Value::from(*n)).collect()),
        "UINT8" | "UINT16" | "UINT32" => Ok(c.uints.iter().map(|n| Value::from(*n)).collect()),
        "UINT64" => Ok(c.uint64s.iter().map(|n| Value::from(*n)).collect()),
        "FP32" => c.floats.iter().map(|n| float(f64::from(*n))).collect(),
        "FP64" => c.doubles.iter().map(|n| float(*n)).collect(),
        "BYTES" => c.bytes.iter().map(text).collect(),
        // No field is for it.
        "FP16" => Err("FP16 comes in `raw_input_contents`".into()),
        _ => Ok(Vec::new()),
    }
}

/// Adds an output, as bytes or in the field that is for its type: as the inputs came.
pub(super) fn add_output(
    response: &mut InferResponse,
    name: String,
    value: &Value,
    datatype: Option<&'static str>,
    is_raw: bool,
) {
    let tensor = tensor::Tensor::of(value, datatype);
    let mut output = Tensor {
        name,
        datatype: tensor.datatype.to_owned(),
        shape: tensor.dims.iter().map(|d| *d as i64).collect(),
        ..Tensor::default()
    };
    if is_raw {
        response.raw_output_contents.push(tensor.bytes().into());
    } else {
        output.contents = Some(contents(&tensor));
    }
    response.outputs.push(output);
}

fn contents(tensor: &tensor::Tensor) -> Contents {
    let mut out = Contents::default();
    let all = tensor.elements.iter();
    match tensor.datatype {
        "BOOL" => out.bools = all.filter_map(Value::as_bool).collect(),
        "INT64" => out.int64s = all.filter_map(Value::as_i64).collect(),
        "INT8" | "INT32" => {
            let ints = all.filter_map(Value::as_i64);
            out.ints = ints.filter_map(|n| i32::try_from(n).ok()).collect();
        }
        "UINT8" => {
            let uints = all.filter_map(Value::as_u64);
            out.uints = uints.filter_map(|n| u32::try_from(n).ok()).collect();
        }
        "FP32" => out.floats = all.filter_map(Value::as_f64).map(|n| n as f32).collect(),
        "FP64" => out.doubles = all.filter_map(Value::as_f64).collect(),
        _ => {
            let texts = all.filter_map(Value::as_str);
            out.bytes = texts.map(|t| Bytes::from(t.to_owned())).collect();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(datatype: &str, shape: &[i64], contents: Contents) -> Result<Value> {
        let input = Tensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents: Some(contents),
            ..Tensor::default()
        };
        let request = InferRequest {
            inputs: vec![input],
            ..InferRequest::default()
        };
        Ok(inputs(&request)?.remove(0).1)
    }

    fn with(set: impl FnOnce(&mut Contents)) -> Contents {
        let mut contents = Contents::default();
        set(&mut contents);
        contents
    }

    #[test]
    fn each_type_has_its_field() {
        let texts = vec![Bytes::from("a"), Bytes::new()];
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
            ("BYTES", with(|c| c.bytes = texts), json!(["a", ""])),
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
    fn what_no_field_can_hold_is_refused() {
        for (datatype, shape, want) in [
            ("FP16", 0, "raw_input_contents"),
            ("FP8", 0, "is not known"),
            ("INT64", -1, "whole numbers"),
            ("INT64", i64::MAX, "with 0 of them"),
        ] {
            let said = one(datatype, &[shape], Contents::default()).unwrap_err();
            assert!(said.contains(want), "{datatype}: {said}");
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
            Ok(vec![("x".to_owned(), json!([-1]))])
        );
        assert!(inputs(&request(vec![input(None), input(None)], 1)).is_err());
        assert!(inputs(&request(vec![input(Some(Contents::default()))], 1)).is_err());
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
            add_output(&mut raw, "y".into(), &value, None, true);
            let (want, bytes) = tensor::write("y", &value, None, true);
            assert_eq!(raw.outputs[0].datatype, want["datatype"]);
            assert_eq!(json!(raw.outputs[0].shape), want["shape"]);
            assert_eq!(
                (raw.raw_output_contents, &raw.outputs[0].contents),
                (vec![bytes.into()], &None)
            );
            let mut typed = InferResponse::default();
            add_output(&mut typed, "y".into(), &value, None, false);
            assert!(typed.raw_output_contents.is_empty());
            let output = &typed.outputs[0];
            let found = values(&output.datatype, output.contents.as_ref().unwrap()).unwrap();
            assert_eq!(
                json!(found),
                tensor::write("y", &value, None, false).0["data"]
            );
        }
    }
}
