//! Capture: everything around the files that a commit or a run records.

mod added;
pub mod clock;
mod describe;
mod elf;
pub mod env;
pub mod exec;
pub mod git;
pub mod host;
pub mod imports;
pub mod installed;
mod libraries;
mod locks;
pub(crate) mod metadata;
pub mod metrics;
mod observed;
mod owners;
pub mod params;
pub mod person;
pub mod python;
pub(crate) mod requires;
mod rpm;
pub mod secrets;
pub mod system;

#[cfg(test)]
mod tests;
