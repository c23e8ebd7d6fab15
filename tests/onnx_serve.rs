//! ONNX models in a server: batched, timed, swapped, shared out, watched, and in images.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::onnx::{models, put, serving, start};
use crate::serve::{Client, StopAtEnd};
use crate::serving::{Server, share_caches};
use crate::support::Tree;
use crate::venv::must;

#[test]
fn bodies_are_what_the_model_takes_or_refused() {
    let tree = serving("attention", "");
    let server = start(&tree, &["HEAD"]);
    let refuse = |body: &str, status: u16, want: &str| {
        let (found, _, said) = server.ask("POST", "/predict", body);
        assert!(
            found == status && said.contains(want),
            "{body}: {found} {said}"
        );
    };
    refuse("{\"inputs\": ", 400, "not JSON");
    refuse("[[1]]", 422, "`tokens` of the inputs is missing");
    refuse(
        "{\"tokens\": [[1]]}",
        422,
        "`scale` of the inputs is missing",
    );
    refuse(
        "{\"inputs\": {\"tokens\": [[1]], \"scale\": 1, \"more\": 1}}",
        422,
        "no input `more`",
    );
    for (tokens, want) in [
        (
            "[1]",
            "`tokens` has the shape [1], the model takes [-1, -1]",
        ),
        ("[[1, 2], [3]]", "the lists have different lengths"),
        ("[[1, [2]]]", "not nested evenly"),
        ("[[1.5]]", "1.5 is no INT64"),
        ("[[\"a\"]]", "is no INT64"),
        ("[[null]]", "null"),
        ("[[1, true]]", "several types"),
        ("[[4294967296]]", "has more than 32 bits"),
    ] {
        refuse(
            &format!("{{\"tokens\": {tokens}, \"scale\": 1}}"),
            422,
            want,
        );
    }
    let deep = format!(
        "{{\"tokens\": {}, \"scale\": 1}}",
        "[".repeat(60) + &"]".repeat(60)
    );
    refuse(&deep, 422, "not nested evenly");
    // A number of no token fails, and the next request does not.
    refuse("{\"tokens\": [[99]], \"scale\": 1}", 500, "predict_failed");
    let commit = tree.id("HEAD");
    let got = server.predict("{\"tokens\": [[1.0]], \"scale\": -1}", &commit);
    assert_eq!(got["positive"], false);
    server.stop();
}

#[test]
fn waiting_requests_are_run_together_and_each_gets_its_rows() {
    let tree = serving("two", "batch = 64\nbatch-wait-ms = 5\n");
    let server = start(&tree, &["HEAD", "--workers", "2"]);
    std::thread::scope(|scope| {
        for n in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::of(server);
                for round in 0..20 {
                    let odd = n == 3 && round % 2 == 0;
                    let x = match odd {
                        true => "[\"x\"]".to_owned(),
                        false => format!("[{n}, {round}]"),
                    };
                    let (status, _, body) = client.post("/predict", "", x).unwrap();
                    let body: Value = serde_json::from_str(&body).unwrap();
                    match odd {
                        true => assert_eq!(status, 422, "{body}"),
                        false => {
                            let want = json!([f64::from(2 * n), f64::from(2 * round)]);
                            assert_eq!(body["predictions"], want, "{body}");
                        }
                    }
                }
            });
        }
    });
    let metrics = server.ask("GET", "/metrics", "").2;
    let of = |name: &str| -> f64 {
        let line = metrics.lines().find(|l| l.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (calls, requests) = (
        of("modelv_call_duration_seconds_count"),
        of("modelv_batched_requests_total"),
    );
    assert!(requests == 320.0 && calls < 250.0, "{calls} {requests}");
    server.stop();
}

#[test]
fn what_takes_too_long_costs_no_other_request() {
    let tree = serving("slow", "timeout-ms = 400\n");
    let server = start(&tree, &["HEAD"]);
    let commit = tree.id("HEAD");
    assert_eq!(server.predict("7", &commit), json!(7.0));
    let (status, _, said) = server.ask("POST", "/predict", "2000000000");
    assert!(
        status == 504 && said.contains("took too long"),
        "{status} {said}"
    );
    // Its thread goes on by itself; another one answers.
    assert_eq!(server.predict("8", &commit), json!(8.0));
    server.wait_for("left to itself");
    // Of two that go on there is no third beside: it is said, and the server lives.
    let (status, _, said) = server.ask("POST", "/predict", "2000000000");
    assert_eq!(status, 504, "{said}");
    server.wait_for("still under way after their time");
    assert_eq!(server.ask("GET", "/health/live", "").0, 200);
    assert_eq!(server.ask("GET", "/health/ready", "").0, 503);
    server.stop();
}

#[test]
fn an_alias_moves_from_model_to_model_under_load() {
    let tree = serving("two", "");
    let mv_alias = || {
        tree.mv(&["alias", "set", "prod", "HEAD", "-m", "live"])
            .success()
    };
    mv_alias();
    let first = tree.id("HEAD");
    let server = start(&tree, &["prod", "--follow", "--every", "0.05"]);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let load = || {
            let mut client = Client::of(&server);
            while !stop.load(Ordering::Relaxed) {
                let (status, _, body) = client.post("/predict", "", "[1, 10]").unwrap();
                let body: Value = serde_json::from_str(&body).unwrap();
                let factor = if body["commit"] == first.as_str() {
                    2.0
                } else {
                    3.0
                };
                assert_eq!(
                    body["predictions"],
                    json!([factor, 10.0 * factor]),
                    "{status} {body}"
                );
                asked.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        put(&tree, "three");
        let second = tree.commit("three");
        mv_alias();
        server.wait_for("\"event\":\"swapped\"");
        put(&tree, "no-hardmax");
        tree.commit("what nobody runs");
        mv_alias();
        server.wait_for("\"event\":\"refused\"");
        assert!(
            server.log().contains("the operator `Hardmax`"),
            "{}",
            server.log()
        );
        let got = server.predict("[1]", &tree.id("HEAD~1"));
        assert_eq!(got, json!([3.0]), "{second}");
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|c| c.join().unwrap());
    });
    assert!(asked.load(Ordering::Relaxed) > 20);
    server.stop();
}

