//! What stands between us and a remote is named, with what to set: against servers on loopback that are wrong
//! in one way each.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Done, Tree};

/// A web server with TLS, whose certificate nobody has signed but itself.
struct Secure {
    child: Child,
    port: u16,
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVER: &str = "\
import http.server, ssl, sys
server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

impl Secure {
    fn start(dir: &Path) -> Self {
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=127.0.0.1",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(dir)
            .output()
            .expect("openssl is needed, to make the certificate of this test");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        let mut child = Command::new("python3")
            .args(["-c", SERVER])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port }
    }
}

/// Answers every request alike.
fn always(status: &'static str, body: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    });
    port
}

fn says(done: Done, words: &[&str]) {
    let error = done.fails_with(1);
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

/// With credentials for every cloud, so that nobody is asked for any.
fn mv(tree: &Tree, cert: Option<&Path>, args: &[&str]) -> Done {
    let mut command = tree.command(args);
    command
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b")
        .env("AZURE_STORAGE_ACCOUNT_NAME", "a")
        .env("AZURE_STORAGE_ACCOUNT_KEY", "Yg==");
    if let Some(cert) = cert {
        command.env("SSL_CERT_FILE", cert);
    }
    Done::new(&command.output().unwrap())
}

#[test]
fn a_certificate_that_nobody_trusts_is_told_and_can_be_trusted() {
    let tree = Tree::repo();
    let dir = Tree::empty();
    let server = Secure::start(dir.root());
    let url = format!("https://127.0.0.1:{}/none", server.port);
    let tls = ["no trusted TLS connection", "SSL_CERT_FILE"];
    says(mv(&tree, None, &["clone", &url, "x"]), &tls);
    let endpoint = format!("https://127.0.0.1:{}", server.port);
    let add = |remote: &str| {
        let args = ["remote", "add", "n", remote, "--endpoint", &endpoint];
        mv(&tree, None, &args)
    };
    says(add("s3://bucket/x"), &tls);
    says(add("az://container/x"), &tls);
    let data = format!("{endpoint}/cert.pem");
    says(mv(&tree, None, &["add-external", &data]), &tls);
    // Trusted, it is a server like others.
    let cert = dir.path("cert.pem");
    says(
        mv(&tree, Some(&cert), &["clone", &url, "x"]),
        &["first `modelv push`"],
    );
    mv(&tree, Some(&cert), &["import-url", &data, "data/cert.pem"]).success();
    assert_eq!(tree.get("data/cert.pem"), dir.get("cert.pem"));
    // No TLS where some is expected.
    let plain = format!("https://127.0.0.1:{}/x", always("200 OK", ""));
    says(mv(&tree, None, &["clone", &plain, "x"]), &tls);
}

#[test]
fn what_stands_in_the_way_is_named_for_every_kind_of_remote() {
    let tree = Tree::repo();
    let closed = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let add = |remote: &str, endpoint: &str| {
        let args = ["remote", "add", "n", remote, "--endpoint", endpoint];
        mv(&tree, None, &args)
    };
    for remote in ["s3://bucket/x", "az://container/x"] {
        let endpoint = format!("http://127.0.0.1:{closed}");
        says(
            add(remote, &endpoint),
            &["connection was refused", "--endpoint"],
        );
        let nowhere = "https://no-such-host.invalid";
        says(
            add(remote, nowhere),
            &["host name can't be resolved", "--endpoint"],
        );
    }
    let url = format!("http://127.0.0.1:{closed}/x");
    says(
        mv(&tree, None, &["clone", &url, "x"]),
        &["connection was refused"],
    );
    // As S3 says it.
    let skewed = always(
        "403 Forbidden",
        "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
         current time is too large.</Message></Error>",
    );
    let region = always(
        "400 Bad Request",
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; expecting \
         'eu-central-1'</Message><Region>eu-central-1</Region></Error>",
    );
    let expired = always(
        "400 Bad Request",
        "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
    );
    let denied = always("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>");
    for (port, words) in [
        (skewed, ["clock differs", "set this machine's clock"]),
        (region, ["another region", "--region"]),
        (expired, ["no valid credentials", "AWS_PROFILE"]),
        (denied, ["permission denied", "other credentials"]),
    ] {
        says(
            add("s3://bucket/x", &format!("http://127.0.0.1:{port}")),
            &words,
        );
    }
}
