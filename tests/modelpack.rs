//! The model of a commit by itself, as a CNCF ModelPack beside its image.

use std::process::Command;

use serde_json::{Value, json};

use crate::push::Registry;
use crate::serving::{Server, served, share_caches};
use crate::support::Tree;
use crate::venv::{must, python};

const KIND: &str = "application/vnd.cncf.model.manifest.v1+json";

fn blob(tree: &Tree, digest: &Value) -> std::path::PathBuf {
    let digits = &digest.as_str().unwrap()[7..];
    tree.path("image/blobs/sha256").join(digits)
}

fn read(tree: &Tree, digest: &Value) -> Value {
    serde_json::from_slice(&std::fs::read(blob(tree, digest)).unwrap()).unwrap()
}

/// What a registry holds under a tag, byte for byte.
fn raw(address: &str, tag: &str) -> Vec<u8> {
    let output = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{address}/team/doubles:{tag}"))
        .output()
        .expect("skopeo starts; `tests/all` installs it");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn the_model_is_offered_by_itself_and_stored_once() {
    let tree = served();
    share_caches(&tree);
    tree.put(".mvignore", "/image\n/plain\n/out\n");
    // A line for each number: 9 MiB that no two weights share.
    let weights: String = (0..1_300_000).map(|n| format!("{n:06x}\n")).collect();
    tree.put("models/large.bin", &weights);
    let commit = tree.commit("with weights");
    let release = |output: &str, more: &[&str]| {
        let args = ["release", "HEAD", "--output", output, "--json"];
        tree.json(&[&args[..], more].concat())
    };
    let plain = release("plain", &[]);
    let registry = Registry::start("");
    let to = format!("{}/team/doubles:1", registry.address);
    let image = release("image", &["--modelpack", "--push", &to]);
    assert_eq!(plain["digest"], image["digest"], "the image is what it is");

    let index: Value = serde_json::from_str(&tree.get("image/index.json")).unwrap();
    let found = index["manifests"].as_array().unwrap();
    let found = found.iter().find(|d| d["artifactType"] == KIND).unwrap();
    let manifest = read(&tree, &found["digest"]);
    assert_eq!(manifest["artifactType"], KIND);
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(manifest["subject"]["digest"], image["digest"]);
    let layers = manifest["layers"].as_array().unwrap();
    let kinds: Vec<_> = layers
        .iter()
        .map(|l| l["mediaType"].as_str().unwrap())
        .collect();
    let weight = "application/vnd.cncf.model.weight.v1.tar";
    assert_eq!(kinds, [weight, &format!("{weight}+gzip")]);
    let notes = &layers[0]["annotations"];
    assert_eq!(notes["org.cncf.model.filepath"], "models/large.bin");
    let about = notes["org.cncf.model.file.metadata+json"].as_str().unwrap();
    let about: Value = serde_json::from_str(about).unwrap();
    assert_eq!(
        (&about["size"], &about["mode"]),
        (&json!(weights.len()), &json!(0o644))
    );
    // Layers of the image, each of them.
    let own: Vec<_> = image["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["digest"])
        .collect();
    assert!(
        layers.iter().all(|l| own.contains(&&l["digest"])),
        "{manifest}"
    );
    let config = read(&tree, &manifest["config"]["digest"]);
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.cncf.model.config.v1+json"
    );
    assert_eq!(config["descriptor"]["revision"], commit.as_str());
    assert_eq!(config["config"]["format"], "bin");
    let diff_ids: Vec<_> = image["layers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|l| l["name"].as_str().unwrap().starts_with("model"))
        .map(|l| l["diff_id"].clone())
        .collect();
    assert_eq!(
        config["modelfs"],
        json!({"type": "layers", "diffIds": diff_ids})
    );
    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/modelpack.schema.json"
    );
    let check = "import json, sys, jsonschema\n\
        jsonschema.Draft202012Validator(json.load(open(sys.argv[2]))).validate(json.load(open(sys.argv[1])))";
    must(
        Command::new(python("jsonschema", &["jsonschema==4.26.0"]))
            .args(["-c", check])
            .arg(blob(&tree, &manifest["config"]["digest"]))
            .arg(schema),
    );
    // Taken out of its layer by another tool, it is the file.
    let tar = Command::new("tar")
        .arg("-xOf")
        .arg(blob(&tree, &layers[0]["digest"]))
        .arg("opt/modelv/app/models/large.bin")
        .output()
        .unwrap();
    assert!(tar.stdout == weights.as_bytes(), "{}", tar.stdout.len());
    // It is in the registry, under a tag of its own.
    let pushed = raw(&registry.address, "1-model");
    assert_eq!(serde_json::from_slice::<Value>(&pushed).unwrap(), manifest);

    let shown = tree.mv(&["release", "inspect", "image"]).success();
    assert!(shown.contains(&format!("beside it {KIND}")), "{shown}");
    let beside = tree.json(&["release", "inspect", "image", "--json"])["beside"][0].clone();
    assert_eq!(
        (&beside["kind"], &beside["size"]),
        (&json!(KIND), &beside["shared"])
    );

    tree.mv(&["switch", "-c", "feat/x"]).success();
    let serve = [
        "registry",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--modelpack",
    ];
    let server = Server::start(tree.command(&serve));
    assert!(
        server
            .log()
            .contains("`feat/x` is no tag of an image: it is pulled as `feat-x`"),
        "{}",
        server.log()
    );
    let pulled = raw(&server.address, "feat-x");
    assert_eq!(pulled, raw(&registry.address, "1"));
    let (_, _, tags) = server.ask("GET", "/v2/x/tags/list", "");
    assert!(tags.contains("\"feat-x\"") && !tags.contains('/'), "{tags}");
    let referrers = format!("/v2/x/referrers/{}", image["digest"].as_str().unwrap());
    assert!(server.ask("GET", &referrers, "").2.contains(KIND));
    server.stop();
}

#[test]
fn without_a_model_there_is_none_to_offer() {
    let tree = served();
    share_caches(&tree);
    tree.put("serve.py", "def predict(x):\n    return x\n");
    std::fs::remove_dir_all(tree.path("models")).unwrap();
    tree.commit("no model");
    let release = [
        "release",
        "HEAD",
        "--output",
        "image",
        "--tag",
        "doubles:feat/x",
    ];
    let said = tree
        .mv(&[&release[..], &["--modelpack"]].concat())
        .fails_with(1);
    assert!(
        said.contains("has no model that could be offered as a ModelPack"),
        "{said}"
    );
    assert!(!tree.path("image").exists());
    // A branch as the tag of an image is said, and mended.
    let done = tree.mv(&release);
    assert!(
        done.err.contains("it is called `doubles:feat-x`"),
        "{done:?}"
    );
    done.success();
}
