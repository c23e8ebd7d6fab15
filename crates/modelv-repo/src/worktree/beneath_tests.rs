//! Links in every position, links that come and go while we work, and both ways to resolve.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::RenameFlags;

use super::*;

/// A root, and a place outside of it that must stay as it is.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/real/deep")).unwrap();
        std::fs::create_dir_all(dir.path().join("outside/deep")).unwrap();
        std::fs::write(dir.path().join("outside/file"), "theirs").unwrap();
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The root by each way of resolving.
    fn roots(&self) -> [Root; 2] {
        [Way::AtOnce, Way::ByName].map(|way| Root {
            way,
            ..Root::open(&self.at("root")).unwrap()
        })
    }

    fn outside(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.at("outside"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let deep = std::fs::read_dir(self.at("outside/deep")).unwrap().count();
        let content = std::fs::read_to_string(self.at("outside/file")).unwrap();
        names.push(format!("{deep} {content}"));
        names
    }

    fn assert_untouched(&self) {
        assert_eq!(self.outside(), ["deep", "file", "0 theirs"]);
    }
}

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn write(folder: &Folder, name: &[u8], text: &str) -> Result<()> {
    let mut file = folder.create(b".temp", false)?;
    file.write_all(text.as_bytes()).unwrap();
    folder.rename(b".temp", name).inspect_err(|_| {
        let _ = folder.delete(b".temp");
    })
}

#[test]
fn files_are_written_stamped_replaced_and_deleted() {
    let place = Place::new();
    for root in place.roots() {
        let one = path("a/b/c/file");
        assert!(is_missing(&root.parent(&one, Missing::Fail).unwrap_err()));
        let folder = root.parent(&one, Missing::Make).unwrap();
        write(&folder, b"file", "1").unwrap();
        let before = folder.stamp(b"file").unwrap();
        write(&folder, b"file", "22").unwrap();
        assert_ne!(folder.stamp(b"file").unwrap(), before);
        let full = place.at("root/a/b/c/file");
        assert_eq!(std::fs::read_to_string(&full).unwrap(), "22");
        assert_eq!(folder.full(b"file"), full);
        assert!(folder.create(b"file", false).is_err(), "it is there");
        folder.create(b"run", true).unwrap();
        let bits = std::fs::metadata(place.at("root/a/b/c/run"))
            .unwrap()
            .mode();
        assert_ne!(bits & 0o100, 0);
        folder.delete(b"run").unwrap();
        folder.delete(b"run").unwrap();
        // The directories go with the last file, those with other files stay.
        std::fs::write(place.at("root/a/other"), "").unwrap();
        root.delete(&one).unwrap();
        root.delete(&one).unwrap();
        assert!(!place.at("root/a/b").exists() && place.at("root/a/other").exists());
        root.delete(&path("a/other")).unwrap();
        assert!(!place.at("root/a").exists());
        // A file in the root itself.
        write(
            &root.parent(&path("top"), Missing::Fail).unwrap(),
            b"top",
            "",
        )
        .unwrap();
        root.delete(&path("top")).unwrap();
        assert!(place.at("root").exists());
    }
}

#[test]
fn an_empty_directory_gives_way_to_a_file_and_a_full_one_does_not() {
    let place = Place::new();
    for root in place.roots() {
        std::fs::create_dir(place.at("root/empty")).unwrap();
        let folder = root.parent(&path("empty"), Missing::Fail).unwrap();
        write(&folder, b"empty", "file").unwrap();
        assert!(write(&folder, b"real", "file").is_err());
        assert!(place.at("root/real/deep").is_dir() && !place.at("root/.temp").exists());
        assert!(folder.delete(b"real").is_err());
        std::fs::remove_file(place.at("root/empty")).unwrap();
    }
}

#[test]
fn no_link_leads_out_in_any_position() {
    let place = Place::new();
    let outside = place.at("outside");
    symlink(&outside, place.at("root/absolute")).unwrap();
    symlink("../outside", place.at("root/up")).unwrap();
    symlink("real", place.at("root/inside")).unwrap();
    symlink("../../outside", place.at("root/real/below")).unwrap();
    symlink("loop", place.at("root/loop")).unwrap();
    symlink("nowhere", place.at("root/dangling")).unwrap();
    std::fs::write(place.at("root/file"), "ours").unwrap();
    for root in place.roots() {
        for by in [
            "absolute",
            "up",
            "inside",
            "real/below",
            "loop",
            "dangling",
            "file",
        ] {
            for below in ["file", "new", "deep/file", "deep/new/file"] {
                let full = path(&format!("{by}/{below}"));
                for missing in [Missing::Fail, Missing::Make] {
                    let error = root.parent(&full, missing).unwrap_err();
                    let is_named = matches!(&error, Error::Blocked { by: found, path }
                        if found == by && *path == full.to_string());
                    assert!(is_named, "{by}/{below}: {error:?}");
                }
                assert!(root.delete(&full).is_err());
            }
        }
    }
    place.assert_untouched();
    assert_eq!(std::fs::read_dir(place.at("root/real")).unwrap().count(), 2);
}

