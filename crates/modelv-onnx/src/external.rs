//! Tensors whose elements are in other files.
//!
//! rten takes few names for such files, and wants all said of a place that ONNX lets out: they get names here.

use std::collections::HashMap;

use crate::error::{Error, Result, malformed};
use crate::files::FILES_BYTES_MAX;
use crate::graph::check_whole;
use crate::proto::{EXTERNAL, GraphProto, Pair, TensorProto, element};

/// Files by the names that the tensors have for them.
pub(crate) type Files = HashMap<String, Vec<u8>>;

/// Brings the files that tensors are in, and has the tensors call them by other names.
pub(crate) fn take(
    graph: &mut GraphProto,
    other: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
) -> Result<Files> {
    let mut taken = Taken {
        other,
        names: HashMap::new(),
        files: Files::new(),
        total: 0,
    };
    taken.graph(graph)?;
    Ok(taken.files)
}

struct Taken<'a> {
    other: &'a mut dyn FnMut(&str) -> Result<Vec<u8>>,
    /// What files were called, and are now.
    names: HashMap<String, String>,
    files: Files,
    total: u64,
}

impl Taken<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        for tensor in &mut graph.initializer {
            self.tensor(tensor)?;
        }
        for attribute in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                self.tensor(tensor)?;
            }
            for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                self.graph(inner)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<()> {
        if tensor.data_location != Some(EXTERNAL) {
            return Ok(());
        }
        let name = tensor.name.clone().unwrap_or_default();
        let bad = |what: &str| malformed(format!("the tensor `{name}` is in a file, {what}"));
        let said = |key: &str| {
            let mut pairs = tensor.external_data.iter();
            let pair = pairs.find(|p| p.key.as_deref() == Some(key));
            pair.and_then(|p| p.value.clone())
        };
        let number = |key: &str| match said(key) {
            None => Ok(None),
            Some(text) => {
                let number = text.parse::<usize>().map(Some);
                number.map_err(|_| bad("and does not say where"))
            }
        };
        let place = said("location").ok_or_else(|| bad("which has no name"))?;
        let from = number("offset")?.unwrap_or(0);
        let length = match number("length")? {
            Some(length) => length,
            None => size(tensor).ok_or_else(|| bad("and does not say how much of it"))?,
        };
        let place = self.file(place)?;
        let bytes = self.files.get(&place).map_or(&[][..], Vec::as_slice);
        let end = from.checked_add(length).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| bad("which is too short"))?;
        if tensor.data_type == Some(element::INT64) {
            let numbers = bytes[from..end].as_chunks::<8>().0.iter();
            check_whole(&name, numbers.map(|b| i64::from_le_bytes(*b)))?;
        }
        let pair = |key: &str, value: String| Pair {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        tensor.external_data = vec![
            pair("location", place),
            pair("offset", from.to_string()),
            pair("length", length.to_string()),
        ];
        Ok(())
    }

    /// What a file is called now.
    fn file(&mut self, place: String) -> Result<String> {
        if let Some(name) = self.names.get(&place) {
            return Ok(name.clone());
        }
        let bytes = (self.other)(&place)?;
        self.total += bytes.len() as u64;
        if self.total > FILES_BYTES_MAX {
            let text = "its tensors are in files of more than 16 GiB";
            return Err(Error::Unsupported(text.into()));
        }
        let name = format!("{}.data", self.names.len());
        self.files.insert(name.clone(), bytes);
        self.names.insert(place, name.clone());
        Ok(name)
    }
}

/// Bytes of all elements of a tensor.
fn size(tensor: &TensorProto) -> Option<usize> {
    let one = match tensor.data_type? {
        element::UINT8 | element::INT8 | element::BOOL => 1,
        element::FLOAT16 => 2,
        element::FLOAT | element::INT32 => 4,
        element::INT64 | element::DOUBLE => 8,
        _ => return None,
    };
    let mut dims = tensor.dims.iter();
    dims.try_fold(one, |n: usize, d| n.checked_mul(usize::try_from(*d).ok()?))
}
