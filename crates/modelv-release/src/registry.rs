//! Pushing to a registry over the OCI distribution API: blobs that are there already are not sent, and
//! the manifest goes last, so that a tag never names what is not there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use modelv_repo::ctx::Unit;
use modelv_repo::{Cancel, Ctx};
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use crate::error::{Error, Result};
use crate::layout::{blob_path, check_digest, read_bounded, read_manifest};
use crate::packer::Watched;
use crate::reference::{Reference, is_local};

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A name and a password, for `Authorization: Basic`. Never shown.
#[derive(Clone)]
pub struct Credentials(String);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Of a name and a password.
    #[must_use]
    pub fn new(name: &str, password: &str) -> Self {
        Self(STANDARD.encode(format!("{name}:{password}")))
    }

    /// What `docker login` has left for a registry: in its `config.json`, or with the helper named there.
    #[must_use]
    pub fn from_docker(config: &Path, registry: &str) -> Option<Self> {
        let mut text = String::new();
        let file = File::open(config).ok()?;
        file.take(ANSWER_BYTES_MAX).read_to_string(&mut text).ok()?;
        let json: Value = serde_json::from_str(&text).ok()?;
        let server = match registry {
            "docker.io" | "registry-1.docker.io" => "https://index.docker.io/v1/",
            other => other,
        };
        let helper = json["credHelpers"][server].as_str();
        if let Some(helper) = helper.or(json["credsStore"].as_str()) {
            return Self::from_helper(helper, server);
        }
        let auth = json["auths"][server]["auth"].as_str()?;
        let is_sane = |b: u8| b.is_ascii_graphic();
        (!auth.is_empty() && auth.bytes().all(is_sane)).then(|| Self(auth.to_owned()))
    }

    /// Asks `docker-credential-NAME`: the server goes in, JSON comes out
    /// (<https://github.com/docker/docker-credential-helpers>, "Usage").
    fn from_helper(name: &str, server: &str) -> Option<Self> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        let mut child = Command::new(format!("docker-credential-{name}"))
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // One that does not listen ends with an error of its own.
        let _ = child.stdin.take()?.write_all(server.as_bytes());
        let mut said = Vec::new();
        let out = child.stdout.take()?;
        let read = out.take(ANSWER_BYTES_MAX).read_to_end(&mut said);
        let is_done = child.wait().ok()?.success();
        let json: Value = serde_json::from_slice(&said).ok()?;
        let (user, secret) = (json["Username"].as_str()?, json["Secret"].as_str()?);
        (read.is_ok() && is_done).then(|| Self::new(user, secret))
    }
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest, by which it can be pulled for ever.
    pub digest: String,
    /// Blobs that were sent.
    pub sent: usize,
    /// Blobs that were there.
    pub present: usize,
}

/// Pushes an image layout.
///
/// # Errors
/// The layout is damaged, the registry can't be reached or refuses, or it was interrupted.
pub fn push(
    layout: &Path,
    to: &Reference,
    credentials: Option<Credentials>,
    ctx: Ctx<'_>,
) -> Result<Pushed> {
    let (digest, manifest) = read_manifest(layout)?;
    let mut registry = Registry::new(to, credentials, ctx.cancel);
    let empty = Vec::new();
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    let mut blobs = Vec::new();
    for descriptor in layers.iter().chain([&manifest["config"]]) {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let path = blob_path(layout, digest)?;
        let size = std::fs::metadata(&path)
            .map_err(Error::io("read", &path))?
            .len();
        blobs.push((digest, path, size));
    }
    let total = blobs.iter().map(|(_, _, size)| size).sum();
    ctx.progress.start("pushing", Unit::Bytes, Some(total));
    let (mut sent, mut present) = (0, 0);
    for (digest, path, size) in &blobs {
        match registry.put_blob(path, digest, *size)? {
            true => sent += 1,
            false => present += 1,
        }
        ctx.progress.advance(*size);
    }
    let bytes = read_bounded(layout, &blob_path(layout, &digest)?)?;
    check_digest(layout, &digest, &bytes)?;
    let media = manifest["mediaType"].as_str().unwrap_or_default();
    registry.put_manifest(&to.tag, media, &bytes, &digest)?;
    ctx.progress.finish();
    Ok(Pushed {
        digest,
        sent,
        present,
    })
}

struct Registry<'a> {
    agent: Agent,
    to: &'a Reference,
    credentials: Option<Credentials>,
    /// The `Authorization` that the registry has asked for.
    authorization: Option<String>,
    cancel: &'a Cancel,
}

