//! Our merges beside those of the tools people know, on random input: lines against `git merge-file`,
//! trees against `git merge-tree`, notebooks against nbdime, versions and markers against packaging.
//! Every disagreement is put in a class; none may lose what only one side wrote.
//!
//! `MODELV_DIFFERENTIAL` multiplies the number of cases; `tests/differential.sh` runs the long form.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test that can't go on panics; how often we disagree is told"
)]

mod lines;
mod notebooks;
mod requirements;
mod support;
mod trees;
#[path = "../venv.rs"]
mod venv;
