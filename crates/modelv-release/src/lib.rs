//! Turns a commit into an OCI image: a pure function of the commit, the base and this program.
//!
//! No daemon, no container, no clock: equal inputs give equal digests. Layers lie at disjoint paths,
//! what changes least at the bottom. OCI's words appear only in this crate.

mod app;
mod attest;
mod base;
mod ci;
mod context;
mod debian;
mod demands;
mod deploy;
mod diff;
mod elf;
mod entry;
mod error;
mod estimate;
mod explain;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod golden;
mod inspect;
mod interpreter;
mod layer;
mod layout;
mod load;
mod modelpack;
mod packer;
mod packing;
mod place;
mod plan;
mod pull;
mod reference;
mod registry;
mod release;
mod sbom;
mod shelf;
mod sign;
mod start;
mod steps;
mod unpack;
mod upload;
mod verify;
mod wheel;
mod zipped;

pub use attest::{Signed, check_signed};
pub use base::Base;
pub use ci::{CiEnv, CiOptions, CiRecord, CiStep, ci, evaluate_commit, record_path};
pub use context::write_context;
pub use deploy::{Deployment, Gateway, compose_files};
pub use diff::{Change, ImageDiff, LayerName, Side, diff};
pub use error::{Error, Result};
pub use estimate::Estimate;
pub use explain::{Explanation, explain};
pub use golden::{Golden, Mismatch, Replay, record};
pub use inspect::{Beside, Inspection, LayerContent, inspect};
pub use layout::{LayerInfo, write_docker_tar};
pub use load::{Engine, load};
pub use packing::Compression;
pub use plan::{Asked, PlannedLayer, PlannedPush, ReleasePlan, plan};
pub use pull::Source;
pub use reference::{Reference, as_tag, check_reference, mended};
pub use registry::Credentials;
pub use release::{Image, ReleaseOptions, release};
pub use shelf::Shelf;
pub use start::{PrivateFolder, start};
pub use unpack::{RunConfig, unpack, unpack_to_start};
pub use upload::{Pushed, push};
pub use verify::{Difference, Verification, verify};
