//! Addresses of remotes: which kind of store, where, with which credentials.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::ClientOptions;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::memory::InMemory;

use super::backend::Backend;
use super::cloud::{Clients, Cloud, retry};
use super::guard::Guarded;
use super::local::LocalDir;
use super::profile::Profile;
use super::{RemoteError, Result, Trouble, Way};

/// Settings of a remote beside its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Where the service is, for stores that speak a cloud's protocol: `http://127.0.0.1:8333`.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
}

/// Where instances find their role's credentials.
const METADATA_SERVICE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)),
    80,
);

/// Opens the store behind an address. A path without a scheme is a folder.
pub(crate) fn open(url: &str, options: &RemoteOptions) -> Result<Box<dyn Backend>> {
    open_with(url, None, options, None)
}

/// The same; `query` goes with every request to a web server, and into no message, and what that leads to is
/// judged by `way`.
pub(crate) fn open_with(
    url: &str,
    query: Option<&str>,
    options: &RemoteOptions,
    way: Option<&Way>,
) -> Result<Box<dyn Backend>> {
    let bad = |reason: &str| RemoteError::Address {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        if url.is_empty() || url.contains(':') && !url.starts_with(['/', '.']) {
            return Err(bad("expected file://, s3://, gs://, az:// or https://"));
        }
        return folder(url, url);
    };
    if rest.contains('@') {
        return Err(bad(
            "credentials don't belong in an address: it is stored and shown",
        ));
    }
    match scheme {
        "file" if rest.starts_with('/') => folder(url, rest),
        "file" => Err(bad("a folder is written `file:///path`")),
        "s3" | "gs" | "az" => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(bad("the bucket is missing"));
            }
            let prefix = object_store::path::Path::parse(prefix.trim_end_matches('/'))
                .map_err(|e| bad(&e.to_string()))?;
            let clients = match scheme {
                "s3" => s3(url, bucket, options)?,
                "gs" => gs(url, bucket, options)?,
                _ => az(url, bucket, options)?,
            };
            Ok(Box::new(Cloud::new(url, clients, prefix, false)?))
        }
        "https" | "http" => {
            // The library keeps the query of the place in the address of each object in it.
            let asked = query.map(|q| format!("{url}?{q}"));
            let build = |retries| {
                let client = client_options(url);
                let mut builder = HttpBuilder::new().with_url(asked.as_deref().unwrap_or(url));
                if let Some(way) = way {
                    builder = builder.with_http_connector(guarded(url, way)?);
                }
                builder
                    .with_client_options(client)
                    .with_retry(retry(retries))
                    .build()
            };
            let clients = Clients::make_whole(build).map_err(|e| match query {
                Some(_) => bad("it is no address of the web"),
                None => bad(&e.to_string()),
            })?;
            let prefix = object_store::path::Path::default();
            let mut cloud = Cloud::new(url, clients, prefix, true)?;
            cloud.hides_queries = query.is_some();
            Ok(Box::new(cloud))
        }
        "memory" if !rest.is_empty() => Ok(Box::new(memory(url)?)),
        _ => Err(bad("expected file://, s3://, gs://, az:// or https://")),
    }
}

/// A store in the memory of this process, the same for the same address: for tests of programs that
/// use the library. It is never given up.
fn memory(url: &str) -> Result<Cloud> {
    static STORES: Mutex<BTreeMap<String, Arc<InMemory>>> = Mutex::new(BTreeMap::new());
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let store = stores.entry(url.to_owned()).or_default();
    Cloud::memory(url, store)
}

fn folder(url: &str, path: &str) -> Result<Box<dyn Backend>> {
    let root = std::path::absolute(PathBuf::from(path)).map_err(|e| RemoteError::Address {
        url: url.to_owned(),
        reason: e.to_string(),
    })?;
    Ok(Box::new(LocalDir::new(url, root)))
}

fn guarded(url: &str, way: &Way) -> object_store::Result<Guarded> {
    Guarded::new(url, way, allows_http(url)).map_err(|e| object_store::Error::Generic {
        store: "HTTP",
        source: Box::new(e),
    })
}

