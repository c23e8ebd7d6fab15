//! One commit that is served: its workers, and what is known of its function.

use std::sync::Arc;

use axum::body::Bytes;

use crate::ServeError;
use crate::config::{Guard, ServeOptions};
use crate::log::Log;
use crate::metrics::{Metrics, Served};
use crate::pool::{Answer, NO_ROOM, Pool};
use crate::process::About;

/// One commit that is served. Its workers end when the last request to it has ended.
pub(crate) struct Model {
    pub(crate) options: ServeOptions,
    pub(crate) pool: Pool,
    pub(crate) about: About,
    _served: Served,
    /// After the workers: they may still read what it keeps.
    _guard: std::sync::Mutex<Guard>,
}

impl Model {
    /// Starts the workers, tries the requests for warming up on each, and those whose answers are known.
    pub(crate) async fn load(
        options: ServeOptions,
        guard: Guard,
        metrics: &Arc<Metrics>,
        log: &Arc<Log>,
    ) -> Result<Self, ServeError> {
        for note in &options.notes {
            log.line_of(
                &options.commit,
                "warn",
                "note",
                serde_json::json!({"text": note}),
            );
        }
        let served = metrics.add(&options.commit, &options.recipe, &options.name);
        let (pool, about) = Pool::start(&options, metrics, log).await?;
        let model = Self {
            options,
            pool,
            about,
            _served: served,
            _guard: std::sync::Mutex::new(guard),
        };
        model.warm().await?;
        model.compare().await?;
        Ok(model)
    }

    async fn warm(&self) -> Result<(), ServeError> {
        for (number, body) in self.options.warm.iter().enumerate() {
            let failed = |detail: String| ServeError::Warm {
                number: number + 1,
                detail,
            };
            // One for each worker: all that are idle take one.
            let asked: Vec<_> = (0..self.options.workers.max(1))
                .filter_map(|_| self.pool.submit(body.clone()))
                .collect();
            for answer in asked {
                match answer.await {
                    Ok(Answer::Stream(_)) => {}
                    other => drop(whole(other).await.map_err(failed)?),
                }
            }
        }
        Ok(())
    }

    /// Asks what has a known answer.
    async fn compare(&self) -> Result<(), ServeError> {
        for known in &self.options.known {
            let wrong = |detail: String| ServeError::Known { detail };
            let got = match self.pool.submit(known.request.clone()) {
                Some(answer) => whole(answer.await).await,
                None => Err("too many requests wait".into()),
            };
            let got = got.as_ref().map(AsRef::as_ref).map_err(Clone::clone);
            (known.check)(got).map_err(wrong)?;
        }
        Ok(())
    }

    pub(crate) fn commit(&self) -> &str {
        &self.options.commit
    }
}

/// An answer to the end, as JSON, or why there is none.
async fn whole<E>(answer: Result<Answer, E>) -> Result<Bytes, String> {
    match answer {
        Ok(Answer::Result(text)) => Ok(text),
        Ok(Answer::Stream(mut results)) => {
            let mut list = Vec::from(*b"[");
            while let Some(next) = results.recv().await {
                if list.len() > 1 {
                    list.push(b',');
                }
                list.extend_from_slice(&next?);
            }
            list.push(b']');
            Ok(list.into())
        }
        Ok(Answer::Raised(message, _) | Answer::Unfit(message)) => Err(message),
        Ok(Answer::NoRoom) => Err(NO_ROOM.into()),
        Ok(Answer::Timeout) => Err("it took too long".into()),
        Ok(Answer::Died) | Err(_) => Err("the worker died".into()),
    }
}
