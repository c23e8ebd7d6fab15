//! Who answers requests: a Python process with the user's function, or a thread with a model.

use std::io;
use std::sync::Arc;

use crate::ServeError;
use crate::body::{self, Room};
use crate::config::ServeOptions;
use crate::frame::Part;
use crate::log::Log;
use crate::onnx::{Shared, Thread};
use crate::process::{About, Process};

/// Where workers of a commit come from.
pub(crate) struct Workshop {
    /// A model that is run here; without it, workers are Python's.
    onnx: Option<Arc<Shared>>,
    /// For the results of all of them.
    room: Room,
}

pub(crate) enum Worker {
    Process(Process),
    Thread(Thread, Room),
}

impl Workshop {
    /// Reads what all workers share.
    pub(crate) async fn open(options: &ServeOptions) -> Result<Self, ServeError> {
        let onnx = match &options.model {
            None => None,
            Some(path) => Some(Shared::load(&options.app_dir, path, options.workers).await?),
        };
        Ok(Self {
            onnx,
            ..Self::of_python(options)
        })
    }

    /// Of functions in Python.
    pub(crate) fn of_python(options: &ServeOptions) -> Self {
        Self {
            onnx: None,
            room: Room::for_results(&options.limits),
        }
    }

    /// Whether it takes so long to begin that one is kept in reserve.
    pub(crate) fn has_spares(&self) -> bool {
        self.onnx.is_none()
    }

    /// One more worker, and what it says of what it answers with.
    pub(crate) async fn start(
        &self,
        options: &ServeOptions,
        log: &Arc<Log>,
    ) -> Result<(Worker, About), ServeError> {
        match &self.onnx {
            None => {
                let (process, about) = Process::start(options, &self.room, log).await?;
                Ok((Worker::Process(process), about))
            }
            Some(shared) => {
                let thread = Thread::start(shared).map_err(|e| ServeError::Entry {
                    entry: options.entry.clone(),
                    detail: e.to_string(),
                })?;
                let worker = Worker::Thread(thread, self.room.clone());
                Ok((worker, shared.about()))
            }
        }
    }
}

impl Worker {
    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Process(process) => process.id(),
            Self::Thread(thread, _) => thread.id(),
        }
    }

    /// What is known of its end.
    pub(crate) fn status(&mut self) -> Option<String> {
        match self {
            Self::Process(process) => process.status(),
            Self::Thread(..) => Some("left to itself".into()),
        }
    }

    /// Returns when it has gone away, or says what nobody asked for.
    pub(crate) async fn gone(&self) {
        match self {
            Self::Process(process) => process.gone().await,
            Self::Thread(..) => std::future::pending().await,
        }
    }

    /// Asks it.
    ///
    /// # Errors
    /// It has died, or says what is no answer.
    pub(crate) async fn ask(&mut self, bodies: &[&[u8]]) -> io::Result<Vec<Part>> {
        match self {
            Self::Process(process) => process.ask(bodies).await,
            Self::Thread(thread, room) => Ok(hold(thread.ask(bodies).await?, room)),
        }
    }

    /// The next of several results, or their end.
    ///
    /// # Errors
    /// As [`Worker::ask`].
    pub(crate) async fn go_on(&mut self) -> io::Result<Part> {
        match self {
            Self::Process(process) => process.go_on().await,
            Self::Thread(..) => Ok(Part::End),
        }
    }

    /// No more results are wanted.
    ///
    /// # Errors
    /// As [`Worker::ask`].
    pub(crate) async fn stop(&mut self) -> io::Result<()> {
        match self {
            Self::Process(process) => process.stop().await,
            Self::Thread(..) => Ok(()),
        }
    }
}

/// Counts results that were made in this process.
fn hold(mut parts: Vec<Part>, room: &Room) -> Vec<Part> {
    for part in &mut parts {
        if let Part::Result(text) = part {
            match room.hold_result(text.len()) {
                Ok(held) => *text = body::held(std::mem::take(text), held),
                Err(why) => return vec![why],
            }
        }
    }
    parts
}
