//! Packages in images: what a wheel brings, and what it costs to pack a large one.

use std::path::PathBuf;
use std::process::Command;

use crate::serving::{served_by, share_caches, start_unpacked};
use crate::support::Tree;

/// A wheel with a package of two modules and, where a number of MiB is given, two large files: a library and
/// another. Both are zeros, and so hardly anything in the wheel.
const ACME: &str = "\
import base64, hashlib, sys, zipfile
info = f'acme_modelv-{sys.argv[2]}.dist-info'
files = {
    'acme/__init__.py': b'', 'acme/serve.py': b'def predict(x): return [2 * n for n in x]\\n',
    info + '/METADATA': f'Metadata-Version: 2.1\\nName: acme-modelv\\nVersion: {sys.argv[2]}\\n'.encode(),
    info + '/WHEEL': b'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
}
for size in map(int, sys.argv[3:]):
    files['acme/large.bin'] = bytes(size << 20)
    files['acme/large.so'] = b'\\x7fELF' + bytes(size << 20)
digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')
rows = [f'{name},sha256={digest(data)},{len(data)}\\n' for name, data in files.items()]
files[info + '/RECORD'] = ''.join(rows) + info + '/RECORD,,\\n'
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as wheel:
    for name, data in files.items(): wheel.writestr(name, data)
";

/// A project whose environment has the package in a version; its wheel, where releases look for those that were
/// fetched. All tests look there, so each has its version.
fn with_acme(version: &str, large: &[&str]) -> (Tree, PathBuf) {
    let tree = served_by("python3", &["--without-pip"]);
    share_caches(&tree);
    let lib = std::fs::read_dir(tree.path(".venv/lib")).unwrap().next();
    let info = lib.unwrap().unwrap().path();
    let info = info.join(format!("site-packages/acme_modelv-{version}.dist-info"));
    std::fs::create_dir_all(&info).unwrap();
    let text = format!("Metadata-Version: 2.1\nName: acme-modelv\nVersion: {version}\n");
    std::fs::write(info.join("METADATA"), text).unwrap();
    let wheel = tree.path(&format!(
        ".mv/cache/wheels/acme_modelv-{version}-py3-none-any.whl"
    ));
    let made = Command::new("python3")
        .args(["-c", ACME])
        .arg(&wheel)
        .arg(version)
        .args(large)
        .status();
    assert!(made.unwrap().success());
    tree.put("modelv.toml", "[serve]\nentry = \"acme.serve:predict\"\n");
    (tree, wheel)
}

/// Runs a command and prints the most memory that it took, in KiB.
const MEASURED: &str = "\
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
";

#[test]
fn memory_does_not_grow_with_what_a_wheel_holds() {
    let (tree, wheel) = with_acme("0.3.0", &["300"]);
    tree.commit("a large package");
    let release = tree.command(&["release", "HEAD", "--output", "image"]);
    let measured = Command::new("python3")
        .args(["-c", MEASURED])
        .arg(release.get_program())
        .args(release.get_args())
        .envs(release.get_envs().filter_map(|(k, v)| v.map(|v| (k, v))))
        .current_dir(tree.root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&measured.stderr);
    assert!(measured.status.success(), "{said}");
    let peak: u64 = String::from_utf8_lossy(&measured.stdout)
        .trim()
        .parse()
        .unwrap();
    assert!(peak < 200 << 10, "{peak} KiB");
    let seen = tree.json(&["release", "inspect", "image", "--json"]);
    assert!(seen.to_string().contains("acme-modelv"), "{seen}");
    std::fs::remove_file(wheel).unwrap();
}

#[test]
fn a_wheel_with_other_files_than_those_installed_is_told() {
    let (tree, wheel) = with_acme("0.4.0", &[]);
    let notes = |tree: &Tree| {
        let plan = tree.json(&["release", "plan", "HEAD", "--json"]);
        let notes = plan["notes"].as_array().unwrap();
        let is_its = |n: &&serde_json::Value| n.as_str().unwrap().contains("acme-modelv 0.4.0");
        notes.iter().filter(is_its).count()
    };
    tree.commit("nothing recorded of its files");
    assert_eq!(notes(&tree), 0);
    let lib = std::fs::read_dir(tree.path(".venv/lib")).unwrap().next();
    let site = lib.unwrap().unwrap().path().join("site-packages");
    let install = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let done = Command::new("python3")
        .args(["-c", install])
        .args([&wheel, &site])
        .status();
    assert!(done.unwrap().success());
    tree.commit("installed from the wheel");
    assert_eq!(notes(&tree), 0);
    // Built again, with two files more.
    let done = Command::new("python3")
        .args(["-c", ACME])
        .arg(&wheel)
        .args(["0.4.0", "0"])
        .status();
    assert!(done.unwrap().success());
    assert_eq!(notes(&tree), 1);
    let done = tree.mv(&["release", "HEAD", "--output", "image"]);
    let want =
        "warning: the wheel of acme-modelv 0.4.0 has other files than those that were installed";
    assert!(done.err.contains(want), "{}", done.err);
    assert!(done.err.contains("`modelv env vendor "), "{}", done.err);
    done.success();
    std::fs::remove_file(wheel).unwrap();
}

#[test]
fn a_wheel_that_is_not_what_it_says_is_told_and_makes_no_image() {
    let (tree, wheel) = with_acme("0.2.0", &[]);
    tree.commit("a package");
    // Another module of the same length, its sum in the archive put right.
    let spoil = "import sys, zipfile; old = zipfile.ZipFile(sys.argv[1]); parts = {n: old.read(n) for n in old.namelist()}\n\
                 new = zipfile.ZipFile(sys.argv[1], 'w')\n\
                 for n, b in parts.items(): new.writestr(n, b.replace(b'2 * n', b'3 * n'))\n\
                 new.close()";
    let done = Command::new("python3")
        .args(["-c", spoil])
        .arg(&wheel)
        .status();
    assert!(done.unwrap().success());
    let done = tree.mv(&["release", "HEAD", "--output", "image"]);
    let want = "`acme/serve.py` is not what RECORD says";
    assert!(done.err.contains(want), "{}", done.err);
    assert!(
        done.err.contains("acme_modelv-0.2.0-py3-none-any.whl"),
        "{}",
        done.err
    );
    done.fails_with(1);
    assert!(!tree.path("image").exists());
    std::fs::remove_file(wheel).unwrap();
}

#[test]
fn a_folder_that_is_no_module_does_not_hide_a_package() {
    let (tree, wheel) = with_acme("0.0.1", &[]);
    tree.put("acme/README.md", "what it is\n");
    let commit = tree.commit("from a package");
    tree.mv(&["release", "HEAD", "--output", "image"]).success();
    tree.json(&["release", "unpack", "image", "root"]);
    let server = start_unpacked(&tree.path("root"));
    assert_eq!(server.predict("[21]", &commit), serde_json::json!([42]));
    server.kill();
    for (entry, more) in [
        ("acme.other:f", "acme/NOTES.md"),
        ("acme.serve:predict", "acme/__init__.py"),
    ] {
        tree.put("modelv.toml", &format!("[serve]\nentry = \"{entry}\"\n"));
        tree.put(more, "");
        tree.commit(entry);
        let module = entry.split(':').next().unwrap().replace('.', "/");
        let done = tree.mv(&["release", "HEAD", "--output", "image"]);
        let want = format!("there is no `{module}.py` in it");
        assert!(done.err.contains(&want), "{}", done.err);
        done.fails_with(1);
    }
    std::fs::remove_file(wheel).unwrap();
}
