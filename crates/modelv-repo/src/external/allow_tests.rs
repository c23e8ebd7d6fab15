//! What may be asked, and what may not.

use super::*;

fn allowed(patterns: &[&str]) -> Allowed {
    Allowed {
        patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
        added: vec!["file:///home/me/x y.csv".into()],
        remotes: vec!["https://10.0.0.7:8443".into()],
        hosts: Mutex::default(),
    }
}

#[test]
fn what_only_this_machine_or_network_reaches_is_not_asked() {
    let none = allowed(&[]);
    for url in [
        "file:///etc/passwd",
        "http://127.0.0.1/x",
        "http://127.1/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "http://localhost:8080/x",
        "http://localhost./x",
        "http://[::1]:80/x",
        "http://[::ffff:10.0.0.1]/x",
        "http://[fe80::1]/x",
        "http://[fd00::1]/x",
        "http://[64:ff9b::a00:1]/x",
        "http://[2002:a00:1::]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/x",
        "https://172.16.0.1/x",
        "https://192.168.1.1/x",
        "https://100.64.0.1/x",
        "https://0.0.0.0/x",
        "https://224.0.0.1/x",
        "https://wiki/x",
        "https://metadata.google.internal/x",
        "https://nas.local/x",
        "https://\u{24db}ocalhost/x",
        "https:///x",
    ] {
        assert!(none.objection(url).is_some(), "{url}");
    }
    for url in [
        "s3://bucket/x",
        "gs://bucket/x",
        "az://container/x",
        "https://1.1.1.1/x",
        "https://[2606:4700::1111]:443/x",
        "https://no-such-host.example.com/x?y=1",
        // Where a remote is, the user went himself.
        "https://10.0.0.7:8443/d/x.csv",
        // And what he added.
        "file:///home/me/x y.csv",
    ] {
        assert_eq!(none.objection(url), None, "{url}");
    }
    assert!(none.objection("file:///home/me/x").is_some());
    assert!(none.objection("http://10.0.0.7:8443/d/x.csv").is_some());
}

#[test]
fn what_an_address_leads_to_is_bound_unless_the_user_said_otherwise() {
    for (url, word, want) in [
        ("https://data.example.com/x", Word::Commit, Reach::Public),
        ("https://data.example.com/x", Word::User, Reach::Anywhere),
        ("https://10.0.0.7:8443/x", Word::Commit, Reach::Anywhere),
        ("http://wiki/sets/x", Word::Commit, Reach::Anywhere),
    ] {
        let way = allowed(&["http://wiki/sets/*"]).way(url, word);
        assert_eq!(way.first, want, "{url} {word:?}");
        for inside in ["http://127.0.0.1/x", "http://[::1]/x", "http://wiki/other"] {
            assert!(way.guard.judge(inside).is_err(), "{inside}");
        }
        let public = way.guard.judge("https://1.1.1.1/x");
        assert_eq!(public, Ok(Reach::Public));
        let ruled = way.guard.judge("http://wiki/sets/y");
        assert_eq!(ruled, Ok(Reach::Anywhere));
    }
}

#[test]
fn a_pattern_allows_what_is_like_it_and_no_more() {
    let some = allowed(&[
        "file:///data/**",
        "http://10.0.0.*/sets/*.csv",
        "http://localhost:*/**",
    ]);
    for url in [
        "file:///data/x",
        "file:///data/a/b.csv",
        "http://10.0.0.9/sets/x.csv",
        "http://localhost:8080/a/b",
    ] {
        assert_eq!(some.objection(url), None, "{url}");
    }
    for url in [
        "file:///dat",
        "file:///data/../etc/passwd",
        "file:///data/./x",
        "http://localhost:80/%2E%2e/x",
        "http://10.0.0.9/sets/a/x.csv",
        "http://10.0.0.9/other.csv",
        "http://10.0.1.9/sets/x.csv",
    ] {
        assert!(some.objection(url).is_some(), "{url}");
    }
    assert!(matches(b"**", b"") && matches(b"a**c", b"a/b/c") && !matches(b"a*c", b"a/c"));
}
