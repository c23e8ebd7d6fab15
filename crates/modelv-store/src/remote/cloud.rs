//! A remote behind `object_store`: S3 and what speaks its protocol, Google Cloud Storage, Azure
//! Blob Storage, and static web servers (to read).
//!
//! Requests are repeated by the library, but for the conditional put: there a repetition could
//! refuse what its lost first answer had granted.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{
    Error as StoreError, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;

use super::backend::{Backend, Listed, PutIf, Version};
use super::object::ObjectState;
use super::parts::{PART_BYTES, Upload};
use super::{RemoteError, Result, Trouble, Watch, tick};

/// A store that takes files in parts.
pub(crate) trait InParts: MultipartStore + std::fmt::Debug {}

impl<S: MultipartStore + std::fmt::Debug> InParts for S {}

/// The same store three times, differing in how often a request is repeated.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Never: for conditional puts.
    once: Arc<dyn ObjectStore>,
    /// A few times, under a second: for the first contact.
    quick: Arc<dyn ObjectStore>,
    /// For minutes: for transfers.
    patient: Arc<dyn ObjectStore>,
    /// As patient, for large files; `None`: they can't be sent in parts.
    parts: Option<Arc<dyn InParts>>,
}

/// How often a request is repeated for transfers.
const PATIENT: usize = 8;

impl Clients {
    /// Of a store that takes files in parts.
    pub(crate) fn make<S: ObjectStore + MultipartStore>(
        build: impl Fn(usize) -> object_store::Result<S>,
    ) -> object_store::Result<Self> {
        let mut clients = Self::make_whole(&build)?;
        clients.parts = Some(Arc::new(build(PATIENT)?));
        Ok(clients)
    }

    /// Of any store.
    pub(crate) fn make_whole<S: ObjectStore>(
        build: impl Fn(usize) -> object_store::Result<S>,
    ) -> object_store::Result<Self> {
        // Two providers of cryptography could be linked in; ours is set once for the process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            once: Arc::new(build(0)?),
            quick: Arc::new(build(3)?),
            patient: Arc::new(build(PATIENT)?),
            parts: None,
        })
    }
}

/// How often and how long requests are repeated.
pub(crate) fn retry(times: usize) -> RetryConfig {
    RetryConfig {
        max_retries: times,
        retry_timeout: Duration::from_secs(120),
        ..RetryConfig::default()
    }
}

/// A bucket, or a part of one.
#[derive(Debug)]
pub(crate) struct Cloud {
    url: String,
    clients: Clients,
    prefix: Key,
    read_only: bool,
    /// Whether what follows `?` in an address is a secret.
    pub(crate) hides_queries: bool,
    runtime: Runtime,
}

/// What a library's error and its causes say, without the queries of addresses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Hidden(String);

/// A text whose addresses have no queries.
fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, query)) = rest.split_once('?') {
        out.push_str(before);
        out.push_str("?...");
        let is_end = |c: char| c.is_whitespace() || "\"'`)>]".contains(c);
        rest = query.find(is_end).map_or("", |end| &query[end..]);
    }
    out + rest
}

impl Cloud {
    pub(crate) fn new(url: &str, clients: Clients, prefix: Key, read_only: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| RemoteError::access(url, Trouble::Other, Some(Box::new(e))))?;
        Ok(Self {
            url: url.to_owned(),
            clients,
            prefix,
            read_only,
            hides_queries: false,
            runtime,
        })
    }

    /// A store in memory.
    pub(crate) fn memory(url: &str, store: &Arc<object_store::memory::InMemory>) -> Result<Self> {
        let shared = || store.clone() as Arc<dyn ObjectStore>;
        let clients = Clients {
            once: shared(),
            quick: shared(),
            patient: shared(),
            parts: Some(store.clone()),
        };
        Self::new(url, clients, Key::default(), false)
    }

    fn key(&self, key: &str) -> Key {
        let parts = self.prefix.parts();
        Key::from_iter(parts.chain(Key::from(key).parts()))
    }

    fn failed(&self, e: StoreError) -> RemoteError {
        let trouble = classify(&e);
        let cause: Box<dyn std::error::Error + Send + Sync> = match self.hides_queries {
            true => Box::new(Hidden(without_queries(&chain(&e)))),
            false => Box::new(e),
        };
        RemoteError::access(&self.url, trouble, Some(cause))
    }

    fn writable(&self) -> Result<()> {
        if self.read_only {
            return Err(RemoteError::access(&self.url, Trouble::ReadOnly, None));
        }
        Ok(())
    }

    async fn send_file(
        &self,
        key: &Key,
        file: &Path,
        journal: &Path,
        watch: &dyn Watch,
    ) -> Result<()> {
        let io = |e: std::io::Error| crate::Error::io("read", file)(e);
        let size = std::fs::metadata(file).map_err(io)?.len();
        let parts = self.clients.parts.as_deref();
        let Some(store) = parts.filter(|_| size > PART_BYTES) else {
            let bytes = std::fs::read(file).map_err(io)?;
            let patient = &self.clients.patient;
            patient
                .put(key, PutPayload::from(bytes))
                .await
                .map_err(|e| self.failed(e))?;
            return tick(watch, size);
        };
        let failed = |e| self.failed(e);
        let upload = Upload {
            store,
            key,
            file,
            journal,
            failed: &failed,
        };
        match upload.send(watch).await {
            Err(e @ RemoteError::Access { .. }) => {
                // The answer to the last request may have been lost, and the repeated one refused.
                let there = self.clients.patient.head(key).await;
                match there.is_ok_and(|meta| meta.size == size) {
                    true => Ok(()),
                    false => Err(e),
                }
            }
            done => done,
        }
    }
}

