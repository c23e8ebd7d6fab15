//! Clients that mean no good, and what is large: no crash, and no memory that grows with them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::serve::{Client, memory, metric, serving, start};
use crate::serving::Server;

/// One client that means no good; bytes and manners by its number.
fn hostile(server: &Server, n: usize) {
    let Ok(mut stream) = TcpStream::connect(&server.address) else {
        return;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let size = [0, 1, 100, 70_000, 300_000][n % 5];
    let filler: Vec<u8> = (0..size).map(|i| (i * 31 + n * 7) as u8).collect();
    let bytes: Vec<u8> = match n % 12 {
        0 => filler,
        1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().copied().chain(filler).collect(),
        2 => [b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n", &filler[..]].concat(),
        3 => [b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\ncontent-length: 3\r\n\r\n[1]", &filler[..]].concat(),
        4 => [b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffff\r\n", &filler[..]].concat(),
        5 => (0..500).fold(b"GET /version HTTP/1.1\r\n".to_vec(), |mut head, i| {
            head.extend(format!("x-{i}: {}\r\n", "y".repeat(n % 300)).as_bytes());
            head
        }),
        6 => format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "%ff".repeat(size / 3)).into_bytes(),
        7 => {
            let deep = "[".repeat(size.max(1));
            format!("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{deep}", deep.len()).into_bytes()
        }
        8 => [format!("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json; charset=utf-16\r\ncontent-length: {size}\r\n\r\n").as_bytes(), &filler].concat(),
        9 => [format!("POST /v2/models/HEAD/infer HTTP/1.1\r\nhost: x\r\ninference-header-content-length: {n}\r\ncontent-length: {size}\r\n\r\n").as_bytes(), &filler].concat(),
        10 => {
            let body = format!("{{\"inputs\":[{{\"name\":\"x\",\"shape\":[{n},4294967296],\"datatype\":\"FP64\",\"data\":[1]}}]}}");
            format!("POST /v2/models/HEAD/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }
        // Half a request, then nothing.
        _ => b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n[1,".to_vec(),
    };
    let _ = stream.write_all(&bytes);
    if n.is_multiple_of(3) {
        let mut answer = [0; 64];
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut answer);
    }
}

#[test]
fn no_body_ends_a_worker_or_the_server() {
    let tree = serving("import os\ndef predict(x):\n    return os.getpid()\n", "");
    let server = start(&tree, &[]);
    let commit = tree.id("HEAD");
    let first = server.predict("1", &commit);
    let mut client = Client::of(&server);
    let infer = format!("/v2/models/{commit}/infer");
    let tensor = |shape: &str| {
        let tensor = format!(r#"{{"name":"x","datatype":"FP32","shape":{shape},"data":[]}}"#);
        format!("{{\"inputs\":[{tensor}]}}").into_bytes()
    };
    for (path, body) in [
        ("/predict", b"{\"inputs\":\"\xff\xfe\"}".to_vec()),
        ("/predict", b"[".repeat(200_000)),
        ("/predict", b"9".repeat(5_000)),
        (infer.as_str(), tensor("[1125899906842624,0]")),
        (infer.as_str(), tensor("[100000,100000,0]")),
    ] {
        let (status, _, said) = client.post(path, "", body).unwrap();
        assert_eq!(status, 400, "{path}: {said}");
    }
    assert_eq!(server.predict("1", &commit), first, "the same worker");
    assert_eq!(metric(&server, "modelv_worker_restarts_total{"), 0.0);
    server.stop();
}

/// `MODELV_HOSTILE=10000` is the long form.
#[test]
fn hostile_clients_cost_nobody_and_no_memory() {
    let tree = serving("def predict(x):\n    return x\n", "timeout-ms = 2000\n");
    let server = start(&tree, &[]);
    let pid = server.child.id();
    let count: usize = std::env::var("MODELV_HOSTILE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_200);
    let round = |from: usize, to: usize| {
        std::thread::scope(|scope| {
            for part in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    (from..to)
                        .filter(|n| n % 4 == part)
                        .for_each(|n| hostile(server, n));
                });
            }
        });
    };
    round(0, count / 2);
    let before = memory(pid, "VmRSS");
    round(count / 2, count);
    let after = memory(pid, "VmRSS");
    assert!(after < before + 16 * 1024, "{before} kB, then {after} kB");
    // A slow head holds nobody up.
    let mut slow = TcpStream::connect(&server.address).unwrap();
    slow.write_all(b"GET /ver").unwrap();
    assert_eq!(server.ask("POST", "/predict", "[1]").0, 200);
    assert_eq!(metric(&server, "modelv_worker_restarts_total"), 0.0);
    drop(slow);
    server.stop();
}

#[test]
fn what_is_looked_at_for_its_types_is_not_kept() {
    let code = "def predict(x: list[int]) -> int:\n    return len(x)\n";
    let tree = serving(code, "body-bytes-max = 33554432\n");
    let server = start(&tree, &[]);
    // As values, the numbers would take half a gigabyte; the last is what no worker has to read them for.
    let body = format!("[{}\"x\"]", "1,".repeat(15 << 20));
    let (status, _, said) = server.ask("POST", "/predict", &body);
    assert_eq!(status, 422, "{said}");
    assert!(
        said.contains("`/15728640` of the inputs is not integer"),
        "{said}"
    );
    let peak = memory(server.child.id(), "VmHWM");
    assert!(peak < 150 << 10, "{peak} KiB at most");
    server.stop();
}

#[test]
fn a_large_result_is_no_value_on_its_way_to_a_tensor() {
    // As values, its numbers would take half a gigabyte.
    let code = "def predict(x):\n    return [7] * (8 << 20)\n";
    let tree = serving(code, "");
    let server = start(&tree, &[]);
    let tensor = r#"{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}"#;
    let mut client = Client::of(&server);
    for (binary, bytes) in [(false, 16 << 20), (true, 64 << 20)] {
        let body = format!(
            r#"{{"inputs": [{tensor}], "parameters": {{"binary_data_output": {binary}}}}}"#
        );
        let (status, head, said) = client.post("/v2/models/HEAD/infer", "", body).unwrap();
        assert_eq!(status, 200, "{head}");
        assert!(said.len() >= bytes, "{} bytes", said.len());
    }
    let peak = memory(server.child.id(), "VmHWM");
    assert!(peak < 300 << 10, "{peak} KiB at most");
    server.stop();
}