#[test]
fn an_image_of_a_model_has_no_python() {
    let tree = serving("near", "golden = \"golden.jsonl\"\n");
    std::fs::copy(models().join("near.weights"), tree.path("near.weights")).unwrap();
    tree.put("requests.jsonl", "{\"request\": [[1, 1], [0, 5]]}\n");
    tree.mv(&["release", "golden", "requests.jsonl"]).success();
    assert!(
        tree.get("golden.jsonl").contains("[[3.0,4.0],[2.0,8.0]]"),
        "{}",
        tree.get("golden.jsonl")
    );
    // An environment of Python does not come along, whoever recorded it.
    let text = tree.get("modelv.toml").replace("capture = \"none\"\n", "");
    tree.put("modelv.toml", &text);
    let commit = tree.commit("with the environment of its training");
    share_caches(&tree);
    tree.mv(&["release", "HEAD", "--output", "image"]).success();
    let at = Tree::empty();
    let root = at.path("root");
    modelv_release::unpack(&tree.path("image"), &root, &modelv_repo::Cancel::new()).unwrap();
    let list = must(Command::new("find").arg(&root));
    assert!(!list.to_lowercase().contains("python"), "{list}");
    let config = std::fs::read_to_string(root.join("opt/modelv/image.json")).unwrap();
    assert!(
        config.contains("\"model\": \"model.onnx\"") && !config.contains("python"),
        "{config}"
    );
    std::fs::create_dir_all(at.path("tmp")).unwrap();
    let mut command = at.command(&[
        "serve",
        tree.path("image").to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    command.env("TMPDIR", at.path("tmp"));
    let server = Server::start(command);
    assert_eq!(server.predict("[[1, 1]]", &commit), json!([[3.0, 4.0]]));
    server.stop();
}

#[test]
fn arms_are_shared_mirrors_answer_nobody_and_what_is_secret_is_not_logged() {
    let tree = serving("two", "");
    let first = tree.id("HEAD");
    put(&tree, "three");
    let second = tree.commit("three");
    put(&tree, "logistic");
    let third = tree.commit("what takes something else");
    let arm = format!("{second}=25");
    let server = start(
        &tree,
        &[
            &first,
            "--weight",
            "75",
            "--arm",
            &arm,
            "--mirror",
            &second,
            "--mirror",
            &third,
            "--log-payloads",
            "1",
            "--redact",
            "secret",
        ],
    );
    let mut client = Client::of(&server);
    let mut ask = |head: &str| {
        let body = "{\"x\": [1, 10], \"secret\": \"hunter2\"}";
        let (status, _, body) = client.post("/predict", head, body).unwrap();
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let is_first = body["commit"] == first.as_str();
        assert!(is_first || body["commit"] == second.as_str(), "{body}");
        let factor = if is_first { 2.0 } else { 3.0 };
        assert_eq!(body["predictions"], json!([factor, 10.0 * factor]));
        is_first
    };
    let share = (0..400).filter(|_| ask("")).count();
    assert!((260..340).contains(&share), "{share} of 400");
    for key in 0..10 {
        let head = format!("x-modelv-key: user-{key}\r\n");
        let is_first = ask(&head);
        assert!((0..5).all(|_| ask(&head) == is_first), "user-{key} moved");
    }
    server.wait_for("[redacted]");
    assert!(!server.log().contains("hunter2"));
    let metrics = server.ask("GET", "/metrics", "").2;
    for name in [
        format!("modelv_mirrored_total{{result=\"same\",commit=\"{second}\"}}"),
        format!("modelv_mirrored_total{{result=\"different\",commit=\"{second}\"}}"),
        format!("modelv_mirrored_total{{result=\"failed\",commit=\"{third}\"}}"),
    ] {
        let line = metrics.lines().find(|l| l.starts_with(&name));
        let line = line.unwrap_or_else(|| panic!("{name} in {metrics}"));
        assert!(!line.ends_with(" 0"), "{line}");
    }
    server.stop();
}

#[test]
fn an_image_of_a_text_model_answers_as_the_model_did() {
    let tree = serving("text-words", "golden = \"golden.jsonl\"\n");
    let asked = "[\"the cat\", \"na\u{ef}ve caf\u{e9}\", \"\"]";
    tree.put("requests.jsonl", &format!("{{\"request\": {asked}}}\n"));
    tree.mv(&["release", "golden", "requests.jsonl"]).success();
    let commit = tree.commit("with what it must answer");
    share_caches(&tree);
    tree.mv(&["release", "HEAD", "--output", "image"]).success();
    let image = tree.path("image");
    let at = Tree::empty();
    std::fs::create_dir_all(at.path("tmp")).unwrap();
    let mut command = at.command(&["serve", image.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", at.path("tmp"));
    let server = Server::start(command);
    let got = server.predict(asked, &commit);
    assert_eq!(got["output_label"].as_array().unwrap().len(), 3, "{got}");
    server.stop();
}
