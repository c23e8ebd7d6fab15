//! Whether a request is what the types of `predict` say: the part of JSON Schema that workers write.
//!
//! Words it does not know demand nothing. It is looked at while it is read and nothing of it is kept: a value of
//! JSON in memory is many times as large as its text.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::json_text::Looked;

/// What is expected of a field that is missing.
pub(crate) const THERE: &str = "there";
/// How deep a schema is followed: it may lead to itself.
const DEPTH: u8 = 64;

/// A place as a JSON pointer, and what is expected there.
type Misfit = (String, String);

/// The first place of the inputs that does not fit. They are what a body has under this name, or all of it.
///
/// # Errors
/// The body is no JSON.
pub(crate) fn misfit(schema: &Value, body: &[u8]) -> Result<Option<Misfit>, serde_json::Error> {
    let inputs = RefCell::new(None);
    let level = Level::of(schema, [(schema, DEPTH)]);
    let look = Look {
        level: &level,
        inputs: Some(&inputs),
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let whole = look.deserialize(&mut reader)?;
    reader.end()?;
    let named = inputs.into_inner();
    Ok(named.unwrap_or_else(|| level.first(whole)))
}

/// Schemas that one value is looked at with, as far as references and alternatives leave them open.
struct Level<'a> {
    root: &'a Value,
    plain: Vec<Plain<'a>>,
    /// One for each schema that was asked for.
    nodes: Vec<Node>,
}

/// A schema that says itself what it expects.
struct Plain<'a> {
    schema: &'a Value,
    depth: u8,
}

enum Node {
    /// The number of one.
    Plain(usize),
    Any(Vec<Node>),
    Free,
}

impl<'a> Level<'a> {
    fn of(root: &'a Value, schemas: impl IntoIterator<Item = (&'a Value, u8)>) -> Self {
        let mut out = Self {
            root,
            plain: Vec::new(),
            nodes: Vec::new(),
        };
        for (schema, depth) in schemas {
            let node = out.add(schema, depth);
            out.nodes.push(node);
        }
        out
    }

    fn add(&mut self, schema: &'a Value, depth: u8) -> Node {
        let Some(depth) = depth.checked_sub(1) else {
            return Node::Free;
        };
        let name = schema["$ref"].as_str();
        if let Some(name) = name.and_then(|r| r.strip_prefix("#/$defs/")) {
            return self.add(&self.root["$defs"][name], depth);
        }
        if let Some(all) = schema["anyOf"].as_array() {
            return Node::Any(all.iter().map(|s| self.add(s, depth)).collect());
        }
        self.plain.push(Plain { schema, depth });
        Node::Plain(self.plain.len() - 1)
    }

    /// What does not fit, for each schema that was asked for.
    fn each(&self, mut found: Found) -> Found {
        if found.is_empty() {
            return found;
        }
        self.nodes.iter().map(|n| verdict(n, &mut found)).collect()
    }

    /// The same for the only one.
    fn first(&self, found: Found) -> Option<Misfit> {
        self.each(found).into_iter().next().flatten()
    }

    /// Whether a value is of the kinds that are expected.
    fn kinds(&self, seen: &Seen<'_>) -> Found {
        if self.plain.iter().all(|p| p.kind(seen).is_none()) {
            return Vec::new();
        }
        self.plain.iter().map(|p| p.kind(seen)).collect()
    }
}

fn verdict(node: &Node, found: &mut Found) -> Option<Misfit> {
    match node {
        Node::Free => None,
        Node::Plain(at) => found[*at].take(),
        Node::Any(all) => {
            let fits = |n| verdict(n, found).is_none();
            match all.iter().any(fits) {
                true => None,
                false => Some((String::new(), "one of several types".into())),
            }
        }
    }
}

/// What does not fit, for each plain schema of a level; empty: all fits.
type Found = Vec<Option<Misfit>>;

/// A value, as far as its schema is about itself.
enum Seen<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a str),
    Array,
    Object,
}

