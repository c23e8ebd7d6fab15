//! A real Docker engine, started for the test alone: it loads, runs, asks and stops an image, and what
//! it saves is a base again.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::serving::{Server, served, share_caches, start_unpacked};

/// How long the engine gives a container to end, in seconds.
const GRACE: &str = "30";

/// An engine of our own: its data, its socket and its process. All three end with the test, however
/// it ends.
struct Engine {
    dir: tempfile::TempDir,
    child: Child,
}

impl Engine {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        // The engine ends with this thread even if the whole process is killed.
        let started = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd", "--bridge=none"])
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--storage-driver=vfs",
            ])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args([
                "--pidfile",
                &path("pid"),
                "-H",
                &format!("unix://{}", path("sock")),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let child = started.expect("`setpriv` of util-linux starts");
        let mut engine = Self { dir, child };
        let mut lines = BufReader::new(engine.child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.contains("API listen on") => break,
                Some(Ok(line)) => seen.push(line),
                _ => panic!(
                    "no Docker engine can start here; it takes root and Debian's docker.io, which \
                     `tests/all` installs:\n{}",
                    seen.join("\n")
                ),
            }
        }
        // Keep reading, or the engine would stop at a full pipe.
        std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
        engine
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let socket = self.dir.path().join("sock");
        command
            .arg("-H")
            .arg(format!("unix://{}", socket.display()))
            .args(args);
        command
    }

    fn docker(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn inspect(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.docker(&["inspect", name])).unwrap();
        all[0].clone()
    }
}

impl Drop for Engine {
    /// By its process id, and by no name: other engines of this machine are not ours.
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        // The one thing it leaves behind.
        let netns = self.dir.path().join("exec/netns/default");
        let _ = Command::new("umount")
            .arg(netns)
            .stderr(Stdio::null())
            .status();
    }
}

/// A port nobody listens on now.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn is_in_flight(server: &Server) -> bool {
    let metrics = server.ask("GET", "/metrics", "").2;
    let mut lines = metrics.lines();
    lines.any(|l| l.starts_with("modelv_requests_in_flight{") && l.ends_with(" 1"))
}

