use super::*;
use flate2::read::MultiGzDecoder;
use std::process::Command;

use crate::layer::Content;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn bytes(text: &str) -> Content {
    Content::Bytes(text.as_bytes().to_vec())
}

/// A layout by hand: any manifest, any configuration, and an index of the given shape.
struct Hand {
    dir: tempfile::TempDir,
}

impl Hand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("base/blobs/sha256")).unwrap();
        std::fs::create_dir_all(dir.path().join("out")).unwrap();
        std::fs::write(dir.path().join("base/oci-layout"), "{}").unwrap();
        Self { dir }
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    fn put(&self, value: &Value) -> String {
        let text = value.to_string();
        let digest = modelv_repo::core::id::to_hex(&Sha256::digest(&text));
        std::fs::write(self.base().join("blobs/sha256").join(&digest), text).unwrap();
        format!("sha256:{digest}")
    }

    fn layer(&self, files: &Files) -> Layer {
        Packer::at(&self.base().join("blobs/sha256"))
            .pack_files(files)
            .unwrap()
    }

    fn config(&self, diff_ids: &[&str]) -> String {
        self.put(&json!({
            "architecture": oci_arch(),
            "config": {"Env": ["LD_LIBRARY_PATH=/cuda", "PATH=/x"]},
            "rootfs": {"diff_ids": diff_ids},
        }))
    }

    fn manifest(&self, config: &str, layers: &[&str]) -> String {
        let layers: Vec<Value> = layers
            .iter()
            .map(|d| json!({"digest": d, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}))
            .collect();
        self.put(&json!({"config": {"digest": config}, "layers": layers}))
    }

    fn index(&self, manifests: &Value) {
        let text = json!({"manifests": manifests}).to_string();
        std::fs::write(self.base().join("index.json"), text).unwrap();
    }

    fn prepare(&self) -> Result<Ground> {
        let out = self.dir.path().join("out");
        prepare(
            &Base::Layout(self.base()),
            &Packer::at(&out),
            &Stand {
                python: None,
                alone: None,
                env: &Env::none(),
            },
            &Demands::default(),
        )
    }

    fn refuse(&self, want: &str) {
        let said = self.prepare().err().expect("it is refused").to_string();
        assert!(said.contains(want), "{want} in {said}");
    }
}

#[test]
fn a_base_is_taken_as_it_is() {
    let hand = Hand::new();
    let (mut low, mut high) = (Files::default(), Files::default());
    low.add_file("usr/bin/python3.11", true, bytes("old"));
    low.add_file("usr/lib/old/x.so", false, bytes("x"));
    low.add_file("opt/a", false, bytes("x"));
    high.add_file("usr/lib/.wh.old", false, bytes(""));
    high.add_file("opt/.wh..wh..opq", false, bytes(""));
    high.add_file("usr/bin/.wh.python3.11", false, bytes(""));
    high.add_file("usr/bin/python3.12", true, bytes("new"));
    let (low, high) = (hand.layer(&low), hand.layer(&high));
    let config = hand.config(&[&low.diff_id, &high.diff_id]);
    let manifest = hand.manifest(&config, &[&low.digest, &high.digest]);
    // As `docker buildx` writes it: an index in the index, other platforms, an attestation.
    let inner = hand.put(&json!({"manifests": [
        {"digest": "sha256:0", "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": manifest, "platform": {"os": "linux", "architecture": oci_arch()}},
        {"digest": "sha256:1", "platform": {"os": "unknown", "architecture": "unknown"}},
    ]}));
    for digest in [&manifest, &inner] {
        hand.index(&json!([{"digest": digest}]));
        let ground = hand.prepare().unwrap();
        assert_eq!(ground.layers, [(low.clone(), false), (high.clone(), false)]);
        assert_eq!(ground.name, manifest);
        assert_eq!(ground.env, ["LD_LIBRARY_PATH=/cuda", "PATH=/x"]);
        let files: Vec<String> = ground
            .seen
            .paths
            .iter()
            .map(|p| String::from_utf8_lossy(p).into_owned())
            .filter(|p| p.contains("python") || p.contains("old") || p.ends_with("/a"))
            .collect();
        assert_eq!(files, ["usr/bin/python3.12"]);
        for layer in [&low, &high] {
            assert!(
                hand.dir
                    .path()
                    .join("out")
                    .join(digits(&layer.digest))
                    .exists()
            );
        }
    }
}

