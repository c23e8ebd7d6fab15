//! Papers and signatures of images, checked by others: OpenSSL, the validator of CycloneDX, Python's
//! `cryptography`, and a registry that keeps them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::push::Registry;
use crate::serving::{served, share_caches};
use crate::support::Tree;

/// Runs a program of the system, which must succeed.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; `tests/all` installs what the tests need"));
    let said = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {out}{said}");
    out
}

/// An interpreter with the packages of others, made once and kept under cargo's folder.
fn checker() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("papers-venv");
    let python = venv.join("bin/python");
    let mark = venv.join("ready");
    if !mark.exists() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv));
        let packages = [
            "cyclonedx-python-lib[json-validation]==9.1.0",
            "cryptography==44.0.2",
        ];
        run(Command::new(&python)
            .args("-m pip install --quiet --disable-pip-version-check".split(' '))
            .args(packages));
        std::fs::write(mark, "").unwrap();
    }
    python
}

/// A signed release of a commit whose model a run has made, and the keys.
fn signed() -> Tree {
    let tree = served();
    share_caches(&tree);
    for args in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        "pkey -in key.pem -pubout -out key.pub",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.pem",
        "pkey -in other.pem -pubout -out other.pub",
    ] {
        run(Command::new("openssl")
            .args(args.split(' '))
            .current_dir(tree.root()));
    }
    tree.put(".mvignore", "*.pem\n*.pub\n");
    tree.put("data/rows.csv", "a\n1\n");
    tree.put("train.sh", "wc -c < data/rows.csv > models/size.txt\n");
    tree.mv(&["run", "-m", "trained", "--", "sh", "train.sh"])
        .success();
    tree.json(&[
        "release",
        "HEAD",
        "--output",
        "image",
        "--sign-key",
        "key.pem",
        "--json",
    ]);
    tree
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn blob(tree: &Tree, digest: &serde_json::Value) -> PathBuf {
    tree.path("image/blobs/sha256")
        .join(&digest.as_str().unwrap()[7..])
}

/// The parts of what lies beside the image, by its kind.
fn papers(tree: &Tree, kind: &str) -> Vec<serde_json::Value> {
    let index = read_json(&tree.path("image/index.json"));
    let all = index["manifests"].as_array().unwrap();
    let found = all.iter().find(|d| d["artifactType"] == kind);
    let manifest = read_json(&blob(tree, &found.unwrap()["digest"]));
    assert_eq!(manifest["subject"]["digest"], all[0]["digest"]);
    manifest["layers"].as_array().unwrap().clone()
}

