//! The prediction server under clients that ask too much, workers that die or hang, and its own end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::serve::{Client, StopAtEnd, metric, serving, start};
use crate::serving::Server;
use crate::support::{PATIENCE, Tree};
use crate::venv::must;

#[test]
fn every_limit_has_its_status() {
    let code = "import time\ndef predict(x):\n    time.sleep(x)\n    return x\n";
    let tree = serving(code, "timeout-ms = 700\nqueue = 2\nbody-bytes-max = 100\n");
    let server = start(&tree, &[]);
    assert_eq!(server.ask("POST", "/predict", &"1".repeat(101)).0, 413);
    let mut chunked = TcpStream::connect(&server.address).unwrap();
    chunked
        .write_all(b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n80\r\n")
        .unwrap();
    chunked.write_all(&[b'1'; 128]).unwrap();
    let mut said = String::new();
    let _ = chunked.take(12).read_to_string(&mut said);
    assert_eq!(said, "HTTP/1.1 413");
    let mut slow = TcpStream::connect(&server.address).unwrap();
    slow.write_all(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n[")
        .unwrap();
    let mut said = String::new();
    let _ = slow.take(12).read_to_string(&mut said);
    assert_eq!(said, "HTTP/1.1 408");
    let start = Instant::now();
    assert_eq!(server.ask("POST", "/predict", "30").0, 504);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    server.wait_for("modelv_worker_restarts_total{");
    // One under way, two wait, the others are told to come again.
    let codes: Vec<(u16, String)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (status, head, _) = server.ask("POST", "/predict", "0.2");
                    (status, head)
                })
            })
            .collect();
        asked.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let refused: Vec<_> = codes.iter().filter(|(code, _)| *code == 429).collect();
    assert!((4..=6).contains(&refused.len()), "{codes:?}");
    assert!(
        refused
            .iter()
            .all(|(_, head)| head.contains("retry-after: 1"))
    );
    assert!(
        codes.iter().all(|(code, _)| [200, 429, 504].contains(code)),
        "{codes:?}"
    );
    server.stop();
}

#[test]
fn killed_workers_cost_their_own_requests_and_come_back() {
    let code = "import os, time\ndef predict(xs):\n    time.sleep(0.002)\n    return [os.getpid() if x == 'pid' else x for x in xs]\n";
    let tree = serving(code, "batch = 8\nspare = true\n");
    let server = start(&tree, &["--workers", "2"]);
    let pid = || loop {
        let (status, _, body) = server.ask("POST", "/predict", "[\"pid\"]");
        if status == 200 {
            let body: Value = serde_json::from_str(&body).unwrap();
            break body["predictions"][0].as_u64().unwrap().to_string();
        }
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut asked, mut failed) = (0, 0);
    std::thread::scope(|scope| {
        // Also when something here fails: the load must not go on for ever.
        let end = StopAtEnd(&stop);
        let load = |n: usize| {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut client = Client::of(server);
                let (mut asked, mut failed) = (0, 0);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let (status, _, body) = client.post("/predict", "", format!("[{n}]")).unwrap();
                    assert!(
                        status == 200 || body.contains("worker_died"),
                        "{status} {body}"
                    );
                    asked += 1;
                    failed += u32::from(status != 200);
                }
                (asked, failed)
            })
        };
        let load: Vec<_> = (0..4).map(load).collect();
        for round in 1..=5 {
            let pid = pid();
            must(Command::new("kill").args(["-9", &pid]));
            let back = format!(
                "modelv_worker_restarts_total{{commit=\"{}\"}} {round}",
                tree.id("HEAD")
            );
            server.wait_for(&back);
        }
        drop(end);
        for thread in load {
            let (a, f) = thread.join().unwrap();
            asked += a;
            failed += f;
        }
    });
    // At most what the killed ones had in their hands; a batch is asked again.
    assert!(failed <= 5 && asked > 50, "{failed} of {asked}");
    server.stop();
}

#[test]
fn a_spare_worker_takes_the_place_of_one_that_takes_long_to_load() {
    let at = Tree::empty();
    let [loaded, hold] = ["loaded", "hold"].map(|name| at.path(name));
    let code = format!(
        "import os, time\nwhile os.path.exists({hold:?}): time.sleep(0.05)\n\
         print('x', file=open({loaded:?}, 'a'))\ndef predict(x):\n    return os.getpid()\n"
    );
    let tree = serving(&code, "spare = true\n");
    let server = start(&tree, &[]);
    let commit = tree.id("HEAD");
    let end = Instant::now() + PATIENCE;
    while std::fs::read(&loaded).map_or(0, |all| all.len()) < 4 {
        assert!(Instant::now() < end, "there is no spare worker");
        std::thread::sleep(Duration::from_millis(10));
    }
    // From here on none can be loaded: who answers was there already.
    std::fs::write(&hold, "").unwrap();
    let pid = server.predict("1", &commit);
    must(Command::new("kill").args(["-9", &pid.to_string()]));
    server.wait_for(&format!(
        "modelv_worker_restarts_total{{commit=\"{commit}\"}} 1"
    ));
    assert_ne!(server.predict("1", &commit), pid);
    std::fs::remove_file(&hold).unwrap();
    server.stop();
}

