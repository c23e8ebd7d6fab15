use super::*;
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

#[test]
fn docker_keeps_a_password_for_each_registry() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let find = |registry: &str| Credentials::from_docker(&path, registry).map(|c| c.0);
    assert_eq!(find("a.example"), None);
    let auth = Credentials::new("ada", "open sesame").0;
    assert_eq!(auth, "YWRhOm9wZW4gc2VzYW1l");
    let json = format!(
        "{{\"auths\": {{\"a.example\": {{\"auth\": \"{auth}\"}}, \"b\": {{\"auth\": \"x\\ny\"}}}}}}"
    );
    std::fs::write(&path, json).unwrap();
    assert_eq!(find("a.example"), Some(auth));
    assert_eq!(find("b"), None);
    assert_eq!(find("c.example"), None);
    assert_eq!(
        format!("{:?}", Credentials::new("ada", "secret")),
        "Credentials"
    );
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
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut about = lines.next().unwrap().unwrap();
            for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
                if line.to_lowercase().starts_with("authorization:") {
                    about = format!("{about} {}", &line[15..]);
                }
            }
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
    let mut registry = Registry::new(&to, Some(Credentials::new("ada", "x")), ctx.cancel);
    let sent = registry
        .put_blob(Path::new("none"), "sha256:00", 0)
        .unwrap();
    assert!(!sent);
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
        let mut registry = Registry::new(&to, Some(Credentials::new("ada", "x")), ctx.cancel);
        let said = registry
            .put_blob(Path::new("none"), "sha256:00", 0)
            .unwrap_err();
        assert!(said.to_string().contains(want), "{said}");
        assert_eq!(server.join().unwrap().len(), 1);
    }
}

#[test]
fn a_place_for_blobs_is_the_registry_or_one_that_is_safe() {
    let to = Reference::parse("127.0.0.1:5000/a").unwrap();
    let registry = Registry::new(&to, None, Ctx::quiet().cancel);
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
