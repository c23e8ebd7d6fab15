//! The Open Inference Protocol, version 2, over REST, with its extension for binary tensors.
//!
//! What it means is in `infer`; `grpc` is its other form.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{self, Read, read};
use crate::http::{App, JSON};
use crate::infer::{self, Question, bad, predicted};
use crate::model::Model;
use crate::predict::{Failure, Under};
use crate::process::Form;
use crate::tensor;

/// Header that says where the JSON ends and bytes begin.
const LENGTH: &str = "inference-header-content-length";
type Names = Path<HashMap<String, String>>;

/// The model that a path names; `None`: whichever has its turn.
fn find(app: &App, names: &HashMap<String, String>) -> Result<Option<Arc<Model>>, Failure> {
    let part = |key: &str| names.get(key).map(String::as_str);
    infer::find(app, part("name").unwrap_or_default(), part("version"))
}

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
        "name": model.options.name, "versions": commits, "platform": model.about.platform(),
        "inputs": told(&model.about.inputs()), "outputs": told(&model.about.outputs()),
    });
    app.answer(StatusCode::OK, "metadata", &body)
}

fn told(forms: &[Form]) -> Vec<Value> {
    let one = |f: &Form| json!({"name": f.name, "datatype": f.datatype, "shape": f.shape});
    forms.iter().map(one).collect()
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
        Ok((body, length)) => {
            let is_plain = length == body.len();
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

/// An answer, and how long its text is; bytes are behind it.
async fn answer(
    app: &Arc<App>,
    model: &Arc<Model>,
    request: Request<Body>,
    id: &str,
) -> Result<(Bytes, usize), Failure> {
    let length = head_length(request.headers())?;
    let body = read(app, request).await?;
    let (all, of, body_bytes) = (app.clone(), model.clone(), body.bytes.len());
    let reading = move || asked(&all, &of, body, length);
    let (head, question) = app.aside.run(body_bytes, reading).await?;
    let result = predicted(app, model, &question, id).await?;
    let (of, result_bytes) = (model.clone(), result.len());
    let writing = move || {
        let outputs = infer::outputs(&of, &result, &question.wanted)?;
        let (answer, length) = written(&of, &head, outputs).map_err(infer::no_tensor)?;
        // It counts as its result does, until the client has it.
        Ok((body::with(answer, result), length))
    };
    app.aside.run(result_bytes, writing).await
}

/// What a body asks, and its JSON without the inputs.
fn asked(
    app: &App,
    model: &Model,
    body: Read,
    length: Option<usize>,
) -> Result<(Value, Question), Failure> {
    let length = length.unwrap_or(body.bytes.len());
    let (head, mut binary) = body
        .bytes
        .split_at_checked(length)
        .ok_or_else(|| bad("the body is shorter than its header says"))?;
    let mut head: Value =
        serde_json::from_slice(head).map_err(|e| bad(format!("the body is not JSON: {e}")))?;
    let mut inputs = Vec::new();
    for tensor in head["inputs"].as_array().into_iter().flatten() {
        let name = tensor["name"]
            .as_str()
            .ok_or_else(|| bad("an input needs a `name`"))?;
        let value =
            tensor::read(tensor, &mut binary).map_err(|e| bad(format!("input `{name}`: {e}")))?;
        inputs.push((name.to_owned(), value));
    }
    if let Some(head) = head.as_object_mut() {
        head.remove("inputs");
    }
    let wanted = head["outputs"].as_array().into_iter().flatten();
    let wanted = wanted.filter_map(|o| Some(o["name"].as_str()?.to_owned()));
    let wanted = wanted.collect();
    let question = Question::new(app, model, body, inputs, wanted)?;
    Ok((head, question))
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

/// The answer, and how long its text is; bytes are behind it.
fn written(
    model: &Model,
    head: &Value,
    outputs: Vec<(String, Bytes)>,
) -> Result<(Vec<u8>, usize), serde_json::Error> {
    let wanted: Vec<&Value> = head["outputs"].as_array().into_iter().flatten().collect();
    let all_bytes = head["parameters"]["binary_data_output"] == true;
    let mut about = json!({"model_name": model.options.name, "model_version": model.commit()});
    if let Some(id) = head.get("id") {
        about["id"] = id.clone();
    }
    let mut answer = about.to_string().into_bytes();
    answer.pop();
    answer.extend_from_slice(b",\"outputs\":[");
    let mut bytes = Vec::new();
    for (number, (name, text)) in outputs.into_iter().enumerate() {
        let want = wanted.iter().find(|o| o["name"] == name.as_str());
        let own = want.and_then(|o| o["parameters"]["binary_data"].as_bool());
        let datatype = model.about.datatype(&name);
        let (output, own) = tensor::write(&name, &text, datatype, own.unwrap_or(all_bytes))?;
        if number > 0 {
            answer.push(b',');
        }
        answer.extend(output);
        bytes.extend(own);
    }
    answer.extend_from_slice(b"]}");
    let length = answer.len();
    answer.extend(bytes);
    Ok((answer, length))
}