impl Plain<'_> {
    fn kind(&self, seen: &Seen<'_>) -> Option<Misfit> {
        let wrong = |want: String| Some((String::new(), want));
        if let Some(all) = self.schema["enum"].as_array()
            && !all.iter().any(|one| seen.is(one))
        {
            return wrong(format!("one of {}", self.schema["enum"]));
        }
        match self.schema["type"].as_str() {
            Some(name) if !seen.is_type(name) => wrong(name.to_owned()),
            _ => None,
        }
    }

    /// What the value of a field is looked at with.
    fn of_field(&self, name: &str) -> Option<&Value> {
        match self.schema["properties"].get(name) {
            Some(inner) => Some(inner),
            None => self.schema.get("additionalProperties"),
        }
    }

    fn required(&self) -> impl Iterator<Item = &str> {
        let required = self.schema["required"].as_array().into_iter().flatten();
        required.filter_map(Value::as_str)
    }
}

impl Seen<'_> {
    fn is(&self, one: &Value) -> bool {
        match (self, one) {
            (Self::Null, one) => one.is_null(),
            (Self::Bool(b), one) => one.as_bool() == Some(*b),
            (Self::Number(n), Value::Number(one)) => n == one,
            (Self::Text(t), one) => one.as_str() == Some(*t),
            // What is in them is not here any more: the function is to say.
            (Self::Array, one) => one.is_array(),
            (Self::Object, one) => one.is_object(),
            (Self::Number(_), _) => false,
        }
    }

    fn is_type(&self, name: &str) -> bool {
        match name {
            "string" => matches!(self, Self::Text(_)),
            // JSON Schema takes `1.0` for an integer, and integers of any size.
            "integer" => {
                matches!(self, Self::Number(n) if n.as_f64().is_some_and(|n| n.fract() == 0.0))
            }
            "number" => matches!(self, Self::Number(_)),
            "boolean" => matches!(self, Self::Bool(_)),
            "null" => matches!(self, Self::Null),
            "array" => matches!(self, Self::Array),
            "object" => matches!(self, Self::Object),
            _ => true,
        }
    }
}

/// Looks at one value.
#[derive(Clone, Copy)]
struct Look<'l, 'a> {
    level: &'l Level<'a>,
    /// Where the value is a whole body: what is found of its inputs, if it names them.
    inputs: Option<&'l RefCell<Option<Option<Misfit>>>>,
}

impl<'l, 'a> Look<'l, 'a> {
    fn below(level: &'l Level<'a>) -> Self {
        Self {
            level,
            inputs: None,
        }
    }

