//! Serving an image: its own files, interpreter and user, in a namespace of its own.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::serving::{Server, is_root, served, share_caches};
use crate::support::{PATIENCE, Tree};

/// Serves an image from a folder that is no repository; its temporary files are in `tmp` there.
fn serve(at: &Tree, image: &std::path::Path) -> std::process::Command {
    std::fs::create_dir_all(at.path("tmp")).unwrap();
    let mut command = at.command(&["serve", image.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", at.path("tmp"));
    command
}

/// Waits until nothing is left.
fn is_clean(at: &Tree) {
    let end = Instant::now() + PATIENCE;
    while std::fs::read_dir(at.path("tmp")).unwrap().count() > 0 {
        assert!(
            Instant::now() < end,
            "something stays in {:?}",
            at.path("tmp")
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_image_is_served_without_an_engine() {
    let tree = served();
    share_caches(&tree);
    let commit = tree.id("HEAD");
    tree.mv(&["release", "HEAD", "--output", "image", "--tar", "image.tar"])
        .success();
    let at = Tree::empty();
    for name in ["image", "image.tar"] {
        let mut command = serve(&at, &tree.path(name));
        command.args(["--workers", "2", "--log-payloads", "1"]);
        let server = Server::start(command);
        assert_eq!(server.predict("[21]", &commit), json!([42]), "{name}");
        server.wait_for("\"event\":\"payload\"");
        if is_root() {
            let who = server.predict("\"who\"", &commit);
            assert_eq!(who, json!([65532, 65532, false]));
        }
        match name {
            "image" => server.stop(),
            _ => server.kill(),
        }
        is_clean(&at);
    }
    // A commit goes before an image of its name.
    tree.mv(&["branch", "image"]).success();
    let server = Server::start(tree.command(&["serve", "image", "--listen", "127.0.0.1:0"]));
    assert!(!server.log().contains("unpacking"), "{}", server.log());
    server.stop();
    refused(&tree, &at);
}

fn refused(tree: &Tree, at: &Tree) {
    let said = |command: &mut std::process::Command, status: i32| {
        let done = crate::support::Done::new(&command.output().unwrap());
        let said = done.fails_with(status);
        is_clean(at);
        said
    };
    let image = tree.path("image");
    let python = said(serve(at, &image).args(["--python", "python3"]), 2);
    assert!(python.contains("`--python` means nothing"), "{python}");
    let nothing = said(&mut serve(at, &tree.path("models")), 2);
    assert!(
        nothing.contains("neither a revision nor an image"),
        "{nothing}"
    );
    let index = tree.get("image/index.json");
    let digest = index.split("sha256:").nth(1).unwrap()[..64].to_owned();
    let blob = format!("image/blobs/sha256/{digest}");
    let manifest = tree.get(&blob);
    std::fs::write(tree.path(&blob), manifest.replacen('2', "3", 1)).unwrap();
    let damaged = said(&mut serve(at, &image), 1);
    assert!(damaged.contains("has other bytes"), "{damaged}");
    tree.put(&blob, &manifest);
    let other = index.replace("amd64", "s390x").replace("arm64", "s390x");
    tree.put("image/index.json", &other);
    let platform = said(&mut serve(at, &image), 1);
    assert!(
        platform.contains("is not for this machine") && platform.contains("but for s390x"),
        "{platform}"
    );
    assert!(platform.contains("`modelv serve COMMIT`"), "{platform}");
}

/// Lets everybody into a folder.
fn open(path: &std::path::Path) {
    let bits = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(path, bits).unwrap();
}

/// The same as a user without rights, if this one has all of them.
fn as_nobody(at: &Tree, command: &std::process::Command) -> std::process::Command {
    let mut other = std::process::Command::new("setpriv");
    if is_root() {
        // Where the tests are built is not everybody's to enter.
        let program = at.path("modelv");
        std::fs::copy(command.get_program(), &program).unwrap();
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        other.arg(program);
    } else {
        other = std::process::Command::new(command.get_program());
    }
    other.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other.current_dir(command.get_current_dir().unwrap());
    other
}

#[test]
fn whoever_serves_an_image_it_is_nobody_and_has_no_rights() {
    let tree = served();
    share_caches(&tree);
    tree.put(
        "serve.py",
        "def predict(x):\n    lines = open('/proc/self/status').read().splitlines()\n    \
            fields = dict(line.split(':', 1) for line in lines)\n    \
            return [fields[name].split() for name in ('Uid', 'Gid', 'CapPrm', 'CapEff')] + written()\n\
         def written():\n    made = []\n    \
            for path in ('serve.py', 'models/w.json', '/opt/modelv/image.json', '/new', '/tmp/new'):\n        \
                try:\n            open(path, 'a').close()\n            made.append(path)\n        \
                except OSError as e: pass\n    \
            return made\n",
    );
    let commit = tree.commit("says who it is");
    tree.mv(&["release", "HEAD", "--output", "image"]).success();
    open(&tree.path(""));
    let at = Tree::empty();
    open(&at.path(""));
    let command = serve(&at, &tree.path("image"));
    open(&at.path("tmp"));
    let none = "0".repeat(16);
    let ids = vec!["65532"; 4];
    // It can change nothing that is served after it.
    let want = json!([ids, ids, [none], [none], "/tmp/new"]);
    for command in [as_nobody(&at, &command), command] {
        let server = Server::start(command);
        assert_eq!(server.predict("1", &commit), want);
        server.stop();
        is_clean(&at);
    }
}
