//! Folders of the person who runs this, as environment variables name them. Makes none.

use std::path::PathBuf;

/// The folder that a variable names; an empty one names none.
pub(crate) fn set(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|v| !v.is_empty());
    value.map(PathBuf::from)
}

/// Where programs keep what can be had again (XDG base directory specification).
pub(crate) fn user_cache() -> PathBuf {
    set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap_or_default().join(".cache"))
}
