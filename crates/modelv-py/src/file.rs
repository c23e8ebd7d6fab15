//! Reading a file of a commit. `modelv/_file.py` makes Python's file object of it.

use std::sync::{Mutex, PoisonError};

use modelv_repo::FileReader;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error;

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
        let mut failed = None;
        let bytes = PyBytes::new_with(py, usize::try_from(left)?, |buffer| {
            let done = py.detach(|| {
                let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                inner.read_at(position, buffer)
            });
            failed = done.err();
            Ok(())
        })?;
        match failed {
            None => Ok(bytes),
            Some(e) => Err(error::to_py(&e)),
        }
    }
}
