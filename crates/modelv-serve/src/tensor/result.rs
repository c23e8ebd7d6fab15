//! What a function gave, as a tensor: its shape and type, then its elements one by one.
//!
//! It is read as text, twice, and never kept as a value, which may be many times as large.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::element::encode;
use super::write_plain;
use crate::json_text::Looked;

type Result<T, E = serde_json::Error> = std::result::Result<T, E>;

/// A result as a tensor.
pub(crate) struct Tensor<'a> {
    pub(crate) datatype: &'static str,
    pub(crate) dims: Vec<usize>,
    text: &'a [u8],
    /// How deep its elements are.
    depth: usize,
}

impl<'a> Tensor<'a> {
    /// Of what a function gave, whatever it is; of this type, where it is known.
    ///
    /// # Errors
    /// It is no JSON.
    pub(crate) fn of(text: &'a [u8], known: Option<&'static str>) -> Result<Self> {
        let mut seen = Seen::default();
        walk(text, &mut |found, depth| seen.add(&found, depth))?;
        let is_even = seen.is_even && seen.leaves.is_none_or(|d| d == seen.dims.len());
        // Rows of different lengths are texts.
        let depth = if is_even { seen.dims.len() } else { 1 };
        let mut dims = seen.dims;
        dims.truncate(depth);
        let datatype = match known {
            Some(known) => known,
            None if !is_even => "BYTES",
            None => seen.kinds.datatype(),
        };
        // A function's single value is a list of one; a model's is what it says.
        if dims.is_empty() && known.is_none() {
            dims.push(1);
        }
        Ok(Self {
            datatype,
            dims,
            text,
            depth,
        })
    }

    /// Its elements, each as a value of its type, as far as it is one.
    ///
    /// # Errors
    /// It is no JSON.
    pub(crate) fn each(&self, take: &mut dyn FnMut(Value)) -> Result<()> {
        let is_text = self.datatype == "BYTES";
        let mut reader = serde_json::Deserializer::from_slice(self.text);
        let element = &mut |value: Value| {
            take(match value {
                odd if is_text && !odd.is_string() => odd.to_string().into(),
                plain => plain,
            });
        };
        let level = Elements {
            depth: self.depth,
            take: element,
        };
        level.deserialize(&mut reader)
    }

    /// The bytes of its elements.
    ///
    /// # Errors
    /// It is no JSON.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.each(&mut |value| encode(self.datatype, &value, &mut out))?;
        Ok(out)
    }
}

/// A result as an output, in JSON; the bytes are those of its elements if it is to go as bytes.
///
/// # Errors
/// It is no JSON.
pub(crate) fn write(
    name: &str,
    result: &[u8],
    datatype: Option<&'static str>,
    as_bytes: bool,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let tensor = Tensor::of(result, datatype)?;
    let mut output = json!({"name": name, "datatype": tensor.datatype, "shape": tensor.dims});
    if as_bytes {
        let bytes = tensor.bytes()?;
        output["parameters"] = json!({"binary_data_size": bytes.len()});
        return Ok((output.to_string().into_bytes(), bytes));
    }
    let mut text = output.to_string().into_bytes();
    text.pop();
    text.extend_from_slice(b",\"data\":[");
    let mut is_first = true;
    tensor.each(&mut |value| {
        if !std::mem::take(&mut is_first) {
            text.push(b',');
        }
        // What was read can be written.
        let _ = write_plain(&mut text, &value);
    })?;
    text.extend_from_slice(b"]}");
    Ok((text, Vec::new()))
}

/// What is found on a way through a result.
enum Found {
    Bool,
    /// In 64 bits with a sign.
    Whole,
    Number,
    /// Anything else that is no list.
    Other,
    /// A list of so many, told at its end.
    List(usize),
}

/// Which kinds of elements there are.
#[derive(Default)]
struct Kinds {
    bools: bool,
    wholes: bool,
    numbers: bool,
    others: bool,
}

