//! Where the image of a release goes: a layout, a tar, an engine or a registry alone; and what is said before it is
//! built instead of after.

use crate::push::{Registry, released};

#[test]
fn an_image_goes_where_it_is_asked_to() {
    let tree = released();
    let digest = tree.json(&["release", "inspect", "image", "--json"])["digest"].clone();
    let done = tree.mv(&["release", "HEAD", "--output", "image.tar", "--json"]);
    let said = "`image.tar` is a part of the next commit: a line `/image.tar` in `.mvignore` leaves it out";
    assert!(done.err.contains(said), "{done:?}");
    let made: serde_json::Value = serde_json::from_str(&done.success()).unwrap();
    assert_eq!(made["digest"], digest);
    assert!(tree.path("image.tar").is_file());
    tree.put(".mvignore", "/image.tar\n*.tar\n");
    let args = [
        "release",
        "HEAD",
        "--tar",
        "other.tar",
        "--context",
        "context",
    ];
    let done = tree.mv(&args);
    assert!(!done.err.contains("next commit"), "{done:?}");
    assert!(done.err.contains("`context` is in no commit"), "{done:?}");
    done.success();
    assert_eq!(
        std::fs::read(tree.path("image.tar")).unwrap(),
        std::fs::read(tree.path("other.tar")).unwrap()
    );
    let status = tree.mv(&["status"]).success();
    assert!(
        !status.contains("tar") && !status.contains("context"),
        "{status}"
    );
    // A tar is an image wherever one is asked for.
    for args in [
        &["release", "inspect", "image.tar", "--json"][..],
        &["release", "explain", "image.tar", "--json"],
    ] {
        assert_eq!(tree.json(args)["digest"], digest, "{args:?}");
    }
    let same = tree.mv(&["release", "verify", "image.tar"]).success();
    assert!(same.contains("is what commit"), "{same}");
    // From a tar into a registry, from there into another repository; and without anything left here.
    let registry = Registry::start("");
    let at = |name: &str| format!("{}/{name}", registry.address);
    for (from, to) in [("image.tar", at("one:1")), (&at("one:1"), at("two:1"))] {
        tree.mv(&["release", "push", from, &to]).success();
        assert_eq!(
            tree.json(&["release", "inspect", &to, "--json"])["digest"],
            digest
        );
    }
    let push = ["release", "HEAD", "--push", &at("three:1"), "--json"];
    assert_eq!(tree.json(&push)["digest"], digest);
    let left: Vec<_> = std::fs::read_dir(tree.path(".mv/tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_would_fail_afterwards_is_said_before() {
    let tree = released();
    std::fs::remove_dir_all(tree.path("image")).unwrap();
    tree.put("k8s.yaml", "mine");
    tree.put("run/grafana/modelv.json", "mine");
    let release = |more: &[&str]| tree.mv(&[&["release", "HEAD", "-o", "image"], more].concat());
    for more in [&["--k8s", "k8s.yaml"][..], &["--compose", "run"]] {
        let said = release(more).fails_with(1);
        assert!(
            said.contains("exists and is not replaced\n\nhint: name another place"),
            "{said}"
        );
    }
    for more in [
        &["--tar", "x.tar"][..],
        &["--context", "context"],
        &["--load", "docker"],
    ] {
        let said = release(&[more, &["--compression", "zstd"]].concat()).fails_with(2);
        assert!(
            said.contains("takes no layers that are packed with zstd"),
            "{said}"
        );
    }
    tree.mv(&["release", "HEAD", "-o", "a.tar", "--tar", "b.tar"])
        .fails_with(2);
    tree.mv(&["release", "HEAD"]).fails_with(2);
    for path in ["image", "x.tar", "a.tar", "b.tar", "context"] {
        assert!(!tree.path(path).exists(), "{path}");
    }
    assert_eq!(tree.get("k8s.yaml"), "mine");
    for verb in ["inspect", "explain", "verify"] {
        let said = tree.mv(&["release", verb, "no/such"]).fails_with(1);
        assert!(
            said.contains("there is no image `no/such`") && said.contains("hint: "),
            "{said}"
        );
    }
}
