//! What is served, and within which limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ServeError;

/// Bounds on what a client may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Longest time for one prediction.
    pub predict: Duration,
    /// Longest time for the head of a request.
    pub header: Duration,
    /// Requests that may wait for a worker.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            predict: Duration::from_secs(30),
            header: Duration::from_secs(10),
            queue: 256,
        }
    }
}

/// What is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Folder with the user's code; the worker's current folder.
    pub app_dir: PathBuf,
    /// `module:function`.
    pub entry: String,
    /// The interpreter.
    pub python: PathBuf,
    /// Folders of packages.
    pub site_dirs: Vec<PathBuf>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Number of worker processes.
    pub workers: usize,
    /// The commit that is served.
    pub commit: String,
    /// Its recipe.
    pub recipe: String,
    /// What people call it.
    pub name: String,
    /// Bounds.
    pub limits: Limits,
}

/// `/opt/modelv/image.json`: what an image serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Folder with code, configuration and model.
    pub app_dir: PathBuf,
    /// The commit.
    pub commit: String,
    /// `module:function`.
    pub entry: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What people call it.
    pub name: String,
    /// The interpreter in the image.
    pub python: PathBuf,
    /// The recipe.
    pub recipe: String,
    /// Folders of packages.
    pub site_dirs: Vec<PathBuf>,
    /// Number of worker processes.
    pub workers: usize,
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
            entry: self.entry,
            python: self.python,
            site_dirs: self.site_dirs,
            listen: self.listen,
            workers: self.workers,
            commit: self.commit,
            recipe: self.recipe,
            name: self.name,
            limits: Limits::default(),
        }
    }
}
