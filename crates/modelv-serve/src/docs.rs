//! What the server takes and gives, for people and programs: OpenAPI, and a page that shows it.
//!
//! The page loads nothing and runs only its own script.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::http::App;
use crate::model::Model;

const PAGE: &str = include_str!("docs.html");

/// `GET /openapi.json`.
pub(crate) async fn openapi(State(app): State<Arc<App>>) -> Response<Body> {
    let description = describe(&app.arms.main());
    app.answer(StatusCode::OK, "openapi", &description)
}

/// `GET /docs`.
pub(crate) async fn page(State(app): State<Arc<App>>) -> Response<Body> {
    let model = app.arms.main();
    let text = serde_json::to_string(&describe(&model)).unwrap_or_default();
    // Nothing in it may end the script that holds it.
    let page = PAGE.replace("/*OPENAPI*/null", &text.replace('<', "\\u003c"));
    let mut response = app.finish(
        &model,
        StatusCode::OK,
        "text/html; charset=utf-8",
        page.into(),
        "docs",
    );
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    if let Ok(policy) = policy.parse() {
        response
            .headers_mut()
            .insert("content-security-policy", policy);
    }
    response
}

fn describe(model: &Model) -> Value {
    let (o, about) = (&model.options, &model.about);
    let mut inputs = about.schema.clone();
    // Definitions stand where references look for them.
    let mut schemas = json!({});
    for (schema, name) in [
        (&mut inputs, "Inputs"),
        (&mut about.returns.clone(), "Predictions"),
    ] {
        let definitions = schema.as_object_mut().and_then(|s| s.remove("$defs"));
        for (key, value) in definitions.iter().filter_map(Value::as_object).flatten() {
            schemas[key] = value.clone();
        }
        schemas[name] = schema.clone();
    }
    let error = json!({"description": "why there is no prediction", "content": {"application/json": {
        "schema": {"$ref": "#/components/schemas/Error"}}}});
    schemas["Error"] = json!({"type": "object", "required": ["error", "commit"], "properties": {
        "error": {"type": "object", "properties": {"code": {"type": "string"}, "message": {"type": "string"}}},
        "commit": {"type": "string"}, "request_id": {"type": "string"},
    }});
    let kind = if about.stream {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let mut responses = json!({"200": {"description": "the predictions", "content": {kind: {"schema": {
    "type": "object", "properties": {
        "predictions": {"$ref": "#/components/schemas/Predictions"}, "commit": {"type": "string"},
    }}}}}});
    for code in ["400", "408", "413", "422", "429", "500", "503", "504"] {
        responses[code] = error.clone();
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": o.name, "version": o.commit, "description": about.doc},
        "paths": {
            "/predict": {"post": {
                "summary": format!("{} of commit {}", o.entry, o.commit),
                "requestBody": {"required": true, "content": {"application/json": {"schema": {
                    "type": "object", "required": ["inputs"],
                    "properties": {"inputs": {"$ref": "#/components/schemas/Inputs"}},
                }}}},
                "responses": responses,
            }},
            "/version": {"get": {"summary": "what is served", "responses": {"200": {"description": "commit, recipe, arms"}}}},
            "/metrics": {"get": {"summary": "metrics for Prometheus", "responses": {"200": {"description": "text"}}}},
            "/health/live": {"get": {"summary": "whether it runs", "responses": {"200": {"description": "it does"}}}},
            "/health/ready": {"get": {"summary": "whether it predicts", "responses": {"200": {"description": "it does"}}}},
            "/v2/models/{name}/infer": {"post": {
                "summary": "Open Inference Protocol v2",
                "parameters": [{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}],
                "responses": {"200": {"description": "the outputs"}},
            }},
        },
        "components": {"schemas": schemas},
    });
    let moved = document
        .to_string()
        .replace("#/$defs/", "#/components/schemas/");
    serde_json::from_str(&moved).unwrap_or(document)
}
