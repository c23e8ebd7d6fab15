//! Who we are for a registry: a name and a password as given, as `docker login` has left them, or from a credential
//! helper.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Largest configuration, and answer of a helper, that is read.
const BYTES_MAX: u64 = 1 << 20;
/// What Docker calls its own registry.
const HUB: &str = "https://index.docker.io/v1/";

/// A name and a password, for `Authorization: Basic`; or why a helper gives none. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Result<String, String>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Of a name and a password.
    #[must_use]
    pub fn new(name: &str, password: &str) -> Self {
        Self(Ok(STANDARD.encode(format!("{name}:{password}"))))
    }

    /// What `docker login` has left for a registry: in its `config.json`, or with the helper named there.
    #[must_use]
    pub fn from_docker(config: &Path, registry: &str) -> Option<Self> {
        let mut text = String::new();
        let file = File::open(config).ok()?;
        file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
        let json: Value = serde_json::from_str(&text).ok()?;
        let server = match registry {
            "docker.io" | "registry-1.docker.io" => HUB,
            other => other,
        };
        let helper = json["credHelpers"][server].as_str();
        if let Some(helper) = helper.or(json["credsStore"].as_str()) {
            return Self::from_helper(helper, server);
        }
        let auths = json["auths"].as_object()?;
        let named = || auths.iter().find(|(key, _)| host_of(key) == server);
        let found = auths.get(server).or_else(|| Some(named()?.1))?;
        let auth = found["auth"].as_str()?;
        let is_sane = |b: u8| b.is_ascii_graphic();
        (!auth.is_empty() && auth.bytes().all(is_sane)).then(|| Self(Ok(auth.to_owned())))
    }

    /// Asks `docker-credential-NAME`: the server goes in, JSON comes out
    /// (<https://github.com/docker/docker-credential-helpers>, "Usage"). `None`: it has none for this server.
    fn from_helper(name: &str, server: &str) -> Option<Self> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        let program = format!("docker-credential-{name}");
        match ask(&program, server) {
            Ok((said, true)) => {
                let json: Value = serde_json::from_slice(&said).ok()?;
                let (user, secret) = (json["Username"].as_str()?, json["Secret"].as_str()?);
                Some(Self::new(user, secret))
            }
            Ok((_, false)) => None,
            Err(e) => Some(Self(Err(format!(
                "`{program}` can't be asked for them: {e}"
            )))),
        }
    }

    /// What stands behind `Basic`; or why there is nothing.
    pub(crate) fn basic(&self) -> Result<String, String> {
        self.0.clone().map(|pair| format!("Basic {pair}"))
    }
}

/// The host of a key, which older tools write as an address.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// What a helper says of a server, and whether it has something to say.
fn ask(program: &str, server: &str) -> std::io::Result<(Vec<u8>, bool)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // One that does not listen ends with an error of its own.
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(server.as_bytes());
    }
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(BYTES_MAX).read_to_end(&mut said)?;
    }
    Ok((said, child.wait()?.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_keeps_a_password_for_each_registry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let find = |registry: &str| Credentials::from_docker(&path, registry);
        assert_eq!(find("a.example"), None);
        let ada = Credentials::new("ada", "open sesame");
        assert_eq!(ada.basic().unwrap(), "Basic YWRhOm9wZW4gc2VzYW1l");
        let auth = "{\"auth\": \"YWRhOm9wZW4gc2VzYW1l\"}";
        let json = format!(
            "{{\"auths\": {{\"a.example\": {auth}, \"b\": {{\"auth\": \"x\\ny\"}}, \
             \"https://d.example:5000/v1/\": {auth}, \"{HUB}\": {auth}}}}}"
        );
        std::fs::write(&path, json).unwrap();
        for (registry, is_known) in [
            ("a.example", true),
            ("b", false),
            ("c.example", false),
            ("d.example:5000", true),
            ("d.example", false),
            ("docker.io", true),
        ] {
            assert_eq!(find(registry), is_known.then(|| ada.clone()), "{registry}");
        }
        assert_eq!(format!("{ada:?}"), "Credentials");
    }

    #[test]
    fn a_helper_that_is_not_there_is_told_and_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, "{\"credsStore\": \"of-nobody\"}").unwrap();
        let found = Credentials::from_docker(&path, "a.example").unwrap();
        let why = found.basic().unwrap_err();
        assert!(
            why.starts_with("`docker-credential-of-nobody` can't be asked"),
            "{why}"
        );
        std::fs::write(&path, "{\"credsStore\": \"../x\"}").unwrap();
        assert_eq!(Credentials::from_docker(&path, "a.example"), None);
    }
}
