//! Serves predictions: HTTP in Rust in front of the user's `predict` in Python worker processes, or of an ONNX
//! model that is run on threads of this process.
//!
//! Every response, metric and log line carries the commit. A failing request or a dying worker
//! costs that request and no other. `tokio` stays inside this crate.

mod arms;
mod aside;
mod body;
mod config;
mod connection;
mod docs;
mod follow;
mod frame;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod http;
mod infer;
mod json_text;
mod log;
mod metrics;
mod model;
mod oip;
mod onnx;
mod payload;
mod pool;
mod predict;
mod probe;
mod process;
mod pulls;
mod schema;
mod tensor;
mod worker;

pub use config::{
    Arm, Check, Follow, Guard, ImageConfig, Known, Limits, ServeOptions, Server, Source,
};
pub use http::serve;
pub use modelv_onnx::Error as ModelError;
pub use payload::Payloads;
pub use probe::probe;
pub use pulls::{Images, Manifest, serve_pulls};

/// Why serving did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration of the image can't be read.
    #[error("cannot read `{path}`: {detail}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The user's function can't be loaded.
    #[error("cannot load `{entry}`: {detail}")]
    Entry {
        /// `module:function`.
        entry: String,
        /// Python's words.
        detail: String,
    },
    /// The model can't be run by the server itself.
    #[error("cannot serve the model `{path}`: {why}")]
    Model {
        /// The file.
        path: String,
        /// Why.
        why: modelv_onnx::Error,
    },
    /// The address can't be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A request for warming up is not answered.
    #[error("request {number} for warming up fails: {detail}")]
    Warm {
        /// Its number, from 1.
        number: usize,
        /// What became of it.
        detail: String,
    },
    /// A request is not answered as it is known to be.
    #[error("a golden request is not answered as recorded: {detail}")]
    Known {
        /// What differs.
        detail: String,
    },
    /// There is nothing but mirrors.
    #[error("no commit is to answer requests")]
    NoArm,
    /// Nobody there is ready to predict.
    #[error("the server on {address} is not ready: {detail}")]
    NotReady {
        /// Who was asked.
        address: std::net::SocketAddr,
        /// What came back.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot start the server")]
    Io(#[from] std::io::Error),
}
