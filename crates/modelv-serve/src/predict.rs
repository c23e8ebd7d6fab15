//! One prediction: its body, who makes it, and what is said when it is not made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::aside::LARGE_BYTES;
use crate::body::{Pieces, Read, read};
use crate::http::{App, JSON};
use crate::json_text;
use crate::model::Model;
use crate::payload::{Entry, Names, StreamEntry};
use crate::pool::{Answer, NO_ROOM};
use crate::schema;

/// A prediction that was not made.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

pub(crate) fn failure(code: StatusCode, kind: &'static str, message: impl Into<String>) -> Failure {
    Failure {
        code,
        kind,
        message: message.into(),
    }
}

/// Nothing is begun any more.
pub(crate) fn draining() -> Failure {
    let text = "the server is about to end";
    failure(StatusCode::SERVICE_UNAVAILABLE, "draining", text)
}

/// What a prediction gave.
pub(crate) enum Output {
    /// JSON text.
    Whole(Bytes),
    /// JSON texts, one by one.
    Stream(Results),
}

/// Results as they come, and the log of them.
pub(crate) struct Results {
    results: mpsc::Receiver<Result<Bytes, String>>,
    log: Option<StreamEntry>,
}

/// Counts a request from its begin to its end, also where the client goes away.
pub(crate) struct Under<'a> {
    app: &'a App,
    model: Arc<Model>,
    start: Instant,
    path: &'static str,
    pub(crate) id: String,
    is_told: bool,
}

impl<'a> Under<'a> {
    pub(crate) fn begin(app: &'a App, headers: &HeaderMap, path: &'static str) -> Self {
        let key = headers.get(&app.sticky).map(header::HeaderValue::as_bytes);
        Self::with(app, app.arms.choose(key), headers, path)
    }

    /// The same for a commit that was chosen already.
    pub(crate) fn with(
        app: &'a App,
        model: Arc<Model>,
        headers: &HeaderMap,
        path: &'static str,
    ) -> Self {
        app.metrics.begin(model.commit());
        Self {
            app,
            model,
            start: Instant::now(),
            path,
            id: app.request_id(headers),
            is_told: false,
        }
    }

    pub(crate) fn model(&self) -> Arc<Model> {
        self.model.clone()
    }

    pub(crate) fn took(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn tell(&mut self, code: StatusCode, error: Option<&'static str>) {
        self.is_told = true;
        let (commit, took) = (self.model.commit(), self.took());
        self.app.metrics.end(commit, code.as_u16(), error, took);
        let level = if code.is_server_error() {
            "error"
        } else {
            "info"
        };
        let fields = json!({
            "path": self.path, "status": code.as_u16(), "ms": took.as_secs_f64() * 1000.0,
            "request_id": self.id, "error": error,
        });
        self.app.log.line_of(commit, level, "request", fields);
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            // The code that proxies log for it.
            let gone = StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT);
            self.tell(gone, Some("client_gone"));
        }
    }
}

/// `POST /predict`.
pub(crate) async fn predict(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let mut under = Under::begin(&app, request.headers(), "/predict");
    let wants_events = request
        .headers()
        .get(header::ACCEPT)
        .is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
    let model = under.model();
    let done = answer(&app, &model, request, &under.id).await;
    let (code, error, response) = match done {
        Ok(Output::Whole(result)) => {
            let body = wrap(model.commit(), result);
            let response = app.finish(&model, StatusCode::OK, JSON, body, &under.id);
            (StatusCode::OK, None, response)
        }
        Ok(Output::Stream(results)) => {
            let response = stream(&app, &model, results, wants_events, &under.id);
            (StatusCode::OK, None, response)
        }
        Err(f) => (f.code, Some(f.kind), app.failure(&model, &f, &under.id)),
    };
    under.tell(code, error);
    response
}

