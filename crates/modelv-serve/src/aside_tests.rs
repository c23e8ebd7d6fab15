//! Requests with large bodies, to a whole server without its sockets.

use super::*;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Version};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use prost::encoding::{bytes, int64, string};
use serde_json::json;

use crate::arms::Slot;
use crate::config::Limits;
use crate::http::{App, router};
use crate::metrics::Metrics;
use crate::model::Model;
use crate::pool::tests::{log, options, run};

const ELEMENTS: usize = LARGE_BYTES;

/// A server of one function.
async fn app(dir: &tempfile::TempDir, code: &str, limits: Limits) -> Arc<App> {
    app_with(&[(dir, code)], limits).await
}

/// A server of the first of these functions; the others are mirrors.
async fn app_with(all: &[(&tempfile::TempDir, &str)], limits: Limits) -> Arc<App> {
    let metrics = Arc::new(Metrics::default());
    let mut slots = Vec::new();
    for (dir, code) in all {
        std::fs::write(dir.path().join("serve.py"), code).unwrap();
        let model = Model::load(options(dir), None, &metrics, &log()).await;
        slots.push(Slot {
            model: Arc::new(model.unwrap()),
            weight: 1,
            mirror: !slots.is_empty(),
        });
    }
    Arc::new(App::new(slots, limits, metrics, log(), "x-key", None))
}

/// The status and the body of an answer.
async fn ask(app: &Arc<App>, request: Request<Body>) -> (u16, Vec<u8>) {
    let service = TowerToHyperService::new(router(app.clone()));
    let Ok(answer) = service.call(request).await;
    let status = answer.headers().get("grpc-status");
    let status = status.map_or(answer.status().as_u16(), |s| {
        s.to_str().unwrap().parse().unwrap()
    });
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, body.to_vec())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

/// A tensor of ones as the REST form has it.
fn rest(elements: usize) -> Request<Body> {
    let head = json!({"inputs": [{"name": "x", "datatype": "INT8", "shape": [elements],
        "parameters": {"binary_data_size": elements}}]});
    let head = head.to_string();
    let body = [head.as_bytes(), &vec![1; elements]].concat();
    let mut request = post("/v2/models/main/infer", body);
    let length = head.len().into();
    request
        .headers_mut()
        .insert("inference-header-content-length", length);
    request
}

/// A call with one input; what its elements are is the last field of the message.
fn call(datatype: &str, elements: usize, contents: Option<Vec<u8>>) -> Request<Body> {
    let mut input = Vec::new();
    string::encode(1, &"x".to_owned(), &mut input);
    string::encode(2, &datatype.to_owned(), &mut input);
    int64::encode_packed(3, &[elements as i64], &mut input);
    let mut out = Vec::new();
    string::encode(1, &"main".to_owned(), &mut out);
    match contents {
        Some(contents) => {
            bytes::encode(5, &contents, &mut input);
            bytes::encode(5, &input, &mut out);
        }
        None => {
            bytes::encode(5, &input, &mut out);
            bytes::encode(7, &vec![1u8; elements], &mut out);
        }
    }
    let length = big_endian(out.len());
    let body = [&[0], &length[..], &out].concat();
    let mut request = post("/inference.GRPCInferenceService/ModelInfer", body);
    *request.version_mut() = Version::HTTP_2;
    let kind = "application/grpc".parse().unwrap();
    request.headers_mut().insert("content-type", kind);
    request
}

#[expect(clippy::big_endian_bytes, reason = "gRPC has lengths so")]
fn big_endian(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_be_bytes()
}

const COUNT: &str = "def predict(x: list[int]) -> int:\n    return len(x)\n";

#[test]
fn a_large_tensor_waits_for_its_turn_and_nobody_for_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let app = app(&dir, COUNT, Limits::default()).await;
        for large in [rest(ELEMENTS), call("INT8", ELEMENTS, None)] {
            let path = large.uri().path().to_owned();
            let turn = app.aside.hold().await;
            let is_free = Cell::new(false);
            let waiting = async {
                let (status, body) = ask(&app, large).await;
                assert!(is_free.get(), "{path} was read on the thread of all others");
                assert!(matches!(status, 0 | 200), "{path}: {status}");
                assert!(!body.is_empty());
            };
            let others = async {
                assert_eq!(ask(&app, get("/health/live")).await.0, 200);
                assert_eq!(ask(&app, rest(3)).await.0, 200);
                let (status, said) = ask(&app, call("INT8", 3, None)).await;
                assert!(status == 200 && !said.is_empty(), "{status}");
                is_free.set(true);
                drop(turn);
            };
            futures_util::join!(waiting, others);
        }
    });
}

#[test]
fn what_is_made_of_a_tensor_counts_as_memory() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        // Two bytes of a call are three of its text, and there is no room for so many.
        let limits = Limits {
            body_bytes: 256 << 10,
            all_bodies_bytes: 256 << 10,
            ..Limits::default()
        };
        let code = "def predict(x):\n    return len(x)\n";
        let app = app(&dir, code, limits).await;
        let texts = |n: usize| call("BYTES", n, Some([0x42, 0].repeat(n)));
        let (status, _) = ask(&app, texts(120 << 10)).await;
        assert_eq!(status, 14, "it is unavailable, for want of memory");
        let (status, said) = ask(&app, texts(40 << 10)).await;
        assert!(status == 200 && !said.is_empty(), "{status}");
    });
}

#[test]
fn a_result_that_others_can_not_read_is_no_tensor() {
    run(async {
        for result in ["deep(150)", "10 ** 400"] {
            let dir = tempfile::tempdir().unwrap();
            let code = format!(
                "def deep(n):\n    return [deep(n - 1)] if n else []\ndef predict(x):\n    return {result}\n"
            );
            let app = app(&dir, &code, Limits::default()).await;
            let (status, said) = ask(&app, rest(3)).await;
            let said = String::from_utf8(said).unwrap();
            assert_eq!(status, 500, "{said}");
            assert!(said.contains("predict_failed"), "{said}");
            assert_eq!(ask(&app, call("INT8", 3, None)).await.0, 13);
        }
    });
}

#[test]
fn copies_for_mirrors_have_a_bound_of_their_own() {
    run(async {
        const BYTES: usize = 30 << 10;
        let (main, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let slow = "import os, time\nopen('on', 'w').close()\ndef predict(x):\n    \
            while os.path.exists('on'): time.sleep(0.01)\n    return len(x)\n";
        let fast = "def predict(x):\n    return len(x)\n";
        let limits = Limits {
            body_bytes: 64 << 10,
            all_bodies_bytes: 64 << 10,
            ..Limits::default()
        };
        let app = app_with(&[(&main, fast), (&mirror, slow)], limits).await;
        let text = format!("\"{}\"", "x".repeat(BYTES));
        for _ in 0..5 {
            // No caller has less room for it.
            assert_eq!(ask(&app, post("/predict", text.clone())).await.0, 200);
        }
        let told = |result: &str| {
            let text = app.metrics.render(&app.arms.all(), 0);
            let lines = text
                .lines()
                .filter(|l| l.starts_with("modelv_mirrored_total"));
            let mut of = lines.filter(|l| l.contains(&format!("result=\"{result}\"")));
            of.next()
                .map_or(0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
        };
        assert_eq!((told("dropped"), told("same")), (3, 0), "two have room");
        std::fs::remove_file(mirror.path().join("on")).unwrap();
        let done = async {
            while told("same") < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), done)
            .await
            .unwrap();
    });
}
