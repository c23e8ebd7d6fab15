//! The HTTP front: what is served from begin to end, routes, and answers that name the commit.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::routing::{any, get, post};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::ServeError;
use crate::arms::{Arms, Slot};
use crate::aside::Aside;
use crate::body::Room;
use crate::config::{Limits, Server};
use crate::connection::Connections;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::payload::Payloads;
use crate::predict::{Failure, failure, predict};
use crate::{docs, follow, grpc, oip};

pub(crate) const JSON: &str = "application/json";
/// Header of every answer.
const COMMIT: &str = "x-modelv-commit";

/// What all handlers share.
pub(crate) struct App {
    pub(crate) arms: Arms,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Arc<Log>,
    pub(crate) sticky: HeaderName,
    pub(crate) payloads: Option<Payloads>,
    pub(crate) room: Room,
    pub(crate) room_for_mirrors: Room,
    pub(crate) aside: Aside,
    requests: AtomicU64,
    draining: AtomicBool,
    /// Rung when it begins to drain, and when another commit is served.
    bell: Arc<Notify>,
}

impl App {
    pub(crate) fn new(
        slots: Vec<Slot>,
        limits: Limits,
        metrics: Arc<Metrics>,
        log: Arc<Log>,
        sticky: &str,
        payloads: Option<Payloads>,
    ) -> Self {
        let sticky = HeaderName::try_from(sticky);
        Self {
            arms: Arms::new(slots),
            limits,
            metrics,
            log,
            sticky: sticky.unwrap_or(HeaderName::from_static("x-modelv-key")),
            payloads,
            room: Room::new(&limits),
            room_for_mirrors: Room::for_mirrors(&limits),
            aside: Aside::new(limits.predict),
            requests: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            bell: Arc::new(Notify::new()),
        }
    }
}

/// Serves until SIGTERM or SIGINT, then finishes what is under way. `ready` is called once with the
/// address when requests are taken.
///
/// # Errors
/// The user's function can't be loaded, or the address can't be listened on.
pub fn serve(
    server: Server,
    log: Box<dyn Write + Send>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let first = server
        .arms
        .iter()
        .find(|a| !a.mirror)
        .ok_or(ServeError::NoArm)?;
    let log = Arc::new(Log::new(log, &first.options.commit));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(server, &log, ready));
    // With the runtime go the tasks, and with them the workers.
    drop(runtime);
    log.line("info", "stopped", json!({}));
    log.flush();
    result
}

async fn run(
    server: Server,
    log: &Arc<Log>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    // From here on a signal ends it in order, and never in the middle of loading.
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let metrics = Arc::new(Metrics::default());
    let mut slots = Vec::new();
    let (address, limits) = {
        let options = &server.arms[0].options;
        (options.listen, options.limits)
    };
    for arm in server.arms {
        let loading = Model::load(arm.options, arm.guard, &metrics, log);
        let model = tokio::select! {
            model = loading => Arc::new(model?),
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
        };
        slots.push(Slot {
            model,
            weight: arm.weight,
            mirror: arm.mirror,
        });
    }
    let app = App::new(
        slots,
        limits,
        metrics,
        log.clone(),
        &server.sticky,
        server.payloads,
    );
    let app = Arc::new(app);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let address = listener.local_addr()?;
    let following = server
        .follow
        .map(|f| tokio::spawn(follow::follow(app.clone(), f)));
    log.line("info", "listening", json!({"address": address.to_string()}));
    ready(address);
    let connections = Connections::new(limits);
    tokio::select! {
        () = connections.accept(router(app.clone()), &listener) => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    app.drain();
    drop(listener);
    if let Some(task) = following {
        task.abort();
    }
    log.line("info", "draining", json!({}));
    let _ = tokio::time::timeout(limits.drain, connections.drain()).await;
    Ok(())
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let calls = Router::new()
        .route(grpc::SERVICE, any(grpc::call))
        .route(grpc::health::SERVICE, any(grpc::health::call))
        .route(grpc::reflection::SERVICES[0], any(grpc::reflection::call))
        .route(grpc::reflection::SERVICES[1], any(grpc::reflection::call))
        .route_layer(from_fn_with_state(app.clone(), grpc::calls_only));
    Router::new()
        .route("/predict", any(predict))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route("/v2", get(oip::server))
        .route("/v2/health/live", get(oip::live))
        .route("/v2/health/ready", get(oip::ready))
        .route("/v2/models/{name}", get(oip::metadata))
        .route("/v2/models/{name}/ready", get(oip::model_ready))
        .route("/v2/models/{name}/infer", post(oip::infer))
        .route("/v2/models/{name}/versions/{version}", get(oip::metadata))
        .route(
            "/v2/models/{name}/versions/{version}/ready",
            get(oip::model_ready),
        )
        .route(
            "/v2/models/{name}/versions/{version}/infer",
            post(oip::infer),
        )
        .merge(calls)
        .fallback(nowhere)
        .layer(map_response_with_state(app.clone(), said_by_a_commit))
        .with_state(app)
}

/// What the router refuses by itself, a method or a path that can't be read, in the words of all other failures.
async fn said_by_a_commit(State(app): State<Arc<App>>, response: Response<Body>) -> Response<Body> {
    if response.headers().contains_key(COMMIT) {
        return response;
    }
    let allowed = response.headers().get(header::ALLOW).cloned();
    let (kind, text) = match allowed.as_ref().and_then(|a| a.to_str().ok()) {
        Some(methods) => ("method", format!("this path is asked with {methods}")),
        None => ("bad_request", "the path can't be read".to_owned()),
    };
    let f = failure(response.status(), kind, text);
    let id = app.request_id(response.headers());
    let mut said = app.failure(&app.arms.main(), &f, &id);
    if let Some(allowed) = allowed {
        said.headers_mut().insert(header::ALLOW, allowed);
    }
    said
}

async fn nowhere(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let path: String = request.uri().path().chars().take(200).collect();
    let id = app.request_id(request.headers());
    if grpc::is_call(request.headers()) {
        return grpc::unknown(&app, &path, &id);
    }
    let f = failure(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("no such path: {path}"),
    );
    app.failure(&app.arms.main(), &f, &id)
}

async fn version(State(app): State<Arc<App>>) -> Response<Body> {
    let model = app.arms.main();
    let o = &model.options;
    let arms = app.arms.all();
    let arms = arms.iter().map(|s| {
        json!({
            "commit": s.model.options.commit, "name": s.model.options.name, "weight": s.weight,
            "mirror": s.mirror,
        })
    });
    let body = json!({
        "commit": o.commit, "recipe": o.recipe, "name": o.name, "entry": o.entry,
        "modelv": env!("CARGO_PKG_VERSION"), "arms": arms.collect::<Vec<_>>(),
    });
    app.answer(StatusCode::OK, "version", &body)
}

async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let text = app.metrics.render(&app.arms.all(), app.log.dropped());
    let kind = "text/plain; version=0.0.4";
    app.finish(
        &app.arms.main(),
        StatusCode::OK,
        kind,
        text.into(),
        "metrics",
    )
}

