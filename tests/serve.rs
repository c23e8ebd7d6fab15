//! The prediction server by its own: batches, streams, types, protocols, and its logs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};

use crate::serving::Server;
use crate::support::{PATIENCE, Tree};
use crate::venv::{must, python};

/// A repository that serves this function, with these lines in `[serve]`.
pub(crate) fn serving(code: &str, toml: &str) -> Tree {
    let tree = Tree::repo();
    tree.put("serve.py", code);
    tree.put("models/w.json", "{\"scale\": 2}");
    let head = "[env]\ncapture = \"none\"\n[serve]\nentry = \"serve:predict\"\n";
    tree.put("modelv.toml", &format!("{head}{toml}"));
    tree.commit("serves");
    tree
}

pub(crate) fn start(tree: &Tree, args: &[&str]) -> Server {
    let all = [&["serve"], args, &["--listen", "127.0.0.1:0"]].concat();
    Server::start(tree.command(&all))
}

/// A connection that stays.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn of(server: &Server) -> Self {
        Self::at(&server.address)
    }

    pub(crate) fn at(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Status, head and body; `None` when the connection has ended.
    pub(crate) fn post(
        &mut self,
        path: &str,
        head: &str,
        body: impl AsRef<[u8]>,
    ) -> Option<(u16, String, String)> {
        let body = body.as_ref();
        let length = body.len();
        let text =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\n{head}content-length: {length}\r\n\r\n");
        let bytes = [text.as_bytes(), body].concat();
        self.0.get_mut().write_all(&bytes).ok()?;
        self.answer()
    }

    fn answer(&mut self) -> Option<(u16, String, String)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.split("\r\ncontent-length: ").nth(1)?;
        let length = length.split("\r\n").next()?.parse().ok()?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, head, String::from_utf8(body).ok()?))
    }
}

pub(crate) fn metric(server: &Server, name: &str) -> f64 {
    let text = server.ask("GET", "/metrics", "").2;
    let line = text.lines().find(|l| l.starts_with(name));
    let value = line
        .and_then(|l| l.rsplit(' ').next())
        .unwrap_or_else(|| panic!("{name}: {text}"));
    value.parse().unwrap()
}

#[test]
fn waiting_requests_are_one_call_and_a_bad_one_costs_itself() {
    let code = "import time\ndef predict(xs):\n    time.sleep(0.02)\n    if 13 in xs: raise ValueError('13')\n    \
                return [[len(xs), 2 * x] for x in xs]\n";
    let tree = serving(code, "batch = 64\n");
    let server = start(&tree, &[]);
    let rounds = |n: usize| if n == 13 { 3 } else { 10 };
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::of(server);
                let mut out = Vec::new();
                for _ in 0..rounds(n) {
                    let (status, _, body) = client.post("/predict", "", format!("[{n}]")).unwrap();
                    let body: Value = serde_json::from_str(&body).unwrap();
                    if status == 200 {
                        assert_eq!(body["predictions"][0][1], 2 * n);
                    }
                    out.push((status, body));
                }
                out
            })
        };
        let all: Vec<_> = (0..16).map(ask).collect();
        all.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    let failed = answers.iter().filter(|(status, _)| *status != 200).count();
    assert_eq!(failed, 3, "those with a 13 and no other");
    let largest = answers
        .iter()
        .filter_map(|(_, b)| b["predictions"][0][0].as_u64())
        .max();
    assert!(largest > Some(4), "{largest:?} requests in one call");
    assert_eq!(metric(&server, "modelv_batched_requests_total{"), 153.0);
    server.stop();
}

