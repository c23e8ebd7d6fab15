//! A remote in Google Cloud Storage, as far as it can be had on loopback: `gcs.py` says why it is one of ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::proxy::{Fault, Proxy};
use crate::remote::{noise, push_until_done};
use crate::support::{Done, Tree};

const URL: &str = "gs://team/models/x";

struct Bucket {
    child: Child,
    port: u16,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bucket {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/gcs.py");
        let mut child = Command::new("python3")
            .args([script, "team"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port }
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An instance with a role: its metadata service gives the token.
    fn env(&self) -> [(&'static str, String); 1] {
        [("GCE_METADATA_HOST", format!("127.0.0.1:{}", self.port))]
    }

    fn mv(&self, tree: &Tree, args: &[&str]) -> Done {
        Done::new(&tree.command(args).envs(self.env()).output().unwrap())
    }

    fn add(&self, tree: &Tree, name: &str, endpoint: &str) {
        let args = ["remote", "add", name, URL, "--endpoint", endpoint];
        self.mv(tree, &args).success();
    }

    fn clone(&self) -> Tree {
        let tree = Tree::empty();
        let args = ["clone", URL, ".", "--endpoint", &self.endpoint()];
        self.mv(&tree, &args).success();
        tree
    }
}

#[test]
fn a_team_works_through_a_bucket() {
    let bucket = Bucket::start();
    let mv = |tree: &Tree, args: &[&str]| bucket.mv(tree, args).success();
    let a = Tree::repo();
    a.put("train.py", "print(1)\n");
    std::fs::create_dir(a.path("data")).unwrap();
    std::fs::write(a.path("data/large.bin"), noise(6, 30 << 20)).unwrap();
    a.commit("first");
    bucket.add(&a, "origin", &bucket.endpoint());
    mv(&a, &["push"]);
    let b = bucket.clone();
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(6, 30 << 20));
    b.put("train.py", "print(2)\n");
    let id = b.commit("of b");
    mv(&b, &["push"]);
    a.put("own.py", "1\n");
    a.commit("of a");
    let refused = bucket.mv(&a, &["push"]).fails_with(1);
    assert!(refused.contains("fetch first"), "{refused}");
    mv(&a, &["pull"]);
    mv(&a, &["push"]);
    assert!(a.mv(&["log", "--oneline"]).success().contains(&id[..12]));
    // More packs than a page of a listing holds; what nobody leads to goes.
    for n in 0..3 {
        a.put("own.py", &format!("{n}\n"));
        a.commit("more");
        mv(&a, &["push", "origin", "HEAD:side"]);
    }
    mv(&a, &["push", "origin", "--delete", "side"]);
    mv(&a, &["gc", "--remote", "--now"]);
    mv(&b, &["fetch", "--prune"]);
    let sound = mv(&b, &["fsck", "--remote", "origin"]);
    assert!(sound.contains("sound"), "{sound}");
    bucket.clone().mv(&["fsck"]).success();
}

#[test]
fn of_many_who_move_refs_at_once_none_is_lost() {
    let bucket = Bucket::start();
    let a = Tree::repo();
    a.put("train.py", "print(0)\n");
    a.commit("first");
    bucket.add(&a, "origin", &bucket.endpoint());
    bucket.mv(&a, &["push"]).success();
    // Of some puts of the root the answer is lost, of some the request; the nonce tells which.
    let count = AtomicUsize::new(0);
    let proxy = Proxy::start(bucket.port, move |request, _| {
        if request.method != "PUT" || !request.path.ends_with("%2Froot") {
            return Fault::None;
        }
        match count.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Fault::LoseAnswer,
            1 => Fault::Drop,
            _ => Fault::None,
        }
    });
    let endpoint = proxy.url();
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let people: Vec<_> = (0..4)
            .map(|person| {
                let (bucket, endpoint) = (&bucket, &endpoint);
                scope.spawn(move || {
                    let tree = Tree::empty();
                    let args = ["clone", URL, ".", "--endpoint", endpoint];
                    bucket.mv(&tree, &args).success();
                    let work = |n: usize| {
                        tree.put(&format!("{person}-{n}.py"), "x\n");
                        let id = tree.commit("work");
                        push_until_done(&tree, &bucket.env());
                        id
                    };
                    (0..3).map(work).collect::<Vec<_>>()
                })
            })
            .collect();
        people.into_iter().flat_map(|p| p.join().unwrap()).collect()
    });
    let log = bucket.clone().mv(&["log", "--oneline"]).success();
    assert_eq!(acknowledged.len(), 12);
    for id in acknowledged {
        assert!(log.contains(&id[..12]), "{id} was acknowledged and is lost");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_set() {
    let bucket = Bucket::start();
    let a = Tree::repo();
    a.commit("first");
    let endpoint = bucket.endpoint();
    let check = |url: &str, endpoint: &str, env: &[(&str, &str)], words: &[&str]| {
        let mut command = a.command(&["remote", "add", "n", url, "--endpoint", endpoint]);
        command.envs(bucket.env()).envs(env.iter().copied());
        let error = Done::new(&command.output().unwrap()).fails_with(1);
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    };
    let missing = ["the bucket does not exist", "make the bucket first"];
    check("gs://missing/x", &endpoint, &[], &missing);
    let refused = ["the connection was refused", "--endpoint"];
    check(URL, "http://127.0.0.1:1", &[], &refused);
    let no_file = [("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")];
    let unset = ["no valid credentials", "GOOGLE_APPLICATION_CREDENTIALS"];
    check(
        URL,
        &endpoint,
        &no_file,
        &[&unset[..], &["/nowhere.json"]].concat(),
    );
    // A token that nobody gave.
    a.put(
        "none.json",
        r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#,
    );
    let path = a.path("none.json").display().to_string();
    check(URL, &endpoint, &[("GOOGLE_SERVICE_ACCOUNT", &path)], &unset);
    // Nothing is set, and this is no instance.
    let nobody = [
        ("GCE_METADATA_HOST", "127.0.0.1:1"),
        ("GCE_METADATA_IP", "127.0.0.1:1"),
    ];
    check(URL, &endpoint, &nobody, &unset);
    assert_eq!(a.mv(&["remote", "list"]).success(), "");
}
