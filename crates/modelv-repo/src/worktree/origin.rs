//! What a file of weights may come from: the one at its path in the commit before, another one of
//! that commit that is as large, and adapters (LoRA) that may have been merged into it.
//!
//! All of it is advice for the store, which measures whether it helps; nothing here may fail a
//! commit. Where there is no adapter, looking for one costs a comparison of names.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use modelv_core::id::BlobId;
use modelv_core::path::RepoPath;
use modelv_store::{Adapter, Session};

use super::Files;

/// Most adapters that are looked into.
const ADAPTERS_MAX: usize = 16;
/// Longest configuration of an adapter that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Whether a file is named like an adapter: PEFT's `adapter_model.safetensors`, or as people call
/// what they share.
pub(super) fn is_adapter(name: &[u8]) -> bool {
    let Some(stem) = name.strip_suffix(b".safetensors") else {
        return false;
    };
    let stem = stem.to_ascii_lowercase();
    let has = |word: &[u8]| stem.windows(word.len()).any(|w| w == word);
    has(b"adapter") || has(b"lora")
}

fn extension(path: &RepoPath) -> Option<&OsStr> {
    Path::new(OsStr::from_bytes(path.name())).extension()
}

/// The content in `head` that a file of so many bytes is most likely made from: the one at its path;
/// else one of the same kind and nearly the same size, if one by this name then that.
pub(super) fn before(head: &Files, path: &RepoPath, size: u64) -> Option<BlobId> {
    if let Some(file) = head.get(path) {
        return Some(file.blob);
    }
    let kind = extension(path)?;
    let alike = head.iter().filter(|(other, file)| {
        extension(other) == Some(kind) && file.size.abs_diff(size) <= size / 64
    });
    let best = alike.min_by_key(|(other, file)| {
        let is_other_name = other.name() != path.name();
        (is_other_name, file.size.abs_diff(size))
    });
    best.map(|(_, file)| file.blob)
}

/// Looks into the adapters of the working tree and of `head`.
pub(super) fn adapters(
    root: &Path,
    session: &Session<'_>,
    here: &[(RepoPath, BlobId)],
    head: Option<&Files>,
) -> Vec<Adapter> {
    let old = head.into_iter().flatten();
    let old = old.filter(|(path, _)| is_adapter(path.name()));
    let all = here.iter().map(|(path, blob)| (path, *blob));
    let mut seen = HashSet::new();
    all.chain(old.map(|(path, file)| (path, file.blob)))
        .filter(|(_, blob)| seen.insert(*blob))
        .take(ADAPTERS_MAX)
        .filter_map(|(path, blob)| {
            let config = config_beside(root, path);
            session.adapter(&blob, config.as_deref()).ok().flatten()
        })
        .collect()
}

/// The configuration that PEFT writes beside an adapter.
fn config_beside(root: &Path, adapter: &RepoPath) -> Option<Vec<u8>> {
    let path = super::place(root, adapter).with_file_name("adapter_config.json");
    // A pipe would never end, and a link leads elsewhere.
    if !std::fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;