#[test]
fn results_stream_as_they_come_and_end_with_the_client() {
    let code = "def predict(n):\n    try:\n        for i in range(n):\n            if i == 5: raise ValueError('five')\n            \
                yield {'i': i}\n    finally:\n        print('ended at', i)\n";
    let tree = serving(code, "");
    let server = start(&tree, &[]);
    let commit = tree.id("HEAD");
    let (status, head, body) = server.ask("POST", "/predict", "{\"inputs\": 3}");
    assert_eq!(
        (status, head.contains("application/x-ndjson")),
        (200, true),
        "{head}"
    );
    for part in [
        "{\"prediction\":{\"i\": 2}}",
        &format!("{{\"done\":true,\"commit\":\"{commit}\"}}"),
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
    let failed = server.ask("POST", "/predict", "9").2;
    assert!(
        failed.contains("ValueError: five") && !failed.contains("done"),
        "{failed}"
    );
    // A client that goes away ends its generator, and no other request waits for it.
    let mut gone = TcpStream::connect(&server.address).unwrap();
    gone.write_all(b"POST /predict HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\ncontent-length: 1\r\n\r\n4").unwrap();
    let mut some = [0; 1];
    gone.read_exact(&mut some).unwrap();
    drop(gone);
    server.wait_for("ended at");
    assert_eq!(server.ask("POST", "/predict", "0").0, 200);
    server.stop();
}

#[test]
fn types_become_a_schema_a_page_and_refusals() {
    let code = "from dataclasses import dataclass\nfrom typing import Literal, Optional\n@dataclass\nclass Row:\n    \
                text: str\n    kind: Literal['a', 'b'] = 'a'\n    weight: Optional[float] = None\n\
                def predict(rows: list[Row]) -> list[int]:\n    'Counts letters.'\n    return [len(r.text) for r in rows]\n";
    let tree = serving(code, "");
    let server = start(&tree, &[]);
    let (status, _, body) = server.ask(
        "POST",
        "/predict",
        r#"{"inputs": [{"text": "abc", "weight": 1}]}"#,
    );
    assert_eq!(status, 200, "{body}");
    for (body, place) in [
        (r#"[{"text": 1}]"#, "`/0/text` of the inputs is not string"),
        (r#"[{"kind": "a"}]"#, "`/0/text` of the inputs is missing"),
        (r#"{"inputs": [{"text": "", "kind": "c"}]}"#, "`/0/kind`"),
        ("{}", "the inputs are not array"),
    ] {
        let (status, _, said) = server.ask("POST", "/predict", body);
        assert_eq!(status, 422, "{said}");
        assert!(said.contains(place), "{place}: {said}");
    }
    // What no schema says, but the type does.
    assert_eq!(
        server
            .ask("POST", "/predict", r#"[{"text": "", "more": 1}]"#)
            .0,
        422
    );
    let api: Value = serde_json::from_str(&server.ask("GET", "/openapi.json", "").2).unwrap();
    assert_eq!(api["info"]["version"], tree.id("HEAD").as_str());
    assert_eq!(api["info"]["description"], "Counts letters.");
    assert_eq!(
        api["components"]["schemas"]["Predictions"],
        json!({"type": "array", "items": {"type": "integer"}})
    );
    let page = server.ask("GET", "/docs", "").2;
    assert!(
        page.contains("Counts letters.") && !page.contains("/*OPENAPI*/"),
        "{page}"
    );
    server.stop();
    let check = "import json, sys\nfrom openapi_spec_validator import validate\nvalidate(json.load(sys.stdin))\n";
    let python = python("openapi", &["openapi-spec-validator==0.9.0"]);
    let file = tree.path("api.json");
    std::fs::write(&file, api.to_string()).unwrap();
    must(
        Command::new(python)
            .args(["-c", check])
            .stdin(std::fs::File::open(file).unwrap()),
    );
}

#[test]
fn http2_and_the_open_inference_protocol_are_spoken() {
    let code =
        "def predict(rows: list[list[float]]) -> list[float]:\n    return [sum(r) for r in rows]\n";
    let tree = serving(code, "batch = 16\n");
    let server = start(&tree, &[]);
    let commit = tree.id("HEAD");
    let url = format!("http://{}", server.address);
    let told = must(Command::new("curl").args([
        "-s",
        "--http2-prior-knowledge",
        "-w",
        "%{http_version}",
        "-d",
        "[[1,2]]",
        &format!("{url}/predict"),
    ]));
    assert!(told.contains("[3]") && told.ends_with('2'), "{told}");
    let python = python("triton", &["tritonclient[http]==2.73.0"]);
    let client = "\
import sys, numpy
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException
address, commit = sys.argv[1:]
c = InferenceServerClient(address)
assert c.is_server_live() and c.is_server_ready() and c.is_model_ready('HEAD') and c.is_model_ready('HEAD', commit[:12])
about = c.get_model_metadata('HEAD')
assert about['versions'] == [commit], about
assert about['inputs'] == [{'name': 'inputs', 'datatype': 'FP64', 'shape': [-1, -1]}], about
rows = numpy.array([[1, 2], [3, 4.5]], dtype=numpy.float32)
for binary in (True, False):
    x = InferInput('rows', [2, 2], 'FP32')
    x.set_data_from_numpy(rows, binary_data=binary)
    for outputs in (None, [InferRequestedOutput('sums', binary_data=binary)]):
        got = c.infer('HEAD', [x], outputs=outputs, request_id='7')
        y = got.as_numpy('sums' if outputs else 'predictions')
        assert y.tolist() == [3.0, 7.5], y
        assert got.get_response()['model_version'] == commit and got.get_response()['id'] == '7'
for name, version in (('other', ''), ('HEAD', '0000000')):
    try:
        c.infer(name, [x], model_version=version)
        raise SystemExit('answered')
    except InferenceServerException as e:
        assert 'no ' in str(e), e
x = InferInput('rows', [1], 'BYTES')
x.set_data_from_numpy(numpy.array(['a'], dtype=object))
try:
    c.infer('HEAD', [x])
    raise SystemExit('answered')
except InferenceServerException as e:
    assert 'is not array' in str(e), e
";
    must(Command::new(python).args(["-c", client, &server.address, &commit]));
    for body in [
        "{}",
        "{\"inputs\": []}",
        "{\"inputs\": [{}]}",
        "{\"inputs\": [{\"name\": \"x\"}]}",
        "[",
    ] {
        let (status, _, said) = server.ask("POST", "/v2/models/HEAD/infer", body);
        assert_eq!(status, 400, "{said}");
        assert!(
            serde_json::from_str::<Value>(&said).unwrap()["error"].is_string(),
            "{said}"
        );
    }
    server.stop();
}

#[test]
fn a_function_of_data_frames_gets_one() {
    let python = python("frames", &["pandas==2.2.3"]);
    let code = "def predict(df):\n    df['y'] = df['a'] * 2 + df['b']\n    return df[['y']]\n";
    let tree = serving(code, "data-frame = true\nbatch = 4\n");
    let server = start(&tree, &["--python", python.to_str().unwrap()]);
    for body in [
        r#"{"inputs": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}"#,
        r#"{"inputs": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}"#,
        r#"{"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}}"#,
    ] {
        let (status, _, said) = server.ask("POST", "/predict", body);
        assert_eq!(status, 200, "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["predictions"], json!([{"y": 4}, {"y": 10}]));
    }
    assert_eq!(server.ask("POST", "/predict", "[1]").0, 422);
    server.stop();
}

/// Tells threads to stop, however this one ends.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a std::sync::atomic::AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Kilobytes of a process, as the kernel calls them: `VmRSS` now, `VmHWM` at most.
pub(crate) fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn failures_and_streams_are_in_the_log_of_payloads() {
    let code = "def predict(n):\n    for i in range(n):\n        yield {'email': 'a@b', 'i': i}\n";
    let tree = serving(code, "");
    let server = start(&tree, &["--log-payloads", "1", "--redact", "email"]);
    assert_eq!(server.ask("POST", "/predict", "2").0, 200);
    // It fails once it has begun.
    assert_eq!(
        server.ask("POST", "/predict", "{\"email\": \"a@b\"}").0,
        200
    );
    assert_eq!(server.ask("POST", "/predict", "{\"email\": \"a@b\"").0, 400);
    for want in ["\"error\":\"predict_failed\"", "\"error\":\"not_json\""] {
        server.wait_for(want);
    }
    let log = server.log();
    let payloads: Vec<&str> = log.lines().filter(|l| l.contains("\"payload\"")).collect();
    assert!(
        payloads
            .iter()
            .any(|l| l.contains("\"i\":1") && l.contains("[redacted]")),
        "{log}"
    );
    assert!(payloads.iter().all(|l| !l.contains("a@b")), "{log}");
    server.stop();
}

#[test]
fn a_stale_model_and_a_missing_one_are_told() {
    let tree = serving("def predict(x):\n    return x\n", "");
    tree.put(
        "serve.py",
        "W = open('models/none.bin')\ndef predict(x):\n    return x\n",
    );
    tree.commit("reads what is not there");
    let said = tree
        .mv(&["serve", "HEAD", "--listen", "127.0.0.1:0"])
        .fails_with(1);
    for want in [
        "models/none.bin",
        "`modelv run` makes the model",
        "`modelv fetch --add model`",
    ] {
        assert!(said.contains(want), "{want}: {said}");
    }
    let short = &tree.id("HEAD")[..12];
    let stale = format!("warning: the model of commit `{short}` was made by another recipe");
    assert!(said.contains(&stale), "{said}");
}
