//! What can keep an image from being built.

use std::path::{Path, PathBuf};

use crate::golden::Mismatch;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The base can't be used.
    #[error("base `{base}` can't be used: {detail}")]
    Base {
        /// As given.
        base: String,
        /// What is wrong.
        detail: String,
    },
    /// A package can't be installed.
    #[error("package `{package}` can't be installed: {detail}")]
    Package {
        /// Name and version.
        package: String,
        /// What is wrong.
        detail: String,
    },
    /// A file that has no place in an image.
    #[error("`{path}` can't be put into an image: {detail}")]
    File {
        /// Its path in the commit, the wheel or the base.
        path: String,
        /// Why not.
        detail: String,
    },
    /// Shared libraries that no layer provides.
    #[error("shared libraries are missing in the image: {}", .missing.join(", "))]
    Libraries {
        /// `library (needed by FILE)`.
        missing: Vec<String>,
    },
    /// The commit says nothing of how it is served.
    #[error("commit `{commit}` names nothing to serve")]
    NoEntry {
        /// Short id.
        commit: String,
    },
    /// The commit declares how its model is made, and has none.
    #[error("commit `{commit}` has no model, and its modelv.toml says how one is made")]
    NoModel {
        /// Short id.
        commit: String,
    },
    /// There is no model to be offered by itself.
    #[error("commit `{commit}` has no model that could be offered as a ModelPack")]
    NoWeights {
        /// Short id.
        commit: String,
    },
    /// What the commit serves is not in it.
    #[error("commit `{commit}` can't serve `{entry}`: {detail}")]
    Entry {
        /// Short id.
        commit: String,
        /// `module:function`.
        entry: String,
        /// What is missing.
        detail: String,
    },
    /// The model that the commit serves is not one that the server runs.
    #[error("commit `{commit}` can't serve the model `{path}`: {why}")]
    Model {
        /// Short id.
        commit: String,
        /// Its path in the commit.
        path: String,
        /// Why not.
        why: modelv_onnx::Error,
    },
    /// A file of golden requests that is none.
    #[error("golden requests in `{path}`: {detail}")]
    GoldenFile {
        /// Its path in the commit.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The image does not answer as it was recorded.
    #[error("the image does not answer as recorded: {}", crate::golden::told(.found))]
    Golden {
        /// Where not, in the order of the requests.
        found: Vec<Mismatch>,
    },
    /// A server that was to be asked does not start.
    #[error("the server does not start: {detail}")]
    Unstarted {
        /// What it says.
        detail: String,
    },
    /// A request whose answer was to be recorded has none.
    #[error("{request} is not answered: {detail}")]
    Unanswered {
        /// Its name or number.
        request: String,
        /// What is said instead.
        detail: String,
    },
    /// A name for an image that no engine takes.
    #[error("`{}` is no name for an image", .reference.escape_debug())]
    Reference {
        /// As given.
        reference: String,
    },
    /// A name of a gateway or host that is none.
    #[error("`{}` is no name in DNS", .name.escape_debug())]
    DnsName {
        /// As given.
        name: String,
    },
    /// A registry does not take or give an image.
    #[error("registry `{registry}` can't be used: {detail}")]
    Registry {
        /// Host and port.
        registry: String,
        /// What is wrong.
        detail: String,
    },
    /// A file that is no key of the right kind.
    #[error("`{}` can't be used as a key: {detail}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// An image that is not signed as it has to be.
    #[error("image `{image}` is not signed with this key: {detail}")]
    Signature {
        /// The image.
        image: String,
        /// What is wrong.
        detail: String,
    },
    /// An engine does not take an image.
    #[error("`{engine} load` has failed: {detail}")]
    Engine {
        /// Its program.
        engine: String,
        /// What it says.
        detail: String,
    },
    /// The place for the image is taken.
    #[error("`{}` exists and is not replaced", .path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// There is no image of that name, here or in a registry.
    #[error("there is no image `{}`: it is no folder or tar, and names no registry", .image.escape_debug())]
    NoImage {
        /// As given.
        image: String,
    },
    /// An image is damaged or hostile.
    #[error("image `{image}` is damaged: {detail}")]
    Image {
        /// The layout.
        image: String,
        /// What is wrong.
        detail: String,
    },
    /// An image for another kind of machine.
    #[error("image `{image}` is not for this machine: {detail}")]
    Platform {
        /// The layout.
        image: String,
        /// What it is for.
        detail: String,
    },
    /// An image that can't be started here.
    #[error("image `{image}` can't be started here: {detail}")]
    Start {
        /// The layout.
        image: String,
        /// Why not.
        detail: String,
    },
    /// An image whose layers are packed in a way that what is asked for does not take.
    #[error("image `{image}` can't be used so: {detail}")]
    Packing {
        /// The layout.
        image: String,
        /// What is wrong.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot {op} `{}`", .path.display())]
    Io {
        /// Verb.
        op: &'static str,
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The repository's own error.
    #[error(transparent)]
    Repo(#[from] modelv_repo::Error),
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { op, path, source }
    }

    /// The same, of the image that somebody named: it may have been looked at elsewhere.
    pub(crate) fn of(mut self, named: &Path) -> Self {
        if let Self::Image { image, .. } | Self::Platform { image, .. } = &mut self {
            *image = named.display().to_string();
        }
        self
    }
}

/// Result with the crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
