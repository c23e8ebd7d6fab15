//! Pulling by commit: unmodified tools ask a registry that makes images when they are first asked for.

use std::process::Command;

use crate::serving::{Server, served, share_caches, start_unpacked};
use crate::support::Tree;

/// Copies an image out of a registry with skopeo.
fn pull(tree: &Tree, server: &Server, reference: &str, to: &str) -> Result<(), String> {
    let output = Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--preserve-digests",
            "--src-tls-verify=false",
        ])
        .arg(format!("docker://{}/team/{reference}", server.address))
        .arg(format!("oci:{}:x", tree.path(to).display()))
        .output()
        .expect("skopeo starts; `tests/all` installs it");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn digest(tree: &Tree, layout: &str) -> serde_json::Value {
    tree.json(&["release", "inspect", layout, "--json"])["digest"].clone()
}

#[test]
fn an_image_is_pulled_by_commit_branch_and_tag() {
    let tree = served();
    share_caches(&tree);
    tree.put(".mvignore", "/a\n/b\n/c\n/d\n/e\n/f\n/image\n/key.*\n");
    let keys = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem && \
                openssl pkey -in key.pem -pubout -out key.pub";
    let mut openssl = Command::new("sh");
    let made = openssl.args(["-c", keys]).current_dir(tree.root()).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
    let first = tree.commit("the first");
    tree.mv(&["tag", "v1", "HEAD"]).success();
    tree.mv(&["switch", "-c", "work"]).success();
    let image = tree.json(&["release", "HEAD", "--output", "image", "--json"]);
    let serve = [
        "registry",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--sign-key",
        "key.pem",
    ];
    let server = Server::start(tree.command(&serve));
    assert_eq!(server.ask("GET", "/v2/", "").0, 200);
    // Two at once: the image is made once, and it is the one that a release gives.
    std::thread::scope(|scope| {
        for (reference, to) in [
            (format!("x:{first}"), "a"),
            ("other/name:v1".to_owned(), "b"),
        ] {
            let (tree, server) = (&tree, &server);
            scope.spawn(move || pull(tree, server, &reference, to).unwrap());
        }
    });
    assert_eq!(digest(&tree, "a"), image["digest"]);
    assert_eq!(digest(&tree, "b"), image["digest"]);
    tree.json(&["release", "unpack", "a", "d"]);
    let unpacked = start_unpacked(&tree.path("d"));
    assert_eq!(unpacked.predict("[4]", &first), serde_json::json!([8]));
    unpacked.kill();
    // A branch is what it is now.
    tree.put("models/w.json", "{\"scale\": 3}");
    let second = tree.commit("triples");
    pull(&tree, &server, "x:work", "c").unwrap();
    let explained = tree.json(&["release", "explain", "c", "--json"]);
    assert_eq!(explained["commit"]["id"], second.as_str());
    // Signatures are there under their tag, and the tags are listed.
    let to = format!("{}/team/x:{first}", server.address);
    tree.mv(&["release", "verify", &to, "--signed-by", "key.pub"])
        .success();
    let (_, _, tags) = server.ask("GET", "/v2/x/tags/list", "");
    assert!(
        tags.contains("\"v1\"") && tags.contains("\"work\""),
        "{tags}"
    );
    let referrers = format!("/v2/x/referrers/{}", image["digest"].as_str().unwrap());
    let (_, _, referrers) = server.ask("GET", &referrers, "");
    assert!(
        referrers.contains("application/vnd.cyclonedx+json"),
        "{referrers}"
    );
    // What is not there, and what is no pull.
    let said = pull(&tree, &server, "x:no-such", "e").unwrap_err();
    assert!(
        said.contains("manifest unknown") || said.contains("no such image"),
        "{said}"
    );
    for (method, path, want) in [
        ("POST", "/v2/x/blobs/uploads/", 405),
        ("GET", "/v2/x/blobs/sha256:..%2f..%2fkey.pem", 404),
        ("GET", "/v2/x/blobs/../../../key.pem", 404),
        ("GET", "/", 404),
    ] {
        assert_eq!(server.ask(method, path, "").0, want, "{path}");
    }
    server.stop();
    // What was made is there at once the next time.
    let server = Server::start(tree.command(&serve));
    pull(&tree, &server, &format!("x:{first}"), "f").unwrap();
    assert_eq!(digest(&tree, "f"), image["digest"]);
    server.stop();
    // Where there is room for one alone, the others go, and are the same when they are made again.
    tree.put("models/w.json", "{\"scale\": 4}");
    tree.commit("quadruples");
    let small = [&serve[..], &["--space", "1"]].concat();
    let server = Server::start(tree.command(&small));
    let kept = || {
        std::fs::read_dir(tree.path(".mv/cache/shelf/images"))
            .unwrap()
            .count()
    };
    assert_eq!(kept(), 2);
    pull(&tree, &server, "x:work", "e").unwrap();
    assert_eq!(kept(), 1);
    std::fs::remove_dir_all(tree.path("f")).unwrap();
    pull(&tree, &server, &format!("x:{first}"), "f").unwrap();
    assert_eq!((kept(), digest(&tree, "f")), (1, image["digest"].clone()));
    server.stop();
}

