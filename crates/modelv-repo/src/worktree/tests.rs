use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::ctx::Ctx;

struct Tree {
    dir: tempfile::TempDir,
    store: modelv_store::Store,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let meta = dir.path().join(".mv");
        std::fs::create_dir(&meta).unwrap();
        let store = modelv_store::Store::init(&meta).unwrap();
        Self { dir, store }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn put(&self, path: &str, content: &str) {
        let full = self.root().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, content).unwrap();
    }

    fn snap(&self) -> Snapshot {
        let session = self.store.begin().unwrap();
        let rules = Rules::load(self.root()).unwrap();
        let cache = StatCache::default();
        let look = look(
            self.root(),
            &cache,
            Some(Keep {
                session: &session,
                head: &|| None,
                mark: None,
            }),
            &self.store,
            &Ctx::quiet(),
        )
        .unwrap();
        let snapshot = Snapshot {
            files: look.files(&rules).unwrap(),
            skipped: look.skipped,
        };
        write_trees(&snapshot.files, &session).unwrap();
        session.finish().unwrap();
        snapshot
    }

    fn go(&self, from: &Files, to: &Files) -> Result<()> {
        let current = self.snap().files;
        let plan = checkout::plan(self.root(), &current, from, to, "switch")?;
        plan.apply(
            self.root(),
            &self.store,
            &mut StatCache::default(),
            &Ctx::quiet(),
        )
    }
}

fn paths(files: &Files) -> Vec<String> {
    files
        .iter()
        .map(|(p, f)| format!("{p} {}", f.ingredient.word()))
        .collect()
}

#[test]
fn files_are_found_classified_and_left_out() {
    let tree = Tree::new();
    for path in [
        "train.py",
        "a b/c d.txt",
        "data/en.csv",
        "params.toml",
        "models/w.bin",
        "metrics.json",
        "ignored.log",
        "kept.log",
        "__pycache__/x.pyc",
        ".hidden",
        ".env",
        "env/pyvenv.cfg",
        "env/x",
        "own.skip",
        "sub/.mv/oplog",
        "sub/x",
    ] {
        tree.put(path, path);
    }
    tree.put(".gitignore", "*.log\n!kept.log\n");
    tree.put(".mvignore", "*.skip\n");
    std::fs::write(tree.root().join(OsStr::from_bytes(b"caf\xe9")), "latin").unwrap();
    symlink("nowhere", tree.root().join("broken")).unwrap();
    symlink("data", tree.root().join("linked")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.root().join("s.sock")).unwrap();
    let snapshot = tree.snap();
    assert_eq!(
        paths(&snapshot.files),
        [
            ".gitignore code",
            ".hidden code",
            ".mvignore code",
            "a b/c d.txt code",
            "broken code",
            "caf\u{fffd} code",
            "data/en.csv data",
            "kept.log code",
            "linked code",
            "metrics.json model",
            "models/w.bin model",
            "params.toml config",
            "train.py code",
        ]
    );
    let skipped: Vec<String> = snapshot
        .skipped
        .iter()
        .map(|s| format!("{}: {}", s.path, s.reason))
        .collect();
    assert_eq!(skipped, ["s.sock: a socket", "sub: another repository"]);
}

#[test]
fn rules_of_the_file_come_first_and_are_checked() {
    let rules =
        Rules::parse("[ingredients]\nconfig = [\"*.csv\"]\ndata = [\"data/**\"]\n").unwrap();
    let is = |p: &str| rules.classify(&RepoPath::new(p).unwrap());
    assert_eq!(is("data/x.csv").ingredient, Ingredient::Config);
    assert_eq!(is("data/x.bin").ingredient, Ingredient::Data);
    assert_eq!(is("deep/y.csv").pattern.as_deref(), Some("*.csv"));
    assert_eq!(
        (is("z").ingredient, is("z").from),
        (Ingredient::Code, "rest")
    );
    for (text, word) in [
        (
            "[ingredients]\nfoo = []",
            "`ingredients.foo` names no ingredient",
        ),
        ("[ingredients]\ndata = \"x\"", "is not a list of patterns"),
        ("[ingredients]\ndata = [\"a[\"]", "pattern `a[`"),
        ("[env]\ncapture = 1", "`env.capture` is not a string"),
        ("[env", "TOML parse error"),
    ] {
        let error = Rules::parse(text).unwrap_err().to_string();
        assert!(
            error.starts_with("file `modelv.toml` is not valid"),
            "{error}"
        );
        assert!(error.contains(word), "{error}");
    }
}