    /// What all plain schemas that are not yet failed say of what is below: which of them, and with what.
    fn open<'p>(
        &self,
        found: &Found,
        of: impl Fn(&'p Plain<'a>) -> Option<&'a Value>,
    ) -> Vec<(usize, (&'a Value, u8))>
    where
        'l: 'p,
    {
        let each = self.level.plain.iter().enumerate();
        let open = each.filter(|(at, _)| found.get(*at).is_none_or(Option::is_none));
        open.filter_map(|(at, p)| Some((at, (of(p)?, p.depth))))
            .collect()
    }

    /// Notes what was found below, at a place.
    fn note(&self, found: &mut Found, open: &[(usize, (&Value, u8))], below: Found, at: &str) {
        for ((plain, _), misfit) in open.iter().zip(below) {
            let Some((place, want)) = misfit else {
                continue;
            };
            found.resize(self.level.plain.len(), None);
            found[*plain].get_or_insert((format!("/{at}{place}"), want));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_, '_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, 'l, 'a> Visitor<'de> for Look<'l, 'a> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Found, E> {
        Ok(self.level.kinds(&Seen::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Found, E> {
        Ok(self.level.kinds(&Seen::Number(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Found, E> {
        Ok(self.level.kinds(&Seen::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Found, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(self.level.kinds(&Seen::Number(number)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Found, E> {
        Ok(self.level.kinds(&Seen::Text(value)))
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(self.level.kinds(&Seen::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Found, A::Error> {
        let mut found = self.level.kinds(&Seen::Array);
        let open = self.open(&found, |p| {
            Some(&p.schema["items"]).filter(|i| i.is_object())
        });
        let level = Level::of(self.level.root, open.iter().map(|(_, schema)| *schema));
        let mut at = 0usize;
        while let Some(below) = match open.is_empty() {
            true => all.next_element::<Looked>()?.map(|_| Vec::new()),
            false => all.next_element_seed(Look::below(&level))?,
        } {
            if !below.is_empty() {
                self.note(&mut found, &open, level.each(below), &at.to_string());
            }
            at += 1;
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Found, A::Error> {
        let mut found = self.level.kinds(&Seen::Object);
        let of = |(at, p): (usize, &'l Plain<'a>)| match found.get(at) {
            Some(Some(_)) => Vec::new(),
            _ => p.required().collect(),
        };
        let each = self.level.plain.iter().enumerate();
        let mut missing: Vec<Vec<&str>> = each.map(of).collect();
        while let Some(name) = all.next_key::<String>()? {
            missing.iter_mut().for_each(|m| m.retain(|n| *n != name));
            let open = self.open(&found, |p| p.of_field(&name));
            let inputs = self.inputs.filter(|_| name == "inputs");
            let own = inputs.map(|_| (self.level.root, DEPTH));
            let schemas = open.iter().map(|(_, schema)| *schema).chain(own);
            let level = Level::of(self.level.root, schemas);
            if level.nodes.is_empty() {
                all.next_value::<Looked>()?;
                continue;
            }
            let mut below = level.each(all.next_value_seed(Look::below(&level))?);
            if let Some(inputs) = inputs {
                *inputs.borrow_mut() = Some(below.pop().flatten());
            }
            let escaped = name.replace('~', "~0").replace('/', "~1");
            self.note(&mut found, &open, below, &escaped);
        }
        for (at, names) in missing.iter().enumerate() {
            if let Some(name) = names.first() {
                found.resize(self.level.plain.len(), None);
                found[at] = Some((format!("/{name}"), THERE.into()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_place_that_does_not_fit_is_named() {
        let schema = json!({"type": "array", "items": {"$ref": "#/$defs/Row"}, "$defs": {"Row": {
            "type": "object", "required": ["a/b"], "additionalProperties": {"type": "number"},
            "properties": {"a/b": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "k": {"enum": ["x"]}},
        }}});
        let misfit = |schema: &Value, value: &Value| {
            let bare = misfit(schema, value.to_string().as_bytes()).unwrap();
            // The same where it has its name, and whatever is beside it.
            let body = format!("{{\"x\": [[]], \"inputs\": {value}, \"y\": {{}}}}");
            assert_eq!(misfit(schema, body.as_bytes()).unwrap(), bare, "{value}");
            bare
        };
        for (value, want) in [
            (
                json!([{"a/b": 1, "more": 2.5}, {"a/b": null, "k": "x"}]),
                None,
            ),
            (json!({}), Some(("", "array"))),
            (json!([{}]), Some(("/0/a/b", "there"))),
            (
                json!([{"a/b": 1.5}]),
                Some(("/0/a~1b", "one of several types")),
            ),
            (
                json!([{"a/b": 1, "k": "y"}]),
                Some(("/0/k", "one of [\"x\"]")),
            ),
            (
                json!([{"a/b": 1}, {"a/b": 1, "z": true}]),
                Some(("/1/z", "number")),
            ),
        ] {
            let want = want.map(|(at, what)| (at.to_owned(), what.to_owned()));
            assert_eq!(misfit(&schema, &value), want, "{value}");
        }
        assert_eq!(misfit(&json!({}), &json!([1, "x"])), None);
        for text in ["1.0", "-3", "18446744073709551616", "1e3"] {
            let value = serde_json::from_str(text).unwrap();
            assert_eq!(misfit(&json!({"type": "integer"}), &value), None, "{text}");
        }
        assert_eq!(misfit(&Value::Null, &json!(1)), None);
        // A schema that leads to itself ends.
        let loops = json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}});
        assert_eq!(misfit(&loops, &json!(1)), None);
    }
}
