//! Which addresses are asked without a question. A description comes with a clone, and its author may name
//! anything: a file of this machine, a service that only this network reaches. Public addresses and buckets
//! are asked; the rest only if the user said so, added it himself, or names the very file.
//!
//! Must never take a name for the address that it stands for: names are resolved first.

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use modelv_core::path::RepoPath;
use modelv_store::fs;
use modelv_store::remote::{Guard, Reach, Way};

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repo::Repo;

/// The setting with patterns of addresses that may be asked, separated by spaces: `*` stands for all but a
/// slash, `**` for anything.
pub(crate) const ALLOW: &str = "external.allow";
/// Addresses that were added here, one a line. Without the file they are asked about like those of others.
const ADDED: &str = "externaladded";
/// More of it is not read.
const ADDED_BYTES_MAX: u64 = 4 << 20;

const FILE: &str = "a file of this machine";
const PRIVATE: &str = "an address of this machine or its own network";

/// What was allowed when this was made.
#[derive(Debug)]
pub(crate) struct Allowed {
    patterns: Vec<String>,
    added: Vec<String>,
    /// Schemes and hosts of the remotes.
    remotes: Vec<String>,
    hosts: Mutex<HashMap<String, bool>>,
}

/// Whose word it is that an address is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// That of the user, who wrote it or named the very file.
    User,
    /// That of a commit, as far as it may be followed.
    Commit,
}

/// Scheme, host (with its port) and path of an address.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    Some((scheme, host, path))
}

/// Whether an address may be reached from everywhere.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_own = ip.is_private() || ip.is_loopback() || ip.is_link_local() || a == 0;
    let is_shared = a == 100 && b & 0xc0 == 64;
    let is_special = (a, b, c) == (192, 0, 0) || a == 198 && b & 0xfe == 18 || a >= 224;
    !(is_own || is_shared || is_special)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match s {
        // IPv4 in IPv6: mapped, compatible, translated, 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        // What is reached from everywhere begins with these three bits.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Whether all that a host name stands for is public. One that leads nowhere is, if it can mean nothing else
/// than a name of the public system: behind a proxy it leads somewhere all the same.
fn is_public_host(host: &str) -> bool {
    let (name, _) = split_port(host);
    if let Ok(ip) = name.parse::<Ipv6Addr>() {
        return is_public_v6(ip);
    }
    match (name, 443).to_socket_addrs() {
        Ok(found) => {
            let all: Vec<IpAddr> = found.map(|at| at.ip()).collect();
            !all.is_empty() && all.into_iter().all(is_public)
        }
        Err(_) => is_public_name(name),
    }
}

fn split_port(host: &str) -> (&str, &str) {
    if let Some((name, rest)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        return (name, rest);
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn is_public_name(name: &str) -> bool {
    const OWN: [&str; 7] = [
        "localhost",
        "local",
        "internal",
        "intranet",
        "lan",
        "home",
        "corp",
    ];
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let Some((_, last)) = name.rsplit_once('.') else {
        return false;
    };
    name.chars().all(is_plain)
        && last.chars().all(|c| c.is_ascii_alphabetic())
        && !last.is_empty()
        && !OWN.contains(&last)
}

/// Whether an address is one of a pattern.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=end).any(|at| matches(rest, &text[at..]))
        }
        [first, rest @ ..] => text.first() == Some(first) && matches(rest, &text[1..]),
    }
}

/// Whether a path leads up again, so that it does not begin where it seems to.
fn climbs(path: &str) -> bool {
    let is_up = |part: &str| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == ".." || part == "."
    };
    path.split(['/', '\\']).any(is_up)
}

