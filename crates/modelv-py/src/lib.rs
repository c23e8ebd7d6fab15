//! The extension module `modelv._modelv`: the library's verbs as Python sees them.
//!
//! Converts arguments, calls one function of [`modelv_repo`], converts the result. Must never hold
//! domain logic, and never work on a repository while it holds the interpreter's lock.

mod convert;
mod error;
mod file;
mod repo;
mod run;
mod value;
mod work;

use pyo3::prelude::*;

/// What the Python part of the package builds on.
#[pymodule]
mod _modelv {
    #[pymodule_export]
    use crate::file::Reader;
    #[pymodule_export]
    use crate::repo::Repo;
    #[pymodule_export]
    use crate::run::{ActiveRun, Outcome};
    #[pymodule_export]
    use crate::value::{Commit, Recipe};

    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
