use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use modelv_core::commit::Time;
use modelv_core::value::Value;

use super::*;
use crate::ctx::Cancel;

#[test]
fn times_are_shown_as_people_read_them() {
    let at = |seconds, offset_minutes| {
        clock::format_time(Time {
            seconds,
            offset_minutes,
        })
    };
    assert_eq!(at(0, 0), "1970-01-01 00:00:00 +0000");
    assert_eq!(at(951_782_400, -90), "2000-02-28 22:30:00 -0130");
    assert_eq!(at(-1, 0), "1969-12-31 23:59:59 +0000");
    assert_eq!(clock::format_rfc3339(1_795_238_400), "2026-11-21T05:20:00Z");
    let shown: Vec<String> = [5, 1234, 125_000].map(clock::format_duration).into();
    assert_eq!(shown, ["5 ms", "1.2 s", "2 min 05 s"]);
}

#[test]
fn credentials_are_taken_out_of_urls() {
    for (url, clean) in [
        ("https://u:p@host/x?token=1#f", "https://host/x"),
        ("ssh://git@host:22/x.git", "ssh://host:22/x.git"),
        ("host:path", "host:path"),
        ("git@host:o/r.git", "host:o/r.git"),
        ("/a/b@c", "/a/b@c"),
    ] {
        assert_eq!(env::strip_credentials(url), clean);
    }
}

fn write(dir: &Path, path: &str, text: &str) {
    let full = dir.join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(full, text).unwrap();
}

