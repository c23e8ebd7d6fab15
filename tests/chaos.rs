//! Pushing and fetching over a network that fails in every way, in front of a real server: nothing that was
//! acknowledged is lost, nothing is done twice, and what has arrived is not sent again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::proxy::{Fault, Proxy};
use crate::remote::noise;
use crate::s3::Server;
use crate::support::{Done, Tree};

fn mv(server: &Server, proxy: &Proxy, tree: &Tree, args: &[&str]) -> Done {
    let mut command = tree.command(args);
    command
        .envs(server.env("admin"))
        .env("AWS_ENDPOINT_URL", proxy.url());
    Done::new(&command.output().unwrap())
}

/// A fault for about one request in six, the same ones for the same seed.
fn fault(seed: u64, request: u64) -> Fault {
    let hash = blake3::hash(&[seed.to_le_bytes(), request.to_le_bytes()].concat());
    let [a, b, ..] = hash.as_bytes();
    match (a % 6, b % 9) {
        (0, 0) => Fault::Delay(Duration::from_millis(300)),
        (0, 1) => Fault::Status(500),
        (0, 2) => Fault::Status(503),
        (0, 3) => Fault::Status(429),
        (0, 4) => Fault::Drop,
        (0, 5) => Fault::Truncate,
        (0, 6) => Fault::LoseAnswer,
        (0, 7) => Fault::CutAnswer,
        (0, _) => Fault::Duplicate,
        _ => Fault::None,
    }
}

#[test]
fn what_was_acknowledged_over_a_bad_network_is_there() {
    let server = Server::start();
    let count = AtomicU64::new(0);
    let proxy = Proxy::start(server.port, move |_, _| {
        fault(7, count.fetch_add(1, Ordering::Relaxed))
    });
    let direct = Proxy::start(server.port, |_, _| Fault::None);
    let url = "s3://chaos/models";
    let first = Tree::repo();
    first.put("train.py", "print(1)\n");
    first.commit("first");
    mv(&server, &direct, &first, &["remote", "add", "origin", url]).success();
    mv(&server, &direct, &first, &["push"]).success();
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let people: Vec<_> = (0..3)
            .map(|person| {
                let (server, proxy, direct) = (&server, &proxy, &direct);
                scope.spawn(move || {
                    let tree = Tree::empty();
                    mv(server, direct, &tree, &["clone", url, "."]).success();
                    let mut acknowledged = Vec::new();
                    for n in 0..3 {
                        tree.put(&format!("{person}-{n}.py"), "x\n");
                        let id = tree.commit("work");
                        let end = Instant::now() + Duration::from_secs(120);
                        // What fails says so, and can be done again.
                        loop {
                            assert!(Instant::now() < end, "a push never gets through");
                            let pushed = mv(server, proxy, &tree, &["push"]);
                            if pushed.status == Some(0) {
                                break;
                            }
                            assert_eq!(pushed.status, Some(1), "{}", pushed.err);
                            let _ = mv(server, proxy, &tree, &["pull", "-m", "together"]);
                        }
                        acknowledged.push(id);
                    }
                    acknowledged
                })
            })
            .collect();
        people.into_iter().flat_map(|p| p.join().unwrap()).collect()
    });
    let last = Tree::empty();
    mv(&server, &direct, &last, &["clone", url, "."]).success();
    last.mv(&["fsck"]).success();
    let log = last.mv(&["log", "--oneline"]).success();
    assert_eq!(acknowledged.len(), 9);
    for id in acknowledged {
        assert!(log.contains(&id[..12]), "{id} was acknowledged and is lost");
    }
}

#[test]
fn a_push_that_dies_goes_on_where_it_was() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, |request, _| {
        match request.path.contains("partNumber") {
            true => Fault::Delay(Duration::from_millis(150)),
            false => Fault::None,
        }
    });
    let a = Tree::repo();
    let size = 96 << 20;
    std::fs::create_dir(a.path("data")).unwrap();
    std::fs::write(a.path("data/large.bin"), noise(3, size)).unwrap();
    a.commit("large");
    mv(
        &server,
        &proxy,
        &a,
        &["remote", "add", "origin", "s3://kill/x"],
    )
    .success();
    proxy.take();
    for part in [1, 3] {
        let mut command = a.command(&["push"]);
        command
            .envs(server.env("admin"))
            .env("AWS_ENDPOINT_URL", proxy.url())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while proxy.bytes_of("partNumber") < part * size / 5 {
            assert!(Instant::now() < end && child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    mv(&server, &proxy, &a, &["push"]).success();
    // Each time at most what was in flight is sent again: four parts of each of two packs.
    let sent = proxy.bytes_of("partNumber");
    assert!(sent >= size * 9 / 10, "{sent}");
    assert!(
        sent <= size + 2 * 8 * (8 << 20) + (1 << 20),
        "{sent} bytes for {size}"
    );
    let b = Tree::empty();
    mv(&server, &proxy, &b, &["clone", "s3://kill/x", "."]).success();
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(3, size));
}

#[test]
fn requests_are_few() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, |_, _| Fault::None);
    let a = Tree::repo();
    a.put("train.py", "print(1)\n");
    std::fs::create_dir(a.path("data")).unwrap();
    std::fs::write(a.path("data/large.bin"), noise(5, 20 << 20)).unwrap();
    a.commit("first");
    let url = "s3://few/x";
    mv(&server, &proxy, &a, &["remote", "add", "origin", url]).success();
    mv(&server, &proxy, &a, &["push"]).success();
    let b = Tree::empty();
    mv(&server, &proxy, &b, &["clone", url, "."]).success();
    proxy.take();
    let count = |what: &str, most: usize| {
        let seen = proxy.take();
        assert!(
            seen.len() <= most,
            "{what}: {} requests: {seen:#?}",
            seen.len()
        );
    };
    mv(&server, &proxy, &a, &["push"]).success();
    count("a push of nothing", 1);
    mv(&server, &proxy, &b, &["fetch"]).success();
    count("a fetch of nothing", 1);
    a.put("train.py", "print(2)\n");
    a.commit("second");
    mv(&server, &proxy, &a, &["push"]).success();
    // Root, is the pack there, pack, index, root, list, root.
    count("a push of one file", 8);
    mv(&server, &proxy, &b, &["fetch"]).success();
    count("a fetch of one file", 4);
    let c = Tree::empty();
    mv(
        &server,
        &proxy,
        &c,
        &["clone", "--only", "code,config", url, "."],
    )
    .success();
    count("a clone of the code", 12);
    assert_eq!(c.get("train.py"), "print(2)\n");
}
