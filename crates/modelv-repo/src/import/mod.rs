//! Histories and results of other tools, taken into the repository. Reads what they left on disk; must
//! never change it, and never runs them.

mod git;
mod pointers;
mod snapshots;

pub(crate) use git::{AUTHOR_TIME, Unreadable};
pub use git::{GitImport, Imported};
