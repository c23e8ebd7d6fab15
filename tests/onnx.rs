//! ONNX models that are served without Python: made by real tools, compared with the reference runtime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::serving::Server;
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
pub(crate) fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| {
        let python = python("onnx", &PACKAGES);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx-models");
        // Those of an earlier script would be taken for its.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/onnx_models.py");
        must(Command::new(python).arg(script).arg(&dir));
        dir
    })
}

pub(crate) fn put(tree: &Tree, name: &str) {
    let from = models().join(format!("{name}.onnx"));
    std::fs::copy(from, tree.path("model.onnx")).unwrap();
}

/// A commit that serves a model.
pub(crate) fn serving(name: &str, more: &str) -> Tree {
    let tree = Tree::repo();
    let text = format!("[env]\ncapture = \"none\"\n[serve]\nmodel = \"model.onnx\"\n{more}");
    tree.put("modelv.toml", &text);
    put(&tree, name);
    tree.commit(name);
    tree
}

/// Starts a server that would find no Python.
pub(crate) fn start(tree: &Tree, args: &[&str]) -> Server {
    let all = [&["serve"], args, &["--listen", "127.0.0.1:0"]].concat();
    let mut command = tree.command(&all);
    command.env("PATH", "/nonexistent");
    Server::start(command)
}

pub(crate) fn expected(name: &str) -> Value {
    let text = std::fs::read_to_string(models().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn is_close(want: &Value, got: &Value, apart: f64) -> bool {
    match (want, got) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_close(a, b, apart))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= apart * a.abs().max(1.0)
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
            // The runtime cuts every value of such a network to 11 bits, the server none.
            let apart = if name.starts_with("half") { 2e-3 } else { 1e-5 };
            assert!(
                is_close(want, got, apart),
                "{name} {output}: {want} is not {got}"
            );
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

/// What a client says and hears.
const TEXTS: &str = "
about = c.get_model_metadata('HEAD')
assert [(i.name, i.datatype, list(i.shape)) for i in about.inputs] == [('text', 'BYTES', [-1, 1]), ('size', 'FP32', [-1, 1])], about
texts = numpy.array([['the cat sat'.encode()], ['\\u00c9lan \\u65e5\\u672c'.encode()], [b'']], dtype=numpy.object_)
text = InferInput('text', [3, 1], 'BYTES')
text.set_data_from_numpy(texts)
size = InferInput('size', [3, 1], 'FP32')
size.set_data_from_numpy(numpy.array([[1], [2], [3]], dtype=numpy.float32))
got = c.infer('HEAD', [text, size])
labels, shares = got.as_numpy('output_label'), got.as_numpy('output_probability')
assert {l.decode() for l in labels} <= {'yes', 'no'}, labels
assert shares.shape == (3, 2) and abs(shares.sum(axis=1) - 1).max() < 1e-5, shares
";

#[test]
fn texts_come_by_both_protocols() {
    let tree = serving("text-table", "batch = 8\n");
    let server = start(&tree, &["HEAD"]);
    let commit = tree.id("HEAD");
    let told = expected("text-table");
    let rows = told["inputs"]["text"].as_array().unwrap().len();
    let tensor = |name: &str, datatype: &str| {
        let rows = &told["inputs"][name];
        json!({"name": name, "datatype": datatype, "shape": [rows.as_array().unwrap().len(), 1], "data": rows})
    };
    let asked = json!({"inputs": [tensor("text", "BYTES"), tensor("size", "FP32")]});
    let (status, _, got) = server.ask("POST", "/v2/models/HEAD/infer", &asked.to_string());
    let got: Value = serde_json::from_str(&got).unwrap();
    assert_eq!(status, 200, "{got}");
    let outputs = got["outputs"].as_array().unwrap();
    assert_eq!(outputs[0]["datatype"], "BYTES");
    assert_eq!(outputs[0]["data"], told["outputs"]["output_label"]);
    assert_eq!(outputs[1]["shape"], json!([rows, 2]));
    let flat: Vec<Value> = told["outputs"]["output_probability"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap().clone())
        .collect();
    let (want, have) = (Value::Array(flat), &outputs[1]["data"]);
    assert!(is_close(&want, have, 1e-5), "{want} is not {have}");
    for (text, want) in [
        ("1", "1 is no BYTES"),
        ("null", "null"),
        ("[\"a\"]", "has the shape [1, 1, 1]"),
    ] {
        let body = format!("{{\"inputs\": {{\"text\": [[{text}]], \"size\": [[1]]}}}}");
        let (status, _, said) = server.ask("POST", "/predict", &body);
        assert!(status == 422 && said.contains(want), "{status} {said}");
    }
    crate::serve_grpc::ask(TEXTS, &server, &commit);
    let (_, _, docs) = server.ask("GET", "/openapi.json", "");
    let docs: Value = serde_json::from_str(&docs).unwrap();
    let text = &docs["components"]["schemas"]["Inputs"]["properties"]["text"];
    assert_eq!(text["items"]["items"]["type"], "string", "{docs}");
    server.stop();
}

#[test]
fn a_request_for_more_words_than_there_is_room_is_its_own_fault() {
    let tree = serving("text-letters", "");
    let server = start(&tree, &["HEAD"]);
    let many = [vec!["x".repeat(3000)], vec![String::new(); 3000]].concat();
    let asked = json!({"inputs": {"text": many}}).to_string();
    let (status, _, said) = server.ask("POST", "/predict", &asked);
    assert!(
        status == 422 && said.contains("Tokenizer: so many texts make too many words"),
        "{status} {said}"
    );
    server.predict("[\"the cat\"]", &tree.id("HEAD"));
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
            "no-map",
            "the operator `ai.onnx.ml.CategoryMapper` is not one that the server runs",
        ),
        ("no-double", "`x` is of doubles"),
        ("no-brain", "the tensor `k` is of 16-bit brain floats"),
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
