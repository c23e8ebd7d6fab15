//! Tensors of the Open Inference Protocol, as JSON or as bytes behind it, to and from the JSON that
//! functions take and give.
//!
//! Must never make more numbers than bytes came in, nor lists out of all proportion to them.

use serde_json::{Number, Value, json};

/// Most dimensions of one tensor.
const DIMENSIONS_MAX: usize = 32;
/// Most lists for each element, and those that any tensor may have besides.
const LISTS_PER_ELEMENT: usize = 4;
const LISTS_SPARE: usize = 64;

/// Types of elements, with their size in bytes; 0: each says its own.
const TYPES: [(&str, usize); 13] = [
    ("BOOL", 1),
    ("UINT8", 1),
    ("UINT16", 2),
    ("UINT32", 4),
    ("UINT64", 8),
    ("INT8", 1),
    ("INT16", 2),
    ("INT32", 4),
    ("INT64", 8),
    ("FP16", 2),
    ("FP32", 4),
    ("FP64", 8),
    ("BYTES", 0),
];

type Result<T, E = String> = std::result::Result<T, E>;

fn size_of(datatype: &str) -> Result<usize> {
    let found = TYPES.iter().find(|(name, _)| *name == datatype);
    found
        .map(|(_, size)| *size)
        .ok_or_else(|| format!("datatype `{datatype}` is not known"))
}

/// The dimensions of a tensor, and how many elements they make.
fn shape(tensor: &Value) -> Result<(Vec<usize>, usize)> {
    let bad = || "a tensor needs a `shape` of whole numbers".to_owned();
    let list = tensor["shape"]
        .as_array()
        .filter(|l| l.len() <= DIMENSIONS_MAX)
        .ok_or_else(bad)?;
    let dimension = |v: &Value| usize::try_from(v.as_u64()?).ok();
    let dims: Vec<usize> = list
        .iter()
        .map(dimension)
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    let count = dims
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(*d))
        .ok_or_else(bad)?;
    // A shape costs its sender a few bytes, the lists it stands for cost memory: `[1000000000, 0]` has no
    // element, but as many lists.
    let most = count
        .saturating_mul(LISTS_PER_ELEMENT)
        .saturating_add(LISTS_SPARE);
    match lists(&dims) {
        Some(lists) if lists <= most => Ok((dims, count)),
        _ => Err("the `shape` of a tensor has too many lists for its elements".to_owned()),
    }
}

/// How many lists nest in each other for a shape; `None`: more than there can be.
fn lists(dims: &[usize]) -> Option<usize> {
    let (mut level, mut all) = (1usize, 0usize);
    for d in dims {
        all = all.checked_add(level)?;
        level = level.checked_mul(*d)?;
    }
    Some(all)
}

/// The nested lists of an input; its elements are in `data`, or at the front of `binary`.
pub(crate) fn read(tensor: &Value, binary: &mut &[u8]) -> Result<Value> {
    let datatype = tensor["datatype"]
        .as_str()
        .ok_or("a tensor needs a `datatype`")?;
    let size = size_of(datatype)?;
    let (dims, count) = shape(tensor)?;
    let elements = match tensor["parameters"]["binary_data_size"].as_u64() {
        Some(bytes) => {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let (own, rest) = binary
                .split_at_checked(bytes)
                .ok_or("fewer bytes than a tensor says")?;
            *binary = rest;
            decode(datatype, size, own, count)?
        }
        None => {
            let mut flat = Vec::new();
            flatten(
                tensor.get("data").ok_or("a tensor needs `data`")?,
                &mut flat,
            );
            if let Some(odd) = flat.iter().find(|v| !is_of(datatype, v)) {
                return Err(format!("{odd} is no {datatype}"));
            }
            flat
        }
    };
    if elements.len() != count {
        return Err(format!(
            "a shape of {count} elements with {} of them",
            elements.len()
        ));
    }
    Ok(nest(&mut elements.into_iter(), &dims))
}

fn flatten(data: &Value, out: &mut Vec<Value>) {
    match data {
        Value::Array(all) => all.iter().for_each(|v| flatten(v, out)),
        other => out.push(other.clone()),
    }
}

fn is_of(datatype: &str, value: &Value) -> bool {
    match datatype {
        "BOOL" => value.is_boolean(),
        "BYTES" => value.is_string(),
        "FP16" | "FP32" | "FP64" => value.is_number(),
        unsigned if unsigned.starts_with('U') => value.is_u64(),
        _ => value.is_i64() || value.is_u64(),
    }
}

fn nest(elements: &mut impl Iterator<Item = Value>, dims: &[usize]) -> Value {
    match dims {
        [] => elements.next().unwrap_or_default(),
        [n, rest @ ..] => Value::Array((0..*n).map(|_| nest(elements, rest)).collect()),
    }
}

