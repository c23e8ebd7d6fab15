//! The Open Inference Protocol, version 2, over REST, with its extension for binary tensors.
//!
//! One input is what the function takes; several are an object by their names. gRPC is not spoken.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::http::{App, JSON};
use crate::model::Model;
use crate::payload;
use crate::predict::{Failure, Output, Under, ask, failure, fits, read};
use crate::tensor;

/// Header that says where the JSON ends and bytes begin.
const LENGTH: &str = "inference-header-content-length";
/// Shortest beginning of a commit id that names it.
const DIGITS_MIN: usize = 7;

type Names = Path<Vec<(String, String)>>;

/// `GET /v2`.
pub(crate) async fn server(State(app): State<Arc<App>>) -> Response<Body> {
    let body = json!({
        "name": "modelv", "version": env!("CARGO_PKG_VERSION"), "extensions": ["binary_tensor_data"],
    });
    app.answer(StatusCode::OK, "v2", &body)
}

/// `GET /v2/health/live`.
pub(crate) async fn live(State(app): State<Arc<App>>) -> Response<Body> {
    app.answer(StatusCode::OK, "live", &json!({"live": true}))
}

/// `GET /v2/health/ready`.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    let is = app.is_ready();
    let code = if is {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    app.answer(code, "ready", &json!({"ready": is}))
}

/// `GET /v2/models/NAME`.
pub(crate) async fn metadata(State(app): State<Arc<App>>, Path(names): Names) -> Response<Body> {
    let model = match find(&app, &names) {
        Ok(model) => model.unwrap_or_else(|| app.arms.main()),
        Err(f) => return refuse(&app, &app.arms.main(), &f, "metadata"),
    };
    let commits: Vec<String> = app
        .arms
        .all()
        .iter()
        .map(|s| s.model.commit().to_owned())
        .collect();
    let body = json!({
        "name": model.options.name, "versions": commits, "platform": "modelv_python",
        "inputs": [about("inputs", &model.about.schema)],
        "outputs": [about("predictions", &model.about.returns)],
    });
    app.answer(StatusCode::OK, "metadata", &body)
}

/// What a type is as a tensor of any size.
fn about(name: &str, schema: &Value) -> Value {
    let (mut at, mut shape) = (schema, Vec::new());
    while at["type"] == "array" {
        shape.push(-1);
        at = &at["items"];
    }
    let datatype = match at["type"].as_str() {
        Some("number") => "FP64",
        Some("integer") => "INT64",
        Some("boolean") => "BOOL",
        _ => "BYTES",
    };
    if shape.is_empty() {
        shape.push(-1);
    }
    json!({"name": name, "datatype": datatype, "shape": shape})
}