async fn answer(
    app: &App,
    model: &Arc<Model>,
    request: Request<Body>,
    id: &str,
) -> Result<Output, Failure> {
    let body = Arc::new(read(app, request).await?);
    let question = body.bytes.clone();
    let done = match check(model, &body).await {
        Ok(()) => ask(app, model, &question, id).await,
        Err(f) => Err(f),
    };
    app.told(model, &question, done, id, model.about.names())
}

/// Whether a body is JSON, and what the types of `predict` say.
async fn check(model: &Arc<Model>, body: &Arc<Read>) -> Result<(), Failure> {
    // A model's own types are looked at where it runs.
    let is_open = model.options.frame || model.about.tensors.is_some();
    let is_typed = has_types(&model.about.schema) && !is_open;
    let (of, read) = (model.clone(), body.clone());
    let look = move || match is_typed {
        true => fits(&of.about.schema, &read.bytes),
        false => json_text::check(&read.bytes).map_err(no_json),
    };
    if body.bytes.len() < LARGE_BYTES {
        return look();
    }
    // Nothing is kept of it: as many at a time as there are.
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|_| Err(failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "")))
}

/// Whether there is anything that inputs could be unlike.
pub(crate) fn has_types(types: &Value) -> bool {
    types.as_object().is_some_and(|t| !t.is_empty())
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn no_json(e: serde_json::Error) -> Failure {
    let text = format!("the body is not JSON: {e}");
    failure(StatusCode::BAD_REQUEST, "not_json", text)
}

/// Whether the inputs of a body are what the types say.
pub(crate) fn fits(types: &Value, body: &[u8]) -> Result<(), Failure> {
    match schema::misfit(types, body).map_err(no_json)? {
        None => Ok(()),
        Some((at, want)) => {
            let text = match at.as_str() {
                "" => format!("the inputs are not {want}"),
                at if want == schema::THERE => format!("`{at}` of the inputs is missing"),
                at => format!("`{at}` of the inputs is not {want}"),
            };
            Err(failure(StatusCode::UNPROCESSABLE_ENTITY, "unfit", text))
        }
    }
}

/// Asks a commit.
pub(crate) async fn ask(
    app: &App,
    model: &Arc<Model>,
    body: &Bytes,
    id: &str,
) -> Result<Output, Failure> {
    if app.is_draining() {
        return Err(draining());
    }
    let Some(answer) = model.pool.submit(body.clone()) else {
        let text = "too many requests wait for a worker";
        return Err(failure(StatusCode::TOO_MANY_REQUESTS, "overloaded", text));
    };
    let died = || {
        let text = "the worker ended while it worked on this request";
        Err(failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "worker_died",
            text,
        ))
    };
    let too_long = || {
        let text = "the prediction took too long";
        Err(failure(StatusCode::GATEWAY_TIMEOUT, "timeout", text))
    };
    match tokio::time::timeout(app.limits.predict, answer).await {
        Ok(Ok(Answer::Result(result))) => Ok(Output::Whole(result)),
        Ok(Ok(Answer::Stream(results))) => Ok(Output::Stream(Results { results, log: None })),
        Ok(Ok(Answer::Unfit(message))) => {
            Err(failure(StatusCode::UNPROCESSABLE_ENTITY, "unfit", message))
        }
        Ok(Ok(Answer::Raised(message, trace))) => {
            let fields = json!({"error": message, "trace": trace, "request_id": id});
            app.log
                .line_of(model.commit(), "error", "predict_failed", fields);
            let code = StatusCode::INTERNAL_SERVER_ERROR;
            Err(failure(code, "predict_failed", message))
        }
        Ok(Ok(Answer::Died) | Err(_)) => died(),
        Ok(Ok(Answer::NoRoom)) => {
            let code = StatusCode::SERVICE_UNAVAILABLE;
            Err(failure(code, "no_memory", NO_ROOM))
        }
        Ok(Ok(Answer::Timeout)) | Err(_) => too_long(),
    }
}

