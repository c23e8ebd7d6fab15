use std::fs::File;
use std::process::Command;

use sha2::{Digest, Sha256};

use super::lay_out::{place, programs, with_interpreter};
use super::*;
use crate::layer::{Content, Files, Node};

#[test]
fn programs_are_found() {
    let text = "[gui_scripts]\na = b:c\n[console_scripts]\nf2py = numpy.f2py:main [x]\n../x = a:b\n\
                [other]\nd = e:f\n";
    let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(
        programs(text),
        [owned("a", "b", "c"), owned("f2py", "numpy.f2py", "main")]
    );
}

#[test]
fn files_go_where_their_scheme_says() {
    for (name, path, executable) in [
        ("x-1.data/scripts/run", "opt/modelv/bin/run", true),
        ("x/y.py", "opt/modelv/site-packages/x/y.py", false),
        (
            "x-1.data/purelib/z.py",
            "opt/modelv/site-packages/z.py",
            false,
        ),
        ("x-1.data/headers/z.h", "opt/modelv/include/z.h", false),
        ("x-1.data/data/share/z", "opt/modelv/share/z", false),
    ] {
        let placed = place(name, false);
        assert_eq!(
            (placed.path.as_str(), placed.executable),
            (path, executable)
        );
    }
}

#[test]
fn a_script_names_the_interpreter_of_the_image() {
    for (text, want) in [
        ("#!python\npass\n", Some("#!/usr/bin/python3\npass\n")),
        ("#!pythonw -E\n", Some("#!/usr/bin/python3 -E\n")),
        ("#!/bin/sh\n", None),
    ] {
        let found = with_interpreter(text.as_bytes(), "/usr/bin/python3");
        assert_eq!(found.as_deref(), want.map(str::as_bytes), "{text}");
    }
}

/// Bytes of a file that was laid out.
fn bytes_of(node: &Node) -> Option<Vec<u8>> {
    let Node::File { content, .. } = node else {
        return None;
    };
    let mut bytes = Vec::new();
    let (mut reader, size) = content.open(None).unwrap();
    std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, size);
    Some(bytes)
}

static NONE: BTreeMap<String, Vec<RepoPath>> = BTreeMap::new();

/// A repository without commits, whose environment is these packages.
fn wanted<'a>(repo: &'a Repo, env: &'a Env, python: &'a Path, minor: &str) -> Wanted<'a> {
    Wanted {
        repo,
        env,
        cache: repo.dir().join("cache/wheels"),
        python,
        minor: minor.into(),
        in_place: &NONE,
    }
}

#[test]
fn of_two_wheels_of_one_version_the_fitting_one_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::init(dir.path()).unwrap();
    let arch = std::env::consts::ARCH;
    let known: Vec<PathBuf> = ["310", "311", "312"]
        .iter()
        .map(|v| format!("/c/Fast_Thing-2.0+cpu-cp{v}-cp{v}-linux_{arch}.whl").into())
        .collect();
    let find = |package: &Package, minor: &str| {
        wanted(&repo, &Env::none(), Path::new("python3"), minor).find(&known, package)
    };
    let fast = Package::new("fast-thing", "2.0+cpu");
    assert_eq!(find(&fast, "3.12"), Some(known[2].clone()));
    assert_eq!(find(&fast, "3.13"), None);
    assert_eq!(find(&Package::new("fast-thing", "2.0"), "3.12"), None);
}

/// A wheel of the given files. RECORD is right, unless `record` says how to spoil it.
fn build(dir: &Path, files: &[(&str, &[u8])], record: impl Fn(String) -> String) -> Wheel {
    use std::io::Write;
    let path = dir.join("tiny_wheel-1.0-py3-none-any.whl");
    let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
    let mut lines = String::new();
    let meta: [(&str, &[u8]); 2] = [
        (
            "tiny_wheel-1.0.dist-info/METADATA",
            b"Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n",
        ),
        (
            "tiny_wheel-1.0.dist-info/WHEEL",
            b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ),
    ];
    for (name, bytes) in files.iter().chain(&meta) {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o644);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
        let hash = modelv_repo::wheels::record::base64url(&Sha256::digest(bytes));
        lines += &format!("{name},sha256={hash},{}\n", bytes.len());
    }
    let name = "tiny_wheel-1.0.dist-info/RECORD";
    lines += &format!("{name},,\n");
    zip.start_file(name, zip::write::SimpleFileOptions::default())
        .unwrap();
    zip.write_all(record(lines).as_bytes()).unwrap();
    zip.finish().unwrap();
    Wheel {
        sha256: to_hex(&Sha256::digest(std::fs::read(&path).unwrap())),
        path,
        label: "tiny-wheel 1.0".into(),
        is_other: false,
    }
}

