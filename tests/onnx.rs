//! ONNX models that are served without Python: made by real tools, compared with the reference runtime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::serve::{Client, StopAtEnd};
use crate::serving::{Server, share_caches};
use crate::support::{Done, Tree};
use crate::venv::{must, python};

const PACKAGES: [&str; 6] = [
    "numpy==2.4.6",
    "onnx==1.23.2",
    "onnxruntime==1.31.1",
    "pandas==3.1.1",
    "scikit-learn==1.9.1",
    "skl2onnx==1.20.0",
];

/// The folder of all models, and of what the reference runtime says to some rows.
fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| {
        let python = python("onnx", &PACKAGES);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx-models");
        std::fs::create_dir_all(&dir).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/onnx_models.py");
        must(Command::new(python).arg(script).arg(&dir));
        dir
    })
}

fn put(tree: &Tree, name: &str) {
    let from = models().join(format!("{name}.onnx"));
    std::fs::copy(from, tree.path("model.onnx")).unwrap();
}

/// A commit that serves a model.
fn serving(name: &str, more: &str) -> Tree {
    let tree = Tree::repo();
    let text = format!("[env]\ncapture = \"none\"\n[serve]\nmodel = \"model.onnx\"\n{more}");
    tree.put("modelv.toml", &text);
    put(&tree, name);
    tree.commit(name);
    tree
}

/// Starts a server that would find no Python.
fn start(tree: &Tree, args: &[&str]) -> Server {
    let all = [&["serve"], args, &["--listen", "127.0.0.1:0"]].concat();
    let mut command = tree.command(&all);
    command.env("PATH", "/nonexistent");
    Server::start(command)
}

fn expected(name: &str) -> Value {
    let text = std::fs::read_to_string(models().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn is_close(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_close(a, b))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-5 * a.abs().max(1.0)
        }
        _ => want == got,
    }
}

