//! What both forms of the Open Inference Protocol do: which model a name means, what it takes, and how named
//! tensors become what a function takes and back.
//!
//! One input is what the function takes; several are an object by their names.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::http::App;
use crate::model::Model;
use crate::payload;
use crate::predict::{Failure, Output, ask, failure, fits};
use crate::process::Tensors;

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

/// What a model gives for these inputs, by the names of its outputs; `wanted`: those that are asked for, all
/// where there are none.
pub(crate) async fn predicted(
    app: &App,
    model: &Arc<Model>,
    mut inputs: Vec<(String, Value)>,
    wanted: &[&str],
    id: &str,
) -> Result<Vec<(String, Value)>, Failure> {
    let is_typed = model.about.tensors.is_some();
    let (input, inputs) = match inputs.len() {
        0 => return Err(bad("a request needs a list of `inputs`")),
        1 if !is_typed => {
            let (name, value) = inputs.remove(0);
            (Some(name), value)
        }
        _ => (None, Value::Object(inputs.into_iter().collect())),
    };
    let question = Bytes::from(json!({"inputs": inputs}).to_string());
    let called = payload::Names {
        input: input.as_deref(),
        output: wanted.first().copied(),
    };
    let checked = match is_typed {
        true => check_wanted(model, wanted),
        false => fits(&model.about.schema, &inputs),
    };
    let done = match checked {
        Ok(()) => ask(app, model, &question, id).await,
        Err(f) => Err(f),
    };
    let Output::Whole(result) = app.told(model, &question, done, id, called)? else {
        return Err(bad("this model streams its results: ask `/predict`"));
    };
    let result = parsed(&result)?;
    let mut outputs = match &model.about.tensors {
        Some(tensors) => typed(tensors, result),
        None => named(result, wanted.first().copied()),
    };
    outputs.retain(|(name, _)| wanted.is_empty() || wanted.contains(&name.as_str()));
    Ok(outputs)
}

/// What a function gave. Python writes what a value here can't hold: numbers without bound, any depth.
fn parsed(result: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(result).map_err(|e| {
        let text = format!("what the function returned is no tensor: {e}");
        failure(StatusCode::INTERNAL_SERVER_ERROR, "predict_failed", text)
    })
}

/// A result as outputs: columns have names, anything else is called `first`.
fn named(result: Value, first: Option<&str>) -> Vec<(String, Value)> {
    match result {
        Value::Object(columns) if !columns.is_empty() && columns.values().all(Value::is_array) => {
            columns.into_iter().collect()
        }
        other => vec![(first.unwrap_or("predictions").to_owned(), other)],
    }
}

/// Outputs that a model has no tensor for are nobody's to ask for.
fn check_wanted(model: &Model, wanted: &[&str]) -> Result<(), Failure> {
    let outputs = model.about.outputs();
    let unknown = |name: &&&str| !outputs.iter().any(|o| o.name == **name);
    match wanted.iter().find(unknown) {
        None => Ok(()),
        Some(name) => Err(bad(format!("the model has no output `{name}`"))),
    }
}

/// A result by the names of the model, in its order.
fn typed(tensors: &Tensors, mut result: Value) -> Vec<(String, Value)> {
    match &tensors.outputs[..] {
        [one] => vec![(one.name.clone(), result)],
        several => {
            let each = several.iter();
            each.map(|o| (o.name.clone(), result[&o.name].take()))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_can_not_be_read_is_no_null() {
        assert_eq!(parsed(b"[1, 2.5]").unwrap(), json!([1, 2.5]));
        let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
        for odd in [&deep[..], &b"9".repeat(400)] {
            let failed = parsed(odd).unwrap_err();
            assert_eq!((failed.code.as_u16(), failed.kind), (500, "predict_failed"));
        }
    }
}
