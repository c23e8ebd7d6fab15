//! Which of the files that came is one that went: equal content first, then likeness.

use modelv_core::likeness::{self, Candidate, Fingerprint, Pair};
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;

use super::{DiffSide, FileToDiff};
use crate::error::Result;
use crate::repo::Repo;
use crate::worktree::{ChangeKind, FileChange, SnapFile};

/// Larger files are renamed only if nothing in them changed, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// With more content than this to look at, none is looked at, in bytes.
const ALL_BYTES_MAX: u64 = 256 << 20;

impl Repo {
    /// Adds the likeness of renamed files, and joins what came and what went where both are alike.
    pub(super) fn find_renames(
        &self,
        changes: Vec<FileChange>,
        old: &DiffSide,
        new: &DiffSide,
    ) -> Result<Vec<FileToDiff>> {
        let (gone, come) = (side(&changes, true), side(&changes, false));
        let bytes = |of: &[usize]| -> u64 {
            of.iter()
                .filter_map(|i| file(&changes[*i]))
                .map(|f| f.size)
                .sum()
        };
        let pairs = gone.len().saturating_mul(come.len());
        let too_many = pairs == 0
            || pairs > likeness::PAIRS_MAX
            || bytes(&gone).saturating_add(bytes(&come)) > ALL_BYTES_MAX;
        let pairs = if too_many {
            Vec::new()
        } else {
            likeness::pair(
                &self.prints(&changes, &gone, old)?,
                &self.prints(&changes, &come, new)?,
            )
        };
        Ok(join(changes, &gone, &come, &pairs))
    }

    fn prints<'c>(
        &self,
        changes: &'c [FileChange],
        of: &[usize],
        side: &DiffSide,
    ) -> Result<Vec<Candidate<'c>>> {
        let print = |i: &usize| {
            let change = &changes[*i];
            let content = self.side_content(side, &change.path, file(change), FILE_BYTES_MAX)?;
            Ok(Candidate {
                path: change.path.as_bytes(),
                print: Fingerprint::of(&content.flatten().unwrap_or_default()),
            })
        };
        of.iter().map(print).collect()
    }
}

fn file(change: &FileChange) -> Option<&SnapFile> {
    change.old.as_ref().or(change.new.as_ref())
}

/// Indices of the files that went, or came, and can be looked at.
fn side(changes: &[FileChange], gone: bool) -> Vec<usize> {
    let wanted = |change: &FileChange| {
        let kind = match change.kind {
            ChangeKind::Deleted => gone,
            ChangeKind::Added => !gone,
            _ => false,
        };
        let plain =
            |f: &SnapFile| f.mode != Mode::Symlink && (1..=FILE_BYTES_MAX).contains(&f.size);
        kind && file(change).is_some_and(plain)
    };
    (0..changes.len())
        .filter(|i| wanted(&changes[*i]))
        .collect()
}

fn join(
    changes: Vec<FileChange>,
    gone: &[usize],
    come: &[usize],
    pairs: &[Pair],
) -> Vec<FileToDiff> {
    let mut from: Vec<Option<(RepoPath, Option<SnapFile>, u8)>> = vec![None; changes.len()];
    let mut paired = vec![false; changes.len()];
    for pair in pairs {
        let (was, is) = (gone[pair.old], come[pair.new]);
        let old = &changes[was];
        // Equal content was paired before; what is left differs by at least a byte or a mode.
        from[is] = Some((old.path.clone(), old.old.clone(), pair.percent.min(99)));
        paired[was] = true;
    }
    let mut out = Vec::with_capacity(changes.len());
    for (i, mut change) in changes.into_iter().enumerate() {
        if paired[i] {
            continue;
        }
        let mut percent = matches!(change.kind, ChangeKind::Renamed { .. }).then_some(100);
        if let Some((path, old, found)) = from[i].take() {
            change.kind = ChangeKind::Renamed { from: path };
            change.old = old;
            percent = Some(found);
        }
        out.push(FileToDiff { change, percent });
    }
    out
}
