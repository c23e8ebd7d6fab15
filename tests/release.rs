//! Releases: an image that really starts, twice the same digest, and what can't be built.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::serving::{Server, is_root, served, served_by, share_caches, start_unpacked};
use crate::support::Tree;

#[test]
fn a_commit_is_served_and_every_failure_is_counted() {
    let tree = served();
    let commit = tree.id("HEAD");
    let server = Server::start(tree.command(&["serve", "--listen", "127.0.0.1:0"]));
    let (status, head, body) = server.ask("POST", "/predict", "{\"inputs\": [1, 2.5]}");
    assert_eq!(status, 200);
    assert_eq!(
        body.trim(),
        format!("{{\"predictions\":[2, 5.0],\"commit\":\"{commit}\"}}")
    );
    assert!(
        head.contains(&format!("x-modelv-commit: {commit}")),
        "{head}"
    );
    assert!(head.contains("x-request-id: req-7"), "{head}");
    for (body, want, code) in [
        ("{\"inputs\": \"raise\"}", 500, "predict_failed"),
        ("{\"inputs\": \"die\"}", 503, "worker_died"),
        ("not json", 400, "not_json"),
    ] {
        let (status, _, answer) = server.ask("POST", "/predict", body);
        assert_eq!(status, want, "{answer}");
        let json: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(json["error"]["code"], code);
        assert_eq!(json["commit"], commit.as_str());
    }
    let large = "x".repeat(9 << 20);
    assert_eq!(server.ask("POST", "/predict", &large).0, 413);
    assert_eq!(server.ask("GET", "/predict", "").0, 405);
    assert_eq!(server.ask("GET", "/nowhere", "").0, 404);
    // The worker that died is started again; until then requests wait.
    assert_eq!(server.ask("POST", "/predict", "[4]").0, 200);
    assert_eq!(server.ask("GET", "/health/live", "").0, 200);
    assert_eq!(server.ask("GET", "/health/ready", "").0, 200);
    let version: serde_json::Value =
        serde_json::from_str(&server.ask("GET", "/version", "").2).unwrap();
    assert_eq!(version["commit"], commit.as_str());
    let metrics = server.ask("GET", "/metrics", "").2;
    for line in [
        format!("modelv_requests_total{{code=\"200\",commit=\"{commit}\"}} 2"),
        format!("modelv_request_errors_total{{kind=\"predict_failed\",commit=\"{commit}\"}} 1"),
        format!("modelv_request_errors_total{{kind=\"worker_died\",commit=\"{commit}\"}} 1"),
        format!("modelv_request_duration_seconds_count{{commit=\"{commit}\"}} 7"),
        format!("modelv_worker_restarts_total{{commit=\"{commit}\"}} 1"),
        format!("model_info{{commit=\"{commit}\""),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    server.stop();
}

#[test]
fn an_image_has_one_digest_and_starts_from_its_own_files() {
    let tree = served();
    tree.mv(&["switch", "-c", "linked"]).success();
    std::os::unix::fs::symlink("w.json", tree.path("models/current.json")).unwrap();
    tree.put(
        "serve.py",
        &tree.get("serve.py").replace("w.json", "current.json"),
    );
    let commit = tree.commit("through a link");
    let build = |name: &str| tree.json(&["release", "HEAD", "--output", name, "--json"]);
    let a = build("out/a");
    // Made again from nothing, without what the first build has left.
    std::fs::remove_dir_all(tree.path(".mv/cache")).unwrap();
    share_caches(&tree);
    let b = build("elsewhere");
    assert_eq!(a["digest"], b["digest"]);
    assert_eq!(a["commit"], commit.as_str());
    let config = tree.json(&["release", "unpack", "out/a", "rootfs"]);
    assert_eq!(config["entrypoint"][0], "/opt/modelv/bin/modelv");
    assert_eq!(
        tree.get("rootfs/opt/modelv/app/models/w.json"),
        "{\"scale\": 2}"
    );
    let link = tree.path("rootfs/opt/modelv/app/models/current.json");
    assert_eq!(link.read_link().unwrap().to_str(), Some("w.json"));
    let server = start_unpacked(&tree.path("rootfs"));
    assert_eq!(server.predict("[21]", &commit), serde_json::json!([42]));
    if is_root() {
        let who = server.predict("\"who\"", &commit);
        assert_eq!(who, serde_json::json!([65532, 65532, false]));
    }
    server.kill();
    // A flipped byte in a blob is found.
    let layer = a["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "out/a/blobs/sha256/");
    let mut bytes = std::fs::read(tree.path(&layer)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(tree.path(&layer), bytes).unwrap();
    let said = tree
        .mv(&["release", "unpack", "out/a", "again"])
        .fails_with(1);
    assert!(said.contains("has other bytes"), "{said}");
}

/// Runs a release that must fail, and looks that it has left nothing.
fn refuse(tree: &Tree, args: &[&str], want: &str) {
    let names = |tree: &Tree| {
        let mut out: Vec<_> = std::fs::read_dir(tree.root())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            // pip keeps things there.
            .filter(|name| name != "no-home")
            .collect();
        out.sort();
        out
    };
    let before = names(tree);
    let args = [&["release", "HEAD", "--output", "image"], args].concat();
    let said = tree.mv(&args).fails_with(1);
    assert!(said.contains(want), "{want} in {said}");
    assert_eq!(names(tree), before);
}

#[test]
fn a_base_that_is_none_is_refused() {
    let tree = served();
    share_caches(&tree);
    refuse(
        &tree,
        &["--base", "no/such"],
        "error: base `no/such` can't be used: there is no such file or folder; an image is named with its registry, as \
         `docker.io/no/such:latest`\n\nhint: `--base python` packs",
    );
    tree.put("base/etc/passwd", "");
    refuse(&tree, &["--base", "base"], "libc.so.6");
    tree.put("text", &"no tar at all\n".repeat(100));
    refuse(&tree, &["--base", "text"], "text` can't be used");
    tree.put("layout/oci-layout", "{}");
    refuse(
        &tree,
        &["--base", "layout"],
        "layout` is damaged: it has no index.json",
    );
    tree.put(
        "layout/index.json",
        "{\"manifests\": [{\"digest\": \"sha256:../../../serve.py\"}]}",
    );
    refuse(&tree, &["--base", "layout"], "is no SHA-256 digest");
    let hostile = "import io, sys, tarfile\n\
        t = tarfile.open(sys.argv[1], 'w')\n\
        i = tarfile.TarInfo('../../escaped'); i.size = 1\n\
        t.addfile(i, io.BytesIO(b'x')); t.close()\n";
    let tar = tree.path("hostile.tar");
    let made = Command::new("python3")
        .args(["-c", hostile])
        .arg(&tar)
        .status();
    assert!(made.unwrap().success());
    refuse(
        &tree,
        &["--base", "hostile.tar"],
        "path `../../escaped` leads out",
    );
    refuse(
        &tree,
        &["--tag", "No Name", "--tar", "x.tar"],
        "`No Name` is no name for an image",
    );
    tree.put("taken/x", "");
    let said = tree
        .mv(&["release", "HEAD", "--output", "taken"])
        .fails_with(1);
    assert!(
        said.contains("`") && said.contains("taken` exists and is not replaced"),
        "{said}"
    );
    assert_eq!(tree.get("taken/x"), "");
}

#[test]
fn a_commit_that_cannot_be_built_is_refused() {
    let tree = served_by("python3", &[]);
    share_caches(&tree);
    let packages = std::fs::read_dir(tree.path(".venv/lib")).unwrap();
    let lib = packages.map(|e| e.unwrap().path()).next().unwrap();
    let site = lib.join("site-packages").display().to_string();
    let site = site
        .strip_prefix(&format!("{}/", tree.root().display()))
        .unwrap()
        .to_owned();
    let package = |name: &str| {
        let folder = format!("{site}/{}-0.0.1.dist-info", name.replace('-', "_"));
        let text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n");
        tree.put(&format!("{folder}/METADATA"), &text);
        tree.put(
            "models/w.json",
            &format!("{{\"scale\": 2, \"for\": \"{name}\"}}"),
        );
        tree.commit(name);
        tree.path(&folder)
    };
    // A package that no index has.
    let gone = package("nowhere-to-be-found-modelv");
    refuse(
        &tree,
        &[],
        "package `nowhere-to-be-found-modelv==0.0.1` can't be installed",
    );
    std::fs::remove_dir_all(gone).unwrap();
    // One whose wheel wants to write elsewhere.
    let gone = package("hostile-modelv");
    let wheel = tree.path(".mv/cache/wheels/hostile_modelv-0.0.1-py3-none-any.whl");
    let zip = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w')\n\
        z.writestr('../../escaped.py', 'x')\n\
        z.writestr('hostile_modelv-0.0.1.dist-info/RECORD', '')\nz.close()\n";
    let made = Command::new("python3")
        .args(["-c", zip])
        .arg(&wheel)
        .status();
    assert!(made.unwrap().success());
    refuse(&tree, &[], "it holds the file name `../../escaped.py`");
    std::fs::remove_file(wheel).unwrap();
    std::fs::remove_dir_all(gone).unwrap();
    for (target, want) in [
        (
            "/etc/passwd",
            "error: `secret` can't be put into an image: it is a link to `/etc/passwd`, an absolute path\n\nhint: commit the file itself",
        ),
        (
            "models/../../x",
            "it is a link to `models/../../x`, which is outside of the commit",
        ),
    ] {
        let link = tree.path("secret");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        tree.commit(target);
        refuse(&tree, &[], want);
    }
    std::fs::remove_file(tree.path("secret")).unwrap();
    tree.put("modelv.toml", "");
    tree.commit("serves nothing");
    refuse(&tree, &[], "names nothing to serve");
    for (entry, want) in [
        (
            "serve:prediction",
            "can't serve `serve:prediction`: `serve.py` has no `prediction`",
        ),
        ("models.x:f", "there is no `models/x.py` in it"),
        ("gone:f", "neither it nor its packages have a module `gone`"),
        ("serve.py", "there is no `serve/py.py` in it"),
        ("a b:c", "it is no `module:function`"),
    ] {
        tree.put("modelv.toml", &format!("[serve]\nentry = \"{entry}\"\n"));
        tree.commit(entry);
        refuse(&tree, &[], want);
    }
    // Where it says how its model is made, it must have one.
    tree.put(
        "modelv.toml",
        "[serve]\nentry = \"serve:predict\"\n[train]\ncommand = \"python train.py\"\n",
    );
    std::fs::remove_dir_all(tree.path("models")).unwrap();
    tree.commit("not trained");
    refuse(
        &tree,
        &[],
        "has no model, and its modelv.toml says how one is made",
    );
    let plan = tree.mv(&["release", "plan", "HEAD"]);
    assert!(plan.out.contains("problem: commit"), "{plan:?}");
    let release = ["release", "HEAD", "--output", "image", "--without-model"];
    tree.mv(&release).success();
}

#[test]
fn an_image_among_the_files_is_in_no_commit() {
    let tree = served();
    share_caches(&tree);
    for _ in 0..2 {
        let done = tree.mv(&["release", "HEAD", "--output", "image"]);
        let said = "`image` is in no commit: its own `.gitignore` leaves it out";
        assert!(done.err.contains(said), "{done:?}");
        done.success();
        assert!(!tree.mv(&["status"]).success().contains("image"));
    }
    let away = Tree::empty();
    let output = away.path("image");
    let done = tree.mv(&["release", "HEAD", "--output", output.to_str().unwrap()]);
    assert!(!done.err.contains("is in no commit"), "{done:?}");
    done.success();
}

#[test]
fn a_stale_model_is_said_and_what_warms_the_server_is_in_the_image() {
    let tree = served();
    share_caches(&tree);
    tree.put(
        "modelv.toml",
        "[serve]\nentry = \"serve:predict\"\nwarm = \"warm.jsonl\"\n",
    );
    tree.put("warm.jsonl", "[1]\n");
    let commit = tree.commit("another recipe");
    let done = tree.mv(&["release", "HEAD", "--output", "image"]);
    assert!(done.err.contains("warning: its model is stale"), "{done:?}");
    done.success();
    let plan = tree.mv(&["release", "plan", "HEAD"]).success();
    assert!(plan.contains("note: its model is stale"), "{plan}");
    tree.json(&["release", "unpack", "image", "root"]);
    let server = start_unpacked(&tree.path("root"));
    assert_eq!(server.predict("[2]", &commit), serde_json::json!([4]));
    server.kill();
}

#[test]
fn ctrl_c_ends_a_release_and_leaves_nothing() {
    let tree = served();
    let args = [
        "release",
        "HEAD",
        "--output",
        "out/image",
        "--tar",
        "out/image.tar",
    ];
    let mut child = tree.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // The interpreter is about to be packed, which takes a while.
    assert!(lines.any(|line| line.unwrap().trim() == "base"));
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
    let left: Vec<_> = std::fs::read_dir(tree.root())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .filter(|n| {
            n.to_str()
                .is_some_and(|n| n == "out" || n.starts_with(".modelv"))
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
