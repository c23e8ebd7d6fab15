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

/// Frames of HTTP/2 from and to a server.
struct Frames(TcpStream);

impl Frames {
    /// A frame: what it is, its flags, its stream, its payload.
    async fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        let frame = [&head[..], payload].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// `GET` of a path.
    async fn get(&mut self, stream: u8, path: &str) {
        // Method, scheme and authority by their numbers in the static table, the path as it is.
        let head = [
            &[0x82, 0x86, 0x41, 1, b'x', 4, path.len() as u8],
            path.as_bytes(),
        ]
        .concat();
        self.send(HEADERS, 0x5, stream, &head).await;
    }

    /// What the next frame is, its flags, its stream and how long it is.
    async fn next(&mut self) -> (u8, u8, u8, usize) {
        let reading = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            self.0.read_exact(&mut vec![0; length]).await.unwrap();
            (head[3], head[4], head[8], length)
        };
        let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
        read.expect("a frame comes")
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

#[test]
fn a_stream_that_nobody_takes_ends_beside_one_that_moves() {
    run(async {
        const BYTES: usize = 1 << 20;
        let idle = Duration::from_millis(300);
        // Its function gives nothing for longer than a client may take nothing.
        let slow = move || async move {
            let pieces = futures_util::stream::unfold(0, move |n| async move {
                tokio::time::sleep(idle * u32::from(n > 0) * 3).await;
                (n < 2).then_some((Ok::<_, Infallible>("x"), n + 1))
            });
            Body::from_stream(pieces)
        };
        let routes = Router::new()
            .route("/large", get(|| async { vec![7u8; BYTES] }))
            .route("/slow", get(slow))
            .route("/moves", get(|| async { "x" }));
        let at = serve(routes, idle).await;
        let mut frames = Frames(TcpStream::connect(at).await.unwrap());
        frames
            .0
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        frames.send(SETTINGS, 0, 0, &[]).await;
        // Room on the connection for all; a stream has 65,535 bytes.
        frames.send(WINDOW_UPDATE, 0, 0, &[0, 0x10, 0, 0]).await;
        frames.get(1, "/large").await;
        frames.get(3, "/slow").await;
        let (mut large, mut is_reset, mut slow_ended) = (0, false, false);
        let mut asked = 5;
        frames.get(asked, "/moves").await;
        let begun = Instant::now();
        while !(is_reset && slow_ended) {
            assert!(begun.elapsed() < Duration::from_secs(60), "it stays");
            match frames.next().await {
                (DATA, _, 1, length) => large += length,
                (DATA, flags, 3, _) => slow_ended |= flags & END_STREAM > 0,
                (RESET, _, stream, _) => {
                    assert_eq!(stream, 1, "that one moves");
                    is_reset = true;
                }
                (DATA, flags, stream, _) if stream == asked && flags & END_STREAM > 0 => {
                    tokio::time::sleep(idle / 5).await;
                    asked += 2;
                    frames.get(asked, "/moves").await;
                }
                _ => {}
            }
        }
        assert_eq!(large, 65_535, "all that there was room for");
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
