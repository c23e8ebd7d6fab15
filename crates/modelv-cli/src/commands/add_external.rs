//! `modelv add-external` and `modelv import-url`: data from an address, by reference or as a copy.

use std::ffi::OsString;
use std::process::ExitCode;

use modelv_repo::core::path::RepoPath;
use modelv_repo::remote::{full_url, shown_url, split_query};
use modelv_repo::{AddExternal, Pointer, Repo};
use serde_json::json;

use super::{Done, Session};
use crate::error::CommandError;
use crate::ui::{Ui, plain, size};

/// Add data by reference: it stays where it is, and commits hold its address, version, ETag, size and hash.
///
/// A small file beside it, `PATH.external`, describes it: that is what is committed, compared and merged. A
/// checkout brings the data and checks it. Where the source has changed, an error shows what was recorded and
/// what is there; `modelv external update` takes what is new. Without an address, what `[external]` of `modelv.toml`
/// names (`"data/big.csv" = "s3://bucket/big.csv"`) is added as far as it is not recorded yet.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One object: `s3://BUCKET/KEY`, `gs://`, `az://`, `https://`, `file:///PATH`, or a path.
    url: Option<String>,
    #[command(flatten)]
    to: To,
    /// Don't read it, only ask what is there: no hash is recorded, and checkouts don't bring it.
    #[arg(long)]
    no_download: bool,
}

/// Take a copy of what is at an address: a file like any other, to commit.
///
/// An address may be signed (`https://...?X-Amz-Signature=...`): what follows `?` is sent, shown nowhere and
/// written down nowhere.
#[derive(clap::Args)]
pub(crate) struct CopyArgs {
    /// One object: `s3://BUCKET/KEY`, `gs://`, `az://`, `https://`, `file:///PATH`, or a path.
    url: String,
    #[command(flatten)]
    to: To,
}

/// Where what is at an address belongs.
#[derive(clap::Args)]
struct To {
    /// Where it belongs in the working tree: a file, or a folder that is there. Its name in this folder
    /// otherwise.
    path: Option<OsString>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl To {
    /// The whole address, and the path.
    fn find(
        &self,
        url: &str,
        repo: &Repo,
        s: &Session<'_>,
    ) -> Result<(String, RepoPath), CommandError> {
        let url = full_url(url, &s.dir)?;
        let plain = match url.starts_with("http") {
            true => split_query(&url).0,
            false => &url,
        };
        let name = plain.rsplit('/').next().unwrap_or_default().to_owned();
        let typed = match &self.path {
            Some(path) if s.dir.join(path).is_dir() => {
                std::path::Path::new(path).join(&name).into()
            }
            Some(path) => path.clone(),
            None => name.into(),
        };
        let path = s.path(repo, &typed)?.ok_or_else(|| {
            CommandError::usage(
                "no file is named",
                "for example `modelv add-external s3://bucket/big.csv data/big.csv`",
            )
        })?;
        Ok((url, path))
    }
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let Some(url) = &args.url else {
        return declared(repo, args, s);
    };
    let (url, path) = args.to.find(url, &repo, &s)?;
    let add = AddExternal {
        url,
        path,
        unread: args.no_download,
    };
    let pointer = repo.add_external(&add, &s.ctx())?;
    if args.to.json {
        s.ui.json(&super::external::pointer_json(&add.path, &pointer));
        return Ok(ExitCode::SUCCESS);
    }
    tell(&add.path, &pointer, s.ui);
    Ok(ExitCode::SUCCESS)
}

/// What `modelv.toml` names.
fn declared(mut repo: Repo, args: &Args, s: Session<'_>) -> Done {
    let added = repo.add_declared(args.no_download, &s.ctx())?;
    if args.to.json {
        let rows = added.iter();
        let rows = rows.map(|(path, pointer)| super::external::pointer_json(path, pointer));
        s.ui.json(&rows.collect());
        return Ok(ExitCode::SUCCESS);
    }
    for (path, pointer) in &added {
        tell(path, pointer, s.ui);
    }
    if added.is_empty() {
        s.ui.line("all that `modelv.toml` names is recorded");
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(path: &RepoPath, pointer: &Pointer, ui: &mut Ui) {
    let path = super::external::name(path);
    ui.line(format!(
        "{path} is {}, {} (commit {path}.external)",
        plain(&pointer.url),
        size(pointer.state.size)
    ));
}

pub(super) fn copy(args: &CopyArgs, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let (url, path) = args.to.find(&args.url, &repo, &s)?;
    let bytes = repo.import_url(&url, &path, &s.ctx())?;
    let shown = shown_url(&url);
    if args.to.json {
        s.ui.json(&json!({"path": path.to_string(), "url": shown, "size": bytes}));
        return Ok(ExitCode::SUCCESS);
    }
    let path = super::external::name(&path);
    s.ui.line(format!("{path}: {} from {}", size(bytes), plain(&shown)));
    Ok(ExitCode::SUCCESS)
}
