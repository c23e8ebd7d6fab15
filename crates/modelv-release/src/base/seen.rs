//! What is known of the content of a base: paths, versions of libraries, packages of Debian. Read from its layers,
//! of which none is unpacked.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::debian::{self, Deb};
use crate::demands::{Offers, add_offers, has_versions};
use crate::error::{Error, Result};
use crate::layer::{Content, Files, HashingRead, Node};

/// What is in the layers of a base.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Paths of all files, without a leading slash.
    pub(crate) paths: BTreeSet<Vec<u8>>,
    /// Versions of the libraries that others depend on.
    pub(crate) offers: Offers,
    /// Packages of Debian that are said to be installed.
    pub(crate) debs: Vec<Deb>,
}

/// Largest list of packages that is read.
const STATUS_BYTES_MAX: u64 = 64 << 20;

/// Largest library that is looked into.
const LIBRARY_BYTES_MAX: u64 = 64 << 20;

/// Adds the paths of a layer, takes away what it whites out, and returns the digest of the tar.
pub(crate) fn list_tar(input: impl Read, seen: &mut Seen) -> std::io::Result<String> {
    let mut input = HashingRead::new(input);
    let paths = &mut seen.paths;
    for entry in tar::Archive::new(&mut input).entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path_bytes());
        if path.split(|b| *b == b'/').any(|part| part == b"..") {
            let shown = String::from_utf8_lossy(&path).into_owned();
            return Err(std::io::Error::other(format!("path `{shown}` leads out")));
        }
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => path.split_at(at + 1),
            None => (&[][..], path.as_slice()),
        };
        match name.strip_prefix(b".wh.") {
            Some(b".wh..opq") => paths.retain(|p| !p.starts_with(parent)),
            Some(gone) => {
                let gone = [parent, gone].concat();
                let below = [gone.as_slice(), b"/"].concat();
                paths.retain(|p| *p != gone && !p.starts_with(&below));
            }
            None => {
                let is_small = entry.size() <= LIBRARY_BYTES_MAX;
                if is_small && entry.header().entry_type().is_file() && has_versions(name) {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    add_offers(&mut seen.offers, &bytes);
                } else if debian::is_status(&path) && entry.size() <= STATUS_BYTES_MAX {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    // A layer above another one has the whole list again.
                    seen.debs.retain(|_| path != b"var/lib/dpkg/status");
                    seen.debs.extend(debian::read_status(&bytes));
                }
                paths.insert(path);
            }
        }
    }
    // What follows the last entry counts too.
    std::io::copy(&mut input, &mut std::io::sink())?;
    Ok(input.digest())
}

/// A path of a tar, without what stands for its top.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path).to_vec()
}

fn read(path: &[u8], content: &Content) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut reader, _) = content.open(None)?;
    let read = reader.read_to_end(&mut bytes);
    read.map_err(Error::io("read", Path::new(OsStr::from_bytes(path))))?;
    Ok(bytes)
}

/// What is in files that are on this machine.
pub(crate) fn see(files: Files) -> Result<Seen> {
    let mut offers = Offers::new();
    let mut debs = Vec::new();
    for (path, node) in &files.nodes {
        let Node::File { content, .. } = node else {
            continue;
        };
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if debian::is_status(path) {
            debs.extend(debian::read_status(&read(path, content)?));
        } else if has_versions(name) {
            add_offers(&mut offers, &read(path, content)?);
        }
    }
    Ok(Seen {
        paths: files.nodes.into_keys().collect(),
        offers,
        debs,
    })
}