#[test]
fn a_base_that_is_not_what_it_says_is_refused() {
    let hand = Hand::new();
    let mut files = Files::default();
    files.add_file("a", false, bytes("x"));
    let layer = hand.layer(&files);
    let config = hand.config(&[&layer.diff_id]);
    hand.refuse("it has no index.json");
    hand.index(&json!([]));
    hand.refuse("its index names no manifest");
    hand.index(&json!([{"digest": "sha256:12", "platform": {"architecture": "s390x"}}]));
    hand.refuse("it holds no image for linux/");
    let (one, two) = (
        hand.manifest(&config, &[&layer.digest]),
        hand.manifest(&config, &[]),
    );
    hand.index(&json!([{"digest": one}, {"digest": two}]));
    hand.refuse("it holds 2 images");
    hand.index(&json!([{"digest": two}]));
    hand.refuse("it has 0 layers, its configuration names 1");
    let wrong = hand.config(&["sha256:00"]);
    hand.index(&json!([{"digest": hand.manifest(&wrong, &[&layer.digest])}]));
    hand.refuse("not `sha256:00`");
    let other = hand.put(&json!({"architecture": "s390x"}));
    hand.index(&json!([{"digest": hand.manifest(&other, &[&layer.digest])}]));
    hand.refuse("it was made for `s390x`");
    // An index that goes round in circles can't be made with digests; a deep one ends.
    let mut digest = one;
    for _ in 0..8 {
        digest = hand.put(&json!({"manifests": [{"digest": digest}]}));
    }
    hand.index(&json!([{"digest": digest}]));
    hand.refuse("its index names no manifest");
}

#[test]
fn a_digest_is_never_a_way_to_another_file() {
    let hand = Hand::new();
    let treasure = hand.dir.path().join("treasure");
    std::fs::write(&treasure, "gold").unwrap();
    let absolute = treasure.display().to_string();
    for digest in ["sha256:../../../treasure", &absolute, "sha256:", ""] {
        let config = hand.config(&["sha256:00"]);
        hand.index(&json!([{"digest": hand.manifest(&config, &[digest])}]));
        hand.refuse("is no SHA-256 digest");
        hand.index(&json!([{"digest": hand.manifest(digest, &[])}]));
        hand.refuse("is no SHA-256 digest");
        hand.index(&json!([{"digest": digest}]));
        hand.refuse("is no SHA-256 digest");
        assert_eq!(std::fs::read_to_string(&treasure).unwrap(), "gold");
    }
}

#[test]
fn a_folder_gives_one_layer_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    for (name, order) in [("one", ["a", "b", "c"]), ("two", ["c", "b", "a"])] {
        let root = dir.path().join(name);
        std::fs::create_dir(&root).unwrap();
        for file in order {
            std::fs::write(root.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        // Bits that a umask takes away are no part of an image.
        let bits = if name == "one" { 0o600 } else { 0o664 };
        let bits = std::os::unix::fs::PermissionsExt::from_mode(bits);
        std::fs::set_permissions(root.join("a"), bits).unwrap();
        let ground = from_folder(&root, &Packer::at(dir.path())).unwrap();
        let paths: Vec<&[u8]> = ground.seen.paths.iter().map(Vec::as_slice).collect();
        assert_eq!(paths, [&b"a"[..], b"b", b"c", b"link"]);
        made.push((ground.layers, ground.name));
    }
    assert_eq!(made[0], made[1]);
}

#[test]
fn a_tar_is_taken_plain_or_packed() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    files.add_file("usr/bin/python3.11", true, bytes("x"));
    let packed = Packer::at(dir.path()).pack_files(&files).unwrap();
    let gz = dir.path().join(digits(&packed.digest));
    let mut plain = Vec::new();
    MultiGzDecoder::new(File::open(&gz).unwrap())
        .read_to_end(&mut plain)
        .unwrap();
    let tar = dir.path().join("base.tar");
    std::fs::write(&tar, plain).unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for path in [&gz, &tar] {
        let ground = from_tar(path, &Packer::at(&out)).unwrap();
        assert_eq!(ground.layers, [(packed.clone(), false)]);
        assert!(ground.seen.paths.contains(b"usr/bin/python3.11".as_slice()));
    }
    let zst = dir.path().join("base.tar.zst");
    std::fs::write(
        &zst,
        zstd::encode_all(std::fs::read(&tar).unwrap().as_slice(), 1).unwrap(),
    )
    .unwrap();
    let ground = from_tar(&zst, &Packer::at(&out)).unwrap();
    assert_eq!(ground.layers, [(packed, false)]);
    std::fs::write(&tar, "this is no tar, and it is longer than nothing").unwrap();
    assert!(from_tar(&tar, &Packer::at(&out)).is_err());
}

