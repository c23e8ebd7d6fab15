//! Files that list packages: demands that hold together, lock files, conda's environments.

use super::super::{Driver, PackageFile, choose, diff, merge, settle};
use super::*;

const LABELS: Labels<'_> = Labels {
    ours: "main",
    base: "base",
    theirs: "topic",
};

/// Merges from both sides; what is open must be the same, and a clean result too.
fn both(name: &str, base: &str, ours: &str, theirs: &str) -> (String, Vec<Conflict>) {
    let driver = choose(name.as_bytes(), ours.as_bytes());
    let run = |o: &str, t: &str| {
        let m = merge(
            driver,
            Some(base.as_bytes()),
            o.as_bytes(),
            t.as_bytes(),
            &LABELS,
        );
        (String::from_utf8(m.bytes).unwrap(), m.conflicts)
    };
    let (forward, backward) = (run(ours, theirs), run(theirs, ours));
    let items =
        |m: &(String, Vec<Conflict>)| m.1.iter().map(|c| c.item.clone()).collect::<Vec<_>>();
    assert_eq!(items(&forward), items(&backward), "{name}");
    if forward.1.is_empty() {
        assert_eq!(forward.0, backward.0, "{name}");
    }
    forward
}

#[test]
fn demands_that_no_version_meets_are_one_conflict_that_names_both() {
    let base = "torch>=1\nother\n";
    let ours = "torch==1.13\nother\n";
    let theirs = "torch>=1\nother\ntorch>=2 ; python_version >= '3.9'\n";
    let (text, conflicts) = both("requirements.txt", base, ours, theirs);
    assert_eq!(text, ours);
    assert_eq!(conflicts.len(), 1);
    let c = &conflicts[0];
    assert_eq!(c.item, Item::Package("torch *".into()));
    assert_eq!(c.ours.as_deref(), Some("torch==1.13"));
    assert_eq!(
        c.theirs.as_deref(),
        Some("torch>=1\ntorch>=2 ; python_version >= '3.9'")
    );
    let set = |value| String::from_utf8(set(text.as_bytes(), "torch *", value).unwrap()).unwrap();
    assert_eq!(set(c.ours.as_deref()), ours);
    assert_eq!(
        set(c.theirs.as_deref()),
        "torch>=1\nother\ntorch>=2 ; python_version >= '3.9'\n"
    );
    assert_eq!(set(None), "other\n");
    assert!(super::set(text.as_bytes(), "torch *", Some("lib==1")).is_err());
}

