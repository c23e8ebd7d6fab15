//! Tensors of the Open Inference Protocol, as JSON or as bytes behind it, to and from the JSON that
//! functions take and give.
//!
//! Must never make more numbers than bytes came in, nor lists out of all proportion to them. Elements are
//! written one by one: a value of JSON in memory takes 32 bytes, which a byte of a tensor may be one of.

mod element;
mod result;

use serde_json::Value;

use element::{is_of, number_of, size_of, write_next};
pub(crate) use element::{utf8, write as write_plain, write_float};
pub(crate) use result::{Tensor, fields, write};

/// Most dimensions of one tensor.
const DIMENSIONS_MAX: usize = 32;
/// Most lists for each element, and those that any tensor may have besides.
const LISTS_PER_ELEMENT: usize = 4;
const LISTS_SPARE: usize = 64;

type Result<T, E = String> = std::result::Result<T, E>;

/// The dimensions of a tensor that JSON describes.
fn shape(tensor: &Value) -> Result<Vec<usize>> {
    let list = tensor["shape"].as_array();
    let dimension = |v: &Value| usize::try_from(v.as_u64()?).ok();
    let dims = list.and_then(|l| l.iter().map(dimension).collect());
    dims.ok_or_else(no_shape)
}

fn no_shape() -> String {
    "a tensor needs a `shape` of whole numbers".to_owned()
}

/// How many elements dimensions make.
fn count(dims: &[usize]) -> Result<usize> {
    let product = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let count = product
        .filter(|_| dims.len() <= DIMENSIONS_MAX)
        .ok_or_else(no_shape)?;
    // A shape costs its sender a few bytes, the lists it stands for cost memory: `[1000000000, 0]` has no
    // element, but as many lists.
    let most = count
        .saturating_mul(LISTS_PER_ELEMENT)
        .saturating_add(LISTS_SPARE);
    match lists(dims) {
        Some(lists) if lists <= most => Ok(count),
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

/// The elements of a tensor, as they came.
pub(crate) enum Elements<'a> {
    Bytes(&'a [u8]),
    /// So many; each call writes the next.
    Each(usize, &'a mut dyn FnMut(&mut Vec<u8>) -> Result<()>),
}

/// The nested lists of an input, in JSON; its elements are in `data`, or at the front of `binary`.
pub(crate) fn read(tensor: &Value, binary: &mut &[u8]) -> Result<Vec<u8>> {
    let datatype = tensor["datatype"]
        .as_str()
        .ok_or("a tensor needs a `datatype`")?;
    let dims = shape(tensor)?;
    if let Some(bytes) = tensor["parameters"]["binary_data_size"].as_u64() {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let (own, rest) = binary
            .split_at_checked(bytes)
            .ok_or("fewer bytes than a tensor says")?;
        *binary = rest;
        return nested(datatype, &dims, Elements::Bytes(own));
    }
    let data = tensor.get("data").ok_or("a tensor needs `data`")?;
    let mut leaves = Leaves::of(data);
    let mut next = |out: &mut Vec<u8>| match leaves.next() {
        Some(odd) if !is_of(datatype, odd) => Err(format!("{odd} is no {datatype}")),
        value => write_plain(out, &value),
    };
    let elements = Elements::Each(Leaves::of(data).count(), &mut next);
    nested(datatype, &dims, elements)
}

/// Elements as nested lists, in JSON.
pub(crate) fn nested(datatype: &str, dims: &[usize], elements: Elements<'_>) -> Result<Vec<u8>> {
    size_of(datatype)?;
    let count = count(dims)?;
    let found = match &elements {
        Elements::Bytes(bytes) => number_of(datatype, bytes, count)?,
        Elements::Each(number, _) => *number,
    };
    if found != count {
        return Err(format!("a shape of {count} elements with {found} of them"));
    }
    let mut out = Vec::new();
    match elements {
        Elements::Bytes(mut bytes) => {
            let mut next = |out: &mut Vec<u8>| write_next(datatype, &mut bytes, out);
            nest(&mut out, dims, &mut next)?;
        }
        Elements::Each(_, next) => nest(&mut out, dims, next)?,
    }
    Ok(out)
}

/// What is in nested lists, in its order.
struct Leaves<'a>(Vec<std::slice::Iter<'a, Value>>);

impl<'a> Leaves<'a> {
    fn of(data: &'a Value) -> Self {
        Self(vec![std::slice::from_ref(data).iter()])
    }
}

impl<'a> Iterator for Leaves<'a> {
    type Item = &'a Value;

    fn next(&mut self) -> Option<&'a Value> {
        loop {
            match self.0.last_mut()?.next() {
                None => {
                    self.0.pop();
                }
                Some(Value::Array(below)) => self.0.push(below.iter()),
                Some(leaf) => return Some(leaf),
            }
        }
    }
}

/// Writes lists in lists, down to the elements.
pub(crate) fn nest(
    out: &mut Vec<u8>,
    dims: &[usize],
    next: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let [number, rest @ ..] = dims else {
        return next(out);
    };
    out.push(b'[');
    for at in 0..*number {
        if at > 0 {
            out.push(b',');
        }
        nest(out, rest, next)?;
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a text of JSON says.
    fn said(text: Result<Vec<u8>>) -> Result<Value> {
        text.map(|t| serde_json::from_slice(&t).unwrap())
    }

    fn input(datatype: &str, shape: Value, bytes: &[u8]) -> Result<Value> {
        let tensor = json!({"datatype": datatype, "shape": shape,
            "parameters": {"binary_data_size": bytes.len()}});
        let mut rest = bytes;
        let read = said(read(&tensor, &mut rest))?;
        assert!(rest.is_empty());
        Ok(read)
    }

    #[test]
    fn inputs_come_flat_nested_or_as_bytes() {
        for data in [json!([1, 2.5, 3, 4]), json!([[1, 2.5], [3, 4]])] {
            let tensor = json!({"datatype": "FP32", "shape": [2, 2], "data": data});
            assert_eq!(
                said(read(&tensor, &mut &[][..])),
                Ok(json!([[1, 2.5], [3, 4]]))
            );
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
            let why = read(&tensor, &mut &[][..]).unwrap_err();
            assert!(why.contains(want), "{tensor}: {why}");
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
            assert_eq!(said(read(&tensor, &mut &[][..])), Ok(want), "{shape}");
        }
        let tensor = json!({"datatype": "INT8", "shape": [2, 1, 1, 1], "data": [1, 2]});
        assert_eq!(
            said(read(&tensor, &mut &[][..])),
            Ok(json!([[[[1]]], [[[2]]]]))
        );
    }
}