#[test]
fn what_real_tools_make_is_computed_as_their_runtime_does() {
    let mut names: Vec<String> = std::fs::read_dir(models())
        .unwrap()
        .filter_map(|e| {
            e.unwrap()
                .file_name()
                .to_str()?
                .strip_suffix(".json")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let tree = serving(&name, "");
        let server = start(&tree, &["HEAD"]);
        let told = expected(&name);
        let asked = json!({"inputs": told["inputs"]}).to_string();
        let got = server.predict(&asked, &tree.id("HEAD"));
        let wanted = told["outputs"].as_object().unwrap();
        for (output, want) in wanted {
            let got = if wanted.len() == 1 {
                &got
            } else {
                &got[output]
            };
            assert!(is_close(want, got), "{name} {output}: {want} is not {got}");
        }
        server.stop();
    }
}

#[test]
fn both_protocols_know_the_models_own_tensors() {
    let tree = serving("logistic-words", "batch = 8\n");
    let server = start(&tree, &["HEAD"]);
    let commit = tree.id("HEAD");
    let (_, head, about) = server.ask("GET", "/v2/models/HEAD", "");
    assert!(
        head.contains(&format!("x-modelv-commit: {commit}")),
        "{head}"
    );
    let about: Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about["platform"], "onnx_onnxv1");
    let input = json!([{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]);
    let outputs = json!([
        {"name": "output_label", "datatype": "BYTES", "shape": [-1]},
        {"name": "output_probability", "datatype": "FP32", "shape": [-1, 3]},
    ]);
    assert_eq!((&about["inputs"], &about["outputs"]), (&input, &outputs));
    let told = expected("logistic-words");
    let rows = &told["inputs"]["X"];
    let tensor = json!({"name": "X", "datatype": "FP32", "shape": [24, 4], "data": rows});
    let asked = json!({"inputs": [tensor], "outputs": [{"name": "output_probability"}]});
    let (status, _, got) = server.ask("POST", "/v2/models/HEAD/infer", &asked.to_string());
    let got: Value = serde_json::from_str(&got).unwrap();
    assert_eq!(
        (status, got["outputs"].as_array().unwrap().len()),
        (200, 1),
        "{got}"
    );
    assert_eq!(got["outputs"][0]["datatype"], "FP32");
    assert_eq!(got["outputs"][0]["shape"], json!([24, 3]));
    for (change, status, want) in [
        ("\"X\"", 422, "has no input `Y`"),
        ("output_probability", 400, "has no output `Y`"),
    ] {
        let other = if status == 422 { "\"Y\"" } else { "Y" };
        let odd = asked.to_string().replace(change, other);
        let (found, _, said) = server.ask("POST", "/v2/models/HEAD/infer", &odd);
        assert!(found == status && said.contains(want), "{found} {said}");
    }
    let script = "
about = c.get_model_metadata('HEAD')
assert about.platform == 'onnx_onnxv1', about
assert [(i.name, i.datatype, list(i.shape)) for i in about.inputs] == [('X', 'FP32', [-1, 4])], about
assert [(o.name, o.datatype) for o in about.outputs] == [('output_label', 'BYTES'), ('output_probability', 'FP32')]
rows = numpy.array([[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]], dtype=numpy.float32)
x = InferInput('X', [2, 4], 'FP32')
x.set_data_from_numpy(rows)
got = c.infer('HEAD', [x])
labels, shares = got.as_numpy('output_label'), got.as_numpy('output_probability')
assert [l.decode() for l in labels] == ['setosa', 'versicolor'], labels
assert shares.dtype == numpy.float32 and abs(shares.sum(axis=1) - 1).max() < 1e-5, shares
refused('INVALID_ARGUMENT', lambda: c.infer('HEAD', [x], outputs=[InferRequestedOutput('z')]))
";
    crate::serve_grpc::ask(script, &server, &commit);
    let (_, _, docs) = server.ask("GET", "/openapi.json", "");
    let docs: Value = serde_json::from_str(&docs).unwrap();
    let schemas = &docs["components"]["schemas"];
    assert_eq!(schemas["Inputs"]["items"]["maxItems"], 4, "{schemas}");
    let shares = &schemas["Predictions"]["properties"]["output_probability"]["description"];
    assert!(
        shares
            .as_str()
            .unwrap()
            .contains("setosa, versicolor, virginica"),
        "{shares}"
    );
    server.stop();
}

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
fn what_can_not_be_run_is_refused_by_name_at_both_gates() {
    for (name, want) in [
        (
            "no-hardmax",
            "the operator `Hardmax` (node `last`) is not one that the server runs",
        ),
        (
            "no-svm",
            "the operator `ai.onnx.ml.SVMRegressor` is not one that the server runs",
        ),
        ("no-double", "`x` is of doubles"),
        ("no-large", "the number 1099511627776"),
        ("far", "`../../outside`: it is no path below"),
        ("near", "near.weights"),
    ] {
        let tree = serving(name, "");
        for args in [
            &["serve", "HEAD"][..],
            &["release", "HEAD", "--output", "image"],
        ] {
            let said = tree.mv(args).fails_with(1);
            assert!(said.contains(want), "{args:?}: {said}");
            let hint = if want.contains("path") || want.contains("near") {
                "modelv show REV"
            } else {
                "onnxruntime.InferenceSession(\"model.onnx\")"
            };
            assert!(said.contains(hint), "{said}");
        }
        assert!(!tree.path("image").exists());
    }
    let tree = serving("logistic", "");
    let whole = std::fs::read(tree.path("model.onnx")).unwrap();
    for end in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(tree.path("model.onnx"), &whole[..end]).unwrap();
        tree.commit("cut off");
        let said = Done::new(&tree.command(&["serve", "HEAD"]).output().unwrap()).fails_with(1);
        assert!(
            said.contains("cannot serve the model `model.onnx`"),
            "{said}"
        );
    }
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
