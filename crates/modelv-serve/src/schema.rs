//! Whether a request is what the types of `predict` say: the part of JSON Schema that workers write.
//!
//! Words it does not know demand nothing.

use serde_json::Value;

/// What is expected of a field that is missing.
pub(crate) const THERE: &str = "there";

/// The first place that does not fit, as a JSON pointer and what is expected there.
pub(crate) fn misfit(schema: &Value, value: &Value) -> Option<(String, String)> {
    look(schema, schema, value, "", 64)
}

fn look(
    root: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    depth: u8,
) -> Option<(String, String)> {
    let depth = depth.checked_sub(1)?;
    let wrong = |want: String| Some((at.to_owned(), want));
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|r| r.strip_prefix("#/$defs/"))
    {
        return look(root, &root["$defs"][name], value, at, depth);
    }
    if let Some(all) = schema["anyOf"].as_array() {
        let fits = |s: &Value| look(root, s, value, at, depth).is_none();
        return if all.iter().any(fits) {
            None
        } else {
            wrong("one of several types".into())
        };
    }
    if let Some(all) = schema["enum"].as_array()
        && !all.contains(value)
    {
        return wrong(format!("one of {}", schema["enum"]));
    }
    match schema["type"].as_str() {
        Some(name) if !is_type(name, value) => return wrong(name.to_owned()),
        _ => {}
    }
    if let Value::Array(items) = value
        && schema["items"].is_object()
    {
        let each = items.iter().enumerate();
        return each
            .filter_map(|(n, item)| look(root, &schema["items"], item, &format!("{at}/{n}"), depth))
            .next();
    }
    let Value::Object(fields) = value else {
        return None;
    };
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            return Some((format!("{at}/{name}"), THERE.into()));
        }
    }
    let below = |(name, field): (&String, &Value)| {
        let inner = match schema["properties"].get(name) {
            Some(inner) => inner,
            None => schema.get("additionalProperties")?,
        };
        let escaped = name.replace('~', "~0").replace('/', "~1");
        look(root, inner, field, &format!("{at}/{escaped}"), depth)
    };
    fields.iter().find_map(below)
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        // JSON Schema takes `1.0` for an integer, and integers of any size.
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
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