const TINY: [(&str, &[u8]); 6] = [
    ("tiny/__init__.py", b"def main():\n    print('tiny')\n"),
    ("tiny/words, and commas.txt", b"a,b\n"),
    ("tiny_wheel-1.0.data/purelib/more.py", b"MORE = 1\n"),
    (
        "tiny_wheel-1.0.data/scripts/old-way",
        b"#!python\nprint('old')\n",
    ),
    ("tiny_wheel-1.0.data/data/share/tiny/x.json", b"{}\n"),
    (
        "tiny_wheel-1.0.dist-info/entry_points.txt",
        b"[console_scripts]\ntiny = tiny:main\n",
    ),
];

/// Files below a folder by their path.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
                out.insert(name.to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    out
}

/// A virtual environment with pip.
fn venv(dir: &Path) -> PathBuf {
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(dir.join("venv"))
        .status();
    assert!(made.unwrap().success());
    dir.join("venv/bin/python")
}

/// What pip itself makes of a wheel.
fn installed_by_pip(dir: &Path, wheel: &Wheel) -> BTreeMap<String, Vec<u8>> {
    let target = dir.join("target");
    let words = "-m pip install --quiet --no-deps --no-index --no-compile --target";
    let pip = Command::new(venv(dir))
        .args(words.split(' '))
        .arg(&target)
        .arg(&wheel.path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&pip.stderr);
    assert!(pip.status.success(), "{said}");
    tree(&target)
}

#[test]
fn a_wheel_lies_as_pip_lays_it() {
    let dir = tempfile::tempdir().unwrap();
    let quoted = |lines: String| {
        lines.replace(
            "tiny/words, and commas.txt",
            "\"tiny/words, and commas.txt\"",
        )
    };
    let wheel = build(dir.path(), &TINY, quoted);
    let mut ours = Files::default();
    lay_out(&wheel, "/usr/bin/python3", &mut ours).unwrap();
    let theirs = installed_by_pip(dir.path(), &wheel);
    // pip writes these itself, and programs begin with another interpreter.
    let own = |name: &str| {
        let ends = ["/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json"];
        ends.iter().any(|e| name.ends_with(e))
    };
    let mut compared = 0;
    for (path, node) in &ours.nodes {
        let path = std::str::from_utf8(path).unwrap();
        let Some(bytes) = bytes_of(node) else {
            continue;
        };
        let inside = path
            .strip_prefix("opt/modelv/site-packages/")
            .or_else(|| path.strip_prefix("opt/modelv/"))
            .unwrap();
        if own(inside) {
            continue;
        }
        assert!(theirs.contains_key(inside), "pip has no `{inside}`");
        if !inside.starts_with("bin/") {
            assert_eq!(theirs[inside], bytes, "{inside}");
        }
        compared += 1;
    }
    assert_eq!(compared, theirs.keys().filter(|n| !own(n)).count());
}