#[test]
fn what_a_release_says_is_in_the_log_and_a_branch_called_latest_is_that_branch() {
    let tree = served();
    share_caches(&tree);
    tree.mv(&["branch", "latest"]).success();
    let first = tree.id("HEAD");
    // A model that another recipe made.
    tree.put("more.py", "x = 1\n");
    let second = tree.commit("another recipe");
    let server = Server::start(tree.command(&["registry", "serve", "--listen", "127.0.0.1:0"]));
    for (reference, to, commit) in [("x:latest", "a", &first), ("x:HEAD", "b", &second)] {
        pull(&tree, &server, reference, to).unwrap();
        let manifest = tree.json(&["release", "inspect", to, "--json"]);
        assert_eq!(manifest["commit"], commit.as_str(), "{reference}");
    }
    let log = server.log();
    assert!(log.contains("warning: `HEAD`: its model is stale"), "{log}");
    assert!(!log.contains("warning: `latest`"), "{log}");
    server.stop();
}

#[test]
fn an_image_that_cannot_be_made_is_said() {
    let tree = served();
    tree.put("modelv.toml", "");
    tree.commit("serves nothing");
    let serve = ["registry", "serve", "--listen", "127.0.0.1:0"];
    let server = Server::start(tree.command(&serve));
    let said = pull(&tree, &server, "x:latest", "a").unwrap_err();
    assert!(said.contains("500"), "{said}");
    let (status, _, said) = server.ask("GET", "/v2/x/manifests/latest", "");
    assert_eq!(status, 500);
    assert!(said.contains("the server's log says why"), "{said}");
    server.stop();
}

/// An unmodified Podman, with its images in a folder of their own.
#[test]
fn podman_pulls_by_branch_and_commit() {
    let tree = served();
    share_caches(&tree);
    tree.put(".mvignore", "/podman\n");
    let id = tree.commit("to be pulled");
    tree.mv(&["switch", "-c", "feat/x"]).success();
    let server = Server::start(tree.command(&["registry", "serve", "--listen", "127.0.0.1:0"]));
    let podman = |args: &[&str]| {
        let output = Command::new("podman")
            .arg("--root")
            .arg(tree.path("podman/root"))
            .arg("--runroot")
            .arg(tree.path("podman/run"))
            .args(["--storage-driver", "vfs"])
            .args(args)
            .output()
            .expect("podman starts; `tests/all` installs it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let name = |tag: &str| format!("{}/team/doubles:{tag}", server.address);
    let pull = |tag: &str| podman(&["pull", "--quiet", "--tls-verify=false", &name(tag)]);
    let by_branch = pull("feat-x");
    assert_eq!(by_branch, pull(&id[..12]));
    let about = podman(&["image", "inspect", &name("feat-x")]);
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    let labels = &about[0]["Labels"];
    assert_eq!(labels["dev.modelv.commit"], id.as_str());
    let image = tree.json(&["release", "HEAD", "--output", "image", "--json"]);
    assert_eq!(about[0]["Digest"], image["digest"]);
    server.stop();
}