/// Without TLS only on this machine, or when the user says so.
fn allows_http(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("http://").unwrap_or("");
    let is_here = ["127.", "localhost", "[::1]"]
        .iter()
        .any(|h| host.starts_with(h));
    let asked = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|v| v == "true" || v == "1");
    is_here || asked
}

fn client_options(endpoint: &str) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allows_http(endpoint))
        .with_connect_timeout(Duration::from_secs(10))
        // A large part over a slow line may take long; silence may not.
        .with_timeout_disabled()
        .with_read_timeout(Duration::from_secs(60))
}

fn s3(url: &str, bucket: &str, options: &RemoteOptions) -> Result<Clients> {
    let profile = Profile::load();
    let given = |name: &str| std::env::var(name).is_ok_and(|v| !v.is_empty());
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let in_env = given("AWS_ACCESS_KEY_ID")
        || given("AWS_WEB_IDENTITY_TOKEN_FILE")
        || given("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || given("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        || given("AWS_SKIP_SIGNATURE");
    if !in_env {
        match (
            profile.get("aws_access_key_id"),
            profile.get("aws_secret_access_key"),
        ) {
            (Some(id), Some(secret)) => {
                builder = builder
                    .with_access_key_id(id)
                    .with_secret_access_key(secret);
                if let Some(token) = profile.get("aws_session_token") {
                    builder = builder.with_token(token);
                }
            }
            _ => match profile.lack() {
                Some(lack) => {
                    let why = Some(lack.into());
                    return Err(RemoteError::access(url, Trouble::Credentials, why));
                }
                None => require_metadata_service(url)?,
            },
        }
    }
    let in_env = |names: &[&str]| names.iter().any(|n| given(n));
    let from_profile = |names: &[&str], key: &str| {
        (!in_env(names))
            .then(|| profile.get(key).map(str::to_owned))
            .flatten()
    };
    let region = options
        .region
        .clone()
        .or_else(|| from_profile(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region"));
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    let endpoint = options
        .endpoint
        .clone()
        .or_else(|| from_profile(&["AWS_ENDPOINT", "AWS_ENDPOINT_URL"], "endpoint_url"));
    if let Some(endpoint) = &endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    let endpoint = endpoint
        .or_else(|| std::env::var("AWS_ENDPOINT_URL").ok())
        .or_else(|| std::env::var("AWS_ENDPOINT").ok())
        .unwrap_or_default();
    let build = |retries| {
        builder
            .clone()
            .with_client_options(client_options(&endpoint))
            .with_retry(retry(retries))
            .build()
    };
    Clients::make(build).map_err(|e| misfit(url, e))
}

/// Without credentials anywhere, only the metadata service of an instance can have some; asking it
/// elsewhere would wait for minutes.
fn require_metadata_service(url: &str) -> Result<()> {
    if std::env::var_os("AWS_METADATA_ENDPOINT").is_some() {
        return Ok(());
    }
    TcpStream::connect_timeout(&METADATA_SERVICE, Duration::from_secs(1))
        .map(drop)
        .map_err(|_| RemoteError::access(url, Trouble::Credentials, None))
}

fn gs(url: &str, bucket: &str, options: &RemoteOptions) -> Result<Clients> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let endpoint = options.endpoint.clone().unwrap_or_default();
    let build = |retries| {
        builder
            .clone()
            .with_client_options(client_options(&endpoint))
            .with_retry(retry(retries))
            .build()
    };
    Clients::make(build).map_err(|e| misfit(url, e))
}

fn az(url: &str, container: &str, options: &RemoteOptions) -> Result<Clients> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let endpoint = options.endpoint.clone().unwrap_or_default();
    let build = |retries| {
        builder
            .clone()
            .with_client_options(client_options(&endpoint))
            .with_retry(retry(retries))
            .build()
    };
    Clients::make(build).map_err(|e| misfit(url, e))
}

/// A setting is missing or wrong: in practice an account, key or file of credentials.
fn misfit(url: &str, e: object_store::Error) -> RemoteError {
    RemoteError::access(url, Trouble::Credentials, Some(Box::new(e)))
}
