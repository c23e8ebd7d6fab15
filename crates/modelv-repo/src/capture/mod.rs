//! Capture: everything around the files that a commit or a run records.

pub mod clock;
pub mod env;
pub mod exec;
pub mod git;
pub mod host;
pub mod imports;
pub mod installed;
pub(crate) mod metadata;
pub mod metrics;
mod observed;
pub mod params;
pub mod person;
pub mod python;
pub(crate) mod requires;
pub mod secrets;

#[cfg(test)]
mod tests;
