//! What is served, and within which limits.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ServeError;
use crate::frame::ANSWER_BYTES_MAX;
use crate::payload::Payloads;

/// Bounds on what a client may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Longest time for one prediction, the wait for a worker included; and for a body.
    pub predict: Duration,
    /// Longest time for the head of a request, and between two requests of a connection.
    pub header: Duration,
    /// Requests that may wait for a worker.
    pub queue: usize,
    /// Memory for the bodies of all requests and what is made of them, in bytes; one body of the largest size
    /// always has room. Copies for mirrors have a quarter of it, for themselves.
    pub all_bodies_bytes: usize,
    /// Memory for the results of all workers of a commit, in bytes; none may have more.
    pub all_results_bytes: usize,
    /// Longest time in which a connection may stand still: no request, and no byte of an answer taken.
    pub idle: Duration,
    /// Connections at a time.
    pub connections: usize,
    /// How long requests under way may take once the server is asked to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            predict: Duration::from_secs(30),
            header: Duration::from_secs(10),
            queue: 256,
            all_bodies_bytes: 128 << 20,
            all_results_bytes: ANSWER_BYTES_MAX,
            idle: Duration::from_secs(120),
            connections: 768,
            drain: Duration::from_secs(10),
        }
    }
}

/// What is served: one commit.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Folder with the user's code; the worker's current folder.
    pub app_dir: PathBuf,
    /// `module:function`, or the path of the model.
    pub entry: String,
    /// An ONNX model below the folder, which is run by the server itself: no Python is started.
    pub model: Option<String>,
    /// The interpreter.
    pub python: PathBuf,
    /// Folders of packages.
    pub site_dirs: Vec<PathBuf>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Number of workers: processes, or threads for a model that is run by the server itself.
    pub workers: usize,
    /// The commit that is served.
    pub commit: String,
    /// Its recipe.
    pub recipe: String,
    /// What people call it.
    pub name: String,
    /// Bounds.
    pub limits: Limits,
    /// Most requests that are predicted in one call; 1 for functions that take no lists.
    pub batch: usize,
    /// How long a worker that could begin waits for more requests of a batch.
    pub batch_wait: Duration,
    /// Whether one more worker is kept loaded, to take the place of one that dies.
    pub spare: bool,
    /// Whether the function takes a data frame.
    pub frame: bool,
    /// Requests that are predicted before the first one of a client, each a JSON text.
    pub warm: Vec<Vec<u8>>,
    /// Requests whose answers are known: all must be answered so before the first one of a client is.
    pub known: Vec<Known>,
    /// What whoever operates it should know, and is logged as a warning when it is loaded.
    pub notes: Vec<String>,
}

/// A request whose answer is known.
#[derive(Clone)]
pub struct Known {
    /// JSON text.
    pub request: Vec<u8>,
    /// Whether an answer, JSON or why there is none, is the one that is known; the error says what differs.
    pub check: Check,
}

/// Looks at an answer.
pub type Check = Arc<dyn Fn(Result<&[u8], String>) -> Result<(), String> + Send + Sync>;

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({})", String::from_utf8_lossy(&self.request))
    }
}

/// One commit among those that a server serves.
pub struct Arm {
    /// The commit.
    pub options: ServeOptions,
    /// Its share of the requests, beside the weights of the others.
    pub weight: u32,
    /// Whether it gets copies of all requests, and answers nobody.
    pub mirror: bool,
    /// Kept as long as it is served, for example a folder that goes with it.
    pub guard: Guard,
}

/// Kept as long as a commit is served.
pub type Guard = Option<Box<dyn Any + Send + Sync>>;

/// Where newer commits come from. Asked again and again, on a thread of its own.
pub trait Source: Send {
    /// The next commit to serve; `None`: nothing has changed.
    ///
    /// # Errors
    /// It can't be told, or the commit can't be read: what is served now stays.
    fn next(&mut self) -> Result<Option<(ServeOptions, Guard)>, String>;

    /// What was given last can't be loaded or warmed, and does not serve. It may be given again: the cause
    /// may be gone by then.
    fn refused(&mut self) {}
}

/// A source, and how often it is asked.
pub struct Follow {
    /// The source.
    pub source: Box<dyn Source>,
    /// Time between two questions.
    pub every: Duration,
}

/// A whole server.
pub struct Server {
    /// What is served; at least one that is no mirror. The first is the one that follows a source.
    pub arms: Vec<Arm>,
    /// Where newer commits come from.
    pub follow: Option<Follow>,
    /// Header whose value keeps a client with one arm.
    pub sticky: String,
    /// Whether inputs and outputs are logged.
    pub payloads: Option<Payloads>,
}

impl From<ServeOptions> for Server {
    fn from(options: ServeOptions) -> Self {
        Self {
            arms: vec![Arm {
                options,
                weight: 1,
                mirror: false,
                guard: None,
            }],
            follow: None,
            sticky: "x-modelv-key".into(),
            payloads: None,
        }
    }
}

/// `/opt/modelv/image.json`: what an image serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Folder with code, configuration and model.
    pub app_dir: PathBuf,
    /// The commit.
    pub commit: String,
    /// `module:function`; empty if there is a model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entry: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// An ONNX model below that folder, in place of a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What people call it.
    pub name: String,
    /// The interpreter in the image; empty if there is a model.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub python: PathBuf,
    /// The recipe.
    pub recipe: String,
    /// Folders of packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site_dirs: Vec<PathBuf>,
    /// Number of workers.
    pub workers: usize,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl ImageConfig {
    /// Reads the file. `MODELV_LISTEN` and `MODELV_WORKERS` of the environment go before it.
    ///
    /// # Errors
    /// It is missing or malformed, or an environment variable is.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let bad = |detail: String| ServeError::Config {
            path: path.display().to_string(),
            detail,
        };
        let bytes = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
        let mut config: Self = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if let Ok(text) = std::env::var("MODELV_LISTEN") {
            config.listen = text
                .parse()
                .map_err(|_| bad(format!("MODELV_LISTEN `{text}`")))?;
        }
        if let Ok(text) = std::env::var("MODELV_WORKERS") {
            config.workers = text
                .parse()
                .map_err(|_| bad(format!("MODELV_WORKERS `{text}`")))?;
        }
        Ok(config)
    }

    /// What to serve.
    #[must_use]
    pub fn into_options(self) -> ServeOptions {
        ServeOptions {
            app_dir: self.app_dir,
            entry: self.model.clone().unwrap_or(self.entry),
            model: self.model,
            python: self.python,
            site_dirs: self.site_dirs,
            listen: self.listen,
            workers: self.workers,
            commit: self.commit,
            recipe: self.recipe,
            name: self.name,
            limits: Limits::default(),
            batch: 1,
            batch_wait: Duration::ZERO,
            spare: false,
            frame: false,
            warm: Vec::new(),
            known: Vec::new(),
            notes: Vec::new(),
        }
    }
}