/// What the system trusts, with the cryptography that remotes use too.
fn tls() -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

type Answer = std::result::Result<Response<Body>, ureq::Error>;

impl<'a> Registry<'a> {
    fn new(to: &'a Reference, credentials: Option<Credentials>, cancel: &'a Cancel) -> Self {
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
            cancel,
        }
    }

    fn bad(&self, detail: impl Into<String>) -> Error {
        Error::Registry {
            registry: self.to.registry.clone(),
            detail: detail.into(),
        }
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.to.root(), self.to.name)
    }

    /// Asks; once more if the registry wants to know who we are, as it does at first and when a token
    /// has grown old.
    fn call(
        &mut self,
        want: &[u16],
        ask: impl Fn(&Agent, &[(&str, &str)]) -> Answer,
    ) -> Result<Response<Body>> {
        let mut is_known = false;
        loop {
            self.cancel.check()?;
            let mut headers = vec![("accept", "*/*")];
            if let Some(word) = &self.authorization {
                headers.push(("authorization", word));
            }
            let answer = ask(&self.agent, &headers);
            self.cancel.check()?;
            let answer = answer.map_err(|e| self.bad(e.to_string()))?;
            if answer.status() == 401 && !is_known {
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
        let basic = self.credentials.as_ref().map(|c| format!("Basic {}", c.0));
        if scheme.eq_ignore_ascii_case("basic") {
            return basic.ok_or_else(|| self.bad("it asks for a name and a password"));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(self.bad(format!("it asks for `{scheme}`, which is not spoken here")));
        }
        let realm = parameter(rest, "realm");
        let authority = realm.split('/').nth(2).unwrap_or_default();
        let is_safe = realm.starts_with("https://")
            || (realm.starts_with("http://") && self.to.is_local() && is_local(authority));
        if !is_safe {
            // The password would go over the wire for everybody to read.
            let shown = realm.escape_debug();
            return Err(self.bad(format!("it wants a token from `{shown}`, in the clear")));
        }
        let scope = format!("repository:{}:pull,push", self.to.name);
        let mut request = self.agent.get(&realm).query("scope", &scope);
        let service = parameter(rest, "service");
        if !service.is_empty() {
            request = request.query("service", &service);
        }
        if let Some(basic) = &basic {
            request = request.header("authorization", basic);
        }
        let answer = request.call().map_err(|e| self.bad(e.to_string()))?;
        if answer.status() != 200 {
            return Err(self.bad(format!("it gives no token: {}", reason(answer))));
        }
        let json: Value = serde_json::from_str(&body(answer)).unwrap_or_default();
        let token = json["token"].as_str().or(json["access_token"].as_str());
        match token {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(self.bad("it gives no token")),
        }
    }

    /// Sends a blob unless it is there; says whether it was sent.
    fn put_blob(&mut self, path: &Path, digest: &str, size: u64) -> Result<bool> {
        let at = self.url(&format!("blobs/{digest}"));
        let there = self.call(&[200, 404], |agent, headers| {
            with(agent.head(&at), headers).call()
        })?;
        if there.status() == 200 {
            return Ok(false);
        }
        let uploads = self.url("blobs/uploads/");
        let answer = self.call(&[202], |agent, headers| {
            with(agent.post(&uploads), headers).send_empty()
        })?;
        let place = self.absolute(&header(&answer, "location"))?;
        let joint = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{joint}digest={digest}");
        let is_own = place.starts_with(&format!("{}/", self.to.root()));
        let cancel = self.cancel;
        let length = size.to_string();
        self.call(&[201], |agent, headers| {
            // Where the bytes go need not be the registry; then it is not told who we are.
            let headers = if is_own { headers } else { &[] };
            let mut body = Watched::new(File::open(path)?, cancel);
            with(agent.put(&place), headers)
                .header("content-type", "application/octet-stream")
                .header("content-length", &length)
                .send(SendBody::from_reader(&mut body))
        })?;
        Ok(true)
    }

    fn put_manifest(&mut self, tag: &str, media: &str, bytes: &[u8], digest: &str) -> Result<()> {
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
        Ok(())
    }

    /// A `Location` may be a path alone.
    fn absolute(&self, location: &str) -> Result<String> {
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

fn with<B>(
    mut request: ureq::RequestBuilder<B>,
    headers: &[(&str, &str)],
) -> ureq::RequestBuilder<B> {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

fn header(answer: &Response<Body>, name: &str) -> String {
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
fn reason(answer: Response<Body>) -> String {
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
