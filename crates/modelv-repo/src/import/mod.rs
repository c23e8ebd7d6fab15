//! Histories and results of other tools, taken into the repository. Reads what they left on disk; must
//! never change it, and never runs them.

mod dvc;
mod git;
mod hub;
mod mlflow;
mod order;
mod places;
mod pointers;
mod snapshots;

pub use dvc::ImportedStages;
pub(crate) use git::{AUTHOR_TIME, Unreadable};
pub use git::{GitImport, Imported};
pub use hub::{HubImport, HubImported};
pub use mlflow::ImportedRuns;
pub(crate) use order::parents_first;
