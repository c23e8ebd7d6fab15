//! Bases: images on a root file system that others made, and on images of ours; each really serves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::serving::{served, served_by, share_caches, start_unpacked};
use crate::support::Tree;

/// Runs a program of the system, which must succeed.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; `tests/all` installs what the tests need"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Debian with its own Python, made once and kept under cargo's folder.
fn debian() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let code = "import sys, platform; v = 'python%d.%d' % sys.version_info[:2]; \
                    print(v, platform.freedesktop_os_release()['VERSION_CODENAME'])";
        let said = run(Command::new("/usr/bin/python3").args(["-c", code]));
        let (python, suite) = said.trim().split_once(' ').unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let tar = folder.join(format!("{suite}-{python}.tar"));
        if !tar.exists() {
            let temp = tempfile::tempdir_in(folder).unwrap();
            let made = temp.path().join("root.tar");
            let include =
                format!("--include={python}-minimal,lib{python}-stdlib,libstdc++6,ca-certificates");
            run(Command::new("mmdebstrap")
                .args(["--variant=essential", &include, suite])
                .arg(&made)
                .env("SOURCE_DATE_EPOCH", "0"));
            std::fs::rename(made, &tar).unwrap();
        }
        tar
    })
}

/// Releases HEAD on a base, starts what came of it, and asks it.
fn serves_on(tree: &Tree, base: &str, name: &str) -> serde_json::Value {
    let image = tree.json(&[
        "release", "HEAD", "--base", base, "--output", name, "--json",
    ]);
    let root = format!("{name}-root");
    tree.json(&["release", "unpack", name, &root]);
    let server = start_unpacked(&tree.path(&root));
    let answer = server.predict("[21, 0.5]", &tree.id("HEAD"));
    assert_eq!(answer, json!([42, 1.0]), "on {base}");
    server.kill();
    image
}

#[test]
fn an_image_stands_on_debian() {
    let tree = served_by("/usr/bin/python3", &[]);
    share_caches(&tree);
    // A package with a library of its own, which Debian's interpreter has to load.
    run(Command::new(tree.path(".venv/bin/python"))
        .args("-m pip install --quiet --disable-pip-version-check markupsafe==3.0.2".split(' ')));
    let code = tree.get("serve.py");
    tree.put("serve.py", &format!("import markupsafe._speedups\n{code}"));
    tree.commit("with a package");
    let base = debian().to_str().unwrap();
    let image = serves_on(&tree, base, "image");
    assert_eq!(image["layers"][0]["name"], "base");
    let names: Vec<&str> = image["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["name"].as_str().unwrap())
        .collect();
    // Those of a megabyte and more have layers of their own.
    assert!(
        names.iter().any(|n| n.starts_with("env: pip ")),
        "{names:?}"
    );
    let again = tree.json(&[
        "release", "HEAD", "--base", base, "--output", "again", "--json",
    ]);
    assert_eq!(image["digest"], again["digest"]);
    let cached: Vec<_> = again["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["cached"])
        .collect();
    let (last, others) = cached.split_last().unwrap();
    assert!(
        others.iter().all(|c| **c == true) && **last == false,
        "{cached:?}"
    );
    // A script starts the image's Python, whichever that is.
    let link = tree
        .path("image-root/opt/modelv/bin/python")
        .read_link()
        .unwrap();
    assert!(link.starts_with("../../../usr/bin"), "{link:?}");
    let script = tree.get("image-root/opt/modelv/bin/pip");
    assert!(script.starts_with("#!/opt/modelv/bin/python\n"), "{script}");
}

#[test]
fn an_image_stands_on_a_layout_an_archive_a_folder_and_a_tar() {
    let tree = served();
    share_caches(&tree);
    tree.put("gone.py", "");
    tree.commit("with a file that will go");
    tree.json(&[
        "release",
        "HEAD",
        "--output",
        "first",
        "--tar",
        "first.tar",
        "--json",
    ]);
    tree.json(&["release", "unpack", "first", "first-root"]);
    run(Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "-C"])
        .arg(tree.path("first-root"))
        .arg("-cf")
        .arg(tree.path("root.tar"))
        .arg("."));
    std::fs::remove_file(tree.path("gone.py")).unwrap();
    tree.commit("without it");
    let from = |base: &str| {
        let image = serves_on(&tree, base, "image");
        let layers = image["layers"].as_array().unwrap();
        assert!(layers.iter().any(|l| l["name"] == "clear"), "{image}");
        let gone = tree.path("image-root/opt/modelv/app/gone.py");
        assert!(!gone.exists(), "the base shows through");
        // Each is a whole interpreter, and the next needs none of it.
        for used in ["image", "image-root"] {
            std::fs::remove_dir_all(tree.path(used)).unwrap();
        }
        image
    };
    assert_eq!(from("first")["digest"], from("first.tar")["digest"]);
    from("first-root");
    from("root.tar");
}