impl Allowed {
    /// Why an address is not asked without a question; `None`: it is.
    pub(crate) fn objection(&self, url: &str) -> Option<&'static str> {
        self.verdict(url).err()
    }

    /// How an address is asked without a question; the other way around: why it is not.
    fn verdict(&self, url: &str) -> std::result::Result<Reach, &'static str> {
        let Some((scheme, host, _)) = parts(url) else {
            return Ok(Reach::Anywhere);
        };
        match scheme {
            _ if self.is_ruled(url) => Ok(Reach::Anywhere),
            "file" => Err(FILE),
            // Where it leads is told by what follows.
            "http" | "https" if host.contains('@') => Err(PRIVATE),
            "http" | "https" if self.is_public(host) => Ok(Reach::Public),
            "http" | "https" => Err(PRIVATE),
            // The store is where this repository's settings say, not where the address does.
            _ => Ok(Reach::Anywhere),
        }
    }

    /// How an address is asked that may be.
    pub(crate) fn way(self, url: &str, word: Word) -> Way {
        let first = match word == Word::User || self.is_ruled(url) {
            true => Reach::Anywhere,
            false => Reach::Public,
        };
        Way {
            first,
            guard: Arc::new(self),
        }
    }

    /// Whether the user said that this address may be asked, wherever it is.
    fn is_ruled(&self, url: &str) -> bool {
        let Some((scheme, host, path)) = parts(url) else {
            return false;
        };
        let origin = format!("{scheme}://{host}");
        let is_remote = scheme != "file" && self.remotes.contains(&origin);
        let is_named = self.added.iter().any(|added| added == url)
            || !climbs(path)
                && self
                    .patterns
                    .iter()
                    .any(|p| matches(p.as_bytes(), url.as_bytes()));
        is_remote || is_named
    }

    fn is_public(&self, host: &str) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = hosts.entry(host.to_owned());
        *known.or_insert_with(|| is_public_host(host))
    }

    /// Refuses an address that nobody here allowed.
    ///
    /// # Errors
    /// [`Error::NotAllowed`].
    pub(crate) fn check(&self, path: &RepoPath, url: &str) -> Result<()> {
        match self.objection(url) {
            None => Ok(()),
            Some(why) => Err(Error::NotAllowed {
                path: path.to_string(),
                url: url.to_owned(),
                why,
            }),
        }
    }
}

impl Guard for Allowed {
    fn judge(&self, url: &str) -> std::result::Result<Reach, String> {
        self.verdict(url).map_err(str::to_owned)
    }

    fn is_public(&self, ip: IpAddr) -> bool {
        is_public(ip)
    }
}

/// Says that external data is left where it is, and how it comes.
pub(super) fn tell_left(left: &[(RepoPath, String, &'static str)], ctx: &Ctx<'_>) {
    let Some((path, url, why)) = left.first() else {
        return;
    };
    let more = match left.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    ctx.progress.note(&format!(
        "external data `{path}`{more} is not fetched: {url} is {why}, and a commit names it; \
         `modelv external fetch {path}` asks it, `modelv config external.allow PATTERN` lets all like it be asked"
    ));
}

impl Repo {
    /// Which addresses may be asked.
    pub(crate) fn allowed_externals(&self) -> Allowed {
        let patterns = self.config(ALLOW).unwrap_or_default();
        let origin = |url: &str| {
            let (scheme, host, _) = parts(url)?;
            Some(format!("{scheme}://{host}"))
        };
        Allowed {
            patterns: patterns.split_whitespace().map(str::to_owned).collect(),
            added: self.added_externals(),
            remotes: self
                .remotes()
                .iter()
                .filter_map(|r| origin(&r.url))
                .collect(),
            hosts: Mutex::default(),
        }
    }

    fn added_externals(&self) -> Vec<String> {
        let mut text = String::new();
        if let Ok(file) = std::fs::File::open(self.dir().join(ADDED)) {
            // What can't be read allows nothing.
            let _ = file.take(ADDED_BYTES_MAX).read_to_string(&mut text);
        }
        text.lines().map(str::to_owned).collect()
    }

    /// Remembers that the user of this repository named an address himself.
    pub(super) fn note_added(&self, url: &str) -> Result<()> {
        if self.allowed_externals().objection(url).is_none() || url.contains('\n') {
            return Ok(());
        }
        let path = self.dir().join(ADDED);
        let mut file = fs::append_to(&path).map_err(Error::io("open", &path))?;
        fs::write_all(&mut file, format!("{url}\n").as_bytes()).map_err(Error::io("write", &path))
    }
}

#[cfg(test)]
#[path = "allow_tests.rs"]
mod tests;
