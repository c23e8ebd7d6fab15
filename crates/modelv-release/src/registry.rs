//! A registry over the OCI distribution API. Who pushes never sends a blob that is there already, and the
//! manifest goes last, so that a tag never names what is not there. What is pulled is checked. How blobs
//! are sent is in `upload.rs`.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modelv_repo::Cancel;
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::layer::HashingRead;
use crate::layout::MANIFEST_MAX;
use crate::packer::Watched;
use crate::reference::{Reference, is_local};

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

pub(crate) struct Registry<'a> {
    agent: Agent,
    pub(crate) to: &'a Reference,
    credentials: Option<Credentials>,
    /// The `Authorization` that the registry has asked for.
    authorization: Option<String>,
    access: Access,
    /// Repositories of the same registry that blobs may be taken over from.
    pub(crate) mount_from: &'a [String],
    pub(crate) cancel: &'a Cancel,
}

/// Types of manifests and indexes; some registries hide those that are not asked for by name.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json";

/// What the system trusts, with the cryptography that remotes use too.
fn tls() -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

pub(crate) type Answer = std::result::Result<Response<Body>, ureq::Error>;

/// How many bytes lie at an address of an index, if it says so.
pub(crate) fn size_at(agent: &Agent, url: &str) -> Option<u64> {
    let answer = agent.head(url).call().ok()?;
    header(&answer, "content-length").parse().ok()
}

