use super::*;
use crate::upload::{Blob, Way};
use modelv_repo::Ctx;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

#[test]
fn parameters_of_a_challenge() {
    let text = r#"realm="https://a.example/token",service="a, b=c" , Scope=plain,last=1"#;
    assert_eq!(parameter(text, "realm"), "https://a.example/token");
    assert_eq!(parameter(text, "service"), "a, b=c");
    assert_eq!(parameter(text, "scope"), "plain");
    assert_eq!(parameter(text, "last"), "1");
    for bad in ["", "realm", "realm=", "=\"x", "\"", "a=\"b"] {
        assert_eq!(parameter(bad, "realm"), "", "{bad}");
    }
}

/// A registry that says what it is told to, one answer for each request; returns the first lines and
/// authorizations of the requests.
fn answers(list: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let list: Vec<String> = list
        .iter()
        .map(|a| a.replace("ADDRESS", &address))
        .collect();
    let server = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for answer in list {
            let (mut stream, _) = listener.accept().unwrap();
            let mut input = BufReader::new(stream.try_clone().unwrap());
            let mut lines = input.by_ref().lines();
            let mut about = lines.next().unwrap().unwrap();
            let mut body = 0;
            for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
                let lower = line.to_lowercase();
                if let Some(length) = lower.strip_prefix("content-length:") {
                    body = length.trim().parse().unwrap();
                }
                if lower.starts_with("content-range:") {
                    about = format!("{about} {}", line[14..].trim());
                }
                if line.to_lowercase().starts_with("authorization:") {
                    about = format!("{about} {}", &line[15..]);
                }
            }
            // One that is answered before it has ended may not hear the answer.
            let _ = std::io::copy(&mut input.take(body), &mut std::io::sink());
            seen.push(about);
            let head = format!("HTTP/1.1 {answer}");
            stream.write_all(head.as_bytes()).unwrap();
        }
        seen
    });
    (address, server)
}

fn answer(head: &str, body: &str) -> String {
    let length = body.len();
    format!("{head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn ada() -> Option<Credentials> {
    Some(Credentials::new("ada", "x"))
}

/// A blob by a short name, in a file.
fn blob(path: &str) -> Blob {
    Blob {
        digest: "sha256:00".into(),
        path: path.into(),
        size: std::fs::metadata(path).map_or(0, |m| m.len()),
    }
}

fn upload(at: &str) -> String {
    answer(&format!("202 Accepted\r\nlocation: /up/{at}"), "")
}

#[test]
fn a_large_blob_goes_in_pieces_and_goes_on_where_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    std::fs::write(&path, [7; 20]).unwrap();
    let (address, server) = answers(vec![
        answer("404 Not Found", ""),
        upload("1"),
        upload("2"),
        // The second piece ends in the middle.
        answer("502 Bad Gateway", ""),
        answer("204 No Content\r\nlocation: /up/3\r\nrange: 0-11", ""),
        upload("4"),
        answer("201 Created", ""),
    ]);
    let to = Reference::parse(&format!("{address}/a")).unwrap();
    let mut registry = Registry::new(&to, None, Access::Push, Ctx::quiet().cancel);
    let way = registry.put_blob(&blob(path.to_str().unwrap()), 8).unwrap();
    assert_eq!(way, Way::Sent);
    let seen = server.join().unwrap();
    let want = [
        "HEAD /v2/a/blobs/sha256:00",
        "POST /v2/a/blobs/uploads/",
        "PATCH /up/1 0-7",
        "PATCH /up/2 8-15",
        "GET /up/2",
        "PATCH /up/3 12-19",
        "PUT /up/4?digest=sha256:00",
    ];
    let seen: Vec<String> = seen.iter().map(|s| s.replace(" HTTP/1.1", "")).collect();
    assert_eq!(seen, want);
}

#[test]
fn an_upload_that_never_gets_on_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    std::fs::write(&path, [7; 4]).unwrap();
    let mut list = vec![answer("404 Not Found", "")];
    for _ in 0..4 {
        list.push(upload("1"));
        list.push(answer("502 Bad Gateway", ""));
        list.push(answer("404 Not Found", ""));
    }
    let (address, server) = answers(list);
    let to = Reference::parse(&format!("{address}/a")).unwrap();
    let mut registry = Registry::new(&to, None, Access::Push, Ctx::quiet().cancel);
    let said = registry
        .put_blob(&blob(path.to_str().unwrap()), 8)
        .unwrap_err();
    assert!(said.to_string().contains("502"), "{said}");
    assert_eq!(server.join().unwrap().len(), 13);
}

