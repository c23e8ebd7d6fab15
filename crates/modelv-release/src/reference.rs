//! Names of images: `[registry/]name[:tag]`, as engines and registries take them.

use crate::error::{Error, Result};

/// Where an image goes in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host, and port if one is given.
    pub registry: String,
    /// Name of the repository.
    pub name: String,
    /// Tag; `latest` if none is given.
    pub tag: String,
    /// Digest of a manifest, which goes before the tag; only of what is pulled.
    pub digest: Option<String>,
}

/// What people call Docker Hub, and where it answers.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";
/// Longest name that registries take, in bytes.
const NAME_BYTES_MAX: usize = 255;
pub(crate) const TAG_BYTES_MAX: usize = 128;

fn bad(reference: &str) -> Error {
    Error::Reference {
        reference: reference.to_owned(),
    }
}

/// Splits off the tag: what follows the last colon, unless that is the one of a port.
fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// A word of small letters, digits and `more`, with neither at its ends.
fn is_word(text: &str, more: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.chars().all(plain) && edge(text.chars().next()) && edge(text.chars().last())
}

fn is_tag(tag: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_BYTES_MAX && tag.bytes().all(inside) && tag.bytes().next().is_some_and(first)
}

/// The tag that stands for a name, such as that of a branch: `feat/x` is `feat-x`.
#[must_use]
pub fn as_tag(name: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || "._-".contains(c) {
        true => c,
        false => '-',
    };
    let tag: String = name.chars().map(plain).collect();
    let tag = tag.trim_start_matches(['.', '-']);
    tag.chars().take(TAG_BYTES_MAX).collect()
}

/// The name of an image that is meant by one whose tag is the name of a branch; `None`: it needs no other.
#[must_use]
pub fn mended(reference: &str) -> Option<String> {
    if check_reference(reference).is_ok() {
        return None;
    }
    let (name, tag) = reference.rsplit_once(':')?;
    let mended = format!("{name}:{}", as_tag(tag));
    check_reference(&mended).is_ok().then_some(mended)
}

/// The name in full of an image that engines know without a registry: one at Docker Hub. `None`: it is no such name.
pub(crate) fn at_hub(reference: &str) -> Option<String> {
    check_reference(reference).ok()?;
    let (name, tag) = split_tag(reference);
    let full = format!("{HUB}/{name}:{tag}");
    let is_short = Reference::parse(reference).is_err();
    is_short
        .then(|| Reference::parse(&full).ok())?
        .map(|at| at.to_string())
}

/// Whether a name is one that engines take.
///
/// # Errors
/// It is not.
pub fn check_reference(reference: &str) -> Result<()> {
    let (name, tag) = split_tag(reference);
    // A port stands behind a host alone.
    let (first, rest) = name.split_once('/').unwrap_or(("x", name));
    let host = match first.split_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => first,
    };
    let mut parts = std::iter::once(host).chain(rest.split('/'));
    let fits = name.len() <= NAME_BYTES_MAX && parts.all(|part| is_word(part, "._-"));
    if fits && is_tag(tag) {
        return Ok(());
    }
    Err(bad(reference))
}

impl Reference {
    /// Reads `registry/name[:tag]`. The registry has a dot or a port in it, or is `localhost`.
    ///
    /// # Errors
    /// It is no such name.
    pub fn parse(text: &str) -> Result<Self> {
        let (whole, tag) = split_tag(text);
        let (registry, name) = whole.split_once('/').ok_or_else(|| bad(text))?;
        // Its own images have a folder that nobody writes.
        let name = match registry == HUB && !name.contains('/') {
            true => format!("library/{name}"),
            false => name.to_owned(),
        };
        let (host, port) = registry.split_once(':').unwrap_or((registry, "443"));
        let is_registry = registry == "localhost" || registry.contains(['.', ':']);
        let fits = is_registry
            && is_word(host, ".-")
            && port.parse::<u16>().is_ok()
            && name.len() <= NAME_BYTES_MAX
            && name.split('/').all(|part| is_word(part, "._-"))
            && is_tag(tag);
        if !fits {
            return Err(bad(text));
        }
        Ok(Self {
            registry: registry.to_owned(),
            name,
            tag: tag.to_owned(),
            digest: None,
        })
    }

    /// Reads the same, or `registry/name[:tag]@sha256:DIGITS`.
    ///
    /// # Errors
    /// It is no such name.
    pub fn parse_pulled(text: &str) -> Result<Self> {
        let Some((name, digest)) = text.split_once('@') else {
            return Self::parse(text);
        };
        let digits = digest.strip_prefix("sha256:").unwrap_or_default();
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(is_hex) {
            return Err(bad(text));
        }
        Ok(Self {
            digest: Some(digest.to_owned()),
            ..Self::parse(name)?
        })
    }