/// Looks at the tree with the cache in `file`, and leaves the cache as a command would.
fn look_again(tree: &Tree, file: &Path) -> Look {
    let cache = StatCache::load(file);
    let look = look(tree.root(), &cache, None, &tree.store, &Ctx::quiet()).unwrap();
    look.save(file, None).unwrap();
    look
}

/// Looks until every file is older than the cache, as time passing would make it.
fn settle(tree: &Tree, file: &Path, mark: [u8; 32]) {
    loop {
        let cache = StatCache::load(file);
        let look = look(tree.root(), &cache, None, &tree.store, &Ctx::quiet()).unwrap();
        if look.is_known_as(&mark) {
            return;
        }
        look.save(file, Some(mark)).unwrap();
    }
}

#[test]
fn a_marked_cache_is_believed_until_anything_changes() {
    let tree = Tree::new();
    let file = tree.root().join(".mv/statcache");
    let mark = [7; 32];
    let is_known = || look_again(&tree, &file).is_known_as(&mark);
    tree.put("a", "1");
    tree.put("dir/b", "1");
    tree.put("dir/c", "1");
    let root = tree.root();
    let remove = |p: &str| std::fs::remove_file(root.join(p)).unwrap();
    let changes: [(&str, &dyn Fn()); 7] = [
        ("content", &|| tree.put("dir/b", "2")),
        ("an added file", &|| tree.put("dir/a", "1")),
        ("an added directory", &|| tree.put("z/a", "1")),
        ("a removed file", &|| remove("dir/c")),
        ("a rename", &|| {
            std::fs::rename(root.join("a"), root.join("b")).unwrap();
        }),
        ("a mode", &|| {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(root.join("b"), mode).unwrap();
        }),
        ("a link in place of a file", &|| {
            remove("b");
            symlink("dir/a", root.join("b")).unwrap();
        }),
    ];
    for (what, change) in changes {
        settle(&tree, &file, mark);
        assert!(is_known(), "before {what}");
        change();
        assert!(!is_known(), "{what} was not seen");
        assert!(!is_known(), "{what} was forgotten");
    }
}

#[test]
fn ignore_files_decide_as_in_git() {
    let tree = Tree::new();
    let names = [
        "a.log",
        "b.log",
        "keep.log",
        "out/x",
        "sub/a.log",
        "sub/c.tmp",
        "sub/deep/d.tmp",
    ];
    for name in names {
        tree.put(name, "x");
    }
    tree.put(
        ".gitignore",
        "\u{feff}*.log\n!keep.log\n/out/\n# a comment\n[\n",
    );
    tree.put("sub/.gitignore", "!a.log\n*.tmp\n");
    tree.put("sub/deep/.gitignore", "!d.tmp\n");
    let files = tree.snap().files;
    let found: Vec<String> = files.keys().map(ToString::to_string).collect();
    let want = [
        ".gitignore",
        "keep.log",
        "sub/.gitignore",
        "sub/a.log",
        "sub/deep/.gitignore",
        "sub/deep/d.tmp",
    ];
    assert_eq!(found, want);
    // What git says of the same folder.
    let git = |args: &[&str]| {
        let out = std::process::Command::new("git")
            .args(args)
            .current_dir(tree.root())
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    git(&["init", "-q", "."]);
    let others = git(&["ls-files", "--others", "--exclude-standard", "--", ":!.mv"]);
    let mut others: Vec<&str> = others.lines().collect();
    others.sort_unstable();
    assert_eq!(others, want);
    // Ours decides before Git's, from any level.
    tree.put(".mvignore", "keep.log\n!sub/c.tmp\n");
    let files = tree.snap().files;
    let has = |p: &str| files.contains_key(&RepoPath::new(p).unwrap());
    assert!(has("sub/c.tmp") && !has("keep.log"));
}

#[test]
fn a_large_directory_is_walked_in_pieces() {
    let tree = Tree::new();
    for i in 0..5_000 {
        std::fs::write(tree.root().join(format!("f{i}")), "").unwrap();
    }
    let file = tree.root().join(".mv/statcache");
    let look = look_again(&tree, &file);
    let rules = Rules::parse("").unwrap();
    assert_eq!(look.files(&rules).unwrap().len(), 5_000);
    settle(&tree, &file, [1; 32]);
}

#[test]
fn checked_out_files_are_known_without_reading_them() {
    let tree = Tree::new();
    let file = tree.root().join(".mv/statcache");
    tree.put("a", "1");
    tree.put("dir/b", "1");
    look_again(&tree, &file);
    let mut cache = StatCache::load(&file);
    let stamp = |p: &str| StatStamp::of(&std::fs::symlink_metadata(tree.root().join(p)).unwrap());
    for (path, text) in [("a", "22"), ("dir/c", "3")] {
        tree.put(path, text);
        cache.insert(
            &RepoPath::new(path).unwrap(),
            stamp(path),
            BlobId::of(text.as_bytes()),
        );
    }
    cache.save(&file).unwrap();
    assert_eq!(StatCache::load(&file).len(), 3);
    let rules = Rules::parse("").unwrap();
    let files = look_again(&tree, &file).files(&rules).unwrap();
    let blob = |p: &str| files[&RepoPath::new(p).unwrap()].blob;
    assert_eq!(blob("a"), BlobId::of(b"22"));
    assert_eq!(blob("dir/c"), BlobId::of(b"3"));
}

#[test]
fn an_edit_in_the_same_tick_is_seen() {
    let tree = Tree::new();
    let rules = Rules::parse("").unwrap();
    let file = tree.root().join(".mv/statcache");
    let mut last = None;
    for i in 0..50 {
        // Same size, and no time passes between the cache and the next edit.
        tree.put("a", &format!("{i:04}"));
        let files = look_again(&tree, &file).files(&rules).unwrap();
        let blob = files.values().next().unwrap().blob;
        assert_eq!(blob, BlobId::of(format!("{i:04}").as_bytes()));
        assert_ne!(last.replace(blob), Some(blob));
    }
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    tree.put("a", "9999");
    let files = look_again(&tree, &file).files(&rules).unwrap();
    assert_eq!(files.values().next().unwrap().blob, BlobId::of(b"9999"));
}

#[test]
fn an_unreadable_file_is_named() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything; a directory that vanishes under a link is the nearest there is.
        return;
    }
    let tree = Tree::new();
    tree.put("secret", "x");
    let path = tree.root().join("secret");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let error = look(
        tree.root(),
        &StatCache::default(),
        None,
        &tree.store,
        &Ctx::quiet(),
    );
    let error = error.err().unwrap();
    assert!(error.to_string().contains("secret"));
}

