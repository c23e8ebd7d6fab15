//! Connections that stand still, with real sockets.

use super::*;
use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pool::tests::run;

/// Takes connections for the rest of the test.
async fn serve(routes: Router, idle: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        idle,
        ..Limits::default()
    };
    let connections = Connections::new(limits);
    tokio::spawn(async move { connections.accept(routes, &listener).await });
    address
}

/// Everything until the end of the connection, which has to come.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
    let _ = read.expect("the connection is ended");
    bytes
}

#[test]
fn an_http2_connection_that_asks_nothing_is_told_and_ended() {
    run(async {
        let at = serve(Router::new(), Duration::from_millis(100)).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        // The preface, empty settings, and the acknowledgement of the server's.
        let settings = b"\0\0\0\x04\0\0\0\0\0";
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat();
        stream.write_all(&hello).await.unwrap();
        let frames = rest(&mut stream).await;
        let (mut kinds, mut left) = (Vec::new(), frames.as_slice());
        while let Some((head, after)) = left.split_first_chunk::<9>() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            kinds.push(head[3]);
            left = &after[length..];
        }
        assert!(kinds.contains(&7), "no GOAWAY: {kinds:?}");
    });
}

#[test]
fn an_answer_that_nobody_takes_is_given_up_and_a_slow_one_is_not() {
    run(async {
        const BYTES: usize = 64 << 20;
        let idle = Duration::from_millis(300);
        let routes = Router::new().route("/", get(|| async { vec![7u8; BYTES] }));
        let at = serve(routes, idle).await;
        let ask = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut stuck = TcpStream::connect(at).await.unwrap();
        stuck.write_all(ask).await.unwrap();
        let mut slow = TcpStream::connect(at).await.unwrap();
        slow.write_all(ask).await.unwrap();
        // Longer than any standstill may be, but it moves all the time.
        let (mut taken, mut buffer) = (0, vec![0; 1 << 20]);
        let start = Instant::now();
        while start.elapsed() < idle * 4 {
            taken += slow.read(&mut buffer).await.unwrap();
            tokio::time::sleep(idle / 10).await;
        }
        let all = taken + rest(&mut slow).await.len();
        assert!(all > BYTES, "{all} bytes");
        let some = rest(&mut stuck).await.len();
        assert!(some < BYTES, "{some} bytes");
    });
}