    /// Where the registry answers. Only one on this machine is spoken to in the clear.
    pub(crate) fn root(&self) -> String {
        let scheme = if self.is_local() { "http" } else { "https" };
        let host = match self.registry.as_str() {
            HUB => HUB_HOST,
            own => own,
        };
        format!("{scheme}://{host}")
    }

    pub(crate) fn is_local(&self) -> bool {
        is_local(&self.registry)
    }
}

/// Whether `host[:port]` is this machine.
pub(crate) fn is_local(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(h, _)| h);
    let is_loopback = |ip: std::net::Ipv4Addr| ip.is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}/{}@{digest}", self.registry, self.name),
            None => write!(f, "{}/{}:{}", self.registry, self.name, self.tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_engines_take() {
        let names = "a tweets:latest a/b-c_d.e:V1.0 localhost:5000/x r.example:5000/a/b:t_1 a:_b";
        for name in names.split(' ') {
            assert!(check_reference(name).is_ok(), "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", "a b", "a:b c", "a:", ":b", &long] {
            assert!(check_reference(name).is_err(), "{name}");
        }
        for name in "A a/ /a a//b -a a- a:-b a:ä a:b/c a/b:1/c a:99999/b".split(' ') {
            assert!(check_reference(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_branch_is_a_tag() {
        for (name, tag) in [
            ("main", "main"),
            ("feat/x", "feat-x"),
            ("-.a b", "a-b"),
            ("\u{fc}/1", "1"),
        ] {
            assert_eq!(as_tag(name), tag, "{name}");
        }
        assert_eq!(as_tag(&"x".repeat(200)).len(), TAG_BYTES_MAX);
        for (text, want) in [
            ("tweets:feat/x", Some("tweets:feat-x")),
            ("r.example:5000/a:feat/x", Some("r.example:5000/a:feat-x")),
            ("tweets:main", None),
            ("r.example:5000/a", None),
            ("No Name", None),
            ("No Name:feat/x", None),
            ("x:/", None),
        ] {
            assert_eq!(mended(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_reference_names_registry_name_and_tag() {
        for (text, registry, name, tag, root) in [
            (
                "localhost/x",
                "localhost",
                "x",
                "latest",
                "http://localhost",
            ),
            (
                "127.0.0.1:5000/a/b:1",
                "127.0.0.1:5000",
                "a/b",
                "1",
                "http://127.0.0.1:5000",
            ),
            ("ghcr.io/a/b:V", "ghcr.io", "a/b", "V", "https://ghcr.io"),
            (
                "127.example.org/a",
                "127.example.org",
                "a",
                "latest",
                "https://127.example.org",
            ),
        ] {
            let found = Reference::parse(text).unwrap();
            let want = (registry, name, tag);
            assert_eq!((&*found.registry, &*found.name, &*found.tag), want);
            assert_eq!(found.root(), root);
        }
        let digest = format!("sha256:{}", "a1".repeat(32));
        let pinned = Reference::parse_pulled(&format!("ghcr.io/a/b@{digest}")).unwrap();
        assert_eq!(pinned.digest.as_deref(), Some(digest.as_str()));
        assert_eq!(pinned.to_string(), format!("ghcr.io/a/b@{digest}"));
        for bad in [
            "ghcr.io/a@sha256:12",
            "ghcr.io/a@",
            "a@b",
            &format!("x@{digest}"),
        ] {
            assert!(Reference::parse_pulled(bad).is_err(), "{bad}");
        }
        assert!(
            Reference::parse(&pinned.to_string()).is_err(),
            "nobody pushes to a digest"
        );
        let none = "x team/x host.example/ host:/x host:port/x host:99999/x a.b/X a.b/x:-t \
                    user@a.b/x a.b/x?y a.b/../x";
        for text in none.split_whitespace() {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn docker_hub_answers_elsewhere() {
        let at = Reference::parse("docker.io/python:3.12-slim").unwrap();
        assert_eq!(at.to_string(), "docker.io/library/python:3.12-slim");
        assert_eq!(at.root(), "https://registry-1.docker.io");
        let own = Reference::parse("docker.io/team/tweets").unwrap();
        assert_eq!(own.to_string(), "docker.io/team/tweets:latest");
        for (name, full) in [
            ("python:3.12", Some("docker.io/library/python:3.12")),
            ("team/x", Some("docker.io/team/x:latest")),
            ("ghcr.io/team/x", None),
            ("../rootfs", None),
            ("a b", None),
        ] {
            assert_eq!(at_hub(name).as_deref(), full, "{name}");
        }
    }
}