fn decode(datatype: &str, size: usize, bytes: &[u8], count: usize) -> Result<Vec<Value>> {
    if size == 0 {
        return texts(bytes);
    }
    if count.checked_mul(size) != Some(bytes.len()) {
        return Err(format!(
            "{count} elements of {datatype} are not {} bytes",
            bytes.len()
        ));
    }
    bytes
        .chunks_exact(size)
        .map(|b| element(datatype, b))
        .collect()
}

fn texts(mut bytes: &[u8]) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or("a length of BYTES is cut off")?;
        let len = u32::from_le_bytes(*head) as usize;
        let (text, rest) = rest
            .split_at_checked(len)
            .ok_or("an element of BYTES is cut off")?;
        let text = std::str::from_utf8(text).map_err(|_| "an element of BYTES is no UTF-8")?;
        out.push(text.into());
        bytes = rest;
    }
    Ok(out)
}

fn element(datatype: &str, bytes: &[u8]) -> Result<Value> {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u64::from_le_bytes(wide);
    let float = |n: f64| {
        let number = Number::from_f64(n).map(Value::Number);
        number.ok_or_else(|| format!("{n} is no number of JSON"))
    };
    // The sign is in the last byte that is there.
    let shift = 64 - 8 * bytes.len();
    let signed = (unsigned << shift).cast_signed() >> shift;
    match datatype {
        "BOOL" => Ok(Value::Bool(unsigned != 0)),
        "FP16" => float(half(bytes[0], bytes[1])),
        "FP32" => float(f64::from(f32::from_bits(unsigned as u32))),
        "FP64" => float(f64::from_bits(unsigned)),
        name if name.starts_with('U') => Ok(unsigned.into()),
        _ => Ok(signed.into()),
    }
}

