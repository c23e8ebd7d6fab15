//! `modelv clone`.

use std::path::PathBuf;
use std::process::ExitCode;

use modelv_repo::Repo;
use modelv_repo::core::path::RepoPath;
use modelv_repo::remote::CloneOptions;
use modelv_repo::worktree::Ingredient;
use serde_json::json;

use super::remote::Place;
use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Style, size};

/// Make a repository from a remote, and check its branch out.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address of the remote.
    url: String,
    /// The folder; made if it is missing. Otherwise named as the last part of the address.
    dir: Option<PathBuf>,
    /// No working tree.
    #[arg(long)]
    bare: bool,
    /// Check this branch out.
    #[arg(long, short, value_name = "NAME", conflicts_with = "commit")]
    branch: Option<String>,
    /// Take one commit alone, with exactly what a release of it needs. An id (or the first digits
    /// of one), a branch or a tag of the remote.
    #[arg(long, value_name = "ID")]
    commit: Option<String>,
    /// Take the contents of these ingredients only: `code,config`.
    #[arg(long, value_name = "INGREDIENTS", value_delimiter = ',')]
    only: Vec<String>,
    /// Take history and trees, and contents only when they are checked out or read.
    #[arg(long)]
    lazy: bool,
    /// Take so many commits of each branch only, and the tags of these. `fetch --depth N` brings more,
    /// `fetch --unshallow` all.
    #[arg(long, value_name = "N", conflicts_with = "commit", value_parser = clap::value_parser!(u32).range(1..))]
    depth: Option<u32>,
    /// Take larger contents only when they are checked out or read: `size<100MB`, or `blob:limit=100m` as in
    /// Git.
    #[arg(long, value_name = "SPEC", value_parser = limit)]
    filter: Option<u64>,
    /// Check only these paths out, and the files of the top folder. `modelv sparse` changes it.
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "bare")]
    sparse: Vec<std::ffi::OsString>,
    /// Ask addresses like this for external data, though only this machine or network reaches them:
    /// `file:///data/**`. Public addresses and buckets are asked anyway.
    #[arg(long, value_name = "PATTERN")]
    allow_external: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A number of bytes, as `size<100MB` or `blob:limit=100m`.
fn limit(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no filter; for example `size<100MB` or `blob:limit=100m`");
    let number = text
        .strip_prefix("size<")
        .or_else(|| text.strip_prefix("blob:limit="))
        .ok_or_else(bad)?;
    bytes(number).map_err(|_| bad())
}

/// A number of bytes, as `100MB` or `2GiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no number of bytes; for example `100MB` or `2GiB`");
    let number = text.trim();
    let end = number.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = number.split_at(end.unwrap_or(number.len()));
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(bad()),
    };
    let count: u64 = digits.parse().map_err(|_| bad())?;
    count.checked_mul(factor).ok_or_else(bad)
}

/// Ingredients as typed.
pub(super) fn ingredients(words: &[String]) -> Result<Vec<Ingredient>, CommandError> {
    words
        .iter()
        .map(|word| {
            Ingredient::parse(word).ok_or_else(|| {
                CommandError::usage(
                    format!("`{word}` is no ingredient"),
                    "name `code`, `data`, `config` or `model`",
                )
            })
        })
        .collect()
}

pub(super) fn run(args: Args, s: Session<'_>) -> Done {
    let url = super::remote::typed(&args.url, &s.dir)?;
    let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    let dir = s.dir.join(args.dir.unwrap_or_else(|| last.into()));
    let path = |p: &std::ffi::OsString| {
        let bytes = p.as_encoded_bytes();
        RepoPath::new(bytes.strip_suffix(b"/").unwrap_or(bytes)).map_err(modelv_repo::Error::from)
    };
    let sparse = args.sparse.iter().map(path).collect::<Result<_, _>>()?;
    let options = CloneOptions {
        bare: args.bare,
        branch: args.branch,
        commit: args.commit,
        only: ingredients(&args.only)?,
        lazy: args.lazy,
        depth: args.depth,
        filter: args.filter,
        sparse,
        allow_external: args.allow_external,
        remote: args.place.options(),
    };
    let done = Repo::clone_from(&url, &dir, &options, &super::command_line(), &s.ctx())?;
    if args.json {
        s.ui.json(&json!({
            "dir": done.repo.root(), "head": done.head.map(|id| id.to_hex()), "branch": done.branch,
            "received": super::fetch::received_json(&done.received),
            "missing": done.missing.iter().map(super::external::missing_json).collect::<Vec<_>>(),
        }));
        return Ok(ExitCode::from(u8::from(!done.missing.is_empty())));
    }
    let what = match (done.head, &done.branch) {
        (Some(id), Some(branch)) => {
            format!(
                "branch {} at {}",
                s.ui.paint(Style::Strong, branch),
                id.short()
            )
        }
        (Some(id), None) => format!("commit {}", id.short()),
        _ => "nothing: it has no commit".into(),
    };
    s.ui.line(format!(
        "cloned {what} into {}, {} received",
        dir.display(),
        size(done.received.bytes)
    ));
    Ok(super::external::tell_missing(&done.missing, s.ui))
}

#[cfg(test)]
mod tests {
    use super::limit;

    #[test]
    fn a_filter_is_a_number_of_bytes() {
        for (text, want) in [
            ("size<100MB", 100_000_000),
            ("size< 5", 5),
            ("size<2GiB", 2 << 30),
            ("blob:limit=10k", 10 << 10),
            ("blob:limit=0", 0),
        ] {
            assert_eq!(limit(text), Ok(want), "{text}");
        }
        for bad in [
            "",
            "100MB",
            "size<",
            "size<x",
            "size<-1",
            "size<9q",
            "tree:0",
            "size<99999999999GB",
        ] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
