//! The pull side of a registry (OCI distribution specification, "Pull"): answers from whoever knows images.
//!
//! Must never take anything in: whatever is no `GET` or `HEAD` is refused.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

use crate::ServeError;

/// How long answers under way may take once the server is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; others wait to be taken.
const CONNECTIONS_MAX: usize = 128;
const PIECE_BYTES: usize = 256 << 10;

/// A manifest or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type.
    pub media: String,
    /// SHA-256 of its bytes, after `sha256:`.
    pub digest: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Whoever knows images. Called from many threads at once, and may take its time.
pub trait Images: Send + Sync + 'static {
    /// The manifest that a tag or a digest names; `None` if there is none.
    ///
    /// # Errors
    /// The image can't be made; the text goes into the log.
    fn manifest(&self, name: &str, reference: &str) -> Result<Option<Manifest>, String>;
    /// The file of a blob, if there is one.
    fn blob(&self, digest: &str) -> Option<PathBuf>;
    /// All tags.
    ///
    /// # Errors
    /// They can't be read.
    fn tags(&self) -> Result<Vec<String>, String>;
    /// An index of what belongs to a manifest, as JSON.
    fn referrers(&self, digest: &str) -> Vec<u8>;
    /// Gives up what is being made: the server ends.
    fn stop(&self);
}

/// Serves until SIGTERM or SIGINT, then finishes what is under way. `ready` is called once with the address
/// when requests are taken, `log` with a line for each answer.
///
/// # Errors
/// The address can't be listened on.
pub fn serve_pulls(
    images: Arc<dyn Images>,
    listen: SocketAddr,
    ready: impl FnOnce(SocketAddr),
    log: impl Fn(String) + Send + Sync + 'static,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(accept(images, listen, ready, Arc::new(log)))
}

async fn accept(
    images: Arc<dyn Images>,
    address: SocketAddr,
    ready: impl FnOnce(SocketAddr),
    log: Arc<dyn Fn(String) + Send + Sync>,
) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    ready(listener.local_addr()?);
    loop {
        let Ok(held) = room.clone().acquire_owned().await else {
            break;
        };
        let (stream, _) = tokio::select! {
            taken = listener.accept() => match taken {
                Ok(taken) => taken,
                // Out of file descriptors, or the client is gone: others go on.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            _ = term.recv() => break,
            _ = int.recv() => break,
        };
        let (mine, log) = (images.clone(), log.clone());
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let (images, log) = (mine.clone(), log.clone());
            async move { Ok::<_, Infallible>(answer(images, &request, log).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
            drop(held);
        });
    }
    drop(listener);
    images.stop();
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    Ok(())
}

async fn answer(
    images: Arc<dyn Images>,
    request: &Request<hyper::body::Incoming>,
    log: Arc<dyn Fn(String) + Send + Sync>,
) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let line = format!("{method} {path}");
    let range = range_of(request.headers());
    // An image may have to be made first; that is no work for the thread that answers.
    let made = tokio::task::spawn_blocking(move || route(&*images, &method, &path, range)).await;
    let response = made.unwrap_or_else(|_| {
        failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "it has failed",
        )
    });
    let why = response.extensions().get::<Why>();
    let why = why.map_or_else(String::new, |Why(text)| format!(" {text}"));
    log(format!("{line} {}{why}", response.status().as_u16()));
    response
}

/// Why an image could not be made, for the log: not every client tells its user.
#[derive(Debug, Clone)]
struct Why(String);

/// `bytes=A-` or `bytes=A-B`; any other range is no reason to send less than all.
fn range_of(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = match end {
        "" => None,
        end => Some(end.parse().ok()?),
    };
    Some((start.parse().ok()?, end))
}