#[test]
fn docker_loads_runs_asks_and_stops_an_image() {
    let engine = Engine::start();
    let tree = served();
    share_caches(&tree);
    let commit = tree.id("HEAD");
    let image = tree.json(&[
        "release",
        "HEAD",
        "--output",
        "image",
        "--tar",
        "image.tar",
        "--tag",
        "doubles:1",
        "--json",
    ]);
    let tar = tree.path("image.tar");
    let loaded = engine.docker(&["load", "-i", tar.to_str().unwrap()]);
    assert!(loaded.contains("doubles:1"), "{loaded}");
    let about = engine.inspect("doubles:1");
    assert_eq!(about["Id"], image["config"]);
    // The clock of the commit, which the tests set.
    assert_eq!(about["Created"], "2023-11-14T22:13:20Z");
    let config = &about["Config"];
    assert_eq!(config["User"], "65532:65532");
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], commit.as_str());
    assert_eq!(
        labels["org.opencontainers.image.created"],
        "2023-11-14T22:13:20Z"
    );
    assert_eq!(labels["dev.modelv.recipe"], tree.recipe());

    let listen = format!("MODELV_LISTEN={}", free_port());
    let server = Server::start(engine.command(&[
        "run",
        "--name",
        "doubles",
        "--network",
        "host",
        "--env",
        &listen,
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--health-interval",
        "1s",
        "doubles:1",
    ]));
    assert_eq!(server.predict("[21, 0.5]", &commit), json!([42, 1.0]));
    let who = server.predict("\"who\"", &commit);
    assert_eq!(
        who,
        json!([65532, 65532, false]),
        "user, group, may write its code"
    );
    let mut events = engine
        .command(&["events", "--since", "0", "--filter", "event=health_status"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut health = String::new();
    let mut lines = BufReader::new(events.stdout.take().unwrap());
    lines.read_line(&mut health).unwrap();
    assert!(health.contains("health_status: healthy"), "{health}");
    events.kill().unwrap();
    events.wait().unwrap();

    stop_while_it_works(&engine, server, &commit);
    an_engine_is_handed_an_image_and_builds_it(&engine, &tree);
    a_saved_image_is_a_base(&engine, &tree);
    an_engine_pulls_by_commit(&engine, &tree);
}

/// `docker pull` from the registry of a repository: the very image that a release makes.
fn an_engine_pulls_by_commit(engine: &Engine, tree: &crate::support::Tree) {
    let registry = Server::start(tree.command(&["registry", "serve", "--listen", "127.0.0.1:0"]));
    let name = format!("{}/team/doubles:{}", registry.address, tree.id("HEAD"));
    engine.docker(&["pull", "--quiet", &name]);
    let (pulled, ours) = (engine.inspect(&name), engine.inspect("doubles:1"));
    assert_eq!(pulled["Id"], ours["Id"]);
    registry.stop();
}

/// A request that is under way when the engine stops the container is answered, and the end is clean.
fn stop_while_it_works(engine: &Engine, mut server: Server, commit: &str) {
    let (send, answer) = mpsc::channel();
    std::thread::scope(|scope| {
        let asked = &server;
        scope.spawn(move || {
            send.send(asked.ask("POST", "/predict", "\"slow\""))
                .unwrap();
        });
        while !is_in_flight(asked) {
            std::thread::yield_now();
        }
        engine.docker(&["stop", "--time", GRACE, "doubles"]);
    });
    let (status, head, body) = answer.recv().unwrap();
    // A string doubled letter by letter.
    assert_eq!(status, 200, "{body}");
    assert!(head.contains(commit), "{head}");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let state = &engine.inspect("doubles")["State"];
    assert_eq!(
        (&state["ExitCode"], &state["OOMKilled"]),
        (&json!(0), &json!(false))
    );
}

/// Without a tar in between; and from the folder that any builder takes.
fn an_engine_is_handed_an_image_and_builds_it(engine: &Engine, tree: &crate::support::Tree) {
    let socket = format!("unix://{}", engine.dir.path().join("sock").display());
    let args = [
        "release",
        "HEAD",
        "--output",
        "handed",
        "--load",
        "docker",
        "--tag",
        "handed:1",
        "--context",
        "context",
    ];
    let output = tree
        .command(&args)
        .env("DOCKER_HOST", socket)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("handed:1"),
        "{said}"
    );
    assert_eq!(
        engine.inspect("handed:1")["Id"],
        engine.inspect("doubles:1")["Id"]
    );
    let built = engine
        .command(&["build", "--quiet", "--tag", "built:1"])
        .arg(tree.path("context"))
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let (built, ours) = (engine.inspect("built:1"), engine.inspect("doubles:1"));
    for key in [
        "User",
        "Entrypoint",
        "Env",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "ExposedPorts",
    ] {
        assert_eq!(built["Config"][key], ours["Config"][key], "{key}");
    }
    let listen = format!("MODELV_LISTEN={}", free_port());
    let run = [
        "run",
        "--name",
        "built",
        "--network",
        "host",
        "--env",
        &listen,
        "built:1",
    ];
    let mut server = Server::start(engine.command(&run));
    assert_eq!(server.predict("[3]", &tree.id("HEAD")), json!([6]));
    engine.docker(&["stop", "--time", GRACE, "built"]);
    server.child.wait().unwrap();
}

/// What another tool makes of an image is a base like any other.
fn a_saved_image_is_a_base(engine: &Engine, tree: &crate::support::Tree) {
    let path = |name: &str| -> PathBuf { tree.path(name) };
    engine.docker(&[
        "save",
        "--output",
        path("saved.tar").to_str().unwrap(),
        "doubles:1",
    ]);
    let release = ["release", "HEAD", "--output", "image2", "--base"];
    let said = tree
        .mv(&[&release[..], &["saved.tar"]].concat())
        .fails_with(1);
    assert!(
        said.contains("skopeo copy docker-archive:FILE oci:DIR"),
        "{said}"
    );
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet"])
        .arg(format!("docker-archive:{}", path("saved.tar").display()))
        .arg(format!("oci:{}:1", path("saved").display()))
        .output()
        .expect("skopeo starts; `tests/all` installs it");
    assert!(copied.status.success(), "{copied:?}");
    tree.mv(&[&release[..], &["saved"]].concat()).success();
    tree.json(&["release", "unpack", "image2", "root2"]);
    let server = start_unpacked(&path("root2"));
    assert_eq!(server.predict("[4]", &tree.id("HEAD")), json!([8]));
    server.kill();
}
