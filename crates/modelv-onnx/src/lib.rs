//! ONNX models, run in this process.
//!
//! The operators of neural networks are rten's; those of classical models (`ai.onnx.ml`) are here. A model is
//! cut into parts that the one or the other runs, when it is loaded. What nobody runs is refused then, by name.
//!
//! Must never panic, whatever a file says; read a file outside of the model's folder; give a result that was
//! computed otherwise than the model says.

mod cut;
mod doubles;
mod error;
mod external;
mod files;
mod graph;
mod network;
mod ops;
mod plan;
mod proto;
mod repair;
mod run;
mod slot;
mod tensor;

use std::path::Path;

pub use error::Error;
pub use files::{FILE_BYTES_MAX, FILES_BYTES_MAX};
pub use slot::Slot;
pub use tensor::{Data, ELEMENTS_MAX, Kind, Tensor};

use error::{Result, malformed};
use plan::Plan;

/// A model that can be run, from any number of threads at a time.
pub struct Model {
    plan: Plan,
}

/// Whether a model can be run here, on a thread with room for large graphs. The arguments are those of
/// [`Model::read`].
///
/// # Errors
/// As [`Model::read`].
pub fn check(
    bytes: Vec<u8>,
    other: &mut (dyn FnMut(&str) -> Result<Vec<u8>> + Send),
) -> Result<()> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        let read = builder.spawn_scoped(scope, || Model::read(bytes, other).map(drop));
        let read = read.map_err(|e| error::failed(e.to_string()))?;
        let failed = || error::failed("the runtime fails on it");
        read.join().unwrap_or_else(|_| Err(failed()))
    })
}

/// Stack of threads that read or run models: rten goes through a graph from node to node.
pub const STACK_BYTES: usize = 64 << 20;

/// What one thread needs for running models.
pub struct Runner {
    options: rten::RunOptions,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl Runner {
    /// One more thread for the arithmetic of whoever runs models.
    #[must_use]
    pub fn new() -> Self {
        let pool = rten::ThreadPool::with_num_threads(1);
        let options = rten::RunOptions::default().with_thread_pool(Some(pool.into()));
        Self { options }
    }
}

impl Model {
    /// Reads a model. `path` is below `root`, and so is all that it names.
    ///
    /// # Errors
    /// A file is missing, too large or malformed, or asks for what can't be run here.
    pub fn load(root: &Path, path: &str) -> Result<Self> {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        let bytes = files::read(root, Path::new(path))?;
        Self::read(bytes, &mut |name| files::read(root, &folder.join(name)))
    }

    /// Reads a model from bytes. `other` gives files that it names, relative to its own folder.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn read(bytes: Vec<u8>, other: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Self> {
        guarded("the runtime fails on it", malformed, || {
            Ok(Self {
                plan: Plan::read(bytes, other)?,
            })
        })
    }

    /// What it takes.
    #[must_use]
    pub fn inputs(&self) -> &[Slot] {
        &self.plan.inputs
    }

    /// What it gives.
    #[must_use]
    pub fn outputs(&self) -> &[Slot] {
        &self.plan.outputs
    }

    /// Whether requests may be put together: all that comes and goes has as many rows as anybody wants.
    #[must_use]
    pub fn takes_rows(&self) -> bool {
        let mut all = self.inputs().iter().chain(self.outputs());
        !self.inputs().is_empty() && all.all(|slot| slot.dims.first() == Some(&None))
    }

    /// The outputs for inputs in the order of [`Model::inputs`].
    ///
    /// # Errors
    /// The inputs don't fit, or an operator fails on them.
    pub fn run(&self, inputs: Vec<Tensor>, with: &Runner) -> Result<Vec<Tensor>> {
        guarded("the runtime fails on these inputs", error::failed, || {
            self.plan.run(inputs, with)
        })
    }
}

/// A panic of the runtime is an error like any other.
fn guarded<T>(
    what: &'static str,
    error: fn(String) -> Error,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    done.unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or(cause.downcast_ref::<&str>().copied());
        Err(error(match text {
            Some(text) => format!("{what}: {text}"),
            None => what.to_owned(),
        }))
    })
}

#[cfg(test)]
#[cfg(test)]
mod tests;
