//! What a call is answered with: messages, each behind a flag and its length, then the outcome in trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use futures_util::Stream;
use hyper::body::Frame;

use super::CONTENT_TYPE;
use crate::http::App;
use crate::model::Model;
use crate::predict::Failure;

/// Most bytes of the words of a failure: clients take a few kilobytes of headers.
const WORDS_BYTES_MAX: usize = 1 << 10;

/// The answer to a call of one message. A failure has no body: its headers are its trailers.
pub(super) fn reply(
    app: &App,
    model: &Model,
    answered: Result<Vec<u8>, Failure>,
    id: &str,
) -> Response<Body> {
    match answered {
        Ok(message) => {
            let one = futures_util::stream::iter([Ok(message)]);
            replies(app, model, one, id)
        }
        Err(f) => {
            let body = Body::empty();
            let mut response = app.finish(model, StatusCode::OK, CONTENT_TYPE, body, id);
            response.headers_mut().extend(outcome(Some(&f)));
            response
        }
    }
}

/// The answer to a call of any number of messages, as they come.
pub(super) fn replies<S>(app: &App, model: &Model, messages: S, id: &str) -> Response<Body>
where
    S: Stream<Item = Result<Vec<u8>, Failure>> + Send + Unpin + 'static,
{
    let body = Body::new(Replies {
        messages: Some(messages),
    });
    app.finish(model, StatusCode::OK, CONTENT_TYPE, body, id)
}

/// The number that gRPC has for an outcome.
pub(super) fn status(code: StatusCode) -> u16 {
    match code.as_u16() {
        200 => 0,
        400 | 422 => 3,
        408 | 504 => 4,
        404 => 5,
        413 | 429 => 8,
        405 | 501 => 12,
        503 => 14,
        _ => 13,
    }
}

fn outcome(failed: Option<&Failure>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let code = failed.map_or(StatusCode::OK, |f| f.code);
    headers.insert("grpc-status", status(code).into());
    let words = failed.map(|f| HeaderValue::from_str(&escaped(&f.message)));
    if let Some(Ok(words)) = words {
        headers.insert("grpc-message", words);
    }
    headers
}

/// The beginning of a text as gRPC has it in a header.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if out.len() >= WORDS_BYTES_MAX {
            break;
        }
        match byte {
            b'%' | 0..0x20 | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            plain => out.push(char::from(plain)),
        }
    }
    out
}

#[expect(clippy::big_endian_bytes, reason = "gRPC has lengths so")]
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

/// Messages, then what became of the call.
struct Replies<S> {
    /// Nothing once the outcome is told.
    messages: Option<S>,
}

impl<S> hyper::body::Body for Replies<S>
where
    S: Stream<Item = Result<Vec<u8>, Failure>> + Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(messages) = &mut self.messages else {
            return Poll::Ready(None);
        };
        let failed = match ready!(Pin::new(messages).poll_next(context)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(framed(&message))))),
            Some(Err(f)) => Some(f),
            None => None,
        };
        self.messages = None;
        Poll::Ready(Some(Ok(Frame::trailers(outcome(failed.as_ref())))))
    }
}
