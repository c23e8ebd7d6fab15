//! A remote in Azure's blob service, as Azurite (from npm) serves it on loopback.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use crate::remote::noise;
use crate::support::{Done, PATIENCE, Tree};

const PACKAGE: &str = "azurite@3.37.0";
/// Azurite's only account; its key is in its documentation.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Makes a container; nothing of ours does.
const MAKE: &str = "\
const crypto = require('crypto'), http = require('http');
const [port, account, key, name] = process.argv.slice(1);
const date = new Date().toUTCString(), version = '2021-12-02';
const text = 'PUT' + '\\n'.repeat(12) + `x-ms-date:${date}\\nx-ms-version:${version}\\n/${account}/${account}/${name}\\nrestype:container`;
const sign = crypto.createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
const headers = {'x-ms-date': date, 'x-ms-version': version, 'Content-Length': 0, Authorization: `SharedKey ${account}:${sign}`};
const options = {host: '127.0.0.1', port, method: 'PUT', path: `/${account}/${name}?restype=container`, headers};
http.request(options, a => process.exit(a.statusCode === 201 ? 0 : 1)).on('error', () => process.exit(1)).end();
";

/// The server's program, installed once for all tests.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("azurite-3.37.0");
        let program = dir.join("node_modules/.bin/azurite-blob");
        if !program.exists() {
            std::fs::create_dir_all(&dir).unwrap();
            let done = Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--prefix"])
                .arg(&dir)
                .arg(PACKAGE)
                .output()
                .expect("npm is needed, to install the server of this test");
            assert!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        program
    })
}

struct Azurite {
    child: Child,
    port: u16,
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Azurite {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(program())
            .args(["--inMemoryPersistence", "--silent", "--skipApiVersionCheck"])
            .args(["--blobPort", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        let end = Instant::now() + PATIENCE;
        while !server.make("team") {
            assert!(Instant::now() < end, "the server does not answer");
        }
        server
    }

    fn make(&self, container: &str) -> bool {
        let port = self.port.to_string();
        let done = Command::new("node")
            .args(["-e", MAKE, &port, ACCOUNT, KEY, container])
            .status();
        done.unwrap().success()
    }

    fn mv(&self, tree: &Tree, key: &str, args: &[&str]) -> Done {
        let mut command = tree.command(args);
        command
            .env("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            .env("AZURE_STORAGE_ACCOUNT_KEY", key);
        Done::new(&command.output().unwrap())
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }
}

#[test]
fn a_team_works_through_a_container() {
    let server = Azurite::start();
    let endpoint = server.endpoint();
    let mv = |tree: &Tree, args: &[&str]| server.mv(tree, KEY, args);
    let a = Tree::repo();
    a.put("train.py", "print(1)\n");
    std::fs::create_dir(a.path("data")).unwrap();
    std::fs::write(a.path("data/large.bin"), noise(6, 20 << 20)).unwrap();
    a.commit("first");
    let url = "az://team/models/x";
    mv(
        &a,
        &["remote", "add", "origin", url, "--endpoint", &endpoint],
    )
    .success();
    mv(&a, &["push"]).success();
    let b = Tree::empty();
    mv(&b, &["clone", url, ".", "--endpoint", &endpoint]).success();
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(6, 20 << 20));
    b.put("train.py", "print(2)\n");
    let id = b.commit("of b");
    mv(&b, &["push"]).success();
    a.put("own.py", "1\n");
    a.commit("of a");
    let refused = mv(&a, &["push"]).fails_with(1);
    assert!(refused.contains("fetch first"), "{refused}");
    mv(&a, &["pull"]).success();
    mv(&a, &["push"]).success();
    assert!(a.mv(&["log", "--oneline"]).success().contains(&id[..12]));
    // A branch that was deleted goes, here as in any other store.
    mv(&a, &["push", "origin", "HEAD:side"]).success();
    mv(&a, &["push", "origin", "--delete", "side"]).success();
    mv(&a, &["gc", "--remote", "--now"]).success();
    let c = Tree::empty();
    mv(&c, &["clone", "--lazy", url, ".", "--endpoint", &endpoint]).success();
    c.mv(&["fsck"]).success();

    let error = server.mv(&a, "d3Jvbmc=", &["fetch"]).fails_with(1);
    assert!(error.contains("no valid credentials"), "{error}");
    assert!(error.contains("AZURE_STORAGE_ACCOUNT_KEY"), "{error}");
    let args = [
        "remote",
        "add",
        "n",
        "az://missing/x",
        "--endpoint",
        &endpoint,
    ];
    let error = mv(&a, &args).fails_with(1);
    assert!(error.contains("the bucket does not exist"), "{error}");
}
