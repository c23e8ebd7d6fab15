//! Single objects that are no part of a remote: data that commits only refer to. See `spec/external.md`.
//!
//! Only reads. Whether the bytes are the right ones is for the caller to check. What follows `?` in an address may
//! be a secret (a signature that gives access for an hour): it is sent, and in no message.

use super::backend::Backend;
use super::{RemoteError, RemoteOptions, Result, Way, url};

/// What a store says of an object without reading it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectState {
    /// Its bytes.
    pub size: u64,
    /// The entity tag, with its quotes.
    pub e_tag: Option<String>,
    /// The version, where the store keeps versions.
    pub version: Option<String>,
    /// When it was written, in seconds since 1970 by the store's clock.
    pub modified: Option<u64>,
}

/// An object at an address. Nothing has been asked of its store yet when it is opened.
#[derive(Debug)]
pub struct ObjectAt {
    url: String,
    backend: Box<dyn Backend>,
    key: String,
}

/// The place that an object is in, and its name there. Buckets are places as a whole: keys may hold what
/// the address of a remote may not.
fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let start = scheme.len() + 3;
    let slash = match scheme {
        "s3" | "gs" | "az" => rest.find('/')?,
        "file" | "http" | "https" => rest.rfind('/')?,
        _ => return None,
    };
    let (place, key) = (&url[..start + slash], &url[start + slash + 1..]);
    let is_name = !key.is_empty() && !key.ends_with('/') && !key.split('/').any(str::is_empty);
    is_name.then_some((place, key))
}

/// An address of the web without what follows `?`, and that.
#[must_use]
pub fn split_query(url: &str) -> (&str, Option<&str>) {
    match url.split_once('?') {
        Some((plain, query)) => (plain, Some(query)),
        None => (url, None),
    }
}

/// An address as it may be shown and written down: a query may be a secret.
#[must_use]
pub fn shown_url(url: &str) -> String {
    match split_query(url) {
        (plain, Some(_)) if url.starts_with("http") => format!("{plain}?..."),
        _ => url.to_owned(),
    }
}

impl ObjectAt {
    /// Opens the object at `url`.
    ///
    /// # Errors
    /// The address names no object, or credentials are missing.
    pub fn open(url: &str, options: &RemoteOptions) -> Result<Self> {
        Self::open_at(url, options, None)
    }

    /// The same for an address that somebody else chose: one of the web leads no further than it may.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_guarded(url: &str, options: &RemoteOptions, way: &Way) -> Result<Self> {
        Self::open_at(url, options, Some(way))
    }

    fn open_at(url: &str, options: &RemoteOptions, way: Option<&Way>) -> Result<Self> {
        let bad = |reason: &str| RemoteError::Address {
            url: shown_url(url),
            reason: reason.to_owned(),
        };
        let is_web = url.starts_with("http");
        let (plain, query) = match is_web {
            true => split_query(url),
            false => (url, None),
        };
        if plain.contains("://") && plain.ends_with('/') {
            return Err(bad(
                "it is a folder, and an address is of one object: name each of its objects",
            ));
        }
        let (place, key) = split(plain).ok_or_else(|| {
            bad("expected one object below s3://, gs://, az://, https:// or file:///")
        })?;
        if is_web && url.contains('#') {
            return Err(bad("what follows `#` names no object: leave it out"));
        }
        let key = if is_web {
            let decoded = object_store::path::Path::from_url_path(key);
            decoded.map_err(|e| bad(&e.to_string()))?.to_string()
        } else {
            key.to_owned()
        };
        let place = if place == "file://" {
            "file:///"
        } else {
            place
        };
        Ok(Self {
            url: shown_url(url),
            backend: url::open_with(place, query, options, way)?,
            key,
        })
    }

    /// Its address, as it may be shown.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is there, or what a version of it is; `None`: nothing.
    ///
    /// # Errors
    /// The store can't be reached, or does not let us.
    pub fn state(&self, version: Option<&str>) -> Result<Option<ObjectState>> {
        self.backend.state(&self.key, version)
    }

    /// Streams it, or a version of it.
    ///
    /// # Errors
    /// It is not there, the store can't be reached, or those of `sink`.
    pub fn download(
        &self,
        version: Option<&str>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.backend.download_version(&self.key, version, sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_place_and_a_name_there() {
        for (url, want) in [
            ("s3://b/d/x@1.csv", Some(("s3://b", "d/x@1.csv"))),
            ("az://c/x", Some(("az://c", "x"))),
            ("file:///x", Some(("file://", "x"))),
            ("file:///d/x", Some(("file:///d", "x"))),
            ("https://h/d/x", Some(("https://h/d", "x"))),
            ("https://h/", None),
            ("s3://b", None),
            ("s3://b/", None),
            ("s3://b/d/", None),
            ("s3://b//x", None),
            ("ftp://h/x", None),
            ("x", None),
        ] {
            assert_eq!(split(url), want, "{url}");
        }
        let open = |url: &str| ObjectAt::open(url, &RemoteOptions::default());
        let signed = open("https://h/a/x.csv?X-Amz-Credential=a/b&sig=1").unwrap();
        assert_eq!(
            (signed.url(), signed.key.as_str()),
            ("https://h/a/x.csv?...", "x.csv")
        );
        assert!(open("https://h/x#top").is_err());
        let folder = open("s3://b/d/").unwrap_err().to_string();
        assert!(folder.contains("folder"), "{folder}");
        assert!(open("ftp://h/x").is_err());
        assert_eq!(open("http://127.0.0.1:1/a%20b").unwrap().key, "a b");
    }

    #[test]
    fn a_file_is_read_and_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), b"abc").unwrap();
        let at = |name: &str| format!("file://{}/{name}", dir.path().display());
        let open = |name: &str| ObjectAt::open(&at(name), &RemoteOptions::default()).unwrap();
        let state = open("x").state(None).unwrap().unwrap();
        assert_eq!((state.size, state.version), (3, None));
        assert!(state.e_tag.is_some());
        let mut read = Vec::new();
        let mut sink = |bytes: &[u8]| {
            read.extend_from_slice(bytes);
            Ok(())
        };
        open("x").download(None, &mut sink).unwrap();
        assert_eq!(read, b"abc");
        assert_eq!(open("y").state(None).unwrap(), None);
    }
}