/// A real virtual environment with hand-made distributions in it.
fn venv(dir: &Path) -> std::path::PathBuf {
    let made = Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(dir.join("v"))
        .status()
        .unwrap();
    assert!(made.success());
    let lib = std::fs::read_dir(dir.join("v/lib"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let site = lib.join("site-packages");
    let dist = |name: &str, version: &str| {
        let head = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: no\n");
        write(
            &site,
            &format!("{name}-{version}.dist-info/METADATA"),
            &head,
        );
    };
    dist("Torch", "2.1.0+cpu");
    dist("early_bird", "1.0.0rc1");
    write(
        &site,
        "early_bird-1.0.0rc1.dist-info/direct_url.json",
        r#"{"url": "https://me:secret@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}"#,
    );
    write(
        &site,
        "old.egg-info/PKG-INFO",
        "Name: Old.Thing\nVersion: 0.1\n",
    );
    site
}

#[test]
fn an_environment_is_described_exactly_and_cached_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let site = venv(dir.path());
    let python = dir.path().join("v/bin/python");
    let cache = dir.path().join("cache");
    let first = env::capture_cached(&cache, Some(&python), env::Locks::none()).unwrap();
    let shown: Vec<String> = first
        .packages
        .iter()
        .map(|p| {
            format!(
                "{} {} {}",
                p.name,
                p.version,
                p.source.as_deref().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "early-bird 1.0.0rc1 git+https://host/x.git@abc",
            "old-thing 0.1 -",
            "torch 2.1.0+cpu -"
        ]
    );
    let version = Command::new(&python)
        .arg("--version")
        .output()
        .unwrap()
        .stdout;
    let version = String::from_utf8(version)
        .unwrap()
        .trim()
        .replace("Python ", "");
    assert_eq!(first.interpreter.as_ref().unwrap().version, version);
    assert!(cache.exists());
    assert_eq!(
        env::capture_cached(&cache, Some(&python), env::Locks::none()).unwrap(),
        first
    );
    write(&site, "new-1.dist-info/METADATA", "Name: new\nVersion: 1\n");
    let second = env::capture_cached(&cache, Some(&python), env::Locks::none()).unwrap();
    assert_eq!(second.packages.len(), 4);
    assert_ne!(second.id(), first.id());
    std::fs::write(&cache, b"damaged").unwrap();
    assert_eq!(
        env::capture_cached(&cache, Some(&python), env::Locks::none()).unwrap(),
        second
    );
}

#[test]
fn no_change_of_an_environment_goes_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let site = venv(dir.path());
    let python = dir.path().join("v/bin/python");
    let cache = dir.path().join("cache");
    let seen = || -> Vec<String> {
        let env = env::capture_cached(&cache, Some(&python), env::Locks::none()).unwrap();
        let shown = |p: &modelv_core::env::Package| format!("{} {}", p.name, p.version);
        env.packages.iter().map(shown).collect()
    };
    let has = |what: &str| seen().iter().any(|p| p == what);
    assert!(has("torch 2.1.0+cpu"));
    // Installed, upgraded, taken out: each at once after a look, in the tick of the clock of that look.
    for version in 1..40 {
        let head = format!("Name: quick\nVersion: {version}\n");
        write(&site, &format!("quick-{version}.dist-info/METADATA"), &head);
        assert!(has(&format!("quick {version}")), "{version}");
        std::fs::remove_dir_all(site.join(format!("quick-{version}.dist-info"))).unwrap();
        assert!(!has(&format!("quick {version}")), "{version}");
    }
    // A file that names another folder, and is edited in place.
    let (a, b) = (
        dir.path().join("a/site-packages"),
        dir.path().join("b/site-packages"),
    );
    write(&a, "ina-1.dist-info/METADATA", "Name: ina\nVersion: 1\n");
    write(&b, "inb-1.dist-info/METADATA", "Name: inb\nVersion: 1\n");
    let pth = site.join("more.pth");
    std::fs::write(&pth, format!("{}\n", a.display())).unwrap();
    assert!(has("ina 1") && !has("inb 1"));
    std::fs::write(&pth, format!("{}\n", b.display())).unwrap();
    assert!(has("inb 1") && !has("ina 1"));
}

#[test]
fn extras_and_archives_come_from_metadata_and_locks() {
    let dir = tempfile::tempdir().unwrap();
    let site = venv(dir.path());
    let python = dir.path().join("v/bin/python");
    let info = |name: &str, requires: &str| {
        let head = format!("Name: {name}\nVersion: 1\n{requires}\n\nRequires-Dist: torch[no]\n");
        write(&site, &format!("{name}-1.dist-info/METADATA"), &head);
    };
    let requires = "Requires-Dist: Torch[dyn_a,b]>=2 ; python_version >= '3'\n\
                    Requires-Dist: torch[no] ; sys_platform == 'win32'\n\
                    Requires-Dist: torch[no] ; extra == 'x'\nRequires-Dist: absent[no]";
    info("asks", requires);
    write(
        &site,
        "asks-1.dist-info/WHEEL",
        "Tag: py2-none-any\nTag: py3-none-any\n",
    );
    let hash = "ab".repeat(32);
    let lock = format!("early_bird[q]\nasks==1 --hash=sha256:{hash}\n");
    let one = |path: &str| modelv_core::env::Lock {
        path: path.into(),
        blob: modelv_core::id::BlobId([1; 32]),
    };
    let read = |_: &modelv_core::env::Lock| Some(lock.clone().into_bytes());
    let locks = |list| env::Locks { list, read: &read };
    let cache = dir.path().join("cache");
    let both = |list: Vec<modelv_core::env::Lock>| {
        let cached = env::capture_cached(&cache, Some(&python), locks(list.clone())).unwrap();
        assert_eq!(env::capture(&python, &locks(list)).unwrap(), cached);
        cached
    };
    let plain = both(vec![]);
    assert_eq!(plain.extras_of("torch"), ["b", "dyn-a"]);
    assert_eq!(plain.extras_of("early-bird"), [""; 0]);
    assert_eq!(plain.find_package("asks").unwrap().archive_sha256, None);
    let locked = both(vec![one("requirements.txt")]);
    assert_eq!(locked.extras_of("early-bird"), ["q"]);
    let found = locked.find_package("asks").unwrap().archive_sha256;
    assert_eq!(found, Some([0xab; 32]));
    assert_eq!(both(vec![]), plain);
}

#[test]
fn another_path_is_the_same_environment() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = |dir: &tempfile::TempDir| {
        venv(dir.path());
        let python = dir.path().join("v/bin/python");
        env::capture_cached(&dir.path().join("c"), Some(&python), env::Locks::none())
            .unwrap()
            .id()
    };
    assert_eq!(id(&a), id(&b));
}

#[test]
fn a_record_has_one_digest_for_wheel_and_installed_tree() {
    let wheel =
        "six.py,sha256=aa,10\nsix-1.dist-info/METADATA,sha256=bb,5\nsix-1.dist-info/RECORD,,\n";
    let installed = "../../../bin/six,sha256=zz,9\n__pycache__/six.cpython-311.pyc,,\n\
        six-1.dist-info/INSTALLER,sha256=cc,4\nsix-1.dist-info/METADATA,sha256=bb,5\n\
        six-1.dist-info/RECORD,,\nsix.py,sha256=aa,10\n";
    let digest = |text| env::record_sha256(text, "six-1.dist-info");
    assert_eq!(digest(wheel), digest(installed));
    assert_ne!(digest(wheel), digest(&wheel.replace("aa", "ab")));
}

#[test]
fn an_interpreter_that_was_named_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let error = python::find(dir.path(), Some(Path::new("/no/python")), None).unwrap_err();
    assert_eq!(error.to_string(), "interpreter `/no/python` not found");
    assert!(
        python::find(dir.path(), Some(Path::new("python3")), None)
            .unwrap()
            .is_some()
    );
}

