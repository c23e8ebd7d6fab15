//! Comparing two flat views.

use std::collections::HashMap;

use modelv_core::id::BlobId;
use modelv_core::merge::join;
use modelv_core::path::RepoPath;
use modelv_core::tree::Mode;

use super::{Files, Ingredient, SnapFile};

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only in the new view.
    Added,
    /// Other content.
    Modified,
    /// Only in the old view.
    Deleted,
    /// A file became a link or the reverse.
    TypeChanged,
    /// Only the executable bit.
    ModeChanged,
    /// Same content as a file that was deleted.
    Renamed {
        /// Its old path.
        from: RepoPath,
    },
    /// Same content, another ingredient.
    Moved {
        /// Its old ingredient.
        from: Ingredient,
    },
}

impl ChangeKind {
    /// The word for JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::TypeChanged => "type-changed",
            Self::ModeChanged => "mode-changed",
            Self::Renamed { .. } => "renamed",
            Self::Moved { .. } => "reclassified",
        }
    }
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The path; after a rename, the new one.
    pub path: RepoPath,
    /// How it differs.
    pub kind: ChangeKind,
    /// What it was.
    pub old: Option<SnapFile>,
    /// What it is.
    pub new: Option<SnapFile>,
}

impl FileChange {
    /// The ingredient it belongs to now, or belonged to.
    #[must_use]
    pub fn ingredient(&self) -> Ingredient {
        let file = self.new.as_ref().or(self.old.as_ref());
        file.map_or(Ingredient::Code, |f| f.ingredient)
    }

    /// Whether the executable bit came or went, whatever else differs.
    #[must_use]
    pub fn is_mode_changed(&self) -> bool {
        let is_file = |f: &&SnapFile| matches!(f.mode, Mode::File | Mode::Executable);
        let modes = [&self.old, &self.new].map(|f| f.as_ref().filter(is_file).map(|f| f.mode));
        matches!(modes, [Some(old), Some(new)] if old != new)
    }
}

/// Lists what differs, by path. A deleted and an added file of equal content are one rename.
#[must_use]
pub fn compare(old: &Files, new: &Files) -> Vec<FileChange> {
    let mut out = Vec::new();
    for (path, a, b) in join(old, new).filter(|(_, a, b)| a != b) {
        let kind = match (a, b) {
            (Some(a), Some(b)) => kind_of(a, b),
            (Some(_), None) => ChangeKind::Deleted,
            _ => ChangeKind::Added,
        };
        out.push(change(path, kind, a, b));
    }
    pair_renames(&mut out);
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

/// Paths whose file differs. A rename is here what it is to a working tree: one file that is gone and one
/// that is new.
pub(crate) fn differing<'a>(old: &'a Files, new: &'a Files) -> impl Iterator<Item = &'a RepoPath> {
    join(old, new)
        .filter(|(_, a, b)| a != b)
        .map(|(path, ..)| path)
}

fn change(
    path: &RepoPath,
    kind: ChangeKind,
    old: Option<&SnapFile>,
    new: Option<&SnapFile>,
) -> FileChange {
    FileChange {
        path: path.clone(),
        kind,
        old: old.cloned(),
        new: new.cloned(),
    }
}

fn kind_of(a: &SnapFile, b: &SnapFile) -> ChangeKind {
    if (a.mode == Mode::Symlink) != (b.mode == Mode::Symlink) {
        ChangeKind::TypeChanged
    } else if a.blob != b.blob {
        ChangeKind::Modified
    } else if a.mode != b.mode {
        ChangeKind::ModeChanged
    } else {
        ChangeKind::Moved { from: a.ingredient }
    }
}

fn pair_renames(changes: &mut Vec<FileChange>) {
    let mut gone: HashMap<BlobId, Vec<usize>> = HashMap::new();
    for (i, c) in changes.iter().enumerate() {
        if let (ChangeKind::Deleted, Some(old)) = (&c.kind, &c.old)
            && old.size > 0
        {
            gone.entry(old.blob).or_default().push(i);
        }
    }
    let mut is_paired = vec![false; changes.len()];
    for i in 0..changes.len() {
        let (ChangeKind::Added, Some(new)) = (&changes[i].kind, &changes[i].new) else {
            continue;
        };
        let Some(from) = gone.get_mut(&new.blob).and_then(Vec::pop) else {
            continue;
        };
        changes[i].old = changes[from].old.clone();
        changes[i].kind = ChangeKind::Renamed {
            from: changes[from].path.clone(),
        };
        is_paired[from] = true;
    }
    let mut is_paired = is_paired.into_iter();
    changes.retain(|_| is_paired.next() != Some(true));
}