impl Kinds {
    fn datatype(&self) -> &'static str {
        match self {
            Self { others: true, .. } => "BYTES",
            Self {
                bools,
                wholes: false,
                numbers: false,
                ..
            } if *bools => "BOOL",
            Self { bools: true, .. } => "BYTES",
            Self { numbers: true, .. } => "FP64",
            Self { wholes: true, .. } => "INT64",
            // Of none at all, each of them is whatever one likes.
            _ => "BOOL",
        }
    }
}

/// What a result is.
struct Seen {
    /// The lengths of the first lists in each other.
    dims: Vec<usize>,
    /// How deep what is no list is.
    leaves: Option<usize>,
    is_even: bool,
    kinds: Kinds,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            dims: Vec::new(),
            leaves: None,
            is_even: true,
            kinds: Kinds::default(),
        }
    }
}

impl Seen {
    fn add(&mut self, found: &Found, depth: usize) {
        if let Found::List(length) = found {
            // Inner lists end first.
            if self.dims.len() <= depth {
                self.dims.resize(depth + 1, usize::MAX);
            }
            match &mut self.dims[depth] {
                unknown if *unknown == usize::MAX => *unknown = *length,
                known => self.is_even &= known == length,
            }
            return;
        }
        self.is_even &= *self.leaves.get_or_insert(depth) == depth;
        match found {
            Found::Bool => self.kinds.bools = true,
            Found::Whole => self.kinds.wholes = true,
            Found::Number => self.kinds.numbers = true,
            Found::Other | Found::List(_) => self.kinds.others = true,
        }
    }
}

fn walk(text: &[u8], tell: &mut dyn FnMut(Found, usize)) -> Result<()> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    Walk { depth: 0, tell }.deserialize(&mut reader)?;
    reader.end()
}

/// A way through a result.
struct Walk<'t> {
    depth: usize,
    tell: &'t mut dyn FnMut(Found, usize),
}

impl Walk<'_> {
    fn found<E>(self, found: Found) -> Result<(), E> {
        (self.tell)(found, self.depth);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.found(Found::Bool)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.found(Found::Whole)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.found(match i64::try_from(value) {
            Ok(_) => Found::Whole,
            Err(_) => Found::Number,
        })
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.found(Found::Number)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.found(Found::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.found(Found::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        let (mut length, depth) = (0, self.depth + 1);
        while all
            .next_element_seed(Walk {
                depth,
                tell: &mut *self.tell,
            })?
            .is_some()
        {
            length += 1;
        }
        self.found(Found::List(length))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while all.next_entry::<Looked, Looked>()?.is_some() {}
        self.found(Found::Other)
    }
}

/// The elements at a depth.
struct Elements<'t> {
    depth: usize,
    take: &'t mut dyn FnMut(Value),
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > 0 {
            return deserializer.deserialize_seq(self);
        }
        (self.take)(Value::deserialize(deserializer)?);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        let depth = self.depth - 1;
        while all
            .next_element_seed(Elements {
                depth,
                take: &mut *self.take,
            })?
            .is_some()
        {}
        Ok(())
    }
}

/// The fields of an object, each with the text of its value; nothing where a text is no object.
pub(crate) fn fields(text: &[u8]) -> Vec<(String, &[u8])> {
    let mut out = Vec::new();
    let Some(inside) = text.trim_ascii().strip_prefix(b"{") else {
        return out;
    };
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let (mut start, mut colon) = (0, None);
    for (at, byte) in inside.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b':' if depth == 0 => colon = colon.or(Some(at)),
            b',' | b'}' if depth == 0 => {
                let name = colon.and_then(|c| serde_json::from_slice(&inside[start..c]).ok());
                if let (Some(name), Some(colon)) = (name, colon.take()) {
                    out.push((name, inside[colon + 1..at].trim_ascii()));
                }
                start = at + 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
#[path = "result_tests.rs"]
mod tests;