/// `GET /v2/models/NAME/ready`.
pub(crate) async fn model_ready(State(app): State<Arc<App>>, Path(names): Names) -> Response<Body> {
    let model = match find(&app, &names) {
        Ok(model) => model.unwrap_or_else(|| app.arms.main()),
        Err(f) => return refuse(&app, &app.arms.main(), &f, "ready"),
    };
    let is = !app.is_draining() && model.pool.is_ready();
    let code = if is {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    app.answer(
        code,
        "ready",
        &json!({"name": model.options.name, "ready": is}),
    )
}

/// The model that a path names; `None`: whichever has its turn.
fn find(app: &App, names: &[(String, String)]) -> Result<Option<Arc<Model>>, Failure> {
    let part = |key: &str| {
        names
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    };
    let (name, version) = (part("name").unwrap_or_default(), part("version"));
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

fn refuse(app: &App, model: &Model, f: &Failure, id: &str) -> Response<Body> {
    let mut response = app.failure(model, f, id);
    let body = json!({"error": f.message, "code": f.kind, "commit": model.commit()});
    *response.body_mut() = format!("{body}\n").into();
    response
}

/// `POST /v2/models/NAME/infer`.
pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    Path(names): Names,
    request: Request<Body>,
) -> Response<Body> {
    let mut under = match find(&app, &names) {
        Ok(Some(model)) => Under::with(&app, model, request.headers(), "/v2/infer"),
        Ok(None) => Under::begin(&app, request.headers(), "/v2/infer"),
        Err(f) => {
            return refuse(
                &app,
                &app.arms.main(),
                &f,
                &app.request_id(request.headers()),
            );
        }
    };
    let model = under.model();
    let (code, error, response) = match answer(&app, &model, request, &under.id).await {
        Ok((head, bytes)) => {
            let text = head.to_string();
            let length = text.len();
            let is_plain = bytes.is_empty();
            let body = [text.as_bytes(), &bytes].concat();
            let kind = if is_plain {
                JSON
            } else {
                "application/octet-stream"
            };
            let mut response = app.finish(&model, StatusCode::OK, kind, body.into(), &under.id);
            if !is_plain {
                response
                    .headers_mut()
                    .insert(LENGTH, HeaderValue::from(length));
            }
            (StatusCode::OK, None, response)
        }
        Err(f) => (f.code, Some(f.kind), refuse(&app, &model, &f, &under.id)),
    };
    under.tell(code, error);
    response
}

fn bad(text: impl Into<String>) -> Failure {
    failure(StatusCode::BAD_REQUEST, "bad_request", text)
}

async fn answer(
    app: &App,
    model: &Arc<Model>,
    request: Request<Body>,
    id: &str,
) -> Result<(Value, Vec<u8>), Failure> {
    let length = head_length(request.headers())?;
    let body = read(app, request).await?;
    let length = length.unwrap_or(body.len());
    let (head, mut binary) = body
        .split_at_checked(length)
        .ok_or_else(|| bad("the body is shorter than its header says"))?;
    let head: Value =
        serde_json::from_slice(head).map_err(|e| bad(format!("the body is not JSON: {e}")))?;
    let tensors = head["inputs"].as_array().filter(|l| !l.is_empty());
    let tensors = tensors.ok_or_else(|| bad("a request needs a list of `inputs`"))?;
    let mut inputs = Vec::new();
    for tensor in tensors {
        let name = tensor["name"]
            .as_str()
            .ok_or_else(|| bad("an input needs a `name`"))?;
        let value =
            tensor::read(tensor, &mut binary).map_err(|e| bad(format!("input `{name}`: {e}")))?;
        inputs.push((name.to_owned(), value));
    }
    let (input, inputs) = match inputs.len() {
        1 => {
            let (name, value) = inputs.remove(0);
            (Some(name), value)
        }
        _ => (None, Value::Object(inputs.into_iter().collect())),
    };
    fits(&model.about.schema, &inputs)?;
    let question = json!({"inputs": inputs}).to_string();
    let called = payload::Names {
        input: input.as_deref(),
        output: head["outputs"][0]["name"].as_str(),
    };
    let Output::Whole(result) = ask(app, model, question.into(), id, called).await? else {
        return Err(bad("this model streams its results: ask `/predict`"));
    };
    let result = parsed(&result)?;
    Ok(outputs(model, &head, result))
}

/// What a function gave. Python writes what a value here can't hold: numbers without bound, any depth.
fn parsed(result: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(result).map_err(|e| {
        let text = format!("what the function returned is no tensor: {e}");
        failure(StatusCode::INTERNAL_SERVER_ERROR, "predict_failed", text)
    })
}

fn head_length(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(value) = headers.get(LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|v| v.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| bad(format!("`{LENGTH}` is no number")))
}

/// The answer, and the bytes behind it.
fn outputs(model: &Model, head: &Value, result: Value) -> (Value, Vec<u8>) {
    let wanted: Vec<&Value> = head["outputs"].as_array().into_iter().flatten().collect();
    let all_bytes = head["parameters"]["binary_data_output"] == true;
    let is_columns =
        |o: &serde_json::Map<String, Value>| !o.is_empty() && o.values().all(Value::is_array);
    let named: Vec<(String, Value)> = match result {
        Value::Object(columns) if is_columns(&columns) => columns.into_iter().collect(),
        other => {
            let name = wanted.first().and_then(|o| o["name"].as_str());
            vec![(name.unwrap_or("predictions").to_owned(), other)]
        }
    };
    let (mut list, mut bytes) = (Vec::new(), Vec::new());
    for (name, value) in named {
        let want = wanted.iter().find(|o| o["name"] == name.as_str());
        if want.is_none() && !wanted.is_empty() {
            continue;
        }
        let own = want.and_then(|o| o["parameters"]["binary_data"].as_bool());
        let (output, own) = tensor::write(&name, &value, own.unwrap_or(all_bytes));
        list.push(output);
        bytes.extend(own);
    }
    let mut answer = json!({
        "model_name": model.options.name, "model_version": model.commit(), "outputs": list,
    });
    if let Some(id) = head.get("id") {
        answer["id"] = id.clone();
    }
    (answer, bytes)
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
