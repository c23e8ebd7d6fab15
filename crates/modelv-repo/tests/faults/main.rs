//! What is left of a repository when the machine, the disk or the process fails.
//!
//! The promise: what was acknowledged is there with its bytes, `fsck` finds nothing, the next
//! command works unaided, and no lock is left. Here it is held against simulated power cuts
//! (`power`), I/O errors (`errors`) and damage on the disk (`flips`). Short forms by default; a
//! number in `MODELV_FAULT_STATES`, or anything in `MODELV_FAULT_LONG`, asks for long ones
//! (`tests/faults`).

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that can't go on panics, and a long one says how far it is"
)]

mod errors;
mod flips;
mod power;
mod scene;
