//! Bodies of requests, within all limits: their size, their time, and the memory that all of them, and what is
//! made of them for a worker, take.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::aside::LARGE_BYTES;
use crate::config::Limits;
use crate::frame::Part;
use crate::http::App;
use crate::predict::{Failure, failure};

/// What memory is counted in.
const UNIT_BYTES: usize = 1 << 10;
/// Copies for mirrors may take so much of what bodies may, beside it.
const MIRRORS_SHARE: usize = 4;

/// Memory for the bodies of all requests of all connections, or for the results of all workers of a commit.
#[derive(Clone)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(limits: &Limits) -> Self {
        // One body of the largest size always has room.
        Self::of(limits.all_bodies_bytes.max(limits.body_bytes))
    }

    /// For the results of workers.
    pub(crate) fn for_results(limits: &Limits) -> Self {
        Self::of(limits.all_results_bytes)
    }

    fn of(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(units)),
            bytes,
        }
    }

    /// So much for a result. A small one is not counted: each goes out as soon as it is there, and what a worker
    /// says of itself always arrives.
    ///
    /// # Errors
    /// There is not so much, or never would be.
    pub(crate) fn hold_result(&self, bytes: usize) -> Result<Held, Part> {
        if bytes < LARGE_BYTES {
            return Ok(None);
        }
        let ever = bytes <= self.bytes;
        self.hold(bytes).map_err(|_| Part::NoRoom { ever })
    }

    /// For the copies that mirrors have: they never take what callers need.
    pub(crate) fn for_mirrors(limits: &Limits) -> Self {
        Self::new(&Limits {
            all_bodies_bytes: limits.all_bodies_bytes / MIRRORS_SHARE,
            ..*limits
        })
    }

    /// So much for something, if there is so much.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, Failure> {
        let mut held = None;
        self.take(&mut held, bytes)?;
        Ok(held)
    }

    /// So much in all for a body, if there is so much.
    fn take(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        let full = || {
            let text = "the bodies of other requests take all memory that there is for them";
            failure(StatusCode::SERVICE_UNAVAILABLE, "no_memory", text)
        };
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(has);
        let more = u32::try_from(more).map_err(|_| full())?;
        if more > 0 {
            let permit = self.free.clone().try_acquire_many_owned(more);
            let permit = permit.map_err(|_| full())?;
            match held {
                Some(held) => held.merge(permit),
                None => *held = Some(permit),
            }
        }
        Ok(())
    }
}

/// Memory that counts as taken until this is dropped.
pub(crate) type Held = Option<OwnedSemaphorePermit>;

/// Bytes that count as taken until the last part of them is dropped.
pub(crate) fn held(bytes: impl Into<Bytes>, held: Held) -> Bytes {
    let bytes = bytes.into();
    match held {
        None => bytes,
        held => Bytes::from_owner(HeldBytes { bytes, _held: held }),
    }
}

/// Bytes that were made of others, which count for as long.
pub(crate) fn with(bytes: Vec<u8>, of: Bytes) -> Bytes {
    Bytes::from_owner(HeldBytes {
        bytes: bytes.into(),
        _held: of,
    })
}

struct HeldBytes<T> {
    bytes: Bytes,
    _held: T,
}

impl<T> AsRef<[u8]> for HeldBytes<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body of several pieces, whose length is known.
pub(crate) struct Pieces(pub(crate) VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes: usize = self.0.iter().map(Bytes::len).sum();
        SizeHint::with_exact(bytes as u64)
    }
}

/// A whole body. Its memory counts as taken until it is dropped.
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    held: Held,
}

impl Read {
    /// Gives the body up for something with so many bytes that was made of it.
    pub(crate) fn becomes(mut self, room: &Room, bytes: usize) -> Result<Held, Failure> {
        room.take(&mut self.held, bytes)?;
        Ok(self.held)
    }
}

/// The body of a request.
pub(crate) async fn read(app: &App, request: Request<Body>) -> Result<Read, Failure> {
    if request.method() != Method::POST {
        let text = "predictions are asked for with POST";
        return Err(failure(StatusCode::METHOD_NOT_ALLOWED, "method", text));
    }
    let limit = app.limits.body_bytes;
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<usize>().ok());
    if declared.is_some_and(|n| n > limit) {
        return Err(too_large(limit));
    }
    let reading = gather(&app.room, request.into_body(), limit);
    match tokio::time::timeout(app.limits.predict, reading).await {
        Ok(read) => read,
        Err(_) => {
            let text = "the body did not come in time";
            Err(failure(StatusCode::REQUEST_TIMEOUT, "slow_body", text))
        }
    }
}

fn too_large(limit: usize) -> Failure {
    let text = format!("the body has more than {limit} bytes");
    failure(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
}

async fn gather(room: &Room, body: Body, limit: usize) -> Result<Read, Failure> {
    let (mut parts, mut held) = (body.into_data_stream(), None);
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| {
            let text = "the body can't be read to its end";
            failure(StatusCode::BAD_REQUEST, "broken_body", text)
        })?;
        if bytes.len() + part.len() > limit {
            return Err(too_large(limit));
        }
        room.take(&mut held, bytes.len() + part.len())?;
        bytes.extend_from_slice(&part);
    }
    // It grew by doubling.
    bytes.shrink_to_fit();
    Ok(Read {
        bytes: bytes.into(),
        held,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::run;

    fn small_room() -> Room {
        Room::new(&Limits {
            body_bytes: 8 << 10,
            all_bodies_bytes: 20 << 10,
            ..Limits::default()
        })
    }

    #[test]
    fn bodies_share_the_memory_and_give_it_back() {
        run(async {
            let room = small_room();
            let body = |bytes: usize| gather(&room, Body::from(vec![7; bytes]), 8 << 10);
            let first = body(8 << 10).await.map_err(|f| f.kind);
            let second = body(8 << 10).await.map_err(|f| f.kind);
            assert_eq!(first.as_ref().map(|r| r.bytes.len()), Ok(8 << 10));
            let third = body(5 << 10).await.map_err(|f| (f.code.as_u16(), f.kind));
            assert_eq!(third.err(), Some((503, "no_memory")));
            assert!(
                body(4 << 10).await.is_ok(),
                "what was held for the third is free"
            );
            drop((first, second));
            assert!(body(8 << 10).await.is_ok());
            let large = body((8 << 10) + 1).await.map_err(|f| f.kind);
            assert_eq!(large.err(), Some("too_large"));
        });
    }

    #[test]
    fn what_is_made_of_a_body_counts_instead_of_it() {
        run(async {
            let room = small_room();
            let body = || async {
                let read = gather(&room, Body::from(vec![7; 8 << 10]), 8 << 10).await;
                read.unwrap_or_else(|f| panic!("{}", f.kind))
            };
            let text = body().await.becomes(&room, 18 << 10);
            assert_eq!(
                room.free.available_permits(),
                2,
                "its body is not counted twice"
            );
            drop(text);
            let shorter = body().await.becomes(&room, 1);
            assert!(shorter.is_ok());
            let longer = body().await.becomes(&room, 18 << 10);
            assert_eq!(longer.map_err(|f| f.kind).err(), Some("no_memory"));
            drop(shorter);
            assert_eq!(room.free.available_permits(), 20, "all is given back");
        });
    }
}
