use super::super::archive::{Proof, check_files, prove};
use super::*;

fn hash(bytes: &[u8]) -> String {
    format!("sha256={}", base64url(&Sha256::digest(bytes)))
}

/// A distribution as an installer lays it: a package, a data file, a script, launchers.
fn installed(root: &Path) -> (PathBuf, Package) {
    let site = root.join("lib/python3.11/site-packages");
    let launcher =
        "#!/venv/bin/python3.11\nimport sys\nfrom bird.cli import main\nsys.exit(main())\n";
    let files: [(&str, &str); 9] = [
        ("bird/__init__.py", "VALUE = 1\n"),
        ("bird/words, and commas.txt", "a,b\n"),
        ("../../../share/bird/x.json", "{}\n"),
        (
            "../../../bin/old-way",
            "#!/venv/bin/python3.11\nprint('old')\n",
        ),
        ("../../../bin/bird", launcher),
        ("../../../bin/bird3.11", launcher),
        (
            "Bird-1.0+cpu.dist-info/METADATA",
            "Name: Bird\nVersion: 1.0+cpu\n",
        ),
        (
            "Bird-1.0+cpu.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n",
        ),
        (
            "Bird-1.0+cpu.dist-info/entry_points.txt",
            "[console_scripts]\nbird = bird.cli:main\n",
        ),
    ];
    let mut record = String::new();
    for (name, text) in files {
        let path = site.join(name);
        // `..` is resolved by the system, which wants the folders on the way.
        std::fs::create_dir_all(&site).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        record += &format!(
            "{},{},{}\n",
            quoted(name),
            hash(text.as_bytes()),
            text.len()
        );
    }
    record += "bird/__pycache__/__init__.cpython-311.pyc,,\nBird-1.0+cpu.dist-info/INSTALLER,sha256=x,4\n";
    record += "Bird-1.0+cpu.dist-info/RECORD,,\n";
    let info = "Bird-1.0+cpu.dist-info";
    std::fs::write(site.join(info).join("RECORD"), &record).unwrap();
    let package = Package {
        record_sha256: Some(crate::capture::env::record_sha256(&record, info)),
        ..Package::new("bird", "1.0+cpu")
    };
    (site, package)
}

#[test]
fn an_installed_distribution_becomes_a_wheel_again() {
    let dir = tempfile::tempdir().unwrap();
    let (site, package) = installed(dir.path());
    let make = |into: &str| {
        let into = dir.path().join(into);
        std::fs::create_dir(&into).unwrap();
        repack(
            &site,
            "Bird-1.0+cpu.dist-info",
            &package,
            &into,
            &Cancel::new(),
        )
        .unwrap()
    };
    let (a, b) = (make("a"), make("b"));
    assert_eq!(a.file_name().unwrap(), "Bird-1.0+cpu-py2.py3-none-any.whl");
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    assert_eq!(prove(&a, &package), Ok(Proof::Record));
    assert_eq!(check_files(&a, &Cancel::new()), Ok(()));
    let mut zip = zip::ZipArchive::new(File::open(&a).unwrap()).unwrap();
    let mut names: Vec<String> = Vec::new();
    let mut script = String::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if name.ends_with("old-way") {
            entry.read_to_string(&mut script).unwrap();
        }
        names.push(name);
    }
    assert_eq!(script, "#!python\nprint('old')\n");
    assert_eq!(
        names,
        [
            "Bird-1.0+cpu.data/data/share/bird/x.json",
            "Bird-1.0+cpu.data/scripts/old-way",
            "bird/__init__.py",
            "bird/words, and commas.txt",
            "Bird-1.0+cpu.dist-info/METADATA",
            "Bird-1.0+cpu.dist-info/WHEEL",
            "Bird-1.0+cpu.dist-info/entry_points.txt",
            "Bird-1.0+cpu.dist-info/RECORD",
        ]
    );
}

#[test]
fn what_was_changed_in_place_makes_no_wheel() {
    let dir = tempfile::tempdir().unwrap();
    let (site, package) = installed(dir.path());
    let attempt = |package: &Package| {
        repack(
            &site,
            "Bird-1.0+cpu.dist-info",
            package,
            dir.path(),
            &Cancel::new(),
        )
        .unwrap_err()
    };
    let other = Package {
        record_sha256: Some([7; 32]),
        ..package.clone()
    };
    assert!(attempt(&other).contains("other files"));
    std::fs::write(site.join("bird/__init__.py"), "VALUE = 2\n").unwrap();
    let said = attempt(&package);
    assert!(
        said.contains("__init__.py` is not what RECORD says"),
        "{said}"
    );
    let wheels = super::super::archive::list(dir.path()).unwrap();
    assert_eq!(wheels, Vec::<PathBuf>::new());
    for bad in [
        "../../../../../etc/passwd,sha256=x,1\n",
        "/etc/passwd,sha256=x,1\n",
        "a/../../b,sha256=x,1\n",
    ] {
        let record = Record::parse("Bird-1.0+cpu.dist-info", bad.into());
        let said = members(&site, &record, &EntryPoints::parse(""))
            .map(|_| ())
            .unwrap_err();
        assert!(said.contains("holds the file name"), "{said}");
    }
}