fn run(command: &[&str]) -> (crate::error::Result<exec::Execution>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut echo = Vec::new();
    let command: Vec<_> = command.iter().map(Into::into).collect();
    let env = [("X".into(), "y".into())];
    let job = exec::Job {
        command: &command,
        cwd: dir.path(),
        env: &env,
        log: &log,
        own_group: true,
        grace: exec::GRACE,
    };
    let done = exec::execute(&job, &mut echo, &Cancel::new());
    let logged = std::fs::read_to_string(&log).unwrap_or_default();
    (done, String::from_utf8(echo).unwrap(), logged)
}

#[test]
fn commands_are_recorded_however_they_end() {
    let (done, echo, log) = run(&["sh", "-c", "echo out; echo $X >&2"]);
    assert_eq!(done.unwrap().exit_code, Some(0));
    assert_eq!((echo.as_str(), log.as_str()), ("out\ny\n", "out\ny\n"));
    assert_eq!(run(&["sh", "-c", "exit 3"]).0.unwrap().exit_code, Some(3));
    let killed = run(&["sh", "-c", "kill -9 $$"]).0.unwrap();
    assert_eq!((killed.exit_code, killed.signal), (Some(137), Some(9)));
    let error = run(&["no-such-program-anywhere"]).0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`no-such-program-anywhere` failed: there is no such program"
    );
    let (done, echo, _) = run(&["sh", "-c", "yes | head -c 3000000"]);
    assert_eq!((done.unwrap().exit_code, echo.len()), (Some(0), 3_000_000));
}

#[test]
fn metrics_are_flattened_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.json");
    assert_eq!(metrics::read(&path).unwrap(), BTreeMap::new());
    std::fs::write(
        &path,
        r#"{"accuracy": 0.5, "de": {"n": 3, "deep": {"f1": 1.0}}}"#,
    )
    .unwrap();
    let read = metrics::read(&path).unwrap();
    let shown: Vec<String> = read.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(shown, ["accuracy=0.5", "de.deep.f1=1.0", "de.n=3"]);
    assert_eq!(read["de.n"], Value::Int(3));
    // What Python writes of a loss that diverged is no JSON, and is understood all the same.
    std::fs::write(
        &path,
        r#"{"NaN \" ": NaN, "b": [-Infinity], "c": Infinity}"#,
    )
    .unwrap();
    let read = metrics::read(&path).unwrap();
    assert!(matches!(read["NaN \" "], Value::Float(f) if f.is_nan()));
    assert_eq!(read["c"], Value::Float(f64::INFINITY));
    for (text, word) in [
        ("[1]", "not a JSON object"),
        ("{\"a\": }", "line 1 column 7"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = metrics::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("metrics.json") && error.contains(word),
            "{error}"
        );
    }
}

#[test]
fn an_author_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let find = |text| person::find(dir.path(), Some(text), None, None);
    assert_eq!(find("Ada L <ada@x>").unwrap().to_string(), "Ada L <ada@x>");
    for bad in ["Ada", "<ada@x>", "A\nB <x>", "a <b<c>"] {
        assert!(find(bad).is_err(), "{bad}");
    }
}

#[test]
fn facts_of_a_git_tree_are_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(git::facts(dir.path()).is_empty());
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@b",
                "-c",
                "init.defaultBranch=trunk",
            ])
            .args(args)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["remote", "add", "origin", "https://u:p@host/r.git"]);
    git(&["commit", "-q", "--allow-empty", "-m", "x"]);
    let facts = git::facts(dir.path());
    assert_eq!(facts["git.head"], git(&["rev-parse", "HEAD"]));
    assert_eq!(facts["git.branch"], "trunk");
    assert_eq!(facts["git.remote"], "https://host/r.git");
    assert_eq!(facts["git.dirty"], "false");
    write(dir.path(), "new.py", "1\n");
    assert_eq!(
        git::facts(dir.path())["git.dirty"],
        "false",
        "untracked files don't count"
    );
    git(&["add", "new.py"]);
    assert_eq!(git::facts(dir.path())["git.dirty"], "true");
    git(&["commit", "-q", "-m", "y"]);
    assert_eq!(git::facts(dir.path())["git.dirty"], "false");
    write(dir.path(), "new.py", "2\n");
    assert_eq!(git::facts(dir.path())["git.dirty"], "true");
    git(&["checkout", "-q", "--detach"]);
    git(&["remote", "rename", "origin", "upstream"]);
    let facts = git::facts(dir.path());
    assert!(!facts.contains_key("git.branch"));
    assert_eq!(facts["git.remote"], "https://host/r.git");
    assert!(host_has_kernel());
}

fn host_has_kernel() -> bool {
    host::facts(&[]).contains_key("kernel")
}
