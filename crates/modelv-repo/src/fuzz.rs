//! Doors to private decoders for `modelv-fuzz`; nothing else may use this.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use modelv_core::path::RepoPath;

use crate::error::Result;
use crate::worktree::ignores::Ignores;

/// Whether the `.mvignore` of `folder` leaves out a path.
///
/// # Errors
/// The rules can't be read.
pub fn is_ignored(folder: &Path, path: &RepoPath) -> Result<bool> {
    let names = HashSet::from([b".mvignore".to_vec()]);
    let rules = Arc::new(Ignores::default()).with_files_of(None, folder, &names)?;
    let bytes = path.as_bytes();
    let dir = &bytes[..bytes.len().saturating_sub(path.name().len() + 1)];
    let dir = RepoPath::new(dir).ok();
    Ok(rules.is_ignored(dir.as_ref(), path.name(), false))
}

/// Reads the state of a merge, and all ids and paths that it takes to finish it; what was read must
/// be read again from what would be written.
///
/// # Errors
/// It is none.
///
/// # Panics
/// It is not what it was.
pub fn merge_state(bytes: &[u8]) -> Result<()> {
    let state = crate::merge::state::parse(bytes)?;
    let _ = state.needs();
    for conflict in &state.conflicts {
        let _ = conflict.repo_path();
        let _ = conflict.shown(conflict.ours.as_deref());
    }
    let again = serde_json::to_vec(&state).map(|b| crate::merge::state::parse(&b));
    assert!(matches!(again, Ok(Ok(again)) if again == state));
    Ok(())
}