async fn live(State(app): State<Arc<App>>) -> Response<Body> {
    app.answer(StatusCode::OK, "live", &json!({"status": "live"}))
}

async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    let (code, status) = match app.is_ready() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "no worker is ready"),
    };
    app.answer(code, "ready", &json!({"status": status}))
}

impl App {
    pub(crate) fn is_ready(&self) -> bool {
        let all = self.arms.all();
        !self.is_draining() && all.iter().all(|s| s.mirror || s.model.pool.is_ready())
    }

    /// Whether the server is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From here on it is about to end.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.bell.notify_waiters();
    }

    /// Returns when the server is about to end.
    pub(crate) async fn drains(&self) {
        loop {
            let rung = self.bell.notified();
            if self.is_draining() {
                return;
            }
            rung.await;
        }
    }

    /// Puts a commit in the place of the first one.
    pub(crate) fn swap(&self, model: Arc<Model>) -> Arc<Model> {
        let old = self.arms.swap(model);
        self.bell.notify_waiters();
        old
    }

    /// Returns when something has happened, since this was called, that its health may depend on.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        let own = self.bell.clone().notified_owned();
        let all = self.arms.all();
        let pools = all.iter().map(|s| s.model.pool.changed());
        let bells: Vec<_> = std::iter::once(own).chain(pools).map(Box::pin).collect();
        async move {
            futures_util::future::select_all(bells).await;
        }
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// The client's request id, if it is a sane one, or a new one.
    pub(crate) fn request_id(&self, headers: &HeaderMap) -> String {
        let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
        let sane = |id: &&str| {
            !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic())
        };
        given.filter(sane).map_or_else(
            || format!("{}-{}", std::process::id(), self.next_number()),
            str::to_owned,
        )
    }

    pub(crate) fn failure(&self, model: &Model, f: &Failure, id: &str) -> Response<Body> {
        let body = json!({
            "error": {"code": f.kind, "message": f.message},
            "commit": model.options.commit, "request_id": id,
        });
        let mut response = self.finish(model, f.code, JSON, format!("{body}\n").into(), id);
        let codes = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        if codes.contains(&f.code) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    pub(crate) fn answer(
        &self,
        code: StatusCode,
        id: &str,
        body: &serde_json::Value,
    ) -> Response<Body> {
        self.finish(
            &self.arms.main(),
            code,
            JSON,
            format!("{body}\n").into(),
            id,
        )
    }

    #[expect(clippy::unused_self, reason = "all answers go through the App")]
    pub(crate) fn finish(
        &self,
        model: &Model,
        code: StatusCode,
        kind: &str,
        body: Body,
        id: &str,
    ) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = code;
        let headers = response.headers_mut();
        for (name, value) in [
            ("content-type", kind),
            (COMMIT, model.commit()),
            ("x-request-id", id),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