#[test]
fn a_drained_server_answers_what_is_under_way() {
    let code = "import time\ndef predict(x):\n    time.sleep(x)\n    return x\n";
    let tree = serving(code, "");
    let server = start(&tree, &[]);
    let address = server.address.clone();
    let asked = std::thread::spawn(move || {
        let mut client = Client::at(&address);
        client.post("/predict", "", "1").unwrap().0
    });
    server.wait_for("modelv_requests_in_flight{");
    while metric(&server, "modelv_requests_in_flight{") < 1.0 {
        std::thread::yield_now();
    }
    server.stop();
    assert_eq!(asked.join().unwrap(), 200);
}

#[test]
fn a_signal_to_all_of_its_processes_costs_no_request() {
    let code = "import os, subprocess, time\ndef predict(x):\n    \
        child = subprocess.Popen(['sleep', '60'])\n    forked = os.fork()\n    \
        if not forked: time.sleep(60)\n    open('begun', 'w').close()\n    time.sleep(1)\n    \
        child.terminate()\n    os.kill(forked, 15)\n    \
        return [child.wait(), os.waitpid(forked, 0)[1], os.getpid()]\n";
    let tree = serving(code, "");
    let commit = tree.id("HEAD");
    for signal in ["INT", "TERM"] {
        let mut command = tree.command(&["serve", "--listen", "127.0.0.1:0"]);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let server = Server::start(command);
        let asked = std::thread::scope(|scope| {
            let asked = scope.spawn(|| server.ask("POST", "/predict", "1"));
            while !has_begun(&tree) {
                std::thread::yield_now();
            }
            let pid = server.child.id().to_string();
            let workers = must(Command::new("pgrep").args(["-P", &pid]));
            let all = format!("-{pid} {workers}");
            must(
                Command::new("kill")
                    .args(["-s", signal, "--"])
                    .args(all.split_whitespace()),
            );
            asked.join().unwrap()
        });
        assert_eq!(asked.0, 200, "{}", asked.2);
        let answer: Value = serde_json::from_str(&asked.2).unwrap();
        assert_eq!(answer["commit"], commit.as_str());
        // What the function starts ends as it would anywhere.
        assert_eq!(answer["predictions"][0], -15, "{answer}");
        assert_eq!(answer["predictions"][1], 15, "{answer}");
        assert!(!server.log().contains("worker_died"), "{}", server.log());
        server.wait();
    }
}

#[test]
fn a_worker_that_hangs_ends_with_a_front_that_is_killed() {
    let code =
        "import os, time\ndef predict(x):\n    open('begun', 'w').close()\n    time.sleep(3600)\n";
    let tree = serving(code, "");
    let server = start(&tree, &[]);
    let mut client = Client::of(&server);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.post("/predict", "", "1"));
        while !has_begun(&tree) {
            std::thread::yield_now();
        }
        let pid = server.child.id().to_string();
        let worker = must(Command::new("pgrep").args(["-P", &pid]));
        let worker = format!("/proc/{}/cmdline", worker.trim());
        server.kill();
        assert!(asked.join().unwrap().is_none());
        let end = Instant::now() + PATIENCE;
        while std::fs::read(&worker).is_ok_and(|line| !line.is_empty()) {
            assert!(Instant::now() < end, "{worker} is left");
            std::thread::yield_now();
        }
    });
}

/// Whether a function has written its file `begun`.
fn has_begun(tree: &Tree) -> bool {
    let mut all = std::fs::read_dir(tree.path(".mv/tmp")).unwrap();
    all.any(|e| e.unwrap().path().join("begun").exists())
}

#[test]
fn what_keeps_a_server_from_starting_is_told() {
    let tree = serving("predict = 3\n", "");
    let said = tree.mv(&["serve", "--listen", "127.0.0.1:0"]).fails_with(1);
    assert!(said.contains("it is no function: 3"), "{said}");
    let tree = serving("def predict(x):\n    return x\n", "warm = \"none.jsonl\"\n");
    let said = tree.mv(&["serve", "--listen", "127.0.0.1:0"]).fails_with(1);
    assert!(said.contains("in `none.jsonl` can't be read"), "{said}");
    let tree = serving("def predict(x):\n    return x\n", "");
    let server = start(&tree, &[]);
    let said = tree
        .mv(&["serve", "--listen", &server.address])
        .fails_with(1);
    assert!(
        said.contains("cannot listen on") && said.contains("with port 0"),
        "{said}"
    );
    let said = tree.mv(&["serve", "--workers", "0"]).fails_with(2);
    assert!(said.contains("'--workers <N>'"), "{said}");
    server.stop();
}

#[test]
fn every_answer_names_the_commit() {
    let tree = serving("def predict(x):\n    return 1 / x\n", "");
    let server = start(&tree, &[]);
    let commit = format!("x-modelv-commit: {}", tree.id("HEAD"));
    for (method, path, status) in [
        ("GET", "/version", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/predict", 405),
        ("POST", "/version", 405),
        ("DELETE", "/v2/models/HEAD/infer", 405),
        ("GET", "/v2/models/%ff", 400),
        ("POST", "/v2/models/HEAD/versions/%ff/infer", 400),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/predict", 500),
    ] {
        let (found, head, body) = server.ask(method, path, "0");
        assert_eq!(found, status, "{method} {path}: {body}");
        assert!(head.contains(&commit), "{method} {path}: {head}");
        assert!(
            serde_json::from_str::<Value>(&body).is_ok(),
            "{path}: {body}"
        );
        let allows = head.contains("allow: ");
        assert_eq!(
            allows,
            status == 405 && path != "/predict",
            "{path}: {head}"
        );
    }
    server.stop();
}
