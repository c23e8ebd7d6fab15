//! The HTTP front: routes, limits, and answers that name the commit.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::routing::{any, get};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::ServeError;
use crate::config::ServeOptions;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::worker::{Answer, Pool};

/// How long requests under way may take once the server is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";

struct App {
    options: ServeOptions,
    pool: Pool,
    metrics: Arc<Metrics>,
    log: Arc<Log>,
    requests: AtomicU64,
}

/// Serves until SIGTERM or SIGINT, then finishes what is under way. `ready` is called once with the
/// address when requests are taken.
///
/// # Errors
/// The user's function can't be loaded, or the address can't be listened on.
pub fn serve(
    options: ServeOptions,
    log: Box<dyn Write + Send>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let log = Arc::new(Log::new(log, &options.commit));
    let metrics = Arc::new(Metrics::default());
    let pool = Pool::start(&options, &metrics, &log)?;
    let app = Arc::new(App {
        options,
        pool,
        metrics,
        log,
        requests: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(accept(app.clone(), ready));
    app.pool.stop();
    app.log.line("info", "stopped", json!({}));
    result
}

async fn accept(app: Arc<App>, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let address = app.options.listen;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let address = listener.local_addr()?;
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let routes = router(app.clone());
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    app.log
        .line("info", "listening", json!({"address": address.to_string()}));
    ready(address);
    loop {
        let (stream, _) = tokio::select! {
            taken = listener.accept() => match taken {
                Ok(taken) => taken,
                // Out of file descriptors, or the client is gone: others go on.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            _ = term.recv() => break,
            _ = int.recv() => break,
        };
        let _ = stream.set_nodelay(true);
        // The timer is what makes the header limit work: without one, hyper drops it silently.
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(app.options.limits.header)
            .serve_connection(
                TokioIo::new(stream),
                hyper_util::service::TowerToHyperService::new(routes.clone()),
            );
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
    drop(listener);
    app.log.line("info", "draining", json!({}));
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    Ok(())
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/predict", any(predict))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route(
            "/health/live",
            get(|State(app): State<Arc<App>>| async move {
                app.answer(StatusCode::OK, "live", &json!({"status": "live"}))
            }),
        )
        .route("/health/ready", get(ready))
        .fallback(
            |State(app): State<Arc<App>>, request: Request<Body>| async move {
                let message = format!("no such path: {}", request.uri().path());
                app.failure(
                    StatusCode::NOT_FOUND,
                    "not_found",
                    &message,
                    &app.request_id(request.headers()),
                )
            },
        )
        .with_state(app)
}

async fn version(State(app): State<Arc<App>>) -> Response<Body> {
    let o = &app.options;
    let body = json!({
        "commit": o.commit, "recipe": o.recipe, "name": o.name, "entry": o.entry,
        "modelv": env!("CARGO_PKG_VERSION"),
    });
    app.answer(StatusCode::OK, "version", &body)
}

async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let o = &app.options;
    let text = app.metrics.render(&o.commit, &o.recipe, &o.name);
    app.finish(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        text.into_bytes(),
        "metrics",
    )
}

async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    if app.pool.is_ready() {
        return app.answer(StatusCode::OK, "ready", &json!({"status": "ready"}));
    }
    app.answer(
        StatusCode::SERVICE_UNAVAILABLE,
        "ready",
        &json!({"status": "no worker is ready"}),
    )
}

async fn predict(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let start = Instant::now();
    let id = app.request_id(request.headers());
    app.metrics.begin();
    let done = app.predict(request).await;
    let took = start.elapsed();
    let (code, error, response) = match done {
        Ok(body) => (
            StatusCode::OK,
            None,
            app.finish(StatusCode::OK, JSON, body, &id),
        ),
        Err(f) => {
            let response = app.failure(f.code, f.kind, &f.message, &id);
            (f.code, Some(f.kind), response)
        }
    };
    app.metrics.end(code.as_u16(), error, took);
    let level = if code.is_server_error() {
        "error"
    } else {
        "info"
    };
    app.log.line(
        level,
        "request",
        json!({
            "path": "/predict", "status": code.as_u16(), "ms": took.as_secs_f64() * 1000.0,
            "request_id": id, "error": error,
        }),
    );
    response
}

/// A prediction that was not made.
struct Failure {
    code: StatusCode,
    kind: &'static str,
    message: String,
}

fn failure(code: StatusCode, kind: &'static str, message: impl Into<String>) -> Failure {
    Failure {
        code,
        kind,
        message: message.into(),
    }
}

impl App {
    async fn predict(&self, request: Request<Body>) -> Result<Vec<u8>, Failure> {
        if request.method() != Method::POST {
            let text = "predictions are asked for with POST";
            return Err(failure(StatusCode::METHOD_NOT_ALLOWED, "method", text));
        }
        let limit = self.options.limits.body_bytes;
        let too_large = || {
            let text = format!("the body has more than {limit} bytes");
            failure(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
        };
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<usize>().ok());
        if declared.is_some_and(|n| n > limit) {
            return Err(too_large());
        }
        let reading = to_bytes(request.into_body(), limit);
        let body = match tokio::time::timeout(self.options.limits.predict, reading).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(too_large()),
            Err(_) => {
                let text = "the body did not come in time";
                return Err(failure(StatusCode::REQUEST_TIMEOUT, "slow_body", text));
            }
        };
        if let Err(e) = serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
            let text = format!("the body is not JSON: {e}");
            return Err(failure(StatusCode::BAD_REQUEST, "not_json", text));
        }
        let Some((answer, process)) = self.pool.submit(body.to_vec()) else {
            let text = "too many requests wait for a worker";
            return Err(failure(StatusCode::SERVICE_UNAVAILABLE, "overloaded", text));
        };
        match tokio::time::timeout(self.options.limits.predict, answer).await {
            Ok(Ok(Answer::Result(result))) => Ok(self.wrap(&result)),
            Ok(Ok(Answer::Raised(message, trace))) => {
                self.log.line(
                    "error",
                    "predict_failed",
                    json!({"error": message, "trace": trace}),
                );
                Err(failure(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "predict_failed",
                    message,
                ))
            }
            Ok(Ok(Answer::Died) | Err(_)) => {
                let text = "the worker ended while it worked on this request";
                Err(failure(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "worker_died",
                    text,
                ))
            }
            Err(_) => {
                process.kill();
                let text = "the prediction took too long";
                Err(failure(StatusCode::GATEWAY_TIMEOUT, "timeout", text))
            }
        }
    }

    /// The result with the commit that made it.
    fn wrap(&self, result: &[u8]) -> Vec<u8> {
        let commit = json!(self.options.commit).to_string();
        [
            b"{\"predictions\":",
            result,
            b",\"commit\":",
            commit.as_bytes(),
            b"}\n",
        ]
        .concat()
    }

    /// The client's request id, if it is a sane one, or a new one.
    fn request_id(&self, headers: &HeaderMap) -> String {
        let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
        let sane = |id: &&str| {
            !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic())
        };
        given.filter(sane).map_or_else(
            || {
                let n = self.requests.fetch_add(1, Ordering::Relaxed);
                format!("{}-{n}", std::process::id())
            },
            str::to_owned,
        )
    }

    fn failure(&self, code: StatusCode, kind: &str, message: &str, id: &str) -> Response<Body> {
        let body = json!({
            "error": {"code": kind, "message": message, "request_id": id},
            "commit": self.options.commit,
        });
        let mut response = self.answer(code, id, &body);
        if code == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn answer(&self, code: StatusCode, id: &str, body: &serde_json::Value) -> Response<Body> {
        self.finish(code, JSON, format!("{body}\n").into_bytes(), id)
    }

    fn finish(&self, code: StatusCode, kind: &str, body: Vec<u8>, id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        for (name, value) in [
            ("content-type", kind),
            ("x-modelv-commit", self.options.commit.as_str()),
            ("x-request-id", id),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
