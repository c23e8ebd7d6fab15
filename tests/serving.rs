//! Servers in tests: a repository that can be served, its image started from its own files, and HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use crate::support::{BINARY, PATIENCE, Tree};

/// Answers with twice the numbers it gets; says who it is, takes its time, fails or dies on request.
const SERVE: &str = "\
import json, os, time
W = json.load(open('models/w.json'))
def predict(inputs):
    print('talk on stdout')
    if inputs == 'raise': raise ValueError('no such thing')
    if inputs == 'die': os._exit(3)
    if inputs == 'who': return [os.getuid(), os.getgid(), os.access('serve.py', os.W_OK)]
    if inputs == 'slow': time.sleep(2)
    return [W['scale'] * x for x in inputs]
";

/// A repository with a model that doubles. Its interpreter has no packages, which nothing has to be
/// fetched for.
pub(crate) fn served() -> Tree {
    served_by("python3", &["--without-pip"])
}

/// The same with an environment that `python` makes.
pub(crate) fn served_by(python: &str, venv: &[&str]) -> Tree {
    let tree = Tree::empty();
    tree.mv(&["init"]).success();
    let made = Command::new(python)
        .args(["-m", "venv"])
        .args(venv)
        .arg(tree.path(".venv"))
        .status()
        .unwrap();
    assert!(made.success());
    tree.put("modelv.toml", "[serve]\nentry = \"serve:predict\"\n");
    tree.put("serve.py", SERVE);
    tree.put("models/w.json", "{\"scale\": 2}");
    tree.commit("a model that doubles");
    tree
}

/// Folders under cargo's own that tests share: an interpreter and a server are large, and the same
/// for all of them. Layers of an older server are of no use to anybody.
fn shared(name: &str) -> PathBuf {
    static LAYERS: OnceLock<PathBuf> = OnceLock::new();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if name != "layers" {
        return all.join(name);
    }
    let make = || {
        let meta = std::fs::metadata(BINARY).unwrap();
        let since = std::time::UNIX_EPOCH;
        let age = meta.modified().unwrap().duration_since(since).unwrap();
        let dir = all.join(format!("layers-{}", age.as_nanos()));
        for entry in std::fs::read_dir(all).unwrap() {
            let path = entry.unwrap().path();
            let is_layers = path.display().to_string().contains("/layers-");
            if is_layers && path != dir {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
        dir
    };
    LAYERS.get_or_init(make).clone()
}

/// Lets a repository use what other tests have packed and fetched.
pub(crate) fn share_caches(tree: &Tree) {
    std::fs::create_dir_all(tree.path(".mv/cache")).unwrap();
    for name in ["layers", "wheels"] {
        std::fs::create_dir_all(shared(name)).unwrap();
        std::os::unix::fs::symlink(shared(name), tree.path(".mv/cache").join(name)).unwrap();
    }
}

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// Starts an unpacked image in namespaces of its own, as nobody and on a root that can't be written:
/// nothing outside of the image is there.
pub(crate) fn start_unpacked(root: &Path) -> Server {
    let mut command = Command::new("unshare");
    let mut user = "";
    if is_root() {
        user = "--userspec=65532:65532";
    } else {
        command.arg("--map-root-user");
    }
    let script = format!(
        "mount --bind \"$1\" \"$1\" && mount --rbind /dev \"$1/dev\" && \
         mount -o remount,bind,ro \"$1\" && exec chroot {user} \"$1\" \
         /opt/modelv/bin/modelv serve --image /opt/modelv/image.json"
    );
    command
        // Each becomes the next: who is told to end is the server.
        .args(["--mount", "sh", "-c"])
        .args([&script, "sh"])
        .arg(root)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("MODELV_LISTEN", "127.0.0.1:0");
    let server = Server::start(command);
    let line = std::fs::read(format!("/proc/{}/cmdline", server.child.id())).unwrap();
    assert!(
        line.starts_with(b"/opt/modelv/bin/modelv"),
        "it would outlive what is told to end"
    );
    server
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

/// A server that runs.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// What it has logged.
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server and waits until it says where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
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
            seen.push('\n');
        };
        // Keep reading, or the server would stop at a full pipe.
        let log = Arc::new(Mutex::new(seen));
        let told = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut told = told.lock().unwrap();
                told.push_str(&line);
                told.push('\n');
            }
        });
        Self {
            child,
            address,
            log,
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        http(&self.address, method, path, body.as_bytes())
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log or the metrics say something.
    pub(crate) fn wait_for(&self, text: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        while !self.log().contains(text) && !self.ask("GET", "/metrics", "").2.contains(text) {
            let log = self.log();
            assert!(std::time::Instant::now() < end, "no {text} in {log}");
            std::thread::yield_now();
        }
    }

    /// A prediction that must have been made by `commit`.
    pub(crate) fn predict(&self, inputs: &str, commit: &str) -> serde_json::Value {
        let (status, head, body) = self.ask("POST", "/predict", inputs);
        assert_eq!(status, 200, "{body}");
        assert!(
            head.contains(&format!("x-modelv-commit: {commit}")),
            "{head}"
        );
        let mut answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["commit"], commit);
        let (_, _, version) = self.ask("GET", "/version", "");
        let version: serde_json::Value = serde_json::from_str(&version).unwrap();
        assert_eq!(version["commit"], commit);
        answer["predictions"].take()
    }

    /// Ends it at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended as it should.
    pub(crate) fn wait(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.wait();
    }
}