#[test]
fn the_record_is_one_of_what_lies_there() {
    let dir = tempfile::tempdir().unwrap();
    let quoted = |lines: String| {
        lines.replace(
            "tiny/words, and commas.txt",
            "\"tiny/words, and commas.txt\"",
        )
    };
    let mut files = Files::default();
    let more = ("tiny/__init__.cpython-311.pyc", &b"compiled"[..]);
    let wheel = build(dir.path(), &[&TINY[..], &[more]].concat(), quoted);
    lay_out(&wheel, "/usr/bin/python3", &mut files).unwrap();
    let text = |path: &str| {
        let bytes = files.nodes.get(path.as_bytes()).and_then(bytes_of);
        String::from_utf8(bytes.unwrap_or_else(|| panic!("no {path}"))).unwrap()
    };
    let own = "tiny_wheel-1.0.dist-info/RECORD";
    let record = text(&format!("{SITE}/{own}"));
    assert!(record.contains(&format!("{own},,\n")), "{record}");
    let mut seen = 0;
    for line in record.lines().filter(|line| !line.starts_with(own)) {
        let (rest, size) = line.rsplit_once(',').unwrap();
        let (path, hash) = rest.rsplit_once(",sha256=").unwrap();
        let path = path.trim_matches('"');
        let path = match path.strip_prefix("../") {
            Some(above) => format!("opt/modelv/{above}"),
            None => format!("{SITE}/{path}"),
        };
        let text = text(&path);
        let want = modelv_repo::wheels::record::base64url(&Sha256::digest(text.as_bytes()));
        assert_eq!(
            (hash, size),
            (want.as_str(), text.len().to_string().as_str()),
            "{path}"
        );
        seen += 1;
    }
    let is_file = |node: &&Node| matches!(node, Node::File { .. });
    assert_eq!(seen + 1, files.nodes.values().filter(is_file).count());
    assert!(
        record.starts_with("../bin/old-way,sha256="),
        "sorted: {record}"
    );
}

#[test]
fn a_name_is_no_option_of_pip() {
    let dir = tempfile::tempdir().unwrap();
    let wheel = build(dir.path(), &TINY, |r| r);
    // As an option, `-r FILE` would read this file and take the wheel.
    let list = dir.path().join("list==1");
    std::fs::write(&list, wheel.path.to_str().unwrap()).unwrap();
    let hostile = Package::new(format!("-r{}/list", dir.path().display()), "1");
    let repo = Repo::init(&dir.path().join("repository")).unwrap();
    let env = Env {
        packages: vec![hostile],
        ..Env::none()
    };
    let python = venv(dir.path());
    let wanted = wanted(&repo, &env, &python, "3.11");
    let said = wanted.find_all(&Packer::at(dir.path())).unwrap_err();
    assert!(matches!(said, Error::Package { .. }), "{said}");
    assert_eq!(archive::list(&wanted.cache).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_script_starts_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let wheel = build(dir.path(), &TINY, |r| r);
    let mut files = Files::default();
    lay_out(&wheel, "/usr/bin/python3", &mut files).unwrap();
    let Some(Node::File {
        executable: true,
        content: Content::Bytes(bytes),
    }) = files.nodes.get(b"opt/modelv/bin/tiny".as_slice())
    else {
        panic!("no script");
    };
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.starts_with("#!/usr/bin/python3\n"), "{text}");
    assert!(text.contains("from tiny import main"), "{text}");
}

#[test]
fn a_wheel_that_is_not_what_its_record_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = |files: &[(&str, &[u8])], record: &dyn Fn(String) -> String, want: &str| {
        let wheel = build(dir.path(), files, record);
        // Packed, because a file is compared when it is read.
        let said = crate::fuzz::wheel(&wheel.path).unwrap_err();
        assert!(matches!(said, Error::Package { .. }), "{said:?}");
        let said = said.to_string();
        assert!(said.contains(want), "{want} in {said}");
    };
    let other: [(&str, &[u8]); 1] = [("tiny/__init__.py", b"x")];
    let spoil = |r: String| r.replacen("sha256=", "sha256=x", 1);
    refuse(&other, &spoil, "`tiny/__init__.py` is not what RECORD says");
    let forget = |r: String| r.lines().skip(1).collect::<Vec<_>>().join("\n");
    refuse(&other, &forget, "`tiny/__init__.py` is not in RECORD");
    for name in [
        "../escaped.py",
        "/escaped.py",
        "a/../../b.py",
        "a//b.py",
        "./a.py",
        "a/.wh.b.py",
    ] {
        let want = if name.contains(".wh.") {
            "takes a file away"
        } else {
            "it holds the file name"
        };
        refuse(&[(name, b"x")], &|r| r, want);
    }
}