#[test]
fn checkout_never_loses_an_edit() {
    let tree = Tree::new();
    tree.put("a", "1");
    tree.put("b", "1");
    let old = tree.snap().files;
    tree.put("a", "2");
    tree.put("new/x", "2");
    let new = tree.snap().files;
    tree.go(&new, &old).unwrap();
    assert_eq!(tree.snap().files, old);
    assert!(!tree.root().join("new").exists());
    // An uncommitted edit of a file that is to change, and an unversioned file in the way.
    tree.put("a", "mine");
    tree.put("new/x", "mine too");
    let error = tree.go(&old, &new).unwrap_err();
    assert_eq!(
        error.to_string(),
        "switch would overwrite uncommitted changes in `a`"
    );
    tree.put("a", "1");
    let error = tree.go(&old, &new).unwrap_err();
    assert_eq!(
        error.to_string(),
        "switch would overwrite what no commit has: `new/x`"
    );
    tree.put("a", "mine");
    assert_eq!(
        std::fs::read_to_string(tree.root().join("a")).unwrap(),
        "mine"
    );
    // An edit of a file that does not change is carried along.
    tree.put("a", "1");
    std::fs::remove_file(tree.root().join("new/x")).unwrap();
    tree.put("b", "mine");
    tree.go(&old, &new).unwrap();
    assert_eq!(
        std::fs::read_to_string(tree.root().join("b")).unwrap(),
        "mine"
    );
    assert_eq!(
        std::fs::read_to_string(tree.root().join("new/x")).unwrap(),
        "2"
    );
}

