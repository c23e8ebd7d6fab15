//! Bases: images on a root file system that others made, and on images of ours; each really serves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::serving::{served, served_by, share_caches, start_unpacked};
use crate::support::{PATIENCE, Tree};

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

#[test]
fn a_signal_for_the_release_alone_ends_what_makes_debian() {
    let tree = served();
    share_caches(&tree);
    // Stands for the program that fetches for minutes.
    let script =
        "#!/bin/sh\ntrap 'touch ended; exit 143' TERM\ntouch begun\nwhile :; do sleep 1; done\n";
    tree.put("bin/mmdebstrap", script);
    let bits = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(tree.path("bin/mmdebstrap"), bits).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut release = tree
        .command(&["release", "HEAD", "--output", "image", "--base", "debian"])
        .env("PATH", format!("{}:{path}", tree.path("bin").display()))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    let mut wait_for = |name: &str| {
        while !tree.path(name).exists() {
            let ended = release.try_wait().unwrap();
            assert!(ended.is_none(), "no `{name}`: {ended:?}");
            assert!(std::time::Instant::now() < end, "no `{name}`");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    wait_for("begun");
    let pid = release.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    let status = release.wait().unwrap();
    assert!(
        !status.success() && tree.path("ended").exists(),
        "{status:?}"
    );
    assert!(!tree.path("image").exists());
}

#[test]
fn debian_is_made_once_and_its_packages_are_in_the_papers() {
    let tree = served_by("/usr/bin/python3", &[]);
    share_caches(&tree);
    // Nothing is made by a plan, which says so.
    let plan = tree
        .mv(&["release", "plan", "HEAD", "--base", "debian"])
        .success();
    assert!(
        plan.contains("note: Debian ") && plan.contains(" is made first"),
        "{plan}"
    );
    assert!(!tree.path(".mv/cache/bases").exists());
    let without = tree.path("no-tools");
    std::fs::create_dir(&without).unwrap();
    let release = [
        "release", "HEAD", "--output", "image", "--base", "debian", "--papers",
    ];
    let refused = tree
        .command(&release)
        .env("PATH", &without)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("`mmdebstrap` makes it")
            && said.contains("hint: `apt-get install mmdebstrap`"),
        "{said}"
    );
    let bases = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bases");
    std::fs::create_dir_all(&bases).unwrap();
    let _ = std::fs::remove_dir(tree.path(".mv/cache/bases"));
    std::os::unix::fs::symlink(&bases, tree.path(".mv/cache/bases")).unwrap();
    tree.mv(&release).success();
    let image = serves_on(&tree, "debian", "first");
    let again = serves_on(&tree, "debian", "second");
    assert_eq!(image["digest"], again["digest"]);
    // A name without a release of it.
    let said = tree
        .mv(&[
            "release",
            "HEAD",
            "--output",
            "x",
            "--base",
            "debian:no-such-release",
        ])
        .fails_with(1);
    assert!(
        said.contains("base `debian` can't be used: mmdebstrap of `no-such-release`"),
        "{said}"
    );
    let index: serde_json::Value = serde_json::from_str(&tree.get("image/index.json")).unwrap();
    let all = index["manifests"].as_array().unwrap();
    assert_eq!(all[0]["digest"], image["digest"]);
    let read = |digest: &serde_json::Value| -> serde_json::Value {
        let path = format!("image/blobs/sha256/{}", &digest.as_str().unwrap()[7..]);
        serde_json::from_str(&tree.get(&path)).unwrap()
    };
    let papers = all
        .iter()
        .find(|d| d["artifactType"] == "application/vnd.cyclonedx+json");
    let bom = read(&read(&papers.unwrap()["digest"])["layers"][0]["digest"]);
    let parts = bom["components"].as_array().unwrap();
    let libc = parts.iter().find(|c| c["name"] == "libc6").unwrap();
    let purl = libc["purl"].as_str().unwrap();
    assert!(
        purl.starts_with("pkg:deb/debian/libc6@2.") && purl.contains("?arch="),
        "{purl}"
    );
    assert!(parts.iter().any(|c| c["name"] == "libstdc++6"), "{bom}");
}
