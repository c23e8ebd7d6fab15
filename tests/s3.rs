//! Remotes in a real S3 service on loopback, and in ones that are wrong in some way.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::remote::push_until_done;
use crate::support::{Done, Tree};
use crate::weed::{Server, port};

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
    // A year from the server's time; signatures hold for minutes.
    let mut late = a.with_clock("+1y", &["fetch", "origin"]);
    let late = late.envs(server.env("admin")).output();
    let late = late.expect("`faketime`; `tests/all` installs it");
    check(Done::new(&late), &["clock"]);
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

/// Answers every request alike.
fn always(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n");
            let _ = write!(stream, "{head}\r\n{body}");
        }
    });
    endpoint
}

/// What AWS says, which the servers of tests don't.
#[test]
fn another_region_and_old_keys_are_told() {
    let a = Tree::repo();
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is \
                     malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message></Error>";
    let elsewhere = "<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint></Error>";
    let expired = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    for (status, body, words) in [
        (
            "400 Bad Request",
            malformed,
            [
                "in another region",
                "--region REGION",
                "expecting 'eu-west-1'",
            ],
        ),
        (
            "301 Moved Permanently",
            elsewhere,
            ["in another region", "--region REGION", "AWS_REGION"],
        ),
        (
            "400 Bad Request",
            expired,
            ["no valid credentials", "AWS_PROFILE", "has expired"],
        ),
        (
            "403 Forbidden",
            skewed,
            ["clock", "signed with the time", ""],
        ),
    ] {
        let mut command = a.command(&[
            "clone",
            "s3://b/x",
            "c",
            "--endpoint",
            &always(status, body),
        ]);
        command
            .env("AWS_ACCESS_KEY_ID", "k")
            .env("AWS_SECRET_ACCESS_KEY", "s");
        let error = Done::new(&command.output().unwrap()).fails_with(1);
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
    // What makes up a host that is not there.
    for (url, word) in [
        ("s3://b/x", "AWS_REGION"),
        ("az://b/x", "AZURE_STORAGE_ACCOUNT_NAME"),
    ] {
        let mut command = a.command(&["clone", url, "c", "--endpoint", "https://nosuch.invalid"]);
        command
            .env("AWS_ACCESS_KEY_ID", "k")
            .env("AWS_SECRET_ACCESS_KEY", "s")
            .env("AZURE_STORAGE_ACCOUNT_NAME", "a")
            .env("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=");
        let error = Done::new(&command.output().unwrap()).fails_with(1);
        for word in ["can't be resolved", word] {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
    // A profile that is not there, and one whose keys only the AWS tools get.
    a.put("no-home/.aws/config", "[profile sso]\nsso_session = corp\n");
    for (profile, words) in [
        ("nosuch", "AWS_PROFILE names `nosuch`"),
        ("sso", "aws configure export-credentials --profile sso"),
    ] {
        let mut command = a.command(&["clone", "s3://b/x", "c"]);
        let output = command.env("AWS_PROFILE", profile).output().unwrap();
        let error = Done::new(&output).fails_with(1);
        assert!(
            error.contains("no valid credentials") && error.contains(words),
            "{error}"
        );
    }
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
