//! Who answers requests: a Python process with the user's function, or a thread with a model.

use std::io;
use std::sync::Arc;

use crate::ServeError;
use crate::config::ServeOptions;
use crate::frame::Part;
use crate::log::Log;
use crate::onnx::{Shared, Thread};
use crate::process::{About, Process};

/// Where workers of a commit come from.
pub(crate) enum Workshop {
    Python,
    Onnx(Arc<Shared>),
}

pub(crate) enum Worker {
    Process(Process),
    Thread(Thread),
}

impl Workshop {
    /// Reads what all workers share.
    pub(crate) async fn open(options: &ServeOptions) -> Result<Self, ServeError> {
        match &options.model {
            None => Ok(Self::Python),
            Some(path) => {
                let shared = Shared::load(&options.app_dir, path, options.workers).await?;
                Ok(Self::Onnx(shared))
            }
        }
    }

    /// Whether it takes so long to begin that one is kept in reserve.
    pub(crate) fn has_spares(&self) -> bool {
        matches!(self, Self::Python)
    }

    /// One more worker, and what it says of what it answers with.
    pub(crate) async fn start(
        &self,
        options: &ServeOptions,
        log: &Arc<Log>,
    ) -> Result<(Worker, About), ServeError> {
        match self {
            Self::Python => {
                let (process, about) = Process::start(options, log).await?;
                Ok((Worker::Process(process), about))
            }
            Self::Onnx(shared) => {
                let thread = Thread::start(shared).map_err(|e| ServeError::Entry {
                    entry: options.entry.clone(),
                    detail: e.to_string(),
                })?;
                Ok((Worker::Thread(thread), shared.about()))
            }
        }
    }
}

impl Worker {
    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Process(process) => process.id(),
            Self::Thread(thread) => thread.id(),
        }
    }

    /// What is known of its end.
    pub(crate) fn status(&mut self) -> Option<String> {
        match self {
            Self::Process(process) => process.status(),
            Self::Thread(_) => Some("left to itself".into()),
        }
    }

    /// Returns when it has gone away, or says what nobody asked for.
    pub(crate) async fn gone(&self) {
        match self {
            Self::Process(process) => process.gone().await,
            Self::Thread(_) => std::future::pending().await,
        }
    }

    /// Asks it.
    ///
    /// # Errors
    /// It has died, or says what is no answer.
    pub(crate) async fn ask(&mut self, bodies: &[&[u8]]) -> io::Result<Vec<Part>> {
        match self {
            Self::Process(process) => process.ask(bodies).await,
            Self::Thread(thread) => thread.ask(bodies).await,
        }
    }

    /// The next of several results, or their end.
    ///
    /// # Errors
    /// As [`Worker::ask`].
    pub(crate) async fn go_on(&mut self) -> io::Result<Part> {
        match self {
            Self::Process(process) => process.go_on().await,
            Self::Thread(_) => Ok(Part::End),
        }
    }

    /// No more results are wanted.
    ///
    /// # Errors
    /// As [`Worker::ask`].
    pub(crate) async fn stop(&mut self) -> io::Result<()> {
        match self {
            Self::Process(process) => process.stop().await,
            Self::Thread(_) => Ok(()),
        }
    }
}
