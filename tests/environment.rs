//! Environments: shown, compared, checked, and made again from a folder of wheels.

use std::path::PathBuf;
use std::process::Command;

use crate::spec::sound;
use crate::support::Tree;

/// Writes a wheel with one module that holds `value`.
const MAKE_WHEEL: &str = r#"
import base64, hashlib, sys, zipfile
out, name, version, value = sys.argv[1:]
info = f"{name}-{version}.dist-info"
files = {
    f"{name}.py": f"VALUE = {value!r}\n",
    f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
record = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items())
files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
with zipfile.ZipFile(f"{out}/{name}-{version}-py3-none-any.whl", "w") as z:
    for path, text in files.items():
        z.writestr(path, text)
"#;

pub(crate) fn python(args: &[&str]) {
    let done = Command::new("python3").args(args).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

pub(crate) fn wheel(tree: &Tree, dir: &str, name: &str, version: &str, value: &str) {
    std::fs::create_dir_all(tree.path(dir)).unwrap();
    let out = tree.path(dir).display().to_string();
    python(&["-c", MAKE_WHEEL, &out, name, version, value]);
}

pub(crate) fn pip(tree: &Tree, args: &[&str]) {
    let done = Command::new(tree.path(".venv/bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--disable-pip-version-check",
            "--find-links",
        ])
        .arg(tree.path("wheels"))
        .args(args)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A commit whose environment has two packages, one with a local version.
pub(crate) fn committed() -> Tree {
    let tree = Tree::empty();
    tree.mv(&["init"]).success();
    tree.put(".mvignore", "wheels/\nother/\nagain/\n");
    wheel(&tree, "wheels", "demo", "1.0", "one");
    wheel(&tree, "wheels", "accel", "2.0+cpu", "cpu");
    python(&["-m", "venv", &tree.path(".venv").display().to_string()]);
    pip(&tree, &["demo==1.0", "accel==2.0+cpu"]);
    tree.put("train.py", "import demo\n");
    tree.commit("with its environment");
    tree
}

fn site(tree: &Tree) -> PathBuf {
    let lib = std::fs::read_dir(tree.path(".venv/lib"))
        .unwrap()
        .next()
        .unwrap();
    lib.unwrap().path().join("site-packages")
}

/// What a program finds that is started now is its environment, wherever it lies.
#[test]
fn packages_that_the_session_adds_are_seen() {
    let tree = committed();
    let more = tree.path("other/site");
    wheel(&tree, "wheels", "late", "3.0", "late");
    pip(&tree, &["--target", &more.display().to_string(), "late"]);
    let shown = |path: &str| {
        let mut command = tree.command(&["env", "show"]);
        let done = command.env("PYTHONPATH", path).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    let has = |text: &str| text.lines().any(|line| line == "late==3.0");
    assert!(!has(&tree.mv(&["env", "show"]).success()));
    assert!(has(&shown(&more.display().to_string())));
    // It is looked at each time, and a folder that is none, or is the project's own, adds nothing.
    tree.put("src/own.egg-info/PKG-INFO", "Name: own\nVersion: 1\n");
    let own = format!("/nonexistent:{}", tree.path("src").display());
    assert!(!shown(&own).contains("own==") && !has(&shown("")));
    // Installed there later.
    wheel(&tree, "wheels", "later", "4.0", "later");
    pip(&tree, &["--target", &more.display().to_string(), "later"]);
    assert!(shown(&more.display().to_string()).contains("later==4.0\n"));
}

#[test]
fn a_machine_is_checked_against_a_commit() {
    let tree = committed();
    let said = tree.mv(&["env", "check"]).success();
    assert!(
        said.starts_with("this machine has everything that "),
        "{said}"
    );
    wheel(&tree, "wheels", "demo", "1.1", "two");
    wheel(&tree, "wheels", "more", "0.1", "more");
    pip(&tree, &["more"]);
    let done = tree.mv(&["env", "check"]).success();
    assert!(done.contains("+ more 0.1\n"), "{done}");
    assert_eq!(tree.mv(&["env", "check", "--strict"]).status, Some(1));
    // Patched in place, with the version it had.
    tree.mv(&["env", "check", "--files"]).success();
    let accel = site(&tree).join("accel.py");
    let plain = std::fs::read(&accel).unwrap();
    std::fs::write(&accel, "VALUE = 'mine'\n").unwrap();
    for args in [&["env", "check"][..], &["env", "check", "--files"]] {
        let done = tree.mv(args);
        assert_eq!(done.status, Some(1));
        let want = "~ accel 2.0+cpu -> 2.0+cpu (patched: accel.py)\n\
                    accel was patched after it was installed: accel.py\n";
        assert!(done.out.contains(want), "{}", done.out);
        assert!(
            !done.out.contains("this machine has everything"),
            "{}",
            done.out
        );
    }
    std::fs::write(&accel, plain).unwrap();
    // What somebody dropped into a package is named by no list of files.
    let dropped = site(&tree).join("pip/_internal/late.py");
    std::fs::write(&dropped, "").unwrap();
    tree.mv(&["env", "check"]).success();
    let done = tree.mv(&["env", "check", "--files"]);
    assert_eq!(done.status, Some(1));
    let want = "pip was patched after it was installed: pip/_internal/late.py\n";
    assert!(done.out.contains(want), "{}", done.out);
    std::fs::remove_file(dropped).unwrap();
    tree.mv(&["env", "check", "--files"]).success();
    pip(&tree, &["demo==1.1"]);
    let done = tree.mv(&["env", "check", "HEAD"]);
    assert_eq!(done.status, Some(1), "{}", done.err);
    assert!(done.out.contains("~ demo 1.0 -> 1.1\n"), "{}", done.out);
    tree.put("train.py", "import demo, more\n");
    tree.commit("newer");
    assert_eq!(
        tree.mv(&["env", "diff", "HEAD~1"]).success(),
        "~ demo 1.0 -> 1.1\n+ more 0.1\n"
    );
    assert_eq!(
        tree.mv(&["env", "diff", "HEAD~1", "HEAD", "--exit-code"])
            .status,
        Some(1)
    );
    assert_eq!(
        tree.mv(&["env", "show", "HEAD~1"]).success(),
        tree.mv(&["env", "HEAD~1"]).success()
    );
}

/// A training whose result is what a package says.
const TELLS: &str = "import demo, pathlib\npathlib.Path('models').mkdir(exist_ok=True)\n\
                     pathlib.Path('models/value').write_text(demo.VALUE)\n";

#[test]
fn a_patched_package_makes_another_recipe_and_is_named() {
    let tree = committed();
    tree.put("train.py", TELLS);
    let train = &tree.path(".venv/bin/python").display().to_string();
    let run = |args: &[&str]| tree.mv(&[&["run"], args, &["--", train, "train.py"]].concat());
    run(&["-m", "plain"]).success();
    let demo = site(&tree).join("demo.py");
    let plain = std::fs::read(&demo).unwrap();
    std::fs::write(&demo, "VALUE = 'other'\n").unwrap();
    let said = run(&["-m", "patched"]);
    let note = "demo was patched after it was installed (demo.py)";
    assert!(said.err.contains(note), "{}", said.err);
    said.success();
    assert_eq!(tree.get("models/value"), "other");
    let shown = tree.mv(&["env", "diff", "HEAD~1"]).success();
    assert_eq!(shown, "~ demo 1.0 -> 1.0 (patched: demo.py)\n");
    assert!(
        run(&["-m", "again"])
            .success()
            .contains("taken from the store")
    );
    let same = tree.mv(&["reproduce", "HEAD"]);
    assert!(same.err.contains(note), "{}", same.err);
    assert!(same.out.contains("bit-equal"), "{}", same.out);
    let said = tree.mv(&["reproduce", "HEAD~1"]).fails_with(1);
    assert!(said.contains("demo, which is patched here"), "{said}");
    // As it was installed: the first result is known, the second environment is not here.
    std::fs::write(&demo, plain).unwrap();
    assert!(
        run(&["-m", "plain again"])
            .success()
            .contains("taken from the store")
    );
    assert_eq!(tree.get("models/value"), "one");
    let said = tree.mv(&["reproduce", "HEAD~1"]).fails_with(1);
    assert!(said.contains("demo, which was patched then"), "{said}");
    sound(tree.root());
}

#[test]
fn an_environment_is_made_again_exactly() {
    let tree = committed();
    let recreate = [
        "env", "recreate", "HEAD", "--output", "again", "--wheels", "wheels",
    ];
    let json = tree.json(&[&recreate[..], &["--json"]].concat());
    assert_eq!(json["exact"], true, "{json}");
    assert_eq!(
        json["env"],
        tree.json(&["env", "show", "HEAD", "--json"])["id"]
    );
    let value = Command::new(tree.path("again/bin/python"))
        .args(["-c", "import demo, accel; print(demo.VALUE, accel.VALUE)"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(value.stdout).unwrap(), "one cpu\n");
    let said = tree.mv(&recreate).fails_with(1);
    assert!(said.contains("already exists"), "{said}");
}

#[test]
fn what_is_not_as_recorded_is_named() {
    let tree = committed();
    // The same version with another content: the files tell.
    wheel(&tree, "other", "demo", "1.0", "forged");
    wheel(&tree, "other", "accel", "2.0+cpu", "cpu");
    let done = tree.mv(&["env", "recreate", "--output", "again", "--wheels", "other"]);
    assert_eq!(done.status, Some(1), "{}", done.err);
    assert!(
        done.out
            .contains("~ demo 1.0 (other files) -> 1.0 (other files)"),
        "{}",
        done.out
    );
    std::fs::remove_dir_all(tree.path("again")).unwrap();
    // A local version that is nowhere.
    std::fs::remove_file(tree.path("other/accel-2.0+cpu-py3-none-any.whl")).unwrap();
    let said = tree
        .mv(&["env", "recreate", "--output", "again", "--wheels", "other"])
        .fails_with(1);
    assert!(
        said.contains("error: package `accel==2.0+cpu` can't be installed: "),
        "{said}"
    );
    assert!(
        said.contains("hint: a local version such as `+cpu` is on no public index"),
        "{said}"
    );
    assert!(!tree.path("again").exists());
}

#[test]
fn a_package_installed_in_place_is_left_out_and_said_so() {
    let tree = committed();
    let info = site(&tree).join("mine-0.1.dist-info");
    std::fs::create_dir(&info).unwrap();
    std::fs::write(info.join("METADATA"), "Name: mine\nVersion: 0.1\n").unwrap();
    let direct = r#"{"url": "file:///home/ada/mine", "dir_info": {"editable": true}}"#;
    std::fs::write(info.join("direct_url.json"), direct).unwrap();
    tree.mv(&["commit", "-m", "with one in place"]).success();
    let check = tree.mv(&["env", "check"]);
    assert!(
        check
            .err
            .contains("mine is used in place from /home/ada/mine, outside of this repository"),
        "{}",
        check.err
    );
    let done = tree.mv(&["env", "recreate", "--output", "again", "--wheels", "wheels"]);
    assert_eq!(done.status, Some(1), "{}", done.err);
    assert!(
        done.err
            .contains("left out: mine==0.1: it was installed in place"),
        "{}",
        done.err
    );
    assert!(
        done.out
            .ends_with("differs from what was recorded:\n- mine 0.1 (file)\n"),
        "{}",
        done.out
    );
}

#[test]
fn a_commit_without_an_environment_says_so() {
    let tree = Tree::repo();
    tree.put("a", "1");
    tree.commit("one");
    let said = tree.mv(&["env", "check"]).fails_with(1);
    assert!(said.contains("records no environment\n\nhint: "), "{said}");
}

#[test]
fn what_a_merged_environment_demands_of_itself_is_told() {
    let tree = committed();
    let install = |name: &str, version: &str, more: &str| {
        let site = site(&tree);
        for old in std::fs::read_dir(&site).unwrap().flatten() {
            let folder = old.file_name().to_string_lossy().into_owned();
            if folder.starts_with(&format!("{name}-")) && folder.ends_with(".dist-info") {
                std::fs::remove_dir_all(old.path()).unwrap();
            }
        }
        let info = site.join(format!("{name}-{version}.dist-info"));
        std::fs::create_dir(&info).unwrap();
        let text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}");
        std::fs::write(info.join("METADATA"), text).unwrap();
    };
    install("foo", "1.0", "");
    tree.commit("base");
    tree.mv(&["switch", "-c", "side"]).success();
    install("foo", "3.0", "");
    tree.commit("newer foo");
    tree.mv(&["switch", "main"]).success();
    install("foo", "1.0", "");
    install(
        "qux",
        "1.0",
        "Requires-Dist: foo<2\nRequires-Dist: foo>9; sys_platform == \"win32\"\nRequires-Dist: foo>9; extra == \"x\"\n",
    );
    tree.commit("qux");
    for args in [&["merge", "side", "--dry-run"][..], &["merge", "side"]] {
        let done = tree.mv(args);
        let want = "env: qux 1.0 demands `foo<2`, and the merge has foo 3.0";
        assert!(done.err.contains(want), "{}", done.err);
        assert_eq!(done.err.matches("demands").count(), 1, "{}", done.err);
        done.success();
    }
}
