//! Asking a server whether it is ready, from beside it: what a health check of an image runs, for an
//! image need not hold any other program that speaks HTTP.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::ServeError;

const WAIT: Duration = Duration::from_secs(3);
const READY: &[u8] = b"GET /health/ready HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n";

/// Asks the server that listens on `address` whether it is ready.
///
/// # Errors
/// It is not, or nobody answers.
pub fn probe(address: SocketAddr) -> Result<(), ServeError> {
    let address = reachable(address);
    let bad = |detail: String| ServeError::NotReady { address, detail };
    let status = ask(address).map_err(|e| bad(e.to_string()))?;
    // `HTTP/1.1 200 OK`
    if status.split(|b| *b == b' ').nth(1) == Some(b"200") {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&status);
    Err(bad(format!(
        "it answers `{}`",
        shown.trim_end().escape_debug()
    )))
}

/// Who listens everywhere is asked here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// The first line of the answer.
fn ask(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    stream.write_all(READY)?;
    let mut head = Vec::new();
    stream.take(256).read_to_end(&mut head)?;
    head.truncate(head.iter().position(|b| *b == b'\r').unwrap_or(head.len()));
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answered(answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; READY.len()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request
        });
        let result = probe(address).map_err(|e| e.to_string());
        assert_eq!(server.join().unwrap(), READY);
        result
    }

    #[test]
    fn only_a_200_is_ready() {
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\nbody"), Ok(()));
        for (answer, want) in [
            (
                &b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..],
                "503 Service",
            ),
            (b"HTTP/1.1 2000 x\r\n", "2000"),
            (b"", "it answers ``"),
        ] {
            let said = answered(answer).unwrap_err();
            assert!(said.contains(want), "{said}");
        }
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let said = probe(free).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("the server on {free} is not ready")),
            "{said}"
        );
    }
}