/// Asks indexes of packages.
pub(crate) fn index_agent() -> Agent {
    Agent::config_builder()
        .tls_config(tls())
        .timeout_global(Some(Duration::from_secs(15)))
        .build()
        .into()
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        to: &'a Reference,
        credentials: Option<Credentials>,
        access: Access,
        cancel: &'a Cancel,
    ) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls())
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_mins(5)));
        if to.is_local() {
            // No proxy leads back to this machine.
            config = config.proxy(None);
        }
        Self {
            agent: config.build().into(),
            to,
            credentials,
            authorization: None,
            access,
            mount_from: &[],
            cancel,
        }
    }

    pub(crate) fn bad(&self, detail: impl Into<String>) -> Error {
        Error::Registry {
            registry: self.to.registry.clone(),
            detail: detail.into(),
        }
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.to.root(), self.to.name)
    }

    /// Asks; once more if the registry wants to know who we are, as it does at first and when a token
    /// has grown old.
    pub(crate) fn call(
        &mut self,
        want: &[u16],
        ask: impl Fn(&Agent, &[(&str, &str)]) -> Answer,
    ) -> Result<Response<Body>> {
        self.call_at(true, want, ask)
    }

    /// The same at a place that the registry named. If that is not its own, it is never told who we are, whatever
    /// it asks: it could name a place for the password to go.
    pub(crate) fn call_at(
        &mut self,
        is_own: bool,
        want: &[u16],
        ask: impl Fn(&Agent, &[(&str, &str)]) -> Answer,
    ) -> Result<Response<Body>> {
        let mut is_known = false;
        loop {
            self.cancel.check()?;
            let mut headers = vec![("accept", "*/*")];
            if let Some(word) = self.authorization.as_ref().filter(|_| is_own) {
                headers.push(("authorization", word));
            }
            let answer = ask(&self.agent, &headers);
            self.cancel.check()?;
            let answer = answer.map_err(|e| self.bad(e.to_string()))?;
            if answer.status() == 401 && !is_known && is_own {
                is_known = true;
                self.authorization = Some(self.introduce(&answer)?);
                continue;
            }
            if want.contains(&answer.status().as_u16()) {
                return Ok(answer);
            }
            return Err(self.bad(reason(answer)));
        }
    }

    /// What to say to a registry that has asked who we are.
    fn introduce(&self, answer: &Response<Body>) -> Result<String> {
        let challenge = header(answer, "www-authenticate");
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((&challenge, ""));
        let told = self.credentials.as_ref().map(Credentials::basic);
        // Who has no name may be let in all the same; what keeps it from us is the reason where nobody is.
        let (basic, why) = match told.transpose() {
            Ok(basic) => (basic, String::new()),
            Err(why) => (None, format!("; {why}")),
        };
        if scheme.eq_ignore_ascii_case("basic") {
            let said = format!("it asks for a name and a password{why}");
            return basic.ok_or_else(|| self.bad(said));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(self.bad(format!("it asks for `{scheme}`, which is not spoken here")));
        }
        let realm = parameter(rest, "realm");
        let authority = realm.split('/').nth(2).unwrap_or_default();
        let is_safe = realm.starts_with("https://")
            || (realm.starts_with("http://")
                && self.to.is_local()
                && is_local(authority)
                && !authority.contains('@'));
        if !is_safe {
            // The password would go over the wire for everybody to read.
            let shown = realm.escape_debug();
            return Err(self.bad(format!("it wants a token from `{shown}`, in the clear")));
        }
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.to.name);
        let mut request = self.agent.get(&realm).query("scope", &scope);
        for from in self.mount_from {
            request = request.query("scope", format!("repository:{from}:pull"));
        }
        let service = parameter(rest, "service");
        if !service.is_empty() {
            request = request.query("service", &service);
        }
        if let Some(basic) = &basic {
            request = request.header("authorization", basic);
        }
        let answer = request.call().map_err(|e| self.bad(e.to_string()))?;
        if answer.status() != 200 {
            return Err(self.bad(format!("it gives no token: {}{why}", reason(answer))));
        }
        let json: Value = serde_json::from_str(&body(answer)).unwrap_or_default();
        let token = json["token"].as_str().or(json["access_token"].as_str());
        match token {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(self.bad("it gives no token")),
        }
    }

    /// Whether a blob is there.
    pub(crate) fn has_blob(&mut self, digest: &str) -> Result<bool> {
        let at = self.url(&format!("blobs/{digest}"));
        let answer = self.call(&[200, 404], |agent, headers| {
            with(agent.head(&at), headers).call()
        })?;
        Ok(answer.status() == 200)
    }

    /// The bytes of a manifest or index, by tag or digest.
    pub(crate) fn get_manifest(&mut self, wanted: &str) -> Result<Vec<u8>> {
        let found = self.find_manifest(wanted)?;
        found.ok_or_else(|| self.bad(format!("it answers 404: it has no `{wanted}`")))
    }

    /// The same; `None` if there is no such manifest.
    pub(crate) fn find_manifest(&mut self, wanted: &str) -> Result<Option<Vec<u8>>> {
        let at = self.url(&format!("manifests/{wanted}"));
        let answer = self.call(&[200, 404], |agent, headers| {
            with(agent.get(&at), headers)
                .header("accept", ACCEPT)
                .call()
        })?;
        match answer.status() == 404 {
            true => Ok(None),
            false => self.whole(answer).map(Some),
        }
    }

    fn whole(&self, answer: Response<Body>) -> Result<Vec<u8>> {
        let config = answer.into_body().into_with_config().limit(MANIFEST_MAX);
        let mut bytes = Vec::new();
        let read = config.reader().read_to_end(&mut bytes);
        read.map_err(|e| self.bad(e.to_string()))?;
        Ok(bytes)
    }

    /// Descriptors of what names a manifest as its subject: as the registry tells, or under the tag that stands
    /// for it where one knows none.
    pub(crate) fn referrers(&mut self, digest: &str) -> Result<Vec<Value>> {
        let at = self.url(&format!("referrers/{digest}"));
        let answer = self.call(&[200, 400, 404, 405], |agent, headers| {
            with(agent.get(&at), headers).call()
        })?;
        let bytes = match answer.status() == 200 {
            true => Some(self.whole(answer)?),
            false => self.find_manifest(&digest.replace(':', "-"))?,
        };
        let index = bytes.map(|bytes| serde_json::from_slice::<Value>(&bytes));
        let index = index.transpose().map_err(|e| self.bad(e.to_string()))?;
        let list = index
            .as_ref()
            .and_then(|index| index["manifests"].as_array());
        Ok(list.cloned().unwrap_or_default())
    }

    /// Brings a blob of at most `most` bytes into a file, or leaves none.
    pub(crate) fn get_blob(&mut self, digest: &str, to: &Path, most: u64) -> Result<()> {
        let at = self.url(&format!("blobs/{digest}"));
        let answer = self.call(&[200], |agent, headers| {
            with(agent.get(&at), headers).call()
        })?;
        // The limit is one that must not be reached.
        let config = answer.into_body().into_with_config();
        let config = config.limit(most.saturating_add(1));
        let mut input = HashingRead::new(Watched::new(config.reader(), self.cancel));
        let dir = to.parent().unwrap_or(Path::new("."));
        let mut temp = tempfile::NamedTempFile::new_in(dir).map_err(Error::io("create", dir))?;
        let copied = std::io::copy(&mut input, &mut temp);
        self.cancel.check()?;
        copied.map_err(|e| self.bad(format!("blob `{digest}`: {e}")))?;
        if input.digest() != digest {
            return Err(self.bad(format!("blob `{digest}` has other bytes")));
        }
        temp.persist(to)
            .map_err(|e| Error::io("write", to)(e.error))?;
        Ok(())
    }

    /// Puts a manifest; whether the registry links it to the subject that it names.
    pub(crate) fn put_manifest(
        &mut self,
        tag: &str,
        media: &str,
        bytes: &[u8],
        digest: &str,
    ) -> Result<bool> {
        let at = self.url(&format!("manifests/{tag}"));
        let answer = self.call(&[201], |agent, headers| {
            with(agent.put(&at), headers)
                .header("content-type", media)
                .send(bytes)
        })?;
        let found = header(&answer, "docker-content-digest");
        if !found.is_empty() && found != digest {
            return Err(self.bad(format!("it took the image for `{found}`")));
        }
        Ok(!header(&answer, "oci-subject").is_empty())
    }

    /// A `Location` may be a path alone.
    pub(crate) fn absolute(&self, location: &str) -> Result<String> {
        let root = self.to.root();
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(format!("{root}{location}"));
        }
        if location.starts_with("https://") || location.starts_with(&format!("{root}/")) {
            return Ok(location.to_owned());
        }
        let shown = location.escape_debug();
        Err(self.bad(format!(
            "it wants blobs at `{shown}`, which is no place for them"
        )))
    }
}

pub(crate) fn with<B>(
    mut request: ureq::RequestBuilder<B>,
    headers: &[(&str, &str)],
) -> ureq::RequestBuilder<B> {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

pub(crate) fn header(answer: &Response<Body>, name: &str) -> String {
    let value = answer.headers().get(name).and_then(|v| v.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn body(answer: Response<Body>) -> String {
    let config = answer
        .into_body()
        .into_with_config()
        .limit(ANSWER_BYTES_MAX);
    let mut bytes = Vec::new();
    let _ = config.reader().read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why a registry has refused: its own words, if it has any.
pub(crate) fn reason(answer: Response<Body>) -> String {
    let status = answer.status();
    let json: Value = serde_json::from_str(&body(answer)).unwrap_or_default();
    let words = json["errors"][0]["message"].as_str().unwrap_or_default();
    let words: String = words
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    match words.is_empty() {
        true => format!("it answers {status}"),
        false => format!("it answers {status}: {words}"),
    }
}

/// A parameter of a challenge: `realm="…",service="…"`.
fn parameter(challenge: &str, name: &str) -> String {
    let mut rest = challenge;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return value.to_owned();
        }
        rest = next;
    }
    String::new()
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
