//! Turns a commit into an OCI image: a pure function of the commit, the base and this program.
//!
//! No daemon, no container, no clock: equal inputs give equal digests. Layers lie at disjoint paths,
//! what changes least at the bottom. OCI's words appear only in this crate.

mod base;
mod elf;
mod error;
mod layer;
mod layout;
mod release;
mod unpack;
mod wheel;

pub use base::Base;
pub use error::{Error, Result};
pub use layout::{LayerInfo, write_docker_tar};
pub use release::{Image, ReleaseOptions, release};
pub use unpack::{RunConfig, unpack};
