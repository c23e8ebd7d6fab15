//! Tensors as the JSON of an answer: one as nested lists, several as an object by their names.

use std::io::Write;

use modelv_onnx::{Data, Slot, Tensor};
use serde::Serialize;

use super::words;
use crate::frame::{ANSWER_BYTES_MAX, Part};
use crate::tensor;

/// Most lists for each element, and those that any tensor may have besides.
const LISTS_PER_ELEMENT: usize = 4;
const LISTS_SPARE: usize = 1024;

/// The answer of a model.
pub(super) fn write(slots: &[Slot], outputs: &[Tensor]) -> Part {
    match text(slots, outputs) {
        Ok(text) => Part::Result(text.into()),
        Err(message) => Part::Raised(words(&message)),
    }
}

fn text(slots: &[Slot], outputs: &[Tensor]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    if let ([slot], [tensor]) = (slots, outputs) {
        value(&mut out, slot, tensor)?;
        return Ok(out);
    }
    for (at, (slot, tensor)) in slots.iter().zip(outputs).enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        json(&mut out, &slot.name)?;
        out.push(b':');
        value(&mut out, slot, tensor)?;
    }
    out.push(b'}');
    Ok(out)
}

fn value(out: &mut Vec<u8>, slot: &Slot, tensor: &Tensor) -> Result<(), String> {
    let mut lists = 1usize;
    for d in &tensor.dims {
        lists = lists.saturating_mul((*d).max(1));
    }
    let most = tensor.data.len().saturating_mul(LISTS_PER_ELEMENT);
    if lists > most.saturating_add(LISTS_SPARE) {
        return Err(format!("`{}` has the shape {:?}", slot.name, tensor.dims));
    }
    if let Data::Float(all) = &tensor.data
        && let Some(odd) = all.iter().find(|x| !x.is_finite())
    {
        return Err(format!(
            "`{}` has {odd}, which is no number of JSON",
            slot.name
        ));
    }
    let dims = &tensor.dims;
    match &tensor.data {
        Data::Float(v) => nested(out, dims, v.iter())?,
        Data::Int32(v) => nested(out, dims, v.iter())?,
        Data::Int64(v) => nested(out, dims, v.iter())?,
        Data::Int8(v) => nested(out, dims, v.iter())?,
        Data::Uint8(v) => nested(out, dims, v.iter())?,
        Data::Bool(v) => nested(out, dims, v.iter())?,
        Data::Text(v) => nested(out, dims, v.iter())?,
    }
    match out.len() > ANSWER_BYTES_MAX {
        true => Err("an answer above 256 MiB".into()),
        false => Ok(()),
    }
}

fn nested<'a, T: Serialize + 'a>(
    out: &mut Vec<u8>,
    dims: &[usize],
    mut elements: impl Iterator<Item = &'a T>,
) -> Result<(), String> {
    let mut next = |out: &mut Vec<u8>| elements.next().map_or(Ok(()), |x| json(out, x));
    tensor::nest(out, dims, &mut next)
}

fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), String> {
    serde_json::to_writer(&mut *out, value).map_err(|e| e.to_string())?;
    out.flush().map_err(|e| e.to_string())
}
