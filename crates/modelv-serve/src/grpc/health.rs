//! The health of the server as gRPC asks for it (`grpc.health.v1`): what a probe of Kubernetes and balancers send.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response};
use futures_util::Stream;
use prost::Message;

use super::descriptors::Descriptors;
use super::message::{Health, HealthOf};
use super::{find, message, no_method, replies, reply};
use crate::body::read;
use crate::connection::Lasting;
use crate::http::App;
use crate::infer::bad;
use crate::predict::{Failure, draining};

/// Path of all methods.
pub(crate) const SERVICE: &str = "/grpc.health.v1.Health/{method}";
/// Numbers of the protocol.
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

/// A call of the service.
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Path(method): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let id = app.request_id(request.headers());
    let model = app.arms.main();
    let answered = match (method.as_str(), asked(&app, request).await) {
        ("Check", asked) => asked.and_then(|service| Ok(said(status(&app, &service)?))),
        ("Watch", Ok(service)) => {
            let mut response = replies(&app, &model, changes(app.clone(), service), &id);
            // Nothing moves for as long as nothing changes.
            response.extensions_mut().insert(Lasting);
            return response;
        }
        ("Watch", Err(f)) => Err(f),
        (other, _) => Err(no_method(other)),
    };
    reply(&app, &model, answered, &id)
}

/// Whose health is asked for.
async fn asked(app: &App, request: Request<Body>) -> Result<String, Failure> {
    let body = read(app, request).await?;
    let asked = HealthOf::decode(message(&body.bytes)?);
    Ok(asked.map_err(|e| bad(e.to_string()))?.service)
}

fn said(status: i32) -> Vec<u8> {
    Health { status }.encode_to_vec()
}

/// Whether the server takes requests, or those for a model.
fn status(app: &App, service: &str) -> Result<i32, Failure> {
    let all = Descriptors::all().services();
    let is_serving = match service.is_empty() || all.iter().any(|s| s == service) {
        true => app.is_ready(),
        false => {
            let model = find(app, service, "")?;
            let model = model.unwrap_or_else(|| app.arms.main());
            !app.is_draining() && model.pool.is_ready()
        }
    };
    Ok(match is_serving {
        true => SERVING,
        false => NOT_SERVING,
    })
}

/// The health now, and again whenever it is another one. A model that is not known may come.
fn changes(
    app: Arc<App>,
    service: String,
) -> impl Stream<Item = Result<Vec<u8>, Failure>> + Send + Unpin {
    Box::pin(futures_util::stream::unfold(None, move |told| {
        let (app, service) = (app.clone(), service.clone());
        async move {
            loop {
                // What changes while it is looked at is seen the next time.
                let changed = app.changed();
                let now = status(&app, &service).unwrap_or(SERVICE_UNKNOWN);
                if told != Some(now) {
                    return Some((Ok(said(now)), Some(now)));
                }
                if app.is_draining() {
                    return Some((Err(draining()), told));
                }
                changed.await;
            }
        }
    }))
}
