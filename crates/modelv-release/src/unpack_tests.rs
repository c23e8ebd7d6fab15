use super::*;
use flate2::read::MultiGzDecoder;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use crate::layer::{Content, Files, Node};
use crate::layout::{About, write};
use crate::packer::Packer;

/// A tar header and content, with a name no honest writer would write.
fn raw(name: &[u8], kind: tar::EntryType, target: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..target.len()].copy_from_slice(target);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, text: &str) -> Vec<u8> {
    raw(
        name.as_bytes(),
        tar::EntryType::Regular,
        b"",
        text.as_bytes(),
    )
}

fn link(name: &str, target: &str) -> Vec<u8> {
    raw(
        name.as_bytes(),
        tar::EntryType::Symlink,
        target.as_bytes(),
        b"",
    )
}

/// A layout with the given layers, each a list of tar entries.
fn layout(dir: &Path, layers: &[Vec<Vec<u8>>]) -> PathBuf {
    let out = dir.join("layout");
    let blobs = out.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let layers: Vec<_> = layers
        .iter()
        .map(|entries| {
            let layer = Packer::at(&blobs).pack(|out| {
                out.write_all(&entries.concat()).unwrap();
                out.write_all(&[0; 1024]).unwrap();
                Ok(())
            });
            ("layer".to_owned(), layer.unwrap())
        })
        .collect();
    let about = About {
        created: "1970-01-01T00:00:00Z".into(),
        architecture: oci_arch(),
        labels: BTreeMap::new(),
        env: vec!["A=b".into()],
        reference: "test".into(),
    };
    write(&out, &layers, &about).unwrap();
    out
}

/// Unpacks layers beside a folder that must stay as it is; the error's words, if any.
fn try_unpack(layers: &[Vec<Vec<u8>>]) -> (tempfile::TempDir, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let image = layout(dir.path(), layers);
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("treasure"), "gold").unwrap();
    let result = unpack(&image, &dir.path().join("root"), &Cancel::new());
    let inside: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
    assert_eq!(inside.len(), 1, "something was written outside");
    let treasure = std::fs::read_to_string(outside.join("treasure")).unwrap();
    assert_eq!(treasure, "gold");
    let mut top: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    top.sort();
    assert_eq!(top, ["layout", "outside", "root"]);
    (dir, result.err().map(|e| e.to_string()))
}

#[test]
fn layers_lie_over_each_other_and_whiteouts_remove() {
    let (dir, said) = try_unpack(&[
        vec![
            file("./etc/keep", "1"),
            file("etc/gone", "1"),
            file("etc/changed", "1"),
            file("all/a", "1"),
            file("all/b/c", "1"),
            file("tree/x/y", "1"),
            link("etc/link", "keep"),
        ],
        vec![
            file("etc/.wh.gone", ""),
            file("etc/changed", "2"),
            file("all/.wh..wh..opq", ""),
            file("all/new", "2"),
            file(".wh.tree", ""),
            file("nowhere/.wh.x", ""),
        ],
    ]);
    assert_eq!(said, None);
    let root = dir.path().join("root");
    let text = |p: &str| std::fs::read_to_string(root.join(p)).ok();
    assert_eq!(text("etc/keep").as_deref(), Some("1"));
    assert_eq!(text("etc/link").as_deref(), Some("1"));
    assert_eq!(text("etc/changed").as_deref(), Some("2"));
    assert_eq!(text("all/new").as_deref(), Some("2"));
    for gone in [
        "etc/gone",
        "all/a",
        "all/b",
        "tree",
        "nowhere",
        "etc/.wh.gone",
    ] {
        assert!(root.join(gone).symlink_metadata().is_err(), "{gone}");
    }
}

#[test]
fn nothing_is_written_outside() {
    for entries in [
        vec![file("../outside/x", "bad")],
        vec![file("a/../../outside/x", "bad")],
        vec![link("out", "../outside"), file("out/x", "bad")],
        vec![link("out", "../outside"), file("out/treasure", "bad")],
        vec![link("a", "b"), link("b", "../outside"), file("a/x", "bad")],
        vec![raw(
            b"hard",
            tar::EntryType::Link,
            b"../outside/treasure",
            b"",
        )],
        vec![
            link("out", "../outside"),
            raw(b"hard", tar::EntryType::Link, b"out/treasure", b""),
        ],
        vec![
            link("out", "../outside"),
            raw(b"out/", tar::EntryType::Directory, b"", b""),
            file("out/x", "bad"),
        ],
    ] {
        let (_dir, said) = try_unpack(&[entries]);
        assert!(said.is_some_and(|s| s.contains("is damaged")));
    }
}

#[test]
fn a_file_takes_the_place_of_a_link_and_does_not_follow_it() {
    let (dir, said) = try_unpack(&[
        vec![link("out", "../outside/treasure")],
        vec![file("out", "new")],
    ]);
    assert_eq!(said, None);
    let path = dir.path().join("root/out");
    assert!(path.symlink_metadata().unwrap().is_file());
}

#[test]
fn a_whiteout_removes_nothing_outside() {
    for name in [".wh...", ".wh..", ".wh.", "a/.wh...", "a/.wh.."] {
        let (dir, said) = try_unpack(&[vec![file("a/b", "1")], vec![file(name, "")]]);
        assert!(said.is_some_and(|s| s.contains("leads out")), "{name}");
        assert!(dir.path().join("root/a/b").exists(), "{name}");
    }
    for name in ["out/.wh.treasure", "out/.wh..wh..opq"] {
        let (_dir, said) = try_unpack(&[vec![link("out", "../outside")], vec![file(name, "")]]);
        assert!(said.is_some_and(|s| s.contains("leads out")), "{name}");
    }
    // A link itself is removed, not what it points to.
    let (dir, said) = try_unpack(&[vec![link("out", "../outside")], vec![file(".wh.out", "")]]);
    assert_eq!(said, None);
    assert!(dir.path().join("root/out").symlink_metadata().is_err());
}

