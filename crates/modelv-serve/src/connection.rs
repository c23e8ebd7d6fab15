//! Connections: as many as may be, of the protocol that their first bytes say, and none longer than it moves, nor
//! any stream of one.

mod stream;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::config::Limits;
use stream::{Clock, Streams};

/// Most bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Requests that one connection of HTTP/2 may have under way.
const STREAMS_MAX: u32 = 128;
/// What a connection of HTTP/2 may send before anybody reads it: of one request, and of all.
const STREAM_BYTES: u32 = 128 << 10;
const CONNECTION_BYTES: u32 = 256 << 10;
/// What is sent at once: whether a client takes an answer is seen from one piece to the next.
const PIECE_BYTES: usize = 64 << 10;

/// All connections of a server.
pub(crate) struct Connections {
    room: Arc<Semaphore>,
    limits: Limits,
    draining: watch::Sender<bool>,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            room: Arc::new(Semaphore::new(limits.connections)),
            limits,
            draining: watch::Sender::new(false),
        }
    }

    /// Takes connections, as many at a time as may be.
    pub(crate) async fn accept(&self, routes: Router, listener: &TcpListener) {
        let routes = TowerToHyperService::new(routes);
        loop {
            let Ok(permit) = self.room.clone().acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // Out of file descriptors, or the client is gone: others go on.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let (limits, routes, draining) =
                (self.limits, routes.clone(), self.draining.subscribe());
            tokio::spawn(async move {
                connection(stream, limits, routes, draining).await;
                drop(permit);
            });
        }
    }

    /// Takes no more requests, and waits for what is under way.
    pub(crate) async fn drain(&self) {
        let _ = self.draining.send(true);
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        let _ = self.room.acquire_many(all).await;
    }
}

/// One connection, of the protocol that its first bytes say.
async fn connection(
    stream: TcpStream,
    limits: Limits,
    routes: TowerToHyperService<Router>,
    draining: watch::Receiver<bool>,
) {
    let first = tokio::time::timeout(limits.header, is_http2(&stream)).await;
    let Ok(is_http2) = first else {
        return;
    };
    let io = TokioIo::new(stream);
    let pulse = Arc::new(Pulse::new());
    let kept = pulse.clone();
    let service = service_fn(move |request| answer(routes.clone(), pulse.clone(), request));
    if is_http2 {
        let connection = http2::Builder::new(Streams::new(limits.idle))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(STREAM_BYTES)
            .initial_connection_window_size(CONNECTION_BYTES)
            .keep_alive_interval(limits.header)
            .serve_connection(io, service);
        return drive(
            connection,
            http2::Connection::graceful_shutdown,
            &kept,
            limits,
            draining,
        )
        .await;
    }
    // The timer is what makes the header limit work: without one, hyper drops it silently.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, service);
    drive(
        connection,
        http1::Connection::graceful_shutdown,
        &kept,
        limits,
        draining,
    )
    .await;
}

/// Whether a connection begins as HTTP/2 does. Takes nothing from it.
async fn is_http2(stream: &TcpStream) -> bool {
    const PREFACE: &[u8] = b"PRI ";
    let mut head = [0; PREFACE.len()];
    let mut pause = Duration::from_millis(1);
    loop {
        match stream.peek(&mut head).await {
            Ok(n) if head[..n] == PREFACE[..n] && n > 0 => {
                if n == PREFACE.len() {
                    return true;
                }
                // Some of it, or the `P` of `POST`: the rest is on its way.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(200));
            }
            _ => return false,
        }
    }
}

/// Lets a connection work until it ends, or does nothing any more, or the server is to end.
async fn drive<C: Future>(
    connection: C,
    end: fn(Pin<&mut C>),
    pulse: &Pulse,
    limits: Limits,
    mut draining: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = pulse.stops(limits.idle) => {}
        _ = draining.wait_for(|d| *d) => {}
    }
    end(connection.as_mut());
    // The client is told, for which there is as much time again, and what is under way comes to its end, as
    // long as it moves.
    pulse.beat();
    tokio::select! {
        _ = connection => {}
        () = pulse.stops(limits.idle) => {}
    }
}

async fn answer(
    routes: TowerToHyperService<Router>,
    pulse: Arc<Pulse>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let busy = pulse.busy();
    let response = routes.call(request).await?;
    let lasting = response.extensions().get::<Lasting>().is_some();
    let lasting = lasting.then_some(busy);
    let clock = Clock::of_stream();
    clock.waits_for_client();
    Ok(response.map(|inner| {
        Body::new(Moving {
            inner,
            rest: Bytes::new(),
            pulse: pulse.clone(),
            clock,
            _lasting: lasting,
        })
    }))
}

/// When something last moved on a connection: a request came, or a piece of an answer was taken.
struct Pulse {
    busy: AtomicUsize,
    last: Mutex<Instant>,
}

impl Pulse {
    fn new() -> Self {
        Self {
            busy: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
        }
    }

    fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Returns when nothing has moved for so long. Requests that are worked on have limits of their own.
    async fn stops(&self, limit: Duration) {
        loop {
            let due = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if self.busy.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(limit).await;
            } else if due <= Instant::now() {
                return;
            } else {
                tokio::time::sleep_until(due).await;
            }
        }
    }
}

/// An answer that has this among its extensions lasts as long as its client is there: between what it says, nothing
/// has to move.
#[derive(Clone)]
pub(crate) struct Lasting;

/// A request is worked on.
struct Busy(Arc<Pulse>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.beat();
    }
}

/// A body that is sent piece by piece, and tells that it moves.
struct Moving {
    inner: Body,
    rest: Bytes,
    pulse: Arc<Pulse>,
    clock: Arc<Clock>,
    _lasting: Option<Busy>,
}

impl hyper::body::Body for Moving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            self.clock.waits_for_server();
            let polled = Pin::new(&mut self.inner).poll_frame(context);
            let Poll::Ready(Some(Ok(frame))) = polled else {
                return polled;
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        self.pulse.beat();
        self.clock.waits_for_client();
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
