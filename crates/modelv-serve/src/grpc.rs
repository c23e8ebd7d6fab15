//! The Open Inference Protocol, version 2, over gRPC: calls of one message each, on the port of the rest.
//!
//! gRPC is HTTP/2 with messages behind five bytes each and the outcome in trailers; no more of it is here.

mod descriptors;
pub(crate) mod health;
mod message;
pub(crate) mod reflection;
mod reply;
mod tensors;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use axum::middleware::Next;
use prost::Message;

use crate::body::{Read, read};
use crate::http::App;
use crate::infer::{self, Question, bad, predicted};
use crate::model::Model;
use crate::predict::{Failure, Under, failure};
use crate::process::Form;
use message::{
    InferRequest, InferResponse, Live, ModelMetadata, ModelName, Ready, ServerMetadata,
    TensorMetadata, infer_request,
};
use reply::{replies, reply};

/// Path of all methods.
pub(crate) const SERVICE: &str = "/inference.GRPCInferenceService/{method}";
const CONTENT_TYPE: &str = "application/grpc";
/// A flag and a length.
const HEAD_BYTES: usize = 5;

/// Whether a request is a call.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|k| k.strip_prefix(CONTENT_TYPE.as_bytes()));
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// Lets through to the services what can be answered as a call.
pub(crate) async fn calls_only(
    State(app): State<Arc<App>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    if is_call(request.headers()) && request.version() == Version::HTTP_2 {
        return next.run(request).await;
    }
    let text = "this is a service of gRPC: ask it over HTTP/2, with `application/grpc`";
    let f = failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_grpc", text);
    let id = app.request_id(request.headers());
    app.failure(&app.arms.main(), &f, &id)
}

/// A call of the service.
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Path(method): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let id = app.request_id(request.headers());
    if method == "ModelInfer" {
        return infer(&app, request).await;
    }
    let answered = match read(&app, request).await {
        Ok(body) => message(&body.bytes).and_then(|message| answer(&app, &method, message)),
        Err(f) => Err(f),
    };
    reply(&app, &app.arms.main(), answered, &id)
}

/// A call of anything else.
pub(crate) fn unknown(app: &App, path: &str, id: &str) -> Response<Body> {
    reply(app, &app.arms.main(), Err(no_method(path)), id)
}

fn no_method(name: &str) -> Failure {
    let text = format!("no such method: {name}");
    failure(StatusCode::NOT_IMPLEMENTED, "no_method", text)
}

/// What is asked beside predictions.
fn answer(app: &App, method: &str, message: Bytes) -> Result<Vec<u8>, Failure> {
    let model = || -> Result<Arc<Model>, Failure> {
        let asked = ModelName::decode(message).map_err(|e| bad(e.to_string()))?;
        let found = find(app, &asked.name, &asked.version)?;
        Ok(found.unwrap_or_else(|| app.arms.main()))
    };
    match method {
        "ServerLive" => Ok(Live { live: true }.encode_to_vec()),
        "ServerReady" => Ok(Ready {
            ready: app.is_ready(),
        }
        .encode_to_vec()),
        "ModelReady" => {
            let ready = !app.is_draining() & model()?.pool.is_ready();
            Ok(Ready { ready }.encode_to_vec())
        }
        "ServerMetadata" => Ok(ServerMetadata {
            name: "modelv".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: Vec::new(),
        }
        .encode_to_vec()),
        "ModelMetadata" => {
            let model = model()?;
            Ok(metadata(app, &model).encode_to_vec())
        }
        other => Err(no_method(other)),
    }
}

fn find(app: &App, name: &str, version: &str) -> Result<Option<Arc<Model>>, Failure> {
    infer::find(app, name, Some(version).filter(|v| !v.is_empty()))
}

fn metadata(app: &App, model: &Model) -> ModelMetadata {
    let tensors = |forms: Vec<Form>| {
        let one = |form: Form| TensorMetadata {
            name: form.name,
            datatype: form.datatype.into(),
            shape: form.shape,
        };
        forms.into_iter().map(one).collect()
    };
    let all = app.arms.all();
    ModelMetadata {
        name: model.options.name.clone(),
        versions: all.iter().map(|s| s.model.commit().to_owned()).collect(),
        platform: model.about.platform().into(),
        inputs: tensors(model.about.inputs()),
        outputs: tensors(model.about.outputs()),
    }
}

/// A request for predictions.
struct Asked {
    question: Question,
    id: String,
    /// Whether the elements of its tensors came as bytes.
    is_raw: bool,
}

