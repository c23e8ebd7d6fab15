//! Values of modelv and the laws between them: canonical bytes, ids, trees, commits, diff, merge
//! and the commit graph.
//!
//! Pure: no I/O, no clock, no environment, no threads. Where stored objects are needed, the caller
//! hands in a [`canon::Source`].

pub mod canon;
pub mod commit;
pub mod driver;
pub mod env;
pub mod graph;
pub mod id;
pub mod likeness;
pub mod merge;
pub mod path;
mod pickle;
mod renames;
pub mod requirement;
pub mod run;
pub mod scan;
pub mod stage;
pub mod thrift;
pub mod tree;
pub mod value;
pub mod weights;

#[cfg(test)]
mod matrix;