#[test]
fn a_blob_is_taken_over_from_another_repository() {
    let (address, server) = answers(vec![
        answer("404 Not Found", ""),
        upload("1"),
        answer("201 Created", ""),
    ]);
    let to = Reference::parse(&format!("{address}/a")).unwrap();
    let mut registry = Registry::new(&to, None, Access::Push, Ctx::quiet().cancel);
    let from = ["team/x".to_owned(), "team/y".to_owned()];
    registry.mount_from = &from;
    assert_eq!(registry.put_blob(&blob(""), 8).unwrap(), Way::Mounted);
    let seen = server.join().unwrap();
    assert!(seen[2].contains("?mount=sha256:00&from=team/y"), "{seen:?}");
}

#[test]
fn what_is_pulled_is_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("blob");
    let digest = crate::layout::digest_of(b"hello");
    for (body, most, want) in [
        ("hello", 5, None),
        ("hellO", 5, Some("has other bytes")),
        ("hello", 4, Some("limit")),
    ] {
        let _ = std::fs::remove_file(&to);
        let (address, server) = answers(vec![answer("200 OK", body)]);
        let at = Reference::parse(&format!("{address}/a")).unwrap();
        let mut registry = Registry::new(&at, None, Access::Pull, Ctx::quiet().cancel);
        let said = registry.get_blob(&digest, &to, most).err();
        assert_eq!(to.exists(), want.is_none());
        let said = said.map(|e| e.to_string());
        assert_eq!(said.is_some(), want.is_some());
        assert!(
            said.unwrap_or_default().contains(want.unwrap_or("")),
            "{body}"
        );
        server.join().unwrap();
    }
}

#[test]
fn a_token_is_asked_for_where_the_registry_says() {
    let challenge =
        "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://ADDRESS/token\",service=\"s\"";
    let (address, server) = answers(vec![
        answer(challenge, ""),
        answer("200 OK", "{\"token\": \"t1\"}"),
        answer("200 OK", ""),
    ]);
    let to = Reference::parse(&format!("{address}/a/b")).unwrap();
    let ctx = Ctx::quiet();
    let mut registry = Registry::new(&to, ada(), Access::Push, ctx.cancel);
    assert_eq!(registry.put_blob(&blob(""), 8).unwrap(), Way::Present);
    let seen = server.join().unwrap();
    assert_eq!(seen[0], "HEAD /v2/a/b/blobs/sha256:00 HTTP/1.1");
    assert!(
        seen[1].starts_with("GET /token?scope=repository"),
        "{seen:?}"
    );
    assert!(
        seen[1].contains("service=s") && seen[1].ends_with("Basic YWRhOng="),
        "{seen:?}"
    );
    assert_eq!(seen[2], "HEAD /v2/a/b/blobs/sha256:00 HTTP/1.1 Bearer t1");
}

#[test]
fn a_password_never_goes_where_anyone_could_read_it() {
    for (challenge, want) in [
        (
            "Bearer realm=\"http://elsewhere.example/token\"",
            "in the clear",
        ),
        (
            "Bearer realm=\"http://localhost.elsewhere.example/token\"",
            "in the clear",
        ),
        (
            "Bearer realm=\"http://127.0.0.1@elsewhere.example/token\"",
            "in the clear",
        ),
        ("Bearer service=\"x\"", "in the clear"),
        ("Digest realm=\"x\"", "`Digest`, which is not spoken here"),
    ] {
        let head = format!("401 Unauthorized\r\nWWW-Authenticate: {challenge}");
        let (address, server) = answers(vec![answer(&head, "")]);
        let to = Reference::parse(&format!("{address}/a")).unwrap();
        let ctx = Ctx::quiet();
        let mut registry = Registry::new(&to, ada(), Access::Push, ctx.cancel);
        let said = registry.put_blob(&blob(""), 8).unwrap_err();
        assert!(said.to_string().contains(want), "{said}");
        assert_eq!(server.join().unwrap().len(), 1);
    }
}

#[test]
fn a_place_for_blobs_is_the_registry_or_one_that_is_safe() {
    let to = Reference::parse("127.0.0.1:5000/a").unwrap();
    let registry = Registry::new(&to, None, Access::Push, Ctx::quiet().cancel);
    let at = |location: &str| registry.absolute(location).ok();
    assert_eq!(at("/v2/x"), Some("http://127.0.0.1:5000/v2/x".into()));
    for good in ["http://127.0.0.1:5000/v2/x", "https://store.example/x"] {
        assert_eq!(at(good), Some(good.into()));
    }
    for bad in [
        "",
        "//elsewhere/x",
        "http://elsewhere/x",
        "http://127.0.0.1:50001/x",
        "file:///etc",
    ] {
        assert_eq!(at(bad), None, "{bad}");
    }
}
