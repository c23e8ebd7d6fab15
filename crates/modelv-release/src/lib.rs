//! Turns a commit into an OCI image: a pure function of the commit, the base and this program.
//!
//! No daemon, no container, no clock: equal inputs give equal digests. Layers lie at disjoint paths,
//! what changes least at the bottom. OCI's words appear only in this crate.

mod app;
mod base;
mod ci;
mod demands;
mod elf;
mod error;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod inspect;
mod interpreter;
mod layer;
mod layout;
mod packer;
mod place;
mod reference;
mod registry;
mod release;
mod unpack;
mod verify;
mod wheel;

pub use base::Base;
pub use ci::{CiEnv, CiOptions, CiRecord, CiStep, ci, record_path};
pub use error::{Error, Result};
pub use inspect::{Inspection, LayerContent, inspect};
pub use layout::{LayerInfo, write_docker_tar};
pub use reference::{Reference, check_reference};
pub use registry::{Credentials, Pushed, push};
pub use release::{Image, ReleaseOptions, release};
pub use unpack::{RunConfig, unpack};
pub use verify::{Difference, Verification, commit_of, verify};
