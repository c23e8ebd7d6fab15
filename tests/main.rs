//! End-to-end tests through the real binary: every one in a folder of its own, with an environment
//! that is the same on every machine.

mod alias;
mod errors;
mod release;
mod story;
mod support;