/// Who is asked, where that is named, and what.
type Call = (Option<Arc<Model>>, Result<Asked, Failure>);

async fn infer(app: &Arc<App>, request: Request<Body>) -> Response<Body> {
    const PATH: &str = "/grpc/ModelInfer";
    let headers = request.headers().clone();
    let (model, asked) = match called(app, request).await {
        Ok((model, asked)) => (model, asked),
        Err(f) => (None, Err(f)),
    };
    let mut under = match model {
        Some(model) => Under::with(app, model, &headers, PATH),
        None => Under::begin(app, &headers, PATH),
    };
    let model = under.model();
    let answered = match asked {
        Ok(asked) => within(timeout(&headers), answered(app, &model, asked, &under.id)).await,
        Err(f) => Err(f),
    };
    let (code, error) = match &answered {
        Ok(_) => (StatusCode::OK, None),
        Err(f) => (f.code, Some(f.kind)),
    };
    let response = reply(app, &model, answered, &under.id);
    under.tell(code, error);
    response
}

async fn called(app: &Arc<App>, request: Request<Body>) -> Result<Call, Failure> {
    let key = request.headers().get(&app.sticky).cloned();
    let body = read(app, request).await?;
    let (of, bytes) = (app.clone(), body.bytes.len());
    let reading = move || {
        let request = infer_request(&message(&body.bytes)?).map_err(bad)?;
        let found = find(&of, &request.model_name, &request.model_version)?;
        let key = key.as_ref().map(HeaderValue::as_bytes);
        let model = found.unwrap_or_else(|| of.arms.choose(key));
        let asked = asked(&of, &model, request, body);
        Ok((Some(model), asked))
    };
    app.aside.run(bytes, reading).await
}

fn asked(app: &App, model: &Model, request: InferRequest, body: Read) -> Result<Asked, Failure> {
    let inputs = tensors::inputs(&request).map_err(bad)?;
    let is_raw = !request.raw_input_contents.is_empty();
    let wanted = request.outputs.into_iter().map(|o| o.name).collect();
    Ok(Asked {
        question: Question::new(app, model, body, inputs, wanted)?,
        id: request.id,
        is_raw,
    })
}

async fn answered(
    app: &App,
    model: &Arc<Model>,
    asked: Asked,
    id: &str,
) -> Result<Vec<u8>, Failure> {
    let result = predicted(app, model, &asked.question, id).await?;
    let mut response = InferResponse {
        model_name: model.options.name.clone(),
        model_version: model.commit().to_owned(),
        id: asked.id,
        ..InferResponse::default()
    };
    let (of, bytes) = (model.clone(), result.len());
    let writing = move || {
        for (name, value) in infer::outputs(&of, &result, &asked.question.wanted)? {
            let datatype = of.about.datatype(&name);
            tensors::add_output(&mut response, name, &value, datatype, asked.is_raw)
                .map_err(infer::no_tensor)?;
        }
        Ok(response.encode_to_vec())
    };
    app.aside.run(bytes, writing).await
}

/// The inputs of a call.
#[cfg(feature = "fuzz")]
pub(crate) fn inputs_of(body: &Bytes) -> Result<Vec<(String, Vec<u8>)>, String> {
    let message = message(body).map_err(|f| f.message)?;
    tensors::inputs(&infer_request(&message)?)
}

/// The one message of a call.
fn message(body: &Bytes) -> Result<Bytes, Failure> {
    let head = body.first_chunk::<HEAD_BYTES>();
    let length = length(*head.ok_or_else(|| bad("a call without a message"))?)?;
    if length != body.len() - HEAD_BYTES {
        return Err(bad("a call is one message, as long as it says"));
    }
    Ok(body.slice(HEAD_BYTES..))
}

/// How long the message behind this is.
#[expect(clippy::big_endian_bytes, reason = "gRPC has lengths so")]
fn length([flag, length @ ..]: [u8; HEAD_BYTES]) -> Result<usize, Failure> {
    if flag != 0 {
        let text = "packed messages are not read: send it without compression";
        return Err(failure(StatusCode::NOT_IMPLEMENTED, "packed", text));
    }
    Ok(u32::from_be_bytes(length) as usize)
}

/// How long the client waits, if it says so.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    let unit = match unit {
        "H" => Duration::from_secs(3_600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    unit.checked_mul(number)
}

async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(limit) = limit else {
        return work.await;
    };
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| {
        let text = "the prediction took longer than the client waits";
        Err(failure(StatusCode::GATEWAY_TIMEOUT, "timeout", text))
    })
}

#[cfg(test)]
mod tests;