/// The result with the commit that made it. A large one is not copied, and counts until the client has it.
fn wrap(commit: &str, result: Bytes) -> Body {
    const HEAD: &[u8] = b"{\"predictions\":";
    let tail = format!(",\"commit\":{}}}\n", json!(commit));
    if result.len() < LARGE_BYTES {
        return [HEAD, &result, tail.as_bytes()].concat().into();
    }
    let pieces = [Bytes::from_static(HEAD), result, tail.into()];
    Body::new(Pieces(pieces.into()))
}

/// Results as they come: a JSON object a line, or server-sent events.
fn stream(
    app: &App,
    model: &Arc<Model>,
    results: Results,
    events: bool,
    id: &str,
) -> Response<Body> {
    let line = move |text: String| {
        let line = if events {
            format!("data: {text}\n\n")
        } else {
            format!("{text}\n")
        };
        Ok::<_, std::convert::Infallible>(Bytes::from(line))
    };
    let commit = json!(model.commit()).to_string();
    // The commit serves until its last result is out.
    let state = Some((results, model.clone()));
    let chunks = futures_util::stream::unfold(state, move |state| {
        let commit = commit.clone();
        async move {
            let (mut results, model) = state?;
            let next = results.results.recv().await;
            if let Some(log) = &mut results.log {
                log.next(
                    next.as_ref()
                        .map(|r| r.as_ref().map(Bytes::as_ref).map_err(|_| ())),
                );
            }
            let (text, state) = match next {
                Some(Ok(result)) => {
                    let result = String::from_utf8_lossy(&result).into_owned();
                    (
                        format!("{{\"prediction\":{result}}}"),
                        Some((results, model)),
                    )
                }
                Some(Err(message)) => {
                    let error = json!({"code": "predict_failed", "message": message});
                    (format!("{{\"error\":{error},\"commit\":{commit}}}"), None)
                }
                None => (format!("{{\"done\":true,\"commit\":{commit}}}"), None),
            };
            Some((line(text), state))
        }
    });
    let kind = if events {
        "text/event-stream"
    } else {
        "application/x-ndjson"
    };
    app.finish(model, StatusCode::OK, kind, Body::from_stream(chunks), id)
}

impl App {
    /// What is done with an outcome: the log of inputs, and mirrors.
    pub(crate) fn told(
        &self,
        model: &Arc<Model>,
        body: &Bytes,
        mut done: Result<Output, Failure>,
        id: &str,
        names: Names<'_>,
    ) -> Result<Output, Failure> {
        if let Some(payloads) = &self.payloads
            && payloads.takes(self.next_number())
        {
            let entry = Entry::new(payloads, &self.log, (model.commit(), id), body, names.input);
            match &mut done {
                Ok(Output::Whole(result)) => entry.write(200, Some(result), names.output, None),
                Ok(Output::Stream(results)) => results.log = Some(entry.stream()),
                Err(f) => entry.write(f.code.as_u16(), None, None, Some(f.kind)),
            }
        }
        if let Ok(Output::Whole(result)) = &done {
            self.mirror(body, result);
        }
        done
    }

    /// Lets mirrors have a copy.
    fn mirror(&self, body: &Bytes, result: &Bytes) {
        for mirror in self.arms.mirrors() {
            // A slow one would keep them for as long as it takes.
            let Ok(held) = self.room_for_mirrors.hold(body.len() + result.len()) else {
                self.metrics.mirrored(mirror.commit(), "dropped");
                continue;
            };
            let (metrics, body, want) = (self.metrics.clone(), body.clone(), result.clone());
            // On a task of its own, behind its own queue: whatever it does, the caller has the answer.
            tokio::spawn(async move {
                let result = match mirror.pool.submit(body) {
                    None => "dropped",
                    Some(answer) => match answer.await {
                        Ok(Answer::Result(found)) if found == want => "same",
                        Ok(Answer::Result(_)) => "different",
                        _ => "failed",
                    },
                };
                metrics.mirrored(mirror.commit(), result);
                drop(held);
            });
        }
    }
}
