//! The user's editor and merge tool: which they are, and one round with them. Decides nothing: what
//! comes back is given to the library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use modelv_repo::core::path::RepoPath;
use modelv_repo::{ConflictState, Decision, Repo};

use crate::error::CommandError;

/// Below this line nothing belongs to the value.
const SCISSORS: &str = "# ------------------------ >8 ------------------------";

/// Tools that are known by name, with how they take the three versions and the file to write.
const TOOLS: [(&str, &str); 5] = [
    ("meld", r#"meld "$LOCAL" "$MERGED" "$REMOTE""#),
    (
        "kdiff3",
        r#"kdiff3 "$BASE" "$LOCAL" "$REMOTE" -o "$MERGED""#,
    ),
    ("vimdiff", r#"vimdiff "$LOCAL" "$MERGED" "$REMOTE""#),
    ("nvimdiff", r#"nvim -d "$LOCAL" "$MERGED" "$REMOTE""#),
    (
        "code",
        r#"code --wait --merge "$LOCAL" "$REMOTE" "$BASE" "$MERGED""#,
    ),
];

/// A folder for the files that an editor gets; gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(repo: &Repo) -> Result<Self, CommandError> {
        let dir = repo
            .dir()
            .join("tmp")
            .join(format!("edit-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).map_err(|e| CommandError::failed(&e, None))?;
        Ok(Self(dir))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, CommandError> {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).map_err(|e| CommandError::failed(&e, None))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `$MODELV_MERGETOOL`, then `merge.tool`; the command it stands for.
pub(crate) fn merge_tool(repo: &Repo) -> Option<String> {
    let named = std::env::var("MODELV_MERGETOOL").ok();
    let named = named.or_else(|| repo.config("merge.tool"));
    let named = named.filter(|n| !n.trim().is_empty())?;
    let known = TOOLS.iter().find(|(name, _)| *name == named);
    Some(match known {
        Some((_, command)) => (*command).to_owned(),
        None if named.contains(char::is_whitespace) || named.contains('$') => named,
        None => format!(r#"{named} "$BASE" "$LOCAL" "$REMOTE" "$MERGED""#),
    })
}

/// `$VISUAL`, then `$EDITOR`.
fn named() -> Option<String> {
    let of = |name| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    of("VISUAL").or_else(|| of("EDITOR"))
}

/// Whether there is an editor.
pub(crate) fn is_set() -> bool {
    named().is_some()
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=+@%,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn editor() -> Result<String, CommandError> {
    named().ok_or_else(|| {
        CommandError::usage(
            "no editor is set",
            "set VISUAL or EDITOR; `--value V`, `--ours` and `--theirs` need none",
        )
    })
}

fn run(command: &str, env: &[(&str, &Path)]) -> Result<(), CommandError> {
    let _lent = crate::interrupt::lend();
    let status = Command::new("sh")
        .arg("-c")
        .arg(command)
        .envs(env.iter().map(|(k, v)| (k, v)))
        .status()
        .map_err(|e| CommandError::failed(&e, None))?;
    if status.success() {
        return Ok(());
    }
    let word = command.split_whitespace().next().unwrap_or(command);
    let text = format!("`{word}` ended with {status}: nothing is decided");
    let hint = "try again, or name another with MODELV_MERGETOOL or EDITOR";
    Err(CommandError::refused(text, hint))
}

fn open_in_editor(path: &Path) -> Result<(), CommandError> {
    run(&format!(r#"{} "$FILE""#, editor()?), &[("FILE", path)])
}

/// Lets the user decide a conflict in the editor: the file itself, or the value alone.
pub(crate) fn edit(repo: &Repo, conflict: &ConflictState) -> Result<Decision, CommandError> {
    if conflict.part.is_none() {
        open_in_editor(&repo.root().join(os_path(conflict)?))?;
        return Ok(Decision::AsEdited);
    }
    let scratch = Scratch::new(repo)?;
    let shown = |value: &Option<String>| {
        let text = conflict
            .shown(value.as_deref())
            .unwrap_or_else(|| "(absent)".into());
        text.replace('\n', "\n#        ")
    };
    let text = format!(
        "{}\n{SCISSORS}\n# {}\n# base   {}\n# ours   {}\n# theirs {}\n# What stands above the line is the value.\n",
        conflict
            .ours
            .as_deref()
            .or(conflict.theirs.as_deref())
            .unwrap_or(""),
        conflict.item,
        shown(&conflict.base),
        shown(&conflict.ours),
        shown(&conflict.theirs),
    );
    let path = scratch.put("value", text.as_bytes())?;
    open_in_editor(&path)?;
    let back = std::fs::read_to_string(&path).map_err(|e| CommandError::failed(&e, None))?;
    let value = back
        .split(SCISSORS)
        .next()
        .unwrap_or("")
        .trim_end_matches('\n');
    if value.trim().is_empty() {
        return Err(CommandError::refused(
            "no value is left: nothing is decided",
            "`--ours`, `--theirs` or `--base` take a side, absent or not",
        ));
    }
    Ok(Decision::Value(value.to_owned()))
}

/// Lets the user decide a conflict in a file with the merge tool.
pub(crate) fn merge(
    repo: &Repo,
    conflict: &ConflictState,
    tool: &str,
) -> Result<Decision, CommandError> {
    let scratch = Scratch::new(repo)?;
    let name = Path::new(&conflict.path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let versions = repo.conflict_contents(conflict)?;
    let mut paths = Vec::new();
    for (word, bytes) in ["BASE", "LOCAL", "REMOTE"].into_iter().zip(versions) {
        // The name's end tells a tool the language.
        paths.push((
            word,
            scratch.put(&format!("{word}.{name}"), &bytes.unwrap_or_default())?,
        ));
    }
    paths.push(("MERGED", repo.root().join(os_path(conflict)?)));
    let env: Vec<(&str, &Path)> = paths.iter().map(|(w, p)| (*w, p.as_path())).collect();
    run(tool, &env)?;
    Ok(Decision::AsEdited)
}

fn os_path(conflict: &ConflictState) -> Result<OsString, CommandError> {
    use std::os::unix::ffi::OsStringExt;
    let path: RepoPath = conflict.repo_path()?;
    Ok(OsString::from_vec(path.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_of_items_are_quoted_for_a_shell() {
        for (word, want) in [
            ("params.toml:train.lr", "params.toml:train.lr"),
            ("requirements.txt:torch *", "'requirements.txt:torch *'"),
            ("a'b", r"'a'\''b'"),
            ("x[0]", "'x[0]'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), want);
        }
    }
}
