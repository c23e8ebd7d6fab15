//! Reading a file of a commit. `modelv/_file.py` makes Python's file object of it.

use std::sync::{Mutex, PoisonError};

use modelv_repo::FileReader;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error;

/// So much is read before a signal is looked for.
const PIECE: usize = 16 << 20;

/// The bytes of one file of a commit, at any position; every byte is checked before it is given.
#[pyclass(frozen, module = "modelv._modelv")]
pub(crate) struct Reader {
    inner: Mutex<FileReader>,
    /// Bytes of the whole file.
    #[pyo3(get)]
    size: u64,
}

impl Reader {
    pub(crate) fn new(inner: FileReader) -> Self {
        let size = inner.size();
        Self {
            inner: Mutex::new(inner),
            size,
        }
    }
}

#[pymethods]
impl Reader {
    /// The bytes from `position` on: `count`, or as many as the file has.
    fn read_at<'py>(
        &self,
        py: Python<'py>,
        position: u64,
        count: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let left = self.size.saturating_sub(position).min(count);
        PyBytes::new_with(py, usize::try_from(left)?, |buffer| {
            let mut at = position;
            for piece in buffer.chunks_mut(PIECE) {
                // Ctrl-C ends a long read between two pieces.
                py.check_signals()?;
                let done = py.detach(|| {
                    let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                    inner.read_at(at, piece)
                });
                done.map_err(|e| error::to_py(&e))?;
                at += piece.len() as u64;
            }
            Ok(())
        })
    }
}
