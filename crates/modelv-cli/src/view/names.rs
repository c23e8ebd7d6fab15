//! Names of files that differ, for scripts: one a line, or each ended by a NUL byte.

use modelv_repo::FileToDiff;
use modelv_repo::core::path::RepoPath;
use modelv_repo::worktree::ChangeKind;

use crate::ui::Ui;

/// Paths; after a rename, the new one.
pub(crate) fn name_only(ui: &mut Ui, files: &[FileToDiff], null: bool) {
    for file in files {
        print(ui, &[], &[&file.change.path], null);
    }
}

/// Paths behind a letter: A added, D deleted, M modified, T another type, I another ingredient, R and
/// the likeness in per cent renamed.
pub(crate) fn name_status(ui: &mut Ui, files: &[FileToDiff], null: bool) {
    for file in files {
        let change = &file.change;
        let letter = match &change.kind {
            ChangeKind::Added => "A",
            ChangeKind::Deleted => "D",
            ChangeKind::Modified | ChangeKind::ModeChanged => "M",
            ChangeKind::TypeChanged => "T",
            ChangeKind::Moved { .. } => "I",
            ChangeKind::Renamed { from } => {
                let letter = format!("R{:03}", file.percent.unwrap_or(100));
                print(ui, letter.as_bytes(), &[from, &change.path], null);
                continue;
            }
        };
        print(ui, letter.as_bytes(), &[&change.path], null);
    }
}

/// With NUL bytes names are as they are; else control characters are escaped.
fn print(ui: &mut Ui, letter: &[u8], paths: &[&RepoPath], null: bool) {
    let mut fields = Vec::new();
    if !letter.is_empty() {
        fields.push(letter.to_vec());
    }
    fields.extend(paths.iter().map(|path| match null {
        true => path.as_bytes().to_vec(),
        false => path.to_string().into_bytes(),
    }));
    let mut out = fields.join(if null { &b"\0"[..] } else { b"\t" });
    out.push(if null { 0 } else { b'\n' });
    ui.bytes(&out);
}
