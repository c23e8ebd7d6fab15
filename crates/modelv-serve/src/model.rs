//! One commit that is served: its workers, and what is known of its function.

use std::sync::Arc;

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
    /// Starts the workers, and tries the requests for warming up on each.
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
                    Ok(Answer::Result(_) | Answer::Stream(_)) => {}
                    Ok(Answer::Raised(message, _) | Answer::Unfit(message)) => {
                        return Err(failed(message));
                    }
                    Ok(Answer::NoRoom) => return Err(failed(NO_ROOM.into())),
                    Ok(Answer::Timeout) => return Err(failed("it took too long".into())),
                    Ok(Answer::Died) | Err(_) => return Err(failed("the worker died".into())),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn commit(&self) -> &str {
        &self.options.commit
    }
}