/// Name, kind and reference of `/v2/NAME/KIND/REFERENCE`. A name may have slashes.
fn split(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path.strip_prefix("/v2/")?;
    for kind in ["manifests", "blobs", "tags", "referrers"] {
        if let Some((name, reference)) = rest.rsplit_once(&format!("/{kind}/")) {
            let is_one = !reference.is_empty() && !reference.contains('/');
            return (is_one && is_name(name)).then_some((name, kind, reference));
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
    !name.is_empty() && name.len() <= 255 && name.bytes().all(is_plain)
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn route(
    images: &dyn Images,
    method: &Method,
    path: &str,
    range: Option<(u64, Option<u64>)>,
) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let words = "this registry is only pulled from";
        return failure(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", words);
    }
    let is_head = method == Method::HEAD;
    if path == "/v2/" || path == "/v2" {
        return bytes("application/json", b"{}".to_vec(), is_head, None);
    }
    let Some((name, kind, reference)) = split(path) else {
        return failure(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path");
    };
    match kind {
        "manifests" => match images.manifest(name, reference) {
            Ok(Some(m)) => bytes(&m.media, m.bytes, is_head, Some(&m.digest)),
            Ok(None) => failure(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "no such image"),
            Err(e) => {
                // What failed names folders of this machine: that is for the log.
                let words = "the image can't be made; the server's log says why";
                let mut response = failure(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", words);
                response.extensions_mut().insert(Why(e));
                response
            }
        },
        "blobs" if is_digest(reference) => match images.blob(reference) {
            Some(path) => file(&path, reference, is_head, range),
            None => failure(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no such blob"),
        },
        "tags" if reference == "list" => match images.tags() {
            Ok(tags) => {
                let list = json!({"name": name, "tags": tags}).to_string();
                bytes("application/json", list.into_bytes(), is_head, None)
            }
            Err(e) => failure(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", &e),
        },
        "referrers" if is_digest(reference) => {
            let media = "application/vnd.oci.image.index.v1+json";
            bytes(media, images.referrers(reference), is_head, None)
        }
        _ => failure(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path"),
    }
}

fn finish(builder: axum::http::response::Builder, body: Body) -> Response<Body> {
    let builder = builder.header("docker-distribution-api-version", "registry/2.0");
    builder.body(body).unwrap_or_default()
}

fn bytes(media: &str, bytes: Vec<u8>, is_head: bool, digest: Option<&str>) -> Response<Body> {
    let mut builder = Response::builder()
        .header(header::CONTENT_TYPE, media)
        .header(header::CONTENT_LENGTH, bytes.len());
    if let Some(digest) = digest {
        builder = builder.header("docker-content-digest", digest);
    }
    let body = if is_head {
        Body::empty()
    } else {
        Body::from(bytes)
    };
    finish(builder, body)
}

fn failure(status: StatusCode, code: &str, words: &str) -> Response<Body> {
    let text = json!({"errors": [{"code": code, "message": words}]}).to_string();
    let builder = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json");
    finish(builder, Body::from(text))
}

fn file(
    path: &Path,
    digest: &str,
    is_head: bool,
    range: Option<(u64, Option<u64>)>,
) -> Response<Body> {
    let gone = |_| failure(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no such blob");
    let opened = File::open(path).and_then(|f| f.metadata().map(|m| (f, m.len())));
    let (mut file, size) = match opened.map_err(gone) {
        Ok(opened) => opened,
        Err(response) => return response,
    };
    let mut builder = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header("docker-content-digest", digest);
    // One that ends before it begins is none (RFC 9110, 14.1.1).
    let range = range.filter(|(start, end)| end.is_none_or(|end| *start <= end));
    let (start, end) = match range {
        Some((start, end)) if start < size => {
            let end = end.map_or(size, |e| e.saturating_add(1).min(size));
            let shown = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
            builder = builder
                .status(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_RANGE, shown);
            (start, end.max(start))
        }
        Some(_) => {
            let words = "the blob is shorter";
            return failure(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", words);
        }
        None => (0, size),
    };
    builder = builder.header(header::CONTENT_LENGTH, end - start);
    if is_head || file.seek(SeekFrom::Start(start)).is_err() {
        return finish(builder, Body::empty());
    }
    finish(builder, Body::new(FileBody::new(file, end - start)))
}

/// A part of a file, read in a thread of its own, no faster than it is taken.
struct FileBody {
    pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
}

impl FileBody {
    fn new(file: File, length: u64) -> Self {
        let (send, pieces) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut input = file.take(length);
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let read = input
                    .by_ref()
                    .take(PIECE_BYTES as u64)
                    .read_to_end(&mut piece);
                let is_last = !matches!(read, Ok(n) if n > 0);
                let said = read.map(|_| Bytes::from(piece));
                let is_end = said.as_ref().is_ok_and(Bytes::is_empty);
                // Whoever takes nothing more has gone.
                if is_end || send.blocking_send(said).is_err() || is_last {
                    break;
                }
            }
        });
        Self {
            pieces,
            left: length,
        }
    }
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.pieces.poll_recv(cx).map(|piece| {
            let piece = piece?;
            if let Ok(bytes) = &piece {
                self.left = self.left.saturating_sub(bytes.len() as u64);
            }
            Some(piece.map(Frame::data))
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (path, want) in [
            ("/v2/a/manifests/main", Some(("a", "manifests", "main"))),
            ("/v2/a/b/c/tags/list", Some(("a/b/c", "tags", "list"))),
            ("/v2/a/manifests/x/y", None),
            ("/v2/A/manifests/x", None),
            ("/v2//manifests/x", None),
            ("/v2/a/manifests/", None),
            ("/v3/a/manifests/x", None),
            ("/v2/a", None),
        ] {
            assert_eq!(split(path), want, "{path}");
        }
        assert!(is_digest(&digest) && !is_digest("sha256:../x") && !is_digest(&digest[..70]));
    }

    #[test]
    fn ranges_are_read() {
        let range = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            range_of(&headers)
        };
        assert_eq!(range("bytes=5-"), Some((5, None)));
        assert_eq!(range("bytes=5-9"), Some((5, Some(9))));
        for odd in ["bytes=-5", "lines=1-2", "bytes=x-", "bytes=1-2,4-5"] {
            assert_eq!(range(odd), None, "{odd}");
        }
    }
}
