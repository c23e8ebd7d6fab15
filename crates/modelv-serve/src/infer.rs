//! What both forms of the Open Inference Protocol do: which model a name means, what it takes, and how named
//! tensors become what a function takes and back.
//!
//! One input is what the function takes; several are an object by their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::body::{Held, Read};
use crate::http::App;
use crate::json_text;
use crate::model::Model;
use crate::payload;
use crate::predict::{Failure, Output, ask, failure, fits, has_types};
use crate::process::Tensors;
use crate::tensor;

/// Shortest beginning of a commit id that names it.
const DIGITS_MIN: usize = 7;

/// The model that is named; `None`: whichever has its turn.
pub(crate) fn find(
    app: &App,
    name: &str,
    version: Option<&str>,
) -> Result<Option<Arc<Model>>, Failure> {
    let all = app.arms.all();
    let is_id = |text: &str, model: &Model| {
        text.len() >= DIGITS_MIN && model.commit().starts_with(&text.to_ascii_lowercase())
    };
    let is_named = |model: &Model| model.options.name == name || is_id(name, model);
    let unknown = |text: String| Err(failure(StatusCode::NOT_FOUND, "not_found", text));
    if !all.iter().any(|s| is_named(&s.model)) {
        return unknown(format!("no model `{name}`"));
    }
    let wanted = match version {
        Some(version) => all.iter().find(|s| is_id(version, &s.model)),
        None => all.iter().find(|s| is_id(name, &s.model)),
    };
    match (wanted, version) {
        (Some(slot), _) => Ok(Some(slot.model.clone())),
        (None, None) => Ok(None),
        (None, Some(version)) => unknown(format!("no version `{version}` of model `{name}`")),
    }
}

pub(crate) fn bad(text: impl Into<String>) -> Failure {
    failure(StatusCode::BAD_REQUEST, "bad_request", text)
}

/// What a model is asked. Large ones are made aside.
pub(crate) struct Question {
    /// JSON text.
    text: Bytes,
    /// Whether it is what the function takes.
    fit: Result<(), Failure>,
    /// The name of the only input.
    input: Option<String>,
    /// The names of the outputs that are asked for; all where there are none.
    pub(crate) wanted: Vec<String>,
    _held: Held,
}

impl Question {
    /// Of inputs, each as JSON, and what they were read of.
    pub(crate) fn new(
        app: &App,
        model: &Model,
        read: Read,
        mut inputs: Vec<(String, Vec<u8>)>,
        wanted: Vec<String>,
    ) -> Result<Self, Failure> {
        let is_typed = model.about.tensors.is_some();
        let (input, inputs) = match inputs.len() {
            0 => return Err(bad("a request needs a list of `inputs`")),
            1 if !is_typed => {
                let (name, value) = inputs.remove(0);
                (Some(name), value)
            }
            _ => (None, object(inputs)),
        };
        let text = [b"{\"inputs\":", inputs.as_slice(), b"}"].concat();
        drop(inputs);
        let held = read.becomes(&app.room, text.len())?;
        let text = Bytes::from(text);
        let fit = match is_typed {
            true => check_wanted(model, &wanted),
            false => fit(&model.about.schema, &text),
        };
        Ok(Self {
            text,
            fit,
            input,
            wanted,
            _held: held,
        })
    }
}

/// Values by their names; the last of a name counts.
fn object(inputs: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let fields: BTreeMap<String, Vec<u8>> = inputs.into_iter().collect();
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(if out.is_empty() { b'{' } else { b',' });
        out.extend_from_slice(json!(name).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(&value);
    }
    out.push(b'}');
    out
}

/// Whether a question is what the types say.
fn fit(types: &Value, text: &[u8]) -> Result<(), Failure> {
    if !has_types(types) {
        return Ok(());
    }
    fits(types, text)
}

