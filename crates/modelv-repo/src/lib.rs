//! The library of modelv: one [`Repo`] with the verbs the command line has.
//!
//! Blocking, with threads where work is large. Never prints, never reads the terminal.

pub mod capture;
pub mod ctx;
pub mod error;
pub mod worktree;

pub use ctx::Ctx;
pub use error::{Error, ErrorKind, Result};