#[test]
fn others_find_the_papers_right() {
    let tree = signed();
    let commit = tree.id("HEAD");
    let image = tree.json(&["release", "inspect", "image", "--json"]);
    let digits = image["digest"].as_str().unwrap()[7..].to_owned();
    // The image is what it is without papers; the same keys and commit give the same papers.
    let plain = tree.json(&["release", "HEAD", "--output", "plain", "--json"]);
    assert_eq!(plain["digest"], image["digest"]);
    tree.json(&[
        "release",
        "HEAD",
        "--output",
        "again",
        "--sign-key",
        "key.pem",
        "--json",
    ]);
    assert_eq!(tree.get("again/index.json"), tree.get("image/index.json"));
    // The signature, by OpenSSL.
    let part = &papers(&tree, "application/vnd.dev.cosign.artifact.sig.v1+json")[0];
    let signature = part["annotations"]["dev.cosignproject.cosign/signature"]
        .as_str()
        .unwrap();
    tree.put("sig.b64", &format!("{signature}\n"));
    let openssl = |args: &[&str]| run(Command::new("openssl").args(args).current_dir(tree.root()));
    openssl(&["base64", "-d", "-A", "-in", "sig.b64", "-out", "sig"]);
    let payload = blob(&tree, &part["digest"]);
    openssl(&[
        "dgst",
        "-sha256",
        "-verify",
        "key.pub",
        "-signature",
        "sig",
        payload.to_str().unwrap(),
    ]);
    let payload = read_json(&payload);
    assert_eq!(
        payload["critical"]["image"]["docker-manifest-digest"],
        image["digest"]
    );
    // The bill of materials, by the library of CycloneDX; the envelopes, by Python's `cryptography`.
    let sbom = blob(
        &tree,
        &papers(&tree, "application/vnd.cyclonedx+json")[0]["digest"],
    );
    let check = "import sys, json, base64\n\
        from cyclonedx.validation.json import JsonStrictValidator\n\
        from cyclonedx.schema import SchemaVersion\n\
        bad = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
        assert bad is None, bad\n\
        from cryptography.hazmat.primitives import hashes, serialization\n\
        from cryptography.hazmat.primitives.asymmetric import ec\n\
        key = serialization.load_pem_public_key(open(sys.argv[2], 'rb').read())\n\
        for path in sys.argv[3:]:\n\
        \x20   e = json.load(open(path))\n\
        \x20   body = base64.b64decode(e['payload']); kind = e['payloadType'].encode()\n\
        \x20   pae = b'DSSEv1 %d %s %d %s' % (len(kind), kind, len(body), body)\n\
        \x20   key.verify(base64.b64decode(e['signatures'][0]['sig']), pae, ec.ECDSA(hashes.SHA256()))\n\
        \x20   s = json.loads(body)\n\
        \x20   print(s['predicateType'], s['subject'][0]['digest']['sha256'])\n";
    let envelopes = papers(&tree, "application/vnd.dsse.envelope.v1+json");
    let said = run(Command::new(checker())
        .args(["-c", check])
        .arg(&sbom)
        .arg(tree.path("key.pub"))
        .args(envelopes.iter().map(|e| blob(&tree, &e["digest"]))));
    let want =
        format!("https://slsa.dev/provenance/v1 {digits}\nhttps://cyclonedx.org/bom {digits}\n");
    assert_eq!(said, want);
    // What they say.
    let sbom = read_json(&sbom);
    let parts = sbom["components"].as_array().unwrap();
    let of = |kind: &str| {
        parts
            .iter()
            .find(|c| c["type"] == kind && c["name"] != "models/w.json")
    };
    let model = of("machine-learning-model").unwrap();
    assert_eq!(model["name"], "models/size.txt");
    assert_eq!(
        model["modelCard"]["modelParameters"]["datasets"][0]["ref"],
        "data:data/rows.csv"
    );
    let hash = run(Command::new("sha256sum").arg(tree.path("models/size.txt")));
    assert_eq!(model["hashes"][0]["content"], hash[..64]);
    let made = read_json(&blob(
        &tree,
        &papers(&tree, "application/vnd.in-toto+json")[0]["digest"],
    ));
    let build = &made["predicate"]["buildDefinition"];
    assert_eq!(build["externalParameters"]["commit"], commit.as_str());
    let from: Vec<&str> = build["resolvedDependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["uri"].as_str().unwrap())
        .collect();
    assert!(
        from.contains(&format!("modelv:commit/{commit}").as_str()),
        "{from:?}"
    );
    assert!(
        from.iter().any(|u| u.starts_with("modelv:run/")),
        "{from:?}"
    );
}

#[test]
fn a_signature_is_checked_in_a_layout_and_in_a_registry() {
    let registry = Registry::start("");
    let tree = signed();
    let to = format!("{}/team/doubles:1", registry.address);
    tree.mv(&["release", "push", "image", &to]).success();
    for image in ["image", &to] {
        let verify = |key: &str| {
            tree.mv(&[
                "release",
                "verify",
                image,
                "--signed-by",
                key,
                "--no-rebuild",
                "--json",
            ])
        };
        let said: serde_json::Value = serde_json::from_str(&verify("key.pub").success()).unwrap();
        assert_eq!(said["signatures"], 1);
        let kinds = [
            "https://slsa.dev/provenance/v1",
            "https://cyclonedx.org/bom",
        ];
        assert_eq!(said["statements"], serde_json::json!(kinds));
        let said = verify("other.pub").fails_with(1);
        assert!(
            said.contains("its signatures are not of this key"),
            "{said}"
        );
    }
    // A model beside it is as good as its own signature.
    let release = [
        "release",
        "HEAD",
        "--output",
        "offered",
        "--modelpack",
        "--sign-key",
        "key.pem",
    ];
    tree.mv(&release).success();
    let to = format!("{}/team/offered:2", registry.address);
    tree.mv(&["release", "push", "offered", &to]).success();
    let index = read_json(&tree.path("offered/index.json"));
    let all = index["manifests"].as_array().unwrap();
    let kind = "application/vnd.cncf.model.manifest.v1+json";
    let model = all.iter().find(|d| d["artifactType"] == kind).unwrap();
    let check = [
        "release",
        "verify",
        "X",
        "--signed-by",
        "key.pub",
        "--no-rebuild",
        "--json",
    ];
    let of = |image: &str| tree.mv(&check.map(|word| if word == "X" { image } else { word }));
    for image in ["offered", &to] {
        let said: serde_json::Value = serde_json::from_str(&of(image).success()).unwrap();
        assert_eq!(
            said["models"],
            serde_json::json!([model["digest"]]),
            "{image}"
        );
    }
    let own = model["digest"].as_str().unwrap().replace(':', "-");
    let is_own = |d: &&serde_json::Value| {
        d["annotations"]["org.opencontainers.image.ref.name"] == format!("{own}.sig")
    };
    let others: Vec<_> = all.iter().filter(|d| !is_own(d)).cloned().collect();
    assert_eq!(others.len(), all.len() - 1);
    let mut without = index.clone();
    without["manifests"] = others.into();
    tree.put("offered/index.json", &without.to_string());
    let said = of("offered").fails_with(1);
    assert!(
        said.contains("the model that is offered beside it is not signed"),
        "{said}"
    );
    // The tags by which cosign finds them, and the index for registries that know no referrers.
    let digest = tree.json(&["release", "inspect", "image", "--json"])["digest"].clone();
    let tag = digest.as_str().unwrap().replace(':', "-");
    let raw = |tag: &str| -> serde_json::Value {
        let at = format!("docker://{}/team/doubles:{tag}", registry.address);
        let args = ["inspect", "--raw", "--tls-verify=false", &at];
        serde_json::from_str(&run(Command::new("skopeo").args(args))).unwrap()
    };
    let signature = raw(&format!("{tag}.sig"));
    assert_eq!(
        signature["layers"][0]["mediaType"],
        "application/vnd.dev.cosign.simplesigning.v1+json"
    );
    assert_eq!(raw(&tag)["manifests"].as_array().unwrap().len(), 4);
    // Built again and compared as well.
    let same = tree
        .mv(&["release", "verify", "image", "--signed-by", "key.pub"])
        .success();
    assert!(same.contains("is what commit"), "{same}");
    // One without a signature, and a signature that was moved to another image.
    tree.json(&["release", "HEAD", "--output", "plain", "--json"]);
    let check = [
        "release",
        "verify",
        "plain",
        "--signed-by",
        "key.pub",
        "--no-rebuild",
    ];
    let said = tree.mv(&check).fails_with(1);
    assert!(
        said.contains("it has no signature") && said.contains("hint: "),
        "{said}"
    );
    tree.put("serve.py", "def predict(x): return x\n");
    tree.commit("another");
    let other = tree.json(&[
        "release",
        "HEAD",
        "--output",
        "plain",
        "--sign-key",
        "other.pem",
        "--json",
    ]);
    let theirs = format!("sha256-{}", &other["digest"].as_str().unwrap()[7..]);
    let from_ours = tree.get("image/index.json").replace(&tag, &theirs);
    let mut index = read_json(&tree.path("plain/index.json"));
    let ours: serde_json::Value = serde_json::from_str(&from_ours).unwrap();
    let papers = ours["manifests"].as_array().unwrap()[1..].to_vec();
    index["manifests"].as_array_mut().unwrap().truncate(1);
    index["manifests"].as_array_mut().unwrap().extend(papers);
    tree.put("plain/index.json", &index.to_string());
    let copy = "cp -n image/blobs/sha256/* plain/blobs/sha256/";
    run(Command::new("sh")
        .args(["-c", copy])
        .current_dir(tree.root()));
    let said = tree.mv(&check).fails_with(1);
    assert!(
        said.contains("the signature is one of another image"),
        "{said}"
    );
}