/// What a model gives, as JSON.
pub(crate) async fn predicted(
    app: &App,
    model: &Arc<Model>,
    question: &Question,
    id: &str,
) -> Result<Bytes, Failure> {
    let called = payload::Names {
        input: question.input.as_deref(),
        output: question.wanted.first().map(String::as_str),
    };
    let done = match &question.fit {
        Ok(()) => ask(app, model, &question.text, id).await,
        Err(f) => Err(f.clone()),
    };
    match app.told(model, &question.text, done, id, called)? {
        Output::Whole(result) => Ok(result),
        Output::Stream(_) => Err(bad("this model streams its results: ask `/predict`")),
    }
}

/// What a model gave, as JSON by the names of its outputs.
pub(crate) fn outputs(
    model: &Model,
    result: &Bytes,
    wanted: &[String],
) -> Result<Vec<(String, Bytes)>, Failure> {
    json_text::check(result).map_err(no_tensor)?;
    let mut outputs = match &model.about.tensors {
        Some(tensors) => typed(tensors, result),
        None => named(result, wanted.first().map(String::as_str)),
    };
    outputs.retain(|(name, _)| wanted.is_empty() || wanted.contains(name));
    Ok(outputs)
}

/// Python writes what others can't read: numbers without bound, any depth.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn no_tensor(e: serde_json::Error) -> Failure {
    let text = format!("what the function returned is no tensor: {e}");
    failure(StatusCode::INTERNAL_SERVER_ERROR, "predict_failed", text)
}

/// A result as outputs: columns have names, anything else is called `first`.
fn named(result: &Bytes, first: Option<&str>) -> Vec<(String, Bytes)> {
    let columns = tensor::fields(result);
    match !columns.is_empty() && columns.iter().all(|(_, text)| text.starts_with(b"[")) {
        true => own(result, columns),
        false => vec![(first.unwrap_or("predictions").to_owned(), result.clone())],
    }
}

/// The last of a name counts.
fn own(result: &Bytes, columns: Vec<(String, &[u8])>) -> Vec<(String, Bytes)> {
    let columns = columns
        .into_iter()
        .map(|(name, text)| (name, result.slice_ref(text)));
    columns.collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// Outputs that a model has no tensor for are nobody's to ask for.
fn check_wanted(model: &Model, wanted: &[String]) -> Result<(), Failure> {
    let outputs = model.about.outputs();
    let unknown = |name: &&String| !outputs.iter().any(|o| o.name == **name);
    match wanted.iter().find(unknown) {
        None => Ok(()),
        Some(name) => Err(bad(format!("the model has no output `{name}`"))),
    }
}

/// A result by the names of the model, in its order.
fn typed(tensors: &Tensors, result: &Bytes) -> Vec<(String, Bytes)> {
    if let [one] = &tensors.outputs[..] {
        return vec![(one.name.clone(), result.clone())];
    }
    let mut found: BTreeMap<_, _> = own(result, tensor::fields(result)).into_iter().collect();
    let each = tensors.outputs.iter();
    each.filter_map(|o| found.remove_entry(&o.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_inputs_are_an_object() {
        let input = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        let several = vec![input("b", "[1]"), input("a\"", "2"), input("b", "[3]")];
        let found: Value = serde_json::from_slice(&object(several)).unwrap();
        assert_eq!(found, json!({"a\"": 2, "b": [3]}));
    }

    #[test]
    fn columns_have_names_and_all_else_is_one_output() {
        let told = |text: &'static str, first: Option<&str>| -> Vec<(String, String)> {
            let all = named(&Bytes::from_static(text.as_bytes()), first);
            let text = |b: Bytes| String::from_utf8(b.to_vec()).unwrap();
            all.into_iter().map(|(n, b)| (n, text(b))).collect()
        };
        let one = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let columns = r#"{"b": [1, [2]], "a": [], "b": ["}"]}"#;
        assert_eq!(
            told(columns, Some("x")),
            [one("a", "[]"), one("b", r#"["}"]"#)]
        );
        for other in ["[1]", "7", "{}", r#"{"a": [1], "b": 2}"#] {
            assert_eq!(told(other, None), [one("predictions", other)]);
            assert_eq!(told(other, Some("x")), [one("x", other)]);
        }
    }
}
