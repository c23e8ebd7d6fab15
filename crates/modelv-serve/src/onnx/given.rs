//! A body as tensors: nested lists, by the names of the inputs where there are several.
//!
//! Numbers go straight to where they stay; lists and their lengths are counted, never kept.

use std::fmt;

use modelv_onnx::{Data, Kind, Slot, Tensor};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Most lists inside each other.
const DEPTH_MAX: usize = 32;

/// The inputs of a request, in the order of the model.
///
/// # Errors
/// What is wrong, for the client.
pub(super) fn read(body: &[u8], slots: &[Slot]) -> Result<Vec<Tensor>, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let whole = Request { slots, depth: 0 };
    let mut given = match whole.deserialize(&mut json) {
        Ok(given) => given,
        Err(e) => return Err(plain(&e)),
    };
    if let (Some(one), [slot]) = (given.one.take(), slots) {
        return Ok(vec![one.tensor(slot)?]);
    }
    let each = slots.iter().map(|slot| {
        let mut all = given.named.iter_mut();
        let own = all.find(|(name, _)| *name == slot.name);
        let own = own.map(|(_, lists)| std::mem::take(lists));
        own.ok_or_else(|| missing(slot, slots))?.tensor(slot)
    });
    each.collect()
}

fn missing(slot: &Slot, slots: &[Slot]) -> String {
    let names: Vec<String> = slots.iter().map(|s| format!("`{}`", s.name)).collect();
    format!(
        "`{}` of the inputs is missing: the model takes an object with {}",
        slot.name,
        names.join(", ")
    )
}