/// The number of a half-precision float.
fn half(low: u8, high: u8) -> f64 {
    let bits = u16::from_le_bytes([low, high]);
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => mantissa * 2f64.powi(-24),
        0x1f if mantissa == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// A result as an output; the bytes are those of its elements if it is to go as bytes.
pub(crate) fn write(name: &str, result: &Value, as_bytes: bool) -> (Value, Vec<u8>) {
    let mut dims = Vec::new();
    let mut at = result;
    while let Value::Array(all) = at {
        dims.push(all.len());
        match all.first() {
            Some(first) => at = first,
            None => break,
        }
    }
    let mut flat = Vec::new();
    if !is_even(result, &dims) {
        // Rows of different lengths are texts.
        dims.truncate(1);
        flat.extend(result.as_array().into_iter().flatten().cloned());
    } else {
        flatten(result, &mut flat);
    }
    if dims.is_empty() {
        dims.push(1);
    }
    let is_all = |is: fn(&Value) -> bool| flat.iter().all(is);
    let datatype = if is_all(Value::is_boolean) {
        "BOOL"
    } else if is_all(Value::is_i64) {
        "INT64"
    } else if is_all(Value::is_number) {
        "FP64"
    } else {
        for value in flat.iter_mut().filter(|v| !v.is_string()) {
            *value = value.to_string().into();
        }
        "BYTES"
    };
    let mut output = json!({"name": name, "datatype": datatype, "shape": dims});
    if !as_bytes {
        output["data"] = flat.into();
        return (output, Vec::new());
    }
    let is_whole = datatype == "INT64";
    let bytes: Vec<u8> = flat.iter().flat_map(|v| encode(v, is_whole)).collect();
    output["parameters"] = json!({"binary_data_size": bytes.len()});
    (output, bytes)
}

fn is_even(value: &Value, dims: &[usize]) -> bool {
    match (value, dims) {
        (Value::Array(all), [n, rest @ ..]) => {
            all.len() == *n && all.iter().all(|v| is_even(v, rest))
        }
        (Value::Array(_), []) | (_, [_, ..]) => false,
        (_, []) => true,
    }
}

fn encode(value: &Value, is_whole: bool) -> Vec<u8> {
    match value {
        Value::Bool(b) => vec![u8::from(*b)],
        Value::Number(n) => match n.as_i64() {
            Some(n) if is_whole => n.to_le_bytes().to_vec(),
            _ => n.as_f64().unwrap_or(f64::NAN).to_le_bytes().to_vec(),
        },
        other => {
            let text = other.as_str().unwrap_or_default().as_bytes();
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            [&len.to_le_bytes()[..], text].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: Value, bytes: &[u8]) -> Result<Value> {
        let tensor = json!({"datatype": datatype, "shape": shape,
            "parameters": {"binary_data_size": bytes.len()}});
        let mut rest = bytes;
        let read = read(&tensor, &mut rest)?;
        assert!(rest.is_empty());
        Ok(read)
    }

    #[test]
    fn inputs_come_flat_nested_or_as_bytes() {
        for data in [json!([1, 2.5, 3, 4]), json!([[1, 2.5], [3, 4]])] {
            let tensor = json!({"datatype": "FP32", "shape": [2, 2], "data": data});
            assert_eq!(read(&tensor, &mut &[][..]), Ok(json!([[1, 2.5], [3, 4]])));
        }
        assert_eq!(
            input("FP32", json!([1, 2]), &[0, 0, 128, 63, 0, 0, 0, 192]),
            Ok(json!([[1.0, -2.0]]))
        );
        assert_eq!(
            input("INT16", json!([2]), &[255, 255, 1, 0]),
            Ok(json!([-1, 1]))
        );
        assert_eq!(input("UINT8", json!([2]), &[255, 1]), Ok(json!([255, 1])));
        assert_eq!(
            input("FP16", json!([3]), &[0, 0x3c, 0, 0xc1, 1, 0]),
            Ok(json!([1.0, -2.5, 2f64.powi(-24)]))
        );
        assert_eq!(input("BOOL", json!([2]), &[1, 0]), Ok(json!([true, false])));
        assert_eq!(
            input("BYTES", json!([2]), b"\x02\0\0\0hi\0\0\0\0"),
            Ok(json!(["hi", ""]))
        );
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        for (tensor, want) in [
            (json!({"shape": [1], "data": [1]}), "needs a `datatype`"),
            (
                json!({"datatype": "FP8", "shape": [1], "data": [1]}),
                "`FP8` is not known",
            ),
            (
                json!({"datatype": "FP64", "shape": [-1], "data": [1]}),
                "whole numbers",
            ),
            (
                json!({"datatype": "FP64", "shape": [u64::MAX, 3], "data": [1]}),
                "whole numbers",
            ),
            (
                json!({"datatype": "FP64", "shape": [1_000_000_000], "data": [1]}),
                "with 1 of them",
            ),
            (
                json!({"datatype": "INT8", "shape": [1], "data": ["x"]}),
                "is no INT8",
            ),
            (
                json!({"datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}),
                "fewer bytes",
            ),
        ] {
            let said = read(&tensor, &mut &[][..]).unwrap_err();
            assert!(said.contains(want), "{tensor}: {said}");
        }
        for (datatype, bytes) in [
            ("FP64", &[0; 7][..]),
            ("BYTES", b"\x09\0\0\0x"),
            ("FP32", &[0, 0, 192, 127]),
        ] {
            assert!(input(datatype, json!([1]), bytes).is_err(), "{datatype}");
        }
    }

    #[test]
    fn a_shape_makes_no_more_lists_than_its_elements_are_worth() {
        let shapes = [
            json!([1u64 << 50, 0]),
            json!([100_000, 100_000, 0]),
            json!([1u64 << 40, 1u64 << 40, 0]),
            json!([65, 0]),
        ];
        for shape in shapes {
            let tensor = json!({"datatype": "FP32", "shape": shape, "data": []});
            assert!(read(&tensor, &mut &[][..]).is_err(), "{shape}");
        }
        let mut tall = vec![1u64; DIMENSIONS_MAX];
        tall[0] = 1_000;
        let tensor = json!({"datatype": "INT8", "shape": tall, "data": vec![1; 1_000]});
        assert!(read(&tensor, &mut &[][..]).is_err());
        for (shape, want) in [
            (json!([0, 1u64 << 50]), json!([])),
            (json!([2, 0]), json!([[], []])),
        ] {
            let tensor = json!({"datatype": "FP32", "shape": shape, "data": []});
            assert_eq!(read(&tensor, &mut &[][..]), Ok(want), "{shape}");
        }
        let tensor = json!({"datatype": "INT8", "shape": [2, 1, 1, 1], "data": [1, 2]});
        assert_eq!(read(&tensor, &mut &[][..]), Ok(json!([[[[1]]], [[[2]]]])));
    }

    #[test]
    fn results_become_tensors() {
        let told = |value: Value| write("y", &value, false).0;
        assert_eq!(
            told(json!([[1, 2], [3, 4]])),
            json!({"name": "y", "datatype": "INT64", "shape": [2, 2], "data": [1, 2, 3, 4]})
        );
        assert_eq!(told(json!([1, 2.5]))["datatype"], "FP64");
        assert_eq!(
            told(json!(true)),
            json!({"name": "y", "datatype": "BOOL", "shape": [1], "data": [true]})
        );
        assert_eq!(
            told(json!(["a", null])),
            json!({"name": "y", "datatype": "BYTES", "shape": [2], "data": ["a", "null"]})
        );
        assert_eq!(
            told(json!([[1], [2, 3]])),
            json!({"name": "y", "datatype": "BYTES", "shape": [2], "data": ["[1]", "[2,3]"]})
        );
        assert_eq!(told(json!([]))["shape"], json!([0]));
        let (output, bytes) = write("y", &json!(["hi"]), true);
        assert_eq!(
            (bytes, &output["parameters"]["binary_data_size"]),
            (b"\x02\0\0\0hi".to_vec(), &json!(6))
        );
    }
}
