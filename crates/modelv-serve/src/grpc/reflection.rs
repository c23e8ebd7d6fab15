//! What can be asked here, for clients that bring no descriptions of it: `grpc.reflection.v1`, and `v1alpha`, which
//! differs in its name alone.
//!
//! A client asks as often as it likes in one call, and waits for each answer.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, State};
use axum::http::{Request, Response, StatusCode};
use futures_util::{Stream, StreamExt};
use prost::{Message, Oneof};

use super::descriptors::Descriptors;
use super::{HEAD_BYTES, length, no_method, replies, reply};
use crate::http::App;
use crate::infer::bad;
use crate::predict::{Failure, draining, failure};

/// Paths of all methods.
pub(crate) const SERVICES: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/{method}",
    "/grpc.reflection.v1alpha.ServerReflection/{method}",
];
/// Longest question, in bytes: it holds a name.
const QUESTION_BYTES_MAX: usize = 4 << 10;
/// The number of gRPC for what is not there.
const NOT_FOUND: i32 = 5;

#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Wanted", tags = "3, 4, 5, 6, 7")]
    wanted: Option<Wanted>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Wanted {
    #[prost(string, tag = "3")]
    File(String),
    #[prost(string, tag = "4")]
    Symbol(String),
    #[prost(message, tag = "5")]
    Extension(Extension),
    #[prost(string, tag = "6")]
    ExtensionsOf(String),
    #[prost(string, tag = "7")]
    Services(String),
}

#[derive(Clone, PartialEq, Message)]
struct Extension {
    #[prost(string, tag = "1")]
    of: String,
    #[prost(int32, tag = "2")]
    number: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(string, tag = "1")]
    host: String,
    /// The question, as it came.
    #[prost(bytes = "bytes", tag = "2")]
    question: Bytes,
    #[prost(oneof = "Found", tags = "4, 5, 6, 7")]
    found: Option<Found>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Found {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "5")]
    Extensions(Extensions),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Nothing(Nothing),
}

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Extensions {
    #[prost(string, tag = "1")]
    of: String,
    #[prost(int32, repeated, tag = "2")]
    numbers: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    words: String,
}

/// A call of the service.
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Path(method): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let id = app.request_id(request.headers());
    let model = app.arms.main();
    if method != "ServerReflectionInfo" {
        return reply(&app, &model, Err(no_method(&method)), &id);
    }
    let questions = Questions {
        parts: request.into_body().into_data_stream(),
        bytes: Vec::new(),
    };
    replies(&app, &model, answers(app.clone(), questions), &id)
}

/// An answer to each question, until there are no more, or none comes for as long as a connection may stand still.
fn answers(
    app: Arc<App>,
    questions: Questions,
) -> impl Stream<Item = Result<Vec<u8>, Failure>> + Send + Unpin {
    Box::pin(futures_util::stream::unfold(
        (app, questions),
        |(app, mut questions)| async move {
            let ends = app.drains();
            let next = tokio::select! {
                next = tokio::time::timeout(app.limits.idle, questions.next()) => next,
                () = ends => Ok(Some(Err(draining()))),
            };
            let next = next.unwrap_or_else(|_| Some(Err(silent())))?;
            let said = next.and_then(|question| answer(&question));
            Some((said, (app, questions)))
        },
    ))
}

fn silent() -> Failure {
    let text = "no question came for too long";
    failure(StatusCode::REQUEST_TIMEOUT, "slow_body", text)
}

/// The questions of a call.
struct Questions {
    parts: BodyDataStream,
    bytes: Vec<u8>,
}

