//! Serves predictions: HTTP in Rust in front of the user's `predict` in Python worker processes.
//!
//! Every response, metric and log line carries the commit. A failing request or a dying worker
//! costs that request and no other. `tokio` stays inside this crate.

mod config;
mod http;
mod log;
mod metrics;
mod probe;
mod worker;

pub use config::{ImageConfig, Limits, ServeOptions};
pub use http::serve;
pub use probe::probe;

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
    /// The address can't be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
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
