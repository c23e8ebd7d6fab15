//! What can go wrong with a remote, sorted by what the user can do about it.

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What stands between us and the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// No credentials were found, or they are wrong or expired.
    Credentials,
    /// The credentials do not allow it.
    Denied,
    /// The bucket, container or folder does not exist.
    Bucket,
    /// The bucket is in another region.
    Region,
    /// Our clock and the remote's are too far apart.
    Clock,
    /// The host name is not known.
    Name,
    /// Nobody listens there.
    Refused,
    /// The certificate is not trusted, or there is no TLS.
    Tls,
    /// No answer in time.
    Timeout,
    /// This kind of remote can only be read.
    ReadOnly,
    /// There is no repository, where one was before.
    Gone,
    /// An object that the root names is not there.
    Missing,
    /// Anything else.
    Other,
}

impl Trouble {
    fn words(self) -> &'static str {
        match self {
            Self::Credentials => "no valid credentials",
            Self::Denied => "permission denied",
            Self::Bucket => "the bucket does not exist",
            Self::Region => "the bucket is in another region",
            Self::Clock => "this machine's clock differs too much from the remote's",
            Self::Name => "the host name can't be resolved",
            Self::Refused => "the connection was refused",
            Self::Tls => "no trusted TLS connection",
            Self::Timeout => "no answer in time",
            Self::ReadOnly => "it can only be read",
            Self::Gone => "no repository can be reached there any more",
            Self::Missing => "an object is missing",
            Self::Other => "the request failed",
        }
    }
}

/// Why a remote can't do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address is not one we know.
    #[error("remote address `{url}` is not valid: {reason}")]
    Address {
        /// As given.
        url: String,
        /// The rule.
        reason: String,
    },
    /// The remote does not let us.
    #[error("remote `{url}`: {}", .trouble.words())]
    Access {
        /// The remote.
        url: String,
        /// What stands in the way.
        trouble: Trouble,
        /// What the remote or the network said.
        #[source]
        source: Option<Cause>,
    },
    /// Two writers can win at once: refs would be lost there.
    #[error("remote `{url}` does not compare and swap: {detail}")]
    NoSwap {
        /// The remote.
        url: String,
        /// What was seen.
        detail: String,
    },
    /// Bytes are not what their hash says.
    #[error("{what} of remote `{url}` is damaged: {detail}")]
    Corrupt {
        /// The remote.
        url: String,
        /// Which object.
        what: String,
        /// What is wrong.
        detail: String,
    },
    /// The remote did not say whether the refs moved.
    #[error("remote `{url}` did not answer whether the refs were moved (attempt {attempt})")]
    Unknown {
        /// The remote.
        url: String,
        /// Nonce of the attempt, in hexadecimal.
        attempt: String,
    },
    /// Other writers were faster until we gave up.
    #[error("remote `{url}` was moved by others all the time")]
    Busy {
        /// The remote.
        url: String,
    },
    /// What this writer relied on was taken away meanwhile; nothing has moved.
    #[error("remote `{url}` was collected meanwhile")]
    Collected {
        /// The remote.
        url: String,
    },
    /// More is to be taken away than a root can name.
    #[error(
        "remote `{url}`: more than {most} objects are to go; those that were condemned before must go first"
    )]
    TooMany {
        /// The remote.
        url: String,
        /// How many a root names.
        most: usize,
    },
    /// The watcher asked to stop.
    #[error("interrupted")]
    Stopped,
    /// The local side failed.
    #[error(transparent)]
    Store(#[from] crate::Error),
}

impl RemoteError {
    /// Whether bytes are damaged, here or there.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Store(e) => e.is_corrupt(),
            _ => false,
        }
    }

    pub(crate) fn access(url: &str, trouble: Trouble, source: Option<Cause>) -> Self {
        Self::Access {
            url: url.to_owned(),
            trouble,
            source,
        }
    }

    pub(crate) fn corrupt(
        url: &str,
        what: impl Into<String>,
        detail: impl std::fmt::Display,
    ) -> Self {
        Self::Corrupt {
            url: url.to_owned(),
            what: what.into(),
            detail: detail.to_string(),
        }
    }
}
