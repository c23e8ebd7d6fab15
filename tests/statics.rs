//! A remote on a static web server: whoever can read its files can clone, and nobody can push.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use crate::remote::{noise, origin};
use crate::support::Tree;

/// Serves the files of a folder, and parts of them.
pub(crate) fn serve(dir: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let dir = dir.clone();
            std::thread::spawn(move || answer(&stream, &dir));
        }
    });
    port
}

fn answer(stream: &TcpStream, dir: &Path) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    let mut range = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("range") {
            let (start, end) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
            range = Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?));
        }
    }
    let close =
        "Last-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\nETag: \"x\"\r\nConnection: close\r\n";
    let mut out = stream;
    let found = std::fs::read(dir.join(path.trim_start_matches('/')));
    let (head, body) = match (found, range) {
        (Err(_), _) => ("404 Not Found\r\n".to_owned(), Vec::new()),
        (Ok(all), Some((start, end))) => {
            let end = end.min(all.len() - 1);
            let head = format!(
                "206 Partial Content\r\nContent-Range: bytes {start}-{end}/{}\r\n",
                all.len()
            );
            (head, all[start..=end].to_vec())
        }
        (Ok(all), None) => ("200 OK\r\n".to_owned(), all),
    };
    let length = body.len();
    write!(
        out,
        "HTTP/1.1 {head}{close}Content-Length: {length}\r\n\r\n"
    )
    .ok()?;
    if method != "HEAD" {
        out.write_all(&body).ok()?;
    }
    Some(())
}

#[test]
fn a_static_web_server_is_a_remote_to_read() {
    let (remote, a) = origin();
    std::fs::write(a.path("data/large.bin"), noise(9, 6 << 20)).unwrap();
    a.commit("large");
    a.mv(&["push"]).success();
    let url = format!(
        "http://127.0.0.1:{}/remote",
        serve(remote.root().to_owned())
    );
    let b = Tree::empty();
    b.mv(&["clone", &url, "."]).success();
    assert!(std::fs::read(b.path("data/large.bin")).unwrap() == noise(9, 6 << 20));
    b.mv(&["fsck"]).success();
    let c = Tree::empty();
    c.mv(&["clone", "--only", "code", &url, "."]).success();
    assert!(!c.path("data").exists());
    assert_eq!(
        c.mv(&["cat", "HEAD:data/rows.csv"]).success(),
        "id,x\n1,2\n"
    );
    a.put("train.py", "print(2)\n");
    let id = a.commit("second");
    a.mv(&["push"]).success();
    b.mv(&["pull"]).success();
    assert_eq!(b.id("HEAD"), id);
    b.put("train.py", "print(3)\n");
    b.commit("third");
    let error = b.mv(&["push"]).fails_with(1);
    assert!(error.contains("it can only be read"), "{error}");
    let error = b.mv(&["gc", "--remote", "--now"]).fails_with(1);
    assert!(error.contains("it can only be read"), "{error}");
    let d = Tree::repo();
    d.mv(&["remote", "add", "n", &url]).success();
    let nowhere = format!("{url}-not");
    let error = d.mv(&["clone", &nowhere, "x"]).fails_with(1);
    assert!(error.contains("first `modelv push`"), "{error}");
}