#[test]
fn demands_that_never_hold_at_once_or_stood_together_before_are_left_alone() {
    for (base, ours, theirs) in [
        // Other interpreters.
        (
            "a\n",
            "a\nt==1 ; python_version<'3.9'\n",
            "t==2 ; python_version>='3.9'\na\n",
        ),
        // Both can be met.
        ("a\n", "a\nt>=1 ; os_name=='nt'\n", "t<2\na\n"),
        // One side wrote both.
        ("a\n", "a\nt==1\nt==2 ; os_name=='nt'\n", "b\na\n"),
    ] {
        let (text, conflicts) = both("requirements.txt", base, ours, theirs);
        assert!(conflicts.is_empty(), "{text}");
        for line in ours.lines().chain(theirs.lines()) {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
    }
}

#[test]
fn lists_of_demands_merge_by_package_and_lists_of_words_do_not() {
    let file = |list: &str, more: &str| format!("[project]\ndependencies = [{list}]{more}\n");
    let (text, conflicts) = both(
        "pyproject.toml",
        &file("\"a>=1\", \"b\"", ""),
        &file("\"a>=2\", \"b\", \"c\"", ""),
        &file("\"a>=1\", \"D.e\"", "\nlicense = \"MIT\""),
    );
    assert!(conflicts.is_empty());
    assert!(
        text == file("\"a>=2\", \"c\", \"D.e\"", "\nlicense = \"MIT\"")
            || text == file("\"a>=2\", \"D.e\", \"c\"", "\nlicense = \"MIT\""),
        "{text}"
    );
    let multi = |list: &str| format!("[project]\ndependencies = [\n{list}]\n");
    let (text, _) = both(
        "pyproject.toml",
        &multi("    \"a>=1\",\n"),
        &multi("    \"a>=1\", # pinned\n    \"b\",\n"),
        &multi("    \"a>=1\",\n    \"c\",\n"),
    );
    for line in ["\n    \"a>=1\",", "\n    \"b\",", "\n    \"c\","] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    // Clashing demands in a list leave it open.
    let list = |x: &str| file(&format!("\"a\"{x}"), "");
    let (_, conflicts) = both(
        "pyproject.toml",
        &list(""),
        &list(", \"t==1\""),
        &list(", \"t==2 ; os_name=='nt'\""),
    );
    assert_eq!(conflicts[0].item, Item::Key("project.dependencies".into()));
    let words = |w: &str| format!("stop = [{w}]\n");
    let (_, conflicts) = both(
        "a.toml",
        &words("\"a\""),
        &words("\"a\", \"b\""),
        &words("\"a\", \"c\""),
    );
    assert_eq!(conflicts.len(), 1);
}

fn poetry(packages: &[(&str, &str, &str)], hash: &str) -> String {
    let mut out = "# generated\n\n".to_owned();
    for (name, version, needs) in packages {
        out.push_str(&format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nfiles = [\n    {{file = \"{name}-{version}.whl\", hash = \"sha256:00\"}},\n]\n"));
        if !needs.is_empty() {
            out.push_str(&format!("\n[package.dependencies]\n{needs}\n"));
        }
        out.push('\n');
    }
    out + &format!("[metadata]\nlock-version = \"2.1\"\ncontent-hash = \"{hash}\"\n")
}

#[test]
#[expect(clippy::too_many_lines, reason = "three lock files")]
fn lock_files_merge_by_package_and_say_what_no_longer_fits() {
    let base = poetry(
        &[
            ("numpy", "1.26.4", ""),
            ("pandas", "2.1.0", "numpy = \">=1.22\""),
        ],
        "a",
    );
    let ours = poetry(
        &[
            ("numpy", "1.26.4", ""),
            ("pandas", "2.1.1", "numpy = \">=1.22\""),
            ("zlib", "1", ""),
        ],
        "a",
    );
    let theirs = poetry(
        &[
            ("attrs", "1", ""),
            ("numpy", "1.26.5", ""),
            ("pandas", "2.1.0", "numpy = \">=1.22\""),
        ],
        "a",
    );
    let (text, conflicts) = both("poetry.lock", &base, &ours, &theirs);
    assert!(conflicts.is_empty());
    let want = [
        ("attrs", "1", ""),
        ("numpy", "1.26.5", ""),
        ("pandas", "2.1.1", "numpy = \">=1.22\""),
        ("zlib", "1", ""),
    ];
    assert_eq!(text, poetry(&want, "a"));
    // Theirs has a pandas that wants another numpy than ours has.
    let ours = poetry(
        &[
            ("numpy", "1.25.0", ""),
            ("pandas", "2.1.0", "numpy = \">=1.22\""),
        ],
        "b",
    );
    let theirs = poetry(
        &[
            ("numpy", "1.26.4", ""),
            ("pandas", "2.2.0", "numpy = \">=1.26\""),
        ],
        "c",
    );
    let (text, conflicts) = both("poetry.lock", &base, &ours, &theirs);
    let items: Vec<&Item> = conflicts.iter().map(|c| &c.item).collect();
    let hash = Item::Key("metadata.content-hash".into());
    let pair = Item::Package("pandas + numpy".into());
    assert_eq!(items, [&hash, &pair]);
    assert_eq!(text, ours);
    let driver = Driver::PackageFile(PackageFile::Lock);
    let set = settle(
        driver,
        text.as_bytes(),
        &pair,
        conflicts[1].theirs.as_deref(),
    )
    .unwrap();
    let set = settle(driver, &set, &hash, conflicts[0].theirs.as_deref()).unwrap();
    assert_eq!(String::from_utf8(set).unwrap(), theirs);
    assert!(
        settle(
            driver,
            text.as_bytes(),
            &pair,
            Some("[[package]]\nname = \"evil\"\n")
        )
        .is_err()
    );
    assert!(settle(driver, text.as_bytes(), &pair, Some("numpy")).is_err());
}

#[test]
fn forks_of_a_package_are_told_apart_by_version() {
    let file = |packages: &[(&str, &str)]| -> String {
        let blocks: Vec<String> = packages
            .iter()
            .map(|(n, v)| format!("[[package]]\nname = \"{n}\"\nversion = \"{v}\"\n"))
            .collect();
        format!("version = 1\n\n{}", blocks.join("\n"))
    };
    let base = file(&[("t", "1"), ("t", "2"), ("x", "1")]);
    let (ours, theirs) = (
        file(&[("t", "1"), ("t", "3"), ("x", "1")]),
        file(&[("t", "1"), ("t", "2"), ("x", "2")]),
    );
    let (text, conflicts) = both("uv.lock", &base, &ours, &theirs);
    assert!(conflicts.is_empty());
    assert_eq!(text, file(&[("t", "1"), ("t", "3"), ("x", "2")]));
    let changes = diff(
        choose(b"uv.lock", base.as_bytes()),
        Some(base.as_bytes()),
        Some(ours.as_bytes()),
    );
    let package = |name: &str, old: Option<&str>, new: Option<&str>| Change::Package {
        name: name.into(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
    };
    assert_eq!(
        changes,
        [
            package("t 2", Some("2"), None),
            package("t 3", None, Some("3"))
        ]
    );
    assert_eq!(choose(b"uv.lock", b"not = = toml"), Driver::Text);
    let twice = file(&[("t", "1"), ("t", "1")]);
    let _ = both(
        "uv.lock",
        &twice,
        &twice.replace('1', "2"),
        &twice.replace('1', "3"),
    );
}

#[test]
fn environments_of_conda_merge_by_package() {
    let base = "name: x\nchannels:\n  - defaults\ndependencies:\n  - python=3.11\n  # numbers\n  - numpy>=1.26\n  - pip\n  - pip:\n      - torch==2.0\nprefix: /x\n";
    let ours = base
        .replace("numpy>=1.26", "numpy>=2")
        .replace("torch==2.0\n", "torch==2.0\n      - einops\n");
    let theirs = base
        .replace("python=3.11", "python=3.12")
        .replace("torch==2.0", "torch==2.1")
        .replace("name: x", "name: y");
    let (text, conflicts) = both("environment.yml", base, &ours, &theirs);
    assert!(conflicts.is_empty());
    assert_eq!(
        text,
        "name: y\nchannels:\n  - defaults\ndependencies:\n  - python=3.12\n  # numbers\n  - numpy>=2\n  - pip\n  - pip:\n      - torch==2.1\n      - einops\nprefix: /x\n"
    );
    let (ours, theirs) = (
        base.replace("torch==2.0", "torch==2.2"),
        base.replace("torch==2.0", "torch>=2.3")
            .replace("name: x", "name: z"),
    );
    let (text, conflicts) = both("environment.yml", base, &ours, &theirs);
    assert_eq!(conflicts[0].item, Item::Package("pip:torch".into()));
    let driver = Driver::PackageFile(PackageFile::Conda);
    let set = settle(
        driver,
        text.as_bytes(),
        &conflicts[0].item,
        conflicts[0].theirs.as_deref(),
    )
    .unwrap();
    assert_eq!(String::from_utf8(set).unwrap(), theirs);
    assert!(settle(driver, text.as_bytes(), &conflicts[0].item, Some("lib")).is_err());
    // Laid out otherwise: as any YAML.
    let flow = "name: x\ndependencies: [python, numpy]\n";
    let (text, conflicts) = both(
        "environment.yml",
        flow,
        &flow.replace('x', "y"),
        &flow.replace("numpy", "torch"),
    );
    assert!(conflicts.is_empty());
    assert_eq!(text, "name: y\ndependencies: [python, torch]\n");
}
