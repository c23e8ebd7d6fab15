//! PyTorch's checkpoints: a zip with a pickle that names tensors and members that hold their numbers.
//! The pickle is read, never loaded; what it holds besides tensors is left alone.

use std::collections::BTreeMap;

use super::fields::bad;
use super::numbers::Number;
use super::zip::{Member, member_place, zip_members};
use super::{Source, Tensor, TensorError, Tensors, read_at};
use crate::driver::{Refusal, TensorKind};
use crate::pickle::{self, TorchTensor};

fn beyond(text: &str) -> TensorError {
    Refusal::Beyond(text.to_owned()).into()
}

pub(super) fn read(source: &mut dyn Source, size: u64) -> Result<Tensors, TensorError> {
    let mut head = [0; 2];
    let have = usize::try_from(size.min(2)).unwrap_or(0);
    read_at(source, 0, &mut head[..have])?;
    if head[0] == 0x80 {
        return Err(beyond("it is of PyTorch's old format"));
    }
    let members = zip_members(source, size)?;
    let is_pickle = |m: &&Member| m.name == "data.pkl" || m.name.ends_with("/data.pkl");
    let mut pickles = members.iter().filter(is_pickle);
    let (Some(member), None) = (pickles.next(), pickles.next()) else {
        return Err(bad("it has not exactly one data.pkl"));
    };
    let folder = member.name.trim_end_matches("data.pkl").to_owned();
    let mut places = BTreeMap::new();
    for member in &members {
        if let Some(name) = member.name.strip_prefix(&folder)
            && (name == "byteorder" || name == "data.pkl" || name.starts_with("data/"))
        {
            if member.method != 0 || member.bytes != member.plain {
                return Err(beyond("its members are compressed"));
            }
            places.insert(name.to_owned(), member_place(source, size, member)?);
        }
    }
    if let Some((start, end)) = places.get("byteorder") {
        let mut order = vec![0; usize::try_from((end - start).min(16)).unwrap_or(0)];
        read_at(source, *start, &mut order)?;
        if order != b"little" {
            return Err(beyond("its numbers are big-endian"));
        }
    }
    let (start, end) = places.get("data.pkl").copied().unwrap_or((0, 0));
    let reading = pickle::read(source, start, end)?;
    if let Some(why) = &reading.trouble {
        return Err(bad(&format!("its pickle can't be followed: {why}")));
    }
    let mut out = Tensors::new();
    for found in pickle::tensors_of(&reading) {
        let place = places.get(&format!("data/{}", found.storage)).copied();
        let missing = || bad(&format!("the numbers of `{}` are missing", found.name));
        let tensor = tensor(&found, place.ok_or_else(missing)?)?;
        out.insert(found.name, tensor);
    }
    Ok(out)
}

/// Name and numbers of a storage's class.
fn class(name: &str) -> (&'static str, Option<Number>) {
    match name {
        "Double" => ("float64", Some(Number::F64)),
        "Float" => ("float32", Some(Number::F32)),
        "Half" => ("float16", Some(Number::F16)),
        "BFloat16" => ("bfloat16", Some(Number::Bf16)),
        "Long" => ("int64", Some(Number::I64)),
        "Int" => ("int32", Some(Number::I32)),
        "Short" => ("int16", Some(Number::I16)),
        "Char" => ("int8", Some(Number::I8)),
        "Byte" => ("uint8", Some(Number::U8)),
        "Bool" => ("bool", Some(Number::U8)),
        _ => ("other", None),
    }
}

fn tensor(found: &TorchTensor, (start, end): (u64, u64)) -> Result<Tensor, TensorError> {
    let (dtype, number) = class(&found.class);
    let outside = || bad(&format!("`{}` is outside of its storage", found.name));
    let kind = TensorKind {
        dtype: dtype.to_owned(),
        shape: found.shape.clone(),
    };
    let whole = Tensor {
        kind,
        number: None,
        fortran: false,
        offset: start,
        bytes: end - start,
        block: None,
    };
    let Some(number) = number.filter(|_| is_dense(&found.shape, &found.stride)) else {
        // Strided views are compared by the storage they look at.
        return Ok(whole);
    };
    let width = number.width() as u64;
    let bytes = super::bytes_of(&found.shape, width).ok_or_else(outside)?;
    let skipped = found.offset.checked_mul(width).ok_or_else(outside)?;
    let offset = start.checked_add(skipped).ok_or_else(outside)?;
    if offset.checked_add(bytes).is_none_or(|e| e > end) {
        return Err(outside());
    }
    Ok(Tensor {
        number: Some(number),
        offset,
        bytes,
        ..whole
    })
}

/// Whether numbers follow each other row by row. Strides of dimensions of one don't matter.
fn is_dense(shape: &[u64], stride: &[u64]) -> bool {
    let mut want = 1u64;
    let mut sizes = shape.iter().rev().zip(stride.iter().rev());
    let follows = |(size, step): (&u64, &u64)| {
        let fits = *size <= 1 || *step == want;
        want = want.saturating_mul(*size);
        fits
    };
    shape.len() == stride.len() && sizes.all(follows)
}
