//! `release verify` says what differs in the first part that does, wherever the image is.

use std::process::Command;

use serde_json::{Value, json};

use crate::push::{Registry, released};
use crate::support::Tree;
use crate::venv::must;

fn read(tree: &Tree, path: &str) -> Value {
    serde_json::from_str(&tree.get(path)).unwrap()
}

fn at(digest: &Value) -> String {
    format!("image/blobs/sha256/{}", &digest.as_str().unwrap()[7..])
}

/// Puts a blob into the image; what names it.
fn put(tree: &Tree, value: &Value) -> (Value, usize) {
    let text = value.to_string();
    tree.put("image/blob", &text);
    let sum = must(Command::new("sha256sum").arg(tree.path("image/blob")));
    let digest = json!(format!("sha256:{}", &sum[..64]));
    tree.put(&at(&digest), &text);
    (digest, text.len())
}

/// Makes another manifest, with every digest right, the one of the image.
fn put_manifest(tree: &Tree, manifest: &Value) {
    let mut index = read(tree, "image/index.json");
    let (digest, size) = put(tree, manifest);
    index["manifests"][0]["digest"] = digest;
    index["manifests"][0]["size"] = size.into();
    tree.put("image/index.json", &index.to_string());
}

fn differs(tree: &Tree, args: &[&str]) -> String {
    let done = tree.mv(&[&["release", "verify"], args].concat());
    assert_eq!(done.status, Some(1), "{done:?}");
    done.out
}

#[test]
fn what_was_tampered_with_is_named() {
    let tree = released();
    let index = read(&tree, "image/index.json");
    let manifest = read(&tree, &at(&index["manifests"][0]["digest"]));
    let mut config = read(&tree, &at(&manifest["config"]["digest"]));
    let recipe = config["config"]["Labels"]["dev.modelv.recipe"].clone();
    config["config"]["Labels"]["dev.modelv.recipe"] = json!("mine");
    let (digest, size) = put(&tree, &config);
    let mut other = manifest.clone();
    other["config"]["digest"] = digest;
    other["config"]["size"] = size.into();
    put_manifest(&tree, &other);
    let said = differs(&tree, &["image"]);
    assert!(
        said.starts_with("configuration is the first part that differs\n"),
        "{said}"
    );
    let want = format!("  config.Labels.dev.modelv.recipe: \"mine\" -> {recipe}\n");
    assert!(said.contains(&want), "{said}");
    let mut other = manifest.clone();
    other["annotations"]["org.opencontainers.image.title"] = json!("other");
    put_manifest(&tree, &other);
    let said = differs(&tree, &["image"]);
    let want = "  annotations.org.opencontainers.image.title: \"other\" -> ";
    assert!(
        said.starts_with("manifest is the first") && said.contains(want),
        "{said}"
    );
    put_manifest(&tree, &manifest);
    let same = tree.mv(&["release", "verify", "image"]).success();
    assert!(same.contains("is what commit"), "{same}");
}

#[test]
fn an_image_in_a_registry_is_compared_too() {
    let registry = Registry::start("");
    let tree = released();
    let to = format!("{}/team/doubles:1", registry.address);
    tree.mv(&["release", "push", "image", &to]).success();
    let same = tree.mv(&["release", "verify", &to]).success();
    assert!(
        same.contains(&format!("is what commit {} gives", tree.id("HEAD"))),
        "{same}"
    );
    tree.put("more.py", "MORE = 1\n");
    tree.commit("more code");
    for image in ["image", &to] {
        let said = differs(&tree, &[image, "HEAD"]);
        let want = "layer `code and config` is the first part that differs\n";
        assert!(said.starts_with(want), "{said}");
        assert!(
            said.contains("  file opt/modelv/app/more.py is not in the image\n"),
            "{said}"
        );
    }
    let found = tree.mv(&["release", "verify", &to, "HEAD", "--json"]);
    let found: Value = serde_json::from_str(&found.out).unwrap();
    let want = json!(["file opt/modelv/app/more.py is not in the image"]);
    assert_eq!(found["difference"]["details"], want);
    // Nobody is asked for what is in no registry.
    let gone = format!("{}/team/gone:1", registry.address);
    let said = tree.mv(&["release", "verify", &gone]).fails_with(1);
    assert!(said.contains("it answers 404"), "{said}");
}