impl Questions {
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            match self.take() {
                Ok(None) => {}
                Ok(Some(question)) => return Some(Ok(question)),
                Err(f) => return Some(Err(f)),
            }
            match self.parts.next().await {
                Some(Ok(part)) => self.bytes.extend_from_slice(&part),
                None if !self.bytes.is_empty() => return Some(Err(bad("a question is cut off"))),
                // The client has gone.
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The first of those that are here.
    fn take(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(head) = self.bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let end = HEAD_BYTES.saturating_add(length(*head)?);
        if end > HEAD_BYTES + QUESTION_BYTES_MAX {
            let text = format!("a question has more than {QUESTION_BYTES_MAX} bytes");
            return Err(failure(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text));
        }
        if self.bytes.len() < end {
            return Ok(None);
        }
        let question = self.bytes.drain(..end).skip(HEAD_BYTES).collect();
        Ok(Some(question))
    }
}

fn answer(question: &Bytes) -> Result<Vec<u8>, Failure> {
    let asked = Question::decode(question.clone()).map_err(|e| bad(e.to_string()))?;
    let wanted = asked
        .wanted
        .ok_or_else(|| bad("a question about nothing"))?;
    let reply = Reply {
        host: asked.host,
        question: question.clone(),
        found: Some(find(wanted)),
    };
    Ok(reply.encode_to_vec())
}

fn find(wanted: Wanted) -> Found {
    let all = Descriptors::all();
    let file = |found: Option<Bytes>, name: &str| match found {
        Some(file) => Found::Files(Files { files: vec![file] }),
        None => nothing(name),
    };
    match wanted {
        Wanted::File(name) => file(all.file(&name), &name),
        Wanted::Symbol(name) => file(all.file_of(&name), &name),
        Wanted::Extension(Extension { of, number }) => nothing(&format!("{of}, field {number}")),
        Wanted::ExtensionsOf(of) => match all.file_of(&of) {
            Some(_) => Found::Extensions(Extensions {
                of,
                numbers: Vec::new(),
            }),
            None => nothing(&of),
        },
        Wanted::Services(_) => {
            let names = all.services().iter().cloned();
            Found::Services(Services {
                services: names.map(|name| Service { name }).collect(),
            })
        }
    }
}

fn nothing(name: &str) -> Found {
    Found::Nothing(Nothing {
        code: NOT_FOUND,
        words: format!("nothing here is called `{name}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::run;

    /// What comes of a body that arrives in pieces of this size.
    async fn asked(body: &[u8], piece: usize) -> Vec<Result<Bytes, &'static str>> {
        let pieces: Vec<_> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
        let pieces = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        let mut questions = Questions {
            parts: Body::from_stream(pieces).into_data_stream(),
            bytes: Vec::new(),
        };
        let mut out = Vec::new();
        while let Some(next) = questions.next().await {
            let is_end = next.is_err();
            out.push(next.map_err(|f| f.kind));
            if is_end {
                break;
            }
        }
        out
    }

    #[test]
    fn questions_are_told_apart_however_they_arrive() {
        run(async {
            let body = b"\0\0\0\0\x02hi\0\0\0\0\0\0\0\0\0\x01!";
            for piece in [1, 4, 6, 100] {
                let want = ["hi", "", "!"].map(|q| Ok(Bytes::from_static(q.as_bytes())));
                assert_eq!(asked(body, piece).await, want, "{piece}");
            }
            for (odd, want) in [
                (&b"\0\0\0"[..], "bad_request"),
                (b"\0\0\0\0\x02h", "bad_request"),
                (b"\x01\0\0\0\x02hi", "packed"),
                (b"\0\xff\xff\xff\xffhi", "too_large"),
            ] {
                assert_eq!(asked(odd, 1).await, [Err(want)], "{odd:?}");
            }
        });
    }

    #[test]
    fn what_is_not_there_is_said_and_the_question_comes_back() {
        let ask = |wanted: Wanted| {
            let question = Question {
                host: "h".into(),
                wanted: Some(wanted),
            };
            let bytes = Bytes::from(question.encode_to_vec());
            let reply = Reply::decode(Bytes::from(answer(&bytes).unwrap())).unwrap();
            assert_eq!((reply.host.as_str(), reply.question), ("h", bytes));
            reply.found.unwrap()
        };
        let of = "inference.ModelInferRequest".to_owned();
        for odd in [
            Wanted::File("other.proto".into()),
            Wanted::Symbol("inference.Other".into()),
            Wanted::ExtensionsOf("inference.Other".into()),
            Wanted::Extension(Extension {
                of: of.clone(),
                number: 9,
            }),
        ] {
            let found = ask(odd);
            assert!(
                matches!(&found, Found::Nothing(n) if n.code == 5),
                "{found:?}"
            );
        }
        let none = Extensions {
            of: of.clone(),
            numbers: Vec::new(),
        };
        assert_eq!(ask(Wanted::ExtensionsOf(of)), Found::Extensions(none));
        assert!(answer(&Bytes::new()).is_err());
    }
}