#[test]
fn links_and_modes_are_kept_and_links_are_not_followed() {
    let tree = Tree::new();
    tree.put("run.sh", "#!/bin/sh\n");
    let bits = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.root().join("run.sh"), bits).unwrap();
    symlink("run.sh", tree.root().join("link")).unwrap();
    tree.put("dir/file", "inside");
    let full = tree.snap().files;
    tree.go(&full, &Files::new()).unwrap();
    assert!(tree.snap().files.is_empty());
    tree.go(&Files::new(), &full).unwrap();
    assert_eq!(tree.snap().files, full);
    // `dir` becomes a link to a place outside: nothing may be written there.
    let outside = tempfile::tempdir().unwrap();
    std::fs::remove_dir_all(tree.root().join("dir")).unwrap();
    symlink(outside.path(), tree.root().join("dir")).unwrap();
    assert!(tree.go(&Files::new(), &full).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_trees_of_equal_files_are_equal_wherever_they_lie() {
    let (a, b) = (Tree::new(), Tree::new());
    for path in ["x.py", "data/1", "params.toml"] {
        a.put(path, path);
    }
    for path in ["params.toml", "data/1", "x.py"] {
        b.put(path, path);
    }
    std::fs::File::open(b.root().join("x.py"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    let ids = |t: &Tree| tree_ids(&t.snap().files).unwrap();
    assert_eq!(ids(&a), ids(&b));
    b.put("x.py", "other");
    assert_ne!(ids(&a), ids(&b));
}

fn tree_strategy() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[abd](/[xy](/z)?)?", "[0-9]{0,3}", 0..6).prop_map(|files| {
        let all: Vec<String> = files.keys().cloned().collect();
        files
            .into_iter()
            .filter(|(p, _)| !all.iter().any(|q| q.starts_with(&format!("{p}/"))))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn checkout_gives_exactly_the_other_tree(a in tree_strategy(), b in tree_strategy()) {
        let tree = Tree::new();
        let mut sides = Vec::new();
        for files in [&a, &b] {
            let before = tree.snap().files;
            tree.go(&before, &Files::new()).unwrap();
            for (path, content) in files {
                tree.put(path, content);
            }
            sides.push(tree.snap().files);
        }
        for (from, to) in [(1, 0), (0, 1)] {
            tree.go(&sides[from], &sides[to]).unwrap();
            let now = tree.snap().files;
            prop_assert_eq!(&now, &sides[to]);
            let t = tree_ids(&now).unwrap();
            let back = files_of(&tree.store, t.code, t.data, t.config, t.model).unwrap();
            prop_assert_eq!(&back, &sides[to]);
        }
    }
}

/// Files in the place of directories and the reverse, over what was there, with all cores.
#[test]
fn checkout_replaces_files_and_directories_and_leaves_nothing_beside() {
    let tree = Tree::new();
    for i in 0..300 {
        tree.put(&format!("d{}/f{i}", i % 7), &format!("one {i}"));
    }
    tree.put("large.bin", &"large ".repeat(1_000_000));
    tree.put("turns", "a file");
    let one = tree.snap().files;
    for i in 0..300 {
        tree.put(&format!("d{}/f{i}", i % 7), &format!("two {i}"));
    }
    tree.put("large.bin", &"other ".repeat(1_000_000));
    std::fs::remove_file(tree.root().join("turns")).unwrap();
    tree.put("turns/into/a", "directory");
    let two = tree.snap().files;
    tree.go(&two, &one).unwrap();
    assert_eq!(tree.snap().files, one);
    tree.go(&one, &two).unwrap();
    let again = tree.snap();
    assert_eq!(again.files, two);
    assert_eq!(again.skipped, []);
}

#[test]
fn a_file_that_a_killed_checkout_left_is_not_versioned() {
    let tree = Tree::new();
    tree.put("a", "a");
    tree.put("sub/.mv-tmp-00ff-3", "half of it");
    let snapshot = tree.snap();
    assert_eq!(paths(&snapshot.files), ["a code"]);
    assert_eq!(snapshot.skipped[0].path, "sub/.mv-tmp-00ff-3");
    assert!(snapshot.skipped[0].reason.contains("delete it"));
}

/// The content of a blob is checked before the file has its name, large or small.
#[test]
fn damaged_content_never_gets_a_name() {
    for size in [50_000, 6_000_000] {
        let tree = Tree::new();
        let mut content = vec![0; size];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        std::fs::write(tree.root().join("f"), &content).unwrap();
        let one = tree.snap().files;
        tree.put("f", "old");
        let two = tree.snap().files;
        for entry in std::fs::read_dir(tree.root().join(".mv/packs")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            if path.extension().is_some_and(|e| e == "pack") && bytes.len() > 8000 {
                bytes[5000] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }
        }
        assert!(tree.go(&two, &one).is_err(), "{size}");
        let left: Vec<_> = std::fs::read_dir(tree.root()).unwrap().collect();
        assert_eq!(left.len(), 2, "only `.mv` and the old file: {left:?}");
        assert_eq!(std::fs::read(tree.root().join("f")).unwrap(), b"old");
    }
}
