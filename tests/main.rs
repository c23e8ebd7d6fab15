//! End-to-end tests through the real binary: every one in a folder of its own, with an environment
//! that is the same on every machine.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test that can't go on panics"
)]

mod alias;
mod aliases;
mod azure;
mod bases;
mod bombs;
mod build_time;
mod chaos;
mod ci;
mod collect;
mod completion;
mod compose;
mod deciding;
mod dependencies;
mod deploying;
mod diffs;
mod docker;
mod doubts;
mod environment;
mod errors;
mod external;
mod follow;
mod gates;
mod golden;
mod gs;
mod habits;
mod history;
mod hooks;
mod images;
mod interop;
mod kills;
mod large;
mod lineage;
mod linear;
mod merging;
mod modelpack;
mod mount;
mod onnx;
mod outputs;
mod pages;
mod papers;
mod parquet;
mod partial;
mod pipeline;
mod proxy;
mod pulls;
mod push;
mod python;
mod reaching;
mod release;
mod remote;
mod remote_gc;
mod runs;
mod s3;
mod scan;
mod secrets;
mod sequence;
mod serve;
mod serve_grpc;
mod serve_image;
mod serving;
mod snapshots;
mod spec;
mod statics;
mod story;
mod support;
mod sweeps;
mod tensors;
mod vendor;
mod venv;
mod verifying;
mod weed;
mod weights;
mod wheels;