impl Backend for Cloud {
    fn read(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, Version)>> {
        let key = self.key(key);
        self.runtime.block_on(async {
            let found = match self.clients.quick.get(&key).await {
                Ok(found) => found,
                Err(e) if is_missing(&e) => return Ok(None),
                Err(e) => return Err(self.failed(e)),
            };
            let version = Version {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            if found.meta.size > limit {
                let what = format!("`{key}`");
                return Err(RemoteError::corrupt(&self.url, what, "it is too large"));
            }
            let bytes = found.bytes().await.map_err(|e| self.failed(e))?;
            Ok(Some((bytes.to_vec(), version)))
        })
    }

    fn put_if(&self, key: &str, bytes: &[u8], expected: Option<&Version>) -> PutIf {
        if let Err(e) = self.writable() {
            return PutIf::Failed(e);
        }
        let mode = expected.map_or(PutMode::Create, |v| {
            PutMode::Update(UpdateVersion {
                e_tag: v.e_tag.clone(),
                version: v.version.clone(),
            })
        });
        let payload = PutPayload::from(bytes.to_vec());
        let key = self.key(key);
        let put = self
            .clients
            .once
            .put_opts(&key, payload, PutOptions::from(mode));
        let put = self.runtime.block_on(put);
        match put {
            Ok(_) => PutIf::Done,
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                PutIf::Refused
            }
            Err(e) => match classify(&e) {
                // The server has looked at the request and turned it down, or never got it.
                Trouble::Credentials
                | Trouble::Denied
                | Trouble::Bucket
                | Trouble::Region
                | Trouble::Clock
                | Trouble::Name
                | Trouble::Refused => PutIf::Failed(self.failed(e)),
                _ => PutIf::Ambiguous(self.failed(e)),
            },
        }
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.writable()?;
        let key = self.key(key);
        let put = self
            .clients
            .patient
            .put(&key, PutPayload::from(bytes.to_vec()));
        self.runtime
            .block_on(put)
            .map(drop)
            .map_err(|e| self.failed(e))
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        let key = self.key(key);
        match self.runtime.block_on(self.clients.patient.head(&key)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn upload(&self, key: &str, file: &Path, journal: &Path, watch: &dyn Watch) -> Result<()> {
        self.writable()?;
        let key = self.key(key);
        self.runtime
            .block_on(self.send_file(&key, file, journal, watch))
    }

    fn state(&self, key: &str, version: Option<&str>) -> Result<Option<ObjectState>> {
        let key = self.key(key);
        let options = GetOptions {
            head: true,
            version: version.map(str::to_owned),
            ..GetOptions::default()
        };
        let found = self.clients.quick.get_opts(&key, options);
        match self.runtime.block_on(found) {
            Ok(found) => Ok(Some(ObjectState {
                size: found.meta.size,
                modified: Some(seconds(&found.meta)),
                e_tag: found.meta.e_tag,
                // A bucket that once kept versions says so of what it keeps none of.
                version: found.meta.version.filter(|v| v != "null"),
            })),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn download_version(
        &self,
        key: &str,
        version: Option<&str>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let key = self.key(key);
        let options = GetOptions {
            version: version.map(str::to_owned),
            ..GetOptions::default()
        };
        self.runtime.block_on(async {
            let found = self.clients.patient.get_opts(&key, options).await;
            let mut stream = found.map_err(|e| self.failed(e))?.into_stream();
            while let Some(bytes) = stream.next().await {
                sink(&bytes.map_err(|e| self.failed(e))?)?;
            }
            Ok(())
        })
    }

    fn ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>> {
        let key = self.key(key);
        let found = self.clients.patient.get_ranges(&key, ranges);
        let found = self.runtime.block_on(found).map_err(|e| self.failed(e))?;
        Ok(found.into_iter().map(|b| b.to_vec()).collect())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let prefix = self.key(folder);
        let own = self.prefix.parts().count();
        let listed = self.clients.patient.list(Some(&prefix));
        let found: Vec<_> = self
            .runtime
            .block_on(listed.collect::<Vec<_>>())
            .into_iter()
            .collect::<object_store::Result<_>>()
            .map_err(|e| self.failed(e))?;
        let within = |key: &Key| Key::from_iter(key.parts().skip(own)).to_string();
        Ok(found
            .into_iter()
            .map(|meta| Listed {
                key: within(&meta.location),
                bytes: meta.size,
                modified: seconds(&meta),
            })
            .collect())
    }

    fn modified(&self, key: &str) -> Result<Option<u64>> {
        let key = self.key(key);
        match self.runtime.block_on(self.clients.patient.head(&key)) {
            Ok(meta) => Ok(Some(seconds(&meta))),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn delete(&self, key: &str) -> Result<()> {
        let key = self.key(key);
        match self.runtime.block_on(self.clients.patient.delete(&key)) {
            Err(e) if !is_missing(&e) => Err(self.failed(e)),
            _ => Ok(()),
        }
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }
}

fn seconds(meta: &object_store::ObjectMeta) -> u64 {
    u64::try_from(meta.last_modified.timestamp()).unwrap_or_default()
}

/// An object that is not there; a bucket that is not there is another matter.
fn is_missing(e: &StoreError) -> bool {
    matches!(e, StoreError::NotFound { .. }) && classify(e) == Trouble::Missing
}

/// Everything an error and its causes say.
pub(crate) fn chain(e: &StoreError) -> String {
    let mut text = e.to_string();
    let mut at = std::error::Error::source(e);
    while let Some(cause) = at {
        text.push_str(" | ");
        text.push_str(&cause.to_string());
        at = cause.source();
    }
    text
}

/// Sorts an error by the codes of S3, Google and Azure and the words of the network stack; the
/// library's variants alone don't tell a missing bucket from a missing object.
pub(crate) fn classify(e: &StoreError) -> Trouble {
    let text = chain(e);
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if says(&[
        "NoSuchBucket",
        "ContainerNotFound",
        "The specified bucket does not exist",
    ]) {
        Trouble::Bucket
    } else if says(&["RequestTimeTooSkewed", "RequestExpired"]) {
        Trouble::Clock
    } else if says(&[
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "without LOCATION",
    ]) {
        Trouble::Region
    } else if says(&[
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "AuthenticationFailed",
        "failed to authenticate the request",
        "latest/api/token",
        "security-credentials",
        "metadata.google.internal",
        "computeMetadata",
        "metadata/identity/oauth2",
    ]) || matches!(e, StoreError::Unauthenticated { .. })
    {
        Trouble::Credentials
    } else if says(&["AccessDenied"]) || matches!(e, StoreError::PermissionDenied { .. }) {
        Trouble::Denied
    } else if says(&["dns error", "failed to lookup address"]) {
        Trouble::Name
    } else if says(&["onnection refused"]) {
        Trouble::Refused
    } else if says(&[
        "certificate",
        "UnknownIssuer",
        "InvalidContentType",
        "URL scheme is not allowed",
    ]) {
        Trouble::Tls
    } else if matches!(e, StoreError::NotFound { .. }) {
        Trouble::Missing
    } else if says(&["timed out", "operation timed"]) {
        Trouble::Timeout
    } else {
        Trouble::Other
    }
}

#[cfg(test)]
mod tests {
    use super::without_queries;

    #[test]
    fn a_message_has_no_query() {
        let text =
            "GET https://h/x?sig=a%2Fb&e=1 failed (https://h/y?token='t') why? \"https://h?k=v\"";
        let shown = without_queries(text);
        assert_eq!(
            shown,
            "GET https://h/x?... failed (https://h/y?...'t') why?... \"https://h?...\""
        );
    }
}
