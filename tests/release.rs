//! Releases: an image that really starts, twice the same digest, and what can't be built.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::Tree;

fn served() -> Tree {
    let tree = Tree::empty();
    tree.mv(&["init"]).success();
    let venv = Command::new("python3")
        .args(["-m", "venv"])
        .arg(tree.path(".venv"))
        .status()
        .unwrap();
    assert!(venv.success());
    tree.put("modelv.toml", "[serve]\nentry = \"serve:predict\"\n");
    tree.put(
        "serve.py",
        "import json, os\nW = json.load(open('models/w.json'))\n\
         def predict(inputs):\n    print('talk on stdout')\n\
         \x20   if inputs == 'raise': raise ValueError('no such thing')\n\
         \x20   if inputs == 'die': os._exit(3)\n\
         \x20   return [W['scale'] * x for x in inputs]\n",
    );
    tree.put("models/w.json", "{\"scale\": 2}");
    tree.commit("a model that doubles");
    tree
}

/// One HTTP exchange: status, head and body.
fn http(address: &str, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nx-request-id: req-7\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has refused may close before it has read all.
    let _ = stream.write_all(body);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    (status, head.to_lowercase(), body.to_owned())
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts a server and waits until it says where it listens.
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let address = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("it ended: {seen}"))
                .unwrap();
            if let Some(at) = line.strip_prefix("serving on http://") {
                break at.to_owned();
            }
            seen.push_str(&line);
        };
        // Keep reading, or the server would stop at a full pipe.
        std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
        Self { child, address }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        http(&self.address, method, path, body.as_bytes())
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_commit_is_served_and_every_failure_is_counted() {
    let tree = served();
    let commit = tree.id("HEAD");
    let server = Server::start(tree.command(&["serve", "--listen", "127.0.0.1:0"]));
    let (status, head, body) = server.ask("POST", "/predict", "{\"inputs\": [1, 2.5]}");
    assert_eq!(status, 200);
    assert_eq!(
        body.trim(),
        format!("{{\"predictions\":[2, 5.0],\"commit\":\"{commit}\"}}")
    );
    assert!(
        head.contains(&format!("x-modelv-commit: {commit}")),
        "{head}"
    );
    assert!(head.contains("x-request-id: req-7"), "{head}");
    for (body, want, code) in [
        ("{\"inputs\": \"raise\"}", 500, "predict_failed"),
        ("{\"inputs\": \"die\"}", 503, "worker_died"),
        ("not json", 400, "not_json"),
    ] {
        let (status, _, answer) = server.ask("POST", "/predict", body);
        assert_eq!(status, want, "{answer}");
        let json: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(json["error"]["code"], code);
        assert_eq!(json["commit"], commit.as_str());
    }
    let large = "x".repeat(9 << 20);
    assert_eq!(server.ask("POST", "/predict", &large).0, 413);
    assert_eq!(server.ask("GET", "/predict", "").0, 405);
    assert_eq!(server.ask("GET", "/nowhere", "").0, 404);
    // The worker that died is started again; until then requests wait.
    assert_eq!(server.ask("POST", "/predict", "[4]").0, 200);
    assert_eq!(server.ask("GET", "/health/live", "").0, 200);
    assert_eq!(server.ask("GET", "/health/ready", "").0, 200);
    let version: serde_json::Value =
        serde_json::from_str(&server.ask("GET", "/version", "").2).unwrap();
    assert_eq!(version["commit"], commit.as_str());
    let metrics = server.ask("GET", "/metrics", "").2;
    for line in [
        format!("modelv_requests_total{{code=\"200\",commit=\"{commit}\"}} 2"),
        format!("modelv_request_errors_total{{kind=\"predict_failed\",commit=\"{commit}\"}} 1"),
        format!("modelv_request_errors_total{{kind=\"worker_died\",commit=\"{commit}\"}} 1"),
        format!("modelv_request_duration_seconds_count{{commit=\"{commit}\"}} 7"),
        format!("modelv_worker_restarts_total{{commit=\"{commit}\"}} 1"),
        format!("model_info{{commit=\"{commit}\""),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    server.stop();
}

#[test]
fn an_image_has_one_digest_and_starts_from_its_own_files() {
    let tree = served();
    let commit = tree.id("HEAD");
    let build = |name: &str| tree.json(&["release", "HEAD", "--output", name, "--json"]);
    let (a, b) = (build("out/a"), build("elsewhere"));
    assert_eq!(a["digest"], b["digest"]);
    assert_eq!(a["commit"], commit.as_str());
    let config = tree.json(&["release", "unpack", "out/a", "rootfs"]);
    assert_eq!(config["entrypoint"][0], "/opt/modelv/bin/modelv");
    assert_eq!(
        tree.get("rootfs/opt/modelv/app/models/w.json"),
        "{\"scale\": 2}"
    );
    // In namespaces of its own: nothing outside of the image is there.
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    let script = "mount --rbind /dev \"$1/dev\" && exec chroot \"$1\" /opt/modelv/bin/modelv serve --image /opt/modelv/image.json";
    command
        .args([
            "--mount",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(tree.path("rootfs"))
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("MODELV_LISTEN", "127.0.0.1:0");
    let mut server = Server::start(command);
    let (status, _, body) = server.ask("POST", "/predict", "[21]");
    assert_eq!(
        (status, body.contains("[42]"), body.contains(&commit)),
        (200, true, true),
        "{body}"
    );
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    // A flipped byte in a blob is found.
    let layer = a["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "out/a/blobs/sha256/");
    let mut bytes = std::fs::read(tree.path(&layer)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(tree.path(&layer), bytes).unwrap();
    let said = tree
        .mv(&["release", "unpack", "out/a", "again"])
        .fails_with(1);
    assert!(said.contains("has other bytes"), "{said}");
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

#[test]
fn what_cannot_be_built_leaves_nothing() {
    let tree = served();
    let refuse = |args: &[&str], want: &str| {
        let said = tree.mv(args).fails_with(1);
        assert!(said.contains(want), "{want} in {said}");
        assert!(!tree.path("image").exists());
    };
    refuse(
        &["release", "HEAD", "--output", "image", "--base", "no/such"],
        "error: base `no/such` can't be used: there is no such file or folder",
    );
    tree.put("base/etc/passwd", "");
    refuse(
        &["release", "HEAD", "--output", "image", "--base", "base"],
        "libc.so.6",
    );
    // A package that no index has.
    let lib = std::fs::read_dir(tree.path(".venv/lib"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let site = format!(
        ".venv/lib/{}/site-packages",
        lib.file_name().to_string_lossy()
    );
    tree.put(
        &format!("{site}/nowhere_to_be_found-0.0.1.dist-info/METADATA"),
        "Metadata-Version: 2.1\nName: nowhere-to-be-found-modelv\nVersion: 0.0.1\n",
    );
    tree.put("serve.py", "def predict(x): return x\n");
    tree.commit("with a package of its own");
    refuse(
        &["release", "HEAD", "--output", "image"],
        "package `nowhere-to-be-found-modelv==0.0.1` can't be installed",
    );
    tree.put("modelv.toml", "");
    tree.commit("serves nothing");
    refuse(
        &["release", "HEAD", "--output", "image"],
        "names no function to serve",
    );
    tree.put("taken/x", "");
    let said = tree
        .mv(&["release", "HEAD~1", "--output", "taken"])
        .fails_with(1);
    assert!(said.contains("exists and is no image layout"), "{said}");
}
