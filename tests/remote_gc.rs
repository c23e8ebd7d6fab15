//! Collecting on a remote, and mending one: what is deleted there goes, whatever is named stays, also beside people who push.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::remote::{clone, noise, origin, push_until_done};
use crate::support::Tree;

fn pack_bytes(remote: &Tree) -> u64 {
    let entries = std::fs::read_dir(remote.path("remote/packs"))
        .unwrap()
        .flatten();
    entries.map(|e| e.metadata().map_or(0, |m| m.len())).sum()
}

#[test]
fn what_was_deleted_on_a_remote_goes_and_can_come_again() {
    let (remote, a) = origin();
    a.mv(&["switch", "-c", "side"]).success();
    std::fs::write(a.path("data/large.bin"), noise(4, 12 << 20)).unwrap();
    let side = a.commit("large");
    a.mv(&["push"]).success();
    a.mv(&["push", "origin", "--delete", "side"]).success();
    let before = pack_bytes(&remote);
    assert!(before > 12 << 20);
    let told = a.mv(&["gc", "--remote", "--dry-run"]).success();
    assert!(told.contains("would condemn"), "{told}");
    // A day has to pass between the two steps.
    a.mv(&["gc", "--remote", "origin"]).success();
    let again = a.json(&["gc", "--remote", "origin", "--json"]);
    assert_eq!(again["deleted"]["objects"], 0, "{again}");
    assert_eq!(pack_bytes(&remote), before);
    let b = clone(&remote, &[]);
    assert!(!b.path("data/large.bin").exists());
    b.mv(&["fsck"]).success();
    a.mv(&["gc", "--remote", "--now"]).success();
    assert!(pack_bytes(&remote) < 1 << 20, "{}", pack_bytes(&remote));
    clone(&remote, &[]).mv(&["fsck"]).success();
    a.mv(&["push", "origin", "side"]).success();
    let c = clone(&remote, &["--branch", "side"]);
    assert_eq!(c.id("HEAD"), side);
    assert!(std::fs::read(c.path("data/large.bin")).unwrap() == noise(4, 12 << 20));
}

#[test]
fn a_remote_that_lacks_something_is_left_alone() {
    let (remote, a) = origin();
    std::fs::write(a.path("data/large.bin"), noise(5, 1 << 20)).unwrap();
    a.commit("large");
    a.mv(&["push"]).success();
    for entry in std::fs::read_dir(remote.path("remote/packs"))
        .unwrap()
        .flatten()
    {
        if entry.metadata().unwrap().len() > 1 << 19 {
            std::fs::write(entry.path(), b"damaged").unwrap();
            std::fs::remove_file(entry.path().with_extension("idx")).unwrap();
        }
    }
    let before = pack_bytes(&remote);
    let b = Tree::repo();
    b.mv(&[
        "remote",
        "add",
        "origin",
        &format!("file://{}", remote.path("remote").display()),
    ])
    .success();
    b.mv(&["gc", "--remote", "--now"]).fails_with(4);
    assert_eq!(pack_bytes(&remote), before);
}

/// Says that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn collections_beside_people_who_push_lose_nothing() {
    let (remote, a) = origin();
    let is_over = AtomicBool::new(false);
    let (pushed, collected) = std::thread::scope(|scope| {
        // Whatever happens to a writer, nobody waits for the collector for ever.
        let over = Over(&is_over);
        let writers: Vec<_> = (0..8)
            .map(|person| {
                let remote = &remote;
                scope.spawn(move || {
                    let tree = clone(remote, &[]);
                    let own = format!("own-{person}");
                    tree.mv(&["switch", "-c", &own]).success();
                    let mut last = String::new();
                    for round in 0..4 {
                        // The same content comes and goes on several branches.
                        tree.put("data/rows.csv", &format!("id,x\n1,{}\n", round % 2));
                        std::fs::write(tree.path("data/noise"), noise(round % 3, 200_000)).unwrap();
                        tree.put("mine.py", &format!("{person} {round}\n"));
                        last = tree.commit("work");
                        push_until_done(&tree, &[]);
                        if round % 2 == 0 {
                            tree.mv(&["push", "origin", "--delete", &own]).success();
                        }
                    }
                    (own, last)
                })
            })
            .collect();
        let collector = {
            let (a, is_over) = (&a, &is_over);
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let done = a.mv(&["gc", "--remote", "--now"]);
                    // Others may be faster all the time; nothing else may go wrong.
                    assert!(
                        done.status == Some(0) || done.err.contains("by others all the time"),
                        "{}",
                        done.err
                    );
                    count += usize::from(done.status == Some(0));
                }
                count
            })
        };
        let pushed: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
        drop(over);
        (pushed, collector.join().unwrap())
    });
    assert!(collected > 0);
    let last = clone(&remote, &[]);
    last.mv(&["fsck"]).success();
    for (branch, id) in pushed {
        assert_eq!(last.id(&format!("origin/{branch}")), id);
    }
}

#[test]
fn a_damaged_remote_is_found_and_mended_from_another_or_from_here() {
    let (remote, a) = origin();
    std::fs::write(a.path("data/large.bin"), noise(8, 2 << 20)).unwrap();
    a.commit("large");
    a.mv(&["push"]).success();
    let backup = format!("file://{}", remote.path("backup").display());
    a.mv(&["remote", "add", "backup", &backup]).success();
    a.mv(&["push", "backup"]).success();
    let packs = || -> Vec<_> {
        let entries = std::fs::read_dir(remote.path("remote/packs"))
            .unwrap()
            .flatten();
        let packs = entries.map(|e| e.path());
        packs
            .filter(|p| p.extension().is_some_and(|e| e == "pack"))
            .collect()
    };
    let damage_all = || {
        for path in packs() {
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    };
    let sound = a.mv(&["fsck", "--remote"]).success();
    assert!(sound.contains("sound: 2 packs"), "{sound}");
    damage_all();
    let c = Tree::empty();
    let url = format!("file://{}", remote.path("remote").display());
    c.mv(&["clone", &url, "."]).fails_with(4);
    // A clone that has nothing mends it from the other remote.
    let b = Tree::repo();
    b.mv(&["remote", "add", "origin", &url]).success();
    let found = b.mv(&["fsck", "--remote", "origin"]);
    assert_eq!(
        found.out.matches("damaged: pack").count(),
        2,
        "{}",
        found.out
    );
    assert!(found.fails_with(4).contains("--repair"));
    let missing = b.mv(&["fsck", "--remote", "origin", "--repair", "."]);
    assert!(missing.out.contains("not to be had"), "{}", missing.out);
    missing.fails_with(4);
    b.mv(&["fsck", "--remote", "origin", "--repair", &backup])
        .success();
    clone(&remote, &[]).mv(&["fsck"]).success();
    a.mv(&["push"]).success();
    // The damaged packs are condemned, and go.
    a.mv(&["gc", "--remote", "origin", "--now"]).success();
    a.mv(&["fsck", "--remote", "origin"]).success();
    damage_all();
    a.mv(&["fsck", "--remote", "origin", "--repair", "."])
        .success();
    let d = clone(&remote, &[]);
    assert!(std::fs::read(d.path("data/large.bin")).unwrap() == noise(8, 2 << 20));
    let gone = packs().pop().unwrap();
    std::fs::remove_file(gone).unwrap();
    a.mv(&["fsck", "--remote", "origin", "--repair", "."])
        .success();
    a.mv(&["fsck", "--remote", "origin"]).success();
}
