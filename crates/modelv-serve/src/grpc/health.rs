//! The health of the server as gRPC asks for it (`grpc.health.v1`): what a probe of Kubernetes and balancers send.
//!
//! `Watch` is not there, for which the protocol has its status: who asks then asks again.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{Request, Response};
use prost::Message;

use super::message::{Health, HealthOf};
use super::{find, is_asked_well, message, no_method, reply};
use crate::body::read;
use crate::http::App;
use crate::infer::bad;
use crate::predict::Failure;

/// Path of all methods.
pub(crate) const SERVICE: &str = "/grpc.health.v1.Health/{method}";
/// The services that are one server.
const SERVICES: [&str; 3] = [
    "",
    "grpc.health.v1.Health",
    "inference.GRPCInferenceService",
];
/// Numbers of the protocol.
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// A call of the service.
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Path(method): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let id = app.request_id(request.headers());
    if let Err(f) = is_asked_well(&request) {
        return app.failure(&app.arms.main(), &f, &id);
    }
    let answered = match method.as_str() {
        "Check" => read(&app, request)
            .await
            .and_then(|body| check(&app, message(&body.bytes)?)),
        other => Err(no_method(other)),
    };
    reply(&app, &app.arms.main(), answered, &id)
}

/// Whether the server takes requests, or those for a model.
fn check(app: &App, message: Bytes) -> Result<Vec<u8>, Failure> {
    let asked = HealthOf::decode(message).map_err(|e| bad(e.to_string()))?;
    let is_serving = match SERVICES.contains(&asked.service.as_str()) {
        true => app.is_ready(),
        false => {
            let model = find(app, &asked.service, "")?;
            let model = model.unwrap_or_else(|| app.arms.main());
            !app.is_draining() && model.pool.is_ready()
        }
    };
    let status = match is_serving {
        true => SERVING,
        false => NOT_SERVING,
    };
    Ok(Health { status }.encode_to_vec())
}
