//! A proxy between the binary and a server of the tests: counts requests, and makes those fail that it is told
//! to, in the ways networks and services fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It arrives, and so does the answer.
    None,
    /// It takes its time.
    Delay(Duration),
    /// The service has another answer, and does nothing.
    Status(u16),
    /// The connection is cut before the service gets it.
    Drop,
    /// The service gets half of it.
    Truncate,
    /// The service gets all of it; its answer is lost.
    LoseAnswer,
    /// Half of the answer arrives.
    CutAnswer,
    /// The service gets it twice; the second answer arrives.
    Duplicate,
}

/// One request, without its content.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Bytes of its content.
    pub(crate) bytes: usize,
    /// Bytes of its answer, as far as one was forwarded.
    pub(crate) answered: usize,
}

type Decide = dyn Fn(&Request, usize) -> Fault + Send + Sync;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Stands before the server at a port of this machine. `decide` gets each request and its number.
    pub(crate) fn start(
        to: u16,
        decide: impl Fn(&Request, usize) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (log, decide): (_, Arc<Decide>) = (seen.clone(), Arc::new(decide));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, decide) = (log.clone(), decide.clone());
                std::thread::spawn(move || {
                    let _ = serve(&stream, to, &log, &*decide);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests since the last call.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Bytes that were put so far, to paths that hold `part`.
    pub(crate) fn bytes_of(&self, part: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|r| r.method == "PUT" && r.path.contains(part))
            .map(|r| r.bytes)
            .sum()
    }
}

/// Head and content of a request; `None` at the end of the connection.
fn read(reader: &mut impl BufRead) -> std::io::Result<Option<(Request, String, Vec<u8>)>> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        // One connection to the server for each request: its answer ends where the connection does.
        if !name.eq_ignore_ascii_case("connection") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = head.split_whitespace();
    let request = Request {
        method: words.next().unwrap_or("").to_owned(),
        path: words.next().unwrap_or("").to_owned(),
        bytes: length,
        answered: 0,
    };
    head.push_str("Connection: close\r\n\r\n");
    Ok(Some((request, head, body)))
}

fn forward(to: u16, head: &str, body: &[u8]) -> std::io::Result<TcpStream> {
    let mut server = TcpStream::connect(("127.0.0.1", to))?;
    server.write_all(head.as_bytes())?;
    server.write_all(body)?;
    Ok(server)
}

fn answer(to: u16, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    forward(to, head, body)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Answers one request; the client connects again for the next.
fn serve(
    client: &TcpStream,
    to: u16,
    log: &Mutex<Vec<Request>>,
    decide: &Decide,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let Some((request, head, body)) = read(&mut reader)? else {
        return Ok(());
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len()
    };
    let answer = |to, head: &str, body: &[u8]| -> std::io::Result<Vec<u8>> {
        let bytes = answer(to, head, body)?;
        // Somebody may have taken the log meanwhile.
        if let Some(request) = log.lock().unwrap().get_mut(number - 1) {
            request.answered += bytes.len();
        }
        Ok(bytes)
    };
    let mut out = client;
    match decide(&request, number) {
        Fault::None => out.write_all(&answer(to, &head, &body)?),
        Fault::Delay(time) => {
            std::thread::park_timeout(time);
            out.write_all(&answer(to, &head, &body)?)
        }
        Fault::Status(status) => {
            let text = format!(
                "HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            out.write_all(text.as_bytes())
        }
        Fault::Drop => Ok(()),
        Fault::Truncate => forward(to, &head, &body[..body.len() / 2])?.shutdown(Shutdown::Both),
        Fault::LoseAnswer => answer(to, &head, &body).map(drop),
        Fault::CutAnswer => {
            let bytes = answer(to, &head, &body)?;
            out.write_all(&bytes[..bytes.len() / 2])
        }
        Fault::Duplicate => {
            answer(to, &head, &body)?;
            out.write_all(&answer(to, &head, &body)?)
        }
    }
}