#[test]
fn a_flipped_byte_anywhere_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let image = layout(dir.path(), &[vec![file("a", "1")]]);
    let blobs: Vec<_> = std::fs::read_dir(image.join("blobs/sha256"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(blobs.len(), 3);
    for blob in blobs {
        let good = std::fs::read(&blob).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&blob, bytes).unwrap();
            let said = unpack(&image, &dir.path().join("root"), &Cancel::new())
                .unwrap_err()
                .to_string();
            assert!(said.contains("has other bytes"), "{said}");
        }
        std::fs::write(&blob, good).unwrap();
    }
    let config = unpack(&image, &dir.path().join("root"), &Cancel::new()).unwrap();
    assert_eq!(
        (config.env, config.user),
        (vec!["A=b".into()], "65532:65532".into())
    );
}

#[test]
fn a_place_that_is_taken_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let image = layout(dir.path(), &[vec![file("a", "1")]]);
    std::fs::create_dir(dir.path().join("root")).unwrap();
    symlink("nowhere", dir.path().join("root/x")).unwrap();
    let said = unpack(&image, &dir.path().join("root"), &Cancel::new()).unwrap_err();
    assert!(matches!(said, Error::Taken { .. }));
    assert!(!dir.path().join("root/a").exists());
}

#[test]
fn what_was_packed_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("deep/{}/{}", "n".repeat(120), "m".repeat(120));
    let mut files = Files::default();
    files.add_file(long.clone(), true, Content::Bytes(b"program".to_vec()));
    files.add_file(b"bytes/\xff\xfe".to_vec(), false, Content::Bytes(vec![]));
    files.add("to", Node::Link(format!("./{long}").into_bytes()));
    files.add("up", Node::Link(b"../../nowhere".to_vec()));
    files.add("tmp", Node::Dir { sticky: true });
    let mut tar = Vec::new();
    let image = dir.path().join("layout");
    std::fs::create_dir_all(image.join("blobs/sha256")).unwrap();
    let layer = Packer::at(&image.join("blobs/sha256"))
        .pack_files(&files)
        .unwrap();
    let blob = File::open(image.join("blobs/sha256").join(digits(&layer.digest))).unwrap();
    MultiGzDecoder::new(blob).read_to_end(&mut tar).unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    apply(tar.as_slice(), &root, &mut Modes::new()).unwrap();
    let mode = |p: &Path| std::os::unix::fs::MetadataExt::mode(&p.metadata().unwrap()) & 0o7777;
    assert_eq!(std::fs::read(root.join(&long)).unwrap(), b"program");
    assert_eq!(mode(&root.join(&long)), 0o755);
    assert_eq!(mode(&root.join("tmp")), 0o1777);
    assert!(root.join(OsStr::from_bytes(b"bytes/\xff\xfe")).exists());
    assert_eq!(std::fs::read(root.join("to")).unwrap(), b"program");
    assert_eq!(
        root.join("up").read_link().unwrap(),
        Path::new("../../nowhere")
    );
}

#[test]
fn devices_are_left_to_the_engine() {
    let device = raw(b"dev/null", tar::EntryType::Char, b"", b"");
    let pipe = raw(b"dev/pipe", tar::EntryType::Fifo, b"", b"");
    let (dir, said) = try_unpack(&[vec![device, pipe, file("dev/README", "x")]]);
    assert_eq!(said, None);
    let names: Vec<_> = std::fs::read_dir(dir.path().join("root/dev"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// A folder of this mode.
fn folder(name: &str, mode: u32) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(mode);
    header.set_size(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn mode_of(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// Runs this test once more as a user without rights, if it has all of them.
fn as_nobody() {
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) != 0 {
        return;
    }
    // Where the tests are built is not everybody's to enter.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let name = std::thread::current().name().unwrap().to_owned();
    let done = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", &name])
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn folders_that_nobody_may_write_into_are_filled_by_anyone() {
    as_nobody();
    let dir = tempfile::tempdir().unwrap();
    let image = layout(
        dir.path(),
        &[
            vec![
                folder("usr", 0o555),
                folder("usr/bin", 0o555),
                file("usr/bin/a", "1"),
                folder("sealed", 0o500),
                folder("gone", 0o500),
                file("gone/x", "1"),
                folder("link", 0o500),
            ],
            vec![
                file("usr/bin/b", "2"),
                file(".wh.gone", ""),
                file(".wh.link", ""),
                link("link", "../outside"),
            ],
        ],
    );
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let before = mode_of(&outside);
    let root = dir.path().join("root");
    unpack(&image, &root, &Cancel::new()).unwrap();
    for (name, mode) in [("usr", 0o555), ("usr/bin", 0o555), ("sealed", 0o500)] {
        assert_eq!(mode_of(&root.join(name)), mode, "{name}");
    }
    assert!(root.join("usr/bin/b").exists() && !root.join("gone").exists());
    assert_eq!(mode_of(&outside), before, "a mode was set through a link");
    // What is only started can be put away as it is.
    let started = dir.path().join("started");
    unpack_to_start(&image, &started, &Cancel::new()).unwrap();
    assert_eq!(mode_of(&started.join("usr/bin")), 0o755);
    std::fs::remove_dir_all(&started).unwrap();
    for name in ["usr", "usr/bin"] {
        std::fs::set_permissions(root.join(name), Permissions::from_mode(0o755)).unwrap();
    }
}