/// What the interpreter of this machine prints.
fn said_by_python(code: &str) -> String {
    let output = Command::new("python3").args(["-c", code]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_interpreter_runs_where_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let exe = PathBuf::from(said_by_python("import sys; print(sys.executable, end='')"));
    let version = said_by_python("import platform as p; print(p.python_version(), end='')");
    let blobs = dir.path().join("layout/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let pair = Some((exe.as_path(), version.as_str()));
    let packer = Packer::at(&blobs);
    let build = || from_interpreter(&packer, pair, &Demands::default()).unwrap();
    let ground = build();
    assert_eq!(ground.layers, build().layers);
    let stray = |p: &&Vec<u8>| {
        p.ends_with(b".pyc") || p.ends_with(b"/test") || p.ends_with(b"/site-packages")
    };
    assert_eq!(ground.seen.paths.iter().find(stray), None);
    let about = crate::layout::About {
        created: "1970-01-01T00:00:00Z".into(),
        architecture: oci_arch(),
        labels: std::collections::BTreeMap::new(),
        env: vec![],
        reference: "test".into(),
    };
    let layers: Vec<_> = ground
        .layers
        .into_iter()
        .map(|(l, _)| ("base".into(), l))
        .collect();
    crate::layout::write(&dir.path().join("layout"), &layers, &about).unwrap();
    let root = dir.path().join("root");
    crate::unpack(&dir.path().join("layout"), &root, &Cancel::new()).unwrap();
    let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let mut command = Command::new("unshare");
    if said_by_python("import os; print(os.getuid(), end='')") != "0" {
        command.arg("--map-root-user");
    }
    let code = "import sys, json, ssl, sqlite3, ctypes, zlib, hashlib, asyncio, multiprocessing\n\
                print(sys.prefix, sys.version_info[:2])";
    let output = command
        .args(["--mount", "chroot"])
        .arg(&root)
        .arg(format!("/usr/local/bin/python{minor}"))
        .args(["-c", code])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let want = format!("/usr/local ({})\n", minor.replace('.', ", "));
    assert_eq!(
        (
            String::from_utf8_lossy(&output.stdout).as_ref(),
            said.as_str()
        ),
        (want.as_str(), "")
    );
    // Another patch level is another environment.
    let other = format!("{minor}.999");
    let pair = Some((exe.as_path(), other.as_str()));
    let said = from_interpreter(&packer, pair, &Demands::default())
        .err()
        .expect("it is refused")
        .to_string();
    assert!(
        said.contains(&format!("the commit was made with Python {other}")),
        "{said}"
    );
}

#[test]
fn a_base_is_what_lies_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("image")).unwrap();
    std::fs::write(dir.path().join("image/oci-layout"), "").unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    std::fs::write(dir.path().join("x.tar"), "").unwrap();
    let parse = |text: &str| Base::parse(text, dir.path(), &|_| None);
    assert_eq!(parse("python").unwrap(), Base::Interpreter);
    assert_eq!(
        parse("image").unwrap(),
        Base::Layout(dir.path().join("image"))
    );
    assert_eq!(
        parse("root").unwrap(),
        Base::Folder(dir.path().join("root"))
    );
    assert_eq!(parse("x.tar").unwrap(), Base::Tar(dir.path().join("x.tar")));
    assert!(parse("nothing").is_err());
}

/// A tar with one entry, whose name no honest tool would write.
fn tar_with(name: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    [header.as_bytes().as_slice(), &[0; 1024]].concat()
}

#[test]
fn a_tar_that_is_no_root_file_system_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("base.tar");
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for (bytes, want) in [
        (
            tar_with("../../etc/passwd"),
            "path `../../etc/passwd` leads out",
        ),
        (tar_with("a/../../b"), "leads out"),
        (tar_with("manifest.json"), "skopeo copy docker-archive:"),
        (b"\xfd7zXZ\0 and more".to_vec(), "packed with xz"),
    ] {
        std::fs::write(&tar, bytes).unwrap();
        let said = from_tar(&tar, &Packer::at(&out)).err().unwrap().to_string();
        assert!(said.contains(want), "{want} in {said}");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    }
}

#[test]
fn layers_that_are_not_gzip_are_packed_anew() {
    let hand = Hand::new();
    let mut files = Files::default();
    files.add_file("usr/bin/python3.11", true, bytes("x"));
    let mut plain = Vec::new();
    write_tar(&mut plain, &files, None).unwrap();
    let packed = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let want = hand.layer(&files);
    for (media, blob) in [("tar", &plain), ("tar+zstd", &packed)] {
        let digest = modelv_repo::core::id::to_hex(&Sha256::digest(blob));
        std::fs::write(hand.base().join("blobs/sha256").join(&digest), blob).unwrap();
        let config = hand.config(&[&want.diff_id]);
        let media = format!("application/vnd.oci.image.layer.v1.{media}");
        let layers = json!([{"digest": format!("sha256:{digest}"), "mediaType": media}]);
        let manifest = hand.put(&json!({"config": {"digest": config}, "layers": layers}));
        hand.index(&json!([{"digest": manifest}]));
        let ground = hand.prepare().unwrap();
        assert_eq!(ground.layers, [(want.clone(), false)]);
        assert!(!hand.dir.path().join("out").join(digest).exists());
    }
    let layers = json!([{"digest": "sha256:00", "mediaType": "application/x-squashfs"}]);
    let config = hand.config(&["sha256:00"]);
    let manifest = hand.put(&json!({"config": {"digest": config}, "layers": layers}));
    hand.index(&json!([{"digest": manifest}]));
    hand.refuse("its layers are `application/x-squashfs`");
}