/// Without the place: it is one in a text that may be our own.
fn plain(e: &serde_json::Error) -> String {
    let text = e.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

#[derive(Default)]
struct Given {
    one: Option<Lists>,
    named: Vec<(String, Lists)>,
}

/// `{"inputs": ...}`, or what would be in it.
#[derive(Clone, Copy)]
struct Request<'a> {
    slots: &'a [Slot],
    /// 1 below `inputs`.
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Given, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lists of numbers, or an object of them by the names of the inputs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut given = Given::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "inputs" && self.depth == 0 {
                let below = Request { depth: 1, ..self };
                given = map.next_value_seed(below)?;
            } else if self.slots.iter().any(|s| s.name == name) {
                let mut lists = Lists::default();
                map.next_value_seed(Level(&mut lists, 0))
                    .map_err(|e| A::Error::custom(format_args!("`{name}`: {e}")))?;
                given.named.push((name, lists));
            } else if self.depth == 1 {
                return Err(A::Error::custom(format_args!(
                    "the model has no input `{name}`"
                )));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(given)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Given, A::Error> {
        let mut lists = Lists::default();
        Level(&mut lists, 0).visit_seq(seq)?;
        Ok(Given {
            one: Some(lists),
            named: Vec::new(),
        })
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<Given, E> {
        one(|level| level.visit_f64(x))
    }

    fn visit_i64<E: Error>(self, x: i64) -> Result<Given, E> {
        one(|level| level.visit_i64(x))
    }

    fn visit_u64<E: Error>(self, x: u64) -> Result<Given, E> {
        one(|level| level.visit_u64(x))
    }

    fn visit_bool<E: Error>(self, x: bool) -> Result<Given, E> {
        one(|level| level.visit_bool(x))
    }

    fn visit_str<E: Error>(self, x: &str) -> Result<Given, E> {
        one(|level| level.visit_str(x))
    }
}

fn one<E: Error>(visit: impl FnOnce(Level<'_>) -> Result<(), E>) -> Result<Given, E> {
    let mut lists = Lists::default();
    visit(Level(&mut lists, 0))?;
    Ok(Given {
        one: Some(lists),
        named: Vec::new(),
    })
}

/// Elements of one kind, the first of which decides.
#[derive(Default)]
enum Elements {
    #[default]
    None,
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

/// Nested lists of equal lengths.
#[derive(Default)]
struct Lists {
    /// The length of the lists of each level, as far as one has ended.
    dims: Vec<Option<usize>>,
    /// The level of elements.
    leaf: Option<usize>,
    elements: Elements,
}

/// A value inside so many lists.
struct Level<'a>(&'a mut Lists, usize);

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl Level<'_> {
    /// That elements are here, and no deeper or higher.
    fn leaf<E: Error>(&mut self) -> Result<&mut Elements, E> {
        if *self.0.leaf.get_or_insert(self.1) != self.1 || self.0.dims.len() > self.1 {
            return Err(E::custom("the lists are not nested evenly"));
        }
        Ok(&mut self.0.elements)
    }
}

fn mixed<E: Error>() -> E {
    E::custom("the lists hold values of several types")
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nested lists of numbers, texts or truth values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(lists, level) = self;
        if level >= DEPTH_MAX || lists.leaf.is_some_and(|leaf| leaf <= level) {
            return Err(A::Error::custom("the lists are not nested evenly"));
        }
        if lists.dims.len() <= level {
            lists.dims.resize(level + 1, None);
        }
        let mut length = 0;
        while seq.next_element_seed(Level(lists, level + 1))?.is_some() {
            length += 1;
        }
        if *lists.dims[level].get_or_insert(length) != length {
            return Err(A::Error::custom("the lists have different lengths"));
        }
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, x: i64) -> Result<(), E> {
        match self.leaf()? {
            empty @ Elements::None => *empty = Elements::Ints(vec![x]),
            Elements::Ints(all) => all.push(x),
            #[expect(clippy::cast_precision_loss, reason = "a number among floats is one")]
            Elements::Floats(all) => all.push(x as f64),
            _ => return Err(mixed()),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, x: u64) -> Result<(), E> {
        match i64::try_from(x) {
            Ok(x) => self.visit_i64(x),
            #[expect(clippy::cast_precision_loss, reason = "too large for a whole number")]
            Err(_) => self.visit_f64(x as f64),
        }
    }

    fn visit_f64<E: Error>(mut self, x: f64) -> Result<(), E> {
        let elements = self.leaf()?;
        if let Elements::Ints(all) = elements {
            #[expect(clippy::cast_precision_loss, reason = "a number among floats is one")]
            let floats = all.iter().map(|n| *n as f64).collect();
            *elements = Elements::Floats(floats);
        }
        match elements {
            empty @ Elements::None => *empty = Elements::Floats(vec![x]),
            Elements::Floats(all) => all.push(x),
            _ => return Err(mixed()),
        }
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, x: bool) -> Result<(), E> {
        match self.leaf()? {
            empty @ Elements::None => *empty = Elements::Bools(vec![x]),
            Elements::Bools(all) => all.push(x),
            _ => return Err(mixed()),
        }
        Ok(())
    }

    fn visit_str<E: Error>(mut self, x: &str) -> Result<(), E> {
        match self.leaf()? {
            empty @ Elements::None => *empty = Elements::Texts(vec![x.to_owned()]),
            Elements::Texts(all) => all.push(x.to_owned()),
            _ => return Err(mixed()),
        }
        Ok(())
    }
}

impl Lists {
    /// The tensor of an input. Its shape is looked at where it is run.
    fn tensor(self, slot: &Slot) -> Result<Tensor, String> {
        let mut dims: Vec<usize> = self.dims.iter().map(|d| d.unwrap_or(0)).collect();
        // An empty list does not say what is in it.
        if let Elements::None = self.elements {
            let rest = slot.dims.iter().skip(dims.len());
            dims.extend(rest.map(|d| d.unwrap_or(0)));
        }
        let data = data(self.elements, slot.kind);
        let data = data.map_err(|odd| {
            let want = slot.kind.datatype();
            format!("`{}`: {odd} is no {want}, which the model takes", slot.name)
        })?;
        Tensor::new(dims, data).map_err(|e| format!("`{}`: {e}", slot.name))
    }
}

/// Elements of the kind that the model takes; the other way around: what is none.
fn data(elements: Elements, kind: Kind) -> Result<Data, String> {
    let ints = match (kind, elements) {
        (Kind::Float, Elements::Floats(all)) => {
            let narrow = |x: f64| {
                Some(x as f32)
                    .filter(|n| n.is_finite())
                    .ok_or(x.to_string())
            };
            return Ok(Data::Float(
                all.into_iter().map(narrow).collect::<Result<_, _>>()?,
            ));
        }
        #[expect(clippy::cast_precision_loss, reason = "as any number")]
        (Kind::Float, Elements::Ints(all)) => {
            return Ok(Data::Float(all.into_iter().map(|n| n as f32).collect()));
        }
        (Kind::Bool, Elements::Bools(all)) => return Ok(Data::Bool(all)),
        (Kind::Text, Elements::Texts(all)) => return Ok(Data::Text(all)),
        (Kind::Float, Elements::None) => return Ok(Data::Float(Vec::new())),
        (Kind::Bool, Elements::None) => return Ok(Data::Bool(Vec::new())),
        (Kind::Text, Elements::None) => return Ok(Data::Text(Vec::new())),
        (Kind::Int32 | Kind::Int64 | Kind::Int8 | Kind::Uint8, Elements::None) => Vec::new(),
        (Kind::Int32 | Kind::Int64 | Kind::Int8 | Kind::Uint8, Elements::Ints(all)) => all,
        // JSON has one type for numbers: `1.0` is a whole one.
        (Kind::Int32 | Kind::Int64 | Kind::Int8 | Kind::Uint8, Elements::Floats(all)) => {
            let whole = |x: f64| match x.fract() == 0.0 && x.abs() < 9e15 {
                true => Ok(x as i64),
                false => Err(x.to_string()),
            };
            all.into_iter().map(whole).collect::<Result<_, _>>()?
        }
        (_, Elements::Texts(all)) => return Err(format!("{:?}", all.first())),
        (_, Elements::Bools(all)) => return Err(format!("{}", all.first() == Some(&true))),
        (_, Elements::Ints(all)) => return Err(format!("{}", all.first().unwrap_or(&0))),
        (_, Elements::Floats(all)) => return Err(format!("{}", all.first().unwrap_or(&0.0))),
    };
    Ok(match kind {
        Kind::Int32 => Data::Int32(narrowed(ints)?),
        Kind::Int8 => Data::Int8(narrowed(ints)?),
        Kind::Uint8 => Data::Uint8(narrowed(ints)?),
        _ => Data::Int64(ints),
    })
}

fn narrowed<T: TryFrom<i64>>(ints: Vec<i64>) -> Result<Vec<T>, String> {
    let narrow = |n: i64| T::try_from(n).map_err(|_| n.to_string());
    ints.into_iter().map(narrow).collect()
}

#[cfg(test)]
#[path = "given_tests.rs"]
mod tests;
