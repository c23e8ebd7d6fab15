//! `modelv ci init`: the file of a CI, with one parameter, the id of a commit.

use std::process::ExitCode;

use clap::ValueEnum;

use super::super::{Done, Session};
use crate::error::CommandError;

/// Write a pipeline with one parameter, the id of a commit: clone it alone, check, evaluate, release, verify, push.
#[derive(clap::Args)]
pub(super) struct Args {
    /// For which CI.
    #[arg(value_enum)]
    service: Service,
    /// Where the CI clones from; the remote's address otherwise.
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Registry and name that the image is pushed to; without it, it is an artifact of the pipeline.
    #[arg(long, value_name = "REGISTRY/NAME[:TAG]")]
    push: Option<String>,
    /// Replace the file if there is one.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Service {
    Jenkins,
    Github,
    Gitlab,
}

impl Service {
    fn file(self) -> &'static str {
        match self {
            Self::Jenkins => "Jenkinsfile",
            Self::Github => ".github/workflows/modelv.yml",
            Self::Gitlab => ".gitlab-ci.yml",
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Jenkins => include_str!("Jenkinsfile"),
            Self::Github => include_str!("github.yml"),
            Self::Gitlab => include_str!("gitlab.yml"),
        }
    }
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let repo = s.repo()?;
    if repo.is_bare() {
        return Err(CommandError::refused(
            "this is a bare repository: it has no working tree",
            "`modelv clone URL DIR` makes one with a working tree",
        ));
    }
    let from = match &args.from {
        Some(url) => url.clone(),
        None => repo.default_remote()?.url,
    };
    if let Some(to) = &args.push {
        modelv_release::Reference::parse(to)?;
    }
    // Both stand between quotes in the file.
    let is_odd = |c: char| c.is_control() || "'\"\\$`".contains(c);
    if from.contains(is_odd) {
        return Err(CommandError::usage(
            format!("`{}` can't stand in the file of a CI", from.escape_debug()),
            "name an address without quotes, `$` and control characters with `--from`",
        ));
    }
    let path = repo.root().join(args.service.file());
    if path.exists() && !args.force {
        return Err(CommandError::refused(
            format!("`{}` exists", args.service.file()),
            "`--force` replaces it",
        ));
    }
    let push = args
        .push
        .as_ref()
        .map_or(String::new(), |to| format!(" --push {to}"));
    let text = args
        .service
        .template()
        .replace("@REMOTE@", &from)
        .replace("@PUSH@", &push);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(modelv_repo::Error::io("create", dir))?;
    }
    std::fs::write(&path, text).map_err(modelv_repo::Error::io("write", &path))?;
    s.ui.line(format!("wrote {}", args.service.file()));
    s.ui.talk("the CI's machine needs `modelv` on its path, and the credentials of the remote in its variables");
    Ok(ExitCode::SUCCESS)
}