#[test]
fn a_link_is_replaced_and_deleted_itself() {
    let place = Place::new();
    for root in place.roots() {
        let folder = root.parent(&path("l"), Missing::Fail).unwrap();
        for target in ["../outside/file", "../outside", "../outside/deep"] {
            symlink(target, place.at("root/l")).unwrap();
            let stamp = folder.stamp(b"l").unwrap();
            assert_eq!(stamp.size(), target.len() as u64, "of the link");
            write(&folder, b"l", "ours").unwrap();
            assert_eq!(std::fs::read_to_string(place.at("root/l")).unwrap(), "ours");
            folder.delete(b"l").unwrap();
            symlink(target, place.at("root/l")).unwrap();
            root.delete(&path("l")).unwrap();
            folder.link(target.as_bytes(), b"l").unwrap();
            assert!(folder.link(b"again", b"l").is_err());
            assert!(
                folder.create(b"l", false).is_err(),
                "a link is not written through"
            );
            assert_eq!(
                std::fs::read_link(place.at("root/l")).unwrap(),
                Path::new(target)
            );
            folder.delete(b"l").unwrap();
        }
        for target in [b"".as_slice(), b"a\0b", &[b'x'; 5000]] {
            assert!(folder.link(target, b"l").is_err());
        }
    }
    place.assert_untouched();
}

#[test]
fn magic_links_are_links() {
    for way in [Way::AtOnce, Way::ByName] {
        let root = Root {
            way,
            ..Root::open(Path::new("/proc/self")).unwrap()
        };
        for name in ["cwd/x", "root/tmp", "fd/0/x"] {
            let error = root.parent(&path(name), Missing::Make).unwrap_err();
            assert!(matches!(error, Error::Blocked { .. }), "{name}: {error:?}");
        }
    }
}

#[test]
fn a_component_swapped_between_two_calls_redirects_nothing() {
    let place = Place::new();
    for root in place.roots() {
        let one = path("real/deep/file");
        let folder = root.parent(&one, Missing::Fail).unwrap();
        // What was found stays what it is: the file lands where the directory has gone.
        std::fs::rename(place.at("root/real"), place.at("root/moved")).unwrap();
        symlink("../outside", place.at("root/real")).unwrap();
        write(&folder, b"file", "ours").unwrap();
        assert_eq!(
            std::fs::read_to_string(place.at("root/moved/deep/file")).unwrap(),
            "ours"
        );
        assert!(root.parent(&one, Missing::Make).is_err());
        assert!(root.delete(&one).is_err());
        folder.delete(b"file").unwrap();
        std::fs::remove_file(place.at("root/real")).unwrap();
        std::fs::rename(place.at("root/moved"), place.at("root/real")).unwrap();
    }
    place.assert_untouched();
}

#[test]
fn a_component_that_is_swapped_all_the_time_redirects_nothing() {
    let place = Place::new();
    symlink("../outside", place.at("root/twin")).unwrap();
    // It stays when the file below it is deleted.
    std::fs::write(place.at("root/real/deep/kept"), "").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (place.at("root/real"), place.at("root/twin"));
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
            }
        });
        let (mut through, mut refused) = (0, 0);
        // Until both have been seen often, however the threads are scheduled.
        for root in place.roots().iter().cycle().take(1_000_000) {
            match root.parent(&path("real/deep/made/file"), Missing::Make) {
                Ok(folder) => through += usize::from(write(&folder, b"file", "ours").is_ok()),
                Err(_) => refused += 1,
            }
            let _ = root.delete(&path("real/deep/made/file"));
            if through >= 300 && refused >= 300 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(through >= 300 && refused >= 300, "{through} {refused}");
    });
    place.assert_untouched();
}

#[test]
fn threads_make_the_same_directories() {
    let place = Place::new();
    let [root, _] = place.roots();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = &root;
            scope.spawn(move || {
                for i in 0..100 {
                    let name = path(&format!("d{i}/e/f{thread}"));
                    let folder = root.parent(&name, Missing::Make).unwrap();
                    folder.create(name.name(), false).unwrap();
                }
            });
        }
    });
    assert_eq!(
        std::fs::read_dir(place.at("root/d99/e")).unwrap().count(),
        4
    );
}
