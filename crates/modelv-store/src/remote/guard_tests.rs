//! Servers that lead elsewhere, and names that change their mind.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::remote::{ObjectAt, RemoteOptions};

/// Answers every request with this; how often it was asked.
fn serve(answer: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let told = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            told.fetch_add(1, Ordering::SeqCst);
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    (port, asked)
}

const FOUND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nlast-modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
                     connection: close\r\n\r\none";

fn leads_to(url: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

/// Lets addresses be asked that begin so, and takes one address for public.
#[derive(Debug)]
struct Only {
    begins: String,
    public: Option<IpAddr>,
}

impl Guard for Only {
    fn judge(&self, url: &str) -> Result<Reach, String> {
        match !self.begins.is_empty() && url.starts_with(&self.begins) {
            true => Ok(Reach::Anywhere),
            false => Err("not for you".into()),
        }
    }

    fn is_public(&self, ip: IpAddr) -> bool {
        self.public == Some(ip)
    }
}

/// What is at an address, or what is said instead.
fn ask(url: &str, first: Reach, guard: Only) -> Result<Vec<u8>, String> {
    let way = Way {
        first,
        guard: Arc::new(guard),
    };
    let mut read = Vec::new();
    let object = ObjectAt::open_guarded(url, &RemoteOptions::default(), &way).unwrap();
    let done = object.download(None, &mut |bytes| {
        read.extend_from_slice(bytes);
        Ok(())
    });
    let mut said = String::new();
    let mut at = done.as_ref().err().map(|e| e as &dyn std::error::Error);
    while let Some(error) = at {
        said.push_str(&format!("{error}\n"));
        at = error.source();
    }
    done.map(|()| read).map_err(|_| said)
}

#[test]
fn a_redirect_is_judged_before_it_is_followed() {
    let (inner, asked) = serve(FOUND.into());
    let inside = format!("http://127.0.0.1:{inner}/x");
    let (outer, _) = serve(leads_to(&inside));
    let outside = format!("http://127.0.0.1:{outer}/x");
    let none = || Only {
        begins: String::new(),
        public: None,
    };
    let said = ask(&outside, Reach::Anywhere, none()).unwrap_err();
    assert!(said.contains("which is not for you"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "it was asked");
    let some = Only {
        begins: inside.clone(),
        ..none()
    };
    assert_eq!(ask(&outside, Reach::Anywhere, some).unwrap(), b"one");
    // One that leads to itself ends.
    let (port, turns) = serve(leads_to("/x"));
    let round = format!("http://127.0.0.1:{port}/x");
    let all = Only {
        begins: "http".into(),
        ..none()
    };
    let said = ask(&round, Reach::Anywhere, all).unwrap_err();
    assert!(said.contains("on and on"), "{said}");
    assert_eq!(turns.load(Ordering::SeqCst), HOPS_MAX);
}

#[test]
fn a_name_that_leads_inside_when_it_is_asked_again_is_not_asked() {
    let (port, asked) = serve(FOUND.into());
    let url = format!("http://localhost:{port}/x");
    let only = |public| Only {
        begins: String::new(),
        public,
    };
    let said = ask(&url, Reach::Public, only(None)).unwrap_err();
    assert!(said.contains("its own network now"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "it was asked");
    assert_eq!(ask(&url, Reach::Anywhere, only(None)).unwrap(), b"one");
}

#[test]
fn an_answer_of_both_kinds_is_none() {
    let guard = Only {
        begins: String::new(),
        public: Some([1, 1, 1, 1].into()),
    };
    let hosts = Hosts {
        guard: Arc::new(guard),
        known: Arc::default(),
    };
    let url = reqwest::Url::parse("https://a.example/x").unwrap();
    hosts.know(&url, Reach::Public);
    let (outside, inside) = ([1, 1, 1, 1].into(), [10, 0, 0, 1].into());
    assert_eq!(hosts.of("a.example", vec![outside]).unwrap().len(), 1);
    assert!(hosts.of("a.example", vec![inside]).is_err());
    assert!(hosts.of("a.example", vec![outside, inside]).is_err());
    // A proxy is where the user says.
    assert_eq!(hosts.of("proxy", vec![inside]).unwrap().len(), 1);
}
