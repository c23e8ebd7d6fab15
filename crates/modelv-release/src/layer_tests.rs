use super::*;
use crate::packer::Packer;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn read_back(dir: &Path, layer: &Layer) -> Vec<(Vec<u8>, u32, u64, Vec<u8>)> {
    let file = File::open(dir.join(digits(&layer.digest))).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut out = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let (mode, mtime) = (header.mode().unwrap(), header.mtime().unwrap());
        let path = entry.path_bytes().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        out.push((path, mode, mtime, bytes));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_layer_does_not_depend_on_the_order_of_its_files(
        files in btree_map(vec("[a-z\u{e9} ]{1,60}", 1..4), (any::<bool>(), vec(any::<u8>(), 0..40)), 0..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        // A name is a folder or a file, never both.
        let paths: Vec<(Vec<u8>, bool, Vec<u8>)> = files
            .into_iter()
            .map(|(parts, (executable, bytes))| {
                (format!("{}/.f", parts.join("/")).into_bytes(), executable, bytes)
            })
            .collect();
        let (mut forth, mut back) = (Files::default(), Files::default());
        for (path, executable, bytes) in &paths {
            forth.add_file(path.clone(), *executable, Content::Bytes(bytes.clone()));
        }
        for (path, executable, bytes) in paths.iter().rev() {
            back.add_file(path.clone(), *executable, Content::Bytes(bytes.clone()));
        }
        let layer = Packer::at(dir.path()).pack_files(&forth).unwrap();
        prop_assert_eq!(&layer, &Packer::at(dir.path()).pack_files(&back).unwrap());
        let found = read_back(dir.path(), &layer);
        prop_assert!(found.iter().all(|(_, _, mtime, _)| *mtime == 0));
        for (path, executable, bytes) in paths {
            let mode = if executable { 0o755 } else { 0o644 };
            prop_assert!(found.contains(&(path, mode, 0, bytes)));
        }
    }
}

#[test]
fn a_layer_is_these_bytes_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    files.add_file(
        "opt/modelv/app/x.py",
        false,
        Content::Bytes(b"x = 1\n".to_vec()),
    );
    files.add("opt/modelv/app/y.py", Node::Link(b"x.py".to_vec()));
    files.add("tmp", Node::Dir { sticky: true });
    let layer = Packer::at(dir.path()).pack_files(&files).unwrap();
    // A change here changes the digest of every image ever released: raise `LAYER_FORMAT` with it.
    assert_eq!(
        layer.diff_id,
        "sha256:7f61567fe99c80f10be6f0f2f66d73df6dcbc3228e2e60e4a65155435fe01a62"
    );
    assert_eq!(
        layer.digest,
        "sha256:1bed8848c15f397243c5f93d479edd3f93783d7c14acb3abcaacc1ccc8aeaa1a"
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_packed_is_an_error() {
    let mut short = Counted {
        inner: &b"abc"[..],
        left: 4,
    };
    let mut out = Vec::new();
    assert!(short.read_to_end(&mut out).is_err());
}

#[test]
fn a_name_that_takes_files_away_is_no_name() {
    for name in [".wh.a", "a/.wh..wh..opq", "a/.wh.b/c"] {
        let said = check_name(name.as_bytes()).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("`{name}` can't be put into an image")),
            "{said}"
        );
    }
    check_name(b"a.wh./.whiskers").unwrap();
}
