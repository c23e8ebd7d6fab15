//! Pushing and fetching over a network that fails in every way, in front of a real server: nothing that was
//! acknowledged is lost, nothing is done twice, and what has arrived is not sent again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::proxy::{Fault, Proxy};
use crate::remote::noise;
use crate::support::{BINARY, Done, PATIENCE, Tree};
use crate::weed::Server;

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
                        let end = Instant::now() + PATIENCE;
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

/// Numbers that are the same for the same seed.
fn random(seed: u64, n: u64, below: u64) -> u64 {
    let hash = blake3::hash(&[seed.to_le_bytes(), n.to_le_bytes()].concat());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u64::from(u32::from_le_bytes([a, b, c, d])) % below
}

#[test]
fn a_push_that_dies_at_any_point_goes_on_where_it_was() {
    const SEED: u64 = 11;
    const KILLS: u64 = 6;
    let server = Server::start();
    // No two parts arrive at one moment, however busy the machine is.
    let turn = std::sync::Mutex::new(());
    let proxy = Proxy::start(server.port, move |request, number| {
        if request.path.contains("partNumber") {
            let _turn = turn.lock().unwrap();
            std::thread::sleep(Duration::from_millis(80 + random(SEED, number as u64, 120)));
        }
        Fault::None
    });
    let a = Tree::repo();
    a.put("train.py", "print(1)\n");
    let first = a.commit("first");
    let url = "s3://kill/x";
    mv(&server, &proxy, &a, &["remote", "add", "origin", url]).success();
    mv(&server, &proxy, &a, &["push"]).success();
    let size = 96 << 20;
    std::fs::create_dir(a.path("data")).unwrap();
    std::fs::write(a.path("data/large.bin"), noise(3, size)).unwrap();
    let second = a.commit("large");
    proxy.take();
    for kill in 0..KILLS {
        let before = proxy.seen().len();
        let mut command = a.command(&["push"]);
        command
            .envs(server.env("admin"))
            .env("AWS_ENDPOINT_URL", proxy.url())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let requests = random(SEED, 1000 + kill, 14) as usize;
        let end = Instant::now() + PATIENCE;
        while proxy.seen().len() < before + requests && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the push does not go on");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The remote is whole: as before, or as after.
        let look = Tree::empty();
        mv(
            &server,
            &proxy,
            &look,
            &["clone", "--only", "code", url, "."],
        )
        .success();
        let head = look.id("HEAD");
        assert!(head == first || head == second, "seed {SEED}, kill {kill}");
    }
    mv(&server, &proxy, &a, &["push"]).success();
    // What had arrived is not sent again, but for the part of each of two packs whose answer came as the process died.
    let mut arrived = std::collections::HashSet::new();
    let mut again = 0;
    for part in proxy
        .seen()
        .iter()
        .filter(|r| r.path.contains("partNumber"))
    {
        again += u64::from(arrived.contains(&part.path));
        if part.answered > 0 {
            arrived.insert(part.path.clone());
        }
    }
    let sent = proxy.bytes_of("partNumber");
    assert!(arrived.len() >= 10 && sent >= size * 9 / 10, "{sent}");
    assert!(
        again <= 2 * KILLS,
        "seed {SEED}: {again} parts were sent again"
    );
    let b = Tree::empty();
    mv(&server, &proxy, &b, &["clone", url, "."]).success();
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(3, size));
    mv(&server, &proxy, &b, &["fsck", "--remote", "origin"]).success();
    // Nothing is left behind.
    let told = mv(
        &server,
        &proxy,
        &a,
        &["gc", "--remote", "--now", "--dry-run", "--json"],
    );
    let told: serde_json::Value = serde_json::from_str(&told.success()).unwrap();
    assert_eq!(told["left_behind"], 0, "{told}");
}

/// On a terminal: how much, how fast, and how long it will take.
#[test]
fn a_terminal_shows_how_a_push_goes_on() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, |request, _| {
        match request.path.contains("partNumber") {
            true => Fault::Delay(Duration::from_millis(400)),
            false => Fault::None,
        }
    });
    let a = Tree::repo();
    std::fs::create_dir(a.path("data")).unwrap();
    std::fs::write(a.path("data/large.bin"), noise(9, 40 << 20)).unwrap();
    a.commit("large");
    let url = "s3://shown/x";
    mv(&server, &proxy, &a, &["remote", "add", "origin", url]).success();
    let plain = a.command(&["push"]);
    let envs = plain.get_envs().filter_map(|(k, v)| Some((k, v?)));
    let output = std::process::Command::new("script")
        .args(["-qec", &format!("{BINARY} push"), "/dev/null"])
        .current_dir(a.root())
        .env_clear()
        .envs(envs)
        .envs(server.env("admin"))
        .env("AWS_ENDPOINT_URL", proxy.url())
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("`script`, of every Debian");
    let shown = Done::new(&output).success();
    let drawn: Vec<&str> = shown
        .split('\r')
        .filter(|l| l.contains("sending: "))
        .collect();
    assert!(!drawn.is_empty(), "{shown:?}");
    for line in drawn {
        let rest = line.split_once(" of 4").expect(line).1;
        assert!(
            rest.contains("B/s, ") && rest.trim_end().ends_with(" left"),
            "{line:?}"
        );
    }
    // Nothing of it stays on the line that says what came of it.
    assert!(shown.contains("\x1b[K  main "), "{shown:?}");
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

#[test]
fn a_push_of_one_file_asks_for_no_index_of_what_others_pushed() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, |_, _| Fault::None);
    let a = Tree::repo();
    let url = "s3://many/x";
    mv(&server, &proxy, &a, &["remote", "add", "origin", url]).success();
    a.put("train.py", "print(0)\n");
    std::fs::create_dir(a.path("data")).unwrap();
    for round in 0..14 {
        std::fs::write(a.path("data/large.bin"), noise(round, 200_000)).unwrap();
        a.commit("more");
        mv(&server, &proxy, &a, &["push"]).success();
    }
    let b = Tree::empty();
    mv(&server, &proxy, &b, &["clone", "--only", "code", url, "."]).success();
    // What was learnt may be forgotten at any time.
    std::fs::remove_dir_all(b.path(".mv/cache/remote")).unwrap();
    b.put("train.py", "print(1)\n");
    b.commit("one file");
    proxy.take();
    let pushed = mv(&server, &proxy, &b, &["push", "--json"]).success();
    let seen = proxy.take();
    assert!(seen.len() <= 10, "{} requests: {seen:#?}", seen.len());
    let indexes = seen
        .iter()
        .filter(|r| r.method == "GET" && r.path.contains(".idx"));
    assert_eq!(indexes.count(), 0, "{seen:#?}");
    let sent: serde_json::Value = serde_json::from_str(&pushed).unwrap();
    assert!(sent["sent"]["bytes"].as_u64().unwrap() < 3000, "{sent}");
    // Where much is to be sent, it pays to ask: what another branch has is not sent again.
    std::fs::create_dir_all(b.path("data")).unwrap();
    let c = Tree::repo();
    mv(&server, &proxy, &c, &["remote", "add", "origin", url]).success();
    std::fs::create_dir(c.path("data")).unwrap();
    std::fs::write(c.path("data/same.bin"), noise(3, 200_000)).unwrap();
    c.commit("the same content");
    let pushed = mv(
        &server,
        &proxy,
        &c,
        &["push", "--json", "origin", "main:theirs"],
    )
    .success();
    let sent: serde_json::Value = serde_json::from_str(&pushed).unwrap();
    assert!(sent["sent"]["bytes"].as_u64().unwrap() < 5000, "{sent}");
    mv(&server, &proxy, &a, &["pull"]).success();
    assert_eq!(a.get("train.py"), "print(1)\n");
    a.mv(&["fsck"]).success();
}
